"""Ray's fake node provider with refused capacity: a market that a test names gets no machine.

Imported by the autoscaler's process alone. The refused markets stand one a line in the file that the
provider's configuration names, so a test can change them while the cluster runs.
"""

from pathlib import Path

from ray.autoscaler._private.fake_multi_node.node_provider import FakeMultiNodeProvider
from ray.autoscaler.node_launch_exception import NodeLaunchException


class RefusingProvider(FakeMultiNodeProvider):
    """Starts raylets on this machine, except for node types whose label `market` is refused now."""

    def create_node_with_resources_and_labels(self, node_config, tags, count, resources, labels):
        market = labels.get("market", "")
        refused = Path(self.provider_config["refused_markets_file"]).read_text().split()
        if market in refused:
            with Path(self.provider_config["refusals_file"]).open("a") as refusals:
                refusals.write(f"{market}\n")
            raise NodeLaunchException("InsufficientInstanceCapacity", f"no {market} capacity", None)
        return super().create_node_with_resources_and_labels(node_config, tags, count, resources, labels)
