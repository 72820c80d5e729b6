"""A whole sweep on a simulated cluster: a seed gives one history of faults, and always the same one.

After the simulations of FoundationDB and TigerBeetle. The schedule, its loop, the survey and the store
are the real ones; nodes, workers, time and the variants' own code are simulated.
`make simulate SEED=7` prints the history of one seed.
"""

import functools
import heapq
import itertools
import random
import subprocess
import sys
import threading
from dataclasses import dataclass, field, replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))  # for who runs this as a script

from faults.faulty_objects import Crash, Fault, FaultyObjects
from faults.simulated_work import OUTCOME_OF, Broken, part_of, predictions_of, simulated_variants, whole_plan
from invariants import assert_invariants
from overlap.errors import StoreError
from overlap.executor import Offer
from overlap.launcher import _run_rounds, take_stock
from overlap.loop import Hooks
from overlap.plan import Stage
from overlap.schedule import (
    MAX_DEATHS,
    MAX_NODE_LOSSES,
    MAX_STORE_FAILURES,
    SUSPICIOUS_FAILURES,
    Attempt,
    Ended,
    Outcome,
)
from overlap.standing import JobState, status
from overlap.store import Store, lock_of
from overlap.store.memory import MemoryObjects
from overlap.store.schema import matrix
from overlap.store.verify import find_damage, put_aside, remember_sound, verify
from overlap.work import run_attempt

MAX_EVENTS = 10_000
MAX_LIVES = 5  # of one driver, until it is left in peace
MAX_PEACEFUL = 4  # launches in peace, until all must be done
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

    executor: "SimulatedExecutor"
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


class SimulatedExecutor:
    """The executor of one stage of one launch on the world's nodes; keeps what each job went through."""

    def __init__(self, world, life):
        self.world, self.life = world, life
        self.inbox: list[Ended] = []
        self.running: dict[Attempt, Run] = {}
        self.slots: dict = {}
        self.left_out: frozenset[str] = frozenset()
        self.times_left_out = 0
        self.histories: dict[str, list[Ended]] = {}
        self.closed = False

    def offer(self, demand):
        """The free slots of the nodes that are up, shared among what is asked for."""
        self.life.tick()
        free = sum(node.slots - node.busy for node in self._usable() if node.busy < node.slots)
        self.slots = {}
        for needs in demand:
            self.slots[needs] = self.world.rng.randint(0, free) if len(demand) > 1 else free
            free -= self.slots[needs]
        return Offer(slots=dict(self.slots), elsewhere=len(self._usable()) > 1)

    def _usable(self):
        return [node for node in self.world.nodes if node.up and node.name not in self.left_out]

    def start(self, attempt):
        """Puts the attempt on a node with a free slot; on any, if another driver has just taken that."""
        self.life.tick()
        self.slots[attempt.job.resources] -= 1
        assert self.slots[attempt.job.resources] >= 0, "more was started than was offered"
        assert attempt.job.key not in {one.job.key for one in self.running}, f"{attempt.job.slug} runs twice"
        usable = self._usable() or self.world.nodes
        nodes = [node for node in usable if node.busy < node.slots] or usable
        self.running[attempt] = self.world.begin(self, attempt, self.world.rng.choice(nodes))
        self.life.tick()

    def wait(self):
        """The ends of the next second, in any order; some of them come later."""
        self.life.tick()
        self.world.advance()
        self.world.turns.pause()
        rng, faults = self.world.rng, self.world.faults
        rng.shuffle(self.inbox)
        late = [ended for ended in self.inbox if rng.random() < faults.late_ends]
        given = [ended for ended in self.inbox if ended not in late]
        self.inbox = late
        for ended in given:
            self.histories.setdefault(ended.attempt.job.key, []).append(ended)
        return given

    def hear(self, run, outcome, cause):
        """Takes in how an attempt ended."""
        if not self.closed:
            self.running.pop(run.attempt)
            self.inbox.append(Ended(attempt=run.attempt, outcome=outcome, cause=cause, node=run.node.name))

    def leave_out(self, nodes):
        """Starts nothing more there; what runs goes on."""
        self.world.say(f"left out: {', '.join(sorted(nodes)) or 'no node'}")
        self.times_left_out += len(nodes - self.left_out)
        self.left_out = nodes

    def stop(self):
        """Ends trainings, which can go on later."""
        for run in list(self.running.values()):
            if run.attempt.job.stage is Stage.TRAIN:
                self.hear(run, Outcome.STOPPED, "")
                self.world.cut_off(run, zombie=False)

    def close(self):
        """Cuts off what still runs."""
        self.closed = True
        for run in self.running.values():
            self.world.cut_off(run, zombie=self.world.rng.random() < self.world.faults.zombies)

    def check(self, *, complete):
        """No job was tried more often than the schedule's bounds; if `complete`, each to its very end."""
        self._check_black_hole()
        for ends in self.histories.values():
            _check_bounds(ends, self.times_left_out)
            if complete:
                _check_end(ends)

    def _check_black_hole(self):
        """After three variants, and what runs there at that moment, a black hole is left out."""
        holes = {node.name: node.slots for node in self.world.nodes if node.black_hole}
        if self.world.broken or self.world.faults.late_ends or self.world.drivers > 1:
            return  # a variant that fails everywhere clears a node; what is heard late is acted on late
        for name, slots in holes.items():
            fell = [end for ends in self.histories.values() for end in ends if end.node == name]
            most = SUSPICIOUS_FAILURES * MAX_DEATHS + slots
            assert len(fell) <= most, f"{len(fell)} attempts fell into the black hole {name}, expected {most} at most"


