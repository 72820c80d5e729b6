"""Specialization from the results on disk: confidences, classes, groups of classes, one process and Ray."""

import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal
from scipy.special import softmax

import overlap
from overlap.analyses import Calibration, Kind, Options, Where
from overlap.cli import run
from overlap.datasets.label_spaces import label_space, lemmas
from overlap.errors import ArgumentError
from overlap.specialization import tables
from overlap.specialization.class_groups import imagenet_groups, read_class_groups
from overlap.specialization.tables import SPECIALIZATION_TABLES, SpecializationOptions
from overlap.store import Store, open_objects
from synthetic_store import (
    Shape,
    family_logits,
    fill,
    job_of,
    lock_for,
    partial,
    shared_part,
    synthetic_store,
    variant,
)

SHAPE = Shape(variants=9, examples=400, classes=8)
GROUPS = "mine:\n  first: [0, 1, '2-3']\n  second: ['class 7', 6]\n"


def analyze(store, where=Where.INPROCESS, calibration=Calibration.SPLIT, **options):
    chosen = Options(specialization=SpecializationOptions(**options), where=where, calibration=calibration)
    return overlap.analyze(store, kinds=(Kind.SPECIALIZATION,), options=chosen)


@pytest.fixture
def filled(tmp_path):
    """A store, its logits and temperatures, and the labels."""
    shared = shared_part(SHAPE)
    logits = [family_logits(SHAPE, v, shared) for v in range(SHAPE.variants)]
    temperatures = np.linspace(0.7, 1.9, SHAPE.variants)
    store = Store(open_objects(str(tmp_path / "store")))
    fill(store, logits, shared[0], temperatures=temperatures)
    return store, logits, temperatures, shared[0]


@pytest.fixture
def groups(tmp_path):
    path = tmp_path / "groups.yaml"
    path.write_text(GROUPS)
    return path


def inconsistent(logits, labels_N, a, b):
    right_a, right_b = (np.argmax(logits[v], axis=1) == labels_N for v in (a, b))
    return right_a & ~right_b, right_b & ~right_a


@pytest.mark.parametrize("calibration", [Calibration.SPLIT, Calibration.NONE])
def test_a_pair_of_the_table_equals_its_definition_on_the_logits(filled, calibration):
    store, logits, temperatures, labels_N = filled
    table = analyze(store, calibration=calibration).tables["specialization"]
    assert table.height == 36
    row = table.filter((pl.col("a") == "variant-00002") & (pl.col("b") == "variant-00007")).row(0, named=True)
    only_a, only_b = inconsistent(logits, labels_N, 2, 7)
    scale = temperatures if calibration is Calibration.SPLIT else np.ones(SHAPE.variants)
    confidence = [softmax(logits[v].astype(np.float64) / scale[v], axis=1).max(axis=1) for v in (2, 7)]
    theta_N = np.degrees(np.arctan2(*confidence)) - 45
    assert (row["only_a_correct"], row["only_b_correct"]) == (only_a.sum(), only_b.sum())
    assert row["angle_only_a_correct"] == pytest.approx(theta_N[only_a].mean(), abs=0.01)  # logits are stored rounded
    above = (theta_N[only_a][:, None] > theta_N[only_b][None, :]).mean()
    assert row["auroc"] == pytest.approx(above, abs=0.005)
    assert row["auroc_low"] < row["auroc"] < row["auroc_high"]
    assert sum(row["angles_only_a_correct"]) == only_a.sum()


def test_classes_and_groups_of_classes_are_counted_as_they_are_defined(filled, groups):
    store, logits, _, labels_N = filled
    found = analyze(store, base="variant-00004", class_groups=groups).tables
    only_a, only_b = inconsistent(logits, labels_N, 4, 1)
    classes = found["class_differences"].filter(pl.col("b") == "variant-00001")
    assert set(found["class_differences"]["a"]) == {"variant-00004"}
    assert classes["only_a_correct"].to_list() == np.bincount(labels_N[only_a], minlength=8).tolist()
    assert classes["examples"].to_list() == np.bincount(labels_N, minlength=8).tolist()
    right_N = np.argmax(logits[1], axis=1) == labels_N
    assert classes["accuracy_b"].to_list() == pytest.approx([right_N[labels_N == c].mean() for c in range(8)])
    row = found["specialization_groups"].filter((pl.col("group") == "second") & (pl.col("b") == "variant-00001"))
    within_N = np.isin(labels_N, [6, 7])
    expected = (only_a[within_N].sum(), only_b[within_N].sum(), within_N.sum())
    assert row.select("only_a_correct", "only_b_correct", "examples").row(0) == tuple(map(int, expected))
    members = found["class_groups"].filter(pl.col("grouping") == "mine").select("group", "class").rows()
    assert sorted(members) == [("first", 0), ("first", 1), ("first", 2), ("first", 3), ("second", 6), ("second", 7)]


def test_groups_that_were_found_are_judged_on_the_other_half_of_the_examples(filled):
    store, _, _, labels_N = filled
    found = analyze(store).tables
    groups = found["specialization_groups"].filter(pl.col("grouping") == tables.FOUND)
    examples = groups.filter(pl.col("b") == groups["b"][0])["examples"].sum()
    assert 0.3 * len(labels_N) < examples < 0.7 * len(labels_N)
    assert found["specialization_groupings"].height == 36


