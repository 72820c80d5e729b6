"""The live view of a launch: bars on a terminal, plain lines elsewhere."""

import time
from typing import TYPE_CHECKING, Self, TextIO

from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.progress import Progress as Bars

from overlap.cli.output import console

if TYPE_CHECKING:
    from overlap.loop import Progress

LINE_EVERY_S = 10.0


class LiveView:
    """Shows progress until it is left; use as a context and pass it as `watch`."""

    def __init__(self, out: TextIO) -> None:
        self.out = out
        self.console = console(out)
        self.bars = Bars(
            TextColumn("{task.description:<9}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[note]}"),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=self.console,
            disable=not out.isatty(),
            redirect_stdout=False,
            redirect_stderr=False,
        )
        self.tasks: dict[str, TaskID] = {}
        self.last_line = 0.0

    def __enter__(self) -> Self:
        self.bars.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.bars.stop()

    def __call__(self, progress: "Progress") -> None:
        """Shows one event."""
        ended, total = progress.done + progress.failed, self._total(progress)
        note = _note(progress)
        if progress.last is not None and progress.last.cause:
            job = progress.last.attempt.job
            self.console.print(f"{job.variant.name}: {progress.last.cause}", markup=False, style="yellow")
        stage = progress.stage.value
        if stage not in self.tasks:
            self.tasks[stage] = self.bars.add_task(stage, total=total, note=note)
        self.bars.update(self.tasks[stage], completed=ended, total=total, note=note)
        if not self.out.isatty() and self._line_is_due(last=ended == total):
            self.console.print(f"{stage}: {ended} of {total}, {note}", markup=False)

    def _total(self, progress: "Progress") -> int:
        return progress.done + progress.failed + progress.running + progress.waiting

    def _line_is_due(self, *, last: bool) -> bool:
        now = time.monotonic()
        due = last or now - self.last_line > LINE_EVERY_S
        self.last_line = now if due else self.last_line
        return due


def _note(progress: "Progress") -> str:
    """What is worth knowing beside how far it is."""
    parts = [f"{progress.running} running"]
    parts += [f"{progress.failed} failed"] if progress.failed else []
    parts += [f"{progress.left_out} nodes left out"] if progress.left_out else []
    parts += ["stopping"] if progress.stopping else []
    return ", ".join(parts)
