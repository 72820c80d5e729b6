"""The examples that all imported variants must cover: their names, in order, and their labels."""

import functools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from overlap.errors import ArgumentError
from overlap.imports.classes import class_numbers
from overlap.imports.rows import Rows, named
from overlap.store.schema import hash_ids, hash_labels
from overlap.variants import canonical_json, key_of


@dataclass(frozen=True, kw_only=True, eq=False)
class Examples:
    """N examples in the order of their names, which are Int64 or String and all different."""

    names: pl.Series
    labels_N: NDArray[np.int32]

    @property
    def ids_N(self) -> NDArray[np.int64]:  # noqa: N802 - carries its dimensions
        """What results call the examples: their numbers, or where they have names, their places in this order."""
        if self.names.dtype == pl.String:
            return np.arange(len(self.names), dtype=np.int64)
        return self.names.to_numpy().astype(np.int64)

    @functools.cached_property
    def fingerprint(self) -> str:
        """Hash of names and labels."""
        is_named = self.names.dtype == pl.String
        names = canonical_json(self.names.to_list()) if is_named else hash_ids(self.ids_N)
        return key_of(canonical_json([names, hash_labels(self.labels_N)]))


def examples_from(names: Sequence[object], labels_N: NDArray[np.int32]) -> Examples:
    """The examples of an earlier import, as the store keeps them."""
    return Examples(names=pl.Series("example", names), labels_N=labels_N)


def read_examples(rows: Rows, classes: Sequence[str]) -> Examples:
    """The examples of a table.

    Raises:
        ArgumentError: an example has no name or is there twice, or a label is no class.
    """
    names = rows.frame["example"]
    rows.require(names.is_not_null().to_numpy(), lambda _: "expected the number or name of an example, got nothing")
    twice = names.filter(names.is_duplicated()).unique(maintain_order=True)
    if len(twice):
        raise ArgumentError(f"{rows.table.place}: expected each example once, got more of {named(twice)}")
    labels = rows.frame["label"]
    numbers_N = class_numbers(labels, classes).fill_null(-1).to_numpy()
    rows.require(
        numbers_N >= 0,
        lambda i: f"expected a label {within(classes)}, got {labels[i] if labels[i] is not None else ''!r}",
    )
    return Examples(names=names, labels_N=numbers_N.astype(np.int32))


def within(classes: Sequence[str]) -> str:
    """What a class may be, in a few words."""
    if all(name == str(number) for number, name in enumerate(classes)):
        return f"from 0 to {len(classes) - 1}"
    return f"of the {len(classes):,} classes such as {classes[0]!r}, or its number"


def differences(examples: Examples, expected: Examples, place: str) -> Iterator[str]:
    """What is missing, too many or labelled otherwise; `place` is where the expected examples are."""
    if examples.names.dtype != expected.names.dtype:
        own, others = ("names" if one.names.dtype == pl.String else "numbers" for one in (examples, expected))
        yield f"has {own} as examples, {place} has {others}"
        return
    if examples.names.equals(expected.names) and np.array_equal(examples.labels_N, expected.labels_N):
        return
    missing = expected.names.filter(~expected.names.is_in(examples.names.implode()))
    extra = examples.names.filter(~examples.names.is_in(expected.names.implode()))
    if len(missing):
        yield f"lacks examples that {place} has: {named(missing)}"
    if len(extra):
        yield f"has examples that {place} has not: {named(extra)}"
    labelled = [pl.DataFrame({"name": one.names, "label": one.labels_N}) for one in (examples, expected)]
    both = labelled[0].join(labelled[1], on="name", maintain_order="left")
    unlike = both.filter(pl.col("label") != pl.col("label_right"))
    if unlike.height:
        name, label, other = unlike.row(0)
        yield (
            f"labels examples otherwise than {place}: {named(unlike['name'])}; "
            f"expected class {other} for {name!r}, got {label}"
        )
