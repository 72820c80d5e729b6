"""A split's pixels: decoded once a node, whatever dies, fills up or stops early."""

import itertools
import multiprocessing
import os
import resource
import signal
import subprocess
import sys
import threading
import time
from collections import OrderedDict
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from overlap.datasets import Split, pixels
from overlap.datasets.pictures import ArrayPictures
from overlap.datasets.pixels import chunk_rows, open_pixels, pixels_key
from overlap.errors import DatasetError
from overlap.preprocessing import pixel_transform
from overlap.variants import Geometry

GEOMETRY = Geometry(size=8, crop_pct=0.9, crop_mode="center", interpolation="bicubic", border=(0.0, 0.0, 0.0))
COUNT = 30
CHUNK_BYTES = 4 * 8 * 8 * 3 + 8
HOLDER = """\
import sys, time
from pathlib import Path
from overlap.datasets.decode_cache import ChunkFolder

with ChunkFolder(Path(sys.argv[1]), sys.argv[2], limit_bytes=10**6).claim(2) as claim:
    print("claimed", flush=True)
    time.sleep(600)
"""


class LoggedPictures:
    """Random pictures; every decoding appends the position to a file that processes share."""

    channels, memory = 3, False

    def __init__(self, log, count=COUNT, broken=()):
        self.log, self.count, self.broken = Path(log), count, broken

    def __len__(self):
        return self.count

    def open(self, position):
        with self.log.open("a") as file:
            file.write(f"{position}\n")
        if position in self.broken:
            raise OSError("image file is truncated")
        rng = np.random.default_rng(position)
        height, width = rng.integers(5, 30, 2)
        return Image.fromarray(rng.integers(0, 256, (height, width, 3), dtype=np.uint8))

    def decoded(self):
        return sorted(int(line) for line in self.log.read_text().split()) if self.log.exists() else []


def split_of(pictures, positions=None):
    positions_N = np.arange(len(pictures)) if positions is None else np.array(positions)
    digests_N = np.zeros((len(positions_N), 32), np.uint8)
    digests_N[:, 0] = positions_N
    return Split(
        pictures=pictures,
        positions_N=positions_N,
        labels_N=np.zeros(len(positions_N), np.int32),
        ids_N=positions_N * 10,
        digests_N=digests_N,
    )


def joined(opened):
    """All rows of an iteration, each of which must come once."""
    out, times = np.zeros(opened.shape, np.uint8), np.zeros(len(opened), int)
    for first, chunk in opened.chunks():
        assert not chunk.flags.writeable
        out[first : first + len(chunk)] = chunk
        times[first : first + len(chunk)] += 1
    assert (times == 1).all()
    return out


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch):
    """Four rows a chunk: eight chunks of the thirty pictures, the last of two; and nothing in memory yet."""
    monkeypatch.setattr(pixels, "CHUNK_ROWS", 4)
    monkeypatch.setattr(pixels, "_memory", OrderedDict())


@pytest.fixture
def pictures(tmp_path):
    return LoggedPictures(tmp_path / "log")


@pytest.fixture
def split(pictures):
    return split_of(pictures)


@pytest.fixture
def expected(tmp_path):
    transform, pictures = pixel_transform(GEOMETRY), LoggedPictures(tmp_path / "other log")
    return np.stack([transform(pictures.open(position)) for position in range(COUNT)])


@pytest.fixture
def cache(tmp_path):
    return tmp_path / "cache"


@pytest.fixture
def opened(split, cache):
    """Opens the pixels, as another process would."""

    def opened(split=split, *, limit_bytes=10**6, threads=2):
        return open_pixels(split, GEOMETRY, cache=cache, limit_bytes=limit_bytes, threads=threads)

    return opened


