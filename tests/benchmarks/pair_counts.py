"""Counts and metrics of every pair of variants, beside what others compute them with.

    python tests/benchmarks/pair_counts.py                      # peers and growth, a few minutes
    python tests/benchmarks/pair_counts.py --full               # all pairs of 10,000 variants over 50,000 examples
    python tests/benchmarks/pair_counts.py --plot growth.png

Predictions are synthetic, see `synthetic_predictions.py`. A word is 64 examples of one pair. Nothing is
asserted: compare rows of one run only. The peers count correctness alone; we count the same predictions too.
"""

import argparse
import os
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields
from functools import partial
from itertools import pairwise
from pathlib import Path

import numba
import numkong
import numpy as np
import pandas as pd
import torch
from scipy.spatial.distance import pdist

sys.path.insert(0, str(Path(__file__).parents[1]))  # for who runs this as a script

from benchmarks.synthetic_predictions import synthetic_predictions
from benchmarks.table import Row, describe_machine, print_table
from overlap_analysis.packed import PackedPredictions, pack_predictions
from overlap_analysis.pair_counts import PairCounts, _popcount, counts_of_rows, joint_counts, row_blocks
from overlap_analysis.pair_intervals import metric_intervals
from overlap_analysis.pair_metrics import PAIR_METRICS

REPEATS = 3  # the fastest counts
OURS = "overlap: both counts of all pairs"
ONE_PASS = "numkong: correctness alone"
CHUNK = 1_000_000  # pairs whose counts and metrics are made at a time


def seconds(function: Callable[[], object], repeats: int = REPEATS) -> float:
    """The fastest of some runs: what else runs here only ever adds."""
    taken = []
    for _ in range(repeats):
        began = time.perf_counter()
        function()
        taken.append(time.perf_counter() - began)
    return min(taken)


# --- the limit


@numba.njit(nogil=True)
def _popcounts(words, times):
    total = np.uint64(0)
    for turn in range(times):
        words[turn % len(words)] = turn  # or every turn would be the same, and only one made
        for at in range(len(words)):
            total += _popcount(words[at])
    return total


def popcount_limit(threads: int) -> float:
    """Words a second that popcount counts, of a buffer in the first-level cache."""
    words, times = np.arange(2048, dtype=np.uint64), 50_000
    _popcounts(words, 1)
    with ThreadPoolExecutor(threads) as pool:
        taken = seconds(lambda: list(pool.map(lambda _: _popcounts(words.copy(), times), range(threads))))
    return threads * len(words) * times / taken


# --- (a) the peers


def peers(variants: int, examples: int, threads: int) -> list[Row]:
    predictions, labels = synthetic_predictions(variants, examples)
    correct = predictions == labels
    pairs, words = variants * (variants - 1) // 2, -(-examples // 64)
    row = partial(Row, n=pairs, unit="s")
    pack_s = {k: seconds(lambda k=k: pack_predictions(predictions, labels, threads=k)) for k in (1, threads)}
    packed = pack_predictions(predictions, labels)
    rows = []
    for k in sorted({1, threads}, reverse=True):
        count_s, limit = seconds(lambda k=k: counts_of_rows(packed, 0, variants, threads=k)), popcount_limit(k)
        kernel_s = seconds(lambda k=k: count_triangle(packed, k))
        rate = pairs * words / kernel_s
        details = (
            f"{kernel_s:.3f} s before PairCounts: {rate / 1e9:.1f} Gwords/s, two popcounts each: "
            f"{100 * 2 * rate / limit:.0f} % of the limit of {limit / 1e9:.1f} G; packing {pack_s[k]:.2f} s more"
        )
        what = OURS if k == threads else f"… in {k} thread"
        rows.append(row(what=what, value=count_s, details=details))
    rows += [
        row(what=what, value=value, peer=OURS, details=details)
        for what, value, details in (
            (ONE_PASS, *one_pass(correct, words)),
            ("torch: float32 matrix product", *matrix_product(correct)),
            ("np.corrcoef", seconds(lambda: np.corrcoef(correct), 1), "float64"),
            ("scipy: pdist(metric='hamming')", *hamming(correct, 256)),
            ("pandas: a crosstab a pair", *crosstabs(correct, 30)),
        )
    ]
    return rows


