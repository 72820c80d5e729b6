"""Commits, and what verification finds."""

import contextlib
import io
import json
from dataclasses import replace

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import safetensors.numpy

from overlap.errors import ArgumentError, CorruptFileError, StoreError, StoreMismatchError
from overlap.store import Failure, Store, lock_of, open_objects
from overlap.store.memory import MemoryObjects
from overlap.store.rows import result_rows
from overlap.store.schema import encode_result, hash_ids, matrix, payload_hash
from overlap.store.seals import parquet_problem, seal_parquet
from overlap.store.verify import find_damage, put_aside, remember_sound, verify
from overlap.variants import SCHEMA_VERSION, key_of

FLIPS = 40


class RecordedObjects(MemoryObjects):
    """A store in memory that remembers the order of its writes, and can fail after some of them."""

    def __init__(self, *, writes=10**9):
        super().__init__()
        self.created, self.writes = [], writes

    def create(self, name, content):
        if len(self.created) == self.writes:
            raise StoreError("no more")
        self.created.append(name)
        return super().create(name, content)


@pytest.fixture
def jobs(plan_of):
    return plan_of("vary:\n  - {seed: [1, 2]}\n").evaluation


def bytes_of(store, name):
    with store.objects.open(name) as file:
        return file.read()


def name_of(job, kind="results"):
    return f"{kind}/v1/{job.dataset}/{job.slug}.parquet"


def damaged(store):
    return {damage.name for damage in verify(store, deep=True)[1]}


def test_a_commit_writes_the_logits_before_the_result(jobs, predictions_of):
    objects = RecordedObjects()
    assert Store(objects).commit(jobs[0], predictions_of(), {}) is True
    assert objects.created == [name_of(jobs[0], "logits"), name_of(jobs[0])]


@pytest.mark.parametrize("writes", [0, 1])
def test_a_commit_that_is_cut_short_shows_no_result_and_can_be_repeated(jobs, predictions_of, writes):
    objects = RecordedObjects(writes=writes)
    store = Store(objects)
    with pytest.raises(StoreError, match="no more"):
        store.commit(jobs[0], predictions_of(), {})
    assert store.result_names("digits") == {}
    objects.writes = 10
    assert store.commit(jobs[0], predictions_of(), {}) is True
    assert store.result_names("digits") == {jobs[0].key[:16]: name_of(jobs[0])}
    assert verify(store, deep=True) == (2, [])


def test_a_footer_says_what_the_file_is(store, jobs, predictions_of):
    job, predictions = jobs[0], predictions_of()
    store.commit(job, predictions, {"attempt_id": "abc"})
    for kind in ("results", "logits"):
        stored = store.read(name_of(job, kind))
        footer = stored.footer
        assert footer["key"] == job.key == key_of(footer["config_json"])
        assert json.loads(footer["config_json"]) == json.loads(job.config)
        assert footer["payload_sha256"] == payload_hash(stored.table)
        assert footer["example_order_sha256"] == hash_ids(predictions.ids_N)
        assert footer["schema_version"] == str(SCHEMA_VERSION)
        assert (footer["variant"], footer["dataset"]) == (job.variant.name, "digits")
        assert (footer["examples"], footer["attempt_id"]) == ("30", "abc")
        assert float(footer["temperature"]) == predictions.temperature


def test_a_result_holds_the_columns_of_its_logits(store, jobs, predictions_of):
    predictions = predictions_of()
    store.commit(jobs[0], predictions, {})
    table = store.read(name_of(jobs[0])).table
    rows = result_rows(predictions.logits_NC, predictions.labels_N, predictions.temperature)
    assert table.column_names == [
        "example", "label", "prediction", "correct", "label_probability",
        "confidence", "loss", "log_partition", "calibrated_log_partition", "label_logit", "top_classes", "top_logits",
    ]  # fmt: skip
    for column, expected in (
        ("example", predictions.ids_N),
        ("label", predictions.labels_N),
        ("prediction", rows.prediction_N),
        ("correct", rows.correct_N),
        ("loss", rows.loss_N),
        ("log_partition", rows.log_partition_N),
        ("calibrated_log_partition", rows.calibrated_log_partition_N),
        ("confidence", rows.confidence_N),
        ("label_probability", rows.label_probability_N),
    ):
        np.testing.assert_array_equal(table.column(column).to_numpy(), expected)
    np.testing.assert_array_equal(matrix(table, "top_classes"), rows.top_classes_NK)
    np.testing.assert_array_equal(matrix(table, "top_logits"), rows.top_logits_NK)
    logits = store.read(name_of(jobs[0], "logits")).table
    np.testing.assert_array_equal(matrix(logits, "logits"), predictions.logits_NC)
    assert matrix(logits, "logits").dtype == np.float16


