"""`overlap.open`: what a notebook gets of a store, from its tables where they are of today, computed where not."""

import html
import shutil
import subprocess
import sys
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal

import overlap
from overlap.analyses import Calibration, Kind, Options
from overlap.errors import ArgumentError, StoreError
from overlap.opened import summary as sweep_summary
from overlap.opened.sweep import OpenSweep, SearchWords
from overlap.selection.search import Metric, Search
from overlap.store import Store, open_objects
from overlap.store.memory import MemoryObjects
from synthetic_store import Shape, family_logits, fill, job_of, lock_for, partial, renamed, shared_part, variant

SHAPE = Shape(variants=9, examples=120, classes=4)
SHARED = shared_part(SHAPE)
LOGITS = [family_logits(SHAPE, v, SHARED) for v in range(SHAPE.variants)]
TEMPERATURES = np.linspace(0.7, 1.9, SHAPE.variants)
HOSTILE = "</script><b>&\"'\n\u202e"


def filled(objects, variants=8, **options):
    store = Store(objects)
    fill(store, LOGITS[:variants], SHARED[0], temperatures=TEMPERATURES[:variants], **options)
    return store


@pytest.fixture(scope="module")
def analyzed(tmp_path_factory):
    """The address of a store with every analysis, which no test may change."""
    folder = str(tmp_path_factory.mktemp("analyzed") / "store")
    overlap.analyze(filled(open_objects(folder)), options=Options(search=Search(steps=3)))
    return folder


@pytest.fixture(scope="module")
def fresh():
    """The tables of an analysis of one variant more."""
    return overlap.analyze(filled(MemoryObjects(), variants=9)).tables


@pytest.fixture
def own(analyzed, tmp_path):
    """The address of a copy that a test may change."""
    return str(shutil.copytree(analyzed, tmp_path / "store"))


def stamps(address):
    return open_objects(str(address)).stamps("analysis")


def stored(address, table):
    return Store(open_objects(str(address))).read_analysis("photos", table)


def test_a_sweep_has_a_name_datasets_and_a_status(analyzed):
    sweep = overlap.open(analyzed)
    assert (sweep.name, sweep.datasets) == ("synthetic", ("photos",))
    assert sweep.status().counts == {"done": 8, "failed": 0, "pending": 0}


def test_stored_tables_of_today_are_given_as_they_are_and_nothing_is_written(analyzed):
    before, sweep = stamps(analyzed), overlap.open(Path(analyzed))
    for name in ("variants", "pairs", "ensembles", "categories", "controls", "greedy"):
        assert_frame_equal(getattr(sweep, name)(), stored(analyzed, name))
        assert_frame_equal(sweep.table(name), stored(analyzed, name))
    assert_frame_equal(sweep.table("regression"), stored(analyzed, "regression"))
    assert stamps(analyzed) == before


def test_what_was_never_analyzed_is_computed_and_stored(tmp_path):
    store = filled(open_objects(str(tmp_path / "store")), variants=3)
    pairs = overlap.open(tmp_path / "store").pairs()
    assert pairs.height == 3
    assert_frame_equal(store.read_analysis("photos", "pairs"), pairs)
    assert store.read_analysis("photos", "ensembles") is None, "nobody has asked for them"


@pytest.mark.parametrize("name", ["variants", "pairs", "ensembles", "categories", "greedy", "low_accuracy_first"])
def test_tables_of_fewer_results_are_made_anew(own, fresh, name):
    sweep = overlap.open(own)
    filled(open_objects(own), variants=9)
    frame = getattr(sweep, name)() if hasattr(sweep, name) else sweep.table(name)
    assert_frame_equal(frame, fresh[name])


def test_tables_of_other_results_of_the_same_variants_are_made_anew(own):
    sweep, before = overlap.open(own), overlap.open(own).pairs()
    fill(sweep.store, [LOGITS[8], *LOGITS[1:8]], SHARED[0], versions=["y", *"xxxxxxx"])
    after = sweep.pairs()
    assert after.filter(pl.col("a") == "variant-00000").drop_nulls().height
    assert not after.filter(pl.col("a") == "variant-00000").equals(before.filter(pl.col("a") == "variant-00000"))
    assert after.filter(pl.col("a") != "variant-00000").equals(before.filter(pl.col("a") != "variant-00000"))


