"""Every error that `overlap` raises on purpose, and the exit code the command line gives it.

OverlapError
├── SweepFileError      3   a sweep file that cannot be run, with every problem in it
├── ArgumentError       3   an argument that names nothing we have
├── DatasetError        3   data that cannot be read, or not as the sweep file says
├── StoreMismatchError  3   a store that belongs to something else
├── StoreError          4   reading or writing the store failed
│   ├── StoreFullError      there is no space left
│   └── CorruptFileError    a stored file is not what its name and checksums say
├── ClusterError        5   Ray cannot give what the sweep asks for
│   └── ClusterLostError    Ray was there and is gone
└── LaunchHeldError    75   another launch of the same sweep is running

Anything else that reaches the user is a bug and shows its traceback.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar


class OverlapError(Exception):
    """Something the user can act on: the message says what was expected, what was found and where."""

    exit_code: ClassVar[int] = 1


class ArgumentError(OverlapError):
    """An argument names a variant, dataset or analysis that does not exist."""

    exit_code = 3


class DatasetError(OverlapError):
    """A dataset cannot be read, or is not what the sweep file says it is; `key` is the key to blame."""

    exit_code = 3

    def __init__(self, message: str, *, key: str) -> None:
        self.key = key
        super().__init__(message)


class StoreMismatchError(OverlapError):
    """The store exists, but was made by another sweep or by a newer version of `overlap`."""

    exit_code = 3


class StoreError(OverlapError):
    """Reading from or writing to the store failed."""

    exit_code = 4


class StoreFullError(StoreError):
    """The store has no space for what was to be written."""


class CorruptFileError(StoreError):
    """A stored file is not what its name, footer and checksums say it should be; `name` is its name in the store."""

    def __init__(self, message: str, *, name: str = "") -> None:
        self.name = name
        super().__init__(message)


class ClusterError(OverlapError):
    """Ray cannot give the resources that the sweep asks for, or a worker cannot start."""

    exit_code = 5


class ClusterLostError(ClusterError):
    """The Ray that a launch was working on has died; the same command continues."""


class LaunchHeldError(OverlapError):
    """Another launch of the same sweep is running."""

    exit_code = 75


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One thing wrong with a sweep file.

    `line` is counted from 1 and 0 when unknown; `where` is the dotted path of the key.
    """

    line: int
    where: str
    message: str


class SweepFileError(OverlapError):
    """A sweep file cannot be run; `problems` holds everything that is wrong with it, in file order."""

    exit_code = 3

    def __init__(self, source: str, problems: Sequence[Problem]) -> None:
        self.source = source
        self.problems = tuple(sorted(problems, key=lambda problem: problem.line))
        super().__init__(source, self.problems)

    def __str__(self) -> str:
        count = "1 problem" if len(self.problems) == 1 else f"{len(self.problems)} problems"
        width = max((len(problem.where) for problem in self.problems), default=0)
        places = [f"line {p.line:<4} {p.where:<{width}}   " if p.line else "" for p in self.problems]
        lines = [f"  {place}{p.message}" for place, p in zip(places, self.problems, strict=True)]
        return "\n".join([f"{self.source}: {count}", *lines])
