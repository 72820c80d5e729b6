import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from overlap_analysis.contenders import NOTHING, contenders_of_grid, contenders_of_top


def rivals_by_definition(row, label, kept):
    """Scores and classes of the best `kept` rivals, and the best score of the others."""
    rivals = [j for j in np.argsort(-row.astype(np.int64), kind="stable") if j != label]
    best, others = rivals[:kept], rivals[kept:]
    return row[best].tolist(), best, row[others].max() if others else NOTHING


def assert_describes(contenders, grid, labels, kept):
    """Of T best classes `kept` is None: the label may take a place, and the rest is the last known."""
    assert all(getattr(contenders, name).dtype == np.int32 for name in contenders.__slots__)
    for v, n in np.ndindex(grid.shape[:2]):
        scores, classes, rest = rivals_by_definition(grid[v, n], labels[n], kept)
        unused = contenders.score_VNK.shape[2] - len(classes)
        assert contenders.label_VN[v, n] == grid[v, n, labels[n]]
        assert contenders.score_VNK[v, n].tolist() == scores + unused * [NOTHING]
        assert contenders.class_VNK[v, n].tolist() == classes + unused * [-1]
        assert contenders.rest_VN[v, n] == rest


def top_of(grid, known):
    classes = np.argsort(-grid.astype(np.int64), axis=2, kind="stable")[:, :, :known]
    return classes, np.take_along_axis(grid, classes, axis=2)


def labels_scores(grid, labels):
    return np.take_along_axis(grid, np.broadcast_to(labels[None, :, None], (*grid.shape[:2], 1)), axis=2)[:, :, 0]


@pytest.mark.parametrize("kept", [1, 2, 8])
def test_the_best_rivals_are_kept_in_order(problem, kept):
    grid, labels = problem
    assert_describes(contenders_of_grid(grid, labels, kept=kept), grid, labels, kept)
    assert_describes(contenders_of_grid(grid - 2**30, labels, kept=kept), grid - 2**30, labels, kept)


def test_predictions_and_top_scores_are_those_of_the_rows(problem):
    grid, labels = problem
    for contenders in (
        contenders_of_grid(grid, labels, kept=1),
        contenders_of_top(*top_of(grid, 1), labels_scores(grid, labels), labels, classes=grid.shape[2]),
    ):
        np.testing.assert_array_equal(contenders.predictions(labels), grid.argmax(axis=2))
        np.testing.assert_array_equal(contenders.top_scores(), grid.max(axis=2))


@pytest.mark.parametrize("classes", [65, 1000])
def test_of_many_classes_the_best_are_found_in_any_memory_layout(classes):
    rng = np.random.default_rng(classes)
    grid = np.moveaxis(rng.integers(0, 40, (3, classes, 5), dtype=np.int32), 2, 1)
    grid.flags.writeable = False
    labels = rng.integers(0, classes, 5)
    assert_describes(contenders_of_grid(grid, labels), grid, labels, 8)


@given(
    grid=arrays(np.int32, (2, 3, 6), elements=st.sampled_from([0, 1, 2, 2**30])),
    labels=arrays(np.int64, 3, elements=st.integers(0, 5)),
    known=st.integers(1, 6),
    seed=st.integers(0, 99),
)
@settings(deadline=None)
def test_the_best_classes_of_a_row_give_its_rivals_whatever_the_order_of_equals(grid, labels, known, seed):
    classes, scores = top_of(grid, known)
    shuffled = np.random.default_rng(seed).permutation(known)
    order = shuffled[np.argsort(-scores[:, :, shuffled], axis=2, kind="stable")]
    classes, scores = (np.take_along_axis(array, order, axis=2) for array in (classes, scores))
    contenders = contenders_of_top(classes, scores, labels_scores(grid, labels), labels, classes=6)
    for v, n in np.ndindex(2, 3):
        inside = labels[n] in classes[v, n]
        expected_scores, expected_classes, _ = rivals_by_definition(grid[v, n], labels[n], known - inside)
        assert contenders.score_VNK[v, n].tolist() == expected_scores + inside * [NOTHING]
        assert contenders.class_VNK[v, n].tolist() == expected_classes + inside * [-1]
        assert contenders.rest_VN[v, n] == (NOTHING if known - inside == 5 else scores[v, n, -1])


@pytest.mark.parametrize(
    ("classes", "scores", "label"),
    [
        ([0, 3], [5, 6], 5),  # ascending
        ([0, 4], [6, 5], 5),  # no class
        ([0, 2], [6, 5], 4),  # the label's score is another one
        ([0, 3], [6, 5], 6),  # better than the last, yet not among the best
        ([0, 3], [2**30 + 1, 5], 5),
        ([0, 3], [6, -(2**31)], -(2**31)),
    ],
)
def test_a_row_that_is_no_list_of_the_best_classes_is_refused(classes, scores, label):
    top, values = np.array([[classes]]), np.array([[scores]], np.int32)
    with pytest.raises(ValueError, match=r"top\[0, 0\]: expected classes in \[0, 4\)"):
        contenders_of_top(top, values, np.array([[label]], np.int32), np.array([2]), classes=4)


def test_an_arg_max_that_is_not_among_the_best_classes_is_refused():
    top, values = np.array([[[2, 3]]]), np.full((1, 1, 2), 7, np.int32)
    with pytest.raises(ValueError, match=r"top\[0, 0\]"):
        contenders_of_top(top, values, np.array([[7]], np.int32), np.array([1]), classes=4)


def test_shapes_types_and_values_that_do_not_fit_are_refused():
    grid, labels = np.zeros((2, 1, 3), np.int32), np.array([0])
    top = top_of(grid, 2)
    with pytest.raises(ValueError, match="expected values in"):
        contenders_of_grid(np.array([[[1, -1]]], np.int32), labels)
    with pytest.raises(ValueError, match=r"int32, got .* float64"):
        contenders_of_grid(grid.astype(np.float64), labels)
    with pytest.raises(ValueError, match="kept: expected at least one rival, got 0"):
        contenders_of_grid(grid, labels, kept=0)
    with pytest.raises(ValueError, match=r"T in \[1, 1\]"):
        contenders_of_top(*top, grid[:, :, 0], labels, classes=1)
    with pytest.raises(ValueError, match=r"labels\[0\]: expected a class in \[0, 3\), got 3"):
        contenders_of_top(*top, grid[:, :, 0], np.array([3]), classes=3)
