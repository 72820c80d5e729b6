"""A sweep file becomes its variants."""

import json
import subprocess
import sys

import pytest

from overlap.recipes import RECIPES
from overlap.variants import Category, category

RANDOM = """\
vary:
  - {seed: {range: [1, 3]}}
  - {hyperparameters: {learning_rate: {loguniform: [5.0e-4, 1.0e-2]}, dropout: {uniform: [0, 0.5]}}, samples: 4}
"""


def test_the_base_comes_first_and_then_the_entries_in_file_order(variants_of):
    variants = variants_of("vary:\n  - {seed: [2, 1]}\n  - {architecture: [test_vit, test_convnext]}\n")
    assert [variant.name for variant in variants] == [
        "test_resnet-seed0",
        "test_resnet-seed2",
        "test_resnet-seed1",
        "test_vit-seed0",
        "test_convnext-seed0",
    ]


def test_an_entry_changes_its_fields_and_nothing_else(variants_of):
    base, *others = variants_of("""\
        vary:
          - {seed: 1}
          - {hyperparameters: {dropout: 0.5}}
          - {preprocessing: {size: 64}}
          - {architecture: test_vit}
          - {framework: simclr}
          - {train_on: fonts}
        """)
    kinds = [category(base, other) for other in others]
    assert kinds == [
        Category.REINIT,
        Category.HYPERPARAMETERS,
        Category.HYPERPARAMETERS,
        Category.ARCHITECTURE,
        Category.FRAMEWORK,
        Category.DATASET,
    ]
    assert [other.seed for other in others] == [1, 0, 0, 0, 0, 0]
    assert others[1].hyperparameter_map == base.hyperparameter_map | {"dropout": 0.5}
    assert others[2].preprocessing.size == 64
    assert others[2].preprocessing.interpolation == base.preprocessing.interpolation


def test_an_entry_gives_every_grid_point_with_every_draw(variants_of):
    _, *variants = variants_of("""\
        vary:
          - {seed: [1, 2], hyperparameters: {dropout: [0.1, 0.2], learning_rate: {uniform: [0.1, 0.2]}}, samples: 3}
        """)
    rates = [variant.hyperparameter_map["learning_rate"] for variant in variants]
    assert len(variants) == 12
    assert len(set(rates)) == 3
    assert rates == rates[:3] * 4


def test_a_variant_holds_every_hyperparameter_of_its_framework(variants_of):
    for variant in variants_of("vary:\n  - {framework: simclr}\n"):
        assert list(variant.hyperparameter_map) == sorted(RECIPES[variant.framework].knobs)


def test_the_bases_hyperparameters_are_inherited_where_the_framework_knows_them(variants_of, sweep_text):
    text = sweep_text.replace(
        "train_on: digits}",
        "train_on: digits, hyperparameters: {epochs: 3, label_smoothing: 0.1, augmentation: 0.25}}",
    )
    base, simclr = variants_of("vary:\n  - {framework: simclr}\n", text)
    assert base.hyperparameter_map["label_smoothing"] == 0.1
    assert simclr.hyperparameter_map["epochs"] == 3
    assert simclr.hyperparameter_map["augmentation"] == 0.25
    assert "label_smoothing" not in simclr.hyperparameter_map


def test_an_estimator_has_its_own_hyperparameters_only(variants_of):
    _, estimator = variants_of('vary:\n  - {architecture: "sklearn:SVC", hyperparameters: {C: 2.0}}\n')
    assert estimator.hyperparameters == (("C", 2.0),)
    assert not estimator.needs_training
    assert estimator.name == "sklearn-SVC-C=2-seed0"


def test_a_whole_number_for_a_real_knob_is_the_same_variant(variants_of):
    _, whole = variants_of("vary:\n  - {hyperparameters: {dropout: 0, label_smoothing: 0.5}}\n")
    _, real = variants_of("vary:\n  - {hyperparameters: {dropout: 0.0, label_smoothing: 0.5}}\n")
    assert whole == real
    assert type(whole.hyperparameter_map["dropout"]) is float


def test_every_variant_has_its_own_name(variants_of):
    variants = variants_of("vary:\n  - {hyperparameters: {learning_rate: [0.1, 0.10001]}}\n")
    assert [v.name for v in variants[1:]] == [
        "test_resnet-learning_rate=0.1-seed0",
        "test_resnet-learning_rate=0.1-seed0~2",
    ]


def random_rates(variants):
    changed = [variant for variant in variants if "learning_rate" in variant.name]
    return [variant.hyperparameters for variant in changed]


def test_draws_do_not_change_when_entries_are_added_before_them(variants_of):
    before = random_rates(variants_of(RANDOM))
    assert len(before) == 4
    more = RANDOM.replace("vary:\n", "vary:\n  - {architecture: test_vit}\n  - {train_on: fonts}\n")
    assert random_rates(variants_of(more)) == before


def test_draws_do_not_change_when_more_are_asked_for(variants_of):
    before = random_rates(variants_of(RANDOM))
    after = random_rates(variants_of(RANDOM.replace("samples: 4", "samples: 9")))
    assert len(after) == 9
    assert after[:4] == before


def test_fields_of_one_entry_are_drawn_independently(variants_of):
    text = "vary:\n  - {hyperparameters: {dropout: {uniform: [0, 0.5]}, drop_path: {uniform: [0, 0.5]}}, samples: 9}\n"
    drawn = [variant.hyperparameter_map for variant in variants_of(text)[1:]]
    assert all(values["dropout"] != values["drop_path"] for values in drawn)
    assert len({values["dropout"] for values in drawn}) == 9


SCRIPT = """
import json, sys
from overlap.expand import expand
from overlap.plan import make_plan
from overlap.spec import read_sweep
from overlap.variants import DatasetFacts, SplitFacts
sweep = read_sweep(sys.stdin.read(), path="s.yaml")
names = ("train", "calibration", "test")
facts = {
    d: DatasetFacts(
        name=d, class_names=tuple("0123456789"),
        splits={s: SplitFacts(size=10, fingerprint=f"{d}/{s}") for s in names},
    )
    for d in ("digits", "fonts")
}
origins, _ = expand(sweep)
plan = make_plan(sweep, origins, facts)
print(json.dumps([[j.variant.name, j.key] for j in (*plan.training, *plan.evaluation)]))
"""


@pytest.mark.parametrize("hash_seed", ["1", "4242"])
def test_another_process_finds_the_same_variants_and_keys(plan_of, sweep_text, hash_seed):
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        input=sweep_text + RANDOM,
        env={"PYTHONHASHSEED": hash_seed, "PATH": ""},
        capture_output=True,
        text=True,
        check=True,
    )
    plan = plan_of(RANDOM)
    here = [[job.variant.name, job.key] for job in (*plan.training, *plan.evaluation)]
    assert json.loads(done.stdout) == here


def test_planning_needs_neither_torch_nor_ray():
    heavy = "{'torch', 'ray', 'timm', 'sklearn', 'pyarrow', 'numba'}"
    script = f"import sys, overlap.plan, overlap.schedule, overlap.expand; assert not {heavy} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", script], check=True)
