"""Combinators: who wins, what becomes of the rest."""

import traceback

import pytest

from dsl import dispatch, first, gather, race, settle, sleep, spawn, timeout
from infinitic.history import Cancellation
from tests.engine.driver import SECOND, drive
from tests.engine.given import amounts, child, confirmed, step


def waits_for(make):
    """A workflow that waits for one thing, then for a task, and tells what came of both."""

    def flow():
        try:
            found = yield from make()
        except Exception as error:
            found = repr(error)
        return found, (yield from step("after"))

    return flow


def got(driver):
    """What the workflow of `waits_for` saw; it must be at its last task."""
    (last,) = driver.issued
    driver.complete(last.position, "done")
    found, after = driver.result
    assert after == "done"
    return found


def one_after_another():
    a = yield from step("a")
    b = yield from step(a)
    return b


# --- gather, & ---


def test_gather_answers_in_the_order_of_its_items_whatever_came_first():
    run = drive(waits_for(lambda: gather(step("a"), step("b"), step("c"))))

    run.complete("m0.1", 2)
    run.complete("m0.2", 3)
    run.complete("m0.0", 1)

    assert got(run) == [1, 2, 3]


def test_and_is_flat():
    run = drive(waits_for(lambda: step("a") & step("b") & step("c")))

    for position in ("m0.0", "m0.1", "m0.2"):
        run.complete(position, position)

    assert got(run) == ["m0.0", "m0.1", "m0.2"]


def test_gather_raises_the_first_failure_and_tasks_run_on_while_timers_and_receives_go():
    items = lambda: gather(step("a"), step("b"), sleep(60), confirmed.receive(), child("x"))  # noqa: E731
    run = drive(waits_for(items))

    run.fail("m0.1", ValueError("no"))

    assert run.positions == ["m0.5"]
    assert run.open == ["m0.0", "m0.4", "m0.5"]
    assert run.sends == []
    assert run.instance.draft.timers_cleared == ("m0.2",)
    run.signal("s1", "confirmed", "kept")
    assert run.record.buffered == {"confirmed": 1}
    run.complete("m0.0", "ignored")
    run.complete("m0.5", "done")
    assert run.result == ["TaskFailed('step', ValueError('no'))", "done"]


@pytest.mark.parametrize("empty", [gather, settle])
def test_empty_is_answered_at_once(empty):
    def flow():
        return (yield from empty())

    assert drive(flow).result == []


# --- first, | ---


def test_first_answers_with_the_first_and_the_other_task_runs_on():
    run = drive(waits_for(lambda: step("a") | step("b")))

    run.complete("m0.1", "b")

    assert run.open == ["m0.0", "m0.2"]
    assert run.sends == []
    assert run.complete("m0.0", "too late") is not None
    assert got_last(run) == "b"


def got_last(run):
    run.complete("m0.2", "done")
    return run.result[0]


def test_first_goes_on_after_a_failure():
    run = drive(waits_for(lambda: first(step("a"), step("b"))))

    run.fail("m0.0", ValueError("a"))
    assert run.positions == []
    run.complete("m0.1", "b")

    assert got(run) == "b"


def test_first_raises_the_last_failure_when_all_have_failed():
    run = drive(waits_for(lambda: step("a") | step("b")))

    run.fail("m0.1", ValueError("b"))
    run.fail("m0.0", ValueError("a"))

    assert got(run) == "TaskFailed('step', ValueError('a'))"


def test_the_timer_of_an_or_is_cancelled_when_the_task_wins():
    run = drive(waits_for(lambda: step("a") | sleep(60)))

    run.complete("m0.0", "a")

    assert run.instance.draft.timers_cleared == ("m0.1",)
    assert run.fire("m0.1") is None
    assert got_last(run) == "a"


def test_the_receive_that_lost_swallows_no_signal():
    def flow():
        before = yield from (confirmed.receive() | sleep(1))
        yield from sleep(1)
        return before, (yield from confirmed.receive())

    run = drive(flow)
    run.fire("m0.1")
    run.signal("s1", "confirmed", "yes")
    run.fire("m0.2")

    assert run.result == [None, "yes"]


# --- race, timeout ---


