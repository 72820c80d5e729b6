"""Tables that compare categories of pairs: means with intervals, controls, the trend along them, a regression.

Array names: V variants, N examples, P pairs, G groups of examples.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray

from overlap.outcomes import Outcomes
from overlap.pairwise.ensemble_rows import Counted
from overlap.pairwise.pair_rows import Labels
from overlap_analysis import (
    CATEGORIES,
    DEFAULT_BOOTSTRAP,
    OUTCOME_METRICS,
    PAIR_METRICS,
    Bootstrap,
    CategoryMean,
    GroupedValue,
    PairCounts,
    category_means,
    category_trend,
    chance_level,
    contested_mask,
    count_pairs,
    duplicate_pairs,
    ensemble_metrics,
    group_sums,
    matched_pairs,
    pair_count,
    pair_design,
    pair_indices,
    regress_pairs,
)

METRICS = ("error_inconsistency", "error_correlation", "kappa")
RISING = ("error_inconsistency", "improvement")  # along the categories, by the hypothesis of the paper
MATCHED_ACCURACY = 0.01
_RESAMPLED_PAIRS = 5e8


def bootstrap_of(variants: int) -> Bootstrap:
    """How category means are resampled: 1000 times, less often where there are over half a million pairs."""
    pairs = max(pair_count(variants), 1)
    resamples = int(np.clip(_RESAMPLED_PAIRS / pairs, 50, DEFAULT_BOOTSTRAP.resamples))
    return replace(DEFAULT_BOOTSTRAP, resamples=resamples)


def comparison_tables(
    outcomes: Outcomes, labels: Labels, improvement: Counted | None, groups: int
) -> dict[str, pl.DataFrame]:
    """The tables `categories`, `controls`, `trends` and `regression`.

    `improvement` are the ensembles whose gain over the mean of their members is compared as well; pairs of unknown
    category are in none of these tables.
    """
    correct_VN = outcomes.correct_VN
    category_P = labels.categories(*pair_indices(len(correct_VN)))
    known_P, kinds_P = category_P >= 0, np.maximum(category_P, 0)
    bootstrap = bootstrap_of(len(correct_VN))
    value = {} if improvement is None else {"improvement": _improvement(outcomes, improvement, groups)}
    means = category_means(correct_VN, kinds_P, metrics=METRICS, values=value, among_P=known_P, bootstrap=bootstrap)
    counts = count_pairs(outcomes.predictions_VN, outcomes.labels_N)
    values_P = {name: PAIR_METRICS[name](counts) for name in METRICS}
    if improvement is not None:
        values_P["improvement"] = ensemble_metrics(improvement.counts).improvement
    return {
        "categories": categories_table(means),
        "controls": _controls(outcomes, correct_VN, counts, kinds_P, known_P, bootstrap),
        "trends": _trends(values_P, category_P),
        "regression": _regression(values_P, labels, correct_VN.mean(axis=1), bootstrap),
    }


def categories_table(means: Sequence[CategoryMean]) -> pl.DataFrame:
    """One row a category and metric: the mean over its pairs with its interval, null if no pair has a value."""
    names = ("category", "metric", "pairs", "undefined", "mean", "low", "high")
    schema = dict(
        zip(names, [pl.String, pl.String, pl.Int64, pl.Int64, pl.Float64, pl.Float64, pl.Float64], strict=True)
    )
    frame = pl.DataFrame({name: [getattr(mean, name) for mean in means] for name in names}, schema=schema)
    return frame.with_columns(pl.col("mean", "low", "high").fill_nan(None))


def _improvement(outcomes: Outcomes, one: Counted, groups: int) -> GroupedValue | NDArray[np.float64]:
    """What each ensemble adds to the mean of its members; by groups of examples where they were kept apart."""
    if one.correct_PG is None:
        return ensemble_metrics(one.counts).improvement
    alone_GV = group_sums(outcomes.correct_VN, groups)
    members_GP = alone_GV[:, one.counts.a] + alone_GV[:, one.counts.b]
    sizes_G = group_sums(np.ones(len(outcomes.labels_N)), groups)
    return GroupedValue(sums_GP=one.correct_PG.T - members_GP / 2, examples_GP=sizes_G[:, None])


def _controls(
    outcomes: Outcomes,
    correct_VN: NDArray[np.bool_],
    counts: PairCounts,
    kinds_P: NDArray[np.int8],
    known_P: NDArray[np.bool_],
    bootstrap: Bootstrap,
) -> pl.DataFrame:
    """Category means once more, by `control`.

    - accuracy_matched: over pairs whose accuracies differ by a point at most.
    - distinct: without pairs that predict the same class on every example.
    - contested: every pair metric on the examples that some variants get right and others wrong.
    - independent: what the accuracies alone would give, if errors had nothing to do with each other.
    """
    accuracy_V = correct_VN.mean(axis=1)
    contested_N = contested_mask(correct_VN)
    classes = max(len(outcomes.class_names), 2)
    chance_P = chance_level("error_inconsistency", accuracy_V[counts.a], accuracy_V[counts.b], classes=classes)

    def means(among_P: NDArray[np.bool_]) -> list[CategoryMean]:
        return category_means(correct_VN, kinds_P, metrics=METRICS, among_P=among_P, bootstrap=bootstrap)

    def contested() -> list[CategoryMean]:
        on_these = count_pairs(outcomes.predictions_VN[:, contested_N], outcomes.labels_N[contested_N])
        others = {name: metric(on_these) for name, metric in PAIR_METRICS.items() if name not in OUTCOME_METRICS}
        chosen_VN = correct_VN[:, contested_N]
        return category_means(
            chosen_VN, kinds_P, metrics=OUTCOME_METRICS, values=others, among_P=known_P, bootstrap=bootstrap
        )

    made = {
        "accuracy_matched": means(known_P & matched_pairs(accuracy_V, tolerance=MATCHED_ACCURACY)),
        "distinct": means(known_P & ~duplicate_pairs(counts)),
        "contested": contested() if contested_N.any() else [],
        "independent": category_means(
            correct_VN,
            kinds_P,
            metrics=(),
            values={"error_inconsistency": chance_P},
            among_P=known_P,
            bootstrap=bootstrap,
        ),
    }
    examples = {"contested": int(np.count_nonzero(contested_N))}
    return pl.concat(
        categories_table(found).select(
            pl.lit(control).alias("control"), pl.lit(examples.get(control, counts.examples)).alias("examples"), pl.all()
        )
        for control, found in made.items()
    )


def _trends(values_P: Mapping[str, NDArray[np.float64]], category_P: NDArray[np.int8]) -> pl.DataFrame:
    """One row a metric: whether it rises, or falls, from reinit to dataset; null where there is no trend to test."""
    rows = []
    for name, value_P in values_P.items():
        direction: Literal["rising", "falling"] = "rising" if name in RISING else "falling"
        trend = category_trend(value_P, category_P, direction=direction)
        pairs = {f"{category}_pairs": count for category, count in zip(CATEGORIES, trend.pairs, strict=True)}
        rows.append(
            {
                "metric": name,
                "direction": direction,
                "effect": trend.effect,
                "z": trend.z,
                "p_value": trend.p_value,
                "permutations": trend.permutations,
                **pairs,
            }
        )
    return pl.DataFrame(rows).with_columns(pl.col("effect", "z", "p_value").cast(pl.Float64).fill_nan(None))


def _regression(
    values_P: Mapping[str, NDArray[np.float64]], labels: Labels, accuracy_V: NDArray[np.float64], bootstrap: Bootstrap
) -> pl.DataFrame:
    """One row a metric and column: what a shared level, and the accuracies, have to do with the metric."""
    names = ("hyperparameters", "architecture", "framework", "dataset")
    levels = {name: codes for name, codes in zip(names, labels.levels_LV, strict=True) if (codes >= 0).all()}
    design_PK, columns = pair_design(levels, accuracy_V)
    rows = []
    for metric, value_P in values_P.items():
        fit = regress_pairs(value_P, design_PK, columns, bootstrap=bootstrap)
        rows += [
            {
                "metric": metric,
                "column": coefficient.name,
                "coefficient": coefficient.value,
                "low": coefficient.low,
                "high": coefficient.high,
                "r_squared": fit.r_squared,
                "pairs": fit.pairs,
            }
            for coefficient in fit.coefficients
        ]
        rows += [
            {"metric": metric, "column": name, "r_squared": fit.r_squared, "pairs": fit.pairs} for name in fit.dropped
        ]
    frame = pl.DataFrame(rows, infer_schema_length=None)
    return frame.with_columns(pl.col("coefficient", "low", "high", "r_squared").cast(pl.Float64).fill_nan(None))
