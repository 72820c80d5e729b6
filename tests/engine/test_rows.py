"""Logits are rounded once, and no two stored numbers disagree."""

from dataclasses import fields
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from overlap.store.rows import TOP_CLASSES, result_rows, round_logits

SHAPES = array_shapes(min_dims=2, max_dims=2, max_side=12)
# Tight groups of values, so that rows hold ties, near ties and huge gaps.
VALUES = (
    st.floats(-1e5, 1e5, width=32)
    | st.sampled_from([0.0, -0.0, 1.0, 1.0 + 2.0**-23, 1.0 - 2.0**-24, 3e38, -3e38, -np.inf, 1e-45])
    | st.integers(-3, 3).map(float)
)


@st.composite
def logits(draw):
    """(N, C) float32 logits, each row with at least one finite entry."""
    values = draw(arrays(np.float32, draw(SHAPES), elements=VALUES))
    values[np.isneginf(values).all(axis=1), 0] = 0
    return values


@given(logits())
@settings(deadline=None, max_examples=150)
def test_the_arg_max_survives_and_a_tie_goes_to_the_lowest_class(logits_NC):
    rounded_NC = round_logits(logits_NC)
    np.testing.assert_array_equal(rounded_NC.argmax(axis=1), logits_NC.argmax(axis=1))
    np.testing.assert_array_equal((rounded_NC == 0).sum(axis=1), 1)


@given(logits())
@settings(deadline=None, max_examples=150)
def test_every_rounded_entry_is_finite_and_at_most_zero(logits_NC):
    rounded_NC = round_logits(logits_NC)
    assert rounded_NC.dtype == np.float16
    assert np.isfinite(rounded_NC).all()
    assert (rounded_NC.max(axis=1) == 0).all()
    others = rounded_NC[rounded_NC != 0]
    assert (others <= -(2.0**-24)).all()
    assert (others >= -65504).all()


@given(logits())
@settings(deadline=None)
def test_an_entry_moves_by_at_most_half_a_step_of_float16(logits_NC):
    rounded_NC = round_logits(logits_NC).astype(np.float64)
    with np.errstate(over="ignore"):
        exact_NC = (logits_NC - logits_NC.max(axis=1, keepdims=True)).astype(np.float64)
    inside_NC = (exact_NC >= -65504) & (exact_NC < -(2.0**-14))
    steps_NC = np.abs(rounded_NC - exact_NC)[inside_NC] / np.abs(exact_NC[inside_NC])
    assert (steps_NC <= 2.0**-11).all()


@given(logits())
@settings(deadline=None)
def test_of_two_different_entries_the_larger_stays_at_least_as_large(logits_NC):
    for row, rounded in zip(logits_NC.tolist(), round_logits(logits_NC).tolist(), strict=True):
        pairs = sorted(zip(row, rounded, strict=True))
        assert all(a[1] <= b[1] for a, b in pairwise(pairs) if a[0] < b[0])


def test_rounding_by_hand():
    row = np.array([[2.0, 5.0, 5.0, 5.0 - 2.0**-21, -1e9, -np.inf, 4.0]], np.float32)
    expected = [-3.0, 0.0, -(2.0**-24), -(2.0**-21), -65504.0, -65504.0, -1.0]
    assert round_logits(row).tolist() == [expected]


@pytest.mark.parametrize(("value", "shown"), [(np.nan, "nan"), (np.inf, "inf")], ids=["not a number", "infinite"])
def test_an_entry_that_no_softmax_can_read_is_refused_with_its_row(value, shown):
    logits_NC = np.zeros((7, 3), np.float32)
    logits_NC[4, 1] = logits_NC[6, 2] = value
    with pytest.raises(ValueError, match=f"expected finite logits, got {shown} in 2 rows, first in row 4"):
        round_logits(logits_NC)


def test_a_row_without_any_belief_is_refused():
    logits_NC = np.zeros((3, 4), np.float32)
    logits_NC[2] = -np.inf
    with pytest.raises(ValueError, match="expected finite logits, got -inf in 1 rows, first in row 2"):
        round_logits(logits_NC)


