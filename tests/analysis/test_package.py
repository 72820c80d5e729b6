import subprocess
import sys
import types

import overlap_analysis


def test_all_names_everything_the_package_exports():
    exported = {
        name
        for name, value in vars(overlap_analysis).items()
        if not name.startswith("_") and not isinstance(value, types.ModuleType)
    }
    assert exported == set(overlap_analysis.__all__)
    assert len(overlap_analysis.__all__) == len(exported)


def test_importing_the_package_imports_no_torch_ray_or_engine():
    script = "import sys, overlap_analysis; print(*{'torch', 'ray', 'overlap'} & set(sys.modules))"
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert run.stdout.split() == []