def test_race_gives_the_name_and_cancels_tasks_and_children():
    run = drive(waits_for(lambda: race(a=step("a"), b=step("b"), c=child("x"), d=sleep(9))))

    run.complete("m0.0", 1)

    assert run.sends == [Cancellation("m0.1"), Cancellation("m0.2")]
    assert run.open == ["m0.2", "m0.4"]  # the child has yet to say that it was cancelled
    run.answer("m0.2", status="cancelled")
    run.complete("m0.4", "done")
    assert run.result == [["a", 1], "done"]


def test_race_ends_with_a_failure_too():
    run = drive(waits_for(lambda: race(a=step("a"), b=step("b"))))

    run.fail("m0.1", ValueError("b"))

    assert run.sends == [Cancellation("m0.0")]
    assert got(run) == "TaskFailed('step', ValueError('b'))"


def test_a_timeout_gives_the_answer_and_cancels_its_timer():
    run = drive(waits_for(lambda: timeout(step("a"), 5)))

    assert run.instance.draft.timers_set == {"m0.1": (6 * SECOND, 0)}
    run.complete("m0.0", "a")

    assert run.instance.draft.timers_cleared == ("m0.1",)
    assert got_last(run) == "a"


def test_a_timeout_raises_the_builtin_error_and_cancels_the_task():
    run = drive(waits_for(lambda: timeout(step("a"), 5)))

    run.fire("m0.1")

    assert run.sends == [Cancellation("m0.0")]
    assert got(run) == "TimeoutError('timeout() was first: what it waited for took longer')"


def test_a_timeout_raises_the_failure_of_what_it_waits_for():
    run = drive(waits_for(lambda: timeout(step("a"), 5)))

    run.fail("m0.0", ValueError("a"))

    assert got(run) == "TaskFailed('step', ValueError('a'))"


def test_a_timeout_of_zero_seconds_prefers_an_answer_that_is_there():
    def flow():
        asked = dispatch(step("a"))
        yield from sleep(1)
        there = yield from timeout(asked, 0)
        try:
            yield from timeout(step("b"), 0)
        except TimeoutError:
            return there

    run = drive(flow)
    run.complete("m0.0", "a")
    run.fire("m0.1")

    assert run.result == "a"
    assert run.positions == ["m0.2", "m0.3", "m0.4"]
    assert run.sends == [Cancellation("m0.3")]


# --- settle ---


def test_settle_tells_of_each_and_never_raises():
    def flow():
        outcomes = yield from settle(step("a"), step("b"), sleep(1))
        return [one.value if one.ok else repr(one.error) for one in outcomes]

    run = drive(flow)
    run.fail("m0.1", ValueError("b"))
    run.fire("m0.2")
    run.complete("m0.0", "a")

    assert run.result == ["a", "TaskFailed('step', ValueError('b'))", None]


def test_the_error_of_an_outcome_is_raised_by_its_value():
    def flow():
        (outcome,) = yield from settle(step("a"))
        return outcome.value

    run = drive(flow)
    run.fail("m0.0", ValueError("a"))

    assert run.error == "TaskFailed: step failed: ValueError: a"


# --- nested, sub-flows ---


def test_combinators_nest_and_their_losers_go_with_them():
    run = drive(waits_for(lambda: race(both=step("a") & step("b"), either=step("c") | sleep(5))))

    run.complete("m0.0", "a")
    run.fire("m0.3")

    assert run.sends == [Cancellation("m0.1")]
    assert run.open == ["m0.2", "m0.4"]  # the task that lost to the sleep under | runs on
    assert got(run) == ["either", None]


def test_what_lost_under_a_nested_first_runs_on():
    run = drive(waits_for(lambda: (step("a") & sleep(9)) | step("b")))

    run.complete("m0.2", "b")

    assert run.sends == []
    assert run.instance.draft.timers_cleared == ("m0.1",)
    assert run.open == ["m0.0", "m0.3"]


def test_generators_and_coroutines_are_items():
    async def other():
        return "c", await step("d")

    run = drive(waits_for(lambda: gather(one_after_another(), other())))

    assert run.positions == ["m0.b0.0", "m0.b1.0"]
    run.complete("m0.b1.0", "d")
    run.complete("m0.b0.0", "a")
    run.complete("m0.b0.1", "b")

    assert got(run) == ["b", ["c", "d"]]


