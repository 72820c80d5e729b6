"""Greedy selection of 25 members by accuracy and by log loss, beside AutoGluon and NumPy.

    python tests/benchmarks/greedy.py                   # all sizes, a few minutes and 2 GB
    python tests/benchmarks/greedy.py --shapes small    # the two that are quick

All get the same dense float32 probabilities in memory and use one thread. "Threats" is the one pass over all of
them, "steps" what each further path costs. AutoGluon takes part where `autogluon.core` is installed, which is no
dependency of ours. Nothing is asserted: compare rows of one run only.
"""

import argparse
import importlib.util
import sys
import tempfile
import time
import tracemalloc
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))  # for who runs this as a script

from benchmarks.synthetic_predictions import synthetic_probabilities
from benchmarks.table import Row, describe_machine, print_table
from overlap_analysis.ensemble_losses import LEAST_PROBABILITY, LogLoss
from overlap_analysis.greedy import Rules, accuracy_scorer, greedy_path, score_blocks
from overlap_analysis.member_scores import grid_scores
from overlap_analysis.right_counts import ScoredBlock

STEPS = 25
REPEATS = 3  # the fastest counts; of what takes long, one
LONG_S = 3.0
SMALL = ((50, 5_000, 100), (100, 10_000, 100))  # variants, examples, classes
SHAPES = {"small": SMALL, "all": (*SMALL, (50, 5_000, 1_000), (400, 5_000, 100))}
RULES = Rules(steps=STEPS, ties="autogluon")


@dataclass(frozen=True, kw_only=True)
class Taken:
    """Of all threads, and on the clock."""

    cpu_s: float
    wall_s: float

    def __add__(self, other: "Taken") -> "Taken":
        return Taken(cpu_s=self.cpu_s + other.cpu_s, wall_s=self.wall_s + other.wall_s)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shapes", choices=SHAPES, default="all")
    shapes = SHAPES[parser.parse_args().shapes]
    with tempfile.TemporaryDirectory() as folder:
        print(describe_machine(Path(folder)))
    if not has_autogluon():
        print("AutoGluon is left out: autogluon.core is not installed")
    probabilities, labels = synthetic_probabilities(6, 1_100, 100)  # more than one block, as in what is measured
    our_path(score_blocks(probabilities, labels))
    our_log_loss_path(label_scores(probabilities, labels))  # all kernels are compiled
    for shape in shapes:
        print_table(rows_of(*shape))
        print(flush=True)


def rows_of(variants: int, examples: int, classes: int) -> list[Row]:
    probabilities, labels = synthetic_probabilities(variants, examples, classes)
    name = f"{variants} x {examples} x {classes}"
    blocks, of_threats = timed(lambda: score_blocks(probabilities, labels))
    ours, of_steps = timed(lambda: our_path(blocks))
    naive, of_naive = timed(lambda: numpy_path(probabilities, labels))
    whole = row_of(f"{name}: overlap", probabilities, of_threats + of_steps, details=memory(probabilities, labels))
    rows = [
        whole,
        row_of("… threats", probabilities, of_threats),
        row_of("… steps", probabilities, of_steps),
        row_of("NumPy, all candidates' arg-max", probabilities, of_naive, whole, f"same path: {naive == ours}"),
    ]
    if has_autogluon():
        path, taken = timed(lambda: autogluon_path(probabilities, labels))
        details = f"same path: {path == ours}, {taken.cpu_s / of_steps.cpu_s:.0f} times our steps"
        rows.append(row_of("AutoGluon", probabilities, taken, whole, details))
    return rows + log_loss_rows(probabilities, labels)


def log_loss_rows(probabilities: np.ndarray, labels: np.ndarray) -> list[Row]:
    """Both from the probabilities of the labels, which are all that it takes."""
    scores = label_scores(probabilities, labels)
    label_probabilities = np.ascontiguousarray(probabilities[:, np.arange(len(labels)), labels])
    ours, of_ours = timed(lambda: our_log_loss_path(scores))
    theirs, of_theirs = timed(lambda: numpy_log_loss_path(label_probabilities))
    whole = row_of("log loss: overlap", scores, of_ours)
    details = f"same path: {theirs == ours}"
    return [whole, row_of("log loss: NumPy, log of the running mean", scores, of_theirs, whole, details)]


