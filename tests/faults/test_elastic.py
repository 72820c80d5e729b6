"""A sweep on an autoscaling cluster: from no node to some and back, while nodes are lost, drained and refused."""

import subprocess
import sys

import pytest

import overlap
from clusters.autoscaling_config import node_type
from clusters.fake_autoscaler import FakeAutoscalingCluster, wait_until
from overlap.launcher import ExecutorKind
from overlap.store import Store, open_objects

pytestmark = [pytest.mark.ray, pytest.mark.slow]
DEADLINE_S = 300

SWEEP = """\
name: elastic
store: {store}
datasets:
  digits: {{source: "sklearn:digits", splits: {{train: 60, calibration: 60, test: 300}}}}
evaluate_on: [digits]
base:
  architecture: "sklearn:GaussianNB"
  train_on: digits
  preprocessing: {{size: 8}}
resources: {{{resources}}}
vary:
"""
SLOW = """\
  - {architecture: "sklearn:GradientBoostingClassifier", hyperparameters: {n_estimators: {range: [60, 79]}}}
  - architecture: test_efficientnet
    preprocessing: {size: 32}
    hyperparameters: {epochs: 2, batch_size: 30}
    seed: [1, 2]
"""
QUICK = """\
  - {hyperparameters: {var_smoothing: [1.0e-8, 1.0e-7, 1.0e-6]}}
  - {architecture: test_efficientnet, preprocessing: {size: 32}, hyperparameters: {epochs: 1, batch_size: 30}}
"""


@pytest.fixture(scope="module")
def cluster(request):
    """Up to two nodes of each market, each with one fake GPU; it starts with none."""
    failed = request.session.testsfailed
    types = {"spot": node_type(market="spot"), "steady": node_type(market="on-demand")}
    cluster = FakeAutoscalingCluster(types, idle_timeout_minutes=0.05)
    yield cluster
    assert cluster.shutdown(keep_folder=request.session.testsfailed > failed) == []


@pytest.fixture
def launch_on(cluster, tmp_path):
    """Starts a launch on the cluster; gives its process and its store's folder."""
    drivers = []

    def start(resources, variants):
        path, store = tmp_path / "sweep.yaml", tmp_path / "store"
        path.write_text(SWEEP.format(store=store, resources=resources) + variants)
        command = [sys.executable, "-m", "overlap", "sweep", "launch", str(path), "--address", cluster.address]
        drivers.append(
            subprocess.Popen(
                command, env=cluster.environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
            )
        )
        return drivers[-1], path, store

    yield start
    for driver in drivers:
        driver.kill()
        driver.communicate()


def finish(driver):
    """The exit code and the output of a launch, once it has ended."""
    out, _ = driver.communicate(timeout=DEADLINE_S)
    return driver.returncode, out


def results(store):
    return sorted(store.glob("results/v1/digits/*.parquet"))


def test_nodes_come_are_lost_and_drained_and_go_and_no_variant_is_charged(cluster, launch_on, tmp_path):
    assert cluster.nodes() == []
    driver, path, folder = launch_on("gpus: 1", SLOW)
    wait_until(lambda: len(results(folder)) >= 2 or driver.poll() is not None, deadline_s=DEADLINE_S)
    assert driver.poll() is None, driver.stdout.read()
    lost = cluster.kill_node()
    kept = len(results(folder))
    wait_until(lambda: len(results(folder)) >= kept + 2 or driver.poll() is not None, deadline_s=DEADLINE_S)
    assert driver.poll() is None, driver.stdout.read()
    drained = wait_until(lambda: [node.node_id for node in cluster.nodes() if node.node_id != lost])[0]
    cluster.drain_node(drained)
    code, out = finish(driver)
    assert code == 0, out

    store = Store(open_objects(str(folder)))
    assert all(not failure.final and failure.outcome == "node lost" for failure in store.failures()), store.failures()
    assert overlap.verify(store, deep=True)[1] == []
    reference = overlap.launch(path, store=str(tmp_path / "reference"), executor=ExecutorKind.INPROCESS)
    expected = Store(open_objects(reference.status.store))
    for key, name in expected.result_names("digits").items():
        assert expected.read(name).table.equals(store.read(store.result_names("digits")[key]).table)
    wait_until(lambda: cluster.nodes() == [])


def test_where_spot_machines_are_refused_the_sweep_asks_for_others_if_it_may(cluster, launch_on):
    wait_until(lambda: cluster.nodes() == [])
    cluster.refuse("spot")
    driver, _, folder = launch_on("gpus: 1, market: spot, on_demand_after_s: 2", QUICK)
    wait_until(lambda: cluster.nodes() != [] or driver.poll() is not None)
    assert {node.market for node in cluster.nodes()} == {"on-demand"}
    code, out = finish(driver)
    cluster.refuse()
    assert code == 0, out
    assert "spot" in cluster.refusals()
    assert len(results(folder)) == 5
    assert Store(open_objects(str(folder))).failures() == []


@pytest.mark.parametrize(
    ("resources", "told"),
    [
        ("gpus: 3", "1 CPUs and 3 GPUs"),
        ("gpus: 1, accelerator: H100", "1 CPUs and 1 GPUs of type H100"),
        ("gpus: 1, gpu_memory_gib: 80", "1 CPUs and 1 GPUs of type A100-80G or H100 or H20 or H200 or B200"),
    ],
)
def test_what_no_node_can_ever_give_is_told_at_launch(launch_on, resources, told):
    driver, _, folder = launch_on(resources, QUICK)
    code, out = finish(driver)
    assert code == 5
    assert f"a variant asks for {told}" in out
    assert results(folder) == []
