"""The report: sentences that follow the numbers, a page that is offline, complete and safe."""

import re
import subprocess
import sys
from dataclasses import fields, replace
from html.parser import HTMLParser

import numpy as np
import pytest

from overlap_analysis.categories import CATEGORIES, CategoryMean
from overlap_analysis.report import (
    AdditionPath,
    FailureRow,
    GreedyCurve,
    LowAccuracy,
    PairColumns,
    ReportData,
    VariantRow,
    render_report,
)

FRAMEWORKS = ("supervised", "simclr", "clip")
METRICS = ("error_inconsistency", "error_correlation", "kappa", "improvement")
RISING = {"reinit": (0.05, 0.04, 0.06), "architecture": (0.08, 0.07, 0.09), "dataset": (0.12, 0.11, 0.13)}


def make_report(variants=8, steps=6):
    """A sweep of plausible numbers, with pairs of every category."""
    rng = np.random.default_rng(0)
    rows = tuple(_variant(v, float(rng.uniform(0.7, 0.9))) for v in range(variants))
    pairs = _pairs(np.array([row.accuracy for row in rows]), rng)
    return ReportData(
        title="digits",
        dataset="digits",
        examples=400,
        classes=10,
        variants=rows,
        pairs=pairs,
        categories=tuple(_mean(pairs, k, metric) for k in range(5) for metric in METRICS),
        greedy=_greedy([row.name for row in rows], steps),
        low_accuracy=_low_accuracy([row.name for row in rows]),
        failures=(),
        pending=0,
        provenance=(("overlap", "0.1.0"), ("store", "runs/digits")),
    )


def _variant(v, accuracy):
    return VariantRow(
        name=f"resnet-{v}",
        architecture="resnet",
        framework=FRAMEWORKS[v % 3],
        train_on="digits",
        seed=v,
        accuracy=accuracy,
        accuracy_low=accuracy - 0.03,
        accuracy_high=accuracy + 0.03,
        nll=0.5,
        temperature=1.3,
    )


def _pairs(accuracy_V, rng):
    a, b = np.triu_indices(len(accuracy_V), k=1)
    category = np.arange(len(a)) % 5
    inconsistency = 0.05 + 0.03 * category + rng.normal(0, 0.01, len(a))
    improvement = 0.2 * inconsistency + rng.normal(0, 0.005, len(a))
    return PairColumns(
        a=a.astype(np.int32),
        b=b.astype(np.int32),
        category=category.astype(np.int8),
        error_inconsistency=inconsistency,
        error_correlation=1 - 3 * inconsistency,
        kappa=1 - 3.1 * inconsistency,
        ensemble_accuracy=(accuracy_V[a] + accuracy_V[b]) / 2 + improvement,
        improvement=improvement,
    )


def _mean(pairs, k, metric):
    values = getattr(pairs, metric)[pairs.category == k]
    mean = float(values.mean())
    return category_row(CATEGORIES[k], metric, (mean, mean - 0.01, mean + 0.01), pairs=len(values))


def category_row(category, metric, ends, *, pairs=3):
    mean, low, high = ends
    return CategoryMean(category=category, metric=metric, pairs=pairs, undefined=0, mean=mean, low=low, high=high)


def _greedy(names, steps):
    accuracy = np.linspace(0.85, 0.9, steps)
    return GreedyCurve(
        variants=tuple(names[step % len(names)] for step in range(steps)),
        selection_accuracy=accuracy + 0.02,
        evaluation_accuracy=accuracy,
        evaluation_low=accuracy - 0.04,
        evaluation_high=accuracy + 0.04,
        selection_examples=200,
        evaluation_examples=200,
        best_single=names[0],
        best_single_accuracy=0.85,
        all_members_accuracy=0.88,
    )


def _low_accuracy(names):
    ends = np.linspace(0.8, 0.84, 4)[:, None] + np.array([0.0, -0.03, 0.03])
    paths = [AdditionPath(start=name, accuracy_S3=ends, reported_S=ends[:, 2]) for name in names[:2]]
    return LowAccuracy(paths=tuple(paths), first=((names[-1], 0.61),) * len(paths), best_added=0.62)


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
        (self.styles if self._inside == "style" else self.words).append(data)

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
    def test_loads_nothing_and_runs_nothing(self, page):
        assert not {tag for tag, _ in page.tags} & {
            "script",
            "link",
            "iframe",
            "object",
            "embed",
            "form",
            "base",
        }
        for _, attributes in page.tags:
            for name, value in attributes.items():
                assert not name.startswith("on")
                assert name != "srcset"
                assert name != "src" or value.startswith("data:image/svg+xml;base64,")
                assert name != "href" or value.startswith("#")
        assert not re.search(r"url\(|@import", "".join(page.styles))

    def test_has_a_policy_that_forbids_it_too(self, page):
        [policy] = [meta["content"] for meta in page.of("meta") if "http-equiv" in meta]
        assert policy.startswith("default-src 'none'; style-src 'unsafe-inline'; img-src data:;")

    def test_describes_every_image(self, page):
        assert len(page.of("img")) == 6
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
        assert not page.of("script")
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
        assert len(page.of("img")) == 3

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
        assert len(page.of("img")) == 5

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
        assert len(page.of("img")) == 5

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
        assert len(page.of("img")) == 5


class TestFindings:
    def test_say_that_inconsistency_rises_and_no_intervals_overlap(self, data):
        text = statement(with_means(data, RISING), "Inconsistency")
        assert "rises at every step: reinit 5.0\u202f%, architecture 8.0\u202f% and dataset 12.0\u202f%" in text
        assert text.endswith("No neighboring intervals overlap.")

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
        assert text.endswith("The intervals of architecture and dataset are unknown.")

    def test_judge_no_order_of_one_category(self, data):
        text = statement(with_means(data, {"reinit": (0.05, 0.04, 0.06)}), "Inconsistency")
        assert "there is no order to judge: reinit 5.0\u202f%" in text

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
