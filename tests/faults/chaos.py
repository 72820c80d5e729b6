"""The chaos trial: kill -9 at random moments of a sweep, again and again; what it ends with equals an undisturbed run.

`make chaos N=100` makes a hundred kills; `--seed` draws other targets and moments. Wants Linux. A kill is
followed by the next one 0.3 to 4 s after work was seen to go on. What counts as what:

recovered    A file of results, weights or checkpoints has appeared. If the driver was lost, files that its
             orphans may still have written do not count: a worker of the new driver must be up.
redone       Somebody made again what had been committed. Whoever computes a result or an epoch ends by
             writing a temporary file beside its name, and inotify tells of each: none may appear for a name
             that is taken. And no driver may have more to do, by its own lines of progress, than what was not
             committed when it started. Unseen remains only what was started again and killed before its end.
"""

import argparse
import os
import random
import re
import shutil
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))  # for who runs this as a script

import overlap
from faults.chaos_launch import Launch, Watch, is_alive, kill
from faults.chaos_table import facts, table, write_between_markers
from invariants import assert_invariants, assert_nothing_redone, committed
from overlap.launcher import ExecutorKind
from overlap.standing import JobState
from overlap.store import lock_of
from overlap.store.store import key_in_name

TARGETS = ("driver", "worker", "raylet", "gcs", "agent", "all", "supervisor")
ROOMS = ("results/v1/digits", "logits/v1/digits", "weights", "checkpoints")
TEMPORARY = re.compile(r"^(.*/)\.(.+)\.[0-9a-f]{32}\.tmp$")
PROGRESS = re.compile(r"^(train|evaluate): \d+ of (\d+),", re.MULTILINE)
LOOK_EVERY_S = 0.25
POLL_S = 0.02
MAY_SURVIVE_S = 30.0  # a driver that is still there so long after the loss of a part of its Ray goes on without it
MUST_END_S = 60.0  # everything, after its supervisor
MAX_STARTS = 12  # of one sweep
PARTIAL = 2
SWEEP = """\
name: chaos
store: {store}
datasets:
  digits: {{source: "sklearn:digits", splits: {{train: 60, calibration: 60, test: 300}}}}
evaluate_on: [digits]
base: {{architecture: "sklearn:LogisticRegression", train_on: digits, preprocessing: {{size: 8}}}}
vary:
  - {{hyperparameters: {{C: {{loguniform: [0.01, 10]}}}}, samples: {regressions}}}
  - architecture: "sklearn:GaussianNB"
    hyperparameters: {{var_smoothing: {{loguniform: [1.0e-9, 1.0e-2]}}}}
    samples: {bayes}
  - architecture: [test_resnet, test_efficientnet, test_byobnet, test_convnext]
    hyperparameters: {{epochs: 4, batch_size: 30, learning_rate: {{loguniform: [1.0e-3, 1.0e-2]}}}}
    preprocessing: {{size: 32}}
    samples: {networks}
"""


@dataclass(kw_only=True)
class Kill:
    """One kill -9 and what followed; a target that was not there is missed."""

    target: str
    delay_s: float
    at: float = 0.0
    missed: bool = False
    recovery_s: float | None = None
    restarted: bool = False  # there was a new driver
    alone: bool = True  # nobody had to run the command again
    hung: bool = False
    note: str = ""


@dataclass(kw_only=True)
class Verdict:
    """What one store held at the end of its sweep, and what was left beside it."""

    expected: int = 0
    right: int = 0
    lost: int = 0
    doubled: int = 0
    torn: int = 0
    redone: int = 0
    left: int = 0  # processes, folders, checkpoints
    hung: int = 0
    failed: int = 0  # jobs reported failed, because their process was killed twice; made when asked to retry
    temporaries: int = 0
    notes: list[str] = field(default_factory=list)

    @property
    def good(self):
        """Nothing is missing, wrong or left over."""
        bad = self.lost + self.doubled + self.torn + self.redone + self.left + self.hung
        return self.right == self.expected and not bad and not self.notes


