"""The report in a browser: what a reader sees when pointing, clicking, choosing, sorting and filtering."""

import numpy as np
import pytest

from overlap_analysis.figures import cluster_order, linear_fit
from overlap_analysis.report import decoded_confidences
from synthetic_report import CLASSES, HOSTILE_NAMES, correct_of

pytestmark = pytest.mark.browser
MAP = "#map .overlay"
OUTCOMES = ("both right", "only A right", "only B right", "both wrong")
ORDERS = {
    "accuracy": lambda v: (-v.correct,),
    "framework": lambda v: (v.framework, -v.correct),
    "trainOn": lambda v: (v.train_on, -v.correct),
    "name": lambda v: (v.name,),
}


def order_of(page):
    return page.evaluate("overlapReport.map.order")


def work_of(page):
    return page.evaluate("({...overlapReport.map.work})")


def place_of(page, row, column):
    """Middle of a cell of the map, on the screen."""
    page.locator(MAP).scroll_into_view_if_needed()
    return page.evaluate(
        """([row, column]) => {
            const { map, cellBox } = overlapReport;
            const frame = map.overlay.getBoundingClientRect();
            const { x, y, size } = cellBox(map, { row, column });
            return [frame.left + x + size / 2, frame.top + y + size / 2];
        }""",
        [row, column],
    )


def hover(page, row, column):
    """Points at a cell; gives the variants of it."""
    x, y = place_of(page, row, column)
    if not 0 <= y < 900:
        page.evaluate(f"scrollBy(0, {y - 450})")
        x, y = place_of(page, row, column)
    page.mouse.move(x, y)
    order = order_of(page)
    return order[row], order[column]


def card_of(page, plot="#map"):
    """Names and numbers of the card that is shown."""
    card = page.locator(f"{plot} .card")
    assert card.is_visible()
    labels, values = card.locator("dt").all_text_contents(), card.locator("dd").all_text_contents()
    return card.locator("bdi").all_text_contents(), dict(zip(labels, values, strict=True))


def outcomes_by_hand(correct_VN, a, b):
    right_a, right_b = correct_VN[a], correct_VN[b]
    cells = (right_a & right_b, right_a & ~right_b, ~right_a & right_b, ~right_a & ~right_b)
    return [f"{np.count_nonzero(cell):,}" for cell in cells]


def explored(page):
    """The variants in the explorer and the counts of its table."""
    names = [page.input_value(f"#explore-{side}") for side in "ab"]
    cells = page.locator(".outcomes td").all_text_contents()
    return names, [cell.split()[0] for cell in cells]


def correct_of_report(data):
    return correct_of(len(data.variants), data.examples)


