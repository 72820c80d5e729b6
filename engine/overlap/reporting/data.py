"""What the report of a sweep shows, read from the analysis tables of its store."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from overlap.outcomes import Outcomes, indices_of, read_log_confidences, read_outcomes
from overlap.reporting.provenance import provenance
from overlap.reporting.sections import report_sections
from overlap.standing import JobState, Status, status
from overlap.store import LockFile, MissingObjectError, Store
from overlap.variants import Category
from overlap_analysis import CategoryMean, hash_order
from overlap_analysis.report import (
    AdditionPath,
    ControlMean,
    ExampleSample,
    FailureRow,
    GreedyCurve,
    LowAccuracy,
    PairColumns,
    ReportData,
    TrendRow,
    VariantRow,
    outcome_codes,
)

SAMPLED_EXAMPLES = 1500
SAMPLED_OUTCOMES = 1_000_000  # of all variants: a byte each
_SAMPLE_SEED = 2021
_KINDS = {kind.word: kind.value for kind in Category}


def read_report_data(store: Store, lock: LockFile, dataset: str, *, thumbnails: bool = False) -> ReportData:
    """Everything that the report of a dataset shows, from tables that are all there.

    Raises:
        ArgumentError: thumbnails are wanted and cannot be had.
        CorruptFileError: a result is damaged.
    """

    def table(name: str) -> pl.DataFrame:
        frame = store.read_analysis(dataset, name)
        assert frame is not None, f"{name} was written a moment ago"
        return frame

    standing = status(store)
    variants = table("variants")
    facts, outcomes = lock.datasets[dataset], read_outcomes(store, lock, dataset)
    sample = _sample(store, outcomes, variants["name"].to_list())
    return ReportData(
        title=lock.name,
        dataset=dataset,
        examples=facts.splits["test"].size,
        classes=len(facts.class_names),
        variants=_variant_rows(variants),
        pairs=_pair_columns(variants, table("pairs"), table("ensembles")),
        categories=_category_rows(table("categories")),
        greedy=_greedy_curve(store, dataset),
        low_accuracy=_low_accuracy(store, dataset),
        failures=_failure_rows(standing),
        pending=sum(job.state is JobState.PENDING and job.dataset == dataset for job in standing.jobs),
        provenance=provenance(store, lock, outcomes),
        trends=_trend_rows(_current(store, dataset, "trends")),
        controls=_control_rows(_current(store, dataset, "controls")),
        sections=report_sections(lambda name: _current(store, dataset, name), dataset, next(iter(lock.results))),
        sample=_with_images(store, lock, outcomes, sample) if thumbnails else sample,
    )


def _variant_rows(variants: pl.DataFrame) -> tuple[VariantRow, ...]:
    columns = [
        "name",
        "architecture",
        "framework",
        "train_on",
        "seed",
        "accuracy",
        "accuracy_low",
        "accuracy_high",
        "nll",
        "temperature",
        "key",
    ]
    correct = (pl.col("accuracy") * pl.col("examples")).round().cast(pl.Int64).alias("correct")
    numbers = variants.select(*columns, correct).with_columns(pl.col(pl.Float64).fill_null(float("nan")))
    return tuple(VariantRow(**row) for row in numbers.iter_rows(named=True))


def _pair_columns(variants: pl.DataFrame, pairs: pl.DataFrame, ensembles: pl.DataFrame) -> PairColumns:
    positions = {name: index for index, name in enumerate(variants["name"])}
    means = ensembles.filter(pl.col("rule") == "mean_probability").unique(["a", "b"], keep="first", maintain_order=True)
    ensembles = pairs.select("a", "b").join(means, on=["a", "b"], how="left", maintain_order="left")
    right = ensembles["accuracy"].cast(pl.Float64) * pairs["examples"]
    return PairColumns(
        a=np.array([positions[name] for name in pairs["a"]], np.int32),
        b=np.array([positions[name] for name in pairs["b"]], np.int32),
        category=np.array([_KINDS[word] for word in pairs["category"]], np.int8),
        error_inconsistency=_numbers(pairs, "error_inconsistency"),
        error_correlation=_numbers(pairs, "error_correlation"),
        kappa=_numbers(pairs, "kappa"),
        ensemble_accuracy=_numbers(ensembles, "accuracy"),
        improvement=_numbers(ensembles, "improvement"),
        both_correct=pairs["both_correct"].cast(pl.Int64).to_numpy(),
        ensemble_correct=right.round().fill_null(-1).cast(pl.Int64).to_numpy(),
    )


def _category_rows(categories: pl.DataFrame) -> tuple[CategoryMean, ...]:
    return tuple(CategoryMean(**row) for row in _with_nan(categories))


def _control_rows(controls: pl.DataFrame | None) -> tuple[ControlMean, ...]:
    if controls is None:
        return ()
    rows = _with_nan(controls.drop("examples"))
    return tuple(ControlMean(control=row.pop("control"), mean=CategoryMean(**row)) for row in rows)


def _with_nan(means: pl.DataFrame) -> Iterator[dict[str, Any]]:
    return means.with_columns(pl.col("mean", "low", "high").fill_null(float("nan"))).iter_rows(named=True)


def _trend_rows(trends: pl.DataFrame | None) -> tuple[TrendRow, ...]:
    """Those with an effect: there is none with fewer than two categories."""
    if trends is None:
        return ()
    columns = ["metric", "direction", "effect", "p_value", "permutations"]
    known = trends.filter(pl.col("effect").is_not_null()).select(columns)
    return tuple(TrendRow(**row) for row in known.iter_rows(named=True))


def _sample(store: Store, outcomes: Outcomes, names: list[str]) -> ExampleSample:
    """What the named variants do on some examples, or all."""
    chosen_N = _sampled(outcomes, len(names))
    rows = indices_of(outcomes, names)
    confidences_Vn = read_log_confidences(store, outcomes, calibrated=True, chosen_N=chosen_N)[rows]
    correct_Vn = outcomes.correct_VN[rows][:, chosen_N]
    called = _example_names(store, outcomes)
    return ExampleSample(
        ids=tuple(called[n] for n in np.flatnonzero(chosen_N)),
        codes_Vn=outcome_codes(correct_Vn, confidences_Vn, len(outcomes.class_names)),
    )


def _sampled(outcomes: Outcomes, variants: int) -> NDArray[np.bool_]:
    """Which examples, by a hash of their ids: the same for every report with as many variants."""
    most = min(SAMPLED_EXAMPLES, max(1, SAMPLED_OUTCOMES // variants))
    chosen_N = np.zeros(len(outcomes.ids_N), np.bool_)
    chosen_N[hash_order(outcomes.ids_N, seed=_SAMPLE_SEED)[:most]] = True
    return chosen_N


def _with_images(store: Store, lock: LockFile, outcomes: Outcomes, sample: ExampleSample) -> ExampleSample:
    from overlap.reporting.thumbnails import read_thumbnails  # pictures are looked at on request only

    chosen_N = _sampled(outcomes, len(sample.codes_Vn))
    return replace(sample, images=read_thumbnails(store, lock, outcomes.dataset, outcomes.ids_N[chosen_N]))


def _example_names(store: Store, outcomes: Outcomes) -> list[str]:
    """What examples are called: where imported ones have names, their ids are places in the list of those."""
    try:
        names, _ = store.read_examples(outcomes.dataset)
    except MissingObjectError:
        names = []
    if any(isinstance(name, str) for name in names):
        return [str(names[place]) for place in outcomes.ids_N]
    return [str(number) for number in outcomes.ids_N]


def _greedy_curve(store: Store, dataset: str) -> GreedyCurve | None:
    """None where no ensemble could be selected."""
    greedy, references = (_current(store, dataset, name) for name in ("greedy", "greedy_references"))
    if greedy is None or references is None:
        return None
    rows = {row["reference"]: row for row in references.fill_null(float("nan")).iter_rows(named=True)}
    alone, everyone = rows["best single"], rows["average of all"]
    return GreedyCurve(
        variants=tuple(greedy["variant"]),
        selection_accuracy=_numbers(greedy, "selection_accuracy"),
        evaluation_accuracy=_numbers(greedy, "evaluation_accuracy"),
        evaluation_low=_numbers(greedy, "evaluation_low"),
        evaluation_high=_numbers(greedy, "evaluation_high"),
        selection_examples=int(greedy["selection_examples"][0]),
        evaluation_examples=int(greedy["evaluation_examples"][0]),
        best_single=alone["variant"],
        best_single_accuracy=alone["evaluation_accuracy"],
        all_members_accuracy=everyone["evaluation_accuracy"],
    )


def _low_accuracy(store: Store, dataset: str) -> LowAccuracy | None:
    """None where no variant is weaker than the strong ones."""
    table = _current(store, dataset, "low_accuracy")
    if table is None:
        return None
    paths, first = [], []
    for (start,), rows in table.group_by(["start"], maintain_order=True):
        honest, reported = rows.partition_by("chosen_on", maintain_order=True)
        ends = [_numbers(honest, f"evaluation_{name}") for name in ("accuracy", "low", "high")]
        paths.append(
            AdditionPath(
                start=str(start),
                accuracy_S3=np.stack(ends, axis=1),
                reported_S=_numbers(reported, "evaluation_accuracy"),
            )
        )
        first.append((honest["variant"][1], honest["variant_accuracy"][1]))
    added = table.filter(pl.col("added") > 0)["variant_accuracy"].to_numpy()
    return LowAccuracy(paths=tuple(paths), first=tuple(first), best_added=float(added.max()))


def _failure_rows(standing: Status) -> tuple[FailureRow, ...]:
    return tuple(
        FailureRow(variant=f.variant, stage=f.stage, outcome=f.outcome, cause=f.cause) for f in standing.failures
    )


def _numbers(frame: pl.DataFrame, column: str) -> NDArray[np.float64]:
    """A column as float64, null as NaN."""
    return frame[column].cast(pl.Float64).fill_null(float("nan")).to_numpy()


def _current(store: Store, dataset: str, table: str) -> pl.DataFrame | None:
    """A table if it speaks of the variants of today; it may be left from others, of which it could be made."""
    keys, variants = store.analysis_keys(dataset, table), store.read_analysis(dataset, "variants", columns=["key"])
    same = variants is not None and list(keys.values()) == variants["key"].to_list()
    return store.read_analysis(dataset, table) if same else None
