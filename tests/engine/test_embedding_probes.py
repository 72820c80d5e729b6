"""Probes on embeddings: their optimum against scikit-learn, how the penalty is chosen, which examples do what."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression

from overlap.errors import ArgumentError
from overlap.features.probe import Protocol, judge_probes
from overlap.features.regression import Loss, Problems, minimize
from overlap.features.request import FeatureRequest, check_request, strengths
from overlap.features.roles import Roles, Targets, class_targets, make_roles
from overlap_analysis import mean_average_precision, selection_mask


def blobs(examples=80, dimensions=5, classes=3, seed=0):
    rng = np.random.default_rng(seed)
    labels = np.arange(examples) % classes
    return rng.normal(size=(examples, dimensions)) + rng.normal(size=(classes, dimensions))[labels], labels


def with_constant(*inputs):
    stacked = torch.from_numpy(np.stack(inputs))
    return torch.cat([stacked, torch.ones_like(stacked[:, :, :1])], dim=2)


def fit(inputs, targets, penalties, loss=Loss.SOFTMAX, **options):
    problems = Problems(
        inputs_BND=with_constant(*inputs),
        targets_NC=torch.from_numpy(np.asarray(targets, np.float64)),
        strength_B=torch.tensor(penalties, dtype=torch.float64),
        loss=loss,
    )
    start = torch.zeros(len(inputs), inputs[0].shape[1] + 1, targets.shape[1], dtype=torch.float64)
    return minimize(problems, start, **{"tolerance": 1e-9, "steps": 2000, **options}).numpy()


def test_a_multinomial_probe_has_the_optimum_of_scikit_learns():
    (first, labels), (second, _) = blobs(), blobs(seed=0, dimensions=5)
    second = second[:, ::-1] ** 3
    penalties = [0.3, 20.0]
    found = fit([first, second], np.eye(3)[labels], penalties)
    for inputs, penalty, weights in zip([first, second], penalties, found, strict=True):
        reference = LogisticRegression(C=1 / penalty, tol=1e-10, max_iter=10_000).fit(inputs, labels)
        np.testing.assert_allclose(weights[:-1], reference.coef_.T, atol=2e-5)
        bias = reference.intercept_ - reference.intercept_.mean()
        np.testing.assert_allclose(weights[-1] - weights[-1].mean(), bias, atol=2e-5)


def test_a_probe_of_several_labels_is_one_regression_against_the_rest_for_each():
    inputs, labels = blobs(classes=4)
    targets = np.stack([labels == 0, labels % 2 == 0], axis=1)
    (weights,) = fit([inputs], targets, [2.0], Loss.SIGMOID)
    for column, wanted in zip(weights.T, targets.T, strict=True):
        reference = LogisticRegression(C=0.5, tol=1e-10, max_iter=10_000).fit(inputs, wanted)
        np.testing.assert_allclose(column, [*reference.coef_[0], reference.intercept_[0]], atol=2e-5)


def test_problems_in_a_batch_end_where_each_ends_alone():
    inputs = [blobs(seed=seed)[0] for seed in range(3)]
    targets, penalties = np.eye(3)[blobs()[1]], [1e-3, 1.0, 100.0]
    together = fit(inputs, targets, penalties)
    alone = [fit([one], targets, [penalty])[0] for one, penalty in zip(inputs, penalties, strict=True)]
    np.testing.assert_allclose(together, alone, atol=1e-5)


def test_examples_that_a_plane_parts_end_at_small_losses_and_not_at_infinity():
    inputs = np.concatenate([np.full((10, 1), -1.0), np.full((10, 1), 1.0)])
    (weights,) = fit([inputs], np.eye(2)[np.arange(20) // 10], [1e-6])
    assert np.isfinite(weights).all()
    assert (np.sign(inputs @ (weights[:1, 1] - weights[:1, 0])) == inputs[:, 0]).all()


def roles_of(labels, fit_share=0.5, **changed):
    rows = np.arange(len(labels))
    edges = [int(fit_share * len(labels)), int(0.75 * len(labels))]
    targets = np.eye(labels.max() + 1, dtype=np.float32)[labels]
    parts = dict(zip(("fit_F", "choose_F", "judge_F"), np.split(rows, edges), strict=True))
    return Roles(**{"targets_MC": targets, "several_labels": False, "fitted_on": "train", **parts, **changed})


def judge(inputs, roles, choices=None, **protocol):
    choices = [np.arange(inputs.shape[1])] if choices is None else choices
    return judge_probes(inputs.astype(np.float32), choices, roles, Protocol(**{"strengths": strengths(4), **protocol}))


def standard(inputs, fitted):
    return (inputs - inputs[fitted].mean(axis=0)) / inputs[fitted].std(axis=0)


@pytest.mark.parametrize("refit", [True, False])
def test_a_probe_is_judged_on_examples_that_neither_fitted_it_nor_chose_its_penalty(refit):
    inputs, labels = blobs(200)
    roles = roles_of(labels)
    (found,) = judge(inputs, roles, refit=refit)
    fitted = np.concatenate([roles.fit_F, roles.choose_F]) if refit else roles.fit_F
    reference = LogisticRegression(C=1 / found.strength, tol=1e-8, max_iter=5000)
    reference.fit(standard(inputs, fitted)[fitted], labels[fitted])
    assert found.score == reference.score(standard(inputs, fitted)[roles.judge_F], labels[roles.judge_F])
    assert found.low < found.score < found.high


def test_the_penalty_is_the_best_on_the_choosing_examples_and_of_equals_the_strongest():
    inputs, labels = blobs(120)
    roles, grid = roles_of(labels), strengths(4)
    (found,) = judge(inputs, roles)
    scores = []
    for strength in grid:
        reference = LogisticRegression(C=1 / strength, tol=1e-8, max_iter=5000)
        reference.fit(standard(inputs, roles.fit_F)[roles.fit_F], labels[roles.fit_F])
        scores.append(reference.score(standard(inputs, roles.fit_F)[roles.choose_F], labels[roles.choose_F]))
    assert found.calibration == max(scores)
    assert found.strength == max(s for s, score in zip(grid, scores, strict=True) if score == max(scores))


def test_choices_of_any_size_come_back_in_their_order_however_little_fits():
    inputs, labels = blobs(100, dimensions=6)
    inputs[:, 0] += 4 * labels
    choices = [np.array([0]), np.arange(6), np.array([5]), np.array([0, 3])]
    roles = roles_of(labels)
    whole = judge(inputs, roles, choices)
    assert [judge(inputs, roles, [one])[0].score for one in choices] == [one.score for one in whole]
    assert judge(inputs, roles, choices, memory_bytes=1) == whole
    assert whole[0].score > whole[2].score + 0.3


def test_dimensions_that_never_vary_and_classes_that_are_never_seen_do_no_harm():
    inputs, labels = blobs(90)
    labels = np.where(np.arange(90) < 60, labels % 2, labels)  # the third class is in the judging part alone
    inputs = np.concatenate([inputs, np.full((90, 2), 3.0)], axis=1)
    (found,) = judge(inputs, roles_of(labels.astype(int)))
    assert 0 < found.score < 1


def test_several_labels_are_judged_by_mean_average_precision():
    inputs, labels = blobs(160, classes=4)
    targets = np.stack([labels == 0, labels % 2 == 0], axis=1).astype(np.float32)
    roles = roles_of(labels, targets_MC=targets, several_labels=True)
    (found,) = judge(inputs, roles, refit=False)
    scores = []
    for wanted in targets.T:
        reference = LogisticRegression(C=1 / found.strength, tol=1e-9, max_iter=5000)
        reference.fit(standard(inputs, roles.fit_F)[roles.fit_F], wanted[roles.fit_F])
        scores.append(reference.decision_function(standard(inputs, roles.fit_F)[roles.judge_F]))
    expected = mean_average_precision(np.stack(scores, axis=1), targets[roles.judge_F] > 0)
    assert found.score == pytest.approx(expected, abs=1e-3)
    assert found.low < found.score < found.high


def test_the_grids_are_seven_strengths_or_the_45_of_kornblith():
    assert strengths(7)[0] == pytest.approx(1e-6)
    assert strengths(7)[-1] == pytest.approx(1e2)
    assert len(strengths(45)) == 45
    assert strengths(45)[-1] == pytest.approx(1e5)
    assert strengths(1) == (1.0,)


@pytest.mark.parametrize("wrong", [{"grid": 0}, {"partners": 0}, {"draws": 0}, {"step": -1}, {"examples": 7}])
def test_numbers_that_leave_nothing_to_do_are_refused(wrong):
    (name,) = wrong
    with pytest.raises(ArgumentError, match=f"--{name} takes a number of at least"):
        check_request(FeatureRequest(**wrong))


SPLITS = np.repeat(["train", "calibration", "test"], [40, 30, 50])
IDS = np.arange(120, dtype=np.int64) * 3
TARGETS = class_targets((np.arange(120) % 4).astype(np.int32), 4)


def parts_of(roles):
    return roles.fit_F.tolist(), roles.choose_F.tolist(), roles.judge_F.tolist()


@pytest.mark.parametrize(("refit", "fitted_on"), [(True, "train+calibration"), (False, "train")])
def test_train_examples_fit_calibration_examples_choose_and_test_examples_judge(refit, fitted_on):
    roles = make_roles(SPLITS, IDS, TARGETS, seed=0, refit=refit)
    assert parts_of(roles) == (list(range(40)), list(range(40, 70)), list(range(70, 120)))
    assert roles.fitted_on == fitted_on


def test_without_a_train_split_a_hashed_half_of_the_test_examples_fits():
    kept = SPLITS != "train"
    targets = Targets(values_MC=TARGETS.values_MC[kept], known_M=TARGETS.known_M[kept], several_labels=False)
    roles = make_roles(SPLITS[kept], IDS[kept], targets, seed=5, refit=True)
    fits = selection_mask(IDS[70:], fraction=0.5, seed=5)
    assert parts_of(roles) == (
        (np.flatnonzero(fits) + 30).tolist(),
        list(range(30)),
        (np.flatnonzero(~fits) + 30).tolist(),
    )
    assert roles.fitted_on == "half of test+calibration"


def test_without_a_calibration_split_some_of_the_fitting_examples_choose():
    labels = np.where(SPLITS == "calibration", -1, np.arange(120) % 4).astype(np.int32)
    roles = make_roles(SPLITS, IDS, class_targets(labels, 4), seed=0, refit=True)
    fitted, chosen, judged = parts_of(roles)
    assert sorted(fitted + chosen) == list(range(40))
    assert 2 <= len(chosen) <= 16
    assert (judged, roles.fitted_on) == (list(range(70, 120)), "train")


def test_too_few_examples_for_a_probe_are_told():
    with pytest.raises(ArgumentError, match="is left to judge a probe"):
        make_roles(SPLITS[:70], IDS[:70], class_targets(np.zeros(70, np.int32), 2), seed=0, refit=True)
