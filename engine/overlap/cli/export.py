"""`overlap export`: analysis tables and figures become files for papers, spreadsheets and other programs."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from overlap.cli import output

if TYPE_CHECKING:
    from overlap.exporting import Exported, ExportWords


def export(
    target: Annotated[str, typer.Argument(help="A store or sweep file.")],
    *,
    to: Annotated[
        Path | None, typer.Option("--to", help="The folder to fill; by default SWEEP-export in this one.")
    ] = None,
    dataset: Annotated[str | None, typer.Option("--dataset", help="Of several, this dataset; else the first.")] = None,
    tables: Annotated[
        list[str] | None, typer.Option("--tables", metavar="NAME,…", help="Only these; globs are fine.")
    ] = None,
    formats: Annotated[
        list[str] | None,
        typer.Option("--format", metavar="parquet|csv|markdown|latex|none,…", help="Of tables."),
    ] = None,
    figures: Annotated[
        list[str] | None, typer.Option("--figures", metavar="svg|png|none,…", help="Of figures; svg by default.")
    ] = None,
    digits: Annotated[int, typer.Option("--digits", help="Decimals in Markdown and LaTeX.")] = 3,
    rows: Annotated[int, typer.Option("--rows", help="Of a table in Markdown and LaTeX, at most.")] = 1000,
    intervals: Annotated[
        str,
        typer.Option("--intervals", metavar="merged|columns|none", help="In Markdown and LaTeX: 0.51 [0.49, 0.53]."),
    ] = "merged",
    force: Annotated[bool, typer.Option("--force", help="Write into a folder that holds other things.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print JSON for scripts.")] = False,
) -> None:
    """Write the tables and figures of the analyses as files, and an index of them.

    CSV and Parquet have every row and digit. Markdown and LaTeX are rounded,
    for readers. By default tables are CSV, Markdown and LaTeX.

    The folder may hold an earlier export: its other files stay if they are
    of the same results, and go if they are not.

    Example: overlap export runs/digits --tables categories,greedy --format latex
    """
    import overlap
    from overlap.exporting import options_of
    from overlap.standing import open_store

    words: ExportWords = {"digits": digits, "rows": rows, "intervals": intervals, "force": force}
    if tables:
        words["tables"] = _split(tables)
    if formats:
        words["formats"] = _split(formats)
    if figures:
        words["figures"] = _split(figures)
    exported = overlap.export(open_store(target), to, dataset=dataset, options=options_of(words))
    if json:
        output.print_json(_as_json(exported))
    else:
        _print(exported)


def _split(values: list[str]) -> list[str]:
    return [word.strip() for value in values for word in value.split(",") if word.strip()]


def _as_json(exported: "Exported") -> dict[str, object]:
    from overlap.exporting.folder import as_json

    return {"folder": str(exported.folder), **as_json(exported)}


def _print(exported: "Exported") -> None:
    rows: dict[str, tuple[str, list[str]]] = {}
    for file in exported.files:
        count = "" if file.rows is None else f"{file.rows:,}"
        rows.setdefault(f"{file.path.partition('/')[0]}/{file.name}", (count, []))[1].append(
            f"{Path(file.path).suffix[1:]} {_size(file.size)}"
        )
    lines = [(name, count, ", ".join(files)) for name, (count, files) in rows.items()]
    output.print_table(["what", "rows", "files"], lines)
    if exported.kept:
        typer.echo(f"kept from an earlier export of the same results: {len(exported.kept)} files")
    for note in exported.notes:
        typer.echo(note)
    typer.echo(f"index {exported.folder / 'README.md'}")


def _size(size: float) -> str:
    """So many bytes, for readers."""
    for unit in ("B", "kB", "MB"):
        if size < 1000:
            return f"{size:.3g} {unit}"
        size /= 1000
    return f"{size:.3g} GB"