@pytest.mark.parametrize("size", [5, 500, pytest.param(2000, marks=pytest.mark.slow)])
def test_pointing_at_a_cell_names_both_variants_and_counts_their_outcomes(opened, size):
    data, page = opened(size)
    correct_VN = correct_of_report(data)
    for row, column in ((0, 1), (size // 2, size // 3), (size - 1, 0)):
        a, b = hover(page, row, column)
        names, numbers = card_of(page)
        assert names == [data.variants[a].name, data.variants[b].name]
        assert [numbers[outcome] for outcome in OUTCOMES] == outcomes_by_hand(correct_VN, a, b)


@pytest.mark.parametrize("size", [5, 500])
def test_the_metrics_of_every_pair_are_those_of_python(opened, size):
    data, page = opened(size)
    pairs = data.pairs
    names = ["error_inconsistency", "error_correlation", "kappa", "improvement", "ensemble_accuracy"]
    found = page.evaluate(
        """([a, b, names]) => a.map((_, k) => {
            const all = overlapReport.pairMetrics(overlapReport.report, a[k], b[k]);
            return names.map((name) => all[name]);
        })""",
        [pairs.a[::7].tolist(), pairs.b[::7].tolist(), names],
    )
    expected = np.stack([getattr(pairs, name)[::7] for name in names], axis=1)
    np.testing.assert_array_equal(np.array(found), expected)


def test_a_cell_is_red_where_errors_correlate_and_blue_where_they_exclude_each_other(opened):
    data, page = opened(5)
    phi_VV, order = data.error_correlations(), order_of(page)
    bytes_of = "Array.from(overlapReport.map.cells.getContext('2d').getImageData(0, 0, 5, 5).data)"
    pixels = np.array(page.evaluate(bytes_of)).reshape(5, 5, 4).astype(int)
    phi = phi_VV[np.ix_(order, order)]
    warmer = pixels[..., 0] - pixels[..., 2]
    apart = ~np.eye(5, dtype=bool)
    assert (np.sign(warmer[apart]) == np.sign(phi[apart])).all()
    assert (phi[apart] < 0).any()
    assert (pixels[~apart] == [208, 213, 218, 255]).all()


def test_the_rows_stand_in_the_order_that_is_asked_for(opened):
    data, page = opened(500)
    assert order_of(page) == cluster_order(data.error_correlations()).tolist()
    for name, key in ORDERS.items():
        page.select_option("#map-order", name)
        expected = sorted(range(500), key=lambda v: key(data.variants[v]))
        assert order_of(page) == expected
        a, b = hover(page, 3, 490)
        assert card_of(page)[0] == [data.variants[a].name, data.variants[b].name]
        assert (a, b) == (expected[3], expected[490])


@pytest.mark.slow
def test_pointing_draws_only_the_overlay_and_zooming_paints_no_cell_anew(opened):
    _, page = opened(2000)
    before = work_of(page)
    for row in (10, 400, 1200):
        hover(page, row, 77)
    after = work_of(page)
    assert (after["images"], after["base"]) == (before["images"], before["base"])
    assert after["overlay"] > before["overlay"]
    page.click("#map-in")
    assert work_of(page)["images"] == before["images"]
    assert work_of(page)["base"] == before["base"] + 1
    page.select_option("#map-metric", "kappa")
    assert work_of(page)["images"] == before["images"] + 1


def test_every_metric_has_a_legend_that_spans_its_values(opened):
    data, page = opened(5)
    for name, values in (("kappa", data.pairs.kappa), ("error_inconsistency", data.pairs.error_inconsistency)):
        page.select_option("#map-metric", name)
        scale = page.evaluate("overlapReport.map.scale")
        assert scale["low"] <= values.min() <= values.max() <= scale["high"]
    assert scale["low"] == 0
    page.select_option("#map-metric", "kappa")
    scale = page.evaluate("overlapReport.map.scale")
    assert scale["high"] == -scale["low"] == np.ceil(10 * np.abs(data.pairs.kappa).max()) / 10
    page.select_option("#map-metric", "category")
    assert "reinit" in page.locator("#map-legend").inner_text()


def test_a_drawn_rectangle_fills_the_map(opened):
    data, page = opened(500)
    start, end = place_of(page, 100, 200), place_of(page, 139, 239)
    page.mouse.move(*start)
    page.mouse.down()
    page.mouse.move(*end, steps=4)
    page.mouse.up()
    view = page.evaluate("overlapReport.map.view")
    assert abs(view["size"] - 40) <= 2
    assert abs(view["x"] - 200) <= 2
    assert abs(view["y"] - 100) <= 2
    a, b = hover(page, 120, 221)
    assert card_of(page)[0] == [data.variants[a].name, data.variants[b].name]
    page.click("#map-all")
    assert page.evaluate("overlapReport.map.view.size") == 500


def test_a_click_opens_the_pair_in_the_explorer(opened):
    data, page = opened(5)
    correct_VN = correct_of_report(data)
    a, b = hover(page, 1, 3)
    page.mouse.down()
    page.mouse.up()
    names, cells = explored(page)
    assert names == [data.variants[a].name, data.variants[b].name]
    assert cells == outcomes_by_hand(correct_VN, a, b)
    metrics = page.locator(".metrics").inner_text()
    assert f"{data.error_correlations()[a, b]:.3f}".replace("-", "\u2212") in metrics


def test_the_keyboard_moves_the_cell_says_the_pair_and_opens_it(opened):
    data, page = opened(5)
    page.focus(MAP)
    for key in ("ArrowRight", "ArrowRight", "ArrowDown", "ArrowRight"):
        page.keyboard.press(key)
    order = order_of(page)
    a, b = data.variants[order[1]].name, data.variants[order[2]].name
    assert card_of(page)[0] == [a, b]
    assert page.locator("#spoken").text_content().startswith(f"{a} and {b}: φ ")
    page.keyboard.press("Enter")
    assert explored(page)[0] == [a, b]


def test_two_names_chosen_open_their_pair_and_others_are_refused(opened):
    data, page = opened(5)
    correct_VN = correct_of_report(data)
    for side, name in (("a", "resnet-4"), ("b", "resnet-1")):
        page.fill(f"#explore-{side}", name)
        page.dispatch_event(f"#explore-{side}", "change")
    assert explored(page)[1] == outcomes_by_hand(correct_VN, 4, 1)
    page.click("#explore-swap")
    assert explored(page) == (["resnet-1", "resnet-4"], outcomes_by_hand(correct_VN, 1, 4))
    page.fill("#explore-a", "vgg")
    page.dispatch_event("#explore-a", "change")
    assert "no variant of this name" in page.locator("#explorer .problem").text_content()


def test_the_explorer_lists_the_sampled_examples_that_exactly_one_gets_right(opened):
    data, page = opened(5)
    correct_VN = correct_of_report(data)
    page.locator("#ensembles button[data-pair='0 1']").first.click()
    expected = {
        data.sample.ids[n]: "A" if correct_VN[0, n] else "B" for n in np.flatnonzero(correct_VN[0] != correct_VN[1])
    }
    rows = [row.locator("td").all_text_contents() for row in page.locator("#explorer .tall tbody tr").all()]
    assert {row[0]: row[1] for row in rows} == expected
    assert set(page.input_value("#explorer textarea").split("\n")) == set(expected)
    sure_Vn = decoded_confidences(data.sample.codes_Vn, CLASSES)
    mistakes = []
    for example, right, *shown in rows:
        sure = sure_Vn[:2, data.sample.ids.index(example)]
        assert [text.split("\u202f")[0] for text in shown] == [f"{100 * share:.1f}" for share in sure]
        mistakes.append(sure[1 if right == "A" else 0])
    assert mistakes == sorted(mistakes, reverse=True)


def test_the_histogram_counts_the_sampled_examples_by_outcome(opened):
    data, page = opened(5)
    correct_VN = correct_of_report(data)
    page.locator("#ensembles button[data-pair='0 1']").first.click()
    legend = " ".join(page.locator(".histogram text").all_text_contents())
    for outcome, count in zip(OUTCOMES, outcomes_by_hand(correct_VN, 0, 1), strict=True):
        assert f"{outcome}: {count}" in legend


def test_a_variant_of_unknown_confidence_has_no_histogram(opened):
    _, page = opened(5)
    for side, name in (("a", "resnet-0"), ("b", "resnet-4")):
        page.fill(f"#explore-{side}", name)
        page.dispatch_event(f"#explore-{side}", "change")
    assert page.locator(".histogram").count() == 0
    assert "not known" in page.locator("#explorer").inner_text()


def test_a_dot_of_the_scatter_plot_names_its_pair_and_opens_it(opened):
    data, page = opened(5)
    page.locator("#scatter").scroll_into_view_if_needed()
    frame = page.locator("#scatter .overlay").bounding_box()
    spot = page.evaluate(
        "overlapReport.toScreen(overlapReport.scatter, ...['x', 'y'].map((k) => overlapReport.scatter[k][6]))"
    )
    page.mouse.move(frame["x"] + spot[0], frame["y"] + spot[1])
    names, _ = card_of(page, "#scatter")
    assert names == [data.variants[data.pairs.a[6]].name, data.variants[data.pairs.b[6]].name]
    page.mouse.down()
    page.mouse.up()
    assert explored(page)[0] == names


def test_the_line_of_the_scatter_plot_follows_the_categories_that_are_shown(opened):
    data, page = opened(500)
    pairs = data.pairs
    shown = np.ones(len(pairs.a), bool)
    for hidden in (None, 2):
        if hidden is not None:
            page.locator(".toggles button").nth(hidden).click()
            shown = pairs.category != hidden
        slope, intercept, r = linear_fit(100 * pairs.error_inconsistency[shown], 100 * pairs.improvement[shown])
        fit = page.evaluate("overlapReport.scatter.fit")
        np.testing.assert_allclose(
            [fit["slope"], fit["intercept"], fit["r"]], [slope, intercept, r], rtol=1e-6, atol=1e-9
        )
        assert f"{np.count_nonzero(shown):,} pairs" in page.locator("#ensembles .fit").text_content()


def table_column(page, column):
    return page.locator(f"#variants tbody tr td:nth-child({column})").all_text_contents()


def test_the_table_of_variants_sorts_by_a_click_on_a_heading(opened):
    data, page = opened(500)
    page.locator("#variants summary").click()
    by_accuracy = sorted(range(500), key=lambda v: -data.variants[v].correct)
    assert table_column(page, 2) == [data.variants[v].name for v in by_accuracy]
    page.click("#variants th:nth-child(2) button")
    assert table_column(page, 2) == sorted(row.name for row in data.variants)
    page.click("#variants th:nth-child(2) button")
    assert table_column(page, 2) == sorted((row.name for row in data.variants), reverse=True)
    page.click("#variants th:nth-child(6) button")
    assert table_column(page, 6) == [str(v) for v in range(500)]
    page.click("#variants th:nth-child(7) button")
    assert table_column(page, 2) == [data.variants[v].name for v in by_accuracy]


def test_the_filter_keeps_the_rows_that_hold_all_words(opened):
    data, page = opened(500)
    page.locator("#variants summary").click()
    page.fill("#variants .filter", "SIMCLR fonts")
    kept = sum(row.framework == "simclr" and row.train_on == "fonts" for row in data.variants)
    assert page.locator("#variants tbody tr:visible").count() == kept > 0
    assert page.locator("#variants .shown").text_content() == f"{kept} of 500 shown"


def test_hostile_names_stay_text(opened):
    data, page = opened("hostile")
    assert page.evaluate("window.pwned") is None
    assert page.locator("img[src=x], bdi b").count() == 0
    assert page.locator("script").count() == 2
    page.locator("#variants details").evaluate("details => { details.open = true }")
    shown = page.locator("#variants td.name").all_text_contents()
    assert sorted(shown) == sorted(HOSTILE_NAMES)
    for row in range(len(HOSTILE_NAMES)):
        hover(page, row, (row + 1) % len(HOSTILE_NAMES))
        assert all(len(name) > 3 for name in card_of(page)[0])
    names = data.variants[0].name, data.variants[7].name
    for side, name in zip("ab", names, strict=True):
        page.fill(f"#explore-{side}", name)
        page.dispatch_event(f"#explore-{side}", "change")
    assert explored(page)[1] == outcomes_by_hand(correct_of_report(data), 0, 7)
    assert page.evaluate("window.pwned") is None
    assert page.locator("img[src=x], bdi b").count() == 0


def test_five_hundred_variants_fit_into_three_megabytes(report_of):
    _, path = report_of(500)
    assert path.stat().st_size <= 3_000_000


def test_nothing_is_wider_than_a_phone(opened):
    _, page = opened(5)
    page.set_viewport_size({"width": 400, "height": 800})
    page.wait_for_function("overlapReport.map.width < 400")
    assert page.evaluate("document.documentElement.scrollWidth") <= 400


def test_a_browser_that_cannot_run_the_page_is_told_so(chromium, report_of):
    _, path = report_of(5)
    page = chromium.new_page()
    page.add_init_script("delete window.DecompressionStream")
    page.goto(path.as_uri())
    page.wait_for_selector("main > .notice")
    assert "DecompressionStream is not defined" in page.locator("main > .notice").text_content()
    page.close()
