import numpy as np
import pytest
from scipy.stats import binomtest

from overlap_analysis.uncertainty import normal_quantile, percentile_interval, wilson_interval


@pytest.mark.parametrize("level", [0.5, 0.9, 0.95, 0.999])
def test_wilson_intervals_equal_scipys(level):
    cases = [(k, n) for n in (1, 2, 7, 100, 5000) for k in {0, 1, n // 3, n - 1, n}]
    successes, trials = np.array(cases).T
    low, high = wilson_interval(successes, trials, level=level)
    for index, (k, n) in enumerate(cases):
        expected = binomtest(k, n).proportion_ci(level, method="wilson")
        np.testing.assert_allclose([low[index], high[index]], expected, rtol=1e-12, atol=1e-12)


def test_wilson_intervals_hold_the_share_exactly_at_every_count():
    trials = np.repeat(np.arange(1, 60), 60)
    successes = np.tile(np.arange(60), 59)
    successes, trials = successes[successes <= trials], trials[successes <= trials]
    low, high = wilson_interval(successes, trials)
    assert np.all(low >= 0)
    assert np.all(low <= successes / trials)
    assert np.all(successes / trials <= high)
    assert np.all(high <= 1)
    np.testing.assert_array_equal(low[successes == 0], 0)
    np.testing.assert_array_equal(high[successes == trials], 1)


def test_no_trials_give_nan_and_a_number_of_trials_is_shared():
    np.testing.assert_array_equal(np.isnan(wilson_interval([0, 1], [0, 2])), [[True, False], [True, False]])
    np.testing.assert_array_equal(wilson_interval([3, 4], 9), wilson_interval([3, 4], [9, 9]))


@pytest.mark.parametrize("level", [0, 1, -0.5, 95, np.nan])
def test_a_level_that_is_no_probability_is_refused(level):
    with pytest.raises(ValueError, match="level: expected a number strictly between 0 and 1"):
        normal_quantile(level)
    with pytest.raises(ValueError, match="level"):
        percentile_interval(np.arange(3.0), level=level)


def test_percentile_intervals_leave_out_nan():
    samples = np.concatenate([np.arange(101.0), [np.nan] * 7])
    assert percentile_interval(samples, level=0.9) == pytest.approx((5, 95))
    assert np.isnan(percentile_interval(np.array([np.nan]))).all()
