from fractions import Fraction

import numpy as np
import pytest
from scipy.special import softmax

from overlap_analysis.probabilities import (
    GRID,
    calibrated_probabilities,
    check_grid,
    check_labels,
    probability_grid,
)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("temperature", [0.05, 1.0, 1.7, 20.0])
def test_probabilities_are_the_softmax_of_the_stored_logits_over_the_temperature(dtype, temperature):
    logits = (np.random.default_rng(0).normal(size=(30, 7)) * 5).astype(dtype)
    got = calibrated_probabilities(logits, temperature=temperature)
    assert got.dtype == np.float64
    np.testing.assert_allclose(got, softmax(logits.astype(np.float64) / temperature, axis=1), rtol=1e-12)


def test_the_input_stays_as_it_is():
    logits = np.random.default_rng(0).normal(size=(5, 3))
    before = logits.copy()
    logits.flags.writeable = False
    probability_grid(logits, temperature=2.0)
    np.testing.assert_array_equal(logits, before)


def test_extreme_logits_neither_overflow_nor_warn():
    logits = np.array([[65504, -65504, 0]], dtype=np.float16)
    np.testing.assert_array_equal(calibrated_probabilities(logits, temperature=0.05), [[1, 0, 0]])
    np.testing.assert_array_equal(probability_grid(np.array([[1e300, -1e300]]), temperature=1.0), [[GRID, 0]])


def test_a_constant_added_to_a_row_changes_nothing():
    logits = np.arange(12.0).reshape(3, 4)
    shifted = logits + np.array([[64.0], [-3.0], [1024.0]])
    np.testing.assert_array_equal(probability_grid(shifted, temperature=1.3), probability_grid(logits, temperature=1.3))


def test_the_grid_is_the_nearest_multiple_of_two_to_the_minus_30():
    logits = np.random.default_rng(0).normal(size=(50, 9))
    grid = probability_grid(logits, temperature=1.0)
    probabilities = calibrated_probabilities(logits, temperature=1.0)
    assert grid.dtype == np.int32
    exact = [Fraction(p) * 2**30 for p in probabilities.ravel().tolist()]
    assert all(
        abs(value - units) <= Fraction(1, 2) + Fraction(1, 10**5)
        for value, units in zip(grid.ravel().tolist(), exact, strict=True)
    )


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_rows_that_are_not_finite_are_refused_with_their_place(bad):
    logits = np.zeros((4, 3), dtype=np.float32)
    logits[2, 1] = logits[3, 0] = bad
    with pytest.raises(ValueError, match=rf"logits\[2, 1\]: expected a finite number, got {bad} \(2 of 4 rows"):
        probability_grid(logits, temperature=1.0)


@pytest.mark.parametrize("temperature", [0, -1.0, np.nan, np.inf])
def test_a_temperature_that_is_not_above_zero_is_refused(temperature):
    with pytest.raises(ValueError, match=f"temperature: expected a finite number above 0, got {temperature}"):
        calibrated_probabilities(np.zeros((1, 2)), temperature=temperature)


@pytest.mark.parametrize("shape", [(3,), (2, 0), (1, 2, 3)])
def test_logits_of_another_shape_are_refused(shape):
    with pytest.raises(ValueError, match="logits: expected"):
        calibrated_probabilities(np.zeros(shape), temperature=1.0)


def test_labels_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match=r"labels\[1\]: expected a class in \[0, 3\), got 3"):
        check_labels(np.array([0, 3, -1]), examples=3, classes=3)
    with pytest.raises(ValueError, match=r"labels\[0\]: expected a class in \[0, 3\), got -1"):
        check_labels(np.array([-1]), examples=1, classes=3)
    with pytest.raises(ValueError, match=r"labels: expected shape \(2,\), one for each example, got \(3,\)"):
        check_labels(np.zeros(3, int), examples=2, classes=3)


@pytest.mark.parametrize(
    "grid",
    [
        np.zeros((2, 3), np.int32),
        np.zeros((2, 1, 3), np.int64),
        np.full((2, 1, 3), -1, np.int32),
        np.full((2, 1, 3), GRID + 1, np.int32),
    ],
)
def test_grids_of_another_shape_type_or_range_are_refused(grid):
    with pytest.raises(ValueError, match="grid: expected"):
        check_grid(grid, np.zeros(1, np.int32))
