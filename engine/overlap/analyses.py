"""From a store's results to its analysis tables: pairs, two-model ensembles, categories, greedy selection."""

import contextlib
import functools
import os
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

import numpy as np
import polars as pl

from overlap import tables
from overlap.outcomes import Outcomes, only, read_outcomes
from overlap.pairwise.comparison import comparison_tables
from overlap.pairwise.costs import Choice, Work, choose
from overlap.pairwise.earlier import GROUPS_TABLE, known_ensembles, known_pairs
from overlap.pairwise.ensemble_rows import GROUPED, Request, count_ensembles, ensemble_frames
from overlap.pairwise.ensemble_sums import Method
from overlap.pairwise.pair_rows import Labels, labels_of, pair_frames, pair_work
from overlap.pairwise.soft_rows import SoftWork, groups_of, soft_table
from overlap.published import with_published
from overlap.score_files import Scale, score_files
from overlap.selection.low_accuracy import first_additions, low_accuracy_table
from overlap.selection.pool import Pool
from overlap.selection.search import DEFAULT_SEARCH, Search
from overlap.selection.tables import GREEDY_TABLES, greedy_tables
from overlap.standing import choose_dataset
from overlap.store import Objects, Outputs, Store, open_objects
from overlap.tasks import LocalTasks, Tasks
from overlap_analysis import (
    DEFAULT_BOOTSTRAP,
    RULES,
    Rule,
    group_count,
    pack_predictions,
    pair_count,
)

ROWS_HELD = 2_000_000  # of a table; larger ones are written and not kept in memory
PAIRS_WITH_INTERVALS = 5_000_000
VARIANTS_GROUPED = 512  # more would take gigabytes to resample examples of ensembles


class Kind(StrEnum):
    """An analysis, named like its table."""

    PAIRS = "pairs"
    ENSEMBLES = "ensembles"
    CATEGORIES = "categories"
    GREEDY = "greedy"
    LOW_ACCURACY = "low_accuracy"


_SELECTION = {Kind.GREEDY, Kind.LOW_ACCURACY}


class Where(StrEnum):
    """Where blocks are computed; `AUTO` takes Ray when the work is worth starting it."""

    AUTO = "auto"
    RAY = "ray"
    INPROCESS = "inprocess"


