"""Predictions that were made elsewhere: every format and kind of outputs, again and more, the command."""

import json

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import overlap
from overlap import status, verify
from overlap.cli import run
from overlap.errors import ArgumentError, CorruptFileError
from overlap.imports import import_predictions
from overlap.imports.classes import class_numbers
from overlap.imports.examples import Examples
from overlap.imports.files import Table
from overlap.imports.outputs import read_outputs
from overlap.imports.rows import sorted_rows
from overlap.store import Outputs, Predictions, Store, open_objects
from overlap.store.schema import encode_result, matrix
from prediction_files import EXAMPLES, LABELS, WRITERS, changed, columns_of, logits_of, outcomes_of, result_of, softmax

# --- imported, as it was given


@pytest.mark.parametrize("kind", ["logits", "probabilities", "top_classes", "prediction"])
def test_every_format_and_order_of_rows_gives_the_same_results(write, store, kind):
    columns = columns_of(kind=kind)
    shuffled = np.random.default_rng(1).permutation(EXAMPLES)
    import_predictions([write("a", columns)], store, dataset="val")
    before = store.objects.stamps("")
    for form in WRITERS:
        path = write("a", {name: values[shuffled] for name, values in columns.items()}, form, folder=form)
        imported = import_predictions([path], store, dataset="val")
        assert (imported.new, imported.variants[0].new) == (0, False), form
    assert store.objects.stamps("") == before
    assert verify(store, deep=True)[1] == []


@pytest.mark.parametrize("kind", ["logits", "probabilities"])
def test_full_outputs_become_logits_with_their_softmax_and_their_arg_max(write, store, kind):
    columns = columns_of(kind=kind)
    import_predictions([write("a", columns)], store, dataset="val")
    result = result_of(store, "a")
    key = store.require_lock().results["val"]["a"]
    logits_NC = matrix(store.read(store.result_names("val")[key[:16]].replace("results", "logits")).table, "logits")
    np.testing.assert_allclose(softmax(logits_NC), softmax(logits_of(0)), rtol=5e-3)
    np.testing.assert_array_equal(result.table.column("prediction").to_numpy(), logits_of(0).argmax(axis=1))
    np.testing.assert_array_equal(result.table.column("label_logit").to_numpy(), logits_NC[np.arange(EXAMPLES), LABELS])
    assert result.footer["outputs"] == "logits"
    assert store.require_lock().outputs == {"val": {"a": "logits"}}


@settings(max_examples=60, deadline=None)
@given(
    kind=st.sampled_from(["logits", "probabilities"]),
    rows=st.lists(
        st.lists(
            st.sampled_from([0.25, 0.25 + 2**-54, 0.25 - 2**-54, 0.25 + 1e-9, 1e-60, 2e-60, 0.5]),
            min_size=3,
            max_size=3,
        ),
        min_size=1,
        max_size=5,
    ),
)
def test_the_largest_output_stays_the_largest_however_close_the_others_are(kind, rows):
    values_NC = np.array(rows)
    if kind == "probabilities":  # the rest of the mass goes to two classes that are far apart
        rest_N = 1 - values_NC.sum(axis=1).clip(max=1)
        values_NC = np.column_stack([values_NC, rest_N])
        values_NC = values_NC[(values_NC.sum(axis=1) > 0.995) & (values_NC.sum(axis=1) < 1.005)]
    if not len(values_NC):
        return
    frame = pl.DataFrame({"row": range(len(values_NC)), "example": range(len(values_NC)), kind: list(values_NC)})
    table = Table(path=None, variant="a", kind=kind, frame=frame)
    examples = Examples(names=frame["example"], labels_N=np.zeros(len(values_NC), np.int32))
    predictions = read_outputs(sorted_rows(table), examples, tuple("abcd"[: values_NC.shape[1]]))
    np.testing.assert_array_equal(predictions.logits_NC.argmax(axis=1), values_NC.argmax(axis=1))
    assert ((predictions.logits_NC == 0).sum(axis=1) == 1).all()


