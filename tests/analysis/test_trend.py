import numpy as np
import pytest

from overlap_analysis.pairs import pair_indices
from overlap_analysis.trend import category_trend


def variants_of(count, seed=0):
    """Category of each pair of random variants: the highest of four attributes in which they differ."""
    rng = np.random.default_rng(seed)
    attributes = rng.integers(0, 2, (count, 4))
    a, b = pair_indices(count)
    differ = attributes[a] != attributes[b]
    return (differ * np.arange(1, 5)).max(axis=1).astype(np.int8)


def values_of(count, seed=0):
    """A metric of pairs that share their variants' levels, which makes pairs far from independent."""
    rng = np.random.default_rng([1, seed])
    a, b = pair_indices(count)
    level = rng.normal(size=count)
    return level[a] + level[b] + rng.normal(size=len(a)) / 2


def effect_by_definition(values, category):
    earlier, later = np.nonzero(category[:, np.newaxis] < category)
    return np.mean(np.sign(values[later] - values[earlier]) / 2 + 0.5)


def shuffled(values, order):
    """The same metric with the variants in another order."""
    count = len(order)
    a, b = pair_indices(count)
    matrix = np.zeros((count, count))
    matrix[a, b] = matrix[b, a] = values
    return matrix[order][:, order][a, b]


@pytest.mark.parametrize("decimals", [0, 1, 8])
def test_the_effect_is_the_probability_that_a_later_category_has_more_with_ties_half(decimals):
    for seed in range(5):
        category, values = variants_of(9, seed), values_of(9, seed).round(decimals)
        result = category_trend(values, category, permutations=5)
        assert result.effect == pytest.approx(effect_by_definition(values, category), rel=1e-12)
        assert result.pairs == tuple(np.bincount(category, minlength=5))


def test_the_permutations_relabel_variants():
    category, values = variants_of(8), values_of(8).round(0)
    result = category_trend(values, category, permutations=200, seed=4)
    rng = np.random.default_rng(4)
    effects = [effect_by_definition(values, shuffled(category, rng.permutation(8)).astype(np.int8)) for _ in range(200)]
    assert result.p_value == (1 + np.sum(np.array(effects) >= result.effect - 1e-12)) / 201
    assert result.z == pytest.approx((result.effect - np.mean(effects)) / np.std(effects))
    falling = category_trend(values, category, permutations=200, seed=4, direction="falling")
    assert falling.p_value == (1 + np.sum(np.array(effects) <= result.effect + 1e-12)) / 201
    assert (falling.effect, falling.z) == (result.effect, result.z)


def test_without_a_trend_p_values_are_uniform_although_pairs_share_variants():
    p_values = np.array(
        [
            category_trend(values_of(12, seed), variants_of(12, seed + 1000), permutations=99, seed=seed).p_value
            for seed in range(400)
        ]
    )
    for share in (0.05, 0.1, 0.25, 0.5, 0.75):
        assert np.mean(p_values <= share) == pytest.approx(share, abs=4 * np.sqrt(share * (1 - share) / 400))


def test_a_planted_trend_is_found_and_its_reverse_is_not():
    category = variants_of(16)
    values = values_of(16) + category
    assert category_trend(values, category).p_value < 0.01
    assert category_trend(values, category, direction="falling").p_value > 0.9
    assert category_trend(-values, category, direction="falling").p_value < 0.01
    assert category_trend(values, category).effect > 0.7
    assert category_trend(category.astype(float), category).effect == 1


def test_the_order_of_the_variants_and_any_rising_scale_change_nothing():
    category, values = variants_of(14), values_of(14) + variants_of(14) / 3
    order = np.random.default_rng(9).permutation(14)
    result = category_trend(values, category)
    other = category_trend(shuffled(values, order), shuffled(category, order).astype(np.int8))
    assert other.effect == pytest.approx(result.effect, rel=1e-12)
    assert other.pairs == result.pairs
    assert other.p_value == pytest.approx(result.p_value, abs=0.05)
    assert other.z == pytest.approx(result.z, abs=0.6)
    assert category_trend(np.exp(values), category) == result
    assert category_trend(values, category, seed=1).p_value == pytest.approx(result.p_value, abs=0.05)


def test_pairs_without_a_value_are_left_out():
    category, values = variants_of(10), values_of(10)
    values[::4] = np.nan
    defined = ~np.isnan(values)
    result = category_trend(values, category)
    assert result.effect == pytest.approx(effect_by_definition(values[defined], category[defined]))
    assert sum(result.pairs) == defined.sum()
    assert 0 < result.p_value < 1


def test_pairs_of_unknown_category_are_left_out_wherever_a_permutation_puts_them():
    category, values = variants_of(7), values_of(7)
    category[::3] = -1
    known = category >= 0
    result = category_trend(values, category, permutations=50, seed=2)
    assert result.effect == pytest.approx(effect_by_definition(values[known], category[known]))
    assert result.pairs == tuple(np.bincount(category[known], minlength=5))
    rng = np.random.default_rng(2)
    effects = []
    for _ in range(50):
        permuted = shuffled(category, rng.permutation(7)).astype(np.int8)
        effects.append(effect_by_definition(values[permuted >= 0], permuted[permuted >= 0]))
    assert result.z == pytest.approx((result.effect - np.mean(effects)) / np.std(effects))


def test_equal_values_show_no_trend():
    result = category_trend(np.ones(45), variants_of(10))
    assert (result.effect, result.p_value) == (0.5, 1)
    assert np.isnan(result.z)


@pytest.mark.parametrize("values", [np.arange(6.0), np.full(6, np.nan)])
def test_with_one_category_or_none_there_is_no_trend_to_test(values):
    result = category_trend(values, np.full(6, 2, np.int8))
    assert np.isnan([result.effect, result.z, result.p_value]).all()
    assert result.permutations == 0
    assert category_trend(np.empty(0), np.empty(0, np.int8)).pairs == (0, 0, 0, 0, 0)


def test_inputs_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match=r"got \(6,\) and \(5,\)"):
        category_trend(np.ones(6), np.zeros(5, np.int8))
    with pytest.raises(ValueError, match="pairs of V variants, got 5"):
        category_trend(np.ones(5), np.zeros(5, np.int8))
    with pytest.raises(ValueError, match=r"category\[1\]: expected -1 to 4, got -2"):
        category_trend(np.ones(3), np.array([0, -2, 0], np.int8))
    with pytest.raises(ValueError, match="'rising' or 'falling', got 'up'"):
        category_trend(np.ones(3), np.zeros(3, np.int8), direction="up")