class Chaos:
    """A number of kills, spread over as many sweeps as they take."""

    def __init__(self, folder, *, kills, seed, targets=TARGETS, size=(240, 60, 5), hung_s=120.0, say=print):
        self.folder, self.number, self.seed, self.targets = folder, kills, seed, targets
        self.hung_s, self.say = hung_s, say
        self.rng = random.Random(seed)
        self.deck: list[str] = []
        self.trials: list[Trial] = []
        self.loads: list[float] = []
        self.path = folder / "chaos.yaml"
        names = dict(zip(("regressions", "bayes", "networks"), size, strict=True))
        self.path.write_text(SWEEP.format(store=folder / "reference", **names))

    def run(self):
        """Makes the reference, then kills until the number is reached; True if every sweep ended well."""
        self.say(f"seed {self.seed}: an undisturbed run first")
        overlap.launch(self.path, executor=ExecutorKind.INPROCESS)
        self.plan, self.reference = overlap.open_plan(self.path)
        while self.made < self.number:
            trial = Trial(self, self.folder / f"store-{len(self.trials) + 1}")
            self.trials.append(trial)
            trial.run()
            self.say(f"{trial.folder.name}: {trial.verdict}")
            if trial.verdict.good:
                shutil.rmtree(trial.folder)
        return all(trial.verdict.good for trial in self.trials)

    @property
    def made(self):
        """How many kills there have been."""
        return sum(not kill.missed for trial in self.trials for kill in trial.kills)

    def draw(self):
        """The next target and moment; each target comes up once in every round."""
        if not self.deck:
            self.deck = self.rng.sample(self.targets, len(self.targets))
        return Kill(target=self.deck.pop(), delay_s=self.rng.uniform(0.3, 4.0))


