"""Angles between confidences, and what they say of who is right, against their definitions."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from overlap_analysis import ANGLE_BINS, JOINT_OUTCOMES, auroc_interval, pair_indices, specialize

LEVELS = np.float32([-1e-30, -1e-9, -0.01, -0.1, -0.5, -0.5, -2.0])  # some so near 1 that only log odds tell them apart


def problem(seed, variants=4, examples=60, cells=3):
    """Confidences with many ties, correctness, cells."""
    rng = np.random.default_rng(seed)
    log_confidence_VN = rng.choice(LEVELS, (variants, examples))
    return log_confidence_VN, rng.random((variants, examples)) < 0.6, rng.integers(0, cells, examples)


def angles(log_confidence_VN, a, b):
    """θ in degrees, by its formula."""
    p, q = np.exp(log_confidence_VN[[a, b]].astype(np.float64))
    return np.degrees(np.arctan2(p, q)) - 45


def log_odds(log_confidence_VN):
    wide = log_confidence_VN.astype(np.float64)
    return wide - np.log(-np.expm1(wide))


def area(values_N, only_a, only_b):
    """P(value where only a is right > value where only b is), ties one half, by comparing every two examples."""
    gap = values_N[only_a][:, None] - values_N[only_b][None, :]
    gap[np.abs(gap) < 1e-13] = 0  # the formula's angles of equal confidences differ in their last digit
    return np.nan if gap.size == 0 else float(np.mean((gap > 0) + 0.5 * (gap == 0)))


@given(st.integers(0, 10_000))
@settings(max_examples=25, deadline=None)
def test_every_number_is_that_of_its_definition(seed):
    log_confidence_VN, correct_VN, cell_N = problem(seed)
    found = specialize(log_confidence_VN, correct_VN, cell_N, pair_indices(4), cells=3)
    odds_VN = log_odds(log_confidence_VN)
    for p, (a, b) in enumerate(zip(found.a, found.b, strict=True)):
        theta_N = angles(log_confidence_VN, a, b)
        right, other = correct_VN[a], correct_VN[b]
        masks = (right & other, ~right & ~other, right & ~other, ~right & other)
        assert found.angles[p].sum(axis=1).tolist() == [int(mask.sum()) for mask in masks]
        only_a, only_b = masks[2:]
        assert found.only_a[p].tolist() == np.bincount(cell_N[only_a], minlength=3).tolist()
        assert found.only_b[p].tolist() == np.bincount(cell_N[only_b], minlength=3).tolist()
        assert found.angle_only_a[p] == pytest.approx(theta_N[only_a].mean() if only_a.any() else np.nan, nan_ok=True)
        assert found.angle_only_b[p] == pytest.approx(theta_N[only_b].mean() if only_b.any() else np.nan, nan_ok=True)
        p_N, q_N = np.exp(log_confidence_VN[[a, b]].astype(np.float64))
        ratio_N = (p_N - q_N) / (p_N + q_N)
        assert found.auroc[p] == pytest.approx(area(ratio_N, only_a, only_b), nan_ok=True)
        assert found.log_odds_auroc[p] == pytest.approx(area(odds_VN[a] - odds_VN[b], only_a, only_b), nan_ok=True)


def test_the_histogram_has_every_angle_in_its_bin():
    confidences = np.float32(np.log(np.random.default_rng(0).uniform(0.01, 1, (2, 5000))))
    found = specialize(confidences, np.ones((2, 5000), np.bool_), np.zeros(5000, np.int64), pair_indices(2), cells=1)
    expected, _ = np.histogram(angles(confidences, 0, 1), np.linspace(-45, 45, ANGLE_BINS + 1))
    assert found.angles[0, JOINT_OUTCOMES.index("both_correct")].tolist() == expected.tolist()


@pytest.mark.parametrize(("first", "second", "which"), [(0.0, -80.0, -1), (-80.0, 0.0, 0), (0.0, 0.0, ANGLE_BINS // 2)])
def test_the_ends_and_the_middle_of_the_scale_have_a_bin(first, second, which):
    log_confidence = np.float32([[first], [second]])
    found = specialize(log_confidence, np.ones((2, 1), np.bool_), np.zeros(1, np.int64), pair_indices(2), cells=1)
    assert np.flatnonzero(found.angles[0, 0]).tolist() == [which % ANGLE_BINS]


def test_a_pair_the_other_way_round_has_the_same_areas():
    inputs = problem(3)
    there = specialize(*inputs, (np.array([0]), np.array([1])), cells=3)
    back = specialize(*inputs, (np.array([1]), np.array([0])), cells=3)
    assert there.auroc[0] == pytest.approx(back.auroc[0])
    assert there.log_odds_auroc[0] == pytest.approx(back.log_odds_auroc[0])
    assert there.only_a.tolist() == back.only_b.tolist()


def test_threads_and_pieces_change_nothing():
    inputs = problem(5, variants=30)
    one, two = (specialize(*inputs, pair_indices(30), cells=3, threads=threads) for threads in (1, 2))
    assert len(one.auroc) == 435
    np.testing.assert_array_equal(one.auroc, two.auroc)
    np.testing.assert_array_equal(one.angles, two.angles)


def test_no_pair_gives_empty_arrays():
    none = np.empty(0, np.int32)
    found = specialize(*problem(0), (none, none), cells=3)
    assert found.angles.shape == (0, 4, ANGLE_BINS)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"log_confidence_VN": np.float32([[0.1, -1], [-1, -1]])}, r"log_confidence\[0, 0\]: expected at most 0"),
        ({"log_confidence_VN": np.float32([[-1, np.nan], [-1, -1]])}, r"log_confidence\[0, 1\]: expected at most 0"),
        ({"cell_N": np.array([0, 3])}, "cells: expected 0 to 2, got 0 to 3"),
        ({"correct_VN": np.ones((2, 3), np.bool_)}, "of the same shape"),
    ],
)
def test_wrong_input_is_refused(change, message):
    good = {
        "log_confidence_VN": np.float32([[-1, -1], [-1, -1]]),
        "correct_VN": np.ones((2, 2), np.bool_),
        "cell_N": np.array([0, 1]),
    }
    with pytest.raises(ValueError, match=message):
        specialize(**{**good, **change}, pairs=pair_indices(2), cells=3)


@pytest.mark.parametrize("separation", [0.0, 1.0, 3.0])
def test_the_interval_of_an_area_covers_it_at_least_about_as_often_as_it_says(separation):
    rng = np.random.default_rng(1)
    truth = 0.5 * (1 + math.erf(separation / 2))
    high, low = rng.normal(separation, 1, (800, 12)), rng.normal(0, 1, (800, 20))
    areas = (high[:, :, None] > low[:, None, :]).mean(axis=(1, 2))
    ends = auroc_interval(areas, np.full(800, 12), np.full(800, 20))
    assert 0.93 <= np.mean((ends[0] <= truth) & (truth <= ends[1])) <= 0.995


def test_the_interval_of_a_perfect_area_is_no_point_and_that_of_none_is_none():
    low, high = auroc_interval(np.array([1.0, 0.0, np.nan]), np.array([5, 5, 0]), np.array([5, 5, 5]))
    assert 0.4 < low[0] < high[0] == 1.0
    assert 0.0 == low[1] < high[1] < 0.6
    assert np.isnan([low[2], high[2]]).all()
