"""Attempts: deadlines of tasks, silence, heartbeats; what is set, moved and cleared, on every replay."""

from typing import Any

import pytest
from msgspec import Raw
from msgspec.json import decode

from dsl import Flow, TaskTimedOut, dispatch, gather, sleep, task
from infinitic.engine import turns
from infinitic.engine.alone import EncodedTask
from infinitic.engine.arriving import awaits_timer
from infinitic.engine.instance import Diverged, Refusal
from infinitic.events import NULL, AttemptFailed, Heartbeat, Retried, TaskStarted
from infinitic.history import Cancellation, NextAttempt
from infinitic.messages import TaskRequest
from infinitic.serialization import error_value
from tests.engine.driver import SECOND, Driver, drive
from tests.engine.given import step


@task(total_timeout=10, queue_timeout=5)
def limited(name: str) -> Any:
    """A task whose contract limits it."""


@task
def unlimited(name: str) -> Any:
    """A task without any limit."""


def started(run: Driver, attempt: int = 1, heartbeat: int = 0) -> Any:
    return run.apply(TaskStarted("", "m0.0", attempt, "w1", 7, heartbeat * SECOND))


def beat(run: Driver, details: bytes = b"null", attempt: int = 1) -> Any:
    return run.apply(Heartbeat("", "m0.0", attempt, Raw(details)))


def late(run: Driver, position: str, at: int) -> Any:
    """The timer fires at *at* seconds."""
    run.at = (at - 1) * SECOND
    return run.fire(position)


def request(run: Driver) -> TaskRequest:
    return decode(run.outputs[0].message.payload, type=TaskRequest)


def caught(make: Any) -> tuple[Driver, list[Any]]:
    seen: list[Any] = []

    def flow() -> Flow[Any]:
        try:
            return (yield from make())
        except Exception as error:
            seen.append(error)
            yield from sleep(1_000)
            return "caught"

    return drive(flow), seen


