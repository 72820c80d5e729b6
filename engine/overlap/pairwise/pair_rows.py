"""The rows of the table of pairs, some at a time: joint counts, then every metric with its interval.

Array names: V variants, R new variants, P pairs.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from overlap.pairwise.growth import Known, gather
from overlap.tasks import Tasks
from overlap.variants import Category, Variant, levels
from overlap_analysis import (
    CATEGORIES,
    PAIR_METRICS,
    PackedPredictions,
    PairCounts,
    counts_of_rows,
    joint_counts,
    metric_intervals,
    pair_indices,
    row_blocks,
    shared_counts,
)

KEPT = ("both_correct", "same_prediction")
COUNTS = (
    "both_correct", "only_a_correct", "only_b_correct", "both_wrong", "both_wrong_same_class", "same_prediction",
)  # fmt: skip
PAIRS_AT_ONCE = 2**19


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Labels:
    """What a table says of the variants of its pairs: their names, and how two of them differ.

    `levels_LV` are codes of what two variants may share, from the lowest level to the highest, as `Category` orders
    them; -1 where it is unknown.
    """

    names: tuple[str, ...]
    levels_LV: NDArray[np.int32]

    def names_of(self, a_P: NDArray[np.integer], b_P: NDArray[np.integer]) -> dict[str, pl.Series]:
        """The columns `a` and `b`."""
        names = pl.Series(self.names, dtype=pl.String)
        return {"a": names.gather(a_P), "b": names.gather(b_P)}

    def words_of(self, a_P: NDArray[np.integer], b_P: NDArray[np.integer]) -> pl.Series:
        """The column `category`."""
        return pl.Series([Category(kind).word for kind in range(-1, len(CATEGORIES))]).gather(
            self.categories(a_P, b_P) + 1
        )

    def categories(self, a_P: NDArray[np.integer], b_P: NDArray[np.integer]) -> NDArray[np.int8]:
        """The `Category` of each pair."""
        category_P = np.full(len(a_P), Category.REINIT, np.int8)
        for level, codes_V in enumerate(self.levels_LV, start=Category.HYPERPARAMETERS):
            codes_a, codes_b = codes_V[a_P], codes_V[b_P]
            category_P[codes_a != codes_b] = level
            category_P[(codes_a < 0) | (codes_b < 0)] = Category.UNKNOWN
        return category_P


def labels_of(variants: Sequence[Variant]) -> Labels:
    """The names of variants, and codes of their levels."""
    return Labels(
        names=tuple(variant.name for variant in variants),
        levels_LV=np.stack([_codes(column) for column in zip(*map(levels, variants), strict=True)]),
    )


def usual_base(labels: Labels) -> int:
    """The variant that most others differ from by their seed only; the first of equals, in the sweep's order."""
    _, kind_V, sizes = np.unique(labels.levels_LV, axis=1, return_inverse=True, return_counts=True)
    known_V = (labels.levels_LV >= 0).all(axis=0)  # nobody knows whether others are reinits of it
    return int(np.argmax(np.where(known_V, sizes[kind_V.reshape(-1)], 0)))


def _codes(values: Sequence[object]) -> NDArray[np.int32]:
    """Equal numbers for equal values, -1 for None."""
    known: dict[object, int] = {}
    return np.array([-1 if value is None else known.setdefault(value, len(known)) for value in values], np.int32)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PairWork:
    """What the rows are computed from; `counted_RV` are the rows of new variants, where the others are known."""

    packed: PackedPredictions
    labels: Labels
    known: Known
    counted_RV: Mapping[str, NDArray[np.int32]]
    intervals: bool
    threads: int


def pair_work(packed: PackedPredictions, labels: Labels, known: Known, *, intervals: bool, threads: int) -> PairWork:
    """Counts the rows of new variants, if others are known."""
    counted_RV: dict[str, NDArray[np.int32]] = {}
    if known.columns:
        joint = joint_counts(packed, known.new_R, threads=threads)
        counted_RV = {"both_correct": joint.both_correct_RC, "same_prediction": joint.same_prediction_RC}
    return PairWork(
        packed=packed, labels=labels, known=known, counted_RV=counted_RV, intervals=intervals, threads=threads
    )


def pair_frames(work: PairWork, tasks: Tasks) -> Iterator[pl.DataFrame]:
    """The rows of all pairs, in pair order."""
    variants = len(work.labels.names)
    return tasks.map(_pair_frame, row_blocks(variants, pairs=PAIRS_AT_ONCE), work)


def _counts(work: PairWork, rows: range) -> PairCounts:
    """Joint outcomes of the pairs whose first variant is one of these."""
    if not work.known.columns:
        return counts_of_rows(work.packed, rows.start, rows.stop, threads=work.threads)
    a_P, b_P = pair_indices(len(work.labels.names), rows)
    shared = gather(work.known, work.counted_RV, a_P, b_P)
    both_correct, same_prediction = (shared[name] for name in KEPT)
    return shared_counts(work.packed, a_P, b_P, both_correct=both_correct, same_prediction=same_prediction)


def _pair_frame(rows: range, work: PairWork) -> pl.DataFrame:
    counts = _counts(work, rows)
    columns: dict[str, object] = {
        **work.labels.names_of(counts.a, counts.b),
        "category": work.labels.words_of(counts.a, counts.b),
        "examples": np.full(len(counts.a), counts.examples, np.int32),
        **{name: getattr(counts, name).astype(np.int32) for name in COUNTS},
    }
    for name, metric in PAIR_METRICS.items():
        columns[name] = metric(counts)
        if work.intervals:
            columns[f"{name}_low"], columns[f"{name}_high"] = metric_intervals(name, counts)
    return pl.DataFrame(columns, nan_to_null=True)
