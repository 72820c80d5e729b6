"""The rows of the table of two-model ensembles, by every method for which enough is known of both members.

Array names: V variants of the dataset, S those that a method can use, P pairs of those, G groups of examples.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from itertools import groupby

import numpy as np
import polars as pl
from numpy.typing import NDArray

from overlap.outcomes import Outcomes
from overlap.pairwise.ensemble_sums import EnsembleWork, Method, MethodSums, merge_method_sums, sum_chunks
from overlap.pairwise.growth import Column, Known, gather, rows_of_pairs
from overlap.pairwise.pair_rows import PAIRS_AT_ONCE, Labels
from overlap.score_files import BYTES_A_ROW, in_units, plan_chunks, score_files
from overlap.store import Objects, Outputs
from overlap.tasks import Tasks
from overlap_analysis import (
    EnsembleCounts,
    EnsembleMetrics,
    counts_of_sums,
    ensemble_counts,
    ensemble_metrics,
    pair_indices,
    row_blocks,
)

KEPT = ("both_right", "one_right_converted", "both_wrong_rescued")
GROUPED = "correct"
_ENOUGH: Mapping[str, tuple[Outputs, ...]] = {
    "vote": tuple(Outputs),
    "mean_probability": (Outputs.LOGITS, Outputs.TOP),
    "max_confidence": (Outputs.LOGITS, Outputs.TOP),
    "mean_logit": (Outputs.LOGITS,),
}
_BYTES_A_PAIR = 64  # of sums by one method, while they are merged
_ON_DISK = 4  # times the memory: whole rows wait in temporary files
_BYTES_UNDECIDED = 2  # a pair and an example: up to a twentieth is, by the mean of logits over many classes


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Request:
    """What to count: methods, the one to keep apart by groups of examples if any, and how much memory there is."""

    methods: tuple[Method, ...]
    grouped: Method | None
    groups: int
    memory_bytes: float


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Counted:
    """All pairs by one method.

    `members_S` are the variants that it can use; `counts` are over their pairs, in pair order, with members
    numbered as in `members_S`. `correct_PG` is how often each ensemble is right in each group of examples, if
    that was asked for.
    """

    method: Method
    members_S: NDArray[np.int64]
    counts: EnsembleCounts
    correct_PG: Column | None = None


def members_of(outcomes: Outcomes, method: Method) -> tuple[int, ...]:
    """The variants of which enough is known for a method."""
    return tuple(v for v, known in enumerate(outcomes.outputs) if known in _ENOUGH[method.rule])


def count_ensembles(
    outcomes: Outcomes,
    objects: Callable[[], Objects],
    request: Request,
    known: Mapping[Method, Known],
    tasks: Tasks,
) -> list[Counted]:
    """Counts every pair by every method; what an earlier analysis knows is not counted again.

    Args:
        outcomes: of the dataset.
        objects: opens the store where a task runs.
        request: what to count.
        known: of each method, over its own members.
        tasks: where to count.
    """
    counted = []

    def shares_a_pass(method: Method) -> tuple[tuple[int, ...], tuple[int, ...]]:
        return members_of(outcomes, method), tuple(known[method].new_R.tolist())

    for (members, new), group in groupby(sorted(request.methods, key=shares_a_pass), key=shares_a_pass):
        methods = tuple(group)
        if not members:
            counted += [_nothing_counted(method) for method in methods]
            continue
        work = EnsembleWork(
            objects=objects,
            files=score_files(outcomes, members),
            predictions_VN=outcomes.predictions_VN[list(members)],
            labels_N=outcomes.labels_N,
            rows_R=np.array(new, np.int64),
            first=0,
            methods=methods,
            grouped=request.grouped if request.grouped in methods else None,
            groups=request.groups,
            threads=tasks.threads,
        )
        parts = list(_passes(work, request.memory_bytes, tasks)) if new else []
        counted += [_joined(method, members, parts, known[method], work) for method in methods]
    return sorted(counted, key=lambda one: request.methods.index(one.method))


def _nothing_counted(method: Method) -> Counted:
    """What a method makes of no variant: a table without rows."""
    nobody = np.empty(0, np.int32)
    columns = dict.fromkeys(KEPT, nobody)
    counts = _counts(nobody, nobody, 0, nobody.astype(np.int64), columns)
    return Counted(method=method, members_S=nobody.astype(np.int64), counts=counts)


def _passes(work: EnsembleWork, memory_bytes: float, tasks: Tasks) -> Iterator[MethodSums]:
    """The sums of all rows, some rows at a time where all of them would take too much memory."""
    variants, examples = work.predictions_VN.shape
    held = tasks.threads if work.grouped is None else tasks.threads + work.groups
    pairs = memory_bytes / (_BYTES_A_PAIR * (len(work.methods) + held))
    bytes_an_example = BYTES_A_ROW * variants + _BYTES_UNDECIDED * variants * (variants - 1) / 2
    chunks = plan_chunks(examples, bytes_an_example=bytes_an_example, memory_bytes=memory_bytes)
    bytes_on_disk = 2 * variants * work.files.classes
    units = in_units(chunks, bytes_an_example=bytes_on_disk, memory_bytes=_ON_DISK * memory_bytes)
    if len(work.rows_R) < variants:
        size = max(1, int(pairs // variants))
        blocks = [work.rows_R[start : start + size] for start in range(0, len(work.rows_R), size)]
    else:
        blocks = [np.arange(rows.start, rows.stop) for rows in row_blocks(variants, pairs=int(pairs))]
    for rows_R in blocks:
        first = int(rows_R[0]) if len(work.rows_R) == variants else 0
        yield tasks.reduce(sum_chunks, merge_method_sums, units, replace(work, rows_R=rows_R, first=first))


def _joined(
    method: Method, members: Sequence[int], parts: Sequence[MethodSums], known: Known, work: EnsembleWork
) -> Counted:
    """The counts of all pairs, from the sums of new rows and what was known before."""
    sums = [part.by_method[method] for part in parts]
    groups = work.groups if method == work.grouped else 0
    found = [ensemble_counts(part) for part in sums]
    new: dict[str, Column] = {name: _concatenated([getattr(counts, name) for counts in found]) for name in KEPT}
    if groups:
        new[GROUPED] = _concatenated([_group_columns(part, groups) for part in parts])
    a_P, b_P = pair_indices(len(members))
    if known.columns:
        a_new, b_new = _concatenated([c.a for c in found]), _concatenated([c.b for c in found])
        columns = gather(known, rows_of_pairs(known, a_new, b_new, new), a_P, b_P)
    else:
        columns = new
    correct_S = sums[0].correct_V if sums else known.correct_W[known.place_V]
    return Counted(
        method=method,
        members_S=np.array(members),
        counts=_counts(a_P, b_P, len(work.labels_N), correct_S, columns),
        correct_PG=columns.get(GROUPED),
    )


def _counts(
    a_P: NDArray[np.int32],
    b_P: NDArray[np.int32],
    examples: int,
    correct_S: NDArray[np.int64],
    columns: Mapping[str, Column],
) -> EnsembleCounts:
    both_right, converted, rescued = (columns[name] for name in KEPT)
    return counts_of_sums(a_P, b_P, examples, correct_S, both_right=both_right, converted=converted, rescued=rescued)


def _group_columns(part: MethodSums, groups: int) -> Column:
    """(P, G) how often the ensembles of some rows are right in each group."""
    columns = [ensemble_counts(part.by_group[group]).correct for group in range(groups)]
    return np.stack(columns, axis=1).astype(np.int32)


def _concatenated(parts: Sequence[Column]) -> Column:
    return np.concatenate(parts) if parts else np.empty(0, np.int64)


def ensemble_frames(
    counted: Sequence[Counted], labels: Labels, complete_V: NDArray[np.bool_]
) -> Iterator[pl.DataFrame]:
    """The rows of the table: pairs in pair order, each by every method that can use both members."""
    for rows in row_blocks(len(labels.names), pairs=PAIRS_AT_ONCE):
        frames = [_frame(one, place, rows, labels, complete_V) for place, one in enumerate(counted)]
        yield pl.concat(frames).sort("first", "second", "place").drop("first", "second", "place")


def _frame(one: Counted, place: int, rows: range, labels: Labels, complete_V: NDArray[np.bool_]) -> pl.DataFrame:
    counts = _of_rows(one, rows)
    a_P, b_P = one.members_S[counts.a], one.members_S[counts.b]
    metrics: EnsembleMetrics = ensemble_metrics(counts)
    size = len(a_P)
    return pl.DataFrame(
        {
            **labels.names_of(a_P, b_P),
            "rule": pl.Series([one.method.rule]).new_from_index(0, size),
            "calibrated": np.full(size, one.method.calibrated),
            "complete": complete_V[a_P] & complete_V[b_P] if one.method.rule != "vote" else np.full(size, True),
            "examples": np.full(size, counts.examples),
            "accuracy": metrics.accuracy,
            "accuracy_low": metrics.accuracy_low,
            "accuracy_high": metrics.accuracy_high,
            "improvement": metrics.improvement,
            "gain": metrics.gain,
            "conversion_rate": metrics.conversion_rate,
            "a_correct": counts.a_correct,
            "b_correct": counts.b_correct,
            "both_right": counts.both_right,
            "one_right": counts.one_right,
            "one_right_converted": counts.one_right_converted,
            "both_wrong_rescued": counts.both_wrong_rescued,
            "both_right_lost": counts.both_right_lost,
            "first": a_P,
            "second": b_P,
            "place": np.full(size, place),
        },
        nan_to_null=True,
    )


def _of_rows(one: Counted, rows: range) -> EnsembleCounts:
    """The counts of pairs whose first member is one of these variants of the dataset."""
    first_P = one.members_S[one.counts.a]
    part = slice(*np.searchsorted(first_P, [rows.start, rows.stop]).tolist())
    names = [field.name for field in fields(EnsembleCounts) if field.name != "examples"]
    return replace(one.counts, **{name: getattr(one.counts, name)[part] for name in names})
