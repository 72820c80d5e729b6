"""Figures: valid, repeatable images that show names as they are and change nothing else."""

import re
from xml.etree import ElementTree

import matplotlib
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from overlap_analysis import category_figures, drawing, figures, pair_scatter, selection_figures

HOSTILE = [
    "</text><script>alert(1)</script>",
    "\"quotes' & <b>",
    "$x^2$ \\frac{a}{b} _{ $",
    "שלום مرحبا",
    "模型 🤗",
    "_hidden",
    "",
    "two\nlines\x00\x1b[31m\u202e\ud800\ufffe",
]


def phi_matrix(variants, seed=0):
    rng = np.random.default_rng(seed)
    return np.corrcoef(rng.normal(size=(variants, 60)) + rng.normal(size=60))


def pair_columns(pairs, seed=0):
    rng = np.random.default_rng(seed)
    category = rng.integers(0, 5, pairs).astype(np.int8)
    inconsistency = 0.05 + 0.02 * category + rng.normal(0, 0.01, pairs)
    return inconsistency, 0.2 * inconsistency + rng.normal(0, 0.005, pairs), category


def panels(improvement):
    mean_K3 = np.full((5, 3), [0.02, 0.01, 0.03])
    return [
        category_figures.EnsemblePanel(title="improvement (points)", value_P=improvement, mean_K3=mean_K3, baseline=0),
        category_figures.EnsemblePanel(title="accuracy (%)", value_P=0.9 + improvement, mean_K3=0.9 + mean_K3),
        category_figures.EnsemblePanel(
            title="conversion rate (%)", value_P=0.7 - improvement, mean_K3=0.7 - mean_K3, r_ends=(-0.9, -0.4)
        ),
    ]


def draw(name, variants=6, pairs=40, names=None, image_format="svg"):
    """One figure of each kind from plausible numbers."""
    inconsistency, improvement, category = pair_columns(pairs)
    names = names or [f"variant-{v}" for v in range(variants)]
    accuracy_V3 = np.linspace(0.7, 0.9, len(names))[:, None] + np.array([0, -0.02, 0.02])
    curve_S3 = np.array([[0.8, 0.78, 0.82], [0.83, 0.81, 0.85], [0.84, 0.82, 0.86]])
    phi_VV = phi_matrix(len(names))
    kinds = {
        "heatmap": lambda: figures.error_correlation_heatmap(
            phi_VV, names, strips={"framework": names, "trained on": names}, image_format=image_format
        ),
        "categories": lambda: figures.inconsistency_by_category(
            inconsistency, category, np.full((5, 3), [0.1, 0.08, 0.12]), image_format=image_format
        ),
        "improvement": lambda: figures.improvement_against_inconsistency(
            inconsistency, improvement, category, image_format=image_format
        ),
        "ensembles": lambda: category_figures.ensembles_against_inconsistency(
            inconsistency, category, np.full((5, 3), [0.1, 0.08, 0.12]), panels(improvement), image_format=image_format
        ),
        "greedy": lambda: selection_figures.greedy_curve(
            curve_S3[:, 0], curve_S3, best_single=0.8, all_members=0.81, image_format=image_format
        ),
        "low accuracy": lambda: selection_figures.low_accuracy_curves(
            [
                selection_figures.AdditionPath(start=name, accuracy_S3=curve_S3 + v / 100, reported_S=curve_S3[:, 2])
                for v, name in enumerate(names)
            ],
            best_added=0.7,
            image_format=image_format,
        ),
        "accuracies": lambda: figures.variant_accuracies(names, accuracy_V3, names, image_format=image_format),
    }
    return kinds[name]()


def texts(svg):
    return [element.text or "" for element in ElementTree.fromstring(svg).iter("{http://www.w3.org/2000/svg}text")]


KINDS = ("heatmap", "categories", "improvement", "ensembles", "greedy", "low accuracy", "accuracies")


@pytest.mark.parametrize("kind", KINDS)
class TestEveryFigure:
    def test_is_an_svg_with_a_title_and_runs_nothing(self, kind):
        svg = draw(kind)
        tags = {element.tag.rpartition("}")[2] for element in ElementTree.fromstring(svg).iter()}
        assert "script" not in tags
        assert len(texts(svg)[0]) > 20 or any(len(text) > 20 for text in texts(svg))
        assert not re.search(rb'(href|src)="(?!#|data:)', svg)

    def test_is_the_same_for_the_same_numbers(self, kind):
        assert draw(kind) == draw(kind)

    def test_leaves_matplotlib_as_it_was(self, kind):
        before = dict(matplotlib.rcParams)
        draw(kind)
        assert dict(matplotlib.rcParams) == before

    def test_ignores_the_settings_of_the_user(self, kind):
        expected = draw(kind)
        with matplotlib.rc_context({"font.size": 30, "svg.hashsalt": None, "text.parse_math": True}):
            assert draw(kind) == expected

    def test_can_be_a_png(self, kind):
        assert draw(kind, image_format="png").startswith(b"\x89PNG")


