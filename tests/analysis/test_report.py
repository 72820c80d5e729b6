"""The report: sentences that follow the numbers, a page that is offline, complete and safe."""

import json
import re
import subprocess
import sys
import zlib
from base64 import b64decode, b64encode
from dataclasses import fields, replace
from hashlib import sha256
from html.parser import HTMLParser

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from overlap_analysis.report import (
    Drawing,
    FailureRow,
    Section,
    SectionTable,
    decoded_confidences,
    outcome_codes,
    render_report,
    report_figures,
)
from overlap_analysis.report.payload import script_data
from synthetic_report import HOSTILE_NAMES, category_row, make_report

RISING = {"reinit": (0.05, 0.04, 0.06), "architecture": (0.08, 0.07, 0.09), "dataset": (0.12, 0.11, 0.13)}


class Page(HTMLParser):
    """What a browser sees: tags with attributes, and text by where it stands."""

    def __init__(self, html):
        super().__init__()
        self.tags, self.words, self.styles, self._inside = [], [], [], None
        self.feed(html)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self._inside = tag

    def handle_data(self, data):
        if self._inside != "script":
            (self.styles if self._inside == "style" else self.words).append(data)

    def handle_endtag(self, tag):
        self._inside = None

    @property
    def text(self):
        return re.sub(r"\s+", " ", "".join(self.words))

    def of(self, tag):
        return [attributes for name, attributes in self.tags if name == tag]


def statement(data, topic):
    """The finding under a topic, as text."""
    return re.search(rf"<dt>{topic}</dt><dd>(.*?)</dd>", render_report(data), re.DOTALL)[1]


def with_means(data, means):
    """The same report with other means of error inconsistency: category -> (mean, low, high)."""
    rows = [category_row(category, "error_inconsistency", ends) for category, ends in means.items()]
    return replace(data, categories=tuple(rows))


def with_pairs(data, **columns):
    return replace(data, pairs=replace(data.pairs, **columns))


def only(data, variants):
    """The first variants of a report."""
    keep = data.pairs.b < variants
    columns = {column.name: getattr(data.pairs, column.name)[keep] for column in fields(data.pairs)}
    return with_pairs(
        replace(data, variants=data.variants[:variants], greedy=None, low_accuracy=None, categories=()), **columns
    )


@pytest.fixture(scope="module")
def data():
    return make_report()


@pytest.fixture(scope="module")
def page(data):
    return Page(render_report(data))


