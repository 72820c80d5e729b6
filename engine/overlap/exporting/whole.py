"""Whole tables, a part at a time: CSV for other programs and spreadsheets, Parquet as the store has it."""

import io
import json
import shutil
from collections.abc import Iterable
from typing import IO

import polars as pl

# What spreadsheets take for the beginning of a formula; numbers are never texts.
_FORMULA = r"^[=+\-@\t\r\n＝＋－＠]"  # noqa: RUF001 - the wide forms are meant
GUARD = "'"


def write_csv(file: IO[bytes], parts: Iterable[pl.DataFrame]) -> int:
    """Writes the rows of all parts as UTF-8 with one header, and returns how many texts it guarded.

    Numbers have all their digits, nothing is an empty cell and an empty text is `""`; lists are JSON. A text that a
    spreadsheet would take for a formula gets an apostrophe in front.
    """
    guarded = 0
    for first, part in enumerate(parts):
        texts = [_as_text(series) for series in part]
        guarded += sum(int(_formulas(series).sum()) for series in texts)
        part.with_columns(_guarded(series) for series in texts).write_csv(file, include_header=not first)
    return guarded


def copy_parquet(file: IO[bytes], stored: IO[bytes]) -> None:
    """Copies a stored table, bit for bit."""
    shutil.copyfileobj(stored, file, io.DEFAULT_BUFFER_SIZE * 128)


def _as_text(series: pl.Series) -> pl.Series:
    """Lists as JSON, bytes as hexadecimal digits, the others as they are."""
    if series.dtype == pl.Binary:
        return series.bin.encode("hex")
    if not series.dtype.is_nested():
        return series
    texts = [None if value is None else json.dumps(value, ensure_ascii=False) for value in series.to_list()]
    return pl.Series(series.name, texts, dtype=pl.String)


def _formulas(series: pl.Series) -> pl.Series:
    if series.dtype != pl.String:
        return pl.Series([], dtype=pl.Boolean)
    return series.str.contains(_FORMULA)


def _guarded(series: pl.Series) -> pl.Series:
    return series.str.replace(f"({_FORMULA})", f"{GUARD}$1") if series.dtype == pl.String else series
