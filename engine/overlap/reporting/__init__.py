"""The report of a store: what it shows, read from the tables, and the page written beside them."""

from overlap.reporting.page import REPORT, report, report_data

__all__ = ["REPORT", "report", "report_data"]