class TestNames:
    @pytest.mark.parametrize("kind", ["heatmap", "accuracies"])
    @pytest.mark.parametrize("image_format", ["svg", "png"])
    def test_are_drawn_whatever_they_hold(self, kind, image_format):
        image = draw(kind, names=HOSTILE, image_format=image_format)
        if image_format == "svg":
            assert set(HOSTILE[:6]) - set(texts(image)) == set()

    def test_give_way_to_row_numbers_where_there_are_many(self):
        few = texts(draw("accuracies", variants=figures.NAMED_ROWS))
        many = texts(draw("accuracies", variants=figures.NAMED_ROWS + 1))
        assert "variant-79" in few
        assert "variant-79" not in many
        assert {"1", "25", "50", "75"} <= set(many)

    def test_are_cut_in_the_middle(self):
        assert drawing.short_name("a" * 100 + "z" * 100, 11) == "aaaaa…zzzzz"
        assert drawing.short_name("模" * 100, 11) == "模模…模模"

    @given(st.text(), st.integers(1, 40))
    def test_fit_their_columns_on_one_line(self, name, columns):
        short = drawing.short_name(name, columns)
        assert len(short) <= columns
        assert "\n" not in short
        ElementTree.fromstring(f"<a>{short.replace('&', '').replace('<', '')}</a>")

    @given(st.text(st.characters(codec="ascii", categories=["L", "N"]), max_size=20))
    def test_stay_as_they_are_if_they_fit(self, name):
        assert drawing.short_name(name, 20) == name


class TestHeatmap:
    def test_does_not_read_the_diagonal(self):
        phi_VV = phi_matrix(5)
        changed = phi_VV.copy()
        np.fill_diagonal(changed, np.nan)
        names = list("abcde")
        assert figures.error_correlation_heatmap(phi_VV, names) == figures.error_correlation_heatmap(changed, names)

    def test_has_a_scale_that_is_symmetric_about_zero(self):
        phi_VV = np.array([[1, 0.35], [0.35, 1]])
        ticks = {text for text in texts(figures.error_correlation_heatmap(phi_VV, ["a", "b"])) if text[-1:].isdigit()}
        assert {"0.0", "0.4", "\u22120.4"} <= ticks

    @pytest.mark.parametrize("phi_VV", [np.full((4, 4), np.nan), np.ones((4, 4)), np.full((1, 1), np.nan)])
    def test_is_drawn_without_any_contrast(self, phi_VV):
        assert b"<svg" in figures.error_correlation_heatmap(phi_VV, ["same"] * len(phi_VV))


class TestClusterOrder:
    def test_brings_blocks_together(self):
        block = np.arange(12) % 3
        phi_VV = np.where(block[:, None] == block, 0.8, 0.1)
        order = figures.cluster_order(phi_VV)
        assert sorted(order) == list(range(12))
        assert np.count_nonzero(np.diff(block[order])) == 2

    def test_takes_undefined_for_independent(self):
        phi_VV = phi_matrix(8)
        phi_VV[2] = phi_VV[:, 2] = np.nan
        as_zero = np.where(np.isnan(phi_VV), 0, phi_VV)
        assert figures.cluster_order(phi_VV).tolist() == figures.cluster_order(as_zero).tolist()

    @pytest.mark.parametrize("variants", [0, 1, 2])
    def test_of_a_few(self, variants):
        assert sorted(figures.cluster_order(np.full((variants, variants), np.nan))) == list(range(variants))


class TestPairFigures:
    @pytest.mark.parametrize("kind", ["categories", "improvement", "ensembles"])
    @pytest.mark.parametrize("pairs", [1, 2, 3, 5000])
    def test_take_few_and_many_pairs(self, kind, pairs):
        assert len(draw(kind, pairs=pairs)) < 500_000

    @pytest.mark.parametrize("kind", ["categories", "improvement", "ensembles"])
    def test_take_little_space_for_the_pairs_of_500_variants(self, kind):
        assert len(draw(kind, pairs=125_000)) < 200_000

    def test_leave_out_undefined_pairs(self):
        inconsistency, improvement, category = pair_columns(30)
        extra = np.append(inconsistency, 0.5), np.append(improvement, np.nan), np.append(category, np.int8(0))
        assert figures.improvement_against_inconsistency(*extra) == figures.improvement_against_inconsistency(
            inconsistency, improvement, category
        )

    def test_show_no_mean_that_is_unknown(self):
        inconsistency, _, category = pair_columns(30)
        mean_K3 = np.full((5, 3), np.nan)
        mean_K3[1] = 0.1, np.nan, np.nan
        shown = texts(figures.inconsistency_by_category(inconsistency, category, mean_K3))
        assert [text for text in shown if text.endswith("%")] == ["10.0 %"]

    def test_give_the_correlation_of_the_fit(self):
        x = np.linspace(0.05, 0.2, 20)
        [subtitle] = [
            text
            for text in texts(figures.improvement_against_inconsistency(x, 0.3 * x, np.zeros(20, np.int8)))
            if "r =" in text
        ]
        assert subtitle.endswith("r = 1.00")


