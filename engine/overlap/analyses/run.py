"""From a store's results to its analysis tables."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

import polars as pl

from overlap import tables
from overlap.analyses.made import Made
from overlap.analyses.options import EVERYTHING, Kind, Options, Where
from overlap.analyses.place import choose_place, open_place
from overlap.analyses.steps import Context, steps_of
from overlap.outcomes import Outcomes, read_outcomes
from overlap.pairwise.pair_rows import labels_of
from overlap.published import with_published
from overlap.standing import choose_dataset
from overlap.store import Outputs, Store

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
    kinds: Collection[Kind] = EVERYTHING,
    options: Options = DEFAULT_OPTIONS,
) -> Analysis:
    """Computes analyses of a sweep's results and writes their tables into the store.

    What an earlier analysis has counted of variants that are still the same is not counted again. By default all
    analyses are made that the store has the material for, but for those that fit probes.

    Raises:
        ArgumentError: no results, or an option names what is not there.
        CorruptFileError: a stored file is damaged.
    """
    lock = store.require_lock()
    outcomes = read_outcomes(store, lock, choose_dataset(lock, dataset))
    choice = choose_place(outcomes, kinds, options)
    where = options.where
    if where is Where.AUTO:
        where = Where.RAY if choice.ray else Where.INPROCESS
    made = Made(store, outcomes)
    with open_place(store, options, where) as place:
        variants = tables.variants_table(outcomes)
        made.add("variants", [with_published(variants, options.published) if options.published else variants])
        context = Context(
            made=made,
            outcomes=outcomes,
            labels=labels_of(outcomes.variants),
            kinds=frozenset(kinds),
            options=options,
            place=place,
        )
        for step in steps_of(kinds):
            step(context)
    return Analysis(
        dataset=outcomes.dataset,
        tables=made.tables,
        rows=made.rows,
        missing=outcomes.missing,
        where=where,
        why=str(choice) if options.where is Where.AUTO else "as asked for",
        notes=(*_notes(outcomes), *made.notes),
    )


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
