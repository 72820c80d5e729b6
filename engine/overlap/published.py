"""Accuracies that others have published for the same weights: what a sweep's own ones should agree with."""

from collections.abc import Mapping
from pathlib import Path

import polars as pl

from overlap.errors import ArgumentError

TOLERANCE = 0.003  # 0.3 points, about the rounding of preprocessing and half precision on 50,000 images
_COLUMNS = ("model", "top1")


def read_published(path: Path) -> dict[str, float]:
    """Top-1 accuracies in [0, 1] by the weights' names, from a table in the form of timm's `results-imagenet.csv`.

    Raises:
        ArgumentError: no such file, or none with the columns `model` and `top1` (in per cent).
    """
    try:
        table = pl.read_csv(path, columns=list(_COLUMNS), schema_overrides={"top1": pl.Float64})
    except OSError as error:
        raise ArgumentError(f"cannot read '{path}': {error.strerror or error}") from None
    except pl.exceptions.PolarsError as error:
        reason = str(error).partition("\n")[0]
        raise ArgumentError(f"expected a CSV with columns model and top1 in '{path}': {reason}") from None
    return {name: top1 / 100 for name, top1 in table.select(_COLUMNS).drop_nulls().iter_rows()}


def with_published(variants: pl.DataFrame, published: Mapping[str, float]) -> pl.DataFrame:
    """The table of variants with the published accuracy of each one's weights, null where there is none."""
    accuracies = [published.get(name) for name in variants["weights"]]
    return variants.with_columns(published_accuracy=pl.Series(accuracies, dtype=pl.Float64))


def deviating(variants: pl.DataFrame) -> pl.DataFrame:
    """The variants whose accuracy is not the published one, give or take `TOLERANCE`, the farthest first."""
    distance = (pl.col("accuracy") - pl.col("published_accuracy")).abs()
    return variants.filter(distance > TOLERANCE).sort(distance, descending=True, maintain_order=True)
