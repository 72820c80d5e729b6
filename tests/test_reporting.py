"""From a store to the data of its report: samples, provenance, thumbnails."""

from io import BytesIO

import numpy as np
import pytest
from PIL import Image

import overlap
from overlap.datasets import dataset_facts, load_dataset
from overlap.errors import ArgumentError
from overlap.outcomes import read_log_confidences, read_outcomes
from overlap.reporting import report_data
from overlap.reporting.data import read_report_data
from overlap.reporting.thumbnails import BYTES, SIDE, read_thumbnails
from overlap.spec import parse_sweep
from overlap.store import LockFile, Store, open_objects
from overlap.variants import SCHEMA_VERSION
from overlap_analysis.report import decoded_confidences
from synthetic_store import Shape, fill, shared_part, synthetic_store, variant

SWEEP = """\
name: small
store: {store}
datasets:
  digits: {{source: "{source}", splits: {{train: 100, calibration: 300, test: 400}}}}
evaluate_on: [digits]
base: {{architecture: "sklearn:SVC", train_on: digits}}
"""


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    full = synthetic_store(tmp_path_factory.mktemp("photos"), Shape(variants=6, examples=1700, classes=7))
    overlap.analyze(full)
    return full


@pytest.fixture(scope="module")
def data(store):
    return report_data(store)


def test_the_counts_are_those_of_the_stored_predictions(store, data):
    correct_VN = read_outcomes(store, store.require_lock(), "photos").correct_VN
    assert [row.correct for row in data.variants] == correct_VN.sum(axis=1).tolist()
    both_P = [int((correct_VN[a] & correct_VN[b]).sum()) for a, b in zip(data.pairs.a, data.pairs.b, strict=True)]
    assert data.pairs.both_correct.tolist() == both_P
    np.testing.assert_allclose(data.pairs.ensemble_correct / 1700, data.pairs.ensemble_accuracy, rtol=0, atol=1e-12)


def test_the_sample_holds_what_every_variant_does_on_it(store, data):
    outcomes = read_outcomes(store, store.require_lock(), "photos")
    sample = data.sample
    assert len(sample.ids) == 1500
    chosen_N = np.isin(outcomes.ids_N, [int(name) for name in sample.ids])
    np.testing.assert_array_equal(sample.codes_Vn >= 128, outcomes.correct_VN[:, chosen_N])
    confidences_Vn = read_log_confidences(store, outcomes, calibrated=True, chosen_N=chosen_N)
    error_Vn = np.log(decoded_confidences(sample.codes_Vn, 7)) - confidences_Vn
    assert np.abs(error_Vn).max() <= np.log(7) / 126 + 1e-6


def test_the_sample_is_the_same_every_time(store, data):
    assert report_data(store).sample.ids == data.sample.ids


def test_many_variants_share_fewer_examples(store, monkeypatch):
    monkeypatch.setattr("overlap.reporting.data.SAMPLED_OUTCOMES", 600)
    assert read_report_data(store, store.require_lock(), "photos").sample.codes_Vn.shape == (6, 100)


def test_provenance_counts_results_where_their_origins_differ(tmp_path):
    shape = Shape(variants=3, examples=40, classes=3)
    labels_N, shared_NC, _ = shared_part(shape)
    footers = [
        {"torch_version": torch, "device": "cpu", "host": host, "wall_s": "1800"}
        for torch, host in (("2.8", "one"), ("2.9", "two"), ("2.8", "two"))
    ]
    logits_VNC = [shared_NC + v for v in range(3)]
    store = Store(open_objects(str(tmp_path)))
    fill(store, logits_VNC, labels_N, variants=[variant(v) for v in range(3)], footers=footers)
    facts = dict(report_data(store).provenance)
    assert facts["torch"] == "2.8 (2 results), 2.9 (1 result)"
    assert facts["devices"] == "cpu"
    assert facts["hosts"] == "2"
    assert facts["evaluation"] == "1.5 hours in all, 1,800.0 s a variant"


