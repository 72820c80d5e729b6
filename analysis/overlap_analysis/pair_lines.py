"""Lines and correlations through pairs, or through variants, with intervals that resample variants.

Dimensions: `V` variants, `P` pairs in the order of `pairs.pair_indices`, `D` points with both an x and a y, `R`
resamples and, before them, the data itself.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from overlap_analysis.pairs import pair_count, pair_indices
from overlap_analysis.resampling import DEFAULT_BOOTSTRAP, Bootstrap, quotient, variant_multiplicities
from overlap_analysis.uncertainty import percentile_interval

_FEWEST_POINTS = 3
_ROUNDING = 1e-10


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """A number with its bootstrap interval.

    Attributes:
        value: NaN where it is undefined.
        low: end of the interval, at most `value`; NaN if `value` is, or if no resample has one.
        high: the other end, at least `value`.
    """

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """The least-squares line of y on x, and Pearson's r.

    Attributes:
        points: how many have both an x and a y.
        slope: in units of y for one unit of x.
        intercept: y where x is 0.
        r: in [-1, 1]; its square is the share of the variance of y that the line explains.
    """

    points: int
    slope: Estimate
    intercept: Estimate
    r: Estimate


def line_of_pairs(
    x_P: NDArray[np.float64], y_P: NDArray[np.float64], *, bootstrap: Bootstrap = DEFAULT_BOOTSTRAP
) -> Line:
    """The line through pairs of variants.

    A resample draws variants with replacement; a pair counts as often as the product of its two variants'
    multiplicities, and copies of one variant are no pair. A resample with fewer than three different pairs, or one
    on which x or y is constant, is left out. The examples are taken as given.

    Args:
        x_P: of every pair; NaN for undefined. Such a pair is left out, which is how some of the pairs are chosen.
        y_P: likewise.
        bootstrap: how to resample; its groups are not used.

    Returns:
        NaN throughout unless there are three pairs that differ in x and in y.

    Raises:
        ValueError: the shapes do not fit.

    Source: Snijders & Borgatti, Connections 22 (1999), for the bootstrap of variants.
    """
    return _line(x_P, y_P, _draws_of_pairs(x_P, y_P, bootstrap), bootstrap)


def line_of_variants(
    x_V: NDArray[np.float64], y_V: NDArray[np.float64], *, bootstrap: Bootstrap = DEFAULT_BOOTSTRAP
) -> Line:
    """The line through variants: as `line_of_pairs`, with one point a variant."""
    return _line(x_V, y_V, _draws_of_variants(x_V, y_V, bootstrap), bootstrap)


def rank_correlation_of_pairs(
    x_P: NDArray[np.float64], y_P: NDArray[np.float64], *, bootstrap: Bootstrap = DEFAULT_BOOTSTRAP
) -> Estimate:
    """Spearman's ρ over pairs: Pearson's r of their mid-ranks, which every resample has its own of.

    The arguments, the resamples and what is left out are those of `line_of_pairs`.
    """
    return _rank_correlation(x_P, y_P, _draws_of_pairs(x_P, y_P, bootstrap), bootstrap)


def rank_correlation_of_variants(
    x_V: NDArray[np.float64], y_V: NDArray[np.float64], *, bootstrap: Bootstrap = DEFAULT_BOOTSTRAP
) -> Estimate:
    """Spearman's ρ over variants: as `rank_correlation_of_pairs`, with one point a variant."""
    return _rank_correlation(x_V, y_V, _draws_of_variants(x_V, y_V, bootstrap), bootstrap)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Draws:
    """How often each resample draws each point that is defined: the product over the point's variants."""

    defined: NDArray[np.bool_]  # (P,) or (V,)
    variants: NDArray[np.float64]  # (R, V)
    members: tuple[NDArray[np.int32], ...]  # the variants of each point: (D,) each, two or one

    def totals(self, term_D: NDArray[np.float64], drawn_RV: NDArray[np.float64] | None = None) -> NDArray[np.float64]:
        """(R,) sum of a term over the points drawn."""
        drawn_RV = self.variants if drawn_RV is None else drawn_RV
        if len(self.members) == 1:
            return np.asarray(drawn_RV[:, self.members[0]] @ term_D, dtype=np.float64)
        # A sum over pairs of weights w_a w_b is a quadratic form in w: all resamples are one product of matrices.
        term_VV = np.zeros((drawn_RV.shape[1], drawn_RV.shape[1]))
        term_VV[self.members] = term_D
        return np.asarray(np.sum((drawn_RV @ term_VV) * drawn_RV, axis=1), dtype=np.float64)

    def points(self) -> NDArray[np.float64]:
        """(R,) how many different points are drawn."""
        ones_D = np.ones(len(self.members[0]))
        return self.totals(ones_D, (self.variants > 0).astype(np.float64))

    def weights(self, resample: int) -> NDArray[np.float64]:
        """(D,) how often a resample draws each point."""
        drawn_V = self.variants[resample]
        return np.asarray(np.prod([drawn_V[member] for member in self.members], axis=0), dtype=np.float64)


