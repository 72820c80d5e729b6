"""One offline HTML page about a sweep, from numbers: no disk, no network, no script."""

from overlap_analysis.report.data import (
    FailureRow,
    GreedyCurve,
    LowAccuracy,
    PairColumns,
    ReportData,
    VariantRow,
)
from overlap_analysis.report.page import render_report
from overlap_analysis.selection_figures import AdditionPath

__all__ = [
    "AdditionPath",
    "FailureRow",
    "GreedyCurve",
    "LowAccuracy",
    "PairColumns",
    "ReportData",
    "VariantRow",
    "render_report",
]
