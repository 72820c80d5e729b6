"""The rows of a table in the order of its examples, and messages that say which row is wrong."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from overlap.errors import ArgumentError
from overlap.imports.files import ROW, Table

_SHOWN = 5


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Rows:
    """A table's rows, sorted by example."""

    table: Table
    frame: pl.DataFrame

    def require(self, ok_N: NDArray[np.bool_], message: Callable[[int], str]) -> None:
        """Refuses a table in which something does not hold for every row; `message(i)` says what of row i.

        Raises:
            ArgumentError: with the first of the wrong rows, as it is in the file, and how many there are.
        """
        wrong = np.flatnonzero(~ok_N)
        if not len(wrong):
            return
        first = int(wrong[np.argmin(self.frame[ROW].to_numpy()[wrong])])
        row, example = self.frame[ROW][first], self.frame["example"][first]
        more = f"; {len(wrong):,} such rows" if len(wrong) > 1 else ""
        raise ArgumentError(f"{self.table.place}, row {row} (example {example!r}): {message(first)}{more}")


def sorted_rows(table: Table) -> Rows:
    """The rows of a table by example, numbers by size and names by code point."""
    frame = table.frame
    return Rows(table=table, frame=frame if frame["example"].is_sorted() else frame.sort("example"))


def named(values: Iterable[object]) -> str:
    """The first few of some values, and how many there are."""
    every = list(values)
    shown = ", ".join(repr(value) for value in every[:_SHOWN])
    return shown if len(every) <= _SHOWN else f"{shown} … ({len(every):,} in all)"
