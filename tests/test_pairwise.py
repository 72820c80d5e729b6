"""All pairs of a store's variants against the definitions, from the results on disk to the tables."""

import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal
from scipy.special import softmax

import overlap
from overlap import score_files
from overlap.analyses import Calibration, Kind, Options, Where
from overlap.cli import run
from overlap.pairwise import ensemble_sums
from overlap.store import Outputs, Store, open_objects
from overlap.variants import category
from overlap_analysis import RULES, undecided
from synthetic_store import Shape, family_logits, fill, job_of, lock_for, partial, shared_part, synthetic_store, variant

PAIRWISE = (Kind.PAIRS, Kind.ENSEMBLES, Kind.CATEGORIES)
BOTH = Options(calibration=Calibration.BOTH)


def stored_logits(store, job):
    """(N, C) as they were rounded."""
    table = store.read(f"logits/v1/photos/{job.slug}.parquet").table
    return np.stack(table.column("logits").to_numpy()).astype(np.float64)


def ensemble_is_right(rule, logits_a, logits_b, labels_N):
    """By definition, with NumPy's arg-max, which takes the lowest of equal classes."""
    if rule == "mean_logit":
        units = [np.rint(np.maximum(logits * 2**20, -(2**30))) for logits in (logits_a, logits_b)]
        return (units[0] + units[1]).argmax(axis=1) == labels_N
    units = [np.rint(softmax(logits, axis=1) * 2**30) for logits in (logits_a, logits_b)]
    if rule == "mean_probability":
        return (units[0] + units[1]).argmax(axis=1) == labels_N
    if rule == "max_confidence":
        return np.maximum(*units).argmax(axis=1) == labels_N
    votes = [logits.argmax(axis=1) for logits in (logits_a, logits_b)]
    return np.minimum(*votes) == labels_N


@pytest.fixture(params=[(9, 300, 4), (7, 120, 30), (3, 40, 2)], ids=str)
def filled(request, tmp_path):
    """A store, its jobs, labels and temperatures; fewer or more classes than are kept beside a result."""
    shape = Shape(variants=request.param[0], examples=request.param[1], classes=request.param[2])
    shared = shared_part(shape)
    logits = [family_logits(shape, v, shared) for v in range(shape.variants)]
    logits[1] = logits[0]  # the same weights twice
    temperatures = np.linspace(0.7, 1.9, shape.variants)
    store = Store(open_objects(str(tmp_path / "store")))
    return store, fill(store, logits, shared[0], temperatures=temperatures), shared[0], temperatures


def test_every_ensemble_of_every_rule_is_that_of_the_definition(filled):
    store, jobs, labels_N, temperatures = filled
    table = overlap.analyze(store, kinds=PAIRWISE, options=BOTH).tables["ensembles"]
    assert table.height == len(jobs) * (len(jobs) - 1) // 2 * 7
    logits = {job.variant.name: stored_logits(store, job) for job in jobs}
    scale = {job.variant.name: temperature for job, temperature in zip(jobs, temperatures, strict=True)}
    for row in table.iter_rows(named=True):
        divided = [logits[row[m]] / (scale[row[m]] if row["calibrated"] else 1.0) for m in ("a", "b")]
        right_N = ensemble_is_right(row["rule"], *divided, labels_N)
        members = [one.argmax(axis=1) == labels_N for one in divided]
        assert round(row["accuracy"] * len(labels_N)) == right_N.sum(), row
        one = members[0] ^ members[1]
        assert (row["one_right"], row["one_right_converted"]) == (one.sum(), (one & right_N).sum())
        assert row["both_wrong_rescued"] == (~members[0] & ~members[1] & right_N).sum()


