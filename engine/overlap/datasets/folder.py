"""A folder of images with one subfolder a class, decoded into memory at one size."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from overlap.datasets import SOURCES, Images
from overlap.errors import DatasetError
from overlap.spec import DatasetSpec

DEFAULT_SIZE = 224
SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp", ".gif", ".tif", ".tiff"})


def image_folder(spec: DatasetSpec) -> Images:
    """The images of `source`, cropped to their centre square and resized to `size` (224 if not given).

    Classes are the subfolders in alphabetical order, example ids the positions of the files in the
    alphabetical order of their paths.

    Raises:
        DatasetError: no such folder, no subfolder with images in it, or files that are no images.
    """
    root = Path(spec.source)
    if not root.is_dir():
        known = ", ".join(SOURCES)
        raise DatasetError(f"folder '{spec.source}' does not exist; built-in sources are {known}", key="source")
    names = sorted(child.name for child in root.iterdir() if child.is_dir())
    files = [(path, i) for i, name in enumerate(names) for path in _image_files(root / name)]
    if len({label for _, label in files}) < 2:
        raise DatasetError(
            f"expected at least two class folders with images in '{spec.source}', "
            f"got {len(files)} images in {len(names)} folders",
            key="source",
        )
    size = spec.size or DEFAULT_SIZE
    pixels, unreadable = [], []
    for path, _ in files:
        try:
            pixels.append(_decode(path, size))
        except (OSError, UnidentifiedImageError, Image.DecompressionBombError):
            unreadable.append(str(path))
    if unreadable:
        shown = ", ".join(unreadable[:5]) + (" …" if len(unreadable) > 5 else "")
        raise DatasetError(f"{len(unreadable)} files are no readable images: {shown}", key="source")
    return Images(
        pixels_NHWC=np.stack(pixels),
        labels_N=np.array([label for _, label in files], np.int32),
        ids_N=np.arange(len(files), dtype=np.int64),
        class_names=tuple(names),
    )


def _image_files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES)


def _decode(path: Path, size: int) -> NDArray[np.uint8]:
    with Image.open(path) as image:
        upright = ImageOps.exif_transpose(image).convert("RGB")
    square = ImageOps.fit(upright, (size, size), Image.Resampling.BICUBIC)
    return np.asarray(square, np.uint8)
