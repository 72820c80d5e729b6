"""The findings of a sweep in sentences, and what its numbers do not settle.

Sentences are HTML: names in them are shortened, escaped, and isolated from the direction of the
text around them.
"""

from dataclasses import dataclass

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from overlap_analysis.categories import SHOWN_CATEGORIES
from overlap_analysis.drawing import short_name
from overlap_analysis.figures import linear_fit
from overlap_analysis.pair_counts import PairCounts
from overlap_analysis.pair_intervals import metric_intervals
from overlap_analysis.report.category_findings import ends_text, inconsistency_text
from overlap_analysis.report.data import GreedyCurve, PairColumns, ReportData
from overlap_analysis.report.numbers import count, decimal, interval, percent, points
from overlap_analysis.uncertainty import wilson_interval

_FEW_VARIANTS = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Headline:
    """One number to remember.

    Attributes:
        label: what it is.
        value: formatted.
        note: which variants, on what.
    """

    label: str
    value: str
    note: Markup


@dataclass(frozen=True, slots=True, kw_only=True)
class Statement:
    """One finding."""

    topic: str
    text: Markup


def headlines(data: ReportData) -> tuple[Headline, ...]:
    """The numbers for the top of the page; those without a value are left out."""
    best = max(data.variants, key=lambda row: row.accuracy)
    note = _text("{}<br>{}", interval(best.accuracy_low, best.accuracy_high), _name(best.name))
    shown = [Headline(label="best variant", value=percent(best.accuracy), note=note)]
    pair = best_pairs(data.pairs, 1)
    if len(pair):
        accuracy = data.pairs.ensemble_accuracy[pair[0]]
        note = _text("{}<br>{}", _share_interval(accuracy, data.examples), _pair_names(data, pair[0]))
        shown.append(Headline(label="best pair", value=percent(accuracy), note=note))
    if data.greedy is not None and _is_judged(data.greedy):
        step = greedy_choice(data.greedy)
        ends = interval(data.greedy.evaluation_low[step], data.greedy.evaluation_high[step])
        single = percent(data.greedy.best_single_accuracy)
        note = _text("{} on held-out examples; the best single variant has {} there", ends, single)
        accuracy = percent(data.greedy.evaluation_accuracy[step])
        shown.append(Headline(label="greedy ensemble", value=accuracy, note=note))
    phi_P = _known(data.pairs.error_correlation)
    if len(phi_P):
        note = _text("over {}", count(len(phi_P), "pair"))
        shown.append(Headline(label="median φ", value=decimal(float(np.median(phi_P))), note=note))
    return tuple(shown)


def summarize(data: ReportData) -> tuple[Statement, ...]:
    """The findings in the order of the page; what the data cannot answer is said, not left out."""
    statements = [Statement(topic="Accuracy", text=_accuracy(data))]
    if len(data.pairs.a):
        statements += [
            Statement(topic="Inconsistency", text=inconsistency_text(data)),
            Statement(topic="Correlation", text=_correlation(data)),
            Statement(topic="Ensembles of two", text=_best_pair(data)),
        ]
    greedy = _text("No ensemble was selected.") if data.greedy is None else _greedy(data.greedy)
    statements.append(Statement(topic="Greedy selection", text=greedy))
    statements.append(Statement(topic="Completeness", text=_completeness(data)))
    if len(data.variants) > 1:
        statements.append(Statement(topic="Limits", text=_limits(data)))
    return tuple(statements)


def best_pairs(pairs: PairColumns, most: int) -> NDArray[np.intp]:
    """Pairs with the highest ensemble accuracy, best first, the earlier of equals first."""
    order = np.argsort(-pairs.ensemble_accuracy, kind="stable")  # NaN comes last
    return order[: min(most, len(_known(pairs.ensemble_accuracy)))]


def greedy_choice(curve: GreedyCurve) -> int:
    """The first step with the highest selection accuracy: the held-out examples have no say in it."""
    return int(np.argmax(curve.selection_accuracy))


