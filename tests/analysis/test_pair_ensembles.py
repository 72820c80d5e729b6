from dataclasses import fields
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from overlap_analysis.pair_counts import count_pairs
from overlap_analysis.pair_ensembles import (
    EnsembleCounts,
    EnsembleMetrics,
    count_pair_ensembles,
    ensemble_metrics,
    merge_ensemble_counts,
)
from overlap_analysis.pair_metrics import error_inconsistency
from overlap_analysis.uncertainty import wilson_interval

COUNTS = [field.name for field in fields(EnsembleCounts) if field.name not in ("a", "b", "examples")]


def counts_by_definition(grid, labels):
    """With NumPy's arg-max of integer sums, which takes the lowest of equal classes."""
    grid = grid.astype(np.int64)
    table = []
    for a, b in combinations(range(len(grid)), 2):
        right_a, right_b = (grid[v].argmax(axis=1) == labels for v in (a, b))
        right = (grid[a] + grid[b]).argmax(axis=1) == labels
        one, neither, both = right_a ^ right_b, ~right_a & ~right_b, right_a & right_b
        row = [right_a, right_b, right, one, one & right, neither, neither & right, both, both & ~right]
        table.append([np.count_nonzero(mask) for mask in row])
    return np.array(table, dtype=np.int64).reshape(-1, len(COUNTS))


def as_table(counts):
    return np.stack([getattr(counts, name) for name in COUNTS], axis=1)


@st.composite
def grids_and_labels(draw):
    variants, examples, classes = draw(st.integers(2, 4)), draw(st.integers(0, 8)), draw(st.integers(1, 4))
    values = st.sampled_from([0, 1, 2**29 - 1, 2**29, 2**30 - 1, 2**30])
    grid = draw(arrays(np.int32, (variants, examples, classes), elements=values))
    return grid, draw(arrays(np.int32, examples, elements=st.integers(0, classes - 1)))


def test_counts_equal_the_arg_max_of_summed_probabilities(problem):
    counts = count_pair_ensembles(*problem)
    np.testing.assert_array_equal(as_table(counts), counts_by_definition(*problem))
    assert counts.examples == len(problem[1])
    assert all(getattr(counts, name).dtype == np.int64 for name in COUNTS)


@given(data=grids_and_labels(), cut=st.floats(0, 1))
@settings(deadline=None, max_examples=300)
def test_counts_are_exact_at_the_edges_of_the_grid_and_blocks_add_up(data, cut):
    grid, labels = data
    at = round(cut * len(labels))
    parts = [
        count_pair_ensembles(grid[:, :at], labels[:at]),
        count_pair_ensembles(grid[:, at:], labels[at:]),
    ]
    np.testing.assert_array_equal(as_table(merge_ensemble_counts(parts)), counts_by_definition(grid, labels))
    assert merge_ensemble_counts(parts).examples == len(labels)


def test_confident_rows_and_rows_that_need_every_class_are_counted_alike():
    """A rival that neither member ranks first can win: only the full sums show it."""
    row_a, row_b = [40, 50, 0, 45], [40, 0, 50, 45]
    grid = np.array([[row_a], [row_b]], dtype=np.int32)
    for label, right in enumerate([0, 0, 0, 1]):
        assert count_pair_ensembles(grid, np.array([label], np.int32)).correct.tolist() == [right]


def test_the_mean_of_probabilities_never_loses_what_both_members_have(problem):
    assert not count_pair_ensembles(*problem).both_right_lost.any()


def test_read_only_and_strided_grids_are_counted_in_place():
    rng = np.random.default_rng(0)
    grid = np.moveaxis(rng.integers(0, 5, (4, 3, 20), dtype=np.int32), 2, 1)
    grid.flags.writeable = False
    labels = rng.integers(0, 3, 20, dtype=np.int32)
    np.testing.assert_array_equal(as_table(count_pair_ensembles(grid, labels)), counts_by_definition(grid, labels))


def metrics_problem(examples=400):
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 5, examples, dtype=np.int32)
    signal = 2 * np.eye(5)[labels] + rng.normal(size=(4, examples, 5))
    return np.rint(2**24 * np.exp(signal - signal.max())).astype(np.int32), labels


def test_metrics_equal_their_definitions():
    grid, labels = metrics_problem()
    metrics = ensemble_metrics(count_pair_ensembles(grid, labels))
    right_V = grid.argmax(axis=2) == labels
    for pair, (a, b) in enumerate(combinations(range(len(grid)), 2)):
        right = (grid[a] + grid[b]).argmax(axis=1) == labels
        members = right_V[a].mean(), right_V[b].mean()
        one = right_V[a] != right_V[b]
        assert metrics.accuracy[pair] == pytest.approx(right.mean())
        assert metrics.improvement[pair] == pytest.approx(right.mean() - np.mean(members))
        assert metrics.gain[pair] == pytest.approx(right.mean() - max(members))
        assert metrics.conversion_rate[pair] == pytest.approx(right[one].mean())
        low, high = wilson_interval(np.count_nonzero(right), len(labels))
        assert (metrics.accuracy_low[pair], metrics.accuracy_high[pair]) == (low, high)


def test_improvement_follows_from_conversion_and_the_error_inconsistency_of_the_members():
    grid, labels = metrics_problem()
    counts = count_pair_ensembles(grid, labels)
    metrics = ensemble_metrics(counts)
    inconsistency = error_inconsistency(count_pairs(grid.argmax(axis=2).astype(np.int32), labels))
    expected = inconsistency * (metrics.conversion_rate - 0.5) + counts.both_wrong_rescued / counts.examples
    np.testing.assert_allclose(metrics.improvement, expected, rtol=1e-12, atol=1e-15)


def test_members_that_never_differ_have_no_conversion_rate_and_exactly_no_improvement():
    grid, labels = metrics_problem(examples=97)
    metrics = ensemble_metrics(count_pair_ensembles(grid[[0, 0, 0]], labels))
    assert np.isnan(metrics.conversion_rate).all()
    np.testing.assert_array_equal([metrics.improvement, metrics.gain], np.zeros((2, 3)))


def test_without_examples_every_metric_is_undefined():
    counts = count_pair_ensembles(np.zeros((2, 0, 3), np.int32), np.zeros(0, np.int32))
    metrics = ensemble_metrics(counts)
    assert all(np.isnan(getattr(metrics, field.name)).all() for field in fields(EnsembleMetrics))


def test_labels_that_are_no_class_are_refused():
    with pytest.raises(ValueError, match=r"labels\[0\]: expected a class in \[0, 3\), got 3"):
        count_pair_ensembles(np.zeros((2, 1, 3), np.int32), np.array([3], np.int32))
