"""Rehearsals: what is asked for, what an answer does, and what the test is told when it errs."""

from datetime import UTC, datetime

import pytest
from attrs import frozen

from dsl import Flow, TaskFailed, TaskTimedOut, WorkflowFailed, inline, now, random, sleep, workflow
from dsl.errors import Cancelled
from infinitic import DecodeError, EncodeError, NonDeterminismError
from infinitic.testing import (
    CancelRequested,
    ChildCompleted,
    ChildRaised,
    MethodCalled,
    SignalSent,
    TaskCompleted,
    TaskRaised,
    TimedOut,
    TimerFired,
    Undetermined,
    Unexpected,
    Unfinished,
    rehearse,
    replay,
)
from infinitic.testing.rehearsing import BEGIN
from tests.testing.given import Booking, Cars, Counter, Hotels, charge, confirmed, trip, waits

BOOKED = [TaskCompleted("m0.0", Booking("h", 420)), TaskCompleted("m0.1", Booking("c", 180))]
YES = [*BOOKED, SignalSent("confirmed", "yes")]


def test_the_first_arrival_wins_on_every_replay():
    def patient() -> Flow[str]:
        return (yield from confirmed.receive() | sleep(days=2))

    asked = rehearse(patient()).commands
    answers = [TimerFired(asked[1].position), SignalSent("confirmed", "too late")]

    assert replay(patient(), answers).result == rehearse(patient(), answers).result


def test_commands_are_equal_to_what_asks_for_the_same():
    assert rehearse(trip("Oslo")).commands == (Hotels.book("Oslo", nights=3), Cars.book("Oslo"))
    assert rehearse(trip("Oslo"), BOOKED).waiting == (confirmed.receive(), sleep(days=1))
    assert rehearse(trip("Oslo"), YES).commands[-1] == charge("visa", 600)
    assert rehearse(trip("Oslo"), YES).commands[-1] != charge("visa", 601)
    assert rehearse(trip("Oslo")).commands[0] != sleep(1)


def test_a_receive_is_equal_to_one_that_chooses_alike():
    @workflow
    def choosy() -> Flow[str]:
        return (yield from confirmed.receive(where=str.isupper))

    assert rehearse(choosy()).waiting == (confirmed.receive(where=str.isupper),)
    assert rehearse(choosy()).waiting != (confirmed.receive(),)
    assert rehearse(choosy()).waiting != (confirmed.receive(where=str.islower),)
    assert rehearse(choosy(), [SignalSent(confirmed, "no"), SignalSent(confirmed, "YES")]).result == "YES"


def test_the_answers_lead_to_the_result():
    rehearsal = rehearse(trip("Oslo"), [*YES, TaskCompleted("m0.4", "paid")])

    assert (rehearsal.result, rehearsal.status, rehearsal.waiting) == ("paid", "completed", ())


def test_a_timer_takes_the_time_that_it_takes():
    def wait() -> Flow[int]:
        began = now()
        yield from sleep(days=3)
        return (now() - began).days

    assert rehearse(wait(), [TimerFired("m0.0")]).result == 3


def test_a_task_that_raised_is_a_task_that_failed():
    rehearsal = rehearse(trip("Oslo"), [TaskRaised("m0.0", LookupError("full"))])

    assert isinstance(rehearsal.error, TaskFailed)
    assert isinstance(rehearsal.error.error, LookupError)
    with pytest.raises(TaskFailed, match="full"):
        _ = rehearsal.result


def test_children_answer_and_fail():
    @workflow
    def parent() -> Flow[str]:
        return (yield from trip("Oslo"))

    asked = rehearse(parent()).commands
    assert asked == (trip("Oslo"),)
    assert rehearse(parent(), [ChildCompleted(asked[0].position, "paid")]).result == "paid"
    failed = rehearse(parent(), [ChildRaised(asked[0].position, ValueError("no"))]).error
    assert isinstance(failed, WorkflowFailed)
    assert str(failed.error) == "no"


