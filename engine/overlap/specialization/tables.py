"""The tables of specialization: angles between confidences, differences by class and by groups of classes.

Array names: V variants, N examples, C classes, P pairs.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from overlap.outcomes import Outcomes, indices_of, read_log_confidences
from overlap.pairwise.comparison import bootstrap_of, categories_table
from overlap.pairwise.pair_rows import Labels, labels_of, usual_base
from overlap.specialization.class_groups import Groups, imagenet_groups, read_class_groups
from overlap.store import Store
from overlap.tasks import Tasks
from overlap_analysis import (
    JOINT_OUTCOMES,
    Specialization,
    auroc_interval,
    category_means,
    class_accuracies,
    false_discovery,
    find_class_groups,
    group_effect,
    pair_count,
    pair_indices,
    paired_difference,
    row_blocks,
    selection_mask,
    sign_test,
    specialize,
    wilson_interval,
)

SPECIALIZATION_TABLES = (
    "specialization",
    "specialization_categories",
    "specialization_groupings",
    "specialization_groups",
    "class_differences",
    "class_groups",
)
FOUND = "found"
DISCOVERIES = 0.05
PAIRS_AT_ONCE = 4096
MOST_PAIRS, MOST_PAIR_EXAMPLES = 500_000, 2e10  # a GiB, ten minutes on two cores; above only pairs with the base


@dataclass(frozen=True, slots=True, kw_only=True)
class SpecializationOptions:
    """What a user may choose.

    Attributes:
        base: the variant whose pairs are shown class by class; the one with the most reinits by default.
        class_groups: a file with groups of classes.
        seed: of the halves of the examples in which groups are found and judged.
    """

    base: str | None = None
    class_groups: Path | None = None
    seed: int = 0


DEFAULT_SPECIALIZATION = SpecializationOptions()


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Grouping:
    """Groups of classes; those found in the data count only the examples that they were not found in."""

    name: str
    names: tuple[str, ...]
    group_C: NDArray[np.int64]
    held_out: bool = False


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Work:
    """What the rows are computed from. An example's cell is its class, plus C if groups are judged on it."""

    labels: Labels
    log_confidence_VN: NDArray[np.float32]
    correct_VN: NDArray[np.bool_]
    cell_N: NDArray[np.int64]
    sizes_2C: NDArray[np.int64]
    groupings: Sequence[_Grouping]
    threads: int

    def specialize(self, a_P: NDArray[np.int32], b_P: NDArray[np.int32]) -> Specialization:
        """Some pairs."""
        return specialize(
            self.log_confidence_VN,
            self.correct_VN,
            self.cell_N,
            (a_P, b_P),
            cells=self.sizes_2C.size,
            threads=self.threads,
        )


def specialization_tables(
    store: Store, outcomes: Outcomes, tasks: Tasks, options: SpecializationOptions, *, calibrated: bool
) -> dict[str, pl.DataFrame]:
    """The tables of `SPECIALIZATION_TABLES`, those by groups only where there are groups of classes.

    Where pairs are too many, `specialization` and `specialization_groupings` hold only those with the base.

    Raises:
        ArgumentError: the base is unknown, or the groups of classes are.
    """
    labels = labels_of(outcomes.variants)
    base = usual_base(labels) if options.base is None else indices_of(outcomes, [options.base])[0]
    work = _work(store, outcomes, labels, options, calibrated=calibrated, threads=tasks.threads)
    variants, examples = work.correct_VN.shape
    others = np.delete(np.arange(variants, dtype=np.int32), base)
    with_base = work.specialize(np.full(len(others), base, np.int32), others)
    pairs = pair_count(variants)
    if pairs > MOST_PAIRS or pairs * examples > MOST_PAIR_EXAMPLES:
        parts = [_frames(work, with_base)]
    else:
        parts = list(tasks.map(_rows, row_blocks(variants, pairs=PAIRS_AT_ONCE), work))
    by_pair, by_grouping = (pl.concat(frames) for frames in zip(*parts, strict=True))
    found = {
        "specialization": by_pair,
        "specialization_categories": _categories(work, by_pair, by_grouping),
        "class_differences": _classes_table(work, with_base, outcomes.class_names),
    }
    if work.groupings:
        found |= {
            "specialization_groupings": pl.concat(by_grouping.partition_by("grouping", maintain_order=True)),
            "specialization_groups": _groups_table(work, with_base),
            "class_groups": _members_table(work, outcomes.class_names),
        }
    return found


def _categories(work: _Work, by_pair: pl.DataFrame, by_grouping: pl.DataFrame) -> pl.DataFrame:
    """Means by category, as in the table `categories`; their intervals resample the variants only."""
    a_P, b_P = pair_indices(len(work.labels.names))
    if by_pair.height != len(a_P):
        return categories_table([])
    category_P = work.labels.categories(a_P, b_P)
    values_P = {name: _numbers(by_pair, name) for name in ("auroc", "log_odds_auroc")}
    for grouping in work.groupings:
        rows = by_grouping.filter(pl.col("grouping") == grouping.name)
        values_P[f"eta_squared_{grouping.name}"] = _numbers(rows, "eta_squared")
    means = category_means(
        work.correct_VN,
        np.maximum(category_P, 0),
        metrics=(),
        values=values_P,
        among_P=category_P >= 0,
        bootstrap=bootstrap_of(len(work.labels.names)),
    )
    return categories_table(means)


