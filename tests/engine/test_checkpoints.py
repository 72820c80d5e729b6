"""A user's checkpoints: every usual wrapping loads, and what does not fit is named."""

import argparse

import pytest
import safetensors.torch
import torch
from torch import nn

from overlap.models import build_classifier, build_embedder, file_digest
from tiny_pretrained import images_of, numbered, one_thread, own_variant, random_network  # noqa: F401 - a fixture for all

CLASSES = 5


@pytest.fixture(scope="module")
def network():
    """The network that was trained elsewhere."""
    return random_network("test_resnet", num_classes=CLASSES)


@pytest.fixture
def classifier_of(tmp_path):
    """Builds the classifier of a checkpoint."""

    def build(path, *, outputs=CLASSES, **changed):
        names = numbered(outputs)
        variant = own_variant("checkpoint", path, **changed)
        return build_classifier(variant, class_names=names, outputs=names, weights=None, cache=tmp_path)

    return build


def prefixed(prefix, state):
    return {f"{prefix}{name}": tensor for name, tensor in state.items()}


def other(state):
    return {name: torch.zeros_like(tensor) for name, tensor in state.items()}


WRAPPINGS = {
    "bare": lambda state: state,
    "state_dict": lambda state: {"state_dict": state, "epoch": 3},
    "model": lambda state: {"model": state, "optimizer": {"lr": 1.0}},
    "model_state": lambda state: {"model_state": state},
    "nested": lambda state: {"model": {"state_dict": state}},
    "ema of timm": lambda state: {"state_dict": other(state), "state_dict_ema": state},
    "ema of deit": lambda state: {"model": other(state), "model_ema": state},
    "no ema": lambda state: {"model": state, "model_ema": None},
    "data parallel": lambda state: prefixed("module.", state),
    "compiled": lambda state: prefixed("_orig_mod.", state),
    "both": lambda state: prefixed("module._orig_mod.", state),
    "lightning": lambda state: {"state_dict": prefixed("model.", state), "pytorch-lightning_version": "2"},
    "averaged": lambda state: prefixed("module.", state) | {"n_averaged": torch.tensor(3)},
    "backbone": lambda state: {k if k.startswith("fc.") else f"backbone.{k}": v for k, v in state.items()},
    "encoder": lambda state: prefixed("encoder.", state),
    "older": lambda state: {k: v for k, v in state.items() if not k.endswith("num_batches_tracked")},
    "double": lambda state: {k: v.double() if v.is_floating_point() else v for k, v in state.items()},
    "arguments": lambda state: {"state_dict": state, "args": argparse.Namespace(lr=1.0)},
}


@pytest.mark.parametrize("wrapping", WRAPPINGS)
@torch.inference_mode()
def test_every_usual_wrapping_loads(wrapping, network, classifier_of, tmp_path):
    path = tmp_path / "mine.pt"
    torch.save(WRAPPINGS[wrapping](network.state_dict()), path)
    assert torch.equal(classifier_of(path)(images_of(64)), network(images_of(64)))


@pytest.mark.parametrize("prefix", ["", "module."])
@torch.inference_mode()
def test_a_safetensors_file_loads(prefix, network, classifier_of, tmp_path):
    path = tmp_path / "mine.safetensors"
    safetensors.torch.save_file(prefixed(prefix, network.state_dict()), path)
    assert torch.equal(classifier_of(path)(images_of(64)), network(images_of(64)))
    embedder = build_embedder(own_variant("checkpoint", path), weights=None, cache=tmp_path)
    assert torch.equal(embedder(images_of(64)), classifier_of(path).with_embeddings(images_of(64))[0])


@pytest.mark.parametrize("ending", ["pth", "bin", "ckpt"])
def test_a_pickle_may_be_called_anything(ending, network, classifier_of, tmp_path):
    path = tmp_path / f"mine.{ending}"
    torch.save(network.state_dict(), path)
    classifier_of(path)


def test_a_wrong_number_of_classes_is_told_by_the_shapes(network, classifier_of, tmp_path):
    path = tmp_path / "mine.pt"
    torch.save(network.state_dict(), path)
    with pytest.raises(ValueError, match="does not fit") as raised:
        classifier_of(path, outputs=10)
    assert str(raised.value) == (
        f"checkpoint '{path}' does not fit test_resnet with 10 outputs: shape of 'fc.weight': expected (10, 96), "
        "got (5, 96); shape of 'fc.bias': expected (10,), got (5,)"
    )


