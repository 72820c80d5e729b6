"""A whole sweep into a bucket of a real S3 server, through the command line, on Ray."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import overlap
from invariants import assert_invariants
from overlap.launcher import ExecutorKind
from servers.fault_proxy import FaultProxy
from servers.s3 import s3_server

pytestmark = [pytest.mark.s3, pytest.mark.slow]

SWEEP = """\
name: in-a-bucket
store: {store}
datasets:
  digits: {{source: "sklearn:digits", splits: {{train: 60, calibration: 60, test: 100}}}}
evaluate_on: [digits]
base: {{architecture: "sklearn:GaussianNB", train_on: digits, preprocessing: {{size: 8}}}}
vary:
  - {{hyperparameters: {{var_smoothing: [1.0e-8, 1.0e-7]}}}}
  - {{architecture: test_efficientnet, preprocessing: {{size: 32}}, hyperparameters: {{epochs: 2, batch_size: 30}}}}
"""
MIXED = {"p503": 0.08, "p500": 0.04, "preset": 0.05, "plost_ack": 0.05, "ptrunc": 0.05, "seed": 1}
DEADLINE_S = 300


@pytest.fixture(scope="module")
def server():
    with s3_server() as running:
        running.make_bucket("sweeps")
        yield running


@pytest.fixture
def bucket(server, request, monkeypatch, tmp_path):
    """An address of its own in the bucket, a sweep file for it, and how to run commands with its credentials."""
    address = f"s3://sweeps/{request.node.name.partition('[')[0]}"
    path = tmp_path / "sweep.yaml"
    path.write_text(SWEEP.format(store=address))
    for name, value in server.environment.items():
        monkeypatch.setenv(name, value)

    def run(*arguments, endpoint=server.endpoint, **environment):
        return subprocess.run(
            [sys.executable, "-m", "overlap", *arguments],
            env={**os.environ, "AWS_ENDPOINT_URL": endpoint, **environment},
            capture_output=True,
            text=True,
            timeout=DEADLINE_S,
            check=False,
        )

    return address, path, run


@pytest.mark.ray
@pytest.mark.filterwarnings("ignore")
def test_a_sweep_into_a_bucket_with_faults_equals_one_into_a_folder(bucket, server, tmp_path):
    address, path, run = bucket
    reference = overlap.launch(path, store=str(tmp_path / "reference"), executor=ExecutorKind.INPROCESS)
    with FaultProxy(server.host, server.port, MIXED) as proxy:
        done = run("sweep", "launch", str(path), endpoint=proxy.endpoint)
        assert done.returncode == 0, done.stderr
        assert sum(proxy.stats().values()) > proxy.stats()["total"], "no request has failed"
    store = overlap.Store(overlap.open_objects(address))
    assert_invariants(store, reference=overlap.Store(overlap.open_objects(reference.status.store)))
    assert run("sweep", "launch", str(path)).stdout.startswith("sweep in-a-bucket: nothing left to do")
    tables = run("analyze", address)
    assert tables.returncode == 0, tables.stderr
    secret = server.environment["AWS_SECRET_ACCESS_KEY"]
    assert secret not in done.stdout + done.stderr
    for name in store.objects.names(""):
        assert secret.encode() not in store.read_bytes(name), name


@pytest.mark.parametrize("executor", ["inprocess"])
def test_an_outage_stops_the_launch_and_the_same_command_continues(bucket, server, executor):
    _, path, run = bucket
    done = run("sweep", "launch", str(path), "--executor", executor, endpoint="http://127.0.0.1:9")
    assert done.returncode == 4
    assert "s3://sweeps/" in done.stderr
    assert run("sweep", "launch", str(path), "--executor", executor).returncode == 0


@pytest.mark.parametrize(
    ("plan", "told"),
    [
        ({"ignore_create_only": True}, "overwrites an object that it was asked to create only"),
        ({"corrupt_bodies": True}, "it damages what it stores"),
    ],
)
def test_a_bucket_that_cannot_be_relied_on_is_refused_before_anything_is_written(bucket, server, plan, told):
    if server.checks_signatures and "ignore_create_only" in plan:
        pytest.skip("this server notices the missing header by itself")
    address, path, run = bucket
    with FaultProxy(server.host, server.port, plan) as proxy:
        done = run("sweep", "launch", str(path), "--executor", "inprocess", endpoint=proxy.endpoint)
    assert done.returncode == 4
    assert told in done.stderr
    assert overlap.open_objects(address).names("") == []


def test_a_secret_in_the_address_is_refused_and_not_repeated(bucket, tmp_path):
    _, path, run = bucket
    done = run("sweep", "launch", str(path), "--store", "s3://AKIAKEY:hunter2@sweeps/x")
    assert done.returncode == 3
    assert "hunter2" not in done.stdout + done.stderr
    assert "environment" in done.stderr or "AWS_ACCESS_KEY_ID" in done.stderr
    assert not any("hunter2" in file.read_text(errors="ignore") for file in Path(tmp_path).rglob("*.json"))
