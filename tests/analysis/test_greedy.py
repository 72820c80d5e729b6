import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from overlap_analysis.greedy import GreedyStep, choose, ensemble_correct, greedy_counts, greedy_path


def correct_by_definition(grid, labels, picks):
    return np.count_nonzero(grid[list(picks)].astype(np.int64).sum(axis=0).argmax(axis=1) == labels)


def counts_by_definition(grid, labels, picks):
    return [correct_by_definition(grid, labels, [*picks, variant]) for variant in range(len(grid))]


def path_by_definition(grid, labels, steps, start=(), candidates=None):
    """The rule in plain Python: highest count, then used before, then lowest index."""
    path, picks = [], []
    for step in range(steps):
        counts = counts_by_definition(grid, labels, picks)
        allowed = range(len(grid)) if candidates is None else candidates
        best = min(allowed, key=lambda variant: (-counts[variant], variant not in picks, variant))
        variant = start[step] if step < len(start) else best
        picks.append(variant)
        path.append(GreedyStep(variant=variant, selection_correct=counts[variant]))
    return path


def test_every_candidates_count_at_every_step_equals_the_arg_max_of_the_sums(problem):
    grid, labels = problem
    seen = []

    def count(picks):
        seen.append(list(picks))
        counts = greedy_counts(grid, labels, picks)
        assert counts.tolist() == counts_by_definition(grid, labels, picks)
        return counts

    path = greedy_path(count, steps=7)
    assert path == path_by_definition(grid, labels, 7)
    assert seen == [[step.variant for step in path[:length]] for length in range(7)]


def test_prefixes_of_a_path_are_right_as_often_as_the_path_says(problem):
    grid, labels = problem
    path = greedy_path(lambda picks: greedy_counts(grid, labels, picks), steps=7)
    correct = ensemble_correct(grid, labels, [step.variant for step in path])
    assert correct.dtype == np.int64
    assert correct.tolist() == [step.selection_correct for step in path]


@st.composite
def grids_labels_and_picks(draw):
    variants, examples, classes = draw(st.integers(1, 4)), draw(st.integers(0, 8)), draw(st.integers(1, 4))
    values = st.sampled_from([0, 1, 2**29 - 1, 2**29, 2**30 - 1, 2**30])
    grid = draw(arrays(np.int32, (variants, examples, classes), elements=values))
    labels = draw(arrays(np.int32, examples, elements=st.integers(0, classes - 1)))
    return grid, labels, draw(st.lists(st.integers(0, variants - 1), max_size=12))


@given(data=grids_labels_and_picks(), cut=st.floats(0, 1))
@settings(deadline=None, max_examples=300)
def test_counts_are_exact_for_any_picks_and_blocks_add_up(data, cut):
    grid, labels, picks = data
    at = round(cut * len(labels))
    blocks = [(grid[:, :at], labels[:at]), (grid[:, at:], labels[at:])]
    counts = sum(greedy_counts(*block, picks) for block in blocks)
    correct = sum(ensemble_correct(*block, picks) for block in blocks)
    assert counts.tolist() == counts_by_definition(grid, labels, picks)
    assert correct.tolist() == [
        correct_by_definition(grid, labels, picks[: length + 1]) for length in range(len(picks))
    ]


def test_sums_of_many_picks_do_not_overflow():
    grid = np.array([[[2**30, 0]], [[0, 2**30]]], dtype=np.int32)
    picks = [0] * 5 + [1] * 5
    assert greedy_counts(grid, np.array([1], np.int32), picks).tolist() == [0, 1]
    assert ensemble_correct(grid, np.array([0], np.int32), picks).tolist() == [1] * 10


def test_ties_go_to_a_variant_already_used_and_then_to_the_lowest_index():
    counts = np.array([4, 9, 9, 9])
    assert choose(counts, []) == 1
    assert choose(counts, [0]) == 1
    assert choose(counts, [3, 2, 3]) == 2
    assert choose(np.array([9, 9, 10, 9]), [0, 1]) == 2


def test_a_path_starts_with_the_given_members_and_then_takes_candidates_only():
    rng = np.random.default_rng(1)
    grid = rng.integers(0, 4, (5, 60, 3), dtype=np.int32)
    labels = rng.integers(0, 3, 60, dtype=np.int32)
    path = greedy_path(lambda picks: greedy_counts(grid, labels, picks), steps=6, start=[4, 2], candidates=[3, 1])
    assert path == path_by_definition(grid, labels, 6, start=[4, 2], candidates=[1, 3])
    assert [step.variant for step in path[:2]] == [4, 2]
    assert {step.variant for step in path[2:]} <= {1, 3}


def test_candidates_that_are_never_right_are_still_preferred_to_the_others():
    path = greedy_path(lambda _: np.array([5, 0, 0]), steps=1, candidates=[2, 1])
    assert path == [GreedyStep(variant=1, selection_correct=0)]


def test_a_path_of_no_steps_is_empty_and_counts_nothing():
    def count(picks):
        raise AssertionError(picks)

    assert greedy_path(count, steps=0) == []


def test_read_only_and_strided_grids_are_counted_in_place():
    rng = np.random.default_rng(0)
    grid = np.moveaxis(rng.integers(0, 5, (4, 3, 20), dtype=np.int32), 2, 1)
    grid.flags.writeable = False
    labels = rng.integers(0, 3, 20, dtype=np.int32)
    assert greedy_counts(grid, labels, [1, 1]).tolist() == counts_by_definition(grid, labels, [1, 1])


def test_arguments_that_cannot_be_met_are_refused():
    grid, labels = np.zeros((2, 1, 3), np.int32), np.zeros(1, np.int32)

    def count(picks):
        return greedy_counts(grid, labels, picks)

    with pytest.raises(ValueError, match=r"picks: expected variants in \[0, 2\), got 2"):
        count([0, 2])
    with pytest.raises(ValueError, match=r"picks: expected variants in \[0, 2\), got -1"):
        ensemble_correct(grid, labels, [-1])
    with pytest.raises(ValueError, match=r"labels\[0\]: expected a class in \[0, 3\), got 3"):
        greedy_counts(grid, np.array([3], np.int32), [])
    with pytest.raises(ValueError, match="steps: expected at least 2, the members of start, got 1"):
        greedy_path(count, steps=1, start=[0, 1])
    with pytest.raises(ValueError, match="candidates: expected at least one variant, got none"):
        greedy_path(count, steps=1, candidates=[])