def _accuracy(data: ReportData) -> Markup:
    best = max(data.variants, key=lambda row: row.accuracy)
    worst = min(data.variants, key=lambda row: row.accuracy)
    on = f"{count(data.examples, 'example')} of {count(data.classes, 'class', 'classes')}"
    first = _text(
        "{} is right on {} {} of the {}.",
        _name(best.name),
        percent(best.accuracy),
        interval(best.accuracy_low, best.accuracy_high),
        on,
    )
    if len(data.variants) == 1:
        return first + _text(" It is the only variant: there are no pairs to compare.")
    median = float(np.median([row.accuracy for row in data.variants]))
    return first + _text(
        " The median of the {} variants is {}, the lowest {} {} ({}).",
        len(data.variants),
        percent(median),
        percent(worst.accuracy),
        interval(worst.accuracy_low, worst.accuracy_high),
        _name(worst.name),
    )


def _correlation(data: ReportData) -> Markup:
    phi_P = data.pairs.error_correlation
    known = _known(phi_P)
    why = "one of the two made no error, or nothing but errors"
    if not len(known):
        return _text("The error correlation φ is undefined for every pair: {}.", why)
    lowest, highest = int(np.nanargmin(phi_P)), int(np.nanargmax(phi_P))
    ends = ends_text(data, "error_correlation")
    text = _text("Mean error correlation φ is {}. ", ends) if ends else _text("")
    text += _text("The median over all pairs is {}.", decimal(float(np.median(known))))
    if len(known) > 1:
        text += _text(
            " Most alike are {} ({} {}), least {} ({} {}): the extremes of {}, likely to be less so on new examples.",
            _pair_names(data, highest),
            decimal(phi_P[highest]),
            _phi_interval(data, highest),
            _pair_names(data, lowest),
            decimal(phi_P[lowest]),
            _phi_interval(data, lowest),
            count(len(known), "pair"),
        )
    undefined = len(phi_P) - len(known)
    return text + (_text(" φ is undefined for {}: {}.", count(undefined, "pair"), why) if undefined else "")


def _phi_interval(data: ReportData, p: int) -> str:
    first, second = (data.variants[v].correct for v in (data.pairs.a[p], data.pairs.b[p]))
    both = data.pairs.both_correct[p : p + 1]
    counts = PairCounts(
        a=data.pairs.a[p : p + 1],
        b=data.pairs.b[p : p + 1],
        examples=data.examples,
        both_correct=both,
        only_a_correct=first - both,
        only_b_correct=second - both,
        both_wrong=data.examples - first - second + both,
        both_wrong_same_class=np.zeros_like(both),
        same_prediction=both,
    )
    low, high = metric_intervals("error_correlation", counts)
    return interval(low[0], high[0], 2, scale=1)


def _best_pair(data: ReportData) -> Markup:
    pairs = data.pairs
    best = best_pairs(pairs, 1)
    if not len(best):
        return _text("No pair has an ensemble accuracy.")
    p = best[0]
    accuracy_V = data.accuracies()[:, 0]
    better_P = np.maximum(accuracy_V[pairs.a], accuracy_V[pairs.b])
    ends = ends_text(data, "improvement")
    text = _text("Mean improvement in points is {}. ", ends) if ends else _text("")
    text += _text(
        "The mean of {} ({}) is right on {} {}: {} points over the mean of the two, {} over the better one. ",
        _pair_names(data, p),
        SHOWN_CATEGORIES[pairs.category[p]],
        percent(pairs.ensemble_accuracy[p]),
        _share_interval(pairs.ensemble_accuracy[p], data.examples),
        points(pairs.improvement[p]),
        points(pairs.ensemble_accuracy[p] - better_P[p]),
    )
    text += _text(
        "It is the best of {} on the very examples that judge it: expect less on new ones. {} of them beat "
        "their better member, {} the best single variant. ",
        count(len(_known(pairs.ensemble_accuracy)), "pair"),
        f"{np.count_nonzero(pairs.ensemble_accuracy > better_P):,}",
        f"{np.count_nonzero(pairs.ensemble_accuracy > accuracy_V.max()):,}",
    )
    return text + _relation(pairs)


