"""The analysis tables of a store as they lie there: their names, rows, parts, and whether they are of today."""

from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any, TypeVar

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from overlap.errors import CorruptFileError, OverlapError
from overlap.pairwise.earlier import GROUPS_TABLE
from overlap.store import LockFile, Store
from overlap.store.analysis_files import TABLES_VERSION

ROWS_AT_ONCE = 65_536
_VERSION = b"overlap.tables"

T = TypeVar("T")

A_ROW: Mapping[str, str] = {
    "variants": "a variant: what it is, and its accuracy",
    "pairs": "a pair of variants: joint counts and every metric",
    "soft": "a pair of variants: metrics of their probabilities",
    "ensembles": "a two-model ensemble: a pair and how the two become one",
    "ensemble_groups": "a pair: right answers of its ensemble by groups of examples",
    "categories": "a category of pairs and a metric: the mean over its pairs",
    "controls": "a control, category and metric: the same mean over other pairs or examples",
    "trends": "a metric: whether it rises from category to category",
    "category_scopes": "a scope, category and metric: the mean over the pairs of the scope",
    "trend_scopes": "a scope and a metric: whether it rises from category to category",
    "fits": "a scope, measure of difference and metric: the line of the second on the first",
    "regression": "a metric and what it may depend on",
    "specialization": "a pair of variants: whether the more confident one is right, and how many classes differ",
    "specialization_categories": "a category of pairs and a measure: the mean over its pairs",
    "specialization_groupings": "a pair and a grouping of the classes: whether its differences follow the groups",
    "specialization_groups": "a pair with the base and a group of classes: which of the two is better there",
    "class_differences": "a pair with the base and a class: which of the two is better there",
    "class_groups": "a grouping and a class: its group",
    "similarity": "a pair of variants: how alike their embeddings are, and their errors",
    "similarity_correlations": "how a measure of similarity goes with a metric of errors",
    "features_mixes": "a probe of a mix of two variants' dimensions",
    "features_dimensions": "a probe of so many of two variants' dimensions",
    "features_targets": "a pair and a ranking: how many dimensions reach the target",
    "downstream": "a probe of one or two variants' embeddings on another dataset",
    "shift": "a metric: how its values on one dataset go with those on the other",
    "shift_variants": "a variant: its accuracies on both datasets",
    "shift_pairs": "a pair of variants: each metric on both datasets",
    "shift_categories": "a category of pairs and a metric: its means on both datasets",
    "greedy": "a step of greedy selection: the member it adds, and the ensemble so far",
    "greedy_references": "what greedy selection must beat",
    "greedy_folds": "a fold: selected on the others, evaluated on it",
    "greedy_bags": "a member of the bagged ensemble, and its weight",
    "low_accuracy": "a start, way of choosing and step: a weaker variant that joins a stronger one",
    "low_accuracy_first": "a start: its best first addition, and where the path leads",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class TableFacts:
    """What a table's footer says: `working` for what analyses keep for themselves, `readable` by this version."""

    name: str
    rows: int
    columns: tuple[str, ...]
    working: bool
    readable: bool


def stored_table(dataset: str, table: str) -> str:
    """The name of a table's object."""
    return f"analysis/{dataset}/{table}.parquet"


def table_names(store: Store, dataset: str) -> list[str]:
    """Every table of a dataset, sorted."""
    names = [PurePosixPath(name) for name in store.objects.names(f"analysis/{dataset}")]
    return [name.stem for name in names if name.suffix == ".parquet"]


def table_facts(store: Store, dataset: str, table: str) -> TableFacts:
    """What a table's footer says of it, without reading its rows.

    Raises:
        MissingObjectError: there is no such table.
        CorruptFileError: it is damaged.
    """
    with _opened(store, dataset, table) as parquet:
        schema = parquet.schema_arrow
        binary = any(pa.types.is_binary(field.type) or pa.types.is_large_binary(field.type) for field in schema)
        return TableFacts(
            name=table,
            rows=parquet.metadata.num_rows,
            columns=tuple(schema.names),
            working=binary or table == GROUPS_TABLE,
            readable=(schema.metadata or {}).get(_VERSION) == TABLES_VERSION,
        )


def table_parts(
    store: Store, dataset: str, table: str, *, rows_at_once: int = ROWS_AT_ONCE
) -> Generator[pl.DataFrame, None, None]:
    """The rows of a table in order, some at a time; at least one part, which may have no rows.

    Raises:
        MissingObjectError: there is no such table.
        CorruptFileError: it is damaged.
    """
    name = stored_table(dataset, table)
    with _opened(store, dataset, table) as parquet:
        # One thread: pyarrow's own, still holding a Python file when the interpreter ends, abort the process.
        batches = parquet.iter_batches(batch_size=rows_at_once, use_threads=False)
        yield _frame(pa.Table.from_batches([], parquet.schema_arrow))
        while (batch := _checked(name, lambda: next(batches, None))) is not None:
            yield _frame(pa.Table.from_batches([batch]))


def first_rows(store: Store, dataset: str, table: str, rows: int) -> pl.DataFrame:
    """The first rows of a table.

    Raises:
        MissingObjectError: there is no such table.
        CorruptFileError: it is damaged.
    """
    kept: list[pl.DataFrame] = []
    with closing(table_parts(store, dataset, table, rows_at_once=min(rows, ROWS_AT_ONCE))) as parts:
        for part in parts:
            kept.append(part)
            if sum(one.height for one in kept) >= rows:
                break
    return pl.concat(kept).head(rows)


def present_keys(store: Store, lock: LockFile, dataset: str) -> dict[str, str]:
    """Name -> key of the variants that have a result on a dataset, in the sweep's order."""
    present, keys = store.result_names(dataset), lock.results[dataset]
    names = [variant.name for variant in lock.variants_on(dataset)]
    return {name: keys[name] for name in names if keys[name][:16] in present}


def _frame(table: pa.Table) -> pl.DataFrame:
    frame: Any = pl.from_arrow(table)
    assert isinstance(frame, pl.DataFrame), "a table becomes a frame"
    return frame


@contextmanager
def _opened(store: Store, dataset: str, table: str) -> Iterator[pq.ParquetFile]:
    name = stored_table(dataset, table)
    with (
        store.objects.open(name) as file,
        _checked(name, lambda: pq.ParquetFile(file, pre_buffer=False)) as parquet,
    ):
        yield parquet


def _checked(name: str, read: Callable[[], T]) -> T:
    """What a read gives; what Parquet finds wrong is the file's fault."""
    try:
        return read()
    except OverlapError:
        raise
    except (pa.ArrowException, OSError, ValueError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise CorruptFileError(f"'{name}' is damaged ({reason}); analyze again to make it anew", name=name) from error
