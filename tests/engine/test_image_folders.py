"""Folders of images: the order of torchvision's ImageFolder, the pixels of timm's ImageDataset, and what is refused."""

import gc
import os
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from overlap.datasets import load_dataset, load_examples
from overlap.datasets.label_spaces import label_space, real_labels
from overlap.errors import DatasetError
from overlap.spec import DatasetSpec

PETS = DatasetSpec(name="pets", source="", splits=(("test", None),), seed=0, samples=None)


def folder(path, **changes):
    return replace(PETS, source=str(path), **changes)


@pytest.fixture
def pets(tmp_path, write_images):
    write_images(tmp_path / "pets", {"dog": 2, "cat": 3})
    return folder(tmp_path / "pets")


def paths(examples):
    return [examples.pictures.where(i) for i in range(len(examples.pictures))]


def test_a_folder_has_a_class_for_each_subfolder_in_alphabetical_order(pets):
    dataset = load_dataset(pets)
    split = dataset.splits["test"]
    assert dataset.class_names == ("cat", "dog")
    assert split.labels_N.tolist() == [0, 0, 0, 1, 1]
    assert split.ids_N.tolist() == [0, 1, 2, 3, 4]


def test_order_and_labels_are_those_of_torchvision(tmp_path, write_images):
    from torchvision.datasets import ImageFolder

    write_images(tmp_path, {"b": 12, "a": 1, "B": 1, "a b": 1, "a/x": 2, "a/x y": 1, "a/x/z": 1, "10": 1, "9": 1})
    (tmp_path / "b" / "Ä.JPG").write_bytes((tmp_path / "b" / "0.png").read_bytes())
    (tmp_path / "a" / "link").symlink_to(tmp_path / "b")
    expected = ImageFolder(str(tmp_path))
    examples = load_examples(folder(tmp_path))
    assert paths(examples) == [path for path, _ in expected.samples]
    assert examples.labels_N.tolist() == expected.targets
    assert list(examples.class_names) == expected.classes


@pytest.mark.filterwarnings("ignore:Palette images with Transparency:UserWarning")
@pytest.mark.filterwarnings("ignore::ResourceWarning")  # timm leaves files open
@pytest.mark.parametrize("mode", ["RGB", "L", "RGBA", "LA", "P", "P transparent", "1", "CMYK", "I;16", "turned"])
def test_pixels_of_every_kind_are_those_of_timm(pets, tmp_path, mode):
    from timm.data.dataset import ImageDataset

    path = tmp_path / "pets" / "cat" / "odd.png"
    noise = np.random.default_rng(0).integers(0, 256, (9, 7, 4), dtype=np.uint8)
    if mode == "I;16":
        Image.fromarray(noise[..., :2].copy().view(np.uint16)[..., 0]).save(path)
    elif mode == "CMYK":
        path = path.with_suffix(".jpg")
        Image.fromarray(noise, "RGBA").convert("RGB").convert("CMYK").save(path)
    elif mode == "turned":
        exif = Image.Exif()
        exif[0x0112] = 3
        Image.fromarray(noise[..., :3].copy()).save(path, exif=exif)
    elif mode == "P transparent":
        Image.fromarray(noise, "RGBA").quantize().save(path)
    else:
        Image.fromarray(noise, "RGBA").convert(mode.split()[0]).save(path)
    examples = load_examples(pets)
    position = paths(examples).index(str(path))
    ours = examples.pictures.open(position)
    theirs = ImageDataset(str(tmp_path / "pets"))
    theirs = theirs[[name for name, _ in theirs.reader.samples].index(str(path))][0]
    gc.collect()
    assert (ours.mode, ours.size) == (theirs.mode, theirs.size) == ("RGB", (7, 9))
    np.testing.assert_array_equal(np.asarray(ours), np.asarray(theirs))


