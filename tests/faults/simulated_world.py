"""A simulated cluster and what goes wrong on it: nodes, workers, a clock, and the fates that a seed has drawn."""

import functools
import heapq
import itertools
import random
import threading
from dataclasses import dataclass, replace

from faults.faulty_objects import Crash, Fault, FaultyObjects
from faults.simulated_work import OUTCOME_OF, Broken, part_of, whole_plan
from overlap.plan import Stage
from overlap.schedule import (
    Attempt,
    Outcome,
)
from overlap.store import Store
from overlap.store.memory import MemoryObjects
from overlap.work import run_attempt

MAX_EVENTS = 10_000
TIMEOUT_S = 60.0
FORGIVEN = frozenset({Outcome.NODE_LOST, Outcome.STORE_FAILED})
DEATHS = frozenset({Outcome.PROCESS_DIED, Outcome.TIMED_OUT})


@dataclass(frozen=True, kw_only=True)
class Faults:
    """What a history holds: how many of a fault, or how likely it is each time."""

    deaths: float = 0.0
    node_losses: int = 0
    store_failures: int = 0
    full_disks: int = 0
    rot: int = 0
    zombies: float = 0.0
    late_ends: float = 0.0
    rivals: float = 0.0
    driver: float = 0.0
    stops: float = 0.0


def draw_faults(rng):
    """A mixture in which any fault may be missing, so that others show."""
    drawn = Faults(
        deaths=0.3,
        node_losses=rng.randint(1, 5),
        store_failures=rng.randint(1, 6),
        full_disks=1,
        rot=rng.randint(1, 3),
        zombies=0.5,
        late_ends=0.4,
        rivals=0.3,
        driver=0.8,
        stops=0.2,
    )
    rare = {"full_disks": 0.1, "stops": 0.2, "rot": 0.25}
    missing = {name: 0 for name in vars(drawn) if rng.random() > rare.get(name, 0.5)}
    return replace(drawn, **missing)


@dataclass(kw_only=True, eq=False)
class Node:
    """A machine; on a black hole every attempt ends at once, in the way that it says."""

    name: str
    slots: int
    black_hole: Outcome | None = None
    up: bool = True
    busy: int = 0


@dataclass(kw_only=True, eq=False)
class Run:
    """An attempt on a node; `fate` is how it ends without having done its work."""

    executor: object
    attempt: Attempt
    node: Node
    fate: Outcome | None = None
    dies_within: bool = False
    heard: bool = True  # somebody waits for its end
    over: bool = False


