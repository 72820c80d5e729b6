"""The tables of embeddings become figures.

Array names: S sizes, P pairs.
"""

from collections.abc import Mapping

import numpy as np
import polars as pl
from numpy.typing import NDArray

from overlap.variants import Category
from overlap_analysis.drawing import ImageFormat
from overlap_analysis.feature_figures import (
    DimensionCurve,
    MixCurve,
    NeededDimensions,
    Transfer,
    dimension_curves,
    mix_curves,
    needed_dimensions,
    similarity_scatter,
    transfer_scatter,
)

_SHOWN_SIMILARITIES = ("linear_cka", "mutual_knn", "mean_r2")
_WORDS = {category.word: int(category) for category in Category}


def feature_images(tables: Mapping[str, pl.DataFrame], image_format: ImageFormat = "svg") -> dict[str, bytes]:
    """A figure by name for each table that is there; of the similarities, against error inconsistency."""
    images: dict[str, bytes] = {}
    if "features_mixes" in tables:
        mixes = tables["features_mixes"]
        base = mixes["base"][0]
        curves = _mix_curves(mixes.filter(pl.col("base") == base))
        images["features_mixes"] = mix_curves(curves, base=base, image_format=image_format)
    if "features_dimensions" in tables and "features_targets" in tables:
        dimensions = _dimension_curves(tables["features_dimensions"], tables["features_targets"])
        images["features_dimensions"] = dimension_curves(dimensions, image_format=image_format)
        images["features_targets"] = needed_dimensions(_needs(tables["features_targets"]), image_format=image_format)
    if "downstream" in tables:
        words = tables["downstream"]["metric"][0].replace("_", " ")
        images["downstream"] = transfer_scatter(
            _transfers(tables["downstream"]), metric=words, image_format=image_format
        )
    if "similarity" in tables and "similarity_correlations" in tables:
        images["similarity"] = _similarity(tables["similarity"], tables["similarity_correlations"], image_format)
    return images


def _mix_curves(mixes: pl.DataFrame) -> list[MixCurve]:
    keys = ["other", "category"]
    curves = []
    for (other, category), rows in mixes.group_by(keys, maintain_order=True):
        means = rows.group_by("base_percent", "control").agg(
            pl.col("accuracy").mean().alias("mean"), pl.col("accuracy").std(ddof=0).fill_null(0).alias("sd")
        )
        drawn = means.filter(pl.col("control").is_null()).sort("base_percent", descending=True)
        control = means.filter(pl.col("control") == "base_only").select("base_percent", pl.col("mean").alias("alone"))
        drawn = drawn.join(control, on="base_percent", how="left", maintain_order="left")
        mean_S, sd_S = drawn["mean"].to_numpy(), drawn["sd"].to_numpy()
        curves.append(
            MixCurve(
                other=str(other),
                category=_WORDS[str(category)],
                base_percent_S=drawn["base_percent"].cast(pl.Float64).to_numpy(),
                accuracy_S3=np.column_stack([mean_S, mean_S - sd_S, mean_S + sd_S]),
                control_S=_with_whole_base(drawn),
            )
        )
    return curves


def _with_whole_base(drawn: pl.DataFrame) -> NDArray[np.float64]:
    """The control's accuracies; at 100 % the mix is the base alone."""
    alone = pl.when(pl.col("base_percent") == 100).then("mean").otherwise("alone")
    return drawn.select(alone.cast(pl.Float64).fill_null(np.nan)).to_series().to_numpy()


def _dimension_curves(dimensions: pl.DataFrame, targets: pl.DataFrame) -> list[DimensionCurve]:
    """Averaged over the pairs of a category, at shares of all dimensions: pairs may have different numbers of them."""
    total = pl.col("dimensions").max().over("base", "other")
    target_of = dict(targets.group_by("category").agg(pl.col("target").mean()).iter_rows())
    shares = dimensions.with_columns(share=(pl.col("dimensions") / total).round(2))
    curves = []
    for (category, ranking), rows in shares.group_by("category", "ranking", maintain_order=True):
        mean = rows.group_by("share").agg(pl.col("accuracy").mean()).sort("share")
        curves.append(
            DimensionCurve(
                category=_WORDS[str(category)],
                ranking=str(ranking),
                share_S=mean["share"].to_numpy(),
                accuracy_S=mean["accuracy"].to_numpy(),
                target=float(target_of[category]),
            )
        )
    return curves


def _needs(targets: pl.DataFrame) -> list[NeededDimensions]:
    return [
        NeededDimensions(
            category=_WORDS[str(category)],
            ranking=str(ranking),
            needed_P=rows["dimensions_needed"].cast(pl.Float64).fill_null(np.nan).to_numpy(),
        )
        for (category, ranking), rows in targets.group_by("category", "ranking", maintain_order=True)
    ]


def _transfers(downstream: pl.DataFrame) -> list[Transfer]:
    known = downstream.drop_nulls(["upstream_accuracy_a", "score"])
    return [
        Transfer(
            name=row["a"] if row["b"] is None else f"{row['a']} + {row['b']}",
            category=None if row["b"] is None else _WORDS[row["category"]],
            control=row["control"] is not None,
            upstream=max(row["upstream_accuracy_a"], row["upstream_accuracy_b"] or 0.0),
            score=row["score"],
            low=row["score_low"],
            high=row["score_high"],
        )
        for row in known.iter_rows(named=True)
    ]


def _similarity(pairs: pl.DataFrame, correlations: pl.DataFrame, image_format: ImageFormat) -> bytes:
    metric = "error_inconsistency"
    pairs = pairs.with_columns(mean_r2=(pl.col("r2_a_to_b") + pl.col("r2_b_to_a")) / 2)
    chosen = correlations.filter(pl.col("metric") == metric)
    ends = [pl.col(name).fill_null(np.nan) for name in ("pearson", "pearson_low", "pearson_high")]
    return similarity_scatter(
        {name: pairs[name].fill_null(np.nan).to_numpy() for name in _SHOWN_SIMILARITIES},
        pairs[metric].fill_null(np.nan).to_numpy(),
        np.array([_WORDS[word] for word in pairs["category"]], np.int8),
        r_3={
            name: chosen.filter(pl.col("similarity") == name).select(ends).to_numpy()[0] for name in _SHOWN_SIMILARITIES
        },
        error_name="error inconsistency",
        image_format=image_format,
    )
