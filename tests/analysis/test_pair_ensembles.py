from dataclasses import fields
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from overlap_analysis.contenders import contenders_of_grid, contenders_of_top
from overlap_analysis.ensemble_kernels import LENGTH
from overlap_analysis.ensemble_sums import (
    RULES,
    Undecided,
    counted_places,
    mean_is_right,
    merge_sums,
    settle,
    sum_ensembles,
)
from overlap_analysis.member_scores import ArrayScores
from overlap_analysis.pair_counts import count_pairs
from overlap_analysis.pair_ensembles import (
    EnsembleCounts,
    EnsembleMetrics,
    count_pair_ensembles,
    ensemble_counts,
    ensemble_metrics,
    merge_ensemble_counts,
)
from overlap_analysis.pair_metrics import error_inconsistency
from overlap_analysis.uncertainty import wilson_interval
from overlap_analysis.undecided import decide

COUNTS = [field.name for field in fields(EnsembleCounts) if field.name not in ("a", "b", "examples")]


def ensemble_by_definition(row_a, row_b, rule):
    """The class of each example with NumPy's arg-max, which takes the lowest of equal classes."""
    if rule == "vote":
        ballot = np.eye(row_a.shape[1])
        return (ballot[row_a.argmax(axis=1)] + ballot[row_b.argmax(axis=1)]).argmax(axis=1)
    if rule == "max_confidence":
        return np.maximum(row_a, row_b).argmax(axis=1)
    return (row_a.astype(np.int64) + row_b).argmax(axis=1)


def counts_by_definition(grid, labels, rule="mean_probability"):
    table = []
    for a, b in combinations(range(len(grid)), 2):
        right_a, right_b = (grid[v].argmax(axis=1) == labels for v in (a, b))
        right = ensemble_by_definition(grid[a], grid[b], rule) == labels
        one, neither, both = right_a ^ right_b, ~right_a & ~right_b, right_a & right_b
        row = [right_a, right_b, right, one, one & right, neither, neither & right, both, both & ~right]
        table.append([np.count_nonzero(mask) for mask in row])
    return np.array(table, dtype=np.int64).reshape(-1, len(COUNTS))


def as_table(counts):
    return np.stack([getattr(counts, name) for name in COUNTS], axis=1)


def top_contenders(grid, labels, known):
    classes = np.argsort(-grid.astype(np.int64), axis=2, kind="stable")[:, :, :known]
    own = grid[:, np.arange(len(labels)), labels]
    scores = np.take_along_axis(grid, classes, axis=2)
    return contenders_of_top(classes, scores, own, labels, classes=grid.shape[2])


def settled(grid, labels, contenders, rule, **options):
    """Sums of which a few more scores have decided what the contenders could not."""
    sums, left = sum_ensembles(contenders, labels, rule, **options)
    return settle(sums, left, decide(left, contenders, labels, ArrayScores(grid)))


