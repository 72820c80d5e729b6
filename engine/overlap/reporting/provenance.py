"""Where the numbers of a report come from: what the footers of the results say made them."""

import json
import math
import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from importlib.metadata import version

import numpy as np

from overlap.outcomes import Outcomes
from overlap.store import LockFile, Store
from overlap.store.addresses import reading_threads

_LIBRARIES = ("overlap", "torch", "timm", "open_clip", "sklearn", "numpy")


def provenance(store: Store, lock: LockFile, outcomes: Outcomes) -> tuple[tuple[str, str], ...]:
    """Label and value of what made these results, and when they were read.

    Raises:
        CorruptFileError: a result is damaged.
    """
    footers = _footers(store, outcomes.result_names)
    versions = [(name, _counted(footer.get(f"{name}_version", "") for footer in footers)) for name in _LIBRARIES]
    facts = [
        ("sweep", lock.name),
        ("store", store.objects.url),
        ("results", f"{len(footers):,}{_dates(footers)}"),
        *versions,
        ("devices", _counted(footer.get("device", "") for footer in footers)),
        ("precision", _counted(_precision(footer) for footer in footers)),
        ("hosts", _hosts(footers)),
        ("evaluation", _duration(outcomes)),
        ("report", f"overlap {version('overlap')}, {datetime.now(UTC):%Y-%m-%d %H:%M} UTC"),
    ]
    return tuple((label, value) for label, value in facts if value)


def _footers(store: Store, files: Sequence[str]) -> list[Mapping[str, str]]:
    threads = reading_threads(store.objects.url, cores=len(os.sched_getaffinity(0)))
    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(lambda file: store.read(file, groups=[]).footer, files))


def _counted(values: Iterable[str]) -> str:
    """Distinct values, the most frequent first; with how many results have each where they differ.

    >>> _counted(["2.1", "2.0", "2.1", ""])
    '2.1 (2 results), 2.0 (1 result)'
    """
    counts = Counter(value for value in values if value).most_common()
    if len(counts) == 1:
        return counts[0][0]
    return ", ".join(f"{value} ({count} result{'' if count == 1 else 's'})" for value, count in counts)


def _precision(footer: Mapping[str, str]) -> str:
    config = json.loads(footer.get("config_json", "{}"))
    return str(config.get("precision", "")) if isinstance(config, dict) else ""


def _hosts(footers: Iterable[Mapping[str, str]]) -> str:
    hosts = {footer["host"] for footer in footers if footer.get("host")}
    return f"{len(hosts):,}" if hosts else ""


def _dates(footers: Iterable[Mapping[str, str]]) -> str:
    days = sorted(footer["started"][:10] for footer in footers if footer.get("started"))
    if not days:
        return ""
    return f", {days[0]}" if days[0] == days[-1] else f", {days[0]} to {days[-1]}"


def _duration(outcomes: Outcomes) -> str:
    """Time that the evaluations took, summed over variants; training is not in it."""
    known = np.isfinite(outcomes.seconds_V)
    seconds = float(outcomes.seconds_V[known].sum())
    if not known.any() or not math.isfinite(seconds):
        return ""
    spent = f"{seconds / 3600:,.1f} hours" if seconds >= 3600 else f"{seconds / 60:,.1f} minutes"
    return f"{spent} in all, {seconds / int(known.sum()):,.1f} s a variant"