class TestPage:
    def test_loads_nothing_and_names_no_handler(self, page):
        assert not {tag for tag, _ in page.tags} & {"link", "iframe", "object", "embed", "form", "base"}
        for _, attributes in page.tags:
            for name, value in attributes.items():
                assert not name.startswith("on")
                assert name != "srcset"
                assert name != "src" or value.startswith("data:image/svg+xml;base64,")
                assert name != "href" or value.startswith("#")
        assert not re.search(r"url\(|@import", "".join(page.styles))

    def test_runs_its_own_script_only_and_the_policy_names_that_script(self, data):
        html = render_report(data)
        [numbers, script] = re.findall(r"<script[^>]*>(.*?)</script>", html, re.DOTALL)
        [policy] = [meta["content"] for meta in Page(html).of("meta") if "http-equiv" in meta]
        assert policy.startswith("default-src 'none'; script-src 'sha256-")
        assert f"'sha256-{b64encode(sha256(script.encode()).digest()).decode()}'" in policy
        assert json.loads(numbers)["examples"] == 400
        assert "innerHTML" not in script

    def test_describes_every_image(self, page):
        assert len(page.of("img")) == 4
        assert all(len(image["alt"]) > 20 for image in page.of("img"))

    def test_names_dataset_examples_variants_and_level(self, page):
        facts = "digits 400 examples 10 classes 8 variants 28 pairs results with 95 % intervals"
        assert facts in page.text

    def test_shows_every_variant_and_every_step(self, data, page):
        assert all(row.name in page.text for row in data.variants)
        assert "6 steps" in page.text

    def test_shows_what_weaker_models_add(self, data, page):
        added = page.text[page.text.index("Weaker models added to strong ones") :]
        assert "61.00" in added
        assert data.low_accuracy.paths[1].start in added
        assert "Weaker models" not in Page(render_report(replace(data, low_accuracy=None))).text

    def test_lists_failures_with_their_cause_and_counts_the_pending(self, data):
        failure = FailureRow(variant="vit-9", stage="train", outcome="failed", cause="loss is NaN\nat step 3")
        page = Page(render_report(replace(data, failures=(failure,), pending=2)))
        assert "Not complete: 1 failure, 2 variants pending." in page.text
        assert "8 variants with a result, 1 failed, 2 pending." in page.text
        assert "vit-9trainfailedloss is NaN at step 3" in page.text

    def test_says_when_nothing_failed(self, page):
        assert "No variant failed." in page.text
        assert "Every variant of the sweep has a result." in page.text
        assert "Not complete" not in page.text

    def test_is_the_same_for_the_same_data(self, data):
        assert render_report(data) == render_report(make_report())

    def test_ranks_the_best_pairs_first(self, data, page):
        ranked = sorted(data.pairs.ensemble_accuracy, reverse=True)[:10]
        shown = re.findall(r"(\d\d\.\d\d)\u202f%\s*[+\u2212]\d\.\d\d", "".join(page.words))
        assert shown == [f"{100 * accuracy:.2f}" for accuracy in ranked]

    def test_needs_no_plotting_state_and_no_engine(self):
        code = "import sys, overlap_analysis.report; print(sorted({name.split('.')[0] for name in sys.modules}))"
        loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
        assert "'matplotlib'" in loaded
        assert not [name for name in ("overlap", "ray", "torch", "polars") if f"'{name}'" in loaded]


class TestHostileText:
    NAMES = (
        "</script><img src=x onerror=alert(1)>",
        "\"quoted\" 'twice' & <b>",
        "$x^2$ \\frac{a}{b} $",
        "שלום مرحبا \u202egpj.exe",
        "long" * 50,
        "模型🤗",
        "_hidden",
        "{{ 7 * 7 }} {% raw %}",
    )

    def test_is_shown_as_it_is_and_never_becomes_markup(self):
        data = make_report(variants=len(self.NAMES))
        rows = tuple(
            replace(row, name=name, architecture=name, framework=name, train_on=name)
            for row, name in zip(data.variants, self.NAMES, strict=True)
        )
        evil = self.NAMES[0]
        failure = FailureRow(variant=evil, stage=evil, outcome=evil, cause=evil)
        greedy = replace(data.greedy, variants=(evil,) * 6, best_single=evil)
        data = replace(data, title=evil, dataset=evil, provenance=((evil, evil),))
        page = Page(render_report(replace(data, variants=rows, failures=(failure,), greedy=greedy)))
        assert [script.get("type") for script in page.of("script")] == ["application/json", None]
        assert all(image["src"].startswith("data:") and "onerror" not in image for image in page.of("img"))
        assert all(" ".join(name.split()) in page.text for name in self.NAMES)


class TestSizes:
    def test_one_variant_has_no_pairs(self, data):
        page = Page(render_report(only(data, 1)))
        assert "It is the only variant: there are no pairs to compare." in page.text
        assert len(page.of("img")) == 1

    def test_two_variants_have_one_pair_and_no_heat_map(self, data):
        page = Page(render_report(only(data, 2)))
        assert "1 pair" in page.text
        assert "too few or too alike" in page.text
        assert len(page.of("img")) == 2
        assert "map-metric" not in {select["id"] for select in page.of("select")}

    def test_no_variant_is_refused(self, data):
        with pytest.raises(ValueError, match="at least one with a result, got none"):
            render_report(replace(data, variants=()))

    def test_three_hundred_variants_stay_small(self):
        html = render_report(make_report(variants=300, steps=20))
        assert len(html.encode()) < 3_000_000
        assert "44,850 pairs" in Page(html).text


