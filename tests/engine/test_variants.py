"""What a variant is, its key, and how two of them differ."""

import itertools
import json
import re
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from overlap.variants import (
    Category,
    Evaluation,
    Preprocessing,
    SplitFacts,
    Weights,
    canonical_json,
    category,
    key_of,
    result_config,
    slug,
    unique_names,
    weights_config,
)

CHANGES = {
    "dataset": {"train_on": "fonts"},
    "framework": {"framework": "simclr"},
    "architecture": {"architecture": "test_vit"},
    "hyperparameters": {"hyperparameters": (("epochs", 2),)},
    "preprocessing": {"preprocessing": Preprocessing(size=64)},
    "seed": {"seed": 1},
    "name": {"name": "another"},
}
RANK = ["dataset", "framework", "architecture", "hyperparameters", "preprocessing", "seed", "name"]
CATEGORY = {
    "dataset": Category.DATASET,
    "framework": Category.FRAMEWORK,
    "architecture": Category.ARCHITECTURE,
    "hyperparameters": Category.HYPERPARAMETERS,
    "preprocessing": Category.HYPERPARAMETERS,
    "seed": Category.REINIT,
    "name": Category.REINIT,
}


class AnyName(dict):
    """The facts of one dataset, under whatever name it is asked for."""

    def __init__(self, facts):
        super().__init__()
        self.facts = facts

    def __missing__(self, name):
        return self.facts


@pytest.mark.parametrize("size", range(1, len(RANK) + 1))
def test_the_category_of_a_pair_is_the_highest_level_at_which_it_differs(variant, size):
    for changed in itertools.combinations(RANK, size):
        other = replace(variant, **{k: v for name in changed for k, v in CHANGES[name].items()})
        assert category(variant, other) is CATEGORY[changed[0]]
        assert category(other, variant) is CATEGORY[changed[0]]


def test_categories_are_ordered_and_have_words():
    words = [kind.word for kind in sorted(Category)]
    assert words == ["unknown", "reinit", "hyperparameters", "architecture", "framework", "dataset"]


@pytest.mark.parametrize(
    ("changes", "same"),
    [
        ({"architecture": "test_vit"}, False),
        ({"framework": "simclr"}, False),
        ({"seed": 1}, False),
        ({"hyperparameters": (("epochs", 2),)}, False),
        ({"preprocessing": Preprocessing(size=64)}, False),
        ({"preprocessing": Preprocessing(interpolation="bicubic")}, False),
        ({"preprocessing": Preprocessing(mean=(0.4, 0.5, 0.5))}, False),
        ({"preprocessing": Preprocessing(std=(0.4, 0.5, 0.5))}, False),
        ({"name": "another"}, True),
        ({"train_on": "the same images under another name"}, True),
    ],
    ids=str,
)
def test_the_key_depends_on_what_decides_the_predictions_and_on_nothing_else(variant, dataset_facts, changes, same):
    digits = dataset_facts("digits")
    other, datasets = replace(variant, **changes), AnyName(digits)
    assert (weights_config(variant, datasets) == weights_config(other, datasets)) is same
    configs = [result_config(candidate, datasets, digits, Evaluation()) for candidate in (variant, other)]
    keys = {key_of(canonical_json(config)) for config in configs}
    assert len(keys) == (1 if same else 2)


@pytest.mark.parametrize(
    ("split", "weights_change", "result_changes"),
    [("train", True, True), ("calibration", False, True), ("test", False, True), ("extra", False, False)],
)
def test_the_key_depends_on_the_examples(variant, dataset_facts, split, weights_change, result_changes):
    before = dataset_facts("digits", splits=("train", "calibration", "test", "extra"))
    splits = {**before.splits, split: SplitFacts(size=10, fingerprint="other pixels")}
    after = replace(before, splits=splits)
    assert (weights_config(variant, AnyName(before)) != weights_config(variant, AnyName(after))) is weights_change
    first, second = (result_config(variant, AnyName(facts), facts, Evaluation()) for facts in (before, after))
    assert (first != second) is result_changes


@pytest.mark.parametrize(
    ("changes", "same"),
    [({"precision": "bfloat16"}, False), ({"compile": True}, False), ({"embeddings": True}, True)],
)
def test_the_key_depends_on_how_it_is_computed_and_not_on_what_is_kept(variant, dataset_facts, changes, same):
    digits = dataset_facts("digits")
    first, second = (result_config(variant, AnyName(digits), digits, Evaluation(**each)) for each in ({}, changes))
    assert (first == second) is same


