"""Greedy selection from the results on disk: against the definition, by every metric, under every limit."""

import json

import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal
from scipy.special import softmax

import overlap
from overlap.analyses import Calibration, Kind, Options, Where
from overlap.cli import run
from overlap.errors import ArgumentError
from overlap.selection import pool, threat_files
from overlap.selection.search import Metric, Search
from overlap.store import Outputs, Store, open_objects
from overlap_analysis import selection_mask
from synthetic_store import Shape, family_logits, fill, job_of, lock_for, partial, shared_part, synthetic_store, variant

STEPS = 8


def select(store, calibration=Calibration.SPLIT, where=Where.INPROCESS, memory=2.0**31, **search):
    options = Options(
        search=Search(**{"steps": STEPS, **search}), calibration=calibration, where=where, memory_bytes=memory
    )
    return overlap.analyze(store, kinds=(Kind.GREEDY,), options=options)


def grid_of(store, jobs, temperatures):
    """(V, N, C) stored probabilities in units of 2**-30."""
    logits = [np.stack(store.read(f"logits/v1/photos/{job.slug}.parquet").table.column("logits")) for job in jobs]
    scaled = [one.astype(np.float64) / temperature for one, temperature in zip(logits, temperatures, strict=True)]
    return np.rint(softmax(np.stack(scaled), axis=2) * 2**30).astype(np.int64)


def right(sums_NC, labels_N, best=1):
    return (np.argsort(-sums_NC, axis=1, kind="stable")[:, :best] == labels_N[:, None]).any(axis=1)


@pytest.fixture(params=[(9, 400, 4), (7, 150, 30)], ids=str)
def filled(request, tmp_path):
    """A store, the grid of its calibrated probabilities, labels and which examples choose; few or many classes."""
    shape = Shape(variants=request.param[0], examples=request.param[1], classes=request.param[2])
    shared = shared_part(shape)
    logits = [family_logits(shape, v, shared) for v in range(shape.variants)]
    logits[1] = logits[0]  # the same weights twice: a tie at every step
    temperatures = np.linspace(0.7, 1.9, shape.variants)
    store = Store(open_objects(str(tmp_path / "store")))
    jobs = fill(store, logits, shared[0], temperatures=temperatures)
    selected_N = selection_mask(np.arange(shape.examples), fraction=0.5, seed=0)
    return store, grid_of(store, jobs, temperatures), shared[0], selected_N


def score_by_definition(metric, sums_NC, labels_N):
    if metric == "nll":
        label_N = sums_NC[np.arange(len(labels_N)), labels_N] / sums_NC.sum(axis=1)
        return -np.mean(np.log(np.maximum(label_N, 1e-15)))
    if metric == "brier":
        p_NC = sums_NC / sums_NC.sum(axis=1, keepdims=True)
        return np.mean(((p_NC - np.eye(p_NC.shape[1])[labels_N]) ** 2).sum(axis=1))
    right_N = right(sums_NC, labels_N, 5 if metric == "top5" else 1)
    if metric == "balanced_accuracy":
        return np.mean([right_N[labels_N == label].mean() for label in np.unique(labels_N)])
    return right_N.mean()


@pytest.mark.parametrize("metric", [metric.value for metric in Metric])
def test_every_step_takes_the_best_candidate_and_scores_are_those_of_the_definition(filled, metric):
    store, grid, labels, selected = filled
    table = select(store, metric=Metric(metric)).tables["greedy"]
    names = [variant(v).name for v in range(len(grid))]
    sums, sign = np.zeros_like(grid[0]), -1 if metric in ("nll", "brier") else 1
    for row in table.iter_rows(named=True):
        found = [score_by_definition(metric, (sums + one)[selected], labels[selected]) for one in grid]
        best = max(sign * score for score in found)
        chosen = names.index(row["variant"])
        assert sign * found[chosen] == pytest.approx(best, abs=1e-8)
        assert row["tied"] == sum(abs(sign * score - best) < 1e-12 for score in found)
        sums = sums + grid[chosen]
        assert row["selection_score"] == pytest.approx(found[chosen], abs=1e-6)
        evaluation = score_by_definition(metric, sums[~selected], labels[~selected])
        assert row["evaluation_score"] == pytest.approx(evaluation, abs=1e-6)
        assert row["selection_accuracy"] == pytest.approx(right(sums, labels)[selected].mean(), abs=1e-12)
        assert row["evaluation_accuracy"] == pytest.approx(right(sums, labels)[~selected].mean(), abs=1e-12)
    assert table["metric"].unique().to_list() == [metric]
    assert table["selection_examples"][0] + table["evaluation_examples"][0] == len(labels)


