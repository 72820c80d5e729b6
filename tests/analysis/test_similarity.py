"""Similarities of representations: identities, invariances, and definitions in plain NumPy."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from overlap_analysis import (
    cka,
    cka_signature,
    effective_rank,
    linear_cka,
    linear_gram,
    linear_predictor,
    linear_r2,
    minibatch_signature,
    mutual_neighbors,
    nearest_neighbors,
    rbf_gram,
)


def noise(examples, dimensions, seed=0):
    return np.random.default_rng(seed).normal(size=(examples, dimensions))


def rotation(dimensions, seed=0):
    return np.linalg.qr(noise(dimensions, dimensions, seed))[0]


def hsic_by_definition(k_NN, l_NN):
    """Song et al. (2012), equation 5."""
    m, ones = len(k_NN), np.ones(len(k_NN))
    k_NN, l_NN = (gram - np.diag(np.diag(gram)) for gram in (k_NN, l_NN))
    total = np.trace(k_NN @ l_NN) + (ones @ k_NN @ ones) * (ones @ l_NN @ ones) / ((m - 1) * (m - 2))
    return (total - 2 / (m - 2) * (ones @ k_NN @ l_NN @ ones)) / (m * (m - 3))


def cka_by_definition(k_NN, l_NN):
    own = hsic_by_definition(k_NN, k_NN) * hsic_by_definition(l_NN, l_NN)
    return hsic_by_definition(k_NN, l_NN) / np.sqrt(own)


@given(st.integers(5, 25), st.integers(1, 30), st.integers(1, 30), st.integers(0, 9))
def test_linear_cka_is_that_of_its_definition_by_features_and_by_gram_matrices(examples, first, second, seed):
    x, y = noise(examples, first, seed) + 3, noise(examples, second, seed + 100)
    y[:, 0] += x[:, 0]
    expected = cka_by_definition(x @ x.T, y @ y.T)
    assert linear_cka(x, y) == pytest.approx(expected, abs=1e-9)
    assert cka(cka_signature(linear_gram(x)), cka_signature(linear_gram(y))) == pytest.approx(expected, abs=1e-9)


@given(st.integers(5, 20), st.integers(0, 9))
def test_rbf_cka_is_that_of_its_definition(examples, seed):
    x, y = noise(examples, 3, seed), noise(examples, 5, seed + 100)

    def gram(z):
        distance = np.array([[np.linalg.norm(a - b) for b in z] for a in z])
        squares = distance[np.triu_indices(len(z), 1)] ** 2
        return np.exp(-(distance**2) / (2 * 0.4**2 * np.median(squares)))

    found = cka(cka_signature(rbf_gram(x)), cka_signature(rbf_gram(y)))
    assert found == pytest.approx(cka_by_definition(gram(x), gram(y)), abs=1e-9)


def test_minibatch_cka_averages_each_term_over_whole_batches():
    x = noise(23, 4)
    y = np.concatenate([x[:, :2], noise(23, 3, 1)], axis=1)
    batches = [slice(0, 10), slice(10, 20)]  # three examples are left over

    def term(first, second):
        return np.mean([hsic_by_definition(first[b] @ first[b].T, second[b] @ second[b].T) for b in batches])

    expected = term(x, y) / np.sqrt(term(x, x) * term(y, y))
    found = cka(minibatch_signature(x, batch=10), minibatch_signature(y, batch=10))
    assert found == pytest.approx(expected)
    whole = cka(minibatch_signature(x, batch=100), minibatch_signature(y, batch=100))
    assert whole == pytest.approx(linear_cka(x, y))


@pytest.mark.parametrize("gram", [linear_gram, rbf_gram])
def test_cka_is_1_for_the_same_up_to_rotation_scale_and_shift(gram):
    x = noise(50, 6)
    moved = 3 * x @ rotation(6) + 7
    assert cka(cka_signature(gram(x)), cka_signature(gram(moved))) == pytest.approx(1.0)


def test_unbiased_cka_of_unrelated_embeddings_is_about_0_even_with_more_dimensions_than_examples():
    values = [linear_cka(noise(60, 200, seed), noise(60, 200, 1000 + seed)) for seed in range(30)]
    assert abs(np.mean(values)) < 0.01
    biased = [gram - gram.mean(0) - gram.mean(1)[:, None] + gram.mean() for gram in map(linear_gram, pair(60, 200))]
    assert np.sum(biased[0] * biased[1]) / np.prod([np.linalg.norm(one) for one in biased]) > 0.5


def pair(examples, dimensions):
    return noise(examples, dimensions, 0), noise(examples, dimensions, 1000)


@pytest.mark.parametrize("constant", [np.zeros((9, 3)), np.full((9, 3), 0.1), np.full((9, 20), 1e6)])
def test_embeddings_that_do_not_vary_are_like_nothing(constant):
    assert np.isnan(linear_cka(constant, noise(9, 3)))
    assert np.isnan(cka_signature(linear_gram(constant))).all()
    assert np.isnan(cka_signature(rbf_gram(constant))).all()
    assert np.isnan(minibatch_signature(constant)).all()
    assert np.isnan(effective_rank(constant))
    assert np.isnan(linear_r2(linear_predictor(noise(9, 3)), constant))


@pytest.mark.parametrize("examples", [1, 2, 3])
def test_three_examples_are_too_few_for_cka(examples):
    assert np.isnan(linear_cka(noise(examples, 2), noise(examples, 2, 1)))
    assert np.isnan(cka_signature(linear_gram(noise(examples, 2)))).all()


def test_embeddings_of_other_examples_are_refused():
    with pytest.raises(ValueError, match="the same examples"):
        linear_cka(noise(5, 2), noise(6, 2))
    with pytest.raises(ValueError, match="the same examples"):
        effective_rank(noise(5, 2), noise(6, 2))
    with pytest.raises(ValueError, match="the same examples"):
        mutual_neighbors(nearest_neighbors(noise(5, 2)), nearest_neighbors(noise(6, 2)))


@given(st.integers(2, 25), st.integers(1, 6), st.integers(0, 9))
def test_neighbors_are_those_of_their_definition(examples, kept, seed):
    x = noise(examples, 3, seed)
    centered = x - x.mean(axis=0)
    found = nearest_neighbors(x, neighbors=kept)
    for example, row in enumerate(found):
        others = [other for other in range(examples) if other != example]
        cosines = {o: centered[o] @ centered[example] / np.linalg.norm(centered[o]) for o in others}
        assert set(row) == set(sorted(others, key=lambda o: -cosines[o])[:kept])


def test_of_equally_near_examples_the_first_are_neighbors():
    corners = np.array([[1, 0], [-1, 0], [0, 1], [0, -1], [0, 0]])
    assert [set(row) for row in nearest_neighbors(corners, neighbors=2)] == [{2, 3}, {2, 3}, {0, 1}, {0, 1}, {0, 1}]


@given(st.integers(3, 20), st.integers(0, 9))
def test_mutual_neighbors_are_the_mean_share_of_common_ones(examples, seed):
    first, second = (nearest_neighbors(noise(examples, 2, seed + shift), neighbors=4) for shift in (0, 50))
    shares = [len(set(a) & set(b)) / len(a) for a, b in zip(first, second, strict=True)]
    assert mutual_neighbors(first, second) == pytest.approx(np.mean(shares))
    assert mutual_neighbors(first, first) == 1.0


def test_one_example_has_no_neighbors():
    assert np.isnan(mutual_neighbors(nearest_neighbors(noise(1, 3)), nearest_neighbors(noise(1, 3))))


def ridge_by_definition(x, y):
    """The ridge solved for each strength, in the coordinates of the original dimensions."""
    half, quarter = len(x) // 2, len(x) // 2 + len(x) // 4
    center_x, center_y = x - x[:half].mean(axis=0), y - y[:half].mean(axis=0)
    eigenvalues = np.linalg.svd(center_x[:half], compute_uv=False) ** 2
    mean = eigenvalues[eigenvalues > 1e-10 * eigenvalues.max()].mean()
    best = None
    for strength in np.logspace(2, -6, 17):
        gram = center_x[:half].T @ center_x[:half] + strength * mean * np.eye(x.shape[1])
        error = center_y - center_x @ np.linalg.solve(gram, center_x[:half].T @ center_y[:half])
        chosen = (error[half:quarter] ** 2).sum()
        if best is None or chosen < best[0]:
            judged = center_y[quarter:] - center_y[quarter:].mean(axis=0)
            best = chosen, 1 - (error[quarter:] ** 2).sum() / (judged**2).sum()
    return best[1]


@given(st.integers(8, 40), st.integers(1, 12), st.integers(0, 9))
def test_linear_r2_is_the_ridge_that_was_chosen_on_other_examples_than_it_is_judged_on(examples, dimensions, seed):
    x, y = noise(examples, dimensions, seed), noise(examples, 3, seed + 100)
    y[:, 0] += 2 * x[:, 0]
    assert linear_r2(linear_predictor(x), y) == pytest.approx(ridge_by_definition(x, y), rel=1e-6, abs=1e-6)


def test_linear_r2_tells_which_variant_holds_the_features_of_which():
    x = noise(400, 12)
    part = x[:, :4] @ noise(4, 6, 1)
    assert linear_r2(linear_predictor(x), part) == pytest.approx(1.0, abs=1e-6)
    assert 0.2 < linear_r2(linear_predictor(part), x) < 0.45  # 4 of 12 dimensions
    assert linear_r2(linear_predictor(x), noise(400, 5, 2)) < 0.05


def test_linear_r2_does_not_depend_on_rotation_scale_or_shift_of_either():
    x, y = noise(100, 5), noise(100, 4, 1)
    y += x[:, :4]
    moved = linear_r2(linear_predictor(9 * x @ rotation(5) - 2), 0.1 * y @ rotation(4) + 5)
    assert moved == pytest.approx(linear_r2(linear_predictor(x), y))


def test_the_effective_rank_of_even_directions_is_their_number_and_of_one_is_1():
    even = np.concatenate([np.eye(4), -np.eye(4)])
    assert effective_rank(even) == pytest.approx(4)
    assert effective_rank(even @ noise(4, 30), even @ noise(4, 1)) < 4.0 + 1e-9
    assert effective_rank(np.outer(noise(9, 1)[:, 0], noise(3, 1, 1)[:, 0])) == pytest.approx(1)


@given(st.integers(3, 20), st.integers(1, 20), st.integers(0, 9))
def test_the_effective_rank_is_that_of_the_singular_values(examples, dimensions, seed):
    x = noise(examples, dimensions, seed)
    singular = np.linalg.svd(x - x.mean(axis=0), compute_uv=False)
    share = singular[singular > 1e-5 * singular.max()] / singular[singular > 1e-5 * singular.max()].sum()
    assert effective_rank(x) == pytest.approx(np.exp(-(share * np.log(share)).sum()))


def test_a_copy_adds_no_rank_and_a_stranger_adds_its_own_whatever_the_scales():
    x, y = noise(500, 6), noise(500, 6, 1)
    assert effective_rank(x, 100 * x @ rotation(6)) == pytest.approx(effective_rank(x))
    assert effective_rank(x, 100 * y) == pytest.approx(12, rel=0.02)
