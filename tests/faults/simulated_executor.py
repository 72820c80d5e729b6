"""The executor of the simulation, and what it holds against the schedule that drives it."""

from faults.simulated_world import DEATHS, FORGIVEN, Run
from overlap.executor import Offer
from overlap.plan import Stage
from overlap.schedule import (
    MAX_DEATHS,
    MAX_NODE_LOSSES,
    SUSPICIOUS_FAILURES,
    Attempt,
    Ended,
    Outcome,
)


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