class Calibration(StrEnum):
    """Whether logits are divided by the temperature of the calibration split; `BOTH` for ensembles with and without."""

    SPLIT = "split"
    NONE = "none"
    BOTH = "both"


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What a user may choose.

    `search` is how a greedy ensemble is selected. `rules` are those of the two-model ensembles. `intervals` says
    whether pairs get them; None leaves them out where there are millions; `soft` adds the metrics that compare
    probabilities. `memory_bytes` bounds what is held at once. `published` are the accuracies that others have
    published, by the weights' names.
    """

    search: Search = DEFAULT_SEARCH
    calibration: Calibration = Calibration.SPLIT
    rules: tuple[Rule, ...] = RULES
    intervals: bool | None = None
    soft: bool = False
    memory_bytes: float = 2 * 2**30
    where: Where = Where.AUTO
    address: str | None = None
    published: Mapping[str, float] = field(default_factory=dict)

    @property
    def calibrated(self) -> bool:
        """Whether what is made in one way only uses temperatures."""
        return self.calibration is not Calibration.NONE

    @property
    def methods(self) -> tuple[Method, ...]:
        """The two-model ensembles to count; votes have no temperature."""
        kinds = {Calibration.SPLIT: (True,), Calibration.NONE: (False,), Calibration.BOTH: (True, False)}
        return tuple(
            Method(rule=rule, calibrated=calibrated)
            for rule in self.rules
            for calibrated in (kinds[self.calibration] if rule != "vote" else (False,))
        )


DEFAULT_OPTIONS = Options()


@dataclass(frozen=True, slots=True, kw_only=True)
class Analysis:
    """What was made: tables by name, and how many rows each has, those that are too large to hold included.

    `missing` are the variants without a result, `notes` what could not be made of those that are there. `why` says
    what decided where it was computed.
    """

    dataset: str
    tables: Mapping[str, pl.DataFrame]
    rows: Mapping[str, int]
    missing: tuple[str, ...]
    where: Where
    why: str
    notes: tuple[str, ...] = ()


def analyze(
    store: Store,
    *,
    dataset: str | None = None,
    kinds: Collection[Kind] = tuple(Kind),
    options: Options = DEFAULT_OPTIONS,
) -> Analysis:
    """Computes analyses of a sweep's results and writes their tables into the store.

    What an earlier analysis has counted of variants that are still the same is not counted again.

    Raises:
        ArgumentError: no results, or an option names what is not there.
        CorruptFileError: a stored file is damaged.
    """
    lock = store.require_lock()
    outcomes = read_outcomes(store, lock, choose_dataset(lock, dataset))
    choice = _choice(outcomes, kinds, options)
    where = options.where
    if where is Where.AUTO:
        where = Where.RAY if choice.ray else Where.INPROCESS
    made, labels = _Made(store, outcomes), labels_of(outcomes.variants)
    with _place(store, options, where) as place:
        variants = tables.variants_table(outcomes)
        made.add("variants", [with_published(variants, options.published) if options.published else variants])
        if Kind.PAIRS in kinds:
            _add_pairs(made, outcomes, labels, options, place)
        if {Kind.ENSEMBLES, Kind.CATEGORIES} & set(kinds):
            _add_ensembles(made, outcomes, labels, kinds, options, place)
        if _SELECTION & set(kinds):
            _add_greedy(made, outcomes, kinds, options, place)
    return Analysis(
        dataset=outcomes.dataset,
        tables=made.tables,
        rows=made.rows,
        missing=outcomes.missing,
        where=where,
        why=str(choice) if options.where is Where.AUTO else "as asked for",
        notes=(*_notes(outcomes), *made.notes),
    )


class _Made:
    """The tables of an analysis, each written when it is made, with the keys of the variants it speaks of."""

    def __init__(self, store: Store, outcomes: Outcomes) -> None:
        self.store, self.dataset = store, outcomes.dataset
        self.keys = dict(zip(outcomes.names, outcomes.keys, strict=True))
        self.tables: dict[str, pl.DataFrame] = {}
        self.rows: dict[str, int] = {}
        self.notes: list[str] = []

    def add(self, name: str, frames: Iterable[pl.DataFrame], keys: Mapping[str, str] | None = None) -> None:
        """Writes a table of which at least one part comes, and keeps it unless it is too large."""
        kept: list[pl.DataFrame] = []
        self.rows[name] = 0

        def passing() -> Iterator[pl.DataFrame]:
            for frame in frames:
                self.rows[name] += frame.height
                if self.rows[name] <= ROWS_HELD:
                    kept.append(frame)
                yield frame

        self.store.write_analysis_parts(self.dataset, name, passing(), self.keys if keys is None else keys)
        if self.rows[name] <= ROWS_HELD:
            self.tables[name] = pl.concat(kept)

    def add_all(self, found: Mapping[str, pl.DataFrame], *, instead_of: Collection[str]) -> None:
        """Writes whole tables, and removes those of an earlier analysis that are not made this time."""
        for name in instead_of:
            if name in found:
                self.add(name, [found[name]])
            else:
                self.store.drop_analysis(self.dataset, name)


def _request(outcomes: Outcomes, kinds: Collection[Kind], options: Options) -> Request:
    """What to count of two-model ensembles; for the categories, at least the mean of probabilities."""
    methods = options.methods if Kind.ENSEMBLES in kinds else ()
    grouped = None
    if Kind.CATEGORIES in kinds:
        improvement = _compared(options)
        methods = methods if improvement in methods else (*methods, improvement)
        grouped = improvement if len(outcomes.variants) <= VARIANTS_GROUPED else None
    groups = group_count(len(outcomes.labels_N), DEFAULT_BOOTSTRAP)
    return Request(methods=methods, grouped=grouped, groups=groups, memory_bytes=options.memory_bytes)


def _compared(options: Options) -> Method:
    """The ensembles whose improvement is compared between categories, as the paper does."""
    return Method(rule="mean_probability", calibrated=options.calibrated)


def _add_pairs(made: _Made, outcomes: Outcomes, labels: Labels, options: Options, place: "_Place") -> None:
    threads = place.tasks.threads
    packed = pack_predictions(outcomes.predictions_VN, outcomes.labels_N, threads=threads)
    few = _pairs(outcomes) <= PAIRS_WITH_INTERVALS
    intervals = few if options.intervals is None else options.intervals
    known = known_pairs(made.store, outcomes)
    made.add("pairs", pair_frames(pair_work(packed, labels, known, intervals=intervals, threads=threads), place.tasks))
    if options.soft:
        _add_soft(made, outcomes, options, place)


def _add_ensembles(
    made: _Made, outcomes: Outcomes, labels: Labels, kinds: Collection[Kind], options: Options, place: "_Place"
) -> None:
    request = _request(outcomes, kinds, options)
    known = known_ensembles(made.store, outcomes, request)
    counted = count_ensembles(outcomes, place.objects, request, known, place.tasks)
    if Kind.ENSEMBLES in kinds:
        complete_V = np.array([outputs is Outputs.LOGITS for outputs in outcomes.outputs])
        made.add("ensembles", ensemble_frames(counted, labels, complete_V))
    for one in counted:
        if one.correct_PG is not None:
            values = pl.Series(GROUPED, one.correct_PG, dtype=pl.Array(pl.Int32, one.correct_PG.shape[1]))
            keys = {outcomes.names[v]: outcomes.keys[v] for v in one.members_S}
            made.add(GROUPS_TABLE, [pl.DataFrame([values])], keys)
    if Kind.CATEGORIES in kinds:
        (compared,) = (one for one in counted if one.method == _compared(options))
        everyone = len(compared.members_S) == len(labels.names)
        found = comparison_tables(outcomes, labels, compared if everyone else None, request.groups)
        for name, table in found.items():
            made.add(name, [table])


def _add_soft(made: _Made, outcomes: Outcomes, options: Options, place: "_Place") -> None:
    """The table of soft metrics, over the variants whose probabilities are all known."""
    chosen = _with(outcomes, Outputs.LOGITS)
    if chosen is None or len(chosen.variants) < 2:
        made.notes.append("no soft metrics: they need the probabilities of all classes of at least two variants")
        return
    work = SoftWork(
        objects=place.objects,
        files=score_files(chosen, range(len(chosen.variants))),
        labels_N=chosen.labels_N,
        scale=Scale(probabilities=True, calibrated=options.calibrated),
        groups=groups_of(len(chosen.variants), len(chosen.labels_N)),
    )
    made.add("soft", [soft_table(labels_of(chosen.variants), work, place.tasks, memory_bytes=options.memory_bytes)])


def _with(outcomes: Outcomes, *enough: Outputs) -> Outcomes | None:
    """The variants of which so much is known; None if there are none."""
    chosen = [v for v, known in enumerate(outcomes.outputs) if known in enough]
    if len(chosen) == len(outcomes.variants):
        return outcomes
    return only(outcomes, chosen) if chosen else None


def _add_greedy(made: _Made, outcomes: Outcomes, kinds: Collection[Kind], options: Options, place: "_Place") -> None:
    """The tables of greedy selection, over the variants with probabilities."""
    chosen = _with(outcomes, Outputs.LOGITS, Outputs.TOP)
    if chosen is None:
        made.notes.append("no greedy selection: it needs probabilities")
        return
    pool = Pool(
        made.store,
        chosen,
        place.objects,
        place.tasks,
        calibrated=options.calibrated,
        memory_bytes=options.memory_bytes,
    )
    if Kind.GREEDY in kinds:
        made.add_all(greedy_tables(pool, options.search), instead_of=GREEDY_TABLES)
    if Kind.LOW_ACCURACY in kinds:
        added = low_accuracy_table(pool, options.search)
        if added is None:
            made.notes.append("no low-accuracy experiment: no variant is weaker than the strong ones")
        found = {} if added is None else {"low_accuracy": added, "low_accuracy_first": first_additions(added)}
        made.add_all(found, instead_of=("low_accuracy", "low_accuracy_first"))


def _notes(outcomes: Outcomes) -> list[str]:
    """What is not in the tables because too little is known of some variants."""
    top, predicted = outcomes.outputs.count(Outputs.TOP), outcomes.outputs.count(Outputs.PREDICTION)
    notes = []
    if top:
        notes.append(
            f"of {top} variants only the likeliest classes are known: their ensembles take the others for impossible "
            "(column 'complete'), and they have no mean of logits"
        )
    if predicted:
        notes.append(f"of {predicted} variants only the predictions are known: they vote, and are in no other ensemble")
    return notes


def _pairs(outcomes: Outcomes) -> int:
    return pair_count(len(outcomes.variants))


def _choice(outcomes: Outcomes, kinds: Collection[Kind], options: Options) -> Choice:
    variants, examples = outcomes.predictions_VN.shape
    methods = len(options.methods) if Kind.ENSEMBLES in kinds else int(Kind.CATEGORIES in kinds)
    classes = len(outcomes.class_names)
    work = Work(
        variants=variants,
        pairs=_pairs(outcomes) if set(kinds) - _SELECTION else 0,
        examples=examples,
        methods=methods,
        classes=classes,
        selection=bool(_SELECTION & set(kinds)),
    )
    return choose(work, cores=_cores(), cluster=options.address is not None)


def _cores() -> int:
    return len(os.sched_getaffinity(0))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Place:
    """Where an analysis is computed: this process, or a Ray."""

    tasks: Tasks
    objects: Callable[[], Objects]


@contextlib.contextmanager
def _place(store: Store, options: Options, where: Where) -> Iterator[_Place]:
    if where is Where.INPROCESS:
        yield _Place(tasks=LocalTasks(_cores()), objects=lambda: store.objects)
        return
    from overlap.ray_cluster import connected

    with connected(options.address):
        from overlap.ray_analysis import RayTasks

        yield _Place(tasks=RayTasks(), objects=functools.partial(open_objects, store.objects.url))