def test_pairs_carry_the_counts_and_the_category_of_their_variants(filled):
    store, jobs, labels_N, _ = filled
    pairs = overlap.analyze(store, kinds=(Kind.PAIRS,)).tables["pairs"]
    predicted = {job.variant.name: stored_logits(store, job).argmax(axis=1) for job in jobs}
    variants = {job.variant.name: job.variant for job in jobs}
    for row in pairs.iter_rows(named=True):
        a, b = predicted[row["a"]], predicted[row["b"]]
        assert row["both_correct"] == ((a == labels_N) & (b == labels_N)).sum()
        assert row["both_wrong_same_class"] == ((a == b) & (a != labels_N)).sum()
        assert row["category"] == category(variants[row["a"]], variants[row["b"]]).word


@pytest.mark.parametrize("kept", [3, 8])
def test_growth_gives_the_tables_of_a_fresh_analysis_and_counts_new_rows_only(tmp_path, monkeypatch, kept):
    shape = Shape(variants=10, examples=260, classes=12)
    shared = shared_part(shape)
    logits = [family_logits(shape, v, shared) for v in range(shape.variants)]
    grown, fresh = (Store(open_objects(str(tmp_path / name))) for name in ("grown", "fresh"))
    fill(grown, logits[:kept], shared[0])
    overlap.analyze(grown, kinds=PAIRWISE)
    rows = []
    original = ensemble_sums.sum_chunks
    monkeypatch.setattr(
        "overlap.pairwise.ensemble_rows.sum_chunks",
        lambda chunk, work: rows.append(work.rows_R.tolist()) or original(chunk, work),
    )
    order = [9, *range(kept), *range(kept, 9)]  # a new variant before the known ones
    jobs = fill(grown, [logits[v] for v in order], shared[0], variants=[variant(v) for v in order])
    again = overlap.analyze(grown, kinds=PAIRWISE)
    expected = [0, *range(1 + kept, 10)] if kept == 8 else list(range(10))
    assert rows
    assert all(counted == expected for counted in rows)
    fill(fresh, [logits[v] for v in order], shared[0], variants=[job.variant for job in jobs])
    for name, table in overlap.analyze(fresh, kinds=PAIRWISE).tables.items():
        assert_frame_equal(table, again.tables[name])
    rows.clear()
    assert_frame_equal(overlap.analyze(grown, kinds=PAIRWISE).tables["ensembles"], again.tables["ensembles"])
    assert rows == []


def test_a_variant_that_was_made_anew_is_counted_anew(tmp_path):
    shape = Shape(variants=6, examples=100, classes=5)
    shared = shared_part(shape)
    logits = [family_logits(shape, v, shared) for v in range(shape.variants)]
    store, fresh = (Store(open_objects(str(tmp_path / name))) for name in ("store", "fresh"))
    fill(store, logits, shared[0])
    overlap.analyze(store, kinds=PAIRWISE)
    logits[2] = -logits[2]
    for target in (store, fresh):
        fill(target, logits, shared[0], versions=["x", "x", "anew", "x", "x", "x"])
    tables = [overlap.analyze(target, kinds=PAIRWISE).tables for target in (store, fresh)]
    for name in ("pairs", "ensembles", "categories"):
        assert_frame_equal(tables[0][name], tables[1][name])


@pytest.mark.parametrize("shape", [(12, 230, 14), (3, 10_040, 11)], ids=["many variants", "two row groups"])
def test_whatever_is_cut_into_pieces_gives_the_same_tables(tmp_path, monkeypatch, shape):
    variants, examples, classes = shape
    store = synthetic_store(tmp_path / "store", Shape(variants=variants, examples=examples, classes=classes))
    whole = overlap.analyze(store, kinds=PAIRWISE).tables
    for name in ("pairs", "ensembles", "ensemble_groups"):
        store.objects.delete(f"analysis/photos/{name}.parquet")
    monkeypatch.setattr("overlap.pairwise.pair_rows.PAIRS_AT_ONCE", 7)
    monkeypatch.setattr("overlap.pairwise.ensemble_rows.PAIRS_AT_ONCE", 5)
    monkeypatch.setattr(undecided, "_DENSE_BYTES", 8 * 14 * 3)
    monkeypatch.setattr(undecided, "_AT_ONCE", 100)
    monkeypatch.setattr(score_files, "BYTES_A_ROW", 1000 if examples < 1000 else 20)
    pieces = overlap.analyze(store, kinds=PAIRWISE, options=Options(memory_bytes=100_000)).tables
    for name, table in whole.items():
        assert_frame_equal(table, pieces[name])


