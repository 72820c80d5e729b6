"""A sweep file that was changed between two launches of one store."""

import pytest

import overlap
from overlap.cli import run
from overlap.errors import StoreMismatchError
from overlap.launcher import ExecutorKind, Options
from overlap.standing import JobState
from overlap.store import Store, open_objects

SWEEP = """\
name: changing
store: {store}
datasets:
  digits: {{source: "sklearn:digits", splits: {{train: 40, test: 60}}, seed: {seed}}}
evaluate_on: [digits]
base: {{architecture: "sklearn:GaussianNB", train_on: digits, preprocessing: {{size: 8}}}}
resources: {{{resources}}}
vary:
  - {{hyperparameters: {{var_smoothing: [{smoothing}]}}}}
"""


@pytest.fixture
def sweep(tmp_path):
    """Writes the sweep file anew, some of it changed, and gives its path."""

    def write(*, smoothing="1.0e-8, 1.0e-7", seed=0, resources="cpus: 1"):
        path = tmp_path / "sweep.yaml"
        path.write_text(SWEEP.format(store=tmp_path / "store", smoothing=smoothing, seed=seed, resources=resources))
        return path

    return write


def launch(path, **options):
    return overlap.launch(path, executor=ExecutorKind.INPROCESS, options=Options(**options))


def stamps(tmp_path):
    return open_objects(str(tmp_path / "store")).stamps("results")


def test_an_added_variant_is_run_and_no_other(sweep, tmp_path):
    launch(sweep())
    before = stamps(tmp_path)
    summary = launch(sweep(smoothing="1.0e-8, 1.0e-7, 1.0e-6"))
    assert (summary.resumed, summary.ran) == (3, 1)
    after = stamps(tmp_path)
    assert {name: after[name] for name in before} == before
    assert len(after) == 4


def test_a_removed_variant_is_kept_but_hidden_and_comes_back_for_nothing(sweep, tmp_path):
    launch(sweep())
    before = stamps(tmp_path)
    summary = launch(sweep(smoothing="1.0e-8"))
    assert (summary.resumed, summary.ran, len(summary.status.jobs)) == (2, 0, 2)
    assert stamps(tmp_path) == before
    tables = overlap.analyze(Store(open_objects(str(tmp_path / "store")))).tables
    assert tables["variants"].height == 2
    assert launch(sweep()).ran == 0


def test_an_edited_variant_gets_a_new_key(sweep, tmp_path):
    launch(sweep())
    before = stamps(tmp_path)
    summary = launch(sweep(smoothing="1.0e-8, 2.0e-7"))
    assert (summary.resumed, summary.ran) == (2, 1)
    assert before.items() < stamps(tmp_path).items()


def test_the_order_of_variants_and_what_they_run_on_change_no_key(sweep):
    launch(sweep())
    assert launch(sweep(smoothing="1.0e-7, 1.0e-8")).ran == 0
    assert launch(sweep(resources="cpus: 2, timeout_s: 60")).ran == 0


def test_a_changed_dataset_is_refused_and_nothing_is_written(sweep, tmp_path):
    launch(sweep())
    files = {path: path.stat().st_mtime_ns for path in tmp_path.glob("store/**/*")}
    with pytest.raises(StoreMismatchError, match=r"dataset 'digits' has other examples.*--allow-new-dataset"):
        launch(sweep(seed=1))
    assert {path: path.stat().st_mtime_ns for path in tmp_path.glob("store/**/*")} == files


def test_a_changed_dataset_makes_all_anew_if_that_is_allowed_and_the_old_results_are_kept(sweep, tmp_path):
    launch(sweep())
    before = stamps(tmp_path)
    summary = launch(sweep(seed=1), allow_new_dataset=True)
    assert (summary.resumed, summary.ran) == (0, 3)
    assert before.items() < stamps(tmp_path).items()
    assert launch(sweep(seed=1)).ran == 0
    assert launch(sweep(), allow_new_dataset=True).ran == 0


def test_the_command_line_says_so_too(sweep, capsys):
    assert run(["sweep", "launch", str(sweep()), "--executor", "inprocess"]) == 0
    assert run(["sweep", "launch", str(sweep(seed=1)), "--executor", "inprocess"]) == 3
    assert "dataset 'digits' has other examples, splits or classes" in capsys.readouterr().err
    assert run(["sweep", "launch", str(sweep(seed=1)), "--executor", "inprocess", "--allow-new-dataset"]) == 0


class TestDamage:
    """What a launch does about damaged files."""

    @pytest.mark.parametrize("room", ["results", "logits"])
    def test_damaged_files_are_put_aside_and_only_those_are_made_anew(self, sweep, tmp_path, room):
        launch(sweep())
        store = Store(open_objects(str(tmp_path / "store")))
        before, names = stamps(tmp_path), store.objects.names(room)
        content = {name: store.read(name).table for name in store.objects.names("results")}
        path = tmp_path / "store" / names[1]
        damaged = bytearray(path.read_bytes())
        damaged[len(damaged) // 2] ^= 1
        path.write_bytes(damaged)

        summary = launch(sweep())
        assert summary.ran == 1
        assert names[1] in summary.put_aside
        assert (tmp_path / "store/quarantine" / f"{names[1]}.1").read_bytes() == damaged
        after = stamps(tmp_path)
        assert {name for name in before if after[name] != before[name]} == {names[1].replace("logits", "results", 1)}
        assert {name: store.read(name).table for name in content} == content
        assert overlap.verify(store, deep=True)[1] == []
        assert launch(sweep()).ran == 0

    def test_foreign_and_swapped_files_are_put_aside(self, sweep, tmp_path):
        launch(sweep())
        folder = tmp_path / "store/results/v1/digits"
        first, second, third = sorted(folder.iterdir())
        contents = first.read_bytes(), second.read_bytes()
        first.write_bytes(contents[1])
        second.write_bytes(contents[0])
        (folder / "notes.txt").write_text("remember the milk")
        summary = launch(sweep())
        assert (summary.resumed, summary.ran) == (1, 2)
        assert sorted(name.rpartition("/")[2] for name in summary.put_aside) == sorted(
            [first.name, second.name, "notes.txt"]
        )
        assert sorted(folder.iterdir()) == [first, second, third]
        assert all(job.state is JobState.DONE for job in summary.status.jobs)

    @pytest.mark.parametrize("name", ["sweep.lock.json", ".stamps.json"])
    def test_what_can_be_written_anew_is(self, sweep, tmp_path, name):
        launch(sweep())
        (tmp_path / "store" / name).write_text("{")
        assert launch(sweep()).ran == 0
        assert (tmp_path / "store" / name).read_text() != "{"

    def test_a_plan_counts_what_is_damaged_and_moves_nothing(self, sweep, tmp_path, capsys):
        launch(sweep())
        first = min((tmp_path / "store/results/v1/digits").iterdir())
        first.write_bytes(b"")
        assert run(["sweep", "plan", str(sweep())]) == 0
        assert "1 evaluations of 3" in capsys.readouterr().out
        assert first.read_bytes() == b""