@given(logits(), st.integers(0, 2**32))
@settings(deadline=None, max_examples=150)
def test_all_columns_of_a_result_agree_with_a_softmax_of_the_stored_logits(logits_NC, seed):
    stored_NC = round_logits(logits_NC)
    examples, classes = stored_NC.shape
    labels_N = np.random.default_rng(seed).integers(0, classes, examples).astype(np.int32)
    rows = result_rows(stored_NC, labels_N)
    powers_NC = np.exp(stored_NC.astype(np.float64))
    softmax_NC = powers_NC / powers_NC.sum(axis=1, keepdims=True)
    every_N = np.arange(examples)
    np.testing.assert_array_equal(rows.prediction_N, stored_NC.argmax(axis=1))
    np.testing.assert_array_equal(rows.prediction_N, rows.top_classes_NK[:, 0])
    np.testing.assert_array_equal(rows.correct_N, rows.prediction_N == labels_N)
    np.testing.assert_allclose(rows.confidence_N, softmax_NC.max(axis=1), rtol=1e-6)
    np.testing.assert_allclose(rows.label_probability_N, softmax_NC[every_N, labels_N], rtol=1e-6, atol=1e-44)
    np.testing.assert_allclose(rows.log_partition_N, np.log(powers_NC.sum(axis=1)), rtol=1e-6, atol=1e-9)
    expected_N = np.log(powers_NC.sum(axis=1)) - stored_NC[every_N, labels_N].astype(np.float64)
    np.testing.assert_allclose(rows.loss_N, expected_N, rtol=1e-6, atol=1e-9)
    assert (rows.loss_N >= 0).all()


@given(logits())
@settings(deadline=None)
def test_the_kept_classes_are_the_largest_in_order_and_ties_by_class(logits_NC):
    stored_NC = round_logits(logits_NC)
    rows = result_rows(stored_NC, np.zeros(len(stored_NC), np.int32))
    kept = min(TOP_CLASSES, stored_NC.shape[1])
    expected = [sorted(range(len(row)), key=lambda c, row=row: (-row[c], c))[:kept] for row in stored_NC.tolist()]
    assert rows.top_classes_NK.tolist() == expected
    np.testing.assert_array_equal(rows.top_logits_NK, np.take_along_axis(stored_NC, np.array(expected), axis=1))


@pytest.mark.parametrize(
    ("classes", "dtype"), [(1, np.uint16), (8, np.uint16), (9, np.uint16), (65_536, np.uint16), (65_537, np.uint32)]
)
def test_classes_are_kept_in_the_smallest_type_that_holds_them(classes, dtype):
    logits_NC = np.full((1, classes), -1.0, np.float16)
    logits_NC[0, -1] = 0
    rows = result_rows(logits_NC, np.array([classes - 1], np.int32))
    assert rows.top_classes_NK.dtype == dtype
    assert rows.top_classes_NK.shape == (1, min(8, classes))
    assert rows.top_classes_NK[0, 0] == classes - 1
    assert rows.correct_N.tolist() == [True]


def test_columns_have_the_types_of_the_store():
    rows = result_rows(np.zeros((2, 1), np.float16), np.zeros(2, np.int32))
    assert rows.prediction_N.dtype == np.int32
    assert rows.correct_N.dtype == np.bool_
    assert rows.top_logits_NK.dtype == np.float16
    for column in (rows.label_probability_N, rows.confidence_N, rows.loss_N):
        assert column.dtype == np.float32
    assert rows.log_partition_N.dtype == rows.calibrated_log_partition_N.dtype == np.float64


def test_the_calibrated_partition_is_that_of_the_logits_over_the_temperature():
    logits_NC = round_logits(np.random.default_rng(0).normal(size=(5, 7)).astype(np.float32) * 4)
    rows = result_rows(logits_NC, np.zeros(5, np.int32), 2.5)
    expected_N = np.log(np.exp(logits_NC.astype(np.float64) / 2.5).sum(axis=1))
    np.testing.assert_allclose(rows.calibrated_log_partition_N, expected_N, rtol=1e-6)
    np.testing.assert_array_equal(rows.log_partition_N, result_rows(logits_NC, np.zeros(5, np.int32)).log_partition_N)


def test_blocks_change_nothing(monkeypatch):
    logits_NC = round_logits(np.random.default_rng(1).normal(size=(50, 20)).astype(np.float32))
    labels_N = np.arange(50, dtype=np.int32) % 20
    whole = result_rows(logits_NC, labels_N, 1.5)
    monkeypatch.setattr("overlap.store.rows.BLOCK", 7)
    cut = result_rows(logits_NC, labels_N, 1.5)
    for field in fields(whole):
        np.testing.assert_array_equal(getattr(cut, field.name), getattr(whole, field.name))


def test_the_layout_of_the_logits_changes_no_bit():
    logits_NC = np.random.default_rng(2).normal(-36, 1, size=(300, 10)).astype(np.float32)
    logits_NC[:, 4] = 0  # so sure that the rest is at the last bit of the sum
    labels_N = np.arange(300, dtype=np.int32) % 10
    rows, turned = (
        result_rows(round_logits(each), labels_N, 1.7) for each in (logits_NC, np.asfortranarray(logits_NC))
    )
    by_column = result_rows(np.asfortranarray(round_logits(logits_NC)), labels_N, 1.7)
    for field in fields(rows):
        np.testing.assert_array_equal(getattr(turned, field.name), getattr(rows, field.name))
        np.testing.assert_array_equal(getattr(by_column, field.name), getattr(rows, field.name))
