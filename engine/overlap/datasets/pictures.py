"""The seam of a source: decodable pictures by position."""

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from PIL import Image


class Pictures(Protocol):
    """Pictures by position, decoded when asked for.

    Several threads may ask at once. `memory` says that they are few and small, and lie in memory
    already; `channels` is 1 (mode L) or 3 (mode RGB).
    """

    @property
    def channels(self) -> int: ...  # noqa: D102

    @property
    def memory(self) -> bool: ...  # noqa: D102

    def __len__(self) -> int: ...

    def open(self, position: int) -> "Image.Image":
        """The decoded picture at a position in [0, len), in mode L or RGB.

        Raises:
            OSError: it is no readable image any more.
        """
        ...


@dataclass(frozen=True, slots=True)
class ArrayPictures:
    """Pictures of one size in memory: (N, height, width, 1 or 3) uint8."""

    pixels_NHWC: NDArray[np.uint8]
    memory: bool = True

    @property
    def channels(self) -> int:
        """1 or 3."""
        return int(self.pixels_NHWC.shape[-1])

    def __len__(self) -> int:
        return len(self.pixels_NHWC)

    def open(self, position: int) -> "Image.Image":
        """The picture at a position."""
        from PIL import Image  # the driver never decodes

        pixels = self.pixels_NHWC[position]
        return Image.fromarray(pixels[..., 0] if self.channels == 1 else pixels)


def pixel_digests(pixels_NHWC: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """(N, 32) uint8: the SHA-256 of each picture's shape and pixels."""
    shape = repr(pixels_NHWC.shape[1:]).encode()
    digests = [hashlib.sha256(shape + pixels.tobytes()).digest() for pixels in pixels_NHWC]
    return np.frombuffer(b"".join(digests), np.uint8).reshape(-1, 32)
