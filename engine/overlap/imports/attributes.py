"""What a table says of imported variants, so that the categories of their pairs are known."""

import json
from collections.abc import Mapping
from pathlib import Path

import polars as pl

from overlap.errors import ArgumentError
from overlap.search_space import Scalar
from overlap.spec import did_you_mean
from overlap.variants import Preprocessing, Variant, Weights

LIBRARY = "imported"
_WORDS = ("architecture", "framework", "train_on")
_FIELDS = (*_WORDS, "hyperparameters", "seed")
_PREPROCESSING = Preprocessing(size=0, crop_mode="", interpolation="")
_WEIGHTS = Weights(library=LIBRARY, name="", source="", revision="")


def imported_variant(name: str) -> Variant:
    """A variant of which only the name is known."""
    return _variant(name, {})


def read_variants(path: Path) -> dict[str, Variant]:
    """The variants of a CSV file by name; its columns are `name` and fields of a variant, an empty cell is unknown.

    Raises:
        ArgumentError: the file cannot be read, or with everything that is wrong with it.
    """
    try:
        frame = pl.read_csv(path, infer_schema=False)
    except FileNotFoundError:
        raise ArgumentError(f"'{path}' does not exist") from None
    except (pl.exceptions.PolarsError, OSError, ValueError) as error:
        raise ArgumentError(f"'{path}' cannot be read: {(str(error).splitlines() or ['?'])[0]}") from error
    for column in frame.columns:
        if column not in ("name", *_FIELDS):
            hint = did_you_mean(column, ("name", *_FIELDS)) or f"; known are name, {', '.join(_FIELDS)}"
            raise ArgumentError(f"'{path}': unknown column '{column}'{hint}")
    if "name" not in frame.columns:
        raise ArgumentError(f"'{path}' has no column 'name'; expected name and any of {', '.join(_FIELDS)}")
    variants: dict[str, Variant] = {}
    problems = []
    for line, row in enumerate(frame.iter_rows(named=True), start=2):
        name = row.pop("name")
        if not name or name in variants:
            wrong = f"variant '{name}' is there twice" if name else "expected a name, got nothing"
            problems.append(f"line {line}: {wrong}")
            continue
        try:
            variants[name] = _variant(name, _fields(row))
        except ValueError as error:
            problems.append(f"line {line}: {error}")
    if problems:
        raise ArgumentError("\n  ".join([f"'{path}': {len(problems)} problems", *problems]))
    return variants


def _fields(row: Mapping[str, str | None]) -> dict[str, object]:
    """The fields that a row gives.

    Raises:
        ValueError: a seed is no number, or hyperparameters are no JSON object of plain values.
    """
    known: dict[str, object] = {name: value for name, value in row.items() if value and value.strip()}
    if "seed" in known:
        if not str(known["seed"]).strip().isdecimal():
            raise ValueError(f"expected a whole number as seed, got '{known['seed']}'")
        known["seed"] = int(str(known["seed"]))
    if "hyperparameters" in known:
        known["hyperparameters"] = _hyperparameters(str(known["hyperparameters"]))
    return known


def _hyperparameters(text: str) -> tuple[tuple[str, Scalar], ...]:
    message = f"expected hyperparameters as JSON such as {{\"learning_rate\": 0.1}}, got '{text}'"
    try:
        values = json.loads(text)
    except ValueError:
        raise ValueError(message) from None
    if not isinstance(values, dict) or any(isinstance(value, dict | list) for value in values.values()):
        raise ValueError(message)
    return tuple(sorted(values.items()))


def _variant(name: str, known: Mapping[str, object]) -> Variant:
    fields: dict[str, object] = {**dict.fromkeys(_WORDS, ""), "hyperparameters": (), "seed": 0, **known}
    unknown = tuple(field for field in _FIELDS if field not in known)
    return Variant(name=name, preprocessing=_PREPROCESSING, weights=_WEIGHTS, unknown=unknown, **fields)  # type: ignore[arg-type]