@pytest.mark.parametrize(
    ("ids", "names", "called"),
    [
        (range(4), ["a.jpg", "b.jpg", "c.jpg", "d.jpg"], ("a.jpg", "b.jpg", "c.jpg", "d.jpg")),
        ((7, 90, 91, 500), [7, 90, 91, 500], ("7", "90", "91", "500")),
        ((7, 90, 91, 500), None, ("7", "90", "91", "500")),
    ],
)
def test_examples_are_called_what_their_owner_calls_them(tmp_path, ids, names, called):
    labels_N, shared_NC, _ = shared_part(Shape(variants=2, examples=4, classes=3))
    store = Store(open_objects(str(tmp_path)))
    fill(store, [shared_NC, -shared_NC], labels_N, ids_N=np.array(ids, np.int64))
    if names:
        store.write_examples("photos", names, labels_N)
    assert report_data(store).sample.ids == called


@pytest.fixture
def digits(tmp_path):
    """A store that knows where its images are, with the digits of scikit-learn or another source."""

    def make(source="sklearn:digits"):
        text = SWEEP.format(store=tmp_path, source=source)
        sweep, problems = parse_sweep(SWEEP.format(store=tmp_path, source="sklearn:digits"), path="sweep.yaml")
        assert not problems
        loaded = load_dataset(sweep.datasets[0])
        lock = LockFile(
            schema_version=SCHEMA_VERSION,
            name="small",
            datasets={"digits": dataset_facts(loaded)},
            variants=(),
            training={},
            results={"digits": {}},
        )
        store = Store(open_objects(str(tmp_path / "store")))
        store.write_sweep(text, lock)
        return store, lock, loaded.splits["test"]

    return make


def test_a_thumbnail_shows_the_example_of_its_id(digits):
    store, lock, split = digits()
    ids = split.ids_N[[5, 17, 300]]
    images = read_thumbnails(store, lock, "digits", ids)
    for image, place in zip(images, (5, 17, 300), strict=True):
        shown = np.asarray(Image.open(BytesIO(image)).convert("L"), float)
        original = np.asarray(split.pictures.open(int(split.positions_N[place])), float)
        assert shown.shape == original.shape == (8, 8)
        assert np.corrcoef(shown.ravel(), original.ravel())[0, 1] > 0.95


def test_thumbnails_of_large_images_are_small_and_fit_their_room(digits, monkeypatch):
    from overlap.reporting import thumbnails

    noise = np.random.default_rng(0).integers(0, 256, (300, 400, 3), dtype=np.uint8)
    monkeypatch.setattr(thumbnails, "BYTES", 60_000)
    monkeypatch.setattr("overlap.datasets.pictures.ArrayPictures.open", lambda *_: Image.fromarray(noise))
    store, lock, split = digits()
    images = read_thumbnails(store, lock, "digits", split.ids_N[:100])
    assert Image.open(BytesIO(images[0])).size == (SIDE, SIDE * 3 // 4)
    assert sum(map(len, images)) <= 60_000 < BYTES


def test_images_that_are_gone_are_told_in_one_line(digits, tmp_path):
    store, lock, split = digits(source=str(tmp_path / "gone"))
    with pytest.raises(ArgumentError, match="no thumbnails: the images of 'digits' cannot be read") as caught:
        read_thumbnails(store, lock, "digits", split.ids_N[:3])
    assert "\n" not in str(caught.value)


def test_images_that_have_changed_are_refused(digits):
    from dataclasses import replace

    store, lock, split = digits()
    facts = lock.datasets["digits"]
    other = replace(facts, splits={name: replace(size, fingerprint="0" * 64) for name, size in facts.splits.items()})
    with pytest.raises(ArgumentError, match="is not what it was when the sweep was launched"):
        read_thumbnails(store, replace(lock, datasets={"digits": other}), "digits", split.ids_N[:3])


def test_imported_predictions_have_no_thumbnails(store):
    with pytest.raises(ArgumentError, match="nobody says where the images of 'photos' are"):
        overlap.report(store, thumbnails=True)
