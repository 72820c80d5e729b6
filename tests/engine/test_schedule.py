"""What runs next, and what a failure means."""

from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from overlap.plan import Job, Stage
from overlap.resources import Resources
from overlap.schedule import (
    MAX_NODE_LOSSES,
    MAX_STORE_FAILURES,
    Abort,
    Attempt,
    Ended,
    Free,
    LeaveOut,
    Outcome,
    RecordFailure,
    Start,
    Stop,
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

CPU, GPU = Resources(), Resources(gpus=1)


def free(slots, needs=CPU, *, elsewhere=False):
    return Free(slots={needs: slots}, elsewhere=elsewhere)


def attempt_of(name="v", *, cost=1.0, batch_size=256, stage=Stage.EVALUATE, resources=CPU):
    job = Job(
        stage=stage,
        variant=replace(VARIANT, name=name),
        dataset="digits",
        key=name * 16,
        config="{}",
        weights_key="",
        cost=cost,
        resources=resources,
    )
    return Attempt(job=job, batch_size=batch_size)


def run_out(attempt, outcomes):
    """Lets one job end in each of these ways until it is not started again; all commands and the state."""
    state = begin([attempt])
    commands = []
    for outcome in outcomes:
        state, started = step(state, free(1))
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
    _, commands = step(begin(attempts), free(4))
    assert [command.attempt.job.variant.name for command in commands] == ["b", "c", "d", "a"]


@pytest.mark.parametrize("slots", [0, 1, 2, 3, 9])
def test_no_more_attempts_start_than_there_is_room(slots):
    state, commands = step(begin([attempt_of(name) for name in "abc"]), free(slots))
    assert len(commands) == len(state.running) == min(slots, 3)
    assert state.demand.get(CPU, 0) == 3 - len(commands)


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


@pytest.mark.parametrize(
    ("first", "sizes"), [(256, [256, 128, 64, 32, 16, 8, 4, 2, 1, 1]), (5, [5, 2, 1, 1]), (1, [1, 1])]
)
def test_too_little_memory_halves_the_batch_down_to_one_which_is_tried_twice(first, sizes):
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
    state, (first,) = step(begin([attempt_of("a"), attempt_of("b")]), free(1))
    state, _ = step(state, Ended(attempt=first.attempt, outcome=Outcome.NODE_LOST))
    _, (again,) = step(state, free(1))
    assert again.attempt.job == first.attempt.job


def test_a_store_that_fails_three_times_in_a_row_ends_the_sweep():
    state, commands = run_out(attempt_of(), [Outcome.STORE_FAILED] * 5)
    assert len(starts(commands)) == MAX_STORE_FAILURES
    (abort,) = [command for command in commands if isinstance(command, Abort)]
    assert abort.ended.cause == "why"
    assert finals(commands) == []
    assert (state.done, state.failed) == (0, 0)


def test_a_store_that_fails_now_and_then_does_not():
    names = "abcdef"
    state = begin([attempt_of(name) for name in names])
    for _ in names:
        for outcome in (Outcome.STORE_FAILED, Outcome.STORE_FAILED, Outcome.DONE):
            state, (start,) = step(state, free(1))
            state, commands = step(state, Ended(attempt=start.attempt, outcome=outcome))
            assert commands == ()
    assert (state.done, state.failed, state.finished) == (len(names), 0, True)


def test_a_full_disk_ends_the_sweep_at_once():
    _, commands = run_out(attempt_of(), [Outcome.DISK_FULL])
    assert [type(command) for command in commands] == [Start, Abort]


def test_a_hang_is_a_death():
    _, commands = run_out(attempt_of(), [Outcome.TIMED_OUT, Outcome.PROCESS_DIED])
    assert finals(commands) == [False, True]


def test_a_training_keeps_its_batch_and_may_run_out_of_memory_once():
    _, commands = run_out(attempt_of(stage=Stage.TRAIN), [Outcome.OUT_OF_MEMORY] * 5)
    assert [attempt.batch_size for attempt in starts(commands)] == [256, 256]
    assert finals(commands) == [False, True]


def test_the_batch_that_fitted_is_remembered_for_the_architecture():
    state, (first,) = step(begin([attempt_of("a", cost=2), attempt_of("b"), attempt_of("c")]), free(1))
    state, _ = step(state, Ended(attempt=first.attempt, outcome=Outcome.OUT_OF_MEMORY))
    _, commands = step(state, free(3))
    assert [start.attempt.batch_size for start in commands] == [128, 128, 128]


def test_a_damaged_input_is_neither_done_nor_failed():
    state, commands = run_out(attempt_of(), [Outcome.INPUT_DAMAGED])
    assert finals(commands) == [False]
    assert (state.done, state.failed, state.finished) == (0, 0, True)


def test_attempts_start_on_what_they_need():
    attempts = [attempt_of("a", cost=9, resources=GPU), attempt_of("b"), attempt_of("c", cost=5)]
    state, commands = step(begin(attempts), free(1))
    assert [start.attempt.job.variant.name for start in commands] == ["c"]
    assert state.demand == {GPU: 1, CPU: 1}
    _, commands = step(state, Free(slots={GPU: 2, CPU: 2}))
    assert {start.attempt.job.variant.name for start in commands} == {"a", "b"}


def test_once_asked_to_stop_nothing_starts_and_what_runs_may_end():
    state, commands = step(begin([attempt_of(name) for name in "abc"]), free(2))
    state, _ = step(state, Stop())
    assert (state.demand, state.finished) == ({}, False)
    state, nothing = step(state, free(5))
    assert nothing == ()
    state, _ = step(state, Ended(attempt=commands[0].attempt, outcome=Outcome.DONE))
    state, records = step(state, Ended(attempt=commands[1].attempt, outcome=Outcome.STOPPED))
    assert (state.finished, state.done, state.failed, records) == (True, 1, 0, ())


class TestNodes:
    """Nodes on which everything fails."""

    def fail(self, state, node, name, outcome=Outcome.RAISED):
        """Lets this variant's attempt start and fail on a node."""
        running = [attempt for attempt in state.running if attempt.job.variant.name == name]
        return step(state, Ended(attempt=running[0], outcome=outcome, node=node))

    def started(self, names, *, elsewhere=True):
        return step(begin([attempt_of(name) for name in names]), free(99, elsewhere=elsewhere))[0]

    def test_three_variants_that_fail_in_a_row_leave_the_node_out_and_are_tried_elsewhere(self):
        state = self.started("abcd")
        for name in "ab":
            state, commands = self.fail(state, "bad", name)
            assert finals(commands) == [False]
        state, commands = self.fail(state, "bad", "c")
        assert finals(commands) == [False]
        assert commands[-1] == LeaveOut(nodes=frozenset({"bad"}))
        state, commands = step(state, free(9, elsewhere=True))
        assert {(a.job.variant.name, a.number, a.failed_on) for a in starts(commands)} == {
            (name, 2, frozenset({"bad"})) for name in "abc"
        }

    def test_what_still_runs_on_a_node_that_is_left_out_is_tried_elsewhere_too(self):
        state = self.started("abcde")
        for name in "abcd":
            state, _ = self.fail(state, "bad", name)
        _, commands = step(state, free(9, elsewhere=True))
        assert sorted(a.job.variant.name for a in starts(commands)) == list("abcd")

    def test_what_fails_elsewhere_too_is_the_variants_own_and_clears_the_node(self):
        state = self.started("abcd")
        for name in "abc":
            state, _ = self.fail(state, "bad", name)
        state, _ = step(state, free(9, elsewhere=True))
        for name in "ab":
            state, commands = self.fail(state, "good", name)
            assert (finals(commands), state.left_out) == ([True], frozenset({"bad"}))
        state, commands = self.fail(state, "good", "c")
        assert (finals(commands), commands[-1]) == ([True], LeaveOut(nodes=frozenset()))
        assert (state.failed, state.left_out) == (3, frozenset())

    def test_a_success_clears_its_node_and_settles_what_failed_there(self):
        state = self.started("abcde")
        for name in "ab":
            state, _ = self.fail(state, "n", name)
        assert state.failed == 0
        (fine,) = [attempt for attempt in state.running if attempt.job.variant.name == "c"]
        state, commands = step(state, Ended(attempt=fine, outcome=Outcome.DONE, node="n"))
        assert (finals(commands), state.failed) == ([True, True], 2)
        state, commands = self.fail(state, "n", "d")
        assert (finals(commands), state.left_out) == ([False], frozenset())

    def test_one_variant_that_fails_often_is_no_proof(self):
        state = self.started("abc")
        for _ in range(2):
            state, _ = self.fail(state, "n", "a", Outcome.PROCESS_DIED)
            state, _ = step(state, free(9, elsewhere=True))
        state, _ = self.fail(state, "n", "b")
        assert state.left_out == frozenset()

    def test_at_the_end_failures_are_tried_elsewhere_if_nothing_ever_succeeded_where_they_happened(self):
        state, commands = self.fail(self.started("a"), "n", "a")
        assert (finals(commands), commands[-1]) == ([False], LeaveOut(nodes=frozenset({"n"})))
        state, _ = step(state, free(1, elsewhere=True))
        state, commands = self.fail(state, "m", "a")
        assert (finals(commands), state.failed, state.finished) == ([True], 1, True)

    def test_at_the_end_failures_stand_where_something_has_succeeded(self):
        state = self.started("ab")
        (fine,) = [attempt for attempt in state.running if attempt.job.variant.name == "b"]
        state, _ = step(state, Ended(attempt=fine, outcome=Outcome.DONE, node="n"))
        state, commands = self.fail(state, "n", "a")
        assert finals(commands)[-1] is True
        assert (state.failed, state.finished) == (1, True)

    def test_once_asked_to_stop_what_is_in_doubt_stays_undecided(self):
        state, _ = step(self.started("a"), Stop())
        state, commands = self.fail(state, "n", "a")
        assert (finals(commands), state.failed, state.finished) == ([False], 0, True)

    def test_the_only_node_is_kept(self):
        state = self.started("abcd", elsewhere=False)
        for name in "abcd":
            state, commands = self.fail(state, "n", name)
            assert finals(commands) == [True]
        assert (state.failed, state.left_out, state.finished) == (4, frozenset(), True)

    @pytest.mark.parametrize("outcome", [Outcome.NODE_LOST, Outcome.STORE_FAILED, Outcome.OUT_OF_MEMORY])
    def test_what_is_not_held_against_a_node(self, outcome):
        state = self.started("abcdef")
        for name in "ab":
            state, _ = self.fail(state, "n", name, outcome)
        for name in "cd":
            state, _ = self.fail(state, "n", name)
        assert state.left_out == frozenset()


def test_a_failure_is_recorded_with_what_is_known_of_it():
    state, (start,) = step(begin([attempt_of()]), free(1))
    ended = Ended(attempt=start.attempt, outcome=Outcome.RAISED, cause="why", last_lines=("x", "y"), seconds=2.0)
    _, commands = step(state, ended)
    assert commands == (RecordFailure(ended=ended, final=True),)


@pytest.mark.parametrize("when", ["before it starts", "twice", "as an attempt that has been replaced"])
def test_the_end_of_what_does_not_run_is_a_bug(when):
    attempt = attempt_of()
    state = begin([attempt])
    if when == "twice":
        state, _ = step(state, free(1))
        state, _ = step(state, Ended(attempt=attempt, outcome=Outcome.DONE))
    if when.startswith("as an attempt"):
        state, _ = step(state, free(1))
        state, _ = step(state, Ended(attempt=attempt, outcome=Outcome.NODE_LOST))
        state, _ = step(state, free(1))
    with pytest.raises(ValueError, match="ended, but does not run"):
        step(state, Ended(attempt=attempt, outcome=Outcome.DONE))


def test_a_step_leaves_the_state_before_it_as_it_was():
    before = begin([attempt_of()])
    after, _ = step(before, free(1))
    assert before.demand == {CPU: 1}
    assert not before.running
    assert after != before


ENDS_ALL = {Outcome.STORE_FAILED, Outcome.DISK_FULL, Outcome.STOPPED, Outcome.INPUT_DAMAGED}


@given(
    costs=st.lists(st.floats(0, 100), min_size=1, max_size=8),
    outcomes=st.lists(st.sampled_from(sorted(set(Outcome) - ENDS_ALL))),
    data=st.data(),
)
@settings(deadline=None, max_examples=200)
def test_every_job_is_done_or_finally_failed_exactly_once_whatever_happens(costs, outcomes, data):
    attempts = [attempt_of(chr(97 + i), cost=cost, batch_size=8) for i, cost in enumerate(costs)]
    slots = data.draw(st.integers(1, 4))
    state, running, ends = begin(attempts), [], Counter()
    outcomes = list(outcomes)
    while not state.finished:
        state, commands = step(state, free(slots - len(running)))
        running += [command.attempt for command in commands]
        assert len(running) == len(state.running) <= slots
        assert len({attempt.job.key for attempt in running}) == len(running)
        ended = running.pop(data.draw(st.integers(0, len(running) - 1)))
        outcome = outcomes.pop() if outcomes else Outcome.DONE
        state, commands = step(state, Ended(attempt=ended, outcome=outcome))
        final = [command.final for command in commands]
        ends[ended.job.key] += outcome is Outcome.DONE or final == [True]
        assert len(final) == (outcome is not Outcome.DONE)
    assert not running
    assert ends == {attempt.job.key: 1 for attempt in attempts}
    assert state.done + state.failed == len(attempts)
