"""Stateless tasks over a shared value: one after another in this process, or many at once on Ray."""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Protocol, TypeVar

Item = TypeVar("Item")
Shared = TypeVar("Shared")
T = TypeVar("T")


class Tasks(Protocol):
    """Something that computes `function(item, shared)` for many items."""

    threads: int
    """How many threads one task may use."""

    def map(self, function: Callable[[Item, Shared], T], items: Sequence[Item], shared: Shared) -> Iterator[T]:
        """The results in the order of the items; only a few are held at once."""
        ...

    def reduce(
        self,
        function: Callable[[Item, Shared], T],
        merge: Callable[[Sequence[T]], T],
        items: Sequence[Item],
        shared: Shared,
    ) -> T:
        """All results merged, in any order; there must be an item."""
        ...


class LocalTasks:
    """Tasks in this process, one after another."""

    def __init__(self, threads: int) -> None:
        self.threads = threads

    def map(self, function: Callable[[Item, Shared], T], items: Sequence[Item], shared: Shared) -> Iterator[T]:
        """The results in the order of the items; the next one is made while the caller has the last."""
        with ThreadPoolExecutor(1) as pool:
            ahead: deque[Future[T]] = deque()
            for item in items:
                ahead.append(pool.submit(function, item, shared))
                if len(ahead) > 1:
                    yield ahead.popleft().result()
            while ahead:
                yield ahead.popleft().result()

    def reduce(
        self,
        function: Callable[[Item, Shared], T],
        merge: Callable[[Sequence[T]], T],
        items: Sequence[Item],
        shared: Shared,
    ) -> T:
        """All results merged."""
        first, *rest = items
        total = function(first, shared)
        for item in rest:
            total = merge([total, function(item, shared)])
        return total
