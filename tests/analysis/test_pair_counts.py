from dataclasses import fields

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from overlap_analysis.pair_counts import PairCounts, count_pairs, merge_counts

COUNTS = [field.name for field in fields(PairCounts) if field.name not in ("a", "b", "examples")]


def counts_by_definition(predictions, labels):
    table = []
    for a in range(len(predictions)):
        for b in range(a + 1, len(predictions)):
            row = dict.fromkeys(COUNTS, 0)
            for x, y, label in zip(predictions[a], predictions[b], labels, strict=True):
                row["both_correct"] += x == label and y == label
                row["only_a_correct"] += x == label and y != label
                row["only_b_correct"] += x != label and y == label
                row["both_wrong"] += x != label and y != label
                row["both_wrong_same_class"] += x == y and x != label and x >= 0
                row["same_prediction"] += x == y and x >= 0
            table.append([row[name] for name in COUNTS])
    return np.array(table, dtype=np.int64).reshape(-1, len(COUNTS))


def as_table(counts):
    return np.stack([getattr(counts, name) for name in COUNTS], axis=1)


@st.composite
def predictions_and_labels(draw):
    variants, examples, classes = draw(st.integers(1, 5)), draw(st.integers(0, 70)), draw(st.integers(1, 4))
    predictions = draw(arrays(np.int32, (variants, examples), elements=st.integers(-1, classes - 1)))
    return predictions, draw(arrays(np.int32, examples, elements=st.integers(0, classes - 1)))


@given(data=predictions_and_labels())
@settings(deadline=None)
def test_counts_equal_their_definition_with_ties_and_unknown_predictions(data):
    counts = count_pairs(*data)
    np.testing.assert_array_equal(as_table(counts), counts_by_definition(*data))
    assert counts.examples == len(data[1])
    assert all(getattr(counts, name).dtype == np.int64 for name in COUNTS)


@pytest.mark.parametrize(("variants", "examples"), [(9, 2047), (9, 4097), (33, 64), (2, 1)])
def test_counts_equal_their_definition_across_the_kernels_block_sizes(variants, examples):
    rng = np.random.default_rng(variants)
    predictions = rng.integers(-1, 5, (variants, examples), dtype=np.int32)
    labels = rng.integers(0, 5, examples, dtype=np.int32)
    np.testing.assert_array_equal(as_table(count_pairs(predictions, labels)), counts_by_definition(predictions, labels))


@given(data=predictions_and_labels(), cut=st.floats(0, 1))
@settings(deadline=None)
def test_blocks_of_examples_add_up_to_the_whole(data, cut):
    predictions, labels = data
    at = round(cut * len(labels))
    parts = [count_pairs(predictions[:, :at], labels[:at]), count_pairs(predictions[:, at:], labels[at:])]
    whole = count_pairs(predictions, labels)
    merged = merge_counts(parts)
    assert merged.examples == whole.examples
    np.testing.assert_array_equal(as_table(merged), as_table(whole))


def test_unknown_predictions_are_wrong_and_agree_with_nothing():
    counts = count_pairs(np.array([[-1, -1, 0], [-1, 1, 0]], dtype=np.int32), np.array([0, 1, 0], dtype=np.int32))
    assert dict(zip(COUNTS, as_table(counts)[0].tolist(), strict=True)) == {
        "both_correct": 1,
        "only_a_correct": 0,
        "only_b_correct": 1,
        "both_wrong": 1,
        "both_wrong_same_class": 0,
        "same_prediction": 1,
    }


def test_read_only_and_strided_predictions_are_counted_in_place():
    rng = np.random.default_rng(0)
    predictions = rng.integers(0, 3, (40, 4), dtype=np.int32).T
    predictions.flags.writeable = False
    labels = rng.integers(0, 3, 40, dtype=np.int32)
    np.testing.assert_array_equal(as_table(count_pairs(predictions, labels)), counts_by_definition(predictions, labels))


def test_one_variant_has_no_pair():
    assert as_table(count_pairs(np.zeros((1, 5), np.int32), np.zeros(5, np.int32))).shape == (0, len(COUNTS))


def test_shapes_that_do_not_fit_and_negative_labels_are_refused():
    with pytest.raises(ValueError, match=r"got \(2, 5\) and \(4,\)"):
        count_pairs(np.zeros((2, 5), np.int32), np.zeros(4, np.int32))
    with pytest.raises(ValueError, match=r"labels\[1\]: expected a class of at least 0, got -1"):
        count_pairs(np.zeros((2, 2), np.int32), np.array([0, -1], np.int32))
