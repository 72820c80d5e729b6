"""The S3 server of the tests, straight and through the fault proxy; OVERLAP_TEST_S3 says which server."""

import threading

import obstore
import pytest
from obstore.exceptions import AlreadyExistsError, PermissionDeniedError
from obstore.store import S3Store

from servers.fault_proxy import FaultProxy
from servers.s3 import s3_server

pytestmark = pytest.mark.s3
RIVALS = 8


@pytest.fixture(scope="module")
def server():
    with s3_server() as running:
        running.make_bucket("servers")
        yield running


def store_at(server, endpoint, **changes):
    return S3Store(
        "servers",
        endpoint=endpoint,
        region=server.environment["AWS_REGION"],
        access_key_id=server.access_key,
        secret_access_key=changes.get("secret_key", server.secret_key),
        virtual_hosted_style_request=False,
        client_options={"allow_http": True},
    )


def create(store, key, content):
    try:
        obstore.put(store, key, content, mode="create", use_multipart=False)
    except AlreadyExistsError:
        return False
    return True


def read(store, key):
    return bytes(obstore.get(store, key).bytes())


def test_of_all_rivals_exactly_one_creates(server):
    store = store_at(server, server.endpoint)
    for turn in range(20):
        won, barrier = [None] * RIVALS, threading.Barrier(RIVALS)

        def rival(i, turn=turn, won=won, barrier=barrier):
            barrier.wait()
            won[i] = create(store, f"race/{turn}", bytes([i]) * 1000)

        threads = [threading.Thread(target=rival, args=(i,)) for i in range(RIVALS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(won) == [False] * (RIVALS - 1) + [True]
        assert read(store, f"race/{turn}") == bytes([won.index(True)]) * 1000


def test_signed_requests_pass_the_proxy(server):
    with FaultProxy(server.host, server.port, {}) as proxy:
        store = store_at(server, proxy.endpoint)
        assert create(store, "signed/a b+ü", b"content")
        assert not create(store, "signed/a b+ü", b"other")
        assert read(store, "signed/a b+ü") == b"content"
        assert [entry["path"] for entry in obstore.list(store, "signed").collect()] == ["signed/a b+ü"]
        assert proxy.stats()["total"] == 4


def test_through_the_proxy_a_store_may_forget_create_only(server):
    if server.checks_signatures:
        pytest.skip("clients sign If-None-Match")
    with FaultProxy(server.host, server.port, {"ignore_create_only": True}) as proxy:
        store = store_at(server, proxy.endpoint)
        assert create(store, "forgets", b"first")
        assert create(store, "forgets", b"second")
        assert read(store, "forgets") == b"second"


def test_through_the_proxy_a_store_may_spoil_what_it_keeps(server):
    with FaultProxy(server.host, server.port, {"corrupt_bodies": True}) as proxy:
        store = store_at(server, proxy.endpoint)
        assert create(store, "spoilt", b"content")
        assert read(store, "spoilt") != b"content"
    assert read(store_at(server, server.endpoint), "spoilt") == b"content"


def test_an_outage_can_begin_and_end_while_the_proxy_runs(server):
    with FaultProxy(server.host, server.port, {}) as proxy:
        store = store_at(server, proxy.endpoint)
        proxy.plan = {"p403": 1.0}
        with pytest.raises(PermissionDeniedError):
            create(store, "outage", b"content")
        proxy.plan = {}
        assert create(store, "outage", b"content")


def test_a_forged_signature_is_refused(server):
    if not server.checks_signatures:
        pytest.skip("this server checks no signature")
    with pytest.raises(PermissionDeniedError):
        create(store_at(server, server.endpoint, secret_key="wrong"), "forged", b"content")