@pytest.mark.parametrize(
    ("changes", "same"),
    [
        ({"name": "resnet50.a2_in1k"}, False),
        ({"revision": "sha256:other"}, False),
        ({"outputs": "imagenet-12k"}, False),
        ({"prompts": ("plain",)}, False),
        ({"texts": ("a cat",)}, False),
        ({"source": "/mirror"}, True),
        ({"gmacs": 4.1}, True),
    ],
)
def test_the_key_of_pretrained_weights_depends_on_what_they_are_and_not_on_where_they_lie(variant, changes, same):
    weights = Weights(library="timm", name="resnet50.a1_in1k", source="hub", revision="hub:1", outputs="imagenet-1k")
    one, other = (replace(variant, weights=each) for each in (weights, replace(weights, **changes)))
    assert (weights_config(one, {}) == weights_config(other, {})) is same


def test_random_weights_depend_on_their_seed_and_others_do_not(variant):
    def config(source, seed):
        weights = Weights(library="timm", name="resnet18.a1_in1k", source=source, revision=source)
        return weights_config(replace(variant, weights=weights, seed=seed), {})

    assert config("random", 0) != config("random", 1)
    assert config("hub", 0) == config("hub", 1)


def test_the_key_depends_on_what_a_variant_is_built_on(variant, dataset_facts):
    datasets = AnyName(dataset_facts("digits"))
    student, teacher = replace(variant, framework="distillation"), replace(variant, seed=5)
    configs = [
        weights_config(replace(student, built_on=each), datasets) for each in (None, teacher, replace(teacher, seed=6))
    ]
    assert len({canonical_json(config) for config in configs}) == 3


def test_the_key_depends_on_the_classes_and_not_on_the_name_of_the_dataset(variant, dataset_facts):
    digits = dataset_facts("digits")
    renamed, reordered = replace(digits, name="other"), replace(digits, class_names=digits.class_names[::-1])
    assert weights_config(variant, AnyName(digits)) == weights_config(variant, AnyName(renamed))
    assert weights_config(variant, AnyName(digits)) != weights_config(variant, AnyName(reordered))


def test_a_probe_has_learnt_from_all_that_its_network_has(variant):
    network = replace(variant, train_on="laion-2b")
    probe = replace(variant, architecture="sklearn:LogisticRegression", train_on="mine", built_on=network)
    assert probe.training_data == ("laion-2b", "mine")
    assert probe.architectures == ("test_resnet", "sklearn:LogisticRegression")
    assert category(probe, replace(probe, built_on=replace(network, train_on="wit-400m"))) is Category.DATASET
    assert category(probe, replace(probe, built_on=replace(network, architecture="x"))) is Category.ARCHITECTURE


def test_canonical_json_is_one_text_whatever_the_order():
    text = canonical_json({"b": [1, 2.5, True, None], "a": {"y": "é", "x": (1, 2)}})
    assert text == '{"a":{"x":[1,2],"y":"\\u00e9"},"b":[1,2.5,true,null]}'
    assert canonical_json({"a": {"x": [1, 2], "y": "é"}, "b": [1, 2.5, True, None]}) == text


@given(st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=10,
))  # fmt: skip
@settings(deadline=None)
def test_canonical_json_loses_nothing(value):
    text = canonical_json(value)
    assert json.loads(text) == value
    assert canonical_json(json.loads(text)) == text


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_canonical_json_refuses_what_is_no_number(value):
    with pytest.raises(ValueError, match="Out of range float"):
        canonical_json([value])


def test_a_key_is_the_sha256_of_the_configuration():
    assert key_of("") == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


@given(st.text())
@settings(deadline=None)
def test_a_slug_is_a_safe_file_name_whatever_the_name(name):
    made = slug(name, key_of(name))
    assert re.fullmatch(r"[a-z0-9._-]{1,40}-[0-9a-f]{16}", made)
    assert not made.startswith((".", "-"))
    assert made.endswith(key_of(name)[:16])


def test_a_slug_keeps_the_name_readable():
    key = "0123456789abcdef" * 4
    assert slug("ViT/B 32+openai", key) == "vit-b-32-openai-0123456789abcdef"
    assert slug("日本", key) == "variant-0123456789abcdef"


def test_repeated_names_get_a_number():
    assert unique_names(["a", "b", "a", "a"]) == ["a", "b", "a~2", "a~3"]
