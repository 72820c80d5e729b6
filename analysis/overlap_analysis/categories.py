"""Means of the pair metrics by how two variants differ, with intervals over variants and examples.

Dimensions: `V` variants, `N` examples, `G` groups of examples, `P` pairs in the order of
`pairs.pair_indices`, `R` resamples and, before them, the data itself, `K` categories, `M` metrics and values.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from overlap_analysis.compiled import compiled
from overlap_analysis.pair_counts import PairCounts
from overlap_analysis.pair_metrics import PAIR_METRICS
from overlap_analysis.pairs import pair_count, pair_indices
from overlap_analysis.resampling import (
    DEFAULT_BOOTSTRAP,
    Bootstrap,
    Sums,
    group_count,
    group_multiplicities,
    group_sums,
    quotient,
    variant_multiplicities,
)
from overlap_analysis.uncertainty import percentile_interval

CATEGORIES = ("reinit", "hyperparameters", "architecture", "framework", "dataset")
"""How two variants differ, from the least to the most."""

SHOWN_CATEGORIES = (*CATEGORIES, "unknown")
"""The last one, which index -1 finds, is for pairs of which too little is known."""

OUTCOME_METRICS = tuple(name for name in PAIR_METRICS if not name.startswith("agreement"))
"""The pair metrics that depend on who is right only, not on the classes predicted."""

_PAIRS_AT_ONCE = 4096


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class GroupedValue:
    """A share or mean of each pair, as sums over groups of examples, so that examples can be resampled.

    An ensemble's improvement, say: `sums_GP` what it gets right less the mean of its members, `examples_GP` the
    sizes of the groups. Or its conversion rate: the examples converted, and those with one member right.

    Attributes:
        sums_GP: (G, P), any number type; example n is in group n mod G, and G is `group_count(N, bootstrap)`.
            The largest input there is: small integers keep it small.
        examples_GP: (G, P) examples that the sums are over, or (G, 1) where they are the same for all pairs.
    """

    sums_GP: Sums
    examples_GP: Sums


Value = NDArray[np.float64] | GroupedValue


@dataclass(frozen=True, slots=True, kw_only=True)
class CategoryMean:
    """The mean of one metric over the pairs of one category.

    Attributes:
        category: one of `CATEGORIES`.
        metric: name of the metric or of the extra value.
        pairs: pairs of the category, with the undefined ones.
        undefined: pairs whose value is NaN; they are not in the mean.
        mean: NaN if no pair has a value.
        low: end of the bootstrap interval, at most `mean`; NaN if `mean` is, or if no resample has a pair.
        high: the other end, at least `mean`.
    """

    category: str
    metric: str
    pairs: int
    undefined: int
    mean: float
    low: float
    high: float


def category_means(
    correct_VN: NDArray[np.bool_],
    category_P: NDArray[np.int8],
    *,
    metrics: Sequence[str] = ("error_inconsistency", "error_correlation", "kappa"),
    values: Mapping[str, Value] = MappingProxyType({}),
    among_P: NDArray[np.bool_] | None = None,
    bootstrap: Bootstrap = DEFAULT_BOOTSTRAP,
) -> list[CategoryMean]:
    """Mean of each metric over the pairs of each category, with a two-way bootstrap interval.

    Pairs that share a variant or an example are not independent, so a resample draws variants and examples,
    each with replacement. A pair counts as often as the product of its two variants' multiplicities, and
    copies of one variant are no pair. Each metric is computed anew on the resampled examples. A resample
    without a pair of a category is left out for that category, so the interval of a category with a single
    pair knows of its examples only. Simulated coverage of 95 % intervals is 0.98 to 0.997 with 5 variants and
    200 examples, all pairs in one category, and 0.96 with 30 variants and 500 examples. Where the variants'
    own levels decide a value, it is 0.93 with 10 to 20 variants and 0.87 with 6, as of any mean of so few.

    1000 variants on 50,000 examples take half a minute for three metrics and 1000 resamples.

    Args:
        correct_VN: which examples each variant gets right.
        category_P: index into `CATEGORIES` of each pair.
        metrics: of `OUTCOME_METRICS`.
        values: further values of each pair by name, NaN for undefined. Of a `GroupedValue` examples are
            resampled as well; of a plain (P,) only variants are, so its interval leaves out the choice of
            examples and is too narrow (0.76 to 0.83 where examples matter as much as variants).
        among_P: which pairs to look at, those of similar accuracy, say; all by default.
        bootstrap: how to resample.

    Returns:
        Categories in their order, those without a pair omitted; metrics, then values, within each.

    Raises:
        ValueError: the shapes do not fit, a category is no index, or a metric is none of `OUTCOME_METRICS`.

    Source: Owen, "The pigeonhole bootstrap", Annals of Applied Statistics 1 (2007), which shows its variance
        to be too large rather than too small.
    """
    correct_VN = np.asarray(correct_VN, dtype=np.bool_)
    _check(correct_VN, category_P, metrics, values, among_P)
    _check_groups(values, group_count(correct_VN.shape[1], bootstrap), len(category_P))
    chosen_P = np.arange(len(category_P)) if among_P is None else np.flatnonzero(among_P)
    pairs_K = np.bincount(category_P[chosen_P], minlength=len(CATEGORIES))
    defined_MRK, totals_MRK = _resampled_totals(correct_VN, category_P, metrics, values, chosen_P, bootstrap)
    means_MRK = quotient(totals_MRK, defined_MRK)
    result = []
    for k in np.flatnonzero(pairs_K):
        for m, name in enumerate([*metrics, *values]):
            mean = float(means_MRK[m, 0, k])
            low, high = percentile_interval(means_MRK[m, 1:, k], level=bootstrap.level)
            result.append(
                CategoryMean(
                    category=CATEGORIES[k],
                    metric=name,
                    pairs=int(pairs_K[k]),
                    undefined=int(pairs_K[k] - defined_MRK[m, 0, k]),
                    mean=mean,
                    low=min(low, mean),
                    high=max(high, mean),
                )
            )
    return result


def _resampled_totals(
    correct_VN: NDArray[np.bool_],
    category_P: NDArray[np.int8],
    metrics: Sequence[str],
    values: Mapping[str, Value],
    chosen_P: NDArray[np.int64],
    bootstrap: Bootstrap,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Weight of the pairs that have a value, and weighted sum of their values: (M, R + 1, K) each."""
    weights_MRK = np.zeros((len(metrics) + len(values), bootstrap.resamples + 1, len(CATEGORIES)))
    totals_MRK = np.zeros_like(weights_MRK)
    draws = _draw(correct_VN, bootstrap)
    a, b = pair_indices(len(correct_VN))
    for start in range(0, len(chosen_P), _PAIRS_AT_ONCE):
        chunk = chosen_P[start : start + _PAIRS_AT_ONCE]
        given = [_resampled_value(draws, value, chunk) for value in values.values()]
        category = np.ascontiguousarray(category_P[chunk], dtype=np.int8)
        for r, (drawn, weight_P, counts) in enumerate(_resampled_counts(draws, a[chunk], b[chunk])):
            computed = [PAIR_METRICS[name](counts) for name in metrics]
            for m, value_P in enumerate([*computed, *(value_RP[r % len(value_RP), drawn] for value_RP in given)]):
                _add(value_P, weight_P, category[drawn], weights_MRK[m, r], totals_MRK[m, r])
    return weights_MRK, totals_MRK


