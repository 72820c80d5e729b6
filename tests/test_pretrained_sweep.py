"""A sweep over models that need no training, on a folder of images: chosen, checked, decoded once, evaluated."""

import shutil
import subprocess
import sys

import numpy as np
import polars as pl
import pytest
import safetensors.torch
import timm
import torch
from PIL import Image

import overlap
from overlap.cli import run
from overlap.datasets.label_spaces import label_space
from overlap.launcher import ExecutorKind, Options
from overlap.models import open_mirror
from overlap.store.schema import matrix
from overlap.workplace import Cache
from servers.s3 import s3_server

BAD_INPUT = 3
SWEEP = """\
name: zoo
store: {folder}/store
datasets:
  photos: {{source: {folder}/photos, splits: {{train: 24, calibration: 12, test: rest}}}}
evaluate_on: [photos]
pretrained:
"""


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """Sixty JPEGs of six of ImageNet's classes, landscape and portrait."""
    folder = tmp_path_factory.mktemp("images") / "photos"
    rng = np.random.default_rng(0)
    for number in range(60):
        place = folder / label_space("imagenet-1k")[100 + number % 6]
        place.mkdir(parents=True, exist_ok=True)
        size = (120, 90) if number % 2 else (90, 120)
        coarse = Image.fromarray(rng.integers(0, 256, (8, 8, 3), dtype=np.uint8))
        coarse.resize(size, Image.Resampling.BICUBIC).save(place / f"{number:03d}.jpg", quality=90)
    return folder


@pytest.fixture
def folder(tmp_path, photos):
    """A folder with the images in it."""
    (tmp_path / "photos").symlink_to(photos)
    return tmp_path


def write_sweep(folder, *entries, end="", name="s.yaml"):
    path = folder / name
    path.write_text(SWEEP.format(folder=folder) + "".join(f"  - {entry}\n" for entry in entries) + end)
    return path


def launch(path, **options):
    cache = Cache(folder=path.parent / "cache")
    return overlap.launch(path, executor=ExecutorKind.INPROCESS, options=Options(cache=cache), **options)


def results(folder):
    """The opened store, and the result's table and footer by variant."""
    store = overlap.Store(overlap.open_objects(str(folder / "store")))
    stored = [store.read(name) for name in store.result_names("photos").values()]
    return store, {each.footer["variant"]: each for each in stored}


def timms_own_logits(model, files):
    """What timm's own transform and model give for the same files, all 1,000 classes."""
    config = timm.data.resolve_data_config(pretrained_cfg=model.pretrained_cfg)
    transform = timm.data.create_transform(**config, is_training=False)
    images = torch.stack([transform(Image.open(file).convert("RGB")) for file in files])
    with torch.inference_mode():
        return model.eval()(images).numpy()


def test_a_mirrored_model_gives_what_timm_gives_over_the_classes_of_the_data(folder):
    torch.manual_seed(7)
    model = timm.create_model("test_resnet.r160_in1k", pretrained=False)
    (folder / "mirror").mkdir()
    safetensors.torch.save_file(model.state_dict(), folder / "mirror" / "test_resnet.r160_in1k.safetensors")
    path = write_sweep(folder, f"{{timm: test_resnet.r160_in1k, weights: {folder}/mirror}}")
    assert launch(path).ran == 1

    _, found = results(folder)
    table = found["test_resnet.r160_in1k"].table
    files = sorted((folder / "photos").glob("*/*.jpg"))
    chosen = [files[i] for i in table["example"].to_pylist()]
    names = sorted({file.parent.name for file in files})
    columns = [label_space("imagenet-1k").index(name) for name in names]
    expected_NC = timms_own_logits(model, chosen)[:, columns]
    assert table["label"].to_pylist() == [names.index(file.parent.name) for file in chosen]
    assert table["prediction"].to_pylist() == expected_NC.argmax(axis=1).tolist()
    top_NK = np.take_along_axis(expected_NC, matrix(table, "top_classes").astype(int), axis=1)
    np.testing.assert_allclose(matrix(table, "top_logits"), top_NK - top_NK[:, :1], atol=2e-3)


