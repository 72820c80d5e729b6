"""The private folders of local Rays: whose process is gone goes, with whatever still works in it."""

import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

import overlap
from overlap import ray_cluster
from overlap.launcher import ExecutorKind

SWEEP = """\
name: tiny
store: {store}
datasets:
  digits: {{source: "sklearn:digits", splits: {{train: 60, test: 20}}}}
evaluate_on: [digits]
base: {{architecture: "sklearn:GaussianNB", train_on: digits, preprocessing: {{size: 8}}}}
"""
FOREVER = [sys.executable, "-c", "import time; print('here', flush=True); time.sleep(600)"]


@pytest.fixture
def in_a_ray():
    """Starts a process that works in a folder, as those of a local Ray do; whatever is left ends with the test."""
    started = []

    def start(folder):
        process = subprocess.Popen(FOREVER, env={"RAY_TMPDIR": str(folder)}, stdout=subprocess.PIPE)
        started.append(process)
        assert process.stdout.readline() == b"here\n"
        return process

    yield start
    for process in started:
        process.kill()
        process.wait()
        process.stdout.close()


@pytest.fixture
def folders(monkeypatch):
    """Where the private folders are; short, like theirs."""
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        monkeypatch.setattr(ray_cluster, "_short_folder", lambda: folder)
        yield Path(folder)


def private(folders, process, name):
    """A folder as a launch makes one, with a file in it."""
    folder = folders / f"ov-{process.pid}-{name}"
    folder.mkdir()
    (folder / "log").touch()
    return folder


def ended():
    """A process that is gone."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process


def test_the_folder_of_a_killed_launch_goes_with_what_still_works_in_it(folders, in_a_ray):
    folder = private(folders, ended(), "one")
    orphans = [in_a_ray(folder), in_a_ray(folder)]
    ray_cluster.remove_abandoned_folders()
    assert not folder.exists()
    assert [orphan.wait(timeout=60) for orphan in orphans] == [-9, -9]


def test_a_connection_ends_with_the_folder_and_what_still_writes_into_it(folders, in_a_ray, monkeypatch):
    monkeypatch.setattr(ray_cluster, "_settings", lambda *_, **__: {})
    monkeypatch.setattr("ray.is_initialized", lambda: True)  # of a Ray that ends, agents outlive it by moments
    with ray_cluster.connected(None) as cluster:
        agent = in_a_ray(cluster.folder)
        assert agent.poll() is None
    assert agent.wait(timeout=60) == -9
    assert list(folders.iterdir()) == []


def test_what_belongs_to_a_living_launch_stays(folders, in_a_ray):
    driver = in_a_ray("/somewhere")
    folder = private(folders, driver, "one")
    worker, stranger = in_a_ray(folder), in_a_ray(f"{folder}x")
    private(folders, ended(), "two")
    ray_cluster.remove_abandoned_folders()
    assert list(folders.iterdir()) == [folder]
    assert (folder / "log").exists()
    assert all(process.poll() is None for process in (driver, worker, stranger))


@pytest.mark.parametrize("name", ["ov-", "ov-x-y", "ov-12", "other-1-x"])
def test_other_folders_stay(folders, name):
    (folders / name).mkdir()
    ray_cluster.remove_abandoned_folders()
    assert (folders / name).exists()


def test_a_link_stays(folders):
    (folders / "elsewhere").mkdir()
    link = folders / f"ov-{ended().pid}-one"
    link.symlink_to(folders / "elsewhere")
    ray_cluster.remove_abandoned_folders()
    assert link.exists()


def test_a_launch_that_finds_nothing_to_do_clears_up_too(folders, in_a_ray, tmp_path):
    path = tmp_path / "sweep.yaml"
    path.write_text(SWEEP.format(store=tmp_path / "store"))
    overlap.launch(path, executor=ExecutorKind.INPROCESS)
    folder = private(folders, ended(), "one")
    orphan = in_a_ray(folder)
    assert overlap.launch(path).ran == 0
    assert not folder.exists()
    assert orphan.wait(timeout=60) == -9
