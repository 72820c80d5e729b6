"""Mixes and rankings of dimensions, and eleven-point average precision, against their definitions."""

from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from overlap_analysis import (
    RANKINGS,
    eleven_point_precision,
    feature_figures,
    mean_average_precision,
    mean_average_precision_interval,
    mix_sizes,
    mixed_dimensions,
    random_dimensions,
    rank_dimensions,
)


def test_the_papers_mixes_of_2048_and_512_dimensions_have_the_sizes_that_it_implies():
    sizes = [mix_sizes(2048, 512, percent) for percent in (100, 75, 50, 25, 0)]
    assert sizes == [(2048, 0), (1536, 128), (1024, 256), (512, 384), (0, 512)]
    assert [mix_sizes(3, 1, percent) for percent in (50, 25)] == [(2, 0), (1, 1)]


@given(st.integers(1, 50), st.integers(1, 50), st.integers(0, 100))
def test_a_mix_has_as_many_dimensions_as_its_shares_up_to_rounding(base, other, percent):
    sizes = mix_sizes(base, other, percent)
    shares = base * percent / 100, other * (100 - percent) / 100
    assert abs(sum(sizes) - sum(shares)) <= 0.5
    assert abs(sizes[0] - shares[0]) <= 0.5
    assert 0 <= sizes[1] <= other
    assert mix_sizes(base, base, percent)[0] + mix_sizes(base, base, percent)[1] == base


@pytest.mark.parametrize("percent", [-1, 101])
def test_a_mix_refuses_a_share_outside_0_to_100(percent):
    with pytest.raises(ValueError, match="base_percent"):
        mix_sizes(4, 4, percent)


@given(st.integers(1, 40), st.integers(1, 40), st.integers(0, 100), st.integers(0, 5))
def test_a_mix_takes_its_share_of_each_and_no_dimension_twice(base, other, percent, seed):
    chosen = mixed_dimensions(base, other, percent, np.random.default_rng(seed))
    assert sorted(set(chosen.tolist())) == chosen.tolist()
    assert ((chosen < base).sum(), (chosen >= base).sum()) == mix_sizes(base, other, percent)
    assert not len(chosen) or 0 <= chosen.min() <= chosen.max() < base + other


def test_the_same_draw_meets_the_same_dimensions_of_the_base_whatever_the_partner():
    first, second = (mixed_dimensions(20, other, 50, np.random.default_rng(3)) for other in (10, 30))
    assert first[:10].tolist() == second[:10].tolist()


def test_more_random_dimensions_than_there_are_are_refused():
    with pytest.raises(ValueError, match="larger sample"):
        random_dimensions(3, 4, np.random.default_rng(0))


def embeddings(examples=60, base=4, other=3, seed=0):
    rng = np.random.default_rng(seed)
    base_ND = rng.normal(size=(examples, base)) * [1, 5, 2, 3]
    mixed_ND = base_ND[:, :other] + 2 * rng.normal(size=(examples, other)) * [0.1, 4, 1]
    return np.concatenate([base_ND, mixed_ND], axis=1)


def ranked_by_definition(x_ND, base, ranking):
    """Straight from the words of `rank_dimensions`, one dimension after the other."""
    dimensions = range(x_ND.shape[1])
    if ranking == "variance":
        return sorted(dimensions, key=lambda d: -x_ND[:, d].var())
    means = []
    for d in dimensions:
        others = [e for e in dimensions if e != d and (ranking == "correlation" or (e < base) != (d < base))]
        means.append(np.mean([abs(np.corrcoef(x_ND[:, d], x_ND[:, e])[0, 1]) for e in others]))
    return sorted(dimensions, key=lambda d: means[d])


@pytest.mark.parametrize("ranking", ["correlation", "cross_correlation", "variance"])
@pytest.mark.parametrize("seed", range(3))
def test_a_ranking_is_that_of_its_definition(ranking, seed):
    x_ND = embeddings(seed=seed)
    assert rank_dimensions(x_ND, 4, ranking).tolist() == ranked_by_definition(x_ND, 4, ranking)


