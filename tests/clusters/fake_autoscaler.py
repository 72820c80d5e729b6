"""A Ray cluster that grows and shrinks on this machine: autoscaler v2 over Ray's fake node provider.

All of it rests on internals of Ray 2.60, because the stock `AutoscalingCluster` is not usable from the wheel and
ends every Ray on the machine. Nothing here imports Ray: it reads its authentication mode at import, and the test's
process may have a Ray of its own. So drivers run as subprocesses with `environment`, and so do this file's questions.
"""

import importlib.util
import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self, TypeVar

import psutil

from clusters.autoscaling_config import HEAD_ID, MARKET, STORE_BYTES, autoscaling_config
from servers.process import free_port

T = TypeVar("T")
HERE = Path(__file__).parent
RAY = str(Path(sys.executable).with_name("ray"))
DEADLINE_S = 120
SETTINGS = {
    "RAY_FAKE_CLUSTER": "1",
    "RAY_enable_autoscaler_v2": "1",
    "RAY_CLOUD_INSTANCE_ID": HEAD_ID,
    "RAY_OVERRIDE_NODE_ID_FOR_TESTING": HEAD_ID,
    "AUTOSCALER_UPDATE_INTERVAL_S": "1",
    "RAY_health_check_initial_delay_ms": "1000",  # a lost node counts as dead after 3 s, not 12 s
    "RAY_health_check_period_ms": "1000",
    "RAY_health_check_failure_threshold": "3",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "1",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """An alive node as the cluster's GCS sees it."""

    node_id: str
    labels: dict[str, str]
    resources: dict[str, float]
    drain_deadline_ms: int | None  # since the epoch, 0 for no deadline; None when the node is not draining

    @property
    def market(self) -> str:
        """The node type's market, or nothing."""
        return self.labels.get(MARKET, "")


def wait_until(condition: Callable[[], T], deadline_s: float = DEADLINE_S, pause_s: float = 0.2) -> T:
    """What the condition gave when it first was true.

    Raises:
        TimeoutError: it was not within the deadline.
    """
    end = time.monotonic() + deadline_s
    while not (result := condition()):
        if time.monotonic() > end:
            raise TimeoutError(f"still {result!r} after {deadline_s} s: {condition}")
        time.sleep(pause_s)
    return result


class FakeAutoscalingCluster:
    """A head that starts and ends worker nodes on this machine as drivers ask for resources.

    Every node is a raylet with processes of its own, in token mode. As a context manager it ends with the context
    and leaves its folder, which holds all logs, only after an exception.

    Args:
        node_types: what the autoscaler may start, by name; see `autoscaling_config.node_type`.
        head_cpus: CPUs for tasks on the head itself.
        idle_timeout_minutes: how long a node without work stays.
        refuse: the markets that have no capacity at first; see `refuse`.

    Attributes:
        address: of its GCS, for `ray.init` and `--address`.
        environment: the whole environment of a process that talks to the cluster.
        folder: token, configuration, `head.log`, `session_latest/logs`.
        head: the process of `ray start`.
    """

    def __init__(
        self,
        node_types: dict[str, dict[str, Any]],
        *,
        head_cpus: int = 0,
        idle_timeout_minutes: float = 0.1,
        refuse: Iterable[str] = (),
        start_timeout_s: float = DEADLINE_S,
    ) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="fake-", dir="/tmp"))  # short: Ray's socket paths start with it
        self.address = f"127.0.0.1:{free_port()}"
        self.environment = _without_ray(os.environ) | {
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN_PATH": str(_write_token(self.folder)),
            "RAY_TMPDIR": str(self.folder),
            "RAY_USAGE_STATS_ENABLED": "0",
            "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",
        }
        self.refuse(*refuse)
        config = autoscaling_config(self.address, self.folder, node_types, head_cpus, idle_timeout_minutes)
        (self.folder / "config.json").write_text(json.dumps(config))
        self.head = self._start_head(head_cpus)
        try:
            wait_until(self._started, start_timeout_s, pause_s=0.1)
        except BaseException:
            self.shutdown(keep_folder=True)
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        survivors = self.shutdown(keep_folder=error is not None)
        if error is not None:
            error.add_note(f"the logs of the fake cluster are in {self.folder}")
        elif survivors:
            raise RuntimeError(f"the fake cluster left processes behind: {survivors}")

    def nodes(self) -> list[Node]:
        """Its alive worker nodes, by id.

        Raises:
            RuntimeError: the head has ended.
        """
        self._check_head()
        command = [sys.executable, str(HERE / "gcs_view.py"), self.address]
        found = [Node(**node) for node in json.loads(self._ask(command).splitlines()[-1])]
        return sorted((node for node in found if node.node_id != HEAD_ID), key=lambda node: node.node_id)

    def worker_raylets(self) -> dict[str, psutil.Process]:
        """The raylet of every worker node that runs here, by the node's id."""
        raylets = {}
        for process in psutil.process_iter():
            try:
                if process.name() != "raylet" or not _runs(process) or not self._owns(process):
                    continue
                raylets[process.environ()["RAY_OVERRIDE_NODE_ID_FOR_TESTING"]] = process
            except psutil.Error:  # it ended meanwhile
                continue
        raylets.pop(HEAD_ID, None)
        return raylets

    def kill_node(self, node_id: str | None = None) -> str:
        """Loses a machine: all processes of this worker node, or of any, end at once. Gives its id."""
        raylets = self.worker_raylets()
        lost = node_id or min(raylets)
        processes = [raylets[lost], *raylets[lost].children(recursive=True)]
        _kill(processes)
        wait_until(lambda: not any(map(_runs, processes)))
        return lost

    def drain_node(self, node_id: str, *, deadline_s: int = 60, message: str = "spot notice") -> None:
        """Tells the cluster, as a cloud's notice would, that this node goes away; nothing is killed."""
        reason = ["--reason=DRAIN_NODE_REASON_PREEMPTION", f"--reason-message={message}"]
        when = f"--deadline-remaining-seconds={deadline_s}"
        self._ask([RAY, "drain-node", f"--address={self.address}", f"--node-id={node_id}", *reason, when])

    def refuse(self, *markets: str) -> None:
        """From now on these markets, and no others, have no capacity for new nodes."""
        written = self.folder / "refused.new"
        written.write_text("\n".join(markets))
        written.replace(self.folder / "refused")

    def refusals(self) -> list[str]:
        """The market of every launch refused so far, in order."""
        path = self.folder / "refusals"
        return path.read_text().split() if path.exists() else []

    def processes(self) -> list[psutil.Process]:
        """Every process of this cluster and its drivers."""
        found: set[psutil.Process] = set()
        for process in psutil.process_iter():
            try:
                if process.pid != os.getpid() and _runs(process) and self._owns(process):
                    found |= {process, *process.children(recursive=True)}
            except psutil.Error:
                continue
        return sorted(found, key=lambda process: process.pid)

    def shutdown(self, *, keep_folder: bool = False) -> list[psutil.Process]:
        """Ends the cluster with its drivers, and nothing else; removes its folder unless told to keep it.

        Returns:
            The processes that could not be ended, in which case the folder stays too.
        """
        mine: set[psutil.Process] = set()

        def all_ended() -> bool:  # asks again, because what dies may just have started something
            new = set(self.processes())
            mine.update(new)
            _kill(mine)
            return not new and not any(map(_runs, mine))

        try:
            wait_until(all_ended, deadline_s=30)
        except TimeoutError:
            keep_folder = True
        self.head.poll()  # so that it is no zombie of ours
        if not keep_folder:
            shutil.rmtree(self.folder, ignore_errors=True)
        return [process for process in mine if _runs(process)]

    def _start_head(self, cpus: int) -> subprocess.Popen[bytes]:
        ports = [f"--port={self.address.rpartition(':')[2]}", f"--dashboard-agent-listen-port={free_port()}"]
        if importlib.util.find_spec("grpc"):  # then Ray starts the server of Ray Client, else it refuses the option
            ports.append(f"--ray-client-server-port={free_port()}")
        sizes = [f"--num-cpus={cpus}", "--num-gpus=0", f"--object-store-memory={STORE_BYTES}"]
        environment = self.environment | SETTINGS
        environment["PYTHONPATH"] = os.pathsep.join(filter(None, [str(HERE), environment.get("PYTHONPATH")]))
        environment.pop("CUDA_VISIBLE_DEVICES", None)  # an empty one would forbid fake GPUs
        with (self.folder / "head.log").open("wb") as log:
            return subprocess.Popen(
                [RAY, "start", "--head", "--block", "--include-dashboard=false", f"--temp-dir={self.folder}",
                 f"--autoscaling-config={self.folder / 'config.json'}", "--min-worker-port=0", "--max-worker-port=0",
                 *ports, *sizes],
                env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, process_group=0,
            )  # fmt: skip

    def _started(self) -> bool:
        self._check_head()
        return "Ray runtime started" in (self.folder / "head.log").read_text(errors="replace")

    def _check_head(self) -> None:
        if self.head.poll() is not None:
            log = (self.folder / "head.log").read_text(errors="replace")
            raise RuntimeError(f"the head of the fake cluster ended with {self.head.returncode}:\n{log[-3000:]}")

    def _ask(self, command: list[str]) -> str:
        asked = subprocess.run(
            command, env=self.environment, capture_output=True, text=True, check=False, timeout=DEADLINE_S
        )
        if asked.returncode:
            raise RuntimeError(f"{command} ended with {asked.returncode}:\n{asked.stderr[-3000:]}")
        return asked.stdout

    def _owns(self, process: psutil.Process) -> bool:
        """Whether its environment names our token. Processes that overwrote theirs have a parent that did not."""
        return process.environ().get("RAY_AUTH_TOKEN_PATH") == self.environment["RAY_AUTH_TOKEN_PATH"]


def _without_ray(environment: Mapping[str, str]) -> dict[str, str]:
    """This environment less what a Ray of this process set for itself, such as its token."""
    return {name: value for name, value in environment.items() if not name.startswith("RAY_")}


def _write_token(folder: Path) -> Path:
    token = folder / "token"
    token.touch(mode=0o600)
    token.write_text(secrets.token_hex(32))
    return token


def _runs(process: psutil.Process) -> bool:
    """Whether it still does something; a zombie, which only waits for its parent, does not."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


def _kill(processes: Iterable[psutil.Process]) -> None:
    for process in processes:
        try:
            process.send_signal(signal.SIGKILL)
        except psutil.Error:
            continue
