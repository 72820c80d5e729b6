"""Images become a model's input, the same way in training and in evaluation: timm's own evaluation transform."""

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from overlap.variants import Geometry, Preprocessing
from overlap_analysis.compiled import compiled


def pixel_transform(geometry: Geometry) -> Callable[[Image.Image], NDArray[np.uint8]]:
    """Gives the (size, size, channels) uint8 pixels of a picture: all of timm's transform but the normalisation."""
    from timm.data.transforms_factory import transforms_imagenet_eval  # takes seconds: not for estimators on pixels

    transform = transforms_imagenet_eval(
        img_size=geometry.size,
        crop_pct=geometry.crop_pct,
        crop_mode=geometry.crop_mode,
        interpolation=geometry.interpolation,
        mean=geometry.border,
        normalize=False,
    )

    def pixels(picture: Image.Image) -> NDArray[np.uint8]:
        if geometry.crop_mode == "border":
            picture = picture.convert("RGB")
        return np.ascontiguousarray(transform(picture).permute(1, 2, 0).numpy())

    return pixels


def pixel_channels(geometry: Geometry, channels: int) -> int:
    """Channels of what `pixel_transform` makes of pictures with so many: bars have a colour."""
    return 3 if geometry.crop_mode == "border" else channels


def to_images(pixels_NHWC: NDArray[np.uint8], device: torch.device) -> Tensor:
    """(N, channels, size, size) float32 in [0, 1] on a device; the bytes travel, not the floats."""
    on_device = torch.from_numpy(pixels_NHWC).to(device, non_blocking=True)
    return on_device.permute(0, 3, 1, 2).contiguous().float().div_(255)


def normalize(images: Tensor, preprocessing: Preprocessing) -> Tensor:
    """(N, 3, size, size) normalised as torchvision does it; a single channel is repeated."""
    mean, std = (images.new_tensor(values)[:, None, None] for values in (preprocessing.mean, preprocessing.std))
    return images.expand(-1, 3, -1, -1).sub(mean).div_(std)


def to_inputs(pixels: Tensor, preprocessing: Preprocessing, *, channels_last: bool = False) -> Tensor:
    """(N, 3, size, size) normalised images of (N, size, size, channels) bytes on one device.

    The same bits as `normalize` of `to_images`, in place of one allocation. `channels_last` is how they lie in
    memory, which convolutions want; on a CPU bytes are then looked up, which is twice as fast as arithmetic.
    """
    count, height, width, _ = pixels.shape
    if channels_last and pixels.device.type == "cpu":
        images = torch.empty((count, height, width, 3), dtype=torch.float32)
        rows = pixels.expand(-1, -1, -1, 3).contiguous().view(-1, 3)
        _look_up(rows.numpy(), _normalized_bytes(preprocessing).numpy(), images.view(-1, 3).numpy())
        return images.permute(0, 3, 1, 2)
    mean, std = (
        torch.tensor(values, dtype=torch.float32, device=pixels.device)
        for values in (preprocessing.mean, preprocessing.std)
    )
    if channels_last:
        images = torch.empty((count, height, width, 3), dtype=torch.float32, device=pixels.device)
        return images.copy_(pixels).div_(255).sub_(mean).div_(std).permute(0, 3, 1, 2)
    images = torch.empty((count, 3, height, width), dtype=torch.float32, device=pixels.device)
    images.copy_(pixels.permute(0, 3, 1, 2))
    return images.div_(255).sub_(mean[:, None, None]).div_(std[:, None, None])


def _normalized_bytes(preprocessing: Preprocessing) -> Tensor:
    """(256, 3) what each byte becomes in each channel."""
    pixels = torch.arange(256, dtype=torch.uint8)[:, None, None, None]
    return to_inputs(pixels, preprocessing)[:, :, 0, 0]


@compiled
def _look_up(pixels_R3: NDArray[np.uint8], normalized_B3: NDArray[np.float32], images_R3: NDArray[np.float32]) -> None:
    for r in range(len(pixels_R3)):  # one statement a channel: twice as fast as a loop over them
        images_R3[r, 0] = normalized_B3[pixels_R3[r, 0], 0]
        images_R3[r, 1] = normalized_B3[pixels_R3[r, 1], 1]
        images_R3[r, 2] = normalized_B3[pixels_R3[r, 2], 2]
