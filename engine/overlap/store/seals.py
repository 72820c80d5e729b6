"""Checksums over whole files, placed where every other reader passes them by.

Parquet is read from its end, where the footer says where all else lies: between the last page and the
footer there is room for a checksum of the whole file. Weights are plain safetensors, with theirs in the
header's `__metadata__`, over the header's other entries and the tensors.
"""

import hashlib
import json
from typing import Any

_PREFIX = b"overlap checkpoint, sha256 "
_WIDTH = 8  # of the length of a safetensors header
_MAGIC = b"overlap sha256: "
_SEAL_BYTES = len(_MAGIC) + 32
_TAIL_BYTES = 8  # a Parquet file ends with the length of its footer and its own magic


def seal_parquet(content: bytes) -> bytes:
    """A Parquet file with the checksum of all its bytes before the footer."""
    at = _footer_start(content)
    return content[:at] + _MAGIC + hashlib.sha256(content).digest() + content[at:]


def parquet_problem(content: bytes) -> str:
    """What is wrong with the bytes of a sealed Parquet file, or nothing; no changed bit escapes it."""
    end = _footer_start(content)
    at = end - _SEAL_BYTES
    if at < 0 or content[at : at + len(_MAGIC)] != _MAGIC:
        return "it is no whole Parquet file of ours"
    digest = hashlib.sha256(memoryview(content)[:at])
    digest.update(memoryview(content)[end:])
    return "" if digest.digest() == content[end - 32 : end] else "some of its bytes are not those that were written"


def _footer_start(content: bytes) -> int:
    length = int.from_bytes(content[-_TAIL_BYTES : -_TAIL_BYTES + 4], "little")
    return len(content) - _TAIL_BYTES - length


def seal_weights(content: bytes, key: str) -> bytes:
    """A safetensors file with its key and checksum in the metadata."""
    header, tensors = _split(content)
    header["__metadata__"] = {"key": key, "sha256": _weights_hash(header, tensors, key)}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % _WIDTH)  # tensors start at a multiple of eight
    return len(text).to_bytes(_WIDTH, "little") + text + tensors


def weights_problem(content: bytes, key: str) -> str:
    """What is wrong with a weights file that should have this key, or nothing; the key may be its first digits."""
    try:
        header, tensors = _split(content)
        sealed: Any = header["__metadata__"]
        found, checksum = str(sealed["key"]), str(sealed["sha256"])
    except (ValueError, KeyError, TypeError):
        return "it is no safetensors file of ours"
    if checksum != _weights_hash(header, tensors, found):
        return "its content is not what was written"
    return "" if found.startswith(key) else f"the name says key {key[:16]}, the file {found[:16]}"


def seal_checkpoint(content: bytes) -> bytes:
    """A checkpoint with its checksum in front."""
    return _PREFIX + hashlib.sha256(content).hexdigest().encode() + b"\n" + content


def unseal_checkpoint(sealed: bytes) -> bytes | None:
    """The checkpoint, or None if it is not as it was written: its training then starts anew."""
    checksum, _, content = sealed.partition(b"\n")
    return content if seal_checkpoint(content) == checksum + b"\n" + content else None


def _split(content: bytes) -> tuple[dict[str, object], bytes]:
    length = int.from_bytes(content[:_WIDTH], "little")
    header = json.loads(content[_WIDTH : _WIDTH + length])
    if not isinstance(header, dict):
        raise TypeError("expected a JSON object")
    return header, content[_WIDTH + length :]


def _weights_hash(header: dict[str, object], tensors: bytes, key: str) -> str:
    rest = {name: value for name, value in header.items() if name != "__metadata__"}
    digest = hashlib.sha256(key.encode() + json.dumps(rest, sort_keys=True).encode())
    digest.update(tensors)
    return digest.hexdigest()
