"""The frameworks: their losses are what their papers define, and they learn."""

import copy
import functools
import math

import numpy as np
import pytest
import torch
from open_clip.loss import ClipLoss
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler
from torch import nn
from torch.nn.functional import cross_entropy, normalize

from overlap.frameworks import FRAMEWORKS
from overlap.frameworks.captions import TEMPLATES, caption_tokens, captions_of
from overlap.frameworks.clip import CLIP, image_text_loss
from overlap.frameworks.dino import DINO, follow, self_distillation_loss
from overlap.frameworks.distillation import distillation_loss
from overlap.frameworks.features import all_features
from overlap.frameworks.mae import features_twice, masked_loss, normalized_patches, random_patches
from overlap.frameworks.probe import UNSEEN_BIAS, Probe, fit_probe
from overlap.frameworks.simclr import contrastive_loss
from overlap.models import build_network
from overlap.training import from_safetensors, make_teacher, seed_everything, to_safetensors
from tiny_training import (
    CPU,
    accuracy_of,
    digits,
    epochs_of,
    flat_teacher,
    make_variant,
    random_images,
    training_data,
)


@pytest.fixture(autouse=True)
def _one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    yield
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(mode=False)


def softmax(row):
    powers = [math.exp(x - max(row)) for x in row]
    return [power / sum(powers) for power in powers]


# --- simclr


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


# --- clip


def brute_force_image_text_loss(images, texts, labels, scale):
    """Yang et al. (2022), section 3, sum by sum."""
    count = len(labels)
    s = scale * images.astype(np.float64) @ texts.astype(np.float64).T
    to_text = to_image = 0.0
    for i in range(count):
        same = [j for j in range(count) if labels[j] == labels[i]]
        to_text += -sum(math.log(softmax(s[i])[j]) for j in same) / len(same) / count
        to_image += -sum(math.log(softmax(s[:, i])[j]) for j in same) / len(same) / count
    return (to_text + to_image) / 2


@pytest.mark.parametrize("labels", [[0, 1, 2, 3], [0, 0, 1, 0], [2, 2, 2], [5]])
def test_the_image_text_loss_spreads_its_targets_over_a_class(labels):
    images, texts = (normalize(torch.randn(len(labels), 6), dim=1) for _ in range(2))
    loss = image_text_loss(images, texts, torch.tensor(labels), torch.tensor(3.0)).item()
    assert loss == pytest.approx(
        brute_force_image_text_loss(images.numpy(), texts.numpy(), labels, 3.0), rel=1e-4, abs=1e-6
    )


def test_the_image_text_loss_of_distinct_classes_is_open_clips():
    images, texts = (normalize(torch.randn(5, 6), dim=1) for _ in range(2))
    scale = torch.tensor(7.0)
    torch.testing.assert_close(image_text_loss(images, texts, torch.arange(5), scale), ClipLoss()(images, texts, scale))


def test_captions_become_tokens_that_only_their_words_share():
    tokens = caption_tokens(["red_fox", "7", "12"])
    assert tokens.shape[:2] == (3, len(TEMPLATES))
    assert captions_of("12")[0] == "a photo of the number 12."
    assert sorted(np.unique(tokens)) == list(range(tokens.max() + 1))
    assert len({row.tobytes() for row in tokens.reshape(-1, tokens.shape[2])}) == 3 * len(TEMPLATES)
    lengths = (tokens > 0).sum(axis=2)
    assert all((row[:n] > 0).all() and (row[n:] == 0).all() for row, n in zip(tokens[:, 0], lengths[:, 0], strict=True))
    assert tokens[0, 0, 0] == tokens[1, 0, 0]  # both begin with "a"


