"""Pretrained weights from a folder or bucket: the very network that they were saved from."""

import dataclasses
import errno
import stat

import pytest
import safetensors.torch
import torch

from overlap.errors import StoreFullError
from overlap.models import build_classifier, file_digest, mirrored_name, open_mirror, weight_files
from overlap.models.weight_files import fetch_weights, published
from overlap.store.memory import MemoryObjects
from tiny_pretrained import images_of, numbered, one_thread, random_network, timm_variant  # noqa: F401 - a fixture for all

NAME = "test_vit.r160_in1k"
SPELLINGS = [f"{NAME}.safetensors", f"{NAME}/model.safetensors", f"timm/{NAME}.safetensors"]
SPELLINGS.append(f"timm/{NAME}/model.safetensors")


def save(network, path):
    path.parent.mkdir(parents=True, exist_ok=True)
    safetensors.torch.save_file(network.state_dict(), path)
    return file_digest(path)


@pytest.fixture(scope="module")
def network():
    """The network whose weights the mirror has."""
    return random_network(NAME, seed=7)


@pytest.fixture
def bucket(monkeypatch):
    """What stands behind the address s3://mirror/weights."""
    objects = MemoryObjects()
    monkeypatch.setattr(weight_files, "open_objects", {"s3://mirror/weights": objects}.__getitem__)
    return objects


def bucket_variant(**changed):
    return timm_variant(NAME, source="s3://mirror/weights", **changed)


def classify(variant, cache):
    names = numbered(1000)
    return build_classifier(variant, class_names=names, outputs=names, weights=None, cache=cache)


@pytest.mark.parametrize("spelling", SPELLINGS)
@torch.inference_mode()
def test_a_folder_gives_the_network_that_was_saved(spelling, network, tmp_path):
    revision = save(network, tmp_path / "mirror" / spelling)
    classifier = classify(timm_variant(NAME, source=tmp_path / "mirror", revision=revision), tmp_path / "cache")
    assert torch.equal(classifier(images_of(160)), network(images_of(160)))
    assert not (tmp_path / "cache").exists()


@pytest.mark.parametrize("name", ["test_efficientnet.r160_in1k", "test_resnet.r160_in1k", "test_convnext.r160_in1k"])
@torch.inference_mode()
def test_convolutional_networks_come_back_bit_for_bit(name, tmp_path):
    saved = random_network(name, seed=3)
    save(saved, tmp_path / f"{name}.safetensors")
    classifier = classify(timm_variant(name, source=tmp_path, revision=""), tmp_path / "cache")
    assert torch.equal(classifier(images_of(64)), saved(images_of(64)))


@torch.inference_mode()
def test_position_embeddings_are_resized_for_another_image_size_as_timm_does(tmp_path):
    name = "vit_tiny_patch16_224.augreg_in21k_ft_in1k"  # test_vit takes images of any size
    saved = random_network(name, seed=7)
    save(saved, tmp_path / f"{name}.safetensors")
    classifier = classify(timm_variant(name, source=tmp_path, revision="", size=96), tmp_path / "cache")
    assert classifier.network.pos_embed.shape == (1, 1 + 6 * 6, 192)
    saved.set_input_size(96)
    torch.testing.assert_close(classifier(images_of(96)), saved(images_of(96)))


def test_a_file_of_another_architecture_does_not_load(tmp_path):
    save(random_network("test_resnet.r160_in1k"), tmp_path / f"{NAME}.safetensors")
    with pytest.raises(ValueError, match=rf"{NAME}.safetensors' is no file of {NAME}: .*Missing key") as raised:
        classify(timm_variant(NAME, source=tmp_path, revision=""), tmp_path / "cache")
    assert "\n" not in str(raised.value)


def test_a_damaged_file_of_a_mirror_is_named(tmp_path):
    (tmp_path / f"{NAME}.safetensors").write_bytes(b"damaged")
    with pytest.raises(ValueError, match=rf"{NAME}.safetensors' is no file of {NAME}: "):
        classify(timm_variant(NAME, source=tmp_path, revision=""), tmp_path / "cache")


def test_weights_that_changed_since_the_plan_are_refused(network, tmp_path):
    revision = save(network, tmp_path / f"{NAME}.safetensors")
    save(random_network(NAME, seed=8), tmp_path / f"{NAME}.safetensors")
    with pytest.raises(ValueError, match=r"changed since the sweep was planned \(expected sha256:") as raised:
        classify(timm_variant(NAME, source=tmp_path, revision=revision), tmp_path / "cache")
    assert "\n" not in str(raised.value)


def test_a_mirror_without_the_weights_says_what_it_looked_for(tmp_path):
    with pytest.raises(ValueError, match=rf"has no file '{NAME}.safetensors', nor {NAME}/model.safetensors"):
        classify(timm_variant(NAME, source=tmp_path, revision=""), tmp_path / "cache")
    with pytest.raises(ValueError, match="is no folder of this machine"):
        classify(timm_variant(NAME, source=tmp_path / "absent", revision=""), tmp_path / "cache")


