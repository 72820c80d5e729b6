"""Categories over all pairs, with one base variant, and in a window of accuracy; every table by its definition."""

import numpy as np
import polars as pl
import pytest
from scipy import stats

import overlap
from overlap.analyses import Kind
from overlap.errors import ArgumentError
from overlap.outcomes import read_outcomes
from overlap.pairwise.comparison import comparison_tables
from overlap.pairwise.ensemble_rows import Request, count_ensembles
from overlap.pairwise.ensemble_sums import Method
from overlap.pairwise.ensemble_values import resampled_values
from overlap.pairwise.growth import nothing_known
from overlap.pairwise.pair_rows import Labels, labels_of, usual_base
from overlap.pairwise.scopes import CategoryOptions, scopes_of
from overlap.tasks import LocalTasks
from overlap_analysis import GroupedValue, pair_indices
from synthetic_store import Shape, synthetic_store

SHAPE = Shape(variants=12, examples=260, classes=5)
METRICS = ("improvement", "ensemble_accuracy", "conversion_rate")
GROUPS = 250


@pytest.fixture(scope="module")
def sweep(tmp_path_factory):
    """Outcomes, labels, mean-probability ensembles and the tables of pairs and ensembles of a synthetic store."""
    store = synthetic_store(tmp_path_factory.mktemp("scopes") / "store", SHAPE)
    outcomes = read_outcomes(store, store.require_lock(), "photos")
    method = Method(rule="mean_probability", calibrated=True)
    request = Request(methods=(method,), grouped=method, groups=GROUPS, memory_bytes=2**30)
    known = {method: nothing_known(SHAPE.variants)}
    (counted,) = count_ensembles(outcomes, lambda: store.objects, request, known, LocalTasks(1))
    tables = overlap.analyze(store, kinds=(Kind.PAIRS, Kind.ENSEMBLES)).tables
    mean = tables["ensembles"].filter(pl.col("rule") == "mean_probability")
    pairs = tables["pairs"].join(mean.rename({"accuracy": "ensemble_accuracy"}), on=["a", "b"])
    return outcomes, labels_of(outcomes.variants), counted, pairs


@pytest.fixture(scope="module")
def compared(sweep):
    """The tables, with the middle of the accuracies as the window."""
    outcomes, labels, counted, _ = sweep
    low, high = np.quantile(outcomes.correct_VN.mean(axis=1), [0.1, 0.9]).tolist()
    return comparison_tables(outcomes, labels, counted, GROUPS, options=CategoryOptions(window=(low, high)))


def in_scope(pairs, outcomes, scope, base, low, high):
    """The pairs that a scope means, by definition."""
    accuracy = dict(zip(outcomes.names, outcomes.correct_VN.mean(axis=1), strict=True))
    chosen = {name for name, value in accuracy.items() if scope == "base" or low <= value <= high or name == base}
    kept = pairs.filter(pl.col("a").is_in(chosen) & pl.col("b").is_in(chosen))
    return kept if scope == "window" else kept.filter((pl.col("a") == base) | (pl.col("b") == base))


def test_the_base_is_the_variant_with_the_most_reinits_and_the_first_of_several(sweep):
    outcomes, labels, _, _ = sweep
    assert usual_base(labels) == 0
    recipes, architectures = [0, 1, 1, 1, 1, 2], [0, 5, 3, 5, 3, 5]
    few = Labels(names=tuple("abcdef"), levels_LV=np.array([recipes, architectures], np.int32))
    assert usual_base(few) == 1
    unknown = Labels(names=tuple("abcdef"), levels_LV=np.array([[-1, -1, -1, 2, 2, 4], [0] * 6], np.int32))
    assert usual_base(unknown) == 3
    base, window, both = scopes_of(outcomes, labels, CategoryOptions(base=outcomes.names[5]))
    assert (base.base, base.base_name, window.base) == (5, outcomes.names[5], None)
    accuracy_V = outcomes.correct_VN.mean(axis=1)
    assert window.window == pytest.approx((accuracy_V[5] - 0.02, accuracy_V[5] + 0.02))
    assert both.variants[both.base] == 5


def test_means_of_a_scope_are_those_of_its_pairs(sweep, compared):
    outcomes, _, _, pairs = sweep
    table = compared["category_scopes"]
    assert table["scope"].unique(maintain_order=True).to_list() == ["base", "window", "base_window"]
    for row in table.iter_rows(named=True):
        kept = in_scope(pairs, outcomes, row["scope"], row["base"], row["accuracy_low"], row["accuracy_high"])
        own = kept.filter(pl.col("category") == row["category"])
        assert (row["pairs"], row["undefined"]) == (own.height, 0)
        assert row["mean"] == pytest.approx(own[row["metric"]].mean(), abs=1e-6)
        assert row["low"] <= row["mean"] <= row["high"]
    assert table.filter(pl.col("scope") == "base")["accuracy_low"].is_null().all()
    assert table.filter(pl.col("scope") == "window")["base"].is_null().all()


