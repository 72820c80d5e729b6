import numpy as np
import pytest
from sklearn.metrics import log_loss

from overlap_analysis.calibration import (
    TEMPERATURE_BOUNDS,
    expected_calibration_error,
    fit_temperature,
    negative_log_likelihood,
)
from overlap_analysis.probabilities import calibrated_probabilities


def calibration_problem(examples=4000, classes=6, seed=0):
    """Logits, and labels drawn from their softmax: the temperature that fits is about 1."""
    rng = np.random.default_rng(seed)
    logits = 2 * rng.normal(size=(examples, classes))
    labels = (logits + rng.gumbel(size=logits.shape)).argmax(axis=1)
    return logits, labels.astype(np.int32)


@pytest.mark.parametrize("temperature", [0.3, 1.0, 4.0])
def test_the_likelihood_equals_scikit_learns(temperature):
    logits, labels = calibration_problem(examples=50)
    expected = log_loss(labels, calibrated_probabilities(logits, temperature=temperature), labels=range(6))
    assert negative_log_likelihood(logits, labels, temperature=temperature) == pytest.approx(expected, rel=1e-12)


def test_the_likelihood_of_a_hopeless_example_is_finite():
    logits = np.array([[0, -65504]], dtype=np.float16)
    assert negative_log_likelihood(logits, np.array([1], np.int32), temperature=0.05) == 65504 / 0.05


@pytest.mark.parametrize("scale", [0.1, 0.5, 1.0, 3.0, 12.0])
def test_the_fit_recovers_the_scale_by_which_logits_are_overconfident(scale):
    logits, labels = calibration_problem()
    assert fit_temperature(logits * scale, labels) == pytest.approx(scale, rel=0.05)


@pytest.mark.parametrize("seed", range(5))
def test_no_temperature_of_a_fine_grid_is_more_likely_than_the_fit(seed):
    logits, labels = calibration_problem(examples=30, seed=seed)
    fitted = fit_temperature(logits, labels)
    least = min(negative_log_likelihood(logits, labels, temperature=t) for t in np.geomspace(0.05, 20, 2001))
    assert negative_log_likelihood(logits, labels, temperature=fitted) <= least + 1e-12


def test_the_fit_is_the_same_every_time_and_for_any_constant_added_to_a_row():
    logits, labels = calibration_problem(examples=100)
    logits = logits.astype(np.float16)
    fitted = fit_temperature(logits, labels)
    assert fit_temperature(logits, labels) == fitted
    assert fit_temperature(logits.astype(np.float64) + 8, labels) == fitted


def test_the_fit_stays_at_a_bound_beyond_which_the_likelihood_still_rises():
    low, high = TEMPERATURE_BOUNDS
    logits = np.array([[0.2, 0], [0, 0.2]])
    right, wrong = np.array([0, 1], np.int32), np.array([1, 0], np.int32)
    assert low <= fit_temperature(logits, right) <= low * (1 + 1e-5)
    assert high * (1 - 1e-5) <= fit_temperature(logits, wrong) <= high


def test_predictions_that_are_all_right_reach_a_loss_of_zero_up_to_rounding():
    logits, labels = np.array([[3.0, 0], [0, 3]]), np.array([0, 1], np.int32)
    assert negative_log_likelihood(logits, labels, temperature=fit_temperature(logits, labels)) < 1e-15


def test_a_single_class_leaves_the_temperature_at_one():
    assert fit_temperature(np.zeros((3, 1)), np.zeros(3, np.int32)) == 1


def error_by_definition(probabilities, labels, bins):
    total = 0
    for m in range(1, bins + 1):
        inside = [
            (max(row), row.index(max(row)) == label)
            for row, label in zip(probabilities.tolist(), labels.tolist(), strict=True)
            if (m - 1) / bins < max(row) <= m / bins
        ]
        if inside:
            confidence, accuracy = np.mean(inside, axis=0)
            total += len(inside) / len(labels) * abs(accuracy - confidence)
    return total


@pytest.mark.parametrize("bins", [1, 4, 15])
def test_the_calibration_error_equals_its_definition_also_at_the_edges_of_bins(bins):
    rng = np.random.default_rng(0)
    eighths = rng.multinomial(8, [0.5, 0.3, 0.2], 60) / 8
    probabilities = np.concatenate([eighths, rng.dirichlet(np.ones(3), 60)])
    labels = rng.integers(0, 3, 120, dtype=np.int32)
    expected = error_by_definition(probabilities, labels, bins)
    assert expected_calibration_error(probabilities, labels, bins=bins) == pytest.approx(expected, rel=1e-12)


def test_one_sure_and_right_example_has_no_calibration_error_and_a_wrong_one_all_of_it():
    assert expected_calibration_error(np.array([[0.0, 1.0]]), np.array([1], np.int32)) == 0
    assert expected_calibration_error(np.array([[0.0, 1.0]]), np.array([0], np.int32)) == 1


def test_inputs_without_examples_or_with_wrong_labels_are_refused():
    empty, labels = np.empty((0, 3)), np.empty(0, np.int32)
    for function in (fit_temperature, expected_calibration_error):
        with pytest.raises(ValueError, match="expected at least one example, got none"):
            function(empty, labels)
        with pytest.raises(ValueError, match=r"labels\[0\]: expected a class in \[0, 3\), got 3"):
            function(np.full((1, 3), 1 / 3), np.array([3], np.int32))
    with pytest.raises(ValueError, match="temperature: expected a finite number above 0, got 0"):
        negative_log_likelihood(np.zeros((1, 3)), np.zeros(1, np.int32), temperature=0)