def _count(ends, outcomes):
    return sum(end.outcome in outcomes for end in ends)


def _check_bounds(ends, times_left_out):
    what = f"{ends[0].attempt.job.slug} went through {[str(end.outcome) for end in ends]}"
    chances = 1 + times_left_out
    assert Outcome.DONE not in [end.outcome for end in ends[:-1]], f"{what}: run again after it was done"
    assert _count(ends, {Outcome.RAISED}) <= chances, f"{what}: run again after it raised"
    assert sum(map(_is_death, ends)) <= MAX_DEATHS * chances, f"{what}: died too often"
    assert _count(ends, FORGIVEN) <= MAX_NODE_LOSSES, f"{what}: lost too often"
    sizes = [end.attempt.batch_size for end in ends]
    assert sizes == sorted(sizes, reverse=True), f"{what}: with batches of {sizes}"
    numbers = [end.attempt.number for end in ends]
    assert numbers == list(range(numbers[0], numbers[0] + len(ends))), f"{what}: numbered {numbers}"


def _is_death(end):
    smallest = end.attempt.batch_size == 1 or end.attempt.job.stage is Stage.TRAIN
    return end.outcome in DEATHS or (end.outcome is Outcome.OUT_OF_MEMORY and smallest)


def _check_end(ends):
    """The last end is one after which nothing follows."""
    what = f"{ends[0].attempt.job.slug} went through {[str(end.outcome) for end in ends]}, and was forgotten"
    last = ends[-1]
    ended = last.outcome in {Outcome.DONE, Outcome.RAISED, Outcome.INPUT_DAMAGED}
    dead = _is_death(last) and sum(map(_is_death, ends)) >= MAX_DEATHS
    assert ended or dead or _count(ends, FORGIVEN) == MAX_NODE_LOSSES, what


@dataclass(kw_only=True, eq=False)
class Life:
    """One launch by one driver, and what happens to it: its end at a call of the executor, or the user's wish."""

    objects: FaultyObjects
    crash_at: int | None = None
    stop_at: int | None = None
    ticks: int = 0
    executors: list[SimulatedExecutor] = field(default_factory=list)

    def tick(self):
        """Counts a call of the executor; the driver may end here."""
        self.ticks += 1
        if self.ticks == self.crash_at:
            self.objects.dead = True
        if self.objects.dead:
            raise Crash

    def asked_to_stop(self):
        """True once the user has asked to stop."""
        return self.stop_at is not None and self.ticks >= self.stop_at


def draw_life(world):
    """The next launch of a driver."""
    rng, objects = world.rng, FaultyObjects(world.objects, on_call=world.turns.maybe_pause)
    life = Life(objects=objects)
    if world.peaceful:
        return life
    if rng.random() < world.faults.stops:
        life.stop_at = rng.randint(1, 60)
    if rng.random() < world.faults.driver / 2:
        life.crash_at = rng.randint(1, 120)
    elif rng.random() < world.faults.driver / 2:
        objects.fault = rng.choice([fault for fault in Fault if fault is not Fault.LASTING_ERROR])
        objects.nth = rng.randint(1, 60)
    return life


