"""open_clip's models as classifiers, against the definition written with open_clip alone."""

import logging

import open_clip
import pytest
import safetensors.torch
import torch
from torch.nn.functional import normalize

from overlap.datasets.label_spaces import label_space
from overlap.models import build_classifier, build_embedder, file_digest
from overlap.models.zero_shot import TEMPLATES, class_texts, templates
from overlap.training import seed_everything
from overlap.variants import Weights
from tiny_pretrained import images_of, one_thread, variant_of  # noqa: F401 - a fixture for all

CLASSES = ("tabby_cat", "n01440764", "dog")
TEXTS = ("tabby cat", "tench", "dog")
VISION = {"image_size": 32, "layers": 1, "width": 16, "patch_size": 8, "head_width": 8}
TEXT = {"context_length": 24, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1}
CONFIGS = {
    "tiny": {},
    "tiny-custom": {"custom_text": True},
    "tiny-bias": {"custom_text": True, "init_logit_bias": -10.0, "init_logit_scale": 2.3},
    "tiny-vector": {"nonscalar_logit_scale": True},
    "tiny-coca": {
        "custom_text": True,
        "multimodal_cfg": {"context_length": 24, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1},
        "text_cfg": TEXT | {"embed_cls": True, "output_tokens": True},
        "vision_cfg": VISION
        | {"attentional_pool": True, "attn_pooler_queries": 4, "attn_pooler_heads": 2, "output_tokens": True},
    },
    "tiny-resnet": {"vision_cfg": {"image_size": 32, "layers": [1, 1, 1, 1], "width": 8, "patch_size": None}},
    "tiny-timm": {
        "vision_cfg": {"timm_model_name": "test_vit", "timm_pool": "token", "timm_proj": "linear", "image_size": 32}
    },
    "tiny-hub-tokenizer": {"text_cfg": TEXT | {"hf_tokenizer_name": "timm/ViT-B-16-SigLIP"}},
}
KINDS = [kind for kind in CONFIGS if kind != "tiny-hub-tokenizer"]


@pytest.fixture(autouse=True)
def tiny_models(monkeypatch):
    """Models of open_clip that are made in a moment."""
    for name, config in CONFIGS.items():
        whole = {"embed_dim": 16, "vision_cfg": VISION, "text_cfg": TEXT} | config
        monkeypatch.setitem(open_clip.factory._MODEL_CONFIGS, name, whole)


def clip_variant(kind="tiny", *, source="random", revision="random", prompts=("plain",), texts=(), seed=0, size=32):
    weights = Weights(
        library="open_clip", name=f"{kind}/mine", source=str(source), revision=revision, prompts=prompts, texts=texts
    )
    return variant_of(kind, weights, size=size, seed=seed)


def random_model(kind="tiny", *, seed=0, **options):
    seed_everything(seed, epoch=-1)
    return open_clip.create_model(kind, **options).eval()


def defined_logits(model, images, texts, sentences):
    """The definition of Radford et al. (2021), with every step written out."""
    tokenize = open_clip.get_tokenizer("tiny")
    columns = []
    for text in texts:
        each = [normalize(model.encode_text(tokenize([s.format(text)]), normalize=False), dim=-1) for s in sentences]
        columns.append(normalize(torch.cat(each).mean(dim=0), dim=0))
    features = normalize(model.encode_image(images, normalize=False), dim=-1)
    logits = model.logit_scale.exp() * features @ torch.stack(columns, dim=1)
    return logits if model.logit_bias is None else logits + model.logit_bias


def classify(variant, cache, class_names=CLASSES):
    return build_classifier(variant, class_names=class_names, outputs=(), weights=None, cache=cache)


@pytest.mark.parametrize("kind", KINDS)
@torch.inference_mode()
def test_logits_are_those_of_the_definition(kind, tmp_path):
    sentences = ("a photo of a {}.", "{}", "a bad {} photo {{")
    prompts = ("a photo of a {}.", "{}", "a bad {} photo {")
    classifier = classify(clip_variant(kind, prompts=prompts, seed=3), tmp_path)
    expected = defined_logits(random_model(kind, seed=3), images_of(32), TEXTS, sentences)
    torch.testing.assert_close(classifier(images_of(32)), expected, rtol=1e-4, atol=1e-4)
    assert classifier(images_of(32)).shape == (3, 3)


