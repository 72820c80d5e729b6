"""S3 servers as processes of their own: moto, or the one that OVERLAP_TEST_S3 names (`moto`, `ceph`)."""

import contextlib
import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from servers.ceph import ceph_server
from servers.process import HOST, S3Server, answers, free_port, running, wait_until

CHOICE = "OVERLAP_TEST_S3"


def s3_server() -> contextlib.AbstractContextManager[S3Server]:
    """The server that tests of object stores run against, made by `with`; moto unless OVERLAP_TEST_S3 says other."""
    servers = {"moto": moto_server, "ceph": ceph_server}
    choice = os.environ.get(CHOICE, "moto")
    if choice not in servers:
        raise ValueError(f"{CHOICE} is '{choice}'; expected one of {', '.join(servers)}")
    return servers[choice]()


@contextlib.contextmanager
def moto_server() -> Iterator[S3Server]:
    """A moto server without buckets. It checks neither signatures nor Content-MD5: see `ceph_server`."""
    port = free_port()
    command = [sys.executable, "-m", "moto.server", "-H", HOST, "-p", str(port)]
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder, "moto.log")
        with running(command, log) as process:
            wait_until(lambda: answers(port), process, log)
            yield S3Server(host=HOST, port=port, access_key="testing", secret_key="testing", checks_signatures=False)
