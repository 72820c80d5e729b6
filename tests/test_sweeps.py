"""Every sweep file that ships says at its top what to expect, and names only what there is."""

from pathlib import Path

import pytest

from overlap.expand import expand
from overlap.plan import pair_categories
from overlap.preflight import check_models, plan_sweep, read_sweep_file
from overlap.pretrained import select_pretrained

SWEEPS = sorted((Path(__file__).parents[1] / "sweeps").glob("*.yaml"))
DATA_IN_THE_PACKAGES = {"digits.yaml"}  # the others read images that are yours


def test_five_sweeps_ship():
    names = {"digits", "frameworks", "imagenet-pretrained", "paper", "throughput"}
    assert {path.stem for path in SWEEPS} == names


@pytest.mark.parametrize("path", SWEEPS, ids=lambda path: path.name)
def test_a_shipped_sweep_says_its_command_its_hardware_and_what_to_expect(path):
    lines = path.read_text().splitlines()
    assert lines[0] == f"# overlap sweep launch sweeps/{path.name}"
    top = " ".join(line.removeprefix("# ") for line in lines[: lines.index(f"name: {path.stem}")])
    assert any(word in top for word in ("CPU", "GPU"))
    assert any(word in top for word in ("minutes", "hour"))
    assert "Expect" in top or "From the paper" in top


@pytest.mark.parametrize("path", SWEEPS, ids=lambda path: path.name)
def test_a_shipped_sweep_names_only_models_and_hyperparameters_that_there_are(path):
    if path.name in DATA_IN_THE_PACKAGES:
        plan = plan_sweep(read_sweep_file(path))
        check_models(plan, plan.variants)
        assert plan.evaluation
        return
    sweep = read_sweep_file(path)
    pretrained, problems = select_pretrained(sweep)
    assert problems == []
    origins, problems = expand(sweep, pretrained)
    assert problems == []
    assert len(origins) >= 18
    from overlap.models import network_names

    trained = [origin.variant for origin in origins if origin.variant.needs_training]
    assert {variant.architecture for variant in trained} <= set(network_names())


def test_the_zoo_has_about_three_hundred_models_of_many_kinds():
    sweep = read_sweep_file(next(path for path in SWEEPS if path.stem == "imagenet-pretrained"))
    models = [model for models in select_pretrained(sweep)[0] for model in models]
    assert 280 <= len(models) <= 340
    assert len({model.framework for model in models}) >= 8
    assert len({model.train_on for model in models}) >= 15
    assert sum(model.weights.library == "open_clip" for model in models) >= 40


def test_the_papers_sweep_covers_all_five_categories():
    sweep = read_sweep_file(next(path for path in SWEEPS if path.stem == "paper"))
    origins, _ = expand(sweep, select_pretrained(sweep)[0])
    counts = pair_categories([origin.variant for origin in origins])
    assert min(counts.values()) >= 6


def test_the_demo_covers_all_five_categories_with_several_members_each():
    plan = plan_sweep(read_sweep_file(SWEEPS[0].with_name("digits.yaml")))
    variants, base = plan.variants, plan.variants[0]
    of_base = [v for v in variants if (v.train_on, v.framework) == (base.train_on, base.framework)]
    same_architecture = [v for v in of_base if v.architecture == base.architecture]
    assert len([v for v in same_architecture if v.hyperparameters == base.hyperparameters]) >= 6 + 1
    assert len([v for v in same_architecture if v.hyperparameters != base.hyperparameters]) >= 8
    assert len({v.architecture for v in of_base}) >= 5
    assert {v.framework for v in variants} == {"supervised", "simclr", "clip", "mae", "dino", "distillation"}
    assert min(sum(v.train_on == name for v in variants) for name in ("digits", "fonts")) >= 5
    assert min(pair_categories(variants).values()) >= 15
