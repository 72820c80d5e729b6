"""Which examples fit a probe, which choose its penalty, and which judge it.

Array names: M examples of all splits that can be used, F of them, C classes or labels.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from overlap.errors import ArgumentError
from overlap_analysis import hashed_uniform, selection_mask

_CHOOSING_STREAM = 0x50524F4245  # keeps the choosing examples independent of the halves from the same seed
_CHOOSING_SHARE = 0.2


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Roles:
    """The examples of probes. `fit_F`, `choose_F` and `judge_F` are positions, disjoint and ascending.

    `targets_MC` are 0 or 1 float32; without `several_labels` each row that is used has one 1.
    """

    targets_MC: NDArray[np.float32]
    several_labels: bool
    fit_F: NDArray[np.int64]
    choose_F: NDArray[np.int64]
    judge_F: NDArray[np.int64]
    fitted_on: str


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Targets:
    """What probes are to predict of M examples: (M, C) 0 or 1. `known_M` says of which examples it is known."""

    values_MC: NDArray[np.float32]
    known_M: NDArray[np.bool_]
    several_labels: bool


def class_targets(labels_M: NDArray[np.int32], classes: int) -> Targets:
    """One class an example."""
    values_MC = np.equal.outer(labels_M, np.arange(classes)).astype(np.float32)
    return Targets(values_MC=values_MC, known_M=labels_M >= 0, several_labels=False)


def make_roles(
    split_M: NDArray[np.str_], ids_M: NDArray[np.int64], targets: Targets, *, seed: int, refit: bool
) -> Roles:
    """Train examples fit, calibration examples choose, test examples judge.

    Without a train split a seeded half of the test examples fits and the other half judges; without a calibration
    split a seeded fifth of the examples that would fit chooses instead.

    Raises:
        ArgumentError: no example is left for one of the three.
    """
    rows = {name: np.flatnonzero((split_M == name) & targets.known_M) for name in ("train", "calibration", "test")}
    fitted_on, judge_F = "train", rows["test"]
    if not len(rows["train"]):
        fits = selection_mask(ids_M[judge_F], fraction=0.5, seed=seed)
        rows["train"], judge_F = judge_F[fits], judge_F[~fits]
        fitted_on = "half of test"
    fit_F, choose_F = rows["train"], rows["calibration"]
    if len(choose_F):
        fitted_on += "+calibration" if refit else ""
    else:
        chooses = hashed_uniform(ids_M[fit_F], seed=seed ^ _CHOOSING_STREAM) < _CHOOSING_SHARE
        fit_F, choose_F = fit_F[~chooses], fit_F[chooses]
    _check({"fit": fit_F, "choose the penalty of": choose_F, "judge": judge_F})
    return Roles(
        targets_MC=targets.values_MC,
        several_labels=targets.several_labels,
        fit_F=fit_F,
        choose_F=choose_F,
        judge_F=judge_F,
        fitted_on=fitted_on,
    )


def _check(rows: Mapping[str, NDArray[np.int64]]) -> None:
    for role, some_F in rows.items():
        if not len(some_F):
            raise ArgumentError(f"no labelled example with an embedding is left to {role} a probe: use larger splits")
