"""Compilation of the loops that NumPy cannot express, with the function's type kept."""

from collections.abc import Callable
from typing import ParamSpec, TypeVar, cast

import numba

P = ParamSpec("P")
R = TypeVar("R")


def compiled(function: Callable[P, R]) -> Callable[P, R]:
    """Compile a loop with Numba on its first call, cached on disk beside its module.

    Calls release the GIL. Each combination of argument types and memory layouts (contiguous, strided,
    read-only) is compiled once, which takes seconds; later processes load it from the cache.
    """
    return cast("Callable[P, R]", numba.njit(cache=True, nogil=True)(function))