def test_categories_follow_what_is_known_of_the_variants_now(own):
    sweep, lock = overlap.open(own), Store(open_objects(own)).require_lock()
    assert "framework" not in set(sweep.pairs()["category"])
    clip = renamed(variant(20), lock.variants[0].name)
    sweep.store.write_lock(replace(lock, variants=(clip, *lock.variants[1:])))
    assert sweep.variants()["framework"][0] == "clip"
    assert sweep.tables().filter(~pl.col("current"))["table"].to_list() != []
    assert "framework" in set(sweep.pairs()["category"])


def test_soft_metrics_stand_beside_those_of_hard_labels(own):
    sweep = overlap.open(own)
    soft = sweep.pairs(soft=True)
    assert_frame_equal(soft.select(sweep.pairs().columns), sweep.pairs())
    assert soft["capa"].null_count() == 0
    before = stamps(own)
    assert_frame_equal(sweep.pairs(soft=True), soft)
    assert stamps(own) == before, "the second time they are there"


def test_ensembles_are_chosen_by_rule_and_calibration(analyzed):
    sweep, everything = overlap.open(analyzed), stored(analyzed, "ensembles")
    assert_frame_equal(sweep.ensembles(rule="vote"), everything.filter(pl.col("rule") == "vote"))
    chosen = sweep.ensembles(rule="mean_logit", calibrated=True)
    assert_frame_equal(chosen, everything.filter(pl.col("rule") == "mean_logit"))
    assert_frame_equal(sweep.ensembles(calibrated=True), everything)


def test_ensembles_that_are_not_stored_are_computed_and_not_stored(analyzed):
    before, sweep = stamps(analyzed), overlap.open(analyzed)
    raw = overlap.analyze(
        filled(MemoryObjects()), kinds=[Kind.ENSEMBLES], options=Options(calibration=Calibration.NONE)
    ).tables["ensembles"]
    assert_frame_equal(sweep.ensembles(calibrated=False), raw)
    assert_frame_equal(sweep.ensembles(rule="mean_logit", calibrated=False), raw.filter(pl.col("rule") == "mean_logit"))
    assert stamps(analyzed) == before


def test_a_greedy_path_with_options_is_computed_and_not_stored(own):
    sweep = overlap.open(own)
    search = Search(steps=5, metric=Metric.NLL, start=("variant-00003",), folds=2)
    expected = overlap.analyze(filled(MemoryObjects()), kinds=[Kind.GREEDY], options=Options(search=search)).tables
    words = {"steps": 5, "metric": "nll", "start": "variant-00003", "folds": 2}
    assert_frame_equal(sweep.greedy(**words), expected["greedy"])
    found = sweep.greedy_tables(**words)
    assert set(found) == {"greedy", "greedy_references", "greedy_folds"}
    for name, table in found.items():
        assert_frame_equal(table, expected[name])
    assert sweep.greedy().height == 3, "the stored path is the one that `overlap analyze` has made"
    assert stored(own, "greedy_folds") is None


def test_a_greedy_path_without_temperatures_is_computed(analyzed):
    options = Options(calibration=Calibration.NONE)
    expected = overlap.analyze(filled(MemoryObjects()), kinds=[Kind.GREEDY], options=options).tables["greedy"]
    assert_frame_equal(overlap.open(analyzed).greedy(calibrated=False), expected)


def test_stored_folds_stay_when_a_path_without_folds_is_computed(own):
    overlap.analyze(Store(open_objects(own)), kinds=[Kind.GREEDY], options=Options(search=Search(steps=3, folds=2)))
    before, sweep = stamps(own), overlap.open(own)
    assert set(sweep.greedy_tables(steps=2)) == {"greedy", "greedy_references"}
    assert stamps(own) == before
    assert sweep.table("greedy_folds").height == 2


def test_the_words_of_a_search_are_its_fields():
    assert SearchWords.__annotations__.keys() == {field.name for field in fields(Search)}


def test_correct_says_of_every_example_which_variants_are_right(analyzed):
    sweep = overlap.open(analyzed)
    correct = sweep.correct()
    predicted = np.stack([logits.argmax(axis=1) for logits in LOGITS[:8]])
    names = [f"variant-{v:05d}" for v in range(8)]
    assert correct.columns == ["example", "label", *names]
    assert correct["label"].to_list() == [f"class {label}" for label in SHARED[0]]
    assert np.array_equal(correct.select(names).to_numpy().T, predicted == SHARED[0])
    assert np.array_equal(sweep.outcomes().predictions_VN, predicted)
    accuracies = correct.select(pl.col(names).mean()).row(0)
    assert accuracies == pytest.approx(sweep.variants()["accuracy"].to_list())


