"""Small images of a store's examples, from the data that its sweep file names."""

from dataclasses import replace
from io import BytesIO
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from overlap.datasets import Split, absolute_source, dataset_facts, load_dataset
from overlap.datasets.image_check import sound_dataset
from overlap.errors import ArgumentError, DatasetError
from overlap.spec import DatasetSpec, parse_sweep
from overlap.store import LockFile, MissingObjectError, Store
from overlap.workplace import Cache

if TYPE_CHECKING:
    from PIL import Image

SIDE = 48  # pixels of the longer side
BYTES = 1_500_000  # of all; a third more as text
_QUALITIES = (80, 60, 40, 20, 5)


def read_thumbnails(store: Store, lock: LockFile, dataset: str, ids: NDArray[np.int64]) -> tuple[bytes, ...]:
    """A WebP image of each example, at most `SIDE` pixels wide and high and `BYTES` long together.

    Raises:
        ArgumentError: there are no images, or they are not there any more, or not what they were.
    """
    split = _test_split(store, lock, dataset)
    positions = split.positions_N[np.searchsorted(split.ids_N, ids)]
    try:
        images = [_small(split.pictures.open(int(position))) for position in positions]
    except OSError as error:
        raise ArgumentError(f"no thumbnails: an image of '{dataset}' cannot be read ({error})") from error
    for quality in _QUALITIES:
        encoded = tuple(_encoded(image, quality) for image in images)
        if sum(map(len, encoded)) <= BYTES:
            break
    return encoded


def _test_split(store: Store, lock: LockFile, dataset: str) -> Split:
    spec = _source_of(store, dataset)
    try:
        sound, _ = sound_dataset(spec, Cache().here)
        loaded = load_dataset(sound, Cache().here)
    except DatasetError as error:
        raise ArgumentError(f"no thumbnails: the images of '{dataset}' cannot be read ({error})") from error
    if dataset_facts(loaded) != lock.datasets[dataset]:
        raise ArgumentError(f"no thumbnails: '{spec.source}' is not what it was when the sweep was launched")
    return loaded.splits["test"]


def _source_of(store: Store, dataset: str) -> DatasetSpec:
    """What the sweep file says of a dataset; a relative folder is looked for where we are now."""
    try:
        sweep, _ = parse_sweep(store.read_bytes("sweep.yaml").decode(), path="sweep.yaml")
    except MissingObjectError:
        sweep = None
    found = [spec for spec in sweep.datasets if spec.name == dataset] if sweep else []
    if not found:
        raise ArgumentError(f"no thumbnails: nobody says where the images of '{dataset}' are; imports have none")
    return replace(found[0], source=absolute_source(found[0].source))


def _small(image: "Image.Image") -> "Image.Image":
    image = image.convert("RGB")
    image.thumbnail((SIDE, SIDE))
    return image


def _encoded(image: "Image.Image", quality: int) -> bytes:
    buffer = BytesIO()
    image.save(buffer, "WEBP", quality=quality)
    return buffer.getvalue()
