"""Tables as text: what a reader, LaTeX, Markdown or a spreadsheet makes of every cell."""

import io
import math
import re

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from polars.testing import assert_frame_equal

from overlap.exporting import Intervals, latex_table, markdown_table
from overlap.exporting.cells import NOTHING, number, one_line, text_columns
from overlap.exporting.latex import escape_latex
from overlap.exporting.whole import write_csv

HOSTILE = [
    'a "quoted", name',
    "it's `code` ``x''",
    "two\nlines\tand a tab",
    "</script><b>bold</b>&amp;",
    r"\under_score%$#{}~^|<>&",
    "_x_ *y* [z](http://example.org) ~~w~~ ![i](j)",
    "[optional]",
    "*star",
    "a--b---c ?` !` <<x>> ,,y''",
    "עברית \u202eltr\x00",
    "模型 é 🙂",
    "trailing\\",
    "| a | b |",
    "$x^2$ --- 50 %",
    "",
]
LATEX_WORDS = {
    r"\textbackslash{}": "\\",
    r"\textasciitilde{}": "~",
    r"\textasciicircum{}": "^",
    r"\textless{}": "<",
    r"\textgreater{}": ">",
    r"\textbar{}": "|",
    r"\char34{}": '"',
    r"\textquotesingle{}": "'",
    r"\textasciigrave{}": "`",
    "{[}": "[",
    "{*}": "*",
    "{}": "",
    **{rf"\{letter}": letter for letter in "&%$#_{}"},
}
LIGATURES = ("--", "``", "''", "<<", ">>", ",,", "?`", "!`")


def typeset(source):
    """What LaTeX prints for a text; a special character that stands for itself is an error, as it is to LaTeX."""
    words = re.compile(
        "|".join(map(re.escape, sorted(LATEX_WORDS, key=len, reverse=True))) + r"|[^\\&%$#_{}~^<>|\"'`*\[]"
    )
    printed, place = [], 0
    while place < len(source):
        assert not source.startswith(LIGATURES, place), f"a ligature in {source!r}"
        match = words.match(source, place)
        assert match, f"{source[place:]!r} is no plain text"
        printed.append(LATEX_WORDS.get(match[0], match[0]))
        place = match.end()
    return "".join(printed)


def rows_of(latex):
    """The cells of a table's rows, below its head."""
    body = latex.split("\\midrule\n")[1].split("\\bottomrule")[0].removeprefix("\\endhead\n")
    return [re.split(r"(?<!\\) & ", line.removesuffix(r" \\")) for line in body.splitlines()]


def read_markdown(text):
    """The texts of a table's cells as GitHub would show them, row by row."""
    rows, cells = [], None
    for token in MarkdownIt("commonmark").enable(["table", "strikethrough"]).parse(text):
        if token.type == "tr_open":
            cells = []
            rows.append(cells)
        if token.type == "inline" and cells is not None:
            assert {child.type for child in token.children} <= {"text", "text_special"}, token.content
            cells.append("".join(child.content for child in token.children))
    return rows


@given(st.text())
def test_latex_prints_every_text_as_it_is(text):
    text = one_line(text)
    assert typeset(escape_latex(text)) == text.replace("\ufffd", "?")


@given(st.text(alphabet="-'`,?!<>[]*\\{}\"&", max_size=8))
def test_latex_joins_no_two_marks_into_another(text):
    assert typeset(escape_latex(text)) == text


def test_a_row_of_latex_never_begins_with_what_ends_the_row_before():
    latex = latex_table(pl.DataFrame({"name": HOSTILE, "value": [0.5] * len(HOSTILE)}))
    assert not [line for line in latex.splitlines() if line.lstrip().startswith(("[", "*"))]
    assert [typeset(name) for name, _ in rows_of(latex)] == [one_line(name).replace("\ufffd", "?") for name in HOSTILE]


