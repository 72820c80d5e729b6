"""Several labels an example, from a file that a user gives."""

from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from overlap.errors import ArgumentError
from overlap.features.roles import Targets

_SHOWN = 5


def read_label_targets(path: Path, ids_M: NDArray[np.int64]) -> Targets:
    """The labels of examples that a Parquet or CSV file knows: `example`, then a column of 0 and 1 for each label.

    Examples that it does not name are used for nothing.

    Raises:
        ArgumentError: it cannot be read, has another form, names an example twice, or none of these.
    """
    frame = _read(path)
    ids_K = frame["example"].to_numpy()
    values_KC = frame.drop("example").to_numpy().astype(np.float32)
    order = np.argsort(ids_K, kind="stable")
    place_M = np.minimum(np.searchsorted(ids_K[order], ids_M), len(ids_K) - 1)
    known_M = ids_K[order][place_M] == ids_M
    if not known_M.any():
        raise ArgumentError(
            f"'{path}': none of its {len(ids_K):,} examples is one of the {len(ids_M):,} with embeddings"
        )
    return Targets(
        values_MC=np.where(known_M[:, np.newaxis], values_KC[order][place_M], 0).astype(np.float32),
        known_M=known_M,
        several_labels=True,
    )


def _read(path: Path) -> pl.DataFrame:
    """The file with whole numbers in `example` and 0 or 1 elsewhere."""
    try:
        frame = pl.read_csv(path) if path.suffix == ".csv" else pl.read_parquet(path)
    except (OSError, pl.exceptions.PolarsError) as error:
        raise ArgumentError(f"'{path}' cannot be read as a table: {str(error).splitlines()[0]}") from error
    if "example" not in frame.columns or frame.width < 2 or frame.is_empty():
        raise ArgumentError(
            f"'{path}': expected the column 'example' and one of 0 and 1 for each label, got {frame.columns[:_SHOWN]}"
        )
    if not frame["example"].dtype.is_integer() or frame["example"].null_count():
        raise ArgumentError(f"'{path}': expected whole numbers in 'example', as the results' own column has them")
    twice = frame["example"].filter(frame["example"].is_duplicated()).unique().sort().to_list()
    if twice:
        raise ArgumentError(f"'{path}' names {len(twice):,} examples twice: {twice[:_SHOWN]}")
    wrong = [name for name in frame.columns if name != "example" and not _is_binary(frame[name])]
    if wrong:
        raise ArgumentError(f"'{path}': expected 0 and 1 only in {', '.join(wrong[:_SHOWN])}")
    return frame.with_columns(pl.col("example").cast(pl.Int64))


def _is_binary(column: pl.Series) -> bool:
    known = column.dtype.is_numeric() or column.dtype == pl.Boolean
    return known and column.null_count() == 0 and bool(column.cast(pl.Float64).is_in([0.0, 1.0]).all())
