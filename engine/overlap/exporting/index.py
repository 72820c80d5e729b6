"""The index of an export: what each table and figure is, for those who open the folder."""

from collections.abc import Sequence
from pathlib import PurePosixPath

from overlap.exporting.markdown import escape_markdown
from overlap.exporting.options import Exported, ExportedFile
from overlap.stored_tables import A_ROW


def index_text(exported: Exported) -> str:
    """The index as Markdown."""
    files = (*exported.files, *exported.kept)
    tables, figures = ([file for file in files if (file.rows is None) == drawn] for drawn in (False, True))
    lines = [
        f"# {escape_markdown(exported.sweep)}: analyses on {escape_markdown(exported.dataset)}",
        "",
        "Written by `overlap export`, which may replace every file that `export.json` names.",
    ]
    if tables:
        lines += ["", "| table | rows | a row is | files |", "|---|---:|---|---|"]
        lines += [
            f"| {name} | {files[0].rows:,} | {A_ROW.get(name, '')} | {', '.join(map(_link, files))} |"
            for name, files in _by_name(tables).items()
        ]
    if figures:
        lines += ["", "| figure | how to read it |", "|---|---|"]
        lines += [
            f"| {name.replace('_', ' ')} ({', '.join(map(_link, files))}) | {escape_markdown(files[0].caption)} |"
            for name, files in _by_name(figures).items()
        ]
    if exported.notes:
        lines += ["", *(f"- {escape_markdown(note)}" for note in exported.notes)]
    return "\n".join(lines) + "\n"


def _by_name(files: Sequence[ExportedFile]) -> dict[str, list[ExportedFile]]:
    found: dict[str, list[ExportedFile]] = {}
    for file in files:
        found.setdefault(file.name, []).append(file)
    return found


def _link(file: ExportedFile) -> str:
    cut = f" (first {file.written:,} rows)" if file.cut else ""
    return f"[{PurePosixPath(file.path).suffix[1:]}]({file.path}){cut}"