def test_a_flow_that_lost_a_race_is_cancelled_and_one_that_lost_a_first_runs_on():
    raced = drive(waits_for(lambda: race(a=one_after_another(), b=step("b"))))
    raced.complete("m0.1", "b")
    assert raced.sends == [Cancellation("m0.b0.0")]

    others = drive(waits_for(lambda: first(one_after_another(), step("b"))))
    others.complete("m0.1", "b")
    assert others.sends == []
    others.complete("m0.b0.0", "a")
    assert others.positions == ["m0.b0.1"]


def test_an_item_that_ends_at_once_decides_at_once():
    def quick():
        yield from ()
        return "quick"

    def flow():
        a = yield from (step("a") | quick())
        b = yield from gather(quick(), quick())
        return a, b

    run = drive(flow)

    assert run.result == ["quick", ["quick", "quick"]]
    assert run.open == ["m0.0"]


def test_an_item_that_fails_at_once_fails_a_gather_at_once():
    def broken():
        yield from ()
        raise ValueError("broken")

    run = drive(waits_for(lambda: gather(step("a"), broken(), sleep(5))))

    assert run.positions == ["m0.0", "m0.2", "m0.3"]
    assert run.open == ["m0.0", "m0.3"]
    run.complete("m0.3", "done")
    assert run.result == ["ValueError('broken')", "done"]


# --- deferreds ---


def test_a_deferred_is_only_observed_and_stays_open():
    def flow():
        asked = dispatch(step("a"))
        timer = dispatch(sleep(50))
        won = yield from race(a=asked, t=timer, s=sleep(1))
        status = (asked.status(), timer.done())
        return won, status, (yield from asked)

    run = drive(flow)
    run.fire("m0.2")
    assert run.open == ["m0.0", "m0.1"]
    assert run.sends == []
    run.complete("m0.0", "a")

    assert run.result == [["s", None], ["running", False], "a"]


def test_a_deferred_can_be_awaited_twice_and_in_several_combinators():
    def both(asked):
        return (yield from asked & asked)

    def flow():
        asked = dispatch(step("a"))
        other = spawn(both(asked))
        pair = yield from gather(asked, asked, asked | sleep(9))
        return pair, (yield from other), (yield from asked)

    run = drive(flow)
    run.complete("m0.0", "a")

    assert run.result == [["a", "a", "a"], ["a", "a"], "a"]


def test_a_failed_deferred_raises_each_time_it_is_awaited():
    def flow():
        asked = dispatch(step("a"))
        seen = []
        for _ in range(2):
            try:
                yield from asked
            except Exception as error:
                seen.append(len(traceback.extract_tb(error.__traceback__)))
        return seen, asked.status()

    run = drive(flow)
    run.fail("m0.0", ValueError("a"))

    assert run.result[0][0] == run.result[0][1]
    assert run.result[1] == "failed"


def test_a_combinator_can_be_dispatched():
    def flow():
        both = dispatch(gather(step("a"), step("b")))
        c = yield from step("c")
        return (yield from both), c

    run = drive(flow)
    for position, value in (("m0.1", "b"), ("m0.2", "c"), ("m0.0", "a")):
        run.complete(position, value)

    assert run.result == [["a", "b"], "c"]


def test_a_dispatched_combinator_that_is_cancelled_cancels_what_it_owns():
    def flow():
        both = dispatch(gather(step("a"), sleep(9)))
        yield from sleep(1)
        both.cancel()
        both.cancel()
        try:
            yield from both
        except Exception as error:
            return both.status(), type(error).__name__

    run = drive(flow)
    run.fire("m0.2")

    assert run.sends == [Cancellation("m0.0")]
    assert run.result == ["cancelled", "BranchCancelled"]


def test_a_loop_of_races_over_one_deferred_leaves_nothing_behind():
    def flow():
        asked = dispatch(step("a"))
        for _ in range(5):
            yield from race(a=asked, s=sleep(1))
        return (yield from asked)

    run = drive(flow)
    for n in range(5):
        run.fire(f"m0.{n + 1}")

    assert len(run.instance.open["m0.0"].observers) == 1


# --- signals ---


def test_receives_in_combinators_get_the_signals_in_the_order_they_began():
    run = drive(waits_for(lambda: gather(amounts.receive(), confirmed.receive(), amounts.receive())))

    run.signal("s1", "amounts", 1)
    run.signal("s2", "confirmed", "x")
    run.signal("s3", "amounts", 2)

    assert got(run) == [1, "x", 2]
