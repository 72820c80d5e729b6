"""The integer scores of every variant's likeliest classes, read from the stored results some examples at a time.

Array names: V variants, N examples of a chunk, K kept classes, U chosen rows of it, C classes.
"""

import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise
from threading import Lock

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from overlap.outcomes import Outcomes
from overlap.store import Objects, Outputs, Store
from overlap.store.schema import ROW_GROUP, matrix
from overlap_analysis import NOTHING, Contenders, contenders_of_top, logit_scores, probability_scores

BYTES_A_ROW = 200  # of one variant, while its rows become contenders
_NOBODY, _ABSTAINED = -1, 2**31 - 1  # as classes
_PARTITIONS = ("log_partition", "calibrated_log_partition")
_COLUMNS = ("label_logit", "top_classes", "top_logits", *_PARTITIONS)


@dataclass(frozen=True, slots=True, kw_only=True)
class Chunk:
    """Examples [start, stop) of a dataset, which lie in one row group of every file."""

    start: int
    stop: int

    @property
    def group(self) -> int:
        """The row group."""
        return self.start // ROW_GROUP

    @property
    def rows(self) -> slice:
        """Its rows within the row group."""
        first = self.group * ROW_GROUP
        return slice(self.start - first, self.stop - first)


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """How logits become scores: as probabilities or as they are, over each variant's temperature or raw."""

    probabilities: bool
    calibrated: bool


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ScoreFiles:
    """Where the scores of V variants lie. `complete_V` says whose files hold every class, not only the likeliest."""

    result_names: tuple[str, ...]
    logits_names: tuple[str, ...]
    temperature_V: NDArray[np.float64]
    complete_V: NDArray[np.bool_]
    classes: int


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Tops:
    """What a result says of the likeliest K classes on the N examples of a chunk."""

    label_logit_N: NDArray[np.float16]
    top_classes_NK: NDArray[np.integer]
    top_logits_NK: NDArray[np.float16]
    partitions: "_Partitions"


@dataclass(frozen=True, slots=True, eq=False)
class _Partitions:
    """Logarithms of the sums over all classes, by raw logits and by those over the temperature."""

    raw_N: NDArray[np.float64]
    calibrated_N: NDArray[np.float64]


