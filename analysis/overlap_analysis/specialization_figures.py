"""Figures of specialization: arrays in, SVG or PNG bytes out, the same bytes for the same arrays.

Dimensions: `C` classes, `B` bins of the angle, `O` joint outcomes in the order of `JOINT_OUTCOMES`; an axis `3` holds a
value and the low and high end of its interval.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from overlap_analysis.drawing import (
    GROUP_COLORS,
    INK,
    MUTED,
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

_ROW, _TOP, _BOTTOM = 1.45, 1.0, 0.25
_MOST_NAMED = len(GROUP_COLORS)
_MOST_VECTORS = 200  # classes; the dots of more are drawn as an image, which is smaller
_OUTCOME_COLORS = {
    "both right": "#9aa5b1",
    "both wrong": "#4a5560",
    "only the base": "#1f5f8b",
    "only the other": "#cc6677",
}


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class AngleHistogram:
    """The angles between the confidences of the base and another variant.

    Attributes:
        name: of the other variant.
        category: how it differs from the base.
        angles_OB: examples by joint outcome and bin from -45 to 45 degrees; the base is the first variant.
        auroc_3: how well the angle tells which of the two is right, with its interval.
    """

    name: str
    category: str
    angles_OB: NDArray[np.integer]
    auroc_3: tuple[float, float, float]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ClassDifferences:
    """How much more accurate the base is than another variant, class by class.

    Attributes:
        name: of the other variant.
        category: how it differs from the base.
        difference_C: accuracy of the base less that of the other, NaN without examples.
        significant_C: whether it is at a false-discovery rate of 5 %.
    """

    name: str
    category: str
    difference_C: NDArray[np.float64]
    significant_C: NDArray[np.bool_]


def angle_histograms(base: str, others: Sequence[AngleHistogram], *, image_format: ImageFormat = "svg") -> bytes:
    """Who is more confident by who is right, as figure 3 of the paper: a row for each other variant, at least one.

    Args:
        base: name of the variant that all others are compared with.
        others: in the order of the rows.
        image_format: of the bytes.
    """
    with style():
        height = _TOP + _ROW * len(others) + _BOTTOM
        figure = new_figure(height, "Who is more confident, by who is right", f"base: {short_name(base, 70)}")
        examples = [one.angles_OB.sum() for one in others]
        shares = [one.angles_OB / total for one, total in zip(others, examples, strict=True)]
        tops = [max(share[sides].max() for share in shares) for sides in ([2, 3], [0, 1])]
        for row, (one, share_OB) in enumerate(zip(others, shares, strict=True)):
            bottom = height - _TOP - _ROW * (row + 1) + 0.42
            pair = [new_axes(figure, left, bottom, 3.65, _ROW - 0.55) for left in (0.75, 5.2)]
            _steps(pair[0], share_OB[2:], ("only the base", "only the other"), tops[0])
            _steps(pair[1], share_OB[:2], ("both right", "both wrong"), tops[1])
            value, low, high = one.auroc_3
            area = f"AUROC {value:.2f} [{low:.2f}, {high:.2f}]" if np.isfinite(value) else "no inconsistent example"
            figure.text(
                0.75 / WIDTH, (bottom + _ROW - 0.5) / height, f"{one.category}: {short_name(one.name, 44)}", size=9
            )
            figure.text(8.85 / WIDTH, (bottom + _ROW - 0.5) / height, area, size=9, color=MUTED, ha="right")
            for axes in pair:
                axes.tick_params(labelbottom=row == len(others) - 1)
        for axes in figure.axes[-2:]:
            axes.set_xlabel("other more confident  \u2190  θ (degrees)  \u2192  base more confident", size=8.5)
        handles = [Line2D([], [], color=color, lw=2, label=label) for label, color in _OUTCOME_COLORS.items()]
        legend(figure, [*handles[2:], *handles[:2]], columns=4)
        return image(figure, image_format)


def _steps(axes: Axes, share_2B: NDArray[np.float64], labels: tuple[str, str], top: float) -> None:
    edges = np.linspace(-45, 45, share_2B.shape[1] + 1)
    for share_B, label in zip(share_2B, labels, strict=True):
        color = _OUTCOME_COLORS[label]
        axes.stairs(100 * share_B, edges, color=color, lw=1.6)
        axes.stairs(100 * share_B, edges, color=color, fill=True, alpha=0.12)
    axes.axvline(0, color=MUTED, lw=0.8, linestyle=":")
    axes.set(xlim=(-45, 45), ylim=(0, 108 * top or 1), xticks=(-45, -30, -15, 0, 15, 30, 45))
    axes.set_ylabel("% of all", size=8)
    axes.tick_params(labelsize=8)


def class_differences(
    base: str,
    others: Sequence[ClassDifferences],
    group_C: NDArray[np.integer],
    group_names: Sequence[str],
    *,
    image_format: ImageFormat = "svg",
) -> bytes:
    """Which classes the base is better on, as figure 4 of the paper: a row for each other variant, at least one.

    Args:
        base: name of the variant that all others are compared with.
        others: in the order of the rows.
        group_C: group of each class, -1 for none; a line shows the mean of each.
        group_names: of the groups.
        image_format: of the bytes.
    """
    colors = [*GROUP_COLORS[: len(group_names)], *[MUTED] * (len(group_names) - _MOST_NAMED)]
    with style():
        columns = 4
        rows = -(-min(len(group_names), _MOST_NAMED) // columns)
        top = _TOP + 0.22 * max(rows - 1, 0)
        height = top + _ROW * len(others) + _BOTTOM
        marked = "large" if len(group_C) > _MOST_VECTORS else "filled"
        subtitle = f"base: {short_name(base, 50)}; {marked}: a difference at a false-discovery rate of 5 %"
        figure = new_figure(height, "Accuracy of the base less that of another variant, by class", subtitle)
        widest = 100 * max(float(np.nanmax(np.abs(one.difference_C), initial=0.01)) for one in others)
        for row, one in enumerate(others):
            bottom = height - top - _ROW * (row + 1) + 0.42
            axes = new_axes(figure, 0.75, bottom, WIDTH - 0.9, _ROW - 0.55)
            _class_dots(axes, one, group_C, colors)
            axes.set(ylim=(-1.1 * widest, 1.1 * widest), xlim=(-0.5, len(group_C) - 0.5))
            axes.set_ylabel("points", size=8)
            axes.tick_params(labelsize=8, labelbottom=row == len(others) - 1)
            figure.text(
                0.75 / WIDTH, (bottom + _ROW - 0.5) / height, f"{one.category}: {short_name(one.name, 60)}", size=9
            )
        figure.axes[-1].set_xlabel("class", size=9)
        handles = [dot(color, short_name(name, 26)) for name, color in zip(group_names, colors, strict=True)]
        legend(figure, handles[:_MOST_NAMED], columns=columns)
        return image(figure, image_format)


def _class_dots(axes: Axes, one: ClassDifferences, group_C: NDArray[np.integer], colors: Sequence[str]) -> None:
    size, many = float(np.clip(1500 / max(len(group_C), 1), 6, 36)), len(group_C) > _MOST_VECTORS
    axes.axhline(0, color=INK, lw=0.8)
    color_C = np.array([*colors, MUTED])[group_C]  # the last one is that of no group, -1
    known_C = np.isfinite(one.difference_C)
    for filled, chosen_C in ((False, known_C & ~one.significant_C), (True, known_C & one.significant_C)):
        chosen, edges = np.flatnonzero(chosen_C), color_C[chosen_C]
        faces, width = (edges, 0.0) if filled or many else ("none", 0.8)
        value = 100 * one.difference_C[chosen]
        area = size if filled or not many else size / 4
        axes.scatter(chosen, value, s=area, c=faces, edgecolors=edges, linewidths=width, zorder=1.5, rasterized=many)
    for group in np.unique(group_C[known_C & (group_C >= 0)]):
        members = np.flatnonzero(known_C & (group_C == group))
        mean = 100 * one.difference_C[members].mean()
        axes.plot([members[0] - 0.4, members[-1] + 0.4], [mean] * 2, color=colors[group], lw=1.6)
