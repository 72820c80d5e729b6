"""Bad images of every kind are found before anything runs, and only once."""

import functools
import io
import os
import shutil
import subprocess
import sys
import zlib
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from overlap.datasets import _load_source, image_check, load_dataset, load_examples
from overlap.datasets.image_check import check_images, find_duplicates, shared_images, skip_or_fail, sound_dataset
from overlap.errors import DatasetError
from overlap.spec import DatasetSpec


def picture(seed=0, kind="JPEG", side=64, **options):
    blocks = np.random.default_rng(seed).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(blocks).resize((side, side)).save(buffer, kind, **options)
    return buffer.getvalue()


@functools.cache
def bomb(side):
    """A PNG that declares side² grey pixels and is a few kilobytes long."""

    def chunk(kind, content):
        return len(content).to_bytes(4, "big") + kind + content + zlib.crc32(kind + content).to_bytes(4, "big")

    header = side.to_bytes(4, "big") * 2 + bytes([8, 0, 0, 0, 0])
    packer = zlib.compressobj(1)
    rows = b"".join(packer.compress(bytes(side + 1)) for _ in range(side)) + packer.flush()
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


BAD = {
    "empty.jpg": (b"", "it is empty"),
    "page.jpg": (b"\n<!DOCTYPE html><html>404</html>", "it is an HTML page"),
    "page2.jpg": (b"<html>403</html>", "it is an HTML page"),
    "text.png": (b"not found", "it is none of JPEG, PNG, WEBP, BMP, GIF, TIFF, PPM, or its header is damaged"),
    "half.jpg": (picture(1)[: len(picture(1)) // 2], "truncated"),
    "almost.jpg": (picture(2)[:-2], "truncated"),
    "progressive.jpg": (picture(3, progressive=True)[:-200], "truncated"),
    "half.png": (picture(4, "PNG")[:-40], "truncated"),
    "half.webp": (picture(5, "WEBP")[:-40], ""),
    "header.jpg": (picture(6)[:20], ""),
    "icon.png": (picture(7, "ICO"), "it is none of"),
    "flipped.png": (picture(8, "PNG")[:60] + b"\0" * 20 + picture(8, "PNG")[80:], ""),
    "large.png": (bomb(8_001), "it declares more than 64 million pixels: 8001 x 8001"),
    "bomb.png": (bomb(12_000), "it declares more than 64 million pixels"),
}  # fmt: skip
GOOD = {
    "a.jpg": picture(20),
    "b.png": picture(21, "PNG"),
    "c.webp": picture(22, "WEBP"),
    "d.bmp": picture(23, "BMP"),
    "e.gif": picture(24, "GIF"),
    "f.tiff": picture(25, "TIFF"),
    "g.ppm": picture(26, "PPM"),
    "one.png": picture(27, "PNG", side=1),
    "png-as.jpg": picture(28, "PNG"),
    "tall.jpg": picture(29, side=2000),
}


@pytest.fixture
def root(tmp_path):
    for folder in ("cat", "dog"):
        (tmp_path / "pets" / folder).mkdir(parents=True)
    for i, (name, content) in enumerate(GOOD.items()):
        (tmp_path / "pets" / ("cat", "dog")[i % 2] / name).write_bytes(content)
    return tmp_path / "pets"


@pytest.fixture
def spec(root):
    return DatasetSpec(name="pets", source=str(root), splits=(("test", None),), seed=0, samples=None)


def examples_of(spec, cache=None):
    load_dataset.cache_clear()
    _load_source.cache_clear()
    return load_examples(spec, cache)


def check(spec, cache=None):
    return check_images(examples_of(spec, cache), cache=cache, threads=2)


def test_images_of_every_kind_that_can_be_read_are_good(spec, root):
    for mode in ("1", "L", "LA", "P", "RGBA"):
        Image.open(io.BytesIO(GOOD["b.png"])).convert(mode).save(root / "dog" / f"{mode}.png")
    Image.open(io.BytesIO(GOOD["b.png"])).convert("RGBA").quantize().save(root / "dog" / "transparent.png")
    Image.open(io.BytesIO(GOOD["b.png"])).convert("CMYK").save(root / "dog" / "cmyk.jpg")
    Image.fromarray(np.arange(64, dtype=np.uint16).reshape(8, 8) * 999).save(root / "dog" / "deep.png")
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.open(io.BytesIO(GOOD["b.png"])).save(root / "dog" / "turned.jpg", exif=exif)
    examples = examples_of(spec)
    assert check_images(examples, cache=None, threads=2) == []
    for position in range(len(examples.ids_N)):
        assert examples.pictures.open(position).mode == "RGB"


@pytest.mark.parametrize("name", BAD)
def test_an_image_that_cannot_be_read_is_found_and_told(spec, root, name):
    content, reason = BAD[name]
    (root / "dog" / name).write_bytes(content)
    examples = examples_of(spec)
    (found,) = check_images(examples, cache=None, threads=2)
    assert found.where == str(root / "dog" / name)
    assert reason in found.reason
    assert found.reason
    assert "BytesIO" not in found.reason
    position = examples.ids_N.tolist().index(found.id)
    with pytest.raises(OSError, match="is no readable image"):
        examples.pictures.open(position)


def test_links_to_nothing_are_found(spec, root):
    (root / "cat" / "gone.jpg").symlink_to(root / "nowhere.jpg")
    (found,) = check(spec)
    assert (found.where, found.reason) == (
        str(root / "cat" / "gone.jpg"),
        "it cannot be read: No such file or directory",
    )


def test_a_bomb_costs_no_memory(tmp_path):
    for folder in "ab":
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "small.png").write_bytes(picture(ord(folder), "PNG"))
    (tmp_path / "a" / "bomb.png").write_bytes(bomb(12_000))
    script = f"""
import resource
from overlap.datasets import load_examples
from overlap.datasets.image_check import check_images
from overlap.spec import DatasetSpec
import PIL.PngImagePlugin
spec = DatasetSpec(name="x", source={str(tmp_path)!r}, splits=(("test", None),), seed=0, samples=None)
examples = load_examples(spec)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(len(check_images(examples, cache=None, threads=2)), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""
    done = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True)
    found, kib = done.stdout.split()
    assert (int(found), done.stderr) == (1, "")
    assert int(kib) < 50_000


def test_the_same_bytes_under_two_labels_are_bad_wherever_they_are(spec, root):
    for place in ("cat/x.jpg", "cat/y.jpg", "dog/z.jpg"):
        (root / place).write_bytes(GOOD["a.jpg"])  # a.jpg is a cat
    found = check(spec)
    assert [bad.where.rpartition("pets/")[2] for bad in found] == ["cat/a.jpg", "cat/x.jpg", "cat/y.jpg", "dog/z.jpg"]
    assert {bad.reason for bad in found} == {"the same bytes are labelled 'cat' and 'dog'"}


def test_the_same_bytes_under_one_label_are_told_and_not_bad(spec, root):
    for place in ("cat/x.jpg", "cat/y.jpg"):
        (root / place).write_bytes(GOOD["a.jpg"])
    examples = examples_of(spec)
    assert check_images(examples, cache=None, threads=2) == []
    ((first, *others),) = find_duplicates(examples)
    assert [examples.pictures.where(i)[-5:] for i in (first, *others)] == ["a.jpg", "x.jpg", "y.jpg"]
    assert sound_dataset(spec, None)[1] == [
        f"3 images are copies of 1 under the same label, such as {first}, {others[0]}, {others[1]}"
    ]


def test_images_in_two_splits_are_found(spec, root):
    (root / "cat" / "x.jpg").write_bytes(GOOD["a.jpg"])
    (copies,) = find_duplicates(examples_of(spec))
    for count in range(1, 11):
        splits = load_dataset(replace(spec, splits=(("train", count), ("test", None)))).splits
        apart = [tuple(i for i in copies if i in split.ids_N) for split in splits.values()]
        expected = [(apart[0][0], apart[1][0])] if all(apart) else []
        assert shared_images(splits["train"], splits["test"]) == expected


def test_a_leak_from_train_to_test_is_told(spec, root):
    for i in range(6):
        (root / "cat" / f"copy{i}.jpg").write_bytes(GOOD["a.jpg"])
    _, notes = sound_dataset(replace(spec, splits=(("train", 8), ("test", None))), None)
    assert len(notes) == 2
    assert "images of test are also in train, such as" in notes[1]


def test_bad_images_stop_a_sweep_with_the_first_five_named(spec, root):
    for i in range(7):
        (root / "dog" / f"bad{i}.jpg").write_bytes(b"<html>" + bytes([i]))
    with pytest.raises(DatasetError) as caught:
        sound_dataset(spec, None)
    message = str(caught.value)
    assert message.startswith(f"7 bad images in '{root}': {root}/dog/bad0.jpg: it is an HTML page; ")
    assert message.endswith("bad4.jpg: it is an HTML page …. Mend or remove, or write on_bad_image: skip to leave out")
    assert caught.value.key == "on_bad_image"


def test_or_they_are_left_out_for_all_alike(spec, root):
    before = load_dataset(spec).splits["test"].ids_N.tolist()
    (root / "cat" / "0bad.jpg").write_bytes(b"")
    examples_of(spec)
    kept, notes = sound_dataset(replace(spec, on_bad_image="skip"), None)
    assert kept.skip == (0,)
    assert notes == [f"1 left out as bad, the first {root}/cat/0bad.jpg: it is empty"]
    assert load_dataset(kept).splits["test"].ids_N.tolist() == [i + 1 for i in before]
    (root / "cat" / "1bad.jpg").write_bytes(b"")
    examples_of(spec)
    assert len(sound_dataset(replace(spec, on_bad_image="skip"), None)[1]) == 1  # two empty files are no copies
    assert skip_or_fail(spec, []) is spec


def test_a_second_check_decodes_nothing_and_finds_the_same(spec, root, tmp_path, monkeypatch):
    cache = tmp_path / "cache"
    (root / "dog" / "bad.jpg").write_bytes(BAD["half.jpg"][0])
    decoded = []
    inner = image_check.decode
    monkeypatch.setattr(image_check, "decode", lambda *args, **kwargs: decoded.append(1) or inner(*args, **kwargs))
    first = check(spec, cache)
    assert len(decoded) == len(GOOD) + 1
    shutil.copy(root / "cat" / "a.jpg", root / "cat" / "again.jpg")  # known by its bytes
    (root / "cat" / "new.jpg").write_bytes(picture(77))
    second = check(spec, cache)
    assert len(decoded) == len(GOOD) + 2
    assert [bad.where for bad in first] == [bad.where for bad in second] == [str(root / "dog" / "bad.jpg")]
    (path,) = (cache / "checked").glob("*.sealed")
    path.write_bytes(path.read_bytes()[:-1])
    check(spec, cache)
    assert len(decoded) == 2 * len(GOOD) + 4


def test_a_file_that_changes_between_index_and_check_is_an_error(spec, root):
    examples = examples_of(spec)
    (root / "cat" / "a.jpg").write_bytes(picture(99))
    with pytest.raises(DatasetError, match="has changed since the sweep was launched"):
        check_images(examples, cache=None, threads=2)


def test_a_damage_that_decodes_is_found_by_the_digest(spec, root):
    """A JPEG with a hundred zeroed bytes decodes without an error."""
    examples = examples_of(spec)
    path = root / "dog" / "tall.jpg"
    content, stamp = bytearray(path.read_bytes()), path.stat().st_mtime_ns
    content[5000:5100] = bytes(100)
    path.write_bytes(content)
    os.utime(path, ns=(stamp, stamp))
    position = [examples.pictures.where(i) for i in range(10)].index(str(path))
    with pytest.raises(DatasetError, match="has changed"):
        examples.pictures.open(position)


def test_pictures_in_memory_are_only_compared():
    digits = DatasetSpec(name="d", source="sklearn:digits", splits=(("test", None),), seed=0, samples=None)
    assert sound_dataset(digits, None) == (digits, [])
