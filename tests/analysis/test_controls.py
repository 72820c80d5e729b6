import numpy as np
import pytest

from overlap_analysis.categories import category_means
from overlap_analysis.controls import (
    CHANCE_METRICS,
    chance_excess,
    chance_level,
    contested_mask,
    duplicate_pairs,
    matched_pairs,
)
from overlap_analysis.pair_counts import count_pairs
from overlap_analysis.pair_metrics import PAIR_METRICS, error_inconsistency, kappa


def independent_predictions(accuracies, examples, classes, seed=0):
    """Right with the given probability, otherwise any other class, whatever the example."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes, examples, dtype=np.int32)
    others = (labels + rng.integers(1, classes, (len(accuracies), examples))) % classes
    right = rng.random((len(accuracies), examples)) < np.array(accuracies)[:, np.newaxis]
    return np.where(right, labels, others).astype(np.int32), labels


@pytest.mark.parametrize("classes", [2, 5])
@pytest.mark.parametrize("name", CHANCE_METRICS)
def test_independent_errors_have_the_chance_level(name, classes):
    counts = count_pairs(*independent_predictions([0.9, 0.75, 0.5, 0.3], 200_000, classes))
    # What is a ratio of products of cells wanders most.
    atol = 0.04 if name in ("log_odds_ratio", "q_statistic") else 0.01
    np.testing.assert_allclose(chance_excess(name, counts, classes=classes), 0, atol=atol)


def test_every_metric_but_kappa_max_has_a_chance_level():
    assert set(PAIR_METRICS) - set(CHANCE_METRICS) == {"kappa_max"}


def test_excess_error_inconsistency_in_units_of_chance_is_kappa():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, 300, dtype=np.int32)
    predictions = np.where(rng.normal(size=300) + rng.normal(size=(5, 300)) > -1, labels, 3).astype(np.int32)
    counts = count_pairs(predictions, labels)
    accuracy = (predictions == labels).mean(axis=1)
    chance = chance_level("error_inconsistency", accuracy[counts.a], accuracy[counts.b], classes=4)
    excess = chance_excess("error_inconsistency", counts, classes=4)
    assert np.all(excess < 0)
    np.testing.assert_allclose(-excess / chance, kappa(counts), rtol=1e-12)
    np.testing.assert_allclose(excess, error_inconsistency(counts) - chance, rtol=1e-12)


def test_chance_at_perfect_and_hopeless_accuracies():
    a, b = np.array([1.0, 1, 0, 0.5]), np.array([1.0, 0, 0, 1])
    assert chance_level("error_inconsistency", a, b, classes=3).tolist() == [0, 1, 0, 0.5]
    np.testing.assert_array_equal(chance_level("agreement_both_wrong", a, b, classes=3), [np.nan, np.nan, 0.5, np.nan])
    np.testing.assert_array_equal(chance_level("agreement_either_wrong", a, b, classes=3), [np.nan, 0, 0.5, 0])
    np.testing.assert_array_equal(chance_level("error_jaccard", a, b, classes=3), [np.nan, 0, 1, 0])
    assert np.isnan(chance_level("kappa", np.array([np.nan]), np.array([1.0]), classes=3)).all()
    counts = count_pairs(np.empty((2, 0), np.int32), np.empty(0, np.int32))
    assert all(np.isnan(chance_excess(name, counts, classes=3)).all() for name in CHANCE_METRICS)


def test_unknown_metrics_and_too_few_classes_are_refused():
    with pytest.raises(ValueError, match=r"name: expected one of error_inconsistency, .*, got 'kappa_max'"):
        chance_level("kappa_max", np.ones(1), np.ones(1), classes=3)
    with pytest.raises(ValueError, match="classes: expected at least 2, got 1"):
        chance_level("agreement", np.ones(1), np.ones(1), classes=1)


def test_matched_pairs_differ_by_the_tolerance_at_most_the_tolerance_included():
    accuracy = np.array([0.76, 0.75, 0.74, 0.7601])
    assert matched_pairs(accuracy).tolist() == [True, False, True, True, False, False]
    assert matched_pairs(accuracy, tolerance=0.001).tolist() == [False, False, True, False, False, False]
    assert matched_pairs(accuracy, tolerance=1).all()
    assert matched_pairs(np.array([0.5])).shape == (0,)


def test_category_means_of_matched_pairs_are_those_of_their_pairs():
    rng = np.random.default_rng(0)
    correct = rng.random((8, 200)) < np.repeat([0.6, 0.9], 4)[:, np.newaxis]
    matched = matched_pairs(correct.mean(axis=1), tolerance=0.1)
    category = (np.arange(28) % 2).astype(np.int8)
    values = error_inconsistency(count_pairs(correct.astype(np.int32), np.ones(200, np.int32)))
    for k, row in enumerate(category_means(correct, category, metrics=["error_inconsistency"], among_P=matched)):
        chosen = matched & (category == k)
        assert 0 < chosen.sum() < np.sum(category == k)
        assert row.pairs == chosen.sum()
        assert row.mean == pytest.approx(values[chosen].mean())
        assert row.low < row.mean < row.high


def test_contested_examples_are_those_that_some_but_not_all_get_right():
    correct = np.array([[1, 1, 0, 0], [1, 0, 1, 0], [1, 0, 0, 0]], dtype=bool)
    assert contested_mask(correct).tolist() == [False, True, True, False]
    assert not contested_mask(correct[:1]).any()
    predictions, labels = independent_predictions([0.9, 0.8, 0.95], 500, 3)
    contested = contested_mask(predictions == labels)
    whole, part = count_pairs(predictions, labels), count_pairs(predictions[:, contested], labels[contested])
    assert 0 < part.examples < whole.examples
    np.testing.assert_array_equal(part.only_a_correct, whole.only_a_correct)
    np.testing.assert_array_equal(part.only_b_correct, whole.only_b_correct)


def test_duplicates_predict_the_same_class_on_every_example():
    predictions, labels = independent_predictions([0.7] * 4, 50, 3)
    predictions[2] = predictions[0]
    predictions[3] = np.where(np.arange(50) == 17, (predictions[0] + 1) % 3, predictions[0])
    counts = count_pairs(predictions, labels)
    assert duplicate_pairs(counts).tolist() == [False, True, False, False, False, False]
    np.testing.assert_array_equal(error_inconsistency(counts)[duplicate_pairs(counts)], 0)
    assert not duplicate_pairs(count_pairs(predictions[:, :0], labels[:0])).any()
    predictions[[0, 2], 5] = -1
    assert not duplicate_pairs(count_pairs(predictions, labels)).any()
