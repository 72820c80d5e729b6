"""The steps of an analysis: each adds its tables from what the store holds."""

import fnmatch
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from overlap.analyses.made import Made
from overlap.analyses.options import EVERYTHING, Kind, Options
from overlap.analyses.place import Place
from overlap.errors import ArgumentError
from overlap.features.downstream import DOWNSTREAM_TABLES, downstream_tables
from overlap.features.similarity_tables import SIMILARITY_TABLES, similarity_tables
from overlap.features.tables import FEATURE_TABLES, features_tables
from overlap.outcomes import Outcomes, only
from overlap.pairwise.comparison import comparison_tables
from overlap.pairwise.earlier import GROUPS_TABLE, known_ensembles, known_pairs
from overlap.pairwise.ensemble_rows import GROUPED, Request, count_ensembles, ensemble_frames
from overlap.pairwise.ensemble_sums import Method
from overlap.pairwise.pair_rows import Labels, labels_of, pair_frames, pair_work
from overlap.pairwise.soft_rows import SoftWork, groups_of, soft_table
from overlap.score_files import Scale, score_files
from overlap.selection.low_accuracy import first_additions, low_accuracy_table
from overlap.selection.pool import Pool
from overlap.selection.tables import GREEDY_TABLES, greedy_tables
from overlap.shift import read_both, shift_tables
from overlap.specialization.tables import SPECIALIZATION_TABLES, specialization_tables
from overlap.store import Outputs
from overlap_analysis import DEFAULT_BOOTSTRAP, group_count, pack_predictions, pair_count

PAIRS_WITH_INTERVALS = 5_000_000
SHIFT_TABLES = ("shift_variants", "shift_pairs", "shift_categories", "shift")
VARIANTS_GROUPED = 512  # more would take gigabytes to resample examples of ensembles


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Context:
    """What every step works with."""

    made: Made
    outcomes: Outcomes
    labels: Labels
    kinds: frozenset[Kind]
    options: Options
    place: Place

    @property
    def everything(self) -> bool:
        """Whether what cannot be made is passed over, because nobody asked for it by name."""
        return self.kinds >= set(EVERYTHING)


Step = Callable[[Context], None]
Tables = Mapping[str, pl.DataFrame]


def steps_of(kinds: Collection[Kind]) -> list[Step]:
    """The steps that make these analyses, in their order; one step may make several."""
    return list(dict.fromkeys(_STEPS[kind] for kind in Kind if kind in kinds))


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


def _add_pairs(context: Context) -> None:
    made, outcomes, options, place = context.made, context.outcomes, context.options, context.place
    threads = place.tasks.threads
    packed = pack_predictions(outcomes.predictions_VN, outcomes.labels_N, threads=threads)
    few = pair_count(len(outcomes.variants)) <= PAIRS_WITH_INTERVALS
    intervals = few if options.intervals is None else options.intervals
    known = known_pairs(made.store, outcomes)
    made.add(
        "pairs",
        pair_frames(pair_work(packed, context.labels, known, intervals=intervals, threads=threads), place.tasks),
    )
    if options.soft:
        _add_soft(context)


def _add_ensembles(context: Context) -> None:
    made, outcomes, labels, options = context.made, context.outcomes, context.labels, context.options
    kinds, place = context.kinds, context.place
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
        found = comparison_tables(
            outcomes, labels, compared if everyone else None, request.groups, options=options.categories
        )
        for name, table in found.items():
            made.add(name, [table])


def _add_soft(context: Context) -> None:
    """The table of soft metrics, over the variants whose probabilities are all known."""
    made, outcomes, options, place = context.made, context.outcomes, context.options, context.place
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


def _add_specialization(context: Context) -> None:
    """The tables of confidences and classes, over the variants with probabilities."""
    made, outcomes, options, place = context.made, context.outcomes, context.options, context.place
    chosen = _with(outcomes, Outputs.LOGITS, Outputs.TOP)
    if chosen is None or len(chosen.variants) < 2:
        made.notes.append("no specialization: it needs the confidences of at least two variants")
        return
    asked, calibrated = options.specialization, options.calibrated
    found = specialization_tables(made.store, chosen, place.tasks, asked, calibrated=calibrated)
    if found["specialization"].height < pair_count(len(chosen.variants)):
        base = found["specialization"]["a"][0]
        made.notes.append(
            f"specialization of so many pairs would take hours: only those with '{base}' (--base) are in it"
        )
    made.add_all(found, instead_of=SPECIALIZATION_TABLES)


