"""Lines under distribution shift: a planted line and residuals are found again, and the figures show them."""

from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import ndtr, ndtri

from overlap_analysis import shift_figures
from overlap_analysis.resampling import Bootstrap
from overlap_analysis.shift import effective_robustness, keeps_order, probit_share
from overlap_analysis.shift_figures import DatasetNames, ProbitLine

QUICK = Bootstrap(resamples=200, groups=50)
NAMES = DatasetNames(reference="val", shifted="sketch")
LINE = ProbitLine(slope=0.9, intercept=-0.6, r_squared=0.93)


def outcomes(probit_V, examples, rng):
    """Which examples are right: shared difficulty, accuracies that are Φ of these in the long run."""
    difficulty_N = rng.normal(size=examples)
    own_VN = rng.normal(size=(len(probit_V), examples))
    return np.sqrt(0.7) * difficulty_N + np.sqrt(0.3) * own_VN < np.asarray(probit_V)[:, None]


def exact_outcomes(right_V, examples):
    """So many right answers each."""
    return np.arange(examples) < np.asarray(right_V)[:, None]


class TestProbitShare:
    @given(st.integers(1, 10**6), st.data())
    def test_is_the_normal_quantile_of_a_share_half_an_example_from_its_ends(self, examples, data):
        count = data.draw(st.integers(0, examples))
        value = float(probit_share(count, examples))
        assert np.isfinite(value)
        assert float(ndtr(value)) * (examples + 1) == pytest.approx(count + 0.5, rel=1e-6)
        assert value == pytest.approx(-float(probit_share(examples - count, examples)), rel=1e-6, abs=1e-9)

    def test_keeps_the_order_of_counts(self):
        assert (np.diff(probit_share(np.arange(101), 100)) > 0).all()

    def test_without_examples_is_one_half(self):
        assert float(probit_share(0, 0)) == 0


class TestEffectiveRobustness:
    def test_is_the_residual_of_least_squares_in_probit_scale(self):
        first, second = exact_outcomes([50, 60, 75, 90], 100), exact_outcomes([10, 30, 35, 60], 80)
        found = effective_robustness(first, second, bootstrap=QUICK)
        x_V = ndtri((np.array([50, 60, 75, 90]) + 0.5) / 101)
        y_V = ndtri((np.array([10, 30, 35, 60]) + 0.5) / 81)
        slope, intercept = np.polyfit(x_V, y_V, 1)
        assert (found.line.slope.value, found.line.intercept.value) == pytest.approx((slope, intercept))
        assert found.residual_V3[:, 0] == pytest.approx(y_V - (intercept + slope * x_V))
        assert found.effective_V3[:, 0] == pytest.approx(ndtr(y_V) - ndtr(intercept + slope * x_V))
        assert (found.residual_V3[:, 1] <= found.residual_V3[:, 0]).all()
        assert (found.residual_V3[:, 0] <= found.residual_V3[:, 2]).all()

    def test_finds_a_planted_line_and_the_variant_above_it(self):
        rng = np.random.default_rng(0)
        x_V = np.linspace(-0.2, 1.6, 25)
        planted_V = np.zeros(25)
        planted_V[7] = 0.5
        found = effective_robustness(
            outcomes(x_V, 8000, rng),
            outcomes(-0.4 + 0.8 * x_V + planted_V, 8000, rng),
            among_V=planted_V == 0,
            bootstrap=QUICK,
        )
        assert found.line.points == 24
        assert found.line.slope.value == pytest.approx(0.8, abs=0.05)
        assert found.line.r.value**2 > 0.98
        assert found.residual_V3[7, 0] == pytest.approx(0.5, abs=0.1)
        assert found.residual_V3[7, 1] > 0.3
        assert np.abs(np.delete(found.residual_V3[:, 0], 7)).max() < 0.15
        assert found.effective_V3[7, 0] == pytest.approx(
            ndtr(-0.4 + 0.8 * x_V[7] + 0.5) - ndtr(-0.4 + 0.8 * x_V[7]), abs=0.04
        )

    def test_does_not_take_both_datasets_for_the_same_examples(self):
        rng = np.random.default_rng(1)
        correct_VN = outcomes(np.linspace(0, 1, 6), 300, rng)
        found = effective_robustness(correct_VN, correct_VN, bootstrap=QUICK)
        assert found.residual_V3[:, 0] == pytest.approx(np.zeros(6), abs=1e-9)
        assert (found.residual_V3[:, 2] - found.residual_V3[:, 1] > 0.05).all()

    def test_draws_the_same_intervals_from_the_same_seed(self):
        rng = np.random.default_rng(2)
        first, second = outcomes(np.linspace(0, 1, 8), 100, rng), outcomes(np.linspace(-1, 0, 8), 120, rng)
        again = [effective_robustness(first, second, bootstrap=QUICK).effective_V3 for _ in range(2)]
        np.testing.assert_array_equal(*again)

    def test_of_variants_that_are_all_equally_good_is_undefined(self):
        found = effective_robustness(
            exact_outcomes([5, 5, 5], 10), exact_outcomes([1, 2, 3], 10), bootstrap=Bootstrap(resamples=0)
        )
        assert np.isnan(found.residual_V3).all()
        assert np.isnan(found.line.slope.value)

    @pytest.mark.parametrize(
        ("first", "second", "among"),
        [((3, 0), (3, 5), 3), ((3, 5), (4, 5), 3), ((3, 5), (3, 5), 2), ((2, 5), (2, 5), 2)],
        ids=["no examples", "other variants", "another mask", "two variants"],
    )
    def test_refuses_what_has_no_line(self, first, second, among):
        with pytest.raises(ValueError, match="expected"):
            effective_robustness(np.ones(first, bool), np.ones(second, bool), among_V=np.ones(among, bool))

    def test_intervals_cover_a_planted_distance_from_the_line(self):
        covered = []
        for seed in range(60):
            rng = np.random.default_rng([seed, 20])
            x_V, planted_V = rng.normal(0.7, 0.35, 20), rng.normal(0, 0.15, 20)
            first, second = outcomes(x_V, 600, rng), outcomes(-0.4 + 0.8 * x_V + planted_V, 600, rng)
            low_V, high_V = effective_robustness(first, second, bootstrap=QUICK).residual_V3[:, 1:].T
            covered.append(np.mean((low_V <= planted_V) & (planted_V <= high_V)))
        assert 0.91 <= np.mean(covered) <= 0.98