def test_the_braces_of_a_latex_table_are_balanced_and_every_row_has_every_cell():
    frame = pl.DataFrame({"na{me": HOSTILE, "other": HOSTILE, "value": [1e-9] * len(HOSTILE)})
    latex = latex_table(frame)
    plain = re.sub(r"\\[{}]", "", latex)
    depths = [plain[:end].count("{") - plain[:end].count("}") for end in range(len(plain) + 1)]
    assert min(depths) == depths[-1] == 0
    assert {len(row) for row in rows_of(latex)} == {3}


def test_a_table_longer_than_a_page_goes_on_on_the_next():
    short, long = (latex_table(pl.DataFrame({"step": range(rows)})) for rows in (40, 41))
    assert r"\begin{tabular}{r}" in short
    assert r"\begin{longtable}{r}" in long
    assert "\\midrule\n\\endhead\n0 \\\\\n" in long
    assert long.endswith("40 \\\\\n\\bottomrule\n\\end{longtable}\n")


def test_latex_prints_a_minus_and_powers_of_ten():
    latex = latex_table(pl.DataFrame({"x": [-0.25, -1e-9, -math.inf], "n": [-3, 4, 5]}))
    assert rows_of(latex) == [["$-$0.250", "$-$3"], [r"$-$1.0$\cdot$10$^{-9}$", "4"], ["$-$inf", "5"]]


def test_a_comment_of_a_latex_table_is_one_line():
    assert latex_table(pl.DataFrame({"x": [1]}), comment="a\nb").startswith("% a b\n\\begin")


def test_markdown_shows_every_text_as_it_is():
    head, *rows = read_markdown(markdown_table(pl.DataFrame({"na_me": HOSTILE, "x": range(len(HOSTILE))})))
    assert head == ["na me", "x"]
    assert [name for name, _ in rows] == [one_line(name) for name in HOSTILE]


@given(st.lists(st.text(min_size=1), min_size=1, max_size=3))
def test_markdown_has_one_row_a_row_whatever_the_texts_hold(names):
    rows = read_markdown(markdown_table(pl.DataFrame({"name": names, "x": range(len(names))})))
    assert [name for name, _ in rows[1:]] == [one_line(name) for name in names]


@pytest.mark.parametrize(
    ("value", "digits", "text"),
    [
        (0.12345, 3, "0.123"),
        (0.12345, 0, "1.2e-01"),
        (2.5, 0, "2"),
        (0.0004999, 3, "5.0e-04"),
        (0.0005, 3, "0.001"),
        (-0.0, 2, "0.00"),
        (0.0, 2, "0.00"),
        (1234567.0, 1, "1234567.0"),
        (math.nan, 3, NOTHING),
        (None, 3, NOTHING),
        (math.inf, 3, "inf"),
    ],
)
def test_numbers_are_rounded_but_never_to_nothing(value, digits, text):
    assert number(value, digits) == text


INTERVALS = pl.DataFrame(
    {
        "metric": ["kappa", "phi", "none", "bounds"],
        "mean": [0.5, -0.25, None, None],
        "low": [0.4, None, None, 0.1],
        "high": [0.6, None, None, 0.2],
        "kappa_max": [1, 2, 3, 4],
        "kappa_max_low": [0, 1, 2, 3],
        "kappa_max_high": [2, 3, 4, 5],
        "evaluation_accuracy": [0.1, 0.2, 0.3, 0.4],
        "evaluation_low": [0.0, 0.1, 0.2, 0.3],
        "evaluation_high": [0.2, 0.3, 0.4, 0.5],
    }
)


def cells(frame, **options):
    return {column.title: column.cells for column in text_columns(frame, digits=1, **options)}


def test_an_interval_stands_behind_its_value():
    found = cells(INTERVALS)
    assert list(found) == ["metric", "mean", "kappa max", "evaluation accuracy"]
    assert found["mean"] == ("0.5 [0.4, 0.6]", "-0.2", NOTHING, f"{NOTHING} [0.1, 0.2]")
    assert found["kappa max"][0] == "1 [0.0, 2.0]"
    assert found["evaluation accuracy"][0] == "0.1 [0.0, 0.2]"


