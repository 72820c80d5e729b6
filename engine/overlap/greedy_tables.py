"""The tables of greedy ensemble selection: its path on held-out examples, beside what it must beat."""

import fnmatch
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from overlap import tables
from overlap.blocks import Block, Blocks
from overlap.errors import ArgumentError
from overlap.outcomes import Outcomes, indices_of
from overlap_analysis import ensemble_correct, greedy_counts, greedy_path


@dataclass(frozen=True, slots=True, kw_only=True)
class Search:
    """How far to go, on which share of the examples, from which members, among which names (a glob)."""

    steps: int
    selection: float
    start: tuple[str, ...]
    candidates: str


def greedy_tables(
    outcomes: Outcomes, blocks: Blocks, search: Search, selected_N: NDArray[np.bool_]
) -> dict[str, pl.DataFrame]:
    """The greedy path, and what it must beat: the best single variant and the average of all.

    Raises:
        ArgumentError: the search has no step, no candidate or no example to choose on.
    """
    if search.steps < max(1, len(search.start)):
        raise ArgumentError(f"--steps must be at least {max(1, len(search.start))}, got {search.steps}")
    matching = [i for i, name in enumerate(outcomes.names) if fnmatch.fnmatchcase(name, search.candidates)]
    if not matching:
        raise ArgumentError(f"--candidates '{search.candidates}' matches no variant with a result")
    selection = int(selected_N.sum())
    evaluation = len(selected_N) - selection
    if not selection:
        raise ArgumentError(f"--selection {search.selection:g} leaves no example to choose on")

    def count(picks: Sequence[int]) -> NDArray[np.int64]:
        return _total(blocks.map(_count_candidates, list(picks)))

    path = greedy_path(count, steps=search.steps, start=indices_of(outcomes, search.start), candidates=matching)
    picks = [member.variant for member in path]
    right_S = _total(blocks.map(_count_prefixes, picks))
    best = int(np.argmax(count([])))
    everyone = _total(blocks.map(_count_prefixes, list(range(len(outcomes.variants)))))[-1:]
    alone = _total(blocks.map(_count_prefixes, [best]))
    greedy = pl.DataFrame(
        {
            "step": np.arange(1, len(path) + 1),
            "variant": [outcomes.names[pick] for pick in picks],
            "selection_accuracy": np.array([member.selection_correct for member in path]) / selection,
            **tables.accuracy_columns("evaluation", right_S, evaluation),
            "selection_examples": np.full(len(path), selection),
            "evaluation_examples": np.full(len(path), evaluation),
        },
        nan_to_null=True,
    )
    references_table = pl.DataFrame(
        {
            "reference": ["best single", "average of all"],
            "variant": [outcomes.names[best], None],
            **tables.accuracy_columns("evaluation", np.concatenate([alone, everyone]), evaluation),
        },
        nan_to_null=True,
    )
    return {"greedy": greedy, "greedy_references": references_table}


def _total(counts: list[NDArray[np.int64]]) -> NDArray[np.int64]:
    """The sum of the blocks' counts."""
    total: NDArray[np.int64] = np.sum(counts, axis=0, dtype=np.int64)
    return total


def _count_candidates(block: Block, picks: list[int]) -> NDArray[np.int64]:
    """(V,) right selection examples of picks and one more."""
    return greedy_counts(block.grid_VNC[:, : block.selected], block.labels_N[: block.selected], picks)


def _count_prefixes(block: Block, picks: list[int]) -> NDArray[np.int64]:
    """(S,) right evaluation examples after each pick."""
    return ensemble_correct(block.grid_VNC[:, block.selected :], block.labels_N[block.selected :], picks)
