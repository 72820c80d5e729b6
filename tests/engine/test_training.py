"""Training: deterministic, and resumable after any epoch."""

import io
import math
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch

from overlap.datasets import Split
from overlap.expand import expand
from overlap.frameworks.augmentation import random_affine, random_brightness
from overlap.frameworks.learner import batches, cosine_learning_rate, decayed_groups
from overlap.frameworks.simclr import contrastive_loss
from overlap.spec import read_sweep
from overlap.training import from_safetensors, train

EXAMPLES = 20
CPU = torch.device("cpu")


@pytest.fixture
def tiny(sweep_text):
    """Makes a variant that trains three epochs (SimCLR: two and the probe)."""

    def variant(framework="supervised", *, architecture="test_efficientnet", **knobs):
        epochs = 3 if framework == "supervised" else 2
        settings = ", ".join(
            f"{name}: {value}" for name, value in ({"epochs": epochs, "batch_size": 8, "dropout": 0.2} | knobs).items()
        )
        base = (
            f"architecture: {architecture}, framework: {framework}, train_on: digits, "
            f"preprocessing: {{size: 32}}, hyperparameters: {{{settings}}}"
        )
        text = sweep_text.replace("architecture: test_resnet, train_on: digits", base)
        return expand(read_sweep(text, path="s.yaml"))[0][0].variant

    return variant


@pytest.fixture
def split():
    rng = np.random.default_rng(0)
    return Split(
        pixels_NHWC=rng.integers(0, 256, (EXAMPLES, 8, 8, 1), dtype=np.uint8),
        labels_N=(np.arange(EXAMPLES) % 3).astype(np.int32),
        ids_N=np.arange(EXAMPLES, dtype=np.int64),
    )


@pytest.fixture(autouse=True)
def _one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(mode=False)


def epochs_of(variant, split, checkpoint=None):
    return list(train(variant, split, classes=3, device=CPU, checkpoint=checkpoint))


@pytest.mark.parametrize("framework", ["supervised", "simclr"])
def test_a_training_resumed_after_any_epoch_ends_with_the_same_bits(tiny, split, framework):
    variant = tiny(framework)
    whole = epochs_of(variant, split)
    assert [epoch.number for epoch in whole] == [1, 2, 3]
    assert [epoch.weights is None for epoch in whole] == [True, True, False]
    for stop in range(len(whole) - 1):
        torch.manual_seed(stop + 99)  # whatever the process did before
        np.random.seed(stop)  # noqa: NPY002 - the same
        resumed = epochs_of(variant, split, checkpoint=whole[stop].checkpoint)
        assert [epoch.number for epoch in resumed] == [epoch.number for epoch in whole[stop + 1 :]]
        assert [epoch.loss for epoch in resumed] == [epoch.loss for epoch in whole[stop + 1 :]]
        assert resumed[-1].weights == whole[-1].weights


def test_another_seed_trains_another_network(tiny, split):
    variant = tiny(epochs=1)
    weights = {epochs_of(replace(variant, seed=seed), split)[-1].weights for seed in (0, 0, 1)}
    assert len(weights) == 2


def test_every_epoch_changes_the_network(tiny, split):
    first, second, last = epochs_of(tiny(), split)
    networks = [
        torch.load(io.BytesIO(epoch.checkpoint), weights_only=True)["learner"]["network"] for epoch in (first, second)
    ]
    networks.append(from_safetensors(last.weights))
    names = [name for name in networks[0] if name.endswith("weight")]
    for before, after in ((0, 1), (1, 2)):
        assert any(not torch.equal(networks[before][name], networks[after][name]) for name in names)


def test_a_supervised_network_learns_its_training_images(tiny, split):
    variant = tiny(epochs=30, dropout=0.0, learning_rate=0.005, augmentation=0.0, batch_size=10)
    losses = [epoch.loss for epoch in epochs_of(variant, split)]
    assert losses[-1] < 0.5 * losses[0]


def test_a_simclr_network_ends_with_a_classifier(tiny, split):
    weights = from_safetensors(epochs_of(tiny("simclr"), split)[-1].weights)
    bias = next(tensor for name, tensor in weights.items() if name == "classifier.bias")
    assert bias.shape == (3,)
    assert torch.isfinite(bias).all()
    assert (bias > -29).all()


def test_a_class_that_was_never_seen_is_never_predicted(tiny, split):
    (*_, last) = train(tiny("simclr"), split, classes=5, device=CPU, checkpoint=None)
    bias = from_safetensors(last.weights)["classifier.bias"]
    assert (bias[3:] == -30).all()


def test_a_loss_that_is_no_number_ends_the_training(tiny, split):
    variant = tiny(learning_rate=100, epochs=50)
    broken = replace(
        variant, hyperparameters=tuple(sorted((variant.hyperparameter_map | {"learning_rate": 1e30}).items()))
    )
    with pytest.raises(ValueError, match=r"the loss is nan after epoch \d+: try a lower learning rate"):
        epochs_of(broken, split)


# --- pieces


def brute_force_contrastive_loss(projections, temperature):
    """Chen et al. (2020), equation 1, sum by sum."""
    z = projections.astype(np.float64)
    views, total = len(z), 0.0

    def sim(i, j):
        return z[i] @ z[j] / (np.linalg.norm(z[i]) * np.linalg.norm(z[j]))

    for i in range(views):
        j = (i + views // 2) % views
        others = sum(math.exp(sim(i, k) / temperature) for k in range(views) if k != i)
        total += -math.log(math.exp(sim(i, j) / temperature) / others)
    return total / views


@pytest.mark.parametrize(("images", "features", "temperature"), [(1, 3, 0.5), (2, 1, 1.0), (5, 4, 0.2), (9, 16, 0.05)])
def test_the_contrastive_loss_is_nt_xent(images, features, temperature):
    projections = np.random.default_rng(images).normal(size=(2 * images, features)).astype(np.float32)
    loss = contrastive_loss(torch.from_numpy(projections), temperature).item()
    assert loss == pytest.approx(brute_force_contrastive_loss(projections, temperature), rel=1e-4, abs=1e-6)


def test_the_contrastive_loss_is_small_only_for_matching_views():
    units = torch.eye(4)
    assert contrastive_loss(torch.cat([units, units]), 0.05).item() < 1e-6
    assert contrastive_loss(torch.cat([units, units.roll(1, 0)]), 0.05).item() > 10


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
