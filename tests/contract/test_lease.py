"""One launch at a time per store, by a lease that any store can keep."""

import json
import os
import socket
import threading
import time

import pytest

from overlap.errors import LaunchHeldError, StoreError
from overlap.store.lease import NAME, _Lease, held
from overlap.store.local import LocalObjects
from overlap.store.memory import MemoryObjects

LONG_S = 60.0  # only what never comes is waited for as long
QUICK = {"heartbeat_s": 0.01, "patience_s": 0.1}
LEFT_BEHIND = json.dumps({"id": "x", "owner": {"host": "gone", "process": 7}, "beats": 3}).encode()


@pytest.fixture(params=["local", "memory", pytest.param("s3", marks=pytest.mark.s3)])
def objects(request, tmp_path):
    if request.param == "s3":
        return request.getfixturevalue("s3").objects()
    return LocalObjects(tmp_path / "store") if request.param == "local" else MemoryObjects()


def stored(objects):
    with objects.open(NAME) as file:
        return json.loads(file.read())


def is_free(objects):
    return objects.create(NAME, b"") is True


def wait_for_another_beat(objects):
    before = stored(objects)["beats"]
    while stored(objects)["beats"] == before:
        time.sleep(0.005)


def test_a_lease_is_hidden_and_gone_after_the_launch(objects):
    with held(objects):
        assert objects.names("") == []
        assert stored(objects)["beats"] == 0
    assert is_free(objects)


def test_a_launch_that_fails_gives_its_lease_back(objects):
    with pytest.raises(KeyError), held(objects):
        raise KeyError
    assert is_free(objects)


def test_a_second_launch_is_refused_with_the_name_of_the_first(objects):
    message = rf"\(process {os.getpid()} on {socket.gethostname()}\); .*launch with --force"
    with held(objects, heartbeat_s=0.01):
        with pytest.raises(LaunchHeldError, match=message), held(objects, heartbeat_s=0.01, patience_s=LONG_S):
            pass
        wait_for_another_beat(objects)  # the first goes on
    assert is_free(objects)


@pytest.mark.parametrize("left", [LEFT_BEHIND, b"", b"no json", b"[]"])
def test_a_lease_that_nobody_renews_is_taken_over(objects, left):
    objects.replace(NAME, left)
    with held(objects, **QUICK):
        assert stored(objects)["id"] != "x"
    assert is_free(objects)


def test_a_forced_launch_takes_the_lease_and_the_first_leaves_it_alone(objects):
    first = _Lease(objects)
    first.take(force=False, poll_s=LONG_S, patience_s=LONG_S)
    assert first.renew() is True
    with held(objects, force=True, heartbeat_s=0.01):
        forced = stored(objects)["id"]
        assert first.renew() is False
        wait_for_another_beat(objects)
        assert stored(objects)["id"] == forced
    assert is_free(objects)


def test_the_end_of_the_first_does_not_end_the_lease_of_a_forced_launch(objects):
    first = held(objects, heartbeat_s=LONG_S)
    first.__enter__()
    with held(objects, force=True, heartbeat_s=LONG_S):
        forced = stored(objects)["id"]
        first.__exit__(None, None, None)
        assert stored(objects)["id"] == forced
    assert is_free(objects)


class Stumbling(MemoryObjects):
    """Fails to renew a lease for a while."""

    failures = 5

    def replace(self, name, content):
        if self.failures:
            self.failures -= 1
            raise StoreError("503 SlowDown")
        super().replace(name, content)


def test_a_heartbeat_outlives_a_store_in_trouble():
    objects = Stumbling()
    with held(objects, heartbeat_s=0.01):
        wait_for_another_beat(objects)
        assert objects.failures == 0


class NoDelete(MemoryObjects):
    def delete(self, name):
        raise StoreError("403 AccessDenied")


def test_where_nothing_may_be_deleted_the_next_launch_still_does_not_wait():
    objects = NoDelete()
    for _ in range(2):
        with held(objects, heartbeat_s=0.01, patience_s=LONG_S):
            assert stored(objects)["owner"]


def test_of_two_who_find_a_lease_left_behind_the_last_to_write_gets_it():
    """The rival writes just after us; the second read of the lease tells."""

    class Rivalled(MemoryObjects):
        def replace(self, name, content):
            super().replace(name, content)
            super().replace(name, LEFT_BEHIND)

    objects = Rivalled()
    objects.create(NAME, b"")
    with pytest.raises(LaunchHeldError, match=r"\(process 7 on gone\)"), held(objects, **QUICK):
        pass
    assert stored(objects)["id"] == "x"


def test_no_thread_stays_behind(objects):
    with held(objects, heartbeat_s=LONG_S):
        assert "lease" in [thread.name for thread in threading.enumerate()]
    assert "lease" not in [thread.name for thread in threading.enumerate()]
