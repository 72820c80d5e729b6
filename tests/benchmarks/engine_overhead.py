"""What the engine itself costs: trivial variants, a resume with nothing to do, the driver's memory; Ray Tune beside it.

    make bench                                    # everything
    python tests/benchmarks/engine_overhead.py --variants 200 --trials 100 --memory 0

A variant is as trivial as a sweep file can make it: scikit-learn's DummyClassifier on 10 images of 8×8,
judged on 10 others. It still goes through everything: planned, scheduled, fitted, evaluated, committed as two
checksummed and synced files. A Tune trial does less: it fits nothing, and its one file is not synced.

Every row is measured in a process of its own. Nothing is asserted: compare rows of one run only.
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))  # for who runs this as a script

from benchmarks import tune_peer
from benchmarks.stamps import PLATEAU, Watch
from benchmarks.table import Row, describe_machine, print_table

SWEEP = """\
name: trivial
store: {store}
datasets:
  digits: {{source: "sklearn:digits", splits: {{train: 10, test: 10}}}}
evaluate_on: [digits]
base: {{architecture: "sklearn:DummyClassifier", train_on: digits, preprocessing: {{size: 8}}}}
vary:
  - {{seed: {{range: [1, {last}]}}}}
"""
RAM = Path("/dev/shm")
REPEATS = 3  # of a command; its median counts
TUNE, COMMANDS, MEMORY = "tune", "commands", "memory"
LAUNCHES = {
    "ray": "overlap on Ray",
    "ray, RAM": "overlap on Ray, store in RAM",
    "inprocess": "overlap in one process",
    "inprocess, RAM": "overlap in one process, store in RAM",
}


@dataclass(frozen=True, kw_only=True)
class Run:
    """How much is measured, and where."""

    variants: int
    trials: int
    memory: int
    folder: Path


# --- rows, each in a process of its own


def measure_launch(run: Run, name: str) -> list[Row]:
    executor, _, place = name.partition(", ")
    with _scratch(run, ram=bool(place)) as folder:
        path = write_sweep(folder, run.variants)
        watch, launched_s = Watch(run.variants), time.perf_counter()
        launch(path, executor, watch)
        after_s = time.perf_counter() - watch.ends_s[-1]
        evaluate_ms = _evaluation_ms(folder / "store")
    wall_s = watch.ends_s[-1] - watch.started_s
    worker_ms = 1e3 * statistics.fmean(watch.worker_s)
    workers = (os.cpu_count() or 1) if executor == "ray" else 1
    half = len(watch.ends_s) // 2
    steady_ms = 1e3 * (watch.ends_s[-1] - watch.ends_s[half]) / (len(watch.ends_s) - 1 - half)
    per_variant_ms = 1e3 * wall_s / run.variants
    driver_ms = 1e3 * (watch.ended_cpu_s - watch.started_cpu_s) / run.variants
    details = (
        f"second half {steady_ms:.1f}; a worker's {per_variant_ms * workers:.1f} (of {workers}): evaluate "
        f"{evaluate_ms:.1f}, commit {worker_ms - evaluate_ms:.1f}, wait {per_variant_ms * workers - worker_ms:.1f}; "
        f"CPU of all {watch.processor.ms:.1f}, of the driver {driver_ms:.1f}; "
        f"before the first {watch.started_s - launched_s:.1f} s, after the last {after_s:.1f} s"
    )
    return [
        Row(
            what=LAUNCHES[name],
            n=run.variants,
            value=per_variant_ms,
            unit="ms/variant",
            peer=tune_peer.TRIALS,
            details=details,
        )
    ]


def measure_memory(run: Run, _: str) -> list[Row]:
    with _scratch(run) as folder:
        watch = Watch(run.memory)
        launch(write_sweep(folder, run.memory), "ray", watch)
    first = watch.resident_bytes[PLATEAU]
    growth = 100 * (watch.resident_bytes[max(watch.resident_bytes)] / first - 1)
    course = " ".join(f"{resident / 2**20:.0f}" for resident in watch.resident_bytes.values())
    details = f"MiB after each {PLATEAU}: {course}"
    what = f"driver's memory, growth since {PLATEAU}"
    return [Row(what=what, n=run.memory, value=growth, unit="%", details=details)]


def measure_tune(run: Run, _: str) -> list[Row]:
    return [tune_peer.measure_trials(run.folder, run.trials)]


def measure_commands(run: Run, _: str) -> list[Row]:
    """Whole commands over a finished sweep; the peer restores its finished trials, and fits what is left of them."""
    folder = run.folder / "finished"
    folder.mkdir()
    path = write_sweep(folder, run.variants)
    launch(path, "inprocess", Watch(run.variants))
    overlap = [sys.executable, "-m", "overlap"]
    resume = [*overlap, "sweep", "launch", str(path)]
    commands = {
        "resume: overlap sweep launch": resume,
        "… without its supervisor": [*resume, "--max-restarts", "0"],
        "… --executor inprocess": [*resume, "--executor", "inprocess"],
        "overlap sweep status FILE": [*overlap, "sweep", "status", str(path)],
        "overlap sweep status STORE": [*overlap, "sweep", "status", str(folder / "store")],
        "overlap --help": [*overlap, "--help"],
    }
    rows = [_time_command(what, command, run.variants) for what, command in commands.items()]
    finished_trials = run.folder / tune_peer.NAME
    if not finished_trials.is_dir():
        return rows
    restore = [sys.executable, __file__, "--restore", str(finished_trials)]
    return [*rows, _time_command(tune_peer.RESUME, restore, run.trials)]


def _time_command(what: str, command: list[str], n: int) -> Row:
    wall_s, cpu_s = [], []
    for _ in range(REPEATS + 1):  # the first one compiles and warms the disk's cache
        began, cpu_began = time.perf_counter(), _children_cpu_s()
        subprocess.run(command, check=True, capture_output=True, env=_environment())
        wall_s.append(time.perf_counter() - began)
        cpu_s.append(_children_cpu_s() - cpu_began)
    first, *later = wall_s
    details = (
        f"{min(later):.2f} to {max(later):.2f}; CPU {statistics.median(cpu_s[1:]):.2f}; the very first {first:.2f}"
    )
    peer = "" if what == tune_peer.RESUME else tune_peer.RESUME
    return Row(what=what, n=n, value=statistics.median(later), unit="s", peer=peer, details=details)


def _children_cpu_s() -> float:
    """CPU time of all processes that have ended below this one: it hardly depends on who else is at work here."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


