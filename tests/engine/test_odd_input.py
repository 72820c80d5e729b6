"""Input that is odd rather than wrong at first sight: refused plainly, or read for what it says."""

import contextlib
import io

import numpy as np
import pytest

from overlap.cli import run
from overlap.errors import CorruptFileError, OverlapError, StoreMismatchError
from overlap.expand import expand
from overlap.spec import read_sweep
from overlap.store.memory import MemoryObjects
from overlap.store.rows import Predictions, round_logits
from overlap.store.schema import encode_result, read_table, stored_problems
from overlap.variants import key_of

ESTIMATOR = """\
name: tiny
store: store
datasets:
  digits: {source: "sklearn:digits", splits: {train: 60, calibration: 20, test: 20}, seed: 0}
evaluate_on: [digits]
base: {architecture: "sklearn:GaussianNB", train_on: digits}
"""
NETWORK = ESTIMATOR.replace('"sklearn:GaussianNB"', "test_resnet")


def with_knobs(text, hp):
    return text.replace("train_on: digits}", f"train_on: digits, hyperparameters: {{{hp}}}}}")


BAD = {
    "recursive alias": ESTIMATOR + "x: &x [*x]\n",
    "deep nesting": "[" * 3000,
    "impossible date": ESTIMATOR + "vary:\n  - {seed: 2024-99-99}\n",
    "wrong !!int": ESTIMATOR + "vary:\n  - {seed: !!int hello}\n",
    "control character": ESTIMATOR + "# \x01\n",
    "epochs .inf": with_knobs(NETWORK, "epochs: .inf"),
    "epochs .nan": with_knobs(NETWORK, "epochs: .nan"),
    "estimator .nan": with_knobs(ESTIMATOR, "var_smoothing: .nan"),
    "seed is a word": ESTIMATOR + "vary:\n  - {seed: [a]}\n",
    "seed is 1.5": ESTIMATOR + "vary:\n  - {seed: [1.5]}\n",
    "seed is true": ESTIMATOR + "vary:\n  - {seed: [true]}\n",
    "seed drawn uniform": ESTIMATOR + "vary:\n  - {seed: {uniform: [1, 5]}}\n",
    "negative rendered seed": ESTIMATOR.replace("seed: 0}", "seed: -1}").replace("sklearn:digits", "rendered:digits"),
    "dataset name leaves the store": ESTIMATOR.replace("digits: {s", '"../../../x": {s')
    .replace("[digits]", '["../../../x"]')
    .replace("train_on: digits", 'train_on: "../../../x"'),
    "knob of no network": NETWORK
    + 'vary:\n  - {architecture: ["sklearn:SVC", test_vit], hyperparameters: {C: [2.0]}}\n',
    "two variants with one key": ESTIMATOR.replace(
        "evaluate_on", '  twin: {source: "sklearn:digits", splits: {train: 60, calibration: 20, test: 20}}\nevaluate_on'
    )
    + "vary:\n  - {train_on: twin}\n",
    "evaluated twice": ESTIMATOR.replace("[digits]", "[digits, digits]"),
}


@pytest.mark.parametrize("case", BAD)
def test_refused(case, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "s.yaml").write_text(BAD[case])
    assert run(["sweep", "plan", "s.yaml"]) == 3
    assert "1 problem" in capsys.readouterr().err


ONE_MISTAKE = {
    "empty entry": ESTIMATOR + "vary:\n  - {}\n",
    "negative split": ESTIMATOR.replace("train: 60", "train: -5"),
    "tab": "name:\tx\n\tb: 1\n",
}


@pytest.mark.parametrize("case", ONE_MISTAKE)
def test_one_mistake_is_one_problem(case, tmp_path, capsys):
    (tmp_path / "s.yaml").write_text(ONE_MISTAKE[case])
    assert run(["sweep", "plan", str(tmp_path / "s.yaml")]) == 3
    assert "1 problem" in capsys.readouterr().err


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"schema_version": 1}'])
def test_a_damaged_lock_is_said_plainly(content, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "s.yaml").write_text(ESTIMATOR)
    (tmp_path / "store").mkdir()
    (tmp_path / "store/sweep.lock.json").write_text(content)
    assert run(["sweep", "status", "store"]) in (3, 4)
    assert run(["sweep", "plan", "s.yaml"]) == 0  # every launch writes it anew


def test_estimators_inherit_the_bases_hyperparameters():
    text = with_knobs(ESTIMATOR.replace("GaussianNB", "SVC"), "C: 5.0") + "vary:\n  - {seed: 1}\n"
    base, other = (o.variant for o in expand(read_sweep(text, path="s.yaml"))[0])
    assert other.hyperparameters == base.hyperparameters == (("C", 5.0),)


def test_a_merged_key_can_be_overridden():
    from overlap.yaml_lines import load_yaml

    document = load_yaml("a: &a {x: 1, y: 2}\nb: {<<: *a, x: 3}\n")
    assert (document.problems, document.value["b"]) == ((), {"x": 3, "y": 2})


def test_did_you_mean_in_a_dataset_called_base():
    text = (
        ESTIMATOR.replace("digits: {source", "base: {surce")
        .replace("[digits]", "[base]")
        .replace("train_on: digits", "train_on: base")
    )
    with pytest.raises(OverlapError, match="did you mean 'source'"):
        read_sweep(text, path="s.yaml")


def test_memory_hides_dot_files_too():
    objects = MemoryObjects()
    objects.create("a/.b.tmp", b"")
    assert objects.names("a") == []


def test_memory_lists_everything_below_the_root():
    objects = MemoryObjects()
    objects.create("a/b", b"")
    assert objects.names("") == ["a/b"]


CONFIG = '{"a":1}'


def encoded_result():
    rng = np.random.default_rng(0)
    p = Predictions(
        ids_N=np.arange(30),
        labels_N=rng.integers(0, 10, 30).astype("i4"),
        logits_NC=round_logits(rng.normal(0, 3, (30, 10))),
        temperature=1.25,
    )
    return encode_result(p, {"key": key_of(CONFIG), "config_json": CONFIG, "variant": "v"})


def test_every_flipped_byte_of_a_file_is_found_or_harmless():
    whole = encoded_result()
    stored = read_table(io.BytesIO(whole), "n")
    for position in range(len(whole)):
        flipped = bytearray(whole)
        flipped[position] ^= 1
        try:
            read = read_table(io.BytesIO(bytes(flipped)), "n")
        except (CorruptFileError, StoreMismatchError):
            continue
        if not stored_problems(read, key_of(CONFIG)[:16]):
            assert read.table.equals(stored.table)
            assert read.footer["temperature"] == stored.footer["temperature"], position


def test_a_footer_that_is_no_text_is_damage():
    whole = encoded_result()
    for position in range(len(whole)):
        flipped = bytearray(whole)
        flipped[position] ^= 128
        with contextlib.suppress(CorruptFileError, StoreMismatchError):
            read_table(io.BytesIO(bytes(flipped)), "n")
