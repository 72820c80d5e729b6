"""The tables of greedy selection: its path on held-out examples, beside what it must beat.

Array names: N examples, S members.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import polars as pl
from numpy.typing import NDArray

from overlap.errors import ArgumentError
from overlap.selection.pool import Pool
from overlap.selection.search import COSTS, Metric, Search, candidates_of, check_search, costs_of, rules_of
from overlap.tables import accuracy_columns
from overlap_analysis import (
    GreedyStep,
    Rules,
    bagged_members,
    best_prefix,
    greedy_path,
    hashed_uniform,
    selection_mask,
    sorted_start,
    wilson_interval,
)

GREEDY_TABLES = ("greedy", "greedy_references", "greedy_folds", "greedy_bags")
_FOLD_STREAM = 0x464F4C4453  # keeps folds independent of the selection from the same seed


def greedy_tables(pool: Pool, search: Search) -> dict[str, pl.DataFrame]:
    """The tables `greedy` and `greedy_references`, and `greedy_folds` and `greedy_bags` if they were asked for.

    Raises:
        ArgumentError: the search asks for what is not there, or has no example to choose on.
    """
    outcomes = pool.outcomes
    check_search(search, outcomes)
    selected_N = selection_mask(outcomes.ids_N, fraction=search.selection, seed=search.seed)
    if not selected_N.any():
        raise ArgumentError(f"--selection {search.selection:g} leaves no example to choose on")
    candidates = candidates_of(search, outcomes, pool.accuracies(selected_N))
    path = select(pool, search, selected_N, candidates)
    members = [step.variant for step in path]
    found = {"greedy": path_table(pool, search.metric, path, selected_N)}
    bagged: list[int] = []
    if search.bags:
        bagged = _bagged(pool, search, selected_N, candidates)
        variants, times = np.unique(bagged, return_counts=True)
        weights = {"variant": [outcomes.names[v] for v in variants], "weight": times / len(bagged)}
        found["greedy_bags"] = pl.DataFrame(weights).sort("weight", "variant", descending=[True, False])
    if search.folds:
        found["greedy_folds"] = _folds_table(pool, search, selected_N, candidates)
    best = members[: best_prefix(path)]
    found["greedy_references"] = _references_table(pool, selected_N, candidates, best, bagged)
    return found


def select(pool: Pool, search: Search, chosen_N: NDArray[np.bool_], candidates: Sequence[int]) -> list[GreedyStep]:
    """The path on some examples."""
    rules = replace(rules_of(search, pool.outcomes), tie_loss=pool.tie_loss(chosen_N))
    scorer = pool.scorer(search.metric, chosen_N, steps=search.steps, candidates=candidates)
    if search.sorted_start:
        rules = sorted_start(scorer, rules, search.sorted_start)
    return greedy_path(scorer, rules)


def path_table(pool: Pool, metric: Metric, path: Sequence[GreedyStep], selected_N: NDArray[np.bool_]) -> pl.DataFrame:
    """One row a member: accuracies of the ensemble up to and with it, and what it was chosen by."""
    members = [step.variant for step in path]
    selection, evaluation = int(selected_N.sum()), int((~selected_N).sum())
    evaluated = accuracy_columns("evaluation", pool.right(~selected_N, members), evaluation)
    accuracies = (pool.right(selected_N, members) / selection, evaluated["evaluation_accuracy"])
    scores = accuracies
    if metric is not Metric.ACCURACY:
        scores = (pool.scores(metric, selected_N, members), pool.scores(metric, ~selected_N, members))
    columns: dict[str, object] = {
        "step": np.arange(1, len(path) + 1),
        "variant": [pool.outcomes.names[member] for member in members],
        "selection_accuracy": accuracies[0],
        **evaluated,
        "metric": [metric.value] * len(path),
        "selection_score": scores[0],
        "evaluation_score": scores[1],
        "tied": [None if step.score is None else step.tied for step in path],
        "selection_examples": np.full(len(path), selection),
        "evaluation_examples": np.full(len(path), evaluation),
    }
    return pl.DataFrame(columns, nan_to_null=True)


def _bagged(pool: Pool, search: Search, selected_N: NDArray[np.bool_], candidates: Sequence[int]) -> list[int]:
    rules = replace(rules_of(search, pool.outcomes), tie_loss=pool.tie_loss(selected_N))
    return bagged_members(
        lambda some: pool.scorer(search.metric, selected_N, steps=search.steps, candidates=some),
        candidates,
        rules,
        bags=search.bags,
        seed=search.seed,
    )


def _folds_table(pool: Pool, search: Search, selected_N: NDArray[np.bool_], candidates: Sequence[int]) -> pl.DataFrame:
    """One row a fold: selected on the other folds, evaluated on this one."""
    fold_N = (hashed_uniform(pool.outcomes.ids_N, seed=search.seed ^ _FOLD_STREAM) * search.folds).astype(np.int64)
    rows = []
    for fold in range(search.folds):
        chosen_N, held_N = selected_N & (fold_N != fold), selected_N & (fold_N == fold)
        if not chosen_N.any() or not held_N.any():
            raise ArgumentError(f"--folds {search.folds}: {selected_N.sum()} selection examples are too few for them")
        path = select(pool, search, chosen_N, candidates)
        best = [step.variant for step in path[: best_prefix(path)]]
        right = [int(pool.right(some_N, best)[-1]) for some_N in (chosen_N, held_N)]
        rows.append(
            {
                "fold": fold + 1,
                "members": len(best),
                "selection_accuracy": right[0] / int(chosen_N.sum()),
                "held_out_accuracy": right[1] / int(held_N.sum()),
                "selection_examples": int(chosen_N.sum()),
                "held_out_examples": int(held_N.sum()),
            }
        )
    return pl.DataFrame(rows)


def _best_single(pool: Pool, chosen_N: NDArray[np.bool_], variants: Sequence[int]) -> int:
    """The most accurate of some variants on some examples; of equals the one that greedy selection starts with."""
    scorer = pool.scorer(Metric.ACCURACY, chosen_N, steps=1, candidates=variants)
    return greedy_path(scorer, Rules(steps=1, tie_loss=pool.tie_loss(chosen_N)))[0].variant


def _references_table(
    pool: Pool,
    selected_N: NDArray[np.bool_],
    candidates: Sequence[int],
    best: Sequence[int],
    bagged: Sequence[int],
) -> pl.DataFrame:
    """What the best prefix must beat, all chosen on the selection examples and evaluated on the others."""
    names = pool.outcomes.names
    evaluated_N, examples = ~selected_N, int((~selected_N).sum())
    single = _best_single(pool, selected_N, range(len(names)))

    def row(reference: str, variant: int | None, least: int, most: int) -> dict[str, object]:
        (low,), (high,) = (
            wilson_interval(np.array([right]), np.array([examples]))[side] for side, right in ((0, least), (1, most))
        )
        accuracy = least / examples if examples and least == most else None
        name = None if variant is None else names[variant]
        return {
            "reference": reference,
            "variant": name,
            "evaluation_accuracy": accuracy,
            "evaluation_low": float(low),
            "evaluation_high": float(high),
        }

    def one(reference: str, members: Sequence[int], variant: int | None = None) -> dict[str, object]:
        right = int(pool.right(evaluated_N, members)[-1])
        return row(reference, variant, right, right)

    rows = [one("best single", [single], single), row("average of all", None, *pool.average(evaluated_N))]
    costs = (costs_of(pool.outcomes, name) for name in COSTS)
    cost_V = next((cost_V for cost_V in costs if np.isfinite(cost_V[list(best)]).all()), np.full(len(names), np.nan))
    cost = float(cost_V[np.unique(best)].sum())
    affordable = [v for v in candidates if cost_V[v] <= cost]
    if affordable:
        equal = _best_single(pool, selected_N, affordable)
        rows.append(one("best single of equal cost", [equal], equal))
    if bagged:
        rows.append(one("bagged", bagged))
    schema = {"reference": pl.String, "variant": pl.String}
    floats = dict.fromkeys(("evaluation_accuracy", "evaluation_low", "evaluation_high"), pl.Float64)
    return pl.DataFrame(rows, schema={**schema, **floats}).fill_nan(None)
