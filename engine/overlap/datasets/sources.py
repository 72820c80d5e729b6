"""The digit sources: scikit-learn's handwritten ones, and the same classes drawn from fonts."""

import importlib.util
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from overlap.datasets import Images
from overlap.errors import DatasetError
from overlap.spec import DatasetSpec

DEFAULT_SAMPLES = 1000
_NAMES = tuple("0123456789")


def sklearn_digits(spec: DatasetSpec) -> Images:
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


def rendered_digits_source(spec: DatasetSpec) -> Images:
    """`samples` digits drawn from fonts, as 8×8 images like scikit-learn's; ids are their numbers."""
    from overlap.datasets.rendered_digits import render_digits  # drawing libraries: only who draws waits for them

    levels, labels = render_digits(samples=spec.samples or DEFAULT_SAMPLES, seed=spec.seed)
    return _images(levels, labels)


def _images(levels_NHW: NDArray[np.integer], labels_N: NDArray[np.integer]) -> Images:
    """Digit images of 17 grey levels, 0 to 16, as bytes."""
    return Images(
        pixels_NHWC=np.rint(levels_NHW * (255 / 16)).astype(np.uint8)[..., None],
        labels_N=labels_N.astype(np.int32),
        ids_N=np.arange(len(labels_N), dtype=np.int64),
        class_names=_NAMES,
    )
