"""One offline HTML page about a sweep, from numbers: no disk, no network, no script."""

from overlap_analysis.report.data import (
    FailureRow,
    GreedyCurve,
    PairColumns,
    ReportData,
    VariantRow,
)
from overlap_analysis.report.page import render_report

__all__ = [
    "FailureRow",
    "GreedyCurve",
    "PairColumns",
    "ReportData",
    "VariantRow",
    "render_report",
]
