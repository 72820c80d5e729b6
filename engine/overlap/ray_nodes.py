"""What a Ray cluster is made of: nodes that are there, nodes that may come, nodes about to go."""

import os
import time
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import ray
from ray._private import state as ray_state  # what Ray's own libraries ask for draining nodes and node types
from ray.exceptions import GetTimeoutError, RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from overlap.errors import ClusterError
from overlap.resources import ACCELERATOR_LABEL, Machine, Resources

AUTOSCALER_WAIT_S = 20.0
READ_S = 20.0


def alive_nodes() -> dict[str, Machine]:
    """The nodes that are there now, by id."""
    nodes = ray.nodes()  # type: ignore[no-untyped-call]
    return {node["NodeID"]: _machine(node) for node in nodes if node["Alive"]}


def startable_machines() -> list[Machine]:
    """The kinds of machine that the cluster's autoscaler may start; empty without an autoscaler.

    Ray does not tell their labels here: a request for a label is not checked against them.
    """
    config = ray_state.state.get_cluster_config()
    groups = config.node_group_configs if config else []
    return [
        Machine(
            cpus=group.resources.get("CPU", 0), gpus=group.resources.get("GPU", 0), labels=None, most=group.max_count
        )
        for group in groups
        if group.max_count
    ]


def draining_nodes() -> frozenset[str]:
    """Nodes that were told they will be taken away: what runs there may end, nothing more may start."""
    return frozenset(ray_state.state.get_draining_nodes())


def require_feasible(needs: Iterable[Resources]) -> list[Machine]:
    """The machines that an autoscaler may start, if every request fits on some machine that is there or may come.

    Raises:
        ClusterError: one does not, so that its variants would wait for ever.
    """
    deadline = time.monotonic() + AUTOSCALER_WAIT_S
    while True:
        there, startable = list(alive_nodes().values()), startable_machines()
        lacking = [one for one in needs if not any(_could_hold(machine, one) for machine in (*there, *startable))]
        if not lacking:
            return startable
        # A head that holds nothing itself waits for its autoscaler, which tells what it may start after some seconds.
        if startable or any(machine.cpus for machine in there) or time.monotonic() > deadline:
            raise ClusterError(_infeasible(lacking[0], [*there, *startable]))
        time.sleep(0.5)


def widened(needs: Resources) -> Resources:
    """The request for on-demand machines that follows a spot request in vain."""
    return replace(needs, market="on-demand")


def read_on_node(path: Path, node: str) -> str:
    """The text of a file on a node, empty if it cannot be had."""
    if node == ray.get_runtime_context().get_node_id():
        return _read_text(str(path))
    there = NodeAffinitySchedulingStrategy(node, soft=False)
    reader = ray.remote(_read_text).options(num_cpus=0, max_retries=0, scheduling_strategy=there)
    try:
        text: str = ray.get(reader.remote(str(path)), timeout=READ_S)
    except (RayError, GetTimeoutError):
        return ""
    return text


def _read_text(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def breadcrumb_path() -> Path:
    """Where this worker process leaves its breadcrumb: with the logs of its node, which end with it."""
    node = ray._private.worker._global_node  # noqa: SLF001 - public Ray does not tell where a worker's logs are
    assert node is not None
    return Path(node.get_logs_dir_path(), f"overlap-{os.getpid()}.txt")


def _could_hold(machine: Machine, needs: Resources) -> bool:
    choices = [needs] if needs.on_demand_after_s is None else [needs, widened(needs)]
    return any(machine.holds(choice) for choice in choices)


def _machine(node: dict[str, dict[str, float]]) -> Machine:
    resources = node["Resources"]
    labels = {key: str(value) for key, value in node.get("Labels", {}).items()}
    if ACCELERATOR_LABEL not in labels:  # older nodes say it with a resource
        kinds = [name.partition(":")[2] for name in resources if name.startswith("accelerator_type:")]
        labels[ACCELERATOR_LABEL] = kinds[0] if kinds else ""
    return Machine(cpus=resources.get("CPU", 0), gpus=resources.get("GPU", 0), labels=labels)


def _infeasible(needs: Resources, machines: list[Machine]) -> str:
    kinds = "; ".join(dict.fromkeys(str(machine) for machine in machines)) or "no machine at all"
    return (
        f"a variant asks for {needs}, which no machine of the cluster has ({kinds}): "
        "change 'resources' in the sweep file, or add nodes"
    )
