"""Variants whose own code does what it should not: each is reported as what it did, and none changes another.

One real launch of everything in `zoo/wild.py`, among variants that behave. Those that follow polluters
ask for two CPUs, as these do: on a machine with two they run in the very process that was polluted.
"""

import json
import os
import subprocess
import sys
import time
from collections import defaultdict
from pathlib import Path
from typing import NamedTuple

import psutil
import pytest

import overlap
from invariants import assert_invariants, assert_nothing_redone, committed
from overlap.launcher import ExecutorKind

pytestmark = [pytest.mark.ray, pytest.mark.slow]

ZOO = Path(__file__).parent / "zoo"
MARK = "OVERLAP_TEST_MARK"  # in the environment of every process of a launch
DEADLINE_S = 1800
TIMEOUT_S = 15  # of those that hang: long enough to get there on a busy machine
HEAD = """\
name: zoo
store: {store}
datasets:
  digits: {{source: "sklearn:digits", splits: {{train: 60, calibration: 40, test: 300}}}}
evaluate_on: [digits]
base:
  architecture: test_efficientnet
  train_on: digits
  preprocessing: {{size: 32}}
  hyperparameters: {{epochs: 1, batch_size: 30}}
vary:
  - {{seed: 1}}
  - {{architecture: "sklearn:GaussianNB", preprocessing: {{size: 8}}}}
"""
AFTER_POLLUTERS = """\
  - {architecture: test_resnet, seed: [2, 3], resources: {cpus: 2}}
  - {architecture: "sklearn:SVC", preprocessing: {size: 8}, resources: {cpus: 2}}
"""
GOOD = 6  # variants
TRACELESS = "the process was killed, or exited, without a trace (out of memory?)"


class End(NamedTuple):
    """How a variant must end: the outcome of each attempt, how many it has, and what each cause says."""

    outcome: str
    attempts: int
    cause: tuple[str, ...]


RAISES = {
    "nan": ("ValueError: expected finite logits, got nan in 40 rows, first in row 0",),
    "inf": ("ValueError: expected finite logits, got inf in 40 rows, first in row 0",),
    "wrong_shape": ("ValueError: the network has (40, 11) outputs, expected 10",),
    "wrong_rows": ("ValueError: expected outputs for 40 images, got 39",),
    "classes": ("ValueError: the network has (40,) outputs, expected 10",),
    "nothing": ("ValueError: the network has (40, 0) outputs, expected 10",),
    "no_tensor": ("AttributeError: 'dict' object has no attribute 'ndim'",),
    "raises": ("RuntimeError: this network raises",),
    "unpicklable": ("UnpicklableError: holds a lock",),
    "unprintable": ("UnprintableError",),
    "surrogates": ("RuntimeError: a file's name that is no text: ",),
    "long_message": ("RuntimeError: xxxxxxxxxx",),
    "cancelled": ("CancelledError: no Exception, a BaseException",),
    "keyboard_interrupt": ("KeyboardInterrupt",),
    "sys_exit": ("SystemExit: a library's idea of an end",),
    "recursion": ("RecursionError: maximum recursion depth exceeded",),
    "train_raises": ("RuntimeError: this network raises",),
    "train_nan": ("ValueError: the loss is nan after epoch 1: try a lower learning rate",),
    "train_unprintable": ("UnprintableError",),
    "train_cancelled": ("CancelledError: no Exception, a BaseException",),
    "train_sys_exit": ("SystemExit: a library's idea of an end",),
}
DIES = {
    "os_exit": (TRACELESS,),
    "sigkill": (TRACELESS,),
    "segv": ("segmentation fault", " in segv (wild.py, line "),
    "abort": ("abort", " in abort (wild.py, line "),
    "train_os_exit": (TRACELESS,),
    "train_segv": ("segmentation fault", " in segv (wild.py, line "),
}
HANGS = {
    "hangs": (f"no end within 0:00:{TIMEOUT_S}", " in wait (threading.py, line "),
    "hangs_in_c": (f"no end within 0:00:{TIMEOUT_S}", " in hangs_in_c (wild.py, line "),
    "train_hangs": (f"no end within 0:00:{TIMEOUT_S}", " in wait (threading.py, line "),
}
OUR_CHECKS = ("nan", "inf", "wrong_shape", "wrong_rows", "classes", "nothing", "no_tensor", "train_nan")
FAILS = {name: End("raised", 1, cause) for name, cause in RAISES.items()}
FAILS |= {name: End("process died", 2, cause) for name, cause in DIES.items()}
FAILS |= {name: End("timed out", 2, cause) for name, cause in HANGS.items()}
FAILS["memory_error"] = End("out of memory", 10, ("MemoryError: never enough",))  # 256, 128, ... 1, and 1 once more
FAILS["train_memory_error"] = End("out of memory", 2, ("MemoryError: never enough",))
SUCCEEDS = ("int_dtype", "half_dtype", "constant", "torch_oom", "prints", "forks", "leaves_a_child", "starts_a_thread")
POLLUTES = ("pollutes", "deletes_cwd", "train_pollutes")