def test_the_zero_shot_classifier_picks_what_clip_would():
    variant = make_variant("clip", epochs=2, batch_size=10)
    images = random_images(40)
    torch.manual_seed(3)
    network = build_network(variant, classes=3)
    clip = CLIP(variant, network, training_data(*images))
    losses = [clip.run_epoch(epoch) for epoch in range(clip.epochs)]
    features = all_features(network, clip.data)
    with torch.no_grad():
        texts = torch.stack([clip.pair.texts(tokens).mean(dim=0) for tokens in clip.tokens_CTL])
        similarities = clip.pair.images(features) @ normalize(texts, dim=1).T
        logits = network.get_classifier()(features)
    ratios = logits / similarities
    torch.testing.assert_close(ratios, ratios[:, :1].expand(-1, 3), rtol=1e-3, atol=0)  # one temperature an image
    assert (ratios > 0).all()
    lengths = clip.pair.projection(features).norm(dim=1)
    torch.testing.assert_close(ratios[:, 0], clip.pair.scale() * lengths / lengths.mean(), rtol=1e-3, atol=0)
    assert losses[-1] == pytest.approx(cross_entropy(logits, clip.data.labels).item(), rel=1e-5)


# --- masked images


def test_the_masked_loss_sees_hidden_pixels_only():
    predicted, targets = torch.randn(2, 3, 5, 5), torch.randn(2, 3, 5, 5)
    hidden = torch.rand(2, 1, 5, 5) < 0.4
    total, count = 0.0, 0
    for b in range(2):
        for y in range(5):
            for x in range(5):
                if hidden[b, 0, y, x]:
                    count += 3
                    total += sum((predicted[b, c, y, x] - targets[b, c, y, x]).item() ** 2 for c in range(3))
    assert masked_loss(predicted, targets, hidden).item() == pytest.approx(total / count, rel=1e-5)


@pytest.mark.parametrize(("side", "patch", "ratio", "share"), [(32, 4, 0.5, 32), (32, 4, 0.6, 38), (8, 8, 0.1, 1)])
def test_so_many_whole_patches_are_hidden(side, patch, ratio, share):
    hidden = random_patches(20, side, patch, ratio)
    assert hidden.shape == (20, 1, side, side)
    cells = hidden[:, 0].unfold(1, patch, patch).unfold(2, patch, patch).flatten(3)
    assert (cells.all(dim=3) == cells.any(dim=3)).all()
    assert (cells.any(dim=3).sum(dim=(1, 2)) == share).all()
    if share > 1:
        assert len({row.numpy().tobytes() for row in hidden}) == 20


def test_patches_that_do_not_divide_the_side_are_cut():
    assert random_patches(2, 10, 4, 1.0).all()
    assert random_patches(2, 10, 4, 0.5).shape == (2, 1, 10, 10)


@pytest.mark.parametrize(("side", "patch"), [(8, 4), (10, 4)])
def test_targets_are_normalised_patch_by_patch(side, patch):
    images = 5 + 3 * torch.rand(2, 3, side, side)
    targets = normalized_patches(images, patch)
    for top in range(0, side, patch):
        for left in range(0, side, patch):
            part = images[..., top : top + patch, left : left + patch].numpy().astype(np.float64)
            mean, variance = part.mean(axis=(2, 3), keepdims=True), part.var(axis=(2, 3), keepdims=True)
            expected = (part - mean) / np.sqrt(variance + 1e-6)
            found = targets[..., top : top + patch, left : left + patch].numpy()
            np.testing.assert_allclose(found, expected, atol=1e-3)


class Gives(nn.Module):
    """A network whose features are what it is told."""

    output_fmt = "NHWC"
    num_prefix_tokens = 1

    def __init__(self, features):
        super().__init__()
        self.features = features

    def forward_features(self, _):
        return self.features

    def forward_head(self, _, *, pre_logits):
        return torch.zeros(2, 4)


def test_features_become_a_square_map():
    tokens = torch.arange(2 * 5 * 3.0).reshape(2, 5, 3)
    grid, _ = features_twice(Gives(tokens), torch.zeros(0))
    assert grid.shape == (2, 3, 2, 2)
    assert torch.equal(grid[1, :, 0, 1], tokens[1, 2])
    last = torch.arange(2 * 2 * 2 * 3.0).reshape(2, 2, 2, 3)
    grid, _ = features_twice(Gives(last), torch.zeros(0))
    assert torch.equal(grid[1, :, 0, 1], last[1, 0, 1])


