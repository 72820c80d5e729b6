"""The predictions of 13 published models on ImageNet, imported: they must have the published accuracies."""

from pathlib import Path

import numpy as np
import pytest

import overlap
from overlap import status, verify
from overlap.imports import import_predictions
from overlap.store import Outputs, Store
from overlap.store.memory import MemoryObjects
from overlap.store.schema import matrix

FOLDER = Path(__file__).parents[2] / "shared/data/imagenet-keras13"
PUBLISHED = {  # top-1 and top-5 in percent
    "densenet121": (72.09, 90.70),
    "densenet169": (73.92, 91.76),
    "densenet201": (74.77, 92.32),
    "inceptionresnetv2": (78.93, 94.45),
    "inceptionv3": (76.02, 92.90),
    "mobilenet": (69.02, 88.48),
    "mobilenetV2": (69.98, 89.49),
    "nasnetlarge": (80.83, 95.27),
    "nasnetmobile": (71.59, 90.19),
    "resnet50": (70.35, 89.55),
    "vgg16": (65.24, 86.20),
    "vgg19": (65.58, 86.54),
    "xception": (77.18, 93.49),
}

pytestmark = pytest.mark.skipif(not FOLDER.is_dir(), reason="the data are not there")


@pytest.fixture(scope="module")
def store():
    filled = Store(MemoryObjects())
    imported = import_predictions(sorted(FOLDER.glob("*.parquet")), filled, dataset="imagenet", classes="imagenet-1k")
    assert (imported.new, imported.examples, imported.classes) == (13, 50_000, 1000)
    assert {one.outputs for one in imported.variants} == {Outputs.TOP}
    return filled


@pytest.fixture(scope="module")
def tables(store):
    return overlap.analyze(store, kinds=["pairs"]).tables


def test_the_accuracies_are_the_published_ones(tables):
    accuracy = dict(tables["variants"].select("name", "accuracy").rows())
    assert {name: round(100 * value, 2) for name, value in accuracy.items()} == {
        name: pytest.approx(top1, abs=0.0051) for name, (top1, _) in PUBLISHED.items()
    }


def test_the_top_five_are_the_published_ones(store):
    lock, names = store.require_lock(), store.result_names("imagenet")
    for name, (_, top5) in PUBLISHED.items():
        table = store.read(names[lock.results["imagenet"][name][:16]]).table
        labels_N = table.column("label").to_numpy()
        listed_N = (matrix(table, "top_classes") == labels_N[:, None]).any(axis=1)
        assert round(100 * listed_N.mean(), 2) == pytest.approx(top5, abs=0.0051)
        np.testing.assert_array_equal(table.column("loss").is_valid().to_numpy(), listed_N)
        np.testing.assert_array_equal(np.isfinite(table.column("label_logit").to_numpy()), listed_N)


def test_every_pair_has_a_row_without_a_category_that_nobody_gave(tables):
    pairs = tables["pairs"]
    assert pairs.height == 78
    assert set(pairs["category"]) == {"unknown"}
    assert (pairs["examples"] == 50_000).all()
    assert pairs["error_inconsistency"].is_between(0.05, 0.35).all()


def test_the_store_is_whole_and_complete(store):
    assert verify(store, deep=True) == (13, [])
    assert status(store).counts == {"done": 13, "failed": 0, "pending": 0}
