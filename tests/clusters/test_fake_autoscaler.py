"""The fake autoscaling cluster grows, shrinks, loses, drains and refuses nodes, and leaves nothing behind."""

import subprocess
import sys

import pytest

from clusters.autoscaling_config import node_type
from clusters.fake_autoscaler import FakeAutoscalingCluster, wait_until

pytestmark = [pytest.mark.ray, pytest.mark.slow]

# Address, market, number of actors with a fake GPU each.
DRIVER = """\
import sys, time, ray
ray.init(sys.argv[1], log_to_driver=False)

@ray.remote(num_gpus=1, label_selector={"market": sys.argv[2]})
class Actor:
    def node(self):
        return ray.get_runtime_context().get_node_id()
    def sleep(self):
        time.sleep(300)

actors = [Actor.remote() for _ in range(int(sys.argv[3]))]
print("placed", *ray.get([actor.node.remote() for actor in actors]), flush=True)
try:
    ray.get(actors[0].sleep.remote())
except ray.exceptions.RayActorError as error:
    print("caught", type(error).__name__, flush=True)
"""


@pytest.fixture(scope="module")
def cluster(request):
    """A cluster that may have two nodes of each market; its logs stay when a test of this file fails."""
    failed = request.session.testsfailed
    types = {"spot": node_type(market="spot"), "steady": node_type(market="on-demand")}
    cluster = FakeAutoscalingCluster(types, idle_timeout_minutes=0.05)
    yield cluster
    assert cluster.shutdown(keep_folder=request.session.testsfailed > failed) == []


class Driver:
    """A driver that runs, and what it has written."""

    def __init__(self, cluster, path, market, actors):
        self.path = path
        command = [sys.executable, "-c", DRIVER, cluster.address, market, str(actors)]
        with path.open("w") as out:
            self.process = subprocess.Popen(command, env=cluster.environment, stdout=out, stderr=subprocess.STDOUT)

    def said(self, word):
        """The rest of the first line that begins with a word, or None."""
        lines = (line.split() for line in self.path.read_text().splitlines())
        return next((rest for first, *rest in filter(None, lines) if first == word), None)

    def says(self, word):
        """The same, once it is there."""
        wait_until(lambda: self.said(word) is not None or self.process.poll() is not None)
        assert self.said(word) is not None, self.path.read_text()
        return self.said(word)

    def kill(self):
        self.process.kill()
        self.process.wait()


@pytest.fixture
def drive(cluster, tmp_path):
    """Starts a driver with so many actors in a market; it calls the first one and waits."""
    drivers = []

    def start(market, actors=1):
        drivers.append(Driver(cluster, tmp_path / f"{len(drivers)}.out", market, actors))
        return drivers[-1]

    yield start
    for driver in drivers:
        driver.kill()


def test_nodes_come_for_two_actors_and_go_when_they_are_gone(cluster, drive):
    wait_until(lambda: not cluster.nodes())
    driver = drive("on-demand", actors=2)
    placed = sorted(driver.says("placed"))
    assert placed == [node.node_id for node in cluster.nodes()]
    assert placed == sorted(cluster.worker_raylets())
    driver.kill()
    wait_until(lambda: not cluster.nodes())
    wait_until(lambda: not cluster.worker_raylets())


def test_an_actor_of_a_lost_machine_is_unavailable_or_dead(cluster, drive):
    driver = drive("spot")
    (node,) = driver.says("placed")
    assert cluster.kill_node(node) == node
    assert driver.says("caught")[0] in {"ActorUnavailableError", "ActorDiedError"}
    wait_until(lambda: node not in {n.node_id for n in cluster.nodes()})


def test_a_drained_node_is_seen_as_draining_while_it_works(cluster, drive):
    driver = drive("on-demand")
    (node,) = driver.says("placed")
    assert [n.drain_deadline_ms for n in cluster.nodes() if n.node_id == node] == [None]
    cluster.drain_node(node)
    (seen,) = [n for n in cluster.nodes() if n.node_id == node]
    assert seen.drain_deadline_ms > 0
    assert driver.said("caught") is None
    cluster.kill_node(node)
    driver.says("caught")


def test_a_refused_market_gives_no_node_until_it_has_capacity(cluster, drive):
    wait_until(lambda: "spot" not in {node.market for node in cluster.nodes()})
    cluster.refuse("spot")
    driver = drive("spot")
    wait_until(lambda: len(cluster.refusals()) > 1)
    assert set(cluster.refusals()) == {"spot"}
    assert "spot" not in {node.market for node in cluster.nodes()}
    assert driver.said("placed") is None
    cluster.refuse()
    assert driver.says("placed")
    assert "spot" in {node.market for node in cluster.nodes()}


def test_shutdown_leaves_no_process_and_no_folder():
    with FakeAutoscalingCluster({"gpu": node_type(at_least=1)}) as cluster:
        wait_until(cluster.nodes)
        before = cluster.processes()
        assert cluster.head.pid in {process.pid for process in before}
        assert cluster.shutdown() == []
        assert [process for process in before if process.is_running() and process.status() != "zombie"] == []
        assert not cluster.folder.exists()


def test_waiting_ends_with_the_first_true_value_or_the_deadline():
    values = iter([0, "", "done"])
    assert wait_until(lambda: next(values), pause_s=0) == "done"
    with pytest.raises(TimeoutError, match="still 0"):
        wait_until(lambda: 0, deadline_s=0, pause_s=0)
