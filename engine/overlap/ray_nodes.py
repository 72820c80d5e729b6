"""What a Ray cluster is made of: nodes that are there, nodes that may come, nodes about to go."""

import os
import time
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import ray
from ray._private import state as ray_state  # what Ray's own libraries ask for draining nodes
from ray.core.generated import autoscaler_pb2
from ray.exceptions import GetTimeoutError, RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from overlap.errors import ClusterError
from overlap.resources import ACCELERATOR_LABEL, Machine, Resources

AUTOSCALER_WAIT_S = 20.0
READ_S = 20.0
STATUS_S = 10.0
POLL_S = 0.5


def alive_nodes() -> dict[str, Machine]:
    """The nodes that are there now, by id."""
    nodes = ray.nodes()  # type: ignore[no-untyped-call]
    return {node["NodeID"]: _machine(node) for node in nodes if node["Alive"]}


def draining_nodes() -> frozenset[str]:
    """Nodes that were told they will be taken away: what runs there may end, nothing more may start."""
    return frozenset(ray_state.state.get_draining_nodes())


def require_feasible(needs: Iterable[Resources]) -> bool:
    """Whether an autoscaler is there to start more nodes, if every request can be met by it or by a node that is there.

    Raises:
        ClusterError: one cannot, so that its variants would wait for ever.
    """
    deadline = time.monotonic() + AUTOSCALER_WAIT_S
    while not (elastic := _has_autoscaler()):
        there = list(alive_nodes().values())
        lacking = [
            one for one in needs if not any(machine.holds(choice) for machine in there for choice in _choices(one))
        ]
        # A head that holds nothing itself may have an autoscaler that needs some seconds to start.
        if lacking and (any(machine.cpus for machine in there) or time.monotonic() > deadline):
            raise ClusterError(_infeasible(lacking[0]))
        if not lacking:
            return False
        time.sleep(POLL_S)
    for one in needs:
        if not any(_can_be_met(choice) for choice in _choices(one)):
            raise ClusterError(_infeasible(one))
    return elastic


def _choices(needs: Resources) -> list[Resources]:
    return [needs] if needs.on_demand_after_s is None else [needs, widened(needs)]


def _cluster_status() -> Any:  # noqa: ANN401 - a message of Ray's, whose generated classes have no types
    worker: Any = ray._private.worker.global_worker  # noqa: SLF001 - where Ray's own `ray status` asks
    messages: Any = autoscaler_pb2
    return messages.GetClusterStatusReply.FromString(worker.gcs_client.get_cluster_status(timeout_s=STATUS_S))


def _has_autoscaler() -> bool:
    return bool(_cluster_status().autoscaling_state.last_seen_cluster_resource_state_version)


def _can_be_met(needs: Resources) -> bool:
    """Asks the autoscaler itself, which knows every kind of node that it may start.

    A request of this kind is made and, once the autoscaler has seen it, is among the infeasible ones or not.
    """
    if any(machine.holds(needs) for machine in alive_nodes().values()):
        return True
    asking: Any = ray.remote(_Request).options(
        num_cpus=needs.cpus, num_gpus=needs.gpus, label_selector=needs.selector() or None
    )
    request = asking.remote()
    try:
        deadline, seen_at = time.monotonic() + AUTOSCALER_WAIT_S, 0
        while time.monotonic() < deadline:
            status = _cluster_status()
            asked = status.cluster_resource_state.pending_resource_requests
            if not seen_at and any(_is_for(needs, each.request) for each in asked):
                seen_at = status.cluster_resource_state.cluster_resource_state_version
            state = status.autoscaling_state
            if seen_at and state.last_seen_cluster_resource_state_version >= seen_at:
                return not any(_is_for(needs, each) for each in state.infeasible_resource_requests)
            time.sleep(POLL_S)
        return True  # nobody said no
    finally:
        ray.kill(request)


class _Request:
    """An actor that is asked for only to learn whether it could be placed."""


def _is_for(needs: Resources, request: Any) -> bool:  # noqa: ANN401
    bundle = {"CPU": float(needs.cpus), "GPU": float(needs.gpus)}
    labels = {
        each.label_key: frozenset(each.label_values)
        for one in request.label_selectors
        for each in one.label_constraints
    }
    return {name: count for name, count in request.resources_bundle.items() if count} == {
        name: count for name, count in bundle.items() if count
    } and labels == needs.labels()


def widened(needs: Resources) -> Resources:
    """The request for on-demand machines that follows a spot request in vain."""
    return replace(needs, market="on-demand")


def read_on_node(path: Path, node: str) -> str:
    """The text of a file on a node, empty if it cannot be had."""
    if not node:
        return ""
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


def _machine(node: dict[str, dict[str, float]]) -> Machine:
    resources = node["Resources"]
    labels = {key: str(value) for key, value in node.get("Labels", {}).items()}
    if ACCELERATOR_LABEL not in labels:  # older nodes say it with a resource
        kinds = [name.partition(":")[2] for name in resources if name.startswith("accelerator_type:")]
        labels[ACCELERATOR_LABEL] = kinds[0] if kinds else ""
    return Machine(cpus=resources.get("CPU", 0), gpus=resources.get("GPU", 0), labels=labels)


def _infeasible(needs: Resources) -> str:
    kinds = "; ".join(dict.fromkeys(str(machine) for machine in alive_nodes().values())) or "none"
    return (
        f"a variant asks for {needs}, which no node of the cluster has, nor any that its autoscaler may start "
        f"(there now: {kinds}): change 'resources' in the sweep file, or add nodes"
    )
