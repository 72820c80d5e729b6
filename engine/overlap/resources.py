"""What one variant is given while it is trained or evaluated, and which machines can give it."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

TIMEOUT_S = 3600.0
ACCELERATOR_LABEL = "ray.io/accelerator-type"
MARKET_LABEL = "market"
NODE_LABEL = "ray.io/node-id"

# Smallest memory sold under each of Ray's accelerator names, from the vendors' data sheets.
GPU_MEMORY_GIB: Mapping[str, int] = MappingProxyType(
    {
        "P4": 8,
        "K80": 12,
        "P100": 12,
        "T4": 16,
        "V100": 16,
        "A10G": 24,
        "L4": 24,
        "A100": 40,
        "A100-40G": 40,
        "L40S": 48,
        "A100-80G": 80,
        "H100": 80,
        "H20": 96,
        "H200": 141,
        "B200": 180,
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Resources:
    """One variant's share of a machine; a machine of any of the `accelerators` will do, of any at all if empty.

    `market` is `spot`, `on-demand`, or empty for either. A refused spot request may be widened to
    on-demand machines after `on_demand_after_s` seconds; None never widens it. `timeout_s` is how long
    one evaluation, or one epoch of training, may take.
    """

    cpus: int = 1
    gpus: float = 0.0
    accelerators: tuple[str, ...] = ()
    market: str = ""
    on_demand_after_s: float | None = None
    timeout_s: float = TIMEOUT_S

    def labels(self) -> dict[str, frozenset[str]]:
        """The labels that a machine must have, each with the values that will do."""
        wanted = {}
        if self.accelerators:
            wanted[ACCELERATOR_LABEL] = frozenset(self.accelerators)
        if self.market:
            wanted[MARKET_LABEL] = frozenset([self.market])
        return wanted

    def selector(self, *, without_nodes: frozenset[str] = frozenset()) -> dict[str, str]:
        """Ray's label selector for the machines that will do."""
        wanted = {label: f"in({','.join(sorted(values))})" for label, values in self.labels().items()}
        return {**wanted, NODE_LABEL: f"!in({','.join(sorted(without_nodes))})"} if without_nodes else wanted

    def __str__(self) -> str:
        parts = [f"{self.cpus} CPUs", f"{self.gpus:g} GPUs"]
        parts += [f"of type {' or '.join(self.accelerators)}"] if self.accelerators else []
        parts += [f"on the {self.market} market"] if self.market else []
        return " ".join([" and ".join(parts[:2]), *parts[2:]])


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """A machine of a cluster: what it has in all, and its labels."""

    cpus: float
    gpus: float
    labels: Mapping[str, str]

    def holds(self, resources: Resources) -> int:
        """How many variants with these resources fit on one such machine at once."""
        if any(self.labels.get(label, "") not in values for label, values in resources.labels().items()):
            return 0
        by_cpus = int(self.cpus // resources.cpus)
        if not resources.gpus:
            return by_cpus
        per_gpu = int(1 / resources.gpus + 1e-9)
        by_gpus = int(self.gpus) * per_gpu if per_gpu else int(self.gpus // resources.gpus)
        return min(by_cpus, by_gpus)

    def __str__(self) -> str:
        told = [self.labels[label] for label in (ACCELERATOR_LABEL, MARKET_LABEL) if self.labels.get(label)]
        return ", ".join([f"{self.cpus:g} CPUs and {self.gpus:g} GPUs", *told])


def accelerators_with(memory_gib: float, among: tuple[str, ...] = ()) -> tuple[str, ...]:
    """The accelerators that surely have this much memory, of all that are known or `among` some."""
    return tuple(name for name in among or GPU_MEMORY_GIB if GPU_MEMORY_GIB.get(name, 0) >= memory_gib)
