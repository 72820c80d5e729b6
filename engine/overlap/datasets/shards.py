"""What sources in several files share: patterns of paths, and labels as text become numbers."""

import glob
import os
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from overlap.datasets.label_spaces import in_label_space, label_space
from overlap.errors import DatasetError
from overlap.spec import DatasetSpec

_BRACES = re.compile(r"\{(\d+\.\.\d+|[^{}]*,[^{}]*)\}")
_MOST_SHARDS = 1_000_000
_MOST_CLASSES = 1_000_000
_NUMBER = re.compile(r"[+-]?\d+")


def expand_braces(pattern: str) -> list[str]:
    """The paths that a pattern with braces stands for, each once.

    >>> expand_braces("{train,val}-{08..10}.tar")[:4]
    ['train-08.tar', 'train-09.tar', 'train-10.tar', 'val-08.tar']
    """
    match = _BRACES.search(pattern)
    if match is None:
        return [pattern]
    head, tail = pattern[: match.start()], pattern[match.end() :]
    first, dots, last = match[1].partition("..")
    if dots and first.isdecimal():
        if abs(int(last) - int(first)) >= _MOST_SHARDS:
            raise DatasetError(f"'{match[0]}' stands for more than {_MOST_SHARDS:,} files", key="source")
        step = 1 if int(first) <= int(last) else -1
        options = [str(i).zfill(len(first)) for i in range(int(first), int(last) + step, step)]
    else:
        options = match[1].split(",")
    expanded = (path for option in options for path in expand_braces(head + option + tail))
    return list(dict.fromkeys(expanded))


def find_shards(pattern: str, suffix: str) -> list[str]:
    """The files that a path, a folder or a pattern with braces, `*` and `**` stands for, in the pattern's order.

    Raises:
        DatasetError: there are none, or one that is named does not exist.
    """
    found: list[str] = []
    for path in expand_braces(pattern):
        if Path(path).is_dir():
            inside = Path(path).rglob(f"*{suffix}")
            shown = (file for file in inside if not any(part.startswith(".") for part in file.relative_to(path).parts))
            found += sorted(str(file) for file in shown if file.is_file())
        elif glob.has_magic(path):
            found += sorted(glob.glob(path, recursive=True))  # noqa: PTH207 - Path.glob takes no absolute pattern
        elif Path(path).is_file():
            found.append(path)
        else:
            raise DatasetError(f"file '{path}' does not exist", key="source")
    if not found:
        raise DatasetError(f"expected *{suffix} files at '{pattern}', got none", key="source")
    return [os.path.abspath(path) for path in dict.fromkeys(found)]  # noqa: PTH100 - not resolved: links stay


def number_labels(
    labels: Sequence[str], names: Sequence[str], spec: DatasetSpec, *, numbers: bool
) -> tuple[NDArray[np.int32], tuple[str, ...]]:
    """Labels as numbers, and the names of the classes.

    Args:
        labels: N words, or whole numbers as text.
        names: the classes in the order of their numbers; empty if the source does not tell.
        spec: its `classes` names the label space that numbers without names refer to. Without one, classes are
            called by their numbers, from 0 to the largest.
        numbers: the labels are numbers of classes, not their names.

    Raises:
        DatasetError: a label is out of range or none of the names, or a class is not in the label space.
    """
    if not labels:
        raise DatasetError(f"there are no labelled images in '{spec.source}'", key="source")
    if numbers:
        names = names or (label_space(spec.classes) if spec.classes else ())
        labels_N = _in_range(labels, len(names), spec)
        names = names or [str(i) for i in range(int(labels_N.max()) + 1)]
    else:
        names = names or sorted(set(labels))
        places = {name: i for i, name in enumerate(names)}
        if lost := sorted(set(labels) - set(places)):
            raise DatasetError(f"the label '{lost[0]}' in '{spec.source}' is none of its classes", key="source")
        labels_N = np.array([places[label] for label in labels], np.int32)
    if spec.classes and tuple(names) != label_space(spec.classes):
        names, labels_N = in_label_space(names, labels_N, spec.classes)
    return labels_N, tuple(names)


def are_numbers(labels: Sequence[str]) -> bool:
    """Whether every label is a whole number."""
    return all(_NUMBER.fullmatch(label) for label in set(labels))


def _in_range(labels: Sequence[str], classes: int, spec: DatasetSpec) -> NDArray[np.int32]:
    """The numbers, which are below the count of classes if that is not 0."""
    numbers = {label: int(label) for label in set(labels)}
    least, most = min(numbers.values()), max(numbers.values())
    limit = classes or _MOST_CLASSES
    if least < 0:
        hidden = ": are its labels kept secret?" if least == -1 == most else ""
        raise DatasetError(f"expected labels from 0, got {least} in '{spec.source}'{hidden}", key="source")
    if most >= limit:
        raise DatasetError(f"expected labels below {limit:,}, got {most} in '{spec.source}'", key="source")
    return np.array([numbers[label] for label in labels], np.int32)
