"""Training: deterministic, and resumable after any epoch."""

import io
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch

from overlap.frameworks import FRAMEWORKS
from overlap.frameworks.augmentation import random_affine, random_brightness, random_flip
from overlap.frameworks.descent import batches, cosine_learning_rate, decayed_groups
from overlap.models import build_network
from overlap.preprocessing import normalize
from overlap.recipes import RECIPES
from overlap.training import from_safetensors, make_teacher
from tiny_training import CPU, epochs_of, flat_teacher, make_variant, random_images, write_memory_map

PRETRAINED = ("simclr", "mae", "dino")
TINY = {"batch_size": 8, "dropout": 0.2}


@pytest.fixture(autouse=True)
def _one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(mode=False)


def assert_resumes_after_any_epoch(variant):
    images = random_images()
    whole = epochs_of(variant, images)
    assert len(whole) > 2
    assert [epoch.number for epoch in whole] == list(range(1, len(whole) + 1))
    assert {epoch.epochs for epoch in whole} == {len(whole)}
    assert [epoch.weights is None for epoch in whole] == [True] * (len(whole) - 1) + [False]
    for stop in range(len(whole) - 1):
        torch.manual_seed(stop + 99)  # whatever the process did before
        np.random.seed(stop)  # noqa: NPY002 - the same
        resumed = epochs_of(variant, images, checkpoint=whole[stop].checkpoint)
        assert [epoch.number for epoch in resumed] == [epoch.number for epoch in whole[stop + 1 :]]
        assert [epoch.loss for epoch in resumed] == [epoch.loss for epoch in whole[stop + 1 :]]
        assert resumed[-1].weights == whole[-1].weights


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_a_training_resumed_after_any_epoch_ends_with_the_same_bits(framework):
    more = {"finetune_epochs": 2} if framework in PRETRAINED else {}
    assert_resumes_after_any_epoch(make_variant(framework, epochs=3, flip=0.5, **more, **TINY))


@pytest.mark.parametrize("optimizer", RECIPES["supervised"].knobs["optimizer"].choices)
def test_every_optimizer_resumes_with_the_same_bits(optimizer):
    assert_resumes_after_any_epoch(make_variant(optimizer=optimizer, epochs=3, **TINY))


def test_every_optimizer_is_another_one():
    names = RECIPES["supervised"].knobs["optimizer"].choices
    variants = [make_variant(optimizer=name, epochs=1, **TINY) for name in names]
    assert len({epochs_of(variant, random_images())[-1].weights for variant in variants}) == len(names)


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_every_architecture_can_be_trained_by_every_framework(framework):
    images = random_images(6)
    for architecture in ("resnet", "byobnet", "convnext", "efficientnet", "mambaout", "vit"):
        variant = make_variant(framework, architecture=f"test_{architecture}", epochs=1, batch_size=3)
        fresh = build_network(variant, classes=3).state_dict()
        trained = from_safetensors(epochs_of(variant, images)[-1].weights)
        assert {name: tensor.shape for name, tensor in trained.items()} == {n: t.shape for n, t in fresh.items()}
        assert all(torch.isfinite(tensor).all() for tensor in trained.values())


@pytest.mark.parametrize("knob", [{"seed": 1}, {"momentum": 0.5}, {"flip": 0.5}, {"augmentation": 0.0}])
def test_another_seed_or_setting_trains_another_network(knob):
    usual, other = (make_variant(optimizer="sgd", epochs=1, **TINY, **changed) for changed in ({}, knob))
    weights = {epochs_of(variant, random_images())[-1].weights for variant in (usual, usual, other)}
    assert len(weights) == 2


def test_every_epoch_changes_the_network():
    first, second, last = epochs_of(make_variant(epochs=3, **TINY), random_images())
    networks = [
        torch.load(io.BytesIO(epoch.checkpoint), weights_only=True)["learner"]["network"] for epoch in (first, second)
    ]
    networks.append(from_safetensors(last.weights))
    names = [name for name in networks[0] if name.endswith("weight")]
    for before, after in pairwise(networks):
        assert any(not torch.equal(before[name], after[name]) for name in names)


