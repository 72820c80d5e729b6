"""Evaluation on an elastic pool of Ray actors, each pinned to its share of CPUs and GPUs.

Actors that wait for a place are what a cluster's autoscaler sees as demand; actors without work are
ended, so that their nodes can go. Ray restarts and retries nothing here.
"""

import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, TypeAlias, cast

import ray
from ray.exceptions import RayError

from overlap import ray_nodes
from overlap.errors import ClusterError
from overlap.executor import Offer
from overlap.ray_cluster import Cluster
from overlap.ray_deaths import Post, actor_cannot_start, how_it_died, one_line
from overlap.resources import Machine, Resources
from overlap.schedule import Attempt, Ended, Outcome
from overlap.store import Store, open_objects
from overlap.supervise import end_with_parent
from overlap.watchdog import GRACE_S, Breadcrumb
from overlap.workplace import Workplace

POLL_S = 0.5
NODES_EVERY_S = 1.0
SPOT_AGAIN_S = 600.0  # after a refusal
FIRST_PENDING = 8  # actors without a place that may be asked for while none is up
MAX_START_FAILURES = 20  # in a row

_Ref: TypeAlias = Any  # Ray's references and handles are untyped


class Worker:
    """The actor: one process, kept between variants, one attempt at a time."""

    def __init__(self, workplace: Workplace, store_url: str, resources: Resources) -> None:
        from overlap.work import prepare_process  # torch: only workers wait for it

        end_with_parent()  # its node: Ray's own way out may take a minute, while the GPU's memory stays taken
        prepare_process(resources)
        self.workplace = workplace
        self.objects = open_objects(store_url)
        self.breadcrumb = Breadcrumb(ray_nodes.breadcrumb_path())
        if Store(self.objects).read_lock() is None:
            raise ClusterError(
                f"the store '{store_url}' is not there on every node: give a folder that all nodes share, or a bucket"
            )

    def ready(self) -> Post:
        """Where this worker is; returned once it can work."""
        node = ray.get_runtime_context().get_node_id()
        return Post(node=node, breadcrumb=self.breadcrumb.path)

    def run(self, attempt: Attempt) -> Ended:
        """Runs one attempt to its end, or this process to its own at the deadline."""
        from overlap.work import run_attempt

        with self.breadcrumb.watching(attempt.job.resources.timeout_s):
            return run_attempt(attempt, self.workplace, self.objects)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Member:
    """An actor of the pool; `needs` is what it serves, `asked` what was asked of Ray for it."""

    actor: _Ref
    needs: Resources
    asked: Resources
    since: float
    post: Post | None = None

    @property
    def node(self) -> str:
        return self.post.node if self.post else ""