def _numbers(frame: pl.DataFrame, column: str) -> NDArray[np.float64]:
    return frame[column].cast(pl.Float64).fill_null(float("nan")).to_numpy()


def _work(
    store: Store, outcomes: Outcomes, labels: Labels, options: SpecializationOptions, *, calibrated: bool, threads: int
) -> _Work:
    classes, labels_N = len(outcomes.class_names), outcomes.labels_N
    correct_VN = outcomes.correct_VN
    judged_N = ~selection_mask(outcomes.ids_N, fraction=0.5, seed=options.seed)
    cell_N = labels_N.astype(np.int64) + classes * judged_N
    group_C = find_class_groups(class_accuracies(correct_VN[:, ~judged_N], labels_N[~judged_N], classes))
    groupings = [_grouping(name, groups, classes) for name, groups in _given(outcomes, options).items()]
    if (group_C >= 0).any():
        names = tuple(f"group {group + 1}" for group in range(group_C.max() + 1))
        groupings.append(_Grouping(name=FOUND, names=names, group_C=group_C, held_out=True))
    return _Work(
        labels=labels,
        log_confidence_VN=read_log_confidences(store, outcomes, calibrated=calibrated),
        correct_VN=correct_VN,
        cell_N=cell_N,
        sizes_2C=np.bincount(cell_N, minlength=2 * classes).reshape(2, classes),
        groupings=groupings,
        threads=threads,
    )


def _given(outcomes: Outcomes, options: SpecializationOptions) -> Mapping[str, Groups]:
    own = read_class_groups(options.class_groups, outcomes.class_names) if options.class_groups else {}
    return {**imagenet_groups(outcomes.class_names), **own}


def _grouping(name: str, groups: Groups, classes: int) -> _Grouping:
    group_C = np.full(classes, -1, np.int64)
    for group, members in enumerate(groups.values()):
        group_C[list(members)] = group
    return _Grouping(name=name, names=tuple(groups), group_C=group_C)


_Frames = tuple[pl.DataFrame, pl.DataFrame]


def _rows(rows: range, work: _Work) -> _Frames:
    return _frames(work, work.specialize(*pair_indices(len(work.labels.names), rows)))


def _frames(work: _Work, one: Specialization) -> _Frames:
    """One row a pair, and one row a pair and grouping."""
    pair = _pair_columns(work, one)
    only_a, only_b = (_by_class(counts_PC, work) for counts_PC in (one.only_a, one.only_b))
    positives_P, negatives_P = only_a.sum(axis=1), only_b.sum(axis=1)
    columns: dict[str, object] = {**pair, "only_a_correct": positives_P, "only_b_correct": negatives_P}
    for name, area_P in (("auroc", one.auroc), ("log_odds_auroc", one.log_odds_auroc)):
        low_P, high_P = auroc_interval(area_P, positives_P, negatives_P)
        columns |= {name: area_P, f"{name}_low": low_P, f"{name}_high": high_P}
    columns |= {"angle_only_a_correct": one.angle_only_a, "angle_only_b_correct": one.angle_only_b}
    significant_PC = false_discovery(sign_test(only_a, only_b)) < DISCOVERIES
    columns["classes_better_a"] = (significant_PC & (only_a > only_b)).sum(axis=1)
    columns["classes_better_b"] = (significant_PC & (only_b > only_a)).sum(axis=1)
    for o, outcome in enumerate(JOINT_OUTCOMES):
        columns[f"angles_{outcome}"] = pl.Series(one.angles[:, o], dtype=pl.Array(pl.Int32, one.angles.shape[2]))
    effects = []
    for grouping in work.groupings:
        difference_PC, sizes_C = _differences(work, one, grouping)
        effect = group_effect(difference_PC, np.where(sizes_C > 0, grouping.group_C, -1))
        effects.append(
            pl.DataFrame(
                {
                    **pair,
                    "grouping": [grouping.name] * len(one.a),
                    "groups": np.full(len(one.a), len(grouping.names)),
                    "classes": np.full(len(one.a), int(np.count_nonzero(grouping.group_C >= 0))),
                    "eta_squared": effect.eta_squared,
                    "p_value": effect.p_value,
                },
                nan_to_null=True,
            )
        )
    return pl.DataFrame(columns, nan_to_null=True), pl.concat(effects) if effects else pl.DataFrame()


def _pair_columns(work: _Work, one: Specialization) -> dict[str, object]:
    return {**work.labels.names_of(one.a, one.b), "category": work.labels.words_of(one.a, one.b)}


