"""Files of predictions become tables, one a variant, whatever their format."""

import re
import zipfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from overlap.errors import ArgumentError
from overlap.spec import did_you_mean

ROW = "row"
LISTS = ("logits", "probabilities", "top_classes", "top_probabilities")
COLUMNS = ("example", "label", "variant", "prediction", *LISTS)
_SUFFIXES = (".parquet", ".csv", ".npz")
_SINGLE = ("example", "label", "prediction")
_NEEDED = {
    "logits": {"logits"},
    "probabilities": {"probabilities"},
    "top_classes": {"top_classes", "top_probabilities"},
    "prediction": {"prediction"},
}
_NUMBERED = re.compile(r"(.+)_(\d+)")
_SHOWN = 20


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Table:
    """One variant's rows of one file.

    `frame` has the columns of the import format that the file has, and `row`, a row's place in the file from 0.
    Examples, labels and predictions are Int64 or String, the others lists. `kind` is what says most of the variant's
    outputs, of what the file has: logits, probabilities, top_classes (with top_probabilities) or prediction.
    """

    path: Path
    variant: str
    kind: str
    frame: pl.DataFrame

    @property
    def place(self) -> str:
        """Where it is, for messages."""
        return f"'{self.path}'" if self.variant == self.path.stem else f"'{self.path}', variant '{self.variant}'"


def check_columns(columns: Mapping[str, str]) -> None:
    """Refuses names of columns that the import format does not have.

    Raises:
        ArgumentError: a name is unknown.
    """
    for name in columns:
        if name not in COLUMNS:
            hint = did_you_mean(name, COLUMNS) or f"; known are {', '.join(COLUMNS)}"
            raise ArgumentError(f"'{name}' is no column of the import format{hint}")


def read_tables(path: Path, columns: Mapping[str, str]) -> list[Table]:
    """The tables of a Parquet, CSV or npz file: one, named like the file, or one for each value of `variant`.

    Args:
        path: the file.
        columns: our name of a column -> the file's, where they differ.

    Raises:
        ArgumentError: the file cannot be read, or has not the columns that are needed.
    """
    frame = _read(path, columns)
    try:
        frame = frame.with_columns(plain(frame[name]) for name in _SINGLE if name in frame.columns)
        frame = frame.with_columns(_decoded(frame[name]) for name in LISTS if name in frame.columns)
        frame = _with_numbered(frame)
    except (ArgumentError, pl.exceptions.PolarsError) as error:
        raise ArgumentError(f"'{path}': {str(error).splitlines()[0]}") from error
    kind = _kind(path, frame)
    frame = frame.with_row_index(ROW)
    if "variant" not in frame.columns:
        return [Table(path=path, variant=path.stem, kind=kind, frame=frame)]
    nameless = frame.filter(pl.col("variant").is_null())
    if nameless.height:
        raise ArgumentError(f"'{path}', row {nameless[ROW][0]}: expected the name of a variant, got nothing")
    parts = frame.with_columns(pl.col("variant").cast(pl.String)).partition_by(
        "variant", include_key=False, maintain_order=True, as_dict=True
    )
    return [Table(path=path, variant=str(name), kind=kind, frame=part) for (name,), part in parts.items()]


def plain(series: pl.Series) -> pl.Series:
    """Names as String, whole numbers as Int64, in whatever type a file has them.

    Raises:
        ArgumentError: they are neither.
    """
    if series.dtype in (pl.String, pl.Categorical, pl.Enum):
        return series.cast(pl.String)
    if series.dtype.is_float():  # pandas makes floats of whole numbers when one is missing
        numbers = series.fill_nan(None)
        if (numbers.round() == numbers).all():
            return numbers.cast(pl.Int64)
    if series.dtype.is_integer() or series.dtype in (pl.Boolean, pl.Null):
        return series.cast(pl.Int64)
    raise ArgumentError(f"column '{series.name}' holds {series.dtype}; expected whole numbers or names")


def _read(path: Path, columns: Mapping[str, str]) -> pl.DataFrame:
    suffix = path.suffix.lower()
    if suffix not in _SUFFIXES:
        raise ArgumentError(f"'{path}': expected a file that ends in {', '.join(_SUFFIXES)}")
    try:
        if suffix == ".npz":
            return _read_npz(path, columns)
        if suffix == ".csv":
            names = _renamed(path, pl.read_csv(path, n_rows=0).columns, columns)
            return pl.read_csv(path, columns=list(names), infer_schema_length=None).rename(names)
        names = _renamed(path, pl.read_parquet_schema(path), columns)
        return pl.read_parquet(path, columns=list(names)).rename(names)
    except FileNotFoundError:
        raise ArgumentError(f"'{path}' does not exist") from None
    except (pl.exceptions.PolarsError, OSError, ValueError, zipfile.BadZipFile) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise ArgumentError(f"'{path}' cannot be read: {reason}") from error