@pytest.mark.parametrize("seed", range(3))
def test_pivoted_qr_takes_what_those_before_explain_least(seed):
    x_ND = embeddings(seed=seed)
    left = (x_ND - x_ND.mean(axis=0)) / x_ND.std(axis=0)
    for dimension in rank_dimensions(x_ND, 4, "pivoted_qr"):
        lengths = np.linalg.norm(left, axis=0)
        assert lengths[dimension] == pytest.approx(lengths.max())
        direction = left[:, dimension] / lengths[dimension]
        left = left - np.outer(direction, direction @ left)
        left[:, dimension] = 0


def test_pivoted_qr_takes_a_copy_of_a_dimension_last():
    rng = np.random.default_rng(0)
    x_ND = rng.normal(size=(200, 5))
    x_ND[:, 3] = -7 * x_ND[:, 1]
    assert rank_dimensions(x_ND, 2, "pivoted_qr").tolist()[-1] in (1, 3)


@pytest.mark.parametrize("ranking", RANKINGS)
def test_constant_dimensions_come_last_and_count_for_nothing(ranking):
    x_ND = embeddings()
    with_constant = np.insert(x_ND, [0, 7], 5.0, axis=1)
    order = rank_dimensions(with_constant, 5, ranking).tolist()
    assert set(order[-2:]) == {0, 8}
    if ranking != "pivoted_qr":
        assert [d - 1 for d in order[:-2]] == rank_dimensions(x_ND, 4, ranking).tolist()


@pytest.mark.parametrize("ranking", ["correlation", "cross_correlation"])
def test_rankings_by_correlation_do_not_depend_on_scales(ranking):
    x_ND = embeddings()
    scaled = x_ND * np.array([1, 10, 0.1, 3, 100, 1, 7]) + 5
    assert rank_dimensions(scaled, 4, ranking).tolist() == rank_dimensions(x_ND, 4, ranking).tolist()


def test_an_unknown_ranking_is_refused():
    with pytest.raises(ValueError, match="expected one of correlation, cross_correlation"):
        rank_dimensions(embeddings(), 4, "magic")


def precision_by_definition(scores, relevant):
    """For each recall, the best precision of all cut-offs with at least that recall."""
    points = []
    for threshold in sorted(set(scores), reverse=True):
        returned = [wanted for score, wanted in zip(scores, relevant, strict=True) if score >= threshold]
        points.append((sum(returned), sum(returned) / len(returned)))
    total = sum(relevant)
    return np.mean([max(p for found, p in points if 10 * found >= level * total) for level in range(11)])


def test_a_worked_example():
    # Returned: right, wrong, right, wrong, wrong, right. Precisions 1, 1/2, 2/3, 1/2, 2/5, 1/2 at recalls 1/3, 1/3,
    # 2/3, 2/3, 2/3, 1. So 1 at recalls 0 to 0.3, 2/3 at 0.4 to 0.6, 1/2 at 0.7 to 1: (4 + 3 · 2/3 + 4 / 2) / 11.
    scores, relevant = [6, 5, 4, 3, 2, 1], [True, False, True, False, False, True]
    assert eleven_point_precision(scores, relevant) == pytest.approx(8 / 11)


@given(st.lists(st.tuples(st.integers(0, 6), st.booleans()), min_size=1, max_size=30))
def test_average_precision_is_that_of_its_definition_with_ties_returned_together(examples):
    scores, relevant = zip(*examples, strict=True)
    found = eleven_point_precision(scores, relevant)
    if not any(relevant):
        assert np.isnan(found)
    else:
        assert found == pytest.approx(precision_by_definition(scores, relevant))


@given(st.lists(st.tuples(st.integers(0, 6), st.booleans(), st.integers(0, 3)), min_size=1, max_size=20))
def test_a_weight_is_so_many_copies_of_an_example(examples):
    scores, relevant, weights = (np.array(column) for column in zip(*examples, strict=True))
    copied = eleven_point_precision(np.repeat(scores, weights), np.repeat(relevant, weights))
    np.testing.assert_allclose(eleven_point_precision(scores, relevant, weights), copied)


def test_labels_that_no_example_has_are_left_out_of_the_mean():
    scores, relevant = np.array([[1.0, 0.0], [0.0, 1.0]]), np.array([[True, False], [False, False]])
    assert mean_average_precision(scores, relevant) == 1.0
    assert np.isnan(mean_average_precision(scores, np.zeros((2, 2), np.bool_)))


