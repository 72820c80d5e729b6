"""`overlap predictions`: import those that were made elsewhere, check those that are stored."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

import overlap
from overlap.cli import output
from overlap.errors import ArgumentError

if TYPE_CHECKING:
    from overlap.imports import Imported

CORRUPT = 4

app = typer.Typer(help="Import predictions, and check stored ones.", no_args_is_help=True)

Json = Annotated[bool, typer.Option("--json", help="Print JSON for scripts.")]


@app.command("import")
def import_(
    files: Annotated[
        list[Path], typer.Argument(metavar="FILES", help="Parquet, CSV or npz files.", show_default=False)
    ],
    *,
    store: Annotated[str, typer.Option("--store", help="The store to fill: a folder, s3://… or gs://…")],
    dataset: Annotated[str, typer.Option("--dataset", help="What the examples are called, such as imagenet-val.")],
    classes: Annotated[
        str | None,
        typer.Option(
            "--classes",
            metavar="FILE|NAME",
            help="The classes in order: a file with a name a line, or a label space such as imagenet-1k.",
        ),
    ] = None,
    variants: Annotated[
        Path | None,
        typer.Option("--variants", help="A CSV that says what the variants are, for the categories of their pairs."),
    ] = None,
    column: Annotated[
        list[str] | None,
        typer.Option("--column", metavar="OURS=THEIRS", help="What a column is called in the files; may be repeated."),
    ] = None,
    replace: Annotated[bool, typer.Option("--replace", help="Take files whose content has changed.")] = False,
    json: Json = False,
) -> None:
    """Fill a store with predictions that were made elsewhere, for everything else to work on.

    Each file has a row an example, with the columns example (a number or a
    name), label, and one of: logits; probabilities; top_classes and
    top_probabilities, from the most probable down; prediction. A file is one
    variant, called like the file; a column named variant makes it several.
    Labels and predictions are numbers from 0, or names of classes. All
    variants must have the same examples, in any order.

    Files that were imported before are left alone. More variants of the same
    examples may join them at any time.

    The table of --variants has the columns name, architecture, framework,
    train_on, hyperparameters (JSON) and seed; a cell may be empty. A pair
    whose category does not follow from what is known has category unknown.

    Example: overlap predictions import models/*.parquet --store runs/mine --dataset val
    """
    from overlap.imports import import_predictions
    from overlap.store import Store, open_objects

    imported = import_predictions(
        files,
        Store(open_objects(store)),
        dataset=dataset,
        classes=classes,
        variants=variants,
        columns=_columns(column or []),
        replace=replace,
    )
    if json:
        output.print_json(_as_json(imported))
    else:
        _print_imported(imported)


@app.command()
def verify(
    target: Annotated[str, typer.Argument(help="A store or sweep file.")],
    *,
    deep: Annotated[bool, typer.Option("--deep", help="Read the logits too.")] = False,
    json: Json = False,
) -> None:
    """Read every stored result, check page checksums, keys and payload hashes."""
    from overlap.standing import open_store

    count, damage = overlap.verify(open_store(target), deep=deep)
    if json:
        output.print_json({"files": count, "damaged": [{"name": d.name, "problem": d.problem} for d in damage]})
    else:
        for found in damage:
            typer.echo(f"{found.name}: {found.problem}")
        typer.echo(f"{count} files read, {len(damage)} problems")
    if damage:
        raise typer.Exit(CORRUPT)


def _columns(pairs: list[str]) -> dict[str, str]:
    """Our name of each column -> the files'."""
    columns = {}
    for pair in pairs:
        ours, equals, theirs = pair.partition("=")
        if not (ours and equals and theirs):
            raise ArgumentError(f"--column takes OURS=THEIRS, such as label=category, got '{pair}'")
        columns[ours] = theirs
    return columns


_MEANS = {
    "logits": "all outputs: everything but calibration",
    "top": "the most probable classes: pairs, votes; ensembles and greedy selection take the others as 0; no NLL",
    "prediction": "one class an example: pairs and votes; no NLL, no mean of probabilities, no greedy selection",
}


def _print_imported(imported: "Imported") -> None:
    before = len(imported.variants) - imported.new
    typer.echo(
        f"{len(imported.variants)} variants on {imported.dataset}: {imported.examples:,} examples, "
        f"{imported.classes:,} classes; {imported.new} imported now" + (f", {before} there before" if before else "")
    )
    for name in imported.put_aside:
        typer.echo(f"damaged and put aside: {name}")
    for outputs, meaning in _MEANS.items():
        count = sum(variant.outputs == outputs for variant in imported.variants)
        if count:
            typer.echo(f"  {count:,} with {meaning}")
    for variant in imported.variants:
        if variant.unanswered:
            typer.echo(f"  {variant.name}: {variant.unanswered:,} examples without a prediction, counted as wrong")
    typer.echo(f"store {imported.store}")
    typer.echo(f"next: overlap analyze {imported.store}")


def _as_json(imported: "Imported") -> dict[str, object]:
    return {
        "store": imported.store,
        "dataset": imported.dataset,
        "examples": imported.examples,
        "classes": imported.classes,
        "variants": [
            {"name": one.name, "outputs": one.outputs, "unanswered": one.unanswered, "new": one.new}
            for one in imported.variants
        ],
        "put_aside": list(imported.put_aside),
    }