def deadlines(run: Driver) -> dict[str, int]:
    return {name: due // SECOND for name, due in run.record.waits[0].deadlines.items()}


# --- what is asked for ---


def test_a_record_holds_what_the_call_says_of_limits_and_else_what_the_contract_says():
    run = drive(lambda: (yield from gather(limited("a"), limited("b").options(total_timeout=3, heartbeat=1))))

    assert [one.options for one in run.issued] == [
        {"total_timeout": 10 * SECOND, "queue_timeout": 5 * SECOND},
        {"total_timeout": 3 * SECOND, "queue_timeout": 5 * SECOND, "heartbeat": SECOND},
    ]
    assert run.instance.draft.timers_set == {
        "m0.0/total": (11 * SECOND, 0),
        "m0.0/queue": (6 * SECOND, 0),
        "m0.1/total": (4 * SECOND, 0),
        "m0.1/queue": (6 * SECOND, 0),
    }


def test_a_worker_is_told_of_its_own_limits_and_whether_somebody_waits_to_hear_that_it_began():
    run = drive(lambda: (yield from gather(limited("a").options(timeout=2, heartbeat=1), step("b"))))
    first, second = (decode(one.message.payload, type=TaskRequest) for one in run.outputs)

    assert first.options == {"timeout": 2 * SECOND, "heartbeat": SECOND, "queue_timeout": 5 * SECOND}
    assert (first.watched, second.watched, second.options) == (True, False, {})


def test_a_task_that_settles_leaves_no_deadline():
    run = drive(lambda: (yield from gather(limited("a"), sleep(99))))
    run.complete("m0.0", 1)

    assert sorted(run.instance.draft.timers_cleared) == ["m0.0/queue", "m0.0/total"]
    assert run.fire("m0.0/total") is None


def test_a_task_that_is_cancelled_leaves_no_deadline():
    def flow() -> Flow[None]:
        one = dispatch(limited("a"))
        yield from sleep(1)
        one.cancel()
        yield from sleep(99)

    run = drive(flow)
    run.fire("m0.1")

    assert sorted(run.instance.draft.timers_cleared) == ["m0.0/queue", "m0.0/total"]
    assert run.sends == [Cancellation("m0.0")]


def test_a_run_that_ends_clears_the_deadlines_of_what_runs_on():
    def flow() -> Flow[str]:
        dispatch(limited("a"))
        yield from sleep(1)
        return "done"

    run = drive(flow)
    run.fire("m0.1")

    assert run.instance.draft.timers_set == {}
    assert late(run, "m0.0/total", 99) is None
    assert started(run) is not None
    assert run.instance.draft.timers_set == {}


def test_a_deadline_of_what_was_never_asked_for_suspends():
    with pytest.raises(Diverged):
        drive(lambda: (yield from limited("a"))).fire("m0.7/total")


# --- in all, and for a worker ---


def test_the_limit_in_all_fails_the_task_and_its_attempt_is_told():
    run, seen = caught(lambda: limited("a"))
    run.fail("m0.0", OSError("one"), 1, retry_in=0)
    late(run, "m0.0/total", 11)

    assert run.sends == [Cancellation("m0.0")]
    [error] = seen[:1]
    assert isinstance(error, TaskTimedOut)
    assert (error.limit, [str(one.error) for one in error.attempts]) == ("total_timeout", ["one"])
    assert str(error) == (
        "limited timed out: limited took longer than its total_timeout of 10 s; attempt 1 had failed: OSError: one"
    )


def test_the_limit_in_all_holds_while_the_next_attempt_is_waited_for():
    run, seen = caught(lambda: limited("a"))
    run.fail("m0.0", OSError("one"), 1, retry_in=60 * SECOND)
    late(run, "m0.0/total", 11)

    assert run.sends == []
    assert run.instance.draft.timers_cleared == ("m0.0",)  # not the deadline's: its row goes as every timer's
    assert seen[0].limit == "total_timeout"


def test_a_late_success_is_recorded_once_and_nothing_comes_of_it():
    run, _ = caught(lambda: limited("a"))
    late(run, "m0.0/total", 11)

    made = run.complete("m0.0", "late")
    assert (made.commands, made.sends, made.settled) == ((), (), ())
    assert run.complete("m0.0", "later") is None
    assert run.fail("m0.0", OSError("late")) is None


def test_an_attempt_that_nobody_begins_in_time_fails_the_task():
    run, seen = caught(lambda: limited("a"))
    late(run, "m0.0/queue", 6)

    assert run.sends == [Cancellation("m0.0")]
    assert (seen[0].limit, seen[0].attempts) == ("queue_timeout", ())
    assert str(seen[0]) == "limited timed out: no worker began limited within its queue_timeout of 5 s"


def test_an_attempt_that_begins_has_no_limit_for_a_worker_any_more_and_the_next_one_has():
    run, _ = caught(lambda: limited("a"))
    started(run)
    assert deadlines(run) == {"total_timeout": 11}
    assert run.instance.draft.timers_cleared == ("m0.0/queue",)
    assert started(run) is None
    run.fail("m0.0", OSError("one"), 1, retry_in=SECOND)
    run.fire("m0.0", 1)

    assert deadlines(run) == {"total_timeout": 11, "queue_timeout": 10}


def test_a_worker_that_came_too_late_and_did_not_begin_is_believed():
    run, seen = caught(lambda: limited("a"))
    error = error_value(TimeoutError("too late"))
    run.apply(AttemptFailed("", "m0.0", error, 1, None, True, "w1", limit="queue_timeout"))

    assert (seen[0].limit, seen[0].attempts, str(seen[0].error)) == ("queue_timeout", (), "too late")


def test_a_copy_that_came_too_late_of_an_attempt_that_had_begun_means_another_one():
    """Its worker died, and the broker gave the task to the next one when it had run for longer than it may wait."""
    run, seen = caught(lambda: limited("a"))
    started(run)
    error = error_value(TimeoutError("too late"))
    run.apply(AttemptFailed("", "m0.0", error, 1, None, True, "w2", limit="queue_timeout"))

    assert seen == []
    assert run.sends == [NextAttempt("m0.0", 2)]
    assert run.instance.draft.timers_set == {"m0.0/queue": (run.at + 5 * SECOND, 0)}


# --- heartbeats ---


def test_each_heartbeat_moves_the_deadline_and_the_old_one_changes_nothing():
    run = drive(lambda: (yield from unlimited("a")))
    started(run, heartbeat=3)
    assert run.instance.draft.timers_set == {"m0.0/beat": (6 * SECOND, 0)}
    beat(run, b'{"page":1}')
    assert run.instance.draft.timers_set == {"m0.0/beat": (7 * SECOND, 0)}
    assert (deadlines(run), run.record.waits[0].heard) == ({"heartbeat": 7}, 3 * SECOND)

    assert late(run, "m0.0/beat", 6) is None
    assert awaits_timer(run.instance, "m0.0/beat")
    assert late(run, "m0.0/beat", 7) is not None
    assert not awaits_timer(run.instance, "m0.0/beat")


def test_an_attempt_that_falls_silent_has_timed_out_and_the_next_one_knows_what_it_said():
    run = drive(lambda: (yield from unlimited("a")))
    started(run, heartbeat=3)
    beat(run, b'{"page":1}')
    beat(run)
    late(run, "m0.0/beat", 99)

    assert run.instance.draft.timers_cleared == ()
    assert run.sends == [NextAttempt("m0.0", 2, lost=True)]
    sent = request(run)
    assert sent.previous is not None
    assert (bytes(sent.details), sent.lost) == (b'{"page":1}', True)
    assert sent.previous.summary == "TimeoutError: unlimited said nothing for longer than its heartbeat of 3 s"
    assert beat(run, b"2", attempt=1) is None
    assert started(run, attempt=1, heartbeat=3) is None
    run.complete("m0.0", "of the first one", attempt=1)
    assert run.result == "of the first one"


def test_when_the_policy_allows_no_more_attempts_the_one_that_did_not_run_is_not_counted():
    run, seen = caught(lambda: unlimited("a"))
    started(run, heartbeat=3)
    late(run, "m0.0/beat", 99)
    previous = request(run).previous
    assert previous is not None
    run.apply(AttemptFailed("", "m0.0", previous, 2, None, True, "w2", limit="heartbeat"))

    assert (seen[0].limit, [one.number for one in seen[0].attempts]) == ("heartbeat", [1])
    assert (seen[0].attempts[0].worker, seen[0].attempts[0].began) == ("w1", 7)
    assert run.complete("m0.0", "late") is not None


def test_a_failed_attempt_hands_its_details_on_and_none_means_those_before():
    run = drive(lambda: (yield from unlimited("a")))
    run.apply(AttemptFailed("", "m0.0", error_value(OSError()), 1, 0, details=Raw(b"1")))
    assert bytes(request(run).details) == b"1"
    run.apply(AttemptFailed("", "m0.0", error_value(OSError()), 2, 0, details=NULL))
    assert bytes(request(run).details) == b"1"


def test_an_attempt_that_begins_again_after_its_worker_died_has_its_whole_time_to_say_something():
    run = drive(lambda: (yield from unlimited("a")))
    started(run, heartbeat=3)
    assert started(run, heartbeat=3) is not None

    assert deadlines(run) == {"heartbeat": 7}


def test_a_task_that_waits_for_its_next_attempt_has_no_deadline_for_silence():
    run = drive(lambda: (yield from unlimited("a")))
    started(run, heartbeat=3)
    run.fail("m0.0", OSError("one"), 1, retry_in=60 * SECOND)

    assert run.instance.draft.timers_cleared == ("m0.0/beat",)
    assert late(run, "m0.0/beat", 50) is None
    assert beat(run) is None


# --- a retry of the run ---


def test_a_retry_of_the_run_begins_the_limits_anew():
    def flow() -> Flow[Any]:
        one = dispatch(limited("a"))
        yield from unlimited("b")
        return (yield from one)

    run = drive(flow)
    run.apply(TaskStarted("", "m0.0", 1, "w1", 7, 3 * SECOND))
    run.fail("m0.1", OSError("for good"))
    assert run.status == "failed"
    run.at = 100 * SECOND
    run.retry()

    assert run.status == "running"
    assert deadlines(run) == {"total_timeout": 111, "heartbeat": 105}
    assert run.instance.draft.timers_set == {"m0.0/total": (111 * SECOND, 0), "m0.0/beat": (105 * SECOND, 0)}


@pytest.mark.parametrize("which", ["total", "queue"])
def test_a_retry_of_a_run_that_a_deadline_failed_sends_the_task_again(which):
    run = drive(lambda: (yield from limited("a")))
    late(run, f"m0.0/{which}", 20)
    assert run.status == "failed"
    run.retry()

    assert run.status == "running"
    assert run.sends == [NextAttempt("m0.0", 2, 1)]
    assert run.instance.draft.timers_set == {"m0.0/total": (31 * SECOND, 0), "m0.0/queue": (26 * SECOND, 0)}
    run.complete("m0.0", "good", attempt=2)
    assert run.result == "good"


def test_tasks_with_and_without_limits_replay_one_after_the_other():
    def flow() -> Flow[list[Any]]:
        seen = []
        for number in range(3):
            seen.append((yield from unlimited(f"a{number}")))
            seen.append((yield from limited(f"b{number}")))
        return seen

    run = drive(flow)
    for position in range(6):
        run.complete(f"m0.{position}", position)

    assert run.result == [0, 1, 2, 3, 4, 5]
    turns.close(run.replayed(bodies=run.bodies[:4]))


# --- tasks that somebody else answers ---


def left_open(run: Driver, attempt: int = 1) -> Any:
    return run.apply(TaskStarted("", "m0.0", attempt, "w1", 7, delegated=True))


def test_a_delegated_task_whose_function_has_returned_may_be_silent_but_not_for_ever():
    run, seen = caught(lambda: limited("a").options(heartbeat=3))
    started(run, heartbeat=3)
    assert deadlines(run) == {"total_timeout": 11, "heartbeat": 6}

    left_open(run)

    assert run.instance.draft.timers_cleared == ("m0.0/beat",)
    [wait] = run.record.waits
    assert (wait.deadlines, wait.heard, wait.delegated) == ({"total_timeout": 11 * SECOND}, 0, True)
    assert beat(run) is None
    assert started(run, heartbeat=3) is None
    assert late(run, "m0.0/beat", 9) is None
    late(run, "m0.0/total", 11)
    assert {error.limit for error in seen} == {"total_timeout"}


def test_a_delegated_task_of_which_nobody_heard_that_it_began_was_begun():
    run = drive(lambda: (yield from limited("a")))
    left_open(run)

    assert run.instance.draft.timers_cleared == ("m0.0/queue",)
    assert deadlines(run) == {"total_timeout": 11}


def test_the_limits_of_a_delegated_task_begin_anew_with_a_retry_of_the_run_and_it_may_still_be_silent():
    def flow() -> Flow[None]:
        yield from gather(limited("a"), unlimited("b"))

    run = drive(flow)
    started(run, heartbeat=3)
    left_open(run)
    run.fail("m0.1", OSError("for good"))
    assert run.status == "failed"
    run.at = 100 * SECOND
    run.retry()

    assert deadlines(run) == {"total_timeout": 111}


@pytest.mark.parametrize("retry_in", [None, 0, SECOND])
def test_a_copy_of_a_delegated_attempt_whose_function_has_returned_fails_nothing(retry_in):
    """At least once: the function has run again elsewhere, and found that the mail was sent before."""
    run, seen = caught(lambda: limited("a"))
    left_open(run)

    assert run.fail("m0.0", OSError("sent before"), 1, retry_in=retry_in) is None
    assert seen == []
    assert deadlines(run) == {"total_timeout": 11}


def test_the_next_attempt_of_a_delegated_task_is_listened_to_again():
    def flow() -> Flow[None]:
        one = dispatch(limited("a").options(heartbeat=3))
        yield from sleep(1_000)
        yield from one

    run = drive(flow)
    started(run, heartbeat=3)
    left_open(run)
    assert started(run, heartbeat=3) is None
    late(run, "m0.0/total", 11)

    run.apply(Retried("r", status="timed_out", tasks=True))
    started(run, attempt=2, heartbeat=3)
    run.fire("m0.1")

    assert "heartbeat" in deadlines(run)


def test_a_task_that_is_failed_by_hand_leaves_no_deadline():
    run, seen = caught(lambda: limited("a"))
    started(run, heartbeat=3)
    run.apply(AttemptFailed("by-hand", "m0.0", error_value(ValueError("enough")), 0))

    assert {str(error) for error in seen} == {"limited failed: ValueError: enough"}
    assert sorted(run.instance.draft.timers_cleared) == ["m0.0/beat", "m0.0/total"]


# --- tasks that run again ---


@pytest.mark.parametrize("limit", ["total_timeout", "queue_timeout", "heartbeat", "timeout"])
def test_a_dispatched_task_that_broke_a_limit_runs_again_with_its_limits_begun_anew(limit):
    def flow() -> Flow[list[Any]]:
        one, seen = dispatch(limited("a")), []
        for _ in range(2):
            yield from sleep(1_000)
            try:
                seen.append((yield from one))
            except TaskTimedOut as error:
                seen.append(error.limit)
        return seen

    run = drive(flow)
    if limit in ("total_timeout", "queue_timeout"):
        late(run, f"m0.0/{limit.removesuffix('_timeout')}", 20)
    else:
        said = "" if limit == "timeout" else limit
        run.apply(AttemptFailed("", "m0.0", error_value(TimeoutError()), 1, None, True, began=1, limit=said))
    run.fire("m0.1")
    run.at = 99 * SECOND
    assert isinstance(run.apply(Retried("r1", status="failed")), Refusal)
    run.apply(Retried("r2", status="timed_out"))

    assert run.sends == [NextAttempt("m0.0", 2, 1)]
    assert run.instance.draft.timers_set == {
        "m0.0/total": (run.at + 10 * SECOND, 0),
        "m0.0/queue": (run.at + 5 * SECOND, 0),
    }
    run.complete("m0.0", "good", attempt=2)
    run.fire("m0.2")
    assert run.result == [limit, "good"]


def test_a_bare_task_is_watched_over_like_any_other():
    options = {"total_timeout": 3 * SECOND}
    run = drive(lambda: (yield from EncodedTask("limited", "limited", Raw(b'{"name":"a"}'), options)))

    assert run.instance.draft.timers_set == {"m0.0/total": (4 * SECOND, 0)}
