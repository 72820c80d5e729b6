"""Safe YAML that knows its lines."""

import pytest

from overlap.yaml_lines import MAX_BYTES, dotted, load_yaml


def test_every_key_and_item_has_its_line():
    document = load_yaml("a: 1\nb:\n  - x\n  - {c: 2,\n     d: 3}\n")
    assert document.value == {"a": 1, "b": ["x", {"c": 2, "d": 3}]}
    lines = {dotted(path): line for path, line in document.lines.items()}
    assert lines == {"": 1, "a": 1, "b": 2, "b[0]": 3, "b[1]": 4, "b[1].c": 4, "b[1].d": 5}


def test_a_missing_path_has_the_line_of_its_nearest_parent():
    document = load_yaml("a:\n  b: 1\n")
    assert document.line(("a", "b", "c", 0)) == 2
    assert document.line(("a", "x")) == 1
    assert load_yaml("").line(("a",)) == 0


def test_a_duplicate_key_keeps_the_first_value_and_names_both_lines():
    document = load_yaml("a: {x: 1, y: 2,\n  x: 3}\n")
    assert document.value == {"a": {"x": 1, "y": 2}}
    (problem,) = document.problems
    assert (problem.line, problem.where) == (2, "a.x")
    assert problem.message == "duplicate key 'x': it is already set on line 1"


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-3", 1e-3),
        ("1E5", 1e5),
        ("-2.5e+3", -2500.0),
        (".5e1", 5.0),
        ("1.", 1.0),
        ("0.1", 0.1),
        ("1e", "1e"),
        ("e3", "e3"),
        ("'1e-3'", "1e-3"),
        ("7", 7),
        ("true", True),
        ("null", None),
    ],
)
def test_numbers_are_read_as_yaml_1_2_reads_them(text, value):
    read = load_yaml(f"a: {text}").value["a"]
    assert read == value
    assert type(read) is type(value)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("a: [1, 2\n", 2),
        ("a: 1\nb: {x\n", 3),
        ("a: 1\n\tb: 2\n", 2),
        ("a: 1\nb: *nothing\n", 2),
        ("a: 1\n---\nb: 2\n", 2),
        ("a: 1\nb: !!python/object/apply:os.system [echo]\nc: !!python/name:os.system\n", 3),
    ],
)
def test_what_is_no_safe_yaml_is_a_problem_at_its_line(text, line):
    (problem,) = load_yaml(text).problems
    assert problem.line == line
    assert problem.message.startswith("not YAML: ")


def test_no_tag_makes_a_python_object():
    assert load_yaml("a: !!python/object/apply:os.system [echo]").value == {"a": ["echo"]}


def test_a_file_that_is_too_large_is_refused_unread():
    (problem,) = load_yaml("a" * (MAX_BYTES + 1)).problems
    assert problem.message == "expected at most 1,000,000 bytes, got 1,000,001"


def test_aliases_that_multiply_without_end_are_refused():
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 12)]
    (problem,) = load_yaml("\n".join(lines)).problems
    assert problem.message == "not YAML: more than 100,000 values: is an alias repeated?"


def test_a_path_is_written_as_people_write_it():
    assert dotted(("vary", 1, "hyperparameters", "epochs")) == "vary[1].hyperparameters.epochs"
    assert dotted(()) == ""
