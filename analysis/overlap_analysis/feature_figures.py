"""Figures of embeddings: arrays in, SVG or PNG bytes out, the same bytes for the same arrays.

Dimensions: `S` sizes or shares in order, `P` pairs; an axis `3` holds a value and the low and high end of its
interval. Categories are positions in `SHOWN_CATEGORIES`. Accuracies are shares; the axes show percent.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from overlap_analysis.categories import SHOWN_CATEGORIES
from overlap_analysis.drawing import (
    GROUP_COLORS,
    INK,
    MUTED,
    RULE,
    WIDTH,
    ImageFormat,
    dot,
    image,
    legend,
    new_axes,
    new_figure,
    short_name,
    style,
)
from overlap_analysis.figures import CATEGORY_COLORS
from overlap_analysis.pair_scatter import draw_dots, pairs_text, r_text

_PANELS_A_ROW = 3
_NAMED_PARTNERS = 3  # in a panel
_LINE = 11  # points that a line of names takes


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class MixCurve:
    """Accuracy of probes on mixes of a base's dimensions and another variant's.

    Attributes:
        other: name of the other variant.
        category: how it differs from the base.
        base_percent_S: share of the base's dimensions.
        accuracy_S3: mean over the draws, then the mean less and plus their standard deviation.
        control_S: mean accuracy of as many random dimensions of the base alone; NaN where it has not so many.
    """

    other: str
    category: int
    base_percent_S: NDArray[np.float64]
    accuracy_S3: NDArray[np.float64]
    control_S: NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class DimensionCurve:
    """Accuracy of probes on the first dimensions of a ranking, averaged over the pairs of a category.

    Attributes:
        category: of the pairs.
        ranking: its name.
        share_S: share of the dimensions of both embeddings.
        accuracy_S: mean accuracy.
        target: mean accuracy to be reached.
    """

    category: int
    ranking: str
    share_S: NDArray[np.float64]
    accuracy_S: NDArray[np.float64]
    target: float


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class NeededDimensions:
    """The fewest dimensions that reach the target: (P,) for the pairs of a category, NaN where none does."""

    category: int
    ranking: str
    needed_P: NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Transfer:
    """One probe on downstream data; `category` is None for a single variant, and `control` marks a null.

    `upstream` is the accuracy of the variant, or of the better one of a pair.
    """

    name: str
    category: int | None
    control: bool
    upstream: float
    score: float
    low: float
    high: float


def mix_curves(curves: Sequence[MixCurve], *, base: str, image_format: ImageFormat = "svg") -> bytes:
    """Accuracy against the share of the base's dimensions, a panel a category, as figure 6 (center) of the paper.

    Args:
        curves: one a partner, at least one.
        base: name of the base.
        image_format: of the bytes.
    """
    categories = sorted({curve.category for curve in curves}, key=_rank)
    lines = min(_NAMED_PARTNERS + 1, max(Counter(curve.category for curve in curves).values()))
    with style():
        subtitle = f"base {short_name(base)}; bands: standard deviation over draws; dotted: as many dimensions of it"
        figure, panels = _panels(len(categories), "Probes on mixed embeddings", subtitle + " alone", names=lines)
        ends = _percent_range([np.append(curve.accuracy_S3.ravel(), curve.control_S) for curve in curves])
        for axes, category in zip(panels, categories, strict=True):
            chosen = [curve for curve in curves if curve.category == category]
            _draw_mixes(axes, chosen)
            axes.set_title(SHOWN_CATEGORIES[category], size=10, loc="left", pad=6 + _LINE * lines)
            axes.set(xlim=(102, -2), ylim=ends, xticks=(100, 75, 50, 25, 0))
        _label_panels(panels, "base's dimensions (%)", "accuracy (%)")
        return image(figure, image_format)


def dimension_curves(curves: Sequence[DimensionCurve], *, image_format: ImageFormat = "svg") -> bytes:
    """Accuracy against how many of both variants' dimensions are kept, a panel a category, a line a ranking.

    Args:
        curves: at least one.
        image_format: of the bytes.
    """
    categories = sorted({curve.category for curve in curves}, key=_rank)
    colors = _ranking_colors([curve.ranking for curve in curves])
    with style():
        subtitle = "mean over the pairs of a category; dashed: the target"
        figure, panels = _panels(len(categories), "Probes on the most diverse dimensions", subtitle, rows_above=1)
        ends = _percent_range([np.append(curve.accuracy_S, curve.target) for curve in curves], least=0.05)
        for axes, category in zip(panels, categories, strict=True):
            for curve in (one for one in curves if one.category == category):
                line = "--" if curve.ranking == "random" else "-"
                color = colors[curve.ranking]
                axes.plot(100 * curve.share_S, 100 * curve.accuracy_S, line, color=color, lw=1.6)
                axes.axhline(100 * curve.target, color=INK, linestyle=(0, (4, 3)), lw=0.9)
            axes.set_title(SHOWN_CATEGORIES[category], size=10, loc="left")
            axes.set(xlim=(0, 100), ylim=ends)
        legend(figure, [dot(color, _words(name)) for name, color in colors.items()])
        _label_panels(panels, "dimensions of both (%)", "accuracy (%)")
        return image(figure, image_format)


def needed_dimensions(needs: Sequence[NeededDimensions], *, image_format: ImageFormat = "svg") -> bytes:
    """The fewest dimensions that reach the target, by category and ranking, as figure 6 (right) of the paper.

    Args:
        needs: at least one; a dot is a pair, the bar their mean. Pairs that never reach the target are counted.
        image_format: of the bytes.
    """
    categories = sorted({need.category for need in needs}, key=_rank)
    colors = _ranking_colors([need.ranking for need in needs])
    height = 1.5 + len(categories) * (0.25 + 0.17 * len(colors))
    with style():
        subtitle = "a dot is a pair of variants, a bar their mean; fewer dimensions: more diverse features"
        figure = new_figure(height, "Dimensions of both embeddings to reach the target", subtitle)
        axes = new_axes(figure, 1.35, 0.55, WIDTH - 2.6, height - 1.5)
        for row, category in enumerate(categories):
            for place, ranking in enumerate(colors):
                at = row + 0.7 * ((place + 0.5) / len(colors) - 0.5)
                found = [need.needed_P for need in needs if (need.category, need.ranking) == (category, ranking)]
                _draw_needed(axes, at, np.concatenate([np.empty(0), *found]), colors[ranking])
        axes.set(xlabel="dimensions", xlim=(0, None), ylim=(len(categories) - 0.5, -0.5))
        axes.set_yticks(range(len(categories)), [SHOWN_CATEGORIES[category] for category in categories])
        axes.grid(visible=False, axis="y")
        for edge in range(1, len(categories)):
            axes.axhline(edge - 0.5, color=RULE, lw=1)
        legend(figure, [dot(color, _words(name)) for name, color in colors.items()])
        return image(figure, image_format)


def transfer_scatter(probes: Sequence[Transfer], *, metric: str, image_format: ImageFormat = "svg") -> bytes:
    """Accuracy upstream against what probes reach downstream, singles and pairs, as figure 7 of the paper.

    Args:
        probes: at least one single variant.
        metric: what the scores are, in words.
        image_format: of the bytes.
    """
    singles = [probe for probe in probes if probe.category is None]
    pairs = [probe for probe in probes if probe.category is not None and not probe.control]
    with style():
        subtitle = "pairs stand at the accuracy of their better variant; bars: 95 % intervals of single variants"
        figure = new_figure(5.6, "Upstream accuracy and downstream transfer", subtitle)
        axes = new_axes(figure, 0.8, 0.6, WIDTH - 1.0, 3.5)
        handles = [_marked("o", INK, "single variant")]
        for probe in singles:
            axes.plot([100 * probe.upstream] * 2, [100 * probe.low, 100 * probe.high], color=MUTED, lw=1, zorder=1)
            axes.plot(100 * probe.upstream, 100 * probe.score, "o", color=INK, ms=5, zorder=3)
        for category in sorted({probe.category for probe in pairs if probe.category is not None}, key=_rank):
            color = CATEGORY_COLORS[category]
            chosen = [probe for probe in pairs if probe.category == category]
            axes.plot(*_places(chosen), "D", color=color, ms=4.5, linestyle="none", alpha=0.8, zorder=2)
            handles.append(_marked("D", color, f"pair: {SHOWN_CATEGORIES[category]}"))
        controls = [probe for probe in probes if probe.control]
        if controls:
            axes.plot(*_places(controls), "x", color=MUTED, ms=5, linestyle="none", zorder=2)
            handles.append(_marked("x", MUTED, "as many dimensions of a reinit"))
        _name_best(figure, [("best single", singles), ("best pair", pairs)])
        legend(figure, handles, columns=4, below=0.8)
        axes.margins(0.06)
        axes.set(xlabel="upstream accuracy (%)", ylabel=f"{metric} (%)")
        return image(figure, image_format)


def similarity_scatter(
    similarities: Mapping[str, NDArray[np.float64]],
    error_P: NDArray[np.float64],
    category_P: NDArray[np.int8],
    *,
    r_3: Mapping[str, NDArray[np.float64]],
    error_name: str,
    image_format: ImageFormat = "svg",
) -> bytes:
    """Each similarity of representations against a metric of errors, a dot a pair.

    Args:
        similarities: (P,) by name, NaN for undefined; at least one.
        error_P: the metric.
        category_P: how the pairs differ; -1 for unknown.
        r_3: Pearson's r of each similarity with the metric, with its interval.
        error_name: what the metric is, in words.
        image_format: of the bytes.
    """
    shown = [k for k in range(-1, len(SHOWN_CATEGORIES) - 1) if (category_P == k).any()]
    with style():
        subtitle = f"a dot is one of {pairs_text(len(error_P))}; intervals of r over variants"
        title = "Similarity of representations and of errors"
        figure, panels = _panels(len(similarities), title, subtitle, rows_above=1)
        for axes, (name, similarity_P) in zip(panels, similarities.items(), strict=True):
            known_P = np.isfinite(similarity_P) & np.isfinite(error_P)
            order = np.random.default_rng(0).permutation(np.flatnonzero(known_P))
            colors = [CATEGORY_COLORS[category_P[p]] for p in order]
            draw_dots(axes, similarity_P[order], error_P[order], colors, total=len(similarities) * len(order))
            axes.set_title(f"{_words(name)}: {r_text(*r_3[name].tolist())}", size=9, loc="left")
            axes.margins(0.05)
        legend(figure, [dot(CATEGORY_COLORS[k], SHOWN_CATEGORIES[k]) for k in sorted(shown, key=_rank)], columns=6)
        _label_panels(panels, "similarity", error_name)
        return image(figure, image_format)


def _rank(category: int) -> int:
    """Unknown comes last."""
    return category % len(SHOWN_CATEGORIES)


def _words(name: str) -> str:
    known = {"linear_cka": "linear CKA", "rbf_cka": "RBF CKA", "minibatch_cka": "mini-batch CKA"}
    known |= {"mutual_knn": "mutual k-NN", "mean_r2": "linear R²", "pivoted_qr": "pivoted QR"}
    return known.get(name, name.replace("_", " "))


def _ranking_colors(rankings: Sequence[str]) -> dict[str, str]:
    """In the order in which they come; random choices are gray."""
    names = [name for name in dict.fromkeys(rankings) if name != "random"]
    colors = dict(zip(names, GROUP_COLORS * len(names), strict=False))
    return colors | ({"random": MUTED} if "random" in rankings else {})


def _panels(count: int, title: str, subtitle: str, *, rows_above: int = 0, names: int = 0) -> tuple[Figure, list[Axes]]:
    """Panels in rows of three below a title and `rows_above` rows of a legend, each with room for lines of names."""
    columns, rows = min(count, _PANELS_A_ROW), -(-count // _PANELS_A_ROW)
    left, gap, above, below = 0.75, 0.5, 0.3 + _LINE / 72 * names, 0.35
    width = (WIDTH - left - 0.15 - gap * (columns - 1)) / columns
    tall = 1.9 if columns == _PANELS_A_ROW else 2.4
    height = 0.6 + 0.3 * rows_above + rows * (above + tall + below) + 0.2  # for the labels of the last row
    figure = new_figure(height, title, subtitle)
    panels = []
    for panel in range(count):
        row, column = divmod(panel, columns)
        bottom = (rows - 1 - row) * (above + tall + below) + below + 0.2
        panels.append(new_axes(figure, left + column * (width + gap), bottom, width, tall))
    return figure, panels


def _label_panels(panels: Sequence[Axes], x: str, y: str) -> None:
    columns = min(len(panels), _PANELS_A_ROW)
    for panel, axes in enumerate(panels):
        axes.tick_params(labelsize=8)
        axes.yaxis.set_major_locator(MaxNLocator(6))
        if panel >= len(panels) - columns:
            axes.set_xlabel(x, size=9)
        if panel % columns == 0:
            axes.set_ylabel(y, size=9)


def _percent_range(accuracies: Sequence[NDArray[np.float64]], least: float = 0.0) -> tuple[float, float]:
    """Of the axis: all values; those below the share `least` of them, from the bottom, may be cut."""
    values = 100 * np.concatenate([one.ravel() for one in accuracies])
    low, high = np.nanquantile(values, [least, 1])
    aside = 0.05 * (high - low) or 1.0
    return float(low - aside), float(high + aside)


def _draw_mixes(axes: Axes, curves: Sequence[MixCurve]) -> None:
    """The partners of one category, in shades of its color, named above the panel."""
    lines = min(len(curves), _NAMED_PARTNERS + 1)
    controls = [curve for curve in curves if np.isfinite(curve.control_S).sum() > 1]
    for curve in controls[:1]:  # the same dimensions of the base beside every partner with as many
        axes.plot(curve.base_percent_S, 100 * curve.control_S, "o:", color=INK, lw=1.2, ms=2.5, zorder=4)
    for place, curve in enumerate(curves):
        color, alpha = CATEGORY_COLORS[curve.category], 1 - 0.55 * place / max(len(curves), 2)
        value, low, high = 100 * curve.accuracy_S3.T
        marker = "osD^v"[place % 5]
        axes.fill_between(curve.base_percent_S, low, high, color=color, alpha=0.12 * alpha, linewidth=0)
        axes.plot(curve.base_percent_S, value, marker + "-", color=color, alpha=alpha, lw=1.6, ms=4)
        if place < _NAMED_PARTNERS:
            at = 4 + _LINE * (lines - 1 - place)
            axes.annotate(
                f"{'●■◆▲▼'[place % 5]} {short_name(curve.other, 34)}",
                (0, 1), (0, at), xycoords="axes fraction", textcoords="offset points", size=7.5, color=color,
                alpha=max(alpha, 0.7),
            )  # fmt: skip
    if len(curves) > _NAMED_PARTNERS:
        more = f"and {len(curves) - _NAMED_PARTNERS} more"
        axes.annotate(more, (0, 1), (0, 4), xycoords="axes fraction", textcoords="offset points", size=7.5, color=MUTED)


def _draw_needed(axes: Axes, at: float, needed_P: NDArray[np.float64], color: str) -> None:
    reached_P = needed_P[np.isfinite(needed_P)]
    axes.plot(reached_P, np.full(len(reached_P), at), "o", color=color, ms=4, alpha=0.6, linestyle="none")
    if len(reached_P):
        mean = reached_P.mean()
        axes.plot([mean, mean], [at - 0.06, at + 0.06], color=color, lw=3, solid_capstyle="butt")
    if len(reached_P) < len(needed_P):
        text = f"{len(needed_P) - len(reached_P)} of {len(needed_P)} never"
        axes.annotate(text, (1.01, at), xycoords=("axes fraction", "data"), va="center", size=7.5, color=color)


def _marked(marker: str, color: str, label: str) -> Line2D:
    return Line2D([], [], linestyle="none", marker=marker, color=color, label=label, markersize=5)


def _places(probes: Sequence[Transfer]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    return np.array([100 * one.upstream for one in probes]), np.array([100 * one.score for one in probes])


def _name_best(figure: Figure, groups: Sequence[tuple[str, Sequence[Transfer]]]) -> None:
    """The best of each group, in the line below the subtitle."""
    best = [(word, max(group, key=lambda probe: probe.score)) for word, group in groups if group]
    text = "; ".join(f"{word} {100 * probe.score:.1f} %: {short_name(probe.name, 44)}" for word, probe in best)
    figure.text(0, 1 - 0.56 / figure.get_figheight(), text, va="top", color=INK, size=9)