def test_of_top_lists_only_the_listed_probabilities_are_known(write, store):
    columns = columns_of(kind="top_classes")
    import_predictions([write("a", columns)], store, dataset="val")
    result = result_of(store, "a")
    table = result.table
    assert (result.footer["outputs"], store.objects.names("logits")) == ("top", [])
    top_logits_NK, log_partition_N = matrix(table, "top_logits"), table.column("log_partition").to_numpy()
    top_NK = np.exp(top_logits_NK.astype(np.float64) - log_partition_N[:, None])
    np.testing.assert_allclose(top_NK, columns["top_probabilities"], rtol=5e-3)
    np.testing.assert_array_equal(matrix(table, "top_classes"), columns["top_classes"])
    np.testing.assert_array_equal(top_logits_NK[:, 0], 0)
    listed_N = (columns["top_classes"] == LABELS[:, None]).any(axis=1)
    assert 0 < listed_N.sum() < EXAMPLES
    loss, label_logit_N = table.column("loss"), table.column("label_logit").to_numpy()
    assert loss.is_valid().to_numpy().tolist() == listed_N.tolist()
    assert np.isneginf(label_logit_N).tolist() == (~listed_N).tolist()
    expected_N = -np.log(softmax(logits_of(0))[np.arange(EXAMPLES), LABELS])
    np.testing.assert_allclose(loss.to_numpy()[listed_N], expected_N[listed_N], rtol=1e-2, atol=1e-3)
    outcomes = outcomes_of(store)
    assert outcomes.outputs == (Outputs.TOP,)
    assert np.isnan(outcomes.loss_V).tolist() == [True]


def test_of_predictions_nothing_else_is_known_and_no_answer_is_wrong(write, store):
    columns = columns_of(kind="prediction")
    answers = pl.Series([None, *columns["prediction"][1:].tolist()])
    imported = import_predictions([write("a", columns | {"prediction": answers})], store, dataset="val")
    assert imported.variants[0].unanswered == 1
    table = result_of(store, "a").table
    assert {"top_classes", "top_logits"}.isdisjoint(table.column_names)
    for column in ("loss", "confidence", "label_probability", "log_partition", "calibrated_log_partition"):
        assert table.column(column).null_count == EXAMPLES
    assert np.isneginf(table.column("label_logit").to_numpy()).all()
    outcomes = outcomes_of(store)
    assert outcomes.predictions_VN[0].tolist() == [-1, *columns["prediction"][1:].tolist()]
    assert not outcomes.correct_VN[0, 0]
    assert np.isnan([outcomes.loss_V[0], outcomes.temperature_V[0]]).all()


HUMANS = """\
imagename,subj,object_response,category,session
cat2.png,human-1,cat,cat,1
dog1.png,human-1,cat,dog,1
owl1.png,human-1,,owl,1
dog1.png,human-2,dog,dog,2
cat2.png,human-2,fox,cat,2
owl1.png,human-2,owl,owl,2
"""
HUMAN_COLUMNS = {"example": "imagename", "variant": "subj", "prediction": "object_response", "label": "category"}


def test_human_observers_in_one_long_file_with_names_for_everything(tmp_path, store):
    path = tmp_path / "humans.csv"
    path.write_text(HUMANS)
    imported = import_predictions([path], store, dataset="animals", columns=HUMAN_COLUMNS)
    assert [(one.name, one.unanswered) for one in imported.variants] == [("human-1", 1), ("human-2", 0)]
    assert store.require_lock().datasets["animals"].class_names == ("cat", "dog", "fox", "owl")
    outcomes = outcomes_of(store, "animals")
    assert outcomes.predictions_VN.tolist() == [[0, 0, -1], [2, 1, 3]]
    assert outcomes.labels_N.tolist() == [0, 1, 3]
    names, labels_N = store.read_examples("animals")
    assert (names, labels_N.tolist()) == (["cat2.png", "dog1.png", "owl1.png"], [0, 1, 3])
    pairs = overlap.analyze(store, kinds=["pairs"]).tables["pairs"]
    assert pairs.select("both_correct", "only_a_correct", "only_b_correct", "category").rows() == [(0, 1, 2, "unknown")]
    path.write_text(HUMANS + "owl1.png,human-3,owl,owl,3\ndog1.png,human-3,fox,dog,3\ncat2.png,human-3,cat,cat,3\n")
    imported = import_predictions([path], store, dataset="animals", columns=HUMAN_COLUMNS)
    assert [one.new for one in imported.variants] == [False, False, True]


