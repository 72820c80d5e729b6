"""What every executor must do; one class, run on each of them."""

import io
import os
import signal
import sys
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from overlap.errors import ClusterError
from overlap.launcher import open_plan
from overlap.plan import Stage
from overlap.resources import Resources
from overlap.schedule import Attempt, Outcome
from overlap.store import Store
from overlap.store.local import LocalObjects
from overlap.workplace import Workplace

pytestmark = pytest.mark.filterwarnings("ignore")  # Ray's own
DEADLINE_S = 120


@pytest.fixture
def bench(small_sweep):
    """A plan with its store, and the workplace of its workers."""
    plan, store = open_plan(small_sweep(epochs=1))
    store.write_sweep(plan.sweep.text, _lock(plan))
    return plan, store, Workplace(datasets={spec.name: spec for spec in plan.sweep.datasets}, facts=plan.datasets)


def _lock(plan):
    from overlap.store import lock_of

    return lock_of(plan)


@pytest.fixture(
    params=["inprocess", pytest.param("pool", marks=pytest.mark.ray), pytest.param("tune", marks=pytest.mark.ray)]
)
def executor(request, bench):
    _, store, workplace = bench
    if request.param == "inprocess":
        from overlap.inprocess_executor import InProcessExecutor

        made = InProcessExecutor(workplace, store.objects)
    else:
        cluster = request.getfixturevalue("ray_here")
        from overlap.ray_executor import make_ray_executor

        stage = Stage.TRAIN if request.param == "tune" else Stage.EVALUATE
        made = make_ray_executor(stage, [Resources()], workplace, store.objects.url, cluster)
    yield made
    made.close()


def attempt_at(job, **changes):
    return Attempt(job=replace(job, variant=replace(job.variant, **changes)), batch_size=64)


def run_all(executor, attempts):
    """Starts attempts as they fit and collects every end."""
    waiting, ended, running = list(attempts), [], 0
    while len(ended) < len(attempts):
        running += start_some(executor, waiting)
        ends = executor.wait() if running or waiting else []
        running -= len(ends)
        ended += ends
    return ended


def start_some(executor, waiting):
    """Starts as many waiting attempts as the executor offers to take; how many."""
    demand = Counter(attempt.job.resources for attempt in waiting)
    slots = executor.offer(demand).slots
    starting = [a for needs, count in slots.items() for a in [w for w in waiting if w.job.resources == needs][:count]]
    for attempt in starting:
        waiting.remove(attempt)
        executor.start(attempt)
    return len(starting)


def start_now(executor, attempts):
    """Starts attempts, waiting for workers as long as it takes."""
    waiting, deadline = list(attempts), time.monotonic() + DEADLINE_S
    while waiting:
        assert time.monotonic() < deadline
        if not start_some(executor, waiting):
            assert executor.wait() == []


def next_end(executor):
    """The next end of an attempt."""
    deadline = time.monotonic() + DEADLINE_S
    while time.monotonic() < deadline:
        if ends := executor.wait():
            return ends[0]
        executor.offer({})
    raise TimeoutError


class TestExecutor:
    def test_every_attempt_ends_once_and_a_variant_that_raises_disturbs_no_other(self, bench, executor):
        plan, store, _ = bench
        first, second = plan.training[:2]
        attempts = [
            attempt_at(first),
            attempt_at(replace(first, key="f" * 64), architecture="no_such_model"),
            attempt_at(second),
        ]
        ended = {end.attempt: end for end in run_all(executor, attempts)}
        assert set(ended) == set(attempts)
        assert [ended[a].outcome for a in attempts] == [Outcome.DONE, Outcome.RAISED, Outcome.DONE]
        assert "no_such_model" in ended[attempts[1]].cause
        assert ended[attempts[1]].last_lines[-1].startswith("RuntimeError")
        assert set(store.weights_names()) == {first.key[:16], second.key[:16]}

    def test_work_that_is_there_already_is_not_done_again(self, bench, executor):
        plan, store, _ = bench
        job = plan.training[0]
        run_all(executor, [attempt_at(job)])
        (name,) = store.weights_names().values()
        written = Path(store.objects.url, name).stat().st_mtime_ns
        (end,) = run_all(executor, [Attempt(job=job, number=2, batch_size=64)])
        assert end.outcome is Outcome.DONE
        assert Path(store.objects.url, name).stat().st_mtime_ns == written

    def test_a_store_that_cannot_be_written_is_not_the_variants_fault(self, bench, executor):
        plan, store, _ = bench
        Path(store.objects.url, "weights").write_text("a file where the folder should be")
        (end,) = run_all(executor, [attempt_at(plan.training[0])])
        assert end.outcome is Outcome.STORE_FAILED


