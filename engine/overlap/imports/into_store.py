"""Files of predictions, all checked before anything is written, become the results of a store."""

import contextlib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from types import MappingProxyType

from overlap.errors import ArgumentError, CorruptFileError, StoreMismatchError
from overlap.imports.attributes import imported_variant, read_variants
from overlap.imports.checking import Source, Target, check_all, find_class_names, refusal, source_of
from overlap.imports.classes import given_classes
from overlap.imports.examples import Examples, examples_from
from overlap.imports.files import check_columns, read_tables
from overlap.imports.outputs import read_outputs
from overlap.imports.rows import sorted_rows
from overlap.plan import Job, Stage
from overlap.store import (
    LockFile,
    MissingObjectError,
    Objects,
    Outputs,
    Predictions,
    Store,
)
from overlap.store.lease import held
from overlap.store.local import LocalObjects
from overlap.store.verify import find_damage, harmed, put_aside, remember_sound
from overlap.variants import SCHEMA_VERSION, DatasetFacts, SplitFacts, Variant

NAME = "imported predictions"  # of the lock file; no sweep can have it
_DATASET = re.compile(r"[A-Za-z0-9](\.?[A-Za-z0-9_-]){0,63}")


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportedVariant:
    """One variant of an import; `unanswered` counts examples without a prediction, `new` what was not there before."""

    name: str
    outputs: Outputs
    unanswered: int
    new: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Imported:
    """What an import has put into a store, or found there: the variants in the order of the files.

    `put_aside` are damaged files that it found in the store.
    """

    store: str
    dataset: str
    examples: int
    classes: int
    variants: tuple[ImportedVariant, ...]
    put_aside: tuple[str, ...] = ()

    @property
    def new(self) -> int:
        """How many variants were not there before."""
        return sum(variant.new for variant in self.variants)


def import_predictions(
    files: Sequence[Path],
    store: Store,
    *,
    dataset: str,
    classes: str | None = None,
    variants: Path | None = None,
    columns: Mapping[str, str] = MappingProxyType({}),
    replace: bool = False,
) -> Imported:
    """Fills a store with predictions that were made elsewhere; what is there already is left alone.

    Args:
        files: Parquet, CSV or npz, each a variant, or several with a column `variant`.
        store: an empty one, or one of earlier imports.
        dataset: what the examples are called in the store.
        classes: a file with a class a line, or a label space such as imagenet-1k; by default those of an
            earlier import, or else those that the files speak of.
        variants: a CSV file that says what the variants are; see `read_variants`.
        columns: our name of a column -> the files'.
        replace: takes variants whose content has changed.

    Raises:
        ArgumentError: with all problems of the files; nothing was written.
        StoreMismatchError: the store is a sweep's.
        LaunchHeldError: another import into this store is running.
    """
    if not _DATASET.fullmatch(dataset):
        raise ArgumentError(f"--dataset '{dataset}': expected letters, digits and . _ - between them, at most 64")
    check_columns(columns)
    attributes = read_variants(variants) if variants else None
    given = given_classes(classes) if classes else None
    lock = _lock_of_imports(store)
    class_names, problems = find_class_names(files, columns, given, lock, dataset)
    target = Target(store=store, lock=lock, dataset=dataset, class_names=class_names, stored=_stored(store, dataset))
    sources = check_all(files, columns, target, problems, replace=replace)
    new_lock = _lock_with(target, sources, attributes, problems)
    if problems:
        raise ArgumentError(refusal(problems))
    return _fill(target, sources, new_lock, columns)


def _lock_of_imports(store: Store) -> LockFile:
    lock = store.read_lock()
    if lock is None:
        return LockFile(schema_version=SCHEMA_VERSION, name=NAME, datasets={}, variants=(), training={}, results={})
    if lock.name != NAME:
        raise StoreMismatchError(
            f"store '{store.objects.url}' was made by sweep '{lock.name}'; give --store another folder to import into"
        )
    return lock


