"""Predictions that were made elsewhere: every format, every kind of outputs, and all that is refused."""

import itertools
import json
from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import overlap
from overlap import status, verify
from overlap.cli import run
from overlap.errors import ArgumentError, CorruptFileError, StoreMismatchError
from overlap.imports import import_predictions
from overlap.imports.attributes import imported_variant, read_variants
from overlap.imports.classes import class_numbers
from overlap.imports.examples import Examples
from overlap.imports.files import Table
from overlap.imports.outputs import read_outputs
from overlap.imports.rows import sorted_rows
from overlap.outcomes import read_outcomes
from overlap.store import Outputs, Predictions, Store, lock_of, open_objects
from overlap.store.schema import encode_result, matrix
from overlap.variants import Category, category

EXAMPLES, CLASSES = 12, 4
LABELS = np.arange(EXAMPLES) % CLASSES


def logits_of(seed):
    return np.random.default_rng(seed).normal(0, 2, (EXAMPLES, CLASSES)).astype(np.float32)


def softmax(logits_NC):
    wide_NC = np.exp(logits_NC.astype(np.float64))
    return wide_NC / wide_NC.sum(axis=1, keepdims=True)


def columns_of(seed=0, kind="logits"):
    """The arrays of a file with outputs of one kind."""
    logits_NC = logits_of(seed)
    order_NC = np.argsort(-logits_NC, axis=1)
    columns = {"example": np.arange(EXAMPLES) * 3 + 1, "label": LABELS}
    if kind == "logits":
        return columns | {"logits": logits_NC}
    if kind == "probabilities":
        return columns | {"probabilities": softmax(logits_NC)}
    if kind == "prediction":
        return columns | {"prediction": order_NC[:, 0]}
    top_NK = np.take_along_axis(softmax(logits_NC), order_NC, axis=1)[:, :2]
    return columns | {"top_classes": order_NC[:, :2], "top_probabilities": top_NK}


def write_parquet(path, columns):
    lists = {name: values.tolist() for name, values in columns.items() if np.ndim(values) == 2}
    pl.DataFrame({**columns, **lists}).write_parquet(path)


def write_json_csv(path, columns):
    lists = {
        name: [json.dumps(row.tolist()) for row in values] for name, values in columns.items() if np.ndim(values) == 2
    }
    pl.DataFrame({**columns, **lists}).write_csv(path)


def write_numbered_csv(path, columns):
    flat = {}
    for name, values in columns.items():
        flat |= (
            {f"{name}_{i}": values[:, i] for i in range(values.shape[1])} if np.ndim(values) == 2 else {name: values}
        )
    pl.DataFrame(flat).write_csv(path)


def write_npz(path, columns):
    np.savez(path, **columns)


WRITERS = {
    "parquet": ("parquet", write_parquet),
    "json": ("csv", write_json_csv),
    "numbered": ("csv", write_numbered_csv),
    "npz": ("npz", write_npz),
}


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


def result_of(store, name, dataset="val"):
    key = store.require_lock().results[dataset][name]
    return store.read(store.result_names(dataset)[key[:16]])


def outcomes_of(store, dataset="val"):
    return read_outcomes(store, store.require_lock(), dataset)


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


# --- what is refused


def changed(**changes):
    """A change of one cell of a file's columns: column=(row, value)."""

    def change(columns):
        copy = {name: values.copy() for name, values in columns.items()}
        for name, (row, value) in changes.items():
            copy[name][row] = value
        return copy

    return change


