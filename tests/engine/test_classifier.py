"""A variant as a network over a dataset's classes: which outputs it gives, and what it hands to its classifier."""

import dataclasses

import pytest
import timm
import torch
from torch import nn

from overlap.errors import DatasetError
from overlap.models import Classifier, Embedder, build_classifier, build_embedder, build_network
from overlap.training import to_safetensors
from tiny_pretrained import images_of, numbered, one_thread, timm_variant, variant_of  # noqa: F401 - a fixture for all

# One of each way in which timm's networks end (plain, two heads, a convolution or a hidden layer in the head), made
# small: the side of its images, and what makes it small.
SMALL = {"img_size": 32, "num_heads": 2, "embed_dim": 32, "depth": 1}
FAMILIES = {
    "test_resnet": (32, {}),
    "test_byobnet": (32, {}),
    "test_convnext": (32, {}),
    "test_efficientnet": (32, {}),
    "test_mambaout": (32, {}),
    "test_nfnet": (32, {}),
    "mobilenetv3_small_050": (32, {}),
    "repvit_m0_9": (32, {"embed_dim": (8, 16), "depth": (1, 1)}),
    "densenet121": (32, {"growth_rate": 4, "block_config": (1, 1)}),
    "vgg11": (32, {"mlp_ratio": 0.01}),
    "test_vit": (32, {"img_size": 32}),
    "deit_tiny_distilled_patch16_224": (32, SMALL),
    "beit_base_patch16_224": (32, SMALL),
    "cait_xxs24_224": (32, SMALL | {"depth_token_only": 1}),
    "swin_tiny_patch4_window7_224": (32, {"img_size": 32, "embed_dim": 16, "depths": (1, 1), "num_heads": (2, 2)}),
    "levit_128s": (224, {}),
    "efficientformer_l1": (224, {}),
    "inception_v3": (96, {}),
}


@pytest.fixture
def classifier_of(tmp_path):
    """Builds a classifier whose outputs are numbered, over some of them or all."""

    def build(variant, *, outputs=1000, class_names=None, weights=None):
        known = numbered(outputs)
        names = known if class_names is None else class_names
        return build_classifier(variant, class_names=names, outputs=known, weights=weights, cache=tmp_path)

    return build


@pytest.mark.parametrize("architecture", FAMILIES)
@torch.inference_mode()
def test_the_logits_beside_embeddings_are_those_of_the_network_bit_for_bit(architecture):
    size, options = FAMILIES[architecture]
    network = timm.create_model(architecture, num_classes=10, **options).eval()
    images = images_of(size, count=2)
    expected = network(images)
    classifier = Classifier(network, class_names=numbered(10), outputs=numbered(10))
    embeddings, logits = classifier.with_embeddings(images)
    assert torch.equal(classifier(images), expected)
    assert torch.equal(logits, expected)
    assert embeddings.ndim == 2
    assert torch.equal(Embedder(network)(images), embeddings)


@torch.inference_mode()
def test_an_embedding_is_what_the_last_layer_gets(classifier_of):
    classifier = classifier_of(timm_variant("resnet18.a1_in1k"))
    embeddings, logits = classifier.with_embeddings(images_of(64))
    assert torch.equal(classifier.network.fc(embeddings), logits)


@torch.inference_mode()
def test_features_are_computed_once(classifier_of, monkeypatch):
    classifier = classifier_of(timm_variant("test_vit.r160_in1k"))
    calls = []
    features = classifier.network.forward_features
    monkeypatch.setattr(classifier.network, "forward_features", lambda images: calls.append(1) or features(images))
    classifier.with_embeddings(images_of(160))
    assert len(calls) == 1


@torch.inference_mode()
def test_the_classes_of_a_dataset_are_taken_from_the_outputs_by_name(classifier_of):
    variant, images = timm_variant("test_vit.r160_in1k"), images_of(160)
    every = classifier_of(variant)(images)
    some = classifier_of(variant, class_names=("class 7", "class 900", "class 0"))
    assert torch.equal(some(images), every[:, [7, 900, 0]])
    assert torch.equal(some.with_embeddings(images)[1], every[:, [7, 900, 0]])


def test_all_classes_in_order_are_not_indexed_at_all(classifier_of):
    assert classifier_of(timm_variant("test_vit.r160_in1k")).columns is None


