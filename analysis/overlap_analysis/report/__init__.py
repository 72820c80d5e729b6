"""One offline HTML page about a sweep, from numbers: no disk and no network."""

from overlap_analysis.report.data import (
    ControlMean,
    FailureRow,
    GreedyCurve,
    LowAccuracy,
    PairColumns,
    ReportData,
    TrendRow,
    VariantRow,
)
from overlap_analysis.report.page import render_report
from overlap_analysis.report.pictures import Picture, report_figures
from overlap_analysis.report.sample import ExampleSample, decoded_confidences, outcome_codes
from overlap_analysis.report.sections import Drawing, Section, SectionTable
from overlap_analysis.selection_figures import AdditionPath

__all__ = [
    "AdditionPath",
    "ControlMean",
    "Drawing",
    "ExampleSample",
    "FailureRow",
    "GreedyCurve",
    "LowAccuracy",
    "PairColumns",
    "Picture",
    "ReportData",
    "Section",
    "SectionTable",
    "TrendRow",
    "VariantRow",
    "decoded_confidences",
    "outcome_codes",
    "render_report",
    "report_figures",
]