def workers_of(cluster):
    """Process ids of the workers that run an actor on this Ray."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            title = (folder / "cmdline").read_bytes()
            parent = (folder / "stat").read_text().rpartition(")")[2].split()[1]
            raylet = Path("/proc", parent, "cmdline").read_bytes()
        except OSError:  # it ended while we looked
            continue
        busy = title.startswith((b"ray::Worker", b"ray::ImplicitFunc", b"ray::_trial"))
        if busy and str(cluster.folder).encode() in raylet:
            found.append(int(folder.name))
    return found


@pytest.mark.ray
@pytest.mark.parametrize("stage", [Stage.TRAIN, Stage.EVALUATE])
def test_a_worker_that_is_killed_is_reported_and_replaced(bench, ray_here, stage):
    from overlap.ray_executor import make_ray_executor

    plan, store, workplace = bench
    executor = make_ray_executor(stage, [Resources()], workplace, store.objects.url, ray_here)
    job = plan.training[0]
    start_now(executor, [attempt_at(with_epochs(job, 10**5))])
    deadline = time.monotonic() + DEADLINE_S
    while not list(Path(store.objects.url).glob("checkpoints/*.pt")):
        assert time.monotonic() < deadline
        assert executor.wait() == []
    for pid in workers_of(ray_here):
        os.kill(pid, signal.SIGKILL)
    end = next_end(executor)
    assert end.outcome is Outcome.PROCESS_DIED
    assert end.cause == "the process was killed, or exited, without a trace (out of memory?)"
    assert end.node
    (end,) = run_all(executor, [attempt_at(plan.training[2])])
    assert end.outcome is Outcome.DONE
    executor.close()


@pytest.mark.ray
def test_a_training_that_was_killed_goes_on_where_it_was_and_ends_with_the_same_weights(bench, ray_here, tmp_path):
    from overlap.inprocess_executor import InProcessExecutor
    from overlap.ray_executor import make_ray_executor

    plan, store, workplace = bench
    attempt = attempt_at(with_epochs(plan.training[0], 40))
    reference = Store(LocalObjects(tmp_path / "reference"))
    run_all(InProcessExecutor(workplace, reference.objects), [attempt])

    executor = make_ray_executor(Stage.TRAIN, [Resources()], workplace, store.objects.url, ray_here)
    start_now(executor, [attempt])
    assert executor.wait() == []  # begins the Tuner
    before = wait_for_epoch(store, attempt.job, after=1)
    for pid in workers_of(ray_here):
        os.kill(pid, signal.SIGKILL)
    assert next_end(executor).outcome is Outcome.PROCESS_DIED
    last = epoch_of(store, attempt.job)
    start_now(executor, [replace(attempt, number=2)])
    assert executor.wait() == []
    assert wait_for_epoch(store, attempt.job, after=last) > last >= before
    assert next_end(executor).outcome is Outcome.DONE
    executor.close()
    (expected,), (actual,) = reference.weights_names().values(), store.weights_names().values()
    assert store.read_bytes(actual) == reference.read_bytes(expected)


def with_epochs(job, epochs):
    changed = tuple((name, epochs if name == "epochs" else value) for name, value in job.variant.hyperparameters)
    return replace(job, variant=replace(job.variant, hyperparameters=changed))


def epoch_of(store, job):
    """The last epoch that is checkpointed, or -1."""
    content = store.read_checkpoint(job)
    return -1 if content is None else int(torch.load(io.BytesIO(content), weights_only=True)["epoch"])


def wait_for_epoch(store, job, *, after):
    """The first checkpointed epoch that is later than another one; the training may be through by then."""
    deadline = time.monotonic() + DEADLINE_S
    while (epoch := epoch_of(store, job)) <= after:
        assert time.monotonic() < deadline
        if store.has_weights(job):
            return sys.maxsize
        time.sleep(0.01)
    return epoch


@pytest.mark.ray
def test_workers_that_cannot_start_end_the_run_with_the_reason(bench, ray_here):
    from overlap.ray_executor import make_ray_executor

    plan, store, workplace = bench
    store.objects.delete("sweep.lock.json")  # as on a node that does not share the store's folder
    executor = make_ray_executor(Stage.EVALUATE, [Resources()], workplace, store.objects.url, ray_here)
    with pytest.raises(ClusterError, match=r"workers cannot start: .*is not there on every node"):
        run_all(executor, [attempt_at(plan.training[0])])
    executor.close()


@pytest.mark.ray
def test_no_more_workers_than_the_user_allows(bench, ray_here):
    from overlap.ray_executor import make_ray_executor

    _, store, workplace = bench
    executor = make_ray_executor(Stage.EVALUATE, [Resources()], workplace, store.objects.url, ray_here, max_workers=1)
    for _ in range(5):
        assert sum(executor.offer({Resources(): 7}).slots.values()) <= 1
        executor.wait()
    assert len(executor.idle) + len(executor.starting) == 1
    assert executor.offer({}).slots == {}
    assert (executor.idle, executor.starting) == ([], {})
    executor.close()


@pytest.mark.ray
def test_what_no_machine_has_is_refused_before_anything_starts(bench, ray_here):
    from overlap.ray_executor import make_ray_executor

    _, store, workplace = bench
    needs = Resources(cpus=512, gpus=1)
    with pytest.raises(ClusterError, match="a variant asks for 512 CPUs and 1 GPUs, which no node of the cluster has"):
        make_ray_executor(Stage.EVALUATE, [needs], workplace, store.objects.url, ray_here)
