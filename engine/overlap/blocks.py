"""Blocks of examples: every variant's probabilities over some of them, read when they are needed.

Array names: V variants, N examples of a block, C classes.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Concatenate, ParamSpec, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from overlap.outcomes import Outcomes
from overlap.store import Objects, Store
from overlap.store.schema import ROW_GROUP, matrix
from overlap_analysis import probability_scores

BLOCK_BYTES = 128 * 2**20
KEPT_BYTES = 2 * 2**30

P = ParamSpec("P")
T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class BlockPlan:
    """Where a block lies: rows [start, stop) of one row group in every variant's logits file.

    `selected_N` marks the examples that choose an ensemble; the others evaluate it.
    """

    logits_names: tuple[str, ...]
    result_names: tuple[str, ...]
    calibrated: bool
    temperature_V: NDArray[np.float64]
    group: int
    start: int
    stop: int
    labels_N: NDArray[np.int32]
    selected_N: NDArray[np.bool_]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Block:
    """Probabilities on the 2⁻³⁰ grid; the first `selected` examples choose, the rest evaluate.

    `start` is how many examples of the dataset come before the block.
    """

    start: int
    grid_VNC: NDArray[np.int32]
    labels_N: NDArray[np.int32]
    selected: int


class Blocks(Protocol):
    """Something that applies a function to every block of a dataset, here or on a cluster."""

    def map(self, function: Callable[Concatenate[Block, P], T], *args: P.args, **kwargs: P.kwargs) -> list[T]:
        """`function(block, *args)` of every block, in the order of the examples."""
        ...


def plan_blocks(outcomes: Outcomes, selected_N: NDArray[np.bool_], *, calibrated: bool) -> list[BlockPlan]:
    """Cuts the examples so that a block's probabilities take at most `BLOCK_BYTES`."""
    variants, examples = outcomes.predictions_VN.shape
    bytes_an_example = 4 * variants * len(outcomes.class_names)
    rows = int(np.clip(BLOCK_BYTES // bytes_an_example, 1, ROW_GROUP))
    temperature_V = outcomes.temperature_V if calibrated else np.ones(variants)
    plans = []
    for first in range(0, examples, ROW_GROUP):
        last = min(first + ROW_GROUP, examples)
        for start in range(first, last, rows):
            stop = min(start + rows, last)
            plans.append(
                BlockPlan(
                    logits_names=outcomes.logits_names,
                    result_names=outcomes.result_names,
                    calibrated=calibrated,
                    temperature_V=temperature_V,
                    group=first // ROW_GROUP,
                    start=start - first,
                    stop=stop - first,
                    labels_N=outcomes.labels_N[start:stop],
                    selected_N=selected_N[start:stop],
                )
            )
    return plans


def load_block(plan: BlockPlan, objects: Objects) -> Block:
    """Reads a block's logits and puts their softmax on the grid, the selected examples first."""
    store = Store(objects)
    order_N = np.argsort(~plan.selected_N, kind="stable")
    grids = []
    partition = "calibrated_log_partition" if plan.calibrated else "log_partition"
    rows = slice(plan.start, plan.stop)
    for name, result, temperature in zip(plan.logits_names, plan.result_names, plan.temperature_V, strict=True):
        table = store.read(name, columns=["logits"], groups=[plan.group]).table
        logits_NC = matrix(table, "logits")[rows][order_N].astype(np.float16, copy=False)
        column = store.read(result, columns=[partition], groups=[plan.group]).table.column(partition)
        grids.append(probability_scores(logits_NC, column.to_numpy()[rows][order_N], temperature=temperature))
    return Block(
        start=plan.group * ROW_GROUP + plan.start,
        grid_VNC=np.stack(grids),
        labels_N=plan.labels_N[order_N],
        selected=int(np.count_nonzero(plan.selected_N)),
    )


class LocalBlocks:
    """Blocks in this process, kept in memory if all of them fit into `KEPT_BYTES`."""

    def __init__(self, plans: list[BlockPlan], objects: Objects) -> None:
        self.plans = plans
        self.objects = objects
        self.kept: list[Block] = []

    def map(self, function: Callable[Concatenate[Block, P], T], *args: P.args, **kwargs: P.kwargs) -> list[T]:
        """`function(block, *args)` of every block."""
        return [function(block, *args, **kwargs) for block in self._blocks()]

    def _blocks(self) -> Iterator[Block]:
        if self.kept:
            yield from self.kept
            return
        blocks, kept_bytes = [], 0
        for plan in self.plans:
            block = load_block(plan, self.objects)
            kept_bytes += block.grid_VNC.nbytes
            if kept_bytes <= KEPT_BYTES:
                blocks.append(block)
            yield block
        self.kept = blocks if len(blocks) == len(self.plans) else []