@pytest.mark.parametrize("features", [torch.zeros(2, 6, 3), torch.zeros(2, 3), torch.zeros(2, 4, 2, 3), [1]])
def test_features_that_are_no_square_map_are_refused(features):
    with pytest.raises(ValueError, match="mae needs an architecture with one square map of features; Gives has none"):
        features_twice(Gives(features), torch.zeros(0))


# --- dino


def test_the_self_distillation_loss_is_a_cross_entropy():
    outputs, taught = torch.randn(4, 6), torch.softmax(torch.randn(4, 6), dim=1)
    expected = 0.0
    for row, target in zip(outputs.tolist(), taught.tolist(), strict=True):
        expected -= sum(t * math.log(p) for t, p in zip(target, softmax([x / 0.1 for x in row]), strict=True)) / 4
    assert self_distillation_loss(outputs, taught, 0.1).item() == pytest.approx(expected, rel=1e-4)


@pytest.fixture
def dino():
    """A DINO learner on random images, its student moved away from its teacher."""
    variant = make_variant("dino", epochs=2, batch_size=10, dropout=0.5, augmentation=0.0)
    learner = DINO(variant, build_network(variant, classes=3), training_data(*random_images()))
    for parameter in [*learner.student.parameters(), *learner.student_head.parameters()]:
        parameter.data.add_(1.0)
    return learner


def test_the_teacher_is_centred_and_sharpened_and_drops_nothing(dino):
    views = torch.randn(6, 3, 32, 32)
    dino.head.centre.copy_(torch.linspace(-1, 1, len(dino.head.centre)))
    centre = dino.head.centre.clone()
    outputs = dino.head(dino.network.eval().forward_head(dino.network.forward_features(views), pre_logits=True))
    dino._teach(views)
    dino.head.centre.copy_(centre)
    taught = dino._teach(views)  # batch statistics, and no dropout: the same again
    dino.head.centre.copy_(centre)
    assert torch.equal(taught, dino._teach(views))
    assert taught.shape == outputs.shape
    torch.testing.assert_close(taught.sum(dim=1), torch.ones(6))
    assert not taught.requires_grad
    centred = torch.log(taught) * dino.teacher_temperature + centre
    moved = dino.head.centre
    mean_output = (moved - 0.9 * centre) / 0.1
    shift = (mean_output - centred.mean(dim=0)).std()  # what the softmax divided by is one number an image
    assert shift < 1e-3


def test_the_teacher_follows_the_student(dino):
    slow, fast = nn.Linear(2, 2), nn.Linear(2, 2)
    expected = 0.9 * slow.weight + 0.1 * fast.weight
    follow(slow, fast, 0.9)
    torch.testing.assert_close(slow.weight, expected)
    before = copy.deepcopy(dino.network)
    dino._follow(1.0)
    assert all(torch.equal(a, b) for a, b in zip(before.parameters(), dino.network.parameters(), strict=True))
    dino._follow(0.0)
    for a, b in zip(before.parameters(), dino.network.parameters(), strict=True):
        torch.testing.assert_close(b, a + 0.03, rtol=1e-3, atol=1e-5)


# --- distillation


@pytest.mark.parametrize("temperature", [1.0, 4.0])
def test_the_distillation_loss_is_hintons(temperature):
    student, teacher = torch.randn(5, 4), 3 * torch.randn(5, 4)
    expected = 0.0
    for s, t in zip(student.tolist(), teacher.tolist(), strict=True):
        p, q = (softmax([x / temperature for x in row]) for row in (t, s))
        expected += temperature**2 * sum(a * math.log(a / b) for a, b in zip(p, q, strict=True)) / 5
    assert distillation_loss(student, teacher, temperature).item() == pytest.approx(expected, rel=1e-4)


def test_the_distillation_weight_mixes_teacher_and_labels():
    data = training_data(*random_images(), teacher=flat_teacher)
    losses = {}
    for weight in (0.0, 0.25, 1.0):
        variant = make_variant("distillation", epochs=1, augmentation=0.0, distillation_weight=weight)
        torch.manual_seed(0)
        network = build_network(variant, classes=3)
        losses[weight] = FRAMEWORKS["distillation"](variant, network.eval(), data)._loss(torch.arange(20)).item()
    assert losses[0.25] == pytest.approx(0.25 * losses[1.0] + 0.75 * losses[0.0], rel=1e-5)
    assert abs(losses[1.0] - losses[0.0]) > 0.1


