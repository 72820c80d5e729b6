"""Sections of the report beyond errors and ensembles: each from its tables, where they have been made.

Array names: P pairs, K categories.
"""

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np
import polars as pl
from numpy.typing import NDArray

from overlap.features.images import feature_images
from overlap.specialization.section import specialization_section
from overlap.variants import Category
from overlap_analysis import category_figures, shift_figures
from overlap_analysis.categories import SHOWN_CATEGORIES
from overlap_analysis.drawing import ImageFormat
from overlap_analysis.report import Drawing, Section, SectionTable
from overlap_analysis.report.numbers import decimal, interval

Read = Callable[[str], pl.DataFrame | None]
Tables = Mapping[str, pl.DataFrame]

_KINDS = {kind.word: kind.value for kind in Category}
_DOWNSTREAM_CAPTION = (
    "A dot is a probe of one embedding, or of two side by side, on this dataset. Right: the better of the two is more "
    "accurate on the dataset it is compared with. Crosses have as many dimensions of a reinit partner "
    "instead: what more dimensions bring alone."
)
_MIXES_CAPTION = (
    "Accuracy of a probe on a share of random dimensions of the base and the rest of another variant, mean and spread "
    "over draws. Dotted: as many dimensions of the base alone. Above the dotted line, the other variant has features "
    "that the base lacks."
)
_DIMENSIONS_CAPTION = (
    "Both embeddings side by side; dimensions join from the most to the least diverse by each ranking. The line is "
    "the accuracy of the base's full embedding. Random order is the null: a ranking below it picks worse than chance."
)
_TARGETS_CAPTION = "How many dimensions reach the accuracy of the base's full embedding, by category and ranking."
_SIMILARITY_CAPTION = (
    "A dot is a pair: how similar two representations are, against the share of examples that exactly one of the "
    "two gets right. r describes these pairs; its interval resamples the variants."
)


def report_sections(read: Read, dataset: str, reference: str) -> tuple[Section, ...]:
    """The sections that there is material for.

    Args:
        read: gives a table of today's variants by name, or None.
        dataset: the one that is reported on.
        reference: what a shift is from.
    """
    found = [
        _ensembles(read),
        specialization_section(read),
        _features(read),
        _similarity(read),
        _downstream(read),
        _shift(read, dataset, reference),
    ]
    return tuple(section for section in found if section is not None)


def _ensembles(read: Read) -> Section | None:
    """What two models make together by how differently they fail: figure 2 of the paper."""
    found = _all(read, "pairs", "ensembles", "categories", "fits")
    if found is None:
        return None
    pairs, fits = (
        found["pairs"],
        found["fits"].filter((pl.col("scope") == "all") & (pl.col("x") == "error_inconsistency")),
    )
    means = found["ensembles"].filter(pl.col("rule") == "mean_probability")
    ensembles = pairs.select("a", "b").join(
        means.unique(["a", "b"], keep="first", maintain_order=True), on=["a", "b"], how="left", maintain_order="left"
    )
    shown = (
        ("improvement", "improvement", "improvement (points)", 0.0),
        ("ensemble_accuracy", "accuracy", "ensemble accuracy (%)", np.nan),
        ("conversion_rate", "conversion_rate", "conversion rate (%)", 0.5),
    )
    panels = [
        category_figures.EnsemblePanel(
            title=title,
            value_P=_numbers(ensembles, column),
            mean_K3=_means(found["categories"], metric),
            baseline=baseline,
            r_ends=_r_ends(fits, metric),
        )
        for metric, column, title, baseline in shown
    ]
    drawing = Drawing(
        name="ensembles_by_inconsistency",
        draw=functools.partial(
            category_figures.ensembles_against_inconsistency,
            _numbers(pairs, "error_inconsistency"),
            _category(pairs),
            _means(found["categories"], "error_inconsistency"),
            panels,
        ),
        alt="Three scatter plots over error inconsistency: improvement, accuracy, conversion rate of ensembles of two.",
        caption=(
            "A dot is a pair, a star the mean of its category. Improvement is over the mean of the two, conversion "
            "rate the share of examples right in exactly one that the ensemble gets right; above one half the two "
            "gain from each other."
        ),
    )
    return Section(
        key="together",
        title="What pairs make together",
        paragraphs=(
            "Pairs that fail on more different examples have more to gain, and the paper finds that they also "
            "convert more of it. The table has Pearson's r with error inconsistency, among all pairs, among those "
            "with the base variant, and among variants of like accuracy, where better members cannot be the reason.",
        ),
        figures=(drawing,),
        table=_fits_table(found["fits"]),
    )