def test_pixels_in_a_file_train_the_same_network(tmp_path):
    pixels, labels = random_images(channels=3)
    mapped = write_memory_map(tmp_path / "pixels.npy", pixels)
    variant = make_variant(epochs=2, **TINY)
    assert epochs_of(variant, (mapped, labels))[-1].weights == epochs_of(variant, (pixels, labels))[-1].weights


class OnlyBatches:
    """Pixels that are read by rows and remember how many at once."""

    def __init__(self, pixels):
        self.pixels = pixels
        self.shape = pixels.shape
        self.most = 0

    def __len__(self):
        return len(self.pixels)

    def __getitem__(self, rows):
        assert isinstance(rows, np.ndarray)
        assert rows.dtype == np.int64
        self.most = max(self.most, len(rows))
        return self.pixels[rows]


def test_no_more_images_are_read_at_once_than_a_batch():
    pixels, labels = random_images()
    counted = OnlyBatches(pixels)
    epochs_of(make_variant(epochs=1, **TINY), (counted, labels))
    assert counted.most == 8


@pytest.mark.parametrize("name", RECIPES["supervised"].knobs["initialization"].choices)
def test_an_initialization_is_used_and_learns(name):
    variant = make_variant(initialization=name, epochs=12, augmentation=0.0, batch_size=10)
    losses = [epoch.loss for epoch in epochs_of(variant, random_images())]
    assert losses[-1] < 0.9 * losses[0]
    if name != "default":
        assert losses[0] != epochs_of(make_variant(epochs=1, augmentation=0.0, batch_size=10), random_images())[0].loss


@pytest.mark.parametrize("framework", PRETRAINED)
def test_a_class_that_was_never_seen_is_never_predicted(framework):
    last = epochs_of(make_variant(framework, epochs=1, **TINY), random_images(), classes=5)[-1]
    bias = from_safetensors(last.weights)["classifier.bias"]
    assert (bias[3:] == -30).all()
    assert (bias[:3] > -29).all()


def test_a_loss_that_is_no_number_ends_the_training():
    broken = make_variant(learning_rate=1e30, epochs=50, batch_size=8)
    with pytest.raises(ValueError, match=r"the loss is nan after epoch \d+: try a lower learning rate"):
        epochs_of(broken, random_images())


# --- teachers


def test_a_teacher_gives_its_networks_logits_for_its_own_size_and_normalisation():
    variant = make_variant()
    other = replace(variant, preprocessing=replace(variant.preprocessing, mean=(0.1, 0.2, 0.3), std=(0.4, 0.5, 0.6)))
    network = build_network(other, classes=3).eval()
    teacher = make_teacher(network, other.preprocessing, CPU)
    images = torch.rand(4, 1, 32, 32)
    with torch.no_grad():
        assert torch.equal(teacher(images), network(normalize(images, other.preprocessing)))
    flat = torch.full((2, 3, 48, 48), 0.25)
    torch.testing.assert_close(teacher(flat), teacher(torch.full((2, 3, 32, 32), 0.25)))
    assert not teacher(images).requires_grad


def test_distillation_without_a_teacher_is_refused():
    variant = make_variant("distillation", epochs=1, **TINY)
    with pytest.raises(ValueError, match="'tiny' is trained by distillation and needs a teacher, got none"):
        epochs_of(variant, random_images(), teacher=None)


def test_another_teacher_teaches_another_network():
    variant = make_variant("distillation", epochs=1, **TINY)
    teachers = (flat_teacher, flat_teacher, lambda images: 3 * flat_teacher(images))
    assert len({epochs_of(variant, random_images(), teacher=teacher)[-1].weights for teacher in teachers}) == 2


