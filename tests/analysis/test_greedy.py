import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from overlap_analysis.greedy import (
    Budget,
    GreedyStep,
    Limit,
    Rules,
    accuracy_scorer,
    bagged_members,
    best_prefix,
    greedy_path,
    score_blocks,
    sorted_start,
)


def correct_by_definition(grid, labels, picks, weights=None, beats=1):
    """The weight of the examples on which fewer classes than `beats` stand before the label."""
    sums = grid[list(picks)].astype(np.int64).sum(axis=0)
    order = np.argsort(-sums, axis=1, kind="stable")[:, :beats]
    return int(np.sum((order == labels[:, None]).any(axis=1) * (1 if weights is None else weights)))


def counts_by_definition(grid, labels, picks, weights=None, beats=1):
    return [correct_by_definition(grid, labels, [*picks, variant], weights, beats) for variant in range(len(grid))]


def path_by_definition(grid, labels, steps, start=(), candidates=None):
    """The rule in plain Python: highest count, then used before, then lowest index."""
    path, picks = [], list(start)
    while len(picks) < steps:
        counts = counts_by_definition(grid, labels, picks)
        allowed = range(len(grid)) if candidates is None else candidates
        best = min(allowed, key=lambda variant: (-counts[variant], variant not in picks, variant))
        tied = sum(counts[variant] == counts[best] for variant in allowed)
        picks.append(best)
        path.append(GreedyStep(variant=best, score=counts[best], tied=tied))
    return [*(GreedyStep(variant=variant, score=None) for variant in start), *path]


def exact_counts(scorer):
    return [scorer.exact(m) for m in range(len(scorer.candidates_M))]


@pytest.mark.parametrize("beats", [1, 2, 5])
@pytest.mark.parametrize("threads", [1, 3])
def test_every_candidates_count_at_every_step_equals_the_arg_max_of_the_sums(problem, beats, threads):
    grid, labels = problem
    weights = np.random.default_rng(1).integers(0, 4, len(labels))
    scorer = accuracy_scorer(score_blocks(grid, labels, beats=beats), steps=9, weights_N=weights, threads=threads)
    picks = []
    for _ in range(9):
        truth = counts_by_definition(grid, labels, picks, weights, beats)
        low, high = scorer.bounds()
        assert np.all(low <= truth)
        assert np.all(truth <= high)
        assert scorer.best(np.ones(len(grid), bool)) == (
            max(truth),
            np.flatnonzero(np.equal(truth, max(truth))).tolist(),
        )
        assert exact_counts(scorer) == truth
        assert scorer.most_ever() >= max(truth)
        picks.append(int(np.argmax(truth)) if len(picks) % 3 else len(picks) % len(grid))
        scorer.add(picks[-1])


def test_a_path_is_the_one_that_the_definition_takes(problem):
    grid, labels = problem
    blocks = score_blocks(grid, labels)
    assert greedy_path(accuracy_scorer(blocks, steps=7), Rules(steps=7)) == path_by_definition(grid, labels, 7)


@st.composite
def grids_labels_and_picks(draw):
    variants, examples, classes = draw(st.integers(1, 5)), draw(st.integers(0, 8)), draw(st.integers(1, 7))
    values = st.sampled_from([0, 1, 2**28, 2**29 - 1, 2**29, 2**30 - 1, 2**30])
    grid = draw(arrays(np.int32, (variants, examples, classes), elements=values))
    labels = draw(arrays(np.int32, examples, elements=st.integers(0, classes - 1)))
    return grid, labels, draw(st.lists(st.integers(0, variants - 1), max_size=12))


@given(data=grids_labels_and_picks(), cut=st.floats(0, 1), beats=st.integers(1, 3), looked=st.integers(1, 2**12))
@settings(deadline=None, max_examples=400)
def test_counts_are_exact_for_any_picks_blocks_and_steps_that_nobody_looks_at(data, cut, beats, looked):
    grid, labels, picks = data
    at = round(cut * len(labels))
    blocks = [
        *score_blocks(grid[:, :at], labels[:at], beats=beats),
        *score_blocks(grid[:, at:], labels[at:], beats=beats),
    ]
    scorer = accuracy_scorer(blocks, steps=13) if blocks else None
    for step in range(len(picks) + 1):
        if scorer and looked >> step & 1:
            assert exact_counts(scorer) == counts_by_definition(grid, labels, picks[:step], beats=beats)
        if scorer and step < len(picks):
            scorer.add(picks[step])


