"""A Ray to work on: a private local one, or the cluster at an address."""

import contextlib
import logging
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from overlap.errors import ClusterError, ClusterLostError

FOLDER_PREFIX = "ov-"
LOG_BYTES = 16 * 2**20
WATCH_S = 0.5
LOST_GRACE_S = 5.0
NOTICE_S = 2.0
AGAIN = "run the same command again to continue"
ORPHANS_END_S, ORPHANS_POLL_S = 5.0, 0.02
OBJECT_STORE_BYTES = 256 * 2**20  # arguments and results only: datasets are loaded by the workers


@dataclass(frozen=True, slots=True, kw_only=True)
class Cluster:
    """The Ray that is connected, and a private folder for what it insists on writing.

    `lost` is set when a local Ray has lost one of the processes it cannot do without.
    """

    folder: Path
    lost: threading.Event = field(default_factory=threading.Event)

    @property
    def alive(self) -> bool:
        """False once a local Ray has died; always True of a cluster elsewhere."""
        return not self.lost.is_set()

    def require_alive(self) -> None:
        """Raises `ClusterLostError` when the local Ray has died."""
        if self.lost.is_set():
            raise ClusterLostError(f"the local Ray has died; {AGAIN}")


@contextlib.contextmanager
def connected(address: str | None, *, on_lost: Callable[[], None] = lambda: None) -> Iterator[Cluster]:
    """Connects to Ray for the length of the context.

    Without an address a local Ray starts with a token of its own, no dashboard and a private folder,
    and ends with the context. A Ray that this process is connected to already is used and left alone.
    `on_lost` is called if the context is still open some seconds after the local Ray has died.

    Raises:
        ClusterError: no Ray can be reached or started.
    """
    remove_abandoned_folders()
    folder = Path(tempfile.mkdtemp(prefix=f"{FOLDER_PREFIX}{os.getpid()}-", dir=_short_folder()))
    cluster = Cluster(folder=folder)
    try:
        os.environ.update(_settings(folder, local=address is None))
        import ray

        already = ray.is_initialized()
        if not already:
            _connect(address, folder)
        closing = threading.Event()
        if address is None and not already:
            watch = threading.Thread(target=_watch, args=(cluster.lost, closing, on_lost), daemon=True)
            watch.start()
        try:
            yield cluster
        except Exception as error:
            cluster.lost.wait(NOTICE_S)  # what Ray says in its last moments is no error of anything else
            if cluster.alive or isinstance(error, ClusterLostError):
                raise
            raise ClusterLostError(f"the local Ray has died ({error}); {AGAIN}") from error
        finally:
            closing.set()
            if not already:
                _disconnect(cluster)
    finally:
        _remove(folder)


def _vital_processes() -> list[subprocess.Popen[bytes]]:
    """The processes of a local Ray whose death is its own: the raylet follows each of its agents."""
    import ray

    node = ray._private.worker._global_node  # noqa: SLF001 - Ray tells of its processes nowhere else
    started: dict[str, Any] = node.all_processes if node else {}
    return [info.process for name in ("gcs_server", "raylet") for info in started.get(name, [])]


def _watch(lost: threading.Event, closing: threading.Event, on_lost: Callable[[], None]) -> None:
    """Tells within half a second that Ray has died; Ray itself may take a minute, and then ends this process."""
    processes = _vital_processes()
    while not closing.wait(WATCH_S):
        if any(process.poll() is not None for process in processes):
            lost.set()
            if not closing.wait(LOST_GRACE_S):
                on_lost()
            return


def _disconnect(cluster: Cluster) -> None:
    import ray

    if cluster.alive:
        ray.shutdown()
    else:  # an orderly end would wait for processes that are gone
        node: Any = ray._private.worker._global_node  # noqa: SLF001
        node.kill_all_processes(check_alive=False, allow_graceful=False)


def _connect(address: str | None, folder: Path) -> None:
    import ray

    options: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    if address is None:
        options |= {
            "num_cpus": os.cpu_count(),
            "include_dashboard": False,
            "object_store_memory": OBJECT_STORE_BYTES,
            "_temp_dir": str(folder),
        }
    try:
        with _sigterm_kept():
            ray.init(address=address or "local", **options)
    except (ConnectionError, RuntimeError, ValueError, ray.exceptions.RayError) as error:
        where = f"the Ray cluster at '{address}'" if address else "a local Ray"
        raise ClusterError(f"cannot connect to {where}: {str(error).splitlines()[0]}") from error


@contextlib.contextmanager
def _sigterm_kept() -> Iterator[None]:
    """Ray takes SIGTERM for itself when it starts, and would end the process there and then."""
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        if before is not None and threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, before)


def _settings(folder: Path, *, local: bool) -> dict[str, str]:
    """Ray's settings for this process and every worker it starts."""
    settings = {
        "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",  # else `uv run` starts every worker through a copy of the project
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "1",  # who asks for no GPU sees none
        "RAY_CHDIR_TO_TRIAL_DIR": "0",
        "RAY_ROTATION_MAX_BYTES": str(LOG_BYTES),  # a variant may print without end
        "RAY_ROTATION_BACKUP_COUNT": "1",
        "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
        "TUNE_DISABLE_SIGINT_HANDLER": "1",
        "RAY_AIR_NEW_OUTPUT": "0",
    }
    if not local or "ray" in sys.modules:  # Ray has settled how it authenticates when it is imported
        return {name: value for name, value in settings.items() if name not in os.environ}
    token = folder / "token"
    token.touch(mode=0o600)
    token.write_text(secrets.token_hex(32))
    return {
        **settings,
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": str(token),
        "RAY_TMPDIR": str(folder),
    }


def _short_folder() -> str:
    """A folder with a short path: Ray's sockets live below it, and their paths may have 107 bytes."""
    return "/tmp" if os.access("/tmp", os.W_OK) else tempfile.gettempdir()  # noqa: S108 - mkdtemp makes it private


def remove_abandoned_folders() -> None:
    """Deletes the folders of launches that were killed, and ends what is left of their Rays.

    Their names hold the process that made them. What works on would hold memory of an accelerator, and write into
    its folder while that is deleted.
    """
    for folder in Path(_short_folder()).glob(f"{FOLDER_PREFIX}*-*"):
        process = folder.name.removeprefix(FOLDER_PREFIX).partition("-")[0]
        ours = folder.is_dir() and not folder.is_symlink() and folder.stat().st_uid == os.getuid()
        if ours and process.isdigit() and not Path("/proc", process).exists() and Path("/proc/self").exists():
            _remove(folder)


def _remove(folder: Path) -> None:
    """Deletes a private folder once nothing writes into it: agents and workers outlive their Ray by moments."""
    _end_orphans(folder)
    shutil.rmtree(folder, ignore_errors=True)


def _end_orphans(folder: Path) -> None:
    """Kills every process of the local Ray that was given this private folder, and those it starts meanwhile."""
    until = time.monotonic() + ORPHANS_END_S
    while (orphans := list(_processes_of(folder))) and time.monotonic() < until:
        for process in orphans:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(process, signal.SIGKILL)
        time.sleep(ORPHANS_POLL_S)


def _processes_of(folder: Path) -> Iterator[int]:
    """The processes that were started with this folder as Ray's own; one that has ended has no environment."""
    mark = os.fsencode(f"RAY_TMPDIR={folder}")
    for environment in Path("/proc").glob("[0-9]*/environ"):
        with contextlib.suppress(OSError):
            if mark in environment.read_bytes().split(b"\0"):
                yield int(environment.parent.name)
