"""Whether a pair metric rises along the categories: reinit < hyperparameters < ... < dataset.

Dimensions: `V` variants, `P` pairs in the order of `pairs.pair_indices`, `K` categories.
"""

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from overlap_analysis.categories import CATEGORIES
from overlap_analysis.compiled import compiled
from overlap_analysis.pairs import pair_count, pair_indices

_K = len(CATEGORIES)


@dataclass(frozen=True, slots=True, kw_only=True)
class Trend:
    """How a pair metric goes along the categories, and how surprising that is.

    Attributes:
        effect: probability that a pair has a larger value than one of an earlier category, ties half: 1 if
            every pair exceeds all pairs of earlier categories, 0.5 without a trend, 0 if it is reversed. NaN
            with fewer than two categories.
        z: the effect less its mean over the permutations, in their standard deviations; NaN if they do not vary.
        p_value: share of the permutations, the data among them, with an effect as large (for a falling trend:
            as small); NaN where `effect` is.
        permutations: how many, without the data.
        pairs: pairs with a value in each of `CATEGORIES`.
    """

    effect: float
    z: float
    p_value: float
    permutations: int
    pairs: tuple[int, ...]


def category_trend(
    value_P: NDArray[np.float64],
    category_P: NDArray[np.int8],
    *,
    direction: Literal["rising", "falling"] = "rising",
    permutations: int = 1000,
    seed: int = 0,
    fixed: int | None = None,
) -> Trend:
    """Jonckheere-Terpstra test of a pair metric over the ordered categories, with permuted variants.

    Pairs that share a variant are not independent, so a permutation does not shuffle pairs but variants: rows
    and columns of the matrix of categories together, which keeps the structure of both sides. The null
    hypothesis is that categories have nothing to do with the values. A small p-value says that there is a trend
    over all of them, not that each step rises: look at `category_means` for those.

    Args:
        value_P: the metric; NaN for undefined, and those pairs are left out.
        category_P: index into `CATEGORIES` of each pair; -1 for unknown, and those pairs are left out (in a
            permutation, those that become unknown). Categories without a pair are skipped.
        direction: of the alternative: error inconsistency is expected to rise, κ and φ to fall.
        permutations: how many; the smallest possible p-value is 1 / (permutations + 1).
        seed: same seed and data, same p-value.
        fixed: a variant that stays where it is in every permutation: the base, where only its pairs have values.

    Raises:
        ValueError: the shapes do not fit, a category is no index, or the direction or the fixed variant is unknown.

    Source: Jonckheere, Biometrika 41 (1954); Terpstra, Indagationes Mathematicae 14 (1952); Hubert & Schultz,
        British Journal of Mathematical and Statistical Psychology 29 (1976), for the permutations (QAP); Phipson
        & Smyth, Statistical Applications in Genetics and Molecular Biology 9 (2010), for counting the data.
    """
    value_P = np.asarray(value_P, dtype=np.float64)
    category_VV = _category_matrix(value_P, np.asarray(category_P), direction)
    defined_P = ~np.isnan(value_P)
    known_P = defined_P & (np.asarray(category_P) >= 0)
    pairs_K = np.bincount(np.asarray(category_P)[known_P], minlength=len(CATEGORIES))
    pairs = tuple(int(count) for count in pairs_K)
    if np.count_nonzero(pairs_K) < 2:
        return Trend(effect=np.nan, z=np.nan, p_value=np.nan, permutations=0, pairs=pairs)
    order = np.argsort(value_P, kind="stable")[: np.count_nonzero(defined_P)]  # NaN sorts last
    a, b = (index[order] for index in pair_indices(len(category_VV)))
    sorted_P = value_P[order]
    ends = np.append(np.flatnonzero(sorted_P[1:] != sorted_P[:-1]) + 1, len(order))
    shuffles = _shuffles(len(category_VV), permutations, seed, fixed)
    effects = np.array([_effect(category_VV, shuffle, a, b, ends) for shuffle in shuffles])
    effect, null = effects[0], effects[1:][~np.isnan(effects[1:])]
    as_extreme = null >= effect if direction == "rising" else null <= effect
    spread = null.std() if len(null) else 0.0
    return Trend(
        effect=float(effect),
        z=float((effect - null.mean()) / spread) if spread > 0 else np.nan,
        p_value=(1 + int(np.count_nonzero(as_extreme))) / (1 + len(null)),
        permutations=len(null),
        pairs=pairs,
    )


def _shuffles(variants: int, permutations: int, seed: int, fixed: int | None) -> list[NDArray[np.int64]]:
    """The variants in their order, then permuted."""
    if fixed is not None and not 0 <= fixed < variants:
        raise ValueError(f"fixed: expected 0 to {variants - 1}, got {fixed}")
    rng = np.random.default_rng(seed)
    in_order = np.arange(variants)
    moved = in_order if fixed is None else np.delete(in_order, fixed)
    shuffles = [in_order]
    for _ in range(permutations):
        shuffle = in_order.copy()
        shuffle[moved] = moved[rng.permutation(len(moved))]
        shuffles.append(shuffle)
    return shuffles


def _category_matrix(value_P: NDArray[np.float64], category_P: NDArray[np.int8], direction: str) -> NDArray[np.int8]:
    """Category of each two variants, symmetric: (V, V)."""
    if value_P.ndim != 1 or category_P.shape != value_P.shape:
        raise ValueError(f"expected values (P,) and categories (P,), got {value_P.shape} and {category_P.shape}")
    variants = (1 + math.isqrt(1 + 8 * len(value_P))) // 2
    if pair_count(variants) != len(value_P):
        raise ValueError(f"expected all V (V - 1) / 2 pairs of V variants, got {len(value_P)}")
    bad = (category_P < -1) | (category_P >= len(CATEGORIES))
    if bad.any():
        where = int(np.argmax(bad))
        raise ValueError(f"category[{where}]: expected -1 to {len(CATEGORIES) - 1}, got {category_P[where]}")
    if direction not in ("rising", "falling"):
        raise ValueError(f"direction: expected 'rising' or 'falling', got {direction!r}")
    category_VV = np.zeros((variants, variants), dtype=np.int8)
    a, b = pair_indices(variants)
    category_VV[a, b] = category_VV[b, a] = category_P
    return category_VV


@compiled
def _effect(
    category_VV: NDArray[np.int8],
    shuffle_V: NDArray[np.int64],
    a: NDArray[np.int32],
    b: NDArray[np.int32],
    ends: NDArray[np.int64],
) -> float:
    """Share of the comparisons in which the later category is larger; pairs (a, b) ascend, in ties up to `ends`."""
    seen_K, tied_K = np.zeros(_K), np.zeros(_K)
    larger = 0.0
    start = 0
    for end in ends:
        tied_K[:] = 0
        for p in range(start, end):
            category = category_VV[shuffle_V[a[p]], shuffle_V[b[p]]]
            if category >= 0:
                tied_K[category] += 1
        earlier = 0.0
        for k in range(_K):
            larger += tied_K[k] * earlier
            earlier += seen_K[k] + tied_K[k] / 2
        seen_K += tied_K
        start = end
    comparisons = (seen_K.sum() ** 2 - np.sum(seen_K**2)) / 2
    return larger / comparisons if comparisons > 0 else np.nan
