"""Small sources that lie in memory: scikit-learn's digits and faces, and digits drawn from fonts."""

import importlib.util
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from overlap.datasets import Examples
from overlap.datasets.pictures import ArrayPictures, pixel_digests
from overlap.errors import DatasetError
from overlap.spec import DatasetSpec

DEFAULT_SAMPLES = 1000
_NAMES = tuple("0123456789")


def sklearn_digits(spec: DatasetSpec, _cache: Path | None) -> Examples:
    """The 1,797 handwritten 8×8 digits that scikit-learn ships; ids are its row numbers.

    Read from scikit-learn's own file instead of `load_digits`, whose import takes two seconds.

    Source: E. Alpaydin and C. Kaynak, Optical Recognition of Handwritten Digits, UCI, 1998.
    """
    package = importlib.util.find_spec("sklearn")
    if package is None or package.origin is None:
        raise DatasetError(f"'{spec.source}' needs scikit-learn, which is not installed", key="source")
    path = Path(package.origin).parent / "datasets" / "data" / "digits.csv.gz"
    table = np.loadtxt(path, delimiter=",", dtype=np.int32)
    return _images(table[:, :-1].reshape(-1, 8, 8), table[:, -1])


def rendered_digits_source(spec: DatasetSpec, _cache: Path | None) -> Examples:
    """`samples` digits drawn from fonts, as 8×8 images like scikit-learn's; ids are their numbers."""
    from overlap.datasets.rendered_digits import render_digits  # drawing libraries: only who draws waits for them

    levels, labels = render_digits(samples=spec.samples or DEFAULT_SAMPLES, seed=spec.seed)
    return _images(levels, labels)


def sklearn_olivetti_faces(spec: DatasetSpec, _cache: Path | None) -> Examples:
    """The 400 grey 64×64 faces of 40 people, if scikit-learn has downloaded them before; ids are its row numbers.

    Raises:
        DatasetError: they are not in scikit-learn's data folder.

    Source: AT&T Laboratories Cambridge, 1994.
    """
    from sklearn.datasets import fetch_olivetti_faces  # takes two seconds

    try:
        faces = fetch_olivetti_faces(download_if_missing=False)
    except OSError as error:
        command = "python -c 'from sklearn.datasets import fetch_olivetti_faces as f; f()'"
        raise DatasetError(
            f"'{spec.source}' must be downloaded first, on every node: {command}", key="source"
        ) from error
    pixels_NHWC = np.rint(np.asarray(faces.images) * 255).astype(np.uint8)[..., None]
    return _examples(pixels_NHWC, np.asarray(faces.target), tuple(str(i) for i in range(40)))


def _images(levels_NHW: NDArray[np.integer], labels_N: NDArray[np.integer]) -> Examples:
    """Digit images of 17 grey levels, 0 to 16, as bytes."""
    pixels_NHWC = np.rint(levels_NHW * (255 / 16)).astype(np.uint8)[..., None]
    return _examples(pixels_NHWC, labels_N, _NAMES)


def _examples(pixels_NHWC: NDArray[np.uint8], labels_N: NDArray[np.integer], class_names: tuple[str, ...]) -> Examples:
    return Examples(
        pictures=ArrayPictures(pixels_NHWC),
        labels_N=labels_N.astype(np.int32),
        ids_N=np.arange(len(labels_N), dtype=np.int64),
        digests_N=pixel_digests(pixels_NHWC),
        class_names=class_names,
    )
