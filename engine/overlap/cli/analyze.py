"""`overlap analyze`: read a store, compute, print; a word chooses one analysis and its own options."""

from collections.abc import Sequence
from typing import Any

import typer
from typer.core import TyperGroup

import overlap
from overlap.cli import analysis_output, output
from overlap.cli.analysis_options import (
    Base,
    ClassGroups,
    Common,
    Ensembles,
    Features,
    Pairs,
    Reference,
    Window,
    category_options,
    ensemble_options,
    pair_options,
    request_of,
    shift_options,
    specialization_options,
)
from overlap.cli.greedy import Choices, search_of
from overlap.cli.parameters import flat
from overlap.errors import ArgumentError

EVERYTHING = "all"


class _Analyze(TyperGroup):
    """Without the name of an analysis, all of them."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:  # noqa: ANN401 - of the library that typer carries
        """Finds the command of the first word."""
        if not args or args[0] not in self.commands:
            self._check(args)
            args = [EVERYTHING, *args]
        return super().resolve_command(ctx, args)

    def _check(self, args: Sequence[str]) -> None:
        words = [word for word in args if not word.startswith("-")]
        if len(words) == 2 and len(args) == 2:
            known = ", ".join(self.commands)
            raise ArgumentError(f"'{words[0]}' is no analysis; known are {known}")


app = typer.Typer(
    cls=_Analyze,
    context_settings={"ignore_unknown_options": True},
    no_args_is_help=True,
    help="""Compute pairs, ensembles, categories, specialization and selections from a store.

    Without a word for one analysis, all of them.

    Example: overlap analyze runs/digits, or overlap analyze greedy runs/digits --steps 10
    """,
)


@app.command(EVERYTHING)
@flat
def everything(
    common: Common,
    pairs: Pairs,
    ensembles: Ensembles,
    base: Base,
    window: Window,
    groups: ClassGroups,
    choices: Choices,
    reference: Reference,
) -> None:
    """All analyses that the store has the material for, but for features and downstream, which may take hours."""
    _run(
        common,
        None,
        **pair_options(pairs),
        **ensemble_options(ensembles),
        **category_options(base, window),
        **specialization_options(base, groups),
        search=search_of(choices),
        **shift_options(reference),
    )


@app.command("pairs")
@flat
def pair_metrics(common: Common, pairs: Pairs) -> None:
    """Joint outcomes of every two variants, and every metric of them with its interval."""
    _run(common, "pairs", **pair_options(pairs))


@app.command("ensembles")
@flat
def two_model_ensembles(common: Common, ensembles: Ensembles) -> None:
    """The exact accuracy of every ensemble of two."""
    _run(common, "ensembles", **ensemble_options(ensembles))


@app.command("categories")
@flat
def categories(common: Common, base: Base, window: Window) -> None:
    """Means by how two variants differ, with controls, the trend and a regression."""
    _run(common, "categories", **category_options(base, window))


@app.command("specialization")
@flat
def specialization(common: Common, base: Base, groups: ClassGroups) -> None:
    """Who is more confident where one of two is right, and on which classes one of them is better."""
    _run(common, "specialization", **specialization_options(base, groups))


@app.command("greedy")
@flat
def greedy_selection(common: Common, choices: Choices) -> None:
    """An ensemble selected step by step, judged on examples that did not choose it.

    Example: overlap analyze greedy runs/digits --steps 10
    """
    _run(common, "greedy", search=search_of(choices))


@app.command("low_accuracy")
@flat
def low_accuracy(common: Common, choices: Choices) -> None:
    """What strong variants gain from weaker ones."""
    _run(common, "low_accuracy", search=search_of(choices))


@app.command("similarity")
@flat
def similarity(common: Common, base: Base, features: Features) -> None:
    """CKA, nearest neighbors and regression between embeddings, beside how errors correlate."""
    _run(common, "similarity", features=request_of(base, features))


@app.command("features")
@flat
def overlapping_features(common: Common, base: Base, features: Features) -> None:
    """Probes of mixed embeddings, and how few dimensions of two variants suffice."""
    _run(common, "features", features=request_of(base, features))


@app.command("downstream")
@flat
def downstream(common: Common, base: Base, features: Features, reference: Reference) -> None:
    """Probes of single and joined embeddings on another dataset.

    Example: overlap analyze downstream runs/imagenet --dataset flowers --reference val
    """
    _run(common, "downstream", features=request_of(base, features), **shift_options(reference))


@app.command("shift")
@flat
def shift(common: Common, reference: Reference) -> None:
    """Accuracy and agreement on one dataset against those on another.

    Example: overlap analyze shift runs/imagenet --dataset sketch --reference val
    """
    _run(common, "shift", **shift_options(reference))


def _run(common: Common, kind: str | None, **chosen: Any) -> None:  # noqa: ANN401 - fields of Options
    """Computes one analysis, or all, and prints what was found."""
    from overlap.analyses import EVERYTHING as ALL
    from overlap.analyses import Calibration as Calibrated
    from overlap.analyses import Kind, Options, Where
    from overlap.published import read_published
    from overlap.standing import open_store

    options = Options(
        calibration=Calibrated(common.calibration.value),
        memory_bytes=common.memory * 2**30,
        where=Where(common.executor.value),
        address=common.address,
        published=read_published(common.published) if common.published else {},
        **chosen,
    )
    kinds = ALL if kind is None else (Kind(kind),)
    analysis = overlap.analyze(open_store(common.store), dataset=common.dataset, kinds=kinds, options=options)
    if common.json:
        output.print_json({name: table.to_dicts() for name, table in analysis.tables.items()})
        return
    analysis_output.print_analysis(analysis)
    if common.explain:
        typer.echo(f"where: {analysis.where.value}, {analysis.why}")
