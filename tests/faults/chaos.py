"""The chaos trial: kill -9 at random moments of a sweep, again and again; what it ends with equals an undisturbed run.

`make chaos N=100` makes a hundred kills; another SEED draws other targets and moments. Wants Linux. A kill is
followed by the next one 0.3 to 4 s after work was seen to go on: a file of results, weights or checkpoints
has appeared. Where the driver was lost, files that its orphans may still write do not count as that: a worker
of the new driver must be up.
"""

import argparse
import os
import random
import shutil
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

import psutil

sys.path.insert(0, str(Path(__file__).parents[1]))  # for who runs this as a script

import overlap
from faults.chaos_launch import Launch, Watch, is_alive, kill
from faults.chaos_table import facts, table, write_between_markers
from faults.chaos_verdict import ROOMS, Book, Verdict, judge
from overlap.launcher import ExecutorKind
from overlap.store import lock_of

TARGETS = ("driver", "worker", "raylet", "gcs", "agent", "all", "supervisor")
PARTIAL = 2  # the exit code of a sweep some of whose variants failed
LOOK_EVERY_S = 0.25
POLL_S = 0.02
MAY_SURVIVE_S = 30.0  # a driver that is still there so long after the loss of a part of its Ray goes on without it
MUST_END_S = 30.0  # a driver without its supervisor
MUST_BE_GONE_S = 120.0  # all processes, after the end of the sweep
MAX_STARTS = 30  # of one sweep
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
    """One kill -9 and what followed; a target that was not there is missed. Times count from the kill."""

    target: str
    delay_s: float
    at: float = 0.0
    load: float = 0.0
    missed: bool = False
    driver_s: float | None = None  # until there was another driver
    worker_s: float | None = None  # until that had a worker
    recovery_s: float | None = None
    alone: bool = True  # nobody had to run the command again
    hung: bool = False
    ghosts: list[psutil.Process] = field(default_factory=list)  # the processes of the driver that was hit
    gone_s: float | None = None  # until none of them was left, if that driver was lost


class Chaos:
    """A number of kills, spread over as many sweeps as they take."""

    def __init__(self, folder, *, kills, seed, targets=TARGETS, size=(240, 60, 5), hung_s=120.0, say=print):
        self.folder, self.number, self.seed, self.targets = folder, kills, seed, targets
        self.hung_s, self.say = hung_s, say
        self.rng = random.Random(seed)
        self.deck: list[str] = []
        self.trials: list[Trial] = []
        self.starts_s: list[float] = []  # from the command to the first file, with no kill in between
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
    def kills(self):
        """All of them, those that missed too."""
        return [kill for trial in self.trials for kill in trial.kills]

    @property
    def made(self):
        """How many hit."""
        return sum(not kill.missed for kill in self.kills)

    def draw(self):
        """The next target and moment; each target comes up once in every round."""
        if not self.deck:
            self.deck = self.rng.sample(self.targets, len(self.targets))
        return Kill(target=self.deck.pop(), delay_s=self.rng.uniform(0.3, 4.0))