@given(data=grids_labels_and_picks(), weight=st.integers(1, 3))
@settings(deadline=None, max_examples=100)
def test_no_future_ensemble_is_right_more_often_than_the_bound(data, weight):
    grid, labels, picks = data
    if not len(labels):
        return
    scorer = accuracy_scorer(score_blocks(grid, labels), steps=len(picks) + 1, weights_N=np.full(len(labels), weight))
    bounds = [scorer.most_ever()]
    for pick in picks:
        scorer.add(pick)
        bounds.append(scorer.most_ever())
    for step in range(len(picks)):
        for later in range(step, len(picks)):
            assert weight * correct_by_definition(grid, labels, picks[: later + 1]) <= bounds[step]


@pytest.mark.parametrize("dtype", ["f2", "f4", "f8"])
def test_probabilities_are_counted_as_their_scores_on_the_grid(dtype):
    rng = np.random.default_rng(0)
    probabilities = rng.dirichlet(np.ones(9), (6, 300)).astype(dtype)
    labels = rng.integers(0, 9, 300)
    grid = np.rint(probabilities.astype(np.float64) * 2**30).astype(np.int32)
    paths = [
        greedy_path(accuracy_scorer(score_blocks(v, labels), steps=9), Rules(steps=9)) for v in (probabilities, grid)
    ]
    assert paths[0] == paths[1] == path_by_definition(grid, labels, 9)


def test_a_path_starts_with_the_given_members_and_then_takes_candidates_only():
    grid, labels = ties()
    scorer = accuracy_scorer(score_blocks(grid, labels), steps=6, candidates=[3, 1])
    path = greedy_path(scorer, Rules(steps=6, start=(4, 2)))
    assert path == path_by_definition(grid, labels, 6, start=[4, 2], candidates=[1, 3])
    assert {step.variant for step in path[2:]} <= {1, 3}


def ties(variants=5, examples=60, classes=3):
    rng = np.random.default_rng(1)
    grid = rng.integers(0, 4, (variants, examples, classes), dtype=np.int32)
    return grid, rng.integers(0, classes, examples, dtype=np.int32)


class Scores:
    """A scorer that gives fixed scores whatever has joined."""

    def __init__(self, scores, ceiling=np.inf):
        self.scores, self.ceiling = np.asarray(scores, float), ceiling
        self.candidates_M = np.arange(len(self.scores))
        self.joined = []

    def add(self, variant):
        self.joined.append(variant)

    def best(self, allowed_M):
        best = self.scores[allowed_M].max()
        return best, np.flatnonzero(allowed_M & (self.scores == best)).tolist()

    def most_ever(self):
        return self.ceiling


def variants_of(path):
    return [step.variant for step in path]


def test_ties_go_to_a_member_then_to_the_least_loss_then_to_the_lowest_index():
    assert variants_of(greedy_path(Scores([4, 9, 9, 9]), Rules(steps=2))) == [1, 1]
    assert variants_of(greedy_path(Scores([4, 9, 9, 9]), Rules(steps=2, start=(3,)))) == [3, 3]
    losses = {1: 0.5, 2: 0.25, 3: 0.25 * (1 + 1e-14)}

    def tie_loss(members, tied):
        assert not members
        return np.array([losses[variant] for variant in tied])

    assert variants_of(greedy_path(Scores([4, 9, 9, 9]), Rules(steps=1, tie_loss=tie_loss))) == [2]


def test_without_replacement_the_path_ends_when_all_have_joined():
    path = greedy_path(Scores([4, 9, 9]), Rules(steps=9, replacement=False))
    assert variants_of(path) == [1, 2, 0]
    assert [step.tied for step in path] == [2, 1, 1]


