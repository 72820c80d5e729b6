"""`export`: the analysis tables and figures of a store become files in a folder."""

import fnmatch
import re
from collections.abc import Collection
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import IO

from overlap.errors import ArgumentError
from overlap.exporting.folder import INDEX, begin, check_folder, finish, whole_file
from overlap.exporting.index import index_text
from overlap.exporting.latex import latex_table
from overlap.exporting.markdown import markdown_table
from overlap.exporting.options import (
    DEFAULT_EXPORT,
    Exported,
    ExportedFile,
    ExportOptions,
    TableFormat,
    check_options,
)
from overlap.exporting.whole import copy_parquet, write_csv
from overlap.reporting.data import read_report_data
from overlap.standing import choose_dataset
from overlap.store import LockFile, Store
from overlap.stored_tables import (
    A_ROW,
    TableFacts,
    first_rows,
    present_keys,
    stored_table,
    table_facts,
    table_names,
    table_parts,
)
from overlap.variants import canonical_json, key_of
from overlap_analysis.report import Picture, report_figures

_DRAWN = ("variants", "pairs", "ensembles", "categories")  # what the figures need


def export(
    store: Store,
    to: str | PathLike[str] | None = None,
    *,
    dataset: str | None = None,
    options: ExportOptions = DEFAULT_EXPORT,
) -> Exported:
    """Writes the analysis tables and figures of a dataset as files, and an index of them.

    Nothing is computed, and nothing written into the store. Every file is there whole or not at all. A folder may
    hold an earlier export: its other files stay if they are of the same results, and go if they are not.

    Args:
        store: with analyses.
        to: a new folder; by default `<sweep>-export` here, with the dataset's name if there are several.
        dataset: of several, this one.
        options: what to write.

    Raises:
        ArgumentError: no analyses, no such table, or a folder that cannot be written or holds other things.
        CorruptFileError: a stored table is damaged.
    """
    check_options(options)
    lock = store.require_lock()
    chosen = choose_dataset(lock, dataset)
    folder = Path(to) if to is not None else Path(_default_folder(lock, chosen))
    check_folder(folder, store, force=options.force)
    tables = _tables(store, chosen, options)
    pictures, missing = _pictures(store, lock, chosen, options)
    if not tables and not pictures:
        raise ArgumentError("; ".join(missing))
    notes = _stale_notes(store, lock, chosen, [table.name for table in tables if not table.working])
    paths = [_path(table.name, kind) for table in tables for kind in options.formats]
    results = _results(store, lock, chosen)
    earlier = begin(folder, [*paths, *pictures], results)
    writing = _Writing(folder=folder, store=store, dataset=chosen, options=options)
    made = [writing.table(table, kind) for table in tables for kind in options.formats]
    drawn = [writing.figure(path, name, picture) for path, (name, picture) in pictures.items()]
    exported = Exported(
        folder=folder,
        sweep=lock.name,
        dataset=chosen,
        results=results,
        files=(*(file for file, _ in made), *drawn),
        kept=earlier.kept,
        notes=(*notes, *(note for _, said in made for note in said), *missing),
    )
    with whole_file(folder / INDEX) as file:
        file.write(index_text(exported).encode())
    finish(exported, earlier.outdated)
    return exported


def _results(store: Store, lock: LockFile, dataset: str) -> str:
    """A hash of what the tables speak of: equal for equal results of a sweep on a dataset."""
    return key_of(canonical_json([lock.name, dataset, store.analysis_keys(dataset, "variants")]))


def _default_folder(lock: LockFile, dataset: str) -> str:
    words = [lock.name] if len(lock.results) == 1 else [lock.name, dataset]
    return re.sub(r"[^\w.-]+", "-", "-".join([*words, "export"])).lstrip("-.") or "export"


def _tables(store: Store, dataset: str, options: ExportOptions) -> list[TableFacts]:
    """The tables to write, in the order of the index.

    Raises:
        ArgumentError: there is none, or none that was asked for.
    """
    if not options.formats:
        return []
    known = [table_facts(store, dataset, name) for name in table_names(store, dataset)]
    known = [table for table in known if table.readable]
    if not known:
        raise ArgumentError(
            f"'{store.objects.url}' has no analysis of '{dataset}' yet: run `overlap analyze` on it first"
        )
    order = {name: place for place, name in enumerate(A_ROW)}
    known.sort(key=lambda table: order.get(table.name, len(order)))
    if options.tables is None:
        return [table for table in known if not table.working]
    for wanted in options.tables:
        if not fnmatch.filter([table.name for table in known], wanted):
            names = ", ".join(table.name for table in known if not table.working)
            raise ArgumentError(f"--tables '{wanted}': no such table of '{dataset}'; there are {names}")
    return [table for table in known if any(fnmatch.fnmatchcase(table.name, wanted) for wanted in options.tables)]