def _add_selections(context: Context) -> None:
    """The tables of greedy selection, over the variants with probabilities."""
    made, outcomes, options, place = context.made, context.outcomes, context.options, context.place
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
    if Kind.GREEDY in context.kinds:
        made.add_all(greedy_tables(pool, options.search), instead_of=GREEDY_TABLES)
    if Kind.LOW_ACCURACY in context.kinds:
        added = low_accuracy_table(pool, options.search)
        if added is None:
            made.notes.append("no low-accuracy experiment: no variant is weaker than the strong ones")
        found = {} if added is None else {"low_accuracy": added, "low_accuracy_first": first_additions(added)}
        made.add_all(found, instead_of=("low_accuracy", "low_accuracy_first"))


def _add_similarity(context: Context) -> None:
    """The tables of the similarity of representations, beside that of errors."""
    store, outcomes, place = context.made.store, context.outcomes, context.place

    def find() -> Tables:
        return similarity_tables(store, outcomes, place.objects, place.tasks, context.options.features)

    _add_if_possible(context, find, SIMILARITY_TABLES, likely=_has_embeddings(context))


def _add_features(context: Context) -> None:
    """The tables of mixed and ranked dimensions."""
    store, outcomes, place = context.made.store, context.outcomes, context.place

    def find() -> Tables:
        return features_tables(store, outcomes, place.objects, place.tasks, context.options.features)

    _add_if_possible(context, find, FEATURE_TABLES, likely=_has_embeddings(context))


def _add_downstream(context: Context) -> None:
    """The table of probes on this dataset, beside accuracies on another one."""
    store, outcomes, place = context.made.store, context.outcomes, context.place

    def find() -> Tables:
        upstream, _ = read_both(store, store.require_lock(), reference=_reference(context), shifted=outcomes.dataset)
        return downstream_tables(store, upstream, outcomes, place.objects, place.tasks, context.options.features)

    likely = _has_embeddings(context) and _has_reference(context)
    _add_if_possible(context, find, DOWNSTREAM_TABLES, likely=likely)


def _add_shift(context: Context) -> None:
    """The tables across two datasets: this one, and the one that it is compared with."""
    store = context.made.store

    def find() -> Tables:
        lock, shifted = store.require_lock(), context.outcomes.dataset
        first, second = read_both(store, lock, reference=_reference(context), shifted=shifted)
        baseline = fnmatch.filter(first.names, context.options.baseline)
        if not baseline:
            raise ArgumentError(f"--baseline '{context.options.baseline}' matches no variant")
        both = [name for name in baseline if name in set(second.names)]
        return shift_tables(store, first, second, baseline=both if len(both) < len(first.names) else ())

    _add_if_possible(context, find, SHIFT_TABLES, likely=_has_reference(context))


def _reference(context: Context) -> str:
    return context.options.reference or next(iter(context.made.store.require_lock().results))


def _has_reference(context: Context) -> bool:
    return _reference(context) != context.outcomes.dataset


def _has_embeddings(context: Context) -> bool:
    return bool(context.made.store.embeddings_names(context.outcomes.dataset))


def _add_if_possible(context: Context, find: Callable[[], Tables], names: Sequence[str], *, likely: bool) -> None:
    """Adds tables; where all analyses were asked for, passes over what the store has no material for."""
    found: Tables = {}
    try:
        if likely or not context.everything:
            found = find()
    except ArgumentError as error:
        if not context.everything:
            raise
        context.made.notes.append(f"no {names[0]}: {error}")
    context.made.add_all(found, instead_of=names)


_STEPS: Mapping[Kind, Step] = {
    Kind.PAIRS: _add_pairs,
    Kind.ENSEMBLES: _add_ensembles,
    Kind.CATEGORIES: _add_ensembles,
    Kind.SPECIALIZATION: _add_specialization,
    Kind.GREEDY: _add_selections,
    Kind.LOW_ACCURACY: _add_selections,
    Kind.SIMILARITY: _add_similarity,
    Kind.FEATURES: _add_features,
    Kind.DOWNSTREAM: _add_downstream,
    Kind.SHIFT: _add_shift,
}
