"""`overlap sweep`: plan, launch, status, retry, logs, schema."""

import contextlib
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

import overlap
from overlap.cli import output
from overlap.cli.progress import LiveView

PARTIAL = 2

app = typer.Typer(help="Plan and run sweeps.", no_args_is_help=True)

SweepFile = Annotated[Path, typer.Argument(help="A sweep file, such as sweeps/digits.yaml.", show_default=False)]
Target = Annotated[str, typer.Argument(help="A sweep file or a store.", show_default=False)]
StoreOption = Annotated[str | None, typer.Option("--store", help="Use this store, not the file's.")]
AddressOption = Annotated[str | None, typer.Option("--address", help="A running Ray cluster; none starts a local one.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON for scripts.")]


class Executor(StrEnum):
    """Where jobs run: the same words as `overlap.launcher.ExecutorKind`, without its imports."""

    RAY = "ray"
    INPROCESS = "inprocess"


ExecutorOption = Annotated[Executor, typer.Option("--executor", help="Ray, or one by one in this process.")]


@app.command()
def plan(spec: SweepFile, *, store: StoreOption = None, json: Json = False) -> None:
    """Show what a sweep expands to and what is left to do. Runs and writes nothing."""
    from overlap.launcher import take_stock
    from overlap.preflight import check_architectures

    planned, opened = overlap.open_plan(spec, store=store)
    check_architectures(planned, planned.variants)
    stock = take_stock(planned, opened)
    if json:
        output.print_json(output.plan_as_json(planned, stock))
    else:
        output.print_plan(planned, stock)


@app.command()
def launch(
    spec: SweepFile,
    *,
    store: StoreOption = None,
    executor: ExecutorOption = Executor.RAY,
    address: AddressOption = None,
    retry_failed: Annotated[bool, typer.Option("--retry-failed", help="Also run what failed before.")] = False,
    json: Json = False,
) -> None:
    """Run what the store lacks: train, evaluate, commit. Run it again to continue.

    Example: overlap sweep launch sweeps/digits.yaml
    """
    _launch(spec, store=store, executor=executor, address=address, retry_failed=retry_failed, json=json)


@app.command()
def retry(
    spec: SweepFile,
    *,
    store: StoreOption = None,
    executor: ExecutorOption = Executor.RAY,
    address: AddressOption = None,
    json: Json = False,
) -> None:
    """Run what failed before, and whatever else is left."""
    _launch(spec, store=store, executor=executor, address=address, retry_failed=True, json=json)


@app.command()
def status(target: Target, *, json: Json = False) -> None:
    """Show what is done, failed and pending."""
    from overlap.standing import open_store

    found = overlap.status(open_store(target))
    if json:
        output.print_json(output.status_as_json(found))
    else:
        output.print_status(found)


@app.command()
def logs(target: Target, variant: Annotated[str, typer.Argument(help="The variant's name.")]) -> None:
    """Show how a variant's failed attempts ended."""
    from overlap.errors import ArgumentError
    from overlap.standing import open_store

    failures = [failure for failure in open_store(target).failures() if failure.variant == variant]
    if not failures:
        raise ArgumentError(f"no failed attempt of a variant '{variant}' in '{target}'")
    for failure in failures:
        typer.echo(f"{failure.stage}, attempt {failure.attempt}: {failure.outcome} after {failure.seconds:g} s")
        typer.echo("\n".join(failure.last_lines) or failure.cause)


@app.command()
def schema() -> None:
    """Print the JSON Schema of a sweep file."""
    output.print_json(overlap.sweep_schema())


def _launch(
    spec: Path, *, store: str | None, executor: Executor, address: str | None, retry_failed: bool, json: bool
) -> None:
    from overlap.launcher import ExecutorKind

    # Ray prints its events to standard output, whatever it is told: they go to standard error.
    view = LiveView(sys.stderr if json else sys.stdout)
    with view, contextlib.redirect_stdout(sys.stderr):
        summary = overlap.launch(
            spec,
            store=store,
            executor=ExecutorKind(executor.value),
            address=address,
            retry_failed=retry_failed,
            watch=view,
        )
    if json:
        output.print_json(output.summary_as_json(summary))
    else:
        output.print_summary(summary)
    if any(job.state != "done" for job in summary.status.jobs):
        raise typer.Exit(PARTIAL)
