"""Which classes tell two variants apart, and groups of classes that do."""

import numpy as np
import pytest
import scipy.stats

from overlap_analysis import (
    class_accuracies,
    false_discovery,
    find_class_groups,
    group_effect,
    paired_difference,
    sign_test,
)


def test_the_sign_test_is_the_exact_binomial_test():
    counts = np.array([(a, b) for a in range(12) for b in range(12)])
    found = sign_test(counts[:, 0], counts[:, 1])
    expected = [scipy.stats.binomtest(int(a), int(a + b)).pvalue if a + b else 1.0 for a, b in counts]
    np.testing.assert_allclose(found, expected, rtol=1e-9)


def test_false_discoveries_stay_at_their_rate_and_true_differences_are_found():
    rng = np.random.default_rng(0)
    only_a = rng.binomial(40, np.where(np.arange(200) < 20, 0.9, 0.5), (100, 200))
    found_PC = false_discovery(sign_test(only_a, 40 - only_a)) < 0.05
    false = found_PC[:, 20:].sum(axis=1) / np.maximum(found_PC.sum(axis=1), 1)
    assert false.mean() < 0.06
    assert found_PC[:, :20].mean() > 0.9


def test_the_effect_of_groups_is_an_analysis_of_variance():
    rng = np.random.default_rng(0)
    difference_PC, group_C = rng.normal(size=(5, 30)), rng.integers(-1, 3, 30)
    effect = group_effect(difference_PC, group_C)
    for p, row in enumerate(difference_PC):
        parts = [row[group_C == group] for group in range(3)]
        expected = scipy.stats.f_oneway(*parts)
        assert effect.p_value[p] == pytest.approx(expected.pvalue)
        inside = np.concatenate(parts)
        between = sum(len(part) * (part.mean() - inside.mean()) ** 2 for part in parts)
        assert effect.eta_squared[p] == pytest.approx(between / ((inside - inside.mean()) ** 2).sum())


@pytest.mark.parametrize("group_C", [np.full(4, -1), np.zeros(4, np.int64), np.arange(4)])
def test_no_group_one_group_and_groups_of_one_class_have_no_test(group_C):
    effect = group_effect(np.array([[0.1, 0.2, 0.0, 0.3]]), group_C)
    assert np.isnan(effect.p_value[0])


def test_classes_that_do_not_differ_have_no_effect_and_those_that_differ_by_group_alone_all_of_it():
    group_C = np.array([0, 0, 0, 1, 1, 1])
    effect = group_effect(np.array([[0.0] * 6, [1.0] * 3 + [0.0] * 3]), group_C)
    assert np.isnan(effect.eta_squared[0])
    assert effect.eta_squared[1] == 1.0
    assert effect.p_value[1] == 0.0


def test_planted_groups_of_classes_are_found_whatever_variants_and_classes_are_like_alone():
    rng = np.random.default_rng(0)
    planted_C = np.array([0, 1, 0, 1, 1, 0, 2, 2, 0, 1, 2, 2])
    taste_VG = rng.normal(0, 0.1, (20, 3))
    accuracy_VC = rng.uniform(0.4, 0.6, (20, 1)) + rng.uniform(-0.2, 0.2, 12) + taste_VG[:, planted_C]
    found_C = find_class_groups(accuracy_VC + rng.normal(0, 0.005, (20, 12)))
    assert found_C.tolist() == planted_C.tolist()


def test_groups_are_not_looked_for_among_few_classes_one_variant_or_equal_profiles():
    rng = np.random.default_rng(0)
    assert (find_class_groups(rng.random((9, 5))) == -1).all()
    assert (find_class_groups(rng.random((1, 20))) == -1).all()
    assert (find_class_groups(np.ones((9, 20))) == -1).all()


def test_a_class_without_examples_is_in_no_group():
    accuracy_VC = np.random.default_rng(0).random((9, 12))
    accuracy_VC[:, 4] = np.nan
    found_C = find_class_groups(accuracy_VC)
    assert found_C[4] == -1
    assert (np.delete(found_C, 4) >= 0).all()


def test_class_accuracies_are_shares_of_their_examples():
    correct_VN = np.array([[1, 1, 0, 1], [0, 1, 0, 0]], np.bool_)
    found = class_accuracies(correct_VN, np.array([0, 0, 2, 2]), 3)
    np.testing.assert_array_equal(found, [[1.0, np.nan, 0.5], [0.5, np.nan, 0.0]])


def test_the_interval_of_a_paired_difference_covers_it():
    rng = np.random.default_rng(0)
    counts = rng.multinomial(60, [0.5, 0.1, 0.2, 0.2], 2000)
    _, low, high = paired_difference(counts[:, 1], counts[:, 2], 60)
    assert 0.935 <= np.mean((low <= -0.1) & (high >= -0.1)) <= 0.975


def test_a_paired_difference_without_examples_is_nan():
    assert np.isnan(paired_difference(0, 0, 0)).all()
