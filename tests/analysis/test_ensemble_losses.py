import numpy as np
import pytest

from overlap_analysis.ensemble_losses import BrierScore, LogLoss, brier_sums
from overlap_analysis.greedy import Rules, greedy_path


@pytest.fixture(params=[(4, 50, 3), (3, 2100, 5), (1, 1, 2)], ids=str)
def grid_and_labels(request):
    variants, examples, classes = request.param
    rng = np.random.default_rng(request.param)
    probabilities = rng.dirichlet(np.full(classes, 0.3), (variants, examples))
    grid = np.rint(probabilities * 2**30).astype(np.int32)
    return grid, rng.integers(0, classes, examples)


def log_loss_by_definition(grid, labels, members, weights):
    mean = grid[list(members)].mean(axis=0) / 2**30
    label = np.maximum(mean[np.arange(len(labels)), labels], 1e-15)
    return np.sum(-np.log(label) * weights) / weights.sum()


def brier_by_definition(grid, labels, members, weights):
    mean = grid[list(members)].mean(axis=0) / 2**30
    return np.sum(((mean - np.eye(mean.shape[1])[labels]) ** 2).sum(axis=1) * weights) / weights.sum()


def scorer_of(kind, grid, labels, weights):
    if kind is LogLoss:
        return LogLoss(grid[:, np.arange(len(labels)), labels], weights)
    half = len(labels) // 2
    return BrierScore(
        brier_sums(grid[:, :half], labels[:half], weights[:half])
        + brier_sums(grid[:, half:], labels[half:], weights[half:])
    )


DEFINITIONS = {LogLoss: log_loss_by_definition, BrierScore: brier_by_definition}


@pytest.mark.parametrize("kind", DEFINITIONS)
@pytest.mark.parametrize("weighted", [False, True])
def test_losses_are_those_of_the_mean_probabilities(grid_and_labels, kind, weighted):
    grid, labels = grid_and_labels
    weights = np.arange(len(labels)) % 3 + 1 if weighted else np.ones(len(labels), np.int64)
    scorer, members = scorer_of(kind, grid, labels, weights), []
    for _ in range(6):
        losses = [DEFINITIONS[kind](grid, labels, [*members, v], weights) for v in range(len(grid))]
        best, tied = scorer.best(np.ones(len(grid), bool))
        assert -best == pytest.approx(min(losses), rel=1e-9)
        assert int(np.argmin(losses)) in tied
        assert scorer.most_ever() >= best - 1e-12
        members.append(tied[0])
        scorer.add(tied[0])


@pytest.mark.parametrize("kind", DEFINITIONS)
def test_examples_of_weight_zero_do_not_count(grid_and_labels, kind):
    grid, labels = grid_and_labels
    weights = np.ones(len(labels), np.int64)
    weights[len(labels) // 2 + 1 :] = 0
    kept = weights > 0
    some, alone = scorer_of(kind, grid, labels, weights), scorer_of(kind, grid[:, kept], labels[kept], weights[kept])
    path, same = greedy_path(some, Rules(steps=5)), greedy_path(alone, Rules(steps=5))
    assert [step.variant for step in path] == [step.variant for step in same]
    assert [step.score for step in path] == pytest.approx([step.score for step in same])


def test_duplicates_are_tied_however_they_are_rounded():
    rng = np.random.default_rng(0)
    one = np.rint(rng.dirichlet(np.ones(4), (1, 500)) * 2**30).astype(np.int32)
    grid, labels = np.concatenate([one, one, one]), rng.integers(0, 4, 500)
    for kind in DEFINITIONS:
        scorer = scorer_of(kind, grid, labels, np.ones(500, np.int64))
        scorer.add(2)
        assert scorer.best(np.ones(3, bool))[1] == [0, 1, 2]


def test_a_label_without_probability_costs_what_the_least_probability_does():
    grid = np.array([[[0, 2**30]]], np.int32)
    assert scorer_of(LogLoss, grid, np.array([0]), np.ones(1, np.int64)).losses([0])[0] == pytest.approx(-np.log(1e-15))


def test_candidates_only_may_join(grid_and_labels):
    grid, labels = grid_and_labels
    last, weights = len(grid) - 1, np.ones(len(labels), np.int64)
    for kind in DEFINITIONS:
        scorer = scorer_of(kind, grid, labels, weights)
        scorer.candidates_M = np.array([last])
        assert scorer.best(np.ones(1, bool))[1] == [last]