def test_a_recipe_says_whether_it_needs_a_teacher():
    assert [name for name, recipe in RECIPES.items() if recipe.teacher] == ["distillation"]
    assert list(RECIPES) == list(FRAMEWORKS)


@pytest.mark.parametrize("framework", [*PRETRAINED, "clip"])
def test_an_architecture_without_one_linear_classifier_is_refused_before_it_is_trained(framework):
    variant = make_variant(framework, architecture="deit_tiny_distilled_patch16_224", epochs=1, **TINY)
    with pytest.raises(ValueError, match="one linear classifier with a bias; VisionTransformerDistilled ends in"):
        epochs_of(variant, random_images(4))


# --- pieces


def test_an_affine_map_of_no_strength_is_the_identity():
    images = torch.rand(5, 3, 16, 16)
    assert torch.equal(random_affine(images, 0.0), images)
    torch.testing.assert_close(random_affine(images, 1e-7), images, atol=1e-4, rtol=0)


def test_an_affine_map_is_drawn_for_each_image_and_depends_on_the_random_state():
    images = torch.rand(1, 1, 16, 16).expand(6, 1, 16, 16)
    torch.manual_seed(0)
    first = random_affine(images, 1.0)
    torch.manual_seed(0)
    assert torch.equal(random_affine(images, 1.0), first)
    assert len({view.numpy().tobytes() for view in first}) == 6
    assert not torch.equal(random_affine(images, 1.0), first)


def test_a_flip_mirrors_each_image_with_its_probability():
    torch.manual_seed(0)
    images = torch.rand(1, 1, 3, 4).expand(1000, 1, 3, 4)
    flipped = random_flip(images, 0.3)
    mirrored = (flipped == images.flip(-1)).flatten(1).all(dim=1)
    kept = (flipped == images).flatten(1).all(dim=1)
    assert (mirrored | kept).all()
    assert 250 < mirrored.sum() < 350
    assert torch.equal(random_flip(images, 1.0), images.flip(-1))


def test_no_flips_draw_nothing():
    torch.manual_seed(0)
    images = torch.rand(2, 1, 2, 2)
    state = torch.get_rng_state()
    assert random_flip(images, 0.0) is images
    assert torch.equal(torch.get_rng_state(), state)


def test_brightness_stays_in_range():
    torch.manual_seed(0)
    images = torch.full((50, 1, 2, 2), 0.5)
    views = random_brightness(images, 1.0)
    assert 0.3 <= views.min() < 0.35
    assert 0.65 < views.max() <= 0.7
    assert random_brightness(torch.ones(50, 1, 2, 2), 3.0).max() == 1


@pytest.mark.parametrize(
    ("examples", "batch_size", "sizes"),
    [(10, 4, [4, 4, 2]), (9, 4, [4, 5]), (8, 4, [4, 4]), (3, 50, [3]), (1, 4, [1]), (5, 2, [2, 3])],
)
def test_batches_cover_every_example_once_and_none_is_alone(examples, batch_size, sizes):
    parts = list(batches(examples, batch_size))
    assert [len(part) for part in parts] == sizes
    assert sorted(torch.cat(parts).tolist()) == list(range(examples))


def test_the_learning_rate_warms_up_and_falls_to_zero():
    rates = [cosine_learning_rate(2.0, progress) for progress in np.linspace(0, 1, 201)]
    assert rates[0] == 0
    assert max(rates) == pytest.approx(2.0, rel=1e-3)
    assert rates.index(max(rates)) == 10
    assert rates[-1] == pytest.approx(0, abs=1e-12)
    assert all(a > b for a, b in pairwise(rates[10:]))


def test_biases_and_norms_are_not_decayed():
    module = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4), torch.nn.Linear(4, 2, bias=False))
    decayed, free = decayed_groups(module, 0.3)
    assert [tuple(p.shape) for p in decayed["params"]] == [(4, 3), (2, 4)]
    assert len(free["params"]) == 3
    assert (decayed["weight_decay"], free["weight_decay"]) == (0.3, 0.0)
