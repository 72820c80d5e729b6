from itertools import combinations

import numpy as np
import pytest

from overlap_analysis.pairs import PairBlock, merge_blocks, pair_indices


@pytest.mark.parametrize("variants", [0, 1, 2, 7])
def test_pairs_come_in_row_major_order(variants):
    a, b = pair_indices(variants)
    assert a.dtype == b.dtype == np.int32
    assert list(zip(a.tolist(), b.tolist(), strict=True)) == list(combinations(range(variants), 2))


def block(variants, examples=1):
    a, b = pair_indices(variants)
    return PairBlock(a=a, b=b, examples=examples)


def test_merged_blocks_keep_their_pairs_and_add_their_examples():
    merged = merge_blocks([block(3, 4), block(3, 5)])
    assert merged.examples == 9
    np.testing.assert_array_equal([merged.a, merged.b], pair_indices(3))


def test_blocks_of_other_variants_and_no_block_at_all_are_refused():
    with pytest.raises(ValueError, match=r"parts\[1\]: expected the 3 pairs of parts\[0\], got 6 others"):
        merge_blocks([block(3), block(4)])
    with pytest.raises(ValueError, match="expected at least one block of counts, got none"):
        merge_blocks([])
