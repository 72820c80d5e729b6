"""The report of a sweep: its analysis tables and failures become one offline HTML page."""

from datetime import UTC, datetime
from importlib.metadata import version

import numpy as np
import polars as pl
from numpy.typing import NDArray

from overlap.analyses import analyze
from overlap.pairwise.pair_rows import labels_of
from overlap.standing import JobState, Status, choose_dataset, status
from overlap.store import LockFile, Store
from overlap.variants import Category
from overlap_analysis import CategoryMean, pair_count, pair_indices
from overlap_analysis.report import (
    AdditionPath,
    FailureRow,
    GreedyCurve,
    LowAccuracy,
    PairColumns,
    ReportData,
    VariantRow,
    render_report,
)

REPORT = "report.html"
_KINDS = {kind.word: kind.value for kind in Category}
_SELECTION = ("greedy", "low_accuracy")


def report(store: Store, *, dataset: str | None = None) -> str:
    """Writes the report of a store's analyses beside them and returns its name.

    Analyses that are missing, or older than the results they would hold today, are made first.

    Raises:
        ArgumentError: no sweep, no such dataset, or no result yet.
    """
    lock = store.require_lock()
    chosen = choose_dataset(lock, dataset)
    if not _is_current(store, lock, chosen):
        analyze(store, dataset=chosen)
    name = REPORT if len(lock.results) == 1 else f"report-{chosen}.html"
    store.objects.replace(name, render_report(_report_data(store, lock, chosen)).encode())
    return name


def _is_current(store: Store, lock: LockFile, dataset: str) -> bool:
    """True if every table is there and speaks of exactly the results that are there now."""
    variants = store.read_analysis(dataset, "variants")
    if variants is None:
        return False
    present = store.result_names(dataset)
    expected = {key for key in lock.results[dataset].values() if key[:16] in present}
    if set(variants["key"]) != expected:
        return False
    pairs = store.read_analysis(dataset, "pairs", columns=["category"])
    if pairs is None or pairs.height != pair_count(variants.height):
        return False
    known = {variant.name: variant for variant in lock.variants}  # of imported variants more may be known by now
    labels = labels_of([known[name] for name in variants["name"]])
    if not pairs["category"].equals(labels.words_of(*pair_indices(variants.height))):
        return False
    keys = dict(zip(variants["name"], variants["key"], strict=True))
    if any(store.analysis_keys(dataset, table) not in ({}, keys) for table in _SELECTION):
        return False
    return all(store.read_analysis(dataset, table) is not None for table in ("ensembles", "categories"))


def _current(store: Store, dataset: str, table: str) -> pl.DataFrame | None:
    """A table if it speaks of the variants of today; it may be left from others, of which it could be made."""
    keys, variants = store.analysis_keys(dataset, table), store.read_analysis(dataset, "variants", columns=["key"])
    same = variants is not None and list(keys.values()) == variants["key"].to_list()
    return store.read_analysis(dataset, table) if same else None


def _report_data(store: Store, lock: LockFile, dataset: str) -> ReportData:
    def table(name: str) -> pl.DataFrame:
        frame = store.read_analysis(dataset, name)
        assert frame is not None, f"{name} was written a moment ago"
        return frame

    standing = status(store)
    variants = table("variants")
    facts = lock.datasets[dataset]
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
        provenance=(
            ("sweep", lock.name),
            ("store", store.objects.url),
            ("overlap", version("overlap")),
            ("torch", version("torch")),
            ("timm", version("timm")),
            ("written", datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")),
        ),
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
    ]
    numbers = variants.select(columns).with_columns(pl.col(pl.Float64).fill_null(float("nan")))
    return tuple(VariantRow(**row) for row in numbers.iter_rows(named=True))


def _pair_columns(variants: pl.DataFrame, pairs: pl.DataFrame, ensembles: pl.DataFrame) -> PairColumns:
    positions = {name: index for index, name in enumerate(variants["name"])}
    means = ensembles.filter(pl.col("rule") == "mean_probability").unique(["a", "b"], keep="first", maintain_order=True)
    ensembles = pairs.select("a", "b").join(means, on=["a", "b"], how="left", maintain_order="left")
    return PairColumns(
        a=np.array([positions[name] for name in pairs["a"]], np.int32),
        b=np.array([positions[name] for name in pairs["b"]], np.int32),
        category=np.array([_KINDS[word] for word in pairs["category"]], np.int8),
        error_inconsistency=_numbers(pairs, "error_inconsistency"),
        error_correlation=_numbers(pairs, "error_correlation"),
        kappa=_numbers(pairs, "kappa"),
        ensemble_accuracy=_numbers(ensembles, "accuracy"),
        improvement=_numbers(ensembles, "improvement"),
    )


def _category_rows(categories: pl.DataFrame) -> tuple[CategoryMean, ...]:
    rows = categories.with_columns(pl.col("mean", "low", "high").fill_null(float("nan"))).iter_rows(named=True)
    return tuple(CategoryMean(**row) for row in rows)


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
