"""The example of a notebook runs, and its page shows the cells that it has."""

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import overlap
from synthetic_store import Shape, synthetic_store

DOCS = Path(__file__).parents[1] / "docs"
EXAMPLE = DOCS / "examples/digits.py"


@pytest.fixture(scope="module")
def printed(tmp_path_factory):
    """What the example prints where `runs/digits` is a small store, and that folder."""
    folder = tmp_path_factory.mktemp("demo")
    synthetic_store(folder / "runs/digits", Shape(variants=22, examples=200, classes=10))
    command = [sys.executable, "-W", "error", str(EXAMPLE)]
    environment = {**os.environ, "MPLBACKEND": "agg"}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout, folder


def test_the_example_runs_on_any_sweep_and_draws_its_figure(printed):
    text, folder = printed
    assert text.startswith("<sweep 'synthetic': 22 variants on photos;")
    assert (folder / "accuracy-by-class.png").read_bytes().startswith(b"\x89PNG")


def test_the_example_finds_what_the_definitions_give(printed):
    text, folder = printed
    outcomes = overlap.open(folder / "runs/digits").outcomes()
    correct_VN, labels_N = outcomes.predictions_VN == outcomes.labels_N, outcomes.labels_N
    accuracy_C = [correct_VN[:, labels_N == c].mean() for c in range(10)]
    assert re.search(r"label +accuracy +never_right +examples *\n *class (\d)", text)[1] == str(np.argmin(accuracy_C))
    eights_VN = correct_VN[:, labels_N == 8]
    most = max((a != b).sum() for i, a in enumerate(eights_VN) for b in eights_VN[:i])
    assert f"{most} of {eights_VN.shape[1]}: variant-" in text
    assert f"of {(~eights_VN).sum()} wrong answers" in text


def test_the_page_shows_the_cells_of_the_example_in_their_order():
    cells = re.split(r"^# %%(?: \[markdown\])?\n", EXAMPLE.read_text(), flags=re.MULTILINE)[1:]
    code = [cell.strip() for cell in cells if not cell.startswith("# ")]
    _, page = (DOCS / "notebook.md").read_text().split("notebook_page.py writes it. -->\n")
    assert re.findall(r"```python\n(.*?)\n```", page, flags=re.DOTALL) == code
    words = [re.sub(r"^# ?", "", cell.strip(), flags=re.MULTILINE) for cell in cells if cell.startswith("# ")]
    assert all(paragraph in page for paragraph in words)


def test_the_page_shows_the_figures_that_it_has():
    figures = re.findall(r"!\[[^\]]*\]\(([^)]+)\)", (DOCS / "notebook.md").read_text())
    assert figures == ["accuracy-by-class.png"]
    assert all((DOCS / figure).is_file() for figure in figures)


def test_the_page_names_every_method_that_an_open_sweep_has():
    page = (DOCS / "notebook.md").read_text()
    named = set(re.findall(r"`\.(\w+)", page.split("**What is computed")[0]))
    assert named == {name for name in vars(overlap.OpenSweep) if not name.startswith("_")}


def test_the_page_of_exports_names_every_option_of_the_command():
    source = (DOCS.parent / "engine/overlap/cli/export.py").read_text()
    options = set(re.findall(r'typer\.Option\(\s*"(--[a-z]+)"', source)) - {"--dataset", "--json"}
    page = (DOCS / "export.md").read_text()
    assert options
    assert {option for option in options if option not in page} == set()
