"""Where an analysis is computed: this process, or a Ray."""

import contextlib
import functools
import os
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass

from overlap.analyses.options import SELECTIONS, Kind, Options, Where
from overlap.outcomes import Outcomes
from overlap.pairwise.costs import Choice, Work, choose
from overlap.store import Objects, Store, open_objects
from overlap.tasks import LocalTasks, Tasks
from overlap_analysis import pair_count


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where an analysis is computed: this process, or a Ray."""

    tasks: Tasks
    objects: Callable[[], Objects]


@contextlib.contextmanager
def open_place(store: Store, options: Options, where: Where) -> Iterator[Place]:
    """A place that ends with the context."""
    if where is Where.INPROCESS:
        yield Place(tasks=LocalTasks(_cores()), objects=lambda: store.objects)
        return
    from overlap.ray_cluster import connected

    with connected(options.address):
        from overlap.ray_analysis import RayTasks

        yield Place(tasks=RayTasks(), objects=functools.partial(open_objects, store.objects.url))


def choose_place(outcomes: Outcomes, kinds: Collection[Kind], options: Options) -> Choice:
    """Where the work is done soonest."""
    variants, examples = outcomes.predictions_VN.shape
    methods = len(options.methods) if Kind.ENSEMBLES in kinds else int(Kind.CATEGORIES in kinds)
    classes = len(outcomes.class_names)
    work = Work(
        variants=variants,
        pairs=pair_count(variants) if set(kinds) - SELECTIONS else 0,
        examples=examples,
        methods=methods,
        classes=classes,
        selection=bool(SELECTIONS & set(kinds)),
    )
    return choose(work, cores=_cores(), cluster=options.address is not None)


def _cores() -> int:
    return len(os.sched_getaffinity(0))
