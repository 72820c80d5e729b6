import numpy as np
import pytest

from overlap_analysis.greedy_reference import ensemble_correct, greedy_counts, threat_row_counts


def correct_by_definition(grid, labels, picks):
    return np.count_nonzero(grid[list(picks)].astype(np.int64).sum(axis=0).argmax(axis=1) == labels)


def test_all_forms_are_the_arg_max_of_the_sums(problem):
    grid, labels = problem
    picks = [0, len(grid) - 1, 0, len(grid) // 2]
    by_rows = threat_row_counts(grid, labels, picks)
    assert len(by_rows) == 1 + len(picks)
    for step, counts in enumerate(by_rows):
        truth = [correct_by_definition(grid, labels, [*picks[:step], v]) for v in range(len(grid))]
        assert counts.tolist() == greedy_counts(grid, labels, picks[:step]).tolist() == truth
    correct = [correct_by_definition(grid, labels, picks[: step + 1]) for step in range(len(picks))]
    assert ensemble_correct(grid, labels, picks).tolist() == correct


def test_sums_of_many_picks_do_not_overflow():
    grid = np.array([[[2**30, 0]], [[0, 2**30]]], dtype=np.int32)
    picks = [0] * 5 + [1] * 5
    assert greedy_counts(grid, np.array([1], np.int32), picks).tolist() == [0, 1]
    assert threat_row_counts(grid, np.array([1], np.int32), picks)[-1].tolist() == [0, 1]
    assert ensemble_correct(grid, np.array([0], np.int32), picks).tolist() == [1] * 10


def test_read_only_and_strided_grids_are_counted_in_place():
    rng = np.random.default_rng(0)
    grid = np.moveaxis(rng.integers(0, 5, (4, 3, 20), dtype=np.int32), 2, 1)
    grid.flags.writeable = False
    labels = rng.integers(0, 3, 20, dtype=np.int32)
    truth = [correct_by_definition(grid, labels, [1, 1, v]) for v in range(4)]
    assert greedy_counts(grid, labels, [1, 1]).tolist() == truth
    assert threat_row_counts(grid, labels, [1, 1])[-1].tolist() == truth


def test_arguments_that_do_not_fit_are_refused():
    grid, labels = np.zeros((2, 1, 3), np.int32), np.zeros(1, np.int32)
    with pytest.raises(ValueError, match=r"picks: expected variants in \[0, 2\), got 2"):
        greedy_counts(grid, labels, [0, 2])
    with pytest.raises(ValueError, match=r"picks: expected variants in \[0, 2\), got -1"):
        ensemble_correct(grid, labels, [-1])
    with pytest.raises(ValueError, match=r"labels\[0\]: expected a class in \[0, 3\), got 3"):
        threat_row_counts(grid, np.array([3], np.int32), [])
