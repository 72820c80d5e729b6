"""Pictures as encoded files hold them: read whole, compared with their digest, decoded as timm decodes them."""

import functools
import hashlib
import io
import struct
import warnings
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from overlap.errors import DatasetError

if TYPE_CHECKING:
    from PIL import Image

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF", "PPM")
LARGEST_PIXELS = 64_000_000
_TOO_LARGE = f"it declares more than {LARGEST_PIXELS // 1_000_000} million pixels"
# What Pillow is seen to raise on damaged files; its documentation promises none of it.
_DAMAGES = (
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    LookupError,
    TypeError,
    AttributeError,
    ArithmeticError,
    RuntimeError,
    struct.error,
    zlib.error,
)


class Encoded(Protocol):
    """Encoded pictures by position; several threads may ask at once."""

    def read(self, position: int) -> bytes:
        """The bytes of a picture as they lie there now.

        Raises:
            OSError: they cannot be read.
        """
        ...

    def where(self, position: int) -> str:
        """The path of a picture, for people."""
        ...


@dataclass(frozen=True, slots=True)
class EncodedPictures:
    """Pictures in RGB, each decoded when asked for, from bytes that are still those of the index."""

    source: Encoded
    digests_N: NDArray[np.uint8]
    channels: int = 3
    memory: bool = False

    def __len__(self) -> int:
        return len(self.digests_N)

    def where(self, position: int) -> str:
        """The path of a picture, for people."""
        return self.source.where(position)

    def read(self, position: int) -> bytes:
        """The encoded bytes of a picture.

        Raises:
            OSError: they cannot be read.
            DatasetError: they are not those that the index was made from.
        """
        content = self.source.read(position)
        if hashlib.sha256(content).digest() != self.digests_N[position].tobytes():
            raise DatasetError(
                f"'{self.where(position)}' has changed since the sweep was launched: "
                "put the old file back, or launch the sweep again",
                key="source",
            )
        return content

    def open(self, position: int) -> "Image.Image":
        """The picture at a position, in RGB.

        Raises:
            OSError: it cannot be read or decoded.
            DatasetError: the file has changed since it was indexed.
        """
        content = self.read(position)
        try:
            return decode(content)
        except OSError as error:
            raise OSError(f"'{self.where(position)}' is no readable image: {error}") from error


def decode(content: bytes, *, draft: bool = False) -> "Image.Image":
    """The picture in these bytes, in RGB as timm's `ImageDataset` makes it: not turned by its EXIF data.

    Args:
        content: an encoded image of one of `FORMATS`.
        draft: decode a JPEG at an eighth of its size, reading all of it nevertheless.

    Raises:
        OSError: it is none, is damaged, or declares more than `LARGEST_PIXELS`.
    """
    from PIL import Image, UnidentifiedImageError  # a process that decodes nothing does not wait for it

    _bombs_are_errors()
    try:
        with Image.open(io.BytesIO(content), formats=FORMATS) as image:
            width, height = image.size
            if width * height > LARGEST_PIXELS:
                raise OSError(f"{_TOO_LARGE}: {width} x {height}")
            if draft:
                image.draft(None, (max(1, width // 8), max(1, height // 8)))
            image.load()
            if isinstance(image.info.get("transparency"), bytes):
                del image.info["transparency"]  # RGB drops it anyway; Pillow would warn
            return image.convert("RGB")
    except UnidentifiedImageError:
        raise OSError(_what_it_is(content)) from None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise OSError(_TOO_LARGE) from None
    except _DAMAGES as error:
        raise OSError(str(error) or type(error).__name__) from error


@functools.cache
def _bombs_are_errors() -> None:
    """Makes Pillow refuse an image where it would only warn, on opening it, of its size."""
    from PIL import Image

    warnings.simplefilter("error", Image.DecompressionBombWarning)


def _what_it_is(content: bytes) -> str:
    if not content:
        return "it is empty"
    if content.lstrip()[:5].lower() in (b"<html", b"<!doc"):
        return "it is an HTML page"
    return f"it is none of {', '.join(FORMATS)}, or its header is damaged"
