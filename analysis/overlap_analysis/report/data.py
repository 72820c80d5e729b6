"""The numbers that a report shows. Accuracies and shares are in [0, 1], NaN where undefined.

Dimensions: `V` variants, `P` pairs, `K` the categories of `SHOWN_CATEGORIES`, `S` greedy steps; an axis `3` holds a
value and the low and high end of its interval.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from overlap_analysis.categories import CATEGORIES, SHOWN_CATEGORIES, CategoryMean
from overlap_analysis.report.sample import ExampleSample
from overlap_analysis.report.sections import Section
from overlap_analysis.selection_figures import AdditionPath


@dataclass(frozen=True, slots=True, kw_only=True)
class VariantRow:
    """One evaluated variant: `correct` examples are what it gets right, `key` names its result."""

    name: str
    architecture: str
    framework: str
    train_on: str
    seed: int
    accuracy: float
    accuracy_low: float
    accuracy_high: float
    nll: float
    temperature: float
    correct: int
    key: str


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PairColumns:
    """Pairs of variants, (P,) each.

    Attributes:
        a: int32, index of the first variant.
        b: int32, index of the second.
        category: int8, index into `CATEGORIES`; -1 if it is unknown.
        error_inconsistency: share of examples where exactly one of the two is right.
        error_correlation: φ of the two variants' errors.
        kappa: agreement in being right, corrected for chance.
        ensemble_accuracy: of the mean of the two variants' probabilities.
        improvement: of that over the mean of the two accuracies.
        both_correct: int64, examples that both get right.
        ensemble_correct: int64, examples that the mean of their probabilities gets right; -1 if unknown.
    """

    a: NDArray[np.int32]
    b: NDArray[np.int32]
    category: NDArray[np.int8]
    error_inconsistency: NDArray[np.float64]
    error_correlation: NDArray[np.float64]
    kappa: NDArray[np.float64]
    ensemble_accuracy: NDArray[np.float64]
    improvement: NDArray[np.float64]
    both_correct: NDArray[np.int64]
    ensemble_correct: NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class GreedyCurve:
    """A greedy ensemble after each of its S steps, at least one.

    Attributes:
        variants: name of the member each step adds; repeats are allowed.
        selection_accuracy: (S,) on the examples that chose the members.
        evaluation_accuracy: (S,) on held-out examples.
        evaluation_low: (S,) low end of its interval.
        evaluation_high: (S,) high end.
        selection_examples: how many chose the members.
        evaluation_examples: how many were held out.
        best_single: name of the best single variant.
        best_single_accuracy: its accuracy on the held-out examples.
        all_members_accuracy: of the mean of all variants' probabilities on them; NaN if unknown.
    """

    variants: tuple[str, ...]
    selection_accuracy: NDArray[np.float64]
    evaluation_accuracy: NDArray[np.float64]
    evaluation_low: NDArray[np.float64]
    evaluation_high: NDArray[np.float64]
    selection_examples: int
    evaluation_examples: int
    best_single: str
    best_single_accuracy: float
    all_members_accuracy: float


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LowAccuracy:
    """Strong variants with weaker ones that join them.

    Attributes:
        paths: one for each strong variant, at least one.
        first: of each, name and held-out accuracy of the first weaker variant.
        best_added: the highest held-out accuracy among all that were added.
    """

    paths: tuple[AdditionPath, ...]
    first: tuple[tuple[str, float], ...]
    best_added: float


@dataclass(frozen=True, slots=True, kw_only=True)
class TrendRow:
    """Whether a metric rises, or falls, along the categories: a row of the table `trends`.

    `effect` is the probability that a pair has a larger value than one of an earlier category, ties half.
    """

    metric: str
    direction: str
    effect: float
    p_value: float
    permutations: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ControlMean:
    """A mean by category under a control: `accuracy_matched`, `distinct`, `contested`, `independent`."""

    control: str
    mean: CategoryMean


@dataclass(frozen=True, slots=True, kw_only=True)
class FailureRow:
    """One variant without a result, and why."""

    variant: str
    stage: str
    outcome: str
    cause: str


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ReportData:
    """Everything a report shows.

    Attributes:
        title: of the page.
        dataset: the variants were evaluated on.
        examples: of that dataset.
        classes: of that dataset.
        variants: with a result, at least one.
        pairs: of those, in any order; a pair left out counts as undefined.
        categories: means by category and metric; what is left out is not shown.
        greedy: None if no ensemble was selected.
        low_accuracy: None if no variant is weaker than the strong ones.
        failures: variants without a result.
        pending: how many variants have neither a result nor a failure yet.
        provenance: what made these numbers, label and value.
        sections: more experiments, shown after the low-accuracy one.
        trends: tests along the categories.
        controls: means by category once more.
        sample: of the examples; None leaves histograms and lists of examples out.
    """

    title: str
    dataset: str
    examples: int
    classes: int
    variants: tuple[VariantRow, ...]
    pairs: PairColumns
    categories: tuple[CategoryMean, ...]
    greedy: GreedyCurve | None
    low_accuracy: LowAccuracy | None
    failures: tuple[FailureRow, ...]
    pending: int
    provenance: tuple[tuple[str, str], ...]
    sections: tuple[Section, ...] = ()
    trends: tuple[TrendRow, ...] = ()
    controls: tuple[ControlMean, ...] = ()
    sample: ExampleSample | None = None

    def accuracies(self) -> NDArray[np.float64]:
        """Accuracy of each variant with its interval, (V, 3)."""
        return np.array([(row.accuracy, row.accuracy_low, row.accuracy_high) for row in self.variants])

    def error_correlations(self) -> NDArray[np.float64]:
        """Error correlation of all pairs as a symmetric matrix, NaN on the diagonal."""
        phi_VV = np.full((len(self.variants), len(self.variants)), np.nan)
        phi_VV[self.pairs.a, self.pairs.b] = self.pairs.error_correlation
        phi_VV[self.pairs.b, self.pairs.a] = self.pairs.error_correlation
        return phi_VV

    def means_by_category(self, metric: str) -> NDArray[np.float64]:
        """Mean of a metric in each of `SHOWN_CATEGORIES` with its interval, (K, 3), NaN for one without."""
        mean_K3 = np.full((len(SHOWN_CATEGORIES), 3), np.nan)
        for row in self.categories:
            if row.metric == metric:
                mean_K3[CATEGORIES.index(row.category)] = row.mean, row.low, row.high
        return mean_K3