class ActorPool:
    """Actors that are given attempts one at a time; as many as there is work and room for."""

    def __init__(
        self,
        workplace: Workplace,
        store_url: str,
        cluster: Cluster,
        *,
        elastic: bool,
        max_workers: int | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.workplace = workplace
        self.store_url = store_url
        self.cluster = cluster
        self.elastic = elastic
        self.max_workers = max_workers
        self.clock = clock
        self.starting: dict[_Ref, _Member] = {}
        self.idle: list[_Member] = []
        self.busy: dict[_Ref, tuple[_Member, Attempt, float]] = {}
        self.left_out: frozenset[str] = frozenset()
        self.refused_until: dict[Resources, float] = {}
        self.start_failures = 0
        self.nodes: dict[str, Machine] = {}
        self.draining: frozenset[str] = frozenset()
        self.looked_at = float("-inf")

    # --- what the launcher asks

    def offer(self, demand: Mapping[Resources, int]) -> Offer:
        """Asks for the actors that the waiting attempts need, ends those without work."""
        self._look_at_nodes()
        self._retire()
        self._widen_refused()
        for needs in {**dict.fromkeys(demand), **dict.fromkeys(member.needs for member in self._members())}:
            self._resize(needs, demand.get(needs, 0))
        idle = Counter(member.needs for member in self.idle)
        usable = self.nodes.keys() - self._avoided() - self.draining
        return Offer(
            slots={needs: idle[needs] for needs in demand if idle[needs]},
            elsewhere=self.elastic or len(usable) > 1,
        )

    def start(self, attempt: Attempt) -> None:
        """Gives the attempt to an idle actor that serves its needs."""
        member = next(member for member in self.idle if member.needs == attempt.job.resources)
        self.idle.remove(member)
        self.busy[member.actor.run.remote(attempt)] = (member, attempt, self.clock())

    def wait(self) -> list[Ended]:
        """Waits until attempts end, and takes in the actors that came up meanwhile.

        Raises:
            ClusterError: workers cannot start; another one would end the same way.
            ClusterLostError: the local Ray has died.
        """
        self.cluster.require_alive()
        pending = [*self.starting, *self.busy]
        if not pending:
            time.sleep(POLL_S)
            return []
        ready, _ = ray.wait(pending, timeout=POLL_S)
        if ready and len(pending) > 1:
            ready, _ = ray.wait(pending, num_returns=len(pending), timeout=0)
        for reference in ready:
            if reference in self.starting:
                self._take_in(reference)
        ended = [self._end(reference) for reference in ready if reference in self.busy]
        return ended + [self._end_late(reference) for reference in self._late()]

    def leave_out(self, nodes: frozenset[str]) -> None:
        """Ends the actors on these nodes, and those that may be about to be placed there."""
        self.left_out = nodes
        self._kill_starting(list(self.starting))

    def stop(self) -> None:
        """Does nothing: evaluations that run are worth waiting for."""

    def close(self) -> None:
        """Ends every actor."""
        if self.cluster.alive:
            for member in self._members():
                ray.kill(member.actor)
        self.starting, self.idle, self.busy = {}, [], {}

    # --- size

    def _members(self) -> list[_Member]:
        return [*self.starting.values(), *self.idle, *(member for member, *_ in self.busy.values())]

    def _resize(self, needs: Resources, waiting: int) -> None:
        mine = [member for member in self._members() if member.needs == needs]
        busy = sum(member.needs == needs for member, *_ in self.busy.values())
        want = min(waiting + busy, self._limit(needs))
        starting = [reference for reference, member in self.starting.items() if member.needs == needs]
        surplus = max(len(mine) - want, 0)
        self._kill_starting(starting[len(starting) - min(surplus, len(starting)) :])
        for member in [member for member in self.idle if member.needs == needs][: max(surplus - len(starting), 0)]:
            self.idle.remove(member)
            ray.kill(member.actor)
        up = len(mine) - len(starting)
        room = max(FIRST_PENDING, up) - len(starting)
        for _ in range(min(want - len(mine), room)):
            self._hire(needs)

    def _limit(self, needs: Resources) -> int:
        """How many actors may serve these needs: with an autoscaler no limit but the user's own."""
        others = sum(member.needs != needs for member in self._members())
        by_user = max(self.max_workers - others, 0) if self.max_workers else sys.maxsize
        if self.elastic:
            return by_user
        usable = [machine for node, machine in self.nodes.items() if node not in self._avoided() | self.draining]
        asked = self._asked(needs)
        return min(by_user, max(1, sum(machine.holds(asked) for machine in usable)))

    def _hire(self, needs: Resources) -> None:
        asked = self._asked(needs)
        options = ray.remote(Worker).options(
            num_cpus=asked.cpus,
            num_gpus=asked.gpus,
            label_selector=asked.selector(without_nodes=self._avoided()) or None,
            max_restarts=0,
            max_task_retries=0,
        )
        actor: _Ref = options.remote(self.workplace, self.store_url, needs)
        self.starting[actor.ready.remote()] = _Member(actor=actor, needs=needs, asked=asked, since=self.clock())

    def _asked(self, needs: Resources) -> Resources:
        return ray_nodes.widened(needs) if self.refused_until.get(needs, 0.0) > self.clock() else needs

    def _widen_refused(self) -> None:
        """Asks for on-demand machines where spot ones were not given in time; spot is tried again later."""
        now = self.clock()
        for reference, member in list(self.starting.items()):
            patience = member.needs.on_demand_after_s
            if patience is not None and member.asked == member.needs and now - member.since > patience:
                self.refused_until[member.needs] = now + max(SPOT_AGAIN_S, patience)
                self._kill_starting([reference])

    # --- nodes

    def _look_at_nodes(self, *, now: bool = False) -> None:
        if now or self.clock() - self.looked_at > NODES_EVERY_S:
            self.nodes, self.draining = ray_nodes.alive_nodes(), ray_nodes.draining_nodes()
            self.looked_at = self.clock()

    def _retire(self) -> None:
        """Ends idle actors on nodes that are about to go, or are left out."""
        for member in [member for member in self.idle if self._must_go(member)]:
            self.idle.remove(member)
            ray.kill(member.actor)

    def _must_go(self, member: _Member) -> bool:
        return member.node in self._avoided() or member.node in self.draining

    def _avoided(self) -> frozenset[str]:
        """The nodes that are left out, unless there are no others and none will come."""
        return self.left_out if self.elastic or self.nodes.keys() - self.left_out else frozenset()

    # --- beginnings and ends

    def _take_in(self, reference: _Ref) -> None:
        member = self.starting.pop(reference)
        try:
            post: Any = ray.get(reference)
        except RayError as error:
            self.start_failures += 1
            if actor_cannot_start(error) or self.start_failures >= MAX_START_FAILURES:
                raise ClusterError(f"workers cannot start: {one_line(error)}") from error
            return  # placed on a node that was lost: the next offer asks for another one
        self.start_failures = 0
        self.idle.append(replace(member, post=post))

    def _end(self, reference: _Ref) -> Ended:
        member, attempt, since = self.busy.pop(reference)
        assert member.post is not None
        try:
            ended = cast("Ended", ray.get(reference))
        except RayError as error:
            ray.kill(member.actor)
            self._look_at_nodes(now=True)
            died = how_it_died(error, attempt, member.post, node_alive=member.node in self.nodes)
            return replace(died, seconds=self.clock() - since)
        if ended.spoiled or self._must_go(member):
            ray.kill(member.actor)
        else:
            self.idle.append(member)
        return replace(ended, node=member.node)

    def _late(self) -> list[_Ref]:
        now = self.clock()
        return [
            reference
            for reference, (_, attempt, since) in self.busy.items()
            if now - since > attempt.job.resources.timeout_s + GRACE_S
        ]

    def _end_late(self, reference: _Ref) -> Ended:
        """A process that is too stuck to end itself, such as one that was stopped or waits for a driver."""
        member, attempt, since = self.busy.pop(reference)
        ray.kill(member.actor)
        seconds = self.clock() - since
        cause = f"no end within {seconds:.0f} s, and deaf to its own deadline"
        return Ended(attempt=attempt, outcome=Outcome.TIMED_OUT, cause=cause, seconds=seconds, node=member.node)

    def _kill_starting(self, references: list[_Ref]) -> None:
        for reference in references:
            ray.kill(self.starting.pop(reference).actor)
