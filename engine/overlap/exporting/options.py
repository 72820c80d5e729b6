"""What to export, and what was written."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import TypedDict, TypeVar, get_args

from overlap.errors import ArgumentError
from overlap.exporting.cells import Intervals
from overlap_analysis.drawing import ImageFormat

MOST_DIGITS = 15
IMAGE_FORMATS: tuple[ImageFormat, ...] = get_args(ImageFormat)

T = TypeVar("T", bound=str)


class TableFormat(StrEnum):
    """How a table is written: the first two whole and exact, the others rounded, for readers."""

    PARQUET = "parquet"
    CSV = "csv"
    MARKDOWN = "markdown"
    LATEX = "latex"

    @property
    def suffix(self) -> str:
        """The end of a file's name."""
        return {"markdown": ".md", "latex": ".tex"}.get(self.value, f".{self.value}")

    @property
    def whole(self) -> bool:
        """Whether a file of it always has every row."""
        return self in (TableFormat.PARQUET, TableFormat.CSV)


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportOptions:
    """What a user may choose.

    Attributes:
        tables: names of tables or globs over them; None for all but those that analyses keep for themselves.
        formats: of each table.
        figures: of each figure; none draws none.
        digits: decimals of a rounded number.
        rows: of a table for readers, at most.
        intervals: how tables for readers show them.
        force: write into a folder that holds other things.
    """

    tables: tuple[str, ...] | None = None
    formats: tuple[TableFormat, ...] = (TableFormat.CSV, TableFormat.MARKDOWN, TableFormat.LATEX)
    figures: tuple[ImageFormat, ...] = ("svg",)
    digits: int = 3
    rows: int = 1000
    intervals: Intervals = Intervals.MERGED
    force: bool = False


DEFAULT_EXPORT = ExportOptions()


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportedFile:
    """One file of `size` bytes.

    `rows` are those of its table and `written` those in the file, both None for a figure; `caption` says how to read
    a figure.
    """

    path: str
    name: str
    size: int
    rows: int | None = None
    written: int | None = None
    caption: str = ""

    @property
    def cut(self) -> bool:
        """Whether the file has fewer rows than its table."""
        return self.rows != self.written


@dataclass(frozen=True, slots=True, kw_only=True)
class Exported:
    """What was written into a folder.

    `results` is a hash of what the tables speak of. `kept` are the other files there, from an earlier export of the
    same; `notes` say what is not as one would think.
    """

    folder: Path
    sweep: str
    dataset: str
    results: str
    files: tuple[ExportedFile, ...]
    kept: tuple[ExportedFile, ...]
    notes: tuple[str, ...]


class ExportWords(TypedDict, total=False):
    """The same choices as words, as the command line and notebooks give them: one word, or several."""

    tables: str | Sequence[str]
    formats: str | Sequence[str]
    figures: str | Sequence[str]
    digits: int
    rows: int
    intervals: str
    force: bool


def options_of(words: ExportWords) -> ExportOptions:
    """The options that words stand for; `none` is no format, or no figure.

    Raises:
        ArgumentError: a word is unknown, or a number out of range.

    >>> options_of({"formats": "latex", "figures": "none"}).formats
    (<TableFormat.LATEX: 'latex'>,)
    """
    chosen = DEFAULT_EXPORT
    if "tables" in words:
        chosen = replace(chosen, tables=_several(words["tables"]))
    if "formats" in words:
        chosen = replace(chosen, formats=_known(words["formats"], tuple(TableFormat), "a format of tables"))
    if "figures" in words:
        chosen = replace(chosen, figures=_known(words["figures"], IMAGE_FORMATS, "a format of figures"))
    if "intervals" in words:
        (intervals,) = _known(words["intervals"], tuple(Intervals), "a way to show intervals") or (Intervals.NONE,)
        chosen = replace(chosen, intervals=intervals)
    chosen = replace(
        chosen,
        digits=words.get("digits", chosen.digits),
        rows=words.get("rows", chosen.rows),
        force=words.get("force", chosen.force),
    )
    check_options(chosen)
    return chosen


def check_options(options: ExportOptions) -> None:
    """Accept what a user chose.

    Raises:
        ArgumentError: a number is out of range, or there is nothing to write.
    """
    if not 0 <= options.digits <= MOST_DIGITS:
        raise ArgumentError(f"digits must be from 0 to {MOST_DIGITS}, got {options.digits}")
    if options.rows < 1:
        raise ArgumentError(f"rows must be at least 1, got {options.rows}")
    if not options.formats and not options.figures:
        raise ArgumentError("nothing to export: neither a format of tables nor one of figures")


def _several(words: str | Sequence[str]) -> tuple[str, ...]:
    return (words,) if isinstance(words, str) else tuple(words)


def _known(words: str | Sequence[str], known: tuple[T, ...], what: str) -> tuple[T, ...]:
    """The known ones that words stand for, each once."""
    given = [word for word in dict.fromkeys(_several(words)) if word != "none"]
    for word in given:
        if word not in known:
            raise ArgumentError(f"'{word}' is not {what}; known are {', '.join(known)}, none")
    return tuple(one for word in given for one in known if one == word)
