"""Scorers of greedy selection by proper losses: log loss from label scores alone, Brier score from a Gram matrix.

Dimensions: `V` variants, `N` examples, `C` classes, `M` candidates.

Sums run over fixed blocks of examples in their order, so that no thread or shard changes a bit. Losses within a
relative 1e-12 of each other are equal.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from overlap_analysis.compiled import compiled
from overlap_analysis.member_scores import grid_scores
from overlap_analysis.probabilities import check_labels
from overlap_analysis.scores import GRID

LEAST_PROBABILITY = 1e-15
_TOGETHER = 8  # probabilities of at least 1e-15 each whose product is far from the least float64
_BLOCK = 1024
_SAME = 1e-12


class LogLoss:
    """Mean of -log of the ensemble's probability of the label, of the ensemble with each candidate."""

    def __init__(
        self, label_VN: NDArray[np.int32], weights_N: NDArray[np.int64], candidates: Sequence[int] | None = None
    ) -> None:
        """Starts with no member.

        Args:
            label_VN: scores of the labels.
            weights_N: of the examples; those of weight 0 do not count.
            candidates: variants that may join; all by default.
        """
        chosen_N = weights_N > 0
        self.label_VN = np.ascontiguousarray(label_VN[:, chosen_N])
        self.weights_N = np.asarray(weights_N[chosen_N], np.int64)
        self.candidates_M = np.unique(np.arange(len(label_VN)) if candidates is None else np.asarray(candidates))
        self.sum_N = np.zeros(self.label_VN.shape[1], np.int64)
        self.members = 0

    def add(self, variant: int) -> None:
        """Lets a variant join."""
        self.sum_N += self.label_VN[variant]
        self.members += 1

    def losses(self, variants: Sequence[int] | NDArray[np.int64]) -> NDArray[np.float64]:
        """The loss of the ensemble with each of some variants."""
        total = max(int(self.weights_N.sum()), 1)
        equal = bool((self.weights_N == 1).all())
        sums = _log_sums(
            self.label_VN, self.sum_N, self.members + 1, np.asarray(variants, np.int64), self.weights_N, equal
        )
        return -sums / total

    def best(self, allowed_M: NDArray[np.bool_]) -> tuple[float, list[int]]:
        """The lowest loss, negated, and the candidates that reach it."""
        return _lowest(self.losses(self.candidates_M[allowed_M]), self.candidates_M[allowed_M])

    def most_ever(self) -> float:
        """A mean is at most its largest term: the loss of the most confident variant on each example."""
        if not self.label_VN.size:
            return 0.0
        return float(-LogLoss(self.label_VN.max(axis=0, keepdims=True), self.weights_N).losses([0])[0])


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class BrierSums:
    """What all Brier scores of ensembles of some variants follow from; those of disjoint examples add up.

    Attributes:
        gram_VV: float64, sum over examples and classes of the product of two variants' probabilities.
        label_V: float64, sum of the probabilities of the labels.
        weight: of the examples.
    """

    gram_VV: NDArray[np.float64]
    label_V: NDArray[np.float64]
    weight: int

    def __add__(self, other: "BrierSums") -> "BrierSums":
        return BrierSums(
            gram_VV=self.gram_VV + other.gram_VV,
            label_V=self.label_V + other.label_V,
            weight=self.weight + other.weight,
        )


def brier_sums(
    values_VNC: NDArray[np.floating] | NDArray[np.int32],
    labels_N: NDArray[np.integer],
    weights_N: NDArray[np.int64] | None = None,
) -> BrierSums:
    """The sums over some examples.

    Args:
        values_VNC: probabilities, or their scores on the grid.
        labels_N: true classes.
        weights_N: of the examples; 1 by default.

    Raises:
        ValueError: the labels do not fit.
    """
    variants, examples, classes = values_VNC.shape
    y_N = check_labels(labels_N, examples=examples, classes=classes)
    weight_N = np.ones(examples, np.int64) if weights_N is None else np.asarray(weights_N, np.int64)
    gram_VV, label_V = np.zeros((variants, variants)), np.zeros(variants)
    size = max(1, _BLOCK * 64 // max(1, classes))
    for start in range(0, examples, size):
        some = slice(start, start + size)
        p_VNC = grid_scores(values_VNC[:, some]) / np.float64(GRID)
        label_V += (p_VNC[:, np.arange(p_VNC.shape[1]), y_N[some]] * weight_N[some]).sum(axis=1)
        p_VNC *= np.sqrt(weight_N[some])[None, :, None]
        rows_VX = p_VNC.reshape(variants, -1)
        gram_VV += rows_VX @ rows_VX.T
    return BrierSums(gram_VV=gram_VV, label_V=label_V, weight=int(weight_N.sum()))


class BrierScore:
    """Mean squared distance of the ensemble's probabilities from the label's, of the ensemble with each candidate."""

    def __init__(self, sums: BrierSums, candidates: Sequence[int] | None = None) -> None:
        """Starts with no member."""
        variants = len(sums.label_V)
        self.sums = sums
        self.candidates_M = np.unique(np.arange(variants) if candidates is None else np.asarray(candidates))
        self.count_V = np.zeros(variants)

    def add(self, variant: int) -> None:
        """Lets a variant join."""
        self.count_V[variant] += 1

    def best(self, allowed_M: NDArray[np.bool_]) -> tuple[float, list[int]]:
        """The lowest score, negated, and the candidates that reach it."""
        return _lowest(self.losses()[self.candidates_M[allowed_M]], self.candidates_M[allowed_M])

    def losses(self) -> NDArray[np.float64]:
        """(V,) the Brier score of the ensemble with each variant: a quadratic form in how often each is a member."""
        gram_VV, members = self.sums.gram_VV, self.count_V.sum() + 1
        with_V = gram_VV @ self.count_V
        squares_V = self.count_V @ with_V + 2 * with_V + np.diag(gram_VV)
        labels_V = self.count_V @ self.sums.label_V + self.sums.label_V
        weight = max(self.sums.weight, 1)
        losses_V: NDArray[np.float64] = (squares_V / members**2 - 2 * labels_V / members) / weight + 1
        return losses_V

    def most_ever(self) -> float:
        """No score is below 0."""
        return 0.0


def _lowest(losses: NDArray[np.float64], variants: NDArray[np.int64]) -> tuple[float, list[int]]:
    least = float(losses.min())
    return -least, variants[np.isclose(losses, least, rtol=_SAME, atol=0.0)].tolist()


@compiled
def _log_sums(
    label_VN: NDArray[np.int32],
    sum_N: NDArray[np.int64],
    members: int,
    variants_M: NDArray[np.int64],
    weights_N: NDArray[np.int64],
    equal: bool,
) -> NDArray[np.float64]:
    """Weighted sums of the logarithms of mean label probabilities; of equal weights, one logarithm for eight."""
    sums_M = np.zeros(len(variants_M))
    scale = 1.0 / (members * float(GRID))
    examples = len(sum_N)
    for m in range(len(variants_M)):
        label_N = label_VN[variants_M[m]]
        for start in range(0, examples, _BLOCK):
            stop = min(start + _BLOCK, examples)
            block = 0.0
            if equal:
                for n in range(start, stop, _TOGETHER):
                    product = 1.0
                    for i in range(n, min(n + _TOGETHER, stop)):
                        product *= max((sum_N[i] + label_N[i]) * scale, LEAST_PROBABILITY)
                    block += np.log(product)
            else:
                for n in range(start, stop):
                    block += weights_N[n] * np.log(max((sum_N[n] + label_N[n]) * scale, LEAST_PROBABILITY))
            sums_M[m] += block
    return sums_M