@pytest.mark.ray
def test_a_ray_gives_the_same_tables(tmp_path):
    store = synthetic_store(tmp_path / "store", Shape(variants=12, examples=230, classes=14))
    here = overlap.analyze(store).tables
    for name in ("pairs", "ensembles", "ensemble_groups"):
        store.objects.delete(f"analysis/photos/{name}.parquet")
    there = overlap.analyze(store, options=Options(where=Where.RAY, memory_bytes=200_000))
    assert there.where is Where.RAY
    for name, table in here.items():
        assert_frame_equal(table, there.tables[name])


def test_what_is_known_of_a_variant_decides_what_is_made_of_it(tmp_path):
    shape = Shape(variants=4, examples=90, classes=12)
    shared = shared_part(shape)
    labels_N = shared[0]
    store = Store(open_objects(str(tmp_path / "store")))
    jobs = fill(store, [family_logits(shape, v, shared) for v in range(2)], labels_N)
    probabilities = softmax(family_logits(shape, 2, shared), axis=1)
    order = np.argsort(-probabilities, axis=1, kind="stable")[:, :5]
    top = partial(labels_N, order[:, 0], order, np.take_along_axis(probabilities, order, axis=1))
    answers = np.where(np.arange(90) % 7, labels_N, -1)
    answers[:20] = (labels_N[:20] + 1) % 12
    human = partial(labels_N, answers, np.empty((90, 0)), np.empty((90, 0)))
    for v, known in ((2, top), (3, human)):
        jobs.append(job_of(variant(v)))
        store.commit_partial(jobs[-1], known, 12, {})
    lock = lock_for(jobs, 12, 90)
    lock.outputs["photos"] = {variant(2).name: Outputs.TOP.value, variant(3).name: Outputs.PREDICTION.value}
    store.write_lock(lock)

    analysis = overlap.analyze(store)
    ensembles = analysis.tables["ensembles"]
    assert dict(ensembles.group_by("rule").len().iter_rows()) == dict(zip(RULES, (3, 1, 6, 3), strict=True))
    scored = ensembles.filter(pl.col("rule") == "mean_probability")
    assert scored["complete"].to_list() == [True, False, False]
    vote = ensembles.filter((pl.col("rule") == "vote") & (pl.col("b") == variant(3).name))
    for row in vote.iter_rows(named=True):
        other = next(job for job in jobs if job.variant.name == row["a"])
        prediction = store.read(f"results/v1/photos/{other.slug}.parquet").table.column("prediction").to_numpy()
        voted = np.where(answers < 0, prediction, np.minimum(prediction, answers))
        assert round(row["accuracy"] * 90) == (voted == labels_N).sum()
    assert any("only the predictions" in note for note in analysis.notes)
    assert set(analysis.tables["greedy"]["variant"]) <= {variant(v).name for v in range(3)}
    assert analysis.tables["variants"]["nll"].is_null().to_list() == [False, False, True, True]


