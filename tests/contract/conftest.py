import contextlib
import uuid

import pytest

from overlap.store.remote import RemoteObjects
from servers.fault_proxy import FaultProxy
from servers.s3 import s3_server

BUCKET = "overlap-tests"


class Bucket:
    """A bucket on a server, with the environment set so that any store finds it."""

    def __init__(self, server, monkeypatch):
        self.server = server
        self.url = f"s3://{BUCKET}/{uuid.uuid4().hex}"
        self.monkeypatch = monkeypatch
        for name, value in server.environment.items():
            monkeypatch.setenv(name, value)

    def objects(self, **options):
        """This test's own prefix; each call is a store of its own, made in the environment as it is now."""
        return RemoteObjects(self.url, **options)

    @contextlib.contextmanager
    def proxy(self, plan):
        """A proxy that fails as planned; what is opened inside goes through it."""
        with FaultProxy(self.server.host, self.server.port, plan) as proxy, self.monkeypatch.context() as inside:
            inside.setenv("AWS_ENDPOINT_URL", proxy.endpoint)
            yield proxy


@pytest.fixture(scope="session")
def s3_with_bucket():
    with s3_server() as server:
        server.make_bucket(BUCKET)
        yield server


@pytest.fixture
def s3(s3_with_bucket, monkeypatch):
    return Bucket(s3_with_bucket, monkeypatch)
