"""How alike two variants' embeddings of the same examples are: CKA, nearest neighbors, linear prediction, rank.

Dimensions: `N` examples, `D` dimensions of the embeddings of a variant, `K` neighbors, `M` entries of a signature.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.distance import pdist, squareform

RBF_SCALE = 0.4
NEIGHBORS = 10
_ROWS_AT_ONCE = 1024
_STRENGTHS = np.logspace(-6, 2, 17)  # of the ridge, in units of the mean eigenvalue
_LEAST_EIGENVALUE = 1e-10  # of the largest: smaller ones are rounding
_LEAST_NORM = 1e-12  # of a Gram matrix: what centering leaves of a constant one


def linear_gram(embeddings_ND: NDArray[np.floating]) -> NDArray[np.float64]:
    """(N, N) dot products of all examples, after centering."""
    centered_ND = _centered(embeddings_ND)
    return centered_ND @ centered_ND.T


def rbf_gram(embeddings_ND: NDArray[np.floating], *, scale: float = RBF_SCALE) -> NDArray[np.float64]:
    """(N, N) Gaussian kernel, its sigma so many times the median distance of two examples.

    All ones where that median is 0.

    Source: Kornblith et al., ICML 2019, section 4; sigma as Ciernik et al., ICML 2025.
    """
    squared = pdist(np.asarray(embeddings_ND, dtype=np.float64), "sqeuclidean")
    median = float(np.median(squared)) if len(squared) else 0.0  # of the squares: the square of the median
    return np.exp(-squareform(squared) / (2 * scale**2 * median)) if median else np.ones((len(embeddings_ND),) * 2)


def cka_signature(gram_NN: NDArray[np.float64]) -> NDArray[np.float64]:
    """A vector of which dot products are CKAs: those of two variants' signatures, (N * N,) each.

    The estimate of Song et al. is a dot product of Gram matrices that were centered without their diagonal. So CKA of
    all pairs of variants is one product of matrices.

    Returns:
        Length 1; all NaN with fewer than four examples, or where all examples are alike.

    Source: Song et al., JMLR 13 (2012), equation 5, for the unbiased estimate; Székely & Rizzo, Annals of Statistics
        42 (2014), proposition 1, for the centering; Kornblith et al., ICML 2019, for CKA.
    """
    return _normalized(_unbiased(gram_NN).reshape(-1), float(np.abs(gram_NN).max(initial=0.0)))


def minibatch_signature(embeddings_ND: NDArray[np.floating], *, batch: int = 256) -> NDArray[np.float64]:
    """The same for linear CKA whose three terms are averaged over batches of examples in order.

    Every batch has as many examples; those left over are not used. With fewer than one batch there is one of all.

    Source: Nguyen, Raghu & Kornblith, ICLR 2021, section 3.1: close to the CKA of all examples at any batch size.
    """
    size = min(batch, len(embeddings_ND))
    starts = range(0, len(embeddings_ND) - size + 1, max(size, 1))
    grams = [linear_gram(embeddings_ND[start : start + size]) for start in starts]
    largest = max((float(np.abs(gram_NN).max(initial=0.0)) for gram_NN in grams), default=0.0)
    return _normalized(np.concatenate([_unbiased(gram_NN).reshape(-1) for gram_NN in grams]), largest)


def cka(first_M: NDArray[np.float64], second_M: NDArray[np.float64]) -> float:
    """Unbiased CKA of two signatures: 1 for the same up to rotation and scale, about 0 for unrelated embeddings."""
    return float(first_M @ second_M)


def linear_cka(first_ND: NDArray[np.floating], second_ND: NDArray[np.floating]) -> float:
    """Unbiased linear CKA of two variants, by features or by Gram matrices, whichever are smaller.

    Returns:
        At most 1; NaN with fewer than four examples, or where all examples of a variant are alike.

    Raises:
        ValueError: the numbers of examples differ.
    """
    _same_examples(first_ND, second_ND)
    if max(first_ND.shape[1], second_ND.shape[1]) >= len(first_ND):
        return cka(*(cka_signature(linear_gram(embeddings_ND)) for embeddings_ND in (first_ND, second_ND)))
    first_ND, second_ND = _scaled(first_ND), _scaled(second_ND)
    pairs = ((first_ND, second_ND), (first_ND, first_ND), (second_ND, second_ND))
    shared, *own = (_hsic_of_features(x_ND, y_ND) for x_ND, y_ND in pairs)
    # The signature's norm at the scale of these features, where constant ones have none.
    return shared / float(np.sqrt(own[0] * own[1])) if min(own) > _LEAST_NORM**2 else np.nan


def nearest_neighbors(embeddings_ND: NDArray[np.floating], *, neighbors: int = NEIGHBORS) -> NDArray[np.int64]:
    """(N, K) the most similar other examples of each by cosine after centering; of equals the first.

    K is N - 1 where there are fewer examples. An example at the mean of all has cosine 0 with every other.
    """
    centered_ND = _centered(embeddings_ND)
    length_N = np.linalg.norm(centered_ND, axis=1, keepdims=True)
    unit_ND = np.divide(centered_ND, length_N, out=np.zeros_like(centered_ND), where=length_N > 0)
    kept = min(neighbors, len(unit_ND) - 1)
    nearest = [np.empty((0, max(kept, 0)), np.int64)]
    for start in range(0, len(unit_ND), _ROWS_AT_ONCE):
        cosine_BN = np.round(unit_ND[start : start + _ROWS_AT_ONCE] @ unit_ND.T, 12)
        rows = np.arange(len(cosine_BN))
        cosine_BN[rows, start + rows] = -np.inf
        nearest.append(_largest(cosine_BN, kept))
    return np.concatenate(nearest)


def mutual_neighbors(first_NK: NDArray[np.int64], second_NK: NDArray[np.int64]) -> float:
    """Mean share of the neighbors of an example in one variant that are its neighbors in the other, too.

    Returns:
        In [0, 1]; about K / N for unrelated embeddings; NaN without neighbors.

    Raises:
        ValueError: the shapes differ.

    Source: Huh et al., "The platonic representation hypothesis", ICML 2024, appendix A (mutual k-NN, k = 10).
    """
    if first_NK.shape != second_NK.shape:
        raise ValueError(f"expected neighbors of the same examples, got {first_NK.shape} and {second_NK.shape}")
    examples, kept = first_NK.shape
    if not examples * kept:
        return np.nan
    offset_N1 = np.arange(examples)[:, np.newaxis] * examples
    shared = np.isin(first_NK + offset_N1, second_NK + offset_N1)
    return float(shared.mean())


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LinearPredictor:
    """One variant's embeddings, ready to predict others' from by ridge regression: see `linear_r2`.

    With I independent directions: `left_NI` of the fitted examples, `chosen_NI` and `judged_NI` the other examples
    in the same coordinates; `eigenvalue_I` of the fitted ones, in units of their mean.
    """

    left_NI: NDArray[np.float64]
    chosen_NI: NDArray[np.float64]
    judged_NI: NDArray[np.float64]
    eigenvalue_I: NDArray[np.float64]


def linear_predictor(embeddings_ND: NDArray[np.floating]) -> LinearPredictor:
    """What to predict other variants' embeddings of the same examples from.

    The first half of the examples fits, the third quarter chooses the ridge, the last one judges: their order must be
    random.
    """
    fit, choose, judge = _parts(len(embeddings_ND))
    centered_ND = np.asarray(embeddings_ND, np.float64) - np.asarray(embeddings_ND[fit], np.float64).mean(axis=0)
    left_NI, singular_I, right_ID = np.linalg.svd(centered_ND[fit], full_matrices=False)
    kept_I = singular_I**2 > _LEAST_EIGENVALUE * singular_I.max(initial=0.0) ** 2
    singular_I, directions_DI = singular_I[kept_I], right_ID[kept_I].T
    mean = float((singular_I**2).mean()) if len(singular_I) else 1.0
    return LinearPredictor(
        left_NI=left_NI[:, kept_I],
        chosen_NI=centered_ND[choose] @ directions_DI / singular_I,
        judged_NI=centered_ND[judge] @ directions_DI / singular_I,
        eigenvalue_I=singular_I**2 / mean,
    )


def linear_r2(predictor: LinearPredictor, target_ND: NDArray[np.floating]) -> float:
    """Share of the variance of one variant's embeddings that is linear in another's, on examples that fitted nothing.

    The direct test of "overlapping but not supersetting": below 1 both ways where each variant has features that the
    other lacks.

    Args:
        predictor: of the other variant.
        target_ND: all dimensions weigh by their variance, so that rotations and a scale change nothing.

    Returns:
        At most 1, and below 0 where the mean of the fitted examples is a better guess; NaN where the judging examples
        do not vary, or there are fewer than four.
    """
    fit, choose, judge = _parts(len(target_ND))
    if not len(target_ND[choose]) or not len(target_ND[judge]):
        return np.nan
    centered_ND = np.asarray(target_ND, np.float64) - np.asarray(target_ND[fit], np.float64).mean(axis=0)
    coefficients_ID = predictor.left_NI.T @ centered_ND[fit]
    eigenvalue_I = predictor.eigenvalue_I
    shrunk = [eigenvalue_I / (eigenvalue_I + strength) for strength in _STRENGTHS]
    products_II = coefficients_ID @ coefficients_ID.T
    errors = [_squared_errors(predictor.chosen_NI, coefficients_ID, products_II, centered_ND[choose], shrunk)]
    best = shrunk[len(shrunk) - 1 - int(np.argmin(errors[0][::-1]))]  # of equals the strongest ridge
    errors.append(_squared_errors(predictor.judged_NI, coefficients_ID, products_II, centered_ND[judge], [best]))
    around_mean = centered_ND[judge] - centered_ND[judge].mean(axis=0)
    total = float((around_mean**2).sum())
    return 1 - float(errors[1][0]) / total if total > 0 else np.nan


def effective_rank(*embeddings_ND: NDArray[np.floating]) -> float:
    """How many directions the embeddings of one variant, or of several side by side, really use.

    The exponential of the entropy of the singular values' shares, after centering; several variants are scaled to the
    same total variance first. Bounded by the number of examples less one.

    Returns:
        In [1, D]; NaN where nothing varies.

    Raises:
        ValueError: the numbers of examples differ.

    Source: Roy & Vetterli, EUSIPCO 2007.
    """
    _same_examples(*embeddings_ND)
    joined_ND = np.concatenate([_scaled(one_ND) for one_ND in embeddings_ND], axis=1)
    small = joined_ND @ joined_ND.T if len(joined_ND) < joined_ND.shape[1] else joined_ND.T @ joined_ND
    eigenvalues = np.linalg.eigvalsh(small)
    singular = np.sqrt(eigenvalues[eigenvalues > _LEAST_EIGENVALUE * eigenvalues.max(initial=0.0)])
    if not len(singular):
        return np.nan
    share = singular / singular.sum()
    return float(np.exp(-(share * np.log(share)).sum()))


def _centered(embeddings_ND: NDArray[np.floating]) -> NDArray[np.float64]:
    wide_ND: NDArray[np.float64] = np.asarray(embeddings_ND, dtype=np.float64)
    centered_ND: NDArray[np.float64] = wide_ND - wide_ND.mean(axis=0)
    return centered_ND


def _scaled(embeddings_ND: NDArray[np.floating]) -> NDArray[np.float64]:
    """Centered, and of length 1 as a whole unless that is rounding."""
    centered_ND = _centered(embeddings_ND)
    length, largest = float(np.linalg.norm(centered_ND)), float(np.abs(embeddings_ND).max(initial=0.0))
    return centered_ND / length if length > _LEAST_NORM * largest else np.zeros_like(centered_ND)


def _largest(values_BN: NDArray[np.float64], kept: int) -> NDArray[np.int64]:
    """(B, kept) columns of the largest values of each row, ascending; of equal values the first columns."""
    if not kept:
        return np.empty((len(values_BN), 0), np.int64)
    least_B1 = np.partition(values_BN, -kept, axis=1)[:, [-kept]]
    above_BN, equal_BN = values_BN > least_B1, values_BN == least_B1
    left_B1 = kept - above_BN.sum(axis=1, keepdims=True)
    chosen_BN = above_BN | (equal_BN & (np.cumsum(equal_BN, axis=1) <= left_B1))
    return np.nonzero(chosen_BN)[1].reshape(-1, kept)


def _unbiased(gram_NN: NDArray[np.float64]) -> NDArray[np.float64]:
    """Centered so that all rows and columns add up to 0 without the diagonal, which becomes 0; NaN if N < 4."""
    examples = len(gram_NN)
    if examples < 4:
        return np.full_like(gram_NN, np.nan)
    hollow_NN = gram_NN.copy()
    np.fill_diagonal(hollow_NN, 0.0)
    means_N = hollow_NN.sum(axis=1) / (examples - 2)
    hollow_NN -= means_N[:, np.newaxis] + means_N - means_N.sum() / (examples - 1)
    np.fill_diagonal(hollow_NN, 0.0)
    return hollow_NN


def _normalized(values_M: NDArray[np.float64], largest: float) -> NDArray[np.float64]:
    length = float(np.linalg.norm(values_M))
    return (
        values_M / length if length > _LEAST_NORM * largest * np.sqrt(values_M.size) else np.full_like(values_M, np.nan)
    )


def _hsic_of_features(first_ND: NDArray[np.float64], second_ND: NDArray[np.float64]) -> float:
    """Song's estimate for centered features, times a number that depends on N alone; NaN if N < 4.

    With zero row sums, what a Gram matrix K lacks is its diagonal k: 1'K1 without it is -sum(k), and so on.
    """
    examples = len(first_ND)
    if examples < 4:
        return np.nan
    first_N, second_N = (first_ND**2).sum(axis=1), (second_ND**2).sum(axis=1)
    diagonal = float(first_N @ second_N)
    trace = float(((first_ND.T @ second_ND) ** 2).sum()) - diagonal
    sums = float(first_N.sum() * second_N.sum())
    return trace + sums / ((examples - 1) * (examples - 2)) - 2 / (examples - 2) * diagonal


def _parts(examples: int) -> tuple[slice, slice, slice]:
    half, quarter = examples // 2, examples // 2 + examples // 4
    return slice(0, half), slice(half, quarter), slice(quarter, examples)


def _squared_errors(
    inputs_NI: NDArray[np.float64],
    coefficients_ID: NDArray[np.float64],
    products_II: NDArray[np.float64],
    target_ND: NDArray[np.float64],
    shrunk: list[NDArray[np.float64]],
) -> NDArray[np.float64]:
    """Sum of squares of target - inputs · diag(shrunk) · coefficients for each `shrunk`, from products made once."""
    own_II = (inputs_NI.T @ inputs_NI) * products_II
    shared_I = np.einsum("id,id->i", coefficients_ID, inputs_NI.T @ target_ND)
    total = float((target_ND**2).sum())
    return np.array([total - 2 * shrunk_I @ shared_I + shrunk_I @ own_II @ shrunk_I for shrunk_I in shrunk])


def _same_examples(*embeddings_ND: NDArray[np.floating]) -> None:
    if len({len(one_ND) for one_ND in embeddings_ND}) != 1:
        raise ValueError(f"expected embeddings of the same examples, got {[len(one) for one in embeddings_ND]}")
