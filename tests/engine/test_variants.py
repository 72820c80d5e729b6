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
    Preprocessing,
    SplitFacts,
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


@pytest.mark.parametrize("size", range(1, len(RANK) + 1))
def test_the_category_of_a_pair_is_the_highest_level_at_which_it_differs(variant, size):
    for changed in itertools.combinations(RANK, size):
        other = replace(variant, **{k: v for name in changed for k, v in CHANGES[name].items()})
        assert category(variant, other) is CATEGORY[changed[0]]
        assert category(other, variant) is CATEGORY[changed[0]]


def test_categories_are_ordered_and_have_words():
    words = [kind.word for kind in sorted(Category)]
    assert words == ["reinit", "hyperparameters", "architecture", "framework", "dataset"]


@pytest.mark.parametrize(
    ("changes", "same"),
    [
        ({"architecture": "test_vit"}, False),
        ({"framework": "simclr"}, False),
        ({"seed": 1}, False),
        ({"hyperparameters": (("epochs", 2),)}, False),
        ({"preprocessing": Preprocessing(size=64)}, False),
        ({"preprocessing": Preprocessing(interpolation="bicubic")}, False),
        ({"preprocessing": Preprocessing(mean=0.4)}, False),
        ({"preprocessing": Preprocessing(std=0.4)}, False),
        ({"name": "another"}, True),
        ({"train_on": "the same images under another name"}, True),
    ],
    ids=str,
)
def test_the_key_depends_on_what_decides_the_predictions_and_on_nothing_else(variant, dataset_facts, changes, same):
    digits = dataset_facts("digits")
    other = replace(variant, **changes)
    assert (weights_config(variant, digits) == weights_config(other, digits)) is same
    keys = {key_of(canonical_json(result_config(candidate, digits, digits))) for candidate in (variant, other)}
    assert len(keys) == (1 if same else 2)


@pytest.mark.parametrize(
    ("split", "weights_change", "result_changes"),
    [("train", True, True), ("calibration", False, True), ("test", False, True), ("extra", False, False)],
)
def test_the_key_depends_on_the_examples(variant, dataset_facts, split, weights_change, result_changes):
    before = dataset_facts("digits", splits=("train", "calibration", "test", "extra"))
    splits = {**before.splits, split: SplitFacts(size=10, fingerprint="other pixels")}
    after = replace(before, splits=splits)
    assert (weights_config(variant, before) != weights_config(variant, after)) is weights_change
    assert (result_config(variant, before, before) != result_config(variant, after, after)) is result_changes


def test_the_key_depends_on_the_classes_and_not_on_the_name_of_the_dataset(variant, dataset_facts):
    digits = dataset_facts("digits")
    assert weights_config(variant, digits) == weights_config(variant, replace(digits, name="other"))
    reordered = replace(digits, class_names=digits.class_names[::-1])
    assert weights_config(variant, digits) != weights_config(variant, reordered)


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
