"""The chaos trial's table: what was killed, what came of it, and where that was measured."""

import os
import platform
import statistics
import subprocess
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import psutil

MARKERS = ("<!-- chaos: begin -->", "<!-- chaos: end -->")
COLUMNS = ("killed", "kills", "sweeps", "results and weights right", "lost", "doubled", "torn", "redone after commit")
COLUMNS += ("went on by itself", "recovery, median", "worst")
WORDS = {
    "driver": "the driver",
    "worker": "a worker",
    "raylet": "Ray's raylet",
    "gcs": "Ray's GCS",
    "agent": "an agent of Ray's",
    "all": "the driver and its whole Ray",
    "supervisor": "the command itself",
}
PACKAGES = ("overlap", "ray", "torch", "timm", "scikit-learn", "numpy", "pyarrow")


def table(targets, trials):
    """A row a target; what a sweep ended with is counted for each fault that it had."""
    rows = [_row(WORDS[target], trials, {target}) for target in dict.fromkeys(targets)] + [
        _row("any", trials, set(targets))
    ]
    return "\n".join(" | ".join(["", *row, ""]).strip() for row in [COLUMNS, ["---"] * len(COLUMNS), *rows])


def _row(word, trials, targets):
    kills = [kill for trial in trials for kill in trial.kills if kill.target in targets and not kill.missed]
    hit = [trial.verdict for trial in trials if any(k.target in targets and not k.missed for k in trial.kills)]
    times = [kill.recovery_s for kill in kills if kill.recovery_s is not None]
    right = f"{sum(v.right for v in hit):,} of {sum(v.expected for v in hit):,}"
    counts = [sum(getattr(v, name) for v in hit) for name in ("lost", "doubled", "torn", "redone")]
    seconds = [f"{_median(times):.1f} s", f"{max(times, default=0.0):.1f} s"]
    return [word, str(len(kills)), str(len(hit)), right, *map(str, counts), str(sum(k.alone for k in kills)), *seconds]


def facts(chaos):
    """What else was counted, and where and when."""
    verdicts = [trial.verdict for trial in chaos.trials]
    counts = {name: sum(getattr(v, name) for v in verdicts) for name in ("hung", "left", "failed", "temporaries")}
    gone = [kill.gone_s for kill in chaos.kills if kill.gone_s is not None]
    load = _median([kill.load for kill in chaos.kills])
    memory = f"{psutil.virtual_memory().total / 2**30:.0f} GiB"
    packages = ", ".join(f"{package} {version(package)}" for package in PACKAGES)
    return (
        f"For comparison: a start with no kill took {_spread(chaos.starts_s)} to its first file. Of a driver that was "
        f"lost, and its Ray, the last process had ended after {_spread(gone)}. Hung: {counts['hung']}. Processes, Ray "
        f"folders and checkpoints left over at the end: {counts['left']}. Targets that were not there at their moment: "
        f"{sum(kill.missed for kill in chaos.kills)}. Jobs reported failed because they were hit twice, and made when "
        f"asked to retry: {counts['failed']}. Temporary files that wait for the launch an hour later, which removes "
        f"them: {counts['temporaries']}.\n\n"
        f"{datetime.now(UTC):%Y-%m-%d}, commit {commit()}, seed {chaos.seed}; {os.cpu_count()} cores, {memory}, "
        f"load average {load:.1f} (median over the kills); Python {platform.python_version()}, {packages}."
    )


def _spread(seconds):
    return f"{_median(seconds):.1f} s (median; {max(seconds, default=0.0):.1f} s at worst)"


def _median(values):
    return statistics.median(values or [0.0])


def commit():
    """The commit that is tested, and whether the tree has moved on since."""
    here = Path(__file__).parent

    def git(*arguments):
        return subprocess.run(["git", *arguments], cwd=here, capture_output=True, text=True, check=False).stdout.strip()

    changed = git("status", "--porcelain", "--", ":/engine", ":/analysis")
    return (git("rev-parse", "--short", "HEAD") or "unknown") + (" with changes not yet committed" if changed else "")


def write_between_markers(page, text):
    """Replaces what stands between the markers of a page."""
    before, begin, rest = page.read_text().partition(MARKERS[0])
    _, end, after = rest.partition(MARKERS[1])
    assert end, f"{page} has no {' … '.join(MARKERS)}"
    page.write_text(f"{before}{begin}\n\n{text}\n\n{end}{after}")
