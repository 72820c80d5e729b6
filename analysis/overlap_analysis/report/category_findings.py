"""What the categories of pairs have to do with their inconsistency, in sentences.

Dimensions: `K` categories; an axis `3` holds a mean and the low and high end of its interval.
"""

from collections.abc import Callable, Sequence
from itertools import pairwise

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from overlap_analysis.categories import CATEGORIES, CategoryMean
from overlap_analysis.report.data import ReportData, TrendRow
from overlap_analysis.report.numbers import decimal, interval, listed, percent, points

_METRIC = "error_inconsistency"
_CHANCE = 0.05  # p-values above it are said to be no evidence


def inconsistency_text(data: ReportData) -> Markup:
    """Whether pairs that differ in more are more inconsistent, and which steps the data leave open."""
    mean_K3 = data.means_by_category(_METRIC)
    present = [k for k in range(len(CATEGORIES)) if np.isfinite(mean_K3[k, 0])]
    if not present:
        return Markup("No category has a mean error inconsistency.")
    if len(present) == 1:
        only = _mean(present[0], mean_K3)
        return _text(f"All pairs with a mean are of one category, so there is no order to judge: {only}.")
    steps = list(pairwise(present))
    parts = [_rise(mean_K3, present, steps), _trend(data), _separation(mean_K3, steps), _controlled(data)]
    return _text(" ".join(part for part in parts if part))


def ends_text(data: ReportData, metric: str) -> str:
    """The means of the first and the last category that have one; empty without two."""
    rows = [row for name in CATEGORIES for row in data.categories if row.category == name and row.metric == metric]
    known = [row for row in rows if np.isfinite(row.mean)]
    if len(known) < 2:
        return ""
    written = _points if metric == "improvement" else _decimal
    return listed([f"{written(row)} for {row.category}" for row in (known[0], known[-1])])


def _rise(mean_K3: NDArray[np.float64], present: Sequence[int], steps: Sequence[tuple[int, int]]) -> str:
    means = listed([_mean(k, mean_K3) for k in present])
    falls = [step for step in steps if mean_K3[step[1], 0] <= mean_K3[step[0], 0]]
    if not falls:
        return f"Mean error inconsistency rises at every step: {means}."
    broken = listed([f"from {CATEGORIES[i]} to {CATEGORIES[j]}" for i, j in falls])
    return f"Mean error inconsistency does not rise at every step: not {broken}. Means: {means}."


def _mean(k: int, mean_K3: NDArray[np.float64]) -> str:
    return _joined(CATEGORIES[k], percent(mean_K3[k, 0]), interval(*mean_K3[k, 1:]))


def _trend(data: ReportData) -> str:
    found: list[TrendRow] = [row for row in data.trends if row.metric == _METRIC]
    if not found:
        return ""
    trend = found[0]
    text = f"A pair of a later category is the more inconsistent one with probability {decimal(trend.effect)}"
    test = f"p = {trend.p_value:.2g} over {trend.permutations:,} permutations of the variants"
    if trend.p_value > _CHANCE:
        return f"{text}, which chance alone could do ({test})."
    return f"{text} ({test})."


def _separation(mean_K3: NDArray[np.float64], steps: Sequence[tuple[int, int]]) -> str:
    low_K, high_K = mean_K3[:, 1], mean_K3[:, 2]
    unknown = [step for step in steps if np.isnan(low_K[[*step]]).any()]
    overlapping = [(i, j) for i, j in steps if low_K[i] <= high_K[j] and low_K[j] <= high_K[i]]
    sentences = []
    for found, verdict in (
        (overlapping, "overlap, so they do not settle that order"),
        (unknown, "are unknown"),
    ):
        if found:
            neighbors = "; ".join(f"{CATEGORIES[i]} and {CATEGORIES[j]}" for i, j in found)
            sentences.append(f"The intervals of {neighbors} {verdict}.")
    return " ".join(sentences) or "No neighboring intervals overlap."


def _controlled(data: ReportData) -> str:
    """The first and the last category among pairs of like accuracy, and what independent errors would give."""
    matched, independent = (_ends(data, control) for control in ("accuracy_matched", "independent"))
    text = f"Among pairs of like accuracy it is {matched}." if matched else ""
    chance = f"Independent errors of variants as accurate as these would give {independent}." if independent else ""
    return _joined(text, chance)


def _ends(data: ReportData, control: str) -> str:
    means = {
        row.mean.category: row.mean for row in data.controls if row.control == control and row.mean.metric == _METRIC
    }
    known = [means[name] for name in CATEGORIES if name in means and np.isfinite(means[name].mean)]
    if len(known) < 2:
        return ""
    return listed([f"{_percent(row)} for {row.category}" for row in (known[0], known[-1])])


def _writer(value: Callable[[float], str], digits: int, scale: float) -> Callable[[CategoryMean], str]:
    return lambda row: _joined(value(row.mean), interval(row.low, row.high, digits, scale=scale))


_percent, _points, _decimal = _writer(percent, 1, 100), _writer(points, 1, 100), _writer(decimal, 2, 1)


def _joined(*parts: str) -> str:
    return " ".join(part for part in parts if part)


def _text(text: str) -> Markup:
    """HTML; the words are ours, never a name."""
    return Markup.escape(text)
