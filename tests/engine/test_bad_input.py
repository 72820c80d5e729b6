"""Whatever is wrong with a sweep file or its store is said plainly, and nothing is written."""

import json

import pytest

from overlap.cli import run

BAD_INPUT = 3


@pytest.fixture
def refused(tmp_path, monkeypatch, capsys, sweep_text):
    """Launches the sweep file with these replacements and lines; gives the lines of its complaint."""
    monkeypatch.chdir(tmp_path)

    def launch(*replacements, add="", text=sweep_text):
        for old, new in replacements:
            assert old in text
            text = text.replace(old, new)
        path = tmp_path / "s.yaml"
        path.write_text(text + add, encoding="utf-8")
        before = tree(tmp_path)
        assert run(["sweep", "launch", str(path), "--executor", "inprocess"]) == BAD_INPUT
        assert tree(tmp_path) == before
        out, err = capsys.readouterr()
        assert out == ""
        return [" ".join(line.split()).replace(str(tmp_path), "HERE") for line in err.splitlines()]

    return launch


def tree(folder):
    """Every file and folder below a folder, with what it holds and when it was changed."""
    return {
        str(path): (path.stat().st_mtime_ns, path.read_bytes() if path.is_file() else None)
        for path in folder.rglob("*")
    }


ONE_PROBLEM = {
    "an unknown key, with the nearest known one": (
        [("train_on: digits", "train_on: digits, hyperparamters: {}")],
        "line 7 base.hyperparamters unknown key; did you mean 'hyperparameters'?",
    ),
    "an unknown key of a dataset": (
        [("samples: 50", "sample: 50")],
        "line 5 datasets.fonts.sample unknown key; did you mean 'samples'?",
    ),
    "a missing key": ([("name: tiny\n", "")], "line 1 name missing: this key is required"),
    "a value of another type": ([("name: tiny", "name: 3")], "line 1 name should be a valid string, got 3"),
    "a key that stands twice": (
        [("evaluate_on:", "name: again\nevaluate_on:")],
        "line 6 name duplicate key 'name': it is already set on line 1",
    ),
    "a misspelt timm model": (
        [("test_resnet", "test_resnte")],
        "line 7 base.architecture 'test_resnte' is no timm model; did you mean 'test_resnet'?",
    ),
    "a misspelt scikit-learn classifier": (
        [("test_resnet", '"sklearn:GausianNB"')],
        "line 7 base.architecture 'sklearn:GausianNB' is no scikit-learn classifier with probabilities or "
        "scores; did you mean 'sklearn:GaussianNB'?",
    ),
    "a folder that does not exist": (
        [("sklearn:digits", "data/val")],
        "line 4 datasets.digits.source folder 'HERE/data/val' does not exist; built-in sources are "
        "sklearn:digits, rendered:digits, sklearn:olivetti_faces, parquet:…, webdataset:…, timm:…",
    ),
    "splits that are larger than the data": (
        [("train: 60", "train: 6000")],
        "line 4 datasets.digits.splits the splits ask for 6,040 examples, but 'sklearn:digits' has 1,797",
    ),
    "a rest of nothing": (
        [("train: 40, test: 10", "train: 50, test: rest")],
        "line 5 datasets.fonts.splits the splits ask for 50 examples and a rest of at least 1, but "
        "'rendered:digits' has 50",
    ),
    "two rests": (
        [("train: 60", "train: rest"), ("calibration: 20, test: 20", "test: rest")],
        "line 4 datasets.digits.splits only one split can take the rest",
    ),
    "a dataset without the split that is asked for": (
        [("calibration: 20, test: 20", "tets: 20")],
        "line 6 evaluate_on[0] dataset 'digits' has no split 'test': add it to datasets.digits.splits",
    ),
    "an unknown dataset": (
        [("evaluate_on: [digits]", "evaluate_on: [digits, digitz]")],
        "line 6 evaluate_on[1] 'digitz' is no dataset of this file; did you mean 'digits'?",
    ),
    "an unknown framework": (
        [("train_on: digits", "train_on: digits, framework: simclrr")],
        "line 7 base.framework 'simclrr' is no framework; did you mean 'simclr'?",
    ),
    "an unknown hyperparameter": (
        [("train_on: digits", "train_on: digits, hyperparameters: {learningrate: 0.1}")],
        "line 7 base.hyperparameters.learningrate 'learningrate' is no hyperparameter of supervised; did you "
        "mean 'learning_rate'?",
    ),
    "a hyperparameter out of range": (
        [("train_on: digits", "train_on: digits, hyperparameters: {dropout: 2.5}")],
        "line 7 base.hyperparameters.dropout expected a number from 0 to 0.95, got 2.5",
    ),
    "a hyperparameter that is no number": (
        [("train_on: digits", "train_on: digits, hyperparameters: {epochs: many}")],
        "line 7 base.hyperparameters.epochs expected a whole number, got 'many'",
    ),
}


