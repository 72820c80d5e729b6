"""What runs next, and what a failure means."""

from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from overlap.plan import Job, Stage
from overlap.schedule import (
    MAX_NODE_LOSSES,
    Abort,
    Attempt,
    Ended,
    Free,
    Outcome,
    RecordFailure,
    Start,
    begin,
    step,
)
from overlap.variants import Preprocessing, Variant

VARIANT = Variant(
    name="v",
    architecture="test_resnet",
    framework="supervised",
    train_on="digits",
    seed=0,
    hyperparameters=(),
    preprocessing=Preprocessing(),
)


def attempt_of(name="v", *, cost=1.0, batch_size=256):
    job = Job(
        stage=Stage.EVALUATE,
        variant=replace(VARIANT, name=name),
        dataset="digits",
        key=name * 16,
        config="{}",
        weights_key="",
        cost=cost,
    )
    return Attempt(job=job, batch_size=batch_size)


def run_out(attempt, outcomes):
    """Lets one job end in each of these ways until it is not started again; all commands and the state."""
    state = begin([attempt])
    commands = []
    for outcome in outcomes:
        state, started = step(state, Free(slots=1))
        if not started:
            break
        state, made = step(state, Ended(attempt=started[0].attempt, outcome=outcome, cause="why"))
        commands += [*started, *made]
    return state, commands


def starts(commands):
    return [command.attempt for command in commands if isinstance(command, Start)]


def finals(commands):
    return [command.final for command in commands if isinstance(command, RecordFailure)]


def test_the_longest_jobs_start_first_and_equals_in_their_order():
    attempts = [attempt_of("a", cost=1), attempt_of("b", cost=5), attempt_of("c", cost=5), attempt_of("d", cost=3)]
    _, commands = step(begin(attempts), Free(slots=4))
    assert [command.attempt.job.variant.name for command in commands] == ["b", "c", "d", "a"]


@pytest.mark.parametrize("slots", [0, 1, 2, 3, 9])
def test_no_more_attempts_start_than_there_is_room(slots):
    state, commands = step(begin([attempt_of(name) for name in "abc"]), Free(slots=slots))
    assert len(commands) == len(state.running) == min(slots, 3)
    assert len(state.waiting) == 3 - len(commands)


def test_a_finished_attempt_is_done_and_says_nothing():
    state, commands = run_out(attempt_of(), [Outcome.DONE])
    assert (state.done, state.failed, state.finished) == (1, 0, True)
    assert finals(commands) == []


def test_a_variant_that_raises_fails_at_once():
    state, commands = run_out(attempt_of(), [Outcome.RAISED] * 3)
    assert (state.done, state.failed, state.finished) == (0, 1, True)
    assert finals(commands) == [True]


def test_a_process_that_dies_is_tried_once_more():
    state, commands = run_out(attempt_of(), [Outcome.PROCESS_DIED] * 5)
    assert finals(commands) == [False, True]
    assert (state.failed, state.finished) == (1, True)
    state, commands = run_out(attempt_of(), [Outcome.PROCESS_DIED, Outcome.DONE])
    assert finals(commands) == [False]
    assert (state.done, state.failed, state.finished) == (1, 0, True)


@pytest.mark.parametrize(("first", "sizes"), [(256, [256, 128, 64, 32, 16, 8, 4, 2, 1]), (5, [5, 2, 1]), (1, [1])])
def test_too_little_memory_halves_the_batch_down_to_one(first, sizes):
    state, commands = run_out(attempt_of(batch_size=first), [Outcome.OUT_OF_MEMORY] * 20)
    assert [attempt.batch_size for attempt in starts(commands)] == sizes
    assert finals(commands) == [False] * (len(sizes) - 1) + [True]
    assert (state.failed, state.finished) == (1, True)


def test_a_lost_node_is_forgiven_up_to_a_bound():
    state, commands = run_out(attempt_of(), [Outcome.NODE_LOST] * 100)
    assert len(starts(commands)) == MAX_NODE_LOSSES
    assert finals(commands) == [False] * (MAX_NODE_LOSSES - 1) + [True]
    assert (state.failed, state.finished) == (1, True)


