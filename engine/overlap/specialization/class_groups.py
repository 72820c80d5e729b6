"""Groups of classes: a user's own, and those of ImageNet that the paper and WordNet name."""

import functools
import importlib.resources
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from overlap.datasets.label_spaces import label_space, lemmas
from overlap.errors import ArgumentError
from overlap.spec import did_you_mean

Groups = Mapping[str, tuple[int, ...]]
"""Positions of classes by the name of their group."""

_IMAGENET = "imagenet-1k"


def read_class_groups(path: Path, class_names: Sequence[str]) -> dict[str, Groups]:
    """Groupings of a dataset's classes from a YAML file: `grouping: {group: [classes]}`.

    A class is a position, a range of positions such as "500-900" with both its ends, or a name.

    Raises:
        ArgumentError: the file cannot be read, has another form, names what is no class, or has one class twice.
    """
    try:
        content = yaml.safe_load(path.read_text())
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ArgumentError(f"cannot read the class groups '{path}': {str(error).splitlines()[0]}") from error
    if not isinstance(content, dict) or not content:
        raise ArgumentError(f"'{path}': expected groupings such as 'mine: {{round: [0, 6, 8], straight: [1, 4, 7]}}'")
    return {str(name): _resolve(f"'{path}': {name}", groups, class_names) for name, groups in content.items()}


def imagenet_groups(class_names: Sequence[str]) -> dict[str, Groups]:
    """The groupings `paper` and `wordnet` of classes that are ImageNet's, or a subset of them; else none."""
    known = _imagenet_positions()
    if not class_names or not all(name in known for name in class_names):
        return {}
    place = {known[name]: position for position, name in enumerate(class_names)}
    found: dict[str, Groups] = {}
    for grouping, groups in _imagenet_groupings().items():
        within = {group: tuple(place[c] for c in classes if c in place) for group, classes in groups.items()}
        found[grouping] = {group: classes for group, classes in within.items() if classes}
    return found


@functools.cache
def _imagenet_positions() -> dict[str, int]:
    wnids = label_space(_IMAGENET)
    return {name: c for names in (lemmas(wnids), wnids) for c, name in enumerate(names)}


@functools.cache
def _imagenet_groupings() -> dict[str, Groups]:
    text = importlib.resources.files("overlap.specialization").joinpath("imagenet_groups.yaml").read_text()
    wnids = label_space(_IMAGENET)
    return {name: _resolve(name, groups, wnids) for name, groups in yaml.safe_load(text).items()}


def _resolve(where: str, groups: Any, class_names: Sequence[str]) -> Groups:  # noqa: ANN401 - whatever YAML holds
    if not isinstance(groups, dict) or not all(isinstance(entries, list) for entries in groups.values()):
        raise ArgumentError(f"{where}: expected groups with lists of classes, such as {{round: [0, 6, 8]}}")
    positions = {name: position for position, name in enumerate(class_names)}
    resolved: dict[str, tuple[int, ...]] = {}
    taken: dict[int, str] = {}
    for group, entries in groups.items():
        classes = [c for entry in entries for c in _classes(f"{where}.{group}", entry, positions)]
        for c in classes:
            if c in taken:
                raise ArgumentError(f"{where}: class {c} ('{class_names[c]}') is in '{taken[c]}' and in '{group}'")
            taken[c] = str(group)
        resolved[str(group)] = tuple(classes)
    return resolved


def _classes(where: str, entry: object, positions: Mapping[str, int]) -> range | tuple[int, ...]:
    text = str(entry)
    if isinstance(entry, str) and entry in positions:
        return (positions[entry],)
    first, dash, last = text.partition("-")
    if first.isdigit() and (last.isdigit() if dash else True):
        found = range(int(first), int(last or first) + 1)
        if found and found[-1] < len(positions):
            return found
        raise ArgumentError(f"{where}: expected classes 0 to {len(positions) - 1}, got {text}")
    raise ArgumentError(f"{where}: '{text}' is no class{did_you_mean(text, list(positions)) or ''}")