def _stored(store: Store, dataset: str) -> Examples | None:
    try:
        return examples_from(*store.read_examples(dataset))
    except (MissingObjectError, CorruptFileError):
        return None  # the lock file's fingerprint still tells whether the examples are the same


def _lock_with(
    target: Target, sources: Sequence[Source], attributes: Mapping[str, Variant] | None, problems: list[str]
) -> LockFile:
    """The lock file with these sources, whose variants come behind those that are there."""
    lock, dataset = target.lock, target.dataset
    if not sources:
        return lock
    variants = {variant.name: variant for variant in lock.variants}
    for source in sources:
        name = source.variant
        if attributes is not None and name not in attributes:
            problems.append(f"'{source.path}': variant '{name}' is not in the table of --variants")
        told = (attributes or {}).get(name)
        variants[name] = told or variants.get(name) or imported_variant(name)
    examples = sources[0].examples
    facts = DatasetFacts(
        name=dataset,
        class_names=target.class_names,
        splits={"test": SplitFacts(size=len(examples.names), fingerprint=examples.fingerprint)},
    )
    keys = {source.variant: source.key for source in sources}
    outputs = {source.variant: source.outputs.value for source in sources}
    return replace(
        lock,
        datasets={**lock.datasets, dataset: facts},
        variants=tuple(variants.values()),
        results={**lock.results, dataset: {**lock.results.get(dataset, {}), **keys}},
        outputs={**lock.outputs, dataset: {**lock.outputs.get(dataset, {}), **outputs}},
    )


def _fill(target: Target, sources: Sequence[Source], lock: LockFile, columns: Mapping[str, str]) -> Imported:
    """Writes what the store lacks; sources are read again, because all of them at once may not fit into memory."""
    store, dataset = target.store, target.dataset
    damage = find_damage(store)
    damaged = frozenset(harmed(damage))
    whole = {key for key, name in store.result_names(dataset).items() if name not in damaged}
    new = [source for source in sources if source.key[:16] not in whole]
    aside: list[str] = []
    if new or damage or lock != target.lock or target.stored is None:
        with _held(store.objects):
            aside = put_aside(store, find_damage(store))
            examples = sources[0].examples
            store.write_examples(dataset, examples.names.to_list(), examples.labels_N)
            store.write_lock(lock)
            for path in dict.fromkeys(source.path for source in new):
                _commit(target, [source for source in new if source.path == path], lock, columns)
            remember_sound(store)
    names = {source.variant for source in new}
    return Imported(
        store=store.objects.url,
        dataset=dataset,
        examples=len(sources[0].examples.names),
        classes=len(target.class_names),
        variants=tuple(
            ImportedVariant(name=s.variant, outputs=s.outputs, unanswered=s.unanswered, new=s.variant in names)
            for s in sources
        ),
        put_aside=tuple(aside),
    )


def _commit(target: Target, sources: Sequence[Source], lock: LockFile, columns: Mapping[str, str]) -> None:
    """Writes the results of one file."""
    variants = {variant.name: variant for variant in lock.variants}
    tables = {table.variant: table for table in read_tables(sources[0].path, columns)}
    footer = {"overlap_version": version("overlap"), "source": sources[0].path.name}
    for source in sources:
        table = tables[source.variant]
        outputs = read_outputs(sorted_rows(table), source.examples, target.class_names)
        if source_of(table, outputs, source.examples, target).key != source.key:
            raise ArgumentError(f"{table.place} has changed while it was imported; import it again")
        job = Job(
            stage=Stage.EVALUATE,
            variant=variants[source.variant],
            dataset=target.dataset,
            key=source.key,
            config=source.config,
            weights_key="",
            cost=0.0,
        )
        if isinstance(outputs, Predictions):
            target.store.commit(job, outputs, footer)
        else:
            target.store.commit_partial(job, outputs, len(target.class_names), footer)


@contextlib.contextmanager
def _held(objects: Objects) -> Iterator[None]:
    """Keeps launches and other imports away from a store."""
    if isinstance(objects, LocalObjects):
        with objects.launch_lock():
            objects.remove_stale_temporaries()
            yield
        return
    with held(objects):
        yield
