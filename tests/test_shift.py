"""Two evaluated datasets of one store: variants joined by name, and every table against its definition."""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal
from scipy import stats
from scipy.special import ndtri

from overlap.errors import ArgumentError
from overlap.shift import read_both, shift_tables
from overlap.store import LockFile, Predictions, Store, open_objects, round_logits
from overlap.variants import DatasetFacts, SplitFacts, category
from synthetic_store import Shape, family_logits, job_of, lock_for, shared_part, variant

ON = {
    "photos": Shape(variants=9, examples=240, classes=6),
    "sketches": Shape(variants=9, examples=150, classes=4, seed=5),
}


def job_on(dataset, one):
    job = job_of(one, dataset)
    return replace(job, dataset=dataset)


def commit(store, dataset, chosen):
    """Results of these variants on a dataset."""
    shape = ON[dataset]
    shared = shared_part(shape)
    for v in chosen:
        logits_NC = family_logits(shape, v, shared)
        if dataset == "sketches":
            logits_NC[np.arange(shape.examples), shared[0]] -= 1.7
        predictions = Predictions(
            ids_N=np.arange(shape.examples), labels_N=shared[0], logits_NC=round_logits(logits_NC), temperature=1.0
        )
        store.commit(job_on(dataset, variant(v)), predictions, {})


def two_datasets(folder, first=range(9), second=range(9)):
    """A store of nine variants that have results on two datasets, or some of them."""
    store = Store(open_objects(str(folder)))
    commit(store, "photos", first)
    commit(store, "sketches", second)
    variants = [variant(v) for v in range(9)]
    photos = lock_for([job_on("photos", one) for one in variants], 6, 240)
    facts = DatasetFacts(
        name="sketches",
        class_names=tuple(f"drawn {c}" for c in range(4)),
        splits={"test": SplitFacts(size=150, fingerprint="1" * 64)},
    )
    lock = LockFile(
        schema_version=photos.schema_version,
        name="two",
        datasets={**photos.datasets, "sketches": facts},
        variants=photos.variants,
        training={},
        results={name: {one.name: job_on(name, one).key for one in variants} for name in ON},
    )
    store.write_lock(lock)
    return store, lock


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    store, lock = two_datasets(tmp_path_factory.mktemp("two") / "store")
    first, second = read_both(store, lock, reference="photos", shifted="sketches")
    return store, first, second, shift_tables(store, first, second)


def test_variants_have_their_accuracy_on_both_datasets_and_their_distance_from_the_line(made):
    _, first, second, tables = made
    table = tables["shift_variants"]
    assert table["name"].to_list() == list(first.names)
    for side, outcomes in (("reference", first), ("shifted", second)):
        right_V, examples = outcomes.correct_VN.sum(axis=1), len(outcomes.labels_N)
        assert table[f"{side}_accuracy"].to_numpy() == pytest.approx(right_V / examples)
        assert table[f"{side}_probit"].to_numpy() == pytest.approx(ndtri((right_V + 0.5) / (examples + 1)))
        assert (table[f"{side}_low"] < table[f"{side}_high"]).all()
    fit = stats.linregress(table["reference_probit"], table["shifted_probit"])
    residual_V = table["shifted_probit"] - fit.intercept - fit.slope * table["reference_probit"]
    assert table["residual"].to_numpy() == pytest.approx(residual_V.to_numpy())
    assert (table["effective_robustness_low"] <= table["effective_robustness"]).all()
    assert ((table["effective_robustness"] > 0) == (residual_V > 0)).all()
    (accuracy,) = tables["shift"].filter(pl.col("metric") == "accuracy").to_dicts()
    assert (accuracy["slope"], accuracy["r_squared"]) == pytest.approx((fit.slope, fit.rvalue**2))


def test_pairs_have_each_metric_on_both_datasets(made):
    _, first, second, tables = made
    for row in tables["shift_pairs"].iter_rows(named=True):
        a, b = first.names.index(row["a"]), first.names.index(row["b"])
        assert a < b
        assert row["category"] == category(first.variants[a], first.variants[b]).word
        for side, outcomes in (("reference", first), ("shifted", second)):
            correct_VN, predictions_VN = outcomes.correct_VN, outcomes.predictions_VN
            assert row[f"{side}_error_inconsistency"] == pytest.approx((correct_VN[a] != correct_VN[b]).mean())
            assert row[f"{side}_agreement"] == pytest.approx((predictions_VN[a] == predictions_VN[b]).mean())
            phi = np.corrcoef(correct_VN[a], correct_VN[b])[0, 1]
            assert row[f"{side}_error_correlation"] == pytest.approx(phi)
        assert row["kappa_difference"] == pytest.approx(row["shifted_kappa"] - row["reference_kappa"])