def _relation(pairs: PairColumns) -> Markup:
    defined = ~(np.isnan(pairs.error_inconsistency) | np.isnan(pairs.improvement))
    slope, _, r = linear_fit(pairs.error_inconsistency[defined], pairs.improvement[defined])
    if np.isnan(r):
        return _text("The pairs are too few or too alike to relate improvement to error inconsistency.")
    return _text(
        "Improvement and error inconsistency correlate at r = {}, {} points per 10 points of inconsistency.",
        decimal(r),
        points(slope / 10),
    )


def _greedy(curve: GreedyCurve) -> Markup:
    step = greedy_choice(curve)
    members = len(set(curve.variants[: step + 1]))
    chosen = _text(
        "Chosen on {}, the ensemble after {} ({}) is right on {} of them.",
        count(curve.selection_examples, "example"),
        count(step + 1, "step"),
        count(members, "distinct variant"),
        percent(curve.selection_accuracy[step]),
    )
    if not _is_judged(curve):
        return chosen + _text(" No held-out examples compare it with the best single variant.")
    return chosen + " " + _greedy_against_single(curve, step)


def _greedy_against_single(curve: GreedyCurve, step: int) -> Markup:
    accuracy, single = curve.evaluation_accuracy[step], curve.best_single_accuracy
    low, high = curve.evaluation_low[step], curve.evaluation_high[step]
    single_low, single_high = _wilson(single, curve.evaluation_examples)
    text = _text(
        "On {} held-out examples it is right on {} {}, the best single variant {} on {} {}: {} points.",
        f"{curve.evaluation_examples:,}",
        percent(accuracy),
        interval(low, high),
        _name(curve.best_single),
        percent(single),
        interval(single_low, single_high),
        points(accuracy - single),
    )
    overlap = low <= single_high and single_low <= high
    verdict = "overlap, so they alone do not settle which is better" if overlap else "do not overlap"
    text += _text(" The two intervals {}.", verdict)
    if np.isfinite(curve.all_members_accuracy):
        everyone = curve.all_members_accuracy
        ends = _share_interval(everyone, curve.evaluation_examples)
        text += _text(" All variants averaged are right on {} {}.", percent(everyone), ends)
    return text


def _share_interval(share: float, examples: int) -> str:
    return interval(*_wilson(share, examples))


def _wilson(share: float, examples: int) -> tuple[float, float]:
    low, high = wilson_interval(round(share * examples), examples)
    return float(low), float(high)


def _is_judged(curve: GreedyCurve) -> bool:
    known = np.isfinite([*curve.evaluation_accuracy, curve.best_single_accuracy])
    return curve.evaluation_examples > 0 and bool(known.all())


def _completeness(data: ReportData) -> Markup:
    failed = len({row.variant for row in data.failures})
    if not failed and not data.pending:
        return _text("Every variant of the sweep has a result.")
    done = count(len(data.variants), "variant")
    return _text(
        "{} with a result, {} failed, {} pending. These numbers leave out the failed and the pending.",
        done,
        failed,
        data.pending,
    )


def _limits(data: ReportData) -> Markup:
    """What holds for every number above."""
    text = _text(
        "All of this is about these {} and {} on {}. Each interval holds by itself: of many, about one in twenty "
        "misses. Pairs share variants, so {} are far fewer independent observations.",
        count(len(data.variants), "variant"),
        count(data.examples, "example"),
        Markup("<bdi>{}</bdi>").format(data.dataset),
        count(len(data.pairs.a), "pair"),
    )
    few = len(data.variants) < _FEW_VARIANTS
    return text + (_text(" With so few variants, intervals of means by category are too narrow.") if few else "")


def _pair_names(data: ReportData, pair: int) -> Markup:
    first, second = data.variants[data.pairs.a[pair]], data.variants[data.pairs.b[pair]]
    return _text("{} and {}", _name(first.name), _name(second.name))


def _name(name: str) -> Markup:
    return _text("<bdi>{}</bdi>", short_name(name, 48))


def _text(template: str, *values: object) -> Markup:
    """HTML with the values escaped. The template is ours, never a name."""
    return Markup(template).format(*values)  # noqa: S704


def _known(values: NDArray[np.float64]) -> NDArray[np.float64]:
    return values[~np.isnan(values)]
