"""The index of a source: what is read again, what is not, and what becomes of a damaged cache."""

import hashlib
import os
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from overlap.datasets import index as index_module
from overlap.datasets.index import FileRows, index_files

OLD = time.time_ns() - 60 * 10**9


@pytest.fixture
def files(tmp_path):
    """Thirty files of some rows each, older than a minute."""
    (tmp_path / "files").mkdir()
    paths = [str(tmp_path / "files" / f"{i:02d}") for i in range(30)]
    for i, path in enumerate(paths):
        write(path, f"row {i} " * (i % 3), age_ns=i)
    return paths


def write(path, text, *, age_ns=0):
    Path(path).write_text(text)
    os.utime(path, ns=(OLD - age_ns, OLD - age_ns))


class Reader:
    """One row a word pair; remembers what it was asked for."""

    def __init__(self):
        self.asked = []

    def __call__(self, path):
        self.asked.append(Path(path).name)
        words = Path(path).read_text().split()[1::2]
        digests = b"".join(hashlib.sha256(f"{path!a}{i}{word}".encode()).digest() for i, word in enumerate(words))
        places = [number for i in range(len(words)) for number in (i, 2**40 + i)]
        return FileRows(
            labels=words, members=[f"m{w}" for w in words], places=places, digests=digests, header=f"{path!a}"[-3:-1]
        )


def indexed(paths, cache, source="s"):
    reader = Reader()
    return index_files(paths, reader, cache=cache, source=source), sorted(reader.asked)


def same(a, b):
    arrays = all(np.array_equal(getattr(a, name), getattr(b, name)) for name in ("files_N", "places_N2", "digests_N"))
    return arrays and all(
        list(getattr(a, name)) == list(getattr(b, name)) for name in ("paths", "headers", "labels", "members")
    )


def test_rows_come_in_the_order_of_files_and_rows(files):
    index, asked = indexed(files, None)
    expected = [i for i in range(30) for _ in range(i % 3)]
    assert index.files_N.tolist() == expected
    assert index.labels == [str(i) for i in expected]
    assert index.members == [f"m{i}" for i in expected]
    assert index.places_N2[:, 1].max() == 2**40 + 1
    assert index.headers == [f"{i:02d}" for i in range(30)]
    assert index.digests_N.shape == (30, 32)
    assert len(asked) == 30


def test_a_second_load_reads_no_file(files, tmp_path):
    first, asked = indexed(files, tmp_path / "cache")
    second, again = indexed(files, tmp_path / "cache")
    assert (len(asked), again) == (30, [])
    assert same(first, second)
    assert same(first, indexed(files, None)[0])


def test_only_new_and_changed_files_are_read_again(files, tmp_path):
    indexed([*files[:10], *files[15:]], tmp_path / "cache")
    write(files[3], "row x row y")
    write(files[20], Path(files[20]).read_text().replace("20", "99"), age_ns=21)  # as long as before
    index, asked = indexed(files, tmp_path / "cache")
    assert asked == ["03", *[f"{i}" for i in range(10, 15)], "20"]
    assert same(index, indexed(files, None)[0])
    assert indexed(files, tmp_path / "cache")[1] == []
    fewer, asked = indexed(files[5:25][::-1], tmp_path / "cache")
    assert asked == []
    assert same(fewer, indexed(files[5:25][::-1], None)[0])


def test_a_file_that_may_still_be_changing_is_not_trusted_next_time(files, tmp_path):
    os.utime(files[7])  # now: a change within the clock's grain would leave no trace
    assert len(indexed(files, tmp_path / "cache")[1]) == 30
    assert indexed(files, tmp_path / "cache")[1] == ["07"]


def test_what_could_not_be_read_whole_is_read_again(files, tmp_path):
    def lossy(path):
        return FileRows(labels=[""], members=[""], places=[0, 0], digests=bytes(32), whole=not path.endswith("4"))

    index_files(files, lossy, cache=tmp_path / "cache", source="s")
    assert indexed(files, tmp_path / "cache")[1] == ["04", "14", "24"]


def test_names_that_are_no_utf_8_are_names_too(tmp_path):
    path = os.fsdecode(os.fsencode(tmp_path) + b"/\xff\xfe")
    write(path, "row 1")
    for expected in (1, 0):
        assert len(indexed([path], tmp_path / "cache")[1]) == expected


@pytest.mark.parametrize("damage", ["flipped", "cut", "empty", "garbage"])
def test_a_damaged_index_is_made_again(files, tmp_path, damage):
    first, _ = indexed(files, tmp_path / "cache")
    (path,) = (tmp_path / "cache" / "index").glob("*.sealed")
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    damaged = {"flipped": bytes(content), "cut": path.read_bytes()[:-9], "empty": b"", "garbage": b"x" * 500}
    path.write_bytes(damaged[damage])
    second, asked = indexed(files, tmp_path / "cache")
    assert len(asked) == 30
    assert same(first, second)
    assert indexed(files, tmp_path / "cache")[1] == []


def test_no_changed_byte_of_an_index_is_believed(files, tmp_path):
    first, _ = indexed(files, tmp_path / "cache")
    (path,) = (tmp_path / "cache" / "index").glob("*.sealed")
    content = path.read_bytes()
    for place in range(0, len(content), 61):
        path.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
        second, asked = indexed(files, tmp_path / "cache")
        assert (len(asked), same(first, second)) == (30, True), place


def test_sources_have_an_index_each_that_only_the_user_can_read(files, tmp_path):
    previous = os.umask(0)
    try:
        indexed(files[:2], tmp_path / "cache", source="a")
        indexed(files[2:4], tmp_path / "cache", source="b")
    finally:
        os.umask(previous)
    folder = tmp_path / "cache" / "index"
    assert folder.stat().st_mode & 0o777 == 0o700
    assert {path.stat().st_mode & 0o777 for path in folder.iterdir()} == {0o600}
    assert sorted(path.suffix for path in folder.iterdir()) == [".lock", ".lock", ".sealed", ".sealed"]


def test_a_cache_that_cannot_be_written_is_done_without(files, tmp_path):
    (tmp_path / "cache").write_text("a file, not a folder")
    for _ in range(2):
        assert len(indexed(files, tmp_path / "cache")[1]) == 30


def test_two_that_load_at_once_read_each_file_once(files, tmp_path):
    asked = []
    start = threading.Barrier(2)

    def load():
        start.wait()
        asked.extend(indexed(files, tmp_path / "cache")[1])

    threads = [threading.Thread(target=load) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(asked) == 30


def test_an_interrupted_load_goes_on_where_it_was(files, tmp_path, monkeypatch):
    monkeypatch.setattr(index_module, "_SAVE_EVERY_S", 0.0)

    def breaks(path):
        if path.endswith("29"):
            time.sleep(0.2)
            raise KeyboardInterrupt
        return reader(path)

    reader = Reader()
    with pytest.raises(KeyboardInterrupt):
        index_files(files, breaks, cache=tmp_path / "cache", source="s")
    index, asked = indexed(files, tmp_path / "cache")
    assert "29" in asked
    assert len(asked) < 10
    assert same(index, indexed(files, None)[0])
