"""The options of greedy selection, and how its tables are printed."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from overlap.cli import output
from overlap.errors import ArgumentError

if TYPE_CHECKING:
    import polars as pl

    from overlap.selection.search import Search

PANEL = "Greedy selection"


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


def _option(name: str, text: str, **details: Any) -> Any:  # noqa: ANN401 - as typer.Option
    return typer.Option(name, help=text, rich_help_panel=PANEL, **details)


@dataclass(frozen=True, slots=True, kw_only=True)
class Choices:
    """How greedy selection searches."""

    steps: Annotated[int, _option("--steps", "Members at most.", min=1)] = 25
    selection: Annotated[str, _option("--selection", "Share of examples that choose, or 'all'.")] = "0.5"
    seed: Annotated[int, _option("--seed", "Of the shares, folds and bags.")] = 0
    metric: Annotated[Metric, _option("--metric", "What to choose by.")] = Metric.ACCURACY
    start: Annotated[list[str] | None, _option("--start", "A first member; may be repeated.")] = None
    sorted_start: Annotated[int, _option("--sorted-start", "Begin with this many of the best.", min=0)] = 0
    candidates: Annotated[str, _option("--candidates", "Glob of variants that may be added.")] = "*"
    min_accuracy: Annotated[float, _option("--min-accuracy", "Of the candidates on their own.")] = 0.0
    max_accuracy: Annotated[float, _option("--max-accuracy", "Of the candidates on their own.")] = 1.0
    replacement: Annotated[bool, _option("--replacement/--no-replacement", "Whether a member may be added again.")] = (
        True
    )
    ties: Annotated[Ties, _option("--ties", "Which of equally good candidates is added.")] = Ties.DEFAULT
    at_most: Annotated[
        list[str] | None,
        _option("--at-most", "Distinct members of one architecture, framework or train_on.", metavar="LEVEL=N"),
    ] = None
    max_cost: Annotated[
        list[str] | None,
        _option(
            "--max-cost", "Of all distinct members: gmacs (an image) or seconds (as measured).", metavar="NAME=NUMBER"
        ),
    ] = None
    stop_early: Annotated[bool, _option("--stop-early", "End where nothing better can follow.")] = False
    folds: Annotated[int, _option("--folds", "Also cross-validate the selection in this many parts.", min=0)] = 0
    bags: Annotated[int, _option("--bags", "Also join this many paths, each among half of the candidates.", min=0)] = 0


def search_of(choices: Choices) -> "Search":
    """The search that these choices describe.

    Raises:
        ArgumentError: a choice cannot be read.
    """
    from overlap.selection.search import Metric as Chosen
    from overlap.selection.search import Search

    return Search(
        steps=choices.steps,
        selection=share_of(choices.selection),
        seed=choices.seed,
        metric=Chosen(choices.metric.value),
        start=tuple(choices.start or ()),
        sorted_start=choices.sorted_start,
        candidates=choices.candidates,
        accuracy=(choices.min_accuracy, choices.max_accuracy),
        replacement=choices.replacement,
        ties=choices.ties.value,
        at_most=limits_of(choices.at_most),
        max_cost=costs_of(choices.max_cost),
        stop_early=choices.stop_early,
        folds=choices.folds,
        bags=choices.bags,
    )


def share_of(text: str) -> float:
    """A share of the examples, above 0 and at most 1.

    Raises:
        ArgumentError: it is none.
    """
    try:
        share = 1.0 if text == "all" else float(text)
    except ValueError:
        share = -1.0
    if not 0 < share <= 1:
        raise ArgumentError(f"--selection takes a share above 0 and at most 1, or 'all', got '{text}'")
    return share


def limits_of(texts: Sequence[str] | None) -> dict[str, int]:
    """How many distinct members of each level.

    Raises:
        ArgumentError: a text is not LEVEL=N.
    """
    limits = {}
    for text in texts or ():
        name, _, number = text.partition("=")
        if not number.isdecimal():
            raise ArgumentError(f"--at-most takes LEVEL=N, as in architecture=2, got '{text}'")
        limits[name] = int(number)
    return limits


def costs_of(texts: Sequence[str] | None) -> dict[str, float]:
    """What all distinct members may cost.

    Raises:
        ArgumentError: a text is not NAME=NUMBER.
    """
    costs = {}
    for text in texts or ():
        name, _, number = text.partition("=")
        try:
            costs[name] = float(number)
        except ValueError:
            raise ArgumentError(f"--max-cost takes NAME=NUMBER, as in gmacs=20, got '{text}'") from None
    return costs


def print_greedy(tables: "dict[str, pl.DataFrame]") -> None:
    """The path, what it must beat, and what the folds say."""
    greedy = tables["greedy"]
    metric = greedy["metric"][0] if greedy.height else "accuracy"
    rows = [
        (
            str(row["step"]),
            row["variant"],
            f"{row['selection_accuracy']:.2%}",
            interval(row["evaluation_accuracy"], row["evaluation_low"], row["evaluation_high"]),
            *([] if metric == "accuracy" else [f"{row['selection_score']:.4f}"]),
        )
        for row in greedy.to_dicts()
    ]
    columns = ["step", "variant", "selection", "evaluation", *([] if metric == "accuracy" else [metric])]
    chosen, held_out = greedy["selection_examples"][0], greedy["evaluation_examples"][0]
    title = f"greedy selection, chosen on {chosen:,} examples and evaluated on {held_out:,} others:"
    output.print_table(columns, rows, title=title)
    for row in tables["greedy_references"].to_dicts():
        found = interval(row["evaluation_accuracy"], row["evaluation_low"], row["evaluation_high"])
        typer.echo(f"{row['reference']} {row['variant'] or ''}: {found}".replace(" :", ":"))
    losses = metric in ("nll", "brier")
    best = greedy.sort("selection_score", descending=not losses, maintain_order=True).row(0, named=True)
    if best["evaluation_accuracy"] is not None:
        gap = best["selection_accuracy"] - best["evaluation_accuracy"]
        typer.echo(f"best prefix: {best['step']} members; selection flatters it by {gap:+.2%}")
    if "greedy_folds" in tables:
        folds = tables["greedy_folds"]
        means = [folds[f"{name}_accuracy"].to_numpy().mean() for name in ("selection", "held_out")]
        typer.echo(f"{folds.height} folds: {means[0]:.2%} where chosen, {means[1]:.2%} where held out")


def print_low_accuracy(first: "pl.DataFrame") -> None:
    """What the best first weaker model adds to each strong one, and where each path leads."""
    rows = [
        (
            row["start"],
            f"{row['start_accuracy']:.2%}",
            row["variant"],
            f"{row['variant_accuracy']:.2%}",
            f"{row['evaluation_accuracy']:.2%}",
            f"{row['gain']:+.2%}",
            f"{row['best_of_path']:.2%}",
            f"{row['best_of_reported_path']:.2%}",
        )
        for row in first.to_dicts()
    ]
    columns = [
        "start",
        "alone",
        "best first addition",
        "alone",
        "together",
        "gain",
        "best of path",
        "if chosen on these",
    ]
    output.print_table(columns, rows, title="weaker models added to strong ones, on held-out examples:")


def interval(value: float | None, low: float | None, high: float | None) -> str:
    """A number with its interval, or the interval alone where only bounds are known."""
    if value is None:
        return "undefined" if low is None else f"between {low:.3f} and {high:.3f}"
    return f"{value:.3f} [{low:.3f}, {high:.3f}]"
