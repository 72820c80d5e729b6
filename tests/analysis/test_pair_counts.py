import pickle
from dataclasses import fields, replace
from itertools import pairwise

import numkong
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from overlap_analysis.packed import pack_predictions
from overlap_analysis.pair_counts import (
    PairCounts,
    count_pairs,
    counts_of_rows,
    joint_counts,
    merge_counts,
    row_blocks,
)
from overlap_analysis.pairs import pair_indices

COUNTS = [field.name for field in fields(PairCounts) if field.name not in ("a", "b", "examples")]
LARGEST = np.iinfo(np.int32).max


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


def joint_by_definition(predictions, labels):
    """(V, V) how often both are right, and how often both predict the same class."""
    same = np.array([np.sum((predictions == row) & (row >= 0), axis=1) for row in predictions])
    correct = (predictions == labels).astype(np.int64)
    return correct @ correct.T, same


def as_table(counts):
    return np.stack([getattr(counts, name) for name in COUNTS], axis=1)


def confusions(variants, examples, classes, *, seed=0, known=0.95):
    """Predictions of which some are unknown, most of an example's fall on few classes and the rest on any."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes, examples)
    favorites = (labels + rng.zipf(1.3, (variants, examples))) % classes
    predictions = np.where(rng.random((variants, examples)) < 0.4, labels, favorites)
    return np.where(rng.random((variants, examples)) < known, predictions, -1), labels


@st.composite
def predictions_and_labels(draw):
    variants, examples, classes = draw(st.integers(1, 5)), draw(st.integers(0, 70)), draw(st.integers(1, 4))
    predictions = draw(arrays(np.int32, (variants, examples), elements=st.integers(-1, classes - 1)))
    return predictions, draw(arrays(np.int32, examples, elements=st.integers(0, classes - 1)))


@st.composite
def many_classes(draw):
    """More classes than have a code of their own, often with equal frequencies."""
    variants, examples, classes = draw(st.integers(2, 60)), draw(st.integers(1, 70)), draw(st.integers(2, 40))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    predictions = rng.integers(-1, classes, (variants, examples))
    return predictions, rng.integers(0, classes, examples)


@given(data=predictions_and_labels())
@settings(deadline=None)
def test_counts_equal_their_definition_with_ties_and_unknown_predictions(data):
    counts = count_pairs(*data)
    np.testing.assert_array_equal(as_table(counts), counts_by_definition(*data))
    assert counts.examples == len(data[1])
    assert all(getattr(counts, name).dtype == np.int64 for name in COUNTS)


@given(data=many_classes())
@settings(deadline=None)
def test_classes_without_a_code_of_their_own_are_counted_too(data):
    both, same = joint_by_definition(*data)
    joint = joint_counts(pack_predictions(*data), np.arange(len(data[0])))
    np.testing.assert_array_equal(joint.both_correct_RC, both)
    np.testing.assert_array_equal(joint.same_prediction_RC, same)


@pytest.mark.parametrize(
    ("variants", "examples"),
    [(9, 2047), (9, 4097), (33, 64), (2, 1), (5, 8191), (5, 8192), (5, 8193), (4, 16_500), (131, 65), (300, 130)],
)
def test_counts_equal_their_definition_across_the_kernels_block_sizes(variants, examples):
    predictions, labels = confusions(variants, examples, 50, seed=variants)
    both, same = joint_by_definition(predictions, labels)
    counts = count_pairs(predictions, labels)
    a, b = pair_indices(variants)
    np.testing.assert_array_equal([counts.a, counts.b], [a, b])
    np.testing.assert_array_equal(counts.both_correct, both[a, b])
    np.testing.assert_array_equal(counts.same_prediction, same[a, b])
    np.testing.assert_array_equal(counts.both_correct + counts.only_a_correct, both[a, a])
    np.testing.assert_array_equal(counts.both_correct + counts.only_b_correct, both[b, b])
    np.testing.assert_array_equal(counts.both_wrong_same_class, (same - both)[a, b])
    np.testing.assert_array_equal(
        counts.both_correct + counts.only_a_correct + counts.only_b_correct + counts.both_wrong, examples
    )


def test_differences_in_correctness_are_the_hamming_distances_of_another_kernel():
    predictions, labels = confusions(40, 3000, 1000)
    counts = count_pairs(predictions, labels)
    bits = np.packbits(predictions == labels, axis=1)
    distances = np.asarray(numkong.hammings_symmetric(bits, dtype="uint1"))
    np.testing.assert_array_equal(counts.only_a_correct + counts.only_b_correct, distances[counts.a, counts.b])


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


@given(
    data=many_classes(),
    rows=st.lists(st.integers(0, 59), max_size=9),
    first=st.integers(0, 60),
    threads=st.integers(1, 3),
)
@settings(deadline=None, max_examples=50)
def test_any_rows_meet_all_columns_from_the_first_one_on(data, rows, first, threads):
    rows, first = [row % len(data[0]) for row in rows], min(first, len(data[0]))
    both, same = joint_by_definition(*data)
    joint = joint_counts(pack_predictions(*data), np.array(rows, np.int64), first=first, threads=threads)
    assert joint.first == first
    assert joint.both_correct_RC.dtype == joint.same_prediction_RC.dtype == np.int32
    np.testing.assert_array_equal(joint.both_correct_RC, both[rows, first:])
    np.testing.assert_array_equal(joint.same_prediction_RC, same[rows, first:])


@pytest.mark.parametrize("pairs", [1, 100, 2_000, 100_000])
def test_blocks_of_rows_follow_each_other_to_all_pairs(pairs):
    packed = pack_predictions(*confusions(150, 100, 30))
    whole = counts_of_rows(packed, 0, packed.variants)
    blocks = [counts_of_rows(packed, rows.start, rows.stop, threads=2) for rows in row_blocks(150, pairs=pairs)]
    for name in ("a", "b", *COUNTS):
        joined = np.concatenate([getattr(block, name) for block in blocks])
        np.testing.assert_array_equal(joined, getattr(whole, name))
        assert joined.dtype == getattr(whole, name).dtype


@given(variants=st.integers(0, 80), pairs=st.integers(1, 500))
def test_row_blocks_hold_every_row_once_and_no_more_pairs_than_asked(variants, pairs):
    blocks = row_blocks(variants, pairs=pairs)
    assert [row for rows in blocks for row in rows] == list(range(variants))
    assert all(len(rows) == 1 or sum(variants - 1 - row for row in rows) <= pairs for rows in blocks)
    for block, following in pairwise(blocks):
        assert sum(variants - 1 - row for row in range(block.start, following.start + 1)) > pairs


def test_threads_change_nothing():
    predictions, labels = confusions(300, 9000, 200)
    one, three = (pack_predictions(predictions, labels, threads=threads) for threads in (1, 3))
    for field in fields(one):
        np.testing.assert_array_equal(getattr(one, field.name), getattr(three, field.name))
    np.testing.assert_array_equal(
        as_table(counts_of_rows(one, 0, 300, threads=1)), as_table(counts_of_rows(one, 0, 300, threads=3))
    )


def test_packed_predictions_can_be_sent_and_counted_where_they_lie_read_only():
    packed = pack_predictions(*confusions(20, 300, 60))
    sent = pickle.loads(pickle.dumps(packed))
    names = [field.name for field in fields(sent) if field.name != "examples"]
    frozen = {name: getattr(sent, name).copy() for name in names}
    for array in frozen.values():
        array.flags.writeable = False
    expected, got = counts_of_rows(packed, 0, 20), counts_of_rows(replace(sent, **frozen), 0, 20)
    np.testing.assert_array_equal(as_table(got), as_table(expected))


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


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int16, np.int32, np.uint32, np.int64])
def test_any_integers_are_counted_read_only_and_in_any_layout(dtype):
    predictions, labels = confusions(6, 200, 100, known=1 if np.dtype(dtype).kind == "u" else 0.9)
    expected = counts_by_definition(predictions, labels)
    predictions, labels = predictions.astype(dtype), labels.astype(dtype)
    for laid_out in (predictions, np.asfortranarray(predictions), np.repeat(predictions, 2, axis=1)[:, ::2]):
        laid_out.flags.writeable = False
        np.testing.assert_array_equal(as_table(count_pairs(laid_out, labels)), expected)


@given(data=many_classes(), seed=st.integers(0, 2**32))
@settings(deadline=None, max_examples=30)
def test_names_of_classes_do_not_matter_however_large(data, seed):
    predictions, labels = data
    names = np.sort(np.random.default_rng(seed).choice(LARGEST, 40, replace=False))
    names[-1] = LARGEST
    renamed = np.where(predictions >= 0, names[predictions], -LARGEST - 1)
    np.testing.assert_array_equal(as_table(count_pairs(renamed, names[labels])), as_table(count_pairs(*data)))


def test_negative_classes_of_64_bits_are_unknown_too():
    counts = count_pairs(np.array([[-(2**32)], [-(2**32)], [0]]), np.array([0]))
    assert counts.same_prediction.tolist() == [0, 0, 0]
    assert counts.both_wrong.tolist() == [1, 0, 0]


@pytest.mark.parametrize("variants", [0, 1])
def test_fewer_than_two_variants_have_no_pair(variants):
    assert as_table(count_pairs(np.zeros((variants, 5), np.int32), np.zeros(5, np.int32))).shape == (0, len(COUNTS))


def test_shapes_that_do_not_fit_and_classes_that_are_none_are_refused():
    with pytest.raises(ValueError, match=r"got \(2, 5\) and \(4,\)"):
        count_pairs(np.zeros((2, 5), np.int32), np.zeros(4, np.int32))
    with pytest.raises(ValueError, match=r"labels\[1\]: expected a class of at least 0, got -1"):
        count_pairs(np.zeros((2, 2), np.int32), np.array([0, -1], np.int32))
    with pytest.raises(ValueError, match="predictions: expected integers, got float64"):
        count_pairs(np.zeros((2, 2)), np.zeros(2, np.int32))
    with pytest.raises(ValueError, match=f"classes of at most {LARGEST}, got {LARGEST + 1}"):
        count_pairs(np.full((2, 2), LARGEST + 1), np.zeros(2, np.int32))


def test_rows_that_are_no_variants_are_refused():
    packed = pack_predictions(np.zeros((3, 2), np.int32), np.zeros(2, np.int32))
    with pytest.raises(IndexError, match="rows: expected variants 0 to 2, got 1 to 3"):
        joint_counts(packed, np.array([1, 3]))
    with pytest.raises(IndexError, match="first: expected 0 to 3, got 4"):
        joint_counts(packed, np.array([1]), first=4)
    with pytest.raises(IndexError, match="got 2 and 1"):
        counts_of_rows(packed, 2, 1)