def test_every_kind_of_model_runs_beside_the_others_and_is_not_run_twice(folder):
    torch.manual_seed(1)
    own = timm.create_model("test_vit", num_classes=6, img_size=96)
    torch.save({"state_dict": {f"module.{k}": v for k, v in own.state_dict().items()}}, folder / "own.pt")
    (folder / "net.py").write_text(
        "import torch\n\n\ndef net():\n    torch.manual_seed(0)\n"
        "    return torch.nn.Sequential(torch.nn.AdaptiveAvgPool2d(4), torch.nn.Flatten(), torch.nn.Linear(48, 6))\n"
    )
    mine = "framework: supervised, train_on: mine, outputs: photos, preprocessing: {size: 96}"
    path = write_sweep(
        folder,
        "{timm: [test_vit.r160_in1k, test_convnext.r160_in1k], weights: random}",
        "{timm: [test_vit.r160_in1k], weights: random, seed: 1}",
        "{timm: [test_vit.r160_in1k], weights: random, probe: photos}",
        f"{{checkpoint: own.pt, architecture: test_vit, {mine}}}",
        f"{{python: 'net.py:net', {mine}}}",
        end="allow_code: true\n",
    )
    summary = launch(path)
    assert (summary.ran, summary.status.counts["done"]) == (6, 6)
    assert launch(path).ran == 0

    store, found = results(folder)
    assert set(found) == {
        "test_vit.r160_in1k", "test_convnext.r160_in1k", "test_vit.r160_in1k~2",
        "test_vit.r160_in1k-probe-photos", "own", "net",
    }  # fmt: skip
    variants = {variant.name: variant for variant in store.require_lock().variants}
    assert variants["test_vit.r160_in1k"].train_on == "imagenet-1k"
    assert variants["test_vit.r160_in1k-probe-photos"].training_data == ("imagenet-1k", "photos")
    pairs = overlap.analyze(store).tables["pairs"]
    kinds = {(row["a"], row["b"]): row["category"] for row in pairs.iter_rows(named=True)}
    assert kinds["test_vit.r160_in1k", "test_vit.r160_in1k~2"] == "reinit"
    assert kinds["test_convnext.r160_in1k", "test_vit.r160_in1k"] == "architecture"
    assert kinds["test_vit.r160_in1k", "own"] == "dataset"


def test_embeddings_are_kept_on_request_and_made_up_for_later(folder):
    entry = "{timm: [test_resnet.r160_in1k], weights: random}"
    launch(write_sweep(folder, entry))
    store, before = results(folder)
    assert store.embeddings_names("photos") == {}

    summary = launch(write_sweep(folder, entry, end="evaluation: {embeddings: true}\n"))
    _, after = results(folder)
    assert [stored.table for stored in after.values()] == [stored.table for stored in before.values()]
    (name,) = store.embeddings_names("photos").values()
    embeddings = store.read(name).table
    assert embeddings["split"].to_pylist() == ["train"] * 24 + ["calibration"] * 12 + ["test"] * 24
    assert matrix(embeddings, "embedding").dtype == np.float32
    assert summary.status.counts["done"] == 1


