"""What an import refuses: all problems at once, in the words of the file, and nothing written."""

import numpy as np
import pytest

from overlap.errors import ArgumentError, StoreMismatchError
from overlap.imports import import_predictions
from overlap.store import lock_of
from prediction_files import EXAMPLES, LABELS, changed, columns_of

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