def test_any_parquet_reader_can_read_a_result(store, jobs, predictions_of):
    predictions = predictions_of()
    store.commit(jobs[0], predictions, {})
    frame = pl.read_parquet(bytes_of(store, name_of(jobs[0])))
    assert frame["prediction"].to_list() == predictions.logits_NC.argmax(axis=1).tolist()


def test_some_columns_and_row_groups_can_be_read_alone(store, jobs, predictions_of):
    predictions = predictions_of(examples=10_007, classes=3)
    store.commit(jobs[0], predictions, {})
    table = store.read(name_of(jobs[0]), columns=["correct", "example"], groups=[1]).table
    assert set(table.column_names) == {"correct", "example"}
    assert table.column("example").to_pylist() == predictions.ids_N[10_000:].tolist()


def test_a_second_commit_keeps_the_first_and_stays_consistent(store, jobs, predictions_of):
    first, second = predictions_of(0), predictions_of(1)
    assert store.commit(jobs[0], first, {"attempt_id": "first"}) is True
    before = dict(store.objects._contents)
    assert store.commit(jobs[0], second, {"attempt_id": "second"}) is False
    assert store.objects._contents == before


def test_a_result_is_computed_from_the_logits_that_are_kept(jobs, predictions_of):
    objects = RecordedObjects(writes=1)
    store = Store(objects)
    first, second = predictions_of(0), replace(predictions_of(1), labels_N=predictions_of(0).labels_N)
    with pytest.raises(StoreError, match="no more"):
        store.commit(jobs[0], first, {"attempt_id": "died after its logits"})
    objects.writes = 10
    assert store.commit(jobs[0], second, {"attempt_id": "second"}) is True
    result = store.read(name_of(jobs[0]))
    np.testing.assert_array_equal(result.table.column("prediction"), first.logits_NC.argmax(axis=1))
    assert float(result.footer["temperature"]) == first.temperature
    assert verify(store, deep=True) == (2, [])


def test_logits_of_another_shape_are_never_mixed_in(jobs, predictions_of):
    objects = RecordedObjects(writes=1)
    store = Store(objects)
    with pytest.raises(StoreError, match="no more"):
        store.commit(jobs[0], predictions_of(examples=29), {})
    objects.writes = 10
    with pytest.raises(CorruptFileError, match=r"holds \(29, 10\) logits, expected \(30, 10\)"):
        store.commit(jobs[0], predictions_of(examples=30), {})
    assert store.result_names("digits") == {}


def test_the_payload_hash_sees_every_value_name_and_type(store, jobs, predictions_of):
    store.commit(jobs[0], predictions_of(), {})
    table = store.read(name_of(jobs[0])).table
    assert payload_hash(table) == payload_hash(pa.Table.from_batches(table.to_batches(7)))
    others = [
        table.slice(1),
        table.rename_columns([*table.column_names[:-1], "x"]),
        table.set_column(1, "label", table.column("label").cast("int64")),
        table.take([1, 0, *range(2, 30)]),
    ]
    hashes = {payload_hash(other) for other in (table, *others)}
    assert len(hashes) == 5


# --- verification


@pytest.fixture
def filled(store, jobs, predictions_of):
    """A store with three results, and their jobs."""
    for i, job in enumerate(jobs):
        store.commit(job, predictions_of(i), {"attempt_id": str(i)})
    return store


def test_a_store_as_it_was_written_has_no_damage(filled):
    assert verify(filled, deep=False) == (3, [])
    assert verify(filled, deep=True) == (6, [])


