"""Every sweep file that ships can be planned, and says at its top what to expect."""

from pathlib import Path

import pytest

from overlap.plan import pair_categories
from overlap.preflight import check_models, plan_sweep, read_sweep_file
from overlap.variants import Category

SWEEPS = sorted((Path(__file__).parents[1] / "sweeps").glob("*.yaml"))


@pytest.mark.parametrize("path", SWEEPS, ids=lambda path: path.name)
def test_a_shipped_sweep_can_be_planned(path):
    plan = plan_sweep(read_sweep_file(path))
    check_models(plan, plan.variants)
    assert plan.evaluation
    assert path.read_text().startswith(f"# overlap sweep launch sweeps/{path.name}\n# ")


def test_the_demo_covers_all_five_categories_with_several_members_each():
    plan = plan_sweep(read_sweep_file(SWEEPS[0].with_name("digits.yaml")))
    variants, base = plan.variants, plan.variants[0]
    of_base = [v for v in variants if (v.train_on, v.framework) == (base.train_on, base.framework)]
    same_architecture = [v for v in of_base if v.architecture == base.architecture]
    assert len([v for v in same_architecture if v.hyperparameters == base.hyperparameters]) >= 6 + 1
    assert len([v for v in same_architecture if v.hyperparameters != base.hyperparameters]) >= 8
    assert len({v.architecture for v in of_base}) >= 5
    assert len({v.framework for v in variants}) >= 2
    assert min(sum(v.train_on == name for v in variants) for name in ("digits", "fonts")) >= 5
    assert min(pair_categories(variants)[kind] for kind in Category) >= 15
