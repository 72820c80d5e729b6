"""Parquet, WebDataset and timm's factory: labels, names, bytes and order as their own writers put them."""

import gc
import io
import json
import tarfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from overlap.datasets import _load_source, load_examples
from overlap.datasets.label_spaces import label_space, lemmas
from overlap.datasets.shards import expand_braces, find_shards
from overlap.errors import DatasetError
from overlap.spec import DatasetSpec

SPEC = DatasetSpec(name="d", source="", splits=(("test", None),), seed=0, samples=None)
LABELS = [1, 0, 1, 2, 0, 2, 1]


pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")  # timm and webdataset leave files open


@pytest.fixture
def _closed():
    """No file stays open into the next test."""
    yield
    _load_source.cache_clear()
    gc.collect()


def encoded(seed, kind="PNG"):
    pixels = np.random.default_rng(seed).integers(0, 256, (6, 5, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, kind)
    return buffer.getvalue()


IMAGES = [encoded(i) for i in range(len(LABELS))]


def load(source, cache=None, **changes):
    return load_examples(replace(SPEC, source=source, **changes), cache)


def assert_holds(examples, images=IMAGES, labels=LABELS):
    assert examples.labels_N.tolist() == labels
    assert examples.ids_N.tolist() == list(range(len(labels)))
    assert (len(examples.pictures), examples.digests_N.shape) == (len(labels), (len(labels), 32))
    for position in reversed(range(len(labels))):
        expected = np.asarray(Image.open(io.BytesIO(images[position])).convert("RGB"))
        np.testing.assert_array_equal(np.asarray(examples.pictures.open(position)), expected)


# --- Parquet


def write_parquet(path, images=IMAGES, labels=LABELS, *, names=None, struct=True, column="label", rows=3):
    values = [{"bytes": image, "path": f"{i}.png"} for i, image in enumerate(images)] if struct else images
    table = pa.table({"image": values, column: labels, "extra": list(range(len(labels)))})
    if names:
        feature = {"names": list(names), "_type": "ClassLabel"}
        info = {"info": {"features": {"image": {"_type": "Image"}, column: feature}}}
        table = table.replace_schema_metadata({"huggingface": json.dumps(info)})
    pq.write_table(table, path, row_group_size=rows)


@pytest.mark.parametrize("struct", [True, False])
def test_rows_of_parquet_are_examples_in_their_order(tmp_path, struct):
    write_parquet(tmp_path / "b.parquet", IMAGES[4:], LABELS[4:], names=("x", "y", "z"), struct=struct)
    write_parquet(tmp_path / "a.parquet", IMAGES[:4], LABELS[:4], names=("x", "y", "z"), struct=struct)
    examples = load(f"parquet:{tmp_path}")
    assert_holds(examples)
    assert examples.class_names == ("x", "y", "z")
    assert examples.pictures.where(5) == f"{tmp_path}/b.parquet row 1"
    assert load(f"parquet:{tmp_path}/a*.parquet").labels_N.tolist() == LABELS[:4]
    again = load(f"parquet:{tmp_path}/{{a,b}}.parquet", tmp_path / "cache")
    assert_holds(again)


def test_what_hugging_face_writes_is_read_with_its_class_names(tmp_path):
    datasets = pytest.importorskip("datasets")
    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=["b", "a", "c"])})
    table = datasets.Dataset.from_dict(
        {"image": [{"bytes": image, "path": None} for image in IMAGES], "label": LABELS}, features=features
    )
    table.to_parquet(tmp_path / "test.parquet")
    examples = load(f"parquet:{tmp_path}/test.parquet")
    assert_holds(examples)
    assert examples.class_names == ("b", "a", "c")


def test_words_as_labels_are_classes_in_alphabetical_order(tmp_path):
    write_parquet(tmp_path / "a.parquet", labels=["dog", "cat", "dog", "emu", "cat", "emu", "dog"], column="labels")
    examples = load(f"parquet:{tmp_path}/a.parquet")
    assert examples.class_names == ("cat", "dog", "emu")
    assert_holds(examples)


def test_numbers_without_names_are_called_by_their_numbers_or_by_a_label_space(tmp_path):
    write_parquet(tmp_path / "a.parquet")
    assert load(f"parquet:{tmp_path}/a.parquet").class_names == ("0", "1", "2")
    examples = load(f"parquet:{tmp_path}/a.parquet", classes="imagenet-1k")
    assert examples.class_names == label_space("imagenet-1k")
    assert_holds(examples)


