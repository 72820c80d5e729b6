"""Every two-model ensemble of a synthetic set of variants: from contenders, and from dense rows by NumPy and torch.

    python tests/benchmarks/pair_ensembles.py [--threads 2]

The peers look at every class of every pair, so they are given some pairs and examples only; each row is the time per
pair and example. Nothing is asserted: compare rows of one run only.
"""

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parents[1]))  # for who runs this as a script

from benchmarks.table import Row, describe_machine, print_table
from overlap_analysis.contenders import contenders_of_grid
from overlap_analysis.ensemble_sums import RULES, mean_is_right, settle, sum_ensembles
from overlap_analysis.pair_ensembles import ensemble_counts

REPEATS = 3  # the shortest counts
UNIT = "ns a pair and example"
SIZES = ((200, 4096, 10), (128, 4096, 100), (128, 2048, 1000))  # variants, examples, classes


@dataclass(frozen=True, kw_only=True)
class Problem:
    """Scores (V, N, C) of probabilities and of logits, and labels (N,)."""

    grid: np.ndarray
    logit_grid: np.ndarray
    labels: np.ndarray


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    threads = parser.parse_args().threads
    torch.set_num_threads(threads)
    with tempfile.TemporaryDirectory() as folder:
        print(describe_machine(Path(folder)))
    count(make_problem(4, 64, 10), "vote", 1)
    count(make_problem(4, 64, 10), "mean_logit", 1)  # both kernels are compiled
    rows = [row for size in SIZES for row in rows_of(make_problem(*size), threads)]
    print_table(rows)


def rows_of(problem: Problem, threads: int) -> list[Row]:
    variants, examples, classes = problem.grid.shape
    n = variants * (variants - 1) // 2 * examples
    contenders, made_s = timed(lambda: contenders_of_grid(problem.grid, problem.labels))
    rows = [Row(what=f"C={classes}: contenders of the grid", n=variants * examples,
                value=1e9 * made_s / (variants * examples), unit="ns a row")]  # fmt: skip
    of_logits = contenders_of_grid(problem.logit_grid, problem.labels)
    for rule, shared in (("mean_probability", 1), *((rule, threads) for rule in RULES)):
        kept = of_logits if rule == "mean_logit" else contenders
        (_, left), took_s = timed(lambda k=kept, r=rule, s=shared: sum_ensembles(k, problem.labels, r, threads=s))
        rows.append(Row(what=f"C={classes}: {rule}, {shared} threads", n=n, value=1e9 * took_s / n, unit=UNIT,
                        details=f"V={variants}, {1e6 * len(left.n) / n:.0f} per million undecided"))  # fmt: skip
    for name, peer, some in (("NumPy, a pair at a time", numpy_pairs, 8), ("torch, batched", torch_rows, 2)):
        done, took_s = timed(lambda peer=peer, some=some: peer(problem, some))
        rows.append(Row(what=f"C={classes}: {name}", n=done, value=1e9 * took_s / done, unit=UNIT,
                        peer=f"C={classes}: mean_probability, {threads} threads",
                        details="scaled from some pairs and examples"))  # fmt: skip
    return rows


def count(problem: Problem, rule: str, threads: int) -> np.ndarray:
    """(P,) examples that each ensemble gets right, with what dense rows decide."""
    grid = problem.logit_grid if rule == "mean_logit" else problem.grid
    sums, left = sum_ensembles(contenders_of_grid(grid, problem.labels), problem.labels, rule, threads=threads)
    right = mean_is_right(grid[left.a, left.n], grid[left.b, left.n], problem.labels[left.n])
    return ensemble_counts(settle(sums, left, right)).correct


def numpy_pairs(problem: Problem, pairs: int) -> int:
    for b in range(1, pairs + 1):
        np.count_nonzero((problem.grid[0] + problem.grid[b]).argmax(axis=1) == problem.labels)
    return pairs * len(problem.labels)


def torch_rows(problem: Problem, rows: int) -> int:
    """One variant with all after it at once, over a block of examples that is not too large for the cache."""
    size = max(8, 10_000 // problem.grid.shape[2])
    scores = torch.from_numpy(problem.grid[:, :size] / np.float32(2**30))
    labels = torch.from_numpy(problem.labels[:size])
    repeats = 10
    for _ in range(repeats):
        for a in range(rows):
            ((scores[a] + scores[a + 1 :]).argmax(dim=2) == labels).sum(dim=1)
    return repeats * sum(len(scores) - 1 - a for a in range(rows)) * size


def timed(work: Callable) -> tuple:
    best = np.inf
    for _ in range(REPEATS):
        began = time.perf_counter()
        result = work()
        best = min(best, time.perf_counter() - began)
    return result, best


def make_problem(variants: int, examples: int, classes: int) -> Problem:
    """Variants of families that share their doubts, 60 to 85 % right, about as confident as they are right."""
    rng = np.random.default_rng([variants, examples, classes])
    labels, each = rng.integers(0, classes, examples), np.arange(examples)
    shared = rng.normal(size=(examples, classes))
    np.add.at(shared, (each[:, None], rng.integers(0, classes, (examples, 3))), rng.exponential(2, (examples, 3)))
    shared[each, labels] = rng.normal(0, 3, examples)
    families = [rng.normal(size=shared.shape).astype("f4") for _ in range(max(2, min(12, variants // 6)))]
    grid, logit_grid = np.empty((2, variants, examples, classes), np.int32)
    for v in range(variants):
        logits = shared + np.sqrt(0.5) * (families[v % len(families)] + rng.normal(size=shared.shape))
        accuracy = rng.uniform(0.6, 0.85)
        own = logits[each, labels].copy()
        logits[each, labels] = -np.inf
        logits[each, labels] = own + np.quantile(logits.max(axis=1) - own, accuracy)
        confidence = np.clip(accuracy + rng.uniform(-0.05, 0.12), 0.3, 0.97)
        logits *= inverse_temperature(logits[:1000], confidence)
        logits -= logits.max(axis=1, keepdims=True)
        grid[v] = np.rint(2**30 * softmax(logits))
        logit_grid[v] = np.rint(2**20 * logits)
    return Problem(grid=grid, logit_grid=logit_grid, labels=labels)


def inverse_temperature(logits: np.ndarray, confidence: float) -> float:
    """That which makes the mean of the highest probabilities equal `confidence`, by bisection."""
    low, high = 0.1, 12.0
    for _ in range(14):
        middle = (low + high) / 2
        if softmax(logits * middle).max(axis=1).mean() < confidence:
            low = middle
        else:
            high = middle
    return (low + high) / 2


def softmax(logits: np.ndarray) -> np.ndarray:
    scores = np.exp(logits - logits.max(axis=1, keepdims=True))
    return scores / scores.sum(axis=1, keepdims=True)


if __name__ == "__main__":
    main()