def _by_class(counts_PC: NDArray[np.int32], work: _Work) -> NDArray[np.int64]:
    """Counts over all examples from those in the two halves."""
    halves_P2C = counts_PC.reshape(len(counts_PC), *work.sizes_2C.shape)
    counts: NDArray[np.int64] = halves_P2C.sum(axis=1, dtype=np.int64)
    return counts


def _judged(counts_PC: NDArray[np.int32], work: _Work, grouping: _Grouping) -> NDArray[np.int64]:
    """Counts over the examples that a grouping is judged on."""
    if not grouping.held_out:
        return _by_class(counts_PC, work)
    held_out_PC: NDArray[np.int64] = counts_PC[:, work.sizes_2C.shape[1] :].astype(np.int64)
    return held_out_PC


def _sizes(work: _Work, grouping: _Grouping) -> NDArray[np.int64]:
    sizes_C: NDArray[np.int64] = work.sizes_2C[1] if grouping.held_out else work.sizes_2C.sum(axis=0)
    return sizes_C


def _differences(
    work: _Work, one: Specialization, grouping: _Grouping
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """(P, C) how much more accurate the first variant is on each class, 0 without examples; and the classes' sizes."""
    sizes_C = _sizes(work, grouping)
    more_PC = _judged(one.only_a, work, grouping) - _judged(one.only_b, work, grouping)
    return more_PC / np.maximum(sizes_C, 1), sizes_C


def _groups_table(work: _Work, one: Specialization) -> pl.DataFrame:
    """One row a pair with the base and group of classes: who is better there, and who wins where they differ."""
    frames = []
    for grouping in work.groupings:
        sizes_C = _sizes(work, grouping)
        only_a_PC, only_b_PC = (_judged(counts, work, grouping) for counts in (one.only_a, one.only_b))
        for group, name in enumerate(grouping.names):
            chosen_C = grouping.group_C == group
            only_a, only_b = only_a_PC[:, chosen_C].sum(axis=1), only_b_PC[:, chosen_C].sum(axis=1)
            examples = int(sizes_C[chosen_C].sum())
            difference_P, low_P, high_P = paired_difference(only_a, only_b, examples)
            share_low_P, share_high_P = wilson_interval(only_a, only_a + only_b)
            share_P = np.where(only_a + only_b > 0, only_a / np.maximum(only_a + only_b, 1), np.nan)
            columns = {
                **_pair_columns(work, one),
                "grouping": [grouping.name] * len(one.a),
                "group": [name] * len(one.a),
                "classes": np.full(len(one.a), int(np.count_nonzero(chosen_C))),
                "examples": np.full(len(one.a), examples),
                "only_a_correct": only_a,
                "only_b_correct": only_b,
                "difference": difference_P,
                "difference_low": low_P,
                "difference_high": high_P,
                "share_of_wins_a": share_P,
                "share_of_wins_a_low": share_low_P,
                "share_of_wins_a_high": share_high_P,
            }
            frames.append(pl.DataFrame(columns, nan_to_null=True))
    return pl.concat(frames)


def _classes_table(work: _Work, one: Specialization, class_names: Sequence[str]) -> pl.DataFrame:
    """One row a pair with the base and class."""
    sizes_C = work.sizes_2C.sum(axis=0)
    classes, pairs = len(sizes_C), len(one.a)
    right_VC = class_accuracies(work.correct_VN, work.cell_N % classes, classes)
    only_a, only_b = _by_class(one.only_a, work), _by_class(one.only_b, work)
    p_PC = sign_test(only_a, only_b)
    repeated = {name: np.repeat(column, classes) for name, column in (("a", one.a), ("b", one.b))}
    return pl.DataFrame(
        {
            **work.labels.names_of(repeated["a"], repeated["b"]),
            "category": work.labels.words_of(repeated["a"], repeated["b"]),
            "class": np.tile(np.arange(classes), pairs),
            "class_name": list(class_names) * pairs,
            "examples": np.tile(sizes_C, pairs),
            "accuracy_a": right_VC[one.a].reshape(-1),
            "accuracy_b": right_VC[one.b].reshape(-1),
            "only_a_correct": only_a.reshape(-1),
            "only_b_correct": only_b.reshape(-1),
            "p_value": p_PC.reshape(-1),
            "q_value": false_discovery(p_PC).reshape(-1),
        },
        nan_to_null=True,
    )


def _members_table(work: _Work, class_names: Sequence[str]) -> pl.DataFrame:
    """One row a grouping and class: its group."""
    rows = [
        {"grouping": grouping.name, "group": grouping.names[group], "class": c, "class_name": class_names[c]}
        for grouping in work.groupings
        for c, group in enumerate(grouping.group_C)
        if group >= 0
    ]
    schema = {"grouping": pl.String, "group": pl.String, "class": pl.Int64, "class_name": pl.String}
    return pl.DataFrame(rows, schema=schema)