def test_groups_and_costs_limit_distinct_members_but_not_how_often_they_are_used():
    limit = Limit(group_V=np.array([0, 0, 1]), most=1)
    assert variants_of(greedy_path(Scores([9, 8, 1]), Rules(steps=3, limits=(limit,)))) == [0, 0, 0]
    once = Rules(steps=3, limits=(limit,), replacement=False)
    assert variants_of(greedy_path(Scores([9, 8, 1]), once)) == [0, 2]
    budget = Budget(cost_V=np.array([5.0, 3.0, 2.0]), most=7.0)
    assert variants_of(greedy_path(Scores([9, 8, 1]), Rules(steps=3, budgets=(budget,), replacement=False))) == [0, 2]
    assert variants_of(greedy_path(Scores([9, 8, 1]), Rules(steps=3, budgets=(budget,)))) == [0, 0, 0]
    poor = Rules(steps=3, budgets=(Budget(cost_V=np.array([5.0, 3.0, 2.0]), most=1.0),))
    assert greedy_path(Scores([9, 8, 1]), poor) == []


def test_a_path_ends_early_only_where_nothing_better_can_follow():
    assert len(greedy_path(Scores([3, 2], ceiling=3), Rules(steps=9, stop_early=True))) == 1
    assert len(greedy_path(Scores([3, 2], ceiling=4), Rules(steps=9, stop_early=True))) == 9
    grid, labels = ties(variants=3, examples=12, classes=2)
    blocks = score_blocks(grid, labels)
    whole = greedy_path(accuracy_scorer(blocks, steps=30), Rules(steps=30))
    early = greedy_path(accuracy_scorer(blocks, steps=30), Rules(steps=30, stop_early=True))
    assert early == whole[: len(early)]
    assert max(step.score for step in whole) == max(step.score for step in early)


def test_the_best_prefix_is_the_shortest_of_the_best():
    path = [GreedyStep(variant=0, score=score) for score in (None, 3, 5, 4, 5)]
    assert best_prefix(path) == 3
    assert best_prefix(path[:1]) == 1


def test_a_sorted_start_takes_the_best_alone_in_order():
    scorer = Scores([4, 9, 7, 9])
    assert sorted_start(scorer, Rules(steps=5), 3).start == (1, 3, 2)
    assert sorted_start(scorer, Rules(steps=9), 9).start == (1, 3, 2, 0)
    limited = Rules(steps=5, limits=(Limit(group_V=np.array([0, 1, 0, 1]), most=1),))
    assert sorted_start(scorer, limited, 3).start == (1, 2)
    assert scorer.joined == []


def test_bags_choose_among_halves_and_their_best_prefixes_are_joined():
    seen = []

    def scorer(candidates):
        seen.append(list(candidates))
        scores = Scores([5, 4, 3, 2, 1])
        scores.candidates_M = np.asarray(candidates)
        scores.best = lambda allowed: (0.0, [candidates[int(np.argmax(allowed))]])
        return scores

    members = bagged_members(scorer, range(5), Rules(steps=4), bags=6, seed=3)
    assert members == [half[0] for half in seen]
    assert all(len(half) == 3 and half == sorted(set(half)) for half in seen)
    assert len({tuple(half) for half in seen}) > 1


def test_a_path_of_no_steps_is_empty_and_counts_nothing():
    assert greedy_path(Scores([1]), Rules(steps=0)) == []


def test_arguments_that_cannot_be_met_are_refused():
    grid, labels = np.zeros((2, 1, 3), np.int32), np.zeros(1, np.int32)
    blocks = score_blocks(grid, labels)
    with pytest.raises(ValueError, match="steps: expected at least 2, the members of start, got 1"):
        Rules(steps=1, start=(0, 1))
    with pytest.raises(ValueError, match="candidates: expected at least one variant, got none"):
        greedy_path(accuracy_scorer(blocks, steps=1, candidates=[]), Rules(steps=1))
    with pytest.raises(ValueError, match="weights: expected one for each of 1 examples, got 2"):
        accuracy_scorer(blocks, steps=1, weights_N=np.ones(2, np.int64))
    full = accuracy_scorer(blocks, steps=1)
    full.add(0)
    with pytest.raises(ValueError, match="expected at most 0 members to count one more with, got 1"):
        full.bounds()
    with pytest.raises(ValueError, match="beats: expected at least one class, got 0"):
        score_blocks(grid, labels, beats=0)
    with pytest.raises(ValueError, match=r"probabilities: expected numbers in \[0, 1\], or scores"):
        score_blocks(np.full((2, 1, 3), 1.5), labels)
