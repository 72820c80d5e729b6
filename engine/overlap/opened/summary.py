"""A sweep at a glance, as one line and as HTML: only what can be read at once."""

import html
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import polars as pl

from overlap.errors import OverlapError
from overlap.standing import JobState, Status, status
from overlap.store import LockFile, Store
from overlap.stored_tables import present_keys, table_facts, table_names

ROWS_READ = 1_000_000  # of a table; a glance at more would take seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class Best:
    """The most accurate variant, or pair as an ensemble."""

    what: str
    accuracy: float


@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetSummary:
    """How far a sweep is on a dataset, and what is best there as far as it was analyzed."""

    dataset: str
    done: int
    failed: int
    pending: int
    variant: Best | None
    pair: Best | None


def summarize(store: Store, lock: LockFile) -> tuple[DatasetSummary, ...]:
    """A summary of each dataset; nothing is computed, and no large table read."""
    standing = status(store)
    return tuple(_summary(store, lock, standing, dataset) for dataset in lock.results)


def summary_line(lock: LockFile, address: str) -> str:
    """A sweep in one line, from its expansion alone."""
    variants = "1 variant" if len(lock.variants) == 1 else f"{len(lock.variants):,} variants"
    return f"<sweep {lock.name!r}: {variants} on {', '.join(lock.results)}; store {address!r}>"


def summary_html(lock: LockFile, address: str, summaries: Sequence[DatasetSummary]) -> str:
    """A sweep as a small table; every name is escaped."""
    head = ["dataset", "done", "failed", "pending", "best variant", "best pair"]
    rows = [
        [one.dataset, f"{one.done:,}", f"{one.failed:,}", f"{one.pending:,}", _best(one.variant), _best(one.pair)]
        for one in summaries
    ]
    body = "".join(f"<tr>{_cells('td', row)}</tr>" for row in rows)
    return (
        f"<div><strong>{html.escape(lock.name)}</strong>, {len(lock.variants):,} variants, in "
        f"<code>{html.escape(address)}</code></div>"
        f"<table><thead><tr>{_cells('th', head)}</tr></thead><tbody>{body}</tbody></table>"
    )


def _cells(tag: str, texts: Iterable[str]) -> str:
    return "".join(f'<{tag} style="text-align: left"><bdi>{html.escape(text)}</bdi></{tag}>' for text in texts)


def _best(best: Best | None) -> str:
    return f"{best.what} ({best.accuracy:.1%})" if best else "not known yet"


def _summary(store: Store, lock: LockFile, standing: Status, dataset: str) -> DatasetSummary:
    states = [job.state for job in standing.jobs if job.dataset == dataset]
    return DatasetSummary(
        dataset=dataset,
        done=states.count(JobState.DONE),
        failed=states.count(JobState.FAILED),
        pending=states.count(JobState.PENDING),
        variant=_row_of(_most_accurate(store, lock, dataset, "variants", ["name"]), ["name"]),
        pair=_row_of(_most_accurate(store, lock, dataset, "ensembles", ["a", "b"]), ["a", "b"]),
    )


def _most_accurate(store: Store, lock: LockFile, dataset: str, table: str, names: Sequence[str]) -> pl.DataFrame | None:
    """The first of a table's most accurate rows; None if it is not of today, too long, empty or cannot be read."""
    try:
        if store.analysis_keys(dataset, table) != present_keys(store, lock, dataset):
            return None
        if table not in table_names(store, dataset) or table_facts(store, dataset, table).rows > ROWS_READ:
            return None
        frame = store.read_analysis(dataset, table, columns=[*names, "accuracy"])
    except (OverlapError, OSError, ValueError):
        return None
    return None if frame is None else frame.sort("accuracy", descending=True, maintain_order=True).head(1)


def _row_of(frame: pl.DataFrame | None, names: Sequence[str]) -> Best | None:
    if frame is None or frame.is_empty():
        return None
    row = frame.row(0, named=True)
    return Best(what=" + ".join(row[name] for name in names), accuracy=row["accuracy"])