def test_hugging_faces_words_for_imagenet_become_wordnet_ids(tmp_path):
    space = label_space("imagenet-1k")
    write_parquet(tmp_path / "a.parquet", names=lemmas(space))
    examples = load(f"parquet:{tmp_path}/a.parquet", classes="imagenet-1k")
    assert examples.class_names == space
    assert_holds(examples)
    write_parquet(tmp_path / "b.parquet", names=("goldfish", "tench", "great white shark"))
    turned = load(f"parquet:{tmp_path}/b.parquet", classes="imagenet-1k")
    assert turned.class_names == space[:3]
    assert turned.labels_N.tolist() == [{1: 0, 0: 1, 2: 2}[label] for label in LABELS]


def test_only_the_row_groups_asked_for_are_read_and_few_are_kept(tmp_path, monkeypatch):
    from overlap.datasets import parquet

    write_parquet(tmp_path / "a.parquet")
    examples = load(f"parquet:{tmp_path}/a.parquet")
    read = []
    inner = parquet._images
    monkeypatch.setattr(
        parquet, "_images", lambda file, group, column: read.append(group) or inner(file, group, column)
    )
    for position in (0, 2, 1, 4, 0, 3):
        examples.pictures.open(position)
    assert read == [0, 1]
    monkeypatch.setattr(parquet, "_KEPT_BYTES", 1)
    for position in (6, 0, 6):
        examples.pictures.open(position)
    assert read == [0, 1, 2, 0, 2]


@pytest.mark.parametrize(
    ("damage", "expected"),
    [
        ({"labels": [0, 1, None, 0, 1, 0, 1]}, "row 2 of '.*' has no label"),
        ({"labels": [-1] * 7}, "expected labels from 0, got -1 in '.*': are its labels kept secret"),
        ({"names": ("x", "y")}, "expected labels below 2, got 2"),
        ({"labels": [0.5] * 7}, "expected whole numbers or words in column 'label' of '.*', got double"),
        ({"column": "target"}, "expected columns image and label in '.*', got image, target, extra"),
        (
            {"images": ["x"] * 7, "struct": False},
            "expected encoded images as bytes in column 'image' of '.*', got string",
        ),
        ({"labels": [0] * 7, "names": ("x",)}, "expected at least two classes in '.*', got one"),
        ({"labels": [], "images": []}, "expected"),
    ],
)
def test_parquet_that_is_no_labelled_dataset_is_refused(tmp_path, damage, expected):
    write_parquet(tmp_path / "a.parquet", **damage)
    with pytest.raises(DatasetError, match=expected):
        load(f"parquet:{tmp_path}/a.parquet")


def test_a_folder_stands_for_the_files_in_it_and_below_but_not_for_hidden_ones(tmp_path):
    for place in ("a/b.parquet", "a/a.parquet", "b.parquet", ".cache/x.parquet", "a/.x.parquet"):
        (tmp_path / place).parent.mkdir(exist_ok=True)
        (tmp_path / place).touch()
    (tmp_path / "folder.parquet").mkdir()
    found = [path.removeprefix(f"{tmp_path}/") for path in find_shards(str(tmp_path), ".parquet")]
    assert found == ["a/a.parquet", "a/b.parquet", "b.parquet"]


def test_files_that_are_missing_damaged_or_disagree_are_named(tmp_path):
    write_parquet(tmp_path / "a.parquet", names=("x", "y", "z"))
    write_parquet(tmp_path / "b.parquet", names=("x", "z", "y"))
    (tmp_path / "half.parquet").write_bytes((tmp_path / "a.parquet").read_bytes()[:-20])
    for source, expected in {
        "none.parquet": "file '.*none.parquet' does not exist",
        "*.par": r"expected \*.parquet files at '.*\*.par', got none",
        "half.parquet": "half.parquet' cannot be read as Parquet",
        "{a,b}.parquet": "b.parquet' has other classes than '.*a.parquet'",
    }.items():
        with pytest.raises(DatasetError, match=expected):
            load(f"parquet:{tmp_path}/{source}")


def test_a_parquet_file_that_changes_is_noticed(tmp_path):
    write_parquet(tmp_path / "a.parquet")
    examples = load(f"parquet:{tmp_path}/a.parquet")
    write_parquet(tmp_path / "a.parquet", [encoded(99), *IMAGES[1:]])
    with pytest.raises(DatasetError, match=r"a.parquet row 0' has changed since the sweep was launched"):
        examples.pictures.open(0)
    write_parquet(tmp_path / "a.parquet", IMAGES[:2], LABELS[:2])
    with pytest.raises(OSError, match=r"a.parquet row 6' cannot be read"):
        examples.pictures.open(6)


