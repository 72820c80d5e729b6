"""Labelled images, seeded splits, and the fingerprints that keys depend on."""

import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from overlap.datasets import _load_source, absolute_source, dataset_facts, load_dataset
from overlap.errors import DatasetError
from overlap.spec import DatasetSpec

DIGITS = DatasetSpec(
    name="digits",
    source="sklearn:digits",
    splits=(("train", 60), ("calibration", 20), ("test", None)),
    seed=0,
    samples=None,
)
RENDERED = replace(DIGITS, name="fonts", source="rendered:digits", splits=(("test", None),), samples=30)


def pixels(split):
    return split.pictures.pixels_NHWC[split.positions_N]


def same(a, b):
    fields = all(np.array_equal(getattr(a, field), getattr(b, field)) for field in ("labels_N", "ids_N", "digests_N"))
    return fields and np.array_equal(pixels(a), pixels(b))


def load_again(spec, cache=None):
    load_dataset.cache_clear()
    _load_source.cache_clear()
    return load_dataset(spec, cache)


def fingerprints(spec):
    return {name: split.fingerprint for name, split in dataset_facts(load_dataset(spec)).splits.items()}


def test_the_digits_are_those_of_scikit_learn():
    from sklearn.datasets import load_digits

    expected = load_digits()
    (split,) = load_dataset(replace(DIGITS, splits=(("test", None),))).splits.values()
    np.testing.assert_array_equal(pixels(split)[..., 0], np.rint(expected.images * 255 / 16))
    np.testing.assert_array_equal(split.labels_N, expected.target)
    np.testing.assert_array_equal(split.ids_N, np.arange(1797))
    assert pixels(split).shape == (1797, 8, 8, 1)
    assert (pixels(split).dtype, split.labels_N.dtype, split.ids_N.dtype) == (np.uint8, np.int32, np.int64)


def test_splits_have_their_sizes_and_share_no_example():
    dataset = load_dataset(DIGITS)
    assert {name: len(split.ids_N) for name, split in dataset.splits.items()} == {
        "train": 60, "calibration": 20, "test": 1717
    }  # fmt: skip
    ids = np.concatenate([split.ids_N for split in dataset.splits.values()])
    assert sorted(ids.tolist()) == list(range(1797))


def test_every_split_is_in_the_order_of_its_ids_and_keeps_images_with_labels():
    everything = load_dataset(replace(DIGITS, splits=(("test", None),))).splits["test"]
    for split in load_dataset(DIGITS).splits.values():
        assert (np.diff(split.ids_N) > 0).all()
        np.testing.assert_array_equal(split.labels_N, everything.labels_N[split.ids_N])
        np.testing.assert_array_equal(pixels(split), pixels(everything)[split.ids_N])


def test_the_seed_chooses_the_examples():
    first, again, other = (load_again(replace(DIGITS, seed=seed)) for seed in (3, 3, 4))
    assert same(first.splits["train"], again.splits["train"])
    assert not same(first.splits["train"], other.splits["train"])


def test_a_later_split_does_not_move_an_earlier_one():
    resized = load_dataset(replace(DIGITS, splits=(("train", 60), ("calibration", 50), ("test", 100))))
    assert same(resized.splits["train"], load_dataset(DIGITS).splits["train"])


def test_a_longer_first_split_keeps_the_examples_it_had():
    longer = load_dataset(replace(DIGITS, splits=(("train", 90),))).splits["train"]
    assert set(load_dataset(DIGITS).splits["train"].ids_N) < set(longer.ids_N)


def test_a_split_may_be_all_there_is_and_no_more():
    assert len(load_dataset(replace(DIGITS, splits=(("test", 1797),))).splits["test"].ids_N) == 1797
    with pytest.raises(DatasetError, match="the splits ask for 1,798 examples, but 'sklearn:digits' has 1,797"):
        load_dataset(replace(DIGITS, splits=(("test", 1798),)))
    with pytest.raises(DatasetError, match="1,797 examples and a rest of at least 1, but") as caught:
        load_dataset(replace(DIGITS, splits=(("train", 1797), ("test", None))))
    assert caught.value.key == "splits"