BAD = {
    "missing example": ("logits", lambda c: {n: v[1:] for n, v in c.items()}, r"lacks examples that .*good.*has: 1\n"),
    "extra example": ("logits", changed(example=(2, 99)), r"has examples that .*good.* has not: 99"),
    "twice": ("logits", changed(example=(2, 1)), "expected each example once, got more of 1"),
    "label": ("logits", changed(label=(2, 3)), r"labels examples otherwise .*: 7; expected class 2 for 7, got 3"),
    "label outside": ("logits", changed(label=(2, -1)), r"row 2 \(example 7\): expected a label from 0 to 3, got -1"),
    "nan logit": ("logits", changed(logits=(3, np.nan)), r"row 3 \(example 10\): expected logits .*numbers, got nan"),
    "inf logit": ("logits", changed(logits=(3, np.inf)), r"row 3 .*expected logits that are numbers, got inf"),
    "-inf": ("logits", changed(logits=(3, -np.inf)), r"row 3 .*expected a finite logit, got only -inf"),
    "width": ("logits", lambda c: c | {"logits": c["logits"][:, :3]}, "expected 4 logits a row, one a class, got 3"),
    "nan": ("probabilities", changed(probabilities=((3, 1), np.nan)), r"row 3 .*of at least 0, got nan"),
    "negative": ("probabilities", changed(probabilities=((3, 1), -0.1)), r"row 3 .*of at least 0, got -0\.1"),
    "sum": ("probabilities", changed(probabilities=(3, 0.3)), r"row 3 .*that add up to 1, got 1\.2"),
    "unsorted": (
        "top_classes",
        changed(top_probabilities=(3, [0.2, 0.5])),
        r"row 3 .*from the largest down, got \[0\.2",
    ),
    "top sum": ("top_classes", changed(top_probabilities=(3, [0.9, 0.5])), r"row 3 .*at most 1, got 1\.4"),
    "top zero": ("top_classes", changed(top_probabilities=(3, 0)), r"row 3 .*a first probability above 0"),
    "top outside": ("top_classes", changed(top_classes=(3, [9, 1])), r"row 3 .*classes from 0 to 3, got 9"),
    "top twice": ("top_classes", changed(top_classes=(3, [1, 1])), r"row 3 .*each class once, got \[1, 1\]"),
    "prediction": ("prediction", changed(prediction=(3, 7)), r"row 3 .*a prediction from 0 to 3, got 7"),
}


@pytest.mark.parametrize("form", ["parquet", "npz"])
@pytest.mark.parametrize("fault", BAD)
def test_what_is_wrong_with_a_row_is_said_and_nothing_is_written(write, store, tmp_path, fault, form):
    kind, change, message = BAD[fault]
    (tmp_path / "classes").write_text("0\n1\n2\n3")
    files = [write("good", columns_of(kind=kind)), write("bad", change(columns_of(1, kind)), form)]
    with pytest.raises(ArgumentError, match=message) as caught:
        import_predictions(files, store, dataset="val", classes=str(tmp_path / "classes"))
    assert "bad." in str(caught.value)
    assert store.objects.names("") == []


def test_rows_are_named_as_they_are_in_the_file_not_as_they_are_sorted(write, store):
    columns = {name: values[::-1].copy() for name, values in columns_of().items()}
    columns["logits"][2] = np.nan
    with pytest.raises(ArgumentError, match=r"row 2 \(example 28\)"):
        import_predictions([write("a", columns)], store, dataset="val")


BAD_FILES = {
    "a.txt": ("x", r"expected a file that ends in \.parquet, \.csv, \.npz"),
    "empty.csv": ("", "cannot be read"),
    "header.csv": ("example,label,prediction\n", "has no rows"),
    "no_label.csv": (
        "example,prediction\n1,2\n",
        "has no column 'label': it has example, prediction; .*--column label=",
    ),
    "nothing.csv": ("example,label\n1,2\n", "has no predictions: expected logits"),
    "half.csv": ("example,label,top_classes\n1,2,[1]\n", "has 'top_classes', but no 'top_probabilities'"),
    "float.csv": (
        "example,label,prediction\n1,2.5,1\n",
        "column 'label' holds Float64; expected whole numbers or names",
    ),
    "json.csv": ("example,label,logits\n1,2,0.1 0.2\n", "expected JSON lists"),
    "scalar.csv": ("example,label,logits\n1,0,0.1\n", "expected lists in 'logits'"),
    "gap.csv": ("example,label,logits_0,logits_2\n1,2,0.1,0.2\n", "there are 2 columns 'logits_…', but no 'logits_1'"),
    "ragged.csv": ('example,label,logits\n1,0,"[1,2]"\n2,0,"[1,2]"\n3,0,"[1]"\n', "row 2 .*expected 2 logits, got 1"),
    "hole.csv": (
        "example,label,top_classes,top_probabilities\n1,0,,\n2,0,[0],[1]\n",
        "row 0 .*expected 1 top_probabilities, got 0",
    ),
    "nameless.csv": ("example,label,prediction,variant\n1,2,1,\n", "row 0: expected the name of a variant"),
    "no_id.csv": ("example,label,prediction\n,2,1\n1,2,1\n", "row 0 .*expected the number or name of an example"),
    "torn.parquet": ("PAR1", "cannot be read"),
    "torn.npz": ("PK", "cannot be read"),
}