@pytest.fixture
def holder(split, cache):
    """Another process that has claimed the chunk of rows 8 to 11, and sleeps."""
    command = [sys.executable, "-c", HOLDER, str(cache), pixels_key(split, GEOMETRY)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "claimed\n"
        yield process
        process.kill()


class TestAnyPixels:
    """What the seam promises, of each kind."""

    @pytest.fixture(params=["kept", "memory", "not kept", "no cache"])
    def opened(self, request, split, expected, cache):
        if request.param == "memory":
            split = replace(split, pictures=ArrayPictures(expected))
        if request.param == "no cache":
            cache.write_text("a file")
        limit = 0 if request.param == "not kept" else 10**6
        geometry = replace(GEOMETRY, crop_pct=1.0) if request.param == "memory" else GEOMETRY
        return open_pixels(split, geometry, cache=cache, limit_bytes=limit, threads=2)

    def test_every_row_comes_once(self, opened, expected):
        assert (len(opened), opened.shape) == (COUNT, expected.shape)
        for _ in range(2):
            np.testing.assert_array_equal(joined(opened), expected)

    def test_chunks_are_aligned_and_as_long_as_on_every_machine(self, opened):
        lengths = dict(sorted((first, len(chunk)) for first, chunk in opened.chunks()))
        assert lengths == {0: 4, 4: 4, 8: 4, 12: 4, 16: 4, 20: 4, 24: 4, 28: 2}

    @pytest.mark.parametrize(
        "rows", [slice(None), slice(3, 17), slice(20, 2, -3), [29, 0, 7, 7, 4], [-1], np.zeros(0, int)], ids=str
    )
    def test_rows_are_copied_in_the_order_asked_for(self, opened, expected, rows):
        rows = rows if isinstance(rows, slice) else np.array(rows)
        np.testing.assert_array_equal(opened[rows], expected[rows])
        opened[rows][...] = 0
        np.testing.assert_array_equal(opened[rows], expected[rows])

    def test_a_row_that_is_not_there_is_an_index_error(self, opened):
        with pytest.raises(IndexError):
            opened[np.array([COUNT])]


def test_the_threads_change_no_bit_and_no_count(opened, expected, pictures, cache):
    for threads in (1, 3, 8):
        np.testing.assert_array_equal(joined(opened(threads=threads, limit_bytes=0)), expected)
    assert pictures.decoded() == sorted([*range(COUNT)] * 3)


def test_what_one_opening_decoded_the_next_ones_read(opened, pictures, expected):
    opened()[np.array([9, 25])]
    assert pictures.decoded() == [8, 9, 10, 11, 24, 25, 26, 27]
    np.testing.assert_array_equal(joined(opened()), expected)
    np.testing.assert_array_equal(joined(opened()), expected)
    np.testing.assert_array_equal(opened()[:], expected)
    assert pictures.decoded() == [*range(COUNT)]


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")  # importing torch again would take seconds
def test_processes_build_together_and_decode_each_picture_once(opened, pictures, expected):
    context = multiprocessing.get_context("fork")
    results, start = context.SimpleQueue(), context.Barrier(3)

    def build():
        start.wait()
        results.put((os.getpid(), joined(opened())))

    children = [context.Process(target=build) for _ in range(3)]
    for child in children:
        child.start()
    for _, result in (done := [results.get() for _ in children]):
        np.testing.assert_array_equal(result, expected)
    for child in children:
        child.join()
    assert {pid for pid, _ in done} == {child.pid for child in children}
    assert pictures.decoded() == [*range(COUNT)]


def test_many_iterations_at_once_decode_each_picture_once(opened, pictures, expected):
    with ThreadPoolExecutor(6) as pool:
        for result in pool.map(lambda _: joined(opened()), range(6)):
            np.testing.assert_array_equal(result, expected)
    assert pictures.decoded() == [*range(COUNT)]


def test_a_chunk_that_was_made_while_it_was_being_claimed_is_read(opened, pictures, expected, monkeypatch):
    late = opened()
    claim = late._folder.claim
    monkeypatch.setattr(late._folder, "claim", lambda index: [joined(opened()), claim(index)][1])
    np.testing.assert_array_equal(joined(late), expected)
    assert pictures.decoded() == [*range(COUNT)]


def test_a_chunk_that_another_process_makes_is_left_for_last_and_taken_over_when_it_is_killed(
    opened, holder, pictures, expected
):
    chunks = opened().chunks()
    firsts = [first for first, _ in itertools.islice(chunks, 7)]
    assert firsts == [0, 4, 12, 16, 20, 24, 28]
    assert not set(pictures.decoded()) & {8, 9, 10, 11}
    holder.send_signal(signal.SIGKILL)
    ((first, chunk),) = chunks
    assert first == 8
    np.testing.assert_array_equal(chunk, expected[8:12])
    np.testing.assert_array_equal(joined(opened()), expected)
    assert pictures.decoded() == [*range(COUNT)]


def test_a_process_that_makes_a_chunk_forever_holds_nobody_up(opened, holder, expected, monkeypatch):
    monkeypatch.setattr(pixels, "_PATIENCE_S", 0.1)
    np.testing.assert_array_equal(joined(opened()), expected)
    assert holder.poll() is None


def test_torn_and_altered_chunks_are_decoded_anew(opened, pictures, cache, expected):
    joined(opened())
    _, flipped, cut, swapped, other, *_ = sorted(cache.glob("*/*.u8"))
    content = bytearray(flipped.read_bytes())
    content[77] ^= 16
    flipped.write_bytes(content)
    cut.write_bytes(cut.read_bytes()[:100])
    swapped.write_bytes(other.read_bytes())
    for _ in range(2):
        np.testing.assert_array_equal(joined(opened()), expected)
        assert pictures.decoded() == sorted([*range(COUNT), *range(4, 16)])


def test_what_finds_no_room_is_decoded_again_and_nothing_fails(opened, pictures, cache, expected):
    first = opened(limit_bytes=2 * CHUNK_BYTES)
    np.testing.assert_array_equal(joined(first), expected)
    assert len(list(cache.glob("*/*.u8"))) == 2
    np.testing.assert_array_equal(joined(first), expected)
    assert pictures.decoded() == sorted([*range(COUNT), *range(8, COUNT)])


def test_rows_of_chunks_that_find_no_room_are_decoded_alone(opened, pictures, expected):
    rows = np.array([29, 3, 17])
    np.testing.assert_array_equal(opened(limit_bytes=0)[rows], expected[rows])
    assert pictures.decoded() == [3, 17, 29]


def test_another_split_makes_room_when_nobody_reads_the_first(opened, pictures, cache, expected):
    first = opened(limit_bytes=8 * CHUNK_BYTES)
    joined(first)
    other = split_of(pictures, range(12))
    joined(opened(other, limit_bytes=8 * CHUNK_BYTES))
    assert len(list(cache.glob("*/*.u8"))) == 8
    del first
    joined(opened(other, limit_bytes=8 * CHUNK_BYTES))
    assert len(list(cache.glob("*/*.u8"))) == 3


def test_a_full_disk_costs_the_cache_and_nothing_else(opened, cache, expected):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (CHUNK_BYTES - 1, hard))
    try:
        np.testing.assert_array_equal(joined(opened()), expected)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert [path.name for path in cache.glob("*/*")] == [".open"]


