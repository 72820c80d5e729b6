"""A Ray to work on: a private local one, or the cluster at an address."""

import contextlib
import logging
import os
import secrets
import shutil
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from overlap.errors import ClusterError

FOLDER_PREFIX = "ov-"
OBJECT_STORE_BYTES = 256 * 2**20  # arguments and results only: datasets are loaded by the workers


@dataclass(frozen=True, slots=True, kw_only=True)
class Cluster:
    """What is connected: its CPUs and GPUs, and a private folder for what Ray insists on writing."""

    cpus: float
    gpus: float
    folder: Path


@contextlib.contextmanager
def connected(address: str | None) -> Iterator[Cluster]:
    """Connects to Ray for the length of the context.

    Without an address a local Ray starts with a token of its own, no dashboard and a private folder,
    and ends with the context. A Ray that this process is connected to already is used and left alone.

    Raises:
        ClusterError: no Ray can be reached or started.
    """
    _remove_abandoned_folders()
    folder = Path(tempfile.mkdtemp(prefix=f"{FOLDER_PREFIX}{os.getpid()}-", dir=_short_folder()))
    try:
        if "ray" not in sys.modules:
            os.environ.update(_settings(folder, local=address is None))
        import ray

        already = ray.is_initialized()
        if not already:
            _connect(address, folder)
        try:
            resources: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]
            yield Cluster(cpus=resources.get("CPU", 0.0), gpus=resources.get("GPU", 0.0), folder=folder)
        finally:
            if not already:
                ray.shutdown()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


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
        ray.init(address=address or "local", **options)
    except (ConnectionError, RuntimeError, ValueError, ray.exceptions.RayError) as error:
        where = f"the Ray cluster at '{address}'" if address else "a local Ray"
        raise ClusterError(f"cannot connect to {where}: {str(error).splitlines()[0]}") from error


def _settings(folder: Path, *, local: bool) -> dict[str, str]:
    """Ray's settings for this process and every worker it starts."""
    settings = {
        "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",  # else `uv run` starts every worker through a copy of the project
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "1",  # who asks for no GPU sees none
        "RAY_CHDIR_TO_TRIAL_DIR": "0",
        "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
        "TUNE_DISABLE_SIGINT_HANDLER": "1",
        "RAY_AIR_NEW_OUTPUT": "0",
    }
    if not local:
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


def _remove_abandoned_folders() -> None:
    """Deletes the folders of launches that were killed: their names hold the process that made them."""
    for folder in Path(_short_folder()).glob(f"{FOLDER_PREFIX}*-*"):
        process = folder.name.removeprefix(FOLDER_PREFIX).partition("-")[0]
        ours = folder.is_dir() and not folder.is_symlink() and folder.stat().st_uid == os.getuid()
        if ours and process.isdigit() and not Path("/proc", process).exists() and Path("/proc/self").exists():
            shutil.rmtree(folder, ignore_errors=True)