@compiled
def _add(
    value_P: NDArray[np.float64],
    weight_P: NDArray[np.float64],
    category_P: NDArray[np.int8],
    weights_K: NDArray[np.float64],
    totals_K: NDArray[np.float64],
) -> None:
    for p in range(len(value_P)):
        if not np.isnan(value_P[p]):
            weights_K[category_P[p]] += weight_P[p]
            totals_K[category_P[p]] += weight_P[p] * value_P[p]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Draws:
    """Resample 0 takes every variant and example once; the others draw them with replacement."""

    variants: NDArray[np.float64]  # (R + 1, V) multiplicities
    groups: NDArray[np.float64]  # (R + 1, G) multiplicities
    examples: NDArray[np.int64]  # (R + 1,) examples drawn
    correct: NDArray[np.int64]  # (R + 1, V) examples drawn that the variant gets right
    blocks: list[NDArray[np.float32]]  # (V, examples of a group) 1 where right, for each group


def _draw(correct_VN: NDArray[np.bool_], bootstrap: Bootstrap) -> _Draws:
    groups = group_count(correct_VN.shape[1], bootstrap)
    drawn_groups = group_multiplicities(groups, bootstrap)
    return _Draws(
        variants=variant_multiplicities(len(correct_VN), bootstrap),
        groups=drawn_groups,
        examples=_drawn_counts(drawn_groups, group_sums(np.ones(correct_VN.shape[1]), groups)),
        correct=_drawn_counts(drawn_groups, group_sums(correct_VN, groups)),
        blocks=[correct_VN[:, group::groups].astype(np.float32) for group in range(groups)],
    )