def test_methods_and_channels_of_a_class():
    answers = [SignalSent(Counter.steps, 2), MethodCalled(Counter.add(5)), SignalSent("steps", 3)]

    assert rehearse(Counter.run(until=10), answers).result == 10


def test_a_cancellation_is_heard():
    def careful() -> Flow[None]:
        try:
            yield from sleep(days=1)
        except Cancelled:
            yield from charge("visa", 0)
            raise

    rehearsal = rehearse(careful(), [CancelRequested()])
    assert (rehearsal.status, rehearsal.waiting) == ("running", (charge("visa", 0),))
    ended = rehearse(careful(), [CancelRequested(), TaskCompleted("m0.1", "")])
    assert ended.status == "cancelled"
    with pytest.raises(Unfinished, match="it is cancelled"):
        _ = ended.result


def test_a_workflow_as_a_coroutine():
    async def patient() -> str:
        return await confirmed.receive()

    assert rehearse(patient(), [SignalSent(confirmed, "yes")]).result == "yes"


def test_a_generator_with_all_kinds_of_arguments():
    def flow(a, /, b, *rest, c, **others) -> Flow[list]:
        yield from sleep(1)
        return [a, b, *rest, c, others]

    assert rehearse(flow(1, 2, 3, c=4, d=5), [TimerFired("m0.0")]).result == [1, 2, 3, 4, {"d": 5}]


def test_chance_is_the_same_each_time():
    def lucky() -> Flow[list]:
        yield from sleep(1)
        return [random(), now().isoformat()]

    results = [rehearse(lucky(), [TimerFired("m0.0")], at=datetime(2031, 5, 1, tzinfo=UTC)).result for _ in range(2)]
    assert results[0] == results[1]
    assert results[0][1] == "2031-05-01T00:00:01+00:00"


# --- what goes wrong ---


def test_an_answer_that_nobody_waits_for_names_what_is_open():
    with pytest.raises(Unexpected) as raised:
        rehearse(trip("Oslo"), [*BOOKED, TimerFired("m0.7")])

    assert str(raised.value) == (
        "TimerFired(position='m0.7'): nothing was asked for at 'm0.7'. The workflow waits for:\n"
        "  confirmed.receive() at m0.2\n"
        "  sleep(86400 s) at m0.3"
    )


def test_an_answer_of_the_wrong_kind_is_refused():
    with pytest.raises(Unexpected, match=r"at 'm0\.3' a timer was asked for"):
        rehearse(trip("Oslo"), [*BOOKED, TaskCompleted("m0.3", 1)])


def test_an_answer_that_comes_too_late_changes_nothing():
    late = [*YES, TimerFired("m0.3"), TaskCompleted("m0.0", Booking("h", 0))]

    assert rehearse(trip("Oslo"), late).history == rehearse(trip("Oslo"), YES).history


def test_the_result_of_one_that_waits_says_what_it_waits_for():
    with pytest.raises(Unfinished) as raised:
        _ = rehearse(waits()).result

    assert str(raised.value) == ("waits has no result yet: it waits for answers to\n  confirmed.receive() at m0.0")


def test_a_value_that_is_not_as_declared_is_refused():
    with pytest.raises(DecodeError, match="TaskCompleted"):
        rehearse(trip("Oslo"), [TaskCompleted("m0.0", "no booking")])
    with pytest.raises(DecodeError):
        rehearse(waits(), [SignalSent("confirmed", 5)])


def test_a_value_that_cannot_be_encoded_is_refused():
    with pytest.raises(EncodeError):
        rehearse(trip("Oslo"), [TaskCompleted("m0.0", object())])


def test_arguments_that_cannot_be_encoded_are_told():
    @frozen
    class Opaque:
        file: object

    def wrong() -> Flow[None]:
        yield from charge(object(), 5)  # type: ignore[arg-type]  # the point

    asked = rehearse(wrong()).commands[0]
    assert "EncodeError" in asked.failure


