import numpy as np
import pytest

from overlap_analysis import resampling
from overlap_analysis.resampling import (
    Bootstrap,
    difference_interval,
    group_count,
    group_multiplicities,
    group_sums,
    quotient,
    resampled,
    variant_multiplicities,
)


def outcomes(pairs=6, examples=103, seed=0):
    """Numbers that share the difficulty of the examples: (P, N)."""
    rng = np.random.default_rng(seed)
    return rng.normal(size=examples) + rng.normal(size=(pairs, examples)) > np.linspace(-1, 1, pairs)[:, np.newaxis]


def sums_of(values_PN, groups):
    examples_G1 = group_sums(np.ones(values_PN.shape[1]), groups)[:, np.newaxis]
    return group_sums(values_PN, groups), examples_G1


def test_every_example_is_in_the_group_of_its_number_modulo_the_groups():
    values = np.random.default_rng(0).normal(size=(2, 3, 25))
    expected = [values[..., np.arange(25) % 7 == group].sum(axis=-1) for group in range(7)]
    np.testing.assert_allclose(group_sums(values, 7), expected, rtol=1e-12)
    assert group_count(100, Bootstrap(groups=7)) == 7
    assert group_count(5, Bootstrap(groups=7)) == 5


def test_resamples_draw_as_many_groups_as_there_are_and_begin_with_the_data_itself():
    for draw in (group_multiplicities, variant_multiplicities):
        drawn = draw(9, Bootstrap(resamples=2000))
        assert drawn.shape == (2001, 9)
        np.testing.assert_array_equal(drawn[0], 1)
        np.testing.assert_array_equal(drawn.sum(axis=1), 9)
        np.testing.assert_allclose(drawn[1:].mean(axis=0), 1, atol=0.1)
        np.testing.assert_allclose(drawn[1:].var(axis=0), 8 / 9, atol=0.15)
    examples, variants = (draw(9).ravel() for draw in (group_multiplicities, variant_multiplicities))
    assert abs(np.corrcoef(examples, variants)[0, 1]) < 0.05


def test_intervals_are_percentiles_of_examples_drawn_with_replacement():
    values = outcomes(examples=40)
    settings = Bootstrap(resamples=80, seed=3, level=0.8, groups=40)
    low, high = resampled(quotient, *sums_of(values, 40), bootstrap=settings)
    drawn = group_multiplicities(40, settings)[1:].astype(int)
    means = np.array([np.repeat(values, times, axis=1).mean(axis=1) for times in drawn])
    np.testing.assert_allclose(low, np.quantile(means, 0.1, axis=0), rtol=1e-12)
    np.testing.assert_allclose(high, np.quantile(means, 0.9, axis=0), rtol=1e-12)


def test_further_pairs_change_nothing_for_the_others(monkeypatch):
    values = outcomes(pairs=30)
    sums, examples = sums_of(values, 50)
    together = resampled(quotient, sums, examples)
    alone = resampled(quotient, sums[:, 7:8], examples)
    np.testing.assert_allclose(np.array(together)[:, 7:8], alone, rtol=1e-12)
    monkeypatch.setattr(resampling, "_PAIRS_AT_ONCE", 4)
    np.testing.assert_allclose(resampled(quotient, sums, examples), together, rtol=1e-12)


def test_counts_of_any_number_type_give_the_same_interval():
    sums, examples = sums_of(outcomes(), 20)
    expected = resampled(quotient, sums, examples)
    for kind in (np.int16, np.int64, np.float32):
        np.testing.assert_allclose(resampled(quotient, sums.astype(kind), examples), expected, rtol=1e-12)


def test_resamples_without_a_value_are_left_out_and_an_undefined_metric_has_no_interval():
    qualifying = np.array([[0, 1, 1], [0, 0, 1], [0, 0, 1.0]])
    low, high = resampled(quotient, qualifying / 2, qualifying, bootstrap=Bootstrap(level=0.9))
    np.testing.assert_array_equal(low, [np.nan, 0.5, 0.5])
    np.testing.assert_array_equal(high, [np.nan, 0.5, 0.5])
    low, high = resampled(quotient, qualifying, qualifying, bootstrap=Bootstrap(resamples=0))
    assert np.isnan([low, high]).all()