def test_references_are_the_best_single_and_the_mean_of_all(filled):
    store, grid, labels, selected = filled
    references = select(store).tables["greedy_references"]
    accuracies = [right(one, labels)[selected].mean() for one in grid]
    alone = int(np.argmax(accuracies))
    assert references["reference"].to_list() == ["best single", "average of all"], "nobody measured what they cost"
    assert references["variant"].to_list() == [variant(alone).name, None]
    expected = [right(sums, labels)[~selected].mean() for sums in (grid[alone], grid.sum(axis=0))]
    assert references["evaluation_accuracy"].to_list() == pytest.approx(expected)


def test_bounds_of_the_mean_of_all_hold_where_not_every_output_is_read(filled, monkeypatch):
    store, grid, labels, selected = filled
    monkeypatch.setattr(pool, "_BYTES_AN_OUTPUT", 2.0**40)
    row = select(store).tables["greedy_references"].row(1, named=True)
    truth = right(grid.sum(axis=0), labels)[~selected].mean()
    assert row["evaluation_accuracy"] is None or row["evaluation_accuracy"] == pytest.approx(truth)
    assert row["evaluation_low"] < truth < row["evaluation_high"]


def test_pieces_kept_threats_and_ray_give_the_same_tables(tmp_path, monkeypatch):
    store = synthetic_store(tmp_path / "store", Shape(variants=6, examples=10_060, classes=11))
    whole = select(store, folds=2, bags=2).tables
    found = []
    original = threat_files.pack_threats
    monkeypatch.setattr(threat_files, "pack_threats", lambda *arguments: found.append(1) or original(*arguments))
    again = select(store, folds=2, bags=2).tables
    assert not found, "the store keeps the threats"
    pieces = synthetic_store(tmp_path / "pieces", Shape(variants=6, examples=10_060, classes=11))
    small = select(pieces, folds=2, bags=2, memory=400_000.0).tables
    assert len(found) > 5
    for name, table in whole.items():
        if name != "variants":
            assert_frame_equal(table, again[name])
            assert_frame_equal(table, small[name])


@pytest.mark.ray
def test_ray_gives_the_same_tables(tmp_path):
    shape = Shape(variants=5, examples=500, classes=6)
    here = select(synthetic_store(tmp_path / "here", shape), metric=Metric.BRIER).tables
    there = select(synthetic_store(tmp_path / "there", shape), metric=Metric.BRIER, where=Where.RAY).tables
    for name in ("greedy", "greedy_references"):
        assert_frame_equal(here[name], there[name])


def test_threats_of_other_variants_are_found_anew(tmp_path):
    shape = Shape(variants=6, examples=200, classes=5)
    shared = shared_part(shape)
    logits = [family_logits(shape, v, shared) for v in range(shape.variants)]
    store, fresh = (Store(open_objects(str(tmp_path / name))) for name in ("store", "fresh"))
    fill(store, logits, shared[0])
    select(store)
    logits[2] = -logits[2]
    for target in (store, fresh):
        fill(target, logits, shared[0], versions=["x", "x", "anew", "x", "x", "x"])
    assert_frame_equal(select(store).tables["greedy"], select(fresh).tables["greedy"])


def test_kept_threats_that_cannot_be_read_are_found_anew(tmp_path):
    store = synthetic_store(tmp_path / "store", Shape(variants=4, examples=120, classes=5))
    whole = select(store).tables["greedy"]
    table = "greedy_threats_calibrated_1"
    keys, frame = store.analysis_keys("photos", table), store.read_analysis("photos", table)
    for arrays in (b"no archive", frame["arrays"][0][:-200]):
        damaged = frame.with_columns(arrays=pl.Series([arrays]))
        store.write_analysis_parts("photos", table, [damaged], keys)
        assert_frame_equal(select(store).tables["greedy"], whole)


