"""A table for readers: rounded numbers, each with its interval, every cell a text."""

import json
import math
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import polars as pl

NOTHING = "\N{EN DASH}"
_KEY_DIGITS = 16  # as in the names of stored files
_BIDI_CONTROLS = frozenset({"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"})


class Intervals(StrEnum):
    """How a table shows an interval: with its value in one cell, in columns of its own, or not at all."""

    MERGED = "merged"
    COLUMNS = "columns"
    NONE = "none"


@dataclass(frozen=True, slots=True, kw_only=True)
class TextColumn:
    """A column of texts; `numeric` if they are numbers."""

    title: str
    cells: tuple[str, ...]
    numeric: bool


def text_columns(
    frame: pl.DataFrame, *, digits: int = 3, intervals: Intervals = Intervals.MERGED
) -> tuple[TextColumn, ...]:
    """The columns of a table as a reader sees them.

    Numbers have so many decimals; smaller ones are written with a power of ten. What is unknown is a dash.
    Keys are cut to 16 digits. Columns `x_low` and `x_high` right behind one whose name begins with x are its
    interval, as are `low` and `high`.
    """
    numbers = [name for name, kind in frame.schema.items() if kind.is_numeric()]
    ends = {name: interval for name in numbers if (interval := _interval(frame.columns, name))}
    hidden = {end for pair in ends.values() for end in pair} if intervals is not Intervals.COLUMNS else set()
    return tuple(
        _column(frame, name, ends.get(name) if intervals is Intervals.MERGED else None, digits)
        for name in frame.columns
        if name not in hidden
    )


def number(value: float | None, digits: int) -> str:
    """A number for readers.

    >>> number(0.12345, 3), number(-0.0, 3), number(0.00012345, 3), number(None, 3)
    ('0.123', '0.000', '1.2e-04', '–')
    """
    if value is None or math.isnan(value):
        return NOTHING
    if value and abs(value) < 0.5 * 10.0**-digits:
        return f"{value:.1e}"
    return f"{value:z.{digits}f}"


def one_line(text: str) -> str:
    r"""A text on one line: controls, and marks that reorder what stands beside them, become a replacement mark.

    >>> one_line("two\nlines\x00")
    'two lines\ufffd'
    """
    return "".join("\ufffd" if _is_control(letter) else letter for letter in " ".join(text.split()))


def _is_control(letter: str) -> bool:
    return unicodedata.category(letter) in {"Cc", "Cs", "Cn"} or unicodedata.bidirectional(letter) in _BIDI_CONTROLS


def _interval(names: Sequence[str], name: str) -> tuple[str, str] | None:
    """The columns with the ends of a column's interval."""
    following = names[names.index(name) + 1 :][:2]
    if len(following) < 2 or not f"_{following[0]}".endswith("_low"):
        return None
    low, high = following
    prefix = low.removesuffix("low")
    return (low, high) if high == f"{prefix}high" and name.startswith(prefix.rstrip("_")) else None


def _column(frame: pl.DataFrame, name: str, interval: tuple[str, str] | None, digits: int) -> TextColumn:
    series = frame[name]
    numeric = series.dtype.is_numeric()
    cells = _float_cells(series, digits) if series.dtype.is_float() else [_cell(name, value) for value in series]
    if interval is not None:
        low, high = (_float_cells(frame[end], digits) for end in interval)
        cells = [
            value if (low_end, high_end) == (NOTHING, NOTHING) else f"{value} [{low_end}, {high_end}]"
            for value, low_end, high_end in zip(cells, low, high, strict=True)
        ]
    return TextColumn(title=one_line(name.replace("_", " ")), cells=tuple(cells), numeric=numeric)


def _float_cells(series: pl.Series, digits: int) -> list[str]:
    return [number(value, digits) for value in series]


def _cell(name: str, value: object) -> str:
    if value is None:
        return NOTHING
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, pl.Series):
        return json.dumps(value.to_list(), ensure_ascii=False)
    if isinstance(value, bytes):
        return f"{len(value)} bytes"
    text = one_line(str(value))
    return text[:_KEY_DIGITS] if name == "key" else text
