"""The analyses of embeddings over a store: what is read, which pairs are taken, and every table by its definition."""

from dataclasses import replace
from xml.etree import ElementTree

import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal
from sklearn.linear_model import LogisticRegression

from embedded_store import (
    PARTS,
    TASKS,
    embedded_store,
    labels_of_all,
    objects_of,
    outcomes_of,
    vectors,
)
from overlap.errors import ArgumentError
from overlap.features.downstream import downstream_tables
from overlap.features.images import feature_images
from overlap.features.label_files import read_label_targets
from overlap.features.request import FeatureRequest, choose_pairs
from overlap.features.similarity_tables import similarity_tables
from overlap.features.tables import features_tables
from overlap.outcomes import only
from overlap.store import Store, open_objects
from overlap_analysis import (
    PAIR_METRICS,
    count_pairs,
    effective_rank,
    hash_order,
    line_of_pairs,
    linear_cka,
    linear_predictor,
    linear_r2,
    mutual_neighbors,
    nearest_neighbors,
)

QUICK = FeatureRequest(grid=2, draws=2, step=3, partners=1, resamples=50)
PAIR = (("variant-00000", "variant-00001"),)
DIMENSIONS = (6, 6, 9, 6, 5, 6)


@pytest.fixture(scope="module")
def values():
    labels = labels_of_all()
    return [vectors(v, labels, dimensions=size) for v, size in enumerate(DIMENSIONS)]


@pytest.fixture(scope="module")
def store(values):
    return embedded_store(values, datasets=("photos", "drawings"))


@pytest.fixture(scope="module")
def tables(store):
    return features_tables(store, outcomes_of(store), objects_of(store), TASKS, QUICK)


@pytest.fixture(scope="module")
def similar(store):
    return similarity_tables(store, outcomes_of(store), objects_of(store), TASKS, QUICK)


@pytest.fixture(scope="module")
def transferred(store):
    outcomes = outcomes_of(store), outcomes_of(store, "drawings")
    return downstream_tables(store, *outcomes, objects_of(store), TASKS, QUICK)["downstream"]


def probe_score(values_MD, row):
    """The probe of a row of a table, by scikit-learn."""
    fitted = np.r_[PARTS["train"], PARTS["calibration"]]
    labels = labels_of_all()
    standard = (values_MD - values_MD[fitted].mean(axis=0)) / values_MD[fitted].std(axis=0)
    reference = LogisticRegression(C=1 / row["l2"], tol=1e-8, max_iter=5000).fit(standard[fitted], labels[fitted])
    return reference.score(standard[PARTS["test"]], labels[PARTS["test"]])


# --- which pairs


def test_the_base_is_the_variant_with_the_most_reinits_and_partners_are_the_nearest_in_accuracy(store):
    outcomes = outcomes_of(store)
    chosen = choose_pairs(outcomes, replace(QUICK, partners=2))
    assert {partner.base for partner in chosen} == {0}
    found = {kind: [p.other for p in chosen if p.category.word == kind] for kind in ("reinit", "hyperparameters")}
    accuracy = outcomes.correct_VN.mean(axis=1)
    assert found["reinit"] == [1]
    assert found["hyperparameters"] == sorted([2, 3], key=lambda v: abs(accuracy[v] - accuracy[0]))


def test_pairs_that_are_named_are_taken_as_they_are(store):
    pairs = (("variant-00004", "variant-00001"), ("variant-00002", "variant-00003"))
    chosen = choose_pairs(outcomes_of(store), replace(QUICK, pairs=pairs))
    assert [(one.base, one.other, one.category.word) for one in chosen] == [(4, 1, "architecture"), (2, 3, "reinit")]
    with pytest.raises(ArgumentError, match="'nobody' is no variant"):
        choose_pairs(outcomes_of(store), replace(QUICK, pairs=(("nobody", "variant-00001"),)))


# --- mixes and dimensions


