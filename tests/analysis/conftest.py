import numpy as np
import pytest

from overlap_analysis.pair_counts import PairCounts


def counts_of_tables(tables):
    table = np.asarray(tables, dtype=np.int64)
    both, only_a, only_b, same, other = table.T
    return PairCounts(
        a=np.zeros(len(table), np.int32),
        b=np.ones(len(table), np.int32),
        examples=int(table[0].sum()),
        both_correct=both,
        only_a_correct=only_a,
        only_b_correct=only_b,
        both_wrong=same + other,
        both_wrong_same_class=same,
        same_prediction=both + same,
    )


GRIDS = {
    "one-hot rows": lambda rng, shape: np.eye(shape[2])[rng.integers(0, shape[2], shape[:2])],
    "votes of five neighbors": lambda rng, shape: rng.multinomial(5, np.full(shape[2], 1 / shape[2]), shape[:2]) / 5,
    "eighths that do not add up": lambda rng, shape: rng.integers(0, 9, shape) / 8,
    "half-precision probabilities": lambda rng, shape: rng.dirichlet(np.ones(shape[2]), shape[:2]).astype("f2"),
    "duplicated variants": lambda rng, shape: np.tile(rng.integers(0, 3, (1, *shape[1:])) / 2, (shape[0], 1, 1)),
    "the smallest steps": lambda rng, shape: 0.5 + rng.integers(-1, 2, shape) / 2**30,
    "ones": lambda _, shape: np.ones(shape),
}
# Two classes, a single one, a single example, more examples than a block of the kernels, a single variant.
SHAPES = [(5, 40, 4), (4, 33, 2), (3, 5, 1), (4, 1, 3), (3, 70, 9), (1, 6, 3)]


@pytest.fixture(params=[(kind, shape) for kind in GRIDS for shape in SHAPES], ids=str)
def problem(request):
    """A grid full of ties and its labels, of which about half are the first variant's arg-max."""
    kind, shape = request.param
    rng = np.random.default_rng([list(GRIDS).index(kind), *shape])
    grid_VNC = np.rint(GRIDS[kind](rng, shape).astype(np.float64) * 2**30).astype(np.int32)
    guesses_N = rng.integers(0, shape[2], shape[1])
    return grid_VNC, np.where(rng.random(shape[1]) < 0.5, grid_VNC[0].argmax(axis=1), guesses_N).astype(np.int32)


@pytest.fixture
def as_counts():
    """Rows of (both right, only a, only b, both wrong alike, both wrong otherwise) to counts."""
    return counts_of_tables
