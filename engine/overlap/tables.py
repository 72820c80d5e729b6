"""The tables of an analysis, from arrays to polars; the names of columns are a contract."""

import json

import numpy as np
import polars as pl
from numpy.typing import NDArray

from overlap.outcomes import Outcomes
from overlap_analysis import wilson_interval


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
        },
        nan_to_null=True,
    )


def accuracy_columns(prefix: str, right_S: NDArray[np.int64], examples: int) -> dict[str, NDArray[np.float64]]:
    """Accuracies and their Wilson intervals, NaN without examples."""
    low_S, high_S = wilson_interval(right_S, np.full(len(right_S), examples))
    accuracy_S = right_S / examples if examples else np.full(len(right_S), np.nan)
    return {f"{prefix}_accuracy": accuracy_S, f"{prefix}_low": low_S, f"{prefix}_high": high_S}
