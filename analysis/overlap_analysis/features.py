"""Which dimensions of two variants' embeddings a probe gets: random mixes, and rankings by diversity.

Dimensions: `N` examples, `D` dimensions, those of a base and after them those of another variant; `K` chosen ones.
"""

from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import qr

BASE_PERCENTS = (100, 75, 50, 25, 0)
"""Shares of the base's dimensions that the paper mixes (section 4.6)."""

Ranking = Literal["correlation", "cross_correlation", "variance", "pivoted_qr"]
RANKINGS: tuple[Ranking, ...] = ("correlation", "cross_correlation", "variance", "pivoted_qr")
"""Ways to rank dimensions, see `rank_dimensions`."""

_LEAST_DEVIATION = 1e-6  # of the largest: a dimension that hardly moves is constant


def mix_sizes(base_dimensions: int, other_dimensions: int, base_percent: float) -> tuple[int, int]:
    """How many dimensions of each a mix has: the share of the base's, and the rest of the share of the other's.

    Their sum and the base's part are rounded, halves up: a mix of two embeddings of D dimensions has D.

    Raises:
        ValueError: the share is outside [0, 100].

    Source: Gontijo-Lopes et al., ICLR 2022, section 4.6 and figure 6: "a % of the base's dimensions, b % of the
        other's, a + b = 100".

    >>> mix_sizes(2048, 512, 75), mix_sizes(2048, 512, 25)
    ((1536, 128), (512, 384))
    """
    if not 0 <= base_percent <= 100:
        raise ValueError(f"base_percent: expected a number in [0, 100], got {base_percent!r}")
    shares = base_dimensions * base_percent, other_dimensions * (100 - base_percent)
    base, total = (int(np.floor(share / 100 + 0.5)) for share in (shares[0], sum(shares)))
    return base, total - base


def mixed_dimensions(
    base_dimensions: int, other_dimensions: int, base_percent: float, rng: np.random.Generator
) -> NDArray[np.int64]:
    """A random mix: (K,) positions in the concatenation of both embeddings, ascending, none twice."""
    base, other = mix_sizes(base_dimensions, other_dimensions, base_percent)
    chosen = random_dimensions(base_dimensions, base, rng), random_dimensions(other_dimensions, other, rng)
    return np.concatenate([chosen[0], base_dimensions + chosen[1]])


def random_dimensions(dimensions: int, chosen: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """(K,) random positions, ascending, none twice.

    Raises:
        ValueError: more are asked for than there are.
    """
    return np.sort(rng.choice(dimensions, chosen, replace=False)).astype(np.int64)


def rank_dimensions(embeddings_ND: NDArray[np.floating], base_dimensions: int, ranking: Ranking) -> NDArray[np.int64]:
    """The dimensions of two concatenated embeddings, the most diverse first.

    - `correlation`: the mean absolute correlation with all other dimensions, ascending;
    - `cross_correlation`: the same with the dimensions of the other variant only;
    - `variance`: the variance, descending, without z-scoring;
    - `pivoted_qr`: each next one has the most variance, after z-scoring, that those before do not explain linearly.

    Constant dimensions come last; of equal ones the first is the first.

    Args:
        embeddings_ND: the base's dimensions, then the other's.
        base_dimensions: how many are the base's.
        ranking: one of `RANKINGS`.

    Returns:
        (D,) a permutation of the dimensions.

    Raises:
        ValueError: the ranking is unknown.

    Source: the paper ranks by "the covariance of each dimension of embeddings from both models" and does not say
        by which statistic of it; `correlation` is the reading that needs no scale.
    """
    if ranking not in RANKINGS:
        raise ValueError(f"ranking: expected one of {', '.join(RANKINGS)}, got {ranking!r}")
    centered_ND = np.asarray(embeddings_ND, dtype=np.float64) - embeddings_ND.mean(axis=0, dtype=np.float64)
    deviation_D = np.sqrt((centered_ND**2).mean(axis=0))
    constant_D = deviation_D <= _LEAST_DEVIATION * deviation_D.max(initial=0.0)
    if ranking == "variance":
        return _order(-deviation_D, constant_D)
    standard_ND = np.where(constant_D, 0.0, centered_ND / np.where(constant_D, 1.0, deviation_D))
    if ranking == "pivoted_qr":
        return _pivots(standard_ND, constant_D)
    others_DD = _others(len(deviation_D), base_dimensions if ranking == "cross_correlation" else None)
    return _order(_mean_correlation(standard_ND, others_DD & ~constant_D), constant_D)


def _others(dimensions: int, base_dimensions: int | None) -> NDArray[np.bool_]:
    """(D, D) which dimensions each is compared with: all but itself, or those of the other variant."""
    if base_dimensions is None:
        return ~np.eye(dimensions, dtype=np.bool_)
    is_base_D = np.arange(dimensions) < base_dimensions
    return np.not_equal.outer(is_base_D, is_base_D)


def _mean_correlation(standard_ND: NDArray[np.float64], others_DD: NDArray[np.bool_]) -> NDArray[np.float64]:
    correlation_DD = np.abs(standard_ND.T @ standard_ND) / len(standard_ND)
    # Rounded, so that dimensions that are equal but for the order of sums are ties.
    total_D: NDArray[np.float64] = np.where(others_DD, correlation_DD, 0.0).sum(axis=1)
    mean_D: NDArray[np.float64] = np.round(total_D / np.maximum(others_DD.sum(axis=1), 1), 12)
    return mean_D


def _order(key_D: NDArray[np.float64], constant_D: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Ascending, constant dimensions last."""
    return np.lexsort((key_D, constant_D)).astype(np.int64)


def _pivots(standard_ND: NDArray[np.float64], constant_D: NDArray[np.bool_]) -> NDArray[np.int64]:
    pivots_D = qr(standard_ND, mode="r", pivoting=True)[1].astype(np.int64)
    return np.concatenate([pivots_D[~constant_D[pivots_D]], np.flatnonzero(constant_D)])