def test_an_interval_holds_its_value_and_narrows_with_more_examples():
    rng = np.random.default_rng(0)
    widths = []
    for examples in (50, 800):
        relevant = rng.random((examples, 3)) < 0.3
        scores = relevant + rng.normal(size=(examples, 3))
        low, high = mean_average_precision_interval(scores, relevant)
        assert low < mean_average_precision(scores, relevant) < high
        widths.append(high - low)
    assert widths[1] < widths[0] / 2


@pytest.mark.parametrize(("scores", "relevant"), [([1.0, np.nan], [True, False]), ([1.0], [True, False])])
def test_scores_that_rank_nothing_are_refused(scores, relevant):
    with pytest.raises(ValueError, match="expected"):
        eleven_point_precision(scores, relevant)


HOSTILE = ["</text><script>alert(1)</script>", "$x^2$ \\frac{a}{b}", "שלום 模型 🤗", "two\nlines\x00\x1b[31m", ""]


def drawn_figures(image_format="svg", partners=5, categories=(0, 4, -1)):
    """One of each from plausible numbers, with names that break things."""
    rng = np.random.default_rng(0)
    percents = np.array([100.0, 75.0, 50.0, 25.0, 0.0])
    mixes = [
        feature_figures.MixCurve(
            other=HOSTILE[place % len(HOSTILE)],
            category=category,
            base_percent_S=percents,
            accuracy_S3=0.9 + 0.01 * rng.normal(size=(5, 1)) + [[0.0, -0.01, 0.01]],
            control_S=np.array([0.9, 0.89, np.nan, 0.88, np.nan]),
        )
        for category in categories
        for place in range(partners)
    ]
    rankings = [*RANKINGS, "random"]
    shares = np.arange(1, 9) / 8
    curves = [
        feature_figures.DimensionCurve(
            category=category, ranking=ranking, share_S=shares, accuracy_S=0.9 * np.sqrt(shares), target=0.85
        )
        for category in categories
        for ranking in rankings
    ]
    needs = [
        feature_figures.NeededDimensions(category=category, ranking=ranking, needed_P=np.array([4.0, np.nan, 6.0]))
        for category in categories
        for ranking in rankings
    ]
    single = {"name": HOSTILE[0], "upstream": 0.8, "score": 0.7, "low": 0.6, "high": 0.75}
    probes = [feature_figures.Transfer(**single, category=None, control=False)]
    pairs = 30
    similar = {name: rng.random(pairs) for name in ("linear_cka", "mutual_knn")}
    similar["linear_cka"][3] = np.nan
    return {
        "mixes": feature_figures.mix_curves(mixes, base=HOSTILE[2], image_format=image_format),
        "dimensions": feature_figures.dimension_curves(curves, image_format=image_format),
        "needed": feature_figures.needed_dimensions(needs, image_format=image_format),
        "transfer": feature_figures.transfer_scatter(probes, metric="accuracy", image_format=image_format),
        "similarity": feature_figures.similarity_scatter(
            similar,
            rng.random(pairs),
            rng.integers(-1, 5, pairs).astype(np.int8),
            r_3=dict.fromkeys(similar, np.array([-0.5, -0.7, -0.2])),
            error_name="error inconsistency",
            image_format=image_format,
        ),
    }


def test_figures_are_valid_repeatable_and_show_names_as_text():
    images = drawn_figures()
    assert images == drawn_figures()
    texts = {
        name: [element.text or "" for element in ElementTree.fromstring(content).iter() if element.tag.endswith("text")]
        for name, content in images.items()
    }
    assert any("</text><script>" in text for text in texts["mixes"])
    assert any("2 more" in text for text in texts["mixes"])
    assert sum("1 of 3 never" in text for text in texts["needed"]) == 5 * 3
    assert any("unknown" in text for text in texts["dimensions"])
    assert any("best single 70.0 %" in text for text in texts["transfer"])
    assert any(text.startswith("linear CKA: r = ") and "0.50 [" in text for text in texts["similarity"])


def test_figures_of_one_category_and_partner_are_drawn_too():
    images = drawn_figures("png", partners=1, categories=(2,))
    assert all(content.startswith(b"\x89PNG") for content in images.values())