def test_limits_windows_and_starts_shape_the_path(tmp_path):
    store = synthetic_store(tmp_path / "store", Shape(variants=12, examples=500, classes=6))
    free = select(store).tables["greedy"]
    assert free["variant"].n_unique() < free.height, "members are used again"
    once = select(store, replacement=False, steps=40).tables["greedy"]
    assert sorted(once["variant"]) == [variant(v).name for v in range(12)]
    assert len(set(select(store, at_most={"architecture": 1}, replacement=False).tables["greedy"]["variant"])) == 3
    variants = overlap.analyze(store, kinds=()).tables["variants"].sort("accuracy")
    best, middle = variants["name"][-1], float(variants["accuracy"].median())
    low = select(store, start=(best,), accuracy=(0.0, middle)).tables["greedy"]
    weak = set(variants.filter(pl.col("accuracy") <= middle + 0.05)["name"])
    assert low["variant"][0] == best
    assert set(low["variant"][1:]) <= weak
    assert low["tied"].to_list()[0] is None
    chosen = select(store, sorted_start=3).tables["greedy"]["variant"][:3].to_list()
    assert len(set(chosen)) == 3
    early = select(store, steps=60, stop_early=True).tables["greedy"]
    assert_frame_equal(early, select(store, steps=60).tables["greedy"].head(early.height))


def test_costs_limit_the_members_and_name_the_best_single_that_costs_no_more(tmp_path):
    shape = Shape(variants=5, examples=300, classes=6)
    shared = shared_part(shape)
    store = Store(open_objects(str(tmp_path / "store")))
    logits = [family_logits(shape, v, shared) + (v == 4) * 2 * np.eye(6)[shared[0]] for v in range(5)]
    fill(store, logits, shared[0], footers=[{"wall_s": str(seconds)} for seconds in (1, 1, 1, 2, 50)])
    names = [variant(v).name for v in range(5)]
    free = select(store).tables["greedy"]
    assert free["variant"][0] == names[4], "the best, and the dearest"
    tables = select(store, max_cost={"seconds": 3.0}, replacement=False).tables
    members = [names.index(name) for name in tables["greedy"]["variant"]]
    assert sum((1, 1, 1, 2, 50)[member] for member in members) <= 3
    equal = tables["greedy_references"].row(2, named=True)
    assert equal["reference"] == "best single of equal cost"
    assert equal["variant"] in names[:4]


def test_folds_and_bags_tell_how_far_a_selection_can_be_trusted(tmp_path):
    store = synthetic_store(tmp_path / "store", Shape(variants=8, examples=600, classes=6))
    tables = select(store, folds=4, bags=3).tables
    folds = tables["greedy_folds"]
    assert folds["fold"].to_list() == [1, 2, 3, 4]
    assert folds["held_out_examples"].sum() == tables["greedy"]["selection_examples"][0]
    assert folds["selection_accuracy"].mean() > folds["held_out_accuracy"].mean()
    assert tables["greedy_bags"]["weight"].sum() == pytest.approx(1)
    assert tables["greedy_references"]["reference"].to_list()[-1] == "bagged"
    assert store.read_analysis("photos", "greedy_folds") is not None
    select(store)
    assert store.read_analysis("photos", "greedy_folds") is None, "it would speak of another selection"


def test_variants_of_which_only_the_top_classes_are_known_may_join(tmp_path):
    shape = Shape(variants=4, examples=300, classes=12)
    shared = shared_part(shape)
    probabilities = [softmax(family_logits(shape, v, shared).astype(np.float64), axis=1) for v in range(4)]
    store = Store(open_objects(str(tmp_path / "store")))
    jobs = [job_of(variant(v)) for v in range(4)]
    lock = lock_for(jobs, 12, 300)
    lock.outputs["photos"] = {job.variant.name: Outputs.TOP.value for job in jobs}
    store.write_lock(lock)
    known = []
    for job, p_NC in zip(jobs, probabilities, strict=True):
        top = np.argsort(-p_NC, axis=1, kind="stable")[:, :5]
        values = np.take_along_axis(p_NC, top, axis=1)
        store.commit_partial(job, partial(shared[0], top[:, 0], top, values), 12, {})
        known.append(np.zeros_like(p_NC))
        np.put_along_axis(known[-1], top, values, axis=1)
    analysis = select(store, metric=Metric.ACCURACY)
    first = analysis.tables["greedy"].row(0, named=True)
    selected = selection_mask(np.arange(300), fraction=0.5, seed=0)
    assert first["selection_accuracy"] == max(right(one, shared[0])[selected].mean() for one in known)
    assert any("only the likeliest classes are known" in note for note in analysis.notes)
    with pytest.raises(ArgumentError, match="--metric nll needs the probabilities of all classes, and of 4 variants"):
        select(store, metric=Metric.NLL)


