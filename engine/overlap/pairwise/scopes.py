"""Which pairs are compared: all, those with one base variant, those in a window of accuracy, or both at once.

Array names: V variants, N examples, P pairs.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from overlap.errors import ArgumentError
from overlap.outcomes import Outcomes, indices_of
from overlap.pairwise.pair_rows import Labels, usual_base
from overlap_analysis import GroupedValue, pair_indices

POINTS_ASIDE = 0.02  # of the window around the base's accuracy; the paper has 74 to 78 % around 76.5 %


@dataclass(frozen=True, slots=True, kw_only=True)
class CategoryOptions:
    """What a user may choose of the comparison of categories.

    `base` is the variant that every pair of the paper's design has; by default the one with the most reinits, the
    first of several. `window` are the lowest and highest accuracy that a variant may have, as shares; by default
    two points below and above the base.
    """

    base: str | None = None
    window: tuple[float, float] | None = None


DEFAULT_CATEGORIES = CategoryOptions()


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Scope:
    """Some variants, and whether all their pairs are meant or those with one of them.

    `variants` are positions among those of the dataset, `base` is one among these; `window` says which accuracies
    they have.
    """

    name: str
    variants: NDArray[np.int64]
    base: int | None = None
    base_name: str | None = None
    window: tuple[float, float] | None = None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Compared:
    """What is compared in a scope, over all pairs of its variants; `among_P` are the pairs that it means.

    `category_P` is -1 where a category is unknown. `resampled` are the metrics of ensembles once more, by groups of
    examples where those were kept apart.
    """

    scope: Scope
    correct_VN: NDArray[np.bool_]
    category_P: NDArray[np.int8]
    among_P: NDArray[np.bool_]
    metrics_P: Mapping[str, NDArray[np.float64]]
    ensembles_P: Mapping[str, NDArray[np.float64]]
    resampled: Mapping[str, NDArray[np.float64] | GroupedValue]

    @property
    def values_P(self) -> Mapping[str, NDArray[np.float64]]:  # noqa: N802 - carries its dimension
        """All metrics of each pair."""
        return {**self.metrics_P, **self.ensembles_P}


def whole_scope(variants: int) -> Scope:
    """All pairs."""
    return Scope(name="all", variants=np.arange(variants))


def scopes_of(outcomes: Outcomes, labels: Labels, options: CategoryOptions) -> tuple[Scope, ...]:
    """The scopes `base`, `window` and `base_window`; the base is in the last, whatever its accuracy.

    Raises:
        ArgumentError: the base has no result, the window is none, or no two variants are in it.
    """
    accuracy_V = outcomes.correct_VN.mean(axis=1)
    everyone = np.arange(len(accuracy_V))
    base = usual_base(labels) if options.base is None else indices_of(outcomes, [options.base])[0]
    low, high = window = _window(options.window, float(accuracy_V[base]))
    inside_V = (accuracy_V >= low) & (accuracy_V <= high)
    if options.window is not None and np.count_nonzero(inside_V) < 2:
        raise ArgumentError(
            f"--window {low:g}:{high:g} holds the accuracies of {np.count_nonzero(inside_V)} variants, expected at "
            f"least 2; they are {accuracy_V.min():.3f} to {accuracy_V.max():.3f} on '{outcomes.dataset}'"
        )
    chosen, with_base = np.flatnonzero(inside_V), np.flatnonzero(inside_V | (everyone == base))
    name, place = outcomes.names[base], int(np.searchsorted(with_base, base))
    return (
        Scope(name="base", variants=everyone, base=base, base_name=name),
        Scope(name="window", variants=chosen, window=window),
        Scope(name="base_window", variants=with_base, base=place, base_name=name, window=window),
    )


def within(whole: Compared, scope: Scope) -> Compared:
    """The same over the pairs of a scope's variants only."""
    a, b = pair_indices(len(whole.correct_VN))
    chosen_V = np.isin(np.arange(len(whole.correct_VN)), scope.variants)
    kept_P = np.flatnonzero(chosen_V[a] & chosen_V[b])
    among_P = np.ones(len(kept_P), np.bool_)
    if scope.base is not None:
        base = scope.variants[scope.base]
        among_P = (a[kept_P] == base) | (b[kept_P] == base)
    if len(kept_P) == len(a):
        return replace(whole, scope=scope, among_P=among_P)
    return Compared(
        scope=scope,
        correct_VN=whole.correct_VN[scope.variants],
        category_P=whole.category_P[kept_P],
        among_P=among_P,
        metrics_P={name: value_P[kept_P] for name, value_P in whole.metrics_P.items()},
        ensembles_P={name: value_P[kept_P] for name, value_P in whole.ensembles_P.items()},
        resampled={name: _of_pairs(value, kept_P) for name, value in whole.resampled.items()},
    )


def _of_pairs(
    value: NDArray[np.float64] | GroupedValue, kept_P: NDArray[np.int64]
) -> NDArray[np.float64] | GroupedValue:
    if not isinstance(value, GroupedValue):
        return value[kept_P]
    shared = value.examples_GP.shape[1] == 1
    examples_GP = value.examples_GP if shared else value.examples_GP[:, kept_P]
    return GroupedValue(sums_GP=value.sums_GP[:, kept_P], examples_GP=examples_GP)


def _window(given: tuple[float, float] | None, accuracy: float) -> tuple[float, float]:
    if given is None:
        return accuracy - POINTS_ASIDE, accuracy + POINTS_ASIDE
    low, high = given
    if not 0 <= low <= high <= 1:
        raise ArgumentError(f"--window takes two accuracies as shares, low:high; got {low:g}:{high:g}")
    return low, high
