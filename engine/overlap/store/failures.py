"""Failure: why a job did not make its result, as the store keeps it."""

import json
from dataclasses import asdict, dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """One failed attempt. `final` says that it was not tried again; `last_lines` end its trace."""

    variant: str
    stage: str
    dataset: str
    key: str
    attempt: int
    batch_size: int
    outcome: str
    cause: str
    last_lines: tuple[str, ...]
    node: str
    final: bool
    seconds: float


def encode_failure(failure: Failure) -> bytes:
    """The failure as readable JSON."""
    return (json.dumps(asdict(failure), indent=1, ensure_ascii=False) + "\n").encode()


def decode_failure(content: bytes) -> Failure:
    """The failure in its JSON."""
    raw = json.loads(content)
    return Failure(**{**raw, "last_lines": tuple(raw["last_lines"])})