def test_mixes_have_every_share_draw_and_control(tables):
    mixes = tables["features_mixes"]
    assert mixes.columns == [
        "base", "other", "category", "base_percent", "draw", "control", "dimensions", "accuracy", "accuracy_low",
        "accuracy_high", "calibration_accuracy", "l2", "fitted_on", "train_examples", "test_examples",
    ]  # fmt: skip
    reinit = mixes.filter(pl.col("category") == "reinit")
    counted = {(row[0], row[1]): row[2] for row in reinit.group_by("base_percent", "control").len().iter_rows()}
    expected = {(percent, None): 1 if percent in (0, 100) else 2 for percent in (100, 75, 50, 25, 0)}
    expected |= {(percent, kind): 2 for percent in (75, 50, 25) for kind in ("base_only", "concatenation")}
    assert counted == expected
    assert set(mixes["fitted_on"]) == {"train+calibration"}
    assert mixes.select(pl.col("train_examples", "test_examples").unique()).row(0) == (90, 120)


def test_as_many_dimensions_of_the_base_alone_are_left_out_where_it_has_not_so_many(store):
    request = replace(QUICK, pairs=(("variant-00000", "variant-00002"),))  # 6 and 9 dimensions
    mixes = features_tables(store, outcomes_of(store), objects_of(store), TASKS, request)["features_mixes"]
    assert set(mixes.filter(pl.col("base_percent") == 75)["dimensions"]) == {7}  # 5 (4.5, rounded up) and 2
    assert set(mixes["control"]) == {None, "concatenation"}


def test_whole_embeddings_reach_what_scikit_learn_reaches_on_them(tables, values):
    whole = tables["features_mixes"].filter(pl.col("base_percent").is_in([0, 100]))
    assert whole.height == 2 * 3
    for row in whole.iter_rows(named=True):
        variant = int((row["base"] if row["base_percent"] == 100 else row["other"])[-5:])
        assert row["accuracy"] == pytest.approx(probe_score(values[variant], row), abs=1 / 120 + 1e-9)
        assert row["dimensions"] == DIMENSIONS[variant]
        assert row["accuracy_low"] < row["accuracy"] < row["accuracy_high"]


def test_features_that_the_base_lacks_make_a_mix_better_than_either_and_a_copy_does_not():
    labels = labels_of_all()
    rng = np.random.default_rng(0)

    def half(known):
        values = 0.5 * rng.normal(size=(len(labels), 12))
        values += 2.0 * (labels[:, None] == known)
        return values.astype(np.float32)

    first = half(0)
    store = embedded_store([first, first @ np.eye(12, dtype=np.float32)[::-1], half(1)])
    request = replace(
        QUICK, draws=3, step=24, pairs=(("variant-00000", "variant-00001"), ("variant-00000", "variant-00002"))
    )
    mixes = features_tables(store, outcomes_of(store), objects_of(store), TASKS, request)["features_mixes"]
    mean = mixes.filter(pl.col("control").is_null()).group_by("other", "base_percent").agg(pl.col("accuracy").mean())
    reached = {row[:2]: row[2] for row in mean.iter_rows()}
    assert reached["variant-00002", 50] > max(reached["variant-00002", 0], reached["variant-00002", 100]) + 0.2
    assert abs(reached["variant-00001", 50] - reached["variant-00001", 100]) < 0.1


def test_the_fewest_dimensions_are_the_first_to_reach_the_target(tables):
    dimensions, targets = tables["features_dimensions"], tables["features_targets"]
    assert set(dimensions["ranking"]) == {"correlation", "cross_correlation", "variance", "pivoted_qr", "random"}
    mixes = tables["features_mixes"].filter(pl.col("base_percent") == 100)
    assert set(targets["target"]) == set(mixes["accuracy"])
    for row in targets.iter_rows(named=True):
        same = dimensions.filter(other=row["other"], ranking=row["ranking"])
        reaching = [size for (size,), some in same.group_by("dimensions") if some["accuracy"].mean() >= row["target"]]
        assert row["dimensions_needed"] == min(reaching, default=None)
        assert row["dimensions_of_both"] == same["dimensions"].max()


def test_all_dimensions_reach_the_same_by_every_ranking(tables):
    whole = tables["features_dimensions"].filter(
        pl.col("dimensions") == pl.col("dimensions").max().over("base", "other")
    )
    assert whole.group_by("other").agg(pl.col("accuracy").n_unique())["accuracy"].to_list() == [1, 1, 1]
    assert whole.filter(ranking="random").height == 3 * 2


def test_a_step_and_a_target_can_be_asked_for_and_a_target_may_never_be_reached(store):
    request = replace(QUICK, step=4, target=1.01, pairs=(("variant-00000", "variant-00001"),))
    found = features_tables(store, outcomes_of(store), objects_of(store), TASKS, request)
    assert found["features_dimensions"]["dimensions"].unique().sort().to_list() == [4, 8, 12]
    assert set(found["features_targets"]["dimensions_needed"]) == {None}
    assert set(found["features_targets"]["target"]) == {1.01}


