"""From a store's results to its analysis tables: pairs, two-model ensembles, categories, greedy selection."""

import contextlib
import fnmatch
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

import numpy as np
import polars as pl
from numpy.typing import NDArray

from overlap import tables
from overlap.blocks import Block, Blocks, LocalBlocks, plan_blocks
from overlap.errors import ArgumentError
from overlap.outcomes import Outcomes, indices_of, read_outcomes
from overlap.published import with_published
from overlap.standing import choose_dataset
from overlap.store import Store
from overlap_analysis import (
    EnsembleCounts,
    PairCounts,
    category_means,
    count_pair_ensembles,
    count_pairs,
    ensemble_correct,
    ensemble_metrics,
    greedy_counts,
    greedy_path,
    merge_ensemble_counts,
    selection_mask,
)

PAIR_EXAMPLES_WORTH_RAY = 2e9  # about 25 s of one core; starting a local Ray takes about 10 s


class Kind(StrEnum):
    """An analysis, named like its table."""

    PAIRS = "pairs"
    ENSEMBLES = "ensembles"
    CATEGORIES = "categories"
    GREEDY = "greedy"


class Where(StrEnum):
    """Where blocks are computed; `AUTO` takes Ray when the work is worth starting it."""

    AUTO = "auto"
    RAY = "ray"
    INPROCESS = "inprocess"


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What a user may choose.

    `selection` is the share of examples that choose the greedy ensemble, the rest evaluates it; 1
    chooses on all, and nothing is left to evaluate on. `candidates` is a glob over variant names.
    `calibrated` divides logits by the temperature fitted on the calibration split. `published` are the
    accuracies that others have published, by the weights' names.
    """

    steps: int = 25
    selection: float = 0.5
    seed: int = 0
    start: tuple[str, ...] = ()
    candidates: str = "*"
    calibrated: bool = True
    where: Where = Where.AUTO
    address: str | None = None
    published: Mapping[str, float] = field(default_factory=dict)


DEFAULT_OPTIONS = Options()


@dataclass(frozen=True, slots=True, kw_only=True)
class Analysis:
    """The tables that were made, by name, where they were computed and which variants are missing from them."""

    dataset: str
    tables: Mapping[str, pl.DataFrame]
    missing: tuple[str, ...]
    where: Where


def analyze(
    store: Store,
    *,
    dataset: str | None = None,
    kinds: Collection[Kind] = tuple(Kind),
    options: Options = DEFAULT_OPTIONS,
) -> Analysis:
    """Computes analyses of a sweep's results and writes their tables into the store.

    Raises:
        ArgumentError: no results, or an option names what is not there.
        CorruptFileError: a stored file is damaged.
    """
    lock = store.require_lock()
    outcomes = read_outcomes(store, lock, choose_dataset(lock, dataset))
    selected_N = selection_mask(outcomes.ids_N, fraction=options.selection, seed=options.seed)
    where = _where(outcomes, options)
    variants = tables.variants_table(outcomes)
    made = {"variants": with_published(variants, options.published) if options.published else variants}
    pair_counts = count_pairs(outcomes.predictions_VN, outcomes.labels_N)
    if Kind.PAIRS in kinds:
        made["pairs"] = tables.pairs_table(outcomes, pair_counts)
    with _blocks(store, outcomes, selected_N, options, where) as blocks:
        if {Kind.ENSEMBLES, Kind.CATEGORIES} & set(kinds):
            counts = merge_ensemble_counts(blocks.map(_count_ensembles))
            made |= _pair_tables(outcomes, pair_counts, counts, kinds, options)
        if Kind.GREEDY in kinds:
            made |= _greedy_tables(outcomes, blocks, options, selected_N)
    for name, table in made.items():
        store.write_analysis(outcomes.dataset, name, table)
    return Analysis(dataset=outcomes.dataset, tables=made, missing=outcomes.missing, where=where)


def _pair_tables(
    outcomes: Outcomes,
    pair_counts: PairCounts,
    counts: EnsembleCounts,
    kinds: Collection[Kind],
    options: Options,
) -> dict[str, pl.DataFrame]:
    made = {}
    if Kind.ENSEMBLES in kinds:
        made["ensembles"] = tables.ensembles_table(outcomes, counts, calibrated=options.calibrated)
    if Kind.CATEGORIES in kinds:
        categories = tables.pair_categories(outcomes, pair_counts)
        improvement_P = ensemble_metrics(counts).improvement
        means = category_means(
            outcomes.correct_VN, np.array(categories, np.int8), values={"improvement": improvement_P}
        )
        made["categories"] = tables.categories_table(means)
    return made


def _greedy_tables(
    outcomes: Outcomes, blocks: Blocks, options: Options, selected_N: NDArray[np.bool_]
) -> dict[str, pl.DataFrame]:
    """The greedy path, and what it must beat: the best single variant and the average of all."""
    if options.steps < max(1, len(options.start)):
        raise ArgumentError(f"--steps must be at least {max(1, len(options.start))}, got {options.steps}")
    matching = [i for i, name in enumerate(outcomes.names) if fnmatch.fnmatchcase(name, options.candidates)]
    if not matching:
        raise ArgumentError(f"--candidates '{options.candidates}' matches no variant with a result")
    selection = int(selected_N.sum())
    evaluation = len(selected_N) - selection
    if not selection:
        raise ArgumentError(f"--selection {options.selection:g} leaves no example to choose on")

    def count(picks: Sequence[int]) -> NDArray[np.int64]:
        return _total(blocks.map(_count_candidates, list(picks)))

    path = greedy_path(count, steps=options.steps, start=indices_of(outcomes, options.start), candidates=matching)
    picks = [member.variant for member in path]
    right_S = _total(blocks.map(_count_prefixes, picks))
    best = int(np.argmax(count([])))
    everyone = _total(blocks.map(_count_prefixes, list(range(len(outcomes.variants)))))[-1:]
    alone = _total(blocks.map(_count_prefixes, [best]))
    greedy = pl.DataFrame(
        {
            "step": np.arange(1, len(path) + 1),
            "variant": [outcomes.names[pick] for pick in picks],
            "selection_accuracy": np.array([member.selection_correct for member in path]) / selection,
            **tables.accuracy_columns("evaluation", right_S, evaluation),
            "selection_examples": np.full(len(path), selection),
            "evaluation_examples": np.full(len(path), evaluation),
        },
        nan_to_null=True,
    )
    references_table = pl.DataFrame(
        {
            "reference": ["best single", "average of all"],
            "variant": [outcomes.names[best], None],
            **tables.accuracy_columns("evaluation", np.concatenate([alone, everyone]), evaluation),
        },
        nan_to_null=True,
    )
    return {"greedy": greedy, "greedy_references": references_table}


def _total(counts: list[NDArray[np.int64]]) -> NDArray[np.int64]:
    """The sum of the blocks' counts."""
    total: NDArray[np.int64] = np.sum(counts, axis=0, dtype=np.int64)
    return total


