"""What a user may ask of the analyses of embeddings, and which pairs of variants that means."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from overlap.errors import ArgumentError
from overlap.outcomes import Outcomes, indices_of
from overlap.pairwise.pair_rows import labels_of, usual_base
from overlap.variants import Category
from overlap_analysis import BASE_PERCENTS, RANKINGS, Ranking


@dataclass(frozen=True, slots=True, kw_only=True)
class FeatureRequest:
    """What is asked for.

    Attributes:
        base: a variant's name; empty takes the one with the most reinit partners, of equals the sweep's first.
        partners: so many of each category, those whose accuracy is nearest to the base's.
        pairs: these pairs instead, the base first.
        grid: how many strengths of the L2 penalty; see `strengths`.
        refit: whether probes are fitted once more on the examples that chose their penalty, too.
        draws: random choices of dimensions.
        base_percents: shares of the base's dimensions in mixes.
        rankings: ways to rank dimensions.
        step: dimensions are added so many at a time; 0 takes a sixteenth of both embeddings.
        target: accuracy that the fewest dimensions are to reach; None takes that of the base's full embedding.
        labels: a Parquet or CSV file with `example` and a column of 0 and 1 for each label, for downstream probes.
        examples: similarities are computed on at most so many, drawn by their ids.
        neighbors: of mutual k-NN.
        batch: examples of a batch of mini-batch CKA.
        resamples: for intervals of correlations.
        seed: of everything that is drawn.
        device: of probes, as torch names it; empty takes a GPU if there is one.
        memory_bytes: what a batch of probes may take.
    """

    base: str = ""
    partners: int = 3
    pairs: tuple[tuple[str, str], ...] = ()
    grid: int = 7
    refit: bool = True
    draws: int = 5
    base_percents: tuple[int, ...] = BASE_PERCENTS
    rankings: tuple[Ranking, ...] = RANKINGS
    step: int = 0
    target: float | None = None
    labels: Path | None = None
    examples: int = 2000
    neighbors: int = 10
    batch: int = 256
    resamples: int = 1000
    seed: int = 0
    device: str = ""
    memory_bytes: float = 2**30


KORNBLITH_GRID = 45


def check_request(request: FeatureRequest) -> None:
    """Refuses numbers that leave nothing to do.

    Raises:
        ArgumentError: one is out of its range.
    """
    least = {"partners": 1, "grid": 1, "draws": 1, "step": 0, "examples": 8, "neighbors": 1, "batch": 4, "resamples": 0}
    for name, lowest in least.items():
        if getattr(request, name) < lowest:
            raise ArgumentError(f"--{name} takes a number of at least {lowest}, got {getattr(request, name)}")


def strengths(grid: int) -> tuple[float, ...]:
    """The L2 penalties to choose from: 1e-6 to 1e5 for the 45 of Kornblith et al. (2019), else 1e-6 to 1e2."""
    top = 5 if grid >= KORNBLITH_GRID else 2
    return tuple(float(strength) for strength in np.logspace(-6, top, grid)) if grid > 1 else (1.0,)


@dataclass(frozen=True, slots=True, kw_only=True)
class Partner:
    """Two variants by their positions, and how they differ."""

    base: int
    other: int
    category: Category


def choose_pairs(outcomes: Outcomes, request: FeatureRequest) -> list[Partner]:
    """The pairs that a request means, by category, then by how near the other's accuracy is.

    Raises:
        ArgumentError: a name is unknown or has no embeddings, or there is nobody to pair.
    """
    categories = _categories(outcomes)
    if request.pairs:
        named = [indices_of(outcomes, pair) for pair in request.pairs]
        return [Partner(base=a, other=b, category=Category(categories[a, b])) for a, b in named]
    if len(outcomes.variants) < 2:
        raise ArgumentError(f"only '{outcomes.names[0]}' has embeddings: a pair takes two variants")
    base = indices_of(outcomes, [request.base])[0] if request.base else usual_base(labels_of(outcomes.variants))
    accuracy_V = outcomes.correct_VN.mean(axis=1)
    nearest = np.argsort(np.abs(accuracy_V - accuracy_V[base]), kind="stable")
    others = [int(v) for v in nearest if v != base]
    chosen: list[Partner] = []
    for category in Category:
        found = [v for v in others if categories[base, v] == category]
        chosen += [Partner(base=base, other=v, category=category) for v in found[: request.partners]]
    return chosen


def members(partners: Sequence[Partner]) -> list[int]:
    """The variants of some pairs, the first base first."""
    return list(dict.fromkeys(v for partner in partners for v in (partner.base, partner.other)))


def _categories(outcomes: Outcomes) -> np.ndarray[tuple[int, int], np.dtype[np.int8]]:
    """(V, V) the `Category` of every two variants."""
    variants = len(outcomes.variants)
    a, b = np.divmod(np.arange(variants**2), variants)
    return labels_of(outcomes.variants).categories(a, b).reshape(variants, variants)
