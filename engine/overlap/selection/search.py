"""What a user may ask of greedy selection, and the rules and weights that it comes to on a sweep's variants.

Array names: V variants, N examples.
"""

import fnmatch
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from overlap.errors import ArgumentError
from overlap.outcomes import Outcomes, indices_of
from overlap.store import Outputs
from overlap.variants import Variant
from overlap_analysis import Budget, Limit, Rules, Ties

COSTS = {"gmacs": "billions of multiply-adds of an image", "seconds": "measured seconds of the evaluation"}
LEVELS = ("architecture", "framework", "train_on")
_WEIGHT = 2**32  # of all classes together, for balanced accuracy: rounding is below a billionth


class Metric(StrEnum):
    """What an ensemble is chosen by."""

    ACCURACY = "accuracy"
    BALANCED_ACCURACY = "balanced_accuracy"
    TOP5 = "top5"
    NLL = "nll"
    BRIER = "brier"

    @property
    def beats(self) -> int:
        """How many classes must lead for an ensemble to be wrong, where it is right or wrong."""
        return 5 if self is Metric.TOP5 else 1

    @property
    def counts(self) -> bool:
        """Whether it counts right examples; the others are losses."""
        return self in (Metric.ACCURACY, Metric.BALANCED_ACCURACY, Metric.TOP5)


@dataclass(frozen=True, slots=True, kw_only=True)
class Search:
    """How to select an ensemble.

    Attributes:
        steps: members at most.
        selection: share of the examples that choose; the others evaluate. 1 chooses on all.
        seed: of the shares, folds and bags.
        metric: what to choose by.
        start: names of the first members.
        candidates: a glob over names of those that may be added.
        accuracy: window of the candidates' own accuracy on the selection examples, both ends included.
        replacement: whether a member may be added again.
        sorted_start: how many of the best begin, after `start`.
        ties: which of equally good candidates is added, see `overlap_analysis.Rules`.
        at_most: distinct members of one architecture, framework or train_on.
        max_cost: what distinct members may cost together, by one of `COSTS`.
        stop_early: end where nothing better can follow.
        folds: in how many parts to cut the selection examples, to select on all but one and evaluate on that.
        bags: how many paths among random halves of the candidates to join; 0 for none.
    """

    steps: int = 25
    selection: float = 0.5
    seed: int = 0
    metric: Metric = Metric.ACCURACY
    start: tuple[str, ...] = ()
    candidates: str = "*"
    accuracy: tuple[float, float] = (0.0, 1.0)
    replacement: bool = True
    sorted_start: int = 0
    ties: Ties = "default"
    at_most: Mapping[str, int] = field(default_factory=dict)
    max_cost: Mapping[str, float] = field(default_factory=dict)
    stop_early: bool = False
    folds: int = 0
    bags: int = 0


DEFAULT_SEARCH = Search()


def check_search(search: Search, outcomes: Outcomes) -> None:
    """Accept what a search asks for.

    Raises:
        ArgumentError: a number is out of range, a level is unknown, or costs are not known.
    """
    least = max(1, len(search.start) + search.sorted_start)
    if search.steps < least:
        raise ArgumentError(f"--steps must be at least {least}, got {search.steps}")
    if search.folds == 1 or search.folds < 0:
        raise ArgumentError(f"--folds must be 0 or at least 2, got {search.folds}")
    top = sum(known is Outputs.TOP for known in outcomes.outputs)
    if top and not search.metric.counts:
        raise ArgumentError(
            f"--metric {search.metric} needs the probabilities of all classes, and of {top} variants only the "
            "likeliest are known: choose by accuracy, balanced_accuracy or top5"
        )
    low, high = search.accuracy
    if not 0 <= low <= high <= 1:
        raise ArgumentError(f"--min-accuracy and --max-accuracy must be in [0, 1] and in order, got {low:g}, {high:g}")
    for level, most in search.at_most.items():
        if level not in LEVELS or most < 1:
            raise ArgumentError(f"--at-most takes {', '.join(f'{name}=N' for name in LEVELS)}, got '{level}={most}'")
    for name, cost in search.max_cost.items():
        if name not in COSTS or not cost > 0:
            known = " or ".join(f"{known}=NUMBER" for known in COSTS)
            raise ArgumentError(f"--max-cost takes {known}, got '{name}={cost}'")
        if not np.isfinite(costs_of(outcomes, name)).any():
            raise ArgumentError(f"--max-cost: {COSTS[name]} are known of no variant here")


def candidates_of(search: Search, outcomes: Outcomes, accuracy_V: NDArray[np.float64]) -> list[int]:
    """The variants that may be added, by name and by their accuracy on the selection examples.

    Raises:
        ArgumentError: there is none.
    """
    matching = [v for v, name in enumerate(outcomes.names) if fnmatch.fnmatchcase(name, search.candidates)]
    if not matching:
        raise ArgumentError(f"--candidates '{search.candidates}' matches no variant with a result")
    low, high = search.accuracy
    within = [v for v in matching if low <= accuracy_V[v] <= high]
    if not within:
        found = accuracy_V[matching]
        raise ArgumentError(
            f"no candidate has an accuracy from {low:g} to {high:g} on the selection examples; "
            f"theirs are from {found.min():.4f} to {found.max():.4f}"
        )
    return within


def rules_of(search: Search, outcomes: Outcomes) -> Rules:
    """The rules of a path, without its way of breaking ties by loss."""
    return Rules(
        steps=search.steps,
        start=tuple(indices_of(outcomes, search.start)),
        replacement=search.replacement,
        ties=search.ties,
        limits=tuple(
            Limit(group_V=_codes([getattr(variant, level) for variant in outcomes.variants]), most=most)
            for level, most in search.at_most.items()
        ),
        budgets=tuple(
            Budget(cost_V=np.nan_to_num(costs_of(outcomes, name), nan=np.inf), most=most)
            for name, most in search.max_cost.items()
        ),
        stop_early=search.stop_early,
    )


def costs_of(outcomes: Outcomes, name: str) -> NDArray[np.float64]:
    """(V,) what each variant costs, NaN where it is not known."""
    if name == "seconds":
        return outcomes.seconds_V

    def cost(variant: Variant) -> float:
        return variant.weights.gmacs if variant.weights and variant.weights.gmacs else np.nan

    return np.array([cost(variant) for variant in outcomes.variants], np.float64)


def weights_of(metric: Metric, labels_N: NDArray[np.int32], chosen_N: NDArray[np.bool_]) -> NDArray[np.int64]:
    """(N,) what each example counts: 0 where it was not chosen, the same for every class in balanced accuracy."""
    if metric is not Metric.BALANCED_ACCURACY:
        return chosen_N.astype(np.int64)
    sizes_C = np.bincount(labels_N[chosen_N], minlength=int(labels_N.max(initial=0)) + 1)
    each_C = np.rint(_WEIGHT / np.maximum(sizes_C * np.count_nonzero(sizes_C), 1)).astype(np.int64)
    return np.where(chosen_N, each_C[labels_N], 0)


def _codes(values: list[str]) -> NDArray[np.int64]:
    """Equal numbers for equal values."""
    return np.unique(np.array(values, dtype=str), return_inverse=True)[1].astype(np.int64)
