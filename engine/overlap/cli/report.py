"""`overlap report`: write one page about a store."""

from typing import Annotated

import typer

import overlap
from overlap.cli.analysis_options import DatasetOption


def report(
    target: Annotated[str, typer.Argument(help="A store or sweep file.")],
    *,
    dataset: DatasetOption = None,
    thumbnails: Annotated[
        bool, typer.Option("--thumbnails", help="Add small images of the examples that the pair explorer lists.")
    ] = False,
) -> None:
    """Write the report: one HTML page that needs no network."""
    from overlap.standing import open_store

    store = open_store(target)
    name = overlap.report(store, dataset=dataset, thumbnails=thumbnails)
    typer.echo(f"{store.objects.url}/{name}")
