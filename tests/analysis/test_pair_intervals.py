import numpy as np
import pytest

from overlap_analysis.pair_intervals import metric_intervals
from overlap_analysis.pair_metrics import PAIR_METRICS

# Accuracies of a and b, φ of their errors, share of the same class when both are wrong.
SETTINGS = [
    (0.76, 0.75, 0.3, 0.5),
    (0.76, 0.76, 0.6, 0.5),
    (0.76, 0.63, 0.3, 0.3),
    (0.90, 0.60, 0.2, 0.3),
    (0.95, 0.94, 0.5, 0.5),
    (0.85, 0.80, 0.8, 0.7),
    (0.80, 0.70, 0.0, 0.4),
    (0.50, 0.55, 0.1, 0.2),
    (0.30, 0.25, 0.2, 0.3),
]


def probabilities(accuracy_a, accuracy_b, correlation, same_class):
    """Both right, only a, only b, both wrong with the same class, with different ones."""
    spread = np.sqrt(accuracy_a * (1 - accuracy_a) * accuracy_b * (1 - accuracy_b))
    both = accuracy_a * accuracy_b + correlation * spread
    neither = 1 - accuracy_a - accuracy_b + both
    return np.array([both, accuracy_a - both, accuracy_b - both, neither * same_class, neither * (1 - same_class)])


def all_tables(examples):
    """Every table of so many examples, empty cells included."""
    cells = np.indices([examples + 1] * 5).reshape(5, -1).T
    return cells[cells.sum(axis=1) == examples]


@pytest.mark.parametrize("setting", SETTINGS, ids=str)
@pytest.mark.parametrize("name", PAIR_METRICS)
def test_95_percent_intervals_hold_the_truth_about_95_times_of_100_with_1000_examples(as_counts, name, setting):
    cells = probabilities(*setting)
    truth = PAIR_METRICS[name](as_counts([np.rint(cells * 1e9)]))[0]
    observed = as_counts(np.random.default_rng(0).multinomial(1000, cells, size=10_000))
    low, high = metric_intervals(name, observed)
    coverage = np.mean((low <= truth) & (truth <= high))
    assert 0.94 <= coverage <= (0.985 if name in ("kappa_max", "dominance") else 0.965)


@pytest.mark.parametrize("name", PAIR_METRICS)
def test_intervals_hold_the_metric_for_every_table_of_six_examples_and_are_nan_where_it_is(as_counts, name):
    counts = as_counts(all_tables(6))
    metric = PAIR_METRICS[name](counts)
    low, high = metric_intervals(name, counts)
    defined = ~np.isnan(metric)
    np.testing.assert_array_equal(np.isnan(low), ~defined)
    np.testing.assert_array_equal(np.isnan(high), ~defined)
    assert np.all(low[defined] <= metric[defined])
    assert np.all(metric[defined] <= high[defined])
    assert np.all(low[defined] < high[defined])
    if name != "log_odds_ratio":
        assert low[defined].min() >= -1
        assert high[defined].max() <= 1


@pytest.mark.parametrize("name", PAIR_METRICS)
def test_a_higher_level_widens_and_more_examples_narrow_the_interval(as_counts, name):
    cells = np.array([probabilities(*setting) for setting in SETTINGS])
    few, many = as_counts(np.rint(cells * 10_000)), as_counts(np.rint(cells * 10_000) * 100)
    low, high = metric_intervals(name, few, level=0.95)
    wider_low, wider_high = metric_intervals(name, few, level=0.99)
    narrow_low, narrow_high = metric_intervals(name, many, level=0.95)
    assert np.all(wider_low < low)
    # κ_max of equal accuracies is 1 at most, whatever the level.
    assert np.all((wider_high > high) | (wider_high == 1))
    np.testing.assert_allclose(narrow_high - narrow_low, (high - low) / 10, rtol=0.1 if name != "kappa_max" else 1)


def test_an_unknown_metric_is_refused_with_the_known_ones(as_counts):
    with pytest.raises(ValueError, match=r"name: expected one of error_inconsistency, .*, got 'kapa'"):
        metric_intervals("kapa", as_counts(all_tables(1)))


def test_a_level_that_is_no_probability_is_refused(as_counts):
    for name in ("kappa", "agreement"):
        with pytest.raises(ValueError, match="level"):
            metric_intervals(name, as_counts(all_tables(1)), level=95)
