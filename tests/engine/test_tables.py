import math

from overlap.pairwise.comparison import categories_table
from overlap_analysis import CategoryMean


def test_a_category_without_a_defined_pair_has_null_for_its_mean():
    def mean(value):
        return CategoryMean(category="reinit", metric="kappa", pairs=3, undefined=0, mean=value, low=value, high=value)

    table = categories_table([mean(0.5), mean(math.nan)])
    assert table["mean"].to_list() == table["low"].to_list() == table["high"].to_list() == [0.5, None]
