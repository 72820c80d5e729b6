"""What an earlier analysis counted of pairs that are still the same: who gains R variants counts R rows.

Dimensions: `V` variants now, `W` variants of the earlier analysis, `R` new or changed variants, `P` pairs.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Column = NDArray[np.integer]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Known:
    """Counts of an earlier analysis.

    Attributes:
        place_V: (V,) position of each variant among the earlier ones; -1 if it is new or has changed.
        earlier: W.
        columns: by name, (W (W - 1) / 2, …) in pair order.
        correct_W: (W,) what each earlier variant got right, if that was kept.
    """

    place_V: NDArray[np.int64]
    earlier: int
    columns: Mapping[str, Column]
    correct_W: NDArray[np.int64]

    @property
    def new_R(self) -> NDArray[np.int64]:  # noqa: N802 - carries its dimensions
        """The variants of which nothing is known."""
        return np.flatnonzero(self.place_V < 0)


def nothing_known(variants: int) -> Known:
    """The state before the first analysis."""
    nothing = np.empty(0, np.int64)
    return Known(place_V=np.full(variants, -1), earlier=0, columns={}, correct_W=nothing)


def known_columns(
    keys: Sequence[str], earlier_keys: Sequence[str], columns: Mapping[str, Column], correct_W: NDArray[np.int64]
) -> Known:
    """Earlier columns for variants that are known by their keys; worthless ones if most variants are new."""
    places = {key: place for place, key in enumerate(earlier_keys)}
    place_V = np.array([places.get(key, -1) for key in keys], np.int64)
    if 2 * np.count_nonzero(place_V < 0) > len(keys):
        return nothing_known(len(keys))
    return Known(place_V=place_V, earlier=len(earlier_keys), columns=columns, correct_W=correct_W)


def gather(
    known: Known, counted_RV: Mapping[str, Column], a_P: NDArray[np.integer], b_P: NDArray[np.integer]
) -> dict[str, Column]:
    """The counts of P pairs: the known ones, and those of new variants from their rows against all.

    Args:
        known: of an earlier analysis.
        counted_RV: (R, V, …) by name, for `known.new_R`; symmetric in the two variants of a pair.
        a_P: first variants.
        b_P: second variants.

    Returns:
        (P, …) by name.
    """
    places_a, places_b = known.place_V[a_P], known.place_V[b_P]
    old_P = (places_a >= 0) & (places_b >= 0)
    positions = _pair_position(places_a[old_P], places_b[old_P], known.earlier)
    row_V = np.full(len(known.place_V), -1)
    row_V[known.new_R] = np.arange(len(known.new_R))
    a_new, b_new = a_P[~old_P], b_P[~old_P]
    first = row_V[a_new] >= 0
    rows, columns = np.where(first, row_V[a_new], row_V[b_new]), np.where(first, b_new, a_new)
    gathered = {}
    for name, counted in counted_RV.items():
        old = known.columns.get(name, counted[:, 0])
        values = np.empty((len(a_P), *old.shape[1:]), np.result_type(old, counted))
        if len(positions):
            values[old_P] = old[positions]
        if len(rows):
            values[~old_P] = counted[rows, columns]
        gathered[name] = values
    return gathered


def _pair_position(a: NDArray[np.int64], b: NDArray[np.int64], variants: int) -> NDArray[np.int64]:
    """Where the pair of two different variants stands in pair order, whichever comes first."""
    low, high = np.minimum(a, b), np.maximum(a, b)
    position: NDArray[np.int64] = low * (2 * variants - low - 1) // 2 + high - low - 1
    return position


def rows_of_pairs(
    known: Known, a_P: NDArray[np.integer], b_P: NDArray[np.integer], columns: Mapping[str, Column]
) -> dict[str, Column]:
    """(R, V, …) from the pairs that have a new variant, in any order; what no pair tells is 0."""
    variants = len(known.place_V)
    row_V = np.full(variants, -1)
    row_V[known.new_R] = np.arange(len(known.new_R))
    rows = {}
    for name, values in columns.items():
        counted = np.zeros((len(known.new_R), variants, *values.shape[1:]), values.dtype)
        for row, column in ((a_P, b_P), (b_P, a_P)):
            here = row_V[row] >= 0
            counted[row_V[row[here]], column[here]] = values[here]
        rows[name] = counted
    return rows
