"""What models that are worse than a strong one can add to it: the paper's low-accuracy experiment.

Array names: V variants, N examples.

From each of several strong variants a path adds weaker ones alone. It is shown twice, both times evaluated on the
same held-out examples: chosen on the others, and chosen on those that it is reported on, as in the paper.

Source: Gontijo-Lopes et al., ICLR 2022, section 4.5 and figure 5.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import polars as pl
from numpy.typing import NDArray

from overlap.outcomes import Outcomes, indices_of
from overlap.selection.pool import Pool
from overlap.selection.search import Metric, Search, check_search
from overlap.selection.tables import select
from overlap.tables import accuracy_columns
from overlap_analysis import selection_mask

STARTS = 4
_HELD_OUT, _REPORTED = "other examples", "reported examples"


def low_accuracy_table(pool: Pool, search: Search) -> pl.DataFrame | None:
    """One row a start, way of choosing and member; None if no variant is weaker than the starts.

    Raises:
        ArgumentError: the search asks for what is not there.
    """
    outcomes = pool.outcomes
    search = replace(search, metric=Metric.ACCURACY, steps=max(search.steps, 2), sorted_start=0)
    check_search(replace(search, start=()), outcomes)
    selected_N = selection_mask(outcomes.ids_N, fraction=search.selection, seed=search.seed)
    if selected_N.all() or not selected_N.any():
        return None
    accuracy_V = pool.accuracies(selected_N)
    starts = indices_of(outcomes, search.start) or strong_starts(outcomes, accuracy_V)
    limit = min(search.accuracy[1], float(accuracy_V[starts].min()))
    weaker = [v for v in range(len(accuracy_V)) if search.accuracy[0] <= accuracy_V[v] <= limit and v not in starts]
    if not weaker:
        return None
    tables = [
        _path(pool, replace(search, start=(outcomes.names[start],)), chosen, weaker)
        for start in starts
        for chosen in ((_HELD_OUT, selected_N), (_REPORTED, ~selected_N))
    ]
    return pl.concat(tables)


def strong_starts(outcomes: Outcomes, accuracy_V: NDArray[np.float64]) -> list[int]:
    """The best variant of each way and data of training, at most `STARTS`, and never the weaker half."""
    strong = np.flatnonzero(accuracy_V >= np.median(accuracy_V))
    order = strong[np.argsort(-accuracy_V[strong], kind="stable")]
    first: dict[tuple[str, str], int] = {}
    for v in order.tolist():
        first.setdefault((outcomes.variants[v].framework, outcomes.variants[v].train_on), v)
    return list(first.values())[:STARTS]


def _path(pool: Pool, search: Search, chosen: tuple[str, NDArray[np.bool_]], candidates: Sequence[int]) -> pl.DataFrame:
    """One path; its first row is the start alone."""
    word, chosen_N = chosen
    path = select(pool, search, chosen_N, candidates)
    members = [step.variant for step in path]
    selected_N = selection_mask(pool.outcomes.ids_N, fraction=search.selection, seed=search.seed)
    examples = int((~selected_N).sum())
    alone_V = pool.accuracies(~selected_N)
    names = pool.outcomes.names
    return pl.DataFrame(
        {
            "start": [names[members[0]]] * len(members),
            "chosen_on": [word] * len(members),
            "added": np.arange(len(members)),
            "variant": [names[member] for member in members],
            "variant_accuracy": alone_V[members],
            "chosen_accuracy": pool.right(chosen_N, members) / int(chosen_N.sum()),
            **accuracy_columns("evaluation", pool.right(~selected_N, members), examples),
        }
    )


def first_additions(table: pl.DataFrame) -> pl.DataFrame:
    """The best first model for each start, chosen on other examples, and what the path reaches where it looks best."""
    honest = table.filter(pl.col("chosen_on") == _HELD_OUT)
    start = honest.filter(pl.col("added") == 0).select("start", start_accuracy="evaluation_accuracy")
    columns = ["start", "variant", "variant_accuracy", "evaluation_accuracy", "evaluation_low", "evaluation_high"]
    where_best = pl.col("evaluation_accuracy").get(pl.col("chosen_accuracy").arg_max())
    best = table.group_by("start", "chosen_on", maintain_order=True).agg(where_best)
    reached = best.pivot(on="chosen_on", index="start", values="evaluation_accuracy").rename(
        {_HELD_OUT: "best_of_path", _REPORTED: "best_of_reported_path"}
    )
    first = honest.filter(pl.col("added") == 1).select(columns)
    joined = start.join(first, on="start", maintain_order="left").join(reached, on="start", maintain_order="left")
    return joined.with_columns(gain=pl.col("evaluation_accuracy") - pl.col("start_accuracy"))
