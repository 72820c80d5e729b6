"""The scores of all classes, asked for where a decision needs them: the seam between selection and storage.

Dimensions: `V` variants, `N` examples of a block, `U` places, `C` classes.
"""

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from overlap_analysis.scores import GRID


class MemberScores(Protocol):
    """Scores on the probability grid, of the examples of one block."""

    def at(self, variant: int, example_U: NDArray[np.int64], class_U: NDArray[np.integer]) -> NDArray[np.int32]:
        """(U,) one variant's scores of single classes on single examples."""
        ...

    def rows(self, variant: int, example_U: NDArray[np.int64]) -> NDArray[np.int32]:
        """(U, C) one variant's scores of all classes on single examples."""
        ...


class ArrayScores:
    """Scores of probabilities, or of a grid, in memory."""

    def __init__(self, values_VNC: NDArray[np.floating] | NDArray[np.int32]) -> None:
        self.values_VNC = values_VNC

    def at(self, variant: int, example_U: NDArray[np.int64], class_U: NDArray[np.integer]) -> NDArray[np.int32]:
        """(U,) scores."""
        values_NC = self.values_VNC[variant]
        return grid_scores(values_NC.reshape(-1).take(example_U * values_NC.shape[1] + class_U))

    def rows(self, variant: int, example_U: NDArray[np.int64]) -> NDArray[np.int32]:
        """(U, C) scores."""
        return grid_scores(self.values_VNC[variant, example_U])


def grid_scores(values: NDArray[np.floating] | NDArray[np.int32]) -> NDArray[np.int32]:
    """Probabilities in units of 2**-30, rounded half to even; scores as they are."""
    if values.dtype == np.int32:
        return values.astype(np.int32, copy=False)
    return np.rint(values.astype(np.float64) * GRID).astype(np.int32)
