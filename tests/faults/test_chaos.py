"""Six kills -9 in one sweep, each of another part of it; and proof that the trial would see what it looks for."""

import shutil

import pytest

import overlap
from faults.chaos import TARGETS, Chaos
from faults.chaos_launch import Watch
from faults.chaos_table import commit
from faults.chaos_verdict import ROOMS, Book, Verdict, judge

SEED = 4
DEADLINE_S = 300
ALL = 14  # four trainings, ten evaluations


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_a_sweep_survives_the_loss_of_every_part_and_ends_as_if_undisturbed(tmp_path):
    targets = [target for target in TARGETS if target != "supervisor"]
    chaos = Chaos(tmp_path, kills=len(targets), seed=SEED, targets=targets, size=(160, 40, 3), hung_s=DEADLINE_S)
    good = chaos.run()
    replay = f"seed {SEED}, commit {commit()}"
    assert good, f"{replay}: {[trial.verdict for trial in chaos.trials]}"
    assert {kill.target for kill in chaos.kills} == set(targets), replay


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """A trial without kills: it has a plan and a reference."""
    chaos = Chaos(tmp_path_factory.mktemp("chaos"), kills=0, seed=SEED, size=(3, 2, 1))
    chaos.run()
    return chaos


@pytest.fixture
def judged(undisturbed, tmp_path):
    """A copy of the reference, its book, and a function that judges it."""
    folder = tmp_path / "store"
    shutil.copytree(undisturbed.reference.objects.root, folder)
    (tmp_path / "log").touch()
    book = Book(overlap.Store(overlap.open_objects(str(folder))), undisturbed.plan, Verdict())

    def verdict():
        judge(book, tmp_path / "log", undisturbed.plan, undisturbed.reference)
        return book.verdict

    return folder, book, verdict


def results(folder):
    return sorted(folder.glob("results/v1/digits/*"))


def test_an_undisturbed_store_is_good(judged):
    _, _, verdict = judged
    found = verdict()
    assert found.good
    assert found.right == ALL


def test_a_result_that_is_gone_is_lost(judged):
    folder, _, verdict = judged
    results(folder)[0].unlink()
    assert (verdict().lost, verdict().right) == (1, ALL - 1)


def test_a_second_file_for_a_key_is_doubled(judged):
    folder, _, verdict = judged
    first = results(folder)[0]
    shutil.copy(first, first.with_name(f"another-{first.name[-24:]}"))
    assert verdict().doubled == 1


def test_a_changed_byte_is_torn(judged):
    folder, _, verdict = judged
    weights = min(folder.glob("weights/*"))
    weights.write_bytes(weights.read_bytes()[:-1] + b"?")
    assert (verdict().torn, verdict().right) == (1, ALL - 1)


def test_another_result_under_the_name_is_not_right(judged):
    folder, _, verdict = judged
    first, second = results(folder)[:2]
    shutil.copy(second, first)
    assert verdict().right == ALL - 1
    assert not verdict().good


def test_a_checkpoint_that_nobody_needs_is_left_over(judged):
    folder, _, verdict = judged
    (folder / "checkpoints").mkdir(exist_ok=True)
    (folder / "checkpoints" / "x-0123456789abcdef.pt").write_bytes(b"x")
    assert verdict().left == 1


@pytest.mark.parametrize(
    ("first", "second"),
    [("results/v1/digits/x.parquet", "logits/v1/digits/x.parquet"), ("weights/x.safetensors", "checkpoints/x.pt")],
)
def test_what_is_written_after_its_end_was_committed_is_redone(judged, first, second):
    folder, book, _ = judged
    watch = Watch(folder, ROOMS)
    for name in (second, first):
        book.store.objects.create(name, b"x")
    assert [book.enter(name) for name in watch.read()].count(True) == (2 if "checkpoints" in second else 1)
    assert book.verdict.redone == 0
    book.store.objects.replace(second, b"x")
    for name in watch.read():
        book.enter(name)
    watch.close()
    assert book.verdict.redone == 1


def test_a_driver_that_has_more_to_do_than_was_left_redoes_something(judged, tmp_path):
    _, book, _ = judged
    log = tmp_path / "log"
    log.write_text("train: 0 of 4, 2 running\n")
    book.begin_driver(log)
    book.taken = {"weights/a", "weights/b", "results/v1/digits/a"}
    with log.open("a") as file:
        file.write("train: 0 of 4, 2 running\nthe driver was lost\n")
    book.begin_driver(log)
    with log.open("a") as file:
        file.write("train: 0 of 3, 2 running\nevaluate: 0 of 8, 1 running\n")
    assert book.planned_twice(log) == 1, "two of four were trained, so that two were left"
