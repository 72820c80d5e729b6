"""A sweep and the facts of its datasets become jobs."""

import pytest

from overlap.plan import Stage, pair_categories
from overlap.variants import Category, key_of

VARY = 'vary:\n  - {seed: [1, 2]}\n  - {architecture: "sklearn:SVC"}\n  - {train_on: fonts}\n'


def test_every_variant_is_evaluated_on_every_dataset_in_file_order(plan_of, sweep_text):
    plan = plan_of(VARY, sweep_text.replace("evaluate_on: [digits]", "evaluate_on: [fonts, digits]"))
    names = [variant.name for variant in plan.variants]
    assert [(job.dataset, job.variant.name) for job in plan.evaluation] == [
        (dataset, name) for dataset in ("fonts", "digits") for name in names
    ]
    assert [job.variant.name for job in plan.evaluation_on("digits")] == names


def test_a_network_is_trained_once_and_an_estimator_never(plan_of, sweep_text):
    plan = plan_of(VARY, sweep_text.replace("evaluate_on: [digits]", "evaluate_on: [fonts, digits]"))
    assert [job.variant.name for job in plan.training] == [
        "test_resnet-seed0", "test_resnet-seed1", "test_resnet-seed2", "test_resnet-fonts-seed0"
    ]  # fmt: skip
    assert all(job.stage is Stage.TRAIN and job.dataset == job.variant.train_on for job in plan.training)


def test_an_evaluation_names_the_weights_it_needs(plan_of):
    plan = plan_of(VARY)
    weights = {job.variant.name: job.key for job in plan.training}
    assert [job.weights_key for job in plan.evaluation] == [
        weights.get(job.variant.name, "") for job in plan.evaluation
    ]
    assert plan.evaluation[3].weights_key == ""


def test_every_key_is_the_hash_of_its_configuration_and_no_two_are_the_same(plan_of):
    plan = plan_of(VARY)
    jobs = (*plan.training, *plan.evaluation)
    assert all(job.key == key_of(job.config) for job in jobs)
    assert len({job.key for job in jobs}) == len(jobs)


def test_training_costs_three_passes_an_epoch(plan_of):
    job, *_ = plan_of("vary:\n  - {hyperparameters: {epochs: 7}}\n").training[1:]
    assert job.cost == 3 * 7 * 10


def test_an_evaluation_costs_the_examples_it_reads(plan_of):
    network, *_, estimator = plan_of('vary:\n  - {architecture: "sklearn:SVC"}\n').evaluation
    assert network.cost == 20  # calibration and test
    assert estimator.cost == 20 + 5 * 10


def test_pairs_are_counted_in_every_category(plan_of):
    plan = plan_of("vary:\n  - {seed: [1, 2]}\n  - {architecture: test_vit}\n")
    assert pair_categories(plan.variants) == {
        Category.REINIT: 3,
        Category.HYPERPARAMETERS: 0,
        Category.ARCHITECTURE: 3,
        Category.FRAMEWORK: 0,
        Category.DATASET: 0,
    }


@pytest.mark.parametrize("vary", ["", "vary: []\n"])
def test_a_sweep_of_its_base_alone_is_a_plan(plan_of, vary):
    plan = plan_of(vary)
    assert [len(plan.variants), len(plan.training), len(plan.evaluation)] == [1, 1, 1]