def test_what_is_hidden_or_no_image_by_name_is_left_out(pets, tmp_path):
    root = tmp_path / "pets"
    (root / "cat" / "notes.txt").write_text("mine")
    (root / "cat" / "._0.png").write_text("a resource fork")
    (root / "cat" / "pipe.png").mkdir()
    os.mkfifo(root / "cat" / "fifo.png")
    (root / ".git").mkdir()
    (root / "readme.md").write_text("mine")
    examples = load_examples(pets)
    assert len(examples.ids_N) == 5
    assert examples.class_names == ("cat", "dog")


def test_a_link_back_to_a_folder_above_is_not_followed_for_ever(pets, tmp_path):
    (tmp_path / "pets" / "cat" / "again").symlink_to(tmp_path / "pets" / "cat")
    assert len(load_examples(pets).ids_N) == 5


def test_a_folder_that_cannot_be_listed_is_an_error_and_not_an_empty_class(pets, tmp_path, monkeypatch):
    (tmp_path / "pets" / "cat" / "locked").mkdir()
    scan = os.scandir

    def refuse(path):
        if str(path).endswith("locked"):
            raise PermissionError(13, "Permission denied")
        return scan(path)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(DatasetError, match=r"cannot list the folder '.*cat/locked': Permission denied"):
        load_examples(pets)


@pytest.mark.parametrize("content", ["no folder", "no classes", "one class", "empty classes", "loose", "splits"])
def test_a_folder_that_is_no_dataset_is_refused(tmp_path, write_images, content):
    root = tmp_path / "other"
    if content != "no folder":
        root.mkdir()
    counts = {
        "one class": {"cat": 2},
        "empty classes": {"cat": 2, "dog": 0},
        "loose": {"cat": 0},
        "splits": {"train/cat": 1, "train/dog": 1, "val/cat": 1},
    }
    write_images(root, counts.get(content, {}))
    if content == "loose":
        Image.new("RGB", (8, 8)).save(root / "a.png")
    expected = {
        "no folder": "does not exist; built-in sources are sklearn:digits, rendered:digits, .*, parquet:…",
        "no classes": "expected at least two class folders with images in .*, got 0 images in 0 folders",
        "one class": "got 2 images in 1 folders",
        "empty classes": "got 2 images in 2 folders",
        "loose": "got 0 images in 1 folders and 1 beside them",
        "splits": "are splits, not classes: train, val; give one of them, such as .*other/train",
    }
    with pytest.raises(DatasetError, match=expected[content]) as caught:
        load_dataset(folder(root))
    assert caught.value.key == "source"


def test_names_that_are_no_utf_8_can_be_files_but_no_classes(pets, tmp_path):
    odd = os.fsdecode(b"\xff.png")
    (tmp_path / "pets" / "cat" / odd).write_bytes((tmp_path / "pets" / "cat" / "0.png").read_bytes())
    examples = load_examples(pets)
    assert paths(examples)[3] == f"{tmp_path}/pets/cat/\\xff.png"
    assert examples.pictures.open(3).size == (8, 8)
    (tmp_path / "pets" / odd).mkdir()
    with pytest.raises(DatasetError, match=r"expected readable names of class folders in '.*', got '.udcff\.png'"):
        load_examples(replace(pets, seed=1))


def test_a_file_that_changes_after_it_was_indexed_is_noticed(pets, tmp_path):
    examples = load_examples(pets)
    path = tmp_path / "pets" / "cat" / "1.png"
    before, old = path.stat(), path.read_bytes()
    Image.new("RGB", (8, 8), (1, 2, 3)).save(path)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    with pytest.raises(DatasetError, match=r"cat/1\.png' has changed since the sweep was launched: put the old file"):
        examples.pictures.open(1)
    path.write_bytes(old)
    assert examples.pictures.open(1).size == (8, 8)
    path.unlink()
    with pytest.raises(FileNotFoundError):
        examples.pictures.open(1)


# --- ImageNet and its relatives


SPACE = label_space("imagenet-1k")


