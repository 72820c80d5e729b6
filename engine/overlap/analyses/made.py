"""The tables of an analysis, written one by one."""

from collections.abc import Collection, Iterable, Iterator, Mapping

import polars as pl

from overlap.outcomes import Outcomes
from overlap.store import Store

ROWS_HELD = 2_000_000  # of a table; larger ones are written and not kept in memory


class Made:
    """The tables of an analysis, each written when it is made, with the keys of the variants it speaks of."""

    def __init__(self, store: Store, outcomes: Outcomes) -> None:
        self.store, self.dataset = store, outcomes.dataset
        self.keys = dict(zip(outcomes.names, outcomes.keys, strict=True))
        self.tables: dict[str, pl.DataFrame] = {}
        self.rows: dict[str, int] = {}
        self.notes: list[str] = []

    def add(self, name: str, frames: Iterable[pl.DataFrame], keys: Mapping[str, str] | None = None) -> None:
        """Writes a table of which at least one part comes, and keeps it unless it is too large."""
        kept: list[pl.DataFrame] = []
        self.rows[name] = 0

        def passing() -> Iterator[pl.DataFrame]:
            for frame in frames:
                self.rows[name] += frame.height
                if self.rows[name] <= ROWS_HELD:
                    kept.append(frame)
                yield frame

        self.store.write_analysis_parts(self.dataset, name, passing(), self.keys if keys is None else keys)
        if self.rows[name] <= ROWS_HELD:
            self.tables[name] = pl.concat(kept)

    def add_all(self, found: Mapping[str, pl.DataFrame], *, instead_of: Collection[str]) -> None:
        """Writes whole tables, and removes those of an earlier analysis that are not made this time."""
        for name in instead_of:
            if name in found:
                self.add(name, [found[name]])
            else:
                self.store.drop_analysis(self.dataset, name)