MEASURES: dict[str, Callable[[Run, str], list[Row]]] = {
    TUNE: measure_tune,
    **dict.fromkeys(LAUNCHES, measure_launch),
    COMMANDS: measure_commands,
    MEMORY: measure_memory,
}


# --- what the rows share


def write_sweep(folder: Path, variants: int) -> Path:
    path = folder / "trivial.yaml"
    path.write_text(SWEEP.format(store=folder / "store", last=variants - 1))
    return path


def launch(path: Path, executor: str, watch: Watch) -> None:
    from overlap.launcher import ExecutorKind
    from overlap.launcher import launch as launch_sweep
    from overlap.loop import Hooks

    summary = launch_sweep(path, executor=ExecutorKind(executor), hooks=Hooks(watch=watch))
    assert summary.ran == summary.status.variants, summary.status.failures[:3]


def _evaluation_ms(store: Path) -> float:
    """Mean time of fitting and evaluating alone, which every result keeps in its footer."""
    import pyarrow.parquet as pq

    footers = [pq.read_schema(path).metadata for path in (store / "results").rglob("*.parquet")]
    return 1e3 * statistics.fmean(float(footer[b"overlap.wall_s"]) for footer in footers)


@contextmanager
def _scratch(run: Run, *, ram: bool = False) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(dir=RAM if ram else run.folder) as folder:
        yield Path(folder)


def _environment() -> dict[str, str]:
    """As a user's: compiled modules are kept, which a development container may forbid."""
    return {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}


def _measure_apart(name: str, run: Run) -> list[Row]:
    settings = {**asdict(run), "folder": str(run.folder)}
    command = [sys.executable, __file__, "--only", name, "--run", json.dumps(settings)]
    output = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=_environment()).stdout
    return [Row(**row) for row in json.loads(output.splitlines()[-1])]


# --- the command line


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--variants", type=int, default=1000, help="variants of each launch, and of the resume")
    parser.add_argument("--trials", type=int, default=200, help="trials of the peer; 0 leaves it out")
    parser.add_argument("--memory", type=int, default=5000, help="variants of the memory's row; 0 leaves it out")
    parser.add_argument(
        "--folder", type=Path, help="where stores are made and deleted; a temporary folder if not given"
    )
    parser.add_argument("--only", choices=MEASURES, action="append", help="measure this only; may be repeated")
    parser.add_argument("--run", help=argparse.SUPPRESS)  # the process of one row
    parser.add_argument("--restore", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if 0 < arguments.memory < 2 * PLATEAU:
        parser.error(f"--memory wants at least {2 * PLATEAU} variants, or 0")
    if arguments.restore:
        tune_peer.restore_trials(arguments.restore)
    elif arguments.run:
        settings = json.loads(arguments.run)
        run = Run(**{**settings, "folder": Path(settings["folder"])})
        print("\n" + json.dumps([asdict(row) for row in MEASURES[arguments.only[0]](run, arguments.only[0])]))
    else:
        _measure_all(arguments)


def _measure_all(arguments: argparse.Namespace) -> None:
    with tempfile.TemporaryDirectory(dir=arguments.folder, prefix="overhead-") as folder:
        run = Run(variants=arguments.variants, trials=arguments.trials, memory=arguments.memory, folder=Path(folder))
        chosen = [name for name in MEASURES if name in (arguments.only or MEASURES)]
        left_out = {name for name, size in ((TUNE, run.trials), (MEMORY, run.memory)) if not size}
        left_out |= {name for name in LAUNCHES if "RAM" in name and not RAM.is_dir()}
        print(describe_machine(run.folder), flush=True)
        rows = []
        for name in chosen:
            if name not in left_out:
                print(f"… {name}", file=sys.stderr, flush=True)
                rows += _measure_apart(name, run)
        print_table(rows)


if __name__ == "__main__":
    main()
