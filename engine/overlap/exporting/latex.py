r"""A table as LaTeX with booktabs, and longtable where it may not fit on a page."""

import re

import polars as pl

from overlap.exporting.cells import NOTHING, Intervals, TextColumn, text_columns

ROWS_OF_A_PAGE = 40
_ESCAPED = {
    "\\": r"\textbackslash{}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': r"\char34{}",  # its name is known in some font encodings only
    "'": r"\textquotesingle{}",
    "`": r"\textasciigrave{}",
    "[": "{[}",  # right behind \\ it would begin an argument
    "*": "{*}",  # as this would
    "\ufffd": "?",
}
_LIGATURES = re.compile(r"([-,?!])(?=[-,`'?!])")
_POWER = re.compile(r"e([+-])0*(\d+)")


def latex_table(
    frame: pl.DataFrame, *, digits: int = 3, intervals: Intervals = Intervals.MERGED, comment: str = ""
) -> str:
    r"""A table for `\input`, whose cells show the texts as they are.

    It needs `\usepackage{booktabs}`, and with more than 40 rows `\usepackage{longtable}`. `\usepackage[T1]{fontenc}`
    keeps quotation marks straight. Letters outside of Latin scripts need LuaLaTeX or XeLaTeX, with a font that has
    them.

    Args:
        frame: the table.
        digits: decimals of a rounded number.
        intervals: how to show columns `x_low` and `x_high` behind a column.
        comment: one line above the table.

    >>> print(latex_table(pl.DataFrame({"name": ["a_b"], "kappa": [-0.5]}), digits=2))
    \begin{tabular}{lr}
    \toprule
    name & kappa \\
    \midrule
    a\_b & $-$0.50 \\
    \bottomrule
    \end{tabular}
    <BLANKLINE>
    """
    columns = text_columns(frame, digits=digits, intervals=intervals)
    long = frame.height > ROWS_OF_A_PAGE
    name = "longtable" if long else "tabular"
    lines = [
        *([f"% {' '.join(comment.split())}"] if comment else []),
        rf"\begin{{{name}}}{{{''.join('r' if column.numeric else 'l' for column in columns)}}}",
        r"\toprule",
        _row([escape_latex(column.title) for column in columns]),
        r"\midrule",
        *([r"\endhead"] if long else []),
        *(_row(cells) for cells in zip(*map(_cells, columns), strict=True)),
        r"\bottomrule",
        rf"\end{{{name}}}",
    ]
    return "\n".join(lines) + "\n"


def escape_latex(text: str) -> str:
    r"""A text that LaTeX shows as it is, on one line.

    >>> escape_latex("50%_a--b")
    '50\\%\\_a-{}-b'
    """
    return "".join(_ESCAPED.get(letter, letter) for letter in _LIGATURES.sub("\\1\x00", text)).replace("\x00", "{}")


def _row(cells: "list[str] | tuple[str, ...]") -> str:
    return rf"{' & '.join(cells)} \\"


def _cells(column: TextColumn) -> list[str]:
    return [_number(cell) if column.numeric else escape_latex(cell) for cell in column.cells]


def _number(text: str) -> str:
    """A rounded number with its interval; a minus is one, and a power of ten is written out."""
    powers = _POWER.sub(lambda e: rf"$\cdot$10$^{{{'-' if e[1] == '-' else ''}{e[2]}}}$", text.replace(NOTHING, "--"))
    return re.sub(r"(?<![\w{-])-(?=[\di])", "$-$", powers)
