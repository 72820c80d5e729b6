"""Tables across two datasets: accuracy and agreement on the line, and whether pairs differ alike on both.

Array names: V variants with a result on both datasets, P pairs of those.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from overlap.errors import ArgumentError
from overlap.outcomes import Outcomes, indices_of, only, read_outcomes
from overlap.pairwise.comparison import METRICS, bootstrap_of
from overlap.pairwise.pair_rows import Labels, labels_of
from overlap.store import LockFile, Store
from overlap.tables import accuracy_columns
from overlap_analysis import (
    CATEGORIES,
    PAIR_METRICS,
    Bootstrap,
    CategoryMean,
    Estimate,
    Line,
    PairCounts,
    Robustness,
    category_means,
    count_pairs,
    effective_robustness,
    keeps_order,
    line_of_pairs,
    pair_indices,
    probit_share,
    rank_correlation_of_pairs,
    rank_correlation_of_variants,
)

COMPARED = (*METRICS, "agreement")
FEWEST_SHARED = 3
_NAMED = 5


def read_both(store: Store, lock: LockFile, *, reference: str, shifted: str) -> tuple[Outcomes, Outcomes]:
    """The outcomes on two evaluated datasets, the reference first.

    Raises:
        ArgumentError: it is twice the same dataset, one was not evaluated, or one has no result yet.
        CorruptFileError: a stored file is damaged.
    """
    _refuse_same(reference, shifted)
    for dataset in (reference, shifted):
        if dataset not in lock.results:
            raise ArgumentError(
                f"'{dataset}' was not evaluated in '{store.objects.url}'; known are {', '.join(lock.results)}"
            )
    return read_outcomes(store, lock, reference), read_outcomes(store, lock, shifted)


def shift_tables(
    store: Store, first: Outcomes, second: Outcomes, *, baseline: Sequence[str] = ()
) -> dict[str, pl.DataFrame]:
    """The tables `shift_variants`, `shift_pairs`, `shift_categories` and `shift`.

    Args:
        store: where both come from; errors name it.
        first: on the reference dataset.
        second: on the shifted one; its examples and classes may be others. Variants are joined by name, in the order
            of the first.
        baseline: names of the variants that the lines of accuracies, and of agreements, go through; all by default.

    Raises:
        ArgumentError: it is twice the same dataset, fewer than three variants have results on both, the baseline
            names one that has none, or fewer than three.
    """
    _refuse_same(first.dataset, second.dataset)
    both = _shared(store, first, second)
    among_V = np.ones(len(both.labels.names), np.bool_)
    if baseline:
        among_V = np.isin(np.arange(len(among_V)), indices_of(both.first, baseline))
        if np.count_nonzero(among_V) < FEWEST_SHARED:
            raise ArgumentError(f"a line needs {FEWEST_SHARED} variants, the baseline names {len(set(baseline))}")
    bootstrap = bootstrap_of(len(among_V))
    robustness = effective_robustness(
        both.first.correct_VN, both.second.correct_VN, among_V=among_V, bootstrap=bootstrap
    )
    categories = _categories(both, bootstrap)
    return {
        "shift_variants": _variants(both, robustness, among_V),
        "shift_pairs": _pairs(both),
        "shift_categories": categories,
        "shift": _summary(both, robustness, among_V, categories, bootstrap),
    }


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Both:
    """The same variants on both datasets, and their pairs counted on each."""

    first: Outcomes
    second: Outcomes
    labels: Labels
    counts: tuple[PairCounts, PairCounts]
    category_P: NDArray[np.int8]

    @property
    def sides(self) -> Mapping[str, PairCounts]:
        """The counts by the prefix of their columns."""
        return dict(zip(("reference", "shifted"), self.counts, strict=True))


def _refuse_same(reference: str, shifted: str) -> None:
    if reference == shifted:
        raise ArgumentError(f"expected two datasets, got '{reference}' twice: give another one as the reference")


def _shared(store: Store, first: Outcomes, second: Outcomes) -> _Both:
    names = [name for name in first.names if name in set(second.names)]
    if len(names) < FEWEST_SHARED:
        lacking = [_lacking(first, second), _lacking(second, first)]
        raise ArgumentError(
            f"'{store.objects.url}' has {len(names)} variants with a result on both '{first.dataset}' and "
            f"'{second.dataset}', expected at least {FEWEST_SHARED}{''.join(lacking)}; launch the sweep to make them"
        )
    first, second = only(first, indices_of(first, names)), only(second, indices_of(second, names))
    labels = labels_of(first.variants)
    return _Both(
        first=first,
        second=second,
        labels=labels,
        counts=(
            count_pairs(first.predictions_VN, first.labels_N),
            count_pairs(second.predictions_VN, second.labels_N),
        ),
        category_P=labels.categories(*pair_indices(len(names))),
    )


def _lacking(outcomes: Outcomes, other: Outcomes) -> str:
    """Names the variants of the other dataset that have no result on this one."""
    missing = [name for name in other.names if name not in set(outcomes.names)]
    if not missing:
        return ""
    more = f" and {len(missing) - _NAMED} more" if len(missing) > _NAMED else ""
    return f"; without a result on '{outcomes.dataset}': {', '.join(missing[:_NAMED])}{more}"


def _variants(both: _Both, robustness: Robustness, among_V: NDArray[np.bool_]) -> pl.DataFrame:
    """One row a variant: its accuracies, and how far it is from the line through those of `baseline`."""
    columns: dict[str, object] = {
        "name": both.labels.names,
        "framework": [variant.framework for variant in both.first.variants],
        "train_on": [variant.train_on for variant in both.first.variants],
    }
    for side, outcomes in (("reference", both.first), ("shifted", both.second)):
        columns |= accuracy_columns(side, outcomes.correct_VN.sum(axis=1), len(outcomes.labels_N))
    columns |= {"reference_probit": robustness.reference_V, "shifted_probit": robustness.shifted_V}
    for name, value_V3 in (("residual", robustness.residual_V3), ("effective_robustness", robustness.effective_V3)):
        columns |= {name: value_V3[:, 0], f"{name}_low": value_V3[:, 1], f"{name}_high": value_V3[:, 2]}
    return pl.DataFrame({**columns, "baseline": among_V}, nan_to_null=True)


def _pairs(both: _Both) -> pl.DataFrame:
    """One row a pair: each metric on both datasets, and by how much it is larger on the shifted one."""
    a_P, b_P = pair_indices(len(both.labels.names))
    columns: dict[str, object] = {**both.labels.names_of(a_P, b_P), "category": both.labels.words_of(a_P, b_P)}
    for metric in COMPARED:
        values = {side: PAIR_METRICS[metric](counts) for side, counts in both.sides.items()}
        columns |= {f"{side}_{metric}": value_P for side, value_P in values.items()}
        columns[f"{metric}_difference"] = values["shifted"] - values["reference"]
    return pl.DataFrame(columns, nan_to_null=True)


def _categories(both: _Both, bootstrap: Bootstrap) -> pl.DataFrame:
    """One row a category and metric: its means on both datasets; those of agreement resample variants only."""
    known_P, kinds_P = both.category_P >= 0, np.maximum(both.category_P, 0)

    def means(outcomes: Outcomes, counts: PairCounts) -> list[CategoryMean]:
        agreement = {"agreement": PAIR_METRICS["agreement"](counts)}
        return category_means(
            outcomes.correct_VN, kinds_P, metrics=METRICS, values=agreement, among_P=known_P, bootstrap=bootstrap
        )

    found = [means(outcomes, counts) for outcomes, counts in zip((both.first, both.second), both.counts, strict=True)]
    rows = []
    for pair in zip(*found, strict=True):
        row: dict[str, object] = {"category": pair[0].category, "metric": pair[0].metric, "pairs": pair[0].pairs}
        for side, mean in zip(("reference", "shifted"), pair, strict=True):
            row |= {f"{side}_mean": mean.mean, f"{side}_low": mean.low, f"{side}_high": mean.high}
        rows.append(row)
    numbers = [f"{side}_{end}" for side in ("reference", "shifted") for end in ("mean", "low", "high")]
    texts = {"category": pl.String, "metric": pl.String, "pairs": pl.Int64}
    frame = pl.DataFrame(rows, schema={**texts, **dict.fromkeys(numbers, pl.Float64)})
    return frame.with_columns(pl.col(numbers).fill_nan(None))


def _summary(
    both: _Both, robustness: Robustness, among_V: NDArray[np.bool_], categories: pl.DataFrame, bootstrap: Bootstrap
) -> pl.DataFrame:
    """One row a metric: how its values on one dataset go with those on the other."""
    chosen = [np.where(among_V, probit_V, np.nan) for probit_V in (robustness.reference_V, robustness.shifted_V)]
    ranks = rank_correlation_of_variants(chosen[0], chosen[1], bootstrap=bootstrap)
    rows = [_row("accuracy", "probit", robustness.line, ranks, None)]
    for metric in ("agreement", *METRICS):
        if metric == "agreement":
            x_P, y_P = _agreements(both, among_V)
        else:
            x_P, y_P = (PAIR_METRICS[metric](counts) for counts in both.counts)
        line = line_of_pairs(x_P, y_P, bootstrap=bootstrap)
        order = keeps_order(*(_means_by_category(categories, metric, side) for side in both.sides))
        scale = "probit" if metric == "agreement" else "plain"
        rows.append(_row(metric, scale, line, rank_correlation_of_pairs(x_P, y_P, bootstrap=bootstrap), order))
    frame = pl.DataFrame(rows, infer_schema_length=None, schema_overrides={"same_order": pl.Boolean})
    return frame.with_columns(pl.col(pl.Float64).fill_nan(None))


def _agreements(both: _Both, among_V: NDArray[np.bool_]) -> list[NDArray[np.float64]]:
    """In probit scale, NaN but for pairs of the baseline: the line is compared with that of the same accuracies."""
    a_P, b_P = pair_indices(len(among_V))
    among_P = among_V[a_P] & among_V[b_P]
    return [np.where(among_P, probit_share(counts.same_prediction, counts.examples), np.nan) for counts in both.counts]


def _row(metric: str, scale: str, line: Line, ranks: Estimate, order: bool | None) -> dict[str, object]:
    named = {"pearson": line.r, "spearman": ranks, "slope": line.slope, "intercept": line.intercept}
    row: dict[str, object] = {"metric": metric, "scale": scale, "points": line.points}
    for name, one in named.items():
        row |= {name: one.value, f"{name}_low": one.low, f"{name}_high": one.high}
    return {**row, "r_squared": line.r.value**2, "same_order": order}


def _means_by_category(categories: pl.DataFrame, metric: str, side: str) -> NDArray[np.float64]:
    """(K,) NaN for a category without a mean."""
    rows = categories.filter(pl.col("metric") == metric)
    means = dict(zip(rows["category"], rows[f"{side}_mean"], strict=True))
    return np.array([np.nan if means.get(name) is None else means[name] for name in CATEGORIES], np.float64)
