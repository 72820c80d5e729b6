"""Blocks of examples as Ray objects, and what is computed on them as stateless Ray tasks."""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Concatenate, ParamSpec, TypeVar

import ray

from overlap.blocks import Block, BlockPlan, load_block
from overlap.store import open_objects

P = ParamSpec("P")
T = TypeVar("T")
Item = TypeVar("Item")
Shared = TypeVar("Shared")

FAN_IN = 8  # partial sums that one task adds up
RETRIES = 3  # a task only reads; running it again on another node costs time and changes nothing


class RayBlocks:
    """Each block is read once by a task and stays in Ray's object store, from which it spills to disk."""

    def __init__(self, plans: list[BlockPlan], store_url: str) -> None:
        load = ray.remote(_load).options(max_retries=RETRIES)
        self.references: list[Any] = [load.remote(plan, store_url) for plan in plans]

    def map(self, function: Callable[Concatenate[Block, P], T], *args: P.args, **kwargs: P.kwargs) -> list[T]:
        """`function(block, *args)` of every block, each as a task."""
        task = ray.remote(function).options(max_retries=RETRIES)
        results: list[T] = ray.get([task.remote(reference, *args, **kwargs) for reference in self.references])
        return results


def _load(plan: BlockPlan, store_url: str) -> Block:
    return load_block(plan, open_objects(store_url))


class RayTasks:
    """Each item is a Ray task of one CPU; the shared value lies in Ray's object store once a node."""

    threads = 1

    def __init__(self) -> None:
        resources: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]
        self.window = 2 * max(1, int(resources.get("CPU", 1)))  # tasks at once: bounds what is held

    def map(self, function: Callable[[Item, Shared], T], items: Sequence[Item], shared: Shared) -> Iterator[T]:
        """The results in the order of the items."""
        task, reference = ray.remote(function).options(max_retries=RETRIES), ray.put(shared)
        running: deque[Any] = deque()
        for item in items:
            running.append(task.remote(item, reference))
            if len(running) == self.window:
                yield ray.get(running.popleft())
        while running:
            yield ray.get(running.popleft())

    def reduce(
        self,
        function: Callable[[Item, Shared], T],
        merge: Callable[[Sequence[T]], T],
        items: Sequence[Item],
        shared: Shared,
    ) -> T:
        """All results merged in a tree, as they come."""
        task, reference = ray.remote(function).options(max_retries=RETRIES), ray.put(shared)
        merged: Any = ray.remote(_merge).options(max_retries=RETRIES)
        left, running, done = deque(items), list[Any](), list[Any]()
        while left or running:
            while left and len(running) < self.window:
                running.append(task.remote(left.popleft(), reference))
            ready, running = ray.wait(running)
            done += ready
            if len(done) == FAN_IN:
                running.append(merged.remote(merge, *done))
                done = []
        total: T = ray.get(merged.remote(merge, *done))
        return total


def _merge(merge: Callable[[Sequence[T]], T], *parts: T) -> T:
    return merge(parts)
