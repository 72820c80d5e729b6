"""kill -9 of an unsupervised driver, three times in one sweep, and Ctrl-C: it ends as an undisturbed run does."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from polars.testing import assert_frame_equal

import overlap
from overlap.launcher import ExecutorKind

DEADLINE_S = 300


# A shell may start its background processes deaf to Ctrl-C: the driver is to hear it.
LAUNCH = "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler);"
LAUNCH += "from overlap.cli import run; sys.exit(run(['sweep', 'launch', sys.argv[1], '--max-restarts', '0']))"


def start(path):
    command = [sys.executable, "-c", LAUNCH, str(path)]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)


def stop_when(path, happened, with_signal=signal.SIGKILL):
    """Launches, waits until something has happened in the store, signals the driver; its errors when it has ended."""
    driver = start(path)
    deadline = time.monotonic() + DEADLINE_S
    while not happened():
        assert driver.poll() is None, f"the driver ended by itself: {driver.stderr.read()}"
        assert time.monotonic() < deadline
        time.sleep(0.005)
    os.kill(driver.pid, with_signal)
    _, errors = driver.communicate(timeout=DEADLINE_S)
    return driver, errors


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_three_kills_change_no_result_and_redo_nothing_that_was_finished(small_sweep):
    reference = overlap.launch(small_sweep(epochs=8, store="reference"), executor=ExecutorKind.INPROCESS)
    path = small_sweep(epochs=8, store="killed")
    folder = path.with_suffix("")

    def files(pattern):
        """What was committed: `glob` also gives the hidden files that are still being written."""
        return sorted(file for file in folder.glob(pattern) if not file.name.startswith("."))

    stop_when(path, lambda: files("checkpoints/*.pt"))
    assert files("checkpoints/*.pt"), "killed in the middle of training"
    stop_when(path, lambda: len(files("weights/*")) >= 2)
    finished = {weights: weights.stat().st_mtime_ns for weights in files("weights/*")}
    stop_when(path, lambda: len(files("results/v1/digits/*")) >= 2)
    finished |= {result: result.stat().st_mtime_ns for result in files("results/v1/digits/*")}
    driver = start(path)
    _, errors = driver.communicate(timeout=DEADLINE_S)
    assert driver.returncode == 0, errors

    assert {file: file.stat().st_mtime_ns for file in finished} == finished
    assert not files("checkpoints/*.pt")
    stores = [overlap.Store(overlap.open_objects(url)) for url in (reference.status.store, str(folder))]
    assert overlap.verify(stores[1], deep=True) == (19, [])
    assert_same(*stores)


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_ctrl_c_ends_the_launch_says_how_to_go_on_and_leaves_no_ray_behind(small_sweep):
    path = small_sweep(epochs=100_000)
    driver, errors = stop_when(path, lambda: sorted(path.with_suffix("").glob("checkpoints/*.pt")), signal.SIGINT)
    assert driver.returncode == 130
    assert errors.splitlines()[-1] == "overlap: interrupted; run the same command again to continue"
    commands = [folder / "cmdline" for folder in Path("/proc").glob("[0-9]*")]
    assert not [c for c in commands if f"/ov-{driver.pid}-".encode() in read_if_there(c)]
    assert not sorted(Path("/tmp").glob(f"ov-{driver.pid}-*"))


def read_if_there(file):
    try:
        return file.read_bytes()
    except OSError:  # the process ended while we looked
        return b""


def assert_same(expected, actual):
    """Two stores of one sweep hold the same weights, results and tables, bit for bit."""
    names = expected.weights_names(), actual.weights_names()
    assert {key: Path(expected.objects.url, name).read_bytes() for key, name in names[0].items()} == {
        key: Path(actual.objects.url, name).read_bytes() for key, name in names[1].items()
    }
    for key, name in expected.result_names("digits").items():
        other = actual.result_names("digits")[key]
        assert expected.read(name).table.equals(actual.read(other).table)
    analyses = overlap.analyze(expected), overlap.analyze(actual)
    for table in ("pairs", "ensembles", "greedy", "categories"):
        assert_frame_equal(*(analysis.tables[table] for analysis in analyses), check_exact=True)