@pytest.mark.parametrize("name", BAD_FILES)
def test_a_file_that_is_no_table_of_predictions_is_refused(tmp_path, store, name):
    content, message = BAD_FILES[name]
    (tmp_path / name).write_text(content)
    with pytest.raises(ArgumentError, match=message) as caught:
        import_predictions([tmp_path / name], store, dataset="val")
    assert name in str(caught.value)
    assert store.objects.names("") == []


def test_all_problems_of_all_files_are_told_at_once(write, store, tmp_path):
    files = [
        write("good", columns_of(0)),
        tmp_path / "absent.parquet",
        write("nan", changed(logits=(0, np.nan), label=(2, 3))(columns_of(1))),
        write("twice", changed(example=(2, 1))(columns_of(2))),
        write("good", columns_of(3), folder="again"),
    ]
    with pytest.raises(ArgumentError) as caught:
        import_predictions(files, store, dataset="val")
    first, *lines = str(caught.value).splitlines()
    assert first == "5 problems, nothing was imported:"
    for line, words in zip(lines, ["does not exist", "labels examples", "got nan", "once", "also in"], strict=True):
        assert words in line
    assert store.objects.names("") == []


def test_many_problems_are_counted(write, store):
    files = [write(f"v{i}", changed(logits=(0, np.nan))(columns_of(i))) for i in range(25)]
    with pytest.raises(ArgumentError, match=r"^25 problems(.|\n)*v19(.|\n)*and 5 more$"):
        import_predictions(files, store, dataset="val")


def test_other_examples_than_those_of_the_store_are_refused_even_when_their_names_are_lost(write, store):
    import_predictions([write("a", columns_of(0))], store, dataset="val")
    relabelled = write("b", changed(label=(2, 3))(columns_of(1)))
    with pytest.raises(ArgumentError, match=r"labels examples otherwise than 'val' in the store: 7"):
        import_predictions([relabelled], store, dataset="val")
    store.objects.delete("examples/v1/val.parquet")
    with pytest.raises(ArgumentError, match="examples or labels are others than those of 'val' in the store"):
        import_predictions([relabelled], store, dataset="val")
    import_predictions([write("c", columns_of(1))], store, dataset="val")
    assert "examples/v1/val.parquet" in store.objects.names("examples")


def test_names_and_numbers_do_not_mix(write, store):
    named = columns_of(kind="prediction") | {"example": np.array([f"i{n}" for n in range(EXAMPLES)])}
    with pytest.raises(ArgumentError, match=r"has names as examples, .* has numbers"):
        import_predictions([write("a", columns_of()), write("b", named)], store, dataset="val")
    words = np.array(list("abcd"))[LABELS]
    with pytest.raises(ArgumentError, match=r"classes are names in .*b\.parquet' \('a'\) and numbers in .*a\.parquet'"):
        import_predictions(
            [write("a", columns_of()), write("b", columns_of() | {"label": words})], store, dataset="val"
        )
    with pytest.raises(ArgumentError, match=r"nothing says which output of .* stands for which; give --classes"):
        import_predictions([write("b", columns_of() | {"label": words})], store, dataset="val")


def test_a_store_of_a_sweep_is_left_alone(write, plan_of, store):
    store.write_sweep("name: tiny", lock_of(plan_of()))
    with pytest.raises(StoreMismatchError, match="made by sweep 'tiny'"):
        import_predictions([write("a", columns_of())], store, dataset="val")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"dataset": "a/b"}, "--dataset 'a/b'"),
        ({"columns": {"lable": "x"}}, "'lable' is no column of the import format; did you mean 'label'"),
        ({"columns": {"label": "x"}}, "has no column 'x', which is to be 'label'; it has example, label"),
        ({"classes": "imagenet-2k"}, "neither a file nor a label space; did you mean 'imagenet-"),
    ],
)
def test_wrong_arguments_are_refused(write, store, arguments, message):
    with pytest.raises(ArgumentError, match=message):
        import_predictions([write("a", columns_of())], store, **{"dataset": "val"} | arguments)


def test_other_classes_than_those_of_the_store_are_refused(write, store, tmp_path):
    import_predictions([write("a", columns_of())], store, dataset="val")
    (tmp_path / "classes").write_text("a\nb\n")
    with pytest.raises(ArgumentError, match="--classes names 2 classes, and other ones than the 4 of 'val'"):
        import_predictions([write("b", columns_of())], store, dataset="val", classes=str(tmp_path / "classes"))
    (tmp_path / "classes").write_text("a\na\n")
    with pytest.raises(ArgumentError, match="has 'a' twice"):
        import_predictions([write("b", columns_of())], store, dataset="new", classes=str(tmp_path / "classes"))