def test_a_variant_that_is_called_like_another_column_is_refused(tmp_path):
    store = Store(open_objects(str(tmp_path / "store")))
    fill(store, LOGITS[:2], SHARED[0], variants=[renamed(variant(0), "label"), variant(1)])
    with pytest.raises(ArgumentError, match=r"called 'label', as another column is; take the arrays of outcomes\(\)"):
        overlap.open(tmp_path / "store").correct()


def test_the_tables_are_listed_with_what_a_row_is_and_whether_they_are_of_today(own):
    sweep = overlap.open(own)
    tables = sweep.tables()
    assert not set(tables["table"]) & {"ensemble_groups", "greedy_threats_calibrated_1"}
    assert tables["current"].all()
    assert tables.row(by_predicate=pl.col("table") == "pairs", named=True)["rows"] == 28
    assert tables.filter(pl.col("a_row_is") == "")["table"].to_list() == [], "A_ROW says what a row of each is"
    filled(open_objects(own), variants=9)
    assert not sweep.tables()["current"].any()
    sweep.pairs()
    current = sweep.tables().filter("current")["table"].to_list()
    assert current == ["pairs", "variants"]


@pytest.mark.parametrize(
    ("ask", "message"),
    [
        (lambda sweep: sweep.table("greedi"), "no analysis has a table 'greedi'; did you mean 'greedy'?"),
        (
            lambda sweep: sweep.table("greedy_folds"),
            "'greedy_folds' of today's results: `overlap analyze greedy --folds",
        ),
        (lambda sweep: sweep.ensembles(rule="mean"), "'mean' is no rule of ensembles; known are mean_probability"),
        (lambda sweep: sweep.greedy(metric="f1"), "'f1' is no metric of greedy selection; known are accuracy"),
        (lambda sweep: sweep.greedy(start="nobody"), "'nobody' is no variant of this sweep"),
        (lambda sweep: sweep.pairs(dataset="digits"), "'digits' was not evaluated"),
        (lambda sweep: sweep.export("out", formats="docx"), "'docx' is not a format of tables"),
    ],
)
def test_what_is_not_there_is_refused(analyzed, ask, message):
    with pytest.raises(ArgumentError) as refused:
        ask(overlap.open(analyzed))
    assert message in str(refused.value)


def test_an_unknown_option_of_a_search_is_an_error(analyzed):
    with pytest.raises(TypeError, match="stps"):
        overlap.open(analyzed).greedy(stps=3)


def test_an_address_without_a_sweep_is_refused(tmp_path):
    with pytest.raises(ArgumentError, match="does not exist"):
        overlap.open(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ArgumentError, match=r"is no store: it has no sweep\.lock\.json"):
        overlap.open(tmp_path / "empty")


def test_a_sweep_without_results_can_be_opened_but_not_analyzed(tmp_path):
    store = Store(open_objects(str(tmp_path / "store")))
    store.write_lock(lock_for([job_of(variant(v)) for v in range(2)], 4, 10))
    sweep = overlap.open(tmp_path / "store")
    assert sweep.status().counts == {"done": 0, "failed": 0, "pending": 2}
    assert sweep.tables().height == 0
    assert "not known yet" in sweep._repr_html_()
    for ask in (sweep.variants, sweep.pairs, sweep.greedy, sweep.correct):
        with pytest.raises(ArgumentError, match="has no result on 'photos' yet"):
            ask()


def test_predictions_alone_have_no_greedy_path_and_no_soft_metrics(tmp_path):
    store = Store(open_objects(str(tmp_path / "store")))
    nothing = np.empty((SHAPE.examples, 0))
    jobs = [job_of(variant(v)) for v in range(3)]
    for job, logits in zip(jobs, LOGITS, strict=False):
        answers = partial(SHARED[0], logits.argmax(axis=1), nothing, nothing)
        store.commit_partial(job, answers, SHAPE.classes, {})
    store.write_lock(lock_for(jobs, SHAPE.classes, SHAPE.examples))
    sweep = overlap.open(tmp_path / "store")
    assert sweep.pairs().height == 3
    for ask in (sweep.greedy, lambda: sweep.greedy(steps=2), lambda: sweep.pairs(soft=True)):
        with pytest.raises(ArgumentError, match=r"no table .*; .*needs? (the )?probabilities"):
            ask()


def test_a_sweep_shows_itself_in_one_line_and_as_a_small_table(analyzed):
    sweep = overlap.open(analyzed)
    assert repr(sweep) == f"<sweep 'synthetic': 8 variants on photos; store '{analyzed}'>"
    page = sweep._repr_html_()
    best = stored(analyzed, "variants").sort("accuracy", descending=True, maintain_order=True).row(0, named=True)
    pair = stored(analyzed, "ensembles").sort("accuracy", descending=True, maintain_order=True).row(0, named=True)
    assert f"{best['name']} ({best['accuracy']:.1%})" in page
    assert f"{pair['a']} + {pair['b']} ({pair['accuracy']:.1%})" in page