def test_pieces_give_the_same_tables(filled, groups, monkeypatch):
    whole = analyze(filled[0], class_groups=groups).tables
    monkeypatch.setattr(tables, "PAIRS_AT_ONCE", 5)
    pieces = analyze(filled[0], class_groups=groups).tables
    assert set(SPECIALIZATION_TABLES) <= set(whole)
    for name in SPECIALIZATION_TABLES:
        assert_frame_equal(whole[name], pieces[name])


@pytest.mark.ray
def test_ray_tasks_give_the_same_tables(filled, groups):
    whole = analyze(filled[0], class_groups=groups).tables
    on_ray = analyze(filled[0], class_groups=groups, where=Where.RAY).tables
    for name in SPECIALIZATION_TABLES:
        assert_frame_equal(whole[name], on_ray[name])


def test_of_too_many_pairs_only_those_with_the_base_are_compared(filled, monkeypatch):
    whole = analyze(filled[0], base="variant-00003").tables["specialization"]
    monkeypatch.setattr(tables, "MOST_PAIRS", 10)
    some = analyze(filled[0], base="variant-00003")
    assert some.tables["specialization"].height == 8
    assert set(some.tables["specialization"]["a"]) == {"variant-00003"}
    kept = whole.filter(pl.col("a") == "variant-00003")
    assert_frame_equal(some.tables["specialization"].tail(kept.height), kept)
    assert any("variant-00003" in note for note in some.notes)


def test_variants_of_which_only_predictions_are_known_are_left_out(tmp_path):
    shape = Shape(variants=4, examples=120, classes=7)
    labels_N, *_ = shared = shared_part(shape)
    store = Store(open_objects(str(tmp_path / "store")))
    logits = [family_logits(shape, v, shared) for v in range(4)]
    jobs = [job_of(variant(v)) for v in range(4)]
    fill(store, [logits[0], logits[2]], labels_N, variants=[variant(0), variant(2)])
    for v in (1, 3):
        nothing = np.zeros((len(labels_N), 0))
        known = partial(labels_N, np.argmax(logits[v], axis=1), nothing, nothing)
        assert store.commit_partial(jobs[v], known, shape.classes, {})
    store.write_lock(lock_for(jobs, shape.classes, len(labels_N)))
    found = analyze(store).tables["specialization"]
    assert found.select("a", "b").rows() == [("variant-00000", "variant-00002")]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("mine: {a: [9]}", "expected classes 0 to 7, got 9"),
        ("mine: {a: ['5-9']}", "expected classes 0 to 7, got 5-9"),
        ("mine: {a: ['7-5']}", "expected classes 0 to 7, got 7-5"),
        ("mine: {a: [klass 3]}", "'klass 3' is no class; did you mean 'class 3'?"),
        ("mine: {a: [1], b: ['0-2']}", "class 1 ('class 1') is in 'a' and in 'b'"),
        ("mine: [1, 2]", "expected groups with lists of classes"),
        ("mine: {a: 3}", "expected groups with lists of classes"),
        ("[]", "expected groupings such as"),
        ("mine: {", "cannot read the class groups"),
    ],
)
def test_groups_that_cannot_be_are_refused_in_a_line(tmp_path, text, message):
    path = tmp_path / "groups.yaml"
    path.write_text(text)
    with pytest.raises(ArgumentError) as caught:
        read_class_groups(path, [f"class {c}" for c in range(8)])
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_imagenet_has_the_groups_of_the_paper_and_of_wordnet_by_id_by_word_and_in_subsets():
    wnids = label_space("imagenet-1k")
    found = imagenet_groups(wnids)
    assert found["paper"] == {"nature": tuple(range(301)), "anthropogenic": tuple(range(500, 901))}
    assert sorted(c for classes in found["wordnet"].values() for c in classes) == list(range(1000))
    assert {len(found["wordnet"][group]) for group in ("dog", "bird")} == {118, 59}
    assert imagenet_groups(lemmas(wnids)[:5])["paper"] == {"nature": (0, 1, 2, 3, 4)}
    subset = label_space("imagenet-a")
    dogs = imagenet_groups(subset)["wordnet"]["dog"]
    assert all(151 <= wnids.index(subset[c]) <= 268 for c in dogs)
    assert imagenet_groups(["cat", "dog"]) == {}


def test_an_unknown_base_is_refused(filled):
    with pytest.raises(ArgumentError, match="'nobody' is no variant of this sweep"):
        analyze(filled[0], base="nobody")


def test_the_command_prints_how_well_confidence_tells_who_is_right(tmp_path, groups, capsys):
    synthetic_store(tmp_path / "store", SHAPE)
    words = ["analyze", "specialization", str(tmp_path / "store"), "--base", variant(2).name]
    assert run([*words, "--class-groups", str(groups)]) == 0
    shown = capsys.readouterr().out
    assert "AUROC" in shown
    assert "of 36 pairs differ on at least one class" in shown
    assert run([*words, "--class-groups", str(tmp_path / "none.yaml")]) == 3
    assert "cannot read the class groups" in capsys.readouterr().err
