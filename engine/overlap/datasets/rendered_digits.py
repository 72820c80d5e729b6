"""Pictures of the ten digits, drawn from fonts and pen strokes to look like scikit-learn's 8×8 digits.

Every digit is a cloud of points on the middle line of its strokes, which is bent, scaled to the full
height of a bitmap, inked with a round pen and counted in blocks.
Array names: N examples, M points of one digit, T terms of a polynomial; points are (x, y), y downwards.
"""

from functools import cache
from itertools import pairwise
from pathlib import Path

import matplotlib
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from scipy import ndimage
from scipy.spatial import cKDTree

# One weight of each. Left out: DejaVu Sans Mono, whose zero has a dot; cmti10, whose 4 has a descender.
_FONTS = (
    "DejaVuSans",
    "DejaVuSans-Oblique",
    "DejaVuSerif",
    "DejaVuSerif-Italic",
    "STIXGeneral",
    "STIXGeneralItalic",
    "cmmi10",
    "cmr10",
    "cmss10",
    "cmtt10",
)
_GLYPH_PX = 96

# Forms that hands write and fonts lack; a form is its strokes, a stroke its corners "x,y x,y ...".
_PEN_FORMS: dict[int, tuple[tuple[str, ...], ...]] = {
    1: (("0,-10 0,10",), ("-5,-4 0,-10 0,10",), ("-4,-5 0,-10 0,10", "-2,10 8,10")),
    4: (("-2,-10 -6,2 7,1", "4,-6 1,10"), ("-4,-7 -6,0 5,0", "5,-10 3,0 0,10")),
    6: (("1,-10 -3,-4 -5,4 -4,9 1,10 5,7 4,2 0,1 -4,5",), ("-2,-10 -5,0 -5,8 0,10 6,9 6,5 2,2 -4,5",)),
    7: (("-5,-9 5,-10 1,0 -1,10", "-5,1 7,-1"), ("-5,-6 -4,-10 5,-10 0,0 -2,10", "-5,1 6,0")),
    9: (
        ("5,-6 1,-10 -4,-9 -5,-4 -3,-1 1,-1 5,-5 5,-10 5,6 2,10 -5,10",),
        ("5,-7 1,-10 -4,-8 -4,-3 1,-2 5,-6 4,2 2,10",),
        ("5,-10 -3,-10 -5,-6 -3,-2 4,-2", "5,-10 5,7 2,10 -4,10"),
    ),
}
_PEN_SHARE = 0.75  # of the examples of a digit that has pen forms

# Standard deviations of the distorting polynomial's coefficients, by term, for x and for y.
_SPREAD_T2 = np.array(
    [
        (0.15, 0.07),  # x: width, rotation
        (0.21, 0.00),  # y: slant; the height is always the full one
        (0.06, 0.06),  # x²
        (0.06, 0.06),  # xy
        (0.06, 0.14),  # y²: bow; the height of the waist
        (0.06, 0.06),  # x³
        (0.06, 0.06),  # x²y
        (0.06, 0.06),  # xy²
        (0.06, 0.06),  # y³
    ]
)

# Lengths in pixels of the bitmap, areas in pixels. Ink is the real set's, nearly the same for all digits.
_BITMAP, _BLOCK = 32, 4
_PEN_RADIUS = 2.3
_NARROWEST, _WIDEST = 8.0, 17.0
_INK_MEAN, _INK_SPREAD, _INK_RANGE = 312, 35, (200, 420)
_CENTRE_X_MEAN, _CENTRE_X_SPREAD = 15.5, 1.0
_PIXELS = np.stack(np.meshgrid(np.arange(_BITMAP), np.arange(_BITMAP)), axis=-1).reshape(-1, 2) + 0.5


