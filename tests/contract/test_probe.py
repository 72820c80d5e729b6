"""Stores that keep the promise pass the probe; those that lie about it do not."""

import os

import pytest

from overlap.errors import StoreError
from overlap.store.local import LocalObjects
from overlap.store.memory import MemoryObjects
from overlap.store.probe import probe
from servers.s3 import CHOICE

on_s3 = pytest.mark.s3


@pytest.fixture(params=["local", "memory", pytest.param("s3", marks=on_s3)])
def objects(request, tmp_path):
    if request.param == "s3":
        return request.getfixturevalue("s3").objects()
    return LocalObjects(tmp_path / "store") if request.param == "local" else MemoryObjects()


def test_a_store_that_keeps_the_promise_passes_and_stays_empty(objects):
    probe(objects)
    assert objects.names("") == []


def test_nothing_is_left_in_a_folder(tmp_path):
    probe(LocalObjects(tmp_path))
    assert list(tmp_path.iterdir()) == []


class NoDelete(MemoryObjects):
    def delete(self, name):
        raise StoreError("403 AccessDenied")


def test_the_right_to_delete_is_not_needed():
    objects = NoDelete()
    probe(objects)
    assert objects.names("") == []


class SaysTakenAndOverwrites(MemoryObjects):
    def create(self, name, content):
        created = super().create(name, content)
        self.replace(name, content)
        return created


class SaysCreated(MemoryObjects):
    def create(self, name, content):
        super().create(name, content)
        return True


class KeepsNothing(MemoryObjects):
    def create(self, name, content):
        return True


class KeepsChunkMarks(MemoryObjects):
    """What servers store that do not know how new clients cut a body into chunks."""

    def create(self, name, content):
        return super().create(name, content if len(content) < 1000 else b"f4240;chunk\r\n" + content)


class SaysTaken(MemoryObjects):
    def create(self, name, content):
        return False


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        (SaysTakenAndOverwrites, "overwrites an object that it was asked to create only.*use one that honours"),
        (SaysCreated, "overwrites an object that it was asked to create only"),
        (KeepsNothing, "gave back nothing after 64 bytes were written"),
        (KeepsChunkMarks, "gave back 1000013 other bytes after 1000000 bytes were written; it damages"),
        (SaysTaken, "says that a name never used is taken"),
    ],
)
def test_a_store_that_lies_is_refused_with_the_reason(kind, reason):
    with pytest.raises(StoreError, match=f"the store 'memory://' {reason}"):
        probe(kind())


@on_s3
def test_a_bucket_that_ignores_create_only_is_refused(s3):
    if os.environ.get(CHOICE, "moto") != "moto":
        pytest.skip("this server's signatures cover the header that the proxy takes away")
    reason = "overwrites an object that it was asked to create only"
    with s3.proxy({"ignore_create_only": True}), pytest.raises(StoreError, match=reason):
        probe(s3.objects())
    assert s3.objects().names("") == []


@on_s3
def test_a_bucket_that_damages_what_it_keeps_is_refused(s3):
    reason = "gave back 64 other bytes after 64 bytes were written"
    with s3.proxy({"corrupt_bodies": True}), pytest.raises(StoreError, match=reason):
        probe(s3.objects())


@on_s3
def test_a_bucket_is_probed_through_faults(s3):
    with s3.proxy({"seed": 4, "p503": 0.2, "plost_ack": 0.2, "preset": 0.1}):
        probe(s3.objects())
