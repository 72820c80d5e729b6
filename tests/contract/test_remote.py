"""Buckets through servers that fail, refuse, hang and lose answers; every fault is a seeded proxy's."""

import concurrent.futures
import contextlib
import io
import pickle
import threading
import time
import traceback

import numpy as np
import obstore
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from obstore.store import S3Store

from overlap.errors import StoreError
from overlap.store.objects import MissingObjectError
from overlap.store.ranges import WHOLE_BYTES
from overlap.store.remote import RemoteObjects
from servers.process import free_port

pytestmark = pytest.mark.s3

KEYS = 100
MIXED = {
    "seed": 3, "p503": 0.10, "p500": 0.05, "preset": 0.08, "plost_ack": 0.08, "ptrunc": 0.05, "ptimeout": 0.01,
    "hang": 8.0,
}  # fmt: skip
CANARY = "canary-0123456789"


def read(objects, name):
    with objects.open(name) as file:
        return file.read()


def recovers_after(proxy, requests):
    """A thread that ends the faults of a proxy once it has done some."""

    def wait():
        while proxy.stats()["total"] < requests:
            time.sleep(0.005)
        proxy.plan = {}

    return threading.Thread(target=wait)


@pytest.mark.parametrize("text", ["{key} by {rival}", "{key} by any"])
def test_of_two_rivals_exactly_one_creates_whatever_goes_wrong(s3, text):
    def content(key, rival):
        return text.format(key=key, rival=rival).encode() * 1000

    with s3.proxy(MIXED) as proxy, concurrent.futures.ThreadPoolExecutor(16) as pool:
        rivals = [s3.objects(request_s=2), s3.objects(request_s=2)]
        futures = {
            (i, rival): pool.submit(rivals[rival].create, f"race/{i}", content(i, rival))
            for i in range(KEYS)
            for rival in (0, 1)
        }
        won = {key: future.result() for key, future in futures.items()}
        counts = proxy.stats()
    assert min(counts[fault] for fault in ("p503", "p500", "preset", "plost_ack")) > 0
    assert [won[i, 0] + won[i, 1] for i in range(KEYS)] == [1] * KEYS
    stored = [read(s3.objects(), f"race/{i}") for i in range(KEYS)]
    assert stored == [content(i, 0 if won[i, 0] else 1) for i in range(KEYS)]


def test_a_lost_answer_is_no_lost_race(s3):
    with s3.proxy({"seed": 1, "plost_ack": 0.3}) as proxy:
        objects = s3.objects()
        assert [objects.create(f"a/{i}", b"x") for i in range(20)] == [True] * 20
        assert [objects.create(f"a/{i}", b"x") for i in range(20)] == [False] * 20
        assert proxy.stats()["plost_ack"] > 5


def test_everything_gets_through_mixed_faults(s3):
    with s3.proxy(MIXED):
        objects = s3.objects(request_s=2)
        for i in range(20):
            objects.replace(f"a/{i}", str(i).encode() * 1000)
        assert [read(objects, f"a/{i}") for i in range(20)] == [str(i).encode() * 1000 for i in range(20)]
        assert len(objects.stamps("a")) == 20
        with pytest.raises(MissingObjectError):
            objects.open("a/20")
        for i in range(20):
            objects.delete(f"a/{i}")
        assert objects.names("a") == []


def test_a_large_object_is_read_whole_through_faults(s3):
    content = bytes(range(256)) * 80_000
    s3.objects().create("a", content)
    with s3.proxy({"seed": 2, "p503": 0.2, "ptrunc": 0.3}) as proxy, s3.objects().open("a") as file:
        assert isinstance(file, io.BufferedReader)
        assert file.read() == content
        assert proxy.stats()["ptrunc"] + proxy.stats()["p503"] > 0


def test_a_part_of_a_large_table_is_read_without_the_rest(s3):
    table = pa.table({"a": np.random.default_rng(1).random(1_500_000)})
    sink = io.BytesIO()
    pq.write_table(table, sink, row_group_size=100_000, compression="none", use_dictionary=False)
    s3.objects().create("a", sink.getvalue())
    assert len(sink.getvalue()) > WHOLE_BYTES
    with s3.proxy({}) as proxy:
        with s3.objects().open("a") as file, pq.ParquetFile(file) as parquet:
            assert parquet.read_row_group(7).equals(table.slice(700_000, 100_000))
        assert proxy.stats()["total"] <= 5  # its size, its footer, its row group


