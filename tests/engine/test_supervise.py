"""When a lost driver starts again, and when it does not; the drivers are real processes of a few lines each."""

import signal
import sys

import pytest

from overlap import supervise


@pytest.fixture
def live(tmp_path, monkeypatch):
    """Runs drivers that live as they are told; gives the exit code, how many there were, and what was said."""
    book, said = tmp_path / "book", []
    monkeypatch.setattr(supervise, "LONGEST_PAUSE_S", 0.0)

    def run(*lives, max_restarts=3):
        script = tmp_path / "driver.py"
        script.write_text(
            "import os, signal, sys\n"
            "from overlap.supervise import OWN_BUG, RAY_LOST, tell_progress\n"
            f"book = {str(book)!r}\n"
            "number = os.path.getsize(book) if os.path.exists(book) else 0\n"
            "open(book, 'ab').write(b'.')\n"
            f"exec({list(lives)!r}[min(number, {len(lives) - 1})])\n"
        )
        monkeypatch.setattr(supervise, "driver_command", lambda _: [sys.executable, str(script)])
        code = supervise.supervise([], max_restarts=max_restarts, say=said.append)
        return code, book.stat().st_size, said

    return run


KILLED = "os.kill(os.getpid(), signal.SIGKILL)"


@pytest.mark.parametrize("code", [0, 2, 3, 4, 5, 75, 130])
def test_a_driver_that_ends_by_itself_has_the_last_word(live, code):
    assert live(f"sys.exit({code})") == (code, 1, [])


def test_a_bug_of_ours_is_not_tried_again(live):
    assert live("sys.exit(OWN_BUG)") == (1, 1, [])


@pytest.mark.parametrize("loss", [KILLED, "sys.exit(RAY_LOST)", "sys.exit(1)"])
def test_a_lost_driver_starts_again(live, loss):
    code, drivers, said = live(loss, "sys.exit(2)")
    assert (code, drivers, len(said)) == (2, 2, 1)
    assert said[0].startswith("the driver was lost: it")
    assert said[0].endswith("starting it again, 1 of at most 3 times in a row")


def test_a_driver_that_is_lost_again_and_again_is_given_up(live):
    code, drivers, said = live(KILLED)
    assert (code, drivers) == (supervise.CLUSTER_FAILED, 4)
    assert said[-1] == "the driver was lost: it was killed by SIGKILL; run the same command again to continue"


def test_losses_with_work_done_in_between_are_not_counted(live):
    code, drivers, _ = live(*[f"tell_progress(); {KILLED}"] * 9, "sys.exit(0)")
    assert (code, drivers) == (0, 10)


def test_more_progress_than_the_channel_holds_blocks_nobody(live):
    assert live("for _ in range(200_000): tell_progress()")[0] == 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_reaches_the_driver_once_and_ends_the_supervisor_as_interrupted(live, number):
    wait = "signal.signal(NUMBER, lambda *_: sys.exit(130)); os.kill(os.getppid(), NUMBER); signal.pause()"
    code, drivers, _ = live(wait.replace("NUMBER", f"signal.{number.name}"))
    assert (code, drivers) == (130, 1)


def test_the_third_signal_kills_a_driver_that_hears_none(live):
    deaf = (
        "import time\n"
        "for number in (signal.SIGINT, signal.SIGTERM): signal.signal(number, signal.SIG_IGN)\n"
        "for number in (signal.SIGINT, signal.SIGTERM, signal.SIGINT): os.kill(os.getppid(), number); time.sleep(0.2)\n"
        "signal.pause()"
    )
    code, drivers, _ = live(deaf)
    assert (code, drivers) == (130, 1)


def test_nobody_watches_over_a_process_whose_environment_names_a_stranger(monkeypatch):
    for value in ("", "1:3", "nonsense"):
        monkeypatch.setenv(supervise.SUPERVISOR, value)
        assert supervise.supervisor() is None
    supervise.tell_progress()