def test_a_lost_node_is_no_death_of_the_variant():
    outcomes = [Outcome.NODE_LOST, Outcome.PROCESS_DIED, Outcome.NODE_LOST, Outcome.DONE]
    state, commands = run_out(attempt_of(), outcomes)
    assert finals(commands) == [False, False, False]
    assert state.done == 1


def test_deaths_are_remembered_over_other_failures():
    outcomes = [Outcome.PROCESS_DIED, Outcome.OUT_OF_MEMORY, Outcome.NODE_LOST, Outcome.PROCESS_DIED]
    _, commands = run_out(attempt_of(), outcomes)
    assert finals(commands) == [False, False, False, True]


def test_attempts_are_counted_on():
    _, commands = run_out(replace(attempt_of(), number=4), [Outcome.NODE_LOST] * 3)
    assert [attempt.number for attempt in starts(commands)] == [4, 5, 6]


def test_a_new_attempt_starts_before_what_waits():
    state, (first,) = step(begin([attempt_of("a"), attempt_of("b")]), Free(slots=1))
    state, _ = step(state, Ended(attempt=first.attempt, outcome=Outcome.NODE_LOST))
    _, (again,) = step(state, Free(slots=1))
    assert again.attempt.job == first.attempt.job


def test_a_failed_store_ends_the_sweep_with_its_cause():
    state, commands = run_out(attempt_of(), [Outcome.STORE_FAILED])
    assert commands[1:] == [Abort(cause="why")]
    assert (state.done, state.failed) == (0, 0)


def test_a_failure_is_recorded_with_what_is_known_of_it():
    state, (start,) = step(begin([attempt_of()]), Free(slots=1))
    ended = Ended(attempt=start.attempt, outcome=Outcome.RAISED, cause="why", last_lines=("x", "y"), seconds=2.0)
    _, commands = step(state, ended)
    assert commands == (RecordFailure(ended=ended, final=True),)


@pytest.mark.parametrize("when", ["before it starts", "twice", "as an attempt that has been replaced"])
def test_the_end_of_what_does_not_run_is_a_bug(when):
    attempt = attempt_of()
    state = begin([attempt])
    if when == "twice":
        state, _ = step(state, Free(slots=1))
        state, _ = step(state, Ended(attempt=attempt, outcome=Outcome.DONE))
    if when.startswith("as an attempt"):
        state, _ = step(state, Free(slots=1))
        state, _ = step(state, Ended(attempt=attempt, outcome=Outcome.NODE_LOST))
        state, _ = step(state, Free(slots=1))
    with pytest.raises(ValueError, match="ended, but does not run"):
        step(state, Ended(attempt=attempt, outcome=Outcome.DONE))


def test_a_step_leaves_the_state_before_it_as_it_was():
    before = begin([attempt_of()])
    after, _ = step(before, Free(slots=1))
    assert len(before.waiting) == 1
    assert not before.running
    assert after != before


@given(
    costs=st.lists(st.floats(0, 100), min_size=1, max_size=8),
    outcomes=st.lists(st.sampled_from([outcome for outcome in Outcome if outcome is not Outcome.STORE_FAILED])),
    data=st.data(),
)
@settings(deadline=None, max_examples=200)
def test_every_job_is_done_or_finally_failed_exactly_once_whatever_happens(costs, outcomes, data):
    attempts = [attempt_of(chr(97 + i), cost=cost, batch_size=8) for i, cost in enumerate(costs)]
    slots = data.draw(st.integers(1, 4))
    state, running, ends = begin(attempts), [], Counter()
    outcomes = list(outcomes)
    while not state.finished:
        state, commands = step(state, Free(slots=slots - len(running)))
        running += [command.attempt for command in commands]
        assert len(running) == len(state.running) <= slots
        assert len({attempt.job.key for attempt in running}) == len(running)
        ended = running.pop(data.draw(st.integers(0, len(running) - 1)))
        outcome = outcomes.pop() if outcomes else Outcome.DONE
        state, commands = step(state, Ended(attempt=ended, outcome=outcome))
        final = [command.final for command in commands]
        ends[ended.job.key] += outcome is Outcome.DONE or final == [True]
        assert final == [] if outcome is Outcome.DONE else len(final) == 1
    assert not running
    assert ends == {attempt.job.key: 1 for attempt in attempts}
    assert state.done + state.failed == len(attempts)
