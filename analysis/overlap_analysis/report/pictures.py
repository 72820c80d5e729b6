"""The static figures of a report, each under its name, drawn when somebody needs it."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np

from overlap_analysis import figures, selection_figures
from overlap_analysis.categories import SHOWN_CATEGORIES
from overlap_analysis.drawing import ImageFormat
from overlap_analysis.report import numbers
from overlap_analysis.report.data import GreedyCurve, LowAccuracy, ReportData
from overlap_analysis.report.sections import Drawing


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """A drawn figure.

    Attributes:
        image: the bytes of an SVG or PNG file.
        alt: what it shows, for those who do not see it.
        caption: how to read it.
    """

    image: bytes
    alt: str
    caption: str


def report_figures(data: ReportData, image_format: ImageFormat = "svg") -> dict[str, Picture]:
    """Every figure of a sweep that has something to show, by a name that is fit for a file.

    `error_inconsistency`, `error_correlation`, `improvement`, `greedy`, `low_accuracy` and `variant_accuracy`,
    then those of the sections.

    Raises:
        ValueError: two figures of the sections have the same name.
    """
    return {name: drawn(drawing, image_format) for name, drawing in report_drawings(data).items()}


def report_drawings(data: ReportData) -> dict[str, Drawing]:
    """The same figures, not yet drawn.

    Raises:
        ValueError: two figures of the sections have the same name.
    """
    found: dict[str, Drawing] = {}
    for drawing in _drawings(data):
        if drawing.name in found:
            raise ValueError(f"sections: two figures are named '{drawing.name}'")
        found[drawing.name] = drawing
    return found


def drawn(drawing: Drawing, image_format: ImageFormat) -> Picture:
    """A figure as an image."""
    return Picture(image=drawing.draw(image_format=image_format), alt=drawing.alt, caption=drawing.caption)


def _drawings(data: ReportData) -> Iterator[Drawing]:
    pairs = data.pairs
    if len(pairs.a):
        yield _inconsistency(data)
    if len(data.variants) > 2 and not np.isnan(pairs.error_correlation).all():
        yield _correlation(data)
    if len(pairs.a) and not np.isnan(pairs.improvement).all():
        yield _improvement(data)
    if data.greedy:
        yield _greedy(data.greedy)
    if data.low_accuracy:
        yield _low_accuracy(data.low_accuracy)
    yield _accuracy(data)
    for section in data.sections:
        yield from section.figures


def _accuracy(data: ReportData) -> Drawing:
    accuracy_V3, names = data.accuracies(), [row.name for row in data.variants]
    low, high = accuracy_V3[:, 0].min(), accuracy_V3[:, 0].max()
    caption = (
        "A dot is the share of examples that a variant gets right, the line its 95 % interval. "
        "Same color, same framework."
    )
    return Drawing(
        name="variant_accuracy",
        draw=partial(figures.variant_accuracies, names, accuracy_V3, [row.framework for row in data.variants]),
        alt=f"Dot plot: accuracies from {numbers.percent(low)} to {numbers.percent(high)}.",
        caption=caption,
    )


def _inconsistency(data: ReportData) -> Drawing:
    pairs, mean_K3 = data.pairs, data.means_by_category("error_inconsistency")
    means = [f"{SHOWN_CATEGORIES[k]} {numbers.percent(mean_K3[k, 0])}" for k in np.unique(pairs.category)]
    caption = (
        "Error inconsistency is the share of examples on which exactly one of the two variants is right. A dot is a "
        "pair; a diamond is the mean of its category, and the bar its 95 % interval. It is not corrected for chance, "
        "so two weak variants have more of it than two strong ones: κ is."
    )
    return Drawing(
        name="error_inconsistency",
        draw=partial(figures.inconsistency_by_category, pairs.error_inconsistency, pairs.category, mean_K3),
        alt=f"Dots of error inconsistency in a row for each category; means: {numbers.listed(means)}.",
        caption=caption,
    )


def _correlation(data: ReportData) -> Drawing:
    phi_P, names = data.pairs.error_correlation, [row.name for row in data.variants]
    strips = {
        "framework": [row.framework for row in data.variants],
        "trained on": [row.train_on for row in data.variants],
    }
    low, high = numbers.decimal(np.nanmin(phi_P)), numbers.decimal(np.nanmax(phi_P))
    caption = (
        "Each cell is a pair of variants: red pairs fail on the same examples, white ones independently, blue ones on "
        "different examples. The order is that of average-linkage clustering on 1 \u2212 φ. Gray: the diagonal, and "
        "pairs whose φ is undefined because one of the two has no error or nothing but errors."
    )
    return Drawing(
        name="error_correlation",
        draw=partial(figures.error_correlation_heatmap, data.error_correlations(), names, strips=strips),
        alt=f"Heat map of {len(names)} by {len(names)} variants, φ from {low} to {high}.",
        caption=caption,
    )


def _improvement(data: ReportData) -> Drawing:
    pairs = data.pairs
    low, high = numbers.points(np.nanmin(pairs.improvement)), numbers.points(np.nanmax(pairs.improvement))
    draw = partial(
        figures.improvement_against_inconsistency, pairs.error_inconsistency, pairs.improvement, pairs.category
    )
    caption = (
        "A dot is a pair, a star the mean of its category. Up: averaging the two variants' probabilities gains more "
        "over the mean of their accuracies. Right: the two fail on more different examples. Pairs share variants, so "
        "r describes these pairs and is no test."
    )
    return Drawing(
        name="improvement",
        draw=draw,
        alt=f"Scatter plot of {numbers.count(len(pairs.a), 'pair')}: improvements from {low} to {high} points.",
        caption=caption,
    )


def _greedy(curve: GreedyCurve) -> Drawing:
    evaluation_S3 = np.stack([curve.evaluation_accuracy, curve.evaluation_low, curve.evaluation_high], axis=1)
    first, last = numbers.percent(evaluation_S3[0, 0]), numbers.percent(evaluation_S3[-1, 0])
    draw = partial(
        selection_figures.greedy_curve,
        curve.selection_accuracy,
        evaluation_S3,
        best_single=curve.best_single_accuracy,
        all_members=curve.all_members_accuracy,
    )
    selecting = numbers.count(curve.selection_examples, "selection example")
    held_out = numbers.count(curve.evaluation_examples, "held-out example")
    caption = (
        "Each step adds the variant, repeats allowed, that makes the mean of the members' probabilities most accurate "
        f"on the {selecting}. The ensemble was fitted to those; only the line of the {held_out} estimates its accuracy "
        "on new ones. Compare it with the dashed line, which is on the same held-out examples."
    )
    return Drawing(
        name="greedy",
        draw=draw,
        alt=f"Lines over {numbers.count(len(curve.variants), 'step')}: held-out accuracy from {first} to {last}.",
        caption=caption,
    )


def _low_accuracy(found: LowAccuracy) -> Drawing:
    ends = [
        f"{path.start} from {numbers.percent(path.accuracy_S3[0, 0])} to {numbers.percent(path.accuracy_S3[-1, 0])}"
        for path in found.paths
    ]
    caption = (
        "From each strong variant, steps add only variants that are no better than the weakest of these. Solid lines "
        "were chosen on other examples than they are shown on. Dotted lines were chosen on the very examples they are "
        "shown on, as in the paper: the distance between the two is what that flatters. The dashed line is the best "
        "of the added models on its own."
    )
    return Drawing(
        name="low_accuracy",
        draw=partial(selection_figures.low_accuracy_curves, found.paths, best_added=found.best_added),
        alt=f"Lines of held-out accuracy over added models: {numbers.listed(ends)}.",
        caption=caption,
    )