class World:
    """A cluster, a store, a clock, and all that goes wrong with them."""

    def __init__(self, seed):
        self.rng = rng = random.Random(seed)
        self.objects = MemoryObjects()
        self.turns = Turns(rng)
        self.now = 0.0
        self.agenda, self.order, self.events, self.trace = [], itertools.count(), 0, []
        self.runs: list[Run] = []
        self.peaceful = False
        plan = whole_plan(rng.choice([1, 1, 2]))
        names = [variant.name for variant in plan.variants]
        self.plan = part_of(plan, set(rng.sample(names, rng.randint(3, len(names)))))
        self.drivers = 2 if rng.random() < 0.25 else 1
        self.exact = rng.random() < 0.8
        self.faults = draw_faults(rng)
        self.nodes = [Node(name=f"node{i}", slots=rng.randint(1, 4)) for i in range(rng.randint(2, 4))]
        if rng.random() < 0.3:
            self._make_black_hole()
        self.broken = self._draw_broken()
        self.fits = {variant.architecture: rng.choice([256, 256, 64, 7, 1]) for variant in plan.variants}
        self.unlucky: set[str] = set()
        self.store_failed = self.disks_full = self.rotten = 0
        for _ in range(self.faults.node_losses):
            self.at(rng.uniform(0, 40), self._lose_node)
        for _ in range(self.faults.rot):
            self.at(rng.uniform(0, 40), self._rot)

    def _make_black_hole(self):
        hole = self.nodes[0]
        hole.black_hole = self.rng.choice([Outcome.RAISED, Outcome.PROCESS_DIED])
        self.faults = replace(self.faults, deaths=0.0)  # one there and one by chance would count as the variant's own
        self.say(f"{hole.name} is a black hole: {hole.black_hole}")

    def _draw_broken(self):
        chance = self.rng.choice([0.0, 0.0, 0.1, 0.4])
        broken = {}
        for job in (*self.plan.training, *self.plan.evaluation):
            if self.rng.random() < chance:
                broken[job.key] = self.rng.choice(list(Broken))
                self.say(f"{job.slug} {broken[job.key]} in {job.stage}")
        return broken

    # --- time

    def say(self, text):
        """Adds a line to the history."""
        self.trace.append(f"{self.now:8.2f} s  {text}")

    def at(self, delay_s, action):
        """Puts something on the agenda."""
        heapq.heappush(self.agenda, (self.now + delay_s, next(self.order), action))

    def advance(self, limit_s=1.0):
        """Lets the next thing happen, or as much time pass as nothing happens."""
        self.events += 1
        assert self.events < MAX_EVENTS, f"no end after {MAX_EVENTS} events"
        until = self.now + limit_s
        if self.agenda and self.agenda[0][0] <= until:
            self.now, _, action = heapq.heappop(self.agenda)
            action()
        else:
            self.now = until

    def _interrupt(self):
        """Lets the next end of an attempt happen now, in the middle of another one's work."""
        ends = [item for item in self.agenda if getattr(item[2], "func", None) == self._end]
        if ends:
            self.agenda.remove(min(ends))
            heapq.heapify(self.agenda)
            min(ends)[2]()

    # --- attempts

    def begin(self, executor, attempt, node):
        """Starts an attempt and decides how it will end."""
        run = Run(executor=executor, attempt=attempt, node=node)
        seconds = self.rng.uniform(1, 10) if attempt.job.stage is Stage.TRAIN else self.rng.uniform(0.1, 3)
        run.fate = self._fate(run)
        seconds = TIMEOUT_S if run.fate is Outcome.TIMED_OUT else 0.05 if node.black_hole else seconds
        node.busy += 1
        self.runs.append(run)
        self.at(seconds, functools.partial(self._end, run))
        return run

    def _fate(self, run):
        job = run.attempt.job
        if not run.node.up:
            return Outcome.NODE_LOST
        if run.node.black_hole:
            return run.node.black_hole
        if job.stage is Stage.EVALUATE and run.attempt.batch_size > self.fits[job.variant.architecture]:
            return Outcome.OUT_OF_MEMORY
        if job.key in self.broken:
            return OUTCOME_OF[self.broken[job.key]]
        if not self.peaceful and job.key not in self.unlucky and self.rng.random() < self.faults.deaths:
            self.unlucky.add(job.key)  # once: twice would be the variant's own fault
            run.dies_within = self.rng.random() < 0.6
            return None if run.dies_within else self.rng.choice(sorted(DEATHS))
        return None

    def _end(self, run):
        if run.over:
            return
        run.over = True
        self._release(run)
        outcome, cause = (run.fate, "simulated") if run.fate else self._work(run)
        if run.heard:
            self.say(f"{run.attempt.job.slug} #{run.attempt.number} on {run.node.name}: {outcome} {cause}")
            run.executor.hear(run, outcome, cause)
        else:
            self.say(f"{run.attempt.job.slug} #{run.attempt.number}, a zombie on {run.node.name}: {outcome} {cause}")

    def _work(self, run):
        """Does the work, in which the process, the store or a rival may come between any two of its steps."""
        fault, nth = None, self.rng.randint(1, 7)
        if run.dies_within:
            fault = self.rng.choice([Fault.CRASH_BEFORE, Fault.CRASH_AFTER, Fault.TORN])
        elif not self.peaceful and self.store_failed < self.faults.store_failures and self.rng.random() < 0.3:
            fault = self.rng.choice([Fault.ERROR, Fault.LOST_ACK])
        elif not self.peaceful and self.disks_full < self.faults.full_disks and self.rng.random() < 0.1:
            self.disks_full += 1
            return Outcome.DISK_FULL, "StoreFullError: simulated"
        interrupted = self.rng.randint(1, 5) if self.rng.random() < self.faults.rivals else 0
        steps = itertools.count(1)

        def between():
            if next(steps) == interrupted:
                self._interrupt()

        objects = FaultyObjects(self.objects, fault, nth, between)
        try:
            ended = run_attempt(run.attempt, self.exact, objects, interruptible=True)
        except Crash:
            return Outcome.PROCESS_DIED, "simulated, within its work"
        self.store_failed += objects.hit
        return ended.outcome, ended.cause

    def cut_off(self, run, *, zombie):
        """Nobody hears of a run any more; a zombie goes on, and may still write its result."""
        self._release(run)
        run.heard, run.over = False, run.over or not zombie

    def _release(self, run):
        if run in self.runs:
            self.runs.remove(run)
            run.node.busy -= 1

    # --- what goes wrong by itself

    def _lose_node(self):
        node = self.rng.choice(self.nodes)
        if not node.up or self.peaceful or self._is_needed(node):
            return
        node.up = False
        self.say(f"{node.name} is lost")
        for run in [run for run in self.runs if run.node is node]:
            if run.heard:
                run.executor.hear(run, Outcome.NODE_LOST, "simulated")
            self.cut_off(run, zombie=self.rng.random() < self.faults.zombies)
        self.at(self.rng.uniform(1, 30), functools.partial(self._return, node))

    def _is_needed(self, node):
        """A black hole loses no variant as long as it is there, and there is another node."""
        sound = [one for one in self.nodes if one.up and not one.black_hole]
        return bool(node.black_hole) or (sound == [node] and any(one.black_hole for one in self.nodes))

    def _return(self, node):
        node.up = True
        self.say(f"{node.name} is back")

    def _rot(self):
        names = [name for room in ("weights", "logits", "results") for name in self.objects.names(room)]
        if names and not self.peaceful:
            name = self.rng.choice(names)
            self.say(f"{name} rots")
            self.rotten += 1
            self.objects.replace(name, Store(self.objects).read_bytes(name)[:-1])


