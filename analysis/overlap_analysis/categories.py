"""Means of the pair metrics by how two variants differ, with intervals over variants and examples.

Dimensions: `V` variants, `N` examples, `G` groups of examples, `P` pairs in the order of
`pairs.pair_indices`, `R` resamples and, before them, the data itself, `K` categories, `M` metrics and values.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from overlap_analysis.pair_counts import PairCounts
from overlap_analysis.pair_metrics import PAIR_METRICS
from overlap_analysis.pairs import pair_indices
from overlap_analysis.uncertainty import percentile_interval

CATEGORIES = ("reinit", "hyperparameters", "architecture", "framework", "dataset")
"""How two variants differ, from the least to the most."""

OUTCOME_METRICS = tuple(name for name in PAIR_METRICS if not name.startswith("agreement"))
"""The pair metrics that depend on who is right only, not on the classes predicted."""

_PAIRS_AT_ONCE = 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class Bootstrap:
    """How intervals are resampled.

    Attributes:
        resamples: how many.
        seed: same seed and data, same interval.
        level: nominal coverage.
        groups: examples are resampled in at most so many groups, example n in group n mod groups (so their
            order must not be periodic). With no more examples than that, each is a group of its own.
    """

    resamples: int = 1000
    seed: int = 0
    level: float = 0.95
    groups: int = 250


DEFAULT_BOOTSTRAP = Bootstrap()


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
    values: Mapping[str, NDArray[np.float64]] = MappingProxyType({}),
    bootstrap: Bootstrap = DEFAULT_BOOTSTRAP,
) -> list[CategoryMean]:
    """Mean of each metric over the pairs of each category, with a two-way bootstrap interval.

    Pairs that share a variant or an example are not independent, so a resample draws variants and examples,
    each with replacement. A pair counts as often as the product of its two variants' multiplicities, and
    copies of one variant are no pair. Each metric is computed anew on the resampled examples. A resample
    without a pair of a category is left out for that category, so the interval of a category with a single
    pair knows of its examples only. Simulated coverage of 95 % intervals is 0.98 to 0.997 with 5 variants and
    200 examples, all pairs in one category, and 0.96 with 30 variants and 500 examples.

    Args:
        correct_VN: which examples each variant gets right.
        category_P: index into `CATEGORIES` of each pair.
        metrics: of `OUTCOME_METRICS`.
        values: further values of each pair by name, (P,) each, NaN for undefined: an ensemble's improvement,
            say. Only variants are resampled for these, so their intervals leave out the choice of examples.
        bootstrap: how to resample.

    Returns:
        Categories in their order, those without a pair omitted; metrics, then values, within each.

    Raises:
        ValueError: the shapes do not fit, a category is no index, or a metric is none of `OUTCOME_METRICS`.

    Source: Owen, "The pigeonhole bootstrap", Annals of Applied Statistics 1 (2007), which shows its variance
        to be too large rather than too small.
    """
    correct_VN = np.asarray(correct_VN, dtype=np.bool_)
    _check(correct_VN, category_P, metrics, values)
    pairs_K = np.bincount(category_P, minlength=len(CATEGORIES))
    defined_MRK, totals_MRK = _resampled_totals(correct_VN, category_P, metrics, values, bootstrap)
    empty = np.full_like(totals_MRK, np.nan)
    means_MRK = np.divide(totals_MRK, defined_MRK, out=empty, where=defined_MRK > 0)
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
    values: Mapping[str, NDArray[np.float64]],
    bootstrap: Bootstrap,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Weight of the pairs that have a value, and weighted sum of their values: (M, R + 1, K) each."""
    weights_MRK = np.zeros((len(metrics) + len(values), bootstrap.resamples + 1, len(CATEGORIES)))
    totals_MRK = np.zeros_like(weights_MRK)
    draws = _draw(correct_VN, bootstrap)
    a, b = pair_indices(len(correct_VN))
    for start in range(0, len(category_P), _PAIRS_AT_ONCE):
        chunk = slice(start, start + _PAIRS_AT_ONCE)
        given = [np.asarray(value_P, dtype=np.float64)[chunk] for value_P in values.values()]
        for r, (weight_P, counts) in enumerate(_resampled_counts(draws, a[chunk], b[chunk])):
            for m, value_P in enumerate([*(PAIR_METRICS[name](counts) for name in metrics), *given]):
                defined = ~np.isnan(value_P)
                weight = weight_P * defined
                total = weight * np.where(defined, value_P, 0)
                weights_MRK[m, r] += np.bincount(category_P[chunk], weight, len(CATEGORIES))
                totals_MRK[m, r] += np.bincount(category_P[chunk], total, len(CATEGORIES))
    return weights_MRK, totals_MRK


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Draws:
    """Resample 0 takes every variant and example once; the others draw them with replacement."""

    variants: NDArray[np.float64]  # (R + 1, V) multiplicities
    groups: NDArray[np.float64]  # (R + 1, G) multiplicities
    examples: NDArray[np.int64]  # (R + 1,) examples drawn
    correct: NDArray[np.int64]  # (R + 1, V) examples drawn that the variant gets right
    blocks: list[NDArray[np.bool_]]  # (V, examples of a group) which are right, for each group


