"""What the store's tables of an earlier analysis tell of the variants of today.

Array names: W variants of the earlier analysis.
"""

import math
from collections.abc import Mapping, Sequence

import numpy as np
import polars as pl

from overlap.outcomes import Outcomes
from overlap.pairwise import ensemble_rows, pair_rows
from overlap.pairwise.ensemble_rows import GROUPED, Request, members_of
from overlap.pairwise.ensemble_sums import Method
from overlap.pairwise.growth import Column, Known, known_columns, nothing_known
from overlap.store import Store
from overlap_analysis import pair_count

GROUPS_TABLE = "ensemble_groups"


def known_pairs(store: Store, outcomes: Outcomes) -> Known:
    """The joint outcomes of the variants that are still the same."""
    keys = store.analysis_keys(outcomes.dataset, "pairs")
    frame = store.read_analysis(outcomes.dataset, "pairs", columns=[*pair_rows.KEPT]) if keys else None
    if frame is None or frame.height != pair_count(len(keys)):
        return nothing_known(len(outcomes.keys))
    return known_columns(outcomes.keys, list(keys.values()), _columns(frame, pair_rows.KEPT), np.empty(0, np.int64))


def known_ensembles(store: Store, outcomes: Outcomes, request: Request) -> dict[Method, Known]:
    """The ensembles of the variants that are still the same, by each method over its own members."""
    nothing = {method: nothing_known(len(members_of(outcomes, method))) for method in request.methods}
    keys = store.analysis_keys(outcomes.dataset, "ensembles")
    columns = ["a", "b", "rule", "calibrated", *ensemble_rows.KEPT, "a_correct", "b_correct"]
    frame = store.read_analysis(outcomes.dataset, "ensembles", columns=columns) if keys else None
    if frame is None:
        return nothing
    return {method: _known(store, outcomes, request, method, frame, keys) or nothing[method] for method in nothing}


def _known(
    store: Store, outcomes: Outcomes, request: Request, method: Method, frame: pl.DataFrame, keys: Mapping[str, str]
) -> Known | None:
    own = frame.filter((pl.col("rule") == method.rule) & (pl.col("calibrated") == method.calibrated))
    if own.is_empty():
        return None
    names = [own["a"][0], *own["b"][: _members(own.height) - 1]]
    if own.height != pair_count(len(names)):
        return None
    columns = _columns(own, ensemble_rows.KEPT)
    if method == request.grouped:
        groups = _known_groups(store, outcomes.dataset, {name: keys[name] for name in names}, request.groups)
        if groups is None:
            return None
        columns[GROUPED] = groups
    first = own.head(len(names) - 1)
    correct_W = np.array([first["a_correct"][0], *first["b_correct"]], np.int64)
    today = [outcomes.keys[v] for v in members_of(outcomes, method)]
    return known_columns(today, [keys[name] for name in names], columns, correct_W)


def _known_groups(store: Store, dataset: str, keys: Mapping[str, str], groups: int) -> Column | None:
    """The sums by groups of examples of the pairs of exactly these variants, if they were kept in as many groups."""
    if store.analysis_keys(dataset, GROUPS_TABLE) != keys:
        return None
    frame = store.read_analysis(dataset, GROUPS_TABLE)
    columns = None if frame is None else frame[GROUPED].to_numpy()
    return columns if columns is not None and columns.shape == (pair_count(len(keys)), groups) else None


def _columns(frame: pl.DataFrame, names: Sequence[str]) -> dict[str, Column]:
    return {name: frame[name].to_numpy().astype(np.int32) for name in names}


def _members(pairs: int) -> int:
    """How many variants have so many pairs."""
    return (1 + math.isqrt(1 + 8 * pairs)) // 2
