"""`overlap analyze` and `report`: read a store, compute, print."""

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

import overlap
from overlap.cli import output
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


class Metric(StrEnum):
    """What an ensemble is chosen by: the words of `overlap.selection.search.Metric`, without its imports."""

    ACCURACY = "accuracy"
    BALANCED_ACCURACY = "balanced_accuracy"
    TOP5 = "top5"
    NLL = "nll"
    BRIER = "brier"


class Ties(StrEnum):
    """Which of equally good candidates is added: the words of `overlap_analysis.Ties`."""

    DEFAULT = "default"
    AUTOGLUON = "autogluon"


_GREEDY = "Greedy selection"
DatasetOption = Annotated[str | None, typer.Option("--dataset", help="Of several evaluated datasets, this one.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON for scripts.")]


def analyze(
    target: Annotated[
        list[str],
        typer.Argument(metavar="[pairs|ensembles|categories|greedy|all] STORE", help="A store or sweep file."),
    ],
    *,
    dataset: class Metric(StrEnum):
    """What an ensemble is chosen by: the words of `overlap.selection.search.Metric`, without its imports."""

    ACCURACY = "accuracy"
    BALANCED_ACCURACY = "balanced_accuracy"
    TOP5 = "top5"
    NLL = "nll"
    BRIER = "brier"


class Ties(StrEnum):
    """Which of equally good candidates is added: the words of `overlap_analysis.Ties`."""

    DEFAULT = "default"
    AUTOGLUON = "autogluon"


_GREEDY = "Greedy selection"
DatasetOption = None,
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
    steps: Annotated[int, typer.Option("--steps", min=1, help="Members at most.", rich_help_panel=_GREEDY)] = 25,
    selection: Annotated[
        str, typer.Option("--selection", help="Share of examples that choose, or 'all'.", rich_help_panel=_GREEDY)
    ] = "0.5",
    metric: Annotated[
        Metric, typer.Option("--metric", help="What to choose by.", rich_help_panel=_GREEDY)
    ] = Metric.ACCURACY,
    start: Annotated[
        list[str] | None, typer.Option("--start", help="A first member; may be repeated.", rich_help_panel=_GREEDY)
    ] = None,
    sorted_start: Annotated[
        int, typer.Option("--sorted-start", min=0, help="Begin with this many of the best.", rich_help_panel=_GREEDY)
    ] = 0,
    candidates: Annotated[
        str, typer.Option("--candidates", help="Glob of variants that may be added.", rich_help_panel=_GREEDY)
    ] = "*",
    min_accuracy: Annotated[
        float, typer.Option("--min-accuracy", help="Of candidates, on their own.", rich_help_panel=_GREEDY)
    ] = 0.0,
    max_accuracy: Annotated[
        float, typer.Option("--max-accuracy", help="Of candidates, on their own.", rich_help_panel=_GREEDY)
    ] = 1.0,
    replacement: Annotated[
        bool,
        typer.Option("--replacement/--no-replacement", help="May a member be added again?", rich_help_panel=_GREEDY),
    ] = True,
    ties: Annotated[
        Ties, typer.Option("--ties", help="Which of equally good candidates is added.", rich_help_panel=_GREEDY)
    ] = Ties.DEFAULT,
    at_most: Annotated[
        list[str] | None,
        typer.Option(
            "--at-most",
            metavar="LEVEL=N",
            help="Distinct members of one architecture, framework or train_on.",
            rich_help_panel=_GREEDY,
        ),
    ] = None,
    max_gmacs: Annotated[
        float | None,
        typer.Option("--max-gmacs", help="Of distinct members together, an image.", rich_help_panel=_GREEDY),
    ] = None,
    stop_early: Annotated[
        bool, typer.Option("--stop-early", help="End where nothing better can follow.", rich_help_panel=_GREEDY)
    ] = False,
    folds: Annotated[
        int, typer.Option("--folds", help="Also select on all but one of so many parts.", rich_help_panel=_GREEDY)
    ] = 0,
    bags: Annotated[
        int,
        typer.Option("--bags", min=0, help="Also join paths among random halves.", rich_help_panel=_GREEDY),
    ] = 0,
    seed: Annotated[
        int, typer.Option("--seed", help="Of shares, folds and bags of examples.", rich_help_panel=_GREEDY)
    ] = 0,
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
        selection=_share(selection),
        seed=seed,
        metric=Chosen(metric.value),
        start=tuple(start or ()),
        candidates=candidates,
        accuracy=(min_accuracy, max_accuracy),
        replacement=replacement,
        sorted_start=sorted_start,
        ties=ties.value,
        at_most=dict(map(_level, at_most or ())),
        max_gmacs=max_gmacs,
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
    target: Annotated[str, typer.Argument(help="A store or sweep file.")], *, dataset: class Metric(StrEnum):
    """What an ensemble is chosen by: the words of `overlap.selection.search.Metric`, without its imports."""

    ACCURACY = "accuracy"
    BALANCED_ACCURACY = "balanced_accuracy"
    TOP5 = "top5"
    NLL = "nll"
    BRIER = "brier"


class Ties(StrEnum):
    """Which of equally good candidates is added: the words of `overlap_analysis.Ties`."""

    DEFAULT = "default"
    AUTOGLUON = "autogluon"


_GREEDY = "Greedy selection"
DatasetOption = None
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


def _share(text: str) -> float:
    try:
        share = 1.0 if text == "all" else float(text)
    except ValueError:
        share = -1.0
    if not 0 < share <= 1:
        raise ArgumentError(f"--selection takes a share above 0 and at most 1, or 'all', got '{text}'")
    return share


def _level(text: str) -> tuple[str, int]:
    name, _, number = text.partition("=")
    if not number.isdecimal():
        raise ArgumentError(f"--at-most takes LEVEL=N, as in architecture=2, got '{text}'")
    return name, int(number)


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
        _print_greedy(tables["greedy"], tables["greedy_references"])
    if "greedy_folds" in tables:
        _print_folds(tables["greedy_folds"])


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
        cells = {row["metric"]: _interval(row["mean"], row["low"], row["high"]) for row in group.to_dicts()}
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


def _print_greedy(greedy: "pl.DataFrame", references: "pl.DataFrame") -> None:
    rows = [
        (
            str(row["step"]),
            row["variant"],
            f"{row['selection_accuracy']:.2%}",
            _interval(row["evaluation_accuracy"], row["evaluation_low"], row["evaluation_high"]),
        )
        for row in greedy.to_dicts()
    ]
    chosen, held_out = greedy["selection_examples"][0], greedy["evaluation_examples"][0]
    title = f"greedy selection, chosen on {chosen:,} examples and evaluated on {held_out:,} others:"
    output.print_table(["step", "variant", "selection", "evaluation"], rows, title=title)
    best = greedy.sort("selection_accuracy", descending=True, maintain_order=True).row(0, named=True)
    for row in references.to_dicts():
        interval = _interval(row["evaluation_accuracy"], row["evaluation_low"], row["evaluation_high"])
        typer.echo(f"{row['reference']} {row['variant'] or ''}: {interval}".replace(" :", ":"))
    if best["evaluation_accuracy"] is not None:
        gap = best["selection_accuracy"] - best["evaluation_accuracy"]
        typer.echo(f"best prefix: {best['step']} members; selection flatters it by {gap:+.2%}")


def _interval(value: float | None, low: float | None, high: float | None) -> str:
    return "undefined" if value is None else f"{value:.3f} [{low:.3f}, {high:.3f}]"
