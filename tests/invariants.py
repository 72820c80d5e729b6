"""What must be true of a store after any launch, however it ended; every test of faults asks this one function.

The letters are those of the test plan: I1 counts add up, I2 one file a key, I3 every file reads whole,
I4 bits equal an undisturbed run's, I5 nothing paid for twice, I6 no old temporary, I7 status and store
agree, I8 nothing half visible.
"""

import time
from pathlib import Path

import numpy as np

import overlap
from overlap.datasets import load_dataset
from overlap.errors import CorruptFileError
from overlap.standing import JobState
from overlap.store import lock_of
from overlap.store.local import STALE_TEMPORARY_S, LocalObjects
from overlap.store.rows import Predictions, result_rows
from overlap.store.schema import hash_ids, matrix
from overlap.store.seals import unseal_checkpoint
from overlap.store.store import LOCK, QUARANTINE, SWEEP, key_in_name
from overlap.store.verify import EVERYTHING, LOGITS, RESULTS, WEIGHTS, verify

ROOMS = (*EVERYTHING, "embeddings", "failures", "checkpoints", "analysis", QUARANTINE)
FOOTER = ("key", "config_json", "variant", "dataset", "examples", "example_order_sha256", "payload_sha256")


def assert_invariants(store, *, reference=None, plan=None):
    """Nothing, if a store that a sweep was launched into holds what it promises, in whatever state it is.

    I1 each of the sweep's jobs is done, failed or pending, and exactly one of them;
    I2 a key has at most one result, one logits and one weights file;
    I3 each of them reads with its checksums on, has every footer key, as many rows as the dataset has
       examples, and the dataset's examples in the dataset's order;
    I4 with a `reference` store: what both hold is equal, tables and weights bit for bit;
    I6 no temporary file is older than the time after which a launch removes it;
    I7 a job is done if and only if its result is there, and failed if and only if a failure says so;
    I8 whatever can be listed is whole and in its place, and a result is what its logits say.

    I5 compares two moments: see `committed` and `assert_nothing_redone`.

    Args:
        store: any `overlap.Store`.
        reference: the store of an undisturbed run of the same sweep.
        plan: what was launched; adds that the store is this sweep's, and its datasets' true order (I3).
    """
    lock = store.require_lock()
    if plan is not None:
        assert lock == lock_of(plan), "I7: the lock file is not the plan's"
    _assert_counts(store, lock)
    _assert_one_file_a_key(store, lock)
    _assert_whole(store)
    tables = _read_pairs(store)
    for name, (result, logits) in tables.items():
        _assert_footer(name, result.footer, lock)
        _assert_examples(name, result, lock, plan)
        _assert_agree(name, result, logits)
    _assert_one_order(tables)
    _assert_status(store, lock, tables)
    _assert_places(store)
    _assert_no_old_temporary(store)
    if reference is not None:
        _assert_equal(store, reference, tables)


def committed(store):
    """What is paid for: the stamps of every result, logits and weights file; for `assert_nothing_redone`."""
    return {name: stamp for room in EVERYTHING for name, stamp in store.objects.stamps(room).items()}


def assert_nothing_redone(before, store):
    """I5: what had been committed `before` is there unchanged, not written again."""
    after = committed(store)
    changed = {name for name, stamp in before.items() if after.get(name) != stamp}
    assert not changed, f"I5: {sorted(changed)} had been committed, and changed or vanished"


def _assert_counts(store, lock):
    counts = overlap.status(store).counts
    jobs = len(lock.variants) * len(lock.results)
    assert sum(counts.values()) == jobs, f"I1: {counts} do not add up to {jobs} jobs"
    assert set(counts) == {"done", "failed", "pending"}, f"I1: unknown states in {counts}"


def _assert_one_file_a_key(store, lock):
    rooms = [f"{room}/v1/{dataset}" for room in (RESULTS, LOGITS) for dataset in lock.results] + [WEIGHTS]
    for room in rooms:
        names = store.objects.names(room)
        keys = [key_in_name(name) for name in names]
        twice = [name for name, key in zip(names, keys, strict=True) if keys.count(key) > 1]
        assert not twice, f"I2: several files for one key: {twice}"


def _assert_whole(store):
    read, damage = verify(store, deep=True)
    assert not damage, "I3: " + "; ".join(f"{one.name}: {one.problem}" for one in damage)
    assert read == len(committed(store)), f"I3: verify read {read} files, {len(committed(store))} are there"


def _read_pairs(store):
    """Every result with its logits, by the result's name."""
    pairs = {}
    for name in store.objects.names(RESULTS):
        try:
            pairs[name] = store.read(name), store.read(name.replace(RESULTS, LOGITS, 1))
        except KeyError as error:
            raise AssertionError(f"I8: {name} is listed, but {error} is not there") from error
    return pairs


def _assert_footer(name, footer, lock):
    missing = [key for key in (*FOOTER, "temperature") if not footer.get(key)]
    assert not missing, f"I3: {name} has no {missing} in its footer"
    assert footer["dataset"] == Path(name).parent.name, f"I3: {name} holds a result on {footer['dataset']}"
    keys = lock.results[footer["dataset"]]
    if footer["variant"] in keys:
        assert keys[footer["variant"]] == footer["key"], f"I3: {name} is not the key of {footer['variant']}"


