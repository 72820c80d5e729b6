"""Sweep vision models on Ray, and find which of them fail on different examples.

Every verb of the command line is one function here; each is imported when it is first used, because
torch, Ray and numba take seconds.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from overlap.analyses import analyze
    from overlap.entries import sweep_schema
    from overlap.errors import OverlapError
    from overlap.exporting import ExportOptions, export, latex_table, markdown_table
    from overlap.imports import import_predictions
    from overlap.launcher import launch, open_plan
    from overlap.models import Selection, select_models
    from overlap.opened.sweep import OpenSweep
    from overlap.opened.sweep import open_sweep as open  # noqa: A004 - `overlap.open`, and nobody imports it bare
    from overlap.reporting import report
    from overlap.standing import status
    from overlap.store import Store, open_objects
    from overlap.store.verify import verify

__all__ = [
    "ExportOptions",
    "OpenSweep",
    "OverlapError",
    "Selection",
    "Store",
    "analyze",
    "export",
    "import_predictions",
    "latex_table",
    "launch",
    "markdown_table",
    "open",
    "open_objects",
    "open_plan",
    "report",
    "select_models",
    "status",
    "sweep_schema",
    "verify",
]

_HOMES = {
    "ExportOptions": "overlap.exporting",
    "OpenSweep": "overlap.opened.sweep",
    "OverlapError": "overlap.errors",
    "Selection": "overlap.models",
    "Store": "overlap.store",
    "analyze": "overlap.analyses",
    "export": "overlap.exporting",
    "import_predictions": "overlap.imports",
    "latex_table": "overlap.exporting",
    "launch": "overlap.launcher",
    "markdown_table": "overlap.exporting",
    "open": "overlap.opened.sweep:open_sweep",
    "open_objects": "overlap.store",
    "open_plan": "overlap.launcher",
    "report": "overlap.reporting",
    "select_models": "overlap.models",
    "status": "overlap.standing",
    "sweep_schema": "overlap.entries",
    "verify": "overlap.store.verify",
}


def __getattr__(name: str) -> Any:  # noqa: ANN401 - whatever the name stands for
    if name not in _HOMES:
        raise AttributeError(f"module 'overlap' has no attribute '{name}'")
    home, _, own_name = _HOMES[name].partition(":")
    return getattr(importlib.import_module(home), own_name or name)