def _fits_table(fits: pl.DataFrame) -> SectionTable:
    rows = []
    words = {"all": "all pairs", "base": "with the base", "window": "like accuracy", "base_window": "both"}
    chosen = fits.filter(pl.col("x") == "error_inconsistency")
    for (scope,), part in chosen.group_by(["scope"], maintain_order=True):
        of = {row["metric"]: row for row in part.to_dicts()}
        cells = [
            _cell(of[m]["r"], of[m]["r_low"], of[m]["r_high"]) if m in of else ""
            for m in ("improvement", "ensemble_accuracy", "conversion_rate")
        ]
        rows.append((words.get(str(scope), str(scope)), f"{part['pairs'][0]:,}", *cells))
    return SectionTable(
        columns=("pairs", "number", "r, improvement", "r, accuracy", "r, conversion rate"), rows=tuple(rows)
    )


def _features(read: Read) -> Section | None:
    """Mixed and ranked dimensions: figure 6 of the paper."""
    tables = _all(read, "features_mixes", "features_dimensions", "features_targets")
    if tables is None:
        return None
    mixes = tables["features_mixes"]
    base, fitted_on = mixes["base"][0], mixes["fitted_on"][0]
    return Section(
        key="features",
        title="Overlapping features",
        paragraphs=(
            f"Are the features of two variants the same? Probes were fitted on {fitted_on} of this dataset, on "
            f"dimensions of the embeddings of {base} and of its partners.",
        ),
        figures=(
            _feature_drawing("features_mixes", tables, "Lines of accuracy over the base's share.", _MIXES_CAPTION),
            _feature_drawing("features_dimensions", tables, "Lines of accuracy over dimensions.", _DIMENSIONS_CAPTION),
            _feature_drawing("features_targets", tables, "Dimensions needed, by category.", _TARGETS_CAPTION),
        ),
    )


def _similarity(read: Read) -> Section | None:
    tables = _all(read, "similarity", "similarity_correlations")
    if tables is None:
        return None
    chosen = tables["similarity_correlations"].filter(pl.col("metric") == "error_inconsistency")
    rows = tuple(
        (
            row["similarity"].replace("_", " "),
            _cell(row["pearson"], row["pearson_low"], row["pearson_high"]),
            _cell(row["spearman"], row["spearman_low"], row["spearman_high"]),
        )
        for row in chosen.to_dicts()
    )
    return Section(
        key="similarity",
        title="Similar representations, similar errors?",
        paragraphs=(
            "CKA and mutual nearest neighbors compare what two embeddings say of the same examples; R² asks how well "
            "one predicts the other linearly. High in both directions and below 1: they overlap, and neither contains "
            "the other.",
        ),
        figures=(_feature_drawing("similarity", tables, "Scatter plots of similarity.", _SIMILARITY_CAPTION),),
        table=SectionTable(
            columns=("similarity", "Pearson with error inconsistency", "Spearman with error inconsistency"), rows=rows
        ),
    )


def _downstream(read: Read) -> Section | None:
    """Transfer of single and joined embeddings: figure 7 of the paper."""
    tables = _all(read, "downstream")
    if tables is None:
        return None
    return Section(
        key="downstream",
        title="Transfer",
        paragraphs=(
            "Is the variant that is best on one dataset the best to build on for another? Do two make more than one?",
        ),
        figures=(_feature_drawing("downstream", tables, "Scatter plot of transfer.", _DOWNSTREAM_CAPTION),),
    )


def _feature_drawing(name: str, tables: Tables, alt: str, caption: str) -> Drawing:
    return Drawing(name=name, draw=functools.partial(_feature_image, name, tables), alt=alt, caption=caption)


def _feature_image(name: str, tables: Tables, *, image_format: ImageFormat) -> bytes:
    return feature_images(tables, image_format)[name]


