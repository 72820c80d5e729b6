"""How often the ensemble of every pair is right, chunk of examples by chunk: a task reads, scores and counts one.

Array names: V variants, R variants that are counted against all, N examples of a chunk, G groups of examples,
U undecided, C classes.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from overlap.score_files import (
    Chunk,
    Scale,
    ScoreFiles,
    StoredScores,
    Tops,
    WholeRows,
    contenders,
    read_tops,
    votes,
)
from overlap.store import Objects
from overlap_analysis import (
    Contenders,
    EnsembleSums,
    Rule,
    decide,
    merge_sums,
    settle,
    sum_ensembles,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Method:
    """How two members become an ensemble: a rule, on calibrated scores or raw ones."""

    rule: Rule
    calibrated: bool

    @property
    def scale(self) -> Scale | None:
        """The scores that the rule reads; None where members vote."""
        if self.rule == "vote":
            return None
        return Scale(probabilities=self.rule != "mean_logit", calibrated=self.calibrated)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class EnsembleWork:
    """What every chunk is counted with: these variants, the rows of some of them, by these methods.

    `objects` opens the store where the chunk is counted. The sums of `grouped`, one of the methods or None, are
    also kept apart for `groups` groups of examples: example n of the dataset is in group n mod `groups`.
    """

    objects: Callable[[], Objects]
    files: ScoreFiles
    predictions_VN: NDArray[np.integer]
    labels_N: NDArray[np.int32]
    rows_R: NDArray[np.int64]
    first: int
    methods: tuple[Method, ...]
    grouped: Method | None
    groups: int
    threads: int


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class MethodSums:
    """The sums by each method, and those of the grouped one by group."""

    by_method: Mapping[Method, EnsembleSums]
    by_group: Mapping[int, EnsembleSums]


def sum_chunks(chunks: Sequence[Chunk], work: EnsembleWork) -> MethodSums:
    """Counts neighboring chunks, which share the whole rows of logits that are read for what needs them."""
    whole = WholeRows(work.files, Chunk(start=chunks[0].start, stop=chunks[-1].stop), work.objects())
    first, *others = chunks
    total = _sum_chunk(first, work, whole)
    for chunk in others:
        total = merge_method_sums([total, _sum_chunk(chunk, work, whole)])
    return total


def _sum_chunk(chunk: Chunk, work: EnsembleWork, whole: WholeRows) -> MethodSums:
    objects = work.objects()
    scored = any(method.scale for method in work.methods)
    tops = read_tops(work.files, chunk, objects, threads=work.threads) if scored else []
    labels_N = work.labels_N[chunk.start : chunk.stop]
    made: dict[Scale | None, Contenders] = {}
    by_method: dict[Method, EnsembleSums] = {}
    by_group: dict[int, EnsembleSums] = {}
    for method in work.methods:
        if method.scale not in made:
            made[method.scale] = _contenders(chunk, work, tops, labels_N, method.scale)
        offset = chunk.start - whole.chunk.start
        counted = _Counted(work, whole, offset, made[method.scale], labels_N, method)
        if method == work.grouped:
            by_group = {group: counted.sums(rows) for group, rows in _groups(chunk, work.groups)}
            by_method[method] = merge_sums(list(by_group.values()))
        else:
            by_method[method] = counted.sums(np.arange(len(labels_N)))
    return MethodSums(by_method=by_method, by_group=by_group)


def _contenders(
    chunk: Chunk, work: EnsembleWork, tops: Sequence[Tops], labels_N: NDArray[np.int32], scale: Scale | None
) -> Contenders:
    if scale is None:
        return votes(work.predictions_VN[:, chunk.start : chunk.stop], labels_N)
    return contenders(work.files, tops, labels_N, scale, threads=work.threads)


def merge_method_sums(parts: Sequence[MethodSums]) -> MethodSums:
    """The sums of the union of chunks."""
    groups = sorted({group for part in parts for group in part.by_group})
    return MethodSums(
        by_method={method: merge_sums([part.by_method[method] for part in parts]) for method in parts[0].by_method},
        by_group={
            group: merge_sums([part.by_group[group] for part in parts if group in part.by_group]) for group in groups
        },
    )


def _groups(chunk: Chunk, groups: int) -> list[tuple[int, NDArray[np.int64]]]:
    """The groups of which a chunk has examples, with their rows in it."""
    group_N = np.arange(chunk.start, chunk.stop) % groups
    return [(int(group), np.flatnonzero(group_N == group)) for group in np.unique(group_N)]


@dataclass(frozen=True, slots=True, eq=False)
class _Counted:
    """A chunk by one method, as far as it can be counted for any of its rows."""

    work: EnsembleWork
    whole: WholeRows
    offset: int
    contenders: Contenders
    labels_N: NDArray[np.int32]
    method: Method

    def sums(self, rows_N: NDArray[np.int64]) -> EnsembleSums:
        """The sums of some rows of the chunk."""
        work, labels_N = self.work, self.labels_N[rows_N]
        some = _some(self.contenders, rows_N)
        sums, undecided = sum_ensembles(
            some,
            labels_N,
            self.method.rule,
            rows_R=work.rows_R,
            first=work.first,
            threads=work.threads,
        )
        if not len(undecided.n):
            return sums
        scale = self.method.scale
        assert scale is not None, "votes leave nothing undecided"
        scores = StoredScores(self.whole, scale, self.offset + rows_N)
        return settle(sums, undecided, decide(undecided, some, labels_N, scores, threads=work.threads))


def _some(contenders: Contenders, rows_N: NDArray[np.int64]) -> Contenders:
    if len(rows_N) == contenders.label_VN.shape[1]:
        return contenders
    return replace(
        contenders,
        label_VN=contenders.label_VN[:, rows_N],
        score_VNK=contenders.score_VNK[:, rows_N],
        class_VNK=contenders.class_VNK[:, rows_N],
        rest_VN=contenders.rest_VN[:, rows_N],
    )