def test_code_that_asks_for_something_else_the_second_time_is_found():
    times = []

    def moody() -> Flow[None]:
        times.append(1)
        yield from sleep(len(times))

    with pytest.raises(Undetermined) as raised:
        rehearse(moody())

    assert (raised.value.recorded, raised.value.replayed) == ("sleep(1 s)", "sleep(2 s)")
    assert raised.value.line == moody.__code__.co_firstlineno + 2


def test_a_result_that_differs_is_found():
    times = []

    def moody() -> Flow[int]:
        yield from sleep(1)
        times.append(1)
        return len(times)

    with pytest.raises(Undetermined) as raised:
        rehearse(moody(), [TimerFired("m0.0")])
    assert (raised.value.recorded, raised.value.replayed) == ("the result 1", "the result 3")


def test_an_inline_function_may_give_what_it_likes():
    def read() -> Flow[int]:
        return (yield from inline(iter([1, 2, 3]).__next__))

    assert rehearse(read()).result == 1


def test_a_history_is_replayed_by_newer_code():
    @workflow(name="trip")
    def renewed(city: str, card: str = "visa") -> Flow[str]:
        yield from Hotels.book(city, nights=3)
        return "done"

    history = rehearse(trip("Oslo"), YES).history

    assert replay(trip("Oslo"), history).waiting == (charge("visa", 600),)
    with pytest.raises(NonDeterminismError, match=r"Cars\.book"):
        replay(renewed("Oslo"), history)


def test_what_is_no_flow_is_refused():
    with pytest.raises(TypeError, match="a rehearsal takes the call of a workflow"):
        rehearse(charge("visa", 5))
    started = waits.fn()
    next(started)
    with pytest.raises(ValueError, match="runs already"):
        rehearse(started)


def test_what_is_no_answer_is_refused():
    with pytest.raises(TypeError, match=r"an answer is TaskCompleted.* or the like, not 'm0.0'"):
        rehearse(trip("Oslo"), ["m0.0"])
    with pytest.raises(TypeError, match="what is raised is an exception, not 'down'"):
        TaskRaised("m0.0", "down")


def test_an_error_may_be_given_by_its_class():
    with pytest.raises(TaskFailed) as failed:
        rehearse(trip("Oslo"), [TaskRaised("m0.0", ConnectionError)]).result  # noqa: B018

    assert isinstance(failed.value.error, ConnectionError)


def test_a_history_is_not_answered_further():
    history = rehearse(trip("Oslo")).history

    with pytest.raises(TypeError, match="answers or a history, not both"):
        replay(trip("Oslo"), [*history, *BOOKED])


def limited() -> Flow[str]:
    try:
        yield from charge("visa", 1).options(total_timeout=3600, queue_timeout=60)
    except TaskTimedOut as error:
        return f"{error.limit} after {now() - BEGIN}: {error.error}"
    return ""


def test_a_task_may_break_each_of_its_limits():
    told = {
        "timeout": "timeout after 0:00:00: the task broke its timeout",
        "heartbeat": "heartbeat after 0:00:00: the task broke its heartbeat",
        "queue_timeout": "queue_timeout after 0:01:00: no worker began charge within its queue_timeout of 60 s",
        "total_timeout": "total_timeout after 1:00:00: charge took longer than its total_timeout of 3600 s",
    }

    assert {limit: rehearse(limited(), [TimedOut("m0.0", limit)]).result for limit in told} == told


def test_a_task_breaks_no_limit_that_it_has_not():
    with pytest.raises(Unexpected, match=r"the task at 'm0\.0' has no total_timeout"):
        rehearse(trip("Oslo"), [TimedOut("m0.0", "total_timeout")])
    with pytest.raises(ValueError, match="not 'forever'"):
        TimedOut("m0.0", "forever")
