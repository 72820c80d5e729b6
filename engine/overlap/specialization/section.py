"""Specialization in the report: from its tables to figures and a small table.

Array names: C classes, B bins of the angle.
"""

import functools
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from overlap.specialization.tables import DISCOVERIES, FOUND
from overlap_analysis import JOINT_OUTCOMES
from overlap_analysis.categories import SHOWN_CATEGORIES
from overlap_analysis.report import Drawing, Section, SectionTable
from overlap_analysis.report.numbers import decimal, interval
from overlap_analysis.specialization_figures import (
    AngleHistogram,
    ClassDifferences,
    angle_histograms,
    class_differences,
)

_ABOUT = (
    "Two variants that fail on different examples help each other only if one can tell who is right. θ compares "
    "their confidences: 0 degrees where both are equally sure, positive where the first is surer. Its AUROC is "
    "the chance that θ is larger where only the first is right than where only the second is: 0.5 if confidence "
    "does not tell, 1 if the surer one is always right. The second reading compares log odds, which do not "
    "flatten near certainty."
)
_CLASSES = (
    "η² is the share of the differences between classes that lies between groups of classes. Groups that were "
    "found in the data are judged on examples they were not found in."
)
_ANGLES_CAPTION = (
    "A row is one partner of the base for each category, the one whose accuracy is nearest. Left: examples that "
    "only one of the two gets right; the further the two histograms stand apart, the better confidence tells who "
    "is right. Right: examples on which both are right, or both wrong."
)
_CLASSES_CAPTION = (
    "A dot is a class: up, the base is better on it. Filled dots, of many classes the large ones, differ at a "
    "false-discovery rate of 5 % among the classes of that pair. Lines are the means of groups of classes."
)

Read = Callable[[str], pl.DataFrame | None]


def specialization_section(read: Read) -> Section | None:
    """The section, if the analysis has been made; `read` gives a table of today's variants, or None."""
    pairs, classes, variants = read("specialization"), read("class_differences"), read("variants")
    means, members = read("specialization_categories"), read("class_groups")
    if pairs is None or classes is None or variants is None or means is None or classes.is_empty():
        return None
    base = str(classes["a"][0])
    partners = _partners(classes, dict(zip(variants["name"], variants["accuracy"], strict=True)))
    angles = [_angles(pairs, base, name, category) for category, name in partners.items()]
    differences = [_differences(classes, name, category) for category, name in partners.items()]
    group_C, names = _groups(members, differences[0].difference_C.size)
    listed = ", ".join(partners)
    return Section(
        key="specialization",
        title="Specialization",
        paragraphs=(_ABOUT, _CLASSES) if members is not None else (_ABOUT,),
        figures=(
            Drawing(
                name="specialization_angles",
                draw=functools.partial(angle_histograms, base, angles),
                alt=f"Histograms of the angle between two confidences by who is right; partners differ in {listed}.",
                caption=_ANGLES_CAPTION,
            ),
            Drawing(
                name="specialization_classes",
                draw=functools.partial(class_differences, base, differences, group_C, names),
                alt=f"Differences of accuracy by class, for partners that differ in {listed}.",
                caption=_CLASSES_CAPTION,
            ),
        ),
        table=_table(means) if means.height else None,
    )


def _partners(classes: pl.DataFrame, accuracies: Mapping[str, float]) -> dict[str, str]:
    """For each category, in order, the partner of the base whose accuracy is nearest."""
    base = accuracies[classes["a"][0]]
    nearest: dict[str, str] = {}
    for name, category in classes.select("b", "category").unique(maintain_order=True).rows():
        known = nearest.get(category)
        if known is None or abs(accuracies[name] - base) < abs(accuracies[known] - base):
            nearest[category] = name
    return {category: nearest[category] for category in sorted(nearest, key=SHOWN_CATEGORIES.index)}


def _angles(pairs: pl.DataFrame, base: str, other: str, category: str) -> AngleHistogram:
    """The pair with the base first, whichever way round it is in the table."""
    a, b = pl.col("a"), pl.col("b")
    row = pairs.filter(((a == base) & (b == other)) | ((a == other) & (b == base))).row(0, named=True)
    angles_OB = np.array([row[f"angles_{outcome}"] for outcome in JOINT_OUTCOMES])
    if row["a"] == other:
        angles_OB = angles_OB[[0, 1, 3, 2], ::-1]
    value, low, high = (
        float("nan") if row[name] is None else row[name] for name in ("auroc", "auroc_low", "auroc_high")
    )
    return AngleHistogram(name=other, category=category, angles_OB=angles_OB, auroc_3=(value, low, high))


def _differences(classes: pl.DataFrame, other: str, category: str) -> ClassDifferences:
    rows = classes.filter(pl.col("b") == other)
    difference = (rows["accuracy_a"] - rows["accuracy_b"]).fill_null(float("nan"))
    significant_C = (rows["q_value"] < DISCOVERIES).to_numpy()
    return ClassDifferences(
        name=other, category=category, difference_C=difference.to_numpy(), significant_C=significant_C
    )


def _groups(members: pl.DataFrame | None, classes: int) -> tuple[NDArray[np.int64], list[str]]:
    """Groups to color by: a user's own or ImageNet's before those that were found."""
    group_C = np.full(classes, -1, np.int64)
    if members is None or members.is_empty():
        return group_C, []
    groupings = members["grouping"].unique(maintain_order=True).to_list()
    chosen = members.filter(pl.col("grouping") == next((g for g in groupings if g != FOUND), FOUND))
    names = chosen["group"].unique(maintain_order=True).to_list()
    group_C[chosen["class"].to_numpy()] = [names.index(group) for group in chosen["group"]]
    return group_C, names


def _table(means: pl.DataFrame) -> SectionTable:
    metrics = means["metric"].unique(maintain_order=True).to_list()
    rows = []
    for category in means["category"].unique(maintain_order=True):
        of = {row["metric"]: row for row in means.filter(pl.col("category") == category).to_dicts()}
        cells = [_cell(of[metric]) for metric in metrics]
        rows.append((category, f"{of[metrics[0]]['pairs']:,}", *cells))
    words = [metric.replace("eta_squared_", "η², ").replace("auroc", "AUROC").replace("_", " ") for metric in metrics]
    return SectionTable(columns=("category", "pairs", *words), rows=tuple(rows))


def _cell(row: Mapping[str, Any]) -> str:
    value, low, high = (float("nan") if row[name] is None else row[name] for name in ("mean", "low", "high"))
    return f"{decimal(value)} {interval(low, high, 2, scale=1)}"
