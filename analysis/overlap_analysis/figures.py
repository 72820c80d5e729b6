"""Figures of a sweep: arrays in, SVG or PNG bytes out, the same bytes for the same arrays.

Dimensions: `V` variants, `P` pairs, `K` the categories of `SHOWN_CATEGORIES`, `S` greedy steps; an axis `3` holds a
value and the low and high end of its interval, NaN for unknown. Accuracies are shares; the axes show percent.
"""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.lines import Line2D
from numpy.typing import NDArray
from scipy.cluster import hierarchy
from scipy.spatial.distance import squareform

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
    text_columns,
)
from overlap_analysis.pair_scatter import draw_dots, draw_star, pairs_text, r_text, scatter_pairs, shown_text

CATEGORY_COLORS = ("#1b068d", "#7e03a8", "#bf3984", "#ea7457", "#fdae32", "#8a8a8a")
"""Color of each of `SHOWN_CATEGORIES` in all figures, from plasma: ordered in gray and for color-blind readers."""

NAMED_ROWS = 80
"""With more variants than this, rows carry numbers instead of names."""


def error_correlation_heatmap(
    phi_VV: NDArray[np.float64],
    names: Sequence[str],
    *,
    strips: Mapping[str, Sequence[str]] = MappingProxyType({}),
    image_format: ImageFormat = "svg",
) -> bytes:
    """Error correlation of every pair of variants in `cluster_order`, on a diverging scale centered at 0.

    Args:
        phi_VV: symmetric, NaN for undefined. The diagonal is not read and stays gray, like undefined values.
        names: of the variants.
        strips: a value of each variant by title, drawn as columns of color beside the matrix.
        image_format: of the bytes.
    """
    order = cluster_order(phi_VV)
    phi_VV = np.where(np.eye(len(order), dtype=bool), np.nan, phi_VV)[np.ix_(order, order)]
    limit = max(0.1, np.ceil(10 * np.abs(np.nan_to_num(phi_VV)).max(initial=0)) / 10)
    labels = _row_labels([names[v] for v in order], size=min(8.0, 310 / max(len(order), 1)))
    matrix_left, bottom = labels.width + 0.2 * len(strips), 0.2 + 0.7 * bool(strips) + 0.42 * len(strips)
    side = WIDTH - matrix_left - 1.0
    with style():
        subtitle = "rows and columns in the same order: variants that fail on the same examples stand together"
        figure = new_figure(0.75 + side + bottom, "Error correlation φ of every pair of variants", subtitle)
        matrix = new_axes(figure, matrix_left, bottom, side, side)
        colormap = matplotlib.colormaps["RdBu_r"].with_extremes(bad=UNDEFINED)
        cells = matrix.imshow(phi_VV, cmap=colormap, vmin=-limit, vmax=limit)
        matrix.set(xticks=[], yticks=[])
        figure.colorbar(cells, cax=new_axes(figure, WIDTH - 0.8, bottom, 0.14, side), label="error correlation φ")
        named, used = matrix, 0
        for position, (title, values) in enumerate(strips.items()):
            colors = group_colors(values, skip=used)
            used += len(colors)
            strip = new_axes(figure, labels.width + 0.2 * position, bottom, 0.15, side)
            strip.imshow([[to_rgb(colors[values[v]])] for v in order])
            strip.set_xticks([0], [title], rotation=90, size=8)
            strip.set_yticks([])
            strip.grid(visible=False)
            named = strip if position == 0 else named
            below = side + 1.6 + 0.42 * position
            figure.text(0, 1 - (below + 0.05) / figure.get_figheight(), title, va="top", size=9)
            legend(figure, _group_handles(colors), left=0.8, below=below)
        named.set_yticks(labels.at, labels.text, size=labels.size)
        return image(figure, image_format)


