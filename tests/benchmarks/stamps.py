"""Stamps of a run, taken through its own hooks: wall time, CPU time of all its processes, memory of its driver."""

import time
from array import array
from contextlib import suppress
from typing import TYPE_CHECKING

import psutil

if TYPE_CHECKING:
    from overlap.loop import Progress

PLATEAU = 500  # variants after which the driver's memory is read, first and again


class Processor:
    """CPU time that all our processes take for one more end, between the first and the last tenth of them.

    Unlike wall time it hardly depends on who else is at work on this machine.
    """

    def __init__(self, ends: int) -> None:
        self.first, self.last = ends // 10, ends - ends // 10
        self.count = 0
        self.used_s: list[float] = []

    def end(self) -> None:
        self.count += 1
        if self.count in (self.first, self.last):
            self.used_s.append(_cpu_s_of_all())

    @property
    def ms(self) -> float:
        return 1e3 * (self.used_s[-1] - self.used_s[0]) / (self.last - self.first)


def _cpu_s_of_all() -> float:
    own = psutil.Process()
    times = []
    for process in [own, *own.children(recursive=True)]:
        with suppress(psutil.NoSuchProcess):
            times.append(process.cpu_times())
    return sum(used.user + used.system for used in times)


class Watch:
    """Stamps of one launch, taken through its hooks; arrays, so that it does not grow by what it measures."""

    def __init__(self, variants: int) -> None:
        self.ends_s, self.worker_s = array("d"), array("d")
        self.resident_bytes: dict[int, int] = {}
        self.started_s = self.started_cpu_s = self.ended_cpu_s = 0.0
        self.process, self.processor = psutil.Process(), Processor(variants)

    def __call__(self, progress: "Progress") -> None:
        if progress.last is None:
            self.started_s = self.started_s or time.perf_counter()
            self.started_cpu_s = self.started_cpu_s or time.process_time()
            return
        self.ends_s.append(time.perf_counter())
        self.worker_s.append(progress.last.seconds)
        self.ended_cpu_s = time.process_time()
        self.processor.end()
        if progress.done % PLATEAU == 0:
            self.resident_bytes[progress.done] = self.process.memory_info().rss