def _drawn_counts(drawn_RG: NDArray[np.float64], counts_GP: NDArray[np.float64]) -> NDArray[np.int64]:
    """Counts over the drawn groups: (R + 1, ...). In float64, which is fast, and exact for counts."""
    return (drawn_RG @ counts_GP).astype(np.int64)


def _resampled_value(draws: _Draws, value: Value, chunk: NDArray[np.int64]) -> NDArray[np.float64]:
    """Values of some pairs on each resample: (R + 1, pairs), or (1, pairs) where they are always the same."""
    if not isinstance(value, GroupedValue):
        return np.asarray(value, dtype=np.float64)[np.newaxis, chunk]
    examples = value.examples_GP if value.examples_GP.shape[1] == 1 else value.examples_GP[:, chunk]
    return quotient(draws.groups @ value.sums_GP[:, chunk], draws.groups @ examples)


def _resampled_counts(
    draws: _Draws, a: NDArray[np.int32], b: NDArray[np.int32]
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.float64], PairCounts]]:
    """Which of some pairs are drawn, about 40 of 100, their weight and joint outcomes, resample by resample."""
    for r, both_correct_P in enumerate(_drawn_counts(draws.groups, _both_correct(draws.blocks, a, b))):
        weight_P = draws.variants[r, a] * draws.variants[r, b]
        drawn = np.flatnonzero(weight_P)
        both_correct = both_correct_P[drawn]
        correct_a, correct_b = draws.correct[r, a[drawn]], draws.correct[r, b[drawn]]
        examples = int(draws.examples[r])
        yield (
            drawn,
            weight_P[drawn],
            PairCounts(
                a=a[drawn],
                b=b[drawn],
                examples=examples,
                both_correct=both_correct,
                only_a_correct=correct_a - both_correct,
                only_b_correct=correct_b - both_correct,
                both_wrong=examples - correct_a - correct_b + both_correct,
                # Unknown here, and read by no metric of OUTCOME_METRICS.
                both_wrong_same_class=np.zeros_like(both_correct),
                same_prediction=both_correct,
            ),
        )


def _both_correct(blocks: list[NDArray[np.float32]], a: NDArray[np.int32], b: NDArray[np.int32]) -> NDArray[np.float64]:
    """How often both are right in each group: (G, pairs). A product of matrices, exact below 2**24 examples."""
    rows, columns = slice(a.min(), a.max() + 1), slice(b.min(), None)
    both_GP = np.empty((len(blocks), len(a)))
    for group, block in enumerate(blocks):
        both_GP[group] = (block[rows] @ block[columns].T)[a - rows.start, b - columns.start]
    return both_GP


def _check(
    correct_VN: NDArray[np.bool_],
    category_P: NDArray[np.int8],
    metrics: Sequence[str],
    values: Mapping[str, Value],
    among_P: NDArray[np.bool_] | None,
) -> None:
    if correct_VN.ndim != 2 or correct_VN.size == 0:
        raise ValueError(f"correct: expected (V, N) with variants and examples, got shape {correct_VN.shape}")
    pairs = pair_count(len(correct_VN))
    shapes = {"category": category_P.shape} | ({} if among_P is None else {"among": among_P.shape})
    shapes |= {name: value.shape for name, value in values.items() if not isinstance(value, GroupedValue)}
    for name, shape in shapes.items():
        if shape != (pairs,):
            raise ValueError(f"{name}: expected shape ({pairs},), one for each pair, got {shape}")
    bad = (category_P < 0) | (category_P >= len(CATEGORIES))
    if bad.any():
        where = int(np.argmax(bad))
        raise ValueError(f"category[{where}]: expected 0 to {len(CATEGORIES) - 1}, got {category_P[where]}")
    unknown = [name for name in metrics if name not in OUTCOME_METRICS]
    if unknown:
        raise ValueError(f"metrics: expected some of {', '.join(OUTCOME_METRICS)}, got {unknown[0]!r}")


def _check_groups(values: Mapping[str, Value], groups: int, pairs: int) -> None:
    for name, value in values.items():
        if not isinstance(value, GroupedValue):
            continue
        sums, examples = value.sums_GP.shape, value.examples_GP.shape
        if sums != (groups, pairs) or examples not in ((groups, pairs), (groups, 1)):
            raise ValueError(
                f"{name}: expected sums ({groups}, {pairs}) and examples the same or ({groups}, 1), "
                f"got {sums} and {examples}; group_count tells the number of groups"
            )
