"""Small sweeps, and the steps from a sweep file to its plan, for the tests of the engine."""

import textwrap

import numpy as np
import pytest
from PIL import Image

from overlap.expand import expand
from overlap.plan import make_plan
from overlap.spec import read_sweep
from overlap.store import Predictions, Store, round_logits
from overlap.store.memory import MemoryObjects
from overlap.variants import DatasetFacts, Preprocessing, SplitFacts, Variant
from prediction_files import WRITERS

SWEEP = """\
name: tiny
store: store
datasets:
  digits: {source: "sklearn:digits", splits: {train: 60, calibration: 20, test: 20}, seed: 0}
  fonts: {source: "rendered:digits", splits: {train: 40, test: 10}, samples: 50}
evaluate_on: [digits]
base: {architecture: test_resnet, train_on: digits}
"""
VARIANT = Variant(
    name="resnet",
    architecture="test_resnet",
    framework="supervised",
    train_on="digits",
    seed=0,
    hyperparameters=(("epochs", 1),),
    preprocessing=Preprocessing(),
)


@pytest.fixture
def sweep_text():
    """A sweep file of one network; the sequence item of an appended `vary` stands on line 9."""
    return SWEEP


@pytest.fixture
def variant():
    """A trained network, with one of its hyperparameters."""
    return VARIANT


@pytest.fixture
def variants_of():
    """The variants of a sweep file that ends in these lines, which must expand without problems."""

    def variants(vary="", text=SWEEP):
        origins, problems = expand(read_sweep(text + textwrap.dedent(vary), path="s.yaml"))
        assert problems == []
        return [origin.variant for origin in origins]

    return variants


def facts(name, *, splits=("train", "calibration", "test")):
    """A dataset of ten classes whose splits have 10 examples each."""
    content = {split: SplitFacts(size=10, fingerprint=f"{name}/{split}") for split in splits}
    return DatasetFacts(name=name, class_names=tuple("0123456789"), splits=content)


@pytest.fixture
def dataset_facts():
    """Makes the facts of a dataset of ten classes."""
    return facts


@pytest.fixture
def plan_of():
    """The plan of a sweep file that ends in these lines, over datasets of 10 examples a split."""

    def plan(vary="", text=SWEEP):
        sweep = read_sweep(text + textwrap.dedent(vary), path="s.yaml")
        origins, problems = expand(sweep)
        assert problems == []
        return make_plan(sweep, origins, {name: facts(name) for name in ("digits", "fonts")})

    return plan


@pytest.fixture
def predictions_of():
    """Random predictions on N examples of C classes."""

    def predictions(seed=0, examples=30, classes=10):
        rng = np.random.default_rng(seed)
        return Predictions(
            ids_N=np.arange(examples, dtype=np.int64) * 3,
            labels_N=rng.integers(0, classes, examples).astype(np.int32),
            logits_NC=round_logits(rng.normal(0, 3, (examples, classes)).astype(np.float32)),
            temperature=1.25 + seed,
        )

    return predictions


@pytest.fixture
def store():
    """An empty store in memory."""
    return Store(MemoryObjects())


@pytest.fixture
def write_images():
    """Writes a folder of random PNG files, so many a class."""

    def write(folder, counts, *, side=8):
        rng = np.random.default_rng(0)
        for name, count in counts.items():
            (folder / name).mkdir(parents=True)
            for i in range(count):
                pixels = rng.integers(0, 256, (side, side, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(folder / name / f"{i}.png")

    return write


@pytest.fixture
def write(tmp_path):
    """Writes a file of predictions, by default Parquet."""

    def write_file(name, columns, form="parquet", folder="files"):
        suffix, writer = WRITERS[form]
        path = tmp_path / folder / f"{name}.{suffix}"
        path.parent.mkdir(exist_ok=True)
        writer(path, columns)
        return path

    return write_file
