"""Reports of made-up variants, whose numbers agree with each other as those of real ones do."""

import numpy as np

from overlap_analysis import error_correlation, error_inconsistency, kappa, pair_indices
from overlap_analysis.categories import CATEGORIES, CategoryMean
from overlap_analysis.pair_counts import PairCounts
from overlap_analysis.report import (
    AdditionPath,
    ControlMean,
    ExampleSample,
    GreedyCurve,
    LowAccuracy,
    PairColumns,
    ReportData,
    TrendRow,
    VariantRow,
    outcome_codes,
)

FRAMEWORKS = ("supervised", "simclr", "clip")
METRICS = ("error_inconsistency", "error_correlation", "kappa", "improvement")
CLASSES = 10
HOSTILE_NAMES = (
    "</script><script>window.pwned = 1</script>",
    "<img src=x onerror='window.pwned = 2'>",
    "\"quoted\" 'twice' & <b>bold</b>",
    "<!-- <script> --!> ]]>",
    "line\u2028separator\u2029 and \\u003c",
    "\u202egpj.exe\u2066 שלום",
    "模型🤗 " + "long" * 60,
    "__proto__",
    "constructor",
)


def correct_of(variants, examples, seed=0):
    """(V, N) bool: variants of a framework share half of what they find hard."""
    rng = np.random.default_rng(seed)
    shared = rng.random((len(FRAMEWORKS), examples))[np.arange(variants) % len(FRAMEWORKS)]
    own = rng.random((variants, examples))
    skill = rng.uniform(0.7, 0.9, (variants, 1))
    return np.where(rng.random((variants, examples)) < 0.5, shared, own) < skill


def make_report(variants=8, steps=6, examples=400, names=None, sampled=None):
    """A sweep of plausible numbers, with pairs of every category; the sample is of the first examples."""
    correct_VN = correct_of(variants, examples)
    names = names or [f"resnet-{v}" for v in range(variants)]
    rows = tuple(_variant(names[v], v, correct_VN[v]) for v in range(variants))
    pairs = _pairs(correct_VN)
    return ReportData(
        title="digits",
        dataset="digits",
        examples=examples,
        classes=CLASSES,
        variants=rows,
        pairs=pairs,
        categories=tuple(
            _mean(pairs, k, metric) for k in range(5) for metric in METRICS if (pairs.category == k).any()
        ),
        greedy=_greedy(names, steps),
        low_accuracy=_low_accuracy(names),
        failures=(),
        pending=0,
        provenance=(("overlap", "0.1.0"), ("store", "runs/digits")),
        trends=(_trend("error_inconsistency"),),
        controls=tuple(_controls(pairs)),
        sample=sample_of(correct_VN[:, :sampled]),
    )


def sample_of(correct_Vn, seed=1):
    """Right predictions are surer; the last variant's confidences are unknown."""
    rng = np.random.default_rng(seed)
    confidence_Vn = np.clip(rng.beta(np.where(correct_Vn, 8, 3), 2), 1 / CLASSES, 1)
    confidence_Vn[-1] = np.nan
    ids = tuple(f"val/{n}.jpg" for n in range(correct_Vn.shape[1]))
    return ExampleSample(ids=ids, codes_Vn=outcome_codes(correct_Vn, np.log(confidence_Vn), CLASSES))


def _variant(name, v, correct_N):
    accuracy = float(correct_N.mean())
    return VariantRow(
        name=name,
        architecture="resnet",
        framework=FRAMEWORKS[v % 3],
        train_on="digits" if v % 4 else "fonts",
        seed=v,
        accuracy=accuracy,
        accuracy_low=accuracy - 0.03,
        accuracy_high=accuracy + 0.03,
        nll=0.5,
        temperature=1.3,
        correct=int(correct_N.sum()),
        key=f"{v:064x}",
    )


def _pairs(correct_VN):
    a, b = pair_indices(len(correct_VN))
    whole, right_V = correct_VN.astype(np.float32), correct_VN.sum(axis=1)
    both = (whole @ whole.T)[a, b].astype(np.int64)
    only_a, only_b = right_V[a] - both, right_V[b] - both
    examples = correct_VN.shape[1]
    unknown = np.zeros_like(both)
    counts = PairCounts(
        a=a,
        b=b,
        examples=examples,
        both_correct=both,
        only_a_correct=only_a,
        only_b_correct=only_b,
        both_wrong=examples - both - only_a - only_b,
        both_wrong_same_class=unknown,
        same_prediction=unknown,
    )
    rng = np.random.default_rng(2)
    ensemble = both + np.rint((only_a + only_b) * rng.uniform(0.4, 0.8, len(a))).astype(np.int64)
    return PairColumns(
        a=a.astype(np.int32),
        b=b.astype(np.int32),
        category=(np.arange(len(a)) % 5).astype(np.int8),
        error_inconsistency=error_inconsistency(counts),
        error_correlation=error_correlation(counts),
        kappa=kappa(counts),
        ensemble_accuracy=ensemble / examples,
        improvement=(2 * ensemble - right_V[a] - right_V[b]) / (2 * examples),
        both_correct=both,
        ensemble_correct=ensemble,
    )


def _mean(pairs, k, metric):
    values = getattr(pairs, metric)[pairs.category == k]
    mean = float(values.mean())
    return category_row(CATEGORIES[k], metric, (mean, mean - 0.01, mean + 0.01), pairs=len(values))


def category_row(category, metric, ends, *, pairs=3):
    """A mean with its interval."""
    mean, low, high = ends
    return CategoryMean(category=category, metric=metric, pairs=pairs, undefined=0, mean=mean, low=low, high=high)


def _controls(pairs):
    for k in np.unique(pairs.category):
        for control in ("accuracy_matched", "independent"):
            yield ControlMean(control=control, mean=_mean(pairs, k, "error_inconsistency"))
        yield ControlMean(control="accuracy_matched", mean=_mean(pairs, k, "kappa"))


def _trend(metric):
    return TrendRow(metric=metric, direction="rising", effect=0.87, p_value=0.001, permutations=1000)


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