def write_sweep(path, *ways, good=True):
    """Writes a sweep file into the store beside it, with these wild variants among those that behave."""
    named = ", ".join(f"wild_{way}" for way in ways if way not in HANGS and way not in POLLUTES)
    hanging = ", ".join(f"wild_{way}" for way in ways if way in HANGS)
    polluting = ", ".join(f"wild_{way}" for way in ways if way in POLLUTES)
    lines = [HEAD.format(store=path.parent / "store")]
    lines += [f"  - {{architecture: [{hanging}], resources: {{timeout_s: {TIMEOUT_S}}}}}\n"] if hanging else []
    lines += [f"  - {{architecture: [{named}]}}\n"] if named else []
    lines += [f"  - {{architecture: [{polluting}], resources: {{cpus: 2}}}}\n"] if polluting else []
    path.write_text("".join([*lines, AFTER_POLLUTERS if good else ""]))
    return path


def overlap_command(*arguments, tamed=False):
    """Runs the command line with the wild networks among timm's."""
    folders = os.pathsep.join([str(ZOO), *filter(None, [os.environ.get("PYTHONPATH")])])
    environment = {**os.environ, "PYTHONPATH": folders, MARK: str(os.getpid())}
    environment |= {"OVERLAP_TEST_TAMED": "1"} if tamed else {}
    command = [sys.executable, "-m", "overlap", *map(str, arguments)]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=DEADLINE_S, check=False)


class Launched(NamedTuple):
    path: Path
    store: overlap.Store
    run: subprocess.CompletedProcess
    jobs: dict
    failures: dict


@pytest.fixture(scope="module")
def launched(tmp_path_factory):
    """The launch of everything; jobs by variant, failures by variant in the order of their attempts."""
    path = write_sweep(tmp_path_factory.mktemp("zoo") / "zoo.yaml", *FAILS, *SUCCEEDS, *POLLUTES)
    began = time.monotonic()
    run = overlap_command("sweep", "launch", path)
    print(f"{time.monotonic() - began:.0f} s", run.stdout, run.stderr, sep="\n")  # shown if a test fails
    store = overlap.Store(overlap.open_objects(str(path.parent / "store")))
    failures = defaultdict(list)
    for failure in sorted(store.failures(), key=lambda failure: failure.attempt):
        failures[failure.variant].append(failure)
    jobs = {job.variant: job for job in overlap.status(store).jobs}
    return Launched(path, store, run, jobs, failures)


@pytest.fixture(scope="module")
def reference(tmp_path_factory):
    """The store of a launch, in this process, of those that behave."""
    path = write_sweep(tmp_path_factory.mktemp("good") / "good.yaml")
    summary = overlap.launch(path, executor=ExecutorKind.INPROCESS)
    return overlap.Store(overlap.open_objects(summary.status.store))


def test_the_launch_goes_on_to_its_end_and_says_that_a_part_failed(launched):
    assert launched.run.returncode == 2, launched.run.stderr[-4000:]
    assert len(launched.jobs) == GOOD + len(FAILS) + len(SUCCEEDS) + len(POLLUTES)
    assert {job.state.value for job in launched.jobs.values()} == {"done", "failed"}
    assert f"{GOOD + len(SUCCEEDS) + len(POLLUTES)} done, {len(FAILS)} failed" in launched.run.stdout
    assert "overlap: " not in launched.run.stderr, "nothing went wrong but in the variants"


def test_every_other_result_equals_that_of_a_launch_without_them(launched, reference):
    good = reference.require_lock().results["digits"]
    assert len(good) == GOOD
    assert {name: launched.jobs[name].state.value for name in good} == dict.fromkeys(good, "done")
    assert set(reference.result_names("digits")) <= set(launched.store.result_names("digits"))
    assert_invariants(launched.store, reference=reference)


