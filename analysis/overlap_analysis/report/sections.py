"""Figures that wait to be drawn, and sections of the report that are made of such."""

from dataclasses import dataclass
from typing import Protocol

from overlap_analysis.drawing import ImageFormat


class Draw(Protocol):
    """A figure with its numbers already in place; `functools.partial` of a function of `figures` is one."""

    def __call__(self, *, image_format: ImageFormat) -> bytes:
        """The bytes of the image."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Drawing:
    """A figure that is drawn when somebody needs it, in the format that they need.

    Attributes:
        name: for files, without an ending.
        draw: makes it.
        alt: what it shows, for those who do not see it.
        caption: how to read it.
    """

    name: str
    draw: Draw
    alt: str
    caption: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SectionTable:
    """A small table: texts by row, as they are to be read. Cells that look like numbers stand to the right."""

    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Section:
    """One more experiment in the report.

    Attributes:
        key: for links, unique: letters, digits, underscores.
        title: its heading, and its words in the table of contents.
        paragraphs: plain text.
        figures: under them.
        table: below the figures; None without one.
    """

    key: str
    title: str
    paragraphs: tuple[str, ...]
    figures: tuple[Drawing, ...] = ()
    table: SectionTable | None = None