def test_the_summary_correlates_the_pairs_of_the_other_table(made):
    tables = made[3]
    pairs = tables["shift_pairs"]
    rows = {row["metric"]: row for row in tables["shift"].to_dicts()}
    assert list(rows) == ["accuracy", "agreement", "error_inconsistency", "error_correlation", "kappa"]
    for metric in ("error_inconsistency", "error_correlation", "kappa"):
        x_P, y_P = (pairs[f"{side}_{metric}"].to_numpy() for side in ("reference", "shifted"))
        fit = stats.linregress(x_P, y_P)
        row = rows[metric]
        assert (row["slope"], row["intercept"], row["pearson"]) == pytest.approx((fit.slope, fit.intercept, fit.rvalue))
        assert row["spearman"] == pytest.approx(stats.spearmanr(x_P, y_P).statistic)
        assert row["pearson_low"] <= row["pearson"] <= row["pearson_high"]
        assert (row["scale"], row["points"]) == ("plain", 36)
    x_P, y_P = (
        ndtri((np.rint(pairs[f"{side}_agreement"].to_numpy() * size) + 0.5) / (size + 1))
        for side, size in (("reference", 240), ("shifted", 150))
    )
    assert rows["agreement"]["slope"] == pytest.approx(stats.linregress(x_P, y_P).slope)
    assert rows["agreement"]["scale"] == "probit"


def test_means_by_category_are_those_of_the_pairs_and_say_whether_the_order_stays(made):
    tables = made[3]
    pairs, categories = tables["shift_pairs"], tables["shift_categories"]
    for row in categories.iter_rows(named=True):
        own = pairs.filter(pl.col("category") == row["category"])
        assert row["pairs"] == own.height
        for side in ("reference", "shifted"):
            assert row[f"{side}_mean"] == pytest.approx(own[f"{side}_{row['metric']}"].mean())
            assert row[f"{side}_low"] <= row[f"{side}_mean"] <= row[f"{side}_high"]
    for row in tables["shift"].filter(pl.col("metric") != "accuracy").iter_rows(named=True):
        own = categories.filter(pl.col("metric") == row["metric"])
        orders = [own.sort(f"{side}_mean")["category"].to_list() for side in ("reference", "shifted")]
        assert row["same_order"] == (orders[0] == orders[1])


def test_variants_are_joined_by_name_whatever_their_order_and_number(tmp_path, made):
    store, lock = two_datasets(tmp_path / "store", first=[0, 1, 2, 3, 4, 5], second=[7, 5, 4, 1, 2, 8])
    tables = shift_tables(store, *read_both(store, lock, reference="photos", shifted="sketches"))
    shared = [variant(v).name for v in (1, 2, 4, 5)]
    assert tables["shift_variants"]["name"].to_list() == shared
    expected = made[3]["shift_pairs"].filter(pl.col("a").is_in(shared) & pl.col("b").is_in(shared))
    assert_frame_equal(tables["shift_pairs"], expected)


def test_the_line_can_go_through_some_variants_only(made):
    store, first, second, tables = made
    through = first.names[:5]
    table = shift_tables(store, first, second, baseline=through)["shift_variants"]
    x_V, y_V = (table[f"{side}_probit"].to_numpy() for side in ("reference", "shifted"))
    fit = stats.linregress(x_V[:5], y_V[:5])
    assert table["residual"].to_numpy() == pytest.approx(y_V - fit.intercept - fit.slope * x_V)
    assert table["baseline"].to_list() == [True] * 5 + [False] * 4
    assert tables["shift_variants"]["baseline"].all()
    found = shift_tables(store, first, second, baseline=through)["shift"]
    assert found["points"].to_list() == [5, 10, 36, 36, 36]


def test_the_same_numbers_come_again(made):
    store, first, second, tables = made
    for name, table in shift_tables(store, first, second).items():
        assert_frame_equal(table, tables[name])


def test_too_few_shared_variants_are_refused_with_the_names_of_what_lacks(tmp_path):
    store, lock = two_datasets(tmp_path / "store", second=[0, 1])
    first, second = read_both(store, lock, reference="photos", shifted="sketches")
    with pytest.raises(ArgumentError, match=r"2 variants .* expected at least 3") as caught:
        shift_tables(store, first, second)
    assert f"without a result on 'sketches': {variant(2).name}, {variant(3).name}" in str(caught.value)
    assert "and 2 more" in str(caught.value)


def test_one_dataset_twice_and_an_unknown_one_are_refused(made):
    store, first, _, _ = made
    lock = store.require_lock()
    with pytest.raises(ArgumentError, match="expected two datasets, got 'photos' twice"):
        read_both(store, lock, reference="photos", shifted="photos")
    with pytest.raises(ArgumentError, match="expected two datasets"):
        shift_tables(store, first, first)
    with pytest.raises(ArgumentError, match=r"'paintings' was not evaluated .* photos, sketches"):
        read_both(store, lock, reference="photos", shifted="paintings")


def test_a_baseline_that_is_too_small_or_unknown_is_refused(made):
    store, first, second, _ = made
    with pytest.raises(ArgumentError, match="is no variant of this sweep"):
        shift_tables(store, first, second, baseline=["resnet"])
    with pytest.raises(ArgumentError, match="a line needs 3 variants, the baseline names 1"):
        shift_tables(store, first, second, baseline=[first.names[0]])