def test_a_fingerprint_is_that_of_the_content_and_not_of_the_names():
    before = fingerprints(DIGITS)
    assert len(set(before.values())) == 3
    assert fingerprints(replace(DIGITS, name="other")) == before
    renamed = replace(DIGITS, splits=(("a", 60), ("b", 20), ("c", None)))
    assert list(fingerprints(renamed).values()) == list(before.values())
    assert set(fingerprints(replace(DIGITS, seed=1)).values()).isdisjoint(before.values())


def test_rendered_digits_are_the_same_every_time():
    first, again = load_again(RENDERED), load_again(RENDERED)
    assert same(first.splits["test"], again.splits["test"])
    assert not same(first.splits["test"], load_dataset(replace(RENDERED, seed=1)).splits["test"])


def test_more_rendered_digits_begin_with_the_ones_before():
    few, many = (load_dataset(replace(RENDERED, samples=n)).splits["test"] for n in (30, 45))
    np.testing.assert_array_equal(pixels(many)[:30], pixels(few))
    np.testing.assert_array_equal(many.labels_N, np.arange(45) % 10)
    assert len(np.unique(pixels(many), axis=0)) == 45


def test_all_digit_sources_have_the_same_classes_and_levels():
    for source in ("sklearn:digits", "rendered:digits"):
        dataset = load_dataset(replace(RENDERED, source=source))
        drawn = pixels(dataset.splits["test"])
        assert dataset.class_names == tuple("0123456789")
        assert drawn.shape[1:] == (8, 8, 1)
        assert set(np.unique(drawn)) <= {round(level * 255 / 16) for level in range(17)}


def test_skipped_examples_are_in_no_split_and_the_others_stay_where_they_were():
    every = replace(DIGITS, splits=(("train", 900), ("test", None)))
    before, after = load_dataset(every), load_dataset(replace(every, skip=(3, 1796)))
    ids = np.concatenate([split.ids_N for split in after.splits.values()])
    assert sorted(ids.tolist()) == [i for i in range(1797) if i not in (3, 1796)]
    moved = set(before.splits["train"].ids_N) ^ set(after.splits["train"].ids_N)
    assert len(moved) <= 4  # what was skipped, and what took its place
    position = int(np.flatnonzero(after.splits["test"].ids_N > 3)[0])
    example = after.splits["test"].ids_N[position]
    everything = load_dataset(replace(DIGITS, splits=(("test", None),))).splits["test"]
    np.testing.assert_array_equal(pixels(after.splits["test"])[position], pixels(everything)[example])


def test_a_split_that_bad_images_made_too_large_says_so():
    asked = replace(DIGITS, splits=(("test", 1797),), skip=(1, 2))
    with pytest.raises(DatasetError, match="1,797 examples, but 'sklearn:digits' has 1,795 without the 2 bad ones"):
        load_dataset(asked)


@pytest.mark.parametrize(
    ("given", "absolute"),
    [
        ("sklearn:digits", "sklearn:digits"),
        ("data/x", "HERE/data/x"),
        ("/data/x", "/data/x"),
        ("parquet:p/*.parquet", "parquet:HERE/p/*.parquet"),
        ("webdataset:{0..3}.tar", "webdataset:HERE/{0..3}.tar"),
        ("timm:torch/cifar10?root=d&split=test", "timm:torch/cifar10?root=HERE/d&split=test"),
        ("timm:hfds/org/name", "timm:hfds/org/name"),
    ],
)
def test_a_source_can_be_made_to_mean_the_same_in_every_process(given, absolute, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert absolute_source(given) == absolute.replace("HERE", str(tmp_path))


def test_reading_files_imports_neither_torch_nor_timm(tmp_path, write_images):
    write_images(tmp_path / "data", {"a": 1, "b": 1})
    script = f"""
import sys
from overlap.datasets import image_check, label_spaces, load_dataset, parquet, webdataset
from overlap.spec import DatasetSpec
spec = DatasetSpec(name="d", source={str(tmp_path / "data")!r}, splits=(("test", None),), seed=0, samples=None)
load_dataset(image_check.sound_dataset(spec, None)[0])
label_spaces.label_space("imagenet-1k")
print(sorted({{"torch", "timm", "sklearn", "ray", "datasets"}} & set(sys.modules)))
"""
    printed = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True).stdout
    assert printed.strip() == "[]"
