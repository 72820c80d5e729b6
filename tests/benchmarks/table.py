"""The table that every benchmark prints, and the machine that it was measured on."""

import os
import statistics
import time
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class Row:
    """A line of the table; `peer` names the row of the same unit that it is compared with."""

    what: str
    n: int
    value: float
    unit: str
    peer: str = ""
    details: str = ""
    load: float = field(default_factory=lambda: os.getloadavg()[0])


def print_table(rows: list[Row]) -> None:
    found = {row.what: row.value for row in rows}
    lines = [("", "n", "", "", "by peer", "load", "")]
    for row in rows:
        ratio = f"{row.value / found[row.peer]:.2f}" if row.peer in found else ""
        lines.append((row.what, f"{row.n:,}", f"{row.value:.2f}", row.unit, ratio, f"{row.load:.1f}", row.details))
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        cells = [
            cell.ljust(width) if i in (0, 3, 6) else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(line, widths, strict=True))
        ]
        print("  ".join(cells).rstrip())


def describe_machine(folder: Path) -> str:
    """Cores, load, and what syncing costs here: 4 kB into a file, and its name into the folder."""
    milliseconds = []
    for number in range(50):
        began = time.perf_counter()
        with (folder / f"sync-{number}").open("wb") as file:
            file.write(b"x" * 4096)
            file.flush()
            os.fsync(file.fileno())
        directory = os.open(folder, os.O_RDONLY)
        os.fsync(directory)
        os.close(directory)
        milliseconds.append(1e3 * (time.perf_counter() - began))
    load = " ".join(f"{value:.1f}" for value in os.getloadavg())
    return (
        f"{os.cpu_count()} cores, load {load}; a synced file takes {statistics.median(milliseconds):.2f} ms in {folder}"
    )