def test_missing_and_unexpected_parameters_are_counted_and_the_first_named(network, classifier_of, tmp_path):
    path, state = tmp_path / "mine.pt", network.state_dict()
    left_out = list(state)[:4]
    content = {name: tensor for name, tensor in state.items() if name not in left_out} | {"extra": torch.zeros(1)}
    torch.save(content, path)
    with pytest.raises(ValueError, match="does not fit") as raised:
        classifier_of(path)
    assert str(raised.value).endswith(f"missing 4 ({', '.join(left_out[:3])}, …); unexpected 1 (extra)")


def test_another_architecture_is_told_in_one_line(network, classifier_of, tmp_path):
    path = tmp_path / "mine.pt"
    torch.save(network.state_dict(), path)
    with pytest.raises(ValueError, match="does not fit test_vit with 5 outputs: missing") as raised:
        classifier_of(path, architecture="test_vit")
    assert "\n" not in str(raised.value)


def test_many_wrong_shapes_are_counted(classifier_of, tmp_path):
    path = tmp_path / "mine.pt"
    torch.save({name: torch.zeros(1, 2, 3) for name in random_network("test_resnet", num_classes=5).state_dict()}, path)
    with pytest.raises(ValueError, match=r"and \d+ other shapes$"):
        classifier_of(path)


def test_a_parameter_under_two_names_is_refused(network, classifier_of, tmp_path):
    path, state = tmp_path / "mine.pt", network.state_dict()
    torch.save({**state, "module.fc.bias": state["fc.bias"]}, path)
    with pytest.raises(ValueError, match=r"has 'fc.bias' twice, the second time as 'module.fc.bias'"):
        classifier_of(path)


class Trap:
    """Touches a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


def test_no_code_of_a_pickle_is_run(network, classifier_of, tmp_path):
    path, touched = tmp_path / "mine.pt", tmp_path / "touched"
    torch.save({"state_dict": network.state_dict(), "hook": Trap(touched)}, path)
    with pytest.raises(ValueError, match=r"holds more than tensors \(.*open\).*save_file") as raised:
        classifier_of(path)
    assert not touched.exists()
    assert "\n" not in str(raised.value)


def test_a_whole_pickled_network_is_refused_with_what_to_do(network, classifier_of, tmp_path):
    path = tmp_path / "mine.pt"
    torch.save(nn.Sequential(network), path)
    with pytest.raises(ValueError, match=r"holds more than tensors \(.*\).*save model.state_dict\(\)"):
        classifier_of(path)


@pytest.mark.parametrize("content", [b"", b"no checkpoint", b"\x80\x04\x95"], ids=["empty", "text", "cut"])
@pytest.mark.parametrize("ending", ["pt", "safetensors"])
def test_a_damaged_file_is_named(content, ending, classifier_of, tmp_path):
    path = tmp_path / f"mine.{ending}"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"checkpoint '.*mine.* cannot be read") as raised:
        classifier_of(path)
    assert "\n" not in str(raised.value)


def test_a_truncated_checkpoint_is_named(network, classifier_of, tmp_path):
    path = tmp_path / "mine.pt"
    torch.save(network.state_dict(), path)
    path.write_bytes(path.read_bytes()[:100_000])
    with pytest.raises(ValueError, match="cannot be read"):
        classifier_of(path)


@pytest.mark.parametrize("content", [{"epoch": 3}, 7, [torch.zeros(1)]], ids=["no tensors", "a number", "a list"])
def test_a_file_without_weights_is_told(content, classifier_of, tmp_path):
    path = tmp_path / "mine.pt"
    torch.save(content, path)
    with pytest.raises(ValueError, match="holds no weights: expected a state_dict, got"):
        classifier_of(path)


def test_a_missing_file_is_told(classifier_of, tmp_path):
    with pytest.raises(ValueError, match="is no file of this machine"):
        classifier_of(tmp_path / "mine.pt")


def test_a_checkpoint_that_changed_since_the_plan_is_refused(network, classifier_of, tmp_path):
    path = tmp_path / "mine.pt"
    torch.save(network.state_dict(), path)
    revision = file_digest(path)
    classifier_of(path, revision=revision)
    torch.save(other(network.state_dict()), path)
    with pytest.raises(ValueError, match="changed since the sweep was planned"):
        classifier_of(path, revision=revision)