@pytest.mark.parametrize("kind", ["results", "logits"])
def test_every_flipped_bit_is_found_and_none_is_read_unseen(filled, jobs, kind):
    name = name_of(jobs[0], kind)
    whole, table = bytes_of(filled, name), filled.read(name).table
    rng = np.random.default_rng(0)
    for position in [*rng.choice(len(whole), FLIPS, replace=False), *range(len(whole) - 8, len(whole))]:
        flipped = bytearray(whole)
        flipped[position] ^= 1 << rng.integers(8)
        assert parquet_problem(bytes(flipped))
        filled.objects.replace(name, bytes(flipped))
        with contextlib.suppress(CorruptFileError, StoreMismatchError):
            assert filled.read(name).table.to_pydict() == table.to_pydict()
    assert damaged(filled) == {name}


def test_other_readers_pass_the_seal_by(filled, jobs):
    name = name_of(jobs[0])
    content = bytes_of(filled, name)
    assert parquet_problem(content) == ""
    frame = pl.read_parquet(io.BytesIO(content))
    assert frame["loss"].to_list() == filled.read(name).table.column("loss").to_pylist()


@pytest.mark.parametrize("kind", ["results", "logits"])
@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.99])
def test_a_file_that_is_cut_short_is_found(filled, jobs, kind, share):
    name = name_of(jobs[0], kind)
    whole = bytes_of(filled, name)
    filled.objects.replace(name, whole[: int(len(whole) * share)])
    assert damaged(filled) == {name}


def test_only_a_deep_verification_reads_the_logits(filled, jobs):
    filled.objects.replace(name_of(jobs[0], "logits"), b"")
    assert verify(filled, deep=False) == (3, [])
    assert damaged(filled) == {name_of(jobs[0], "logits")}


@pytest.mark.parametrize("kind", ["results", "logits"])
def test_swapped_files_are_both_found(filled, jobs, kind):
    names = [name_of(job, kind) for job in jobs[:2]]
    contents = [bytes_of(filled, name) for name in names]
    for name, content in zip(names, reversed(contents), strict=True):
        filled.objects.replace(name, content)
    assert damaged(filled) == set(names)


@pytest.mark.parametrize("name", ["notes.txt", "x.parquet", "other-0123456789abcdef.parquet"])
def test_a_foreign_file_is_found(filled, name):
    path, content = f"results/v1/digits/{name}", io.BytesIO(b"remember the milk")
    if name.endswith(".parquet"):
        pl.DataFrame({"a": [1]}).write_parquet(content)
    filled.objects.create(path, content.getvalue())
    assert damaged(filled) == {path}


def test_a_value_that_was_changed_with_right_checksums_is_found(filled, jobs):
    name = name_of(jobs[0])
    table = pq.read_table(io.BytesIO(bytes_of(filled, name)))
    correct = pa.array([not value for value in table.column("correct").to_pylist()])
    content = io.BytesIO()
    pq.write_table(table.set_column(3, "correct", correct), content, write_page_checksum=True)
    filled.objects.replace(name, content.getvalue())
    assert damaged(filled) == {name}
    filled.objects.replace(name, seal_parquet(content.getvalue()))
    assert [damage.problem for damage in verify(filled, deep=False)[1]] == [
        "the columns are not those that were hashed when they were written"
    ]


def test_reading_a_part_of_a_file_checks_the_pages_that_it_reads(filled, jobs):
    name = name_of(jobs[0])
    whole = bytes_of(filled, name)
    group = pq.ParquetFile(io.BytesIO(whole)).metadata.row_group(0)
    chunks = {group.column(i).path_in_schema: group.column(i) for i in range(group.num_columns)}
    chunk = chunks["loss"]
    end = chunk.data_page_offset + chunk.total_compressed_size
    for position in range(end - 40, end):
        flipped = bytearray(whole)
        flipped[position] ^= 1
        filled.objects.replace(name, bytes(flipped))
        with pytest.raises(CorruptFileError, match=r"is damaged \(.*\); launch again to make it anew"):
            filled.read(name, columns=["loss"])
        assert filled.read(name, columns=["label"]).table.num_rows == 30


def test_a_configuration_that_is_not_that_of_the_key_is_found(filled, jobs, predictions_of):
    footer = {**filled.read(name_of(jobs[0])).footer, "config_json": "{}"}
    filled.objects.replace(name_of(jobs[0]), encode_result(predictions_of(0), footer))
    assert [damage.problem for damage in verify(filled, deep=True)[1]] == [
        "the key is not the hash of the configuration in the footer"
    ]