# --- WebDataset


def write_tar(path, samples):
    with tarfile.open(path, "w") as tar:
        for name, content in samples:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))


def plain_samples(start, stop):
    for i in range(start, stop):
        yield f"{i:04d}.png", IMAGES[i]
        yield f"{i:04d}.cls", str(LABELS[i]).encode()


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.usefixtures("_closed")
def test_what_the_webdataset_package_writes_is_read_as_it_reads_it(tmp_path):
    wds = pytest.importorskip("webdataset")
    for shard, rows in enumerate((range(4), range(4, 7))):
        with wds.TarWriter(str(tmp_path / f"test-{shard:06d}.tar")) as writer:
            for i in rows:
                extra = {"json": {"note": "label is in cls"}}
                writer.write({"__key__": f"dir/{i:04d}", "png": IMAGES[i], "cls": LABELS[i], **extra})
    pattern = str(tmp_path / "test-{000000..000001}.tar")
    examples = load(f"webdataset:{pattern}")
    assert_holds(examples)
    theirs = list(wds.WebDataset(pattern, shardshuffle=False, empty_check=False))
    assert [int(sample["cls"]) for sample in theirs] == examples.labels_N.tolist()
    assert [examples.pictures.read(i) for i in range(7)] == [sample["png"] for sample in theirs]
    assert examples.pictures.where(4) == f"{tmp_path}/test-000001.tar:dir/0004.png"


def test_labels_may_be_in_json_and_names_in_a_file_beside_the_tars(tmp_path):
    samples = []
    for i in range(7):
        kind = ("jpg", "webp", "IMG.PNG")[i % 3]
        samples += [(f"{i}.{kind}", IMAGES[i]), (f"{i}.json", json.dumps({"label": LABELS[i]}).encode())]
    write_tar(tmp_path / "a.tar", [("._0.jpg", b"a resource fork"), *samples])
    assert load(f"webdataset:{tmp_path}/a.tar").class_names == ("0", "1", "2")
    (tmp_path / "classes.txt").write_text("cat\ndog\n\nemu\n")
    examples = load(f"webdataset:{tmp_path}/*.tar")
    assert examples.class_names == ("cat", "dog", "emu")
    assert_holds(examples)


def test_words_in_cls_are_classes(tmp_path):
    words = ("n01443537", "n01440764", "n01484850")
    samples = [part for i in range(7) for part in ((f"{i}.png", IMAGES[i]), (f"{i}.cls", words[LABELS[i]].encode()))]
    write_tar(tmp_path / "a.tar", samples)
    examples = load(f"webdataset:{tmp_path}/a.tar", classes="imagenet-1k")
    assert examples.class_names == tuple(sorted(words))
    assert [examples.class_names[i] for i in examples.labels_N] == [words[i] for i in LABELS]


@pytest.mark.parametrize(
    ("samples", "expected"),
    [
        ([("a.png", IMAGES[0])], r"sample 'a' in '.*a.tar' has no label \(.cls, or .json with 'label'\)"),
        ([("d/a.png", IMAGES[0]), ("d/a.json", b"{")], "sample 'd/a' in '.*a.tar' has no label"),
        ([("a.cls", b"0")], "sample 'a' in '.*a.tar' has no image"),
        ([("a.png", IMAGES[0]), ("a.cls", b"-1")], "expected labels from 0, got -1"),
        ([], "no labelled images"),
    ],
)
def test_a_tar_with_broken_samples_is_refused(tmp_path, samples, expected):
    write_tar(tmp_path / "a.tar", samples)
    with pytest.raises(DatasetError, match=expected):
        load(f"webdataset:{tmp_path}/a.tar")


@pytest.mark.parametrize("damage", ["cut in an image", "cut between members", "zipped", "damaged header"])
def test_a_tar_that_is_not_whole_is_refused(tmp_path, damage):
    path = tmp_path / "a.tar"
    write_tar(path, plain_samples(0, 7))
    whole = path.read_bytes()
    with tarfile.open(path) as tar:
        places = [member.offset for member in tar]
    content = {
        "cut in an image": whole[: places[-2] + 700],
        "cut between members": whole[: places[4]],
        "damaged header": whole[: places[4]] + b"x" * 512 + whole[places[4] + 512 :],
    }
    if damage == "zipped":
        with tarfile.open(path, "w:gz") as tar:
            tar.addfile(tarfile.TarInfo("0.png"))
    else:
        path.write_bytes(content[damage])
    with pytest.raises(DatasetError, match=r"a.tar' (is cut off or damaged|cannot be read as a plain tar file)"):
        load(f"webdataset:{path}")