def inconsistency_by_category(
    inconsistency_P: NDArray[np.float64],
    category_P: NDArray[np.int8],
    mean_K3: NDArray[np.float64],
    *,
    image_format: ImageFormat = "svg",
) -> bytes:
    """Error inconsistency of every pair by category, spread by density, with the means of the categories."""
    present = np.unique(category_P)
    height = 0.85 * len(present)
    with style():
        subtitle = f"{pairs_text(len(category_P))} as dots; diamonds are means with 95 % intervals"
        figure = new_figure(1.35 + height, "Error inconsistency by how the two variants differ", subtitle)
        axes = new_axes(figure, 1.75, 0.6, WIDTH - 1.75 - 1.7, height)
        for row, k in enumerate(present):
            values = 100 * inconsistency_P[(category_P == k) & ~np.isnan(inconsistency_P)]
            points = np.stack([values, row + 0.38 * _density_offsets(values)])
            draw_dots(axes, points[0], points[1], [CATEGORY_COLORS[k]] * len(values), total=len(category_P))
            _draw_mean(axes, row, 100 * mean_K3[k])
        labels = [f"{SHOWN_CATEGORIES[k]}\n{pairs_text((category_P == k).sum())}" for k in present]
        axes.set_yticks(range(len(present)), labels)
        axes.set(ylim=(len(present) - 0.5, -0.5), xlabel="error inconsistency (% of examples)")
        axes.set_xlim(left=0)
        axes.grid(visible=False, axis="y")
        return image(figure, image_format)


def improvement_against_inconsistency(
    inconsistency_P: NDArray[np.float64],
    improvement_P: NDArray[np.float64],
    category_P: NDArray[np.int8],
    *,
    image_format: ImageFormat = "svg",
) -> bytes:
    """What averaging two variants gains, against how differently they fail; stars are category means."""
    known = ~(np.isnan(inconsistency_P) | np.isnan(improvement_P))
    x, y, category = 100 * inconsistency_P[known], 100 * improvement_P[known], category_P[known]
    slope, intercept, r = linear_fit(x, y)
    fitted = "" if np.isnan(r) else f"; line: least squares over all pairs, {r_text(r)}"
    with style():
        subtitle = f"{shown_text(len(x), total=len(x))}; category means as stars{fitted}"
        figure = new_figure(5.4, "Improvement by a two-model ensemble against error inconsistency", subtitle)
        axes = new_axes(figure, 0.9, 0.6, WIDTH - 1.1, 3.75)
        axes.axhline(0, color=MUTED, linewidth=0.8)
        scatter_pairs(axes, x, y, [CATEGORY_COLORS[k] for k in category], total=len(x))
        if np.isfinite(r):
            ends = np.array([x.min(), x.max()])
            axes.plot(ends, intercept + slope * ends, color=INK, linewidth=1.2)
        handles = []
        for k in np.unique(category):
            at, color = category == k, CATEGORY_COLORS[k]
            mean_x3, mean_y3 = (np.array([values[at].mean(), np.nan, np.nan]) for values in (x, y))
            draw_star(axes, mean_x3, mean_y3, color)
            handles.append(dot(color, SHOWN_CATEGORIES[k]))
        legend(figure, handles)
        axes.set(xlabel="error inconsistency (% of examples)", ylabel="improvement (points)")
        return image(figure, image_format)


def variant_accuracies(
    names: Sequence[str],
    accuracy_V3: NDArray[np.float64],
    groups: Sequence[str],
    *,
    image_format: ImageFormat = "svg",
) -> bytes:
    """Accuracy of every variant with its interval, best first, colored by group."""
    order = np.argsort(-accuracy_V3[:, 0], kind="stable")
    value, low, high = 100 * accuracy_V3[order].T
    labels = _row_labels([names[v] for v in order], size=8.0)
    few = len(order) <= NAMED_ROWS
    height = max(0.6, 0.16 * len(order)) if few else 9.0
    by_group = group_colors(groups)
    rows, colors = np.arange(len(order)), [by_group[groups[v]] for v in order]
    with style():
        figure = new_figure(height + 1.7, "Accuracy of every variant with its 95 % interval", "best first")
        axes = new_axes(figure, labels.width, 0.6, WIDTH - labels.width - 0.3, height)
        axes.hlines(rows, low, high, colors=colors, linewidth=1.4 if few else 0.8, alpha=0.5)
        axes.scatter(value, rows, s=22 if few else 8, c=colors, linewidths=0, zorder=2)
        axes.set_yticks(labels.at, labels.text, size=labels.size)
        axes.set(ylim=(len(order) - 0.3, -0.7), xlabel="accuracy (%)")
        axes.grid(visible=False, axis="y")
        legend(figure, _group_handles(by_group))
        return image(figure, image_format)