class TestMissing:
    def test_greedy_selection(self, data):
        page = Page(render_report(replace(data, greedy=None)))
        assert "No ensemble was selected." in page.text
        assert len(page.of("img")) == 3

    def test_held_out_examples(self, data):
        unknown = np.full(6, np.nan)
        curve = replace(
            data.greedy,
            evaluation_examples=0,
            evaluation_accuracy=unknown,
            evaluation_low=unknown,
            evaluation_high=unknown,
            best_single_accuracy=np.nan,
            all_members_accuracy=np.nan,
        )
        assert "No held-out examples" in statement(replace(data, greedy=curve), "Greedy selection")

    def test_correlation_of_perfect_variants(self, data):
        blank = np.full_like(data.pairs.error_correlation, np.nan)
        page = Page(render_report(with_pairs(data, error_correlation=blank, kappa=blank)))
        assert "φ is undefined for every pair" in page.text
        assert not page.of("select")

    def test_correlation_of_some_pairs(self, data):
        phi = data.pairs.error_correlation.copy()
        phi[:3] = np.nan
        assert "φ is undefined for 3 pairs" in statement(with_pairs(data, error_correlation=phi), "Correlation")

    def test_every_mean_and_ensemble(self, data):
        blank = np.full_like(data.pairs.improvement, np.nan)
        bare = with_pairs(replace(data, categories=()), ensemble_accuracy=blank, improvement=blank)
        page = Page(render_report(bare))
        assert "No category has a mean error inconsistency." in page.text
        assert "No pair has an ensemble accuracy." in page.text
        assert "scatter" not in {element.get("id") for element in page.of("div")}