def test_a_cache_folder_that_goes_away_costs_the_cache_and_nothing_else(opened, cache, expected):
    reader = opened()
    chunks = reader.chunks()
    next(chunks)
    chunks.close()
    cache.rename(cache.with_name("gone"))
    np.testing.assert_array_equal(joined(reader), expected)
    assert not cache.exists()


def test_stopping_early_ends_the_work_ahead_and_frees_its_claims(opened, pictures, cache, expected):
    before = threading.active_count()
    with closing(opened().chunks()) as chunks:
        next(chunks)
    assert threading.active_count() == before
    assert not list(cache.glob("*/*.tmp"))
    assert len(pictures.decoded()) < COUNT
    np.testing.assert_array_equal(joined(opened()), expected)


def test_stopping_early_waits_for_the_pictures_in_hand_only(opened, pictures, monkeypatch):
    stop, decode = threading.Event(), pictures.open
    monkeypatch.setattr(pixels, "Event", lambda: stop)
    monkeypatch.setattr(pictures, "open", lambda i: (i < 4 or stop.wait(2.0), decode(i))[1])
    with closing(opened(threads=2).chunks()) as chunks:
        next(chunks)
    assert len(pictures.decoded()) <= 4 + 2


def test_two_chunks_are_made_ahead_and_no_more(opened, pictures):
    with closing(opened().chunks()) as chunks:
        next(chunks)
        wait_until(lambda: len(pictures.decoded()) >= 12)
        time.sleep(0.1)
        assert pictures.decoded() == [*range(12)]
        next(chunks)
        wait_until(lambda: len(pictures.decoded()) >= 16)