def test_without_pairs_there_are_no_intervals():
    low, high = resampled(quotient, np.empty((5, 0)), np.ones((5, 1)))
    assert low.shape == high.shape == (0,)


def test_an_interval_holds_the_metric_however_skewed_it_is():
    sums = np.random.default_rng(0).exponential(size=(6, 200)) ** 3
    low, high = resampled(lambda x: x**4, sums, bootstrap=Bootstrap(level=0.05))
    value = sums.sum(axis=0) ** 4
    assert np.all((low <= value) & (value <= high))


def test_intervals_hold_the_truth_about_95_times_of_100():
    rng = np.random.default_rng(0)
    truth = np.linspace(0.1, 0.9, 400)
    values = rng.random((400, 600)) < truth[:, np.newaxis]
    for groups in (60, 250):
        low, high = resampled(quotient, *sums_of(values, groups), bootstrap=Bootstrap(resamples=600, groups=groups))
        # The same resamples serve all pairs, whose examples are independent here.
        assert 0.91 <= np.mean((low <= truth) & (truth <= high)) <= 0.98


def test_a_difference_is_resampled_on_the_same_examples_for_both():
    values = outcomes()
    sums, examples = sums_of(values, 103)
    result = difference_interval(quotient, sums, examples, first=[1, 3], second=4)
    assert result.difference == pytest.approx(values[[1, 3]].mean() - values[4].mean())
    drawn = group_multiplicities(103)[1:]
    means = drawn @ (values[[1, 3]].mean(axis=0) - values[4]) / 103
    assert (result.low, result.high) == pytest.approx(tuple(np.quantile(means, [0.025, 0.975])))
    masks = [np.isin(np.arange(6), chosen) for chosen in ([1, 3], [4])]
    assert difference_interval(quotient, sums, examples, first=masks[0], second=masks[1]) == result


def test_a_pair_does_not_differ_from_itself_nor_from_a_duplicate():
    values = outcomes()
    values[5] = values[2]
    sums, examples = sums_of(values, 50)
    result = difference_interval(quotient, sums, examples, first=2, second=5)
    assert (result.difference, result.low, result.high) == (0, 0, 0)


def test_differences_of_pairs_that_share_examples_are_sharper_than_their_intervals():
    rng = np.random.default_rng(0)
    easy = rng.random(500)
    values = np.array([easy > 0.50, easy > 0.52])
    sums, examples = sums_of(values, 250)
    low, high = resampled(quotient, sums, examples)
    result = difference_interval(quotient, sums, examples, first=0, second=1)
    assert low[0] < high[1]
    assert 0 < result.low < result.difference < result.high < 0.05


def test_a_difference_leaves_pairs_without_a_value_out_and_is_nan_without_any():
    sums, counts = np.array([[1.0, 0, 1], [1, 0, 0]]), np.array([[2.0, 0, 2], [2, 0, 2]])
    assert difference_interval(quotient, sums, counts, first=[0, 1], second=[2]).difference == 0.25
    for first in (1, []):
        result = difference_interval(quotient, sums, counts, first=np.array(first, dtype=int), second=0)
        assert np.isnan([result.difference, result.low, result.high]).all()


def test_sums_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match=r"expected \(G, P\) or \(G, 1\) each, got shapes \(3, 4\), \(3, 5\)"):
        resampled(quotient, np.ones((3, 4)), np.ones((3, 5)))
    with pytest.raises(ValueError, match=r"got shapes \(3, 4\), \(2, 1\)"):
        resampled(quotient, np.ones((3, 4)), np.ones((2, 1)))
    with pytest.raises(ValueError, match=r"got shapes \(3,\)"):
        resampled(quotient, np.ones(3))
    with pytest.raises(ValueError, match=r"got shapes \(0, 4\)"):
        resampled(quotient, np.ones((0, 4)))