class Trial:
    """One sweep into a fresh store, disturbed until it is done."""

    def __init__(self, chaos, folder):
        self.chaos, self.folder = chaos, folder
        store = overlap.Store(overlap.open_objects(str(folder)))
        store.write_sweep(chaos.plan.sweep.text, lock_of(chaos.plan))  # before the rooms: now it is a store
        self.watch = Watch(folder, ROOMS)
        self.launch = Launch(chaos.path, folder, folder.with_suffix(".log"))
        self.kills: list[Kill] = []
        self.verdict = Verdict()
        self.book = Book(store, chaos.plan, self.verdict)
        self.looked_at = 0.0
        self.files, self.file_at = 0, 0.0  # that show that work goes on: how many have appeared, and when the last
        self.quiet_since = time.monotonic()

    def run(self):
        """Starts, kills, and checks what is there at the end."""
        try:
            self.launch.start()
            start = Kill(target="nothing", delay_s=0.0, at=time.monotonic())
            ended = self._recover(start)
            self.chaos.starts_s.append(start.recovery_s)
            while not ended and self.chaos.made < self.chaos.number:
                ended = self._disturb(self.chaos.draw())
            while not ended:
                ended = self._poll()
            self._end()
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
        fault.load, fault.missed = os.getloadavg()[0], not found
        stage = self.book.stage
        self.kills.append(fault)
        if fault.missed:
            self.chaos.deck.append(fault.target)
        ended = False if fault.missed else self._strike(fault, found)
        self.chaos.say(self._line(fault, stage))
        return ended

    def _strike(self, fault, found):
        self.book.compare_stamps()
        driver = self.launch.driver
        fault.ghosts = [process for process in self.launch.alive() if process.pid != self.launch.command.pid]
        fault.at = self.quiet_since = time.monotonic()
        for process in found:
            kill(process)
        if fault.target == "supervisor":
            while is_alive(driver) and time.monotonic() < fault.at + MUST_END_S:
                time.sleep(POLL_S)
            self.verdict.note_left([driver] if is_alive(driver) else [], "after its supervisor")
            self._start_again(fault)
        return self._recover(fault)

    def _recover(self, fault):
        """Waits until work goes on; True once the sweep has ended.

        If there is no new driver, because the old one goes on without what was killed, any file will do.
        """
        drivers, driver = len(self.launch.drivers), self.launch.driver
        files, first_at = self.files, None
        enough = files if fault.target == "worker" else None  # as soon as there are more files, work goes on
        while not self._poll(fault):
            since = time.monotonic() - fault.at
            if len(self.launch.drivers) > drivers:
                fault.driver_s = fault.driver_s or since
                if self.launch.staffed == len(self.launch.drivers) and enough is None:
                    fault.worker_s, enough = since, self.files
            if self.files > files:
                first_at = first_at or self.file_at
            if enough is not None and self.files > enough:
                fault.recovery_s = self.file_at - fault.at
                return False
            if first_at and driver and is_alive(driver) and since > MAY_SURVIVE_S:
                fault.recovery_s = first_at - fault.at
                return False
        fault.recovery_s = time.monotonic() - fault.at
        return True

    # --- what happens meanwhile

    def _poll(self, fault=None):
        """Takes in what has happened; True once the sweep has ended."""
        time.sleep(POLL_S)
        code = self.launch.code
        for name in self.watch.read():
            if self.book.enter(name):
                self.files += 1
                self.file_at = self.quiet_since = time.monotonic()
        if time.monotonic() - self.looked_at > LOOK_EVERY_S:
            self._look()
        if code:
            self._go_on_after(code, fault)
        elif code is None and time.monotonic() - self.quiet_since > self.chaos.hung_s:
            self.verdict.hung += 1
            self.chaos.say(f"HUNG: no file for {self.chaos.hung_s:.0f} s; there are {self.launch.alive()}")
            self._start_again(fault, hung=True)
        return code == 0

    def _look(self):
        self.looked_at = time.monotonic()
        if self.launch.look():
            self.book.begin_driver(self.launch.log)
        for fault in self.kills:
            if fault.driver_s and fault.gone_s is None and not any(is_alive(ghost) for ghost in fault.ghosts):
                fault.gone_s = time.monotonic() - fault.at

    def _go_on_after(self, code, fault):
        """The command has ended before its sweep: it is run again, as a user would."""
        last = self.launch.log.read_text(errors="replace").splitlines()[-3:]
        self.chaos.say(f"the command ended with {code}: {last}")
        self.launch.keep_ray_logs(self.folder.with_suffix(f".ray-{self.launch.starts}"))
        for failure in overlap.status(self.book.store).failures if code == PARTIAL else ():
            self.verdict.failed += 1
            self.chaos.say(f"reported failed: {failure}")
            if failure.outcome != "process died":
                self.verdict.notes.append(f"{failure.stage} of {failure.variant} failed: {failure.cause}")
        self._start_again(fault, "--retry-failed")

    def _start_again(self, fault, *more, hung=False):
        assert self.launch.starts < MAX_STARTS, f"no end after {MAX_STARTS} starts"
        if fault or self.kills:
            fault = fault or self.kills[-1]
            fault.alone, fault.hung = False, fault.hung or hung
        if hung:
            self.launch.keep_ray_logs(self.folder.with_suffix(f".ray-{self.launch.starts}"))
            self.launch.end()
        self.launch.start(*more)
        self.quiet_since = time.monotonic()

    def _line(self, fault, stage):
        what = "missed: there was none" if fault.missed else "no recovery"
        if fault.recovery_s is not None:
            steps = f" (driver {fault.driver_s:.1f}, worker {fault.worker_s or 0:.1f})" if fault.driver_s else ""
            what = f"recovered in {fault.recovery_s:5.1f} s{steps}" + ", command run again" * (not fault.alone)
        parts = [f"{self.chaos.made:4}", self.folder.name, f"{stage:8}", f"{fault.target:10}"]
        parts += [f"after {fault.delay_s:.2f} s", "HUNG, " * fault.hung + what, f"load {fault.load:.1f}"]
        return "  ".join(parts)

    def _end(self):
        self._poll()
        since = time.monotonic()
        while self.launch.alive() and time.monotonic() < since + MUST_BE_GONE_S:
            self._look()
            time.sleep(LOOK_EVERY_S)
        self.verdict.note_left(self.launch.alive(), "at the end")
        self.verdict.note_left(self.launch.folders(), "at the end")
        judge(self.book, self.launch.log, self.chaos.plan, self.chaos.reference)


def main():
    """Makes the kills and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--targets", default=",".join(TARGETS), help="what to kill, with commas in between")
    parser.add_argument("--out", type=Path, help="the page whose table to write anew")
    parser.add_argument("--folder", type=Path, help="where the stores go; a new one by default")
    options = parser.parse_args()
    folder = options.folder or Path(tempfile.mkdtemp(prefix="chaos-"))
    folder.mkdir(parents=True, exist_ok=True)
    chaos = Chaos(folder, kills=options.kills, seed=options.seed, targets=options.targets.split(","))
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
