"""Every table of every file is checked against the examples and classes that all of them share."""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from overlap.errors import ArgumentError
from overlap.imports.classes import Found, choose_classes, find_classes
from overlap.imports.examples import Examples, differences, read_examples
from overlap.imports.files import Table, read_tables
from overlap.imports.outputs import content_hash, read_outputs
from overlap.imports.rows import sorted_rows
from overlap.store import LockFile, Outputs, PartialPredictions, Predictions, Store
from overlap.variants import SCHEMA_VERSION, canonical_json, key_of

_SHOWN = 20


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Target:
    """What the files are to fit to; `stored` are the examples of earlier imports, None if there are none."""

    store: Store
    lock: LockFile
    dataset: str
    class_names: tuple[str, ...]
    stored: Examples | None

    @property
    def fingerprint(self) -> str:
        """Of the examples of earlier imports; empty if there were none."""
        facts = self.lock.datasets.get(self.dataset)
        return facts.splits["test"].fingerprint if facts else ""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Source:
    """A variant that was read and found good: where it is, and the configuration whose hash is its key."""

    path: Path
    variant: str
    outputs: Outputs
    unanswered: int
    examples: Examples
    config: str

    @property
    def key(self) -> str:
        """The key of its result."""
        return key_of(self.config)


def find_class_names(
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
        raise ArgumentError(refusal(problems or ["the files hold no labels"]))
    return known or choose_classes(found), problems


def check_all(
    files: Sequence[Path], columns: Mapping[str, str], target: Target, problems: list[str], *, replace: bool
) -> list[Source]:
    """Everything that is good; what is wrong with the rest joins the problems."""
    sources: dict[str, Source] = {}
    expected, place = target.stored, f"'{target.dataset}' in the store"
    for table in _tables(files, columns):
        source, wrong = _check(table, target, expected, place)
        if table.variant in sources:
            twin = sources[table.variant].path
            wrong = [f"{table.place}: variant '{table.variant}' is also in '{twin}'; expected each one once"]
        if source and not replace:
            wrong += _changes(source, target)
        problems += wrong
        if source and not wrong:
            sources[source.variant] = source
        if source and expected is None:
            expected, place = source.examples, table.place
    if expected and target.fingerprint not in ("", expected.fingerprint):  # the store has lost its examples
        problems.append(f"the examples or labels are others than those of '{target.dataset}' in the store")
    return list(sources.values())


def _tables(files: Sequence[Path], columns: Mapping[str, str]) -> Iterator[Table]:
    """The tables of all files; those that cannot be read were told of when their classes were wanted."""
    for path in files:
        with contextlib.suppress(ArgumentError):
            yield from read_tables(path, columns)


def _check(table: Table, target: Target, expected: Examples | None, place: str) -> tuple[Source | None, list[str]]:
    """A table as a source, None if it cannot be one, and what is wrong with it."""
    rows, problems = sorted_rows(table), []
    try:
        examples = read_examples(rows, target.class_names)
    except ArgumentError as error:
        return None, [str(error)]
    if expected:
        problems = [f"{table.place} {difference}" for difference in differences(examples, expected, place)]
        examples = examples if problems else expected  # kept once, not once a variant
    try:
        outputs = read_outputs(rows, examples, target.class_names)
    except ArgumentError as error:
        return None, [*problems, str(error)]
    return source_of(table, outputs, examples, target), problems


def source_of(table: Table, outputs: Predictions | PartialPredictions, examples: Examples, target: Target) -> Source:
    """The source that a table's outputs make."""
    kind, unanswered = Outputs.LOGITS, 0
    if isinstance(outputs, PartialPredictions):
        kind, unanswered = outputs.outputs, int(np.count_nonzero(outputs.prediction_N < 0))
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
    return Source(
        path=table.path,
        variant=table.variant,
        outputs=kind,
        unanswered=unanswered,
        examples=examples,
        config=canonical_json(config),
    )


def _changes(source: Source, target: Target) -> list[str]:
    """What is wrong when a variant of this name was imported before, and was another one."""
    before = target.lock.results.get(target.dataset, {}).get(source.variant, source.key)
    if before == source.key or before[:16] not in target.store.result_names(target.dataset):
        return []
    return [
        f"'{source.path}': variant '{source.variant}' has changed since it was imported; say --replace to take the new "
        "one, or give it another name"
    ]


def refusal(problems: Sequence[str]) -> str:
    """All problems of the files as one message."""
    if len(problems) == 1:
        return f"{problems[0]}\nnothing was imported"
    more = [f"and {len(problems) - _SHOWN:,} more"] if len(problems) > _SHOWN else []
    return "\n  ".join([f"{len(problems):,} problems, nothing was imported:", *problems[:_SHOWN], *more])
