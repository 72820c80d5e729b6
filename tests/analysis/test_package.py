import ast
import subprocess
import sys
from pathlib import Path

import overlap_analysis

STUB = Path(overlap_analysis.__file__).with_suffix(".pyi")


def test_every_public_name_is_what_its_module_defines():
    imported = [node for node in ast.parse(STUB.read_text()).body if isinstance(node, ast.ImportFrom)]
    names = [alias.name for node in imported for alias in node.names]
    assert sorted(names) == sorted(overlap_analysis.__all__)
    for node in imported:
        for alias in node.names:
            module = __import__(f"overlap_analysis.{node.module}", fromlist=[alias.name])
            assert getattr(overlap_analysis, alias.name) is getattr(module, alias.name)


def test_importing_the_package_imports_nothing_heavy():
    script = "import sys, overlap_analysis; print(*{'torch', 'ray', 'overlap', 'numba', 'scipy'} & set(sys.modules))"
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert run.stdout.split() == []
