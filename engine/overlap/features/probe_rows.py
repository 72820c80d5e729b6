"""Rows of the tables of probes: the tasks that fit them, and the columns they share.

Array names: M examples, D dimensions.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from overlap.features.embeddings import Embedded, read_vectors
from overlap.features.label_files import read_label_targets
from overlap.features.request import FeatureRequest, check_request, strengths
from overlap.features.roles import Roles, Targets, class_targets, make_roles
from overlap.store import Objects, Store

Row = dict[str, object]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ProbeWork:
    """What every task of probes knows. `objects` opens the store where a task runs."""

    objects: Callable[[], Objects]
    embedded: Embedded
    roles: Roles
    request: FeatureRequest

    def vectors(self, *variants: int) -> NDArray[np.float32]:
        """(M, D) embeddings of variants side by side."""
        store = Store(self.objects())
        return np.concatenate([read_vectors(store, self.embedded, v) for v in variants], axis=1)

    def name(self, variant: int | None) -> str | None:
        """A variant's name."""
        return None if variant is None else self.embedded.outcomes.names[variant]


def probe_work(
    objects: Callable[[], Objects], embedded: Embedded, request: FeatureRequest, labels: Path | None = None
) -> ProbeWork:
    """Gives the examples their roles.

    Args:
        objects: opens the store where a task runs.
        embedded: the variants with embeddings.
        request: what is asked for.
        labels: a file of several labels an example, instead of the classes of the dataset.

    Raises:
        ArgumentError: a number is out of its range, the file of labels cannot be used, or too few examples are left.
    """
    check_request(request)
    targets = _targets(embedded, labels)
    roles = make_roles(embedded.split_M, embedded.ids_M, targets, seed=request.seed, refit=request.refit)
    return ProbeWork(objects=objects, embedded=embedded, roles=roles, request=request)


def _targets(embedded: Embedded, labels: Path | None) -> Targets:
    if labels is not None:
        return read_label_targets(labels, embedded.ids_M)
    return class_targets(embedded.labels_M, len(embedded.outcomes.class_names))


def score_columns(
    vectors_MD: NDArray[np.float32], choices: Sequence[NDArray[np.int64]], work: ProbeWork, *, score: str
) -> list[Row]:
    """What is said of the probe on each choice of columns; the same choice twice is fitted once.

    `score` names the columns of what it reached: `accuracy`, or `score`.
    """
    from overlap.features.probe import Protocol, judge_probes  # torch: who only makes rows does not wait for it

    request = work.request
    protocol = Protocol(
        strengths=strengths(request.grid),
        refit=request.refit,
        device=request.device,
        memory_bytes=request.memory_bytes,
    )
    sorted_choices = [np.sort(chosen) for chosen in choices]
    distinct = {chosen.tobytes(): chosen for chosen in sorted_choices}
    judged = judge_probes(vectors_MD, list(distinct.values()), work.roles, protocol)
    found = dict(zip(distinct, judged, strict=True))
    return [
        {
            "dimensions": len(chosen),
            score: one.score,
            f"{score}_low": one.low,
            f"{score}_high": one.high,
            f"calibration_{score}": one.calibration,
            "l2": one.strength,
            "fitted_on": work.roles.fitted_on,
            "train_examples": len(work.roles.fit_F),
            "test_examples": len(work.roles.judge_F),
        }
        for chosen, one in ((chosen, found[chosen.tobytes()]) for chosen in sorted_choices)
    ]


def frame_of(rows: Sequence[Row], nullable: Sequence[str] = ()) -> pl.DataFrame:
    """A table of rows; NaN becomes null, and columns of names that may all be null are text."""
    texts = dict.fromkeys(nullable, pl.String)
    return pl.DataFrame(rows, schema_overrides=texts, infer_schema_length=None).fill_nan(None)