def test_variants_of_one_class_list_may_say_classes_by_name_or_number(write, store, tmp_path):
    (tmp_path / "classes.txt").write_text("zebra\nant\nmole\nbee\n")
    names = np.array(["zebra", "ant", "mole", "bee"])
    by_name = {"label": names[LABELS], "prediction": names[logits_of(0).argmax(axis=1)]}
    files = [write("full", columns_of()), write("named", columns_of() | by_name, "parquet")]
    pl.read_parquet(files[1]).drop("logits").write_parquet(files[1])
    import_predictions(files, store, dataset="val", classes=str(tmp_path / "classes.txt"))
    outcomes = outcomes_of(store)
    assert outcomes.class_names == ("zebra", "ant", "mole", "bee")
    np.testing.assert_array_equal(outcomes.predictions_VN[0], outcomes.predictions_VN[1])
    assert outcomes.outputs == (Outputs.LOGITS, Outputs.PREDICTION)


def test_top_lists_may_name_their_classes(write, store):
    names = np.array(["a", "b", "c", "d"])
    columns = columns_of(kind="top_classes")
    columns |= {"label": names[LABELS], "top_classes": names[columns["top_classes"]]}
    for form in ("parquet", "json", "numbered", "npz"):
        import_predictions([write("a", columns, form, folder=form)], store, dataset="val")
    np.testing.assert_array_equal(outcomes_of(store).predictions_VN[0], logits_of(0).argmax(axis=1))


def test_classes_may_be_those_of_a_label_space(write, store):
    columns = columns_of(kind="prediction")
    import_predictions([write("a", columns)], store, dataset="val", classes="imagenet-1k")
    assert store.require_lock().datasets["val"].class_names[:2] == ("n01440764", "n01443537")


@given(st.lists(st.none() | st.integers(-3, 6), max_size=8), st.integers(1, 4))
@settings(deadline=None)
def test_class_numbers_are_minus_one_outside_and_null_for_nothing(numbers, classes):
    names = [f"c{i}" for i in range(classes)]
    expected = [None if n is None else n if 0 <= n < classes else -1 for n in numbers]
    assert class_numbers(pl.Series("x", numbers, pl.Int64), names).to_list() == expected
    words = pl.Series("x", [None if n is None else f"c{n}" for n in numbers], pl.String)
    assert class_numbers(words, names).to_list() == expected


# --- again, and more


def test_more_variants_of_the_same_examples_join_those_that_are_there(write, store):
    import_predictions([write("a", columns_of(0))], store, dataset="val")
    first = store.objects.stamps("results")
    imported = import_predictions([write("b", columns_of(1, "prediction"))], store, dataset="val")
    assert (imported.new, [one.name for one in imported.variants]) == (1, ["b"])
    assert outcomes_of(store).names == ("a", "b")
    assert first.items() <= store.objects.stamps("results").items()
    standing = status(store)
    assert standing.counts == {"done": 2, "failed": 0, "pending": 0}
    assert verify(store, deep=True) == (3, [])


def test_changed_content_is_refused_unless_it_is_to_replace_the_old(write, store):
    import_predictions([write("a", columns_of(0))], store, dataset="val")
    before = store.objects.stamps("")
    with pytest.raises(ArgumentError, match="'a' has changed since it was imported; say --replace"):
        import_predictions([write("a", columns_of(1))], store, dataset="val")
    assert store.objects.stamps("") == before
    import_predictions([write("a", columns_of(1))], store, dataset="val", replace=True)
    np.testing.assert_array_equal(outcomes_of(store).predictions_VN[0], logits_of(1).argmax(axis=1))
    assert import_predictions([write("a", columns_of(1))], store, dataset="val").new == 0


def test_a_store_may_hold_several_datasets_with_variants_of_their_own(write, store):
    import_predictions([write("a", columns_of(0)), write("b", columns_of(1))], store, dataset="val")
    few = {name: values[:5] for name, values in columns_of(2).items()}
    import_predictions([write("b", few, folder="more")], store, dataset="other")
    assert [(job.variant, job.dataset) for job in status(store).jobs] == [("a", "val"), ("b", "val"), ("b", "other")]
    assert outcomes_of(store, "other").names == ("b",)
    assert outcomes_of(store, "other").missing == ()


def test_damaged_results_are_put_aside_and_made_again(write, store):
    path = write("a", columns_of(0))
    import_predictions([path], store, dataset="val")
    name = store.objects.names("results")[0]
    content = bytearray(store.read_bytes(name))
    content[40] ^= 1
    store.objects.replace(name, bytes(content))
    imported = import_predictions([path], store, dataset="val")
    assert (imported.new, imported.put_aside) == (1, (name,))
    assert verify(store, deep=True) == (2, [])