def test_precision_is_part_of_the_key_and_near_the_full_one(folder):
    entry = "{timm: [test_resnet.r160_in1k], weights: random}"
    launch(write_sweep(folder, entry))
    launch(write_sweep(folder, entry, end="evaluation: {precision: bfloat16}\n"))
    store = overlap.Store(overlap.open_objects(str(folder / "store")))
    names = store.result_names("photos")
    assert len(names) == 2
    full, half = (matrix(store.read(name.replace("results/", "logits/")).table, "logits") for name in names.values())
    assert not np.array_equal(full, half)
    np.testing.assert_allclose(full, half, atol=0.1)


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        (
            "{timm: resnet5O}",
            "line 7 pretrained[0].timm 'resnet5O' is no pretrained timm model; did you mean 'resnet50'?",
        ),
        (
            "{timm: resnet18.a1_in1k, weights: HERE/mirror}",
            "line 7 pretrained[0].timm 1 of 1 weights are not in 'HERE/mirror': resnet18.a1_in1k; copy or exclude them",
        ),
        (
            "{timm: vit_small_patch14_dinov2.lvd142m, weights: random}",
            "line 7 pretrained[0] 'vit_small_patch14_dinov2.lvd142m' has no classifier whose classes are known: give "
            "probe, or exclude it",
        ),
        (
            "{checkpoint: none.pt, architecture: resnet18, framework: x, train_on: x, outputs: photos}",
            "line 7 pretrained[0].checkpoint cannot read 'HERE/none.pt': No such file or directory",
        ),
        (
            "{checkpoint: own.pt, architecture: resnet18}",
            "line 7 pretrained[0] a checkpoint needs framework, train_on, outputs: nothing else tells what it is",
        ),
        (
            "{python: 'net.py:net', framework: x, train_on: x, outputs: photos}",
            "line 7 pretrained[0].python a Python file is run on every worker: say allow_code: true at the top of the "
            "sweep if you trust it",
        ),
        (
            "{timm: resnet18, open_clip: RN50/openai}",
            "line 7 pretrained[0] expected exactly one of timm, open_clip, checkpoint and python, got "
            "['timm', 'open_clip']",
        ),
        (
            "{timm: resnet18, probe: photo}",
            "line 7 pretrained[0].probe 'photo' is no dataset of this file; did you mean 'photos'?",
        ),
    ],
)  # fmt: skip
def test_what_is_wrong_with_an_entry_is_said_before_anything_runs(folder, capsys, entry, message):
    (folder / "mirror").mkdir()
    path = write_sweep(folder, entry.replace("HERE", str(folder)))
    assert run(["sweep", "launch", str(path), "--executor", "inprocess", "--cache", str(folder / "cache")]) == BAD_INPUT
    lines = [" ".join(line.split()) for line in capsys.readouterr().err.replace(str(folder), "HERE").splitlines()]
    assert lines == ["overlap: HERE/s.yaml: 1 problem", message]
    assert not (folder / "store").exists()


def test_a_model_that_only_a_glob_caught_is_left_out_with_a_note(folder, capsys):
    path = write_sweep(folder, "{timm: ['resnet50.b*'], weights: random}")
    assert run(["sweep", "plan", str(path), "--cache", str(folder / "cache")]) == 0
    out = capsys.readouterr().out
    assert "1 models are left out, because their outputs are not the data's classes: resnet50.bamboo" in " ".join(
        out.split()
    )
    assert "resnet50.b1k_in1k" in out


def test_a_checkpoint_of_another_number_of_classes_is_a_failure_that_names_both(folder):
    torch.save(timm.create_model("test_vit", num_classes=7, img_size=96).state_dict(), folder / "own.pt")
    mine = "framework: supervised, train_on: mine, outputs: photos, preprocessing: {size: 96}"
    summary = launch(write_sweep(folder, f"{{checkpoint: own.pt, architecture: test_vit, {mine}}}"))
    (failure,) = summary.status.failures
    assert "(6, 64)" in failure.cause
    assert "(7, 64)" in failure.cause


def test_a_bad_image_stops_the_sweep_or_is_left_out_for_all_variants(folder, photos, capsys):
    (folder / "photos").unlink()
    shutil.copytree(photos, folder / "photos")
    victim = min((folder / "photos").glob("*/*.jpg"))
    victim.write_bytes(victim.read_bytes()[:-400])
    path = write_sweep(folder, "{timm: [test_vit.r160_in1k, test_convnext.r160_in1k], weights: random}")
    cache = ["--cache", str(folder / "cache")]
    assert run(["sweep", "launch", str(path), "--executor", "inprocess", *cache]) == BAD_INPUT
    assert f"1 bad image in '{folder}/photos': {victim}" in " ".join(capsys.readouterr().err.split())

    path.write_text(path.read_text().replace("splits:", "on_bad_image: skip, splits:"))
    assert launch(path).ran == 2
    _, found = results(folder)
    examples = {tuple(stored.table["example"].to_pylist()) for stored in found.values()}
    assert len(examples) == 1
    assert len(examples.pop()) == 60 - 1 - 24 - 12


def test_images_are_decoded_once_for_all_variants_of_a_geometry(folder, monkeypatch):
    opened = []
    real = Image.open
    monkeypatch.setattr(Image, "open", lambda *args, **kwargs: opened.append(args) or real(*args, **kwargs))
    path = write_sweep(folder, "{timm: ['test_*.r160_in1k'], weights: random}")
    assert launch(path).ran >= 8
    geometries = 2  # one of these models takes other images than the rest
    assert len(opened) == 60 + geometries * (12 + 24)  # all looked at once, the two splits decoded once
    shutil.rmtree(folder / "store")
    opened.clear()
    assert launch(path).ran >= 8
    assert opened == []  # what was decoded is kept across launches


