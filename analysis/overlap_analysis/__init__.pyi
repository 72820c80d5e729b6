from .calibration import (
    TEMPERATURE_BOUNDS,
    expected_calibration_error,
    fit_temperature,
    negative_log_likelihood,
)
from .categories import CATEGORIES, OUTCOME_METRICS, Bootstrap, CategoryMean, category_means
from .greedy import GreedyStep, choose, ensemble_correct, greedy_counts, greedy_path
from .pair_counts import PairCounts, count_pairs, merge_counts
from .pair_ensembles import (
    EnsembleCounts,
    EnsembleMetrics,
    count_pair_ensembles,
    ensemble_metrics,
    merge_ensemble_counts,
)
from .pair_intervals import metric_intervals
from .pair_metrics import (
    PAIR_METRICS,
    agreement,
    agreement_both_wrong,
    agreement_either_wrong,
    dominance,
    double_fault,
    error_correlation,
    error_inconsistency,
    error_jaccard,
    kappa,
    kappa_max,
    log_odds_ratio,
    oracle_accuracy,
    q_statistic,
)
from .pairs import pair_indices
from .probabilities import GRID, calibrated_probabilities, probability_grid
from .splits import hash_order, hashed_uniform, selection_mask
from .uncertainty import percentile_interval, wilson_interval

__all__ = [
    "CATEGORIES",
    "GRID",
    "OUTCOME_METRICS",
    "PAIR_METRICS",
    "TEMPERATURE_BOUNDS",
    "Bootstrap",
    "CategoryMean",
    "EnsembleCounts",
    "EnsembleMetrics",
    "GreedyStep",
    "PairCounts",
    "agreement",
    "agreement_both_wrong",
    "agreement_either_wrong",
    "calibrated_probabilities",
    "category_means",
    "choose",
    "count_pair_ensembles",
    "count_pairs",
    "dominance",
    "double_fault",
    "ensemble_correct",
    "ensemble_metrics",
    "error_correlation",
    "error_inconsistency",
    "error_jaccard",
    "expected_calibration_error",
    "fit_temperature",
    "greedy_counts",
    "greedy_path",
    "hash_order",
    "hashed_uniform",
    "kappa",
    "kappa_max",
    "log_odds_ratio",
    "merge_counts",
    "merge_ensemble_counts",
    "metric_intervals",
    "negative_log_likelihood",
    "oracle_accuracy",
    "pair_indices",
    "percentile_interval",
    "probability_grid",
    "q_statistic",
    "selection_mask",
    "wilson_interval",
]