def test_intervals_are_columns_or_left_out_if_asked():
    assert list(cells(INTERVALS, intervals=Intervals.COLUMNS)) == [name.replace("_", " ") for name in INTERVALS.columns]
    assert cells(INTERVALS, intervals=Intervals.NONE)["mean"] == ("0.5", "-0.2", NOTHING, NOTHING)


def test_columns_that_are_no_interval_stay():
    frame = pl.DataFrame({"name": ["a"], "low": [1.0], "high": [2.0], "x": [3.0], "y_low": [4.0], "y_high": [5.0]})
    assert list(cells(frame)) == ["name", "low", "high", "x", "y low", "y high"]
    assert list(cells(pl.DataFrame({"x": [1.0], "x_low": [0.0]}))) == ["x", "x low"]
    assert list(cells(pl.DataFrame({"x": [1.0], "mellow": [0.0], "melhigh": [0.0]}))) == ["x", "mellow", "melhigh"]


def test_other_kinds_of_cells_are_words():
    frame = pl.DataFrame({"key": ["ab" * 32], "ok": [True], "list": [[1, None]], "bytes": [b"xyz"], "nothing": [None]})
    found = {title: texts[0] for title, texts in cells(frame).items()}
    assert found == {"key": "ab" * 8, "ok": "yes", "list": "[1, null]", "bytes": "3 bytes", "nothing": NOTHING}


def csv_of(*parts):
    file = io.BytesIO()
    guarded = write_csv(file, parts)
    return file.getvalue().decode(), guarded


def test_csv_gives_every_value_back():
    frame = pl.DataFrame(
        {
            "name": [*HOSTILE, None],
            "float": [0.1 + 0.2, 1e-300, -5e-324, math.nan, math.inf, None, *range(10)],
            "integer": [2**63 - 1, None, *range(-7, 7)],
            "flag": [True, False, None, *[True] * 13],
        }
    )
    text, guarded = csv_of(frame.head(0), frame.head(5), frame.slice(5))
    assert_frame_equal(pl.read_csv(io.StringIO(text), schema=frame.schema), frame, check_exact=True)
    assert guarded == 0


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠"])  # noqa: RUF001
def test_a_text_that_a_spreadsheet_would_run_is_guarded_in_csv(start):
    frame = pl.DataFrame({"name": [f"{start}cmd|' /C calc'!A0", f"a{start}1", "'=", None], "x": [-1.0, -2.0, 3.0, 4.0]})
    text, guarded = csv_of(frame)
    back = pl.read_csv(io.StringIO(text), schema=frame.schema)
    assert guarded == 1
    assert back["name"].to_list() == [f"'{start}cmd|' /C calc'!A0", *frame["name"][1:]]
    assert back["x"].equals(frame["x"]), "numbers are no formulas"


def test_lists_are_json_in_csv_and_bytes_are_digits():
    frame = pl.DataFrame(
        {
            "list": [["a,b", None, 'q"'], None],
            "array": pl.Series([[1, 2], [3, 4]], dtype=pl.Array(pl.Int32, 2)),
            "struct": [{"x": 1, "y": [0.5]}, {"x": None, "y": []}],
            "bytes": [b"\x00\xff", None],
        }
    )
    back = pl.read_csv(io.StringIO(csv_of(frame)[0]))
    assert back["list"].str.json_decode(pl.List(pl.String)).to_list() == frame["list"].to_list()
    assert back["array"].str.json_decode(pl.List(pl.Int32)).to_list() == [[1, 2], [3, 4]]
    assert back["struct"].to_list() == ['{"x": 1, "y": [0.5]}', '{"x": null, "y": []}']
    assert back["bytes"].to_list() == ["00ff", None]


def test_a_table_without_rows_has_its_head_everywhere():
    frame = pl.DataFrame(schema={"name": pl.String, "accuracy": pl.Float64})
    assert csv_of(frame) == ("name,accuracy\n", 0)
    assert markdown_table(frame) == "| name | accuracy |\n| --- | ---: |\n"
    assert rows_of(latex_table(frame)) == []
