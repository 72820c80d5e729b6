"""Every experiment in the report of a store that has the material for all, and none that it lacks."""

import re
from xml.etree import ElementTree

import pytest

import overlap
from embedded_store import embedded_store, labels_of_all, vectors
from overlap.analyses import Kind, Options, Where
from overlap.analyses.options import PROBING
from overlap.errors import ArgumentError
from overlap.features.request import FeatureRequest
from overlap.reporting import report_data
from overlap.selection.search import Search
from overlap_analysis.report import report_figures

QUICK = Options(
    features=FeatureRequest(grid=2, draws=2, step=6, partners=1, resamples=20),
    search=Search(steps=3),
    where=Where.INPROCESS,
)
SHIFTED = ["together", "specialization", "features", "similarity", "downstream", "shift"]


@pytest.fixture(scope="module")
def analyzed():
    """A store with embeddings on two datasets, and what all analyses of each have said."""
    labels = labels_of_all()
    store = embedded_store([vectors(v, labels) for v in range(6)], datasets=("photos", "drawings"))
    found = {name: overlap.analyze(store, dataset=name, options=QUICK) for name in ("photos", "drawings")}
    for name, kinds in (("photos", PROBING - {Kind.DOWNSTREAM}), ("drawings", PROBING)):
        overlap.analyze(store, dataset=name, kinds=kinds, options=QUICK)
    return store, found


def test_all_analyses_make_every_table_that_there_is_material_for(analyzed):
    _, found = analyzed
    across = {"shift", "shift_variants", "shift_pairs", "shift_categories"}
    assert set(found["drawings"].tables) - set(found["photos"].tables) == across
    assert {"similarity", "specialization", "category_scopes", "fits"} <= set(found["photos"].tables)
    assert found["photos"].notes == ()


def test_the_report_has_a_section_for_each_experiment(analyzed):
    store, _ = analyzed
    data = report_data(store, "drawings")
    assert [section.key for section in data.sections] == SHIFTED
    assert [section.key for section in report_data(store, "photos").sections] == SHIFTED[:4]
    page = store.objects.open(overlap.report(store, dataset="drawings")).read().decode()
    for section in data.sections:
        assert f'id="section-{section.key}"' in page
        assert f'href="#section-{section.key}"' in page


def test_every_figure_of_a_section_is_a_picture(analyzed):
    store, _ = analyzed
    data = report_data(store, "drawings")
    figures = report_figures(data)
    names = [drawing.name for section in data.sections for drawing in section.figures]
    assert len(names) == 11
    for name in names:
        assert ElementTree.fromstring(figures[name].image).tag == "{http://www.w3.org/2000/svg}svg"
        assert figures[name].alt
        assert figures[name].caption


def test_tables_of_a_section_have_as_many_cells_as_columns_and_numbers_with_intervals(analyzed):
    store, _ = analyzed
    for section in report_data(store, "drawings").sections:
        if section.table:
            assert {len(row) for row in section.table.rows} == {len(section.table.columns)}
    (shift,) = (section.table for section in report_data(store, "drawings").sections if section.key == "shift")
    (accuracy,) = (row for row in shift.rows if row[0] == "accuracy")
    assert re.fullmatch(r"[\u22120-9.]+ \[[\u22120-9.]+, [\u22120-9.]+\]", accuracy[2])


@pytest.mark.parametrize("kind", [Kind.SHIFT, Kind.DOWNSTREAM])
def test_what_takes_two_datasets_asked_for_by_name_says_what_it_lacks(analyzed, kind):
    with pytest.raises(ArgumentError, match="expected two datasets, got 'photos' twice"):
        overlap.analyze(analyzed[0], dataset="photos", kinds=(kind,), options=QUICK)


def test_the_line_under_shift_goes_through_the_baseline_that_was_asked_for(analyzed):
    def line(baseline):
        options = Options(baseline=baseline, where=Where.INPROCESS)
        return overlap.analyze(analyzed[0], dataset="drawings", kinds=(Kind.SHIFT,), options=options).tables["shift"]

    some, everyone = line("*-0000[0-3]"), line("*")
    assert (some["points"][0], everyone["points"][0]) == (4, 6)
    with pytest.raises(ArgumentError, match="--baseline 'nobody' matches no variant"):
        line("nobody")
    with pytest.raises(ArgumentError, match="a line needs 3 variants"):
        line("*-00001")
