"""Files of weights: found in a folder or bucket, brought to this node, and the ones that the sweep was planned with."""

import contextlib
import errno
import hashlib
import os
import shutil
import tempfile
from collections.abc import Container, Iterator
from pathlib import Path
from typing import IO

import safetensors

from overlap.errors import StoreFullError
from overlap.store.addresses import open_objects
from overlap.store.local import LocalObjects
from overlap.store.objects import MissingObjectError, Objects
from overlap.variants import Weights

HUB = "hub"
DIGEST = "sha256:"
STAMP = "stamp:"
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
_CHUNK = 1 << 23
_SHOWN = 240


def mirror_names(name: str) -> tuple[str, ...]:
    """The files of a folder or bucket that may hold a pretrained weight, best first.

    Those of timm have timm's name, or are what `huggingface-cli download timm/NAME --local-dir NAME` leaves;
    those of open_clip have `architecture/tag`, or are such a download into that folder.

    >>> mirror_names("resnet50.a1_in1k")[:2]
    ('resnet50.a1_in1k.safetensors', 'resnet50.a1_in1k/model.safetensors')
    >>> mirror_names("RN50/openai")[1:]
    ('RN50/openai/open_clip_model.safetensors', 'RN50.openai.safetensors')
    """
    if "/" in name:  # open_clip's
        return f"{name}.safetensors", f"{name}/open_clip_model.safetensors", f"{name.replace('/', '.')}.safetensors"
    folders = ("", "timm/")
    return tuple(f"{folder}{name}{end}" for folder in folders for end in (".safetensors", "/model.safetensors"))


def mirrored_name(held: Container[str], name: str) -> str | None:
    """The file that holds a pretrained weight, of those that a mirror has; None if none does.

    >>> mirrored_name({"timm/resnet50.a1_in1k.safetensors"}, "resnet50.a1_in1k")
    'timm/resnet50.a1_in1k.safetensors'
    """
    return next((place for place in mirror_names(name) if place in held), None)


def open_mirror(source: str) -> Objects:
    """A folder or bucket with files of weights, which is no store.

    Raises:
        ValueError: there is no such folder here.
        StoreMismatchError: the address is of no kind we know, or holds a secret.
    """
    if "://" in source:
        return open_objects(source)
    if not Path(source).is_dir():
        raise ValueError(f"weights: '{source}' is no folder of this machine")
    return LocalObjects(Path(source).absolute())


def fetch_weights(weights: Weights, *, cache: Path) -> Path:
    """A mirror's file of pretrained weights, as a file of this node.

    A folder's file is read where it is; a bucket's is kept in `cache/weights`. A revision is `sha256:…`, or
    `stamp:…` for an object of a bucket; any other says nothing about the bytes.

    Raises:
        ValueError: the mirror has no such file, or another one than the revision says.
        StoreError: the bucket cannot be read, or this node's disk is full.
    """
    mirror, revision = open_mirror(weights.source), weights.revision
    if not isinstance(mirror, LocalObjects):
        return _fetch_from_bucket(mirror, weights, cache=cache)
    path = next((mirror.root / name for name in mirror_names(weights.name) if (mirror.root / name).is_file()), None)
    if path is None:
        raise _not_there(weights)
    check_digest(path, revision)
    return path


def check_digest(path: Path, revision: str, *, shown: str = "") -> None:
    """Compares a file with a revision `sha256:…`; any other revision says nothing about its bytes.

    Raises:
        ValueError: the file is another one. `shown` is what the message calls it, by default its path.
    """
    if revision.startswith(DIGEST):
        _check(shown or str(path), revision, file_digest(path))


def file_digest(path: Path) -> str:
    """The revision of a file: `sha256:` and 64 hexadecimal digits."""
    with path.open("rb") as file:
        return DIGEST + hashlib.file_digest(file, "sha256").hexdigest()


@contextlib.contextmanager
def blamed(file: Path | None, name: str) -> Iterator[None]:
    """Turns what a library says about a mirror's file that does not fit its model into one line; None: no mirror's.

    Raises:
        ValueError: the block has failed while it read the file.
    """
    try:
        yield
    except (RuntimeError, KeyError, safetensors.SafetensorError) as error:
        if file is None:
            raise
        words = " ".join(str(error).split())
        shown = f"{words[:_SHOWN]} …" if len(words) > _SHOWN else words
        raise ValueError(f"'{file}' is no file of {name}: {shown}") from error


@contextlib.contextmanager
def published(path: Path) -> Iterator[IO[bytes]]:
    """A private file to write, which takes its name when the block ends well and vanishes otherwise.

    Raises:
        StoreFullError: there is no space left on this node.
    """
    temporary = None
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=".", suffix=".tmp", delete=False) as file:
            temporary = Path(file.name)
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        if error.errno in _FULL:
            raise StoreFullError(f"cannot write '{path}' on this node: {error.strerror}") from error
        raise
    finally:
        if temporary:
            temporary.unlink(missing_ok=True)


def _fetch_from_bucket(mirror: Objects, weights: Weights, *, cache: Path) -> Path:
    revision = weights.revision
    identity = hashlib.sha256(f"{mirror.url}\n{weights.name}\n{revision}".encode()).hexdigest()
    kept = cache / "weights" / f"{identity}.safetensors"
    if kept.is_file() and (not revision.startswith(DIGEST) or file_digest(kept) == revision):
        return kept
    for name in mirror_names(weights.name):
        with contextlib.suppress(MissingObjectError), mirror.open(name) as remote, published(kept) as file:
            shutil.copyfileobj(remote, file, _CHUNK)
            file.flush()
            check_digest(Path(file.name), revision, shown=f"{mirror.url}/{name}")
            if revision.startswith(STAMP):
                stamps = mirror.stamps(name.rpartition("/")[0])
                _check(f"{mirror.url}/{name}", revision, STAMP + stamps.get(name, ""))
            return kept
    raise _not_there(weights)


def _check(shown: str, revision: str, found: str) -> None:
    if found != revision:
        known = f"expected {_short(revision)}, got {_short(found)}"
        raise ValueError(
            f"'{shown}' changed since the sweep was planned ({known}): "
            "bring the old file back, or launch the sweep file again"
        )


def _not_there(weights: Weights) -> ValueError:
    first, *others = mirror_names(weights.name)
    return ValueError(f"'{weights.source}' has no file '{first}', nor {', '.join(others)}")


def _short(revision: str) -> str:
    kind, _, rest = revision.partition(":")
    return f"{kind}:{rest[:12]}…"
