"""The classes of imported predictions: given, known from an earlier import, or found in the files."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from overlap.datasets.label_spaces import LABEL_SPACES, label_space
from overlap.errors import ArgumentError
from overlap.imports.files import Table, plain
from overlap.spec import did_you_mean


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What a table says of the classes: the names in it, the largest number (-1: none), the length of a full row.

    `width` is 0 where no row has all outputs; `place` is where the table is.
    """

    place: str
    names: frozenset[str]
    largest: int
    width: int


def given_classes(file_or_name: str) -> tuple[str, ...]:
    """The classes in a file with one a line, or of a label space such as imagenet-1k.

    Raises:
        ArgumentError: it is neither, or a class is there twice.
    """
    if file_or_name in LABEL_SPACES:
        return label_space(file_or_name)
    path = Path(file_or_name)
    if not path.is_file():
        hint = did_you_mean(file_or_name, list(LABEL_SPACES)) or f"; label spaces are {', '.join(LABEL_SPACES)}"
        raise ArgumentError(f"--classes '{file_or_name}' is neither a file nor a label space{hint}")
    lines = (line.strip() for line in path.read_text(encoding="utf-8").splitlines())
    names = tuple(line for line in lines if line)
    twice = sorted({name for name in names if names.count(name) > 1}) if len(set(names)) < len(names) else []
    if twice or not names:
        wrong = f"has '{twice[0]}' twice" if twice else "is empty"
        raise ArgumentError(f"--classes '{path}' {wrong}; expected the name of a class on each line")
    return names


def find_classes(table: Table) -> Found:
    """The classes that a table speaks of.

    Raises:
        ArgumentError: a list of classes holds neither numbers nor names.
    """
    series = [table.frame["label"]]
    if table.kind == "prediction":
        series.append(table.frame["prediction"])
    if table.kind == "top_classes":
        series.append(plain(table.frame["top_classes"].explode()))
    names = frozenset(name for one in series if one.dtype == pl.String for name in one.drop_nulls().unique())
    numbers = [one.max() for one in series if one.dtype == pl.Int64]
    width = 0
    if table.kind in ("logits", "probabilities"):
        width = len(table.frame[table.kind].drop_nulls().head(1).explode())
    largest = max((number for number in numbers if isinstance(number, int)), default=-1)
    return Found(place=table.place, names=names, largest=largest, width=width)


def choose_classes(found: Sequence[Found]) -> tuple[str, ...]:
    """The classes of tables for which none were given: their names, sorted, or numbers from 0.

    Raises:
        ArgumentError: some tables have names and others numbers, or the outputs of named classes have no order.
    """
    with_names = [one for one in found if one.names]
    with_numbers = [one for one in found if one.largest >= 0]
    full = [one for one in found if one.width]
    if with_names and with_numbers:
        raise ArgumentError(
            f"classes are names in {with_names[0].place} ('{min(with_names[0].names)}') and numbers in "
            f"{with_numbers[0].place}; expected one of both, or --classes with the names in the order of the numbers"
        )
    if with_names and full:
        raise ArgumentError(
            f"labels are names, and nothing says which output of {full[0].place} stands for which; "
            "give --classes with the names in the order of the outputs"
        )
    if with_names:
        return tuple(sorted(frozenset[str]().union(*(one.names for one in with_names))))
    count = max(max(one.largest + 1, one.width) for one in found)
    return tuple(str(number) for number in range(count))


def class_numbers(series: pl.Series, classes: Sequence[str]) -> pl.Series:
    """Int64 numbers of classes given by number or name; -1 for what is no class, null for nothing."""
    if series.dtype == pl.String:
        known = pl.DataFrame({series.name: classes, "number": range(len(classes))})
        joined = series.to_frame().join(known, on=series.name, how="left", maintain_order="left")
        return pl.select(pl.when(series.is_not_null()).then(joined["number"].fill_null(-1)))["number"]
    outside = (series < 0) | (series >= len(classes))
    return pl.select(pl.when(outside).then(-1).otherwise(series).cast(pl.Int64).alias(series.name)).to_series()
