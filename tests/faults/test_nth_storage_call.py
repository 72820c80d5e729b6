"""Every single storage call of a launch goes wrong once, in every way; the next launch makes it good.

After SQLite's tests of I/O errors. The launch is the real one, in this process, over objects in memory.
"""

import contextlib

import pytest

import overlap
from faults.faulty_objects import ENDS_THE_PROCESS, WRITES, Crash, Fault, FaultyObjects
from invariants import assert_invariants, assert_nothing_redone, committed
from overlap.errors import StoreError
from overlap.launcher import ExecutorKind, Options
from overlap.store import Store
from overlap.store.memory import MemoryObjects

ESTIMATORS = """\
name: five
store: memory
datasets:
  digits: {source: "sklearn:digits", splits: {train: 30, test: 40}}
evaluate_on: [digits]
base: {architecture: "sklearn:GaussianNB", train_on: digits, preprocessing: {size: 8}}
vary:
  - {architecture: ["sklearn:KNeighborsClassifier", "sklearn:DecisionTreeClassifier", "sklearn:BernoulliNB"]}
  - {hyperparameters: {var_smoothing: -1.0}}  # raises, so that a failure is written
"""
NETWORK = """\
name: network
store: memory
datasets:
  digits: {source: "sklearn:digits", splits: {train: 20, test: 10}}
evaluate_on: [digits]
base:
  architecture: test_resnet
  train_on: digits
  preprocessing: {size: 16}
  hyperparameters: {epochs: 2, batch_size: 10}
"""
TRANSIENT = (Fault.ERROR, Fault.LOST_ACK)
MADE_BY_ATTEMPTS = ("results/v1/digits/", "logits/v1/digits/", "weights/", "checkpoints/")
EVERY = {Fault.LASTING_ERROR: 3, Fault.CRASH_BEFORE: 3}  # the n-th call of these tells little more than the one before


class Bench:
    """A sweep, its undisturbed run, and the storage calls of that run."""

    def __init__(self, path):
        self.path = path
        self.plan, _ = overlap.open_plan(path)
        whole = FaultyObjects(MemoryObjects())
        self.counts = self.launch(whole).status.counts
        self.reference = Store(whole.inner)
        self.calls = whole.calls

    def launch(self, objects, *, force=False):
        """The real launch of this sweep, over these objects."""
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("overlap.launcher.open_objects", lambda *_, **__: objects)
            return overlap.launch(self.path, executor=ExecutorKind.INPROCESS, options=Options(force=force))

    def survives(self, fault, nth):
        """One fault at the n-th call of a first launch; what a second launch, without one, must then reach."""
        faulty = FaultyObjects(MemoryObjects(), fault, nth)
        survived = False
        with contextlib.suppress(StoreError, Crash):
            survived = self.launch(faulty).status.counts == self.counts
        assert faulty.hit, f"there is no call {nth}"
        if fault in TRANSIENT and self.calls[nth - 1][1].startswith(MADE_BY_ATTEMPTS):
            assert survived, "an attempt whose storage fails once is tried again by the same launch"
        store = Store(faulty.inner)
        if faulty.fault in ENDS_THE_PROCESS and store.read_lock() is not None:
            assert_invariants(store, reference=self.reference, plan=self.plan)
        before = committed(store)
        again = FaultyObjects(faulty.inner)
        summary = self.launch(again, force=True)
        assert summary.status.counts == self.counts
        assert_invariants(store, reference=self.reference, plan=self.plan)
        assert_nothing_redone(before, store)
        written = {name for method, name in again.calls if method in WRITES}
        paid = {name for name in before if name.replace("logits/", "results/") in before}
        assert not written & paid, "I5: made again what was there"


@pytest.fixture(scope="module")
def estimators(tmp_path_factory):
    return _bench(tmp_path_factory, ESTIMATORS)


@pytest.fixture(scope="module")
def network(tmp_path_factory):
    return _bench(tmp_path_factory, NETWORK)


def _bench(tmp_path_factory, text):
    path = tmp_path_factory.mktemp("sweep") / "sweep.yaml"
    path.write_text(text)
    return Bench(path)