def test_weaker_models_alone_are_added_to_strong_ones_and_both_ways_of_choosing_are_shown(filled):
    store, grid, labels, selected = filled
    options = Options(search=Search(steps=4))
    tables = overlap.analyze(store, kinds=(Kind.LOW_ACCURACY,), options=options).tables
    table, first = tables["low_accuracy"], tables["low_accuracy_first"]
    names = [variant(v).name for v in range(len(grid))]
    accuracy = {name: right(one, labels)[selected].mean() for name, one in zip(names, grid, strict=True)}
    starts = table["start"].unique(maintain_order=True).to_list()
    limit = min(accuracy[start] for start in starts)
    assert starts == first["start"].to_list()
    for (start, chosen_on), path in table.group_by("start", "chosen_on", maintain_order=True):
        members = [names.index(name) for name in path["variant"]]
        chosen = selected if chosen_on == "other examples" else ~selected
        assert path["variant"][0] == start
        assert path["added"].to_list() == [0, 1, 2, 3]
        for step, member in enumerate(members):
            sums = grid[members[: step + 1]].sum(axis=0)
            assert path["evaluation_accuracy"][step] == pytest.approx(right(sums, labels)[~selected].mean())
            if step:
                rivals = [v for v, name in enumerate(names) if accuracy[name] <= limit and name not in starts]
                before = grid[members[:step]].sum(axis=0)
                counts = [right(before + grid[v], labels)[chosen].sum() for v in rivals]
                assert member in rivals
                assert right(before + grid[member], labels)[chosen].sum() == max(counts)
        told = path["chosen_accuracy"].to_list()
        reached = first.row(starts.index(start), named=True)
        column = "best_of_path" if chosen_on == "other examples" else "best_of_reported_path"
        assert reached[column] == path["evaluation_accuracy"][told.index(max(told))]
    assert first["gain"].to_list() == pytest.approx((first["evaluation_accuracy"] - first["start_accuracy"]).to_list())


@pytest.mark.parametrize(
    ("search", "message"),
    [
        ({"steps": 0}, "--steps must be at least 1, got 0"),
        ({"steps": 2, "sorted_start": 3}, "--steps must be at least 3, got 2"),
        ({"folds": 1}, "--folds must be 0 or at least 2, got 1"),
        ({"folds": 4000}, "are too few for them"),
        ({"accuracy": (0.9, 0.1)}, "--min-accuracy and --max-accuracy must be in"),
        ({"accuracy": (0.0, 0.0)}, "no candidate has an accuracy from 0 to 0 on the selection examples; theirs are"),
        ({"at_most": {"size": 1}}, "--at-most takes architecture=N, framework=N, train_on=N, got 'size=1'"),
        (
            {"max_cost": {"gmacs": 3.0}},
            "billions of multiply-adds of an image are known of no variant here",
        ),
        ({"max_cost": {"euros": 3.0}}, "--max-cost takes gmacs=NUMBER or seconds=NUMBER, got 'euros=3.0'"),
        ({"selection": 1e-9}, "--selection 1e-09 leaves no example to choose on"),
    ],
)
def test_what_cannot_be_is_refused_in_a_line(tmp_path, search, message):
    store = synthetic_store(tmp_path / "store", Shape(variants=3, examples=50, classes=3))
    with pytest.raises(ArgumentError) as caught:
        select(store, **search)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_command_prints_the_path_what_it_must_beat_and_the_folds(tmp_path, capsys):
    folder = tmp_path / "store"
    synthetic_store(folder, Shape(variants=6, examples=300, classes=5))
    arguments = ["analyze", "greedy", str(folder), "--steps", "4", "--metric", "nll", "--folds", "3", "--bags", "2"]
    assert run([*arguments, "--no-replacement", "--at-most", "framework=3", "--ties", "autogluon"]) == 0
    shown = capsys.readouterr().out
    for words in ("nll", "best single variant-", "average of all", "bagged", "best prefix", "3 folds:"):
        assert words in shown
    assert run([*arguments, "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)["greedy"]) == 4
    assert run(["analyze", "greedy", str(folder), "--at-most", "framework"]) == 3
    assert "--at-most takes LEVEL=N" in capsys.readouterr().err
