"""Blocks of examples as Ray objects, and what is computed on them as stateless Ray tasks."""

from collections.abc import Callable
from typing import Any, Concatenate, ParamSpec, TypeVar

import ray

from overlap.blocks import Block, BlockPlan, load_block
from overlap.store import open_objects

P = ParamSpec("P")
T = TypeVar("T")

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
