"""The tables of an analysis, from arrays to polars; the names of columns are a contract."""

import json
from collections.abc import Sequence

import numpy as np
import polars as pl
from numpy.typing import NDArray

from overlap.outcomes import Outcomes
from overlap.variants import Category, category
from overlap_analysis import (
    PAIR_METRICS,
    CategoryMean,
    EnsembleCounts,
    PairCounts,
    ensemble_metrics,
    metric_intervals,
    wilson_interval,
)


def variants_table(outcomes: Outcomes) -> pl.DataFrame:
    """One row a variant: what it is, its accuracy with a Wilson interval, its mean loss and temperature."""
    right_V, examples = outcomes.correct_VN.sum(axis=1), outcomes.labels_N.size
    low_V, high_V = wilson_interval(right_V, np.full(len(right_V), examples))
    variants = outcomes.variants
    return pl.DataFrame(
        {
            "name": outcomes.names,
            "key": outcomes.keys,
            "architecture": [v.architecture for v in variants],
            "framework": [v.framework for v in variants],
            "train_on": [v.train_on for v in variants],
            "weights": [v.weights.name if v.weights else "" for v in variants],
            "built_on": [v.built_on.name if v.built_on else "" for v in variants],
            "seed": [v.seed for v in variants],
            "hyperparameters": [json.dumps(v.hyperparameter_map) for v in variants],
            "size": [v.preprocessing.size for v in variants],
            "interpolation": [v.preprocessing.interpolation for v in variants],
            "accuracy": right_V / examples,
            "accuracy_low": low_V,
            "accuracy_high": high_V,
            "nll": outcomes.loss_V,
            "temperature": outcomes.temperature_V,
            "examples": np.full(len(variants), examples),
        }
    )


def pair_categories(outcomes: Outcomes, counts: PairCounts | EnsembleCounts) -> list[Category]:
    """How the two variants of each pair differ."""
    variants = outcomes.variants
    return [category(variants[a], variants[b]) for a, b in zip(counts.a, counts.b, strict=True)]


def pairs_table(outcomes: Outcomes, counts: PairCounts) -> pl.DataFrame:
    """One row a pair a < b: the joint counts, then every metric with its 95 % interval."""
    columns: dict[str, object] = {
        **_pair_names(outcomes, counts.a, counts.b),
        "category": [kind.word for kind in pair_categories(outcomes, counts)],
        "examples": np.full(len(counts.a), counts.examples),
        "both_correct": counts.both_correct,
        "only_a_correct": counts.only_a_correct,
        "only_b_correct": counts.only_b_correct,
        "both_wrong": counts.both_wrong,
        "both_wrong_same_class": counts.both_wrong_same_class,
        "same_prediction": counts.same_prediction,
    }
    for name, metric in PAIR_METRICS.items():
        low_P, high_P = metric_intervals(name, counts)
        columns |= {name: metric(counts), f"{name}_low": low_P, f"{name}_high": high_P}
    return pl.DataFrame(columns, nan_to_null=True)


def ensembles_table(outcomes: Outcomes, counts: EnsembleCounts, *, calibrated: bool) -> pl.DataFrame:
    """One row a pair: what the mean of the two variants' probabilities makes."""
    metrics = ensemble_metrics(counts)
    size = len(counts.a)
    return pl.DataFrame(
        {
            **_pair_names(outcomes, counts.a, counts.b),
            "rule": ["mean_probability"] * size,
            "calibrated": np.full(size, fill_value=calibrated),
            "accuracy": metrics.accuracy,
            "accuracy_low": metrics.accuracy_low,
            "accuracy_high": metrics.accuracy_high,
            "improvement": metrics.improvement,
            "gain": metrics.gain,
            "conversion_rate": metrics.conversion_rate,
            "one_right": counts.one_right,
            "one_right_converted": counts.one_right_converted,
            "both_wrong_rescued": counts.both_wrong_rescued,
            "both_right_lost": counts.both_right_lost,
        },
        nan_to_null=True,
    )


def categories_table(means: Sequence[CategoryMean]) -> pl.DataFrame:
    """One row a category and metric: the mean over its pairs with its interval, null if no pair has a value."""
    frame = pl.DataFrame(
        {
            "category": [mean.category for mean in means],
            "metric": [mean.metric for mean in means],
            "pairs": [mean.pairs for mean in means],
            "undefined": [mean.undefined for mean in means],
            "mean": [mean.mean for mean in means],
            "low": [mean.low for mean in means],
            "high": [mean.high for mean in means],
        }
    )
    return frame.with_columns(pl.col("mean", "low", "high").fill_nan(None))


def accuracy_columns(prefix: str, right_S: NDArray[np.int64], examples: int) -> dict[str, NDArray[np.float64]]:
    """Accuracies and their Wilson intervals, NaN without examples."""
    low_S, high_S = wilson_interval(right_S, np.full(len(right_S), examples))
    accuracy_S = right_S / examples if examples else np.full(len(right_S), np.nan)
    return {f"{prefix}_accuracy": accuracy_S, f"{prefix}_low": low_S, f"{prefix}_high": high_S}


def _pair_names(outcomes: Outcomes, a_P: NDArray[np.int32], b_P: NDArray[np.int32]) -> dict[str, object]:
    names = np.array(outcomes.names, dtype=object)
    return {"a": pl.Series(names[a_P], dtype=pl.String), "b": pl.Series(names[b_P], dtype=pl.String)}