def test_nothing_that_a_variant_has_started_outlives_the_launch(launched):
    _, alive = psutil.wait_procs([one for one in psutil.process_iter() if is_marked(one)], timeout=60)
    assert not alive


def is_marked(process):
    try:
        return process.environ().get(MARK) == str(os.getpid())
    except psutil.Error:  # gone, or not ours
        return False


@pytest.mark.parametrize("way", FAILS)
def test_a_variant_that_cannot_be_evaluated_fails_and_says_why(launched, way):
    expected, name = FAILS[way], f"wild_{way}-seed0"
    assert launched.jobs[name].state.value == "failed"
    failures = launched.failures[name]
    assert [failure.attempt for failure in failures] == list(range(1, expected.attempts + 1))
    assert [failure.final for failure in failures] == [False] * (expected.attempts - 1) + [True]
    assert {failure.outcome for failure in failures} == {expected.outcome}
    assert {failure.stage for failure in failures} == {"train" if way.startswith("train_") else "evaluate"}
    for failure in failures:
        assert [part for part in expected.cause if part not in failure.cause] == []
        assert len(failure.cause) < 1000
        assert sum(map(len, failure.last_lines)) < 20_000
        if way not in OUR_CHECKS and expected.cause != (TRACELESS,):
            assert any(f" in {way.removeprefix('train_')}" in line for line in failure.last_lines)


@pytest.mark.parametrize("way", [*SUCCEEDS, *POLLUTES])
def test_a_variant_that_is_only_odd_has_its_result(launched, way):
    assert launched.jobs[f"wild_{way}-seed0"].state.value == "done"


def test_a_batch_that_does_not_fit_is_halved_until_it_does_and_remembered(launched):
    failures = launched.failures["wild_torch_oom-seed0"]
    assert [(f.outcome, f.batch_size, f.final) for f in failures] == [
        ("out of memory", 256, False),
        ("out of memory", 128, False),
    ]
    assert footer_of(launched, "wild_torch_oom-seed0")["batch_size"] == "64"
    assert [f.batch_size for f in launched.failures["wild_memory_error-seed0"]] == [
        *(2**n for n in reversed(range(9))),
        1,
    ]


def footer_of(launched, variant):
    key = launched.store.require_lock().results["digits"][variant]
    return launched.store.read(launched.store.result_names("digits")[key[:16]]).footer


@pytest.mark.parametrize(("way", "word"), [("raises", "raised"), ("segv", "process died"), ("hangs", "timed out")])
def test_logs_show_how_each_attempt_ended(launched, way, word):
    name = f"wild_{way}-seed0"
    shown = overlap_command("sweep", "logs", launched.path, name).stdout.splitlines()
    for failure in launched.failures[name]:
        start = shown.index(f"evaluate, attempt {failure.attempt}: {word} after {failure.seconds:g} s")
        assert shown[start + 1 : start + 1 + len(failure.last_lines)] == list(failure.last_lines)


def test_what_has_failed_is_not_run_again(launched):
    before, failures = committed(launched.store), launched.store.failures()
    again = overlap_command("sweep", "launch", launched.path)
    assert again.returncode == 2, again.stderr
    assert again.stdout.startswith("0 results made now")
    assert committed(launched.store) == before
    assert launched.store.failures() == failures


def test_what_has_failed_is_run_again_when_asked_for(launched, tmp_path):
    store = tmp_path / "store"
    path = write_sweep(tmp_path / "two.yaml", "raises", "nan")
    first = overlap_command("sweep", "launch", path, "--executor", "inprocess")
    assert first.returncode == 2, first.stderr
    before = committed(overlap.Store(overlap.open_objects(str(store))))
    second = overlap_command("sweep", "launch", path, "--executor", "inprocess", "--retry-failed")
    assert second.returncode == 2, second.stderr
    opened = overlap.Store(overlap.open_objects(str(store)))
    assert sorted((f.variant, f.attempt, f.final) for f in opened.failures()) == [
        (f"wild_{way}-seed0", attempt, True) for way in ("nan", "raises") for attempt in (1, 2)
    ]
    third = overlap_command("sweep", "retry", path, "--executor", "inprocess", "--json", tamed=True)
    assert third.returncode == 0, third.stderr
    shown = json.loads(third.stdout)
    assert (shown["done"], shown["failed"], shown["ran"]) == (GOOD + 2, 0, 2)
    assert_nothing_redone(before, opened)
    assert_invariants(opened)