def test_a_class_that_is_no_output_is_named(classifier_of):
    with pytest.raises(DatasetError, match="'zebra'"):
        classifier_of(timm_variant("test_vit.r160_in1k"), class_names=("class 1", "zebra"))


def test_a_wrong_number_of_outputs_is_told_before_any_image(classifier_of):
    expected = r"'test_vit.r160_in1k' has 1000 outputs, expected 10: say which classes they are"
    with pytest.raises(ValueError, match=expected):
        classifier_of(timm_variant("test_vit.r160_in1k"), outputs=10)


@pytest.mark.parametrize("network", [nn.Flatten(), nn.Conv2d(3, 4, 1)], ids=["vectors", "maps"])
def test_outputs_of_a_wrong_shape_are_told(network):
    classifier = Classifier(network, class_names=numbered(4), outputs=numbered(4))
    with pytest.raises(ValueError, match="expected 4"):
        classifier(images_of(8))


@torch.inference_mode()
def test_a_classifier_moves_and_casts_but_its_columns_stay_whole_numbers(classifier_of):
    variant = timm_variant("resnet18.a1_in1k")
    classifier = classifier_of(variant, class_names=("class 999", "class 3"))
    float_logits = classifier(images_of(64))
    classifier.to(torch.bfloat16, memory_format=torch.channels_last)
    assert classifier.columns.dtype == torch.int64
    logits = classifier(images_of(64).bfloat16())
    assert logits.dtype == torch.bfloat16
    torch.testing.assert_close(logits.float(), float_logits, rtol=0.1, atol=0.05)


def test_columns_are_no_part_of_the_weights(classifier_of):
    classifier = classifier_of(timm_variant("test_vit.r160_in1k"), class_names=("class 3",))
    assert "columns" not in classifier.state_dict()


@pytest.mark.parametrize("name", ["test_resnet", "test_vit", "deit_tiny_distilled_patch16_224"])
@torch.inference_mode()
def test_a_network_that_the_sweep_trained_gets_its_weights_back(name, classifier_of, tmp_path):
    variant, images = variant_of(name, None, size=32), images_of(32)
    trained = build_network(variant, classes=7).eval()
    weights = to_safetensors(trained)
    classifier = classifier_of(variant, outputs=7, weights=weights)
    assert torch.equal(classifier(images), trained(images))
    embeddings, _ = classifier.with_embeddings(images)
    for classes in (7, 0):  # 0: as the weights say
        embedder = build_embedder(variant, weights=weights, classes=classes, cache=tmp_path)
        assert torch.equal(embedder(images), embeddings)


def test_weights_of_another_number_of_classes_are_refused_with_both_shapes(classifier_of):
    variant = variant_of("test_resnet", None, size=32)
    weights = to_safetensors(build_network(variant, classes=7))
    with pytest.raises(ValueError, match=r"does not fit test_resnet with 9 outputs: shape of 'fc.weight': expected"):
        classifier_of(variant, outputs=9, weights=weights)
    with pytest.raises(ValueError, match="its weights are needed"):
        classifier_of(variant, outputs=9)


@torch.inference_mode()
def test_random_weights_come_from_the_seed_alone(classifier_of):
    images = images_of(160)
    first, again, other = (classifier_of(timm_variant("test_vit.r160_in1k", seed=seed))(images) for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


@torch.inference_mode()
def test_a_network_without_a_classifier_gives_embeddings(tmp_path):
    variant = timm_variant("vit_small_patch14_reg4_dinov2.lvd142m", size=56)
    assert timm.models.get_pretrained_cfg(variant.weights.name).num_classes == 0
    assert build_embedder(variant, weights=None, cache=tmp_path)(images_of(56)).shape == (3, 384)


@torch.inference_mode()
def test_evaluation_switches_dropout_off(classifier_of):
    variant = dataclasses.replace(variant_of("test_resnet", None, size=32), hyperparameters=(("dropout", 0.5),))
    classifier = classifier_of(variant, outputs=4, weights=to_safetensors(build_network(variant, classes=4)))
    assert torch.equal(classifier(images_of(32)), classifier(images_of(32)))


def test_weights_of_an_unknown_library_are_refused(classifier_of):
    variant = timm_variant("test_vit.r160_in1k")
    variant = dataclasses.replace(variant, weights=dataclasses.replace(variant.weights, library="keras"))
    with pytest.raises(ValueError, match="'keras'"):
        classifier_of(variant)
