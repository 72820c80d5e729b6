"""Downstream transfer: probes of single and of paired embeddings on another dataset of the sweep.

Array names: M examples, D dimensions.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import polars as pl

from overlap.errors import ArgumentError
from overlap.features.embeddings import Embedded, read_embedded, read_vectors
from overlap.features.probe_rows import ProbeWork, Row, frame_of, probe_work, score_columns
from overlap.features.request import FeatureRequest, Partner, choose_pairs, members
from overlap.outcomes import Outcomes, indices_of, only
from overlap.pairwise.pair_rows import labels_of
from overlap.store import Objects, Store
from overlap.tasks import Tasks
from overlap.variants import Category
from overlap_analysis import random_dimensions

DOWNSTREAM_TABLES = ("downstream",)
_REINIT_STREAM = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Joined:
    """A variant, or two side by side, by their positions.

    With `stands_for`, only as many random dimensions of the second are taken as each of these variants has: what as
    many dimensions bring that are no other training.
    """

    a: int
    b: int | None = None
    stands_for: tuple[int, ...] = ()


def downstream_tables(
    store: Store,
    outcomes: Outcomes,
    other_outcomes: Outcomes,
    objects: Callable[[], Objects],
    tasks: Tasks,
    request: FeatureRequest,
) -> dict[str, pl.DataFrame]:
    """The table `downstream`.

    Args:
        store: where the embeddings lie.
        outcomes: of the upstream dataset, for the accuracies that transfer is compared with.
        other_outcomes: of the dataset whose embeddings are probed.
        objects: opens the store where a task runs.
        tasks: where to fit probes.
        request: its `labels` replace the classes of the other dataset.

    Raises:
        ArgumentError: no variant has embeddings of the other dataset and a result on both, the file of labels cannot
            be used, or the request names what is not there.
    """
    embedded = read_embedded(store, other_outcomes)
    both = [v for v, name in enumerate(outcomes.names) if name in embedded.outcomes.names]
    if not both:
        message = f"no variant has a result on '{outcomes.dataset}' and embeddings of '{other_outcomes.dataset}'"
        raise ArgumentError(message)
    upstream = only(outcomes, both)
    partners = [_placed(partner, upstream, embedded) for partner in choose_pairs(upstream, request)]
    work = probe_work(objects, embedded, request, request.labels)
    joined = _joined(partners, pairs_only=bool(request.pairs))
    rows = [row for rows in tasks.map(downstream_rows, joined, work) for row in rows]
    accuracy = dict(zip(upstream.names, upstream.correct_VN.mean(axis=1).tolist(), strict=True))
    return {"downstream": _with_gains(rows, accuracy)}


def _placed(partner: Partner, upstream: Outcomes, embedded: Embedded) -> Partner:
    names = [upstream.names[partner.base], upstream.names[partner.other]]
    base, other = indices_of(embedded.outcomes, names)
    return Partner(base=base, other=other, category=partner.category)


def _joined(partners: Sequence[Partner], *, pairs_only: bool) -> list[Joined]:
    """Single variants, pairs, and the base with its reinit partner in the place of every other one."""
    chosen = members(partners)
    pairs = [(one.base, one.other) for one in partners] if pairs_only else list(combinations(chosen, 2))
    found = [Joined(a=v) for v in chosen] + [Joined(a=a, b=b) for a, b in pairs]
    reinits = {one.base: one.other for one in reversed(partners) if one.category is Category.REINIT}
    for base, reinit in reinits.items():
        others = tuple(b for a, b in pairs if a == base and b != reinit)
        if others:
            found.append(Joined(a=base, b=reinit, stands_for=others))
    return found


def downstream_rows(joined: Joined, work: ProbeWork) -> list[Row]:
    """The rows of one variant or pair; of a pair that stands for others, one row for each of them and each draw."""
    store = Store(work.objects())
    parts = [read_vectors(store, work.embedded, v) for v in (joined.a, joined.b) if v is not None]
    first, total = parts[0].shape[1], sum(part.shape[1] for part in parts)
    cases: list[Row] = [{"control": None, "stands_for": None, "draw": 0}]
    choices = [np.arange(total)]
    if joined.stands_for:
        cases, choices = [], []
    for other in joined.stands_for:
        dimensions = dimensions_of(store, work.embedded, other)
        for draw in range(_draws(dimensions, total - first, work.request.draws)):
            rng = np.random.default_rng([work.request.seed, _REINIT_STREAM, draw])
            chosen = random_dimensions(total - first, dimensions, rng)
            cases.append({"control": "reinit", "stands_for": work.name(other), "draw": draw})
            choices.append(np.concatenate([np.arange(first), first + chosen]))
    if not choices:
        return []
    names: Row = {"a": work.name(joined.a), "b": work.name(joined.b), "category": _category(joined, work)}
    names["metric"] = "mean_average_precision" if work.roles.several_labels else "accuracy"
    scores = score_columns(np.concatenate(parts, axis=1), choices, work, score="score")
    return [{**names, **case, **score} for case, score in zip(cases, scores, strict=True)]


def _draws(chosen: int, dimensions: int, draws: int) -> int:
    """How many different ones there are to make: none of more dimensions than there are, one of all."""
    return draws if chosen < dimensions else int(chosen == dimensions)


def dimensions_of(store: Store, embedded: Embedded, variant: int) -> int:
    """How many dimensions a variant's embedding has."""
    table = store.read(embedded.files[variant], columns=["embedding"], groups=[]).table
    size: int = table.schema.field("embedding").type.list_size
    return size


def _category(joined: Joined, work: ProbeWork) -> str | None:
    if joined.b is None:
        return None
    variants = [work.embedded.outcomes.variants[v] for v in (joined.a, joined.b)]
    (kind,) = labels_of(variants).categories(np.array([0]), np.array([1]))
    return Category(kind).word


def _with_gains(rows: Sequence[Row], accuracy: dict[str, float]) -> pl.DataFrame:
    """With the variants' accuracies upstream, and how much more a pair reaches than the better of the two alone."""
    table = frame_of(rows, ["b", "category", "control", "stands_for"])
    single = dict(table.filter(pl.col("b").is_null()).select("a", "score").iter_rows())
    alone = {side: pl.col(side).replace_strict(single, default=None, return_dtype=pl.Float64) for side in "ab"}
    upstream = {side: pl.col(side).replace_strict(accuracy, default=None, return_dtype=pl.Float64) for side in "ab"}
    best = pl.max_horizontal(alone["a"], alone["b"])
    return table.with_columns(
        upstream_accuracy_a=upstream["a"],
        upstream_accuracy_b=upstream["b"],
        gain=pl.when(pl.col("b").is_not_null()).then(pl.col("score") - best),
    )