# --- probe


@pytest.mark.parametrize("present", [(0, 1, 2), (1, 3), (4, 0)])
def test_a_probe_finds_its_classes_and_never_another(present):
    rng = np.random.default_rng(0)
    labels = np.resize(present, 60)
    features = torch.from_numpy(7.0 * (np.eye(6)[labels] + 0.1 * rng.normal(size=(60, 6)))).float()
    weight, bias = fit_probe(features, torch.from_numpy(labels), 5, 100.0)
    assert (features @ weight.T + bias).argmax(dim=1).tolist() == labels.tolist()
    assert {i for i in range(5) if bias[i] != UNSEEN_BIAS} == set(present)


def test_a_probe_of_two_classes_has_the_logistic_functions_probability():
    features, labels = 2.0 + 3.0 * torch.randn(50, 3), torch.randint(2, (50,))
    weight, bias = fit_probe(features, labels, 2, 1.0)
    standard = StandardScaler().fit_transform(features.double().numpy())
    fitted = LogisticRegression(max_iter=2000).fit(standard, labels.numpy())
    found = torch.softmax(features @ weight.T + bias, dim=1).numpy()
    np.testing.assert_allclose(found, fitted.predict_proba(standard), atol=1e-5)


# --- learning, on 200 handwritten digits; 500 others are judged

LEARNING = {"architecture": "test_resnet", "epochs": 12, "batch_size": 25}


def digits_between(start, stop):
    pixels, labels = digits()
    return pixels[start:stop], labels[start:stop]


def learn(framework, teacher=flat_teacher, **changed):
    """A framework's losses and accuracy."""
    variant = make_variant(framework, **(LEARNING | changed))
    epochs = epochs_of(variant, digits_between(0, 200), classes=10, teacher=teacher)
    accuracy = accuracy_of(variant, epochs[-1].weights, digits_between(200, 700))
    return [epoch.loss for epoch in epochs], accuracy, epochs[-1].weights


@pytest.mark.parametrize(("framework", "bar"), [("supervised", 0.88), ("clip", 0.85)])
def test_a_framework_with_labels_learns(framework, bar):
    losses, accuracy, _ = learn(framework)
    assert losses[11] < 0.5 * losses[0]
    assert accuracy > bar


def test_a_student_learns_from_its_teacher_alone():
    _, taught, weights = learn("supervised")
    variant = make_variant(**LEARNING)
    network = build_network(variant, classes=10)
    network.load_state_dict(from_safetensors(weights))
    teacher = make_teacher(network, variant.preprocessing, CPU)
    losses, accuracy, _ = learn("distillation", teacher, seed=1, distillation_weight=1.0)
    assert losses[-1] < 0.5 * losses[0]
    assert accuracy > taught - 0.08


@functools.cache
def untrained_accuracy():
    """What a probe makes of the features that a network is born with."""
    variant = make_variant("simclr", **LEARNING)
    seed_everything(variant.seed, epoch=-1)
    network = build_network(variant, classes=10)
    Probe(network, training_data(*digits_between(0, 200), classes=10), 10.0).run_epoch(0)
    return accuracy_of(variant, to_safetensors(network), digits_between(200, 700))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("framework", "changed"), [("simclr", {}), ("mae", {"mask_ratio": 0.4, "epochs": 25}), ("dino", {})]
)
def test_features_learnt_without_labels_beat_those_a_network_is_born_with(framework, changed):
    losses, accuracy, _ = learn(framework, **changed)
    assert losses[-2] < 0.9 * losses[0]
    assert accuracy > untrained_accuracy() + 0.06


def test_fine_tuning_takes_the_place_of_the_probe():
    probed, accuracy, _ = learn("mae", epochs=3)
    tuned, better, _ = learn("mae", epochs=3, finetune_epochs=8)
    assert tuned[:3] == probed[:3]
    assert (len(probed), len(tuned)) == (4, 11)
    assert better > accuracy + 0.05
