"""Figures across two datasets: accuracy and agreement on their lines, error inconsistency on both.

Dimensions: `V` variants, `P` pairs, `K` the categories of `SHOWN_CATEGORIES`; an axis `3` holds a value and the low
and high end of its interval, NaN for unknown. All values are shares; the axes show percent.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from numpy.typing import NDArray
from scipy.special import ndtri

from overlap_analysis.categories import SHOWN_CATEGORIES
from overlap_analysis.drawing import (
    INK,
    MUTED,
    UNDEFINED,
    WIDTH,
    ImageFormat,
    dot,
    group_colors,
    image,
    legend,
    new_axes,
    new_figure,
    short_name,
    style,
)
from overlap_analysis.figures import CATEGORY_COLORS
from overlap_analysis.pair_scatter import draw_star, scatter_pairs, shown_text

_TICKS = (
    (5, 20, 50, 80, 95),
    (1, 5, 10, 20, 30, 40, 50, 60, 70, 80, 90, 95, 99),
    (0.2, 0.5, 1, 2, *range(5, 100, 5), 97, 98, 99, 99.5, 99.8),
    tuple(np.round(np.arange(0.5, 100, 0.5), 1).tolist()),
)
_ENDS = (0.0001, 0.9999)  # as far as the axes go
_HEIGHT = 4.3
_FEWEST_TICKS = 4
_COLUMNS = 4
_SCALE = "; axes in probit scale"


@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetNames:
    """What the axes call the two datasets."""

    reference: str
    shifted: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbitLine:
    """A line in probit scale: the shifted value is Φ(intercept + slope · Φ⁻¹(reference value))."""

    slope: float
    intercept: float
    r_squared: float


def accuracy_on_the_line(
    reference_V3: NDArray[np.float64],
    shifted_V3: NDArray[np.float64],
    groups: Sequence[str],
    line: ProbitLine,
    names: DatasetNames,
    *,
    image_format: ImageFormat = "svg",
) -> bytes:
    """Accuracy under shift against that on the reference dataset, as Miller et al. draw it.

    Args:
        reference_V3: accuracy of each variant, with its interval.
        shifted_V3: likewise.
        groups: of each variant, for its color: its training data, say.
        line: through the variants; one without a slope is left out.
        names: of the datasets.
        image_format: of the bytes.
    """
    colors = group_colors(groups)
    shade_V = [colors[group] for group in groups]
    (x_V, left_V, right_V), (y_V, low_V, high_V) = _probit(reference_V3).T, _probit(shifted_V3).T
    with style():
        rows = -(-(len(set(colors.values())) + 2) // _COLUMNS)
        subtitle = f"{len(groups)} variants with 95 % intervals{_SCALE}"
        figure = new_figure(_HEIGHT + 1.25 + 0.25 * rows, "Accuracy under shift", subtitle)
        axes = new_axes(figure, 0.9, 0.6, WIDTH - 1.1, _HEIGHT)
        axes.hlines(y_V, left_V, right_V, colors=shade_V, linewidth=0.8, alpha=0.45)
        axes.vlines(x_V, low_V, high_V, colors=shade_V, linewidth=0.8, alpha=0.45)
        axes.scatter(x_V, y_V, s=26, c=shade_V, linewidths=0, zorder=3)
        lines = _draw_lines(axes, x_V, {"least-squares line": line})
        legend(figure, [*_handles(colors), *lines], columns=_COLUMNS)
        _name_axes(axes, "accuracy", names)
        return image(figure, image_format)


def agreement_on_the_line(
    reference_P: NDArray[np.float64],
    shifted_P: NDArray[np.float64],
    category_P: NDArray[np.int8],
    lines: Mapping[str, ProbitLine],
    names: DatasetNames,
    *,
    image_format: ImageFormat = "svg",
) -> bytes:
    """How often two variants agree under shift, against how often on the reference dataset, as Baek et al. draw it.

    Args:
        reference_P: share of examples on which the two predict the same class.
        shifted_P: likewise.
        category_P: index into `SHOWN_CATEGORIES`; -1 for unknown.
        lines: by what the legend calls them: the line through the pairs first, then that of accuracies, which lies
            on it where agreement can stand for accuracy.
        names: of the datasets.
        image_format: of the bytes.
    """
    x_P, y_P = _probit(reference_P), _probit(shifted_P)
    with style():
        subtitle = f"{shown_text(len(x_P), total=len(x_P))}{_SCALE}"
        figure = new_figure(_HEIGHT + 1.7, "Agreement of two variants under shift", subtitle)
        axes = new_axes(figure, 0.9, 0.6, WIDTH - 1.1, _HEIGHT)
        if len(x_P):
            scatter_pairs(axes, x_P, y_P, [CATEGORY_COLORS[k] for k in category_P], total=len(x_P))
        handles = _draw_lines(axes, x_P, lines)
        legend(figure, _category_handles(category_P))
        legend(figure, handles, below=0.78, columns=3)
        _name_axes(axes, "agreement", names)
        return image(figure, image_format)


def inconsistency_under_shift(
    reference_P: NDArray[np.float64],
    shifted_P: NDArray[np.float64],
    category_P: NDArray[np.int8],
    means_2K3: NDArray[np.float64],
    names: DatasetNames,
    *,
    image_format: ImageFormat = "svg",
) -> bytes:
    """Error inconsistency of each pair on the shifted dataset against that on the reference one.

    Args:
        reference_P: error inconsistency; NaN for undefined.
        shifted_P: likewise.
        category_P: index into `SHOWN_CATEGORIES`; -1 for unknown.
        means_2K3: means by category, on the reference and on the shifted dataset, with their intervals.
        names: of the datasets.
        image_format: of the bytes.
    """
    known_P = ~(np.isnan(reference_P) | np.isnan(shifted_P))
    x, y, category = 100 * reference_P[known_P], 100 * shifted_P[known_P], category_P[known_P]
    with style():
        subtitle = f"{shown_text(len(x), total=len(x))}; stars: means of the categories with 95 % intervals"
        figure = new_figure(_HEIGHT + 1.5, "Error inconsistency of each pair on both datasets", subtitle)
        axes = new_axes(figure, 0.9, 0.6, WIDTH - 1.1, _HEIGHT)
        if len(x):
            scatter_pairs(axes, x, y, [CATEGORY_COLORS[k] for k in category], total=len(x))
        for k in np.unique(category):
            if 0 <= k < means_2K3.shape[1]:
                draw_star(axes, 100 * means_2K3[0, k], 100 * means_2K3[1, k], CATEGORY_COLORS[k])
        axes.set_xlim(left=0)
        axes.set_ylim(bottom=0)
        legend(figure, [*_category_handles(category), _draw_equal(axes)], columns=6)
        axes.set_xlabel(f"error inconsistency on {short_name(names.reference)} (%)")
        axes.set_ylabel(f"error inconsistency on {short_name(names.shifted)} (%)")
        return image(figure, image_format)


def probit_ticks(low: float, high: float) -> tuple[float, ...]:
    """Round percentages for an axis in probit scale, between two of its places: the fewest that are at least four.

    >>> probit_ticks(-2.0, 2.0)
    (5, 20, 50, 80, 95)
    """
    inside: tuple[float, ...] = ()
    for ticks in _TICKS:
        inside = tuple(tick for tick in ticks if low <= ndtri(tick / 100) <= high)
        if len(inside) >= _FEWEST_TICKS:
            break
    return inside


def _probit(shares: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(ndtri(np.clip(shares, *_ENDS)), dtype=np.float64)


def _draw_lines(axes: Axes, x: NDArray[np.float64], lines: Mapping[str, ProbitLine]) -> list[Line2D]:
    """Lines over the range of the points, and where both datasets are alike; gives what the legend says of them."""
    handles = []
    known = {label: line for label, line in lines.items() if np.isfinite(line.slope) and len(x)}
    for (label, line), dashes in zip(known.items(), ("-", "--", "-."), strict=False):
        ends = np.array([x.min(), x.max()])
        (drawn,) = axes.plot(ends, line.intercept + line.slope * ends, dashes, color=INK, linewidth=1.4, zorder=4)
        drawn.set_label(f"{label}, R² = {line.r_squared:.2f}")
        handles.append(drawn)
    return [*handles, _draw_equal(axes)]


def _draw_equal(axes: Axes) -> Line2D:
    """The diagonal, as far as the axes go by now, which it leaves where they are."""
    x_limits, y_limits = axes.get_xlim(), axes.get_ylim()
    ends = np.array([max(x_limits[0], y_limits[0]), min(x_limits[1], y_limits[1])])
    (drawn,) = axes.plot(ends, ends, color=MUTED, linestyle=":", linewidth=1, label="the same on both")
    drawn.set_visible(bool(ends[0] < ends[1]))
    axes.set(xlim=x_limits, ylim=y_limits)
    return drawn


def _handles(colors: Mapping[str, str]) -> list[Line2D]:
    named = [dot(color, short_name(value, 24)) for value, color in colors.items() if color != UNDEFINED]
    more = len(colors) - len(named)
    return [*named, dot(UNDEFINED, f"{more} more")] if more else named


def _category_handles(category_P: NDArray[np.int8]) -> list[Line2D]:
    return [dot(CATEGORY_COLORS[k], SHOWN_CATEGORIES[k]) for k in np.unique(category_P)]


def _name_axes(axes: Axes, what: str, names: DatasetNames) -> None:
    """Percentages at the ticks of both axes, in probit scale, and what is along them."""
    for axis, (low, high), name in (
        (axes.xaxis, axes.get_xlim(), names.reference),
        (axes.yaxis, axes.get_ylim(), names.shifted),
    ):
        ticks = probit_ticks(low, high)
        axis.set_ticks(_probit(np.array(ticks) / 100), [f"{tick:g}" for tick in ticks])
        axis.set_label_text(f"{what} on {short_name(name)} (%)")
    axes.minorticks_off()
