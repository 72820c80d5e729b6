"""Figures of greedy selection: arrays in, SVG or PNG bytes out, the same bytes for the same arrays.

Dimensions: `S` members in order; an axis `3` holds a value and the low and high end of its interval, NaN for unknown.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from overlap_analysis.drawing import (
    ACCENT,
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


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class AdditionPath:
    """A strong variant, and its ensemble with weaker ones that join it one by one.

    Attributes:
        start: name of the strong variant.
        accuracy_S3: held-out accuracy of the ensemble; the first is that of the start alone.
        reported_S: accuracy on the same examples, had they chosen the members too.
    """

    start: str
    accuracy_S3: NDArray[np.float64]
    reported_S: NDArray[np.float64]


def greedy_curve(
    selection_S: NDArray[np.float64],
    evaluation_S3: NDArray[np.float64],
    *,
    best_single: float,
    all_members: float,
    image_format: ImageFormat = "svg",
) -> bytes:
    """Accuracy of the greedy ensemble after each step, where it was chosen and on held-out examples.

    Args:
        selection_S: accuracy on the examples it was chosen on.
        evaluation_S3: accuracy on held-out examples.
        best_single: accuracy of the best single variant on the held-out examples.
        all_members: accuracy of the mean of all variants on them; NaN leaves its line out.
        image_format: of the bytes.
    """
    steps = np.arange(1, len(selection_S) + 1)
    value, low, high = 100 * evaluation_S3.T
    with style():
        figure = new_figure(5.0, "Accuracy of the greedy ensemble by step", "the band is a 95 % interval")
        axes = new_axes(figure, 0.8, 0.6, WIDTH - 1.0, 3.35)
        size = 4 if len(steps) <= 40 else 0
        axes.fill_between(steps, low, high, color=ACCENT, alpha=0.15, linewidth=0)
        axes.plot(steps, value, "o-", color=ACCENT, lw=2, ms=size, label="held-out examples")
        axes.plot(steps, 100 * selection_S, "o-", color=MUTED, lw=1.2, ms=size, label="selection examples")
        axes.axhline(100 * best_single, color=INK, linestyle="--", label="best single variant")
        if np.isfinite(all_members):
            axes.axhline(100 * all_members, color=INK, linestyle=":", label="all variants averaged")
        legend(figure, axes.get_lines())
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.margins(x=0.02 if len(steps) > 1 else 0.5)
        axes.set(xlabel="step (members, repeats counted)", ylabel="accuracy (%)")
        return image(figure, image_format)


def low_accuracy_curves(
    paths: Sequence[AdditionPath], *, best_added: float, image_format: ImageFormat = "svg"
) -> bytes:
    """What strong variants gain from weaker ones, as figure 5 of the paper, with the bias of choosing on the result.

    Args:
        paths: one for each strong variant, at least one.
        best_added: held-out accuracy of the best weaker variant on its own.
        image_format: of the bytes.
    """
    with style():
        subtitle = "solid: held out, with the last 95 % interval; dotted: chosen on the examples it is shown on"
        figure = new_figure(5.4, "Accuracy of strong variants with weaker ones", subtitle)
        axes = new_axes(figure, 0.8, 0.6, WIDTH - 1.0, 3.35)
        handles = list[Line2D]()
        for path, color in zip(paths, GROUP_COLORS * len(paths), strict=False):
            value, low, high = 100 * path.accuracy_S3.T
            added = np.arange(len(value))
            axes.plot(added, value, "o-", color=color, lw=2, ms=4 if len(added) <= 40 else 0)
            axes.plot(added, 100 * path.reported_S, ":", color=color, lw=1.4)
            aside = added[-1] + 0.03 * (1 + len(handles)) * max(1, added[-1]) / 2
            axes.plot([aside, aside], [low[-1], high[-1]], color=color, lw=2.5, solid_capstyle="butt")
            handles.append(dot(color, short_name(path.start, 40)))
        line = axes.axhline(100 * best_added, color=INK, linestyle="--", lw=1, label="best weaker model alone")
        legend(figure, [*handles, line], columns=2)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.margins(x=0.02)
        axes.set(xlabel="weaker models added (repeats counted)", ylabel="accuracy (%)")
        return image(figure, image_format)
