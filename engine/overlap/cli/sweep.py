"""`overlap sweep`: plan, launch, status, retry, logs, schema."""

import contextlib
import logging
import os
import signal
import sys
from collections.abc import Callable, Iterator
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer

import overlap
from overlap.cli import output
from overlap.cli.interrupts import Interrupts
from overlap.cli.progress import LiveView
from overlap.supervise import (
    CLUSTER_FAILED,
    INTERRUPTED,
    RAY_LOST,
    end_with_parent,
    supervise,
    supervisor,
    tell_progress,
)

if TYPE_CHECKING:
    from overlap.launcher import Options
    from overlap.loop import Progress

PARTIAL = 2
CACHE = Path("~/.cache/overlap")

app = typer.Typer(help="Plan and run sweeps.", no_args_is_help=True)

SweepFile = Annotated[Path, typer.Argument(help="A sweep file, such as sweeps/digits.yaml.", show_default=False)]
Target = Annotated[str, typer.Argument(help="A sweep file or a store.", show_default=False)]
StoreOption = Annotated[str | None, typer.Option("--store", help="Use this store, not the file's.")]
AddressOption = Annotated[str | None, typer.Option("--address", help="A running Ray cluster; none starts a local one.")]
MaxWorkers = Annotated[int | None, typer.Option("--max-workers", min=1, help="Run at most so many variants at once.")]
MaxRestarts = Annotated[
    int, typer.Option("--max-restarts", min=0, help="Start a lost driver or local Ray again so often in a row.")
]
AllowNewDataset = Annotated[
    bool, typer.Option("--allow-new-dataset", help="Go on although a dataset has changed since the last launch.")
]
Force = Annotated[bool, typer.Option("--force", help="Go on although another machine seems to be running this sweep.")]
CacheFolder = Annotated[
    Path, typer.Option("--cache", envvar="OVERLAP_CACHE", help="Where each machine keeps decoded images and downloads.")
]
CacheLimit = Annotated[
    float | None,
    typer.Option("--cache-gb", min=0, envvar="OVERLAP_CACHE_GB", help="The most it may hold; default: half the disk."),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON for scripts.")]


class Executor(StrEnum):
    """Where jobs run: the same words as `overlap.launcher.ExecutorKind`, without its imports."""

    RAY = "ray"
    INPROCESS = "inprocess"


ExecutorOption = Annotated[Executor, typer.Option("--executor", help="Ray, or one by one in this process.")]


@app.command()
def plan(spec: SweepFile, *, store: StoreOption = None, cache: CacheFolder = CACHE, json: Json = False) -> None:
    """Show what a sweep expands to and what is left to do. Runs and writes nothing."""
    from overlap.launcher import take_stock
    from overlap.preflight import check_models
    from overlap.store.verify import find_damage
    from overlap.workplace import Cache

    planned, opened = overlap.open_plan(spec, store=store, cache=Cache(folder=cache))
    check_models(planned, planned.variants)
    stock = take_stock(planned, opened, damage=find_damage(opened))
    if json:
        output.print_json(output.plan_as_json(planned, stock))
    else:
        output.print_plan(planned, stock)


@app.command()
def launch(
    context: typer.Context,
    spec: SweepFile,
    *,
    store: StoreOption = None,
    executor: ExecutorOption = Executor.RAY,
    retry_failed: Annotated[bool, typer.Option("--retry-failed", help="Also run what failed before.")] = False,
    address: AddressOption = None,
    max_workers: MaxWorkers = None,
    max_restarts: MaxRestarts = 5,
    allow_new_dataset: AllowNewDataset = False,
    force: Force = False,
    cache: CacheFolder = CACHE,
    cache_gb: CacheLimit = None,
    json: Json = False,
) -> None:
    """Run what the store lacks: train, evaluate, commit. Run it again to continue.

    Example: overlap sweep launch sweeps/digits.yaml
    """
    where = _Where(address, max_workers, allow_new_dataset, force, cache, cache_gb)
    _supervise(context, executor, max_restarts)
    _launch(spec, store=store, executor=executor, retry_failed=retry_failed, where=where, json=json)


@app.command()
def retry(
    context: typer.Context,
    spec: SweepFile,
    *,
    store: StoreOption = None,
    executor: ExecutorOption = Executor.RAY,
    address: AddressOption = None,
    max_workers: MaxWorkers = None,
    max_restarts: MaxRestarts = 5,
    force: Force = False,
    cache: CacheFolder = CACHE,
    cache_gb: CacheLimit = None,
    json: Json = False,
) -> None:
    """Run what failed before, and whatever else is left."""
    where = _Where(address, max_workers, allow_new_dataset=False, force=force, cache=cache, cache_gb=cache_gb)
    _supervise(context, executor, max_restarts)
    _launch(spec, store=store, executor=executor, retry_failed=True, where=where, json=json)


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


def _supervise(context: typer.Context, executor: Executor, max_restarts: int) -> None:
    """Leaves with a driver's exit code, unless this process is the driver itself or needs none."""
    if executor is Executor.RAY and max_restarts and supervisor() is None:
        raise typer.Exit(supervise(context.obj, max_restarts=max_restarts, say=output.print_error))


class _Where(NamedTuple):
    """The options of a launch, before anything heavy is imported."""

    address: str | None
    max_workers: int | None
    allow_new_dataset: bool
    force: bool
    cache: Path
    cache_gb: float | None

    def options(self) -> "Options":
        """The same, as `overlap.launch` takes them."""
        from overlap.launcher import Options
        from overlap.workplace import Cache

        return Options(
            address=self.address,
            max_workers=self.max_workers,
            allow_new_dataset=self.allow_new_dataset,
            force=self.force,
            cache=Cache(folder=self.cache, limit_gb=self.cache_gb),
        )


def _launch(
    spec: Path, *, store: str | None, executor: Executor, retry_failed: bool, where: _Where, json: bool
) -> None:
    from overlap.launcher import ExecutorKind
    from overlap.loop import Hooks

    if supervisor() is not None:
        signal.signal(signal.SIGTTOU, signal.SIG_IGN)  # it writes to a terminal whose foreground is its supervisor's
        end_with_parent()
    logging.getLogger("ray").setLevel(logging.CRITICAL)  # it reports each failure of a variant, as we do
    view = LiveView(sys.stderr if json else sys.stdout)
    with Interrupts() as asked_to_stop, view, _without_rays_own_words():
        summary = overlap.launch(
            spec,
            store=store,
            executor=ExecutorKind(executor.value),
            retry_failed=retry_failed,
            options=where.options(),
            hooks=Hooks(watch=_watching(view), asked_to_stop=asked_to_stop, on_lost=_end_without_ray),
        )
    if json:
        output.print_json(output.summary_as_json(summary))
    else:
        output.print_summary(summary)
    if summary.interrupted:
        raise typer.Exit(INTERRUPTED)
    if any(job.state != "done" for job in summary.status.jobs):
        raise typer.Exit(PARTIAL)


def _watching(view: LiveView) -> Callable[["Progress"], None]:
    def watch(progress: "Progress") -> None:
        view(progress)
        if progress.last is not None and progress.last.outcome == "done":
            tell_progress()

    return watch


@contextlib.contextmanager
def _without_rays_own_words() -> Iterator[None]:
    """Drops what Ray prints to standard output whatever it is told; all that matters in it is said by us."""
    with Path(os.devnull).open("w") as nowhere, contextlib.redirect_stdout(nowhere):
        yield


def _end_without_ray() -> None:
    """Ends a driver that waits for a Ray which has died: nothing of its would ever come back."""
    os._exit(RAY_LOST if supervisor() is not None else CLUSTER_FAILED)