def _stale_notes(store: Store, lock: LockFile, dataset: str, tables: Collection[str]) -> list[str]:
    """Which tables, and with them the figures, are of other results than those of today."""
    today = present_keys(store, lock, dataset)
    stale = [name for name in tables or _DRAWN if store.analysis_keys(dataset, name) != today]
    if not stale:
        return []
    return [f"made from other results than the store has now: {', '.join(stale)}; `overlap analyze` makes them anew"]


def _path(name: str, kind: TableFormat) -> str:
    return f"tables/{name}{kind.suffix}"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Writing:
    """What every table is written with."""

    folder: Path
    store: Store
    dataset: str
    options: ExportOptions

    def table(self, table: TableFacts, kind: TableFormat) -> tuple[ExportedFile, list[str]]:
        """Writes one file; gives it and what to say of it."""
        path = self.folder / _path(table.name, kind)
        with whole_file(path) as file:
            guarded = self._fill(file, table, kind)
        written = table.rows if kind.whole else min(self.options.rows, table.rows)
        notes = []
        if guarded:
            notes.append(f"{path.name}: {guarded:,} texts begin like a formula and got an apostrophe in front")
        if written < table.rows:
            notes.append(f"{path.name}: the first {written:,} of {table.rows:,} rows; --rows sets how many")
        return (
            ExportedFile(
                path=_path(table.name, kind),
                name=table.name,
                size=path.stat().st_size,
                rows=table.rows,
                written=written,
            ),
            notes,
        )

    def figure(self, path: str, name: str, picture: Picture) -> ExportedFile:
        """Writes one figure."""
        with whole_file(self.folder / path) as file:
            file.write(picture.image)
        return ExportedFile(path=path, name=name, size=len(picture.image), caption=picture.caption)

    def _fill(self, file: IO[bytes], table: TableFacts, kind: TableFormat) -> int:
        """Writes the content; returns how many texts were guarded."""
        if kind is TableFormat.CSV:
            return write_csv(file, table_parts(self.store, self.dataset, table.name))
        if kind is TableFormat.PARQUET:
            with self.store.objects.open(stored_table(self.dataset, table.name)) as stored:
                copy_parquet(file, stored)
            return 0
        file.write(self._readable(table, kind).encode())
        return 0

    def _readable(self, table: TableFacts, kind: TableFormat) -> str:
        options = self.options
        frame = first_rows(self.store, self.dataset, table.name, options.rows)
        which = f"the first {frame.height:,} of {table.rows:,} rows" if frame.height < table.rows else ""
        if kind is TableFormat.MARKDOWN:
            text = markdown_table(frame, digits=options.digits, intervals=options.intervals)
            return f"{text}\n{which.capitalize()}.\n" if which else text
        comment = (
            f"{table.name}: {which or f'{table.rows:,} rows'}; a row is {A_ROW.get(table.name, 'one of the table')}"
        )
        return latex_table(frame, digits=options.digits, intervals=options.intervals, comment=comment)


def _pictures(
    store: Store, lock: LockFile, dataset: str, options: ExportOptions
) -> tuple[dict[str, tuple[str, Picture]], list[str]]:
    """Path -> name and figure; and why there are none."""
    if not options.figures:
        return {}, []
    today = present_keys(store, lock, dataset)
    missing = [table for table in _DRAWN if not today or store.analysis_keys(dataset, table) != today]
    if missing:
        return {}, [f"no figures: they need {', '.join(missing)} of today's results; run `overlap analyze` first"]
    data = read_report_data(store, lock, dataset)
    drawn = {kind: report_figures(data, kind) for kind in options.figures}
    return {
        f"figures/{name}.{kind}": (name, picture)
        for kind, pictures in drawn.items()
        for name, picture in pictures.items()
    }, []