def count_triangle(packed: PackedPredictions, threads: int) -> None:
    for rows in (range(start, min(start + 128, packed.variants)) for start in range(0, packed.variants, 128)):
        joint_counts(packed, np.arange(rows.start, rows.stop), first=rows.start, threads=threads)


def one_pass(correct: np.ndarray, words: int) -> tuple[float, str]:
    """Hamming distances of correctness bits by SIMD, in one thread."""
    pairs = len(correct) * (len(correct) - 1) // 2
    bits = np.packbits(correct, axis=1)
    taken = seconds(lambda: numkong.hammings_symmetric(bits, dtype="uint1"))
    rate = pairs * words / taken
    share = 100 * rate / popcount_limit(1)
    return taken, f"in one thread; {rate / 1e9:.1f} Gwords/s, one popcount each: {share:.0f} % of the limit"


def matrix_product(correct: np.ndarray) -> tuple[float, str]:
    matrix = torch.from_numpy(correct).float()
    return seconds(lambda: matrix @ matrix.T), f"of a matrix that is there already, {torch.get_num_threads()} threads"


def hamming(correct: np.ndarray, variants: int) -> tuple[float, str]:
    scale = len(correct) * (len(correct) - 1) / (variants * (variants - 1))
    return scale * seconds(lambda: pdist(correct[:variants], metric="hamming"), 1), f"scaled from {variants} variants"


def crosstabs(correct: np.ndarray, pairs: int) -> tuple[float, str]:
    """A 2 x 2 table of two columns, and κ of it, as toolboxes of error consistency make them."""
    frame = pd.DataFrame({str(v): row for v, row in enumerate(correct[: pairs + 1])})

    def tables() -> None:
        for a, b in pairwise(frame.columns):
            table = pd.crosstab(frame[a], frame[b], normalize=True).to_numpy()
            observed, expected = np.trace(table), table.sum(axis=0) @ table.sum(axis=1)
            _ = (observed - expected) / (1 - expected)

    scale = len(correct) * (len(correct) - 1) / 2 / pairs
    return scale * seconds(tables, 1), f"scaled from {pairs} pairs"


# --- the metrics


def metrics(pairs: int = 1_000_000) -> list[Row]:
    """Rates of all metrics and of all intervals, of so many pairs at once, in one thread."""
    predictions, labels = synthetic_predictions(1500, 5000)
    counts = head(counts_of_rows(pack_predictions(predictions, labels), 0, 1500), pairs)
    made = {"metrics": lambda name, some: PAIR_METRICS[name](some), "intervals": metric_intervals}
    rows = []
    for what, make in made.items():
        for size in (pairs, 10_000):
            chunks = [head(counts, size, start) for start in range(0, pairs, size)]
            taken = {
                name: seconds(lambda name=name, make=make, chunks=chunks: [make(name, some) for some in chunks], 2)
                for name in PAIR_METRICS
            }
            slowest = sorted(taken, key=taken.__getitem__)[-4:]
            details = "ns each: " + ", ".join(f"{name} {1e9 * taken[name] / pairs:.0f}" for name in reversed(slowest))
            rate = pairs / sum(taken.values()) / 1e6
            rows.append(
                Row(
                    what=f"{len(taken)} {what}, {size:,} at a time",
                    n=pairs,
                    value=rate,
                    unit="Mpairs/s",
                    details=details,
                )
            )
    return rows


def head(counts: PairCounts, size: int, start: int = 0) -> PairCounts:
    made = {field.name: getattr(counts, field.name) for field in fields(counts)}
    return PairCounts(
        **{name: array if name == "examples" else array[start : start + size] for name, array in made.items()}
    )


# --- (b) all pairs of ten thousand variants