class TestFindings:
    def test_say_that_inconsistency_rises_and_no_intervals_overlap(self, data):
        text = statement(with_means(data, RISING), "Inconsistency")
        means = "reinit 5.0 % [4.0, 6.0], architecture 8.0 % [7.0, 9.0] and dataset 12.0 % [11.0, 13.0]"
        assert f"rises at every step: {means}." in text.replace("\u202f", " ")
        assert "No neighboring intervals overlap." in text

    def test_name_the_neighbors_whose_intervals_overlap(self, data):
        wide = RISING | {"dataset": (0.12, 0.085, 0.16)}
        text = statement(with_means(data, wide), "Inconsistency")
        assert "The intervals of architecture and dataset overlap, so they do not settle that order." in text
        assert "reinit and architecture" not in text

    def test_name_the_step_that_falls(self, data):
        falling = RISING | {"architecture": (0.03, 0.02, 0.035)}
        text = statement(with_means(data, falling), "Inconsistency")
        assert "does not rise at every step: not from reinit to architecture." in text

    def test_do_not_compare_unknown_intervals(self, data):
        unknown = RISING | {"dataset": (0.12, np.nan, np.nan)}
        text = statement(with_means(data, unknown), "Inconsistency")
        assert "The intervals of architecture and dataset are unknown." in text

    def test_judge_no_order_of_one_category(self, data):
        text = statement(with_means(data, {"reinit": (0.05, 0.04, 0.06)}), "Inconsistency")
        assert "there is no order to judge: reinit 5.0\u202f%" in text

    def test_give_the_effect_of_the_trend_and_its_test(self, data):
        text = statement(data, "Inconsistency")
        found = "later category is the more inconsistent one with probability 0.87 (p = 0.001 over 1,000 permutations"
        assert found in text
        weak = replace(data.trends[0], p_value=0.2)
        assert "which chance alone could do (p = 0.2" in statement(replace(data, trends=(weak,)), "Inconsistency")
        assert "later category" not in statement(replace(data, trends=()), "Inconsistency")

    def test_compare_pairs_of_like_accuracy_and_independent_errors(self, data):
        rows = {(row.control, row.mean.category): row.mean for row in data.controls if "kappa" not in row.mean.metric}
        text = statement(data, "Inconsistency").replace("\u202f", " ")
        for control, words in (("accuracy_matched", "like accuracy it is"), ("independent", "as these would give")):
            first = rows[control, "reinit"].mean
            assert f"{words} {100 * first:.1f} % [" in text
        assert "like accuracy" not in statement(replace(data, controls=()), "Inconsistency")

    def test_say_for_whom_the_numbers_hold(self, data):
        assert "these 8 variants and 400 examples" in statement(data, "Limits")
        assert "too narrow" in statement(data, "Limits")
        assert "Limits" not in Page(render_report(only(data, 1))).text

    def test_name_the_best_pair_and_what_it_gains(self, data):
        p = int(np.argmax(data.pairs.ensemble_accuracy))
        first, second = data.variants[data.pairs.a[p]], data.variants[data.pairs.b[p]]
        gain = 100 * (data.pairs.ensemble_accuracy[p] - max(first.accuracy, second.accuracy))
        text = statement(data, "Ensembles of two")
        assert f"<bdi>{first.name}</bdi> and <bdi>{second.name}</bdi>" in text
        assert f"{gain:+.1f} over the better one" in text

    def test_count_the_pairs_that_beat_the_best_variant(self, data):
        worse = with_pairs(data, ensemble_accuracy=np.zeros(28))
        assert "0 of them beat their better member, 0 the best single variant" in statement(worse, "Ensembles of two")

    def test_relate_improvement_to_inconsistency(self, data):
        x = data.pairs.error_inconsistency
        text = statement(with_pairs(data, improvement=0.01 - 0.2 * x), "Ensembles of two")
        assert "correlate at r = \u22121.00, \u22122.0 points per 10 points" in text

    @pytest.mark.parametrize(
        ("single", "verdict"),
        [
            (0.80, "The two intervals do not overlap."),
            (0.94, "The two intervals overlap, so they alone do not settle which is better."),
        ],
    )
    def test_compare_greedy_selection_with_the_best_variant(self, data, single, verdict):
        # Wilson's interval of 160 / 200 ends at 0.85, that of 188 / 200 at 0.97.
        curve = replace(
            data.greedy,
            selection_accuracy=np.array([0.9, 0.97, 0.96, 0.97, 0.95, 0.94]),
            evaluation_accuracy=np.array([0.9, 0.95, 0.99, 0.99, 0.99, 0.99]),
            evaluation_low=np.full(6, 0.91),
            evaluation_high=np.full(6, 0.98),
            evaluation_examples=200,
            best_single_accuracy=single,
        )
        text = statement(replace(data, greedy=curve), "Greedy selection")
        assert verdict in text
        assert "after 2 steps" in text
        assert "right on 95.0\u202f% [91.0, 98.0]" in text


def unpacked(text, kind):
    return np.frombuffer(zlib.decompress(b64decode(text)), kind)


class TestScriptData:
    def test_holds_the_counts_of_every_pair_in_order(self, data):
        pairs = json.loads(script_data(data))["pairs"]
        assert pairs["type"] == "uint16"
        assert unpacked(pairs["bothCorrect"], "<u2").tolist() == data.pairs.both_correct.tolist()
        assert unpacked(pairs["ensembleCorrect"], "<u2").tolist() == data.pairs.ensemble_correct.tolist()
        assert unpacked(pairs["category"], "u1").tolist() == data.pairs.category.tolist()

    def test_is_the_same_for_pairs_in_any_order_and_turned_around(self, data):
        order = np.random.default_rng(3).permutation(len(data.pairs.a))
        turned = {column.name: getattr(data.pairs, column.name)[order] for column in fields(data.pairs)}
        turned |= {"a": turned["b"], "b": turned["a"]}
        assert script_data(with_pairs(data, **turned)) == script_data(data)

    def test_marks_what_is_left_out_and_what_is_unknown(self, data):
        some = {column.name: getattr(data.pairs, column.name)[1:] for column in fields(data.pairs)}
        some["ensemble_correct"] = some["ensemble_correct"].copy()
        some["ensemble_correct"][0] = -1
        some["category"] = np.full_like(some["category"], -1)
        pairs = json.loads(script_data(with_pairs(data, **some)))["pairs"]
        assert unpacked(pairs["bothCorrect"], "<u2")[0] == 65535
        assert unpacked(pairs["ensembleCorrect"], "<u2")[:2].tolist() == [65535, 65535]
        assert set(unpacked(pairs["category"], "u1")) == {5}

    def test_takes_wider_numbers_for_more_examples(self, data):
        pairs = json.loads(script_data(replace(data, examples=65_535)))["pairs"]
        assert pairs["type"] == "uint32"
        assert unpacked(pairs["bothCorrect"], "<u4").tolist() == data.pairs.both_correct.tolist()

    def test_cannot_end_its_element(self):
        text = script_data(make_report(len(HOSTILE_NAMES), names=list(HOSTILE_NAMES), examples=60))
        assert not set(text) & set("<>&\u2028\u2029")
        assert json.loads(text)["variants"]["name"] == list(HOSTILE_NAMES)

    def test_has_no_examples_where_none_were_sampled(self, data):
        assert json.loads(script_data(replace(data, sample=None)))["sample"] is None