class TestKeepsOrder:
    def test_compares_the_categories_that_both_have(self):
        assert keeps_order(np.array([1, 2, np.nan, 4]), np.array([0.1, 0.2, 0.0, 0.9])) is True
        assert keeps_order(np.array([1, 2, 4]), np.array([0.1, 0.9, 0.2])) is False

    def test_is_not_known_of_one_category(self):
        assert keeps_order(np.array([1.0, np.nan]), np.array([1.0, 2.0])) is None


def pair_shares(pairs, seed=0):
    rng = np.random.default_rng(seed)
    category_P = rng.integers(0, 5, pairs).astype(np.int8)
    reference_P = np.clip(0.9 - 0.05 * category_P + rng.normal(0, 0.02, pairs), 0, 1)
    return reference_P, np.clip(reference_P - 0.2 + rng.normal(0, 0.02, pairs), 0, 1), category_P


def draw(name, points=40, image_format="svg", line=LINE):
    reference, shifted, category = pair_shares(points)
    ends = np.array([0, -0.02, 0.02])
    means_2K3 = np.stack([np.linspace(0.1, 0.3, 5)[:, None] + ends, np.linspace(0.2, 0.5, 5)[:, None] + ends])
    kinds = {
        "accuracy": lambda: shift_figures.accuracy_on_the_line(
            reference[:, None] + ends,
            shifted[:, None] + ends,
            [f"data {k}" for k in category],
            line,
            NAMES,
            image_format=image_format,
        ),
        "agreement": lambda: shift_figures.agreement_on_the_line(
            reference, shifted, category, {"agreement": line, "accuracy": line}, NAMES, image_format=image_format
        ),
        "inconsistency": lambda: shift_figures.inconsistency_under_shift(
            1 - reference, 1 - shifted, category, means_2K3, NAMES, image_format=image_format
        ),
    }
    return kinds[name]()


def texts(svg):
    return [element.text or "" for element in ElementTree.fromstring(svg).iter("{http://www.w3.org/2000/svg}text")]


@pytest.mark.parametrize("name", ["accuracy", "agreement", "inconsistency"])
class TestFigures:
    def test_name_both_datasets_and_are_the_same_for_the_same_numbers(self, name):
        svg = draw(name)
        assert svg == draw(name)
        assert any(text.endswith("on val (%)") for text in texts(svg))
        assert any(text.endswith("on sketch (%)") for text in texts(svg))

    def test_can_be_a_png(self, name):
        assert draw(name, image_format="png").startswith(b"\x89PNG")

    @pytest.mark.parametrize("points", [1, 3])
    def test_take_few_points(self, name, points):
        assert b"<svg" in draw(name, points=points)


@pytest.mark.parametrize("name", ["agreement", "inconsistency"])
def test_many_pairs_take_little_space(name):
    assert len(draw(name, points=30_000)) < 200_000


def test_a_line_that_is_undefined_is_left_out():
    undefined = ProbitLine(slope=np.nan, intercept=np.nan, r_squared=np.nan)
    assert any("R² = 0.93" in text for text in texts(draw("accuracy")))
    assert not any("R²" in text for text in texts(draw("accuracy", line=undefined)))


def test_ticks_are_round_percentages_at_their_place_in_probit_scale():
    shown = [float(text) for text in texts(draw("accuracy")) if text.replace(".", "").isdigit()]
    assert {70.0, 80.0, 90.0} <= set(shown)


@pytest.mark.parametrize(("low", "high"), [(0.3, 0.7), (0.52, 0.6), (0.95, 0.999), (0.001, 0.999)])
def test_at_least_four_ticks_are_on_any_axis(low, high):
    ticks = shift_figures.probit_ticks(float(ndtri(low)), float(ndtri(high)))
    assert len(ticks) >= 4
    assert all(100 * low <= tick <= 100 * high for tick in ticks)
