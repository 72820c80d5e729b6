"""What became of a sweep that was killed at: its store against the undisturbed run's, and what lies about."""

import re
from collections import Counter
from dataclasses import dataclass, field

import overlap
from invariants import assert_invariants, assert_nothing_redone, committed
from overlap.standing import JobState
from overlap.store.store import key_in_name

ROOMS = ("results/v1/digits", "logits/v1/digits", "weights", "checkpoints")
TEMPORARY = re.compile(r"^(.*/)\.(.+)\.[0-9a-f]{32}\.tmp$")
PROGRESS = re.compile(r"^(train|evaluate): \d+ of (\d+),", re.MULTILINE)


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

    def note_left(self, left, when):
        """Counts what should not be there any more."""
        if left:
            self.left += len(left)
            self.notes.append(f"left {when}: {[str(one) for one in left]}")

    def require(self, assertion, *arguments, **options):
        """Notes what an assertion has to say."""
        try:
            assertion(*arguments, **options)
        except AssertionError as error:
            self.notes.append(str(error))


class Book:
    """Everything that was committed to a store, as it appeared; tells what is made a second time.

    Whoever computes a result or an epoch ends by writing a temporary file beside its name: none may
    appear for a name that is taken. And no driver may have more to do, by its own lines of progress,
    than what was not committed when it started. Unseen remains only what was started again and then
    killed before its end.
    """

    def __init__(self, store, plan, verdict):
        self.store, self.verdict = store, verdict
        self.jobs = {"train": len(plan.training), "evaluate": len(plan.evaluation)}
        self.taken: set[str] = set()
        self.stamps: dict[str, str] = {}
        self.beginnings: list[tuple[int, Counter[str]]] = []  # of each driver: length of the log, what was committed

    def enter(self, name):
        """Takes note of a file; True if it shows that work goes on."""
        temporary = TEMPORARY.match(name)
        if not temporary:
            self.taken.add(name)
            return not name.startswith("logits/")
        if self._is_taken(temporary[1] + temporary[2]):
            self.verdict.redone += 1
            self.verdict.notes.append(f"made again: {name}")
        return False

    def _is_taken(self, name):
        """True of a result that is there already, and of an epoch whose training has its weights."""
        room, _, rest = name.partition("/")
        twin = {"logits": f"results/{rest}", "checkpoints": f"weights/{rest.replace('.pt', '.safetensors')}"}
        return room != "results" and twin.get(room, name) in self.taken

    @property
    def counts(self):
        """How many jobs of each stage are done."""
        rooms = Counter(name.partition("/")[0] for name in self.taken)
        return Counter(train=rooms["weights"], evaluate=rooms["results"])

    @property
    def stage(self):
        """What the sweep is at."""
        return "train" if self.counts["train"] < self.jobs["train"] else "evaluate"

    def begin_driver(self, log):
        """A new driver: whatever the log gains from now on is its own."""
        self.beginnings.append((log.stat().st_size, self.counts))

    def compare_stamps(self):
        """What had been committed when this was last called is there, and was not written again."""
        before, self.stamps = self.stamps, committed(self.store)
        self.verdict.require(assert_nothing_redone, before, self.store)

    def planned_twice(self, log):
        """How much more the drivers had to do than was not committed when they started."""
        content, twice = log.read_bytes(), 0
        ends = [at for at, _ in self.beginnings[1:]] + [len(content)]
        for (start, done), end in zip(self.beginnings, ends, strict=False):
            for stage, total in set(PROGRESS.findall(content[start:end].decode(errors="replace"))):
                twice += max(int(total) - (self.jobs[stage] - done[stage]), 0)
        return twice


def judge(book, log, plan, reference):
    """Compares a store, whose sweep has ended, with that of an undisturbed run."""
    store, verdict, root = book.store, book.verdict, book.store.objects.root
    wanted = [f"weights/{job.slug}.safetensors" for job in plan.training]
    wanted += [f"results/v1/digits/{job.slug}.parquet" for job in plan.evaluation]
    verdict.expected = len(wanted)
    verdict.right = sum((root / name).exists() and _equal(name, store, reference) for name in wanted)
    kept = [name for name in book.taken if not name.startswith("checkpoints/")]
    verdict.lost = overlap.status(store).count(JobState.PENDING) + sum(not (root / name).exists() for name in kept)
    for room in ROOMS[:3]:
        keys = Counter(key_in_name(name) for name in store.objects.names(room))
        verdict.doubled += keys.total() - len(keys)
    verdict.torn = len(overlap.verify(store, deep=True)[1]) + len(store.objects.names("quarantine"))
    verdict.redone += book.planned_twice(log)
    verdict.temporaries = len(list(root.rglob(".*.tmp")))
    verdict.note_left(store.objects.names("checkpoints"), "in the store")
    book.compare_stamps()
    verdict.require(assert_invariants, store, reference=reference, plan=plan)


def _equal(name, here, there):
    """True if a file equals the undisturbed run's: weights by their bytes, results and logits by their values."""
    if name.startswith("weights/"):
        return here.read_bytes(name) == there.read_bytes(name)
    names = (name, name.replace("results/", "logits/"))
    return all(here.read(each).table.equals(there.read(each).table) for each in names)
