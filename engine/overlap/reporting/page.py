"""The report of a sweep: its analysis tables and failures become one offline HTML page."""

from overlap.analyses import Kind, analyze
from overlap.pairwise.pair_rows import labels_of
from overlap.reporting.data import read_report_data
from overlap.standing import choose_dataset
from overlap.store import LockFile, Store
from overlap_analysis import pair_count, pair_indices
from overlap_analysis.report import ReportData, render_report

REPORT = "report.html"
_SELECTION = ("greedy", "low_accuracy")
_ESSENTIAL = (
    Kind.PAIRS, Kind.ENSEMBLES, Kind.CATEGORIES, Kind.SPECIALIZATION, Kind.GREEDY, Kind.LOW_ACCURACY,
)  # fmt: skip


def report(store: Store, *, dataset: str | None = None, thumbnails: bool = False) -> str:
    """Writes the report of a store's analyses beside them and returns its name.

    Analyses that are missing, or older than the results they would hold today, are made first.

    Args:
        store: with results.
        dataset: the one to report on; None is the only one.
        thumbnails: whether the page carries small images of its examples, read anew from the sweep's data.

    Raises:
        ArgumentError: no sweep, no such dataset, no result yet, or no images of which thumbnails could be made.
    """
    lock = store.require_lock()
    chosen = choose_dataset(lock, dataset)
    name = REPORT if len(lock.results) == 1 else f"report-{chosen}.html"
    store.objects.replace(name, render_report(report_data(store, chosen, thumbnails=thumbnails)).encode())
    return name


def report_data(store: Store, dataset: str | None = None, *, thumbnails: bool = False) -> ReportData:
    """What the report of a store shows, without drawing or writing it.

    Analyses that are missing, or older than the results they would hold today, are made and written first.

    Raises:
        ArgumentError: no sweep, no such dataset, no result yet, or no images of which thumbnails could be made.
    """
    lock = store.require_lock()
    chosen = choose_dataset(lock, dataset)
    if not _is_current(store, lock, chosen):
        analyze(store, dataset=chosen, kinds=_ESSENTIAL)
    return read_report_data(store, lock, chosen, thumbnails=thumbnails)


def _is_current(store: Store, lock: LockFile, dataset: str) -> bool:
    """True if every table is there and speaks of exactly the results that are there now."""
    variants = store.read_analysis(dataset, "variants")
    if variants is None:
        return False
    present = store.result_names(dataset)
    expected = {key for key in lock.results[dataset].values() if key[:16] in present}
    if set(variants["key"]) != expected:
        return False
    pairs = store.read_analysis(dataset, "pairs", columns=["category"])
    if pairs is None or pairs.height != pair_count(variants.height):
        return False
    known = {variant.name: variant for variant in lock.variants}  # of imported variants more may be known by now
    labels = labels_of([known[name] for name in variants["name"]])
    if not pairs["category"].equals(labels.words_of(*pair_indices(variants.height))):
        return False
    keys = dict(zip(variants["name"], variants["key"], strict=True))
    if any(store.analysis_keys(dataset, table) not in ({}, keys) for table in _SELECTION):
        return False
    return all(store.read_analysis(dataset, table) is not None for table in ("ensembles", "categories"))
