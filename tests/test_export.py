"""`overlap export`: which files it writes from a store's analyses, where, and when it refuses."""

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest
import typer
from polars.testing import assert_frame_equal

import overlap
from faults.faulty_objects import Fault, FaultyObjects
from overlap.cli.export import export as export_command
from overlap.errors import ArgumentError, CorruptFileError, StoreError
from overlap.exporting import ExportOptions, TableFormat, options_of
from overlap.store import Store, open_objects
from overlap.store.memory import MemoryObjects
from synthetic_store import Shape, family_logits, fill, lock_for, renamed, shared_part, variant

SHAPE = Shape(variants=12, examples=100, classes=4)
NAMES = [
    'a "quoted", name',
    "two\nlines",
    "</script><b>&amp;",
    r"\under_score%$#{}~^",
    '=HYPERLINK("http://example.org")',
    "-1+1",
    "עברית \u202eltr",
]
ALL = ExportOptions(formats=tuple(TableFormat), figures=())
TABLES = ExportOptions(formats=(TableFormat.CSV,), figures=())


def fill_and_analyze(store, variants=SHAPE.variants):
    shared = shared_part(SHAPE)
    logits = [family_logits(SHAPE, v, shared) for v in range(variants)]
    named = [renamed(variant(v), NAMES[v]) if v < len(NAMES) else variant(v) for v in range(variants)]
    jobs = fill(store, logits, shared[0], variants=named)
    overlap.analyze(store)
    return jobs


@pytest.fixture(scope="module")
def analyzed(tmp_path_factory):
    """A store with hostile names and every analysis, which no test may change."""
    store = Store(open_objects(str(tmp_path_factory.mktemp("analyzed") / "store")))
    fill_and_analyze(store)
    return store


@pytest.fixture
def own(analyzed, tmp_path):
    """A copy that a test may change."""
    return Store(open_objects(str(shutil.copytree(analyzed.objects.url, tmp_path / "store"))))


