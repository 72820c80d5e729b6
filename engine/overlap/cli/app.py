"""The tree of commands."""

from typing import Annotated

import typer

from overlap.cli import analyze, export, models, predictions, report, sweep

app = typer.Typer(
    name="overlap",
    help="Which vision models fail on different examples, and what they make together.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)
app.add_typer(sweep.app, name="sweep")
app.add_typer(predictions.app, name="predictions")
app.add_typer(analyze.app, name="analyze")
app.command("export")(export.export)
app.command("report")(report.report)
app.command("models")(models.models)


def _print_version(asked: bool) -> None:
    if asked:
        from importlib.metadata import version

        typer.echo(version("overlap"))
        raise typer.Exit


@app.callback()
def _main(
    *,
    _version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Which vision models fail on different examples, and what they make together."""
