"""A store whose tables stay as they are: what an analysis makes is only in its answer."""

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING

from overlap.store import Store

if TYPE_CHECKING:
    import polars as pl

_KEPT = "greedy_threats_"  # costly to find, the same whatever was asked for, and no answer


class UnwrittenStore(Store):
    """Reads as the store does, and writes no table but the threats that later selections are spared to find."""

    def write_analysis_parts(
        self,
        dataset: str,
        table: str,
        frames: Iterable["pl.DataFrame"],
        keys: Mapping[str, str] = MappingProxyType({}),
    ) -> str:
        """Lets the parts pass, whose maker keeps them."""
        if table.startswith(_KEPT):
            return super().write_analysis_parts(dataset, table, frames, keys)
        for _ in frames:
            pass
        return ""

    def drop_analysis(self, dataset: str, table: str) -> None:
        """Leaves the table."""
