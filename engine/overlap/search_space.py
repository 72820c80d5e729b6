"""Ray Tune's search-space words, expanded deterministically: same file, same values, on any machine."""

import math
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias, cast

Scalar: TypeAlias = bool | int | float | str


@dataclass(frozen=True, slots=True, kw_only=True)
class Grid:
    """Every one of these values."""

    values: tuple[Scalar, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Draw:
    """One random value per sample: `word` and `arguments` as in `ray.tune`."""

    word: str
    arguments: tuple[Scalar, ...]


Axis: TypeAlias = Grid | Draw
MAX_GRID = 100_000
_Arguments: TypeAlias = tuple[Scalar, ...]
_DrawFunction: TypeAlias = Callable[[_Arguments, random.Random], Scalar]
_DrawNumber: TypeAlias = Callable[[_Arguments, random.Random], float]


def parse_axis(raw: object) -> Axis:
    """Reads what a sweep file says about one field: a value, a list of values, or `{word: arguments}`.

    Raises:
        ValueError: it is none of these, the word is unknown, or its arguments do not fit.
    """
    if isinstance(raw, Grid | Draw):
        return raw
    if isinstance(raw, dict):
        return _parse_word(raw)
    values = raw if isinstance(raw, list) else [raw]
    return Grid(values=_scalars(values))


def parse_scalar(raw: object) -> Scalar:
    """Reads one value of a field.

    Raises:
        ValueError: it is a list or mapping, empty, or no finite number.
    """
    if not isinstance(raw, bool | int | float | str):
        raise ValueError(f"expected a number, a word or true/false, got {raw!r}")
    if isinstance(raw, float) and not math.isfinite(raw):
        raise ValueError(f"expected a finite number, got {raw!r}")
    return raw


def draw_value(axis: Draw, generator: random.Random) -> Scalar:
    """One value of a random axis, real numbers rounded to 6 significant digits.

    Uses `generator.random()` only, whose stream never changes; the rounding hides the last bits in
    which two machines' logarithms may differ, because the value becomes part of a variant's key.
    """
    value = _DRAWS[axis.word](axis.arguments, generator)
    return float(f"{value:.6g}") if isinstance(value, float) else value


def _scalars(values: Sequence[object]) -> tuple[Scalar, ...]:
    if not values:
        raise ValueError("expected at least one value, got an empty list")
    return tuple(parse_scalar(value) for value in values)


def _parse_word(raw: Mapping[str, object]) -> Axis:
    if len(raw) != 1:
        raise ValueError(f"expected one search-space word, got {', '.join(raw) or 'none'}")
    word, arguments = next(iter(raw.items()))
    if word not in WORDS:
        raise ValueError(f"'{word}' is no search-space word; known are {', '.join(WORDS)}")
    if not isinstance(arguments, list):
        raise ValueError(f"{word} takes a list, got {arguments!r}")
    values = _scalars(arguments)
    if word == "grid_search":
        return Grid(values=values)
    if word == "choice":
        return Draw(word=word, arguments=values)
    _check_numbers(word, values)
    if word == "range":
        low, high = (int(value) for value in values)
        if high - low >= MAX_GRID:
            raise ValueError(f"range gives {high - low + 1:,} values, at most {MAX_GRID:,} are allowed")
        return Grid(values=tuple(range(low, high + 1)))
    return Draw(word=word, arguments=values)


def _check_numbers(word: str, values: tuple[Scalar, ...]) -> None:
    expected = 3 if word in _QUANTISED else 2
    if len(values) != expected or any(isinstance(value, bool | str) for value in values):
        raise ValueError(f"{word} takes {expected} numbers, got {list(values)}")
    numbers = cast("tuple[float, ...]", values)
    if word in _WHOLE and any(number != int(number) for number in numbers):
        raise ValueError(f"{word} takes whole numbers, got {list(values)}")
    low_is_low = numbers[0] <= numbers[1] if word == "range" else numbers[0] < numbers[1]
    if word not in _NORMAL and not low_is_low:
        raise ValueError(f"{word} takes [low, high] with low below high, got {list(values)}")
    if "log" in word and numbers[0] <= 0:
        raise ValueError(f"{word} takes a positive low end, got {numbers[0]}")
    if word in _QUANTISED and numbers[2] <= 0:
        raise ValueError(f"{word} takes a positive step, got {numbers[2]}")


def _uniform(arguments: _Arguments, generator: random.Random) -> float:
    low, high = cast("tuple[float, float]", arguments)
    return low + (high - low) * generator.random()


def _log_uniform(arguments: _Arguments, generator: random.Random) -> float:
    low, high = cast("tuple[float, float]", arguments)
    return math.exp(_uniform((math.log(low), math.log(high)), generator))


def _normal(arguments: _Arguments, generator: random.Random) -> float:
    mean, deviation = cast("tuple[float, float]", arguments)
    radius = math.sqrt(-2.0 * math.log(1.0 - generator.random()))  # Box-Muller
    return mean + deviation * radius * math.cos(math.tau * generator.random())


def _choice(arguments: _Arguments, generator: random.Random) -> Scalar:
    return arguments[int(len(arguments) * generator.random())]


def _whole(draw: _DrawNumber) -> _DrawFunction:
    return lambda arguments, generator: int(draw(arguments, generator))


def _rounded(draw: _DrawNumber) -> _DrawNumber:
    def rounded(arguments: _Arguments, generator: random.Random) -> float:
        *rest, step = cast("tuple[float, ...]", arguments)
        return round(draw(tuple(rest), generator) / step) * step

    return rounded


_DRAWS: Mapping[str, _DrawFunction] = {
    "choice": _choice,
    "uniform": _uniform,
    "quniform": _rounded(_uniform),
    "loguniform": _log_uniform,
    "qloguniform": _rounded(_log_uniform),
    "randint": _whole(_uniform),
    "lograndint": _whole(_log_uniform),
    "randn": _normal,
    "qrandn": _rounded(_normal),
}
_QUANTISED = frozenset({"quniform", "qloguniform", "qrandn"})
_NORMAL = frozenset({"randn", "qrandn"})
_WHOLE = frozenset({"range", "randint", "lograndint"})

WORDS: tuple[str, ...] = ("grid_search", "range", *_DRAWS)
