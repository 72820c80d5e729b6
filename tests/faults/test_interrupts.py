"""What ends a launch from outside: signals to the process that a user started, and a reader that goes away."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

import psutil
import pytest

import overlap
from invariants import assert_invariants, assert_nothing_redone, committed

pytestmark = [pytest.mark.ray, pytest.mark.slow]

ZOO = Path(__file__).parent / "zoo"
DEADLINE_S = 300
STOPPING = "overlap: stopping when what runs has finished; once more ends it at once"
INTERRUPTED = "overlap: interrupted; run the same command again to continue"
# Evaluations wait at a gate until the test opens it.
SWEEP = """\
name: gated
store: {store}
datasets:
  digits: {{source: "sklearn:digits", splits: {{train: 30, test: 40}}}}
evaluate_on: [digits]
base:
  architecture: wild_waits
  train_on: digits
  preprocessing: {{size: 8}}
  hyperparameters: {{epochs: 1, batch_size: 30}}
vary:
  - {{seed: [1, 2]}}
"""


class Gated(NamedTuple):
    """A sweep of three variants; the first one waits at the gate when `waiting`, and goes on when it is open."""

    path: Path
    gate: Path

    @property
    def store(self):
        return overlap.Store(overlap.open_objects(str(self.path.parent / "store")))

    @property
    def waiting(self):
        return (self.gate / "waiting").exists()

    def open_gate(self):
        (self.gate / "open").touch()

    def start(self, *options, errors="errors"):
        """A launch that evaluates one variant at a time; its standard error goes to a file."""
        folders = os.pathsep.join([str(ZOO), *filter(None, [os.environ.get("PYTHONPATH")])])
        environment = {**os.environ, "PYTHONPATH": folders, "OVERLAP_TEST_GATE": str(self.gate)}
        command = [sys.executable, "-m", "overlap", "sweep", "launch", str(self.path), *options]
        with (self.path.parent / errors).open("w") as file:
            return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=file, text=True)

    def errors(self, errors="errors"):
        return (self.path.parent / errors).read_text().splitlines()


def make_gated(folder):
    path, gate = folder / "sweep.yaml", folder / "gate"
    gate.mkdir()
    path.write_text(SWEEP.format(store=folder / "store"))
    return Gated(path, gate)


@pytest.fixture
def gated(tmp_path):
    return make_gated(tmp_path)


@pytest.fixture(scope="module")
def reference(tmp_path_factory):
    """The store of an undisturbed launch, one by one in one process."""
    undisturbed = make_gated(tmp_path_factory.mktemp("undisturbed"))
    undisturbed.open_gate()
    launch = undisturbed.start("--executor", "inprocess")
    launch.communicate(timeout=DEADLINE_S)
    assert launch.returncode == 0, undisturbed.errors()
    return undisturbed.store


@contextlib.contextmanager
def launched(gated):
    """A launch that has come to its first evaluation, with all the processes that it has started."""
    launch = gated.start("--max-workers", "1")
    try:
        wait_until(lambda: gated.waiting, launch)
        yield launch, psutil.Process(launch.pid).children(recursive=True)
    finally:
        if launch.poll() is None:
            launch.kill()  # its driver ends with it
        launch.stdout.close()
        launch.wait()


def wait_until(happened, launch):
    deadline = time.monotonic() + DEADLINE_S
    while not happened():
        assert launch.poll() is None, "the launch ended by itself"
        assert time.monotonic() < deadline
        time.sleep(0.02)


def assert_all_gone(processes):
    _, alive = psutil.wait_procs(processes, timeout=DEADLINE_S)
    assert not alive


def assert_continues(gated, reference, before):
    """The same command finishes the sweep, and does nothing twice."""
    gated.open_gate()
    again = gated.start(errors="again")
    again.communicate(timeout=DEADLINE_S)
    assert again.returncode == 0, gated.errors("again")
    assert_nothing_redone(before, gated.store)
    assert_invariants(gated.store, reference=reference)
    assert overlap.status(gated.store).counts == {"done": 3, "failed": 0, "pending": 0}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_asked_once_a_launch_finishes_what_runs_and_says_where_it_stands(gated, reference, number):
    with launched(gated) as (launch, processes):
        launch.send_signal(number)
        wait_until(lambda: STOPPING in gated.errors(), launch)
        assert not gated.store.result_names("digits")
        gated.open_gate()
        shown, _ = launch.communicate(timeout=DEADLINE_S)
        assert launch.returncode == 130
        assert_all_gone(processes)
    assert "1 results made now, 0 were there before\nsweep gated: 3 variants; 1 done, 2 pending\n" in shown
    assert gated.errors() == [STOPPING, INTERRUPTED]
    assert overlap.status(gated.store).counts == {"done": 1, "failed": 0, "pending": 2}
    assert_invariants(gated.store, reference=reference)
    if number is signal.SIGINT:
        assert_continues(gated, reference, committed(gated.store))


def test_asked_twice_a_launch_ends_at_once_and_goes_on_when_launched_again(gated, reference):
    with launched(gated) as (launch, processes):
        launch.send_signal(signal.SIGINT)
        wait_until(lambda: STOPPING in gated.errors(), launch)
        launch.send_signal(signal.SIGINT)
        launch.communicate(timeout=DEADLINE_S)  # although the gate is shut
        assert launch.returncode == 130
        assert_all_gone(processes)
    assert gated.errors() == [STOPPING, INTERRUPTED]
    before = committed(gated.store)
    assert [name for name in before if name.startswith("results/")] == []
    assert_continues(gated, reference, before)


def test_a_launch_whose_reader_has_gone_ends_its_sweep_all_the_same(gated, reference):
    with launched(gated) as (launch, processes):
        launch.stdout.close()
        gated.open_gate()
        launch.wait(DEADLINE_S)
        assert_all_gone(processes)
        assert launch.returncode == 0, gated.errors()
    assert gated.errors() == []
    assert overlap.status(gated.store).counts == {"done": 3, "failed": 0, "pending": 0}
    assert_invariants(gated.store, reference=reference)