class TestOutcomeCodes:
    @given(st.floats(1e-6, 1), st.integers(2, 5000), st.booleans())
    def test_keep_the_outcome_and_nearly_the_confidence(self, share, classes, correct):
        confidence = classes**-(share)  # none is below 1 / classes
        codes = outcome_codes(np.array([[correct]]), np.log([[confidence]]), classes)
        assert bool(codes[0, 0] & 128) is correct
        error = np.log(decoded_confidences(codes, classes)[0, 0] / confidence)
        assert abs(error) <= np.log(classes) / 126 + 1e-9

    def test_are_finest_where_a_prediction_is_nearly_sure(self):
        confidences = np.array([[1.0, 0.999, 0.99, 0.9]])
        codes = outcome_codes(np.ones((1, 4), bool), np.log(confidences), 1000)
        np.testing.assert_allclose(decoded_confidences(codes, 1000), confidences, atol=0.01)
        assert len(set(codes[0].tolist())) == 4

    def test_know_what_is_unknown(self):
        codes = outcome_codes(np.array([[True, False]]), np.full((1, 2), np.nan), 10)
        assert codes.tolist() == [[255, 127]]
        assert np.isnan(decoded_confidences(codes, 10)).all()


class TestSections:
    def section(self, name="bars"):
        drawing = Drawing(name=name, draw=draw_format, alt="Bars of two numbers, one higher.", caption="Look at <it>.")
        table = SectionTable(columns=("metric", "value"), rows=(("<i>", "0.5"),))
        return Section(
            key="extra", title="Extra & more", paragraphs=("One.", "Two < three."), figures=(drawing,), table=table
        )

    def test_stand_before_the_variants_with_figures_table_and_a_link(self, data):
        page = Page(render_report(replace(data, sections=(self.section(),))))
        assert "#section-extra" in {link.get("href") for link in page.of("a")}
        ids = [section.get("id") for section in page.of("section")]
        assert ids.index("low_accuracy") + 1 == ids.index("section-extra") == ids.index("variants") - 1
        assert "Two < three." in page.text
        assert "Look at <it>." in page.text
        assert not page.of("i")
        assert "data:image/svg+xml;base64," + b64encode(b"svg").decode() in {image["src"] for image in page.of("img")}

    def test_figures_of_one_name_are_refused(self, data):
        with pytest.raises(ValueError, match="two figures are named 'bars'"):
            report_figures(replace(data, sections=(self.section(), self.section())))

    def test_figures_are_drawn_in_the_format_asked_for(self, data):
        figures = report_figures(replace(data, sections=(self.section(),)), "png")
        assert figures["bars"].image == b"png"
        own = ["error_inconsistency", "error_correlation", "improvement", "greedy", "low_accuracy", "variant_accuracy"]
        assert list(figures) == [*own, "bars"]
        assert all(figures[name].image.startswith(b"\x89PNG") for name in own)


def draw_format(*, image_format):
    return image_format.encode()