def test_all_pairs_keep_their_own_table_with_every_metric_of_ensembles(sweep, compared):
    pairs = sweep[3]
    assert "scope" not in compared["categories"].columns
    for row in compared["categories"].filter(pl.col("metric").is_in(METRICS)).iter_rows(named=True):
        own = pairs.filter(pl.col("category") == row["category"])
        assert row["mean"] == pytest.approx(own[row["metric"]].mean(), abs=1e-6)
        assert row["low"] < row["high"]


def test_lines_are_least_squares_over_the_pairs_of_each_scope(sweep, compared):
    outcomes, _, _, pairs = sweep
    fits = compared["fits"]
    assert fits.height == 4 * 2 * 3
    for row in fits.iter_rows(named=True):
        kept = pairs
        if row["scope"] != "all":
            kept = in_scope(pairs, outcomes, row["scope"], row["base"], row["accuracy_low"], row["accuracy_high"])
        assert row["pairs"] == kept.height
        if kept.height < 3:
            assert row["slope"] is None
            continue
        expected = stats.linregress(kept[row["x"]], kept[row["metric"]])
        assert (row["slope"], row["intercept"], row["r"]) == pytest.approx(
            (expected.slope, expected.intercept, expected.rvalue)
        )
        assert row["r_low"] <= row["r"] <= row["r_high"]


def test_trends_of_a_scope_compare_its_pairs_only(sweep, compared):
    outcomes, _, _, pairs = sweep
    for row in compared["trend_scopes"].iter_rows(named=True):
        kept = in_scope(pairs, outcomes, row["scope"], row["base"], row["accuracy_low"], row["accuracy_high"])
        values, order = kept[row["metric"]].to_numpy(), kept["category"].to_list()
        ranks = np.array(
            [["reinit", "hyperparameters", "architecture", "framework", "dataset"].index(k) for k in order]
        )
        later = ranks[:, None] < ranks[None, :]
        if not later.any():
            assert row["effect"] is None
            continue
        larger = (values[None, :] > values[:, None]) + 0.5 * (values[None, :] == values[:, None])
        assert row["effect"] == pytest.approx(larger[later].mean())
        assert 0 < row["p_value"] <= 1


def test_groups_add_up_to_the_conversion_rate_of_each_pair(sweep):
    outcomes, _, counted, pairs = sweep
    values = resampled_values(outcomes.correct_VN, counted, GROUPS)
    for name in METRICS:
        value = values[name]
        assert isinstance(value, GroupedValue)
        found_P = value.sums_GP.sum(axis=0) / (value.examples_GP * np.ones(value.sums_GP.shape)).sum(axis=0)
        assert found_P == pytest.approx(pairs[name].to_numpy(), abs=1e-6), name
    one = values["conversion_rate"]
    a, b = pair_indices(12)
    group_N = np.arange(SHAPE.examples) % GROUPS
    differ_PN = outcomes.correct_VN[a] ^ outcomes.correct_VN[b]
    expected_GP = np.stack([differ_PN[:, group_N == g].sum(axis=1) for g in range(GROUPS)])
    np.testing.assert_array_equal(one.examples_GP, expected_GP)
    # What the rescued are spread over is all that can be off: never more than those of the pair.
    assert (one.sums_GP > -counted.counts.both_wrong_rescued[None, :] - 1e-3).all()


def test_a_window_and_a_base_can_be_chosen(sweep):
    outcomes, labels, counted, pairs = sweep
    accuracy_V = outcomes.correct_VN.mean(axis=1)
    low, high = float(np.quantile(accuracy_V, 0.2)), float(np.quantile(accuracy_V, 0.9))
    worst = outcomes.names[int(np.argmin(accuracy_V))]
    options = CategoryOptions(base=worst, window=(low, high))
    table = comparison_tables(outcomes, labels, counted, GROUPS, options=options)["fits"]
    counts = dict(table.select("scope", "pairs").unique().iter_rows())
    assert counts["base"] == 11
    assert counts["window"] == in_scope(pairs, outcomes, "window", None, low, high).height
    assert counts["base_window"] == ((accuracy_V >= low) & (accuracy_V <= high)).sum(), "the base is always in"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (CategoryOptions(base="resnet"), "is no variant of this sweep"),
        (CategoryOptions(window=(0.8, 0.7)), "--window takes two accuracies"),
        (CategoryOptions(window=(74, 78)), "--window takes two accuracies"),
        (CategoryOptions(window=(0.0, 0.001)), "holds the accuracies of 0 variants"),
    ],
)
def test_what_cannot_be_chosen_is_refused(sweep, options, message):
    outcomes, labels, counted, _ = sweep
    with pytest.raises(ArgumentError, match=message):
        comparison_tables(outcomes, labels, counted, GROUPS, options=options)


@pytest.mark.parametrize("variants", [1, 2])
def test_few_variants_give_tables_with_the_same_columns(tmp_path, compared, variants):
    store = synthetic_store(tmp_path / "store", Shape(variants=variants, examples=40, classes=4))
    tables = overlap.analyze(store, kinds=(Kind.CATEGORIES,)).tables
    for name in ("categories", "category_scopes", "trends", "trend_scopes", "fits"):
        assert tables[name].schema == compared[name].schema, name
        assert store.read_analysis("photos", name) is not None
