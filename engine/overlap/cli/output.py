"""What the command line prints: plain lines and tables, or JSON for scripts."""

import json
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, TextIO

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

if TYPE_CHECKING:
    from overlap.launcher import Summary
    from overlap.plan import Plan
    from overlap.standing import Status
    from overlap.store import Failure
    from overlap.survey import Survey

WIDE = 160


class _Console(Console):
    """A console whose reader may go away: what it would have printed is lost, and nothing else."""

    def on_broken_pipe(self) -> None:
        self.quiet = True
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, self.file.fileno())
        os.close(nowhere)


def console(file: TextIO | None = None) -> Console:
    """A console that wraps at the terminal's width, and not at all in a pipe."""
    out = file or sys.stdout
    return _Console(file=out, width=None if out.isatty() else WIDE, highlight=False)


def print_error(message: str) -> None:
    """One error, on standard error."""
    typer.echo(f"overlap: {message}", err=True)


def print_json(value: object) -> None:
    """A value as JSON on standard output."""
    typer.echo(json.dumps(value, indent=2, ensure_ascii=False))


def print_table(columns: Sequence[str], rows: Sequence[Sequence[str]], *, title: str = "") -> None:
    """A table; its cells are text and never markup."""
    table = Table(*columns, title=title or None, title_justify="left", box=None, pad_edge=False)
    for row in rows:
        table.add_row(*(escape(cell) for cell in row))
    console().print(table)


def plan_as_json(plan: "Plan", stock: "Survey") -> dict[str, Any]:
    """What `sweep plan --json` prints."""
    from overlap.plan import pair_categories

    done = {job.key for job in stock.done}
    return {
        "name": plan.sweep.name,
        "variants": [asdict(variant) | {"hyperparameters": variant.hyperparameter_map} for variant in plan.variants],
        "pairs": {kind.word: count for kind, count in pair_categories(plan.variants).items()},
        "jobs": [
            {"variant": job.variant.name, "dataset": job.dataset, "key": job.key, "done": job.key in done}
            for job in plan.evaluation
        ],
        "training": len(stock.training),
        "evaluation": len(stock.evaluation),
        "image_passes": image_passes(stock),
    }


def print_plan(plan: "Plan", stock: "Survey") -> None:
    """What `sweep plan` prints."""
    from overlap.plan import pair_categories

    rows = [
        (v.name, v.architecture, v.framework, v.train_on, str(v.seed), str(v.preprocessing.size)) for v in plan.variants
    ]
    print_table(["variant", "architecture", "framework", "trained on", "seed", "size"], rows)
    pairs = pair_categories(plan.variants)
    typer.echo()
    typer.echo(f"{len(plan.variants)} variants, {sum(pairs.values()):,} pairs:")
    for kind, count in pairs.items():
        typer.echo(f"  {kind.word:<16} {count:>8,}")
    for name, facts in plan.datasets.items():
        splits = ", ".join(f"{split} {facts.splits[split].size:,}" for split in facts.splits)
        typer.echo(f"dataset {name}: {len(facts.class_names)} classes; {splits}")
    for note in plan.notes:
        typer.echo(f"note: {note}")
    typer.echo(
        f"to do: {len(stock.training)} trainings and {len(stock.evaluation)} evaluations of "
        f"{len(plan.evaluation)}, about {image_passes(stock):,.0f} image passes"
    )


def image_passes(stock: "Survey") -> float:
    """Estimated work that is left: images through a model, a training step counted three times."""
    return sum(job.cost for job in (*stock.training, *stock.evaluation))


def print_status(status: "Status") -> None:
    """Where a sweep stands, with the failures."""
    shown = ", ".join(f"{count} {state}" for state, count in status.counts.items() if count)
    typer.echo(f"sweep {status.name}: {status.variants} variants; {shown}")
    print_failures(status.failures)
    typer.echo(f"store {status.store}")


def print_summary(summary: "Summary") -> None:
    """How a launch ended."""
    status = summary.status
    if not summary.ran and not status.failures and summary.resumed == len(status.jobs):
        typer.echo(f"sweep {status.name}: nothing left to do, all {summary.resumed} results are there")
        typer.echo(f"store {status.store}")
        return
    for name in summary.put_aside:
        typer.echo(f"damaged and put aside: {name}")
    typer.echo(f"{summary.ran} results made now, {summary.resumed} were there before")
    print_status(status)


def print_failures(failures: Sequence["Failure"]) -> None:
    """A table of what failed and why."""
    if failures:
        rows = [(f.variant, f.stage, f.outcome, str(f.attempt), f.cause) for f in failures]
        print_table(["variant", "stage", "outcome", "attempt", "cause"], rows, title="failed:")


def summary_as_json(summary: "Summary") -> Mapping[str, object]:
    """What `sweep launch --json` prints."""
    return {
        **status_as_json(summary.status),
        "resumed": summary.resumed,
        "ran": summary.ran,
        "put_aside": list(summary.put_aside),
        "interrupted": summary.interrupted,
    }


def status_as_json(status: "Status") -> Mapping[str, object]:
    """What `sweep status --json` prints."""
    return {
        "name": status.name,
        "store": status.store,
        "variants": status.variants,
        **status.counts,
        "failures": [asdict(failure) for failure in status.failures],
    }