class TestEnsemblePanels:
    def test_name_each_metric_with_its_correlation_and_interval(self):
        shown = texts(draw("ensembles"))
        assert {"improvement (points)", "accuracy (%)", "conversion rate (%)"} <= set(shown)
        [interval] = [text for text in shown if "[" in text]
        assert interval.startswith("r = \N{MINUS SIGN}0.")
        assert interval.endswith("[\N{MINUS SIGN}0.90, \N{MINUS SIGN}0.40]")

    def test_leave_out_pairs_without_a_value(self):
        inconsistency, improvement, category = pair_columns(30)
        mean_K3 = np.full((5, 3), np.nan)
        undefined = np.where(np.arange(30) == 3, np.nan, improvement)
        svg = category_figures.ensembles_against_inconsistency(inconsistency, category, mean_K3, panels(undefined))
        assert b"nan" not in svg.lower()

    def test_draw_the_unknown_category_without_a_mean(self):
        inconsistency, improvement, category = pair_columns(30)
        unknown = np.where(category == 0, np.int8(-1), category)
        mean_K3 = np.full((5, 3), 0.1)
        svg = category_figures.ensembles_against_inconsistency(inconsistency, unknown, mean_K3, panels(improvement))
        assert "unknown" in texts(svg)

    def test_say_that_two_pairs_have_no_line(self):
        assert texts(draw("ensembles", pairs=2)).count("no line") == 3


class TestCells:
    def test_are_an_image_that_holds_every_pair_in_the_color_of_its_category(self):
        x = np.repeat([0.1, 0.2], 4000)
        y, category = np.repeat([0.02, 0.04], 4000), np.repeat([0, 4], 4000).astype(np.int8)
        with drawing.style():
            axes = drawing.new_axes(drawing.new_figure(3, "", ""), 1, 1, 2, 1)
            colors = [figures.CATEGORY_COLORS[k] for k in category]
            pair_scatter.scatter_pairs(axes, x, y, colors, total=8000)
        [cells] = axes.get_images()
        shade_HW = np.asarray(cells.get_array())[..., 3]
        assert np.count_nonzero(shade_HW) == 2
        assert shade_HW[0, 0] == shade_HW[-1, -1] == 1
        low, high = (np.asarray(cells.get_array())[corner, corner, :3] for corner in (0, -1))
        assert low == pytest.approx(matplotlib.colors.to_rgb(figures.CATEGORY_COLORS[0]), abs=1 / 30)
        assert high == pytest.approx(matplotlib.colors.to_rgb(figures.CATEGORY_COLORS[4]), abs=1 / 30)
        assert axes.get_xlim()[0] < 0.1 < 0.2 < axes.get_xlim()[1]

    def test_of_pairs_that_are_all_alike_are_one(self):
        with drawing.style():
            axes = drawing.new_axes(drawing.new_figure(3, "", ""), 1, 1, 2, 1)
            pair_scatter.scatter_pairs(axes, np.zeros(7000), np.zeros(7000), ["#000000"] * 7000, total=7000)
        [cells] = axes.get_images()
        assert np.count_nonzero(np.asarray(cells.get_array())[..., 3]) == 1


class TestLinearFit:
    def test_is_the_least_squares_line(self):
        rng = np.random.default_rng(0)
        x, y = rng.normal(size=(2, 50))
        assert figures.linear_fit(x, y)[:2] == pytest.approx(tuple(np.polyfit(x, y, 1)))

    @pytest.mark.parametrize(("x", "y"), [([1, 2], [1, 2]), ([1, 1, 1], [1, 2, 3]), ([1, 2, 3], [4, 4, 4])])
    def test_is_undefined_for_too_few_or_equal_points(self, x, y):
        assert np.isnan(figures.linear_fit(np.array(x, float), np.array(y, float))).all()


class TestGroupColors:
    def test_go_to_the_most_frequent_first_and_then_by_name(self):
        assert list(drawing.group_colors(["b", "a", "c", "c"])) == ["c", "a", "b"]

    def test_differ_between_two_strips(self):
        first = drawing.group_colors(["a", "b"])
        second = drawing.group_colors(["a", "b", "c"], skip=len(first))
        assert not set(first.values()) & set(second.values())

    def test_end_in_one_gray(self):
        colors = list(drawing.group_colors([f"{v:02}" for v in range(12)]).values())
        assert len(set(colors)) == 9
        assert len(set(colors[8:])) == 1