def full(variants: int, examples: int, threads: int) -> list[Row]:
    began = time.perf_counter()
    predictions, labels = synthetic_predictions(variants, examples)
    made_s = time.perf_counter() - began
    before_gib = peak_gib()
    pairs, words = variants * (variants - 1) // 2, -(-examples // 64)
    row = partial(Row, n=pairs, unit="s")
    began = time.perf_counter()
    packed = pack_predictions(predictions, labels, threads=threads)
    pack_s = time.perf_counter() - began
    packed_bytes = sum(getattr(packed, field.name).nbytes for field in fields(packed) if field.name != "examples")
    kernel_s = seconds(lambda: count_triangle(packed, threads), 1)
    metrics_s = seconds(lambda: all_metrics(packed, threads), 1)
    held = f"{packed_bytes / 2**30:.2f} GiB, {len(packed.members_M) / predictions.size:.2%} rare"
    peak = f"peak {peak_gib():.2f} GiB; {before_gib:.2f} after making the predictions, in {made_s:.0f} s"
    return [
        row(what="packing", value=pack_s, details=held),
        row(what="both counts", value=kernel_s, details=f"{pairs * words / kernel_s / 1e9:.1f} Gwords/s"),
        row(what="counts and all metrics", value=metrics_s, details=f"{CHUNK:,} pairs at a time"),
        row(what="from predictions to all metrics", value=pack_s + metrics_s, details=peak),
    ]


def all_metrics(packed: PackedPredictions, threads: int) -> list[dict[str, float]]:
    """Every metric of every pair, of which only means are kept."""

    def means(rows: range) -> dict[str, float]:
        counts = counts_of_rows(packed, rows.start, rows.stop)
        return {name: float(np.nanmean(metric(counts))) for name, metric in PAIR_METRICS.items() if len(counts.a)}

    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(means, row_blocks(packed.variants, pairs=CHUNK)))


def peak_gib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


# --- (c) growth


def growth(variants: int, examples: int, threads: int) -> dict[str, list[tuple[int, float]]]:
    """Seconds of both counts over doubling numbers of variants, and of examples."""
    shapes = {
        "V": [(variants >> k, examples // 2) for k in (4, 3, 2, 1, 0)],
        "N": [(variants // 2, examples >> k) for k in (4, 3, 2, 1, 0)],
    }
    curves = {}
    for which, (name, several) in enumerate(shapes.items()):
        curves[name] = []
        for shape in several:
            packed = pack_predictions(*synthetic_predictions(*shape), threads=threads)
            curves[name].append((shape[which], seconds(lambda packed=packed: count_triangle(packed, threads))))
    return curves


def growth_rows(curves: dict[str, list[tuple[int, float]]]) -> list[Row]:
    return [
        Row(
            what=f"growth of both counts with {name}: exponent",
            n=len(points),
            value=fit(points)[0],
            unit="",
            details=", ".join(f"{size:,}: {taken:.3f} s" for size, taken in points),
        )
        for name, points in curves.items()
    ]


def fit(points: list[tuple[int, float]]) -> tuple[float, float]:
    """Exponent and factor of the power law through them."""
    exponent, offset = np.polyfit(*np.log(points).T, deg=1)
    return float(exponent), float(np.exp(offset))


def plot(curves: dict[str, list[tuple[int, float]]], path: Path) -> None:
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(1, len(curves), figsize=(5 * len(curves), 4), layout="constrained")
    labels = {"V": "variants", "N": "examples"}
    for axis, (name, points) in zip(axes, curves.items(), strict=True):
        sizes, taken = np.array(points).T
        exponent, factor = fit(points)
        axis.loglog(sizes, taken, "o", label="measured")
        axis.loglog(sizes, factor * sizes**exponent, label=f"{name}^{exponent:.2f}")
        axis.minorticks_off()
        axis.set_xticks(sizes, [f"{size:,.0f}" for size in sizes])
        axis.set(xlabel=labels[name], ylabel="seconds, both counts of all pairs")
        axis.legend()
    figure.savefig(path, dpi=150)


# --- the command line


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--variants", type=int, default=2048)
    parser.add_argument("--examples", type=int, default=50_000)
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--full", action="store_true", help="only all pairs of 10,000 variants over 50,000 examples")
    parser.add_argument("--plot", type=Path, help="PNG of the growth with variants and with examples")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        print(describe_machine(Path(folder)), flush=True)
    count_triangle(pack_predictions(*synthetic_predictions(64, 640)), 1)  # compiles
    if arguments.full:
        print_table(full(10_000, 50_000, arguments.threads))
        return
    curves = growth(arguments.variants, arguments.examples, arguments.threads)
    rows = peers(arguments.variants, arguments.examples, arguments.threads) + metrics()
    print_table(rows + growth_rows(curves))
    if arguments.plot:
        plot(curves, arguments.plot)


if __name__ == "__main__":
    main()