@pytest.mark.parametrize("case", ONE_PROBLEM)
def test_a_sweep_file_is_refused_for(case, refused):
    replacements, complaint = ONE_PROBLEM[case]
    assert refused(*replacements) == ["overlap: HERE/s.yaml: 1 problem", complaint]


ONE_BAD_ENTRY = {
    "a list without values": ("{seed: []}", ".seed expected at least one value, got an empty list"),
    "an unknown framework": (
        "{framework: [simclr, byol]}",
        ".framework 'byol' is no framework; known are supervised, simclr, clip, mae, dino, distillation",
    ),
    "an unknown dataset": (
        "{train_on: digitz}",
        ".train_on 'digitz' is no dataset of this file; did you mean 'digits'?",
    ),
    "a hyperparameter that its framework does not have": (
        "{framework: simclr, hyperparameters: {label_smoothing: [0.1]}}",
        ".hyperparameters.label_smoothing 'label_smoothing' is no hyperparameter of simclr; known are dropout, "
        "drop_path, initialization, epochs, batch_size, optimizer, learning_rate, weight_decay, momentum, "
        "augmentation, flip, probe_regularization, finetune_epochs, finetune_learning_rate, temperature, "
        "projection_features",
    ),
    "a value out of range": (
        "{hyperparameters: {batch_size: [2, 1]}}",
        ".hyperparameters.batch_size expected a whole number from 2 to 1e+06, got 1",
    ),
    "a draw that can leave the range": (
        "{hyperparameters: {dropout: {uniform: [0.5, 1.5]}}, samples: 2}",
        ".hyperparameters.dropout expected a number from 0 to 0.95, got 1.5",
    ),
    "the same variant as the base": (
        "{seed: 0}",
        " 'test_resnet-seed0' has the same key as a variant of line 7: remove one of them",
    ),
    "the same variant twice": (
        "{seed: [1, 2, 1]}",
        " 'test_resnet-seed1' has the same key as a variant of line 9: remove one of them",
    ),
    "the same number written in two ways": (
        "{hyperparameters: {dropout: [0.5, 5.0e-1]}}",
        " 'test_resnet-dropout=0.5-seed0' has the same key as a variant of line 9: remove one of them",
    ),
    "samples without anything to draw": (
        "{seed: 3, samples: 2}",
        " 'samples' without a random field: there is nothing to draw",
    ),
    "a classifier without gradients in a framework that needs them": (
        '{architecture: "sklearn:SVC", framework: simclr}',
        " 'sklearn:SVC' can only be trained supervised, got 'simclr'",
    ),
    "a parameter that an estimator does not take": (
        '{architecture: "sklearn:GaussianNB", hyperparameters: {var_smoothin: 0.1}}',
        ".hyperparameters 'var_smoothin' is no parameter of sklearn:GaussianNB; known are priors, var_smoothing",
    ),
}


@pytest.mark.parametrize("case", ONE_BAD_ENTRY)
def test_an_entry_is_refused_for(case, refused):
    entry, complaint = ONE_BAD_ENTRY[case]
    expected = ["overlap: HERE/s.yaml: 1 problem", f"line 9 vary[0]{complaint}"]
    assert refused(add=f"vary:\n  - {entry}\n") == expected


def test_an_entry_that_changes_nothing_is_refused(refused):
    head, complaint, *_ = refused(add="vary:\n  - {seed: 1}\n  - {}\n")
    assert head.startswith("overlap: HERE/s.yaml: ")
    assert complaint == "line 10 vary[1] an entry that changes nothing: name at least one field"


@pytest.mark.parametrize("text", ["", "\n\n", "# only a comment\n"])
def test_a_file_without_a_sweep_is_refused(refused, text):
    assert refused(text=text)[1:] == ["expected a sweep, got an empty file"]


def test_a_file_that_is_no_yaml_is_refused_at_its_line(refused):
    assert "line 8 not YAML: found character '\\t' that cannot start any token" in refused(add="\tx: 1\n")


