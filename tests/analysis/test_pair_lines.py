"""Lines and rank correlations over pairs and variants, against least squares and copies of what is drawn."""

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from overlap_analysis.pair_lines import (
    estimate,
    line_of_pairs,
    line_of_variants,
    rank_correlation_of_pairs,
    rank_correlation_of_variants,
)
from overlap_analysis.pairs import pair_count
from overlap_analysis.resampling import Bootstrap, variant_multiplicities

FEW = Bootstrap(resamples=80, seed=3, level=0.8)


def pair_values(variants=9, seed=0):
    """Values of pairs that go with what their variants are."""
    rng = np.random.default_rng(seed)
    level_V = rng.normal(size=variants)
    x_P = np.array([abs(level_V[a] - level_V[b]) for a, b in combinations(range(variants), 2)])
    return x_P, 0.4 * x_P + rng.normal(0, 0.2, len(x_P)) + 0.1


def drawn_pairs(variants, settings):
    """Of each resample, the positions of its pairs, copies and all."""
    index = {pair: p for p, pair in enumerate(combinations(range(variants), 2))}
    for times in variant_multiplicities(variants, settings)[1:].astype(int):
        copies = np.repeat(np.arange(variants), times)
        yield np.array([index[int(a), int(b)] for a, b in combinations(copies, 2) if a != b], int)


def test_the_line_of_pairs_is_that_of_least_squares():
    x_P, y_P = pair_values()
    line, expected = line_of_pairs(x_P, y_P), stats.linregress(x_P, y_P)
    assert line.points == 36
    assert line.slope.value == pytest.approx(expected.slope)
    assert line.intercept.value == pytest.approx(expected.intercept)
    assert line.r.value == pytest.approx(expected.rvalue)
    for one in (line.slope, line.intercept, line.r):
        assert one.low < one.value < one.high


def test_intervals_of_the_line_are_percentiles_over_copies_of_variants():
    x_P, y_P = pair_values(variants=7)
    fits = [stats.linregress(x_P[drawn], y_P[drawn]) for drawn in drawn_pairs(7, FEW) if len(set(drawn)) >= 3]
    line = line_of_pairs(x_P, y_P, bootstrap=FEW)
    for one, name in ((line.slope, "slope"), (line.intercept, "intercept"), (line.r, "rvalue")):
        low, high = np.quantile([getattr(fit, name) for fit in fits], [0.1, 0.9])
        assert (one.low, one.high) == pytest.approx((min(low, one.value), max(high, one.value)))


def test_ranks_are_taken_anew_in_every_resample_and_ties_share_theirs():
    x_P, y_P = pair_values(variants=7)
    x_P, y_P = np.round(x_P, 1), np.round(y_P, 1)
    found = rank_correlation_of_pairs(x_P, y_P, bootstrap=FEW)
    assert found.value == pytest.approx(stats.spearmanr(x_P, y_P).statistic)
    told = [d for d in drawn_pairs(7, FEW) if len(set(d)) >= 3 and np.ptp(x_P[d]) > 0 and np.ptp(y_P[d]) > 0]
    rho = [stats.spearmanr(x_P[drawn], y_P[drawn]).statistic for drawn in told]
    low, high = np.quantile(rho, [0.1, 0.9])
    assert (found.low, found.high) == pytest.approx((min(low, found.value), max(high, found.value)))


def test_variants_are_points_of_their_own():
    rng = np.random.default_rng(1)
    x_V = rng.normal(size=12)
    y_V = x_V + rng.normal(0, 0.5, 12)
    line, ranks = line_of_variants(x_V, y_V, bootstrap=FEW), rank_correlation_of_variants(x_V, y_V, bootstrap=FEW)
    assert line.slope.value == pytest.approx(stats.linregress(x_V, y_V).slope)
    assert ranks.value == pytest.approx(stats.spearmanr(x_V, y_V).statistic)
    drawn = [np.repeat(np.arange(12), times) for times in variant_multiplicities(12, FEW)[1:].astype(int)]
    low, high = np.quantile([stats.linregress(x_V[d], y_V[d]).slope for d in drawn], [0.1, 0.9])
    assert (line.slope.low, line.slope.high) == pytest.approx((low, high))
    low, high = np.quantile([stats.spearmanr(x_V[d], y_V[d]).statistic for d in drawn], [0.1, 0.9])
    assert (ranks.low, ranks.high) == pytest.approx((low, high))


def test_pairs_without_a_value_are_left_out():
    x_P, y_P = pair_values()
    gaps_P = np.where(np.arange(36) % 5 == 0, np.nan, x_P)
    kept_P = ~np.isnan(gaps_P)
    line = line_of_pairs(gaps_P, y_P)
    assert line.points == kept_P.sum()
    assert line.slope.value == pytest.approx(stats.linregress(x_P[kept_P], y_P[kept_P]).slope)
    assert rank_correlation_of_pairs(gaps_P, y_P).value == pytest.approx(
        stats.spearmanr(x_P[kept_P], y_P[kept_P]).statistic
    )


def test_resamples_without_the_variant_that_all_pairs_share_are_left_out():
    x_P, y_P = pair_values()
    with_first = np.where(np.arange(36) < 8, x_P, np.nan)
    line = line_of_pairs(with_first, y_P)
    assert line.points == 8
    assert np.isfinite([line.r.low, line.r.high]).all()


@pytest.mark.parametrize(
    ("x", "y"), [([1.0], [2.0]), ([1.0, 1.0, 1.0], [1.0, 2.0, 3.0]), ([1.0, 2.0, 3.0], [4.0, 4.0, 4.0]), ([], [])]
)
def test_too_few_or_equal_points_have_no_line_and_no_rank_correlation(x, y):
    line = line_of_pairs(np.array(x), np.array(y))
    assert np.isnan([line.slope.value, line.intercept.low, line.r.high]).all()
    assert np.isnan(rank_correlation_of_pairs(np.array(x), np.array(y)).value)


@pytest.mark.parametrize("shape", [(4, 4), (3, 6)])
def test_values_that_are_not_of_all_pairs_are_refused(shape):
    with pytest.raises(ValueError, match="expected"):
        line_of_pairs(np.zeros(shape[0]), np.zeros(shape[1]))


@given(st.integers(3, 6), st.integers(0, 2**32 - 1), st.floats(0.1, 100), st.floats(-5, 5))
def test_scaling_an_axis_scales_the_line_and_leaves_the_correlations(variants, seed, scale, shift):
    rng = np.random.default_rng(seed)
    x_P, y_P = rng.normal(size=(2, pair_count(variants)))
    settings = Bootstrap(resamples=5)
    line = line_of_pairs(x_P, y_P, bootstrap=settings)
    scaled = line_of_pairs(x_P, shift + scale * y_P, bootstrap=settings)
    assert scaled.slope.value == pytest.approx(scale * line.slope.value, rel=1e-6, abs=1e-9)
    assert scaled.intercept.value == pytest.approx(shift + scale * line.intercept.value, rel=1e-6, abs=1e-6)
    assert scaled.r.value == pytest.approx(line.r.value, abs=1e-9)


def test_an_estimate_lies_in_its_interval_and_an_undefined_one_has_none():
    assert (estimate(np.array([5.0, 1, 2, 3])).high, estimate(np.array([0.0, 1, 2, 3])).low) == (5, 0)
    assert np.isnan(estimate(np.array([np.nan, 1, 2])).low)