def _read_npz(path: Path, columns: Mapping[str, str]) -> pl.DataFrame:
    with np.load(path, allow_pickle=False) as arrays:
        names = _renamed(path, arrays.files, columns)
        read = {ours: arrays[theirs] for theirs, ours in names.items()}
    for name, array in read.items():
        dimensions = 2 if name in LISTS else 1
        if array.ndim != dimensions:
            raise ValueError(f"array '{name}' has shape {array.shape}, expected {dimensions} dimensions")
    return pl.DataFrame({name: _column(array) for name, array in read.items()})


def _column(array: NDArray[np.generic]) -> NDArray[np.generic] | list[object]:
    """What polars makes a column of, whatever its version."""
    if array.dtype == np.float16:
        return array.astype(np.float32)
    return array.tolist() if array.dtype.kind in "US" else array


def _renamed(path: Path, names: Iterable[str], columns: Mapping[str, str]) -> dict[str, str]:
    """The file's name of each column that we read -> ours."""
    names = list(names)
    ours_of = {theirs: ours for ours, theirs in columns.items()}
    stems = {match[1] for name in names if (match := _NUMBERED.fullmatch(name))}
    for ours, theirs in columns.items():
        if theirs not in names and theirs not in stems:
            shown = ", ".join(names[:_SHOWN]) + (" …" if len(names) > _SHOWN else "")
            raise ArgumentError(f"'{path}' has no column '{theirs}', which is to be '{ours}'; it has {shown}")

    def our_name(name: str) -> str:
        return ours_of.get(name, "" if name in columns else name)

    renamed = {}
    for name in names:
        match = _NUMBERED.fullmatch(name)
        if our_name(name) in COLUMNS:
            renamed[name] = our_name(name)
        elif match and our_name(match[1]) in LISTS:
            renamed[name] = f"{our_name(match[1])}_{match[2]}"
    missing = [name for name in ("example", "label") if name not in renamed.values()]
    if missing:
        shown = ", ".join(names[:_SHOWN]) + (" …" if len(names) > _SHOWN else "")
        wanted = f"it has {shown}; say which it is with --column {missing[0]}=NAME"
        raise ArgumentError(f"'{path}' has no column '{missing[0]}': {wanted}")
    return renamed


def _decoded(series: pl.Series) -> pl.Series:
    """Lists that a CSV file writes as JSON, as lists."""
    if series.dtype != pl.String:
        return series
    kind: type[pl.DataType] = pl.Float64
    if series.name == "top_classes":
        kind = pl.String if series.str.contains('"', literal=True).any() else pl.Int64
    try:
        return series.str.json_decode(pl.List(kind))
    except pl.exceptions.PolarsError as error:
        first = str(series.drop_nulls().head(1).to_list())[:60]
        raise ArgumentError(f"column '{series.name}': expected JSON lists such as [0.7, 0.3], got {first}") from error


def _with_numbered(frame: pl.DataFrame) -> pl.DataFrame:
    """Columns such as `logits_0`, `logits_1` … joined to lists."""
    for name in LISTS:
        numbered = [column for column in frame.columns if re.fullmatch(rf"{name}_\d+", column)]
        if not numbered:
            continue
        wanted = [f"{name}_{i}" for i in range(len(numbered))]
        lacking = [column for column in wanted if column not in numbered]
        if lacking:
            raise ArgumentError(f"there are {len(numbered)} columns '{name}_…', but no '{lacking[0]}'")
        frame = frame.with_columns(pl.concat_list(wanted).alias(name)).drop(numbered)
    return frame


def _kind(path: Path, frame: pl.DataFrame) -> str:
    if not frame.height:
        raise ArgumentError(f"'{path}' has no rows")
    there = set(frame.columns)
    for kind, needed in _NEEDED.items():
        if needed <= there:
            return kind
    top = sorted(there & _NEEDED["top_classes"])
    if top:
        lacking = min(_NEEDED["top_classes"] - there)
        raise ArgumentError(f"'{path}' has '{top[0]}', but no '{lacking}'")
    raise ArgumentError(
        f"'{path}' has no predictions: expected logits, probabilities, top_classes and top_probabilities, or "
        "prediction; --column NAME=THEIRS says what a column is called"
    )
