"""The node's cache of chunks: seals, claims, its limit, and what killed processes leave behind."""

import contextlib
import fcntl
import os
import shutil
import signal
import stat
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from overlap.datasets.decode_cache import ChunkFolder, _locked

SHAPE = (4, 5, 5, 3)
SIZE = 300
ON_DISK = SIZE + 8
KEYS = [letter * 64 for letter in "abcdef"]
HOLDER = """\
import sys, time
from pathlib import Path
from overlap.datasets.decode_cache import ChunkFolder

folder = ChunkFolder(Path(sys.argv[1]), sys.argv[2], limit_bytes=10**6)
with folder.claim(0) as claim:
    claim.reserve(300)
    print("claimed", flush=True)
    time.sleep(600)
"""


def pixels(seed):
    return np.random.default_rng(seed).integers(0, 256, SHAPE, dtype=np.uint8)


def keep(folder, index, content):
    with folder.claim(index) as claim:
        claim.reserve(content.nbytes)
        return claim.keep(content)


def held_bytes(cache):
    return sum(path.stat().st_size for path in cache.rglob("*") if path.is_file())


@pytest.fixture
def opened(tmp_path):
    """Opens folders of a cache that holds so many chunks."""

    def opened(key=KEYS[0], *, chunks=100):
        return ChunkFolder(tmp_path / "cache", key, limit_bytes=chunks * ON_DISK)

    return opened


@pytest.fixture
def holder(tmp_path):
    """Another process that has claimed the first chunk of the first folder, and sleeps."""
    command = [sys.executable, "-c", HOLDER, str(tmp_path / "cache"), KEYS[0]]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "claimed\n"
        yield process
        process.kill()


def test_a_chunk_that_was_kept_is_read_by_all_and_written_by_none(opened):
    assert opened().read(0, SHAPE) is None
    assert keep(opened(), 0, pixels(0))
    read = opened().read(0, SHAPE)
    np.testing.assert_array_equal(read, pixels(0))
    assert not read.flags.writeable
    assert opened().read(1, SHAPE) is None


def test_only_the_owner_can_read_the_cache(opened, tmp_path):
    old = os.umask(0)
    try:
        keep(opened(), 0, pixels(0))
    finally:
        os.umask(old)
    paths = [tmp_path / "cache", *(tmp_path / "cache").rglob("*")]
    assert {stat.S_IMODE(path.stat().st_mode) for path in paths} == {0o700, 0o600}


def test_a_chunk_has_one_claimant_at_a_time(opened):
    first, second = opened(), opened()
    with first.claim(0) as claim, second.claim(0) as other, second.claim(1) as elsewhere:
        assert claim is not None
        assert other is None
        assert elsewhere is not None
    with second.claim(0) as claim:
        assert claim is not None


def test_a_claim_that_is_given_up_leaves_nothing(opened, tmp_path):
    folder = opened()
    with contextlib.suppress(ValueError), folder.claim(0) as claim:
        claim.reserve(SIZE)
        raise ValueError
    assert held_bytes(tmp_path / "cache") == 0
    assert [path.name for path in folder.path.iterdir()] == [".open"]


def test_the_claim_of_a_killed_process_is_free_and_its_file_is_swept(opened, holder, tmp_path):
    before = opened()
    with before.claim(0) as claim:
        assert claim is None
    assert held_bytes(tmp_path / "cache") == ON_DISK
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    with before.claim(0) as claim:
        assert claim is not None
    assert held_bytes(tmp_path / "cache") == 0


def test_a_file_that_got_its_name_between_opening_and_locking_it_is_left_alone(opened, monkeypatch):
    folder, lock = opened(), fcntl.flock
    temporary, chunk = folder.path / "000000.u8.tmp", folder.path / "000000.u8"

    def late(descriptor, operation):
        if not chunk.exists():
            temporary.rename(chunk)
        lock(descriptor, operation)

    monkeypatch.setattr(fcntl, "flock", late)
    with folder.claim(0) as claim:
        claim.reserve(SIZE)
        assert (chunk.stat().st_size, temporary.stat().st_size) == (0, ON_DISK)


def test_opening_sweeps_what_a_killed_process_left_but_not_a_claim_in_use(opened, holder):
    (temporary,) = opened().path.glob("*.tmp")
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    assert temporary.exists()
    opened()
    assert not temporary.exists()


@pytest.mark.parametrize("damage", ["cut", "flip", "seal", "zeros", "other place", "other folder"])
def test_a_chunk_that_is_not_what_its_seal_says_is_not_there(opened, damage):
    folder = opened()
    keep(folder, 0, pixels(0))
    assert folder.read(0, SHAPE) is not None
    path, read = folder.path / "000000.u8", lambda: folder.read(0, SHAPE)
    content = bytearray(path.read_bytes())
    content[150 if damage == "flip" else -1] ^= 1
    if damage == "cut":
        os.truncate(path, 200)
    elif damage in ("flip", "seal"):
        path.write_bytes(content)
    elif damage == "zeros":
        path.write_bytes(bytes(ON_DISK))
    elif damage == "other place":
        path.rename(folder.path / "000001.u8")
        read = lambda: folder.read(1, SHAPE)  # noqa: E731
    else:
        other = opened(KEYS[1])
        shutil.copy(path, other.path / "000000.u8")
        read = lambda: other.read(0, SHAPE)  # noqa: E731
    assert read() is None
    if damage in ("cut", "flip", "seal", "zeros"):
        assert keep(folder, 0, pixels(0))
        np.testing.assert_array_equal(read(), pixels(0))


