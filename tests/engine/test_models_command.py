"""`overlap models` lists pretrained weights without downloading any."""

import json

import pytest

from overlap.cli import run

BAD_ARGUMENTS = 3
NAMES = ["resnet18.a1_in1k", "open_clip:ViT-B-32/laion2b_s34b_b79k"]


@pytest.fixture
def printed(capsys):
    """What the command prints with these arguments, which must be fine."""

    def run_models(*arguments):
        assert run(["models", *arguments]) == 0
        out, err = capsys.readouterr()
        assert err == ""
        return out

    return run_models


def test_json_has_one_object_a_weight(printed):
    resnet, clip = json.loads(printed(*NAMES, "--json"))
    assert resnet == {
        "name": "resnet18.a1_in1k",
        "library": "timm",
        "architecture": "resnet18",
        "framework": "supervised",
        "train_on": "imagenet-1k",
        "parameters": 11_689_512,
        "gmacs": 1.814,
        "size": 224,
        "licence": "apache-2.0",
        "classes": 1000,
    }
    assert (clip["name"], clip["library"]) == ("ViT-B-32/laion2b_s34b_b79k", "open_clip")
    assert list(clip) == list(resnet)


def test_the_table_has_a_row_a_weight_and_ends_with_their_number_and_size(printed):
    header, resnet, clip, last = printed(*NAMES).splitlines()
    assert plain(header) == "model framework trained on parameters GMACs size classes licence"
    assert plain(resnet) == "resnet18.a1_in1k supervised imagenet-1k 11.7 M 1.81 224 1000 apache-2.0"
    assert plain(clip) == "open_clip:ViT-B-32/laion2b_s34b_b79k clip laion-2b 151 M 4.41 224 text unknown"
    assert last == "2 models, 163 M parameters, about 652 MB to download"


def plain(line):
    """A line without the spaces that align it."""
    return " ".join(line.split())


def test_options_select(printed):
    chosen = printed(
        "resnet*", "--exclude", "*.tv*", "--exclude", "resnet50", "--max-parameters", "12e6", "--max-gmacs", "2",
        "--licence", "apache-*", "--framework", "supervised", "--limit", "2", "--json",
    )  # fmt: skip
    assert [entry["name"] for entry in json.loads(chosen)] == ["resnet10t.c3_in1k", "resnet14t.c3_in1k"]


def test_a_pattern_that_names_nothing_ends_with_one_line(capsys):
    assert run(["models", "resnet5O", "resnet18", "open_clip:ViT-B-33"]) == BAD_ARGUMENTS
    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines() == [
        "overlap: 'resnet5O' is no pretrained timm model; did you mean 'resnet50'?; "
        "'ViT-B-33' is no pretrained open_clip model; did you mean 'ViT-B-32'?"
    ]


@pytest.mark.parametrize("arguments", [[], ["resnet18", "--limit", "0"], ["resnet18", "--max-gmacs", "few"]])
def test_bad_arguments_are_refused(arguments, capsys):
    assert run(["models", *arguments]) == BAD_ARGUMENTS
    assert capsys.readouterr().out == ""


def test_how_an_unknown_weight_was_trained_can_be_said_in_the_printed_line(printed, monkeypatch):
    monkeypatch.setattr("overlap.models.catalog.classify", lambda *_: None)
    *_, told, line = printed("resnet18.a1_in1k").splitlines()
    assert told == "how these were trained is not known; say it under `pretrained` of a sweep file:"
    assert line.split("  #")[0].strip() == '- {timm: ["resnet18.a1_in1k"], framework: FRAMEWORK, train_on: DATA}'
