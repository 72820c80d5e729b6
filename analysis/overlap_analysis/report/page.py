"""The report as one page: figures, tables and findings put into `template.html`."""

from base64 import b64encode
from dataclasses import dataclass

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined

from overlap_analysis import figures, selection_figures
from overlap_analysis.categories import SHOWN_CATEGORIES, CategoryMean
from overlap_analysis.report import numbers
from overlap_analysis.report.data import GreedyCurve, LowAccuracy, ReportData
from overlap_analysis.report.summary import best_pairs, greedy_choice, headlines, summarize

_TOP_PAIRS = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class _Picture:
    """An image as a data URI, and the same for those who do not see it."""

    uri: str
    alt: str


@dataclass(frozen=True, slots=True, kw_only=True)
class _Pictures:
    """The figures of the page, None for one that has nothing to show."""

    accuracy: _Picture
    inconsistency: _Picture | None
    correlation: _Picture | None
    improvement: _Picture | None
    greedy: _Picture | None
    low_accuracy: _Picture | None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Mean:
    """A cell of the table of categories."""

    value: str
    interval: str
    pairs: int
    undefined: int


def render_report(data: ReportData) -> str:
    """One offline HTML page: no script, no network access, the same string for the same data.

    Raises:
        ValueError: there is no variant.
    """
    if not data.variants:
        raise ValueError("variants: expected at least one with a result, got none")
    template = _environment().get_template("template.html")
    return template.render(
        data=data,
        headlines=headlines(data),
        statements=summarize(data),
        pictures=_pictures(data),
        means=_means(data),
        top_pairs=best_pairs(data.pairs, _TOP_PAIRS),
        greedy_choice=greedy_choice(data.greedy) if data.greedy else None,
        matrix_rows=np.argsort(figures.cluster_order(data.error_correlations())) + 1,
        by_accuracy=np.argsort(-data.accuracies()[:, 0], kind="stable"),
        named_rows=figures.NAMED_ROWS,
        categories=SHOWN_CATEGORIES,
        colors=dict(zip(SHOWN_CATEGORIES, figures.CATEGORY_COLORS, strict=True)),
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
    environment.globals["interval"] = numbers.interval
    return environment


def _means(data: ReportData) -> dict[str, dict[str, _Mean]]:
    """Cells of the table of categories: category, then metric."""
    cells: dict[str, dict[str, _Mean]] = {}
    for row in data.categories:
        cells.setdefault(row.category, {})[row.metric] = _mean(row)
    return cells


def _mean(row: CategoryMean) -> _Mean:
    if row.metric in ("error_correlation", "kappa"):
        value, ends = numbers.decimal(row.mean), numbers.interval(row.low, row.high, 2, scale=1)
    else:
        value = numbers.points(row.mean) if row.metric == "improvement" else numbers.percent(row.mean)
        ends = numbers.interval(row.low, row.high)
    return _Mean(value=value, interval=ends, pairs=row.pairs, undefined=row.undefined)


def _pictures(data: ReportData) -> _Pictures:
    pairs = data.pairs
    has_phi = len(data.variants) > 2 and not np.isnan(pairs.error_correlation).all()
    has_improvement = len(pairs.a) > 0 and not np.isnan(pairs.improvement).all()
    return _Pictures(
        accuracy=_accuracy(data),
        inconsistency=_inconsistency(data) if len(pairs.a) else None,
        correlation=_correlation(data) if has_phi else None,
        improvement=_improvement(data) if has_improvement else None,
        greedy=_greedy(data.greedy) if data.greedy else None,
        low_accuracy=_low_accuracy(data.low_accuracy) if data.low_accuracy else None,
    )


def _accuracy(data: ReportData) -> _Picture:
    accuracy_V3 = data.accuracies()
    frameworks = [row.framework for row in data.variants]
    low, high = accuracy_V3[:, 0].min(), accuracy_V3[:, 0].max()
    return _picture(
        figures.variant_accuracies([row.name for row in data.variants], accuracy_V3, frameworks),
        f"Dot plot: accuracies from {numbers.percent(low)} to {numbers.percent(high)}.",
    )


def _inconsistency(data: ReportData) -> _Picture:
    mean_K3 = data.means_by_category("error_inconsistency")
    means = [f"{SHOWN_CATEGORIES[k]} {numbers.percent(mean_K3[k, 0])}" for k in np.unique(data.pairs.category)]
    return _picture(
        figures.inconsistency_by_category(data.pairs.error_inconsistency, data.pairs.category, mean_K3),
        f"Dots of error inconsistency in a row for each category; means: {numbers.listed(means)}.",
    )


def _correlation(data: ReportData) -> _Picture:
    strips = {
        "framework": [row.framework for row in data.variants],
        "trained on": [row.train_on for row in data.variants],
    }
    phi_P = data.pairs.error_correlation
    low, high = numbers.decimal(np.nanmin(phi_P)), numbers.decimal(np.nanmax(phi_P))
    return _picture(
        figures.error_correlation_heatmap(
            data.error_correlations(), [row.name for row in data.variants], strips=strips
        ),
        f"Heat map of {len(data.variants)} by {len(data.variants)} variants, φ from {low} to {high}.",
    )


def _improvement(data: ReportData) -> _Picture:
    pairs = data.pairs
    low, high = numbers.points(np.nanmin(pairs.improvement)), numbers.points(np.nanmax(pairs.improvement))
    return _picture(
        figures.improvement_against_inconsistency(pairs.error_inconsistency, pairs.improvement, pairs.category),
        f"Scatter plot of {numbers.count(len(pairs.a), 'pair')}: improvements from {low} to {high} points.",
    )


def _greedy(curve: GreedyCurve) -> _Picture:
    ends = (curve.evaluation_accuracy, curve.evaluation_low, curve.evaluation_high)
    first, last = numbers.percent(ends[0][0]), numbers.percent(ends[0][-1])
    return _picture(
        selection_figures.greedy_curve(
            curve.selection_accuracy,
            np.stack(ends, axis=1),
            best_single=curve.best_single_accuracy,
            all_members=curve.all_members_accuracy,
        ),
        f"Lines over {numbers.count(len(curve.variants), 'step')}: held-out accuracy from {first} to {last}.",
    )


def _low_accuracy(found: LowAccuracy) -> _Picture:
    ends = [
        f"{path.start} from {numbers.percent(path.accuracy_S3[0, 0])} to {numbers.percent(path.accuracy_S3[-1, 0])}"
        for path in found.paths
    ]
    return _picture(
        selection_figures.low_accuracy_curves(found.paths, best_added=found.best_added),
        f"Lines of held-out accuracy over added models: {numbers.listed(ends)}.",
    )


def _picture(svg: bytes, alt: str) -> _Picture:
    return _Picture(uri=f"data:image/svg+xml;base64,{b64encode(svg).decode()}", alt=alt)
