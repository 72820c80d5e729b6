"""A whole sweep on a simulated cluster: a seed gives one history of faults, and always the same one.

After the simulations of FoundationDB and TigerBeetle. The schedule, its loop, the survey and the store
are the real ones; nodes, workers, time and the variants' own code are simulated.
`make simulate SEED=7` prints the history of one seed.
"""

import functools
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))  # for who runs this as a script

from faults.faulty_objects import Crash, Fault, FaultyObjects
from faults.simulated_executor import SimulatedExecutor
from faults.simulated_work import predictions_of, simulated_variants
from faults.simulated_world import World
from invariants import assert_invariants
from overlap.errors import StoreError
from overlap.launcher import _run_rounds, take_stock
from overlap.loop import Hooks
from overlap.schedule import (
    MAX_STORE_FAILURES,
)
from overlap.standing import JobState, status
from overlap.store import Store, lock_of
from overlap.store.schema import matrix
from overlap.store.verify import find_damage, put_aside, remember_sound, verify

MAX_LIVES = 5  # of one driver, until it is left in peace
MAX_PEACEFUL = 4  # launches in peace, until all must be done


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
