"""Stateless tasks on Ray."""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

import ray

T = TypeVar("T")
Item = TypeVar("Item")
Shared = TypeVar("Shared")

FAN_IN = 8  # partial sums that one task adds up
RETRIES = 3  # a task only reads; running it again on another node costs time and changes nothing


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
