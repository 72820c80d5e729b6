"""Similarity of representations beside similarity of errors, for every pair of variants with embeddings.

Array names: V variants, P pairs, N examples, D dimensions, M entries of a signature.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import product

import numpy as np
import polars as pl
from numpy.typing import NDArray

from overlap.errors import ArgumentError
from overlap.features.embeddings import Embedded, read_embedded, read_vectors
from overlap.features.request import FeatureRequest, check_request
from overlap.outcomes import Outcomes
from overlap.pairwise.pair_rows import labels_of
from overlap.store import Objects, Store
from overlap.tasks import Tasks
from overlap_analysis import (
    PAIR_METRICS,
    Bootstrap,
    LinearPredictor,
    cka,
    cka_signature,
    count_pairs,
    effective_rank,
    hash_order,
    line_of_pairs,
    linear_gram,
    linear_predictor,
    linear_r2,
    minibatch_signature,
    mutual_neighbors,
    nearest_neighbors,
    rank_correlation_of_pairs,
    rbf_gram,
)

SIMILARITY_TABLES = ("similarity", "similarity_correlations")
SIMILARITIES = ("linear_cka", "rbf_cka", "minibatch_cka", "mutual_knn", "r2_a_to_b", "r2_b_to_a")
ERROR_METRICS = ("error_inconsistency", "error_correlation", "kappa")
_FEWEST_A_SIDE = 4  # variants of a task
_BYTES_AN_EXAMPLE_PAIR = 24  # of a variant: three signatures
_FEWEST_EXAMPLES = 8

Row = dict[str, object]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SimilarityWork:
    """What every task knows: `rows_N` are the examples, in random order, among those of the test split."""

    objects: Callable[[], Objects]
    embedded: Embedded
    rows_N: NDArray[np.int64]
    request: FeatureRequest


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Represented:
    """What is computed of a variant once for all its pairs within a task."""

    vectors_ND: NDArray[np.float32]
    linear_M: NDArray[np.float64]
    rbf_M: NDArray[np.float64]
    minibatch_M: NDArray[np.float64]
    neighbors_NK: NDArray[np.int64]
    predictor: LinearPredictor
    rank: float


def similarity_tables(
    store: Store, outcomes: Outcomes, objects: Callable[[], Objects], tasks: Tasks, request: FeatureRequest
) -> dict[str, pl.DataFrame]:
    """The tables of `SIMILARITY_TABLES`, over test examples.

    Raises:
        ArgumentError: fewer than two variants have embeddings, or there are too few examples.
        CorruptFileError: a stored file is damaged.
    """
    check_request(request)
    embedded = read_embedded(store, outcomes)
    chosen = embedded.outcomes
    if len(chosen.variants) < 2:
        raise ArgumentError(f"only '{chosen.names[0]}' has embeddings: a pair takes two variants")
    rows_N = hash_order(chosen.ids_N, seed=request.seed)[: request.examples]
    if len(rows_N) < _FEWEST_EXAMPLES:
        raise ArgumentError(f"similarities take at least {_FEWEST_EXAMPLES} examples, got {len(rows_N)}")
    work = SimilarityWork(objects=objects, embedded=embedded, rows_N=rows_N, request=request)
    counts = count_pairs(chosen.predictions_VN, chosen.labels_N, threads=tasks.threads)
    found = {pair: row for rows in tasks.map(block_rows, _blocks(work), work) for pair, row in rows}
    labels = labels_of(chosen.variants)
    table = pl.DataFrame(
        {**labels.names_of(counts.a, counts.b), "category": labels.words_of(counts.a, counts.b)}
    ).hstack(pl.DataFrame([found[pair] for pair in zip(counts.a.tolist(), counts.b.tolist(), strict=True)]))
    errors = {name: PAIR_METRICS[name](counts) for name in ERROR_METRICS}
    table = table.with_columns(pl.Series(name, values) for name, values in errors.items()).fill_nan(None)
    return {"similarity": table, "similarity_correlations": _correlations(table, request)}


def _blocks(work: SimilarityWork) -> list[tuple[range, range]]:
    """The upper triangle of pairs in squares whose variants fit into the memory: each is represented once a square."""
    variants, variant_bytes = len(work.embedded.outcomes.variants), _BYTES_AN_EXAMPLE_PAIR * len(work.rows_N) ** 2
    side = max(int(work.request.memory_bytes / (2 * variant_bytes)), _FEWEST_A_SIDE)
    sides = [range(start, min(start + side, variants)) for start in range(0, variants, side)]
    return [(a, b) for a, b in product(sides, repeat=2) if a.start <= b.start]


def block_rows(block: tuple[range, range], work: SimilarityWork) -> list[tuple[tuple[int, int], Row]]:
    """Every pair a < b of a square, with the columns of similarity."""
    made = {v: _represent(v, work) for v in dict.fromkeys([*block[0], *block[1]])}
    return [((a, b), _row(made[a], made[b])) for a, b in product(*block) if a < b]


def _represent(variant: int, work: SimilarityWork) -> Represented:
    vectors_ND = read_vectors(Store(work.objects()), work.embedded, variant, ["test"])[work.rows_N]
    return Represented(
        vectors_ND=vectors_ND,
        linear_M=cka_signature(linear_gram(vectors_ND)),
        rbf_M=cka_signature(rbf_gram(vectors_ND)),
        minibatch_M=minibatch_signature(vectors_ND, batch=work.request.batch),
        neighbors_NK=nearest_neighbors(vectors_ND, neighbors=work.request.neighbors),
        predictor=linear_predictor(vectors_ND),
        rank=effective_rank(vectors_ND),
    )


def _row(a: Represented, b: Represented) -> Row:
    return {
        "examples": len(a.vectors_ND),
        "linear_cka": cka(a.linear_M, b.linear_M),
        "rbf_cka": cka(a.rbf_M, b.rbf_M),
        "minibatch_cka": cka(a.minibatch_M, b.minibatch_M),
        "mutual_knn": mutual_neighbors(a.neighbors_NK, b.neighbors_NK),
        "r2_a_to_b": linear_r2(a.predictor, b.vectors_ND),
        "r2_b_to_a": linear_r2(b.predictor, a.vectors_ND),
        "effective_rank_a": a.rank,
        "effective_rank_b": b.rank,
        "effective_rank_both": effective_rank(a.vectors_ND, b.vectors_ND),
    }


def _correlations(table: pl.DataFrame, request: FeatureRequest) -> pl.DataFrame:
    """Pearson's and Spearman's correlation of each similarity with each metric of errors, over pairs."""
    means = table.with_columns(mean_r2=(pl.col("r2_a_to_b") + pl.col("r2_b_to_a")) / 2)
    return pl.DataFrame(list(_correlation_rows(means, request))).fill_nan(None)


def _correlation_rows(table: pl.DataFrame, request: FeatureRequest) -> Iterator[Row]:
    bootstrap = Bootstrap(resamples=request.resamples, seed=request.seed)
    for similarity, metric in product((*SIMILARITIES, "mean_r2"), ERROR_METRICS):
        x_P, y_P = (table[name].cast(pl.Float64).fill_null(np.nan).to_numpy() for name in (similarity, metric))
        line = line_of_pairs(x_P, y_P, bootstrap=bootstrap)
        ranks = rank_correlation_of_pairs(x_P, y_P, bootstrap=bootstrap)
        yield {
            "similarity": similarity,
            "metric": metric,
            "pairs": line.points,
            **{f"pearson{end}": getattr(line.r, field) for end, field in _ENDS},
            **{f"spearman{end}": getattr(ranks, field) for end, field in _ENDS},
        }


_ENDS = (("", "value"), ("_low", "low"), ("_high", "high"))
