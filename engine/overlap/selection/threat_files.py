"""The threats to ensembles on every chunk of examples: found by tasks, kept in the store for the next selection.

Array names: V variants, N examples of a chunk, U places, C classes.
"""

import io
import tempfile
import zipfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields

import numpy as np
import polars as pl
from numpy.typing import NDArray

from overlap.outcomes import Outcomes
from overlap.score_files import (
    BYTES_A_ROW,
    Chunk,
    Scale,
    ScoreFiles,
    StoredScores,
    WholeRows,
    contenders,
    plan_chunks,
    read_tops,
    score_files,
)
from overlap.store import Objects, Store
from overlap.tasks import Tasks
from overlap_analysis import ScoredBlock, Threats, find_threats

_BYTES_PACKED = 64  # of a variant and an example


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ThreatWork:
    """What every chunk's threats are found with. `objects` opens the store where a task runs."""

    objects: Callable[[], Objects]
    files: ScoreFiles
    labels_N: NDArray[np.int32]
    scale: Scale
    beats: int
    threads: int


def threat_blocks(
    store: Store,
    outcomes: Outcomes,
    objects: Callable[[], Objects],
    tasks: Tasks,
    *,
    calibrated: bool,
    beats: int,
    memory_bytes: float,
) -> list[ScoredBlock]:
    """All examples in blocks, each with its threats: those that the store keeps, or found anew and kept.

    Args:
        store: to keep them in.
        outcomes: of the variants to select from.
        objects: opens the store where a task runs.
        tasks: where to find them.
        calibrated: whether logits are divided by their temperature.
        beats: classes that must lead for an ensemble to be wrong.
        memory_bytes: what they may take in memory; more is mapped from temporary files, and not kept in the store.
    """
    files = score_files(outcomes, range(len(outcomes.variants)))
    examples, variants = len(outcomes.labels_N), len(outcomes.variants)
    scale = Scale(probabilities=True, calibrated=calibrated)
    table = f"greedy_threats_{'calibrated' if calibrated else 'raw'}_{beats}"
    keys = dict(zip(outcomes.names, outcomes.keys, strict=True))
    held = _Held(memory_bytes)
    found = _known_threats(store, outcomes.dataset, table, keys, examples, held)
    if found is None:
        work = ThreatWork(
            objects=objects, files=files, labels_N=outcomes.labels_N, scale=scale, beats=beats, threads=tasks.threads
        )
        bytes_an_example = (BYTES_A_ROW + _BYTES_PACKED) * variants
        chunks = plan_chunks(examples, bytes_an_example=bytes_an_example, memory_bytes=memory_bytes)
        found, packed = [], tasks.map(pack_threats, chunks, work)
        frames = _frames(chunks, packed, held, found)
        if _BYTES_PACKED * variants * examples <= memory_bytes:
            store.write_analysis_parts(outcomes.dataset, table, frames, keys)
        for _ in frames:
            pass  # what is not written is found all the same
    return [
        ScoredBlock(
            threats=threats,
            scores=StoredScores(WholeRows(files, chunk, objects()), scale, np.arange(chunk.stop - chunk.start)),
        )
        for chunk, threats in found
    ]


def _frames(
    chunks: Sequence[Chunk], packed: Iterator[bytes], held: "_Held", found: list[tuple[Chunk, Threats]]
) -> Iterator[pl.DataFrame]:
    """The rows of the table, a chunk each; what passes is added to `found`."""
    for chunk, arrays in zip(chunks, packed, strict=True):
        found.append((chunk, held.keep(arrays)))
        yield pl.DataFrame({"start": [chunk.start], "stop": [chunk.stop], "arrays": [arrays]})


def pack_threats(chunk: Chunk, work: ThreatWork) -> bytes:
    """The threats of one chunk, from the likeliest classes of every result."""
    labels_N = work.labels_N[chunk.start : chunk.stop]
    tops = read_tops(work.files, chunk, work.objects(), threads=work.threads)
    kept = contenders(work.files, tops, labels_N, work.scale, threads=work.threads)
    threats = find_threats(kept, labels_N, classes=work.files.classes, beats=work.beats)
    buffer = io.BytesIO()
    np.savez(buffer, **{field.name: np.asarray(getattr(threats, field.name)) for field in fields(Threats)})  # type: ignore[arg-type]
    return buffer.getvalue()


def _known_threats(
    store: Store, dataset: str, table: str, keys: dict[str, str], examples: int, held: "_Held"
) -> list[tuple[Chunk, Threats]] | None:
    """What an earlier selection among exactly these variants has kept; None if it cannot be read any more."""
    if store.analysis_keys(dataset, table) != keys:
        return None
    frame = store.read_analysis(dataset, table)
    if frame is None or frame.is_empty() or frame["stop"].max() != examples:
        return None
    try:
        rows = frame.iter_rows(named=True)
        return [(Chunk(start=row["start"], stop=row["stop"]), held.keep(row["arrays"])) for row in rows]
    except (ValueError, KeyError, TypeError, OSError, zipfile.BadZipFile):
        return None


class _Held:
    """Threats in memory as long as there is room, then mapped from files that vanish with the process."""

    def __init__(self, memory_bytes: float) -> None:
        self.left = memory_bytes

    def keep(self, packed: bytes) -> Threats:
        with np.load(io.BytesIO(packed)) as arrays:
            values = {name: arrays[name] for name in arrays.files}
        self.left -= len(packed)
        if self.left < 0:
            values = {name: _mapped(array) for name, array in values.items()}
        return Threats(**{**values, "beats": int(values["beats"])})


def _mapped(array: NDArray[np.generic]) -> NDArray[np.generic]:
    if not array.size or not array.ndim:
        return array
    with tempfile.TemporaryFile() as file:  # the mapping keeps it
        kept = np.memmap(file, array.dtype, "w+", shape=array.shape)
    kept[:] = array
    return np.asarray(kept)