@pytest.mark.parametrize("spelling", SPELLINGS)
@pytest.mark.parametrize("kind", ["sha256", "stamp", "none"])
@torch.inference_mode()
def test_a_bucket_gives_the_network_that_was_saved(spelling, kind, network, bucket, tmp_path):
    digest = save(network, tmp_path / "file")
    bucket.create(spelling, (tmp_path / "file").read_bytes())
    revision = {"sha256": digest, "stamp": f"stamp:{bucket.stamps('')[spelling]}", "none": ""}[kind]
    classifier = classify(bucket_variant(revision=revision), tmp_path / "cache")
    assert torch.equal(classifier(images_of(160)), network(images_of(160)))
    (kept,) = (tmp_path / "cache" / "weights").iterdir()
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600


@pytest.mark.parametrize("kind", ["sha256", "stamp"])
def test_a_buckets_file_that_changed_is_refused_and_not_kept(kind, network, bucket, tmp_path):
    digest = save(network, tmp_path / "file")
    bucket.create(SPELLINGS[0], b"old")
    revision = {"sha256": digest, "stamp": f"stamp:{bucket.stamps('')[SPELLINGS[0]]}"}[kind]
    bucket.replace(SPELLINGS[0], b"new")
    for _ in range(2):
        with pytest.raises(ValueError, match="changed since the sweep was planned"):
            fetch_weights(bucket_variant(revision=revision).weights, cache=tmp_path / "cache")
    assert list((tmp_path / "cache" / "weights").iterdir()) == []


def test_a_buckets_file_is_fetched_once_a_node(network, bucket, tmp_path):
    weights = bucket_variant(revision=save(network, tmp_path / "file")).weights
    bucket.create(SPELLINGS[0], (tmp_path / "file").read_bytes())
    first = fetch_weights(weights, cache=tmp_path / "cache")
    bucket.delete(SPELLINGS[0])
    assert fetch_weights(weights, cache=tmp_path / "cache") == first


def test_a_damaged_copy_is_fetched_again(network, bucket, tmp_path):
    weights = bucket_variant(revision=save(network, tmp_path / "file")).weights
    bucket.create(SPELLINGS[0], (tmp_path / "file").read_bytes())
    kept = fetch_weights(weights, cache=tmp_path / "cache")
    kept.write_bytes(b"damaged")
    assert file_digest(fetch_weights(weights, cache=tmp_path / "cache")) == weights.revision


def test_two_revisions_of_one_name_are_kept_apart(bucket, tmp_path):
    kept = []
    for content in (b"first", b"second"):
        bucket.replace(SPELLINGS[0], content)
        weights = bucket_variant(revision=f"stamp:{bucket.stamps('')[SPELLINGS[0]]}").weights
        kept.append(fetch_weights(weights, cache=tmp_path / "cache"))
    assert [path.read_bytes() for path in kept] == [b"first", b"second"]


def test_a_bucket_without_the_weights_says_what_it_looked_for(bucket, tmp_path):
    with pytest.raises(ValueError, match=rf"has no file '{NAME}.safetensors', nor"):
        fetch_weights(bucket_variant(revision="").weights, cache=tmp_path / "cache")


def test_a_full_disk_is_a_full_store(tmp_path):
    with pytest.raises(StoreFullError, match="No space left"), published(tmp_path / "file"):
        raise OSError(errno.ENOSPC, "No space left on device")
    assert list(tmp_path.iterdir()) == []


def test_a_copy_that_fails_leaves_nothing(tmp_path):
    def write_half():
        with published(tmp_path / "file") as file:
            file.write(b"half")
            raise KeyError

    with pytest.raises(KeyError):
        write_half()
    assert list(tmp_path.iterdir()) == []


def test_a_folder_of_weights_is_listed_like_a_bucket(network, tmp_path):
    save(network, tmp_path / SPELLINGS[3])
    assert mirrored_name(open_mirror(str(tmp_path)).stamps(""), NAME) == SPELLINGS[3]
    assert mirrored_name(set(SPELLINGS), NAME) == SPELLINGS[0]
    assert mirrored_name({"other.safetensors"}, NAME) is None


def test_networks_of_a_mirror_are_told_by_number_of_outputs(network, tmp_path):
    save(network, tmp_path / SPELLINGS[0])
    variant = timm_variant(NAME, source=tmp_path, revision="")
    variant = dataclasses.replace(variant, weights=dataclasses.replace(variant.weights, outputs="digits"))
    with pytest.raises(ValueError, match="has 1000 outputs, expected 10"):
        build_classifier(variant, class_names=numbered(10), outputs=numbered(10), weights=None, cache=tmp_path)