def _draws_of_pairs(x_P: NDArray[np.float64], y_P: NDArray[np.float64], bootstrap: Bootstrap) -> _Draws:
    defined_P = _defined(x_P, y_P)
    variants = (1 + math.isqrt(1 + 8 * len(x_P))) // 2
    if pair_count(variants) != len(x_P):
        raise ValueError(f"expected all V (V - 1) / 2 pairs of V variants, got {len(x_P)}")
    a, b = pair_indices(variants)
    drawn_RV = variant_multiplicities(variants, bootstrap)
    return _Draws(defined=defined_P, variants=drawn_RV, members=(a[defined_P], b[defined_P]))


def _draws_of_variants(x_V: NDArray[np.float64], y_V: NDArray[np.float64], bootstrap: Bootstrap) -> _Draws:
    defined_V = _defined(x_V, y_V)
    drawn_RV = variant_multiplicities(len(x_V), bootstrap)
    return _Draws(defined=defined_V, variants=drawn_RV, members=(np.flatnonzero(defined_V).astype(np.int32),))


def _defined(x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.bool_]:
    if x.ndim != 1 or x.shape != y.shape:
        raise ValueError(f"expected an x and a y of each point, got shapes {x.shape} and {y.shape}")
    return ~(np.isnan(x) | np.isnan(y))


def _line(x: NDArray[np.float64], y: NDArray[np.float64], draws: _Draws, bootstrap: Bootstrap) -> Line:
    x_D, y_D = x[draws.defined], y[draws.defined]
    if len(x_D) < _FEWEST_POINTS or np.ptp(x_D) == 0 or np.ptp(y_D) == 0:
        nothing = Estimate(value=np.nan, low=np.nan, high=np.nan)
        return Line(points=len(x_D), slope=nothing, intercept=nothing, r=nothing)
    # In units of their spread about their mean, so that sums of squares lose no digits.
    center_x, center_y, scale_x, scale_y = x_D.mean(), y_D.mean(), x_D.std(), y_D.std()
    u_D, v_D = (x_D - center_x) / scale_x, (y_D - center_y) / scale_y
    weight_R = draws.totals(np.ones(len(u_D)))
    mean_u_R, mean_v_R, uu_R, uv_R, vv_R = (
        quotient(draws.totals(term_D), weight_R) for term_D in (u_D, v_D, u_D * u_D, u_D * v_D, v_D * v_D)
    )
    spread_u_R, spread_v_R = uu_R - mean_u_R**2, vv_R - mean_v_R**2
    told_R = (draws.points() >= _FEWEST_POINTS) & (spread_u_R > _ROUNDING) & (spread_v_R > _ROUNDING)
    spread_u_R, spread_v_R = (np.where(told_R, spread_R, np.nan) for spread_R in (spread_u_R, spread_v_R))
    covariance_R = uv_R - mean_u_R * mean_v_R
    slope_R = covariance_R / spread_u_R * scale_y / scale_x
    intercept_R = center_y + scale_y * mean_v_R - slope_R * (center_x + scale_x * mean_u_R)
    r_R = np.clip(covariance_R / np.sqrt(spread_u_R * spread_v_R), -1, 1)
    estimates = (estimate(values_R, bootstrap) for values_R in (slope_R, intercept_R, r_R))
    slope, intercept, r = estimates
    return Line(points=len(x_D), slope=slope, intercept=intercept, r=r)


def _rank_correlation(x: NDArray[np.float64], y: NDArray[np.float64], draws: _Draws, bootstrap: Bootstrap) -> Estimate:
    codes = [np.unique(values[draws.defined], return_inverse=True)[1] for values in (x, y)]
    points_R = draws.points()
    rho_R = np.full(len(points_R), np.nan)
    for r in np.flatnonzero(points_R >= _FEWEST_POINTS):
        rho_R[r] = _weighted_rho(codes[0], codes[1], draws.weights(int(r)))
    return estimate(rho_R, bootstrap)


def _weighted_rho(x_D: NDArray[np.int64], y_D: NDArray[np.int64], weight_D: NDArray[np.float64]) -> float:
    """Spearman's ρ where each point is there as often as its weight says; NaN if either is constant."""
    ranks = []
    for codes_D in (x_D, y_D):
        weight_C = np.bincount(codes_D, weight_D)
        if np.count_nonzero(weight_C) < 2:
            return np.nan
        ranks.append((np.cumsum(weight_C) - weight_C / 2)[codes_D] - weight_D.sum() / 2)
    u_D, v_D = ranks
    spread = math.sqrt(float(weight_D @ (u_D * u_D)) * float(weight_D @ (v_D * v_D)))
    return float(np.clip(weight_D @ (u_D * v_D) / spread, -1, 1))


def estimate(values_R: NDArray[np.float64], bootstrap: Bootstrap = DEFAULT_BOOTSTRAP) -> Estimate:
    """The first value, that of the data, with the percentile interval of the others, which are resamples."""
    value = float(values_R[0])
    low, high = percentile_interval(values_R[1:], level=bootstrap.level)
    if np.isnan(value):
        low = high = np.nan
    return Estimate(value=value, low=float(np.minimum(low, value)), high=float(np.maximum(high, value)))