class Turns:
    """Lets drivers, each in a thread of its own, run one at a time, in the order that the seed decides."""

    def __init__(self, rng):
        self.rng = rng
        self.gates: dict[int, threading.Semaphore] = {}
        self.current = 0
        self.error: BaseException | None = None

    def maybe_pause(self):
        """What stands between two storage calls of a driver."""
        if len(self.gates) > 1 and self.rng.random() < 0.2:
            self.pause()

    def pause(self):
        """Gives the turn to any driver, perhaps the same."""
        if len(self.gates) > 1:
            mine = self.current
            self._pass_on(self.rng.choice(sorted(self.gates)))
            self.gates[mine].acquire()
            if self.error:
                raise Crash

    def _pass_on(self, number):
        self.current = number
        self.gates[number].release()

    def run(self, drivers):
        """Runs all of them to their ends.

        Raises:
            AssertionError: one of them did.
        """
        if len(drivers) == 1:
            drivers[0]()
            return
        self.gates = {number: threading.Semaphore(0) for number in range(len(drivers))}
        threads = [threading.Thread(target=self._run_one, args=item) for item in enumerate(drivers)]
        for thread in threads:
            thread.start()
        self._pass_on(0)
        for thread in threads:
            thread.join()
        if self.error:
            raise self.error

    def _run_one(self, number, driver):
        self.gates[number].acquire()
        try:
            if not self.error:
                driver()
        except BaseException as error:  # noqa: BLE001 - raised again by `run`
            self.error = self.error or error
        del self.gates[number]
        if self.gates:
            self._pass_on(min(self.gates))