def test_the_same_request_gives_the_same_tables_and_another_seed_other_draws(store, tables):
    mixes = tables["features_mixes"].filter(pl.col("other") == PAIR[0][1])
    request = replace(QUICK, step=12, pairs=PAIR)
    again = features_tables(store, outcomes_of(store), objects_of(store), TASKS, request)["features_mixes"]
    assert_frame_equal(again, mixes)
    other = features_tables(store, outcomes_of(store), objects_of(store), TASKS, replace(request, seed=1))
    assert not again["accuracy"].equals(other["features_mixes"]["accuracy"])


# --- similarity


def test_similarities_are_those_of_the_test_examples_in_the_order_of_pairs(store, similar, values):
    table, names = similar["similarity"], outcomes_of(store).names
    pairs = [(a, b) for i, a in enumerate(names) for b in names[i + 1 :]]
    assert list(zip(table["a"], table["b"], strict=True)) == pairs
    order = hash_order(np.arange(270, dtype=np.int64)[PARTS["test"]] * 2, seed=0)
    for row in table.iter_rows(named=True):
        first, second = (values[int(row[side][-5:])][PARTS["test"]][order] for side in "ab")
        assert row["examples"] == 120
        assert row["linear_cka"] == pytest.approx(linear_cka(first, second))
        assert row["mutual_knn"] == mutual_neighbors(nearest_neighbors(first), nearest_neighbors(second))
        assert row["r2_a_to_b"] == pytest.approx(linear_r2(linear_predictor(first), second))
        assert row["r2_b_to_a"] == pytest.approx(linear_r2(linear_predictor(second), first))
        assert row["effective_rank_b"] == pytest.approx(effective_rank(second))
        assert row["effective_rank_both"] == pytest.approx(effective_rank(first, second))


def test_errors_stand_beside_similarities_and_are_correlated_over_pairs(store, similar):
    outcomes, table = outcomes_of(store), similar["similarity"]
    counts = count_pairs(outcomes.predictions_VN, outcomes.labels_N)
    for name in ("error_inconsistency", "error_correlation", "kappa"):
        np.testing.assert_allclose(table[name].to_numpy(), PAIR_METRICS[name](counts))
    correlations = similar["similarity_correlations"]
    assert correlations.height == 7 * 3
    row = correlations.row(by_predicate=(pl.col("similarity") == "rbf_cka") & (pl.col("metric") == "kappa"), named=True)
    expected = line_of_pairs(table["rbf_cka"].to_numpy(), table["kappa"].to_numpy()).r
    assert (row["pairs"], row["pearson"]) == (15, pytest.approx(expected.value))
    assert row["pearson_low"] <= row["pearson"] <= row["pearson_high"]


def test_examples_beyond_the_limit_are_left_out_by_their_ids(store):
    found = similarity_tables(store, outcomes_of(store), objects_of(store), TASKS, replace(QUICK, examples=40))
    assert set(found["similarity"]["examples"]) == {40}


def test_one_variant_has_no_pair_to_compare(values):
    store = embedded_store([values[0], None])
    with pytest.raises(ArgumentError, match="only 'variant-00000' has embeddings"):
        similarity_tables(store, outcomes_of(store), objects_of(store), TASKS, QUICK)


# --- downstream


def test_no_variant_with_a_result_upstream_is_told(store):
    upstream = only(outcomes_of(store), [])
    with pytest.raises(ArgumentError, match="no variant has a result on 'photos' and embeddings of 'drawings'"):
        downstream_tables(store, upstream, outcomes_of(store, "drawings"), objects_of(store), TASKS, QUICK)


def test_singles_and_all_pairs_of_the_chosen_are_probed(transferred):
    chosen = ["variant-00000", "variant-00001", *transferred["b"].drop_nulls().unique().sort().to_list()]
    singles = transferred.filter(pl.col("b").is_null())["a"].to_list()
    assert set(singles) == set(chosen)
    pairs = transferred.filter(pl.col("b").is_not_null() & pl.col("control").is_null())
    assert pairs.height == len(singles) * (len(singles) - 1) // 2
    assert set(transferred["metric"]) == {"accuracy"}


