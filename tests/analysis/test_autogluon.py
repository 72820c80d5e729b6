"""Paths are those of AutoGluon's `EnsembleSelection`; skipped where `autogluon.core` is not installed."""

import numpy as np
import pytest

from overlap_analysis.ensemble_losses import LogLoss
from overlap_analysis.greedy import Rules, accuracy_scorer, greedy_path, score_blocks
from overlap_analysis.member_scores import grid_scores

metrics = pytest.importorskip("autogluon.core.metrics")
ensemble_selection = pytest.importorskip("autogluon.core.models.greedy_ensemble.ensemble_selection")

STEPS = 25
SHAPES = [(12, 300, 5), (30, 500, 20), (20, 400, 100), (8, 60, 3)]  # variants, examples, classes


def path_of_autogluon(values, labels, steps=STEPS, metric=metrics.accuracy):
    selection = ensemble_selection.EnsembleSelection(
        steps, problem_type="multiclass", metric=metric, tie_breaker="random"
    )
    selection.use_best = False  # which would cut the path after its best step
    return [int(variant) for variant in selection.fit(list(values), labels).indices_]


def our_path(scorer, steps=STEPS):
    return greedy_path(scorer, Rules(steps=steps, ties="autogluon"))


def our_accuracy_path(values, labels, steps=STEPS):
    return our_path(accuracy_scorer(score_blocks(values, labels), steps=steps), steps)


def variants_of(path):
    return [step.variant for step in path]


def probabilities_of(rng, shape):
    """Float64 rows that sum to one, of variants that err on the same examples, and labels."""
    variants, examples, classes = shape
    labels = rng.integers(0, classes, examples)
    logits = rng.normal(size=shape) + rng.normal(size=(examples, classes))
    logits[:, np.arange(examples), labels] += rng.normal(1.5, 2, examples) + rng.uniform(0, 1, (variants, 1))
    scores = np.exp(logits)
    return scores / scores.sum(axis=2, keepdims=True), labels


TIED = {
    "eighths that do not add up": lambda rng, shape: rng.integers(1, 9, shape) / 8,
    "votes of five neighbors": lambda rng, shape: votes(rng, 5, shape),
    "one-hot rows": lambda rng, shape: votes(rng, 1, shape),
    "each variant four times": lambda rng, shape: np.repeat(votes(rng, 8, (shape[0] // 4, *shape[1:])), 4, axis=0),
}


def votes(rng, voters, shape):
    return rng.multinomial(voters, rng.dirichlet(np.full(shape[2], 1 / 3), shape[1]), shape[:2]) / voters


def labels_of(rng, values):
    """Mostly what all variants together say."""
    guesses = rng.integers(0, values.shape[2], values.shape[1])
    return np.where(rng.random(values.shape[1]) < 0.7, values.mean(axis=0).argmax(axis=1), guesses)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_a_path_among_float32_probabilities_is_autogluons(shape, seed):
    values, labels = probabilities_of(np.random.default_rng(seed), shape)
    values = values.astype(np.float32)
    path = variants_of(our_accuracy_path(values, labels))
    assert path == path_of_autogluon(values, labels)
    assert len(set(path)) > 3


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_a_path_among_float16_probabilities_is_autogluons(shape, seed):
    values, labels = probabilities_of(np.random.default_rng(seed), shape)
    values = values.astype(np.float16)
    # It is given the same values as float64: float16 it would weigh in float16, and round what we add exactly.
    assert variants_of(our_accuracy_path(values, labels)) == path_of_autogluon(values.astype(np.float64), labels)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("shape", [(8, 60, 3), (12, 100, 5), (20, 60, 40)], ids=str)
@pytest.mark.parametrize("kind", TIED)
def test_variants_that_tie_are_chosen_among_as_autogluon_does(kind, shape, seed):
    rng = np.random.default_rng(seed)
    values = TIED[kind](rng, shape)
    # AutoGluon keeps a running mean in floating point, whose errors make one of two tied classes the larger. A
    # class therefore gets a little less than the one before it: too little to matter but where classes tie.
    values = 7 / 8 * values + 1 / 16 - np.arange(shape[2]) / 2**16
    labels = labels_of(rng, values)
    path = our_accuracy_path(values, labels)
    assert variants_of(path) == path_of_autogluon(values, labels)
    assert any(step.tied > 1 for step in path)


@pytest.mark.parametrize("kind", ["eighths that do not add up", "one-hot rows"])
def test_of_tied_classes_the_lowest_wins_as_long_as_autogluons_sums_are_exact(kind):
    for seed in range(10):
        rng = np.random.default_rng(seed)
        values = TIED[kind](rng, (12, 60, 4))
        labels = labels_of(rng, values)
        two_members = variants_of(our_accuracy_path(values, labels, steps=2))  # thirds would be rounded
        assert two_members == path_of_autogluon(values, labels, steps=2)


@pytest.mark.parametrize("seed", range(3))
def test_a_path_by_log_loss_is_autogluons(seed):
    # A small set: AutoGluon rounds losses to six decimals, and so would take close ones for equal.
    values, labels = probabilities_of(np.random.default_rng(seed), (12, 300, 5))
    scores = grid_scores(values[:, np.arange(len(labels)), labels])
    path = variants_of(our_path(LogLoss(scores, np.ones(len(labels), np.int64))))
    assert path == path_of_autogluon(values, labels, metric=metrics.log_loss)
    assert len(set(path)) > 2