def test_a_listing_of_several_pages_goes_on_where_it_failed(s3):
    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        names = [f"many/{i:04}" for i in range(1100)]
        assert all(pool.map(s3.objects().create, names, [b""] * len(names)))
    with s3.proxy({"seed": 15, "p503": 0.6}) as proxy:  # the second page, and then no other
        assert s3.objects().names("many") == names
        counts = proxy.stats()
        assert (counts["total"], counts["p503"]) == (3, 1)
    assert s3.objects().names("") == names


def test_an_outage_shorter_than_our_patience_is_waited_for(s3):
    with s3.proxy({"p503": 1.0}) as proxy:
        recovery = recovers_after(proxy, 3)
        recovery.start()
        assert s3.objects().create("a", b"x") is True
        recovery.join()
        assert proxy.stats()["p503"] >= 3
    assert read(s3.objects(), "a") == b"x"


@pytest.mark.parametrize(
    ("plan", "reason"), [({"p503": 1.0}, "503 SlowDown"), ({"preset": 1.0}, ".*request"), ({"ptimeout": 1.0}, ".*")]
)
def test_an_outage_longer_than_our_patience_is_a_store_error(s3, plan, reason):
    with s3.proxy({"hang": 5.0, **plan}):
        objects = s3.objects(patience_s=0.5, request_s=0.2)
        message = rf"cannot write '{s3.url}/a/b': {reason}.*, tried \d+ times in \d s; .* run the same command again"
        with pytest.raises(StoreError, match=message):
            objects.create("a/b", b"x")
    assert s3.objects().names("") == []


