"""Server processes of the tests: a free port, a start that waits until it answers, a stop by handle; and S3Server."""

import contextlib
import http.client
import random
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

HOST = "127.0.0.1"
START_TIMEOUT_S = 120
STOP_TIMEOUT_S = 10
BELOW_EPHEMERAL = range(20_000, 32_000)  # no outgoing connection takes such a port before its server does


@dataclass(frozen=True, slots=True, kw_only=True)
class S3Server:
    """An S3 server that runs on this machine, and how to reach it.

    Attributes:
        checks_signatures: it refuses a request whose signed headers or body were changed on the way.
    """

    host: str
    port: int
    access_key: str
    secret_key: str
    checks_signatures: bool

    @property
    def endpoint(self) -> str:
        """Its address; to go through a proxy use the proxy's instead."""
        return f"http://{self.host}:{self.port}"

    @property
    def environment(self) -> dict[str, str]:
        """Variables with which any client finds it; set AWS_ENDPOINT_URL anew to go through a proxy."""
        return {
            "AWS_ACCESS_KEY_ID": self.access_key,
            "AWS_SECRET_ACCESS_KEY": self.secret_key,
            "AWS_REGION": "us-east-1",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_ALLOW_HTTP": "true",
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_REQUEST_CHECKSUM_CALCULATION": "when_required",  # without it Ceph answers pyarrow with 411
        }

    def make_bucket(self, name: str) -> None:
        """Makes a bucket; straight from here, whatever proxy stands before the server."""
        import boto3  # half a second that only tests with a server pay
        from botocore.config import Config

        client = boto3.client(
            "s3",
            endpoint_url=self.endpoint,
            region_name="us-east-1",
            aws_access_key_id=self.access_key,
            aws_secret_access_key=self.secret_key,
            config=Config(s3={"addressing_style": "path"}),
        )
        with contextlib.closing(client):
            client.create_bucket(Bucket=name)


def free_port() -> int:
    """A port of this machine that nobody listens on."""
    for port in random.sample(BELOW_EPHEMERAL, 100):
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind((HOST, port))
            return port
    raise RuntimeError("none of 100 ports is free")


@contextlib.contextmanager
def running(command: list[str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A process with its output in a file; ends with the block, asked first and then killed."""
    with log.open("wb") as output, subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT) as process:
        try:
            yield process
        finally:
            process.terminate()
            try:
                process.wait(STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                process.kill()


def wait_until(ready: Callable[[], bool], process: subprocess.Popen[bytes], log: Path) -> None:
    """Waits for a server that was just started.

    Raises:
        RuntimeError: it ended or takes too long; the message ends with the last lines of its log.
    """
    deadline = time.monotonic() + START_TIMEOUT_S
    while not ready():
        if process.poll() is not None or time.monotonic() > deadline:
            tail = "\n".join(log.read_text(errors="replace").splitlines()[-20:])
            raise RuntimeError(f"{process.args} did not come up (exit code {process.poll()}):\n{tail}")
        time.sleep(0.05)


def answers(port: int) -> bool:
    """Whether an HTTP server answers there, whatever it says."""
    connection = http.client.HTTPConnection(HOST, port, timeout=5)
    with contextlib.closing(connection):
        try:
            connection.request("GET", "/")
            connection.getresponse().read()
        except (OSError, http.client.HTTPException):
            return False
        return True