def _shift(read: Read, dataset: str, reference: str) -> Section | None:
    """Accuracy, agreement and inconsistency on two datasets."""
    found = _all(read, "shift", "shift_variants", "shift_pairs", "shift_categories")
    if found is None:
        return None
    names = shift_figures.DatasetNames(reference=reference, shifted=dataset)
    lines = {row["metric"]: _probit_line(row) for row in found["shift"].to_dicts() if row["scale"] == "probit"}
    variants, pairs = found["shift_variants"], found["shift_pairs"]
    sides = ("reference", "shifted")
    accuracy_V3, shifted_V3 = (
        np.stack([_numbers(variants, f"{side}_{end}") for end in ("accuracy", "low", "high")], axis=1) for side in sides
    )
    agreement_P, shifted_agreement_P = (_numbers(pairs, f"{side}_agreement") for side in sides)
    inconsistency_P, shifted_inconsistency_P = (_numbers(pairs, f"{side}_error_inconsistency") for side in sides)
    means = np.stack([_means(found["shift_categories"], "error_inconsistency", f"{side}_") for side in sides])
    drawings = (
        Drawing(
            name="shift_accuracy",
            draw=functools.partial(
                shift_figures.accuracy_on_the_line,
                accuracy_V3,
                shifted_V3,
                variants["train_on"].to_list(),
                lines["accuracy"],
                names,
            ),
            alt=f"Scatter plot of accuracies on {dataset} over those on {reference}.",
            caption="A dot is a variant. One above the line is more accurate under shift than the others would be.",
        ),
        Drawing(
            name="shift_agreement",
            draw=functools.partial(
                shift_figures.agreement_on_the_line,
                agreement_P,
                shifted_agreement_P,
                _category(pairs),
                {"line of agreements": lines["agreement"], "line of accuracies": lines["accuracy"]},
                names,
            ),
            alt=f"Scatter plot of agreements on {dataset} over those on {reference}.",
            caption="A dot is a pair. Where both lines are one, agreement without labels stands for accuracy.",
        ),
        Drawing(
            name="shift_inconsistency",
            draw=functools.partial(
                shift_figures.inconsistency_under_shift,
                inconsistency_P,
                shifted_inconsistency_P,
                _category(pairs),
                means,
                names,
            ),
            alt=f"Scatter plot of error inconsistency on {dataset} over that on {reference}.",
            caption="A dot is a pair, a star the mean of its category. Above the diagonal, pairs differ more there.",
        ),
    )
    return Section(
        key="shift",
        title=f"From {reference} to {dataset}",
        paragraphs=(
            f"The same variants on {reference} and on {dataset}: do pairs that fail apart on one do so on the other?",
        ),
        figures=drawings,
        table=_shift_table(found["shift"]),
    )


def _shift_table(shift: pl.DataFrame) -> SectionTable:
    rows = tuple(
        (
            row["metric"].replace("_", " "),
            f"{row['points']:,}",
            _cell(row["pearson"], row["pearson_low"], row["pearson_high"]),
            _cell(row["spearman"], row["spearman_low"], row["spearman_high"]),
            _cell(row["slope"], row["slope_low"], row["slope_high"]),
        )
        for row in shift.to_dicts()
    )
    return SectionTable(columns=("on both datasets", "points", "Pearson", "Spearman", "slope"), rows=rows)


def _probit_line(row: Mapping[str, float | None]) -> shift_figures.ProbitLine:
    slope, intercept, r_squared = (_number(row[name]) for name in ("slope", "intercept", "r_squared"))
    return shift_figures.ProbitLine(slope=slope, intercept=intercept, r_squared=r_squared)


def _all(read: Read, *names: str) -> dict[str, pl.DataFrame] | None:
    """These tables, if all are there and none is empty."""
    found = dict(_read(read, names))
    return found if len(found) == len(names) else None


def _read(read: Read, names: Sequence[str]) -> Iterator[tuple[str, pl.DataFrame]]:
    for name in names:
        table = read(name)
        if table is not None and table.height:
            yield name, table


def _means(categories: pl.DataFrame, metric: str, prefix: str = "") -> NDArray[np.float64]:
    """(K, 3) means of a metric by category with their intervals, NaN for one without."""
    mean_K3 = np.full((len(SHOWN_CATEGORIES), 3), np.nan)
    for row in categories.filter(pl.col("metric") == metric).to_dicts():
        mean_K3[SHOWN_CATEGORIES.index(row["category"])] = [
            _number(row[prefix + end]) for end in ("mean", "low", "high")
        ]
    return mean_K3


def _r_ends(fits: pl.DataFrame, metric: str) -> tuple[float, float]:
    for row in fits.filter(pl.col("metric") == metric).to_dicts():
        return _number(row["r_low"]), _number(row["r_high"])
    return np.nan, np.nan


def _category(pairs: pl.DataFrame) -> NDArray[np.int8]:
    return np.array([_KINDS[word] for word in pairs["category"]], np.int8)


def _numbers(frame: pl.DataFrame, column: str) -> NDArray[np.float64]:
    return frame[column].cast(pl.Float64).fill_null(float("nan")).to_numpy()


def _number(value: float | None) -> float:
    return float("nan") if value is None else value


def _cell(value: float | None, low: float | None, high: float | None) -> str:
    return f"{decimal(_number(value))} {interval(_number(low), _number(high), 2, scale=1)}"
