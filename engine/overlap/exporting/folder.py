"""The folder of an export: who may write into it, files that are there whole or not at all, and its own record."""

import contextlib
import json
import os
import re
import uuid
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from overlap.errors import ArgumentError
from overlap.exporting.options import Exported, ExportedFile
from overlap.store import Store

RECORD, INDEX = "export.json", "README.md"
_OURS = re.compile(r"(tables|figures)/[\w.-]+")


def check_folder(folder: Path, store: Store, *, force: bool) -> None:
    """Accept a folder that does not exist, is empty or holds an earlier export; with `force`, any folder.

    Raises:
        ArgumentError: it is a file, holds other things, or lies in the store.
    """
    root = Path(store.objects.url)
    if "://" not in store.objects.url and folder.resolve().is_relative_to(root.resolve()):
        raise ArgumentError(f"'{folder}' lies in the store, where only its own files belong; give another with --to")
    with _as_argument_error(folder):
        if folder.exists() and not folder.is_dir():
            raise ArgumentError(f"'{folder}' is a file; expected a folder, or a path that does not exist yet")
        if not force and folder.is_dir() and any(folder.iterdir()) and not (folder / RECORD).is_file():
            raise ArgumentError(
                f"'{folder}' holds files of something else; give a new folder with --to, or write into it with --force"
            )


@contextlib.contextmanager
def whole_file(path: Path) -> "Iterator[IO[bytes]]":
    """A file that gets its name when everything is written, and vanishes if something is not.

    Raises:
        ArgumentError: it cannot be written.
    """
    with _as_argument_error(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")
        try:
            with temporary.open("xb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class Earlier:
    """What an earlier export left that this one does not write: files of the same results, and paths of others."""

    kept: tuple[ExportedFile, ...]
    outdated: tuple[str, ...]


def begin(folder: Path, planned: Collection[str], results: str) -> Earlier:
    """Records which files are being written, so that an interrupted export can be repeated."""
    recorded, entries = _recorded(folder)
    entries = {path: entry for path, entry in entries.items() if path not in planned}
    kept = tuple(_file(entry) for entry in entries.values() if recorded == results and "bytes" in entry)
    outdated = tuple(path for path in entries if path not in {file.path for file in kept})
    begun = [*map(_entry, kept), *({"path": path} for path in (*planned, *outdated))]
    _write_record(folder, {"finished": False, "results": results, "files": begun})
    return Earlier(kept=kept, outdated=outdated)


def finish(exported: Exported, outdated: Collection[str]) -> None:
    """Removes what an earlier export has made from other results, and records what there is now."""
    with _as_argument_error(exported.folder):
        for path in outdated:
            (exported.folder / path).unlink(missing_ok=True)
    for room in ("tables", "figures"):
        with contextlib.suppress(OSError):  # it holds something still, or was never there
            (exported.folder / room).rmdir()
    files = [_entry(file) for file in (*exported.files, *exported.kept)]
    _write_record(exported.folder, {"finished": True, **as_json(exported), "files": files})


def as_json(exported: Exported) -> dict[str, Any]:
    """What an export wrote, for programs; the folder itself is left out, because it may be moved."""
    return {
        "sweep": exported.sweep,
        "dataset": exported.dataset,
        "results": exported.results,
        "files": [_entry(file) for file in exported.files],
        "notes": list(exported.notes),
    }


def _entry(file: ExportedFile) -> dict[str, Any]:
    table = {"rows": file.rows, "written": file.written}
    return {
        "path": file.path,
        "name": file.name,
        "bytes": file.size,
        **({"caption": file.caption} if file.rows is None else table),
    }


def _file(entry: dict[str, Any]) -> ExportedFile:
    return ExportedFile(
        path=entry["path"],
        name=entry["name"],
        size=entry["bytes"],
        rows=entry.get("rows"),
        written=entry.get("written"),
        caption=entry.get("caption", ""),
    )


def _recorded(folder: Path) -> tuple[str, dict[str, dict[str, Any]]]:
    """Of what results an earlier export is, and its files by path; nothing if its record cannot be read."""
    try:
        record = json.loads((folder / RECORD).read_bytes())
        files = {entry["path"]: entry for entry in record["files"] if _OURS.fullmatch(entry["path"])}
        return record["results"], files
    except (OSError, ValueError, KeyError, TypeError):
        return "", {}


def _write_record(folder: Path, record: dict[str, Any]) -> None:
    with whole_file(folder / RECORD) as file:
        file.write((json.dumps(record, indent=2, ensure_ascii=False) + "\n").encode())


@contextlib.contextmanager
def _as_argument_error(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise ArgumentError(f"cannot write '{path}': {error.strerror}; give another folder with --to") from error
