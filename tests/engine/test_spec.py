"""What a sweep file may say."""

import pytest

from overlap.entries import sweep_schema
from overlap.errors import SweepFileError
from overlap.resources import Resources
from overlap.search_space import WORDS, Draw, Grid
from overlap.spec import did_you_mean, read_sweep


def test_a_sweep_file_becomes_a_sweep(sweep_text):
    text = sweep_text + "vary:\n  - {seed: [1, 2]}\nresources: {gpus: 0.25, cpus: 2}\n"
    sweep = read_sweep(text, path="s.yaml")
    assert (sweep.name, sweep.store, sweep.evaluate_on) == ("tiny", "store", ("digits",))
    assert sweep.resources == Resources(gpus=0.25, cpus=2)
    assert sweep.text == text
    digits, fonts = sweep.datasets
    assert digits.splits == (("train", 60), ("calibration", 20), ("test", 20))
    assert (fonts.source, fonts.samples, fonts.seed) == ("rendered:digits", 50, 0)
    assert sweep.vary[0].seed == Grid(values=(1, 2))


def test_the_rest_of_a_dataset_can_be_a_split(sweep_text):
    sweep = read_sweep(sweep_text.replace("train: 60", "train: rest"), path="s.yaml")
    assert sweep.datasets[0].splits[0] == ("train", None)


def test_a_sweep_uses_no_gpu_and_one_cpu_unless_it_says_so(sweep_text):
    sweep = read_sweep(sweep_text, path="s.yaml")
    assert (sweep.resources, sweep.vary) == (Resources(gpus=0.0, cpus=1), ())


@pytest.mark.parametrize(
    ("axis", "expected"),
    [
        ("{choice: [0.1, 0.2]}", Draw(word="choice", arguments=(0.1, 0.2))),
        ("{uniform: [0, 0.5]}", Draw(word="uniform", arguments=(0, 0.5))),
        ("{loguniform: [1e-3, 0.5]}", Draw(word="loguniform", arguments=(1e-3, 0.5))),
        ("{quniform: [0, 0.5, 0.1]}", Draw(word="quniform", arguments=(0, 0.5, 0.1))),
        ("{qloguniform: [0.1, 0.5, 0.1]}", Draw(word="qloguniform", arguments=(0.1, 0.5, 0.1))),
        ("{randn: [0.3, 0.01]}", Draw(word="randn", arguments=(0.3, 0.01))),
        ("{grid_search: [0.1, 0.2]}", Grid(values=(0.1, 0.2))),
    ],
)
def test_ray_tunes_words_are_accepted(sweep_text, axis, expected):
    sweep = read_sweep(f"{sweep_text}vary:\n  - hyperparameters: {{dropout: {axis}}}\n", path="s.yaml")
    assert sweep.vary[0].hyperparameters == {"dropout": expected}


@pytest.mark.parametrize("word", ["randint", "lograndint"])
def test_ray_tunes_whole_words_are_accepted(sweep_text, word):
    text = f"{sweep_text}vary:\n  - hyperparameters: {{epochs: {{{word}: [1, 9]}}}}\n"
    assert read_sweep(text, path="s.yaml").vary[0].hyperparameters["epochs"].word == word


def test_every_problem_is_found_at_once_in_file_order(sweep_text):
    text = sweep_text.replace("seed: 0}", "sed: 0}") + "vary:\n  - {seed: []}\n  - {sead: 1}\nname: x\n"
    with pytest.raises(SweepFileError) as caught:
        read_sweep(text, path="s.yaml")
    found = [(problem.line, problem.where) for problem in caught.value.problems]
    assert found == [(4, "datasets.digits.sed"), (9, "vary[0].seed"), (10, "vary[1].sead"), (11, "name")]
    assert str(caught.value).splitlines()[0] == "s.yaml: 4 problems"


@pytest.mark.parametrize("value", ["'1'", "1.5", "true", "[1]"])
def test_a_value_of_another_type_is_never_converted(sweep_text, value):
    with pytest.raises(SweepFileError) as caught:
        read_sweep(sweep_text.replace("train_on: digits}", f"train_on: digits, seed: {value}}}"), path="s.yaml")
    (problem,) = caught.value.problems
    assert (problem.line, problem.where) == (7, "base.seed")


@pytest.mark.parametrize("name", ["", ".", "-x", "a/b", "a b", "ä", "x" * 65])
def test_a_name_that_is_unsafe_in_a_path_is_refused(sweep_text, name):
    with pytest.raises(SweepFileError) as caught:
        read_sweep(sweep_text.replace("name: tiny", f"name: '{name}'"), path="s.yaml")
    assert [problem.where for problem in caught.value.problems] == ["name"]


def test_only_near_words_are_suggested():
    assert did_you_mean("batchsize", ["batch_size", "epochs"]) == "; did you mean 'batch_size'?"
    assert did_you_mean("zzz", ["batch_size", "epochs"]) == ""


def test_the_published_schema_knows_every_key_and_word():
    schema = sweep_schema()
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert set(schema["properties"]) == {
        "name", "store", "datasets", "evaluate_on", "base", "vary", "pretrained", "evaluation", "resources",
        "allow_code",
    }  # fmt: skip
    assert schema["additionalProperties"] is False
    axis = schema["$defs"]["VaryEntry"]["properties"]["seed"]
    assert all(f'"{word}"' in str(axis).replace("'", '"') for word in WORDS)
