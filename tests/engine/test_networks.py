"""timm's architectures: which take a drop path, and how their weights are drawn."""

import math

import pytest
import torch
from torch import nn

from overlap.frameworks.features import linear_classifier, pooled_features
from overlap.frameworks.initialization import initialize
from overlap.models import build_network
from overlap.models.networks import takes_drop_path
from tiny_training import make_variant

ARCHITECTURES = [f"test_{name}" for name in ("resnet", "byobnet", "convnext", "efficientnet", "mambaout", "vit")]


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_network_is_its_pooled_features_and_a_linear_classifier(architecture):
    network = build_network(make_variant(architecture=architecture), classes=7).eval()
    images = torch.randn(3, 3, 32, 32)
    with torch.no_grad():
        logits = linear_classifier(network)(pooled_features(network, images))
        torch.testing.assert_close(logits, network(images))


@pytest.mark.parametrize("architecture", [a for a in ARCHITECTURES if a != "test_efficientnet"])  # has no skips
def test_a_drop_path_is_drawn_in_training(architecture):
    network = build_network(make_variant(architecture=architecture, drop_path=0.9), classes=3)
    images = torch.randn(1, 3, 32, 32).expand(16, -1, -1, -1)
    for gain in network.parameters():
        if gain.ndim == 1:
            gain.data.fill_(1.0)  # some begin at 0, and with them their path
    norms = [m for m in network.modules() if isinstance(m, nn.BatchNorm2d)]
    for norm in norms:
        norm.eval()
        norm.train = lambda _=True: None  # else the images of a batch would move each other
    with torch.no_grad():
        assert len(network.train()(images).unique(dim=0)) > 1
        assert len(network.eval()(images).round(decimals=4).unique(dim=0)) == 1


def test_a_drop_path_that_an_architecture_does_not_have_is_refused():
    assert takes_drop_path("test_resnet")
    assert not takes_drop_path("vgg11")
    with pytest.raises(ValueError, match="'vgg11' has no drop path: leave drop_path out, or set it to 0"):
        build_network(make_variant(architecture="vgg11", drop_path=0.1), classes=3)


def test_asking_for_the_drop_path_draws_nothing():
    state = torch.get_rng_state()
    takes_drop_path.cache_clear()
    takes_drop_path("test_efficientnet")
    assert torch.equal(torch.get_rng_state(), state)


# --- initialisations


@pytest.fixture
def module():
    """A linear layer, a grouped convolution and a norm."""
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(400, 300), nn.Conv2d(200, 100, 3, groups=2), nn.BatchNorm1d(5))


def test_the_default_initialization_leaves_all_as_it_was(module):
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    initialize(module, "default")
    assert all(torch.equal(before[name], tensor) for name, tensor in module.state_dict().items())


@pytest.mark.parametrize("name", ["kaiming_normal", "xavier_uniform", "orthogonal", "truncated_normal"])
def test_an_initialization_draws_weights_and_leaves_biases_and_norms(module, name):
    before = {key: tensor.clone() for key, tensor in module.state_dict().items()}
    initialize(module, name)
    changed = {key for key, tensor in module.state_dict().items() if not torch.equal(before[key], tensor)}
    assert changed == {"0.weight", "1.weight"}


def test_kaiming_has_the_variance_two_over_the_inputs(module):
    initialize(module, "kaiming_normal")
    assert module[0].weight.std().item() == pytest.approx(math.sqrt(2 / 400), rel=0.02)
    assert module[1].weight.std().item() == pytest.approx(math.sqrt(2 / (100 * 9)), rel=0.02)


def test_xavier_is_uniform_up_to_its_bound(module):
    initialize(module, "xavier_uniform")
    bound = math.sqrt(6 / (400 + 300))
    assert bound * 0.999 < module[0].weight.abs().max().item() <= bound
    assert module[0].weight.std().item() == pytest.approx(bound / math.sqrt(3), rel=0.02)


def test_orthogonal_rows_are_orthonormal(module):
    initialize(module, "orthogonal")
    for weight in (module[0].weight, module[1].weight.flatten(1)):
        torch.testing.assert_close(weight @ weight.T, torch.eye(len(weight)), atol=1e-4, rtol=0)


def test_a_truncated_normal_ends_at_two_deviations(module):
    initialize(module, "truncated_normal")
    weight = module[0].weight
    assert 0.0399 < weight.abs().max().item() <= 0.04
    assert weight.std().item() == pytest.approx(0.02 * 0.8796, rel=0.02)
