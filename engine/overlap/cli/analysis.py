"""`overlap analyze` and `report`: read a store, compute, print."""

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

import overlap
from overlap.cli import greedy, output
from overlap.errors import ArgumentError

if TYPE_CHECKING:
    import polars as pl

    from overlap.analyses import Analysis, Kind

SHOWN_PAIRS = 5


class Calibration(StrEnum):
    """The same words as `overlap.analyses.Calibration`, without its imports."""

    SPLIT = "split"
    NONE = "none"
    BOTH = "both"


class Rule(StrEnum):
    """How two models become one: the words of `overlap_analysis.RULES`, without its imports."""

    MEAN_PROBABILITY = "mean_probability"
    MEAN_LOGIT = "mean_logit"
    VOTE = "vote"
    MAX_CONFIDENCE = "max_confidence"


class Executor(StrEnum):
    """Where the work is done: the same words as `overlap.analyses.Where`, without its imports."""

    AUTO = "auto"
    RAY = "ray"
    INPROCESS = "inprocess"


DatasetOption = Annotated[str | None, typer.Option("--dataset", help="Of several evaluated datasets, this one.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON for scripts.")]


def analyze(
    target: Annotated[
        list[str],
        typer.Argument(
            metavar="[pairs|ensembles|categories|greedy|low_accuracy|all] STORE", help="A store or sweep file."
        ),
    ],
    *,
    dataset: DatasetOption = None,
    calibration: Annotated[
        Calibration, typer.Option("--calibration", help="Use the fitted temperatures; both: with and without.")
    ] = Calibration.SPLIT,
    rule: Annotated[
        list[Rule] | None, typer.Option("--rule", help="Of the two-model ensembles; all by default.")
    ] = None,
    intervals: Annotated[
        bool | None, typer.Option("--intervals/--no-intervals", help="Of every pair metric; on up to 5 million pairs.")
    ] = None,
    soft: Annotated[
        bool, typer.Option("--soft", help="Also compare probabilities: CAPA, Jensen-Shannon divergence, correlation.")
    ] = False,
    memory: Annotated[float, typer.Option("--memory", min=0.1, help="GiB to hold at once, about.")] = 2.0,
    executor: Annotated[Executor, typer.Option("--executor", help="Where to compute.")] = Executor.AUTO,
    address: Annotated[str | None, typer.Option("--address", help="A running Ray cluster.")] = None,
    published: Annotated[
        Path | None, typer.Option("--published", help="Check accuracies against timm's results-imagenet.csv.")
    ] = None,
    explain: Annotated[bool, typer.Option("--explain", help="Say where it was computed, and why.")] = False,
    json: Json = False,
    steps: greedy.Steps = 25,
    selection: greedy.Selection = "0.5",
    seed: greedy.Seed = 0,
    metric: greedy.By = greedy.Metric.ACCURACY,
    start: greedy.Start = None,
    sorted_start: greedy.SortedStart = 0,
    candidates: greedy.Candidates = "*",
    min_accuracy: greedy.MinAccuracy = 0.0,
    max_accuracy: greedy.MaxAccuracy = 1.0,
    replacement: greedy.Replacement = True,
    ties: greedy.TieRule = greedy.Ties.DEFAULT,
    at_most: greedy.AtMost = None,
    max_cost: greedy.MaxCost = None,
    stop_early: greedy.StopEarly = False,
    folds: greedy.Folds = 0,
    bags: greedy.Bags = 0,
) -> None:
    """Compute every pair, every two-model ensemble, the categories and a greedy ensemble.

    Example: overlap analyze greedy runs/digits --steps 10
    """
    from overlap.analyses import Calibration as Calibrated
    from overlap.analyses import Options, Where
    from overlap.published import read_published
    from overlap.selection.search import Metric as Chosen
    from overlap.selection.search import Search
    from overlap.standing import open_store
    from overlap_analysis import RULES

    kinds, store = _which(target)
    search = Search(
        steps=steps,
        selection=greedy.share_of(selection),
        seed=seed,
        metric=Chosen(metric.value),
        start=tuple(start or ()),
        sorted_start=sorted_start,
        candidates=candidates,
        accuracy=(min_accuracy, max_accuracy),
        replacement=replacement,
        ties=ties.value,
        at_most=greedy.limits_of(at_most),
        max_cost=greedy.costs_of(max_cost),
        stop_early=stop_early,
        folds=folds,
        bags=bags,
    )
    options = Options(
        search=search,
        calibration=Calibrated(calibration.value),
        rules=tuple(one.value for one in rule) if rule else RULES,
        intervals=intervals,
        soft=soft,
        memory_bytes=memory * 2**30,
        where=Where(executor.value),
        address=address,
        published=read_published(published) if published else {},
    )
    analysis = overlap.analyze(open_store(store), dataset=dataset, kinds=kinds, options=options)
    if json:
        output.print_json({name: table.to_dicts() for name, table in analysis.tables.items()})
        return
    _print_analysis(analysis)
    if explain:
        typer.echo(f"where: {analysis.where.value}, {analysis.why}")


def report(
    target: Annotated[str, typer.Argument(help="A store or sweep file.")], *, dataset: DatasetOption = None
) -> None:
    """Write the report: one HTML page that needs no network."""
    from overlap.standing import open_store

    store = open_store(target)
    name = overlap.report(store, dataset=dataset)
    typer.echo(f"{store.objects.url}/{name}")


def _which(target: list[str]) -> tuple["tuple[Kind, ...]", str]:
    """The analyses and the store in `analyze`'s arguments."""
    from overlap.analyses import Kind

    *words, store = target
    if len(words) > 1:
        raise ArgumentError(f"expected one analysis and a store, got {' '.join(target)}")
    word = words[0] if words else "all"
    if word == "all":
        return tuple(Kind), store
    if word not in list(Kind):
        raise ArgumentError(f"'{word}' is no analysis; known are {', '.join(Kind)}, all")
    return (Kind(word),), store


def _print_analysis(analysis: "Analysis") -> None:
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
        _print_categories(tables["categories"])
        _print_trends(tables["trends"])
    if "ensembles" in tables:
        _print_ensembles(tables["ensembles"])
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


def _print_categories(categories: "pl.DataFrame") -> None:
    if categories.is_empty():
        return
    metrics = list(dict.fromkeys(categories["metric"]))
    rows = []
    for (word,), group in categories.group_by(["category"], maintain_order=True):
        cells = {row["metric"]: greedy.interval(row["mean"], row["low"], row["high"]) for row in group.to_dicts()}
        rows.append((str(word), f"{group['pairs'][0]:,}", *(cells[metric] for metric in metrics)))
    titles = [metric.replace("_", " ") for metric in metrics]
    output.print_table(["category", "pairs", *titles], rows, title="means with 95 % intervals:")


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
