import sys
from itertools import pairwise

import numpy as np
import pytest
from scipy.spatial.distance import jensenshannon

from overlap_analysis.pair_counts import count_pairs
from overlap_analysis.pair_metrics import agreement, error_correlation
from overlap_analysis.pairs import pair_indices
from overlap_analysis.resampling import Bootstrap, group_multiplicities
from overlap_analysis.soft_metrics import merge_soft_sums, soft_intervals, soft_metrics, soft_sums

MODULE = sys.modules["overlap_analysis.soft_metrics"]  # its function of the same name hides it in the package
NAMES = ("capa", "jensen_shannon_divergence", "label_probability_correlation")


def outputs(variants=5, examples=60, classes=4, seed=0):
    """Probabilities that share what the examples look like, and labels that they favor."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes, examples)
    logits = rng.normal(size=(examples, classes)) + rng.normal(size=(variants, examples, classes))
    logits += 1.5 * np.eye(classes)[labels]
    probabilities = np.exp(logits)
    return probabilities / probabilities.sum(axis=2, keepdims=True), labels


def metrics_by_definition(p, q, labels):
    """One pair, example by example."""
    classes = p.shape[1]
    rows = np.arange(len(labels))
    label_p, label_q = p[rows, labels], q[rows, labels]
    observed = np.mean([x @ y for x, y in zip(p, q, strict=True)])
    chance = np.mean(label_p) * np.mean(label_q) + (1 - np.mean(label_p)) * (1 - np.mean(label_q)) / (classes - 1)
    return {
        "capa": (observed - chance) / (1 - chance),
        "jensen_shannon_divergence": np.mean([jensenshannon(x, y, base=2) ** 2 for x, y in zip(p, q, strict=True)]),
        "label_probability_correlation": np.corrcoef(label_p, label_q)[0, 1],
    }


def all_by_definition(probabilities, labels):
    pairs = zip(*pair_indices(len(probabilities)), strict=True)
    rows = [metrics_by_definition(probabilities[a], probabilities[b], labels) for a, b in pairs]
    return {name: np.array([row[name] for row in rows]) for name in NAMES}


@pytest.mark.parametrize("groups", [1, 7, 60, 80])
@pytest.mark.parametrize("shape", [(5, 60, 4), (3, 33, 2), (2, 9, 30)], ids=str)
def test_every_metric_equals_its_definition_for_any_grouping(shape, groups):
    probabilities, labels = outputs(*shape)
    result = soft_metrics(soft_sums(probabilities, labels, groups=groups))
    assert tuple(result) == NAMES
    for name, expected in all_by_definition(probabilities, labels).items():
        np.testing.assert_allclose(result[name], expected, rtol=1e-10, atol=1e-12, err_msg=name)


def test_blocks_of_any_size_add_up_to_the_whole(monkeypatch):
    probabilities, labels = outputs(examples=61)
    whole = soft_sums(probabilities, labels, groups=7)
    monkeypatch.setattr(MODULE, "_ELEMENTS_AT_ONCE", 40)
    bounds = [0, 1, 1, 24, 61]
    parts = [
        soft_sums(probabilities[:, start:stop], labels[start:stop], groups=7, start=start)
        for start, stop in pairwise(bounds)
    ]
    merged = merge_soft_sums(parts)
    for field in ("examples_G", "label_GV", "label_squared_GV", "label_product_GP", "overlap_GP", "divergence_GP"):
        np.testing.assert_allclose(getattr(merged, field), getattr(whole, field), rtol=1e-11, atol=1e-13)


def test_columns_are_mixed_block_by_block():
    probabilities, labels = outputs(variants=3, examples=70, classes=100)
    result = soft_metrics(soft_sums(probabilities, labels, groups=1))["jensen_shannon_divergence"]
    assert probabilities[0].size > 3 * 2048
    expected = all_by_definition(probabilities, labels)["jensen_shannon_divergence"]
    np.testing.assert_allclose(result, expected, rtol=1e-10)


def test_logarithms_are_those_of_numpy_to_14_digits():
    rng = np.random.default_rng(0)
    numbers = np.concatenate([rng.random(5000), 10.0 ** -rng.uniform(0, 300, 5000), [1, 0.5, 2**-0.5, 2.0**-1000]])
    logarithms = np.empty_like(numbers)
    MODULE._fill_log2(numbers, logarithms)
    np.testing.assert_allclose(logarithms, np.log2(numbers), rtol=1e-14, atol=1e-14)
    for tiny in (0.0, 5e-324):
        MODULE._fill_log2(np.array([tiny]), logarithms[:1])
        assert abs(tiny * logarithms[0]) < 1e-300


def test_equal_variants_do_not_diverge_and_correlate_fully_but_agree_only_as_far_as_they_are_sure():
    probabilities, labels = outputs(variants=1)
    result = soft_metrics(soft_sums(np.repeat(probabilities, 2, axis=0), labels, groups=9))
    assert result["jensen_shannon_divergence"].tolist() == [0]
    assert result["label_probability_correlation"] == pytest.approx(1, abs=1e-12)
    assert 0 < result["capa"][0] < 0.9
    sure = np.eye(4)[probabilities.argmax(axis=2)]
    result = soft_metrics(soft_sums(np.repeat(sure, 2, axis=0), labels, groups=9))
    assert result["capa"].tolist() == [1]


def test_one_hot_outputs_give_the_metrics_of_their_classes():
    probabilities, labels = outputs(variants=6, examples=200)
    predictions = probabilities.argmax(axis=2).astype(np.int32)
    counts = count_pairs(predictions, labels.astype(np.int32))
    result = soft_metrics(soft_sums(np.eye(4, dtype=np.float32)[predictions], labels, groups=10))
    np.testing.assert_allclose(result["label_probability_correlation"], error_correlation(counts), rtol=1e-10)
    np.testing.assert_allclose(result["jensen_shannon_divergence"], 1 - agreement(counts), rtol=1e-12)
    right = (predictions == labels).mean(axis=1)
    chance = right[counts.a] * right[counts.b] + (1 - right[counts.a]) * (1 - right[counts.b]) / 3
    np.testing.assert_allclose(result["capa"], (agreement(counts) - chance) / (1 - chance), rtol=1e-10)


def test_independent_errors_have_a_capa_of_about_0():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 5, 40_000)
    others = (labels + rng.integers(1, 5, (3, 40_000))) % 5
    predictions = np.where(rng.random((3, 40_000)) < 0.7, labels, others)
    capa = soft_metrics(soft_sums(np.eye(5)[predictions], labels, groups=1, divergence=False))["capa"]
    np.testing.assert_allclose(capa, 0, atol=0.02)


def test_metrics_without_a_value_are_nan():
    always_right = np.repeat(np.eye(3)[np.newaxis, [0, 1, 2, 2]], 2, axis=0)
    result = soft_metrics(soft_sums(always_right, np.array([0, 1, 2, 2]), groups=2, divergence=False))
    assert all(np.isnan(values).all() for values in result.values())
    constant = np.full((2, 50, 10), 0.1)
    result = soft_metrics(soft_sums(constant, np.arange(50) % 10, groups=3))
    assert np.isnan(result["label_probability_correlation"]).all()
    assert result["jensen_shannon_divergence"].tolist() == [0]
    result = soft_metrics(soft_sums(np.empty((2, 0, 3)), np.empty(0, int), groups=3))
    assert all(np.isnan(values).all() for values in result.values())


def test_one_variant_has_no_pair():
    probabilities, labels = outputs(variants=1)
    sums = soft_sums(probabilities, labels, groups=5)
    assert all(values.shape == (0,) for values in soft_metrics(sums).values())
    assert all(low.shape == high.shape == (0,) for low, high in soft_intervals(sums).values())


def test_intervals_are_percentiles_over_resampled_examples(monkeypatch):
    probabilities, labels = outputs(examples=40)
    settings = Bootstrap(resamples=50, seed=2, level=0.8)
    drawn = group_multiplicities(40, settings)[1:].astype(int)
    samples = [all_by_definition(np.repeat(probabilities, times, axis=1), np.repeat(labels, times)) for times in drawn]
    sums = soft_sums(probabilities, labels, groups=40)
    whole = soft_intervals(sums, bootstrap=settings)
    monkeypatch.setattr(MODULE, "_PAIRS_AT_ONCE", 3)
    for name, (low, high) in soft_intervals(sums, bootstrap=settings).items():
        values = np.array([sample[name] for sample in samples])
        np.testing.assert_allclose(low, np.quantile(values, 0.1, axis=0), rtol=1e-8)
        np.testing.assert_allclose(high, np.quantile(values, 0.9, axis=0), rtol=1e-8)
        np.testing.assert_allclose(np.array(whole[name]), [low, high], rtol=1e-12)


def test_further_variants_change_nothing_for_the_others():
    probabilities, labels = outputs(variants=6)
    few, many = (soft_intervals(soft_sums(p, labels, groups=30)) for p in (probabilities[:3], probabilities))
    for name in NAMES:
        np.testing.assert_allclose(np.array(many[name])[:, [0, 1, 5]], few[name], rtol=1e-9)


def test_inputs_that_do_not_fit_are_refused():
    probabilities, labels = outputs(examples=4)
    with pytest.raises(ValueError, match=r"at least two classes and labels \(N,\), got \(5, 4, 1\) and \(4,\)"):
        soft_sums(probabilities[:, :, :1], labels, groups=2)
    with pytest.raises(ValueError, match=r"got \(5, 4, 4\) and \(3,\)"):
        soft_sums(probabilities, labels[:3], groups=2)
    with pytest.raises(ValueError, match="groups: expected at least 1, got 0"):
        soft_sums(probabilities, labels, groups=0)
    with pytest.raises(ValueError, match=r"labels\[2\]: expected a class from 0 to 3, got 4"):
        soft_sums(probabilities, np.array([0, 1, 4, 0]), groups=2)
    for bad, message in ((np.nan, "a least of nan"), (-0.5, "a least of -0.5"), (2, "a sum of")):
        changed = probabilities.copy()
        changed[3, 1, 0] = bad
        with pytest.raises(ValueError, match=rf"probabilities\[3, 1\].*{message}"):
            soft_sums(changed, labels, groups=2)
    sums = soft_sums(probabilities, labels, groups=2)
    with pytest.raises(ValueError, match="at least one block"):
        merge_soft_sums([])
    with pytest.raises(ValueError, match=r"parts\[1\]: expected 4 classes and sums \(2, 5\)"):
        merge_soft_sums([sums, soft_sums(probabilities, labels, groups=3)])
