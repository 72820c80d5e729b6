"""Label spaces are timm's, and classes are matched by name, never by position."""

import pytest

from overlap.datasets.label_spaces import LABEL_SPACES, in_label_space, label_space, lemmas, output_columns
from overlap.errors import DatasetError

SPACE = label_space("imagenet-1k")


@pytest.mark.parametrize(
    "name", ["imagenet-1k", "imagenet-12k", "imagenet-21k-goog", "imagenet-22k", "imagenet-22k-ms"]
)
def test_a_label_space_is_the_one_of_timm(name):
    from timm.data import ImageNetInfo

    assert list(label_space(name)) == ImageNetInfo(name).label_names()


def test_every_label_space_names_each_class_once():
    for name in LABEL_SPACES:
        assert len(set(label_space(name))) == len(label_space(name)) >= 100


def test_the_classes_of_a_are_two_hundred_columns_of_the_thousand():
    columns = output_columns(label_space("imagenet-a"), SPACE)
    assert columns.tolist()[:5] == [6, 11, 13, 15, 17]  # timm's imagenet_a_indices.txt
    assert [SPACE[column] for column in columns] == list(label_space("imagenet-a"))


def test_columns_follow_names_where_orders_differ():
    assert output_columns(("b", "c"), ("c", "a", "b")).tolist() == [2, 0]
    microsoft = label_space("imagenet-22k-ms")
    assert output_columns(SPACE[:3], microsoft).tolist() == [0, 1, 2]
    assert output_columns(SPACE[:3], label_space("imagenet-22k")).tolist() != [0, 1, 2]


def test_words_find_their_columns_and_ambiguous_ones_do_not():
    assert output_columns(("goldfish", "tench"), SPACE).tolist() == [1, 0]
    with pytest.raises(
        DatasetError, match=r"1 of 2 classes .*: 'crane'; the model expects WordNet ids like 'n01440764'"
    ):
        output_columns(("goldfish", "crane"), SPACE)


def test_all_the_words_of_a_space_in_its_order_are_the_space():
    words = [text.partition(",")[0] for text in lemmas(SPACE)]
    assert len(set(words)) < len(words)
    assert output_columns(words, SPACE).tolist() == list(range(1000))
    with pytest.raises(DatasetError):
        output_columns([*words[:-2], words[-1], words[-2]][1:], SPACE)


@pytest.mark.parametrize(
    ("names", "outputs", "expected"),
    [
        (("0", "1"), SPACE, "say whose numbers these are, such as classes: imagenet-1k"),
        (("cat", "dog"), ("cats", "bird"), "'cat', 'dog'; did you mean 'cats'"),
        (
            ("cat", "x"),
            ("cat", "b"),
            "1 of 2 classes are none of the 2 expected: 'x'; the model expects names like 'cat'",
        ),
        ([f"x{i}" for i in range(9)], ("a", "b"), "'x0', 'x1', 'x2', 'x3', 'x4' …"),
        (("n01440764", "n01440765"), SPACE, "'n01440765'; did you mean 'n01440764'"),
    ],
)
def test_a_class_that_is_no_output_is_named_with_what_to_do(names, outputs, expected):
    with pytest.raises(DatasetError) as caught:
        output_columns(names, outputs)
    assert expected in str(caught.value)


def test_labels_follow_their_classes_into_the_order_of_the_space():
    import numpy as np

    names, labels = in_label_space(("10", "2"), np.array([0, 1, 1], np.int32), "imagenet-1k")
    assert names == (SPACE[2], SPACE[10])
    assert labels.tolist() == [1, 0, 0]
