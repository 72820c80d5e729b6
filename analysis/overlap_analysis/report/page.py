"""The report as one page: figures, tables, findings, numbers and the script put into `template.html`."""

from base64 import b64encode
from dataclasses import dataclass
from hashlib import sha256

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from overlap_analysis import figures
from overlap_analysis.categories import SHOWN_CATEGORIES, CategoryMean
from overlap_analysis.report import numbers
from overlap_analysis.report.data import ReportData
from overlap_analysis.report.payload import script_data
from overlap_analysis.report.pictures import Picture, drawn, report_drawings
from overlap_analysis.report.summary import best_pairs, greedy_choice, headlines, summarize

_TOP_PAIRS = 10
_OPEN_ROWS = 15  # longer tables are folded
_DRAWN_BY_SCRIPT = ("error_correlation", "improvement")
_SCRIPTS = (
    "texts",
    "values",
    "metrics",
    "colors",
    "orders",
    "card",
    "heatmap",
    "mapinput",
    "legend",
    "histogram",
    "explorer",
    "scatter",
    "tables",
    "main",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Mean:
    """A cell of the table of categories."""

    value: str
    interval: str
    pairs: int
    undefined: int


def render_report(data: ReportData) -> str:
    """One offline HTML page with a script that needs nothing else; the same string for the same data.

    Raises:
        ValueError: there is no variant, or two figures of the sections have the same name.
    """
    if not data.variants:
        raise ValueError("variants: expected at least one with a result, got none")
    environment = _environment()
    drawings = report_drawings(data)
    script = _script(environment)
    return environment.get_template("template.html").render(
        data=data,
        headlines=headlines(data),
        statements=summarize(data),
        pictures={name: drawn(each, "svg") for name, each in drawings.items() if name not in _DRAWN_BY_SCRIPT},
        map_text=drawings["error_correlation"].alt if "error_correlation" in drawings else "",
        scatter_text=drawings["improvement"].alt if "improvement" in drawings else "",
        means=_means(list(data.categories)),
        controls=_controls(data),
        top_pairs=best_pairs(data.pairs, _TOP_PAIRS),
        greedy_choice=greedy_choice(data.greedy) if data.greedy else None,
        by_accuracy=np.argsort(-data.accuracies()[:, 0], kind="stable"),
        open_rows=_OPEN_ROWS,
        categories=SHOWN_CATEGORIES,
        colors=dict(zip(SHOWN_CATEGORIES, figures.CATEGORY_COLORS, strict=True)),
        script=Markup(script),  # noqa: S704 - ours, from this package
        script_hash=b64encode(sha256(script.encode()).digest()).decode(),
        script_data=Markup(script_data(data)),  # noqa: S704 - escaped there
    )


def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("overlap_analysis.report", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    for function in (numbers.percent, numbers.points, numbers.decimal, numbers.count):
        environment.filters[function.__name__] = function
    environment.filters["data_uri"] = _data_uri
    environment.globals["interval"] = numbers.interval
    return environment


def _script(environment: Environment) -> str:
    """All files of the script in one function, so that none of their names is seen from outside."""
    assert environment.loader is not None
    sources = [environment.loader.get_source(environment, f"script/{name}.js")[0] for name in _SCRIPTS]
    return "\n".join(["(() => {", *sources, "})();\n"])


def _means(rows: list[CategoryMean]) -> dict[str, dict[str, _Mean]]:
    """Cells of a table of categories: category, then metric."""
    cells: dict[str, dict[str, _Mean]] = {}
    for row in rows:
        cells.setdefault(row.category, {})[row.metric] = _mean(row)
    return cells


def _controls(data: ReportData) -> dict[str, dict[str, dict[str, _Mean]]]:
    """The same under each control."""
    names = dict.fromkeys(row.control for row in data.controls)
    return {name: _means([row.mean for row in data.controls if row.control == name]) for name in names}


def _mean(row: CategoryMean) -> _Mean:
    if row.metric in ("error_correlation", "kappa"):
        value, ends = numbers.decimal(row.mean), numbers.interval(row.low, row.high, 2, scale=1)
    else:
        value = numbers.points(row.mean) if row.metric == "improvement" else numbers.percent(row.mean)
        ends = numbers.interval(row.low, row.high)
    return _Mean(value=value, interval=ends, pairs=row.pairs, undefined=row.undefined)


def _data_uri(picture: Picture) -> str:
    return f"data:image/svg+xml;base64,{b64encode(picture.image).decode()}"
