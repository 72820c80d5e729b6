"""A folder of images with one folder a class, in the order of torchvision's `ImageFolder`."""

import hashlib
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from overlap.datasets import Examples, known_sources
from overlap.datasets.encoded import EncodedPictures
from overlap.datasets.index import UNREADABLE, FileRows, index_files
from overlap.datasets.label_spaces import in_label_space, label_space, real_labels
from overlap.errors import DatasetError
from overlap.spec import DatasetSpec

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".gif", ".tif", ".tiff", ".ppm", ".pgm")
_SPLITS = frozenset({"train", "training", "val", "valid", "validation", "test", "testing"})
_VALIDATION_NAME = re.compile(r"ILSVRC2012_val_(\d{8})\.JPEG")


@dataclass(frozen=True, slots=True)
class _Files:
    """Pictures that are a file each."""

    paths: Sequence[str]

    def read(self, position: int) -> bytes:
        return Path(self.paths[position]).read_bytes()

    def where(self, position: int) -> str:
        return os.fsencode(self.paths[position]).decode("utf-8", "backslashreplace")


def image_folder(spec: DatasetSpec, cache: Path | None) -> Examples:
    """The images below `source`, classes sorted, then folders, then files; ids are the positions in that order.

    Links are followed. Hidden files and folders, and files whose suffix is none of `SUFFIXES`, are left out.
    With `labels: real` the folder is ImageNet's validation set, and an image is kept only if exactly one class
    is in it (39,394 of 50,000): the others have none, or several that are all right.

    Raises:
        DatasetError: no such folder, one that cannot be listed, or fewer than two classes with images.
    """
    root = Path(spec.source)
    if not root.is_dir():
        known = ", ".join(known_sources())
        raise DatasetError(f"folder '{spec.source}' does not exist; built-in sources are {known}", key="source")
    if spec.labels == "real":
        paths, labels_N, ids_N, names = _validation_set(spec)
    else:
        paths, labels_N, names = _class_folders(spec)
        ids_N = np.arange(len(paths), dtype=np.int64)
        if spec.classes:
            names, labels_N = in_label_space(names, labels_N, spec.classes)
    index = index_files(paths, _read_file, cache=cache, source=f"folder {root.absolute()}")
    pictures = EncodedPictures(_Files(paths), index.digests_N)
    return Examples(
        pictures=pictures, labels_N=labels_N, ids_N=ids_N, digests_N=index.digests_N, class_names=tuple(names)
    )


def _class_folders(spec: DatasetSpec) -> tuple[list[str], NDArray[np.int32], Sequence[str]]:
    """Paths and labels of the images in the folders of their classes."""
    entries = _listed(spec.source)
    names = sorted(entry.name for entry in entries if entry.is_dir())
    if odd := [name for name in names if not name.isprintable()]:
        raise DatasetError(f"expected readable names of class folders in '{spec.source}', got {odd[0]!a}", key="source")
    per_class = [_pictures_below(str(Path(spec.source, name))) for name in names]
    paths = [path for some in per_class for path in some]
    if sum(map(bool, per_class)) < 2:
        loose = sum(_is_picture(entry) for entry in entries)
        raise DatasetError(
            f"expected at least two class folders with images in '{spec.source}', "
            f"got {len(paths)} images in {len(names)} folders" + (f" and {loose} beside them" if loose else ""),
            key="source",
        )
    if {name.lower() for name in names} <= _SPLITS:
        raise DatasetError(
            f"the folders in '{spec.source}' are splits, not classes: {', '.join(names)}; "
            f"give one of them, such as {Path(spec.source, names[0])}",
            key="source",
        )
    counts = [len(some) for some in per_class]
    return paths, np.repeat(np.arange(len(names), dtype=np.int32), counts), names


def _validation_set(spec: DatasetSpec) -> tuple[list[str], NDArray[np.int32], NDArray[np.int64], Sequence[str]]:
    """Paths, labels and ids of ImageNet's validation images with one ReaL label."""
    everything = _pictures_below(str(Path(spec.source)))
    numbers = [_VALIDATION_NAME.fullmatch(path.rpartition("/")[2]) for path in everything]
    real = real_labels()
    strangers = [p for p, m in zip(everything, numbers, strict=True) if not m or not 0 < int(m[1]) <= len(real)]
    if strangers or not everything:
        got = f"{strangers[0]}" if strangers else f"no image in '{spec.source}'"
        raise DatasetError(
            f"labels: real needs ImageNet's validation images, named like ILSVRC2012_val_00000293.JPEG; got {got}",
            key="labels",
        )
    labels = [real[int(match[1]) - 1] for match in numbers if match]
    kept = [i for i, found in enumerate(labels) if len(found) == 1]
    labels_N = np.array([labels[i][0] for i in kept], np.int32)
    return [everything[i] for i in kept], labels_N, np.array(kept, np.int64), label_space("imagenet-1k")


def _pictures_below(folder: str) -> list[str]:
    """The images of a folder and those below it, in torchvision's order."""
    found = sorted(_walk(folder, frozenset()))
    return [f"{directory}/{name}" for directory, names in found for name in sorted(names)]


def _walk(folder: str, above: frozenset[tuple[int, int]]) -> Iterator[tuple[str, list[str]]]:
    """Each folder and the names of the images in it; a link back to a folder above is not followed."""
    status = os.stat(folder)  # noqa: PTH116 - a plain walk over a million files; a Path each doubles its time
    here = (status.st_dev, status.st_ino)
    if here in above:
        return
    entries = _listed(folder)
    yield folder, [entry.name for entry in entries if _is_picture(entry)]
    for entry in entries:
        if entry.is_dir():
            yield from _walk(entry.path, above | {here})


def _listed(folder: str) -> list[os.DirEntry[str]]:
    """What is in a folder, without what is hidden.

    Raises:
        DatasetError: it cannot be listed.
    """
    try:
        with os.scandir(folder) as entries:
            return [entry for entry in entries if not entry.name.startswith(".")]
    except OSError as error:
        raise DatasetError(f"cannot list the folder '{folder}': {error.strerror}", key="source") from error


def _is_picture(entry: os.DirEntry[str]) -> bool:
    """A file or a link to one by its name; a link to nothing too, which is then a bad image."""
    return entry.name.lower().endswith(SUFFIXES) and (entry.is_file() or (entry.is_symlink() and not entry.is_dir()))


def _read_file(path: str) -> FileRows:
    try:
        with open(path, "rb", buffering=0) as file:  # noqa: PTH123 - see _walk
            digest, whole = hashlib.sha256(file.read()).digest(), True
    except OSError:
        digest, whole = UNREADABLE, False
    return FileRows(labels=("",), members=("",), places=(0, 0), digests=digest, whole=whole)
