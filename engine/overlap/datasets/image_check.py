"""Images that no model should see: unreadable ones, bombs, and copies whose labels contradict each other."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from time import monotonic

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from overlap.datasets import Examples, Split, load_dataset, load_examples
from overlap.datasets.encoded import EncodedPictures, decode
from overlap.datasets.index import UNREADABLE, sha256_threads
from overlap.datasets.sealed_tables import held, read_sealed, write_sealed
from overlap.errors import DatasetError
from overlap.spec import DatasetSpec

_VERSION = 1  # of what is looked for
_SCHEMA = pa.schema([("digest", pa.binary(32)), ("reason", pa.string())])
_SHOWN = 5
_AT_ONCE = 64
_SAVE_EVERY_S = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class BadImage:
    """An example that must not be used, where its image lies, and why."""

    id: int
    where: str
    reason: str


def sound_dataset(spec: DatasetSpec, cache: Path | None) -> tuple[DatasetSpec, list[str]]:
    """The dataset without its bad images, if they may be skipped, and what a user should know of its images.

    Raises:
        DatasetError: the dataset cannot be read, or has bad images that must not be skipped.
    """
    examples = load_examples(spec, cache)
    found = check_images(examples, cache=cache, threads=sha256_threads())
    kept = skip_or_fail(spec, found)
    return kept, [*_skip_notes(found), *_copy_notes(kept, examples, cache)]


def check_images(examples: Examples, *, cache: Path | None, threads: int) -> list[BadImage]:
    """The bad examples of a source, by id.

    Every image is decoded once, JPEGs at an eighth of their size; what was found is remembered by the digest of its
    bytes, so that a second check decodes nothing. Byte-identical images with different labels are all bad.

    Raises:
        DatasetError: a file changes meanwhile.
    """
    codes_N, count = _same_bytes(examples.digests_N)
    reasons = dict(_contradictions(examples, codes_N, count))
    if isinstance(examples.pictures, EncodedPictures):
        reasons |= _unreadable(examples.pictures, codes_N, cache, threads)
    ids = examples.ids_N
    found = [
        BadImage(id=int(ids[position]), where=_where(examples, position), reason=reason)
        for position, reason in reasons.items()
    ]
    return sorted(found, key=lambda bad: bad.id)


def skip_or_fail(spec: DatasetSpec, found: Sequence[BadImage]) -> DatasetSpec:
    """The dataset without these examples.

    Raises:
        DatasetError: there are some, and `on_bad_image` is `fail`.
    """
    if not found:
        return spec
    if spec.on_bad_image == "fail":
        shown = "; ".join(f"{bad.where}: {bad.reason}" for bad in found[:_SHOWN]) + (" …" if found[_SHOWN:] else "")
        count = "1 bad image" if len(found) == 1 else f"{len(found):,} bad images"
        raise DatasetError(
            f"{count} in '{spec.source}': {shown}. Mend or remove, or write on_bad_image: skip to leave out",
            key="on_bad_image",
        )
    return replace(spec, skip=tuple(sorted({*spec.skip, *(bad.id for bad in found)})))


def find_duplicates(examples: Examples, without: Sequence[int] = ()) -> list[tuple[int, ...]]:
    """Ids of byte-identical images that have the same label, each group in order; it is for the user to judge.

    Args:
        examples: what is searched.
        without: ids of examples that do not count.
    """
    codes_N, count = _same_bytes(examples.digests_N)
    codes_N[np.isin(examples.ids_N, without)] = count
    often_N = np.bincount(codes_N, minlength=count + 1)[codes_N] > 1
    positions = np.flatnonzero(often_N & (codes_N < count))
    groups: dict[tuple[int, int], list[int]] = {}
    for code, label, i in zip(codes_N[positions], examples.labels_N[positions], examples.ids_N[positions], strict=True):
        groups.setdefault((int(code), int(label)), []).append(int(i))
    return sorted(tuple(sorted(group)) for group in groups.values() if len(group) > 1)


def shared_images(a: Split, b: Split) -> list[tuple[int, int]]:
    """Pairs of ids, one of each split, whose images are byte-identical: what leaks from training into a test."""
    first = {digest.tobytes(): i for digest, i in zip(reversed(a.digests_N), reversed(a.ids_N.tolist()), strict=True)}
    pairs = ((first.get(digest.tobytes()), i) for digest, i in zip(b.digests_N, b.ids_N.tolist(), strict=True))
    return [(one, other) for one, other in pairs if one is not None]


def _skip_notes(found: Sequence[BadImage]) -> Iterator[str]:
    if found:
        yield f"{len(found):,} left out as bad, the first {found[0].where}: {found[0].reason}"


def _copy_notes(spec: DatasetSpec, examples: Examples, cache: Path | None) -> Iterator[str]:
    copies = find_duplicates(examples, spec.skip)
    if copies:
        some = ", ".join(str(i) for i in copies[0])
        yield f"{sum(map(len, copies)):,} images are copies of {len(copies):,} under the same label, such as {some}"
        splits = load_dataset(spec, cache).splits
        for name, split in splits.items():
            shared = shared_images(splits["train"], split) if "train" in splits and name != "train" else []
            if shared:
                yield f"{len(shared):,} images of {name} are also in train, such as {shared[0][1]}"


def _same_bytes(digests_N: NDArray[np.uint8]) -> tuple[NDArray[np.int64], int]:
    """A number for each image, equal for equal bytes, and how many numbers there are."""
    digests = pa.FixedSizeBinaryArray.from_buffers(
        pa.binary(32), len(digests_N), [None, pa.py_buffer(np.ascontiguousarray(digests_N))]
    )
    encoded = digests.dictionary_encode()
    return encoded.indices.to_numpy().astype(np.int64), len(encoded.dictionary)


def _contradictions(examples: Examples, codes_N: NDArray[np.int64], count: int) -> Iterator[tuple[int, str]]:
    """Positions of images that also occur with another label."""
    least, most = np.full(count, np.iinfo(np.int32).max, np.int32), np.full(count, -1, np.int32)
    np.minimum.at(least, codes_N, examples.labels_N)
    np.maximum.at(most, codes_N, examples.labels_N)
    for position in np.flatnonzero((least != most)[codes_N]).tolist():
        code = codes_N[position]
        names = f"'{examples.class_names[least[code]]}' and '{examples.class_names[most[code]]}'"
        yield position, f"the same bytes are labelled {names}"


def _unreadable(
    pictures: EncodedPictures, codes_N: NDArray[np.int64], cache: Path | None, threads: int
) -> dict[int, str]:
    """Positions of images that cannot be decoded, and why."""
    place = cache / "checked" / f"{_VERSION}-pillow-{version('pillow')}.sealed" if cache else None
    table = read_sealed(place, _SCHEMA) if place else _SCHEMA.empty_table()
    known = dict(zip(table["digest"].to_pylist(), table["reason"].to_pylist(), strict=True))
    digests = [digest.tobytes() for digest in pictures.digests_N]
    lost = [position for position, digest in enumerate(digests) if digest == UNREADABLE]
    first = np.unique(codes_N, return_index=True)[1].tolist()
    new = [position for position in first if digests[position] not in known and digests[position] != UNREADABLE]
    saved = monotonic()
    with ThreadPoolExecutor(threads) as pool:
        parts = [new[i : i + _AT_ONCE] for i in range(0, len(new), _AT_ONCE)]
        for part, reasons in zip(
            parts, pool.map(lambda some: [_reason(pictures, p) for p in some], parts), strict=True
        ):
            known |= {digests[position]: reason for position, reason in zip(part, reasons, strict=True)}
            if place and monotonic() - saved > _SAVE_EVERY_S:  # an interrupted launch goes on from here
                _remember(place, known)
                saved = monotonic()
    if place and new:
        _remember(place, known)
    bad = {position: reason for position, digest in enumerate(digests) if (reason := known.get(digest, ""))}
    return bad | {position: _loss(pictures, position) for position in lost}


def _reason(pictures: EncodedPictures, position: int) -> str:
    """Why an image cannot be decoded; empty if it can."""
    try:
        decode(pictures.read(position), draft=True)
    except OSError as error:
        return str(error)
    return ""


def _loss(pictures: EncodedPictures, position: int) -> str:
    try:
        pictures.source.read(position)
    except OSError as error:
        return f"it cannot be read: {error.strerror or error}"
    raise DatasetError(f"'{pictures.where(position)}' appeared while the images were read: launch again", key="source")


def _remember(place: Path, known: dict[bytes, str]) -> None:
    """Adds what was found to what other processes have found meanwhile."""
    with held(place):
        table = read_sealed(place, _SCHEMA)
        every = dict(zip(table["digest"].to_pylist(), table["reason"].to_pylist(), strict=True)) | known
        write_sealed(place, pa.table({"digest": list(every), "reason": list(every.values())}, schema=_SCHEMA))


def _where(examples: Examples, position: int) -> str:
    pictures = examples.pictures
    return pictures.where(position) if isinstance(pictures, EncodedPictures) else f"example {examples.ids_N[position]}"