@pytest.mark.parametrize("classes", ["imagenet-1k", ""])
def test_folders_of_wordnet_ids_keep_their_names(tmp_path, write_images, classes):
    """The validation set, ImageNet-A, -R and Sketch."""
    write_images(tmp_path, {SPACE[i]: 1 for i in (999, 5, 400)})
    examples = load_examples(folder(tmp_path, classes=classes))
    assert examples.class_names == (SPACE[5], SPACE[400], SPACE[999])
    assert examples.labels_N.tolist() == [0, 1, 2]


def test_numbered_folders_are_classes_by_number_and_not_by_alphabet(tmp_path, write_images):
    """ImageNet-V2: 0, 1, 10, 100, 2 is the order of its folders."""
    write_images(tmp_path, {str(i): 1 for i in range(12)} | {"100": 2})
    examples = load_examples(folder(tmp_path, classes="imagenet-1k"))
    assert examples.class_names == (*SPACE[:12], SPACE[100])
    by_path = dict(zip(paths(examples), examples.labels_N.tolist(), strict=True))
    assert by_path[str(tmp_path / "10" / "0.png")] == 10
    assert by_path[str(tmp_path / "2" / "0.png")] == 2
    assert by_path[str(tmp_path / "100" / "1.png")] == 12


def test_folders_called_by_words_are_found_where_the_words_are_of_one_class_only(tmp_path, write_images):
    write_images(tmp_path, {"tench": 1, "Goldfish": 1, "great white shark": 1})
    examples = load_examples(folder(tmp_path, classes="imagenet-1k"))
    assert examples.class_names == SPACE[:3]
    assert examples.labels_N.tolist() == [1, 2, 0]  # Goldfish, great white shark, tench


@pytest.mark.parametrize(
    ("names", "classes", "expected"),
    [
        (("0", "1000"), "imagenet-1k", "1 of 2 classes are none of the 1,000 expected: '1000'"),
        (("tench", "crane"), "imagenet-1k", "'crane'"),
        (("1", "01"), "imagenet-1k", "'01', '1' are all 'n01443537'"),
        (("0", "1"), "imagenet-2k", "'imagenet-2k' is no label space; did you mean 'imagenet-"),
    ],
)
def test_folders_that_are_not_of_the_label_space_are_refused(tmp_path, write_images, names, classes, expected):
    write_images(tmp_path, dict.fromkeys(names, 1))
    with pytest.raises(DatasetError, match=expected) as caught:
        load_examples(folder(tmp_path, classes=classes))
    assert caught.value.key == "classes"


@pytest.mark.parametrize("flat", [True, False])
def test_real_labels_replace_the_folders_and_only_images_with_one_are_kept(tmp_path, flat):
    real = real_labels()
    numbers = [1, 2, 3, 4, 293]
    for number in numbers:
        path = tmp_path / ("" if flat else SPACE[number]) / f"ILSVRC2012_val_{number:08d}.JPEG"
        path.parent.mkdir(exist_ok=True)
        Image.new("RGB", (8, 8), (number % 256, 0, 0)).save(path, "JPEG")
    examples = load_examples(folder(tmp_path, labels="real"))
    kept = [number for number in numbers if len(real[number - 1]) == 1]
    assert 0 < len(kept) < len(numbers)
    assert [int(path[-13:-5]) for path in paths(examples)] == kept
    assert examples.labels_N.tolist() == [real[number - 1][0] for number in kept]
    assert examples.ids_N.tolist() == [numbers.index(number) for number in kept]
    assert examples.class_names == SPACE
    assert sum(len(labels) == 1 for labels in real) == 39_394


def test_real_labels_need_the_validation_set(pets):
    with pytest.raises(DatasetError, match=r"named like ILSVRC2012_val_00000293\.JPEG; got .*cat/0\.png") as caught:
        load_examples(replace(pets, labels="real"))
    assert caught.value.key == "labels"
    with pytest.raises(DatasetError, match="needs a folder"):
        load_examples(replace(pets, source="sklearn:digits", labels="real"))
