"""The figure of what pairs make together, by how differently they fail: arrays in, SVG or PNG bytes out.

Dimensions: `P` pairs, `K` the categories of `SHOWN_CATEGORIES`; an axis `3` holds a value and the low and high end
of its interval, NaN for unknown. Accuracies are shares; the axes show percent.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from overlap_analysis.categories import SHOWN_CATEGORIES
from overlap_analysis.drawing import INK, MUTED, WIDTH, ImageFormat, dot, image, legend, new_axes, new_figure, style
from overlap_analysis.figures import CATEGORY_COLORS, linear_fit
from overlap_analysis.pair_scatter import draw_star, r_text, scatter_pairs, shown_text

_NOTHING_3 = np.full(3, np.nan)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class EnsemblePanel:
    """One metric of the ensembles of pairs, for one panel.

    Attributes:
        title: what is shown, with its unit.
        value_P: of each pair, as a share; NaN for undefined.
        mean_K3: means by category with their intervals, as shares.
        baseline: where a pair is that gains nothing; NaN for none.
        r_ends: the interval of Pearson's r; NaN leaves it out.
    """

    title: str
    value_P: NDArray[np.float64]
    mean_K3: NDArray[np.float64]
    baseline: float = np.nan
    r_ends: tuple[float, float] = (np.nan, np.nan)


def ensembles_against_inconsistency(
    inconsistency_P: NDArray[np.float64],
    category_P: NDArray[np.int8],
    mean_K3: NDArray[np.float64],
    panels: Sequence[EnsemblePanel],
    *,
    image_format: ImageFormat = "svg",
) -> bytes:
    """Metrics of two-model ensembles against how differently their members fail, as figure 2 of the paper.

    Args:
        inconsistency_P: error inconsistency of each pair, as a share.
        category_P: index into `SHOWN_CATEGORIES`; -1 for unknown.
        mean_K3: means of the error inconsistency by category.
        panels: of the paper: improvement, ensemble accuracy, conversion rate. Side by side.
        image_format: of the bytes.
    """
    present = np.unique(category_P[~np.isnan(inconsistency_P)])
    left, gap = 0.55, 0.62
    width = (WIDTH - left - gap * (len(panels) - 1) - 0.1) / max(len(panels), 1)
    with style():
        dots = len(panels) * len(category_P)
        shown = shown_text(len(category_P), total=dots)
        subtitle = f"{shown}; stars: means of the categories with 95 % intervals"
        figure = new_figure(4.9, "What two models make together, by how differently they fail", subtitle)
        legend(figure, [dot(CATEGORY_COLORS[k], SHOWN_CATEGORIES[k]) for k in present])
        for place, panel in enumerate(panels):
            axes = new_axes(figure, left + place * (width + gap), 0.6, width, 3.0)
            _draw_panel(axes, inconsistency_P, category_P, mean_K3, panel, dots=dots)
        return image(figure, image_format)


def _draw_panel(
    axes: Axes,
    inconsistency_P: NDArray[np.float64],
    category_P: NDArray[np.int8],
    mean_K3: NDArray[np.float64],
    panel: EnsemblePanel,
    *,
    dots: int,
) -> None:
    known_P = ~(np.isnan(inconsistency_P) | np.isnan(panel.value_P))
    x, y, category = 100 * inconsistency_P[known_P], 100 * panel.value_P[known_P], category_P[known_P]
    if np.isfinite(panel.baseline):
        axes.axhline(100 * panel.baseline, color=MUTED, linewidth=0.8)
    if len(x):
        scatter_pairs(axes, x, y, [CATEGORY_COLORS[k] for k in category], total=dots)
    slope, intercept, r = linear_fit(x, y)
    if np.isfinite(r):
        ends = np.array([x.min(), x.max()])
        axes.plot(ends, intercept + slope * ends, color=INK, linewidth=1.2)
    for k in np.unique(category):
        draw_star(axes, 100 * _row(mean_K3, k), 100 * _row(panel.mean_K3, k), CATEGORY_COLORS[k], size=13)
    fitted = r_text(r, *panel.r_ends) if np.isfinite(r) else "no line"
    axes.set_title(f"{panel.title}\n{fitted}", size=9, loc="left")
    axes.set_xlabel("error inconsistency (%)")


def _row(mean_K3: NDArray[np.float64], k: int) -> NDArray[np.float64]:
    """The mean of a category; nothing for one that has none, as the unknown one."""
    return mean_K3[k] if 0 <= k < len(mean_K3) else _NOTHING_3
