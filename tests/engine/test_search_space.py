"""Ray Tune's words, drawn the same on every machine."""

import random
import statistics
from importlib.util import find_spec
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from overlap.search_space import WORDS, Draw, Grid, draw_value, parse_axis

EXAMPLES = {
    "choice": ["a", "b"],
    "uniform": [-1.0, 2.0],
    "quniform": [0.0, 1.0, 0.25],
    "loguniform": [1e-4, 1e-1],
    "qloguniform": [1e-2, 1e1, 5e-3],
    "randint": [0, 10],
    "lograndint": [1, 1000],
    "randn": [10.0, 2.0],
    "qrandn": [0.0, 1.0, 0.5],
}


def draws_of(axis, count=500, seed=0):
    generator = random.Random(seed)
    return [draw_value(axis, generator) for _ in range(count)]


def test_a_value_and_a_list_are_grids():
    assert parse_axis(3) == Grid(values=(3,))
    assert parse_axis("x") == Grid(values=("x",))
    assert parse_axis([1, 0.5, True]) == Grid(values=(1, 0.5, True))
    assert parse_axis({"grid_search": [1, 2]}) == Grid(values=(1, 2))


def test_a_range_holds_both_its_ends():
    assert parse_axis({"range": [1, 4]}) == Grid(values=(1, 2, 3, 4))
    assert parse_axis({"range": [3, 3]}) == Grid(values=(3,))


def test_every_random_word_has_an_example_here():
    assert {"grid_search", "range", *EXAMPLES} == set(WORDS)


def test_every_random_word_is_one_of_ray_tunes():
    ray = Path(find_spec("ray").origin).parent  # read, not imported: that takes seconds
    source = (ray / "tune" / "search" / "sample.py").read_text(encoding="utf-8")
    assert all(f"\ndef {word}(" in source for word in EXAMPLES)


@pytest.mark.parametrize("word", EXAMPLES)
def test_a_random_word_is_read_and_drawn_inside_its_range(word):
    axis = parse_axis({word: EXAMPLES[word]})
    assert axis == Draw(word=word, arguments=tuple(EXAMPLES[word]))
    values = draws_of(axis)
    assert len(set(values)) > 1
    if word == "choice":
        assert set(values) == {"a", "b"}
    elif "randn" not in word:
        low, high = EXAMPLES[word][:2]
        assert all(low <= value <= high for value in values)


def test_whole_draws_are_whole_and_leave_out_the_high_end():
    values = draws_of(parse_axis({"randint": [3, 6]}))
    assert set(values) == {3, 4, 5}
    assert all(type(value) is int for value in values)
    assert max(draws_of(parse_axis({"lograndint": [1, 4]}))) == 3


def test_quantised_draws_are_multiples_of_their_step():
    assert set(draws_of(parse_axis({"quniform": [0.0, 1.0, 0.25]}))) == {0.0, 0.25, 0.5, 0.75, 1.0}


def test_draws_have_the_distribution_of_their_word():
    uniform = draws_of(parse_axis({"uniform": [0.0, 1.0]}), 4000)
    assert statistics.mean(uniform) == pytest.approx(0.5, abs=0.02)
    assert statistics.stdev(uniform) == pytest.approx(12**-0.5, abs=0.01)
    logarithmic = draws_of(parse_axis({"loguniform": [1e-4, 1.0]}), 4000)
    assert statistics.median(logarithmic) == pytest.approx(1e-2, rel=0.2)
    normal = draws_of(parse_axis({"randn": [10.0, 2.0]}), 4000)
    assert statistics.mean(normal) == pytest.approx(10, abs=0.1)
    assert statistics.stdev(normal) == pytest.approx(2, abs=0.1)


@given(st.floats(1e-6, 1e3), st.floats(1.1, 1e3), st.integers(0, 2**32))
@settings(deadline=None)
def test_a_real_draw_has_at_most_six_digits(low, factor, seed):
    (value,) = draws_of(Draw(word="loguniform", arguments=(low, low * factor)), 1, seed)
    assert value == float(f"{value:.6g}")


def test_the_stream_of_draws_never_changes():
    # Stored keys depend on these numbers: a change here makes every store of a random sweep a new one.
    assert draws_of(parse_axis({"loguniform": [5e-4, 1e-2]}), 3) == [0.00627463, 0.00484274, 0.00176257]
    assert draws_of(parse_axis({"randint": [0, 1000]}), 3) == [844, 757, 420]


@pytest.mark.parametrize(
    ("raw", "complaint"),
    [
        ([], "expected at least one value, got an empty list"),
        ({"choice": []}, "expected at least one value, got an empty list"),
        ({"rnge": [1, 2]}, "'rnge' is no search-space word; known are grid_search, range, choice"),
        ({"choice": [1], "uniform": [0, 1]}, "expected one search-space word, got choice, uniform"),
        ({}, "expected one search-space word, got none"),
        ({"choice": 3}, "choice takes a list, got 3"),
        ({"uniform": [0]}, r"uniform takes 2 numbers, got \[0\]"),
        ({"quniform": [0, 1]}, r"quniform takes 3 numbers, got \[0, 1\]"),
        ({"uniform": [0, "b"]}, r"uniform takes 2 numbers, got \[0, 'b'\]"),
        ({"uniform": [0, True]}, r"uniform takes 2 numbers, got \[0, True\]"),
        ({"uniform": [2, 1]}, r"uniform takes \[low, high\] with low below high, got \[2, 1\]"),
        ({"randint": [2, 2]}, r"randint takes \[low, high\] with low below high"),
        ({"range": [2, 1]}, r"range takes \[low, high\] with low below high"),
        ({"randint": [0.5, 2]}, r"randint takes whole numbers, got \[0.5, 2\]"),
        ({"loguniform": [0, 1]}, "loguniform takes a positive low end, got 0"),
        ({"quniform": [0, 1, 0]}, "quniform takes a positive step, got 0"),
        ([[1]], r"expected a number, a word or true/false, got \[1\]"),
        ([None], "expected a number, a word or true/false, got None"),
        ([float("inf")], "expected a finite number, got inf"),
        ({"uniform": [0.0, float("nan")]}, "expected a finite number, got nan"),
    ],
)
def test_what_is_no_axis_is_refused_with_the_value(raw, complaint):
    with pytest.raises(ValueError, match=complaint):
        parse_axis(raw)
