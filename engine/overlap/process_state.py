"""What a variant's code may change for the whole process, put back after each attempt."""

import contextlib
import os
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch


@contextlib.contextmanager
def process_state_restored() -> Iterator[None]:
    """Leaves threads, types, modes, environment and folder of this process as they were."""
    folder, environment = _folder(), dict(os.environ)
    threads, dtype = torch.get_num_threads(), torch.get_default_dtype()
    deterministic = torch.are_deterministic_algorithms_enabled()
    warn_only = torch.is_deterministic_algorithms_warn_only_enabled()
    precision, mkldnn = torch.get_float32_matmul_precision(), torch.backends.mkldnn.enabled
    recursion = sys.getrecursionlimit()
    with np.errstate(), warnings.catch_warnings(), torch.set_grad_enabled(torch.is_grad_enabled()):
        try:
            yield
        finally:
            if folder is not None:
                os.chdir(folder)
            if dict(os.environ) != environment:
                os.environ.clear()
                os.environ.update(environment)
            sys.setrecursionlimit(recursion)
            torch.set_num_threads(threads)
            torch.set_default_dtype(dtype)
            torch.set_default_device(None)
            torch.set_flush_denormal(False)
            torch.use_deterministic_algorithms(deterministic, warn_only=warn_only)
            torch.set_float32_matmul_precision(precision)
            torch.backends.mkldnn.enabled = mkldnn


def _folder() -> Path | None:
    try:
        return Path.cwd()
    except FileNotFoundError:  # it was deleted before any variant ran
        return None
