"""Embeddings as they are stored and read: whose, of which examples, and what earlier versions wrote."""

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest

import overlap
from embedded_store import PARTS, SIZES, TASKS, commit, embedded_store, labels_of_all, objects_of, outcomes_of, vectors
from overlap.errors import ArgumentError, CorruptFileError
from overlap.features.embeddings import read_embedded, read_vectors
from overlap.features.request import FeatureRequest
from overlap.features.tables import features_tables
from overlap.launcher import ExecutorKind
from overlap.store import Store, open_objects, schema
from overlap.store.schema import matrix

QUICK = FeatureRequest(grid=2, draws=1, step=6, partners=1)


@pytest.fixture(scope="module")
def values():
    labels = labels_of_all()
    return [vectors(v, labels) for v in range(3)]


@pytest.fixture(scope="module")
def store(values):
    return embedded_store(values)


def test_a_launch_keeps_labelled_embeddings_of_every_split_for_networks_and_what_is_built_on_them(tmp_path):
    path = tmp_path / "sweep.yaml"
    path.write_text(f"""\
name: embedded
store: {tmp_path / "store"}
datasets:
  digits: {{source: "sklearn:digits", splits: {{train: 40, calibration: 30, test: 50}}}}
evaluate_on: [digits]
base: {{architecture: test_resnet, train_on: digits, hyperparameters: {{epochs: 1, batch_size: 20}}}}
vary:
  - {{seed: 1}}
  - {{architecture: test_convnext}}
  - {{architecture: "sklearn:GaussianNB", preprocessing: {{size: 8}}}}
  - {{architecture: "sklearn:LogisticRegression", built_on: test_resnet-seed0}}
evaluation: {{embeddings: true}}
""")
    overlap.launch(path, executor=ExecutorKind.INPROCESS)
    store = Store(open_objects(str(tmp_path / "store")))
    outcomes = outcomes_of(store, "digits")
    embedded = read_embedded(store, outcomes)
    assert embedded.notes == ("without embeddings, and left out: sklearn-GaussianNB-seed0",)
    assert embedded.split_M.tolist() == ["train"] * 40 + ["calibration"] * 30 + ["test"] * 50
    assert embedded.ids_M[70:].tolist() == outcomes.ids_N.tolist()
    assert len(set(embedded.ids_M.tolist())) == 120
    assert embedded.labels_M[70:].tolist() == outcomes.labels_N.tolist()
    files = store.read(embedded.files[0]).table
    assert matrix(files, "embedding").dtype == np.float32
    network, probe = (read_vectors(store, embedded, v) for v in (0, 3))
    assert network.shape == (120, 96)
    np.testing.assert_allclose(probe, network, atol=1e-5)
    found = features_tables(store, outcomes, objects_of(store), TASKS, replace(QUICK, base="test_resnet-seed0"))
    assert set(found["features_mixes"]["category"]) == {"reinit", "architecture"}


def test_a_plan_asks_for_embeddings_of_networks_only_and_counts_their_train_images(plan_of):
    vary = """\
        vary:
          - {architecture: "sklearn:SVC", preprocessing: {size: 8}}
          - {architecture: "sklearn:SVC", built_on: test_resnet-seed0}
        """
    without, kept = (plan_of(vary + end).evaluation for end in ("", "evaluation: {embeddings: true}\n"))
    assert [job.evaluation.embeddings for job in kept] == [True, False, True]
    assert [after.cost - before.cost for before, after in zip(without, kept, strict=True)] == [10, 0, 10]
    assert [job.key for job in kept] == [job.key for job in without]


def test_vectors_are_those_that_were_stored_by_split(store, values):
    embedded = read_embedded(store, outcomes_of(store))
    assert embedded.splits == ("train", "calibration", "test")
    np.testing.assert_array_equal(read_vectors(store, embedded, 2), values[2])
    np.testing.assert_array_equal(read_vectors(store, embedded, 2, ["test"]), values[2][PARTS["test"]])
    assert embedded.labels_M.tolist() == labels_of_all().tolist()


def test_variants_without_embeddings_are_left_out_and_named(values):
    store = embedded_store([values[0], None, values[2]])
    embedded = read_embedded(store, outcomes_of(store))
    assert embedded.outcomes.names == ("variant-00000", "variant-00002")
    assert embedded.notes == ("without embeddings, and left out: variant-00001",)


def test_a_store_without_any_embedding_says_how_to_get_them():
    store = embedded_store([None, None])
    with pytest.raises(ArgumentError, match=r"evaluation: \{embeddings: true\}' into the sweep file and launch again"):
        features_tables(store, outcomes_of(store), objects_of(store), TASKS, QUICK)


def as_earlier_versions_wrote(store, name, values):
    """The file again without examples, labels and the train split."""
    stored = store.read(name)
    own = {key: value for key, value in stored.footer.items() if not key.endswith("_sha256") or "order" in key}
    split = ["calibration"] * SIZES["calibration"] + ["test"] * SIZES["test"]
    kept = np.concatenate([values[PARTS["calibration"]], values[PARTS["test"]]])
    columns = {"split": pa.array(split), "embedding": schema._fixed_size_list(kept)}
    store.objects.replace(name, schema._encode(pa.table(columns), own))


def test_files_of_earlier_versions_are_probed_on_halves_of_the_test_examples(values):
    store = embedded_store(values[:2])
    outcomes = outcomes_of(store)
    for name, vectors_MD in zip(read_embedded(store, outcomes).files, values, strict=False):
        as_earlier_versions_wrote(store, name, vectors_MD)
    embedded = read_embedded(store, outcomes)
    assert (embedded.splits, embedded.notes) == (("test",), ())
    np.testing.assert_array_equal(read_vectors(store, embedded, 1), values[1][PARTS["test"]])
    mixes = features_tables(store, outcomes, objects_of(store), TASKS, QUICK)["features_mixes"]
    assert set(mixes["fitted_on"]) == {"half of test"}
    assert 40 < mixes["test_examples"][0] < 80


def test_a_file_of_an_earlier_version_beside_newer_ones_limits_the_splits_and_is_named(values):
    store = embedded_store(values[:2])
    outcomes = outcomes_of(store)
    as_earlier_versions_wrote(store, read_embedded(store, outcomes).files[1], values[1])
    embedded = read_embedded(store, outcomes)
    assert embedded.splits == ("test",)
    assert "the train split is not used: the embeddings of variant-00001 lack it" in embedded.notes


@pytest.mark.parametrize("damage", ["nan", "examples", "variant"])
def test_embeddings_that_are_damaged_or_of_other_examples_are_refused(values, damage):
    store = embedded_store(values[:2])
    names = list(read_embedded(store, outcomes_of(store)).files)
    broken = values[1].copy()
    broken[200, 3] = np.nan if damage == "nan" else 0.0
    if damage == "variant":
        store.objects.replace(names[1], store.read_bytes(names[0]))
    else:
        store.objects.delete(names[1])
        ids = np.arange(len(broken), dtype=np.int64) * 2
        if damage == "examples":
            ids[3] = 10_000
        commit(store, 1, broken, ids=ids)
    with pytest.raises(CorruptFileError, match="variant-00001"):
        features_tables(store, outcomes_of(store), objects_of(store), TASKS, QUICK)
