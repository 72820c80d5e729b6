"""The variants of a sweep as candidates of an ensemble: scorers of paths, and how good their prefixes are.

Array names: V variants, N examples, S members.
"""

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from overlap.outcomes import Outcomes
from overlap.score_files import Chunk, Scale, ScoreFiles, plan_chunks, read_grid, score_files
from overlap.selection.search import Metric, weights_of
from overlap.selection.threat_files import threat_blocks
from overlap.store import Objects, Store
from overlap.tasks import Tasks
from overlap_analysis import (
    BrierScore,
    BrierSums,
    LogLoss,
    RightCounts,
    ScoredBlock,
    Scorer,
    average_counts,
    brier_sums,
    prefix_counts,
)

_BYTES_AN_OUTPUT = 2
_BYTES_A_CLASS = 24  # of a variant and an example, while probabilities are multiplied


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class BrierWork:
    """What every chunk is summed with. `objects` opens the store where a task runs."""

    objects: Callable[[], Objects]
    files: ScoreFiles
    labels_N: NDArray[np.int32]
    weights_N: NDArray[np.int64]
    scale: Scale


class Pool:
    """What all paths among a sweep's variants share; each part is read when it is first asked for."""

    def __init__(
        self,
        store: Store,
        outcomes: Outcomes,
        objects: Callable[[], Objects],
        tasks: Tasks,
        *,
        calibrated: bool,
        memory_bytes: float,
    ) -> None:
        self.store, self.outcomes, self.objects, self.tasks = store, outcomes, objects, tasks
        self.calibrated, self.memory_bytes = calibrated, memory_bytes
        self.blocks = functools.cache(self._blocks)

    def _blocks(self, beats: int) -> list[ScoredBlock]:
        return threat_blocks(
            self.store,
            self.outcomes,
            self.objects,
            self.tasks,
            calibrated=self.calibrated,
            beats=beats,
            memory_bytes=self.memory_bytes,
        )

    def accuracies(self, chosen_N: NDArray[np.bool_]) -> NDArray[np.float64]:
        """(V,) accuracy of each variant on some examples."""
        accuracy_V: NDArray[np.float64] = self.outcomes.correct_VN[:, chosen_N].mean(axis=1)
        return accuracy_V

    def scorer(
        self, metric: Metric, chosen_N: NDArray[np.bool_], *, steps: int, candidates: Sequence[int] | None = None
    ) -> Scorer:
        """Begins a path on some examples, among some candidates."""
        weights_N = weights_of(metric, self.outcomes.labels_N, chosen_N)
        if metric is Metric.NLL:
            everyone = np.arange(len(self.outcomes.variants))
            return LogLoss(_label_scores(self.blocks(1), everyone), weights_N, candidates)
        if metric is Metric.BRIER:
            return BrierScore(self._brier_sums(weights_N), candidates)
        blocks = self.blocks(metric.beats)
        return RightCounts(
            blocks,
            self._parts(blocks, weights_N),
            variants=len(self.outcomes.variants),
            steps=steps,
            candidates=candidates,
            threads=self.tasks.threads,
        )

    def tie_loss(self, chosen_N: NDArray[np.bool_]) -> Callable[[Sequence[int], Sequence[int]], NDArray[np.float64]]:
        """The log loss of an ensemble with each of some candidates, on some examples."""
        blocks, weights_N = self.blocks(1), chosen_N.astype(np.int64)

        def losses(members: Sequence[int], candidates: Sequence[int]) -> NDArray[np.float64]:
            variants = [*members, *candidates]
            loss = LogLoss(_label_scores(blocks, variants), weights_N)
            for place in range(len(members)):
                loss.add(place)
            return loss.losses(np.arange(len(members), len(variants)))

        return losses

    def right(self, chosen_N: NDArray[np.bool_], members: Sequence[int]) -> NDArray[np.int64]:
        """(S,) how many of some examples the ensemble gets right after each member."""
        blocks = self.blocks(1)
        return prefix_counts(blocks, self._parts(blocks, chosen_N.astype(np.int64)), members)

    def scores(self, metric: Metric, chosen_N: NDArray[np.bool_], members: Sequence[int]) -> NDArray[np.float64]:
        """(S,) the metric on some examples after each member; NaN without examples."""
        weights_N = weights_of(metric, self.outcomes.labels_N, chosen_N)
        if not weights_N.any():
            return np.full(len(members), np.nan)
        if metric.counts:
            blocks = self.blocks(metric.beats)
            counts_S = prefix_counts(blocks, self._parts(blocks, weights_N), members)
            return counts_S / np.float64(weights_N.sum())
        scores, scorer = [], self.scorer(metric, chosen_N, steps=len(members))
        for member in members:
            only_M = scorer.candidates_M == member
            scores.append(-scorer.best(only_M)[0])
            scorer.add(member)
        return np.array(scores)

    def average(self, chosen_N: NDArray[np.bool_]) -> tuple[int, int]:
        """At least and at most how many of some examples the mean of all variants gets right.

        Equal where every output is read: in sweeps whose outputs fit into the memory that may be used.
        """
        blocks = self.blocks(1)
        parts = self._parts(blocks, chosen_N.astype(np.int64))
        least, most = average_counts(blocks, parts)
        everyone = list(range(len(self.outcomes.variants)))
        outputs = len(everyone) * len(self.outcomes.labels_N) * len(self.outcomes.class_names)
        if least < most and _BYTES_AN_OUTPUT * outputs <= self.memory_bytes:
            least = most = int(prefix_counts(blocks, parts, everyone)[-1])
        return least, most

    def _brier_sums(self, weights_N: NDArray[np.int64]) -> BrierSums:
        outcomes, variants = self.outcomes, len(self.outcomes.variants)
        work = BrierWork(
            objects=self.objects,
            files=score_files(outcomes, range(variants)),
            labels_N=outcomes.labels_N,
            weights_N=weights_N,
            scale=Scale(probabilities=True, calibrated=self.calibrated),
        )
        bytes_an_example = _BYTES_A_CLASS * variants * len(outcomes.class_names)
        chunks = plan_chunks(len(outcomes.labels_N), bytes_an_example=bytes_an_example, memory_bytes=self.memory_bytes)
        return self.tasks.reduce(_brier_chunk, _add, chunks, work)

    def _parts(self, blocks: Sequence[ScoredBlock], values_N: NDArray[np.int64]) -> list[NDArray[np.int64]]:
        sizes = [len(block.threats.labels_N) for block in blocks]
        return np.split(values_N, np.cumsum(sizes)[:-1])


def _label_scores(blocks: Sequence[ScoredBlock], variants: Sequence[int] | NDArray[np.int64]) -> NDArray[np.int32]:
    """(V, N) some variants' scores of the labels of all examples."""
    return np.concatenate([block.threats.label_VN[variants] for block in blocks], axis=1)


def _brier_chunk(chunk: Chunk, work: BrierWork) -> BrierSums:
    some = slice(chunk.start, chunk.stop)
    grid_VNC = read_grid(work.files, chunk, work.objects(), work.scale)
    return brier_sums(grid_VNC, work.labels_N[some], work.weights_N[some])


def _add(parts: Sequence[BrierSums]) -> BrierSums:
    first, *others = parts
    return functools.reduce(BrierSums.__add__, others, first)
