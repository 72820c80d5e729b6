"""The arrows between the rooms, read from the source without importing it."""

import ast
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PURE = ["spec", "expand", "plan", "variants", "schedule", "survey", "search_space", "recipes", "resources"]
PURE += ["yaml_lines"]
HEAVY = {"ray", "torch", "timm", "pyarrow", "polars", "sklearn", "numba"}
TORCH_ROOMS = (
    "models/",
    "frameworks/",
    "evaluate.py",
    "inference.py",
    "datasets/timm_factory.py",
    "training.py",
    "preprocessing.py",
    "work.py",
    "process_state.py",
    "features/probe.py",
    "features/regression.py",
)


def sources(package):
    return sorted((ROOT / package).rglob("*.py"))


def imports(path, *, at_load=False):
    """Full names of everything a module imports; `at_load` leaves out functions and TYPE_CHECKING blocks."""
    found = set()

    def visit(node):
        if at_load and isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            return
        if at_load and isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            return
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        if isinstance(node, ast.ImportFrom) and node.module:
            found.update({node.module} | {f"{node.module}.{alias.name}" for alias in node.names})
        for child in ast.iter_child_nodes(node):
            visit(child)

    visit(ast.parse(path.read_text()))
    return found


def roots(path):
    return {name.partition(".")[0] for name in imports(path)}


@pytest.mark.parametrize("path", sources("analysis/overlap_analysis"), ids=lambda path: path.name)
def test_the_analysis_knows_neither_the_engine_nor_ray_torch_or_disks(path):
    assert not roots(path) & {"overlap", "ray", "torch", "polars", "pyarrow", "os", "pathlib", "shutil", "tempfile"}
    calls = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)]
    assert not [call for call in calls if isinstance(call.func, ast.Name) and call.func.id == "open"]


@pytest.mark.parametrize("path", sources("engine/overlap"), ids=lambda path: path.name)
def test_only_the_ray_rooms_import_ray(path):
    assert path.name.startswith("ray_") or "ray" not in roots(path)


@pytest.mark.parametrize("path", sources("engine/overlap"), ids=lambda path: path.name)
def test_only_the_model_rooms_import_torch(path):
    room = str(path.relative_to(ROOT / "engine/overlap"))
    assert room.startswith(TORCH_ROOMS) or not roots(path) & {"torch", "timm"}


@pytest.mark.parametrize("name", PURE)
def test_what_is_pure_imports_nothing_heavy_and_touches_neither_clock_nor_disk(name):
    assert not roots(ROOT / f"engine/overlap/{name}.py") & (HEAVY | {"os", "pathlib", "time", "datetime", "io"})


@pytest.mark.parametrize("path", sources("engine/overlap"), ids=lambda path: path.name)
def test_nothing_but_the_command_line_imports_the_command_line(path):
    assert (
        "cli" in path.parts
        or path.name == "__main__.py"
        or not any(name.startswith("overlap.cli") for name in imports(path))
    )


def module_name(path):
    root = "engine" if "engine" in path.relative_to(ROOT).parts else "analysis"
    parts = path.relative_to(ROOT / root).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def test_no_modules_import_each_other_in_a_circle_when_they_load():
    paths = {module_name(path): path for path in [*sources("engine/overlap"), *sources("analysis/overlap_analysis")]}
    edges = {name: imports(path, at_load=True) & set(paths) - {name} for name, path in paths.items()}
    for name in paths:  # a package is loaded before its modules: importing one's own package is no cycle
        edges[name] = {target for target in edges[name] if not name.startswith(f"{target}.")}
    done = set()

    def walk(name, trail):
        assert name not in trail, " -> ".join([*trail[trail.index(name) :], name])
        if name not in done:
            for target in sorted(edges[name]):
                walk(target, [*trail, name])
            done.add(name)

    for name in sorted(edges):
        walk(name, [])


@pytest.mark.parametrize("path", [*sources("engine"), *sources("analysis")], ids=lambda path: path.name)
def test_no_module_is_longer_than_400_lines(path):
    assert len(path.read_text().splitlines()) <= 400


def test_the_public_api_is_what_all_names():
    import overlap

    assert sorted(overlap.__all__) == sorted(overlap._HOMES)
    for name in overlap.__all__:
        assert callable(getattr(overlap, name)), name


def test_importing_the_command_line_imports_nothing_heavy():
    import subprocess

    script = f"import sys, overlap.cli; print(sorted({HEAVY | {'numpy', 'matplotlib'}} & set(sys.modules)))"
    printed = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True).stdout
    assert printed.strip() == "[]"