def row_of(what: str, values: np.ndarray, taken: Taken, peer: Row | None = None, details: str = "") -> Row:
    details = f"wall {1e3 * taken.wall_s:.1f} ms" + (f"; {details}" if details else "")
    return Row(what=what, n=values.size, value=1e3 * taken.cpu_s, unit="cpu ms", peer=peer.what if peer else "",
               details=details)  # fmt: skip


def memory(probabilities: np.ndarray, labels: np.ndarray) -> str:
    """What stays and what is in use at most besides the probabilities, as a share of them."""
    tracemalloc.start()
    blocks = score_blocks(probabilities, labels)
    of_threats = tracemalloc.get_traced_memory()[1]
    our_path(blocks)
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    kept = sum(block.threats.nbytes for block in blocks)
    sizes = {"threats": kept, "peak making them": of_threats, "peak of all": most}
    shares = [f"{what} {n / 2**20:.1f} MiB ({100 * n / probabilities.nbytes:.1f} %)" for what, n in sizes.items()]
    return f"{', '.join(shares)} of {probabilities.nbytes / 2**20:.0f} MiB"


# --- the paths


def our_path(blocks: list[ScoredBlock]) -> list[int]:
    return [step.variant for step in greedy_path(accuracy_scorer(blocks, steps=STEPS), RULES)]


def our_log_loss_path(scores: np.ndarray) -> list[int]:
    scorer = LogLoss(scores, np.ones(scores.shape[1], np.int64))
    return [step.variant for step in greedy_path(scorer, RULES)]


def numpy_path(probabilities: np.ndarray, labels: np.ndarray) -> list[int]:
    """The definition, with a running sum; ties as AutoGluon breaks them."""
    random, path = np.random.RandomState(0), []
    total = np.zeros(probabilities.shape[1:])
    with_one = np.empty_like(total)
    for _ in range(STEPS):
        counts = np.array([
            np.count_nonzero(np.add(total, values, out=with_one).argmax(axis=1) == labels) for values in probabilities
        ])  # fmt: skip
        tied = np.flatnonzero(counts == counts.max())
        used = [v for v in tied if v in path]
        path.append(int(random.choice(used or tied)))
        total += probabilities[path[-1]]
    return path


def numpy_log_loss_path(label_probabilities: np.ndarray) -> list[int]:
    path, total = [], np.zeros(label_probabilities.shape[1])
    for members in range(1, STEPS + 1):
        losses = [
            -np.log(np.maximum((total + values) / members, LEAST_PROBABILITY)).mean() for values in label_probabilities
        ]
        path.append(int(np.argmin(losses)))
        total += label_probabilities[path[-1]]
    return path


def autogluon_path(probabilities: np.ndarray, labels: np.ndarray) -> list[int]:
    from autogluon.core.metrics import accuracy
    from autogluon.core.models.greedy_ensemble.ensemble_selection import EnsembleSelection

    selection = EnsembleSelection(STEPS, problem_type="multiclass", metric=accuracy, tie_breaker="random")
    selection.use_best = False  # which cuts the path after its best step
    return [int(v) for v in selection.fit(list(probabilities), labels).indices_]


def has_autogluon() -> bool:
    try:
        return importlib.util.find_spec("autogluon.core") is not None
    except ModuleNotFoundError:
        return False


# --- what they get, and how long it takes


def label_scores(probabilities: np.ndarray, labels: np.ndarray) -> np.ndarray:
    return grid_scores(probabilities[:, np.arange(len(labels)), labels])


def timed(work: Callable) -> tuple:
    """Its result and the least time of some runs: what else runs here only ever adds."""
    cpu_s, wall_s = [], []
    while len(wall_s) < REPEATS and sum(wall_s) < LONG_S:
        cpu, wall = time.process_time(), time.perf_counter()
        result = work()
        cpu_s.append(time.process_time() - cpu)
        wall_s.append(time.perf_counter() - wall)
    return result, Taken(cpu_s=min(cpu_s), wall_s=min(wall_s))


if __name__ == "__main__":
    main()