def test_a_file_that_is_no_text_is_refused(tmp_path, capsys):
    path = tmp_path / "s.yaml"
    path.write_bytes(b"name: \xff\xfe\n")
    assert run(["sweep", "launch", str(path), "--executor", "inprocess"]) == BAD_INPUT
    assert "cannot read the sweep file: it is no UTF-8 text" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == [path]


def test_a_sweep_file_that_does_not_exist_is_refused(tmp_path, capsys):
    missing = tmp_path / "none.yaml"
    assert run(["sweep", "launch", str(missing), "--executor", "inprocess"]) == BAD_INPUT
    err = capsys.readouterr().err
    assert str(missing) in err
    assert "cannot read the sweep file: No such file or directory" in err
    assert list(tmp_path.iterdir()) == []


def test_all_problems_are_said_together_in_file_order(refused):
    lines = refused(
        ("evaluate_on: [digits]", "evaluate_on: [digitz]"),
        add="vary:\n  - {framework: byol}\n  - {hyperparameters: {dropout: 3}}\nname: again\n",
    )
    assert lines[0] == "overlap: HERE/s.yaml: 4 problems"
    assert [line.split()[:3] for line in lines[1:]] == [
        ["line", "6", "evaluate_on[0]"],
        ["line", "9", "vary[0].framework"],
        ["line", "10", "vary[1].hyperparameters.dropout"],
        ["line", "11", "name"],
    ]


def test_problems_of_data_and_expansion_are_said_together(refused):
    lines = refused(("sklearn:digits", "nowhere"), ("samples: 50", "samples: 20"), add="vary:\n  - {seed: 0}\n")
    assert [line.split()[1] for line in lines[1:]] == ["4", "5", "9"]


def test_every_misspelt_architecture_is_named(refused):
    lines = refused(add='vary:\n  - {architecture: [test_vti, "sklearn:SVCC"]}\n')
    assert lines[1:] == [
        "line 9 vary[0].architecture 'test_vti' is no timm model; did you mean 'test_vit'?",
        "line 9 vary[0].architecture 'sklearn:SVCC' is no scikit-learn classifier with probabilities or scores; "
        "did you mean 'sklearn:SVC'?",
    ]


def test_training_and_evaluating_on_other_classes_is_refused(refused, tmp_path, write_images):
    write_images(tmp_path / "pets", {"cat": 3, "dog": 3})
    lines = refused(
        ("sklearn:digits", "pets"), ("train: 60, calibration: 20, test: 20", "train: 3, test: 3"),
        ("train_on: digits", "train_on: fonts"),
    )  # fmt: skip
    assert lines[1:] == [
        "line 6 evaluate_on[0] 'digits' cannot be judged by variants trained on 'fonts': 2 of 2 classes are none of "
        "the 10 expected: 'cat', 'dog'; the model expects names like '0'"
    ]


def test_a_store_that_is_a_file_is_refused(refused, tmp_path):
    (tmp_path / "store").write_text("mine")
    (line,) = refused()
    assert line == "overlap: store 'store' is a file; expected a folder, or a path that does not exist yet"


def test_a_folder_with_other_things_in_it_is_no_store(refused, tmp_path):
    (tmp_path / "store").mkdir()
    (tmp_path / "store" / "thesis.tex").write_text("mine")
    (line,) = refused()
    assert line == "overlap: store 'store' holds files of something else; give an empty or new folder"


def write_lock(tmp_path, **fields):
    empty = {"datasets": {}, "variants": [], "training": {}, "results": {}}
    (tmp_path / "store").mkdir()
    (tmp_path / "store" / "sweep.lock.json").write_text(json.dumps(empty | fields))


def test_a_store_that_another_sweep_made_is_refused(refused, tmp_path):
    write_lock(tmp_path, schema_version=1, name="other")
    (line,) = refused()
    assert line == (
        "overlap: store 'HERE/store' was made by sweep 'other', this file is sweep 'tiny'; "
        "give another store, or rename the sweep back"
    )


def test_a_store_that_a_newer_version_wrote_is_refused(refused, tmp_path):
    write_lock(tmp_path, schema_version=99, name="tiny", novelty=1)
    (line,) = refused()
    assert line == (
        "overlap: 'HERE/store/sweep.lock.json' has store schema 99, this overlap reads up to 1: upgrade overlap"
    )
