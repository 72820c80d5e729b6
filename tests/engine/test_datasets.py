"""Labelled images, seeded splits, and the fingerprints that keys depend on."""

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from overlap.datasets import SOURCES, dataset_facts, load_dataset
from overlap.errors import DatasetError
from overlap.spec import DatasetSpec

DIGITS = DatasetSpec(
    name="digits",
    source="sklearn:digits",
    splits=(("train", 60), ("calibration", 20), ("test", None)),
    seed=0,
    samples=None,
    size=None,
)
RENDERED = replace(DIGITS, name="fonts", source="rendered:digits", splits=(("test", None),), samples=30)


def same(a, b):
    return all(np.array_equal(getattr(a, field), getattr(b, field)) for field in ("pixels_NHWC", "labels_N", "ids_N"))


def fingerprints(spec):
    return {name: split.fingerprint for name, split in dataset_facts(load_dataset(spec)).splits.items()}


def test_the_digits_are_those_of_scikit_learn():
    from sklearn.datasets import load_digits

    expected = load_digits()
    (split,) = load_dataset(replace(DIGITS, splits=(("test", None),))).splits.values()
    np.testing.assert_array_equal(split.pixels_NHWC[..., 0], np.rint(expected.images * 255 / 16))
    np.testing.assert_array_equal(split.labels_N, expected.target)
    np.testing.assert_array_equal(split.ids_N, np.arange(1797))
    assert split.pixels_NHWC.shape == (1797, 8, 8, 1)
    assert (split.pixels_NHWC.dtype, split.labels_N.dtype, split.ids_N.dtype) == (np.uint8, np.int32, np.int64)


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
        np.testing.assert_array_equal(split.pixels_NHWC, everything.pixels_NHWC[split.ids_N])


def test_the_seed_chooses_the_examples():
    first, again, other = (load_dataset.__wrapped__(replace(DIGITS, seed=seed)) for seed in (3, 3, 4))
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
    first, again = load_dataset.__wrapped__(RENDERED), load_dataset.__wrapped__(RENDERED)
    assert same(first.splits["test"], again.splits["test"])
    assert not same(first.splits["test"], load_dataset(replace(RENDERED, seed=1)).splits["test"])


def test_more_rendered_digits_begin_with_the_ones_before():
    few, many = (load_dataset(replace(RENDERED, samples=n)).splits["test"] for n in (30, 45))
    np.testing.assert_array_equal(many.pixels_NHWC[:30], few.pixels_NHWC)
    np.testing.assert_array_equal(many.labels_N, np.arange(45) % 10)
    assert len(np.unique(many.pixels_NHWC, axis=0)) == 45


def test_all_digit_sources_have_the_same_classes_and_levels():
    for source in SOURCES:
        dataset = load_dataset(replace(RENDERED, source=source))
        pixels = dataset.splits["test"].pixels_NHWC
        assert dataset.class_names == tuple("0123456789")
        assert pixels.shape[1:] == (8, 8, 1)
        assert set(np.unique(pixels)) <= {round(level * 255 / 16) for level in range(17)}


# --- folders


@pytest.fixture
def pets(tmp_path, write_images):
    write_images(tmp_path, {"dog": 2, "cat": 3})
    return replace(DIGITS, name="pets", source=str(tmp_path), splits=(("test", None),), size=8)


def test_a_folder_has_a_class_for_each_subfolder_in_alphabetical_order(pets):
    dataset = load_dataset(pets)
    split = dataset.splits["test"]
    assert dataset.class_names == ("cat", "dog")
    assert split.labels_N.tolist() == [0, 0, 0, 1, 1]
    assert split.ids_N.tolist() == [0, 1, 2, 3, 4]


def test_an_image_of_the_right_size_is_read_as_it_is(pets, tmp_path):
    split = load_dataset(pets).splits["test"]
    files = [*sorted((tmp_path / "cat").iterdir()), *sorted((tmp_path / "dog").iterdir())]
    for pixels, path in zip(split.pixels_NHWC, files, strict=True):
        np.testing.assert_array_equal(pixels, np.asarray(Image.open(path)))


@pytest.mark.parametrize(("shape", "middle"), [((8, 24), np.s_[:, 8:16]), ((24, 8), np.s_[8:16])])
def test_an_image_is_cropped_to_its_centre_square(pets, tmp_path, shape, middle):
    pixels = np.zeros((*shape, 3), np.uint8)
    pixels[middle] = 200
    Image.fromarray(pixels).save(tmp_path / "dog" / "wide.bmp")
    np.testing.assert_array_equal(load_dataset(pets).splits["test"].pixels_NHWC[-1], 200)


def test_images_of_all_sizes_are_resized_to_one(pets, tmp_path):
    for side in (1, 5, 300):
        Image.new("RGB", (side, side), (10, 20, 30)).save(tmp_path / "dog" / f"side{side}.png")
    pixels = load_dataset(replace(pets, size=16)).splits["test"].pixels_NHWC
    assert pixels.shape == (8, 16, 16, 3)
    assert (pixels[-3:] == (10, 20, 30)).all()


def test_every_file_that_cannot_be_read_is_named(pets, tmp_path):
    (tmp_path / "cat" / "half.png").write_bytes((tmp_path / "cat" / "0.png").read_bytes()[:60])
    (tmp_path / "dog" / "empty.jpg").write_bytes(b"")
    with pytest.raises(
        DatasetError, match=r"2 files are no readable images: .*cat/half\.png, .*dog/empty\.jpg"
    ) as caught:
        load_dataset(pets)
    assert caught.value.key == "source"


@pytest.mark.parametrize("mode", ["L", "RGBA", "P", "1", "CMYK"])
def test_an_image_of_any_mode_becomes_rgb(pets, tmp_path, mode):
    suffix = "tif" if mode == "CMYK" else "png"
    Image.new(mode, (8, 8)).save(tmp_path / "cat" / f"odd.{suffix}")
    assert load_dataset(replace(pets, name=mode)).splits["test"].pixels_NHWC.shape == (6, 8, 8, 3)


def test_a_picture_that_lies_on_its_side_is_turned_upright(pets, tmp_path):
    pixels = np.zeros((8, 8, 3), np.uint8)
    pixels[:4] = 255
    exif = Image.Exif()
    exif[0x0112] = 3  # turned by 180 degrees
    Image.fromarray(pixels).save(tmp_path / "cat" / "0.png", exif=exif)
    np.testing.assert_array_equal(load_dataset(pets).splits["test"].pixels_NHWC[0], pixels[::-1])


def test_files_that_are_no_images_by_name_are_left_out(pets, tmp_path):
    (tmp_path / "cat" / "notes.txt").write_text("mine")
    (tmp_path / "readme.md").write_text("mine")
    assert len(load_dataset(pets).splits["test"].ids_N) == 5


@pytest.mark.parametrize("content", ["no folder", "no classes", "one class", "empty classes"])
def test_a_folder_that_is_no_dataset_is_refused(pets, tmp_path, write_images, content):
    root = tmp_path / "other"
    if content != "no folder":
        root.mkdir()
    if content == "one class":
        write_images(root, {"cat": 2})
    if content == "empty classes":
        write_images(root, {"cat": 2, "dog": 0})
    expected = {
        "no folder": "does not exist; built-in sources are sklearn:digits, rendered:digits",
        "no classes": "expected at least two class folders with images in .*, got 0 images in 0 folders",
        "one class": "got 2 images in 1 folders",
        "empty classes": "got 2 images in 2 folders",
    }
    with pytest.raises(DatasetError, match=expected[content]) as caught:
        load_dataset(replace(pets, source=str(root)))
    assert caught.value.key == "source"
