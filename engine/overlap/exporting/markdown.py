"""A table as GitHub's Markdown."""

import re

import polars as pl

from overlap.exporting.cells import Intervals, text_columns

_SPECIAL = re.compile(r"[\\`*\[\]<>|~$]|&(?=[#\w])|(?<![^\W_])_|_(?![^\W_])")


def markdown_table(frame: pl.DataFrame, *, digits: int = 3, intervals: Intervals = Intervals.MERGED) -> str:
    r"""A table whose cells show the texts as they are, whatever they hold.

    Args:
        frame: the table.
        digits: decimals of a rounded number.
        intervals: how to show columns `x_low` and `x_high` behind a column.

    >>> print(markdown_table(pl.DataFrame({"name": ["a|b"], "kappa": [0.5], "kappa_low": [0.4], "kappa_high": [0.6]})))
    | name | kappa |
    | --- | ---: |
    | a\|b | 0.500 [0.400, 0.600] |
    <BLANKLINE>
    """
    columns = text_columns(frame, digits=digits, intervals=intervals)
    lines = [
        [escape_markdown(column.title) for column in columns],
        ["---:" if column.numeric else "---" for column in columns],
        *zip(*([c if column.numeric else escape_markdown(c) for c in column.cells] for column in columns), strict=True),
    ]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def escape_markdown(text: str) -> str:
    r"""A text that Markdown shows as it is.

    An underscore between letters or digits is none of its marks.

    >>> escape_markdown("resnet_50 *<b>* _x")
    'resnet_50 \\*\\<b\\>\\* \\_x'
    """
    return _SPECIAL.sub(lambda match: f"\\{match[0]}", text)
