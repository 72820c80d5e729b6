"""The table of pair metrics that read probabilities: agreement of outputs beyond that of classes, on request.

Array names: V variants, N examples, C classes, P pairs, G groups of examples.
"""

import numpy as np
import polars as pl

from overlap.blocks import Block, Blocks
from overlap.pairwise.pair_rows import Labels
from overlap_analysis import (
    DEFAULT_BOOTSTRAP,
    GRID,
    SoftSums,
    merge_soft_sums,
    pair_indices,
    soft_intervals,
    soft_metrics,
    soft_sums,
)

SUMS_BYTES = 512 * 2**20


def groups_of(variants: int, examples: int) -> int:
    """In how many groups examples are resampled: as elsewhere, fewer where their sums would take too much memory."""
    pairs = max(variants * (variants - 1) // 2, 1)
    return int(np.clip(SUMS_BYTES // (24 * pairs), 2, min(DEFAULT_BOOTSTRAP.groups, examples)))


def soft_table(labels: Labels, blocks: Blocks, examples: int) -> pl.DataFrame:
    """One row a pair: CAPA, Jensen-Shannon divergence, correlation of the label's probability, with intervals."""
    sums = merge_soft_sums(blocks.map(_sums, groups_of(len(labels.names), examples)))
    a_P, b_P = pair_indices(len(labels.names))
    columns: dict[str, object] = {**labels.names_of(a_P, b_P), "category": labels.words_of(a_P, b_P)}
    metrics, intervals = soft_metrics(sums), soft_intervals(sums)
    for name, value_P in metrics.items():
        low_P, high_P = intervals[name]
        columns |= {name: value_P, f"{name}_low": low_P, f"{name}_high": high_P}
    return pl.DataFrame(columns, nan_to_null=True)


def _sums(block: Block, groups: int) -> SoftSums:
    probabilities_VNC = block.grid_VNC.astype(np.float64) / GRID
    probabilities_VNC /= probabilities_VNC.sum(axis=2, keepdims=True)
    return soft_sums(probabilities_VNC, block.labels_N, groups=groups, start=block.start)