def test_a_tar_that_changes_is_noticed(tmp_path):
    path = tmp_path / "a.tar"
    write_tar(path, plain_samples(0, 7))
    examples = load(f"webdataset:{path}")
    write_tar(path, [("0000.png", encoded(99)), *list(plain_samples(0, 7))[1:]])
    with pytest.raises(DatasetError, match=r"a.tar:0000.png' has changed"):
        examples.pictures.open(0)
    path.write_bytes(b"")
    with pytest.raises(DatasetError, match="has changed"):
        examples.pictures.open(3)


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("a", ["a"]),
        ("{0..2}", ["0", "1", "2"]),
        ("{08..10}.tar", ["08.tar", "09.tar", "10.tar"]),
        ("{2..1}", ["2", "1"]),
        ("{a,b}{1..2}", ["a1", "a2", "b1", "b2"]),
        ("{a,{b,c}}", ["a", "b", "c"]),
        ("{a}", ["{a}"]),
        ("x{,y}", ["x", "xy"]),
    ],
)
def test_braces_stand_for_what_they_do_in_a_shell(pattern, expected):
    assert sorted(expand_braces(pattern)) == sorted(expected)
    if "{a,{" not in pattern:
        assert expand_braces(pattern) == expected


def test_braces_that_stand_for_too_much_are_refused():
    with pytest.raises(DatasetError, match="more than 1,000,000 files"):
        expand_braces("{0..99999999999}")


# --- scikit-learn's faces


def test_faces_are_read_where_scikit_learn_has_put_them(tmp_path, monkeypatch):
    import joblib

    monkeypatch.setenv("SCIKIT_LEARN_DATA", str(tmp_path))
    with pytest.raises(DatasetError, match="must be downloaded first, on every node: python -c"):
        load("sklearn:olivetti_faces")
    levels = np.random.default_rng(0).integers(0, 256, (400, 4096))
    joblib.dump((levels / 255).astype(np.float32), tmp_path / "olivetti_py3.pkz", compress=6)
    examples = load("sklearn:olivetti_faces")
    upright = levels.reshape(400, 64, 64).transpose(0, 2, 1)  # as scikit-learn turns them
    np.testing.assert_array_equal(examples.pictures.pixels_NHWC[..., 0], upright)
    assert (len(examples.class_names), np.bincount(examples.labels_N).tolist()) == (40, [10] * 40)


# --- timm's factory


@pytest.fixture
def flowers(tmp_path):
    for i, label in enumerate(LABELS):
        for split in ("train", "val"):
            path = tmp_path / "data" / split / ("rose", "tulip", "daisy")[label] / f"{split}{i}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(encoded(i + 100 * (split == "val")))
    return tmp_path / "data"


@pytest.mark.usefixtures("_closed")
def test_a_folder_through_timm_is_what_timm_gives(flowers, tmp_path):
    from timm.data.dataset_factory import create_dataset

    theirs = create_dataset("", root=str(flowers), split="validation")
    examples = load(f"timm:?root={flowers}&split=validation", tmp_path / "cache")
    assert examples.class_names == ("daisy", "rose", "tulip")
    assert examples.labels_N.tolist() == [label for _, label in theirs.reader.samples]
    for position, (path, _) in enumerate(theirs.reader.samples):
        assert examples.pictures.where(position) == path
        assert examples.pictures.read(position) == Path(path).read_bytes()
        assert examples.pictures.open(position).mode == "RGB"


@pytest.mark.usefixtures("_closed")
def test_a_tar_of_class_folders_through_timm_can_be_read_from_many_threads(flowers, tmp_path):
    from concurrent.futures import ThreadPoolExecutor

    with tarfile.open(tmp_path / "all.tar", "w") as tar:
        tar.add(flowers / "train", arcname=".")
    examples = load(f"timm:tar?root={tmp_path}/all.tar")
    assert examples.class_names == ("daisy", "rose", "tulip")
    with ThreadPoolExecutor(8) as pool:
        pictures = list(pool.map(examples.pictures.open, list(range(7)) * 20))
    for i in range(7):
        np.testing.assert_array_equal(np.asarray(pictures[i]), np.asarray(pictures[i + 133]))


