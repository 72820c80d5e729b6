"""What Ray's errors say about the attempt that got them: whose fault it was, and why."""

from dataclasses import dataclass
from pathlib import Path

from ray.exceptions import (
    ActorUnavailableError,
    NodeDiedError,
    ObjectLostError,
    OutOfMemoryError,
    RayError,
    RayTaskError,
)

from overlap import ray_nodes
from overlap.schedule import Attempt, Ended, Outcome
from overlap.watchdog import LAST_LINES, read_death


@dataclass(frozen=True, slots=True, kw_only=True)
class Post:
    """Where a worker is: its node, and the breadcrumb that it leaves there."""

    node: str
    breadcrumb: Path


def how_it_died(error: BaseException, attempt: Attempt, post: Post, *, node_alive: bool) -> Ended:
    """The end of an attempt whose process is gone."""
    if isinstance(error, RayTaskError):  # it lives, and let an error out that no variant can cause
        lines = tuple(str(error).splitlines()[-LAST_LINES:])
        return Ended(attempt=attempt, outcome=Outcome.RAISED, cause=one_line(error), last_lines=lines, node=post.node)
    if _is_of_the_node(error, node_alive=node_alive):
        return Ended(attempt=attempt, outcome=Outcome.NODE_LOST, cause=one_line(error), node=post.node)
    if isinstance(error, OutOfMemoryError):
        return Ended(attempt=attempt, outcome=Outcome.OUT_OF_MEMORY, cause=one_line(error), node=post.node)
    outcome, cause, last_lines = read_death(ray_nodes.read_on_node(post.breadcrumb, post.node))
    return Ended(attempt=attempt, outcome=outcome, cause=cause, last_lines=last_lines, node=post.node)


def actor_cannot_start(error: RayError) -> bool:
    """True if the actor's own start raised: a bug or a bad configuration, which another actor would meet too."""
    return bool(getattr(error, "actor_init_failed", False))


def one_line(error: BaseException) -> str:
    """The line of a Ray error that says most: the last one of a trace that it carries, else the first."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    causes = [line for line in lines if line.partition(":")[0].endswith("Error") and "ray::" not in line]
    return f"{type(error).__name__}: {(causes or lines or ['no reason given'])[-1 if causes else 0]}"


def _is_of_the_node(error: BaseException, *, node_alive: bool) -> bool:
    """A node that is lost, drained or shut down, or the way to it: never the variant's fault."""
    if isinstance(error, ActorUnavailableError | NodeDiedError | ObjectLostError):
        return True
    return bool(getattr(error, "preempted", False)) or not node_alive or "SIGTERM" in str(error)