def test_a_gain_is_over_the_better_of_the_two_alone(store, transferred):
    alone = dict(transferred.filter(pl.col("b").is_null()).select("a", "score").iter_rows())
    for row in transferred.filter(pl.col("b").is_not_null()).iter_rows(named=True):
        assert row["gain"] == pytest.approx(row["score"] - max(alone[row["a"]], alone[row["b"]]))
    assert transferred.filter(pl.col("b").is_null())["gain"].null_count() == len(alone)
    accuracy = dict(zip(outcomes_of(store).names, outcomes_of(store).correct_VN.mean(axis=1), strict=True))
    assert transferred["upstream_accuracy_a"].to_list() == [accuracy[name] for name in transferred["a"]]


def test_the_null_of_a_pair_has_as_many_dimensions_of_the_reinit_partner(transferred):
    nulls = transferred.filter(control="reinit")
    assert set(nulls["b"]) == {"variant-00001"}
    for row in nulls.iter_rows(named=True):
        assert row["dimensions"] == DIMENSIONS[0] + DIMENSIONS[int(row["stands_for"][-5:])]
    assert nulls.height > 0


def test_labels_from_a_file_are_judged_by_mean_average_precision(store, tmp_path):
    labels = labels_of_all()
    frame = pl.DataFrame({"example": np.arange(270) * 2, "zero": labels == 0, "odd": (labels == 1).astype(int)})
    frame.filter(pl.col("example") != 538).sample(fraction=1, shuffle=True, seed=0).write_parquet(
        tmp_path / "l.parquet"
    )
    request = replace(QUICK, labels=tmp_path / "l.parquet", pairs=(("variant-00000", "variant-00002"),))
    outcomes = outcomes_of(store), outcomes_of(store, "drawings")
    table = downstream_tables(store, *outcomes, objects_of(store), TASKS, request)["downstream"]
    assert set(table["metric"]) == {"mean_average_precision"}
    assert table.height == 3
    assert set(table["test_examples"]) == {119}
    assert table["score"].min() > 0.5
    assert (table["score_low"] <= table["score"]).all()


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"id": [1], "a": [1]}, "expected the column 'example'"),
        ({"example": [1]}, "one of 0 and 1 for each label"),
        ({"example": [2, 2, 4], "a": [0, 1, 0]}, r"names 1 examples twice: \[2\]"),
        ({"example": [2, 4], "a": [0, 2]}, "expected 0 and 1 only in a"),
        ({"example": ["x"], "a": [0]}, "expected whole numbers"),
        ({"example": [1, 3], "a": [0, 1]}, "none of its 2 examples"),
    ],
)
def test_a_file_of_labels_that_cannot_be_used_is_refused(tmp_path, columns, message):
    path = tmp_path / "labels.csv"
    pl.DataFrame(columns).write_csv(path)
    with pytest.raises(ArgumentError, match=message):
        read_label_targets(path, np.arange(0, 10, 2))


def test_a_file_of_labels_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(ArgumentError, match="cannot be read as a table"):
        read_label_targets(tmp_path / "none.parquet", np.arange(3))


# --- figures and places


def test_every_table_becomes_a_figure(tables, similar, transferred):
    images = feature_images({**tables, **similar, "downstream": transferred})
    assert set(images) == {"features_mixes", "features_dimensions", "features_targets", "downstream", "similarity"}
    for content in images.values():
        ElementTree.fromstring(content)
    assert images == feature_images({**tables, **similar, "downstream": transferred})
    assert feature_images(similar, "png")["similarity"].startswith(b"\x89PNG")


@pytest.mark.ray
@pytest.mark.filterwarnings("ignore")  # Ray's own
def test_ray_gives_the_same_tables_as_one_process(values, tmp_path, ray_here):
    import functools

    from overlap.ray_analysis import RayTasks

    memory = embedded_store(values[:3])
    store = Store(open_objects(str(tmp_path / "store")))
    for name in memory.objects.names(""):
        store.objects.create(name, memory.read_bytes(name))
    objects = functools.partial(open_objects, str(tmp_path / "store"))
    request = replace(QUICK, step=6, draws=1, pairs=PAIR)
    for make in (features_tables, similarity_tables):
        here, there = (make(store, outcomes_of(store), objects, tasks, request) for tasks in (TASKS, RayTasks()))
        for name, table in here.items():
            assert_frame_equal(there[name], table)
