"""What every place for objects promises, held against each implementation."""

import errno
import io
import os
import random
import signal
import subprocess
import sys
import threading
import time

import pytest

from overlap.cli import run
from overlap.errors import LaunchHeldError, StoreError, StoreFullError
from overlap.store.local import LOCK_NAME, LocalObjects
from overlap.store.memory import MemoryObjects
from overlap.store.objects import MissingObjectError

RIVALS = 8


@pytest.fixture(params=["local", "memory", pytest.param("s3", marks=pytest.mark.s3)])
def objects(request, tmp_path):
    if request.param == "s3":
        return request.getfixturevalue("s3").objects()
    return LocalObjects(tmp_path / "store") if request.param == "local" else MemoryObjects()


@pytest.fixture
def local(tmp_path):
    return LocalObjects(tmp_path / "store")


def read(objects, name):
    with objects.open(name) as file:
        return file.read()


def in_threads(work):
    """What each of the rivals gets who do this at the same moment; the work is given a number."""
    results, barrier = [None] * RIVALS, threading.Barrier(RIVALS)

    def one(i):
        barrier.wait()
        results[i] = work(i)

    threads = [threading.Thread(target=one, args=(i,)) for i in range(RIVALS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


class TestObjects:
    """The contract."""

    def test_what_was_created_can_be_read(self, objects):
        assert objects.create("a/b/c.bin", b"\x00\xffcontent") is True
        assert read(objects, "a/b/c.bin") == b"\x00\xffcontent"

    @pytest.mark.parametrize("content", [b"", b"x" * 3_000_000], ids=["empty", "large"])
    def test_objects_may_be_empty_or_large(self, objects, content):
        assert objects.create("a", content)
        assert read(objects, "a") == content

    def test_a_name_is_created_once(self, objects):
        assert objects.create("a", b"first") is True
        assert objects.create("a", b"second") is False
        assert read(objects, "a") == b"first"

    def test_of_all_rivals_exactly_one_creates(self, objects):
        for turn in range(20):
            name = f"race/{turn}"
            won = in_threads(lambda i, name=name: objects.create(name, bytes([i]) * 1000))
            assert sorted(won) == [False] * (RIVALS - 1) + [True]
            assert read(objects, name) == bytes([won.index(True)]) * 1000

    def test_replacing_keeps_the_last_content_whole(self, objects):
        objects.replace("a", b"first, and longer")
        objects.replace("a", b"second")
        assert read(objects, "a") == b"second"
        assert objects.create("a", b"third") is False

    def test_a_reader_never_sees_a_mixture(self, objects):
        objects.replace("a", bytes([255]) * 100_000)

        def work(i):
            if i < 2:
                for turn in range(20):
                    objects.replace("a", bytes([turn * 2 + i]) * 100_000)
                return True
            seen = [read(objects, "a") for _ in range(20)]
            return all(len(content) == 100_000 and len(set(content)) == 1 for content in seen)

        assert all(in_threads(work))

    def test_an_open_reader_keeps_what_it_opened(self, objects):
        objects.replace("a", b"first")
        with objects.open("a") as file:
            objects.replace("a", b"second")
            assert file.read() == b"first"

    def test_a_reader_is_seekable(self, objects):
        objects.create("a", b"0123456789")
        with objects.open("a") as file:
            assert file.seek(-3, io.SEEK_END) == 7
            assert file.read() == b"789"
            assert file.seek(2) == 2
            assert file.read(3) == b"234"
            assert file.tell() == 5

    def test_a_large_object_is_read_in_any_order(self, objects):
        content = random.Random(7).randbytes(20_000_000)
        objects.create("a", content)
        with objects.open("a") as file:
            for start, size in ((-8, 8), (17_000_000, 100), (3, 2_500_000), (9_999_999, 1)):
                at = file.seek(start, io.SEEK_END if start < 0 else io.SEEK_SET)
                assert file.read(size) == content[at : at + size]
            file.seek(1)
            assert file.read() == content[1:]
            assert file.read() == b""
            assert file.read(5) == b""
            file.seek(30_000_000)
            assert file.read() == b""

    def test_opening_what_is_not_there_says_so(self, objects):
        with pytest.raises(MissingObjectError, match=r"results/v1/x\.parquet"):
            objects.open("results/v1/x.parquet")

    def test_names_are_sorted_and_only_those_below_the_folder(self, objects):
        for name in ("r/b", "r/a/z", "r/a/y", "rr/c", "other", "q/r/d"):
            objects.create(name, b"")
        assert objects.names("r") == ["r/a/y", "r/a/z", "r/b"]
        assert objects.names("r/a") == ["r/a/y", "r/a/z"]

    def test_a_folder_that_is_not_there_has_no_names(self, objects):
        assert objects.names("nothing/here") == []
        assert objects.stamps("nothing/here") == {}

    def test_names_that_start_with_a_dot_are_not_listed(self, objects):
        for name in (".a", "r/.b", "r/c"):
            objects.create(name, b"x")
            assert read(objects, name) == b"x"
        assert objects.names("") == ["r/c"]
        assert objects.names("r") == ["r/c"]

    def test_stamps_have_the_names_in_order(self, objects):
        for name in ("r/b", "r/a/z", "rr/c", "r/a.z", "r/a/y"):
            objects.create(name, b"")
        assert list(objects.stamps("r")) == objects.names("r") == sorted(objects.names("r"))

    def test_a_stamp_changes_with_the_content_and_only_then(self, objects):
        for name in ("r/a", "r/b"):
            objects.create(name, b"first")
        before = objects.stamps("r")
        assert objects.create("r/a", b"other") is False
        assert objects.stamps("r") == before
        objects.replace("r/a", b"other")  # as long as the first
        after = objects.stamps("r")
        assert after["r/a"] != before["r/a"]
        assert after["r/b"] == before["r/b"]

    def test_objects_that_come_and_go_meanwhile_disturb_no_listing(self, objects):
        objects.create("r/stays", b"x")

        def work(i):
            for turn in range(20):
                if i < 4:
                    objects.create(f"r/{i}/{turn}", b"x")
                    objects.delete(f"r/{i}/{turn}")
                elif "r/stays" not in objects.stamps("r"):
                    return False
            return True

        assert all(in_threads(work))

    def test_deleting_twice_is_as_deleting_once(self, objects):
        objects.create("a/b", b"x")
        objects.delete("a/b")
        objects.delete("a/b")
        objects.delete("never/was")
        assert objects.names("a") == []
        with pytest.raises(MissingObjectError):
            objects.open("a/b")
        assert objects.create("a/b", b"y") is True

    def test_the_bytes_are_copied(self, objects):
        content = bytearray(b"first")
        objects.create("a", content)
        content[:] = b"other"
        assert read(objects, "a") == b"first"


WRITER = """
import sys
from pathlib import Path
from overlap.store.local import LocalObjects
objects = LocalObjects(Path(sys.argv[1]))
print("ready", flush=True)
turn = int(sys.argv[2])
while True:
    objects.create(f"created/{turn}", turn.to_bytes(4, "little") * 500_000)
    objects.replace("replaced", turn.to_bytes(4, "little") * 500_000)
    turn += 1
"""


def test_a_killed_writer_leaves_every_object_whole_or_absent(local):
    for kill in range(10):
        command = [sys.executable, "-c", WRITER, str(local.root), str(kill * 1000)]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as writer:
            assert writer.stdout.readline() == b"ready\n"
            time.sleep(0.01 + 0.013 * kill)
            os.kill(writer.pid, signal.SIGKILL)
    names = local.names("created")
    assert names
    for name in names:
        assert read(local, name) == int(name.split("/")[1]).to_bytes(4, "little") * 500_000
    if (local.root / "replaced").exists():
        content = read(local, "replaced")
        assert len(content) == 2_000_000
        assert content == content[:4] * 500_000


def test_files_that_start_with_a_dot_are_not_listed(local):
    local.create("a/b", b"x")
    (local.root / "a" / ".b.1234.tmp").write_bytes(b"half")
    assert local.names("a") == ["a/b"]


def test_a_writer_leaves_no_temporary_file(local):
    local.create("a/b", b"x")
    local.create("a/b", b"y")
    local.replace("a/b", b"z")
    assert [path.name for path in (local.root / "a").iterdir()] == ["b"]


def test_only_temporaries_older_than_the_grace_are_removed(local):
    local.create("a/b", b"x")
    old, new = local.root / "a" / ".b.1.tmp", local.root / "a" / ".b.2.tmp"
    for path in (old, new):
        path.write_bytes(b"half")
    os.utime(old, (time.time() - 7200, time.time() - 7200))
    os.utime(local.root / "a" / "b", (0, 0))
    assert local.remove_stale_temporaries() == 1
    assert not old.exists()
    assert new.exists()
    assert read(local, "a/b") == b"x"
    assert local.remove_stale_temporaries(older_than_s=-1) == 1
    assert not new.exists()


@pytest.mark.parametrize("write", ["create", "replace"])
def test_a_folder_that_takes_no_files_is_a_store_error(tmp_path, write):
    (tmp_path / "file").write_bytes(b"")
    local = LocalObjects(tmp_path / "file")
    with pytest.raises(StoreError, match=r"cannot write '.*/file/a/b': Not a directory"):
        getattr(local, write)("a/b", b"x")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
@pytest.mark.parametrize("write", ["create", "replace"])
def test_a_read_only_folder_is_a_store_error(local, write):
    local.create("a/b", b"x")
    (local.root / "a").chmod(0o500)
    with pytest.raises(StoreError, match=r"cannot write '.*/a/c': Permission denied"):
        getattr(local, write)("a/c", b"x")


@pytest.mark.parametrize("write", ["create", "replace"])
def test_a_full_disk_is_a_store_error_that_leaves_nothing(local, write, monkeypatch):
    def full(descriptor):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    message = r"cannot write '.*/a/b': No space left on device; this file alone needs [\d,]+ bytes"
    with pytest.raises(StoreFullError, match=message):
        getattr(local, write)("a/b", b"x")
    assert list((local.root / "a").iterdir()) == []


def test_a_folder_is_no_object(local):
    local.create("a/b", b"x")
    with pytest.raises(StoreError, match=r"cannot read '.*/a': Is a directory"):
        local.open("a")


HOLDER = """
import sys
from pathlib import Path
from overlap.store.local import LocalObjects
with LocalObjects(Path(sys.argv[1])).launch_lock():
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def holder(local):
    """Another process that holds the launch; it ends with the test."""
    command = [sys.executable, "-c", HOLDER, str(local.root)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout.readline() == b"held\n"
        yield process
        process.kill()


def test_one_launch_holds_a_store_and_names_itself(local, holder):
    message = rf"another launch of '.*' is running \(process {holder.pid}\); wait for it or stop it"
    with pytest.raises(LaunchHeldError, match=message), local.launch_lock():
        pass


def test_the_launch_of_a_killed_process_is_free_again(local, holder):
    holder.kill()
    holder.wait()
    with local.launch_lock():
        assert (local.root / LOCK_NAME).read_text() == str(os.getpid())


def test_a_launch_can_follow_another(local):
    for _ in range(2):
        with local.launch_lock():
            pass


SWEEP = """\
name: tiny
store: {store}
datasets: {{digits: {{source: "sklearn:digits", splits: {{train: 60, test: 20}}}}}}
evaluate_on: [digits]
base: {{architecture: "sklearn:GaussianNB", train_on: digits}}
"""


def test_a_second_launch_of_a_sweep_ends_with_its_own_exit_code(local, holder, tmp_path, capsys):
    path = tmp_path / "s.yaml"
    path.write_text(SWEEP.format(store=local.root))
    assert run(["sweep", "launch", str(path), "--executor", "inprocess"]) == 75
    assert f"(process {holder.pid})" in capsys.readouterr().err
    assert [entry.name for entry in local.root.iterdir()] == [LOCK_NAME]
