"""`overlap analyze` on large stores that are written first: seconds and peak memory of the whole command.

    python tests/benchmarks/stored.py pairs     --variants 10000 --examples 50000
    python tests/benchmarks/stored.py ensembles --variants 1000 --examples 5000 --classes 1000
    python tests/benchmarks/stored.py greedy    --variants 300 --examples 10000 --classes 1000

`pairs` writes predictions alone, as `overlap predictions import` does, and makes joint counts and all metrics of
every pair. `ensembles` writes logits and counts every two-model ensemble by the rule given. `greedy` selects from
them, twice: with nothing known, and with the threats that the store keeps then. Nothing is asserted.
"""

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))  # for who runs this as a script

from benchmarks.synthetic_predictions import synthetic_predictions
from benchmarks.table import describe_machine
from overlap.store import Outputs, Predictions, Store, open_objects, round_logits
from synthetic_store import job_of, lock_for, partial, variant

CORES = len(os.sched_getaffinity(0))
CONFUSABLE = 3


def main() -> None:
    """Writes a store, runs the command, prints what it took."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["pairs", "ensembles", "greedy"])
    parser.add_argument("--variants", type=int, default=10_000)
    parser.add_argument("--examples", type=int, default=50_000)
    parser.add_argument("--classes", type=int, default=1000)
    parser.add_argument("--rule", default="mean_probability")
    parser.add_argument("--memory", default="2")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="pairs-") as name:
        print(describe_machine(Path(name)))
        folder = Path(name) / "store"
        began = time.monotonic()
        jobs = [job_of(variant(v)) for v in range(given.variants)]
        lock = lock_for(jobs, given.classes, given.examples)
        if given.what == "pairs":
            lock.outputs["photos"] = {job.variant.name: Outputs.PREDICTION.value for job in jobs}
        Store(open_objects(str(folder))).write_lock(lock)  # first: now it is a store
        write = write_predictions if given.what == "pairs" else write_logits
        write(folder, given.variants, given.examples, given.classes)
        size = sum(file.stat().st_size for file in folder.rglob("*.parquet"))
        print(f"written in {time.monotonic() - began:.0f} s: {size / 1e9:.2f} GB", flush=True)
        dense = sum(file.stat().st_size for file in (folder / "logits").rglob("*.parquet"))
        options = ["--memory", given.memory, "--explain"]
        if given.what == "greedy":
            for known in ("nothing known", "threats known"):
                seconds, peak, read = run_command("greedy", folder, options)
                print(f"{known}: {seconds:.1f} s, at most {peak:.2f} GiB, {read / 1e9:.2f} GB read", end="")
                print(f", {read / dense:.1%} of the logits", flush=True)
            return
        options += ["--rule", given.rule] if given.what == "ensembles" else []
        seconds, peak, _ = run_command(given.what, folder, options)
        pairs = given.variants * (given.variants - 1) // 2
        print(f"{pairs:,} pairs, {given.examples:,} examples: {seconds:.1f} s in all, at most {peak:.2f} GiB")
        print(f"{1e9 * seconds / pairs / given.examples:.4f} ns a pair and example")
        size = sum(file.stat().st_size for file in (folder / "analysis").rglob("*.parquet"))
        print(f"tables of {size / 1e9:.2f} GB")


def run_command(what: str, folder: Path, options: list[str]) -> tuple[float, float, int]:
    """Seconds, most GiB so far, and bytes read by `overlap analyze`."""
    code = (
        "import sys; from overlap.cli import run; code = run(sys.argv[2:]); "
        "open(sys.argv[1], 'w').write(open('/proc/self/io').readline()); sys.exit(code)"
    )
    counted = folder.with_suffix(".io")
    command = [sys.executable, "-c", code, str(counted), "analyze", what, str(folder), *options]
    began = time.monotonic()
    subprocess.run(command, check=True)
    seconds = time.monotonic() - began
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**20
    return seconds, peak, int(counted.read_text().split()[1])


def write_predictions(folder: Path, variants: int, examples: int, classes: int) -> None:
    """A store of predictions alone."""
    predictions_VN, labels_N = synthetic_predictions(variants, examples, classes=classes)
    shared = np.memmap(folder.with_suffix(".bin"), np.int16, "w+", shape=(variants, examples))
    shared[:] = predictions_VN
    with ProcessPoolExecutor(CORES) as pool:
        parts = [range(part, variants, CORES) for part in range(CORES)]
        list(pool.map(_commit_predictions, [folder] * CORES, parts, [labels_N] * CORES, [classes] * CORES))


def _commit_predictions(folder: Path, chosen: range, labels_N: np.ndarray, classes: int) -> None:
    store = Store(open_objects(str(folder)))
    shared = np.memmap(folder.with_suffix(".bin"), np.int16, "r").reshape(-1, len(labels_N))
    nothing = np.empty((len(labels_N), 0))
    for v in chosen:
        store.commit_partial(
            job_of(variant(v)), partial(labels_N.astype(np.int32), shared[v], nothing, nothing), classes, {}
        )


def write_logits(folder: Path, variants: int, examples: int, classes: int) -> None:
    """A store of logits: some confusable classes an example, families of variants, their own noise."""
    rng = np.random.default_rng(0)
    labels_N = rng.integers(0, classes, examples).astype(np.int32)
    with ProcessPoolExecutor(CORES) as pool:
        parts = [range(part, variants, CORES) for part in range(CORES)]
        list(pool.map(_commit_logits, [folder] * CORES, parts, [labels_N] * CORES, [classes] * CORES))


def _commit_logits(folder: Path, chosen: range, labels_N: np.ndarray, classes: int) -> None:
    store, rng, size = Store(open_objects(str(folder))), np.random.default_rng(1), (len(labels_N), classes)
    rows_N = np.arange(len(labels_N))
    shared_NC = rng.standard_normal(size, dtype=np.float32)
    for _ in range(CONFUSABLE):
        shared_NC[rows_N, rng.integers(0, classes, len(labels_N))] += rng.exponential(2, len(labels_N)) + 2
    shared_NC[rows_N, labels_N] += rng.normal(4, 3, len(labels_N))
    families_FNC = rng.standard_normal((6, *size), dtype=np.float32)
    for v in chosen:
        noise_NC = np.random.default_rng([2, v]).standard_normal(size, dtype=np.float32)
        logits_NC = shared_NC + 0.7 * (families_FNC[v % 6] + noise_NC)
        predictions = Predictions(
            ids_N=rows_N, labels_N=labels_N, logits_NC=round_logits(1.5 * logits_NC), temperature=1.1
        )
        store.commit(job_of(variant(v)), predictions, {})


if __name__ == "__main__":
    main()