def test_the_cache_is_private(folder):
    launch(write_sweep(folder, "{timm: [test_vit.r160_in1k], weights: random}"))
    assert oct((folder / "cache" / "pixels").stat().st_mode & 0o777) == "0o700"
    assert pl.read_parquet(next((folder / "store" / "results").rglob("*.parquet"))).height == 24


def test_a_finished_sweep_is_done_at_once_and_asks_neither_timm_nor_torch(folder):
    path = write_sweep(folder, "{timm: 'test_vit*', weights: random}")
    launch(path)
    code = (
        "import sys; from pathlib import Path; import overlap; from overlap.launcher import *; "
        "from overlap.workplace import Cache; folder = Path(sys.argv[1]); "
        "cache = Cache(folder=folder / 'cache'); "
        "summary = overlap.launch(folder / 's.yaml', options=Options(cache=cache)); "
        "assert (summary.ran, summary.resumed > 1) == (0, True); "
        "assert not {'torch', 'timm', 'open_clip', 'ray'} & set(sys.modules), sorted(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code, str(folder)], check=True)


def test_a_damaged_memory_of_a_selection_is_asked_anew(folder):
    path = write_sweep(folder, "{timm: 'test_vit*', weights: random}")
    ran = launch(path).ran
    (place,) = (folder / "cache" / "selections").iterdir()
    whole = place.read_text()
    place.write_text(whole.replace("test_vit2", "test_vit9"))
    assert launch(path).resumed == ran
    assert place.read_text() == whole


def test_accuracies_are_checked_against_published_ones(folder, capsys):
    launch(write_sweep(folder, "{timm: [test_vit.r160_in1k, test_convnext.r160_in1k], weights: random}"))
    store = str(folder / "store")
    (accuracy, _) = overlap.analyze(overlap.Store(overlap.open_objects(store))).tables["variants"]["accuracy"]
    table = folder / "results.csv"
    table.write_text(
        f"model,img_size,top1\ntest_vit.r160_in1k,160,{100 * accuracy + 0.29}\ntest_convnext.r160_in1k,160,99.5\n"
        "resnet50.a1_in1k,224,80.1\n"
    )
    assert run(["analyze", "pairs", store, "--published", str(table)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "2 published accuracies; 1 variants are off by over 0.3 points" in lines
    assert [line for line in lines if line.startswith("  test_convnext.r160_in1k: ")]
    assert not [line for line in lines if line.startswith("  test_vit.r160_in1k: ")]

    table.write_text("name,acc\nx,1\n")
    assert run(["analyze", "pairs", store, "--published", str(table)]) == BAD_INPUT
    assert "expected a CSV with columns model and top1" in capsys.readouterr().err


@pytest.mark.s3
def test_weights_come_from_a_bucket_as_from_a_folder(folder, monkeypatch):
    torch.manual_seed(3)
    model = timm.create_model("test_vit.r160_in1k", pretrained=False)
    (folder / "mirror").mkdir()
    file = folder / "mirror" / "test_vit.r160_in1k.safetensors"
    safetensors.torch.save_file(model.state_dict(), file)
    with s3_server() as server:
        for name, value in server.environment.items():
            monkeypatch.setenv(name, value)
        server.make_bucket("mirror")
        bucket = open_mirror("s3://mirror/weights")
        bucket.create("test_vit.r160_in1k.safetensors", file.read_bytes())
        launch(write_sweep(folder, "{timm: test_vit.r160_in1k, weights: 's3://mirror/weights'}"))
        _, found = results(folder)
        from_bucket = found["test_vit.r160_in1k"].table
        assert [path.name for path in (folder / "cache" / "weights").iterdir()]

        bucket.replace("test_vit.r160_in1k.safetensors", file.read_bytes()[:-1] + b"!")
        assert launch(write_sweep(folder, "{timm: test_vit.r160_in1k, weights: 's3://mirror/weights'}")).ran == 1
    shutil.rmtree(folder / "store")
    launch(write_sweep(folder, f"{{timm: test_vit.r160_in1k, weights: {folder}/mirror}}"))
    _, found = results(folder)
    assert found["test_vit.r160_in1k"].table.equals(from_bucket)