def _draw(correct_VN: NDArray[np.bool_], bootstrap: Bootstrap) -> _Draws:
    variants, examples = correct_VN.shape
    groups = min(bootstrap.groups, examples)
    blocks = [correct_VN[:, group::groups] for group in range(groups)]
    rng = np.random.default_rng(bootstrap.seed)
    drawn_variants = _multiplicities(rng, variants, bootstrap.resamples)
    drawn_groups = _multiplicities(rng, groups, bootstrap.resamples)
    return _Draws(
        variants=drawn_variants,
        groups=drawn_groups,
        examples=_drawn_sums(drawn_groups, [block.shape[1] for block in blocks]),
        correct=_drawn_sums(drawn_groups, [np.count_nonzero(block, axis=1) for block in blocks]),
        blocks=blocks,
    )


def _multiplicities(rng: np.random.Generator, size: int, resamples: int) -> NDArray[np.float64]:
    drawn = rng.multinomial(size, np.full(size, 1 / size), size=resamples)
    return np.concatenate([np.ones((1, size)), drawn])


def _drawn_sums(drawn_RG: NDArray[np.float64], sums_G: Sequence[NDArray[np.int64] | int]) -> NDArray[np.int64]:
    """Sums over the drawn groups: (R + 1, ...). In float64, which is fast, and exact for counts."""
    return (drawn_RG @ np.array(sums_G, dtype=np.float64)).astype(np.int64)


def _resampled_counts(
    draws: _Draws, a: NDArray[np.int32], b: NDArray[np.int32]
) -> Iterator[tuple[NDArray[np.float64], PairCounts]]:
    """Weight and joint outcomes of some pairs, resample by resample."""
    both_GP = [np.count_nonzero(block[a] & block[b], axis=1) for block in draws.blocks]
    for r, both_correct in enumerate(_drawn_sums(draws.groups, both_GP)):
        correct_a, correct_b = draws.correct[r, a], draws.correct[r, b]
        examples = int(draws.examples[r])
        yield (
            draws.variants[r, a] * draws.variants[r, b],
            PairCounts(
                a=a,
                b=b,
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


def _check(
    correct_VN: NDArray[np.bool_],
    category_P: NDArray[np.int8],
    metrics: Sequence[str],
    values: Mapping[str, NDArray[np.float64]],
) -> None:
    if correct_VN.ndim != 2 or correct_VN.size == 0:
        raise ValueError(f"correct: expected (V, N) with variants and examples, got shape {correct_VN.shape}")
    pairs = len(correct_VN) * (len(correct_VN) - 1) // 2
    shapes = {"category": category_P.shape, **{name: value_P.shape for name, value_P in values.items()}}
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
