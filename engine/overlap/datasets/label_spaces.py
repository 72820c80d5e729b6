"""ImageNet's label spaces as timm keeps them, and the classes of a dataset found in them by name."""

import functools
import importlib.util
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from overlap.errors import DatasetError
from overlap.spec import did_you_mean

LABEL_SPACES: Mapping[str, str] = {
    "imagenet-1k": "imagenet_synsets.txt",
    "imagenet-12k": "imagenet12k_synsets.txt",
    "imagenet-21k-goog": "imagenet21k_goog_synsets.txt",
    "imagenet-21k-miil": "imagenet21k_miil_synsets.txt",
    "imagenet-22k": "imagenet22k_synsets.txt",
    "imagenet-22k-ms": "imagenet22k_ms_synsets.txt",
    "imagenet-a": "imagenet_a_synsets.txt",
    "imagenet-r": "imagenet_r_synsets.txt",
    "mini-imagenet": "mini_imagenet_synsets.txt",
}
_SHOWN = 5


@functools.cache
def label_space(name: str) -> tuple[str, ...]:
    """The WordNet ids of a label space, in the order of the outputs of models trained on it.

    Raises:
        DatasetError: there is no such label space.

    >>> label_space("imagenet-1k")[:2], len(label_space("imagenet-a"))
    (('n01440764', 'n01443537'), 200)
    """
    if name not in LABEL_SPACES:
        hint = did_you_mean(name, list(LABEL_SPACES)) or f"; known are {', '.join(LABEL_SPACES)}"
        raise DatasetError(f"'{name}' is no label space{hint}", key="classes")
    return tuple(_info(LABEL_SPACES[name]).split())


def lemmas(wnids: Iterable[str]) -> tuple[str, ...]:
    """The words of WordNet for each id, the id itself where there are none.

    >>> lemmas(["n01443537", "cat"])
    ('goldfish, Carassius auratus', 'cat')
    """
    known = _lemmas()
    return tuple(known.get(wnid, wnid) for wnid in wnids)


def real_labels() -> tuple[tuple[int, ...], ...]:
    """For each of ImageNet's 50,000 validation images, by number, the ImageNet-1k classes that are in it.

    Source: Beyer et al., Are we done with ImageNet?, arXiv 2006.07159.
    """
    return tuple(tuple(labels) for labels in json.loads(_info("imagenet_real_labels.json")))


def output_columns(class_names: Sequence[str], outputs: Sequence[str]) -> NDArray[np.int64]:
    """For each class of a dataset, the column of a model's outputs that stands for it, found by its name.

    Args:
        class_names: C names, all different.
        outputs: names of the model's outputs, in their order.

    Returns:
        (C,) int64, all different.

    Raises:
        DatasetError: a class is none of the outputs, or two are the same one.
    """
    columns = _by_name(class_names, outputs)
    if None in columns:
        columns = _by_words(class_names, outputs)
    return _all_found(class_names, columns, outputs, _hint(class_names, outputs))


def in_label_space(
    class_names: Sequence[str], labels_N: NDArray[np.int32], classes: str
) -> tuple[tuple[str, ...], NDArray[np.int32]]:
    """Classes called by a label space's names and put in its order, and the labels renumbered to match.

    A class may be called by its WordNet id, by its number in the space, or by words that only it has.

    Raises:
        DatasetError: there is no such space, a class is not in it, or two classes are the same one.
    """
    space = label_space(classes)
    columns = _by_name(class_names, space)
    if None in columns:
        columns = _by_number(class_names, space) or _by_words(class_names, space)
    found = _all_found(class_names, columns, space, "")
    order = np.argsort(found)
    new_labels = np.empty(len(order), np.int32)
    new_labels[order] = np.arange(len(order), dtype=np.int32)
    return tuple(space[column] for column in found[order].tolist()), new_labels[labels_N]


def _all_found(
    class_names: Sequence[str], columns: Sequence[int | None], outputs: Sequence[str], hint: str
) -> NDArray[np.int64]:
    lost = [name for name, column in zip(class_names, columns, strict=True) if column is None]
    if lost:
        near = did_you_mean(lost[0], outputs)
        expected = f"expected names like '{outputs[0]}'" if outputs else "there are no outputs"
        raise DatasetError(
            f"{len(lost):,} of {len(class_names):,} classes are none of the {len(outputs):,} expected: "
            f"{_named(lost)}{near or '; ' + (hint or expected)}",
            key="classes",
        )
    found = np.array(columns, np.int64)
    if len(np.unique(found)) < len(found):
        values, counts = np.unique(found, return_counts=True)
        same = values[counts > 1][0]
        twins = [name for name, column in zip(class_names, columns, strict=True) if column == same]
        raise DatasetError(f"the classes {_named(twins)} are all '{outputs[same]}'", key="classes")
    return found


def _hint(class_names: Sequence[str], outputs: Sequence[str]) -> str:
    """What to do about classes that a model does not know."""
    wordnet = bool(outputs) and outputs[0] in _lemmas()
    if wordnet and all(name.isdecimal() for name in class_names):
        return "say whose numbers these are, such as classes: imagenet-1k"
    if wordnet:
        return f"the model expects WordNet ids like '{outputs[0]}'"
    return f"the model expects names like '{outputs[0]}'" if outputs else ""


def _by_name(class_names: Sequence[str], outputs: Sequence[str]) -> list[int | None]:
    places = {name: i for i, name in reversed(list(enumerate(outputs)))}
    return [places.get(name) for name in class_names]


def _by_number(class_names: Sequence[str], space: Sequence[str]) -> list[int | None]:
    """The numbers that the names are, None where out of range; nothing if not all are numbers."""
    if not all(name.isdecimal() and name.isascii() for name in class_names):
        return []
    return [int(name) if int(name) < len(space) else None for name in class_names]


def _by_words(class_names: Sequence[str], outputs: Sequence[str]) -> list[int | None]:
    """Outputs by words that only one of them has, such as 'goldfish'.

    A list of all outputs in their order is taken as that even where words are ambiguous, such as ImageNet's two cranes.
    """
    owners: dict[str, set[int]] = {}
    for i, words in enumerate(lemmas(outputs)):
        for word in {_plain(words), *(_plain(part) for part in words.split(","))}:
            owners.setdefault(word, set()).add(i)
    found = [owners.get(_plain(name), set()) for name in class_names]
    if len(class_names) == len(outputs) and all(i in places for i, places in enumerate(found)):
        return list(range(len(outputs)))
    return [next(iter(places)) if len(places) == 1 else None for places in found]


def _plain(words: str) -> str:
    return " ".join(words.replace("_", " ").replace("-", " ").lower().split())


def _named(names: Sequence[str]) -> str:
    return ", ".join(f"'{name}'" for name in names[:_SHOWN]) + (" …" if len(names) > _SHOWN else "")


@functools.cache
def _lemmas() -> Mapping[str, str]:
    pairs = (line.partition("\t") for line in _info("imagenet_synset_to_lemma.txt").splitlines())
    return {wnid: words for wnid, _, words in pairs}


def _info(name: str) -> str:
    """A file of timm's, read without importing timm, which would import torch."""
    package = importlib.util.find_spec("timm")
    if package is None or package.origin is None:
        raise DatasetError("label spaces are read from timm, which is not installed", key="classes")
    return (Path(package.origin).parent / "data" / "_info" / name).read_text(encoding="utf-8")
