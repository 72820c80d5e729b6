"""What the fake autoscaling cluster consists of: types of worker nodes, and the configuration Ray reads."""

from pathlib import Path
from typing import Any

HEAD_ID = "f" * 51 + "00000"  # fixed in FakeMultiNodeProvider, which numbers its workers from ...00001 upwards
HEAD_TYPE = "ray.head.default"  # fixed there too
MARKET = "market"
STORE_BYTES = 80 * 2**20


def node_type(*, market: str = "", cpus: int = 1, gpus: int = 1, limit: int = 2, at_least: int = 0) -> dict[str, Any]:
    """A type of worker node with fake GPUs, of which the autoscaler keeps between `at_least` and `limit`."""
    return {
        "resources": {"CPU": cpus, "GPU": gpus, "object_store_memory": STORE_BYTES},
        "labels": {MARKET: market} if market else {},
        "node_config": {},
        "min_workers": at_least,
        "max_workers": limit,
    }


def autoscaling_config(
    address: str, folder: Path, node_types: dict[str, dict[str, Any]], head_cpus: int, idle_timeout_minutes: float
) -> dict[str, Any]:
    """What `ray start --autoscaling-config` of this cluster reads; the provider's two files lie in the folder."""
    empty_lists = (
        "initialization_commands setup_commands head_setup_commands worker_setup_commands head_start_ray_commands "
        "worker_start_ray_commands cluster_synced_files rsync_exclude rsync_filter"
    )
    return {
        "cluster_name": "fake",
        "max_workers": sum(kind["max_workers"] for kind in node_types.values()),
        "upscaling_speed": 1.0,
        "idle_timeout_minutes": idle_timeout_minutes,
        "provider": {
            "type": "external",  # the only type that reads no file of defaults, which the wheel lacks
            "module": "refusing_provider.RefusingProvider",
            "refused_markets_file": str(folder / "refused"),
            "refusals_file": str(folder / "refusals"),
            "gcs_address": address,
            "head_node_id": HEAD_ID,
            "launch_multiple": True,
            "use_node_id_as_ip": True,
            "disable_node_updaters": True,
            "disable_launch_config_check": True,
        },
        "head_node_type": HEAD_TYPE,
        "available_node_types": {
            **node_types,
            HEAD_TYPE: {"resources": {"CPU": head_cpus}, "node_config": {}, "max_workers": 0},
        },
        "auth": {},
        "docker": {},
        "file_mounts": {},
        "file_mounts_sync_continuously": False,
        **{key: [] for key in empty_lists.split()},
    }