@pytest.mark.usefixtures("_closed")
def test_decoded_datasets_of_torchvision_are_read_as_rgb_and_watched(flowers):
    examples = load(f"timm:torch/folder?root={flowers}&split=train")
    assert examples.class_names == ("daisy", "rose", "tulip")
    assert np.bincount(examples.labels_N).tolist() == [2, 2, 3]
    assert examples.pictures.open(0).mode == "RGB"
    first = flowers / "train" / "daisy" / "train3.png"
    first.write_bytes(encoded(999))
    with pytest.raises(DatasetError, match="picture 0 has changed"):
        examples.pictures.open(0)


@pytest.mark.usefixtures("_closed")
def test_hugging_face_datasets_on_this_disk_come_through_timm(tmp_path, monkeypatch):
    datasets = pytest.importorskip("datasets")
    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=["b", "a", "c"])})
    rows = {"image": [{"bytes": image, "path": None} for image in IMAGES], "label": LABELS}
    (tmp_path / "hf").mkdir()
    datasets.Dataset.from_dict(rows, features=features).to_parquet(tmp_path / "hf" / "test.parquet")
    examples = load(f"timm:hfds/{tmp_path}/hf?split=test&root={tmp_path}/hub")
    assert_holds(examples)
    assert examples.class_names == ("b", "a", "c")


@pytest.mark.usefixtures("_closed")
def test_what_timm_has_read_is_remembered_until_the_files_change(flowers, tmp_path, monkeypatch):
    from overlap.datasets import timm_factory

    source, cache = f"timm:?root={flowers}&split=train", tmp_path / "cache"
    first = load(source, cache)
    counted = []
    inner = timm_factory._label_and_digest

    def counting(pictures):
        read = inner(pictures)
        return lambda position: counted.append(position) or read(position)

    monkeypatch.setattr(timm_factory, "_label_and_digest", counting)
    _load_source.cache_clear()
    again = load(source, cache)
    assert counted == []
    np.testing.assert_array_equal(first.digests_N, again.digests_N)
    (flowers / "train" / "rose" / "train1.png").write_bytes(encoded(999))
    _load_source.cache_clear()
    assert not np.array_equal(load(source, cache).digests_N, first.digests_N)
    assert len(counted) == 7


@pytest.mark.usefixtures("_closed")
def test_labels_that_are_neither_numbers_nor_words_are_refused(tmp_path):
    datasets = pytest.importorskip("datasets")
    features = datasets.Features({"image": datasets.Image(), "label": datasets.Value("float64")})
    rows = {"image": [{"bytes": image, "path": None} for image in IMAGES], "label": [0.5] * 7}
    (tmp_path / "hf").mkdir()
    datasets.Dataset.from_dict(rows, features=features).to_parquet(tmp_path / "hf" / "test.parquet")
    with pytest.raises(DatasetError, match="cannot be read: 'float' object cannot be interpreted as an integer"):
        load(f"timm:hfds/{tmp_path}/hf?split=test&root={tmp_path}/hub")


@pytest.mark.usefixtures("_closed")
def test_an_image_that_torchvision_cannot_decode_is_an_error_and_not_another_image(flowers):
    (flowers / "train" / "rose" / "train1.png").write_bytes(b"")
    with pytest.raises(DatasetError, match="cannot be read: cannot identify image file"):
        load(f"timm:torch/folder?root={flowers}&split=train")


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("timm:tfds/imagenette", "'timm:tfds/…' can only be read from its beginning: export it"),
        ("timm:WDS/x?root=/x", "can only be read from its beginning: use webdataset:PATTERN.tar"),
        ("timm:torch/cifar10?root=/nowhere&split=test", "timm cannot open '.*': .*[Dd]ataset not found"),
        ("timm:torch/nothing?root=/nowhere", "timm cannot open '.*': Unknown torchvision dataset nothing"),
        ("timm:?root=/nowhere", "timm cannot open"),
        ("timm:?rot=/nowhere", "'rot' is no argument of timm: sources; did you mean 'root'"),
        ("timm:hfds/x?trust_remote_code=1", "'trust_remote_code' is no argument"),
    ],
)
def test_what_timm_cannot_give_is_refused_in_one_line(source, expected):
    with pytest.raises(DatasetError, match=expected) as caught:
        load(source)
    assert "\n" not in str(caught.value)