def cluster_order(phi_VV: NDArray[np.float64]) -> NDArray[np.intp]:
    """Order of the variants that puts those with correlated errors side by side.

    Average linkage on 1 - φ, branches turned so that neighbors are as close as they can be. An undefined φ
    says nothing about its pair and counts as 0, independent errors.

    >>> phi = np.array([[1.0, 0.1, 0.9], [0.1, 1.0, 0.2], [0.9, 0.2, 1.0]])
    >>> cluster_order(phi).tolist()
    [1, 2, 0]
    """
    if len(phi_VV) < 2:
        return np.arange(len(phi_VV))
    distance_P = squareform(1 - np.nan_to_num(phi_VV), checks=False)
    tree = hierarchy.optimal_leaf_ordering(hierarchy.average(distance_P), distance_P)
    return hierarchy.leaves_list(tree).astype(np.intp)


def linear_fit(x: NDArray[np.float64], y: NDArray[np.float64]) -> tuple[float, float, float]:
    """Slope and intercept of the least-squares line, Pearson's r; NaN unless 3 points differ in both axes.

    >>> linear_fit(np.array([0.0, 1.0, 2.0]), np.array([1.0, 3.0, 5.0]))
    (2.0, 1.0, 1.0)
    """
    if len(x) < 3 or np.ptp(x) == 0 or np.ptp(y) == 0:
        return np.nan, np.nan, np.nan
    r = float(np.corrcoef(x, y)[0, 1])
    slope = float(r * np.std(y) / np.std(x))
    return slope, float(np.mean(y) - slope * np.mean(x)), r


def _group_handles(colors: Mapping[str, str]) -> list[Line2D]:
    named = [dot(color, short_name(value, 18)) for value, color in colors.items() if color != UNDEFINED]
    more = len(colors) - len(named)
    return [*named, dot(UNDEFINED, f"{more} more")] if more else named


class _RowLabels(NamedTuple):
    at: Sequence[int]
    text: Sequence[str]
    size: float
    width: float  # inches to leave for them


def _row_labels(names: Sequence[str], *, size: float) -> _RowLabels:
    if len(names) > NAMED_ROWS:
        at = [0, *range(24, len(names), 25)]
        return _RowLabels(at, [str(row + 1) for row in at], 8.0, 0.6)
    text = [short_name(name) for name in names]
    return _RowLabels(range(len(text)), text, size, 0.3 + max(map(text_columns, text)) * 0.6 * size / 72)


def _density_offsets(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Places in [-1, 1] that spread points where many share a value, so that the outline is their density."""
    # Multiples of the golden ratio: neighbors land far apart, and the same way every time.
    position = np.empty(len(values))
    position[np.argsort(values, kind="stable")] = 2 * ((np.arange(len(values)) * 0.6180339887 + 0.5) % 1) - 1
    counts, edges = np.histogram(values, bins=int(np.clip(np.sqrt(len(values)), 1, 30)))
    density = np.interp(values, (edges[1:] + edges[:-1]) / 2, counts) / max(counts.max(), 12)
    return np.asarray(position * density)


def _draw_mean(axes: Axes, row: int, mean_3: NDArray[np.float64]) -> None:
    mean, low, high = mean_3
    if np.isnan(mean):
        return
    axes.plot([low, high], [row, row], color="white", linewidth=5, solid_capstyle="butt")
    axes.plot([low, high], [row, row], color=INK, linewidth=2.2)
    axes.plot(mean, row, "D", markersize=7, color=INK, markeredgecolor="white")
    text = f"{mean:.1f} %" + (f"  [{low:.1f}, {high:.1f}]" if np.isfinite(low) else "")
    axes.text(1.02, row, text, va="center", transform=axes.get_yaxis_transform())