@pytest.mark.parametrize("fault", Fault)
def test_any_storage_call_may_fail_and_the_next_launch_ends_as_if_none_had(estimators, fault):
    assert estimators.counts == {"done": 4, "failed": 1, "pending": 0}
    for nth, method, name in _calls(estimators.calls, fault):
        with _naming(fault, nth, method, name):
            estimators.survives(fault, nth)


@pytest.mark.parametrize("fault", Fault)
def test_any_call_for_weights_or_checkpoints_may_fail_too(network, fault):
    assert network.counts == {"done": 1, "failed": 0, "pending": 0}
    chosen = _calls(network.calls, fault, _of_training)
    assert chosen
    for nth, method, name in chosen:
        with _naming(fault, nth, method, name):
            network.survives(fault, nth)


def _calls(calls, fault, chosen=lambda _method, _name: True):
    """Number, method and name of the calls that this fault is tried at: every chosen one at which it can happen."""
    numbered = [(nth, *call) for nth, call in enumerate(calls, start=1) if chosen(*call)][:: EVERY.get(fault, 1)]
    return [one for one in numbered if fault is not Fault.TORN or one[1] in WRITES]


def _of_training(method, name):
    return "/" in name and name.partition("/")[0] in {"weights", "checkpoints"} and method not in {"names", "stamps"}


@contextlib.contextmanager
def _naming(fault, nth, method, name):
    """Says which fault an assertion failed after."""
    try:
        yield
    except (AssertionError, StoreError, Crash) as error:
        raise AssertionError(f"{fault} at call {nth}, {method}({name!r}): {error or type(error).__name__}") from error


def _damaged(bench):
    """A finished store in which one result is cut off, and the logits of another one are gone."""
    store = Store(MemoryObjects())
    for name in bench.reference.objects.names(""):
        store.objects.create(name, bench.reference.read_bytes(name))
    first, second = store.objects.names("results")[:2]
    store.objects.replace(first, store.read_bytes(first)[:-9])
    store.objects.delete(second.replace("results", "logits", 1))
    return store.objects


@pytest.mark.parametrize("fault", Fault)
def test_a_launch_that_repairs_damage_may_fail_at_any_call_as_well(estimators, fault):
    probe = FaultyObjects(_damaged(estimators))
    assert len(estimators.launch(probe, force=True).put_aside) == 2
    chosen = _calls(probe.calls, fault, _of_repair)
    assert chosen
    for nth, method, name in chosen:
        with _naming(fault, nth, method, name):
            objects = FaultyObjects(_damaged(estimators), fault, nth)
            with contextlib.suppress(StoreError, Crash):
                estimators.launch(objects, force=True)
            estimators.launch(FaultyObjects(objects.inner), force=True)
            store = Store(objects.inner)
            assert overlap.status(store).counts == estimators.counts
            assert_invariants(store, reference=estimators.reference, plan=estimators.plan)


@pytest.mark.parametrize("fault", [*TRANSIENT, *sorted(ENDS_THE_PROCESS)])
def test_weights_that_turn_out_damaged_may_not_even_be_put_aside_and_are_made_anew(network, fault):
    def damaged():
        objects = MemoryObjects()
        for name in network.reference.objects.names(""):
            content = bytearray(network.reference.read_bytes(name))
            content[-1] ^= name.startswith("weights/")
            if not name.startswith(("results/", "logits/")):
                objects.create(name, bytes(content))
        return objects

    probe = FaultyObjects(damaged())
    network.launch(probe, force=True)
    chosen = _calls(probe.calls, fault, _of_repair)
    assert chosen
    for nth, method, name in chosen:
        with _naming(fault, nth, method, name):
            objects = FaultyObjects(damaged(), fault, nth)
            with contextlib.suppress(StoreError, Crash):
                network.launch(objects, force=True)
            network.launch(FaultyObjects(objects.inner), force=True)
            store = Store(objects.inner)
            assert overlap.status(store).counts == network.counts
            assert_invariants(store, reference=network.reference, plan=network.plan)


def _of_repair(method, name):
    return name.startswith(("quarantine/", "weights/")) or method == "delete"
