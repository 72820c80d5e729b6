"""The trend over the pairs of one base variant: the others are permuted, the base stays."""

from itertools import permutations

import numpy as np
import pytest

from overlap_analysis.pairs import pair_indices
from overlap_analysis.trend import category_trend


def pairs_of(base, of_others, variants):
    """Values, or categories, of the base's pairs by the other variant; NaN or -1 elsewhere."""
    a, b = pair_indices(variants)
    other = np.where(a == base, b, a)
    nothing = -1 if np.issubdtype(np.asarray(of_others).dtype, np.integer) else np.nan
    return np.where((a == base) | (b == base), np.asarray(of_others)[other], nothing)


def effect(values, categories):
    earlier, later = np.nonzero(categories[:, None] < categories)
    return np.mean(np.sign(values[later] - values[earlier]) / 2 + 0.5)


@pytest.mark.parametrize("base", [0, 3, 6])
def test_the_p_value_is_the_share_of_the_others_orders_with_as_large_an_effect(base):
    rng = np.random.default_rng(base)
    others = np.delete(np.arange(7), base)
    category_V = np.zeros(7, np.int64)
    category_V[others] = [0, 1, 1, 2, 3, 4]
    value_V = category_V + rng.normal(0, 1.5, 7)
    found = category_trend(
        pairs_of(base, value_V, 7), pairs_of(base, category_V, 7).astype(np.int8), permutations=4000, fixed=base
    )
    expected = effect(value_V[others], category_V[others])
    orders = [effect(value_V[others], category_V[list(order)]) for order in permutations(others)]
    assert found.effect == pytest.approx(expected)
    assert found.permutations == 4000
    assert found.p_value == pytest.approx(np.mean(np.array(orders) >= expected - 1e-12), abs=0.02)


def test_a_base_that_is_no_variant_is_refused():
    with pytest.raises(ValueError, match="fixed: expected 0 to 2, got 3"):
        category_trend(np.array([1.0, 2.0, 3.0]), np.array([0, 1, 1], np.int8), fixed=3)
