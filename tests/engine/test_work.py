"""What a worker makes of an attempt that cannot end well, and what the launch does about it."""

from dataclasses import replace

import pytest

import overlap
from overlap.errors import StoreError, StoreFullError
from overlap.launcher import ExecutorKind, open_plan
from overlap.schedule import Attempt, Outcome
from overlap.store import Store, open_objects
from overlap.store.memory import MemoryObjects
from overlap.work import plain_line, run_attempt
from overlap.workplace import Workplace

SWEEP = """\
name: work
store: {store}
datasets:
  digits: {{source: "sklearn:digits", splits: {{train: 40, test: 60}}}}
evaluate_on: [digits]
base: {{architecture: test_efficientnet, train_on: digits, hyperparameters: {{epochs: 1, batch_size: 20}}}}
vary:
  - {{architecture: "sklearn:GaussianNB", preprocessing: {{size: 8}}}}
"""


@pytest.fixture
def sweep(tmp_path):
    path = tmp_path / "sweep.yaml"
    path.write_text(SWEEP.format(store=tmp_path / "store"))
    return path


@pytest.fixture
def estimator(sweep):
    """The attempt at an evaluation that needs no weights, and its workplace."""
    plan, _ = open_plan(sweep)
    workplace = Workplace(datasets={spec.name: spec for spec in plan.sweep.datasets}, facts=plan.datasets)
    return Attempt(job=plan.evaluation[1], batch_size=64), workplace


class Refuses(MemoryObjects):
    """A store that cannot be written."""

    def __init__(self, error):
        super().__init__()
        self.error = error

    def create(self, name, content):
        raise self.error


@pytest.mark.parametrize(
    ("error", "outcome"),
    [(StoreFullError("no space"), Outcome.DISK_FULL), (StoreError("no answer"), Outcome.STORE_FAILED)],
)
def test_a_store_that_fails_is_not_the_variants_fault(estimator, error, outcome):
    attempt, workplace = estimator
    ended = run_attempt(attempt, workplace, Refuses(error))
    assert (ended.outcome, ended.cause) == (outcome, f"{type(error).__name__}: {error}")


def test_a_dataset_that_has_changed_since_the_launch_gives_no_result(estimator):
    attempt, workplace = estimator
    facts = workplace.facts["digits"]
    other = replace(facts, splits={**facts.splits, "test": replace(facts.splits["test"], fingerprint="another")})
    objects = MemoryObjects()
    ended = run_attempt(attempt, replace(workplace, facts={"digits": other}), objects)
    assert ended.outcome is Outcome.RAISED
    assert "dataset 'digits' is not what it was when the sweep was launched" in ended.cause
    assert objects.names("") == []


def test_weights_that_are_found_damaged_are_put_aside_and_trained_anew(sweep):
    overlap.launch(sweep, executor=ExecutorKind.INPROCESS)
    store = Store(open_objects(str(sweep.parent / "store")))
    (weights,) = store.weights_names().values()
    whole = store.read_bytes(weights)
    (result,) = [name for name in store.result_names("digits").values() if "efficientnet" in name]
    table = store.read(result).table
    for name in (result, result.replace("results", "logits", 1)):
        store.objects.delete(name)
    stamps = store.objects.stamps("results")
    damaged = whole[:-5] + bytes([whole[-5] ^ 1]) + whole[-4:]
    store.objects.replace(weights, damaged)
    store.objects.delete(".stamps.json")  # the launch looks at the frame of what it never saw, the worker at all of it

    summary = overlap.launch(sweep, executor=ExecutorKind.INPROCESS)
    assert (summary.resumed, summary.ran) == (1, 1)
    assert store.read_bytes(f"quarantine/{weights}.1") == damaged
    assert store.read_bytes(weights) == whole
    assert store.read(result).table.equals(table)
    assert stamps.items() < store.objects.stamps("results").items()
    (record,) = store.failures()
    assert (record.outcome, record.final) == ("input damaged", False)


@pytest.mark.parametrize(
    ("line", "plain"),
    [
        ("as it is: κ", "as it is: κ"),
        ("bell \a and \x1b[31mred", "bell \\x07 and \\x1b[31mred"),
        ("half a pair \udcff", "half a pair \\udcff"),
        ("x" * 501, "x" * 500 + " ... (501 characters)"),
    ],
)
def test_what_is_stored_of_a_message_can_be_printed_anywhere(line, plain):
    assert plain_line(line) == plain
