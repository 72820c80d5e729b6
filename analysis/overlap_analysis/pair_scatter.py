"""Dots for pairs in figures: as shapes where there are few, as an image where there are many.

Dimensions: `P` dots, `H` and `W` rows and columns of cells.
"""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb, to_rgba_array
from numpy.typing import NDArray

from overlap_analysis.drawing import INK

SHAPES_UP_TO = 2000
"""More dots than this in a figure become an image: shapes take about 100 bytes each."""

_DOTS_UP_TO = 6000
_CELLS_AN_INCH = 45
_LEVELS = 6
_DARKEST = 24  # dots in a cell


def scatter_pairs(
    axes: Axes, x_P: NDArray[np.float64], y_P: NDArray[np.float64], colors: Sequence[str], *, total: int
) -> None:
    """Dots in a fixed shuffle, so that no color hides the others; beyond 6,000 in total, how many are in each cell.

    Args:
        axes: to draw on, at their final size.
        x_P: finite.
        y_P: finite.
        colors: of each dot.
        total: dots in the whole figure.
    """
    if total > _DOTS_UP_TO:
        _draw_cells(axes, x_P, y_P, np.array([to_rgb(color) for color in dict.fromkeys(colors)]), _codes(colors))
        return
    shuffled = np.random.default_rng(0).permutation(len(x_P))
    draw_dots(axes, x_P[shuffled], y_P[shuffled], [colors[p] for p in shuffled], total=total)


def draw_dots(
    axes: Axes, x_P: NDArray[np.float64], y_P: NDArray[np.float64], colors: Sequence[str], *, total: int
) -> None:
    """Dots in their order, which shrink and fade with their number."""
    crowding = np.sqrt(max(len(colors), 1))
    size, alpha = np.clip(400 / crowding, 7, 40), np.clip(25 / crowding, 0.15, 0.6)
    rasterized = total > SHAPES_UP_TO
    axes.scatter(x_P, y_P, s=size, c=to_rgba_array(colors, alpha=alpha), linewidths=0, rasterized=rasterized)


def draw_star(axes: Axes, x_3: NDArray[np.float64], y_3: NDArray[np.float64], color: str, *, size: float = 17) -> None:
    """A mean as a star, with its intervals in both directions where they are known."""
    for width, shade in ((3.6, "white"), (1.6, INK)):
        axes.plot([x_3[1], x_3[2]], [y_3[0], y_3[0]], color=shade, linewidth=width, solid_capstyle="butt", zorder=4)
        axes.plot([x_3[0], x_3[0]], [y_3[1], y_3[2]], color=shade, linewidth=width, solid_capstyle="butt", zorder=4)
    axes.plot(x_3[0], y_3[0], "*", color="white", markersize=size + 4, markeredgecolor="white", zorder=5)
    axes.plot(x_3[0], y_3[0], "*", color=color, markersize=size, markeredgecolor=INK, zorder=5)


def pairs_text(count: int) -> str:
    """A number of pairs in words.

    >>> pairs_text(1), pairs_text(1275)
    ('1 pair', '1,275 pairs')
    """
    return f"{count:,} pair{'' if count == 1 else 's'}"


def shown_text(count: int, *, total: int) -> str:
    """How `scatter_pairs` shows so many pairs, where the whole figure has so many dots."""
    return pairs_text(count) + (", darker where there are more" if total > _DOTS_UP_TO else " as dots")


def r_text(r: float, low: float = np.nan, high: float = np.nan) -> str:
    """Pearson's r with its interval, where that is known.

    >>> r_text(-0.5, -0.75, 0.25)
    'r = −0.50 [−0.75, 0.25]'
    """
    between = f" [{low:.2f}, {high:.2f}]" if np.isfinite([low, high]).all() else ""
    return f"r = {r:.2f}{between}".replace("-", "\N{MINUS SIGN}")


def _codes(colors: Sequence[str]) -> NDArray[np.int64]:
    known = {color: code for code, color in enumerate(dict.fromkeys(colors))}
    return np.array([known[color] for color in colors], np.int64)


def _draw_cells(
    axes: Axes,
    x_P: NDArray[np.float64],
    y_P: NDArray[np.float64],
    colors_K3: NDArray[np.float64],
    color_P: NDArray[np.int64],
) -> None:
    """An image of a few thousand cells: the color is that of the mean dot in it, and it fades where they are few."""
    box = axes.get_window_extent()
    resolution = axes.figure.dpi / _CELLS_AN_INCH
    shape = max(2, round(box.height / resolution)), max(2, round(box.width / resolution))
    edges_x, edges_y = (_edges(values, size) for values, size in ((x_P, shape[1]), (y_P, shape[0])))
    row_P = np.clip(np.searchsorted(edges_y, y_P, side="right") - 1, 0, shape[0] - 1)
    column_P = np.clip(np.searchsorted(edges_x, x_P, side="right") - 1, 0, shape[1] - 1)
    cell_P = row_P * shape[1] + column_P
    count_C = np.bincount(cell_P, minlength=shape[0] * shape[1])
    totals = [np.bincount(cell_P, channel_K[color_P], len(count_C)) for channel_K in colors_K3.T]
    rgb_C3 = np.stack(totals, axis=1) / np.maximum(count_C, 1)[:, np.newaxis]
    # Few shades, so that the image compresses.
    shade_C = np.ceil(_LEVELS * np.minimum(np.log1p(count_C) / np.log1p(_DARKEST), 1)) / _LEVELS
    alpha_C = np.where(count_C > 0, 0.25 + 0.75 * shade_C, 0)
    rgba_C4 = np.column_stack([np.round(rgb_C3 * 15) / 15, alpha_C])
    rgba_C4[count_C == 0] = 0
    extent = (edges_x[0], edges_x[-1], edges_y[0], edges_y[-1])
    cells = axes.imshow(rgba_C4.reshape(*shape, 4), origin="lower", extent=extent, zorder=1)
    cells.sticky_edges.x.clear()  # an image else ends the axes where it ends
    cells.sticky_edges.y.clear()
    axes.autoscale_view()


def _edges(values_P: NDArray[np.float64], size: int) -> NDArray[np.float64]:
    low, high = values_P.min(), values_P.max()
    aside = 0.5 if low == high else 0.0
    return np.linspace(low - aside, high + aside, size + 1)