# --- what the variants are

TABLE = """\
name,architecture,framework,train_on,hyperparameters,seed
a,vit,clip,laion,"{""lr"": 0.1}",1
b,vit,clip,laion,"{""lr"": 0.1}",
c,vit,clip,laion,"{""lr"": 0.2}",1
d,resnet,clip,laion,,
e,resnet,,laion,,
f,,mae,imagenet,,
"""


def test_categories_follow_from_what_a_table_says(tmp_path, write, store):
    (tmp_path / "variants.csv").write_text(TABLE)
    files = [write(name, columns_of(i, "prediction")) for i, name in enumerate("abcdef")]
    import_predictions(files, store, dataset="val", variants=tmp_path / "variants.csv")
    a, b, c, d, e, f = store.require_lock().variants
    assert category(a, b) is Category.REINIT
    assert category(a, c) is Category.HYPERPARAMETERS
    assert category(a, d) is Category.ARCHITECTURE
    assert category(d, replace(d, seed=5)) is Category.UNKNOWN
    assert category(a, e) is Category.UNKNOWN
    assert category(e, f) is Category.DATASET
    assert a.hyperparameter_map == {"lr": 0.1}
    assert (a.seed, b.unknown) == (1, ("seed",))
    import_predictions([write("a", columns_of(0, "prediction"))], store, dataset="val")  # what was told stays
    assert store.require_lock().variants[0] == a


def test_a_report_knows_what_was_told_of_the_variants_since_the_analysis(tmp_path, write, store):
    files = [write(name, columns_of(i)) for i, name in enumerate("abcdef")]
    import_predictions(files, store, dataset="val")
    overlap.report(store)
    assert store.read_analysis("val", "pairs")["category"].unique().to_list() == ["unknown"]
    (tmp_path / "variants.csv").write_text(TABLE)
    import_predictions(files, store, dataset="val", variants=tmp_path / "variants.csv")
    overlap.report(store)
    categories = store.read_analysis("val", "pairs")["category"].to_list()
    assert categories[:3] == ["reinit", "hyperparameters", "architecture"]


@pytest.mark.parametrize("states", list(itertools.product(["alike", "different", "unknown"], repeat=4)))
def test_the_category_of_a_pair_is_the_one_that_all_completions_of_the_unknown_agree_on(states):
    fields = ("train_on", "framework", "architecture", "hyperparameters")
    levels = (Category.DATASET, Category.FRAMEWORK, Category.ARCHITECTURE, Category.HYPERPARAMETERS)
    completions = itertools.product(*(["alike", "different"] if one == "unknown" else [one] for one in states))
    possible = {
        next((lv for lv, s in zip(levels, c, strict=True) if s == "different"), Category.REINIT) for c in completions
    }
    told = {field: ("x",) for field, state in zip(fields, states, strict=True) if state == "different"}
    a, b = imported_variant("a"), replace(imported_variant("b"), **told)
    unknown = tuple(field for field, state in zip(fields, states, strict=True) if state == "unknown")
    expected = possible.pop() if len(possible) == 1 else Category.UNKNOWN
    assert category(replace(a, unknown=unknown), replace(b, unknown=())) is expected
    assert category(replace(a, unknown=()), replace(b, unknown=unknown)) is expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("nam,seed\na,1\n", "unknown column 'nam'; did you mean 'name'"),
        ("seed\n1\n", "has no column 'name'"),
        (
            "name,seed\na,x\na,1\na,2\n,3\n",
            r"3 problems\n  line 2: expected a whole .* got 'x'\n  line 4: .*twice\n  line 5",
        ),
        ("name,hyperparameters\na,[1]\n", "expected hyperparameters as JSON such as"),
        ("name,hyperparameters\na,{\n", "expected hyperparameters as JSON such as"),
    ],
)
def test_a_table_of_variants_with_problems_is_refused(tmp_path, text, message):
    (tmp_path / "variants.csv").write_text(text)
    with pytest.raises(ArgumentError, match=message):
        read_variants(tmp_path / "variants.csv")


def test_a_variant_that_the_table_does_not_have_is_refused(tmp_path, write, store):
    (tmp_path / "variants.csv").write_text("name\na\n")
    with pytest.raises(ArgumentError, match="variant 'b' is not in the table of --variants"):
        import_predictions([write("b", columns_of())], store, dataset="val", variants=tmp_path / "variants.csv")
    assert store.objects.names("") == []


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
