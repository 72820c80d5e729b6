"""The whole path on a small sweep: launch, results, tables, report; failures; nothing left to do."""

import json
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest
from polars.testing import assert_frame_equal

import overlap
from overlap.analyses import Kind, Options, Where
from overlap.cli import run
from overlap.launcher import ExecutorKind

TABLES = ["variants", "pairs", "ensembles", "categories", "greedy", "greedy_references"]
BROKEN = '  - {architecture: "sklearn:KNeighborsClassifier", hyperparameters: {n_neighbors: 1000}}'


def launched(path, **options):
    options = {"executor": ExecutorKind.INPROCESS} | options
    summary = overlap.launch(path, **options)
    return summary, overlap.Store(overlap.open_objects(summary.status.store))


@pytest.fixture(scope="module")
def whole(write_small_sweep, tmp_path_factory):
    """A small sweep, launched, analyzed and reported in this process."""
    path = write_small_sweep(tmp_path_factory.mktemp("whole"))
    summary, store = launched(path)
    return path, summary, store, overlap.analyze(store), overlap.report(store)


def test_every_variant_ends_with_a_result_that_verifies(whole):
    _, summary, store, _, _ = whole
    assert [job.state for job in summary.status.jobs] == ["done"] * 7
    assert overlap.verify(store, deep=True) == (19, [])


def test_the_tables_speak_of_every_pair_in_sweep_order(whole):
    _, _, _, analysis, _ = whole
    names, pairs = analysis.tables["variants"]["name"].to_list(), analysis.tables["pairs"]
    expected = [(a, b) for i, a in enumerate(names) for b in names[i + 1 :]]
    assert list(zip(pairs["a"], pairs["b"], strict=True)) == expected
    assert set(pairs["category"]) == {"reinit", "hyperparameters", "architecture", "framework", "dataset"}
    cells = ["both_correct", "only_a_correct", "only_b_correct", "both_wrong"]
    assert pairs.select(pl.sum_horizontal(cells)).to_series().unique().to_list() == [300]


def test_a_pair_of_the_table_equals_its_definition_on_the_stored_results(whole):
    _, _, store, analysis, _ = whole
    lock = store.require_lock()
    names = store.result_names("digits")
    row = analysis.tables["pairs"].row(5, named=True)
    correct = [
        store.read(names[lock.results["digits"][row[side]][:16]]).table.column("correct").to_numpy(zero_copy_only=False)
        for side in "ab"
    ]
    assert row["error_inconsistency"] == pytest.approx((correct[0] != correct[1]).mean())
    assert row["only_a_correct"] == (correct[0] & ~correct[1]).sum()


def test_the_greedy_path_starts_with_the_best_variant_on_the_selection_examples(whole):
    greedy = whole[3].tables["greedy"]
    assert greedy["step"].to_list() == list(range(1, 26))
    assert greedy["selection_examples"][0] + greedy["evaluation_examples"][0] == 300
    assert greedy["variant"][0] == whole[3].tables["greedy_references"]["variant"][0]


def test_the_report_is_one_page_that_names_every_variant(whole):
    _, _, store, analysis, name = whole
    page = Path(store.objects.url, name).read_text()
    assert all(variant in page for variant in analysis.tables["variants"]["name"])
    assert "http" not in page.replace("http-equiv", "").replace("http://www.w3.org", "")


def test_a_finished_sweep_is_done_at_once_and_without_ray_or_torch(whole):
    script = (
        "import sys; from overlap.cli import run; code = run(sys.argv[1:]);"
        "print(sorted({'ray', 'torch', 'timm'} & set(sys.modules))); sys.exit(code)"
    )
    command = [sys.executable, "-c", script, "sweep", "launch", str(whole[0])]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "nothing left to do" in done.stdout
    assert done.stdout.splitlines()[-1] == "[]"


def test_a_variant_that_raises_becomes_a_stored_failure_and_the_rest_finish(small_sweep, capsys):
    path = small_sweep(BROKEN, epochs=1)
    assert run(["sweep", "launch", str(path), "--executor", "inprocess"]) == 2
    printed = capsys.readouterr().out
    assert "7 done, 1 failed" in printed
    assert "n_neighbors" in printed
    assert run(["sweep", "launch", str(path), "--executor", "inprocess", "--json"]) == 2
    (failure,) = json.loads(capsys.readouterr().out)["failures"]
    assert failure["attempt"] == 1, "a failure is not tried again unless asked"
    assert failure["last_lines"][-1].startswith("ValueError")
    assert run(["sweep", "retry", str(path), "--executor", "inprocess", "--json"]) == 2
    (failure,) = json.loads(capsys.readouterr().out)["failures"]
    assert failure["attempt"] == 2


def test_analyses_of_an_unfinished_sweep_say_what_is_missing(small_sweep, capsys):
    path = small_sweep(BROKEN, epochs=1)
    _, store = launched(path)
    assert run(["analyze", "pairs", str(path)]) == 0
    assert "without a result, and left out: sklearn-KNeighborsClassifier" in capsys.readouterr().out
    assert "n_neighbors" in Path(store.objects.url, overlap.report(store)).read_text()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["greedy", "--selection", "2"], "--selection takes a share"),
        (["greedy", "--start", "test_resnet-seed9"], "is no variant of this sweep"),
        (["greedy", "--candidates", "nothing*"], "matches no variant"),
        (["pears"], "'pears' is no analysis"),
        (["pairs", "--dataset", "imagenet"], "'imagenet' was not evaluated; give --dataset as one of digits"),
    ],
)
def test_analyze_refuses_arguments_that_name_nothing(whole, capsys, arguments, message):
    word, *options = arguments
    assert run(["analyze", word, str(whole[0]), *options]) == 3
    assert message in capsys.readouterr().err


@pytest.mark.ray
@pytest.mark.filterwarnings("ignore")  # Ray's own
def test_ray_gives_the_same_results_and_tables_as_one_process(whole, small_sweep, ray_here):
    summary, store = launched(small_sweep(BROKEN), executor=ExecutorKind.RAY)
    assert [failure.outcome for failure in summary.status.failures] == ["raised"]
    options = Options(where=Where.RAY)
    analysis = overlap.analyze(store, options=options, kinds=tuple(Kind))
    assert analysis.where is Where.RAY
    for name in TABLES:
        assert_frame_equal(analysis.tables[name], whole[3].tables[name])
    for key, name in store.result_names("digits").items():
        reference = whole[2].result_names("digits")[key]
        assert store.read(name).footer["payload_sha256"] == whole[2].read(reference).footer["payload_sha256"]


@pytest.mark.ray
@pytest.mark.filterwarnings("ignore")
def test_asking_for_more_than_the_cluster_has_is_told_at_launch(small_sweep, ray_here, capfd):
    path = small_sweep("resources: {cpus: 1, gpus: 8}")
    assert run(["sweep", "launch", str(path)]) == 5
    assert "a variant asks for 1 CPUs and 8 GPUs, which no node of the cluster has" in capfd.readouterr().err