def files_in(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def command(*arguments):
    """Runs the command as the command line does, errors raised."""
    app = typer.Typer()
    app.command()(export_command)
    return app([str(argument) for argument in arguments], standalone_mode=False)


def guarded(frame):
    texts = [name for name, kind in frame.schema.items() if kind == pl.String]
    dangerous = re.compile("[=+@-]")
    return frame.with_columns(
        pl.Series(name, ["'" + text if text and dangerous.match(text) else text for text in frame[name]])
        for name in texts
    )


def test_every_table_comes_back_from_csv_and_parquet_as_it_is_stored(analyzed, tmp_path):
    exported = overlap.export(analyzed, tmp_path / "out", options=ALL)
    names = {file.name for file in exported.files}
    assert names >= {"variants", "pairs", "ensembles", "categories", "greedy", "greedy_references", "low_accuracy"}
    for name in names:
        stored = analyzed.read_analysis("photos", name)
        flat = stored.select(column for column in stored.columns if not stored[column].dtype.is_nested())
        schema = {column: flat.schema.get(column, pl.String) for column in stored.columns}
        read = pl.read_csv(tmp_path / f"out/tables/{name}.csv", schema=schema)
        assert_frame_equal(read.select(flat.columns), guarded(flat), check_exact=True)
        object_name = Path(analyzed.objects.url, f"analysis/photos/{name}.parquet")
        assert (tmp_path / f"out/tables/{name}.parquet").read_bytes() == object_name.read_bytes()


def test_what_analyses_keep_for_themselves_is_exported_only_by_name(analyzed, tmp_path):
    names = {file.name for file in overlap.export(analyzed, tmp_path / "all", options=TABLES).files}
    assert not {name for name in names if name.startswith(("ensemble_groups", "greedy_threats"))}
    options = ExportOptions(formats=(TableFormat.CSV,), figures=(), tables=("ensemble_groups", "trend?"))
    asked = overlap.export(analyzed, tmp_path / "asked", options=options)
    assert [file.path for file in asked.files] == ["tables/ensemble_groups.csv", "tables/trends.csv"]
    groups = pl.read_csv(tmp_path / "asked/tables/ensemble_groups.csv")["correct"].str.json_decode(pl.List(pl.Int32))
    assert groups.to_list() == analyzed.read_analysis("photos", "ensemble_groups")["correct"].to_list()


def test_tables_for_readers_end_at_a_number_of_rows_and_say_so(analyzed, tmp_path):
    exported = overlap.export(analyzed, tmp_path / "out", options=ExportOptions(rows=5, figures=(), tables=("pairs",)))
    written = {Path(file.path).suffix: (file.written, file.rows) for file in exported.files}
    assert written == {".csv": (66, 66), ".md": (5, 66), ".tex": (5, 66)}
    assert [note for note in exported.notes if "the first 5 of 66 rows" in note]
    texts = {path: content.decode() for path, content in files_in(tmp_path / "out").items()}
    assert texts["tables/pairs.md"].endswith("\n\nThe first 5 of 66 rows.\n")
    assert texts["tables/pairs.md"].count("\n| ") == 6
    assert texts["tables/pairs.tex"].startswith("% pairs: the first 5 of 66 rows; a row is a pair")
    assert texts["README.md"].count("(first 5 rows)") == 2


def test_whole_tables_for_readers_have_every_row(analyzed, tmp_path):
    exported = overlap.export(analyzed, tmp_path / "out", options=ExportOptions(rows=66, figures=(), tables=("pairs",)))
    assert not [note for note in exported.notes if "rows" in note]
    assert (tmp_path / "out/tables/pairs.tex").read_text().count(r" \\") == 67


def test_every_figure_is_written_in_every_format_with_its_caption(analyzed, tmp_path):
    exported = overlap.export(analyzed, tmp_path / "out", options=ExportOptions(formats=(), figures=("svg", "png")))
    names = {file.name for file in exported.files}
    assert names >= {"error_inconsistency", "error_correlation", "improvement", "greedy", "variant_accuracy"}
    for name in names:
        assert (tmp_path / f"out/figures/{name}.svg").read_text().startswith("<?xml")
        assert (tmp_path / f"out/figures/{name}.png").read_bytes().startswith(b"\x89PNG")
    index = (tmp_path / "out/README.md").read_text()
    assert all(f"({file.path})" in index and file.caption[:40] in index for file in exported.files)


def test_the_index_links_to_every_file_and_the_record_names_it(analyzed, tmp_path):
    exported = overlap.export(analyzed, tmp_path / "out")
    found = files_in(tmp_path / "out")
    assert set(found) == {"README.md", "export.json", *(file.path for file in exported.files)}
    assert {file.path: file.size for file in exported.files}.items() <= {p: len(c) for p, c in found.items()}.items()
    assert set(re.findall(r"\]\(([^)]+)\)", found["README.md"].decode())) == {file.path for file in exported.files}
    record = json.loads(found["export.json"])
    assert record["finished"] is True
    assert [entry["path"] for entry in record["files"]] == [file.path for file in exported.files]


def test_the_same_store_gives_the_same_bytes(analyzed, tmp_path):
    for name in ("first", "second"):
        overlap.export(analyzed, tmp_path / name)
    assert files_in(tmp_path / "first") == files_in(tmp_path / "second")


def test_an_export_changes_nothing_in_the_store(own, tmp_path):
    before = files_in(Path(own.objects.url))
    overlap.export(own, tmp_path / "out", options=ALL)
    assert files_in(Path(own.objects.url)) == before


def test_a_store_need_not_be_a_folder(tmp_path):
    store = Store(MemoryObjects())
    fill_and_analyze(store, variants=4)
    exported = overlap.export(store, tmp_path / "out", options=ExportOptions(figures=("svg",)))
    pairs = pl.read_csv(tmp_path / "out/tables/pairs.csv")
    assert pairs.height == 6
    assert [file for file in exported.files if file.path.startswith("figures/")]


def test_formulas_in_csv_are_said(analyzed, tmp_path):
    notes = overlap.export(analyzed, tmp_path / "out", options=TABLES).notes
    assert "variants.csv: 2 texts begin like a formula and got an apostrophe in front" in notes


def test_tables_of_other_results_than_todays_are_said(own, tmp_path):
    jobs = fill_and_analyze(own)
    own.objects.delete(f"results/v1/photos/{jobs[3].slug}.parquet")
    exported = overlap.export(own, tmp_path / "out", options=options_of({"tables": "pairs", "formats": "csv"}))
    assert exported.notes[0].startswith("made from other results than the store has now: pairs;")


def test_other_files_of_an_earlier_export_stay_if_they_are_of_the_same_results(own, tmp_path):
    folder = tmp_path / "out"
    overlap.export(own, folder, options=options_of({"tables": ["pairs", "greedy"], "formats": "csv"}))
    (folder / "tables/mine.txt").write_text("mine")
    words = {"tables": "greedy", "formats": ["csv", "latex"], "figures": "none"}
    exported = overlap.export(own, folder, options=options_of(words))
    assert {file.path for file in exported.files} == {"tables/greedy.csv", "tables/greedy.tex"}
    assert {file.path for file in exported.kept} >= {"tables/pairs.csv", "figures/greedy.svg"}
    index = (folder / "README.md").read_text()
    assert all(f"({path})" in index for path in ("tables/pairs.csv", "tables/greedy.csv", "tables/greedy.tex"))
    assert (folder / "tables/mine.txt").read_text() == "mine"


def test_other_files_of_an_earlier_export_go_if_they_are_of_other_results(own, tmp_path):
    folder = tmp_path / "out"
    overlap.export(own, folder, options=options_of({"tables": ["pairs", "greedy"], "formats": "csv"}))
    (folder / "tables/mine.txt").write_text("mine")
    (folder / "notes.txt").write_text("mine")
    lock = own.require_lock()
    fewer = fill_and_analyze(own)[:-1]
    own.write_lock(lock_for(fewer, SHAPE.classes, SHAPE.examples))
    overlap.analyze(own)
    exported = overlap.export(own, folder, options=options_of({"tables": "pairs", "formats": "csv", "figures": "none"}))
    assert len(own.require_lock().variants) == len(lock.variants) - 1
    assert exported.kept == ()
    assert set(files_in(folder)) == {
        "README.md", "export.json", "notes.txt", "tables/mine.txt", "tables/pairs.csv"
    }  # fmt: skip


def test_a_record_cannot_name_files_outside_of_the_export(own, tmp_path):
    folder = tmp_path / "out"
    overlap.export(own, folder, options=options_of({"tables": "pairs", "formats": "csv", "figures": "none"}))
    victims = [tmp_path / "victim.txt", folder / "victim.txt"]
    for victim in victims:
        victim.write_text("mine")
    paths = ["../victim.txt", str(victims[0]), "victim.txt", "tables/../victim.txt", "tables/../../victim.txt"]
    record = {"finished": True, "results": "others", "files": [{"path": path} for path in paths]}
    (folder / "export.json").write_text(json.dumps(record))
    overlap.export(own, folder, options=options_of({"tables": "pairs", "formats": "csv", "figures": "none"}))
    assert all(victim.read_text() == "mine" for victim in victims)


@pytest.fixture(scope="module")
def whole(analyzed, tmp_path_factory):
    """The files of an undisturbed export."""
    folder = tmp_path_factory.mktemp("whole")
    overlap.export(analyzed, folder, options=ALL)
    return files_in(folder)


@pytest.mark.parametrize("nth", [3, 12, 30, 45])
def test_an_export_that_fails_leaves_only_whole_files_and_can_be_repeated(analyzed, tmp_path, whole, nth):
    store = Store(FaultyObjects(analyzed.objects, Fault.ERROR, nth))
    with pytest.raises(StoreError):
        overlap.export(store, tmp_path / "out", options=ALL)
    left = files_in(tmp_path / "out") if (tmp_path / "out").exists() else {}
    assert all(content == whole[path] for path, content in left.items() if path != "export.json")
    overlap.export(analyzed, tmp_path / "out", options=ALL)
    assert files_in(tmp_path / "out") == whole


def test_a_damaged_table_is_named_and_not_written(own, tmp_path):
    path = Path(own.objects.url, "analysis/photos/pairs.parquet")
    content = bytearray(path.read_bytes())
    content[50:400] = bytes(350)
    path.write_bytes(content)
    with pytest.raises(CorruptFileError, match=r"analysis/photos/pairs\.parquet' is damaged .*; analyze again"):
        overlap.export(own, tmp_path / "out", options=options_of({"tables": "pairs", "figures": "none"}))
    assert set(files_in(tmp_path / "out")) == {"export.json"}


def test_a_folder_with_other_things_is_refused_unless_forced(analyzed, tmp_path):
    (tmp_path / "thesis.tex").write_text("mine")
    with pytest.raises(ArgumentError, match="holds files of something else; give a new folder with --to"):
        overlap.export(analyzed, tmp_path, options=TABLES)
    assert set(files_in(tmp_path)) == {"thesis.tex"}
    overlap.export(analyzed, tmp_path, options=options_of({"tables": "pairs", "force": True}))
    assert {"thesis.tex", "tables/pairs.csv"} <= set(files_in(tmp_path))


def test_an_empty_folder_is_fine(analyzed, tmp_path):
    assert overlap.export(analyzed, tmp_path, options=TABLES).files


def test_a_folder_that_cannot_be_is_refused(own, tmp_path):
    (tmp_path / "file").write_text("mine")
    for to, message in [
        (tmp_path / "file", "is a file; expected a folder"),
        (tmp_path / "file/below", "cannot write .*Not a directory; give another folder"),
        (Path(own.objects.url), "lies in the store"),
        (Path(own.objects.url, "export"), "lies in the store"),
    ]:
        with pytest.raises(ArgumentError, match=message):
            overlap.export(own, to, options=TABLES)
    assert (tmp_path / "file").read_text() == "mine"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ({"formats": "docx"}, "'docx' is not a format of tables; known are parquet, csv, markdown, latex, none"),
        ({"figures": ["svg", "gif"]}, "'gif' is not a format of figures; known are svg, png, none"),
        ({"intervals": "some"}, "'some' is not a way to show intervals"),
        ({"digits": 16}, "digits must be from 0 to 15, got 16"),
        ({"rows": 0}, "rows must be at least 1, got 0"),
        ({"formats": "none", "figures": "none"}, "nothing to export"),
    ],
)
def test_what_cannot_be_exported_is_refused(words, message):
    with pytest.raises(ArgumentError, match=message):
        options_of(words)


