from itertools import combinations

import numpy as np
import pytest

from overlap_analysis.categories import CATEGORIES, OUTCOME_METRICS, GroupedValue, category_means
from overlap_analysis.pair_counts import count_pairs
from overlap_analysis.pair_metrics import PAIR_METRICS
from overlap_analysis.pairs import pair_indices
from overlap_analysis.resampling import Bootstrap, group_multiplicities, group_sums, variant_multiplicities

METRICS = ("error_inconsistency", "error_correlation", "kappa")


def outcomes(variants=8, examples=300, seed=0):
    """Correctness that shares the difficulty of the examples."""
    rng = np.random.default_rng(seed)
    return rng.normal(size=examples) + rng.normal(size=(variants, examples)) > -0.7


def random_categories(variants=8, seed=0):
    return np.random.default_rng(seed).integers(0, 4, variants * (variants - 1) // 2, dtype=np.int8)


def pair_values(correct, name):
    """A metric of each pair, from correctness alone: predict the label 0, or 1 instead."""
    predictions = (~correct).astype(np.int32)
    return PAIR_METRICS[name](count_pairs(predictions, np.zeros(correct.shape[1], np.int32)))


def grouped(values_PN, groups):
    """A mean over examples of each pair, as sums over groups of them."""
    return GroupedValue(
        sums_GP=group_sums(values_PN, groups),
        examples_GP=group_sums(np.ones(values_PN.shape[1]), groups)[:, np.newaxis],
    )


def bootstrap_by_definition(correct, category, k, name, settings):
    """Copies of variants and examples, pair by pair, for as many groups as examples."""
    variants, examples = correct.shape
    drawn = variant_multiplicities(variants, settings)[1:].astype(int)
    drawn_examples = group_multiplicities(examples, settings)[1:].astype(int)
    means = []
    for times, example_times in zip(drawn, drawn_examples, strict=True):
        copies = np.repeat(np.arange(variants), times)
        values = pair_values(np.repeat(correct, example_times, axis=1), name)
        index = {pair: p for p, pair in enumerate(combinations(range(variants), 2))}
        pairs = [index[int(a), int(b)] for a, b in combinations(copies, 2) if a != b]
        chosen = [values[p] for p in pairs if category[p] == k and not np.isnan(values[p])]
        means.append(np.mean(chosen) if chosen else np.nan)
    return np.array(means)


@pytest.mark.parametrize("groups", [250, 7])
def test_means_equal_the_plain_means_of_each_category_for_any_grouping(groups):
    correct, category = outcomes(), random_categories()
    result = category_means(correct, category, metrics=OUTCOME_METRICS, bootstrap=Bootstrap(groups=groups))
    assert [(row.category, row.metric) for row in result] == [
        (CATEGORIES[k], name) for k in sorted(set(category.tolist())) for name in OUTCOME_METRICS
    ]
    for row in result:
        values = pair_values(correct, row.metric)[category == CATEGORIES.index(row.category)]
        assert row.pairs == len(values)
        assert row.undefined == 0
        assert row.mean == pytest.approx(values.mean(), rel=1e-12)
        assert row.low < row.mean < row.high


@pytest.mark.parametrize("name", METRICS)
def test_intervals_are_percentiles_of_resampled_copies_of_variants_and_examples(name):
    correct, category = outcomes(variants=6, examples=40), random_categories(variants=6, seed=1)
    settings = Bootstrap(resamples=60, seed=5, level=0.8)
    for row in category_means(correct, category, metrics=[name], bootstrap=settings):
        k = CATEGORIES.index(row.category)
        means = bootstrap_by_definition(correct, category, k, name, settings)
        low, high = np.nanquantile(means, [0.1, 0.9])
        assert row.low == pytest.approx(min(low, row.mean), rel=1e-9)
        assert row.high == pytest.approx(max(high, row.mean), rel=1e-9)


def test_chunks_of_pairs_change_nothing(monkeypatch):
    correct, category = outcomes(), random_categories()
    values = {"improvement": np.linspace(-1, 2, len(category))}
    values["conversion"] = GroupedValue(
        sums_GP=np.random.default_rng(0).integers(0, 3, (250, 28)), examples_GP=np.full((250, 28), 3)
    )
    whole = category_means(correct, category, values=values)
    monkeypatch.setattr("overlap_analysis.categories._PAIRS_AT_ONCE", 5)
    for row, expected in zip(category_means(correct, category, values=values), whole, strict=True):
        assert (row.category, row.metric, row.pairs) == (expected.category, expected.metric, expected.pairs)
        np.testing.assert_allclose(
            [row.mean, row.low, row.high], [expected.mean, expected.low, expected.high], rtol=1e-12
        )


def test_the_same_seed_gives_the_same_interval_and_another_seed_another():
    correct, category = outcomes(), random_categories()
    first, again, other = (
        category_means(correct, category, bootstrap=Bootstrap(resamples=100, seed=seed)) for seed in (3, 3, 4)
    )
    assert first == again
    assert all(row.low != changed.low for row, changed in zip(first, other, strict=True))


def test_a_higher_level_widens_every_interval():
    correct, category = outcomes(), random_categories()
    narrow, wide = (category_means(correct, category, bootstrap=Bootstrap(level=level)) for level in (0.8, 0.99))
    for row, wider in zip(narrow, wide, strict=True):
        assert wider.low < row.low < row.high < wider.high


def test_pairs_without_a_value_are_counted_and_left_out_of_the_mean():
    correct = outcomes(variants=4)
    correct[:2] = True  # the pair (0, 1) has no κ, and no pair with 0 or 1 has a correlation
    rows = category_means(correct, np.zeros(6, np.int8), values={"given": np.array([1.0, np.nan, 3, 4, 5, 6])})
    inconsistency, correlation, kappa, given = rows
    assert [row.undefined for row in rows] == [0, 5, 1, 1]
    assert inconsistency.mean == pytest.approx(pair_values(correct, "error_inconsistency").mean())
    assert correlation.mean == pytest.approx(pair_values(correct, "error_correlation")[5])
    assert kappa.mean == pytest.approx(np.nanmean(pair_values(correct, "kappa")))
    assert given.mean == pytest.approx(19 / 5)


def test_a_category_whose_pairs_all_lack_a_value_has_neither_mean_nor_interval():
    rows = category_means(np.ones((3, 5), bool), np.full(3, 4, np.int8), metrics=["kappa"])
    assert [(row.category, row.pairs, row.undefined) for row in rows] == [("dataset", 3, 3)]
    assert np.isnan([rows[0].mean, rows[0].low, rows[0].high]).all()


def test_a_single_pair_has_an_interval_over_its_examples_and_none_if_no_resample_holds_it():
    correct = outcomes(variants=2)
    (row,) = category_means(correct, np.zeros(1, np.int8), metrics=["error_inconsistency"])
    assert row.low < row.mean < row.high
    (row,) = category_means(
        correct, np.zeros(1, np.int8), metrics=["error_inconsistency"], bootstrap=Bootstrap(resamples=0)
    )
    assert row.mean == pair_values(correct, "error_inconsistency")
    assert np.isnan([row.low, row.high]).all()


def test_given_values_vary_with_the_variants_only():
    category = np.zeros(15, np.int8)
    values = {"constant": np.full(15, 0.25), "varied": np.arange(15.0)}
    constant, varied = category_means(outcomes(variants=6), category, metrics=[], values=values)
    others = category_means(outcomes(variants=6, seed=9), category, metrics=[], values=values)
    assert (constant.low, constant.mean, constant.high) == pytest.approx((0.25, 0.25, 0.25))
    assert varied.low < varied.mean < varied.high
    assert others == [constant, varied]


def test_values_given_by_groups_of_examples_are_resampled_as_the_metrics_are():
    correct, category = outcomes(), random_categories()
    a, b = pair_indices(8)
    differ = correct[a] != correct[b]
    neither = grouped(~correct[a] & ~correct[b], 7)
    either = group_sums(~correct[a] | ~correct[b], 7)
    values = {
        "differ": grouped(differ, 7),
        "jaccard": GroupedValue(sums_GP=neither.sums_GP.astype(np.int16), examples_GP=either),
    }
    rows = category_means(
        correct,
        category,
        metrics=["error_inconsistency", "error_jaccard"],
        values=values,
        bootstrap=Bootstrap(groups=7),
    )
    for first, second, differing, jaccard in zip(*[iter(rows)] * 4, strict=True):
        for row, expected in ((differing, first), (jaccard, second)):
            assert (row.category, row.pairs, row.undefined) == (expected.category, expected.pairs, expected.undefined)
            np.testing.assert_allclose(
                [row.mean, row.low, row.high], [expected.mean, expected.low, expected.high], rtol=1e-10
            )


def test_a_value_without_examples_in_any_group_is_undefined():
    correct = outcomes(variants=3)
    value = GroupedValue(sums_GP=np.array([[0, 1, 1]]), examples_GP=np.array([[0, 2, 4]]))
    (row,) = category_means(
        correct, np.zeros(3, np.int8), metrics=[], values={"given": value}, bootstrap=Bootstrap(groups=1)
    )
    assert (row.pairs, row.undefined, row.mean) == (3, 1, 0.375)


def simulated_coverage(*, by_groups, variants=15):
    """How often the interval of a mean over 15 variants and 60 examples holds its mean over all there are."""
    held = []
    a, b = pair_indices(variants)
    for seed in range(120):
        rng = np.random.default_rng(seed)
        skills, difficulties = rng.normal(size=variants), rng.normal(size=60)
        values = 0.3 * (skills[a] + skills[b])[:, np.newaxis] + difficulties + rng.normal(size=(len(a), 60))
        value = grouped(values, 60) if by_groups else values.mean(axis=1)
        (row,) = category_means(
            np.ones((variants, 60), bool),
            np.zeros(len(a), np.int8),
            metrics=[],
            values={"value": value},
            bootstrap=Bootstrap(resamples=200, seed=seed),
        )
        held.append(row.low <= 0 <= row.high)
    return np.mean(held)


def test_intervals_of_grouped_values_hold_the_truth_and_those_of_plain_values_know_of_no_examples():
    both, variants_only = simulated_coverage(by_groups=True), simulated_coverage(by_groups=False)
    assert 0.9 <= both <= 0.99
    assert variants_only < both - 0.05


def test_only_the_chosen_pairs_count():
    correct, category = outcomes(), random_categories()
    among = np.random.default_rng(0).random(28) < 0.5
    a, b = pair_indices(8)
    values = {"plain": np.arange(28.0), "grouped": grouped(correct[a] & correct[b], 250)}
    rows = category_means(correct, category, metrics=["kappa"], values=values, among_P=among)
    everything = {
        "kappa": pair_values(correct, "kappa"),
        "plain": np.arange(28),
        "grouped": (correct[a] & correct[b]).mean(axis=1),
    }
    assert {row.category for row in rows} == {CATEGORIES[k] for k in category[among]}
    for row in rows:
        chosen = among & (category == CATEGORIES.index(row.category))
        assert row.pairs == chosen.sum()
        assert row.mean == pytest.approx(everything[row.metric][chosen].mean())
    assert category_means(correct, category, among_P=np.zeros(28, bool)) == []
    assert category_means(correct, category, among_P=np.ones(28, bool)) == category_means(correct, category)


def test_one_variant_has_no_category():
    assert category_means(np.ones((1, 3), bool), np.zeros(0, np.int8)) == []


def test_inputs_that_do_not_fit_are_refused():
    correct, category = outcomes(variants=3), np.zeros(3, np.int8)
    with pytest.raises(ValueError, match=r"category: expected shape \(3,\), one for each pair, got \(2,\)"):
        category_means(correct, category[:2])
    with pytest.raises(ValueError, match=r"gain: expected shape \(3,\), one for each pair, got \(4,\)"):
        category_means(correct, category, values={"gain": np.zeros(4)})
    with pytest.raises(ValueError, match=r"among: expected shape \(3,\), one for each pair, got \(4,\)"):
        category_means(correct, category, among_P=np.ones(4, bool))
    for sums, examples in [((4, 3), (4, 1)), ((300, 3), (300, 2)), ((250, 3), (300, 1))]:
        value = GroupedValue(sums_GP=np.ones(sums), examples_GP=np.ones(examples))
        with pytest.raises(
            ValueError, match=r"gain: expected sums \(250, 3\) and examples the same or \(250, 1\), got"
        ):
            category_means(correct, category, values={"gain": value})
    with pytest.raises(ValueError, match=r"category\[1\]: expected 0 to 4, got 5"):
        category_means(correct, np.array([0, 5, 0], np.int8))
    with pytest.raises(ValueError, match=r"metrics: expected some of .*, got 'agreement'"):
        category_means(correct, category, metrics=["agreement"])
    with pytest.raises(ValueError, match=r"correct: expected \(V, N\) with variants and examples"):
        category_means(np.ones((3, 0), bool), category)