def render_digits(*, samples: int, seed: int) -> tuple[NDArray[np.uint8], NDArray[np.int32]]:
    """Drawn digits on the scale of `sklearn.datasets.load_digits`, as many of each digit as can be.

    Example i depends on (seed, i) alone, so that a larger set extends a smaller one.

    Args:
        samples: number of examples N, 0 or more.
        seed: 0 or more.

    Returns:
        (N, 8, 8) uint8 images of 0 (paper) to 16 (ink), and (N,) int32 labels, i % 10 for example i.

    Source: the preparation of the real set, Alpaydin & Kaynak, Optical Recognition of Handwritten
        Digits, UCI Machine Learning Repository (1998): 32×32 bitmaps, ink counted in 4×4 blocks.

    >>> images, labels = render_digits(samples=20, seed=0)
    >>> images.shape, labels[8:12].tolist()
    ((20, 8, 8), [8, 9, 0, 1])
    """
    labels_N = np.arange(samples, dtype=np.int32) % np.int32(10)
    images_N = np.zeros((samples, _BITMAP // _BLOCK, _BITMAP // _BLOCK), np.uint8)
    for i, digit in enumerate(labels_N.tolist()):
        rng = np.random.default_rng([seed, i])
        images_N[i] = _ink(_distort(_choose_form(digit, rng), rng), rng)
    return images_N, labels_N


def _choose_form(digit: int, rng: np.random.Generator) -> NDArray[np.float64]:
    forms = _PEN_FORMS.get(digit, ())
    if forms and rng.random() < _PEN_SHARE:
        return _pen_points(forms[rng.integers(len(forms))])
    return _glyph_points(_FONTS[rng.integers(len(_FONTS))], digit)


@cache
def _pen_points(form: tuple[str, ...]) -> NDArray[np.float64]:
    """(M, 2) points along the straight pieces of a pen form's strokes."""
    steps = np.linspace(0, 1, 50)[:, None]
    corners = [np.array([corner.split(",") for corner in stroke.split()], np.float64) for stroke in form]
    pieces = [piece for stroke in corners for piece in pairwise(stroke)]
    return _centred(np.concatenate([start + (end - start) * steps for start, end in pieces]))


@cache
def _glyph_points(font: str, digit: int) -> NDArray[np.float64]:
    """(M, 2) points on the middle line of a font's glyph: the ridge of the distance to its outline."""
    path = Path(matplotlib.get_data_path(), "fonts", "ttf", f"{font}.ttf")
    glyph = Image.new("L", (_GLYPH_PX, _GLYPH_PX))
    typeface = ImageFont.truetype(path, _GLYPH_PX)
    middle = (_GLYPH_PX / 2, _GLYPH_PX / 2)
    ImageDraw.Draw(glyph).text(middle, str(digit), fill=255, font=typeface, anchor="mm")
    depth = np.asarray(ndimage.distance_transform_edt(np.asarray(glyph) > 127), np.float64)
    # The second condition drops the branches that run from the line into the outline's corners.
    ridge = (ndimage.gaussian_laplace(depth, 1.0) < -0.2) & (depth > 0.75 * ndimage.maximum_filter(depth, 9))
    return _centred(np.argwhere(ridge)[:, ::-1].astype(np.float64))


def _centred(points_M2: NDArray[np.float64]) -> NDArray[np.float64]:
    """The points with their bounding box around 0 and its longer side from -1 to 1."""
    low, high = points_M2.min(axis=0), points_M2.max(axis=0)
    centred: NDArray[np.float64] = (2 * points_M2 - low - high) / np.max(high - low)
    return centred


def _distort(points_M2: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.float64]:
    """The points moved by a random cubic polynomial: an affine map and a smooth bend in one."""
    x, y = points_M2.T
    terms_MT = np.stack([x, y, x * x, x * y, y * y, x**3, x * x * y, x * y * y, y**3], axis=1)
    return points_M2 + terms_MT @ rng.normal(0, _SPREAD_T2)


def _ink(points_M2: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.uint8]:
    """(8, 8) counts of ink: as many pixels as the ink suffices for, nearest to the points first."""
    low, high = points_M2.min(axis=0), points_M2.max(axis=0)
    height = _BITMAP - 2 * _PEN_RADIUS
    width = np.clip(height * (high - low)[0] / (high - low)[1], _NARROWEST, _WIDEST)
    centre = (rng.normal(_CENTRE_X_MEAN, _CENTRE_X_SPREAD), _BITMAP / 2)
    placed_M2 = (points_M2 - (low + high) / 2) / np.maximum(high - low, 1e-6) * (width, height) + centre
    distance, _ = cKDTree(placed_M2).query(_PIXELS)
    ink = int(np.clip(rng.normal(_INK_MEAN, _INK_SPREAD), *_INK_RANGE))
    bitmap = np.asarray(distance) <= np.sort(distance)[ink - 1]
    blocks = bitmap.reshape(_BITMAP // _BLOCK, _BLOCK, _BITMAP // _BLOCK, _BLOCK)
    return np.asarray(blocks.sum(axis=(1, 3)), np.uint8)
