"""A disk with too little space: the launch stops and says how much it lacks, and goes on when there is more."""

import os
import resource
import subprocess
import sys

import pytest

import overlap
from invariants import assert_invariants, assert_nothing_redone, committed
from overlap.launcher import ExecutorKind

pytestmark = pytest.mark.slow

DEADLINE_S = 300
HEAD = """\
name: full
store: {store}
datasets:
  digits: {{source: "sklearn:digits", splits: {{train: 30, test: 300}}}}
evaluate_on: [digits]
"""
# Weights of 425 kB each, results of 20 kB.
NETWORKS = """\
base:
  architecture: test_efficientnet
  train_on: digits
  preprocessing: {size: 32}
  hyperparameters: {epochs: 1, batch_size: 30}
vary:
  - {seed: [1, 2]}
"""
ESTIMATORS = """\
base: {architecture: "sklearn:GaussianNB", train_on: digits, preprocessing: {size: 8}}
vary:
  - {architecture: ["sklearn:KNeighborsClassifier", "sklearn:DecisionTreeClassifier", "sklearn:BernoulliNB"]}
"""


@pytest.fixture
def disk(tmp_path):
    """A file system of its own, in memory; `mount` sets its size."""
    folder = tmp_path / "disk"
    folder.mkdir()

    def mount(size, *options):
        command = ["mount", "-t", "tmpfs", "-o", ",".join([f"size={size}", *options]), "tmpfs", str(folder)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            pytest.skip(f"cannot mount: {done.stderr.strip()}")
        return folder

    if os.geteuid():
        pytest.skip("only root can mount")
    yield mount
    if folder.is_mount():
        subprocess.run(["umount", str(folder)], check=True)


def write_sweep(path, store, variants):
    path.write_text(HEAD.format(store=store) + variants)
    return path


def launch(path, *options, limit=None):
    """Runs the command line; `limit` is the longest file, in bytes, that it may write."""

    def set_limit():
        if limit is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    command = [sys.executable, "-m", "overlap", "sweep", "launch", str(path), *options]
    return subprocess.run(
        command, capture_output=True, text=True, timeout=DEADLINE_S, preexec_fn=set_limit, check=False
    )


def undisturbed(folder, variants):
    """The store of a launch with space enough, in this process."""
    folder.mkdir()
    summary = overlap.launch(
        write_sweep(folder / "sweep.yaml", folder / "store", variants), executor=ExecutorKind.INPROCESS
    )
    return overlap.Store(overlap.open_objects(summary.status.store))


@pytest.mark.ray
@pytest.mark.parametrize(("variants", "size"), [(NETWORKS, "1m"), (ESTIMATORS, "60k")], ids=["train", "evaluate"])
def test_a_full_disk_stops_the_launch_which_goes_on_when_there_is_space(disk, tmp_path, variants, size):
    reference = undisturbed(tmp_path / "undisturbed", variants)
    folder = disk(size)
    path = write_sweep(tmp_path / "sweep.yaml", folder / "store", variants)
    stopped = launch(path)
    store = overlap.Store(overlap.open_objects(str(folder / "store")))
    print(stopped.stdout, stopped.stderr, committed(store), sep="\n")  # shown if the test fails
    assert stopped.returncode == 4
    before = committed(store)
    assert before, "something was stored while there was space"
    assert not store.failures(), "a full disk is no variant's fault"
    assert_invariants(store, reference=reference)
    assert not list(folder.rglob("*.tmp")), "no space is lost to what was not finished"
    left = len(reference.result_names("digits")) - len(store.result_names("digits"))
    *_, message = stopped.stderr.splitlines()
    assert message.startswith(f"overlap: cannot write '{folder}/store/")
    assert "': No space left on device; this file alone needs " in message
    assert f" bytes. Free about 0.1 MB for the {left} results that are left" in message
    assert message.endswith("run the same command again")

    disk("16m", "remount")
    finished = launch(path)
    assert finished.returncode == 0, finished.stderr
    assert_nothing_redone(before, store)
    assert_invariants(store, reference=reference)
    assert len(committed(store)) == len(committed(reference))


def test_a_disk_without_space_for_the_sweep_itself_is_said_to_be_full(disk, tmp_path):
    folder = disk("4k")
    path = write_sweep(tmp_path / "sweep.yaml", folder / "store", ESTIMATORS)
    stopped = launch(path)
    assert stopped.returncode == 4, stopped.stderr
    assert "No space left on device; this file alone needs " in stopped.stderr
    assert "Traceback" not in stopped.stderr
    disk("16m", "remount")
    finished = launch(path, "--executor", "inprocess")
    assert finished.returncode == 0, finished.stderr
    assert_invariants(overlap.Store(overlap.open_objects(str(folder / "store"))))


def test_a_file_that_may_not_grow_is_a_full_disk_too(tmp_path):
    reference = undisturbed(tmp_path / "undisturbed", NETWORKS)
    path = write_sweep(tmp_path / "sweep.yaml", tmp_path / "store", NETWORKS)
    stopped = launch(path, "--executor", "inprocess", limit=100_000)
    store = overlap.Store(overlap.open_objects(str(tmp_path / "store")))
    assert stopped.returncode == 4, stopped.stderr
    assert "': File too large; this file alone needs " in stopped.stderr
    assert " bytes. Free about 0.1 MB for the 3 results" in stopped.stderr
    assert committed(store) == {}
    assert_invariants(store)
    finished = launch(path, "--executor", "inprocess")
    assert finished.returncode == 0, finished.stderr
    assert_invariants(store, reference=reference)
    assert len(committed(store)) == len(committed(reference))
