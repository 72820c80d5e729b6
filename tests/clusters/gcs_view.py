"""Prints the alive nodes of the Ray cluster at an address as JSON, without joining it as a driver.

A program of its own, because Ray reads its authentication mode once per process, at import.
"""

import json
import sys

from ray._private.state import state
from ray._raylet import GcsClientOptions


def alive_nodes(address):
    """Id, labels, resources and drain deadline (epoch ms, 0 for none; null unless draining) of each alive node."""
    state._initialize_global_state(
        GcsClientOptions.create(address, None, allow_cluster_id_nil=True, fetch_cluster_id_if_nil=False)
    )
    draining = state.get_draining_nodes()
    return [
        {
            "node_id": node["NodeID"],
            "labels": node["Labels"],
            "resources": node["Resources"],
            "drain_deadline_ms": draining.get(node["NodeID"]),
        }
        for node in state.node_table()
        if node["Alive"]
    ]


if __name__ == "__main__":
    print(json.dumps(alive_nodes(sys.argv[1])))