def test_a_chunk_of_another_shape_is_not_there(opened):
    keep(opened(), 0, pixels(0))
    assert opened().read(0, (5, *SHAPE[1:])) is None


def test_the_least_recently_used_folder_makes_room(opened, tmp_path):
    for used_at, key in enumerate(KEYS[:3]):
        folder = opened(key, chunks=3)
        keep(folder, 0, pixels(0))
        os.utime(folder.path / ".open", (used_at, used_at))
        folder.close()
    opened(KEYS[0], chunks=3).close()  # used again
    newest = opened(KEYS[3], chunks=3)
    assert keep(newest, 0, pixels(3))
    left = {path.name for path in (tmp_path / "cache").iterdir() if path.is_dir()}
    assert left == {KEYS[0], KEYS[2], KEYS[3]}
    assert held_bytes(tmp_path / "cache") == 3 * ON_DISK


def test_a_folder_in_use_stays_and_the_limit_holds(opened, tmp_path):
    used, unused = opened(KEYS[0], chunks=2), opened(KEYS[1], chunks=2)
    keep(used, 0, pixels(0))
    keep(unused, 0, pixels(1))
    with pytest.raises(OSError, match="limit"):
        keep(opened(KEYS[2], chunks=2), 0, pixels(2))
    unused.close()
    assert keep(opened(KEYS[2], chunks=2), 0, pixels(2))
    assert opened(KEYS[1]).read(0, SHAPE) is None
    np.testing.assert_array_equal(used.read(0, SHAPE), pixels(0))
    assert held_bytes(tmp_path / "cache") == 2 * ON_DISK


def test_nothing_is_removed_when_that_would_not_be_enough(opened):
    used, unused = opened(KEYS[0], chunks=3), opened(KEYS[1], chunks=3)
    for index in range(2):
        keep(used, index, pixels(index))
    keep(unused, 0, pixels(0))
    unused.close()
    with opened(KEYS[2], chunks=3).claim(0) as claim, pytest.raises(OSError, match="limit"):
        claim.reserve(2 * SIZE)
    assert opened(KEYS[1]).read(0, SHAPE) is not None


def test_a_chunk_counts_from_its_reservation(opened):
    folder = opened(chunks=1)
    with folder.claim(0) as first, folder.claim(1) as second:
        first.reserve(SIZE)
        with pytest.raises(OSError, match="limit"):
            second.reserve(SIZE)


def test_without_a_limit_half_of_the_free_disk_is_taken(tmp_path):
    folder = ChunkFolder(tmp_path / "cache", KEYS[0], limit_bytes=None)
    free = shutil.disk_usage(tmp_path).free
    with folder.claim(0) as claim:
        claim.reserve(free // 4)
    with folder.claim(0) as claim, pytest.raises(OSError, match="limit"):
        claim.reserve(free * 3 // 4)


def test_whoever_opens_a_folder_while_it_is_removed_gets_a_new_one(opened):
    folder = opened()
    folder.close()
    lock = os.open(folder.path / ".open", os.O_RDWR)
    fcntl.flock(lock, fcntl.LOCK_EX)
    with ThreadPoolExecutor(1) as pool:
        opening = pool.submit(opened)
        while not waits_for_a_lock():
            pass
        shutil.rmtree(folder.path)
        os.close(lock)
        assert keep(opening.result(), 0, pixels(0))
    assert opened().read(0, SHAPE) is not None


def waits_for_a_lock():
    locks = Path("/proc/locks").read_text().splitlines()
    return any("->" in line and "FLOCK" in line and f" {os.getpid()} " in line for line in locks)


def test_a_folder_that_was_deleted_under_its_readers_refuses_claims_only(opened):
    folder = opened()
    keep(folder, 0, pixels(0))
    mapped = folder.read(0, SHAPE)
    shutil.rmtree(folder.path.parent)
    assert folder.read(0, SHAPE) is None
    with pytest.raises(OSError, match="No such file"):
        keep(folder, 1, pixels(1))
    np.testing.assert_array_equal(mapped, pixels(0))


def test_many_at_once_never_lose_a_chunk_of_an_open_folder_nor_pass_the_limit(opened, tmp_path):
    over = []

    def use(worker):
        rng, kept = np.random.default_rng(worker), 0
        for _ in range(60):
            seed = int(rng.integers(5))
            folder = opened(KEYS[seed], chunks=3)
            try:
                if folder.read(0, SHAPE) is None:
                    kept += keep_if_free(folder, seed)
                chunk = folder.read(0, SHAPE)
                if chunk is not None:
                    np.testing.assert_array_equal(chunk, pixels(seed))
                    assert folder.read(0, SHAPE) is not None
            finally:
                folder.close()
        return kept

    def watch(done):
        while not done.is_set():
            with contextlib.suppress(FileNotFoundError), _locked(tmp_path / "cache" / ".room"):
                over.append(held_bytes(tmp_path / "cache") > 3 * ON_DISK)

    done = threading.Event()
    with ThreadPoolExecutor(5) as pool:
        watching = pool.submit(watch, done)
        try:
            kept = list(pool.map(use, range(4)))
        finally:
            done.set()
        watching.result()
    assert sum(kept) > 5
    assert not any(over)


def keep_if_free(folder, seed):
    with contextlib.suppress(OSError), folder.claim(0) as claim:
        if claim is not None:
            claim.reserve(SIZE)
            return claim.keep(pixels(seed))
    return False