def test_a_file_of_a_newer_schema_is_refused_and_found(filled, jobs, predictions_of):
    name = name_of(jobs[0])
    footer = {**filled.read(name).footer, "schema_version": "2"}
    filled.objects.replace(name, encode_result(predictions_of(0), footer))
    with pytest.raises(StoreMismatchError, match=r"has store schema 2, this overlap reads up to 1: upgrade"):
        filled.read(name)
    assert damaged(filled) == {name}


# --- weights, checkpoints, failures, the lock file, analyses


def weights_of(value=1.0):
    return safetensors.numpy.save({"layer.weight": np.full((2, 3), value, np.float32), "bias": np.zeros(3, np.float32)})


@pytest.fixture
def trained(store, plan_of):
    """A store with the weights of a plan's training, that job, and the job that evaluates it."""
    plan = plan_of()
    store.commit_weights(plan.training[0], weights_of())
    return store, plan.training[0], plan.evaluation[0]


def test_finished_weights_replace_their_checkpoint(store, plan_of):
    plan = plan_of()
    training, evaluation = plan.training[0], plan.evaluation[0]
    assert store.read_checkpoint(training) is None
    store.write_checkpoint(training, b"epoch 1")
    store.write_checkpoint(training, b"epoch 2")
    assert store.read_checkpoint(training) == b"epoch 2"
    assert (store.weights_names(), store.has_weights(training)) == ({}, False)
    store.commit_weights(training, weights_of())
    assert store.has_weights(training)
    assert store.read_checkpoint(training) is None
    store.commit_weights(training, weights_of(2.0))
    kept = safetensors.numpy.load(store.read_weights(evaluation))
    assert kept["layer.weight"].tolist() == [[1.0] * 3] * 2
    assert kept["bias"].tolist() == [0.0] * 3


def test_weights_of_a_variant_that_was_renamed_are_found_by_their_key(trained):
    store, _, evaluation = trained
    renamed = replace(evaluation, variant=replace(evaluation.variant, name="another"))
    assert store.read_weights(renamed) == store.read_weights(evaluation)


def test_weights_that_are_not_there_are_as_good_as_damaged(store, plan_of):
    with pytest.raises(CorruptFileError, match="is gone; launch again to train it anew"):
        store.read_weights(plan_of().evaluation[0])


def test_every_flipped_byte_of_weights_is_found(trained):
    store, _, evaluation = trained
    (name,) = store.weights_names().values()
    whole = bytes_of(store, name)
    for position in range(len(whole)):
        for bit in (1, 16, 128):
            flipped = bytearray(whole)
            flipped[position] ^= bit
            store.objects.replace(name, bytes(flipped))
            with pytest.raises(CorruptFileError, match="is damaged"):
                store.read_weights(evaluation)
    store.objects.replace(name, whole)
    assert verify(store, deep=True) == (1, [])


def test_swapped_weights_are_found(trained):
    store, training, evaluation = trained
    other = replace(training, key="0" * 64)
    store.commit_weights(other, weights_of(3.0))
    (mine, theirs) = (f"weights/{job.slug}.safetensors" for job in (training, other))
    content = bytes_of(store, theirs)
    store.objects.replace(theirs, bytes_of(store, mine))
    store.objects.replace(mine, content)
    assert [damage.name for damage in verify(store, deep=True)[1]] == sorted([mine, theirs])
    with pytest.raises(CorruptFileError, match=f"the name says key {training.key[:16]}, the file 0000000000000000"):
        store.read_weights(evaluation)


@pytest.mark.parametrize("damage", [lambda c: c[:-1], lambda c: b"x" + c[1:], lambda c: c[:-1] + b"x", lambda _: b""])
def test_a_damaged_checkpoint_counts_as_none(store, plan_of, damage):
    (job,) = plan_of().training
    store.write_checkpoint(job, b"an epoch\nof training")
    assert store.read_checkpoint(job) == b"an epoch\nof training"
    name = f"checkpoints/{job.slug}.pt"
    store.objects.replace(name, damage(bytes_of(store, name)))
    assert store.read_checkpoint(job) is None


# --- what a launch looks at


