"""WebDataset's tar files: each picture read from its place in its tar, in any order."""

import hashlib
import json
import os
import tarfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from overlap.datasets import Examples
from overlap.datasets.encoded import EncodedPictures
from overlap.datasets.index import FileRows, index_files
from overlap.datasets.shards import are_numbers, find_shards, number_labels
from overlap.errors import DatasetError
from overlap.spec import DatasetSpec

PREFIX = "webdataset:"
_PICTURES = frozenset({"jpg", "jpeg", "png", "webp", "bmp", "gif", "tif", "tiff", "ppm"})
_CLASS_FILE = "classes.txt"
_BLOCK = 512


@dataclass(frozen=True, slots=True)
class _Members:
    """Pictures that are members of tar files; nothing stays open, so that forks and threads need no care."""

    paths: Sequence[str]
    names: Sequence[str]
    files_N: NDArray[np.int64]
    places_N2: NDArray[np.int64]

    def read(self, position: int) -> bytes:
        start, size = self.places_N2[position].tolist()
        with open(self.paths[self.files_N[position]], "rb", buffering=0) as file:  # noqa: PTH123
            return _read_at(file.fileno(), start, size)

    def where(self, position: int) -> str:
        return f"{self.paths[self.files_N[position]]}:{self.names[position]}"


def webdataset(spec: DatasetSpec, cache: Path | None) -> Examples:
    """The samples of the tar files at `webdataset:PATTERN`, in the order of files and members; ids are positions.

    A sample is the members that share a name up to its first dot: an image, and a `.cls`, or a `.json` with
    `label`. Classes are called by the lines of a `classes.txt` beside the tars, or as `classes` says.

    Raises:
        DatasetError: a file is missing or no whole plain tar, or a sample has no image or no label.
    """
    paths = find_shards(spec.source.removeprefix(PREFIX), ".tar")
    index = index_files(paths, _read_tar, cache=cache, source=spec.source)
    names = _class_names(Path(paths[0]).parent / _CLASS_FILE)
    labels_N, names = number_labels(index.labels, names, spec, numbers=are_numbers(index.labels))
    members = _Members(paths, index.members, index.files_N, index.places_N2)
    return Examples(
        pictures=EncodedPictures(members, index.digests_N),
        labels_N=labels_N,
        ids_N=np.arange(len(labels_N), dtype=np.int64),
        digests_N=index.digests_N,
        class_names=names,
    )


def _class_names(path: Path) -> tuple[str, ...]:
    if not path.is_file():
        return ()
    return tuple(line.strip() for line in path.read_text(encoding="utf-8").splitlines() if line.strip())


def _read_tar(path: str) -> FileRows:
    """The samples of a tar: labels, names of images, their places, their digests."""
    samples: dict[str, dict[str, tarfile.TarInfo]] = {}
    try:
        with tarfile.open(path, "r:") as tar:
            for member in tar:
                folder, _, name = member.name.rpartition("/")
                key, dot, extension = name.partition(".")
                if member.isreg() and dot and key:  # hidden files have no key
                    samples.setdefault(f"{folder}/{key}", {})[extension.lower()] = member
            end = tar.offset
        with open(path, "rb", buffering=0) as file:  # noqa: PTH123
            if _read_at(file.fileno(), end, _BLOCK) != bytes(_BLOCK):  # tarfile stops there without a word
                raise DatasetError(f"'{path}' is cut off or damaged at byte {end:,}: no end mark", key="source")
            return _to_rows(path, file.fileno(), samples)
    except (OSError, tarfile.TarError, EOFError) as error:
        raise DatasetError(f"'{path}' cannot be read as a plain tar file: {error}", key="source") from error


def _to_rows(path: str, descriptor: int, samples: dict[str, dict[str, tarfile.TarInfo]]) -> FileRows:
    labels, names, places = [], [], []
    digests = bytearray()
    for key, members in samples.items():
        image = next((m for extension, m in members.items() if extension.rpartition(".")[2] in _PICTURES), None)
        label = _label(descriptor, members)
        if image is None or label is None:
            lacks = "image" if image is None else "label (.cls, or .json with 'label')"
            raise DatasetError(f"sample '{key.removeprefix('/')}' in '{path}' has no {lacks}", key="source")
        labels.append(label)
        names.append(image.name.encode("utf-8", "backslashreplace").decode())
        places += [image.offset_data, image.size]
        digests += hashlib.sha256(_read_at(descriptor, image.offset_data, image.size)).digest()
    return FileRows(labels=labels, members=names, places=places, digests=bytes(digests))


def _label(descriptor: int, members: dict[str, tarfile.TarInfo]) -> str | None:
    """The class in a sample's `.cls` or `.json`; None if neither tells."""
    if member := members.get("cls"):
        text = _read_at(descriptor, member.offset_data, member.size).decode("utf-8", "replace").strip()
        return text or None
    if member := members.get("json"):
        try:
            found = json.loads(_read_at(descriptor, member.offset_data, member.size))
        except ValueError:
            return None
        label = found.get("label") if isinstance(found, dict) else None
        return str(label) if isinstance(label, int | str) and not isinstance(label, bool) else None
    return None


def _read_at(descriptor: int, start: int, size: int) -> bytes:
    """These bytes of a file, or as many of them as there are."""
    parts = bytearray()
    while len(parts) < size and (part := os.pread(descriptor, size - len(parts), start + len(parts))):
        parts += part
    return bytes(parts)