def plan_chunks(examples: int, *, bytes_an_example: float, memory_bytes: float) -> list[Chunk]:
    """Cuts the examples so that a chunk takes about this much memory, and lies in one row group."""
    rows = int(np.clip(memory_bytes // max(bytes_an_example, 1), 1, ROW_GROUP))
    chunks = []
    for first in range(0, examples, ROW_GROUP):
        last = min(first + ROW_GROUP, examples)
        parts = -(-(last - first) // rows)
        edges = np.linspace(first, last, parts + 1).astype(int).tolist()
        chunks += [Chunk(start=start, stop=stop) for start, stop in pairwise(edges)]
    return chunks


def in_units(chunks: Sequence[Chunk], *, bytes_an_example: float, memory_bytes: float) -> list[tuple[Chunk, ...]]:
    """Neighbors of one row group that share what is read of it, as long as that takes about this much memory."""
    units: list[tuple[Chunk, ...]] = []
    for chunk in chunks:
        last = units[-1] if units else ()
        fits = last and (chunk.stop - last[0].start) * bytes_an_example <= memory_bytes
        if fits and last[0].group == chunk.group:
            units[-1] = (*last, chunk)
        else:
            units.append((chunk,))
    return units


def read_tops(files: ScoreFiles, chunk: Chunk, objects: Objects, *, threads: int) -> list[Tops]:
    """Reads the columns of a chunk from every result."""
    store = Store(objects)

    def read(name: str) -> Tops:
        whole = store.read(name, columns=list(_COLUMNS), groups=[chunk.group]).table
        table = whole.slice(chunk.rows.start, chunk.stop - chunk.start)
        return Tops(
            label_logit_N=table.column("label_logit").to_numpy(),
            top_classes_NK=matrix(table, "top_classes").astype(np.int32),
            top_logits_NK=matrix(table, "top_logits").astype(np.float16, copy=False),
            partitions=_Partitions(*(table.column(name).to_numpy() for name in _PARTITIONS)),
        )

    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(read, files.result_names))


def contenders(
    files: ScoreFiles, tops: Sequence[Tops], labels_N: NDArray[np.int32], scale: Scale, *, threads: int
) -> Contenders:
    """The label and its strongest rivals on the grid of a scale.

    Of a variant that is not complete, the classes that are not known have no probability.
    """
    widest = max(top.top_classes_NK.shape[1] for top in tops)
    kept = _empty_contenders(len(tops), len(labels_N), widest)

    def fill(v: int) -> None:
        top = tops[v]
        logits = np.concatenate([top.label_logit_N[:, None], top.top_logits_NK], axis=1)
        scores = _scores(files, v, top.partitions, logits, slice(None), scale)
        own = contenders_of_top(
            top.top_classes_NK[None], scores[None, :, 1:], scores[None, :, 0], labels_N, classes=files.classes
        )
        known = top.top_classes_NK.shape[1]
        kept.label_VN[v], kept.rest_VN[v] = own.label_VN[0], own.rest_VN[0]
        kept.score_VNK[v, :, :known], kept.class_VNK[v, :, :known] = own.score_VNK[0], own.class_VNK[0]
        if not files.complete_V[v]:
            kept.rest_VN[v] = np.minimum(own.rest_VN[0], 0)

    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(fill, range(len(tops))))
    return kept


def votes(predictions_VN: NDArray[np.integer], labels_N: NDArray[np.int32]) -> Contenders:
    """What is left of the scores where members vote: 1 for the prediction; an unknown one gives way to any other."""
    right_VN = predictions_VN == labels_N
    variants, examples = predictions_VN.shape
    kept = _empty_contenders(variants, examples, 1)
    kept.label_VN[:], kept.rest_VN[:] = right_VN, 0
    kept.score_VNK[:, :, 0] = np.where(right_VN, 0, 1)
    rivals_VN = np.where(predictions_VN < 0, np.int32(_ABSTAINED), predictions_VN.astype(np.int32))
    kept.class_VNK[:, :, 0] = np.where(right_VN, _NOBODY, rivals_VN)
    return kept


class WholeRows:
    """The scores of all classes in rows of a chunk; a variant's are read when they are first asked for.

    They wait in a temporary file, because a row group is read whole, and its rows are asked for a few at a time.
    Threads may share it.
    """

    def __init__(self, files: ScoreFiles, chunk: Chunk, objects: Objects) -> None:
        self.files, self.chunk, self.store = files, chunk, Store(objects)
        self.known: dict[int, _Rows] = {}
        self.lock, self.locks = Lock(), dict[int, Lock]()

    def scores(self, v: int, rows_U: NDArray[np.integer], scale: Scale) -> NDArray[np.int32]:
        """(U, C) of one variant."""
        return self._scores(v, rows_U, slice(None), scale)

    def scores_at(
        self, v: int, rows_U: NDArray[np.integer], class_U: NDArray[np.integer], scale: Scale
    ) -> NDArray[np.int32]:
        """(U,) of one variant, of a class a row."""
        return self._scores(v, rows_U, class_U, scale)[:, 0]

    def _scores(
        self, v: int, rows_U: NDArray[np.integer], classes: slice | NDArray[np.integer], scale: Scale
    ) -> NDArray[np.int32]:
        with self.lock:
            lock = self.locks.setdefault(v, Lock())
        with lock:
            if v not in self.known:
                self.known[v] = self._read(v)
        known = self.known[v]
        logits = known.logits_NC[rows_U, classes]
        logits_UK = logits[:, None] if logits.ndim == 1 else logits
        return _scores(self.files, v, known.partitions, logits_UK, rows_U, scale)

    def _read(self, v: int) -> "_Rows":
        names, group = list(_COLUMNS if not self.files.complete_V[v] else _PARTITIONS), [self.chunk.group]
        stored = self.store.read(self.files.result_names[v], columns=names, groups=group).table
        result = stored.slice(self.chunk.rows.start, self.chunk.stop - self.chunk.start)
        partitions = _Partitions(*(result.column(name).to_numpy() for name in _PARTITIONS))
        if not self.files.complete_V[v]:
            return _Rows(_known_logits(result, self.files.classes), partitions)
        table = self.store.read(self.files.logits_names[v], columns=["logits"], groups=group).table
        logits_NC = matrix(table, "logits")[self.chunk.rows]
        with tempfile.TemporaryFile() as file:  # the mapping keeps it
            kept: NDArray[np.float16] = np.memmap(file, np.float16, "w+", shape=logits_NC.shape)
        kept[:] = logits_NC
        return _Rows(kept, partitions)


class StoredScores:
    """The scores of one scale on some rows of a chunk, as analyses ask for them."""

    def __init__(self, whole: WholeRows, scale: Scale, rows_N: NDArray[np.int64]) -> None:
        self.whole, self.scale, self.rows_N = whole, scale, rows_N

    def at(self, variant: int, example_U: NDArray[np.int64], class_U: NDArray[np.integer]) -> NDArray[np.int32]:
        """(U,) scores of single classes."""
        return self.whole.scores_at(variant, self.rows_N[example_U], class_U, self.scale)

    def rows(self, variant: int, example_U: NDArray[np.int64]) -> NDArray[np.int32]:
        """(U, C) scores of all classes."""
        return self.whole.scores(variant, self.rows_N[example_U], self.scale)


@dataclass(frozen=True, slots=True, eq=False)
class _Rows:
    logits_NC: NDArray[np.float16]
    partitions: "_Partitions"


def _known_logits(result: pa.Table, classes: int) -> NDArray[np.float16]:
    """(N, C) logits of the likeliest classes; the others have no probability."""
    top_classes_NK = matrix(result, "top_classes").astype(np.int64)
    logits_NC = np.full((len(top_classes_NK), classes), -np.inf, np.float16)
    np.put_along_axis(logits_NC, top_classes_NK, matrix(result, "top_logits").astype(np.float16), axis=1)
    return logits_NC


def read_grid(files: ScoreFiles, chunk: Chunk, objects: Objects, scale: Scale) -> NDArray[np.int32]:
    """(V, N, C) scores of all classes on the examples of a chunk."""
    whole, rows_N = WholeRows(files, chunk, objects), np.arange(chunk.stop - chunk.start)
    return np.stack([whole.scores(v, rows_N, scale) for v in range(len(files.result_names))])


def score_files(outcomes: Outcomes, variants: Sequence[int]) -> ScoreFiles:
    """The files of some variants."""
    return ScoreFiles(
        result_names=tuple(outcomes.result_names[v] for v in variants),
        logits_names=tuple(outcomes.logits_names[v] for v in variants),
        temperature_V=outcomes.temperature_V[list(variants)],
        complete_V=np.array([outcomes.outputs[v] is Outputs.LOGITS for v in variants]),
        classes=len(outcomes.class_names),
    )


def _scores(
    files: ScoreFiles,
    v: int,
    partitions: _Partitions,
    logits_UK: NDArray[np.float16],
    rows_U: slice | NDArray[np.integer],
    scale: Scale,
) -> NDArray[np.int32]:
    """Scores of some classes in some rows of one variant."""
    temperature = files.temperature_V[v] if scale.calibrated else 1.0
    if not scale.probabilities:
        return logit_scores(logits_UK, temperature=temperature)
    known = scale.calibrated and files.complete_V[v]
    partition_N = partitions.calibrated_N if known else partitions.raw_N
    return probability_scores(logits_UK, partition_N[rows_U], temperature=temperature)


def _empty_contenders(variants: int, examples: int, kept: int) -> Contenders:
    return Contenders(
        label_VN=np.empty((variants, examples), np.int32),
        score_VNK=np.full((variants, examples, kept), NOTHING, np.int32),
        class_VNK=np.full((variants, examples, kept), -1, np.int32),
        rest_VN=np.empty((variants, examples), np.int32),
    )
