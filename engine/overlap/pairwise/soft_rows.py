"""The table of pair metrics that read probabilities: agreement of outputs beyond that of classes, on request.

Array names: V variants, N examples, C classes, P pairs, G groups of examples.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from overlap.pairwise.pair_rows import Labels
from overlap.score_files import Chunk, Scale, ScoreFiles, plan_chunks, read_grid
from overlap.store import Objects
from overlap.tasks import Tasks
from overlap_analysis import (
    DEFAULT_BOOTSTRAP,
    GRID,
    SoftSums,
    merge_soft_sums,
    pair_count,
    pair_indices,
    soft_intervals,
    soft_metrics,
    soft_sums,
)

SUMS_BYTES = 512 * 2**20
_BYTES_A_CLASS = 32  # of a variant and an example, while probabilities are compared


def groups_of(variants: int, examples: int) -> int:
    """In how many groups examples are resampled: as elsewhere, fewer where their sums would take too much memory."""
    pairs = max(pair_count(variants), 1)
    return int(np.clip(SUMS_BYTES // (24 * pairs), 2, min(DEFAULT_BOOTSTRAP.groups, examples)))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SoftWork:
    """What every chunk is summed with. `objects` opens the store where a task runs."""

    objects: Callable[[], Objects]
    files: ScoreFiles
    labels_N: NDArray[np.int32]
    scale: Scale
    groups: int


def soft_table(labels: Labels, work: SoftWork, tasks: Tasks, *, memory_bytes: float) -> pl.DataFrame:
    """One row a pair: CAPA, Jensen-Shannon divergence, correlation of the label's probability, with intervals."""
    bytes_an_example = _BYTES_A_CLASS * len(labels.names) * work.files.classes
    chunks = plan_chunks(len(work.labels_N), bytes_an_example=bytes_an_example, memory_bytes=memory_bytes)
    sums = tasks.reduce(_sums, merge_soft_sums, chunks, work)
    a_P, b_P = pair_indices(len(labels.names))
    columns: dict[str, object] = {**labels.names_of(a_P, b_P), "category": labels.words_of(a_P, b_P)}
    metrics, intervals = soft_metrics(sums), soft_intervals(sums)
    for name, value_P in metrics.items():
        low_P, high_P = intervals[name]
        columns |= {name: value_P, f"{name}_low": low_P, f"{name}_high": high_P}
    return pl.DataFrame(columns, nan_to_null=True)


def _sums(chunk: Chunk, work: SoftWork) -> SoftSums:
    probabilities_VNC = read_grid(work.files, chunk, work.objects(), work.scale).astype(np.float64) / GRID
    probabilities_VNC /= probabilities_VNC.sum(axis=2, keepdims=True)
    labels_N = work.labels_N[chunk.start : chunk.stop]
    return soft_sums(probabilities_VNC, labels_N, groups=work.groups, start=chunk.start)
