"""Variants and images that train in a moment, for the tests of training and of the frameworks."""

import functools
from pathlib import Path

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch.nn.functional import interpolate

from overlap.frameworks import TrainingData
from overlap.models import build_network
from overlap.preprocessing import normalize, to_images
from overlap.recipes import RECIPES
from overlap.training import from_safetensors, train
from overlap.variants import Preprocessing, Variant

CPU = torch.device("cpu")
SIDE = 32


def make_variant(framework="supervised", *, architecture="test_efficientnet", seed=0, **changed):
    """A variant with a framework's defaults, some of them changed."""
    knobs = {name: knob.default for name, knob in RECIPES[framework].knobs.items()}
    assert set(changed) <= set(knobs), set(changed) - set(knobs)
    return Variant(
        name="tiny",
        architecture=architecture,
        framework=framework,
        train_on="tiny",
        seed=seed,
        hyperparameters=tuple(sorted((knobs | changed).items())),
        preprocessing=Preprocessing(size=SIDE),
    )


def random_images(examples=20, *, classes=3, channels=1):
    """Random pixels and labels of some classes in turn."""
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (examples, SIDE, SIDE, channels), dtype=np.uint8)
    return pixels, (np.arange(examples) % classes).astype(np.int32)


@functools.cache
def digits():
    """scikit-learn's digits in a fixed random order, 32 pixels wide, and their labels."""
    raw = load_digits()
    order = np.random.default_rng(0).permutation(len(raw.target))
    images = torch.from_numpy(raw.images[order, None] * (255 / 16)).float()
    enlarged = interpolate(images, (SIDE, SIDE), mode="bilinear", antialias=True).round().byte()
    return enlarged.permute(0, 2, 3, 1).numpy(), raw.target[order].astype(np.int32)


def class_names(classes):
    return tuple(str(i) for i in range(classes))


def training_data(pixels, labels, *, classes=3, teacher=None):
    return TrainingData(
        pixels=pixels,
        labels=torch.from_numpy(labels).long(),
        class_names=class_names(classes),
        preprocessing=Preprocessing(size=SIDE),
        device=CPU,
        teacher=teacher,
    )


def flat_teacher(images):
    """A teacher of three classes that looks at an image's brightness."""
    level = images.mean(dim=(1, 2, 3))
    return torch.stack([level, -level, 2 * level], dim=1)


def epochs_of(variant, images, *, classes=3, checkpoint=None, teacher=flat_teacher):
    """Every epoch of a training on (pixels, labels), or of its rest."""
    epochs = train(
        variant, *images, class_names=class_names(classes), device=CPU, checkpoint=checkpoint, teacher=teacher
    )
    return list(epochs)


def accuracy_of(variant, weights, images):
    """Share of (pixels, labels) that a network of ten classes gets right."""
    pixels, labels = images
    network = build_network(variant, classes=10).eval()
    network.load_state_dict(from_safetensors(weights))
    with torch.no_grad():
        logits = network(normalize(to_images(pixels, CPU), variant.preprocessing))
    return float((logits.argmax(1).numpy() == labels).mean())


def write_memory_map(path: Path, pixels):
    """The same pixels as a read-only memory map."""
    np.save(path, pixels)
    return np.load(path, mmap_mode="r")
