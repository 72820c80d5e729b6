import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import cohen_kappa_score

from overlap_analysis import pair_metrics
from overlap_analysis.pair_counts import count_pairs
from overlap_analysis.pair_metrics import PAIR_METRICS


def ratio(numerator, denominator):
    return numerator / denominator if denominator else math.nan


def metrics_by_definition(a, b, labels):
    """Every metric of one pair from its predictions, in plain Python."""
    right = [(x == label, y == label) for x, y, label in zip(a, b, labels, strict=True)]
    same = [x == y and x >= 0 for x, y in zip(a, b, strict=True)]
    n, cells = len(labels), Counter(right)
    n11, n10, n01, n00 = (cells[outcome] for outcome in [(1, 1), (1, 0), (0, 1), (0, 0)])
    accuracy_a, accuracy_b = (n11 + n10) / n, (n11 + n01) / n
    independent = accuracy_a * (1 - accuracy_b) + accuracy_b * (1 - accuracy_a)
    same_wrong = sum(equal for equal, outcome in zip(same, right, strict=True) if outcome == (False, False))
    lower = n10 if accuracy_a < accuracy_b else n01
    marginals = (n11 + n10) * (n01 + n00) * (n11 + n01) * (n10 + n00)
    return {
        "error_inconsistency": (n10 + n01) / n,
        "error_correlation": ratio(n11 * n00 - n10 * n01, math.sqrt(marginals)),
        "kappa": 1 - ratio((n10 + n01) / n, independent),
        "kappa_max": 1 - ratio(abs(accuracy_a - accuracy_b), independent),
        "agreement": sum(same) / n,
        "agreement_both_wrong": ratio(same_wrong, n00),
        "agreement_either_wrong": ratio(same_wrong, n - n11),
        "q_statistic": ratio(n11 * n00 - n01 * n10, n11 * n00 + n01 * n10),
        "log_odds_ratio": math.log((n11 + 0.5) * (n00 + 0.5) / ((n10 + 0.5) * (n01 + 0.5))),
        "double_fault": n00 / n,
        "oracle_accuracy": 1 - n00 / n,
        "dominance": lower / n,
        "error_jaccard": ratio(n00, n10 + n01 + n00),
    }


@st.composite
def predictions_and_labels(draw):
    """Few examples and classes, so that variants are often perfect, hopeless or equal."""
    examples, classes = draw(st.integers(1, 12)), draw(st.integers(1, 3))
    row = st.lists(st.integers(-1, classes - 1), min_size=examples, max_size=examples)
    labels = draw(st.lists(st.integers(0, classes - 1), min_size=examples, max_size=examples))
    rows = draw(st.lists(st.one_of(row, st.just(labels)), min_size=2, max_size=4))
    return np.array(rows, dtype=np.int32), np.array(labels, dtype=np.int32)


@given(data=predictions_and_labels())
@settings(deadline=None)
def test_every_metric_equals_its_definition_and_undefined_is_nan_without_a_warning(data):
    predictions, labels = data
    counts = count_pairs(predictions, labels)
    expected = [
        metrics_by_definition(predictions[a].tolist(), predictions[b].tolist(), labels.tolist())
        for a, b in zip(counts.a, counts.b, strict=True)
    ]
    for name, metric in PAIR_METRICS.items():
        values = metric(counts)
        assert values.dtype == np.float64
        np.testing.assert_allclose(values, [row[name] for row in expected], rtol=1e-12, atol=1e-12, err_msg=name)


def test_the_registry_names_every_public_metric_of_the_module_in_column_order():
    assert list(PAIR_METRICS) == list(metrics_by_definition([0], [0], [0]))
    assert all(getattr(pair_metrics, name) is metric for name, metric in PAIR_METRICS.items())


def test_error_correlation_is_numpys_correlation_of_the_errors_and_kappa_scikit_learns():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 5, 300, dtype=np.int32)
    predictions = np.where(rng.random((6, 300)) < 0.6, labels, rng.integers(0, 5, (6, 300))).astype(np.int32)
    counts = count_pairs(predictions, labels)
    errors = predictions != labels
    phi = np.corrcoef(errors)[counts.a, counts.b]
    kappa = [cohen_kappa_score(errors[a], errors[b]) for a, b in zip(counts.a, counts.b, strict=True)]
    np.testing.assert_allclose(pair_metrics.error_correlation(counts), phi, rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(pair_metrics.kappa(counts), kappa, rtol=1e-12, atol=1e-14)


def test_the_papers_identities_hold(as_counts):
    rng = np.random.default_rng(0)
    counts = as_counts([rng.multinomial(5000, 0.02 + 0.9 * rng.dirichlet(np.ones(5))) for _ in range(200)])
    n = counts.examples
    accuracy_a = (counts.both_correct + counts.only_a_correct) / n
    accuracy_b = (counts.both_correct + counts.only_b_correct) / n
    independent = accuracy_a * (1 - accuracy_b) + accuracy_b * (1 - accuracy_a)
    inconsistency, kappa = pair_metrics.error_inconsistency(counts), pair_metrics.kappa(counts)
    odds_ratio = (counts.both_correct * counts.both_wrong) / (counts.only_a_correct * counts.only_b_correct)
    np.testing.assert_allclose(kappa, 1 - inconsistency / independent, rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(pair_metrics.q_statistic(counts), (odds_ratio - 1) / (odds_ratio + 1), rtol=1e-12)
    assert np.all(np.abs(accuracy_a - accuracy_b) <= inconsistency + 1e-15)
    assert np.all(inconsistency <= np.minimum(accuracy_a + accuracy_b, 2 - accuracy_a - accuracy_b) + 1e-15)
    assert np.all(kappa <= pair_metrics.kappa_max(counts) + 1e-15)
    np.testing.assert_allclose(pair_metrics.oracle_accuracy(counts), 1 - pair_metrics.double_fault(counts))


def test_metrics_stay_in_their_ranges_when_cells_are_empty(as_counts):
    rng = np.random.default_rng(0)
    counts = as_counts([rng.multinomial(12, rng.dirichlet(np.ones(5) / 2)) for _ in range(2000)])
    for name, metric in PAIR_METRICS.items():
        values = metric(counts)
        values = values[~np.isnan(values)]
        signed = name in ("error_correlation", "kappa", "q_statistic")
        if name != "log_odds_ratio":
            assert -1 * signed <= values.min() <= values.max() <= 1, name
    # A variant that is always right leaves nothing to correlate, but κ can still be computed, and is 0.
    one_perfect = (counts.only_b_correct + counts.both_wrong == 0) & (counts.only_a_correct > 0)
    one_perfect &= counts.both_correct > 0
    assert one_perfect.any()
    assert np.isnan(pair_metrics.error_correlation(counts)[one_perfect]).all()
    np.testing.assert_array_equal(pair_metrics.kappa(counts)[one_perfect], 0)


@pytest.mark.parametrize("examples", [3, 1_000, 50_000, 10_000_000])
def test_equal_variants_correlate_exactly_and_two_perfect_ones_are_undefined(as_counts, examples):
    right = examples // 3
    counts = as_counts([[right, 0, 0, examples - right, 0], [examples, 0, 0, 0, 0]])
    for metric in (pair_metrics.error_correlation, pair_metrics.kappa, pair_metrics.q_statistic):
        value, undefined = metric(counts)
        assert value == 1
        assert np.isnan(undefined)


def test_without_examples_everything_is_undefined():
    counts = count_pairs(np.empty((2, 0), np.int32), np.empty(0, np.int32))
    assert all(np.isnan(metric(counts)).all() for metric in PAIR_METRICS.values())