class Trial:
    """One sweep into a fresh store, disturbed until it is done."""

    def __init__(self, chaos, folder):
        self.chaos, self.folder = chaos, folder
        self.store = overlap.Store(overlap.open_objects(str(folder)))
        self.store.write_sweep(chaos.plan.sweep.text, lock_of(chaos.plan))  # before the folders: now it is a store
        self.watch = Watch(folder, ROOMS)
        self.launch = Launch(chaos.path, folder, folder.with_suffix(".log"))
        self.kills: list[Kill] = []
        self.verdict = Verdict()
        self.looked = 0.0
        self.staffed = 0  # how many drivers had been seen when the last of them was seen with a worker
        self.files, self.file_at = 0, 0.0  # of results, weights and checkpoints: how many appeared, and the last
        self.quiet_since = time.monotonic()
        self.taken: set[str] = set()  # names that were committed
        self.stamps: dict[str, str] = {}  # of what had been committed at the last kill
        self.beginnings: list[tuple[int, Counter[str]]] = []  # of each driver: length of the log, what was committed

    def run(self):
        """Starts, kills, and checks what is there at the end."""
        try:
            self.launch.start()
            ended = self._recover(Kill(target="nothing", delay_s=0.0, at=time.monotonic()))
            while not ended and self.chaos.made < self.chaos.number:
                ended = self._disturb(self.chaos.draw())
            while not ended:
                ended = self._poll()
            self._check()
        finally:
            self.launch.end()
            self.watch.close()

    # --- one kill

    def _disturb(self, fault):
        """Waits for its moment, kills, waits until work goes on; True once the sweep has ended."""
        moment = time.monotonic() + fault.delay_s
        while time.monotonic() < moment:
            if self._poll():
                self.chaos.deck.append(fault.target)
                return True
        self._look()
        found = self.launch.find(fault.target)
        if fault.target in ("worker", "agent"):
            found = self.chaos.rng.sample(found, min(len(found), 1))
        stage = "training" if self._counts()["train"] < len(self.chaos.plan.training) else "evaluation"
        self.kills.append(fault)
        self.chaos.loads.append(os.getloadavg()[0])
        ended = False
        if found:
            ended = self._strike(fault, found)
        else:
            fault.missed = True
            self.chaos.deck.append(fault.target)
        self.chaos.say(self._line(fault, stage))
        return ended

    def _strike(self, fault, found):
        self._compare_stamps()
        fault.at = self.quiet_since = time.monotonic()
        for process in found:
            kill(process)
        if fault.target == "supervisor":
            self._note_left(self.launch.await_end(MUST_END_S), "after its supervisor")
            fault.note = f"all ended by itself in {time.monotonic() - fault.at:.1f} s"
            self._start_again(fault)
        return self._recover(fault)

    def _recover(self, fault):
        """Waits until work goes on; True once the sweep has ended.

        If there is no new driver, because the old one goes on without what was killed, any file will do.
        """
        driver, drivers = self.launch.driver, len(self.launch.drivers)
        files, first_at = self.files, None
        enough = files if fault.target == "worker" else None  # as soon as there are more files, work goes on
        while not self._poll(fault):
            if first_at is None and self.files > files:
                first_at = self.file_at
            if enough is not None and self.files > enough:
                fault.recovery_s = self.file_at - fault.at
                break
            if first_at and driver and is_alive(driver) and time.monotonic() > fault.at + MAY_SURVIVE_S:
                fault.recovery_s = first_at - fault.at
                break
            if enough is None and self.staffed > drivers:
                enough = self.files
        else:
            fault.recovery_s = time.monotonic() - fault.at
        fault.restarted = len(self.launch.drivers) > drivers
        return self.launch.code == 0

    # --- what happens meanwhile

    def _poll(self, fault=None):
        """Takes in what has happened; True once the sweep has ended."""
        time.sleep(POLL_S)
        code = self.launch.code
        self._read()
        if time.monotonic() - self.looked > LOOK_EVERY_S:
            self._look()
        if code:
            self._go_on_after(code, fault)
        elif code is None and time.monotonic() - self.quiet_since > self.chaos.hung_s:
            self.verdict.hung += 1
            self.chaos.say(f"HUNG: no file for {self.chaos.hung_s:.0f} s; there are {self.launch.alive()}")
            self._start_again(fault, hung=True)
        return code == 0

    def _read(self):
        for name in self.watch.read():
            temporary = TEMPORARY.match(name)
            if temporary and self._is_taken(temporary[1] + temporary[2]):
                self.verdict.redone += 1
                self.verdict.notes.append(f"made again: {name}")
            if not temporary:
                self.taken.add(name)
            if not temporary and not name.startswith("logits/"):
                self.files += 1
                self.file_at = self.quiet_since = time.monotonic()

    def _is_taken(self, name):
        """True of a result that is there already, and of an epoch whose training has its weights."""
        room, _, rest = name.partition("/")
        twin = {"logits": f"results/{rest}", "checkpoints": f"weights/{rest.replace('.pt', '.safetensors')}"}
        return room != "results" and twin.get(room, name) in self.taken

    def _look(self):
        self.looked = time.monotonic()
        self.launch.look()
        if len(self.beginnings) < len(self.launch.drivers):
            self.beginnings.append((self.launch.log.stat().st_size, self._counts()))
        if self.staffed < len(self.launch.drivers) and self.launch.find("worker"):
            self.staffed = len(self.launch.drivers)

    def _counts(self):
        rooms = Counter(name.partition("/")[0] for name in self.taken)
        return Counter(train=rooms["weights"], evaluate=rooms["results"])

    def _compare_stamps(self):
        before, self.stamps = self.stamps, committed(self.store)
        try:
            assert_nothing_redone(before, self.store)
        except AssertionError as error:
            self.verdict.notes.append(str(error))

    def _go_on_after(self, code, fault):
        """The command has ended before its sweep: it is run again, as a user would."""
        last = self.launch.log.read_text().splitlines()[-1:]
        self.chaos.say(f"the command ended with {code}: {last}")
        self._note_left(self.launch.await_end(MUST_END_S), f"after it had ended with {code}")
        for failure in overlap.status(self.store).failures if code == PARTIAL else ():
            self.verdict.failed += 1
            self.chaos.say(f"reported failed: {failure}")
            if failure.outcome != "process died":
                self.verdict.notes.append(f"{failure.stage} of {failure.variant} failed: {failure.cause}")
        self._start_again(fault, "--retry-failed")

    def _start_again(self, fault, *more, hung=False):
        assert self.launch.starts < MAX_STARTS, f"no end after {MAX_STARTS} starts"
        fault = fault or (self.kills[-1] if self.kills else Kill(target="nothing", delay_s=0.0))
        fault.alone, fault.hung = False, fault.hung or hung
        self.launch.end()
        self.launch.start(*more)
        self.quiet_since = time.monotonic()

    def _note_left(self, left, when):
        if left:
            self.verdict.left += len(left)
            self.verdict.notes.append(f"left {when}: {[str(one) for one in left]}")

    def _line(self, fault, stage):
        what = "missed: there was none" if fault.missed else "no recovery"
        if fault.recovery_s is not None:
            how = "by itself" if fault.alone else "command run again"
            what = f"recovered in {fault.recovery_s:5.1f} s, {how}{', new driver' if fault.restarted else ''}"
        parts = [f"{self.chaos.made:4}", self.folder.name, f"{stage:10}", f"{fault.target:10}"]
        return "  ".join([*parts, f"after {fault.delay_s:.2f} s", "HUNG, " * fault.hung + what, fault.note]).rstrip()

    # --- the end

    def _check(self):
        self._read()
        self._note_left(self.launch.await_end(10), "at the end")
        self._note_left(self.launch.folders(), "at the end")
        self._note_left(sorted(self.folder.glob("checkpoints/*.pt")), "at the end")
        verdict, plan = self.verdict, self.chaos.plan
        verdict.expected = len(plan.evaluation) + len(plan.training)
        verdict.right = sum(self._equal("weights", f"{job.slug}.safetensors") for job in plan.training)
        verdict.right += sum(self._equal("results/v1/digits", f"{job.slug}.parquet") for job in plan.evaluation)
        kept = [name for name in self.taken if not name.startswith("checkpoints/")]
        verdict.lost = overlap.status(self.store).count(JobState.PENDING)
        verdict.lost += sum(not (self.folder / name).exists() for name in kept)
        for room in ROOMS[:3]:
            keys = Counter(key_in_name(name) for name in self.store.objects.names(room))
            verdict.doubled += keys.total() - len(keys)
        verdict.torn = len(overlap.verify(self.store, deep=True)[1]) + len(self.store.objects.names("quarantine"))
        verdict.redone += self._planned_twice()
        verdict.temporaries = len(list(self.folder.rglob(".*.tmp")))
        self._compare_stamps()
        try:
            assert_invariants(self.store, reference=self.chaos.reference, plan=plan)
        except AssertionError as error:
            verdict.notes.append(str(error))

    def _equal(self, room, name):
        """True if a file is there and equals the undisturbed run's: weights by their bytes, tables by their values."""
        here, there = self.store, self.chaos.reference
        if not (self.folder / room / name).exists():
            return False
        if room == "weights":
            return here.read_bytes(f"{room}/{name}") == there.read_bytes(f"{room}/{name}")
        names = [f"{kind}/v1/digits/{name}" for kind in ("results", "logits")]
        return all(here.read(each).table.equals(there.read(each).table) for each in names)

    def _planned_twice(self):
        """How much more the drivers had to do than what was not committed when they started."""
        log, plan, twice = self.launch.log.read_bytes(), self.chaos.plan, 0
        jobs = {"train": len(plan.training), "evaluate": len(plan.evaluation)}
        ends = [at for at, _ in self.beginnings[1:]] + [len(log)]
        for (start, done), end in zip(self.beginnings, ends, strict=True):
            for stage, total in set(PROGRESS.findall(log[start:end].decode(errors="replace"))):
                twice += max(int(total) - (jobs[stage] - done[stage]), 0)
        return twice


def main():
    """Makes the kills and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path, help="the page whose table to write anew")
    parser.add_argument("--folder", type=Path, help="where the stores go; a new one by default")
    options = parser.parse_args()
    folder = options.folder or Path(tempfile.mkdtemp(prefix="chaos-"))
    folder.mkdir(parents=True, exist_ok=True)
    chaos = Chaos(folder, kills=options.kills, seed=options.seed)
    good = False
    try:
        good = chaos.run()
    finally:
        text = f"{table(chaos.targets, chaos.trials)}\n\n{facts(chaos)}"
        print(text)
    if options.out:
        write_between_markers(options.out, text)
    print("nothing lost, doubled, torn, redone or left" if good else f"see {folder}")
    return 0 if good else 1


if __name__ == "__main__":
    sys.stdout.reconfigure(line_buffering=True)
    sys.exit(main())