def wait_until(true, *, timeout_s=30.0):
    deadline = time.monotonic() + timeout_s
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.005)


@pytest.mark.parametrize("limit_bytes", [10**6, 0])
@pytest.mark.parametrize("read", [joined, lambda opened: opened[np.arange(COUNT)]], ids=["chunks", "rows"])
def test_a_picture_that_cannot_be_decoded_is_named(opened, tmp_path, cache, read, limit_bytes):
    pictures = LoggedPictures(tmp_path / "log", broken=(13,))
    with pytest.raises(DatasetError, match=r"example 130 cannot be decoded: image file is truncated"):
        read(opened(split_of(pictures), limit_bytes=limit_bytes))
    assert not list(cache.glob("*/*.tmp"))


def test_a_picture_in_another_mode_than_its_source_says_is_named(opened, pictures):
    pictures.channels = 1
    with pytest.raises(DatasetError, match=r"example 0 became pixels of shape \(8, 8, 3\); expected \(8, 8, 1\)"):
        joined(opened(split_of(pictures)))


def test_pictures_in_memory_are_decoded_once_a_process_and_never_kept_on_disk(opened, pictures, cache):
    pictures.memory = True
    assert opened() is opened()
    assert pictures.decoded() == [*range(COUNT)]
    assert not cache.exists()


def test_pixels_in_memory_are_bounded(opened, pictures, split, monkeypatch):
    monkeypatch.setattr(pixels, "MEMORY_BYTES", 2 * COUNT * 8 * 8 * 3)
    pictures.memory = True
    a, b, c = (replace(split, digests_N=split.digests_N + i) for i in range(3))
    for asked in (a, b, a, c, a, b):
        opened(asked)
    assert len(pictures.decoded()) == 4 * COUNT


def test_the_key_is_that_of_the_pictures_in_order_and_of_all_that_makes_bytes(split, pictures):
    other_ids = replace(split, ids_N=split.ids_N + 1, labels_N=split.labels_N + 1)
    assert pixels_key(split, GEOMETRY) == pixels_key(other_ids, GEOMETRY)
    grey = LoggedPictures(pictures.log)
    grey.channels = 1
    keys = [
        pixels_key(split, GEOMETRY),
        pixels_key(replace(split, digests_N=split.digests_N[::-1]), GEOMETRY),
        pixels_key(split_of(pictures, range(12)), GEOMETRY),
        pixels_key(split_of(grey), GEOMETRY),
        *(pixels_key(split, replace(GEOMETRY, **change)) for change in ({"size": 9}, {"crop_pct": 0.8})),
    ]
    assert len(set(keys)) == len(keys)


@pytest.mark.parametrize(("size", "rows"), [(8, 512), (224, 512), (256, 256), (384, 128), (1024, 16), (9999, 1)])
def test_a_chunk_has_a_power_of_two_rows_that_fit_96_megabytes(size, rows, monkeypatch):
    monkeypatch.setattr(pixels, "CHUNK_ROWS", 512)
    assert chunk_rows(size * size * 3) == rows


def test_an_empty_split_has_no_chunks(opened, pictures):
    assert list(opened(split_of(pictures, [])).chunks()) == []