def _assert_examples(name, result, lock, plan):
    dataset, rows = result.footer["dataset"], result.table.num_rows
    split = lock.datasets[dataset].splits["test"]
    assert rows == int(result.footer["examples"]), f"I3: {name} has {rows} rows, its footer says otherwise"
    if result.footer["key"] in lock.results[dataset].values():
        assert rows == split.size, f"I3: {name} has {rows} rows, {dataset} has {split.size}"
    ids_N = result.table.column("example").to_numpy()
    assert hash_ids(ids_N) == result.footer["example_order_sha256"], f"I3: {name} has other examples than it says"
    specs = {spec.name: spec for spec in plan.sweep.datasets} if plan else {}
    if dataset in specs:
        expected = load_dataset(specs[dataset]).splits["test"]
        assert np.array_equal(ids_N, expected.ids_N), f"I3: {name} does not have the examples of {dataset} in order"
        labels_N = result.table.column("label").to_numpy()
        assert np.array_equal(labels_N, expected.labels_N), f"I3: {name} does not have the labels of {dataset}"


def _assert_one_order(tables):
    orders = {}
    for name, (result, logits) in tables.items():
        for stored, file in ((result, name), (logits, name.replace(RESULTS, LOGITS, 1))):
            order = stored.footer["example_order_sha256"]
            first = orders.setdefault(stored.footer["dataset"], (order, file))
            assert order == first[0], f"I3: {file} has other examples than {first[1]}"


def _assert_agree(name, result, logits):
    """Every column of a result follows from the stored logits, to the last bit."""
    for key in ("key", "temperature", "examples"):
        assert result.footer[key] == logits.footer[key], f"I8: {name} and its logits differ in '{key}'"
    predictions = Predictions(
        ids_N=result.table.column("example").to_numpy(),
        labels_N=result.table.column("label").to_numpy(),
        logits_NC=matrix(logits.table, "logits"),
        temperature=float(logits.footer["temperature"]),
    )
    rows = result_rows(predictions.logits_NC, predictions.labels_N, predictions.temperature)
    for column in (
        "prediction", "correct", "label_probability", "confidence", "loss", "log_partition", "calibrated_log_partition",
        "label_logit",
    ):  # fmt: skip
        stored_N = result.table.column(column).to_numpy()
        assert np.array_equal(stored_N, getattr(rows, f"{column}_N")), (
            f"I8: {column} of {name} is not what its logits say"
        )
    for column in ("top_classes", "top_logits"):
        stored_NK = matrix(result.table, column)
        assert np.array_equal(stored_NK, getattr(rows, f"{column}_NK")), f"I8: {column} of {name} is not its logits'"


def _assert_status(store, lock, tables):
    done = {(result.footer["dataset"], result.footer["key"]) for result, _ in tables.values()}
    final = {failure.key for failure in store.failures() if failure.final}
    for job in overlap.status(store).jobs:
        key, training = lock.results[job.dataset][job.variant], lock.training.get(job.variant, "")
        where = f"{job.variant} on {job.dataset}"
        assert (job.state is JobState.DONE) == ((job.dataset, key) in done), f"I7: {where} is said to be {job.state}"
        if job.state is JobState.FAILED:
            assert job.failure is not None, f"I7: {where} failed without a reason"
            assert job.failure.key in {key, training}, f"I7: {where} failed for the reason of {job.failure.variant}"
        if job.state is JobState.PENDING:
            assert key not in final, f"I7: {where} has a final failure, and is said to be pending"


def _assert_places(store):
    for name in store.objects.names(""):
        assert name in {LOCK, SWEEP} or name.partition("/")[0] in ROOMS, f"I8: {name} is nothing of ours"
        try:
            with store.objects.open(name) as file:
                content = file.read()
        except KeyError as error:
            raise AssertionError(f"I8: {name} is listed, but cannot be opened") from error
        assert content, f"I8: {name} is empty"
        if name.startswith("checkpoints/"):
            assert unseal_checkpoint(content) is not None, f"I8: {name} is no whole checkpoint"
    try:
        store.failures()
    except CorruptFileError as error:
        raise AssertionError(f"I8: {error}") from error


def _assert_no_old_temporary(store):
    if not isinstance(store.objects, LocalObjects):
        return  # one PUT an object leaves nothing behind
    limit = time.time() - STALE_TEMPORARY_S
    old = [str(path) for path in store.objects.root.rglob(".*.tmp") if path.stat().st_mtime < limit]
    assert not old, f"I6: {old} were left behind"


def _assert_equal(store, reference, tables):
    for name, pair in tables.items():
        other = reference.result_names(pair[0].footer["dataset"]).get(key_in_name(name))
        if other is None:
            continue
        for stored, expected in zip(pair, (other, other.replace(RESULTS, LOGITS, 1)), strict=True):
            right = reference.read(expected)
            assert stored.table.equals(right.table), f"I4: {name} does not equal {expected} of the reference"
            assert stored.footer["temperature"] == right.footer["temperature"], f"I4: temperature of {name}"
    weights = reference.weights_names()
    for key, name in store.weights_names().items():
        if key in weights:
            equal = store.read_bytes(name) == reference.read_bytes(weights[key])
            assert equal, f"I4: {name} does not equal {weights[key]} of the reference"