def test_a_server_that_is_not_there_is_a_store_error(s3, monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{free_port()}")
    with pytest.raises(StoreError, match=r"cannot list .*: .*\(connect\), tried \d+ times"):
        s3.objects(patience_s=0.2).names("a")


REQUESTS = {
    "create": lambda objects: objects.create("a", b"x"),
    "replace": lambda objects: objects.replace("a", b"x"),
    "open": lambda objects: objects.open("a"),
    "names": lambda objects: objects.names("a"),
    "delete": lambda objects: objects.delete("a"),
}


@pytest.mark.parametrize("request_", REQUESTS.values(), ids=REQUESTS)
def test_what_may_not_be_done_fails_at_once(s3, request_):
    with s3.proxy({"p403": 1.0}) as proxy:
        with pytest.raises(StoreError, match=r"403 AccessDenied; check AWS_ACCESS_KEY_ID .* machine's role"):
            request_(s3.objects())
        assert proxy.stats()["total"] == 1


@pytest.mark.parametrize("request_", REQUESTS.values(), ids=REQUESTS)
def test_a_bucket_that_is_not_there_fails_at_once(s3, request_):
    with s3.proxy({}) as proxy:
        objects = RemoteObjects("s3://no-such-bucket/a/b")
        with pytest.raises(StoreError, match=r"'s3://no-such-bucket/a/b/a': there is no such bucket; make it, or"):
            request_(objects)
        assert proxy.stats()["total"] == 1


def test_where_there_are_no_credentials_the_message_says_how_to_give_them(s3, monkeypatch):
    monkeypatch.setenv("AWS_METADATA_ENDPOINT", f"http://127.0.0.1:{free_port()}")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    with pytest.raises(StoreError, match=r"there are no credentials.*set AWS_ACCESS_KEY_ID.*~/.aws is not read"):
        s3.objects(patience_s=0.1).names("")


def test_plain_http_that_leaves_the_machine_must_be_asked_for(s3, monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://storage.invalid:9000")
    monkeypatch.delenv("AWS_ALLOW_HTTP")
    with pytest.raises(StoreError, match="the endpoint is plain http; use https, or set AWS_ALLOW_HTTP=true"):
        s3.objects().names("")


def test_plain_http_on_this_machine_needs_no_asking(s3, monkeypatch):
    monkeypatch.delenv("AWS_ALLOW_HTTP")
    assert s3.objects().names("") == []


def test_a_setting_that_cannot_be_used_is_a_store_error(s3, monkeypatch):
    monkeypatch.setenv("AWS_CONDITIONAL_PUT", CANARY)
    with pytest.raises(StoreError, match=r"cannot open 's3://.*check AWS_\* and GOOGLE_\*") as caught:
        s3.objects()
    assert CANARY not in str(caught.value)


def put_without_number(s3, name, content):
    """As a store would have it that keeps no attributes."""
    bucket, _, prefix = s3.url.removeprefix("s3://").partition("/")
    store = S3Store(bucket, prefix=prefix, client_options={"allow_http": True})
    obstore.put(store, name, content)


def put_directly(s3, key):
    import boto3  # obstore refuses such names

    keys = {"aws_access_key_id": s3.server.access_key, "aws_secret_access_key": s3.server.secret_key}
    bucket, _, prefix = s3.url.removeprefix("s3://").partition("/")
    with contextlib.closing(boto3.client("s3", endpoint_url=s3.server.endpoint, **keys)) as client:
        client.put_object(Bucket=bucket, Key=prefix + key, Body=b"")


def test_what_consoles_mark_a_folder_with_is_no_object_in_it(s3):
    for key in ("/", "/a/", "/a/b"):
        put_directly(s3, key)
    assert s3.objects().names("a") == ["a/b"]
    assert "" not in s3.objects().names("")


def test_an_object_that_cannot_be_ours_fails_a_listing_at_once(s3):
    put_directly(s3, "/a//b")
    with pytest.raises(StoreError, match=r"cannot list '.*/a': Encountered object with invalid path.*; the store"):
        s3.objects().names("a")


@pytest.mark.parametrize(("stored", "won"), [(b"same", True), (b"else", False)])
def test_where_attributes_are_lost_the_content_tells_after_a_failed_try(s3, stored, won):
    put_without_number(s3, "a", stored)
    assert s3.objects().create("a", b"same") is False  # the first try was answered: it cannot be ours
    with s3.proxy({"p503": 1.0}) as proxy:
        recovery = recovers_after(proxy, 1)
        recovery.start()
        assert s3.objects().create("a", b"same") is won
        recovery.join()


def test_a_large_object_replaced_while_it_is_read_is_never_a_mixture(s3):
    objects = s3.objects()
    objects.replace("a", b"1" * 20_000_000)
    with objects.open("a") as file:
        assert file.read(10) == b"1" * 10
        objects.replace("a", b"2" * 20_000_000)
        file.seek(-10, io.SEEK_END)
        with pytest.raises(StoreError, match="'a' was replaced or deleted while it was read"):
            file.read()


def test_a_copy_sent_to_another_process_finds_its_own_way(s3):
    s3.objects().create("a", b"x")
    copy = pickle.loads(pickle.dumps(s3.objects(patience_s=1)))
    assert copy.url == s3.url
    assert read(copy, "a") == b"x"


@pytest.fixture
def secret_environment(s3, monkeypatch):
    for name in ("AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "GOOGLE_SERVICE_ACCOUNT_KEY"):
        monkeypatch.setenv(name, CANARY)
    return s3


def test_no_secret_is_in_what_a_store_shows_or_sends(secret_environment):
    objects = secret_environment.objects()
    assert repr(objects) == f"RemoteObjects('{secret_environment.url}')"
    for shown in (repr(vars(objects)), str(objects), pickle.dumps(objects).decode("latin-1")):
        assert CANARY not in shown


@pytest.mark.parametrize("plan", [{"p403": 1.0}, {"p503": 1.0}, {"preset": 1.0}, {"ptimeout": 1.0, "hang": 5.0}])
def test_no_secret_is_in_an_error_or_its_traceback(secret_environment, plan):
    with secret_environment.proxy(plan):
        objects = secret_environment.objects(patience_s=0.1, request_s=0.2)
        for request in REQUESTS.values():
            with pytest.raises(StoreError) as caught:
                request(objects)
            shown = "".join(traceback.TracebackException.from_exception(caught.value, capture_locals=True).format())
            assert CANARY not in shown
            assert "Signature" not in shown


def test_a_google_bucket_with_a_broken_key_is_a_store_error_without_the_key(secret_environment):
    with pytest.raises(StoreError, match="cannot open 'gs://bucket/a': ") as caught:
        RemoteObjects("gs://bucket/a")
    assert CANARY not in str(caught.value)