@pytest.mark.parametrize("kind", KINDS)
@torch.inference_mode()
def test_an_embedding_is_the_towers_output_before_it_is_normalised(kind, tmp_path):
    variant = clip_variant(kind)
    classifier = classify(variant, tmp_path)
    embeddings, logits = classifier.with_embeddings(images_of(32))
    assert torch.equal(logits, classifier(images_of(32)))
    assert torch.equal(embeddings, random_model(kind).encode_image(images_of(32), normalize=False))
    assert torch.equal(build_embedder(variant, weights=None, cache=tmp_path)(images_of(32)), embeddings)


@pytest.mark.parametrize("kind", ["tiny", "tiny-bias", "tiny-coca", "tiny-timm"])
@pytest.mark.parametrize("file", ["{}/mine.safetensors", "{}/mine/open_clip_model.safetensors", "{}.mine.safetensors"])
@torch.inference_mode()
def test_a_mirror_gives_the_model_that_was_saved(kind, file, tmp_path):
    model, path = random_model(kind, seed=5), tmp_path / "mirror" / file.format(kind)
    path.parent.mkdir(parents=True)
    safetensors.torch.save_file(model.state_dict(), path)
    variant = clip_variant(kind, source=tmp_path / "mirror", revision=file_digest(path))
    expected = classify(clip_variant(kind, seed=5), tmp_path / "cache")(images_of(32))
    assert torch.equal(classify(variant, tmp_path / "cache")(images_of(32)), expected)


@torch.inference_mode()
def test_a_mirrors_position_embeddings_are_resized_for_another_image_size(tmp_path):
    path = tmp_path / "tiny" / "mine.safetensors"
    path.parent.mkdir()
    safetensors.torch.save_file(random_model(seed=5).state_dict(), path)
    classifier = classify(clip_variant(source=tmp_path, revision="", size=64), tmp_path / "cache")
    model = random_model(pretrained=str(path), force_image_size=64)
    torch.testing.assert_close(classifier(images_of(64)), defined_logits(model, images_of(64), TEXTS, ["{}"]))


def test_a_mirrors_file_of_another_model_is_named(tmp_path):
    path = tmp_path / "tiny" / "mine.safetensors"
    path.parent.mkdir()
    safetensors.torch.save_file({"weight": torch.zeros(3)}, path)
    with pytest.raises(ValueError, match=r"mine.safetensors' is no file of tiny/mine: .*Missing key") as raised:
        classify(clip_variant(source=tmp_path, revision=""), tmp_path / "cache")
    assert "\n" not in str(raised.value)


def without_text_tower(monkeypatch):
    def refuse(*_, **__):
        raise AssertionError("texts were embedded again")

    monkeypatch.setattr(open_clip.CLIP, "encode_text", refuse)


@torch.inference_mode()
def test_texts_are_embedded_once_a_node(tmp_path, monkeypatch):
    first = classify(clip_variant(), tmp_path)(images_of(32))
    without_text_tower(monkeypatch)
    assert torch.equal(classify(clip_variant(), tmp_path)(images_of(32)), first)


@pytest.mark.parametrize(
    ("changed", "class_names"),
    [
        ({"prompts": ("a {}.",)}, CLASSES),
        ({"texts": ("a", "b", "c")}, CLASSES),
        ({"seed": 1}, CLASSES),
        ({"size": 64}, CLASSES),
        ({"revision": "another"}, CLASSES),
        ({}, CLASSES[::-1]),
    ],
    ids=["templates", "texts", "seed", "size", "revision", "order"],
)
def test_other_texts_or_weights_are_embedded_anew(changed, class_names, tmp_path, monkeypatch):
    classify(clip_variant(), tmp_path)
    without_text_tower(monkeypatch)
    with pytest.raises(AssertionError, match="embedded again"):
        classify(clip_variant(**changed), tmp_path, class_names)


