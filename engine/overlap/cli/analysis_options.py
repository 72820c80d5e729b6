"""The options of `overlap analyze` by analysis, and what they say to the engine."""

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from overlap.errors import ArgumentError

if TYPE_CHECKING:
    from overlap.features.request import FeatureRequest


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


def _features(name: str, text: str, **details: Any) -> Any:  # noqa: ANN401 - as typer.Option
    return typer.Option(name, help=text, rich_help_panel="Embeddings", **details)


DatasetOption = Annotated[str | None, typer.Option("--dataset", help="Of several, this dataset; else the first.")]


@dataclass(frozen=True, slots=True, kw_only=True)
class Common:
    """What every analysis takes."""

    store: Annotated[str, typer.Argument(help="A store or sweep file.")]
    dataset: DatasetOption = None
    calibration: Annotated[
        Calibration, typer.Option("--calibration", help="Use the fitted temperatures; both: with and without.")
    ] = Calibration.SPLIT
    memory: Annotated[float, typer.Option("--memory", min=0.1, help="GiB to hold at once, about.")] = 2.0
    executor: Annotated[Executor, typer.Option("--executor", help="Where to compute.")] = Executor.AUTO
    address: Annotated[str | None, typer.Option("--address", help="A running Ray cluster.")] = None
    published: Annotated[
        Path | None, typer.Option("--published", help="Check accuracies against timm's results-imagenet.csv.")
    ] = None
    explain: Annotated[bool, typer.Option("--explain", help="Say where it was computed, and why.")] = False
    json: Annotated[bool, typer.Option("--json", help="Print JSON for scripts.")] = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Pairs:
    """Which metrics of pairs."""

    intervals: Annotated[
        bool | None, typer.Option("--intervals/--no-intervals", help="Of every pair metric; on up to 5 million pairs.")
    ] = None
    soft: Annotated[
        bool, typer.Option("--soft", help="Also compare probabilities: CAPA, Jensen-Shannon divergence, correlation.")
    ] = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Ensembles:
    """Which ensembles of two."""

    rule: Annotated[list[Rule] | None, typer.Option("--rule", help="Of the two-model ensembles; all by default.")] = (
        None
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Base:
    """Which variant the others are compared with."""

    base: Annotated[
        str | None, typer.Option("--base", help="The variant that others are compared with; the one with most reinits.")
    ] = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassGroups:
    """Which classes belong together."""

    class_groups: Annotated[
        Path | None, typer.Option("--class-groups", help="YAML with groups of classes: grouping: {group: [classes]}.")
    ] = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """Which variants categories are compared among."""

    window: Annotated[
        str | None,
        typer.Option(
            "--window",
            metavar="LOW:HIGH",
            help="Accuracies to compare categories among, as 0.74:0.78; two points about the base.",
        ),
    ] = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """Which dataset a shift is from."""

    reference: Annotated[
        str | None, typer.Option("--reference", help="The dataset to compare with; the first that was evaluated.")
    ] = None
    baseline: Annotated[
        str,
        typer.Option("--baseline", help="Glob of the variants that the line under shift goes through."),
    ] = "*"


@dataclass(frozen=True, slots=True, kw_only=True)
class Features:
    """What embeddings are asked for."""

    partners: Annotated[int, _features("--partners", "So many of each category, those nearest in accuracy.", min=1)] = 3
    pair: Annotated[
        list[str] | None, _features("--pair", "This pair instead, the base first; may be repeated.", metavar="A,B")
    ] = None
    grid: Annotated[
        int, _features("--grid", "How many L2 penalties to choose from; 45: those of Kornblith et al.", min=1)
    ] = 7
    draws: Annotated[int, _features("--draws", "Random choices of dimensions.", min=1)] = 5
    step: Annotated[
        int, _features("--step", "Dimensions are added so many at a time; 0: a sixteenth of both.", min=0)
    ] = 0
    target: Annotated[float | None, _features("--target", "Accuracy to reach; the base's own by default.")] = None
    examples: Annotated[int, _features("--examples", "Similarity is computed on so many at most.", min=8)] = 2000
    labels: Annotated[
        Path | None, _features("--labels", "Parquet or CSV with `example` and a 0/1 column a label, for downstream.")
    ] = None
    device: Annotated[str, _features("--device", "Of the probes, as torch names it; a GPU if there is one.")] = ""


def request_of(base: Base, features: Features) -> "FeatureRequest":
    """What is asked of embeddings.

    Raises:
        ArgumentError: a pair cannot be read.
    """
    from overlap.features.request import FeatureRequest

    return FeatureRequest(
        base=base.base or "",
        partners=features.partners,
        pairs=tuple(_pair_of(text) for text in features.pair or ()),
        grid=features.grid,
        draws=features.draws,
        step=features.step,
        target=features.target,
        examples=features.examples,
        labels=features.labels,
        device=features.device,
    )


def _pair_of(text: str) -> tuple[str, str]:
    first, comma, second = text.partition(",")
    if not (first and comma and second):
        raise ArgumentError(f"--pair takes two variants, as in resnet50,vit_base, got '{text}'")
    return first, second


def category_options(base: Base, window: Window) -> dict[str, Any]:
    """Which pairs categories are compared among.

    Raises:
        ArgumentError: the window cannot be read.
    """
    from overlap.pairwise.scopes import CategoryOptions

    return {"categories": CategoryOptions(base=base.base, window=_window_of(window.window))}


def _window_of(text: str | None) -> tuple[float, float] | None:
    if text is None:
        return None
    low, _, high = text.partition(":")
    try:
        return float(low), float(high)
    except ValueError:
        raise ArgumentError(f"--window takes LOW:HIGH, as in 0.74:0.78, got '{text}'") from None


def shift_options(reference: Reference) -> dict[str, Any]:
    """Which datasets and variants a shift is between."""
    return {"reference": reference.reference, "baseline": reference.baseline}


def pair_options(pairs: Pairs) -> dict[str, Any]:
    """Which metrics of pairs."""
    return {"intervals": pairs.intervals, "soft": pairs.soft}


def ensemble_options(ensembles: Ensembles) -> dict[str, Any]:
    """Which two-model ensembles."""
    return {"rules": tuple(one.value for one in ensembles.rule)} if ensembles.rule else {}


def specialization_options(base: Base, groups: ClassGroups) -> dict[str, Any]:
    """What confidences and classes are compared by."""
    from overlap.specialization.tables import SpecializationOptions

    return {"specialization": SpecializationOptions(base=base.base, class_groups=groups.class_groups)}