def flip_a_bit(store, name):
    content = bytearray(bytes_of(store, name))
    content[len(content) // 2] ^= 4
    store.objects.replace(name, bytes(content))


@pytest.mark.parametrize("kind", ["results", "logits"])
def test_a_launch_reads_what_has_changed_since_it_was_whole(filled, jobs, kind):
    remember_sound(filled)
    assert find_damage(filled) == []
    name = name_of(jobs[1], kind)
    flip_a_bit(filled, name)
    assert {damage.name for damage in find_damage(filled)} == {name}


def test_a_launch_reads_results_that_it_never_saw(filled, jobs):
    flip_a_bit(filled, name_of(jobs[1]))
    assert {damage.name for damage in find_damage(filled)} == {name_of(jobs[1])}


@pytest.mark.parametrize("kind", ["results", "logits"])
def test_what_verify_has_found_is_found_again_by_the_next_launch(filled, jobs, kind):
    name = name_of(jobs[1], kind)
    flip_a_bit(filled, name)
    remember_sound(filled)  # as if the disk had lost that bit behind everybody's back
    assert find_damage(filled) == []
    assert {damage.name for damage in verify(filled, deep=True)[1]} == {name}
    assert {damage.name for damage in find_damage(filled)} == {name}


def test_damage_is_put_aside_with_the_result_that_it_belongs_to(filled, jobs):
    flip_a_bit(filled, name_of(jobs[0], "logits"))
    flip_a_bit(filled, name_of(jobs[1]))
    aside = put_aside(filled, verify(filled, deep=True)[1])
    assert set(aside) == {name_of(jobs[0], "logits"), name_of(jobs[0]), name_of(jobs[1])}
    assert filled.objects.names("quarantine") == sorted(f"quarantine/{name}.1" for name in aside)
    assert filled.objects.names("results") == [name_of(jobs[2])]
    assert filled.objects.names("logits") == sorted(name_of(job, "logits") for job in jobs[1:])
    assert find_damage(filled) == []


def test_a_result_without_its_logits_is_damage(filled, jobs):
    filled.objects.delete(name_of(jobs[0], "logits"))
    ((name, problem),) = [(one.name, one.problem) for one in find_damage(filled)]
    assert name == name_of(jobs[0])
    assert problem.endswith("has no logits beside it; launch again to make both")


def test_the_same_name_can_be_put_aside_twice(filled, jobs):
    name = name_of(jobs[0])
    content = bytes_of(filled, name)
    for _ in range(2):
        assert filled.put_aside(name)
        filled.objects.create(name, content)
    assert filled.objects.names("quarantine") == [f"quarantine/{name}.{i}" for i in (1, 2)]
    filled.objects.delete(name)
    assert not filled.put_aside(name)


def test_failures_come_back_as_they_were_written(store, jobs):
    failures = [
        Failure(
            variant="ä", stage="train", dataset="digits", key=job.key, attempt=attempt, batch_size=8,
            outcome="raised", node="n",
            cause="x\ny", last_lines=("a", "b"), final=attempt == 2, seconds=0.5,
        )
        for job in jobs[:1] for attempt in (1, 2)
    ]  # fmt: skip
    for failure in failures:
        store.write_failure(jobs[0], failure)
    assert store.failures() == failures


def test_a_lock_file_comes_back_as_it_was_written(store, plan_of):
    plan = plan_of('vary:\n  - {architecture: "sklearn:SVC", hyperparameters: {C: 2.0, kernel: rbf}}\n')
    lock = lock_of(plan)
    assert store.read_lock() is None
    store.write_sweep("name: x", lock)
    assert store.read_lock() == lock
    assert store.require_lock().results == {"digits": {job.variant.name: job.key for job in plan.evaluation}}


def test_a_place_without_a_sweep_is_no_store(store):
    with pytest.raises(ArgumentError, match=r"'memory://' is no store: it has no sweep\.lock\.json"):
        store.require_lock()


def test_an_analysis_can_be_made_again(store):
    assert store.read_analysis("digits", "pairs") is None
    for value in (1, 2):
        store.write_analysis("digits", "pairs", pl.DataFrame({"a": [value]}))
    assert store.read_analysis("digits", "pairs").to_dict(as_series=False) == {"a": [2]}


@pytest.mark.parametrize("content", [[], ["sweep.yaml"], ["sweep.lock.json", "notes.txt"], [".launch.lock"]])
def test_an_empty_folder_or_an_earlier_store_can_be_a_store(tmp_path, content):
    for name in content:
        (tmp_path / name).write_text("")
    assert open_objects(str(tmp_path)).names("") == sorted(n for n in content if not n.startswith("."))