@pytest.mark.parametrize("content", [b"", b"damaged", safetensors.torch.save({"classes": torch.zeros(16, 2)})])
@torch.inference_mode()
def test_damaged_embeddings_are_made_again(content, tmp_path):
    first = classify(clip_variant(), tmp_path)(images_of(32))
    (kept,) = (tmp_path / "text").iterdir()
    whole = kept.read_bytes()
    kept.write_bytes(content)
    assert torch.equal(classify(clip_variant(), tmp_path)(images_of(32)), first)
    assert kept.read_bytes() == whole


@torch.inference_mode()
def test_half_precision_does_not_round_the_comparison(tmp_path):
    classifier = classify(clip_variant(), tmp_path)
    expected = classifier(images_of(32))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        embeddings, logits = classifier.with_embeddings(images_of(32))
    assert embeddings.dtype == torch.bfloat16
    assert logits.dtype == torch.float32
    torch.testing.assert_close(logits, expected, rtol=0.05, atol=0.3)
    classifier.to(torch.bfloat16, memory_format=torch.channels_last)
    torch.testing.assert_close(classifier(images_of(32).bfloat16()), expected, rtol=0.05, atol=0.3)


def test_only_the_image_tower_is_kept(tmp_path):
    parts = {name.partition(".")[0] for name in classify(clip_variant(), tmp_path).network.state_dict()}
    assert parts == {"visual"}


def test_classes_are_called_by_the_words_of_their_wordnet_ids():
    weights = clip_variant().weights
    assert class_texts(weights, label_space("imagenet-1k")) == tuple(open_clip.IMAGENET_CLASSNAMES)
    assert class_texts(weights, ("n02012849", "n00004475", "n99999999")) == ("crane bird", "organism", "n99999999")
    assert class_texts(weights, ("aquarium_fish", "3")) == ("aquarium fish", "3")


def test_given_texts_stand_for_the_classes_in_order():
    assert class_texts(clip_variant(texts=("a", "b", "c")).weights, CLASSES) == ("a", "b", "c")
    with pytest.raises(ValueError, match="texts: expected 3, one for each class in order, got 2"):
        class_texts(clip_variant(texts=("a", "b")).weights, CLASSES)


@pytest.mark.parametrize(
    ("prompts", "count", "last"),
    [(("imagenet",), 80, "a tattoo of the x."), (("simple",), 7, "a photo of the small x."), (("plain",), 1, "x")],
)
def test_templates_have_names(prompts, count, last):
    sentences = templates(prompts)
    assert len(sentences) == count
    assert sentences[-1]("x") == last


@pytest.mark.parametrize("prompts", [(), ("imagnet",), ("a {}.", "a photo")])
def test_templates_need_a_place_for_the_text(prompts):
    with pytest.raises(ValueError, match=f"expected one of {', '.join(TEMPLATES)}, or sentences with"):
        templates(prompts)


def test_a_tokenizer_that_is_not_here_says_what_to_do(tmp_path):
    with pytest.raises(ValueError, match=r"the tokenizer of 'tiny-hub-tokenizer' (needs the package|cannot be had)"):
        classify(clip_variant("tiny-hub-tokenizer"), tmp_path)
    build_embedder(clip_variant("tiny-hub-tokenizer"), weights=None, cache=tmp_path)  # needs none


def test_an_unknown_model_is_told(tmp_path):
    with pytest.raises(ValueError, match="'tinier' is no model of the installed open_clip"):
        classify(clip_variant("tinier"), tmp_path)


def test_open_clip_does_not_configure_logging(tmp_path, monkeypatch, capfd):
    root = logging.getLogger()
    monkeypatch.setattr(root, "handlers", [])
    classify(clip_variant(), tmp_path)
    assert root.handlers == []
    assert capfd.readouterr().err == ""


def test_an_embedder_has_no_logits(tmp_path):
    with pytest.raises(ValueError, match="embeddings only"):
        build_embedder(clip_variant(), weights=None, cache=tmp_path).network(images_of(32))
