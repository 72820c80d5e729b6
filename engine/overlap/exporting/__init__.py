"""Analysis tables and figures as files for papers, spreadsheets and other programs."""

from overlap.exporting.cells import Intervals
from overlap.exporting.into_folder import export
from overlap.exporting.latex import latex_table
from overlap.exporting.markdown import markdown_table
from overlap.exporting.options import (
    DEFAULT_EXPORT,
    Exported,
    ExportedFile,
    ExportOptions,
    ExportWords,
    TableFormat,
    options_of,
)

__all__ = [
    "DEFAULT_EXPORT",
    "ExportOptions",
    "ExportWords",
    "Exported",
    "ExportedFile",
    "Intervals",
    "TableFormat",
    "export",
    "latex_table",
    "markdown_table",
    "options_of",
]