def realistic_problem(shape=(6, 3 * LENGTH + 41, 1000)):
    """Probabilities of variants that share their doubts, one of them twice."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, shape[2], shape[1])
    shared = rng.normal(size=shape[1:]) + 5 * (rng.random(shape[1:]) < 3 / shape[2])
    logits = 2 * (shared + rng.normal(scale=0.7, size=shape))
    logits[:, np.arange(shape[1]), labels] += rng.normal(8, 4, shape[1])
    logits[-1] = logits[0]
    scores = np.exp(logits - logits.max(axis=2, keepdims=True))
    return np.rint(2**30 * scores / scores.sum(axis=2, keepdims=True)).astype(np.int32), labels


@st.composite
def grids_and_labels(draw):
    variants, examples, classes = draw(st.integers(2, 4)), draw(st.integers(0, 8)), draw(st.integers(1, 5))
    values = st.sampled_from([0, 1, 2**29 - 1, 2**29, 2**30 - 1, 2**30])
    grid = draw(arrays(np.int32, (variants, examples, classes), elements=values))
    return grid, draw(arrays(np.int32, examples, elements=st.integers(0, classes - 1)))


def of_rule(grid, rule):
    """The same order of classes in log-probabilities, which are never above 0."""
    return grid - 2**30 if rule == "mean_logit" else grid


@pytest.mark.parametrize("rule", RULES)
def test_counts_equal_the_arg_max_of_the_combined_rows(problem, rule):
    grid, labels = of_rule(problem[0], rule), problem[1]
    counts = count_pair_ensembles(grid, labels, rule=rule)
    np.testing.assert_array_equal(as_table(counts), counts_by_definition(grid, labels, rule))
    assert counts.examples == len(labels)
    assert all(getattr(counts, name).dtype == np.int64 for name in COUNTS)


@pytest.mark.parametrize("kept", [1, 2, 3])
@pytest.mark.parametrize("rule", ["mean_probability", "mean_logit"])
def test_few_rivals_and_dense_rows_for_the_undecided_give_the_same_counts(problem, rule, kept):
    grid, labels = of_rule(problem[0], rule), problem[1]
    expected = counts_by_definition(grid, labels, rule)
    for contenders in (
        contenders_of_grid(grid, labels, kept=kept),
        top_contenders(grid, labels, min(kept, grid.shape[2])),
    ):
        counts = ensemble_counts(settled(grid, labels, contenders, rule))
        np.testing.assert_array_equal(as_table(counts), expected)


@given(
    data=grids_and_labels(),
    cut=st.floats(0, 1),
    kept=st.integers(1, 5),
    rule=st.sampled_from(RULES),
    of_top=st.booleans(),
)
@settings(deadline=None, max_examples=400)
def test_counts_are_exact_at_the_edges_of_the_grid_and_blocks_add_up(data, cut, kept, rule, of_top):
    grid, labels = of_rule(data[0], rule), data[1]
    parts = []
    for block in (slice(round(cut * len(labels))), slice(round(cut * len(labels)), None)):
        rows, own = grid[:, block], labels[block]
        known = min(kept, grid.shape[2])
        contenders = top_contenders(rows, own, known) if of_top else contenders_of_grid(rows, own, kept=kept)
        parts.append(settled(rows, own, contenders, rule))
    expected = counts_by_definition(grid, labels, rule)
    np.testing.assert_array_equal(as_table(ensemble_counts(merge_sums(parts))), expected)
    merged = merge_ensemble_counts([ensemble_counts(part) for part in parts])
    np.testing.assert_array_equal(as_table(merged), expected)
    assert merged.examples == len(labels)


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("kept", [1, 8])
def test_of_a_thousand_classes_a_few_are_enough(rule, kept):
    grid, labels = realistic_problem()
    if rule == "mean_logit":
        grid = np.rint(2**20 * np.log(np.maximum(grid, 1) / 2**30)).astype(np.int32)
    expected = counts_by_definition(grid, labels, rule)
    contenders = contenders_of_grid(grid, labels, kept=kept)
    sums, left = sum_ensembles(contenders, labels, rule, threads=3)
    right = mean_is_right(grid[left.a, left.n], grid[left.b, left.n], labels[left.n])
    np.testing.assert_array_equal(decide(left, contenders, labels, ArrayScores(grid)), right)
    np.testing.assert_array_equal(as_table(ensemble_counts(settle(sums, left, right))), expected)
    assert kept == 1 or len(left.n) < 0.1 * len(expected) * len(labels)
    alone = sum_ensembles(contenders_of_grid(grid, labels, kept=kept), labels, rule)[1]
    np.testing.assert_array_equal([alone.a, alone.b, alone.n], [left.a, left.b, left.n])


@pytest.mark.parametrize("rule", ["mean_probability", "mean_logit"])
def test_nothing_is_undecided_if_all_rivals_are_kept(problem, rule):
    grid, labels = of_rule(problem[0], rule), problem[1]
    contenders = contenders_of_grid(grid, labels, kept=max(1, grid.shape[2] - 1))
    sums, left = sum_ensembles(contenders, labels, rule)
    assert sums.undecided == len(left.a) == 0


@pytest.mark.parametrize(("unseen", "right"), [(44, 0), (40, 0), (39, 1)])
def test_a_class_that_neither_member_keeps_can_win_and_ties_by_its_index(unseen, right):
    grid = np.array([[[unseen, 40, 50, 0]], [[unseen, 40, 0, 50]]], np.int32)
    labels = np.array([1])
    contenders = contenders_of_grid(grid, labels, kept=1)
    sums, left = sum_ensembles(contenders, labels)
    assert [array.tolist() for array in (left.a, left.b, left.n, left.one_right)] == [[0], [1], [0], [False]]
    with pytest.raises(ValueError, match="1 undecided are left"):
        ensemble_counts(sums)
    assert ensemble_counts(settled(grid, labels, contenders, "mean_probability")).correct.tolist() == [right]


@given(data=st.data())
@settings(deadline=None, max_examples=50)
def test_some_rows_against_some_columns_are_the_same_pairs(data):
    rng = np.random.default_rng(data.draw(st.integers(0, 99)))
    grid, labels = rng.integers(0, 4, (7, LENGTH + 3, 5), dtype=np.int32), rng.integers(0, 5, LENGTH + 3)
    rows = np.array(data.draw(st.lists(st.integers(0, 6), unique=True)), np.int32)
    first, threads = data.draw(st.integers(0, 7)), data.draw(st.integers(1, 3))
    full = ensemble_counts(settled(grid, labels, contenders_of_grid(grid, labels, kept=2), "mean_probability"))
    options = {"rows_R": rows, "first": first, "threads": threads}
    part = settled(grid, labels, contenders_of_grid(grid, labels, kept=2), "mean_probability", **options)
    pairs = list(zip(full.a, full.b, strict=True))
    held = [p for p, (a, b) in enumerate(pairs) if (a in rows and b >= first) or (b in rows and a >= first)]
    counts = ensemble_counts(part)
    assert list(zip(counts.a, counts.b, strict=True)) == [pairs[p] for p in held]
    np.testing.assert_array_equal(as_table(counts), as_table(full)[held])
    assert not part.both_right_RW[~counted_places(part)].any()


def test_the_mean_of_probabilities_never_loses_what_both_members_have(problem):
    assert not counts_by_definition(*problem)[:, COUNTS.index("both_right_lost")].any()


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


def test_arguments_that_do_not_fit_are_refused():
    grid, labels = np.zeros((3, 2, 4), np.int32), np.zeros(2, np.int64)
    contenders = contenders_of_grid(grid, labels)
    with pytest.raises(ValueError, match=r"rule: expected one of mean_probability, .*, got 'median'"):
        sum_ensembles(contenders, labels, "median")
    with pytest.raises(ValueError, match="rows: expected variants"):
        sum_ensembles(contenders, labels, rows_R=np.array([1, 1]))
    with pytest.raises(ValueError, match=r"rows: expected variants in \[0, 3\), each once, got 3"):
        sum_ensembles(contenders, labels, rows_R=np.array([3]))
    with pytest.raises(ValueError, match="first: expected"):
        sum_ensembles(contenders, labels, first=4)
    with pytest.raises(ValueError, match="the contenders were made with"):
        sum_ensembles(contenders, labels + 1)
    with pytest.raises(ValueError, match=r"mean_probability: expected scores in \[0, 1073741824\], got -5"):
        sum_ensembles(contenders_of_grid(grid - 5, labels), labels)
    with pytest.raises(ValueError, match="mean_logit: expected scores in"):
        sum_ensembles(contenders_of_grid(grid + 5, labels), labels, "mean_logit")
    with pytest.raises(ValueError, match="at least one block"):
        merge_sums([])
    sums, _ = sum_ensembles(contenders, labels)
    with pytest.raises(ValueError, match=r"parts\[1\]: expected the rows and columns"):
        merge_sums([sums, sum_ensembles(contenders, labels, first=1)[0]])
    one = Undecided(a=np.array([0]), b=np.array([1]), n=np.array([0]), one_right=np.array([True]))
    with pytest.raises(ValueError, match="at most 0 undecided, got 1 decisions"):
        settle(sums, one, np.array([True]))
