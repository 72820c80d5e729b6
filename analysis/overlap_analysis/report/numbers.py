"""Numbers as a reader of the report sees them: a minus is a minus sign, NaN a dash."""

from collections.abc import Sequence

import numpy as np

_MINUS, _UNDEFINED = "\u2212", "\u2013"


def percent(share: float, digits: int = 1) -> str:
    """A share in percent.

    >>> percent(0.8125, 2).replace("\N{NARROW NO-BREAK SPACE}", " ")
    '81.25 %'
    """
    return f"{_format(100 * share, f'.{digits}f')}\u202f%" if np.isfinite(share) else _UNDEFINED


def points(difference: float, digits: int = 1) -> str:
    """A difference of two shares in percentage points, with its sign.

    >>> points(-0.0125, 2)
    '−1.25'
    """
    return _format(100 * difference, f"+.{digits}f")


def decimal(value: float, digits: int = 2) -> str:
    """A number as it is.

    >>> decimal(-0.125, 3), decimal(float("nan"))
    ('−0.125', '–')
    """
    return _format(value, f"z.{digits}f")


def interval(low: float, high: float, digits: int = 1, *, scale: float = 100) -> str:
    """Both ends of an interval, of shares in percent unless the scale says otherwise; nothing without one.

    >>> interval(0.5, 0.625)
    '[50.0, 62.5]'
    """
    if not np.isfinite(low):
        return ""
    return f"[{decimal(scale * low, digits)}, {decimal(scale * high, digits)}]"


def count(number: int, noun: str, plural: str = "") -> str:
    """A count with its noun.

    >>> count(1, "pair"), count(1200, "class", "classes")
    ('1 pair', '1,200 classes')
    """
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"


def listed(words: Sequence[str]) -> str:
    """Words as in a sentence.

    >>> listed(["a", "b", "c"])
    'a, b and c'
    """
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


def _format(value: float, style: str) -> str:
    return f"{value:{style}}".replace("-", _MINUS) if np.isfinite(value) else _UNDEFINED
