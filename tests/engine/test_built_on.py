"""Variants that need another one: students of a teacher, and estimators on a network's embeddings."""

import itertools
import textwrap

import pytest

from overlap.expand import expand
from overlap.plan import in_order
from overlap.schedule import Outcome
from overlap.spec import read_sweep
from overlap.store.failures import Failure
from overlap.survey import Contents, survey

STUDENTS = """\
vary:
  - {framework: distillation}
  - {framework: distillation, seed: 1, built_on: test_resnet-distillation-seed0}
  - {architecture: "sklearn:SVC", built_on: test_resnet-seed0}
"""


def contents(weights=(), results=(), failures=()):
    return Contents(weights={key[:16] for key in weights}, results={"digits": results}, failures=failures)


def failed(job):
    return Failure(
        variant=job.variant.name,
        dataset=job.dataset,
        stage=job.stage,
        key=job.key,
        attempt=1,
        outcome=Outcome.RAISED,
        cause="x",
        last_lines=(),
        seconds=1.0,
        final=True,
        batch_size=1,
        node="",
    )


def test_a_student_has_the_base_for_its_teacher_unless_it_names_one(variants_of):
    base, first, second, probe = variants_of(STUDENTS)
    assert first.built_on == base
    assert second.built_on == first
    assert second.name == "test_resnet-distillation-on-test_resnet-distillation-seed0-seed1"
    assert probe.built_on == base
    assert probe.training_data == ("digits",)


def test_an_estimator_sees_what_its_network_sees(variants_of):
    _, wide, probe = variants_of("""\
        vary:
          - {preprocessing: {size: 64}}
          - {architecture: "sklearn:SVC", built_on: test_resnet-size=64-seed0}
        """)
    assert probe.built_on == wide
    assert probe.preprocessing == wide.preprocessing


@pytest.mark.parametrize(
    ("vary", "message"),
    [
        (
            "- {framework: distillation, built_on: test_resnet-sed0}",
            "'test_resnet-sed0' is no variant that 'test_resnet-distillation-on-test_resnet-sed0-seed0' can be built "
            "on; did you mean 'test_resnet-seed0'?",
        ),
        (
            "- {framework: distillation, built_on: test_resnet-distillation-on-test_resnet-seed0-seed0}",
            "is no variant that",
        ),
        ("- {seed: 1, built_on: test_resnet-seed0}", "only a distillation or an estimator can be built on a variant"),
    ],
)
def test_what_cannot_be_built_on_is_refused(sweep_text, vary, message):
    _, problems = expand(read_sweep(f"{sweep_text}vary:\n  {vary}\n", path="s.yaml"))
    assert len(problems) == 1
    assert message in problems[0].message


def test_two_variants_that_are_built_on_each_other_are_refused(sweep_text):
    first, second = "test_resnet-distillation-on-B-seed1", "test_resnet-distillation-on-A-seed2"
    text = sweep_text + textwrap.dedent("""\
        vary:
          - {framework: distillation, seed: 1, built_on: B}
          - {framework: distillation, seed: 2, built_on: A}
        """).replace("B}", f"{second}}}").replace("A}", f"{first}}}")
    _, problems = expand(read_sweep(text, path="s.yaml"))
    assert problems


def test_a_base_cannot_be_a_student(sweep_text):
    text = sweep_text.replace("train_on: digits}", "train_on: digits, framework: distillation}")
    _, (problem,) = expand(read_sweep(text, path="s.yaml"))
    assert problem.message.startswith("'distillation' needs a teacher")


def test_teachers_are_trained_before_their_students(plan_of):
    plan = plan_of(STUDENTS)
    base, first, second = plan.training
    assert (base.weights_key, first.weights_key, second.weights_key) == ("", base.key, first.key)
    probe = plan.evaluation_on("digits")[3]
    assert probe.weights_key == base.key


def test_a_needed_student_needs_its_teachers_too(plan_of):
    plan = plan_of(STUDENTS)
    base, first, second = plan.training
    results = {job.key[:16] for job in plan.evaluation_on("digits")} - {plan.evaluation_on("digits")[2].key[:16]}
    assert survey(plan, contents(results=results)).training == (base, first, second)
    assert survey(plan, contents([first.key], results)).training == (second,)
    assert survey(plan, contents([second.key], results)).training == ()


def test_a_student_of_a_teacher_that_has_failed_has_failed(plan_of):
    plan = plan_of(STUDENTS)
    base, first, _ = plan.training
    everything = survey(plan, contents(failures=[failed(base)]))
    assert [job.variant.name for job in everything.failed] == [v.name for v in plan.variants]
    assert (everything.training, everything.evaluation) == ((), ())
    some = survey(plan, contents([base.key], failures=[failed(first)]))
    assert [job.variant for job in some.failed] == list(plan.variants[1:3])
    assert survey(plan, contents(failures=[failed(base)]), retry_failed=True).training == plan.training


def test_jobs_that_share_decoded_images_run_side_by_side(plan_of):
    plan = plan_of("""\
        vary:
          - {architecture: ["sklearn:SVC"], preprocessing: {size: 8}}
          - {preprocessing: {size: 64}}
          - {architecture: ["sklearn:LogisticRegression"], preprocessing: {size: 8}}
          - {seed: 1}
        """)
    sizes = [job.variant.preprocessing.size for job in in_order(plan.evaluation_on("digits"))]
    assert len([1 for a, b in itertools.pairwise(sizes) if a != b]) == 2
    jobs = in_order(plan.training)
    assert sorted(job.key for job in jobs) == sorted(job.key for job in plan.training)