def launch(world):
    """One launch, as `overlap.launcher.launch` does it; True if it ended by itself with nothing left to do."""
    life = draw_life(world)
    store, rotten, troubles = Store(life.objects), world.rotten, world.store_failed + world.disks_full

    def make_executor(_stage, _jobs):
        life.executors.append(SimulatedExecutor(world, life))
        return life.executors[-1]

    world.say("a launch begins")
    try:
        put_aside(store, find_damage(store))
        store.write_sweep(world.plan.sweep.text, lock_of(world.plan))
        _run_rounds(world.plan, store, False, make_executor, Hooks(asked_to_stop=life.asked_to_stop))
        remember_sound(store)
    except (Crash, StoreError) as error:
        world.say(f"the launch ends: {error or 'its process is gone'}")
        _check_all(life, complete=False)
        excused = isinstance(error, Crash) or life.objects.hit or world.disks_full
        excused = excused or world.store_failed - troubles >= MAX_STORE_FAILURES
        excused = excused or (world.rotten and world.drivers > 1)  # a rival may put aside what this one is to read
        if not excused:
            raise AssertionError(f"the launch ended without a cause: {error}") from error
        return False
    world.say("the launch has ended" + " as asked" * life.asked_to_stop())
    _check_all(life, complete=not life.asked_to_stop())
    complete = take_stock(world.plan, Store(world.objects)).complete
    assert complete or life.asked_to_stop() or world.rotten > rotten or world.drivers > 1, "the launch left work undone"
    return complete


def _check_all(life, *, complete):
    for executor in life.executors:
        executor.check(complete=complete)


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


def simulate(seed):
    """The world after the whole history of a seed.

    Raises:
        AssertionError: something is not as promised. It carries the history as its `trace`.
    """
    world = World(seed)
    try:
        with simulated_variants():
            world.turns.run([functools.partial(_drive, world)] * world.drivers)
            _make_peace(world)
            _check_outcome(world)
    except Exception as error:
        error.trace = world.trace
        raise
    return world


def _drive(world):
    for _ in range(MAX_LIVES):
        if launch(world):
            return


def _make_peace(world):
    """No more faults but those that are the cluster's and the variants' own: now everything must be done."""
    world.say("peace")
    world.peaceful, world.drivers = True, 1
    for node in world.nodes:
        node.up = True
    if world.rotten:
        verify(Store(world.objects), deep=True)  # what rotted during a launch is found by who looks
    for _ in range(MAX_PEACEFUL):
        if launch(world) and not world.runs:
            return
        while world.agenda:
            world.advance()
    raise AssertionError(f"not done after {MAX_PEACEFUL} launches without faults")


def _check_outcome(world):
    store = Store(world.objects)
    while world.agenda:  # the last zombies
        world.advance()
    assert_invariants(store, plan=world.plan)
    states = {(job.dataset, job.variant): job for job in status(store).jobs}
    for job in world.plan.evaluation:
        broken = job.key in world.broken or job.weights_key in world.broken
        found = states[job.dataset, job.variant.name]
        expected = JobState.FAILED if broken else JobState.DONE
        assert found.state is expected, f"{job.slug} is {found.state}, expected {expected}: {found.failure}"
        if world.exact and not broken:
            stored = store.read(f"logits/v1/{job.dataset}/{job.slug}.parquet")
            right = predictions_of(job.key, job.dataset).logits_NC
            assert (matrix(stored.table, "logits") == right).all(), f"I4: {job.slug} has wrong logits"


def commit_of_this_code():
    """The git commit that a failing seed belongs to."""
    command = ["git", "describe", "--always", "--dirty", "--abbrev=12"]
    return subprocess.run(
        command, cwd=Path(__file__).parent, capture_output=True, text=True, check=False
    ).stdout.strip()


def main(seed):
    """Prints the history of a seed, and what is wrong with it."""
    try:
        print("\n".join(simulate(seed).trace))
    except Exception as error:
        print("\n".join(getattr(error, "trace", [])))
        raise


if __name__ == "__main__":
    main(int(sys.argv[1]))
