"""Whether an analysis table speaks of the results that a store has now, and which analysis makes it."""

import json
from collections.abc import Mapping

import polars as pl

from overlap.analyses import Kind
from overlap.pairwise.pair_rows import labels_of
from overlap.store import LockFile, Store
from overlap.stored_tables import present_keys
from overlap.variants import Variant
from overlap_analysis import pair_count, pair_indices

# Tables that are not called like the analysis that makes them, or like a part of it.
_MADE_BY = {
    "soft": Kind.PAIRS,
    "controls": Kind.CATEGORIES,
    "trends": Kind.CATEGORIES,
    "category_scopes": Kind.CATEGORIES,
    "trend_scopes": Kind.CATEGORIES,
    "fits": Kind.CATEGORIES,
    "regression": Kind.CATEGORIES,
    "class_differences": Kind.SPECIALIZATION,
    "class_groups": Kind.SPECIALIZATION,
}
_LABELED = ("pairs", "soft", "categories", *(table for table, kind in _MADE_BY.items() if kind is Kind.CATEGORIES))


def kind_of(table: str) -> Kind | None:
    """The analysis that makes a table; None for `variants`, which every analysis makes, and for what is no table.

    >>> kind_of("greedy_references"), kind_of("trends"), kind_of("pears")
    (<Kind.GREEDY: 'greedy'>, <Kind.CATEGORIES: 'categories'>, None)
    """
    named = [kind for kind in Kind if table == kind or table.startswith(f"{kind}_")]
    return _MADE_BY.get(table) or max(named, key=len, default=None)


def is_current(store: Store, lock: LockFile, dataset: str, table: str) -> bool:
    """True if a table is there and speaks of exactly the results, and variants, that there are now."""
    today = present_keys(store, lock, dataset)
    if not today or store.analysis_keys(dataset, table) != today:
        return False
    if table == "variants":
        return _describes(store.read_analysis(dataset, table, columns=[*_FIELDS]), lock, today)
    return table not in _LABELED or _has_categories(store, lock, dataset, today)


_FIELDS = ("architecture", "framework", "train_on", "seed", "hyperparameters")


def _describes(variants: pl.DataFrame | None, lock: LockFile, keys: Mapping[str, str]) -> bool:
    """Whether the table says of the variants what is known of them now: of imported ones it may be more."""
    known = _by_name(lock)
    rows = [_fields(known[name]) for name in keys]
    return variants is not None and variants.select(_FIELDS).rows() == rows


def _fields(variant: Variant) -> tuple[object, ...]:
    plain = (variant.architecture, variant.framework, variant.train_on, variant.seed)
    return (*plain, json.dumps(variant.hyperparameter_map))


def _has_categories(store: Store, lock: LockFile, dataset: str, keys: Mapping[str, str]) -> bool:
    """Whether the pairs have today's categories, if there are pairs at all."""
    pairs = store.read_analysis(dataset, "pairs", columns=["category"])
    if pairs is None or pairs.height != pair_count(len(keys)):
        return pairs is None
    known = _by_name(lock)
    labels = labels_of([known[name] for name in keys])
    return pairs["category"].equals(labels.words_of(*pair_indices(len(keys))))


def _by_name(lock: LockFile) -> dict[str, Variant]:
    return {variant.name: variant for variant in lock.variants}
