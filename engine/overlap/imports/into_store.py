"""Files of predictions, all checked before anything is written, become the results of a store."""

import contextlib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from types import MappingProxyType

import numpy as np

from overlap.errors import ArgumentError, CorruptFileError, StoreMismatchError
from overlap.imports.attributes import imported_variant, read_variants
from overlap.imports.classes import Found, choose_classes, find_classes, given_classes
from overlap.imports.examples import Examples, differences, examples_from, read_examples
from overlap.imports.files import Table, check_columns, read_tables
from overlap.imports.outputs import content_hash, read_outputs
from overlap.imports.rows import sorted_rows
from overlap.plan import Job, Stage
from overlap.store import (
    LockFile,
    MissingObjectError,
    Objects,
    Outputs,
    PartialPredictions,
    Predictions,
    Store,
)
from overlap.store.lease import held
from overlap.store.local import LocalObjects
from overlap.store.verify import find_damage, harmed, put_aside, remember_sound
from overlap.variants import SCHEMA_VERSION, DatasetFacts, SplitFacts, Variant, canonical_json, key_of

NAME = "imported predictions"  # of the lock file; no sweep can have it
_DATASET = re.compile(r"[A-Za-z0-9](\.?[A-Za-z0-9_-]){0,63}")
_SHOWN = 20


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
    class_names, problems = _class_names(files, columns, given, lock, dataset)
    target = _Target(store=store, lock=lock, dataset=dataset, class_names=class_names, stored=_stored(store, dataset))
    sources = _check_all(files, columns, target, problems, replace=replace)
    new_lock = _lock_with(target, sources, attributes, problems)
    if problems:
        raise ArgumentError(_listed(problems))
    return _fill(target, sources, new_lock, columns)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Target:
    """What the files are to fit to; `stored` are the examples of earlier imports, None if there are none."""

    store: Store
    lock: LockFile
    dataset: str
    class_names: tuple[str, ...]
    stored: Examples | None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Source:
    """A variant that was read and found good: where it is, and the configuration whose hash is its key."""

    path: Path
    variant: str
    outputs: Outputs
    unanswered: int
    examples: Examples
    config: str

    @property
    def key(self) -> str:
        return key_of(self.config)


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


def _class_names(
    files: Sequence[Path],
    columns: Mapping[str, str],
    given: tuple[str, ...] | None,
    lock: LockFile,
    dataset: str,
) -> tuple[tuple[str, ...], list[str]]:
    """The classes, and what is wrong with files that cannot even be asked for theirs."""
    stored = lock.datasets[dataset].class_names if dataset in lock.datasets else None
    if stored and given and stored != given:
        raise ArgumentError(
            f"--classes names {len(given):,} classes, and other ones than the {len(stored):,} of '{dataset}' in this "
            "store; leave it out, or give another --store"
        )
    found: list[Found] = []
    problems: list[str] = []
    for path in files:
        try:
            found += [find_classes(table) for table in read_tables(path, columns)]
        except ArgumentError as error:
            problems.append(str(error))
    known = given or stored
    if known is None and not any(one.names or one.largest >= 0 for one in found):
        raise ArgumentError(_listed(problems or ["the files hold no labels"]))
    return known or choose_classes(found), problems


def _check_all(
    files: Sequence[Path], columns: Mapping[str, str], target: _Target, problems: list[str], *, replace: bool
) -> list[_Source]:
    """Everything that is good; what is wrong with the rest joins the problems."""
    sources: list[_Source] = []
    expected, place = target.stored, f"'{target.dataset}' in the store"
    for path in files:
        try:
            tables = read_tables(path, columns)
        except ArgumentError:
            continue  # it was among the problems when its classes were wanted
        for table in tables:
            source, wrong = _check(table, target, expected, place)
            twin = next((one for one in sources if source and one.variant == source.variant), None)
            if twin:
                wrong = [f"{table.place}: variant '{table.variant}' is also in '{twin.path}'; expected each one once"]
            if source and not replace:
                wrong += _changes(source, target)
            problems += wrong
            if source and not wrong:
                sources.append(source)
            if source and expected is None:
                expected, place = source.examples, table.place
    fingerprint = _fingerprint(target)
    if expected and fingerprint and expected.fingerprint != fingerprint:  # of a store that has lost its examples
        problems.append(f"the examples or labels are others than those of '{target.dataset}' in the store")
    return sources


def _check(table: Table, target: _Target, expected: Examples | None, place: str) -> tuple[_Source | None, list[str]]:
    """A table as a source, None if it cannot be one, and what is wrong with it."""
    rows, problems = sorted_rows(table), []
    try:
        examples = read_examples(rows, target.class_names)
    except ArgumentError as error:
        return None, [str(error)]
    if expected:
        problems = [f"{table.place} {difference}" for difference in differences(examples, expected, place)]
    try:
        outputs = read_outputs(rows, examples, target.class_names)
    except ArgumentError as error:
        return None, [*problems, str(error)]
    return _source(table, outputs, examples, target), problems


def _source(table: Table, outputs: Predictions | PartialPredictions, examples: Examples, target: _Target) -> _Source:
    partial = isinstance(outputs, PartialPredictions)
    kind = outputs.outputs if isinstance(outputs, PartialPredictions) else Outputs.LOGITS
    config = {
        "imported": {
            "schema": SCHEMA_VERSION,
            "variant": table.variant,
            "outputs": kind.value,
            "content": content_hash(outputs),
        },
        "test": examples.fingerprint,
        "classes": list(target.class_names),
    }
    return _Source(
        path=table.path,
        variant=table.variant,
        outputs=kind,
        unanswered=int(np.count_nonzero(outputs.prediction_N < 0)) if partial else 0,
        examples=examples,
        config=canonical_json(config),
    )


def _changes(source: _Source, target: _Target) -> list[str]:
    """What is wrong when a variant of this name was imported before, and was another one."""
    before = target.lock.results.get(target.dataset, {}).get(source.variant, source.key)
    if before == source.key or before[:16] not in target.store.result_names(target.dataset):
        return []
    return [
        f"'{source.path}': variant '{source.variant}' has changed since it was imported; say --replace to take the new "
        "one, or give it another name"
    ]


def _fingerprint(target: _Target) -> str:
    facts = target.lock.datasets.get(target.dataset)
    return facts.splits["test"].fingerprint if facts else ""


def _lock_with(
    target: _Target, sources: Sequence[_Source], attributes: Mapping[str, Variant] | None, problems: list[str]
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


def _fill(target: _Target, sources: Sequence[_Source], lock: LockFile, columns: Mapping[str, str]) -> Imported:
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


def _commit(target: _Target, sources: Sequence[_Source], lock: LockFile, columns: Mapping[str, str]) -> None:
    """Writes the results of one file."""
    variants = {variant.name: variant for variant in lock.variants}
    tables = {table.variant: table for table in read_tables(sources[0].path, columns)}
    footer = {"overlap_version": version("overlap"), "source": sources[0].path.name}
    for source in sources:
        table = tables[source.variant]
        outputs = read_outputs(sorted_rows(table), source.examples, target.class_names)
        if _source(table, outputs, source.examples, target).key != source.key:
            raise ArgumentError(f"'{source.path}' has changed while it was imported; import it again")
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


def _listed(problems: Sequence[str]) -> str:
    """All problems of the files as one message."""
    if len(problems) == 1:
        return f"{problems[0]}\nnothing was imported"
    more = [f"and {len(problems) - _SHOWN:,} more"] if len(problems) > _SHOWN else []
    return "\n  ".join([f"{len(problems):,} problems, nothing was imported:", *problems[:_SHOWN], *more])
