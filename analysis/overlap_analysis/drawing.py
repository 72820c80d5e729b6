"""What all figures share: style, colors, names, axes at places in inches, SVG or PNG bytes at the end."""

import unicodedata
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from io import BytesIO
from typing import Any, Literal

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

ImageFormat = Literal["svg", "png"]

ACCENT, INK, MUTED, RULE, UNDEFINED = "#1f5f8b", "#1c2126", "#5d6873", "#e3e7eb", "#d0d5da"
# Paul Tol's "muted" scheme, safe for color-blind readers.
GROUP_COLORS = ("#332288", "#cc6677", "#117733", "#ddcc77", "#88ccee", "#882255", "#44aa99", "#999933")
WIDTH = 9.0
_DOTS_AN_INCH = {"svg": 120, "png": 300}  # of what an SVG holds as pixels; of a PNG, what journals ask for
_LAYOUT_FONT = b"'DejaVu Sans', sans-serif"
_PAGE_FONT = b"system-ui, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif"
# Categories of characters that break XML, and bidi classes that reorder what stands beside them.
_CONTROLS = frozenset({"Cc", "Cs", "Cn", "LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"})
_STYLE: dict[Any, Any] = {
    "font.sans-serif": ["DejaVu Sans"],  # ships with matplotlib: the same layout everywhere
    "svg.fonttype": "none",
    "svg.hashsalt": "overlap",
    "text.parse_math": False,
    "text.color": INK,
    **{f"axes.spines.{side}": False for side in ("left", "right", "top", "bottom")},
    **{f"{axis}tick.{key}": value for axis in "xy" for key, value in (("major.size", 0), ("color", INK))},
    "image.interpolation": "none",
    "image.aspect": "auto",
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.labelcolor": INK,
    "axes.edgecolor": RULE,
    "grid.color": RULE,
    "legend.frameon": False,
    "legend.fontsize": 9,
    "legend.borderaxespad": 0,
    "legend.handletextpad": 0.4,
}


def group_colors(values: Sequence[str], *, skip: int = 0) -> dict[str, str]:
    """Color of each distinct value, the most frequent first; after the eighth all are gray.

    The first `skip` colors come last: something beside these already uses them.
    """
    ranked = sorted(Counter(values).items(), key=lambda item: (-item[1], item[0]))
    first = skip % len(GROUP_COLORS)
    scheme = [*GROUP_COLORS[first:], *GROUP_COLORS[:first]] + [UNDEFINED] * len(ranked)
    return {value: color for (value, _), color in zip(ranked, scheme, strict=False)}


def short_name(name: str, columns: int = 36) -> str:
    """A name for one line of a figure: no control characters, cut in the middle to so many columns.

    >>> short_name("resnet50.ram_in1k-0123456789-seed7", 16)
    'resnet50…9-seed7'
    """
    text = "".join("\ufffd" if _is_control(letter) else letter for letter in " ".join(name.split()))
    if text_columns(text) <= columns:
        return text
    head = text
    while text_columns(head) > columns // 2:
        head = head[:-1]
    tail = text[len(head) :]
    while text_columns(tail) > columns - columns // 2 - 1:
        tail = tail[1:]
    return f"{head}…{tail}"


def text_columns(text: str) -> int:
    """How wide a text is, in letters: some are two wide."""
    return sum(1 + (unicodedata.east_asian_width(letter) in "WF") for letter in text)


@contextmanager
def style() -> Iterator[None]:
    """Our settings of matplotlib, and afterwards those that were."""
    with matplotlib.rc_context(), warnings.catch_warnings():
        # Names may hold letters that the layout font lacks; a browser draws them with another font.
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(_STYLE)
        yield


def new_figure(height: float, title: str, subtitle: str) -> Figure:
    """An empty figure so many inches high, with its title."""
    figure = Figure(figsize=(WIDTH, height))
    figure.text(0, 1 - 0.1 / height, title, va="top", weight="bold", size=12)
    figure.text(0, 1 - 0.36 / height, subtitle, va="top", color=MUTED, size=9)
    return figure


def new_axes(figure: Figure, left: float, bottom: float, width: float, height: float) -> Axes:
    """Axes at a place given in inches."""
    total = figure.get_figheight()
    return figure.add_axes((left / WIDTH, bottom / total, width / WIDTH, height / total))


def legend(
    figure: Figure, handles: Sequence[Line2D], *, left: float = -0.05, below: float = 0.55, columns: int = 5
) -> None:
    """A legend in rows, at a place in inches from the upper left corner."""
    corner = (left / WIDTH, 1 - below / figure.get_figheight())
    figure.legend(handles=handles, loc="upper left", bbox_to_anchor=corner, ncols=columns)


def dot(color: str, label: str) -> Line2D:
    """An entry of a legend."""
    return Line2D([], [], linestyle="none", marker="o", color=color, label=label)


def image(figure: Figure, image_format: ImageFormat) -> bytes:
    """The finished figure."""
    buffer = BytesIO()
    figure.savefig(buffer, format=image_format, dpi=_DOTS_AN_INCH[image_format], metadata={"Date": None})
    return buffer.getvalue().replace(_LAYOUT_FONT, _PAGE_FONT)


def _is_control(letter: str) -> bool:
    return not {unicodedata.category(letter), unicodedata.bidirectional(letter)}.isdisjoint(_CONTROLS)
