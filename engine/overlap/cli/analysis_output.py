"""How the tables of an analysis are printed."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import typer

from overlap.cli import greedy, output

if TYPE_CHECKING:
    import polars as pl

    from overlap.analyses import Analysis

SHOWN_PAIRS = 5


def print_analysis(analysis: "Analysis") -> None:
    """What was found, in a screen or two."""
    tables = analysis.tables
    variants = tables["variants"]
    accuracies = variants["accuracy"].to_numpy()
    low, high = accuracies.min(), accuracies.max()
    typer.echo(f"{variants.height} variants on {analysis.dataset}: accuracy {low:.1%} to {high:.1%}")
    if analysis.missing:
        typer.echo(f"without a result, and left out: {', '.join(analysis.missing)}")
    if "published_accuracy" in variants.columns:
        _print_deviations(variants)
    for note in analysis.notes:
        typer.echo(note)
    if "pairs" in analysis.rows:
        typer.echo(f"{analysis.rows['pairs']:,} pairs")
    if "categories" in tables:
        _print_categories(tables["categories"], "means with 95 % intervals:")
        _print_trends(tables["trends"])
    if "ensembles" in tables:
        _print_ensembles(tables["ensembles"])
    if "specialization" in tables:
        _print_specialization(tables)
    if "shift" in tables:
        _print_shift(tables["shift"])
    if "greedy" in tables:
        greedy.print_greedy(dict(tables))
    if "low_accuracy_first" in tables:
        greedy.print_low_accuracy(tables["low_accuracy_first"])


def _print_deviations(variants: "pl.DataFrame") -> None:
    from overlap.published import TOLERANCE, deviating

    known, found = variants["published_accuracy"].count(), deviating(variants)
    typer.echo(f"{known} published accuracies; {found.height} variants are off by over {100 * TOLERANCE:g} points")
    for row in found.to_dicts():
        typer.echo(f"  {row['name']}: {row['accuracy']:.2%}, published {row['published_accuracy']:.2%}")


def _print_categories(categories: "pl.DataFrame", title: str) -> None:
    if categories.is_empty():
        return
    metrics = list(dict.fromkeys(categories["metric"]))
    rows = []
    for (word,), group in categories.group_by(["category"], maintain_order=True):
        cells = {row["metric"]: greedy.interval(row["mean"], row["low"], row["high"]) for row in group.to_dicts()}
        rows.append((str(word), f"{group['pairs'][0]:,}", *(cells[metric] for metric in metrics)))
    titles = [metric.replace("_", " ") for metric in metrics]
    output.print_table(["category", "pairs", *titles], rows, title=title)


def _print_specialization(tables: "Mapping[str, pl.DataFrame]") -> None:
    import polars as pl

    pairs = tables["specialization"]
    areas = tables["specialization_categories"].filter(pl.col("metric").str.ends_with("auroc"))
    title = "does confidence tell which of two is right? AUROC, 0.5 if not (θ, and the difference of log odds):"
    _print_categories(areas, title)
    differing = int(((pairs["classes_better_a"] + pairs["classes_better_b"]) > 0).sum())
    typer.echo(
        f"{differing:,} of {pairs.height:,} pairs differ on at least one class (false-discovery rate 5 %): "
        "tables specialization, class_differences"
    )


def _print_shift(shift: "pl.DataFrame") -> None:
    rows = [
        (
            row["metric"].replace("_", " ") + (" (probit)" if row["scale"] == "probit" else ""),
            f"{row['points']:,}",
            greedy.interval(row["pearson"], row["pearson_low"], row["pearson_high"]),
            greedy.interval(row["slope"], row["slope_low"], row["slope_high"]),
        )
        for row in shift.to_dicts()
    ]
    output.print_table(["", "points", "r", "slope"], rows, title="on the reference dataset against this one:")


def _print_trends(trends: "pl.DataFrame") -> None:
    tested = [
        f"{row['metric'].replace('_', ' ')} {row['direction']}: {row['effect']:.2f} (p = {row['p_value']:.3f})"
        for row in trends.to_dicts()
        if row["effect"] is not None
    ]
    if tested:
        typer.echo("from reinit to dataset, the chance that a pair of a later category has the larger value;")
        typer.echo(f"  0.5 without a trend: {', '.join(tested)}")


def _print_ensembles(ensembles: "pl.DataFrame") -> None:
    best = ensembles.sort("accuracy", descending=True, maintain_order=True).head(SHOWN_PAIRS)
    rows = [
        (
            row["a"],
            row["b"],
            row["rule"].replace("_", " "),
            f"{row['accuracy']:.2%}",
            f"{row['gain']:+.2%}",
            f"{row['improvement']:+.2%}",
        )
        for row in best.to_dicts()
    ]
    columns = ["a", "b", "rule", "accuracy", "over the better", "over the mean"]
    output.print_table(columns, rows, title="best two-model ensembles:")
