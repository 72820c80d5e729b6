"""Overlapping features: probes of mixes of two embeddings, and of their most diverse dimensions.

Array names: M examples, D dimensions of both embeddings.
"""

from collections.abc import Callable, Sequence

import numpy as np
import polars as pl
from numpy.typing import NDArray

from overlap.features.embeddings import read_embedded
from overlap.features.probe_rows import ProbeWork, Row, frame_of, probe_work, score_columns
from overlap.features.request import FeatureRequest, Partner, choose_pairs
from overlap.outcomes import Outcomes
from overlap.store import Objects, Store
from overlap.tasks import Tasks
from overlap_analysis import mix_sizes, mixed_dimensions, random_dimensions, rank_dimensions

FEATURE_TABLES = ("features_mixes", "features_dimensions", "features_targets")
_MIX_STREAM, _BASE_STREAM, _BOTH_STREAM, _RANDOM_STREAM = range(4)
_STEPS = 16


def features_tables(
    store: Store, outcomes: Outcomes, objects: Callable[[], Objects], tasks: Tasks, request: FeatureRequest
) -> dict[str, pl.DataFrame]:
    """The tables of `FEATURE_TABLES`, a task for each pair of variants and table.

    Raises:
        ArgumentError: no variant has embeddings, too few examples do, or the request names what is not there.
        CorruptFileError: a stored file is damaged.
    """
    embedded = read_embedded(store, outcomes)
    work = probe_work(objects, embedded, request)
    partners = choose_pairs(embedded.outcomes, request)
    mixes = [row for rows in tasks.map(mix_rows, partners, work) for row in rows]
    dimensions = [row for rows in tasks.map(dimension_rows, partners, work) for row in rows]
    table = frame_of(dimensions)
    return {
        "features_mixes": frame_of(mixes, ["control"]),
        "features_dimensions": table.drop("target"),
        "features_targets": _targets_table(table),
    }


def mix_rows(partner: Partner, work: ProbeWork) -> list[Row]:
    """The mixes of a pair, and beside them as many dimensions of the base alone, and of both as they come."""
    sizes = [work.vectors(v) for v in (partner.base, partner.other)]
    base, other = (vectors_MD.shape[1] for vectors_MD in sizes)
    rows: list[Row] = []
    choices: list[NDArray[np.int64]] = []

    def add(percent: int, draw: int, control: str | None, chosen: NDArray[np.int64]) -> None:
        rows.append({**_names(partner, work), "base_percent": percent, "draw": draw, "control": control})
        choices.append(chosen)

    for percent in work.request.base_percents:
        mixed = 0 < percent < 100
        total = sum(mix_sizes(base, other, percent))
        for draw in range(work.request.draws if mixed else 1):
            rngs = [_rng(work, stream, percent, draw) for stream in (_MIX_STREAM, _BASE_STREAM, _BOTH_STREAM)]
            add(percent, draw, None, mixed_dimensions(base, other, percent, rngs[0]))
            if mixed and total <= base:
                add(percent, draw, "base_only", random_dimensions(base, total, rngs[1]))
            if mixed:
                add(percent, draw, "concatenation", random_dimensions(base + other, total, rngs[2]))
    scores = score_columns(np.concatenate(sizes, axis=1), choices, work, score="accuracy")
    return [{**row, **score} for row, score in zip(rows, scores, strict=True)]


def dimension_rows(partner: Partner, work: ProbeWork) -> list[Row]:
    """The first dimensions of each ranking of both embeddings, more and more of them, with the target to reach."""
    base_MD, other_MD = work.vectors(partner.base), work.vectors(partner.other)
    both_MD, base = np.concatenate([base_MD, other_MD], axis=1), base_MD.shape[1]
    total = both_MD.shape[1]
    ranked = {(name, 0): rank_dimensions(both_MD[work.roles.fit_F], base, name) for name in work.request.rankings}
    for draw in range(work.request.draws):
        ranked["random", draw] = _rng(work, _RANDOM_STREAM, 0, draw).permutation(total)  # type: ignore[index]
    sizes = _sizes(total, work.request.step)
    cases = [(ranking, draw, size) for ranking, draw in ranked for size in sizes]
    choices = [ranked[ranking, draw][:size] for ranking, draw, size in cases]
    whole, *scores = score_columns(both_MD, [np.arange(base), *choices], work, score="accuracy")
    target = whole["accuracy"] if work.request.target is None else work.request.target
    return [
        {**_names(partner, work), "ranking": ranking, "draw": draw, **score, "target": target}
        for (ranking, draw, _), score in zip(cases, scores, strict=True)
    ]


def _targets_table(dimensions: pl.DataFrame) -> pl.DataFrame:
    """The fewest dimensions that reach the target; of random ones the mean accuracy of all draws must."""
    keys = ["base", "other", "category", "ranking", "target"]
    curves = dimensions.group_by([*keys, "dimensions"], maintain_order=True).agg(pl.col("accuracy").mean())
    reaching = pl.col("dimensions").filter(pl.col("accuracy") >= pl.col("target"))
    needed = reaching.min().alias("dimensions_needed")
    total = pl.col("dimensions").max().alias("dimensions_of_both")
    return curves.group_by(keys, maintain_order=True).agg(needed, total)


def _sizes(total: int, step: int) -> Sequence[int]:
    """Multiples of a step, and all."""
    step = step or max(1, round(total / _STEPS))
    return [*range(step, total, step), total]


def _names(partner: Partner, work: ProbeWork) -> Row:
    base, other = work.name(partner.base), work.name(partner.other)
    return {"base": base, "other": other, "category": partner.category.word}


def _rng(work: ProbeWork, stream: int, percent: int, draw: int) -> np.random.Generator:
    """The same for all pairs, so that all partners meet the same dimensions of the base."""
    return np.random.default_rng([work.request.seed, stream, percent, draw])