def test_a_result_that_has_lost_its_logits_is_damaged_and_one_that_never_had_any_is_not(write, store):
    files = [write("a", columns_of(0)), write("b", columns_of(1, "prediction"))]
    import_predictions(files, store, dataset="val")
    store.objects.delete(store.objects.names("logits")[0])
    assert [damage.name for damage in verify(store, deep=False)[1]] == [result_name(store, "a")]
    assert import_predictions(files, store, dataset="val").new == 1
    assert verify(store, deep=True) == (3, [])


def result_name(store, variant):
    return store.result_names("val")[store.require_lock().results["val"][variant][:16]]


def test_an_import_that_was_cut_short_goes_on(write, store):
    files = [write("a", columns_of(0)), write("b", columns_of(1))]
    import_predictions(files, store, dataset="val")
    name = result_name(store, "b")
    store.objects.delete(name)
    assert status(store).counts["pending"] == 1
    imported = import_predictions(files, store, dataset="val")
    assert [one.new for one in imported.variants] == [False, True]
    assert name in store.objects.names("results")


# --- reading it back


def test_outcomes_without_hashes_of_the_examples_are_compared_by_their_columns(write, store):
    import_predictions([write("a", columns_of(0)), write("b", columns_of(1))], store, dataset="val")
    expected = outcomes_of(store)
    name = result_name(store, "b")
    stored = store.read(name)
    predictions = read_predictions(store, name, stored)
    old = {key: value for key, value in stored.footer.items() if key not in ("labels_sha256", "payload_sha256")}
    store.objects.replace(name, encode_result(predictions, old))
    np.testing.assert_array_equal(outcomes_of(store).predictions_VN, expected.predictions_VN)
    predictions.labels_N[3] -= 1
    store.objects.replace(name, encode_result(predictions, old))
    with pytest.raises(CorruptFileError, match="other examples or labels"):
        outcomes_of(store)


def read_predictions(store, name, stored):
    return Predictions(
        ids_N=stored.table.column("example").to_numpy(),
        labels_N=stored.table.column("label").to_numpy().copy(),
        logits_NC=matrix(store.read(name.replace("results", "logits")).table, "logits"),
        temperature=1.0,
    )


@pytest.mark.parametrize(("classes", "dtype"), [(2**15, np.int16), (2**15 + 1, np.int32)])
def test_predictions_are_as_small_as_the_number_of_classes_allows(write, store, classes, dtype):
    columns = columns_of(kind="prediction")
    columns["prediction"][0] = classes - 1
    import_predictions([write("a", columns)], store, dataset="val")
    predictions_VN = outcomes_of(store).predictions_VN
    assert predictions_VN.dtype == dtype
    assert predictions_VN[0, 0] == classes - 1


# --- the command


def test_the_command_says_what_it_has_imported_and_what_comes_next(write, tmp_path, capsys):
    files = [
        write("a", columns_of(0)),
        write("b", columns_of(1, "top_classes")),
        write("c", columns_of(2, "prediction")),
    ]
    arguments = ["predictions", "import", *map(str, files), "--store", str(tmp_path / "store"), "--dataset", "val"]
    assert run(arguments) == 0
    printed = capsys.readouterr().out
    assert "3 variants on val: 12 examples, 4 classes; 3 imported now\n" in printed
    for words in ("1 with all outputs", "1 with the most probable classes", "1 with one class an example"):
        assert words in printed
    assert f"next: overlap analyze {tmp_path / 'store'}" in printed
    assert run(["analyze", "pairs", str(tmp_path / "store")]) == 0
    assert run(["sweep", "status", str(tmp_path / "store")]) == 0
    assert run(["predictions", "verify", "--deep", str(tmp_path / "store")]) == 0
    assert "4 files read, 0 problems" in capsys.readouterr().out
    assert run([*arguments, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [one["outputs"] for one in found["variants"]] == ["logits", "top", "prediction"]
    assert not any(one["new"] for one in found["variants"])
    pairs = Store(open_objects(str(tmp_path / "store"))).read_analysis("val", "pairs")
    assert pairs["category"].to_list() == ["unknown"] * 3


def test_the_command_refuses_with_the_code_of_wrong_arguments(write, tmp_path, capsys):
    bad = write("a", changed(logits=(0, np.nan))(columns_of()))
    arguments = ["predictions", "import", str(bad), "--store", str(tmp_path / "store"), "--dataset", "val"]
    assert run(arguments) == 3
    assert "nothing was imported" in capsys.readouterr().err
    assert run([*arguments, "--column", "label"]) == 3
    assert "--column takes OURS=THEIRS" in capsys.readouterr().err
    assert not (tmp_path / "store").exists()