def test_a_table_that_is_not_there_is_refused_before_anything_is_written(analyzed, tmp_path):
    with pytest.raises(ArgumentError, match=r"--tables 'pears': no such table of 'photos'; there are variants, pairs"):
        overlap.export(analyzed, tmp_path / "out", options=options_of({"tables": ["pairs", "pears"]}))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("words", [{}, {"formats": "none"}])
def test_a_store_that_was_not_analyzed_is_refused(tmp_path, words):
    store = Store(MemoryObjects())
    shared = shared_part(SHAPE)
    fill(store, [family_logits(SHAPE, v, shared) for v in range(2)], shared[0])
    with pytest.raises(ArgumentError, match="run `overlap analyze`"):
        overlap.export(store, tmp_path / "out", options=options_of(words))
    assert not (tmp_path / "out").exists()


def test_the_command_prints_what_it_wrote(analyzed, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    command(
        analyzed.objects.url, "--tables", "pairs, greedy", "--format", "csv,latex", "--rows", "7", "--figures", "none"
    )
    printed = capsys.readouterr().out
    assert re.search(r"tables/pairs +66 +csv [\d.]+ kB, tex [\d.]+ kB", printed)
    assert "pairs.tex: the first 7 of 66 rows; --rows sets how many" in printed
    assert printed.endswith("index synthetic-export/README.md\n")
    assert set(files_in(tmp_path / "synthetic-export/tables")) == {"pairs.csv", "pairs.tex", "greedy.csv", "greedy.tex"}


def test_the_command_prints_json_for_scripts(analyzed, tmp_path, capsys):
    command(analyzed.objects.url, "--to", tmp_path / "out", "--tables", "pairs", "--format", "parquet", "--json")
    printed = json.loads(capsys.readouterr().out)
    assert printed["folder"] == str(tmp_path / "out")
    table = printed["files"][0]
    assert (table["path"], table["rows"], table["written"]) == ("tables/pairs.parquet", 66, 66)
    assert {Path(file["path"]).suffix for file in printed["files"][1:]} == {".svg"}


def test_of_several_datasets_one_is_exported_into_a_folder_of_its_name(own, tmp_path, monkeypatch):
    lock = own.require_lock()
    facts = lock.datasets["photos"]
    two = {"datasets": {"photos": facts, "more": facts}, "results": {**lock.results, "more": {}}}
    own.write_lock(replace(lock, **two))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ArgumentError, match="give --dataset as one of photos, more"):
        overlap.export(own, dataset="most", options=TABLES)
    assert overlap.export(own, options=TABLES).folder == Path("synthetic-photos-export")
    assert overlap.export(own, dataset="photos", options=TABLES).folder == Path("synthetic-photos-export")
