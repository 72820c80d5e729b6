"""Preprocessing in two steps, pixels and normalisation, gives the bits of timm's own transform."""

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from timm.data import create_transform, resolve_data_config

from overlap.preprocessing import normalize, pixel_channels, pixel_transform, to_images, to_inputs
from overlap.variants import Geometry, Preprocessing


def timm_settings():
    """Every distinct preprocessing of timm's published weights that has a square input."""
    configs = [resolve_data_config(pretrained_cfg=timm.get_pretrained_cfg(n).to_dict()) for n in timm.list_pretrained()]
    distinct = {repr(sorted(config.items())): config for config in configs}
    return [distinct[key] for key in sorted(distinct) if len({*distinct[key]["input_size"][1:]}) == 1]


def smooth_picture(width, height, mode):
    rng = np.random.default_rng(width)
    small = Image.fromarray(rng.integers(0, 256, (9, 9, 3), dtype=np.uint8))
    noise = Image.fromarray(rng.integers(0, 256, (height, width, 3), dtype=np.uint8))
    return Image.blend(small.resize((width, height)), noise, 0.3).convert(mode).convert("RGB")


PICTURES = [(500, 375, "RGB"), (333, 613, "RGB"), (97, 64, "L"), (61, 60, "RGB"), (1100, 950, "L")]


@pytest.mark.parametrize(("every", "sizes"), [(7, 3), pytest.param(1, 5, marks=pytest.mark.slow)])
def test_the_model_gets_the_very_bits_of_timms_own_transform(every, sizes):
    shown = [smooth_picture(*picture) for picture in PICTURES[:sizes]]
    settings = timm_settings()
    assert len(settings) > 150
    for config in settings[::every]:
        fields = {name: config[name] for name in ("crop_pct", "crop_mode", "interpolation", "mean", "std")}
        preprocessing = Preprocessing(size=config["input_size"][1], **fields)
        theirs = create_transform(**config, is_training=False)
        ours = pixel_transform(preprocessing.geometry)
        for picture in shown:
            pixels, expected = ours(picture)[None], theirs(picture)
            trained_on = normalize(to_images(pixels, torch.device("cpu")), preprocessing)[0]
            evaluated_on = to_inputs(torch.from_numpy(pixels), preprocessing)[0]
            assert torch.equal(trained_on, expected), (config, picture.size)
            assert torch.equal(evaluated_on, expected), (config, picture.size)
            for_convolutions = to_inputs(torch.from_numpy(pixels), preprocessing, channels_last=True)
            assert for_convolutions.is_contiguous(memory_format=torch.channels_last)
            assert torch.equal(for_convolutions[0], expected), (config, picture.size)


@pytest.mark.parametrize("mode", ["center", "squash", "border"])
def test_a_grey_picture_becomes_what_it_would_as_rgb(mode):
    picture = smooth_picture(90, 60, "L").convert("L")
    geometry = Geometry(size=32, crop_pct=0.9, crop_mode=mode, interpolation="bicubic", border=(0.4, 0.5, 0.6))
    grey, colour = (pixel_transform(geometry)(shown) for shown in (picture, picture.convert("RGB")))
    assert grey.shape[-1] == pixel_channels(geometry, 1)
    np.testing.assert_array_equal(np.broadcast_to(grey, colour.shape), colour)