@pytest.mark.parametrize("variants", [1, 2])
def test_few_variants_and_methods_that_can_use_none_give_tables_without_rows(tmp_path, variants):
    shape = Shape(variants=variants, examples=30, classes=5)
    store = synthetic_store(tmp_path / "store", shape)
    tables = overlap.analyze(store).tables
    pairs = variants * (variants - 1) // 2
    assert (tables["pairs"].height, tables["ensembles"].height) == (pairs, 4 * pairs)

    human = Store(open_objects(str(tmp_path / "humans")))
    jobs = [job_of(variant(v)) for v in range(variants)]
    answers = partial(np.zeros(30, np.int32), np.zeros(30), np.empty((30, 0)), np.empty((30, 0)))
    for job in jobs:
        human.commit_partial(job, answers, 5, {})
    lock = lock_for(jobs, 5, 30)
    lock.outputs["photos"] = {job.variant.name: Outputs.PREDICTION.value for job in jobs}
    human.write_lock(lock)
    analysis = overlap.analyze(human, options=Options(rules=("mean_probability",)))
    assert analysis.tables["ensembles"].height == 0
    assert "greedy" not in analysis.tables


def test_top_lists_alone_give_the_ensembles_of_the_classes_that_they_name(tmp_path):
    rng = np.random.default_rng(0)
    labels_N = rng.integers(0, 6, 200).astype(np.int32)
    probabilities = rng.dirichlet(np.full(6, 0.4), (3, 200))
    store = Store(open_objects(str(tmp_path / "store")))
    jobs = [job_of(variant(v)) for v in range(3)]
    known_VNC = np.zeros_like(probabilities)
    for v, job in enumerate(jobs):
        order = np.argsort(-probabilities[v], axis=1, kind="stable")[:, : 2 + v]
        values = np.take_along_axis(probabilities[v], order, axis=1)
        np.put_along_axis(known_VNC[v], order, values, axis=1)
        store.commit_partial(job, partial(labels_N, order[:, 0], order, values), 6, {})
    lock = lock_for(jobs, 6, 200)
    lock.outputs["photos"] = {job.variant.name: Outputs.TOP.value for job in jobs}
    store.write_lock(lock)
    ensembles = overlap.analyze(store, kinds=(Kind.ENSEMBLES,)).tables["ensembles"]
    means = ensembles.filter(pl.col("rule") == "mean_probability")
    for row, (a, b) in zip(means.iter_rows(named=True), [(0, 1), (0, 2), (1, 2)], strict=True):
        right_N = (known_VNC[a] + known_VNC[b]).argmax(axis=1) == labels_N
        assert abs(row["accuracy"] * 200 - right_N.sum()) <= 1  # float16 in the file
        assert not row["complete"]


def test_the_command_takes_rules_and_says_where_it_computed(tmp_path, capsys):
    store = synthetic_store(tmp_path / "store", Shape(variants=4, examples=60, classes=5))
    words = ["analyze", "ensembles", str(tmp_path / "store"), "--rule", "vote", "--rule", "mean_logit"]
    assert run([*words, "--calibration", "both", "--explain"]) == 0
    shown = capsys.readouterr().out
    assert "where: inprocess" in shown
    table = store.read_analysis("photos", "ensembles")
    methods = table.select("rule", "calibrated").unique(maintain_order=True).rows()
    assert methods == [("vote", False), ("mean_logit", True), ("mean_logit", False)]
    assert run(["analyze", "pairs", str(tmp_path / "store"), "--no-intervals", "--soft"]) == 0
    assert "kappa_low" not in store.read_analysis("photos", "pairs").columns
    soft = store.read_analysis("photos", "soft")
    assert ((soft["capa_low"] <= soft["capa"]) & (soft["capa"] <= soft["capa_high"])).all()


def test_an_analysis_of_another_version_is_made_anew(tmp_path, monkeypatch):
    store = synthetic_store(tmp_path / "store", Shape(variants=4, examples=60, classes=5))
    monkeypatch.setattr("overlap.store.analysis_files.TABLES_VERSION", b"0")
    overlap.analyze(store, kinds=PAIRWISE)
    monkeypatch.undo()
    assert store.read_analysis("photos", "pairs") is None
    assert store.analysis_keys("photos", "pairs") == {}
    overlap.analyze(store, kinds=PAIRWISE)
    assert store.read_analysis("photos", "pairs").height == 6
