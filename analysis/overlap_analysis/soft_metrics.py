"""Pair metrics of probabilities, beside those of classes: CAPA, Jensen-Shannon divergence, label correlation.

Dimensions: `V` variants, `N` examples, `C` classes, `G` groups of examples, `P` pairs in the order of
`pairs.pair_indices`. All of them depend on how well the probabilities are calibrated: compare calibrated ones.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace
from functools import partial

import numpy as np
from numpy.typing import NDArray

from overlap_analysis.compiled import compiled
from overlap_analysis.pairs import pair_indices
from overlap_analysis.resampling import DEFAULT_BOOTSTRAP, Bootstrap, Metric, quotient, resampled

_Values = NDArray[np.float64]
_ELEMENTS_AT_ONCE = 2**23
_COLUMNS_AT_ONCE = 2048  # rows of a block stay in the cache while every pair of them is mixed
_PAIRS_AT_ONCE = 2**14
_ROUNDING = 1e-12


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SoftSums:
    """What the soft metrics need of the probabilities, added up over the examples of each group.

    Attributes:
        classes: C.
        examples_G: how many.
        label_GV: probability of the label.
        label_squared_GV: its square.
        label_product_GP: product of the two variants' probabilities of the label.
        overlap_GP: probability that a class drawn from one variant and one from the other are the same.
        divergence_GP: Jensen-Shannon divergence in bits; NaN if it was not asked for.
    """

    classes: int
    examples_G: _Values
    label_GV: _Values
    label_squared_GV: _Values
    label_product_GP: _Values
    overlap_GP: _Values
    divergence_GP: _Values


def soft_sums(
    probabilities_VNC: NDArray[np.floating],
    labels_N: NDArray[np.integer],
    *,
    groups: int,
    start: int = 0,
    divergence: bool = True,
) -> SoftSums:
    """Sums of one block of examples; those of disjoint blocks add up with `merge_soft_sums`.

    The overlap is a product of matrices: a minute for 100 variants on 50,000 examples of 1000 classes. The
    divergence takes a logarithm for every pair, example and class, 2 ns each: 9 minutes for the same on one core
    (other blocks can use the other cores, in threads). Memory beyond the block is bounded, but for the sums
    themselves: three of 8 G P bytes.

    Args:
        probabilities_VNC: of each class, any float type and layout; each row adds up to 1 within 1 %.
        labels_N: true classes.
        groups: in how many groups the examples are resampled, the same for all blocks: see `group_count`.
        start: how many examples come before this block: example n of it is in group (start + n) mod groups.
        divergence: whether to compute the Jensen-Shannon divergence.

    Raises:
        ValueError: the shapes do not fit, there are fewer than two classes, a label is no class, or a row is no
            distribution.
    """
    probabilities_VNC, labels_N = np.asarray(probabilities_VNC), np.asarray(labels_N)
    _check(probabilities_VNC, labels_N, groups)
    variants, examples, classes = probabilities_VNC.shape
    a, b = pair_indices(variants)
    sums = SoftSums(
        classes=classes,
        examples_G=np.bincount((start + np.arange(examples)) % groups, minlength=groups).astype(np.float64),
        label_GV=np.zeros((groups, variants)),
        label_squared_GV=np.zeros((groups, variants)),
        label_product_GP=np.zeros((groups, len(a))),
        overlap_GP=np.zeros((groups, len(a))),
        divergence_GP=np.full((groups, len(a)), 0.0 if divergence else np.nan),
    )
    for group, chosen in _parts(examples, groups, start, _ELEMENTS_AT_ONCE // max(1, variants * classes)):
        part_VNC = probabilities_VNC[:, chosen].astype(np.float64)
        _check_rows(part_VNC, chosen)
        label_VN = part_VNC[:, np.arange(len(chosen)), labels_N[chosen]]
        part_VX = np.ascontiguousarray(part_VNC).reshape(variants, -1)
        sums.label_GV[group] += label_VN.sum(axis=1)
        sums.label_squared_GV[group] += np.square(label_VN).sum(axis=1)
        sums.label_product_GP[group] += (label_VN @ label_VN.T)[a, b]
        sums.overlap_GP[group] += (part_VX @ part_VX.T)[a, b]
        if divergence:
            information_VV = _mixed_information(part_VX)
            own_V = np.diagonal(information_VV)
            sums.divergence_GP[group] += (own_V[a] + own_V[b]) / 2 - information_VV[a, b]
    return sums


def merge_soft_sums(parts: Sequence[SoftSums]) -> SoftSums:
    """Sums over the union of disjoint blocks of examples of the same variants.

    Raises:
        ValueError: there is no part, or the parts differ in variants, classes or groups.
    """
    if not parts:
        raise ValueError("parts: expected at least one block of sums, got none")
    first = parts[0]
    for index, part in enumerate(parts):
        if (part.classes, part.label_GV.shape) != (first.classes, first.label_GV.shape):
            raise ValueError(
                f"parts[{index}]: expected {first.classes} classes and sums {first.label_GV.shape} as in parts[0], "
                f"got {part.classes} and {part.label_GV.shape}"
            )
    added = [field.name for field in fields(first) if field.name != "classes"]
    return replace(first, **{name: sum(getattr(part, name) for part in parts) for name in added})


def soft_metrics(sums: SoftSums) -> dict[str, NDArray[np.float64]]:
    """Every soft metric of each pair, (P,) float64, NaN where it is undefined.

    - `capa`: agreement of the probabilities beyond what the accuracies imply, at most 1: 0 for independent
      errors, 1 only for variants that agree with full confidence. Agreement is the mean over examples of
      Σ_c p_a(c) p_b(c); by chance it is q_a q_b + (1 - q_a) (1 - q_b) / (C - 1), q the mean probability of the
      label; CAPA is (agreement - chance) / (1 - chance), as in κ. It depends on calibration: a variant that is
      unsure does not even agree with itself.
    - `jensen_shannon_divergence`: mean over examples of H((p_a + p_b) / 2) - (H(p_a) + H(p_b)) / 2 in bits, in
      [0, 1]: 0 for equal outputs, 1 for outputs that share no class. NaN if it was not asked for.
    - `label_probability_correlation`: Pearson correlation over examples of the label's probability, in [-1, 1]:
      the soft form of φ. NaN where a variant's is constant up to rounding.

    Source: Goel et al., "Great models think alike and this undermines AI oversight", ICML 2025 (CAPA); Lin, IEEE
        Transactions on Information Theory 37 (1991) (divergence).
    """
    added = [field.name for field in fields(sums) if field.name != "classes"]
    total = replace(sums, **{name: getattr(sums, name).sum(axis=0, keepdims=True) for name in added})
    return {name: metric(*terms)[0] for name, (metric, terms) in _formulas(total, slice(None)).items()}


def soft_intervals(
    sums: SoftSums, *, bootstrap: Bootstrap = DEFAULT_BOOTSTRAP
) -> dict[str, tuple[NDArray[np.float64], NDArray[np.float64]]]:
    """Interval of every soft metric of each pair, over the choice of examples: see `resampling.resampled`.

    Args:
        sums: over all examples. Their number of groups counts, not that of `bootstrap`.
        bootstrap: how to resample.

    Returns:
        (low, high) by the names of `soft_metrics`, each (P,) with low <= metric <= high; NaN where the metric is.
    """
    pairs = sums.overlap_GP.shape[1]
    ends: dict[str, list[tuple[_Values, _Values]]] = {}
    for first in range(0, max(pairs, 1), _PAIRS_AT_ONCE):
        for name, (metric, terms) in _formulas(sums, slice(first, first + _PAIRS_AT_ONCE)).items():
            ends.setdefault(name, []).append(resampled(metric, *terms, bootstrap=bootstrap))
    lows_and_highs = {name: np.concatenate(parts, axis=1) for name, parts in ends.items()}
    return {name: (both_2P[0], both_2P[1]) for name, both_2P in lows_and_highs.items()}


def _formulas(sums: SoftSums, pairs: slice) -> dict[str, tuple[Metric, tuple[_Values, ...]]]:
    """Each metric as a function, and the sums of some pairs that it takes."""
    a, b = (index[pairs] for index in pair_indices(sums.label_GV.shape[1]))
    label_a, label_b = sums.label_GV[:, a], sums.label_GV[:, b]
    squared_a, squared_b = sums.label_squared_GV[:, a], sums.label_squared_GV[:, b]
    product, examples = sums.label_product_GP[:, pairs], sums.examples_G[:, np.newaxis]
    return {
        "capa": (partial(_capa, sums.classes), (sums.overlap_GP[:, pairs], label_a, label_b, examples)),
        "jensen_shannon_divergence": (quotient, (sums.divergence_GP[:, pairs], examples)),
        "label_probability_correlation": (_correlation, (product, label_a, label_b, squared_a, squared_b, examples)),
    }


def _capa(classes: int, overlap: _Values, label_a: _Values, label_b: _Values, examples: _Values) -> _Values:
    mean_a, mean_b = quotient(label_a, examples), quotient(label_b, examples)
    chance = mean_a * mean_b + (1 - mean_a) * (1 - mean_b) / (classes - 1)
    return quotient(quotient(overlap, examples) - chance, 1 - chance)


def _correlation(
    product: _Values, label_a: _Values, label_b: _Values, squared_a: _Values, squared_b: _Values, examples: _Values
) -> _Values:
    variance_a, variance_b = (
        np.where(variance > _ROUNDING * examples * squares, variance, np.nan)
        for variance, squares in (
            (examples * squared_a - label_a**2, squared_a),
            (examples * squared_b - label_b**2, squared_b),
        )
    )
    correlation: _Values = (examples * product - label_a * label_b) / np.sqrt(variance_a * variance_b)
    return np.clip(correlation, -1, 1)  # rounding must not carry equal variants beyond 1


@compiled
def _mixed_information(part_VX: NDArray[np.float64]) -> NDArray[np.float64]:
    """Sum of m log2 m, m the mean of rows a and b, for a <= b: (V, V)."""
    variants, columns = part_VX.shape
    information_VV = np.zeros((variants, variants))
    for start in range(0, columns, _COLUMNS_AT_ONCE):
        block_VX = part_VX[:, start : start + _COLUMNS_AT_ONCE]
        mixed_X, log2_X = np.empty(block_VX.shape[1]), np.empty(block_VX.shape[1])
        for a in range(variants):
            for b in range(a, variants):
                for x in range(len(mixed_X)):
                    mixed_X[x] = (block_VX[a, x] + block_VX[b, x]) / 2
                _fill_log2(mixed_X, log2_X)
                information_VV[a, b] += np.dot(mixed_X, log2_X)
    return information_VV


@compiled
def _fill_log2(number_X: NDArray[np.float64], log2_X: NDArray[np.float64]) -> None:
    """Base-2 logarithms to 1e-14, some finite number for 0: the exponent and the series of artanh.

    No call and no branch, so that the loops are compiled to SIMD, in half the time of `np.log2`.
    """
    fraction_X = np.empty_like(number_X)
    bits_X, fraction_bits_X = number_X.view(np.int64), fraction_X.view(np.int64)
    for x in range(len(number_X)):
        fraction_bits_X[x] = (bits_X[x] & 0xFFFFFFFFFFFFF) | 0x3FF0000000000000
    for x in range(len(number_X)):
        large = fraction_X[x] > 1.4142135623730951
        fraction = fraction_X[x] / 2 if large else fraction_X[x]
        s = np.divide(fraction - 1, fraction + 1)  # unlike /, it does not look for a zero
        q = s * s
        series = q * (1 / 9 + q * (1 / 11 + q * (1 / 13 + q * (1 / 15 + q / 17))))
        series = 1 + q * (1 / 3 + q * (1 / 5 + q * (1 / 7 + series)))
        log2_X[x] = (bits_X[x] >> 52) - 1023 + large + 2.8853900817779268 * s * series


def _parts(examples: int, groups: int, start: int, at_once: int) -> Iterator[tuple[int, NDArray[np.int64]]]:
    """Each group and its examples in the block, a bounded number at a time."""
    for group in range(groups):
        members = np.arange((group - start) % groups, examples, groups)
        for first in range(0, len(members), max(1, at_once)):
            yield group, members[first : first + max(1, at_once)]


def _check(probabilities_VNC: NDArray[np.floating], labels_N: NDArray[np.integer], groups: int) -> None:
    shape = probabilities_VNC.shape
    if len(shape) != 3 or labels_N.shape != shape[1:2] or shape[2] < 2:
        raise ValueError(
            f"expected probabilities (V, N, C) of at least two classes and labels (N,), "
            f"got {shape} and {labels_N.shape}"
        )
    if groups < 1:
        raise ValueError(f"groups: expected at least 1, got {groups}")
    bad = (labels_N < 0) | (labels_N >= shape[2])
    if bad.any():
        where = int(np.argmax(bad))
        raise ValueError(f"labels[{where}]: expected a class from 0 to {shape[2] - 1}, got {labels_N[where]}")


def _check_rows(part_VNC: NDArray[np.float64], chosen: NDArray[np.int64]) -> None:
    sums_VN = part_VNC.sum(axis=2)
    good_VN = (np.abs(sums_VN - 1) <= 0.01) & (part_VNC.min(axis=2) >= 0)
    if not good_VN.all():
        variant, position = np.argwhere(~good_VN)[0]
        raise ValueError(
            f"probabilities[{variant}, {chosen[position]}]: expected numbers of at least 0 that add up to 1, "
            f"got a least of {part_VNC[variant, position].min():g} and a sum of {sums_VN[variant, position]:g}"
        )
