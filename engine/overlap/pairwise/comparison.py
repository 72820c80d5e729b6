"""Tables that compare categories of pairs: means with intervals, controls, trends, lines, a regression.

Array names: V variants, N examples, P pairs.
"""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray

from overlap.outcomes import Outcomes
from overlap.pairwise.ensemble_rows import Counted
from overlap.pairwise.ensemble_values import ensemble_values, resampled_values
from overlap.pairwise.pair_rows import Labels
from overlap.pairwise.scopes import (
    DEFAULT_CATEGORIES,
    CategoryOptions,
    Compared,
    Scope,
    scopes_of,
    whole_scope,
    within,
)
from overlap_analysis import (
    CATEGORIES,
    DEFAULT_BOOTSTRAP,
    OUTCOME_METRICS,
    PAIR_METRICS,
    Bootstrap,
    CategoryMean,
    PairCounts,
    category_means,
    category_trend,
    chance_level,
    contested_mask,
    count_pairs,
    duplicate_pairs,
    line_of_pairs,
    matched_pairs,
    pair_count,
    pair_design,
    pair_indices,
    regress_pairs,
)

METRICS = ("error_inconsistency", "error_correlation", "kappa")
FALLING = ("error_correlation", "kappa")  # along the categories, by the hypothesis of the paper; the others rise
EXPLAINING = ("error_inconsistency", "kappa")
MATCHED_ACCURACY = 0.01
_RESAMPLED_PAIRS = 5e8


def bootstrap_of(variants: int) -> Bootstrap:
    """How category means are resampled: 1000 times, less often where there are over half a million pairs."""
    pairs = max(pair_count(variants), 1)
    resamples = int(np.clip(_RESAMPLED_PAIRS / pairs, 50, DEFAULT_BOOTSTRAP.resamples))
    return replace(DEFAULT_BOOTSTRAP, resamples=resamples)


def comparison_tables(
    outcomes: Outcomes,
    labels: Labels,
    improvement: Counted | None,
    groups: int,
    *,
    options: CategoryOptions = DEFAULT_CATEGORIES,
) -> dict[str, pl.DataFrame]:
    """The tables `categories`, `category_scopes`, `controls`, `trends`, `trend_scopes`, `fits` and `regression`.

    Args:
        outcomes: of a dataset.
        labels: of its variants.
        improvement: the ensembles that are compared as well; their metrics are left out if there are none.
        groups: that `improvement` was counted in.
        options: which pairs the scopes hold.

    Returns:
        By name. Pairs of unknown category are only in `fits` and `regression`.

    Raises:
        ArgumentError: the base has no result, or no two variants are in the window.
    """
    correct_VN = outcomes.correct_VN
    category_P = labels.categories(*pair_indices(len(correct_VN)))
    known_P, kinds_P = category_P >= 0, np.maximum(category_P, 0)
    bootstrap = bootstrap_of(len(correct_VN))
    counts = count_pairs(outcomes.predictions_VN, outcomes.labels_N)
    everything = Compared(
        scope=whole_scope(len(correct_VN)),
        correct_VN=correct_VN,
        category_P=category_P,
        among_P=np.ones(len(category_P), np.bool_),
        metrics_P={name: PAIR_METRICS[name](counts) for name in METRICS},
        ensembles_P={} if improvement is None else ensemble_values(improvement),
        resampled={} if improvement is None else resampled_values(outcomes.correct_VN, improvement, groups),
    )
    narrower = [_scope_tables(within(everything, scope)) for scope in scopes_of(outcomes, labels, options)]
    return {
        "categories": categories_table(_means(everything)),
        "category_scopes": pl.concat([made["category_scopes"] for made in narrower]),
        "controls": _controls(outcomes, correct_VN, counts, kinds_P, known_P, bootstrap),
        "trends": _trends(everything),
        "trend_scopes": pl.concat([made["trend_scopes"] for made in narrower]),
        "fits": pl.concat([_named(everything.scope, _fits(everything)), *(made["fits"] for made in narrower)]),
        "regression": _regression(everything.values_P, labels, correct_VN.mean(axis=1), bootstrap),
    }


def categories_table(means: Sequence[CategoryMean]) -> pl.DataFrame:
    """One row a category and metric: the mean over its pairs with its interval, null if no pair has a value."""
    names = ("category", "metric", "pairs", "undefined", "mean", "low", "high")
    schema = dict(
        zip(names, [pl.String, pl.String, pl.Int64, pl.Int64, pl.Float64, pl.Float64, pl.Float64], strict=True)
    )
    frame = pl.DataFrame({name: [getattr(mean, name) for mean in means] for name in names}, schema=schema)
    return frame.with_columns(pl.col("mean", "low", "high").fill_nan(None))


def _scope_tables(one: Compared) -> dict[str, pl.DataFrame]:
    """The rows of one scope, of the tables that have several."""
    made = {"category_scopes": categories_table(_means(one)), "trend_scopes": _trends(one), "fits": _fits(one)}
    return {name: _named(one.scope, table) for name, table in made.items()}


def _named(scope: Scope, table: pl.DataFrame) -> pl.DataFrame:
    """A table with the columns that tell its scope from others."""
    low, high = scope.window or (None, None)
    return table.select(
        pl.lit(scope.name, pl.String).alias("scope"),
        pl.lit(scope.base_name, pl.String).alias("base"),
        pl.lit(low, pl.Float64).alias("accuracy_low"),
        pl.lit(high, pl.Float64).alias("accuracy_high"),
        pl.all(),
    )


def _means(one: Compared) -> list[CategoryMean]:
    """Means by category of every metric, over the scope's pairs of known category."""
    return category_means(
        one.correct_VN,
        np.maximum(one.category_P, 0),
        metrics=METRICS,
        values=one.resampled,
        among_P=one.among_P & (one.category_P >= 0),
        bootstrap=bootstrap_of(len(one.correct_VN)),
    )


def _fits(one: Compared) -> pl.DataFrame:
    """One row a measure of difference and a metric of ensembles: the line of the second on the first."""
    rows = []
    for x, metric in itertools.product(EXPLAINING, one.ensembles_P):
        x_P = np.where(one.among_P, one.metrics_P[x], np.nan)
        line = line_of_pairs(x_P, one.ensembles_P[metric], bootstrap=bootstrap_of(len(one.correct_VN)))
        numbers = (line.slope.value, line.intercept.value, line.r.value, line.r.low, line.r.high)
        rows.append((x, metric, *numbers, line.points))
    names = ("slope", "intercept", "r", "r_low", "r_high")
    schema = {"x": pl.String, "metric": pl.String, **dict.fromkeys(names, pl.Float64), "pairs": pl.Int64}
    return pl.DataFrame(rows, schema=schema, orient="row").with_columns(pl.col(names).fill_nan(None))


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


def _trends(one: Compared) -> pl.DataFrame:
    """One row a metric: whether it rises, or falls, from reinit to dataset; null where there is no trend to test."""
    rows = []
    for name, value_P in one.values_P.items():
        direction: Literal["rising", "falling"] = "falling" if name in FALLING else "rising"
        in_scope_P = np.where(one.among_P, value_P, np.nan)
        trend = category_trend(in_scope_P, one.category_P, direction=direction, fixed=one.scope.base)
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