def test_a_sweep_shows_nothing_that_is_not_of_today(own):
    filled(open_objects(own), variants=9)
    before = stamps(own)
    assert overlap.open(own)._repr_html_().count("not known yet") == 2
    assert stamps(own) == before, "showing computes nothing"


def test_names_cannot_break_out_of_what_is_shown(tmp_path):
    store = Store(open_objects(str(tmp_path / "store")))
    fill(store, LOGITS[:2], SHARED[0], variants=[renamed(variant(0), HOSTILE), variant(1)])
    overlap.analyze(store, kinds=[Kind.ENSEMBLES])
    page = overlap.open(tmp_path / "store")._repr_html_()
    assert html.escape(HOSTILE) in page
    assert "<b>" not in page
    assert "</script>" not in page


def test_a_glance_reads_no_table_of_millions(analyzed, monkeypatch):
    monkeypatch.setattr(sweep_summary, "ROWS_READ", 27)
    page = overlap.open(analyzed)._repr_html_()
    assert page.count("not known yet") == 1, "of 28 pairs"


def test_a_sweep_is_opened_by_the_file_that_it_was_launched_with(write_small_sweep, tmp_path):
    path = write_small_sweep(tmp_path)
    with pytest.raises(ArgumentError, match="launch a sweep into it first"):
        overlap.open(path)
    filled(open_objects(str(tmp_path / "store")), variants=2)
    assert overlap.open(path).variants().height == 2


def test_of_several_datasets_every_method_speaks_of_the_first_or_takes_one(own):
    sweep, lock = overlap.open(own), Store(open_objects(own)).require_lock()
    two = {"datasets": {**lock.datasets, "more": lock.datasets["photos"]}, "results": {**lock.results, "more": {}}}
    sweep.store.write_lock(replace(lock, **two))
    assert sweep.datasets == ("photos", "more")
    for ask in (sweep.variants, sweep.pairs, sweep.ensembles, sweep.categories, sweep.controls, sweep.greedy):
        assert ask().equals(ask(dataset="photos"))
        with pytest.raises(ArgumentError, match="has no result on 'more'"):
            ask(dataset="more")
    for ask in (sweep.correct, sweep.outcomes, sweep.tables, sweep.report, lambda **kw: sweep.table("pairs", **kw)):
        ask(dataset="photos")
        with pytest.raises(ArgumentError, match="give --dataset as one of photos, more"):
            ask(dataset="most")
    assert overlap.open(own)._repr_html_().count("<tr>") == 3


def test_a_sweep_whose_store_has_gone_still_shows_its_name(own):
    sweep = overlap.open(own)
    shutil.rmtree(own)
    assert "synthetic" in repr(sweep)
    assert "synthetic" in sweep._repr_html_()


def test_an_error_of_the_store_is_one(own):
    sweep = overlap.open(own)
    Path(own, "sweep.lock.json").unlink()
    Path(own, "sweep.lock.json").mkdir()
    with pytest.raises(StoreError, match="cannot read"):
        sweep.pairs()


def test_a_report_and_an_export_are_those_of_the_store(own, tmp_path):
    sweep = overlap.open(own)
    assert Path(sweep.report()).read_text().startswith("<!doctype html>")
    exported = sweep.export(tmp_path / "out", tables="pairs", formats="csv", figures="none")
    assert [file.path for file in exported.files] == ["tables/pairs.csv"]


def test_the_function_keeps_its_name_when_its_module_is_loaded():
    script = (
        "import overlap, overlap.opened.sweep, overlap.exporting, overlap.cli.export, builtins;"
        "assert overlap.open is overlap.opened.sweep.open_sweep and overlap.open is not builtins.open;"
        "assert callable(overlap.export) and callable(overlap.report)"
    )
    subprocess.run([sys.executable, "-c", script], check=True)


def test_only_what_is_asked_for_is_imported():
    script = "import sys, overlap; print(sorted({'numpy', 'polars', 'torch', 'ray', 'numba'} & set(sys.modules)))"
    printed = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True).stdout
    assert printed.strip() == "[]"


def test_an_open_sweep_can_be_made_of_a_store():
    assert OpenSweep(filled(MemoryObjects(), variants=2)).variants().height == 2
