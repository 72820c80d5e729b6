"""Variants with pretrained, imported or the sweep's own weights, small enough to be made in a moment."""

import pytest
import timm
import torch

from overlap.training import seed_everything
from overlap.variants import Preprocessing, Variant, Weights


@pytest.fixture(autouse=True)
def one_thread():
    """Small networks are faster on one thread, where other work shares the machine."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def timm_variant(name, *, source="random", revision="random", size=None, seed=0):
    """A pretrained variant of timm."""
    config = timm.models.get_pretrained_cfg(name)
    weights = Weights(library="timm", name=name, source=str(source), revision=revision)
    return variant_of(name.partition(".")[0], weights, size=size or config.input_size[-1], seed=seed)


def own_variant(library, name, *, architecture="test_resnet", revision="", size=64):
    """A variant of a checkpoint or of Python code."""
    weights = Weights(library=library, name=str(name), source=str(name), revision=revision)
    return variant_of(architecture, weights, size=size)


def variant_of(architecture, weights, *, size, seed=0):
    """A variant with these weights; None for one that its sweep has trained."""
    return Variant(
        name="tiny",
        architecture=architecture,
        framework="supervised",
        train_on="digits",
        seed=seed,
        hyperparameters=(),
        preprocessing=Preprocessing(size=size),
        weights=weights,
    )


def random_network(name, *, seed=0, **options):
    """A network of timm with weights drawn from a seed."""
    seed_everything(seed, epoch=-1)
    return timm.create_model(name, pretrained=False, **options).eval()


def images_of(size, *, count=3, seed=0):
    """Normalised images of noise."""
    return torch.randn(count, 3, size, size, generator=torch.Generator().manual_seed(seed))


def numbered(count):
    """Names of so many classes."""
    return tuple(f"class {i}" for i in range(count))