def _count_ensembles(block: Block) -> EnsembleCounts:
    return count_pair_ensembles(block.grid_VNC, block.labels_N)


def _count_candidates(block: Block, picks: list[int]) -> NDArray[np.int64]:
    """(V,) right selection examples of picks and one more."""
    return greedy_counts(block.grid_VNC[:, : block.selected], block.labels_N[: block.selected], picks)


def _count_prefixes(block: Block, picks: list[int]) -> NDArray[np.int64]:
    """(S,) right evaluation examples after each pick."""
    return ensemble_correct(block.grid_VNC[:, block.selected :], block.labels_N[block.selected :], picks)


def _where(outcomes: Outcomes, options: Options) -> Where:
    if options.where is not Where.AUTO:
        return options.where
    variants, examples = outcomes.predictions_VN.shape
    worth_it = variants * (variants - 1) / 2 * examples > PAIR_EXAMPLES_WORTH_RAY
    return Where.RAY if worth_it else Where.INPROCESS


@contextlib.contextmanager
def _blocks(
    store: Store, outcomes: Outcomes, selected_N: NDArray[np.bool_], options: Options, where: Where
) -> Iterator[Blocks]:
    plans = plan_blocks(outcomes, selected_N, calibrated=options.calibrated)
    if where is Where.INPROCESS:
        yield LocalBlocks(plans, store.objects)
        return
    from overlap.ray_cluster import connected

    with connected(options.address):
        from overlap.ray_analysis import RayBlocks

        yield RayBlocks(plans, store.objects.url)
