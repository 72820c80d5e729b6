"""What a table says of imported variants, and the categories of pairs that follow from it."""

import itertools
from dataclasses import replace

import pytest

import overlap
from overlap.errors import ArgumentError
from overlap.imports import import_predictions
from overlap.imports.attributes import imported_variant, read_variants
from overlap.variants import Category, category
from prediction_files import columns_of

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
