"""Deadlines of tasks: in all, for a worker, for silence; heartbeats; tasks that are told that nobody waits any more."""

import asyncio
import threading
import time
from typing import Any

import pytest
from msgspec import Raw

from dsl import Cancelled, Flow, Retry, current_task, race, sleep, task, workflow
from infinitic.errors import TaskFailed, TaskTimedOut, WorkflowFailed
from infinitic.events import AttemptFailed, Heartbeat, TaskCompleted, TaskStarted, TimerFired
from infinitic.history import NextAttempt
from infinitic.messages import Outgoing, event_message
from infinitic.topics import workflow_topic
from tests.scenarios.given import Gate, events, open_at, until

NEVER = Retry(max_attempts=1)
FOREVER = Retry(max_attempts=10**6, initial=0.005, maximum=0.005, jitter=0)


def timed_out(handle: Any) -> TaskTimedOut:
    with pytest.raises(WorkflowFailed) as raised:
        handle.result(20)
    assert isinstance(raised.value.error, TaskTimedOut), repr(raised.value.error)
    return raised.value.error


def attempts(handle: Any) -> list[AttemptFailed]:
    return [turn.event for turn in handle.history() if isinstance(turn.event, AttemptFailed)]


# ------------------------------------------------------------------------------------------ total_timeout


@task(total_timeout=0.05, retry=FOREVER)
def hopeless() -> None:
    raise LookupError("no")


@workflow
def without_end(seconds: float | None) -> Flow[None]:
    yield from hopeless().options(total_timeout=seconds) if seconds else hopeless()


@pytest.mark.parametrize("seconds", [None, 0.02], ids=["contract", "call"])
def test_all_attempts_and_the_waiting_between_them_have_a_time_limit(serve, client, seconds):
    serve(without_end, hopeless)

    handle = client.start(without_end(seconds), id="w")
    error = timed_out(handle)

    assert error.limit == "total_timeout"
    assert str(error.error) == f"hopeless took longer than its total_timeout of {seconds or 0.05} s"
    assert all(one.retry_in is not None for one in attempts(handle))


@workflow
def unserved(total: float | None, queue: float | None) -> Flow[str]:
    try:
        yield from hopeless().options(total_timeout=total or 1000, queue_timeout=queue or 1000)
    except TaskTimedOut as error:
        return error.limit
    return ""


def test_the_time_limit_of_a_task_holds_while_nobody_serves_it(serve, client):
    serve(unserved)

    assert client.run(unserved(0.02, None), timeout=20) == "total_timeout"


gate = Gate()
told: list[str] = []


@task(total_timeout=0.5, interrupt=False, retry=NEVER)
def held_up() -> str:
    gate.pass_through()
    return "late"


@workflow
def going_on() -> Flow[str]:
    try:
        return (yield from held_up())
    except TaskTimedOut as error:
        yield from sleep(1000)
        return error.limit


def test_a_success_after_the_time_limit_is_recorded_and_ignored(serve, client):
    gate.__init__()  # type: ignore[misc]  # a fresh one, under the name that the task knows
    serve(going_on, held_up)
    handle = client.start(going_on(), id="g")
    until(lambda: "TimerFired" in events(handle.history()))

    gate.open()
    until(lambda: "TaskCompleted" in events(handle.history()))
    last = handle.history()[-1]

    assert isinstance(last.event, TaskCompleted)
    assert bytes(last.event.value) == b'"late"'
    assert (last.commands, last.sends, handle.status()) == ((), (), "running")


# ------------------------------------------------------------------------------------------ queue_timeout


def test_a_task_that_no_worker_begins_in_time_has_timed_out_and_is_not_begun_later(serve, client):
    serve(unserved)

    assert client.run(unserved(None, 0.02), timeout=20) == "queue_timeout"


@task(queue_timeout=1000, retry=Retry(initial=0))
def begun() -> int:
    if current_task().attempt == 1:
        raise LookupError
    gate.pass_through()
    return current_task().attempt


@workflow
def begun_in_time() -> Flow[int]:
    return (yield from begun())


def test_an_attempt_with_a_time_to_find_a_worker_tells_that_it_began_and_has_no_such_limit_any_more(
    serve, client, storage
):
    gate.__init__()  # type: ignore[misc]  # a fresh one, under the name that the task knows
    serve(begun_in_time, begun)
    handle = client.start(begun_in_time(), id="b")
    gate.wait_for(1)
    until(lambda: events(handle.history())[-1] == "TaskStarted")

    assert handle.history()[-1].event.attempt == 2
    assert [wait.deadlines for wait in storage.load("b").record.waits] == [{}]
    until(lambda: not storage.load("b").timers)
    gate.open()
    assert handle.result(20) == 2


# ------------------------------------------------------------------------------------------ heartbeats


@task(heartbeat=2, retry=NEVER)
def long_work() -> int:
    said, end = 0, time.monotonic() + 2.5
    while time.monotonic() < end:
        current_task().heartbeat({"said": (said := said + 1)})
        time.sleep(0.01)
    return said


@workflow
def working() -> Flow[int]:
    return (yield from long_work())


def test_a_task_that_says_enough_may_take_longer_than_its_heartbeat_and_not_all_it_says_is_sent(serve, client):
    serve(working, long_work)
    handle = client.start(working(), id="w")

    assert handle.result(20) > 4
    beats = [one.event for one in handle.history() if isinstance(one.event, Heartbeat)]
    assert 1 <= len(beats) <= 4
    assert events(handle.history())[:2] == ["Started", "TaskStarted"]


silence = threading.Event()


@task(heartbeat=0.05, retry=Retry(max_attempts=2, initial=0))
def falls_silent(for_good: bool) -> str:
    about = current_task()
    if for_good or about.details is None:
        about.heartbeat({"page": 1})
        silence.wait(20)
    return f"from page {about.details['page']}"


@task(heartbeat=0.05, retry=Retry(max_attempts=2, initial=0))
async def falls_silent_async(for_good: bool) -> str:
    about = current_task()
    if for_good or about.details is None:
        about.heartbeat({"page": 1})
        await asyncio.sleep(20)
    return f"from page {about.details['page']}"


@workflow
def listening(asynchronous: bool, for_good: bool) -> Flow[str]:
    call = (falls_silent_async if asynchronous else falls_silent)(for_good)
    return (yield from call if for_good else call.options(retry=Retry(max_attempts=1_000, initial=0)))


@pytest.mark.parametrize("asynchronous", [False, True], ids=["def", "async def"])
def test_a_task_that_falls_silent_is_tried_again_with_what_it_said_last(serve, client, asynchronous):
    silence.clear()
    serve(listening, falls_silent, falls_silent_async)
    handle = client.start(listening(asynchronous, False), id="l")

    assert handle.result(20) == "from page 1"
    silence.set()


@pytest.mark.parametrize("asynchronous", [False, True], ids=["def", "async def"])
def test_a_task_that_falls_silent_for_good_has_timed_out(serve, client, asynchronous):
    silence.clear()
    serve(listening, falls_silent, falls_silent_async)

    handle = client.start(listening(asynchronous, True), id="l")
    error = timed_out(handle)

    assert (error.limit, len(attempts(handle))) == ("heartbeat", 2)
    assert "said nothing for longer than its heartbeat of 0.05 s" in str(error)
    silence.set()


@task(retry=Retry(max_attempts=3, initial=0))
def counting_up() -> int:
    about = current_task()
    page = (about.details or 0) + 1
    for one in (-1, page):
        about.heartbeat(one)
    if page < 3:
        raise LookupError(f"at page {page}")
    return page


@workflow
def resuming() -> Flow[int]:
    return (yield from counting_up())


def test_what_a_failed_attempt_said_last_is_never_lost_even_without_a_heartbeat(serve, client):
    serve(resuming, counting_up)
    handle = client.start(resuming(), id="r")

    assert handle.result(20) == 3
    assert [bytes(one.details) for one in attempts(handle)] == [b"1", b"2"]
    assert "Heartbeat" not in events(handle.history())


@task(heartbeat=20, retry=Retry(max_attempts=2, initial=0))
def deserted() -> str:
    return f"attempt {current_task().attempt} after {current_task().previous}"


@workflow
def deserting() -> Flow[str]:
    return (yield from deserted())


def test_a_task_whose_worker_is_gone_without_a_word_is_sent_again(serve, client, stage):
    """The worker's part is played by hand: it takes the task, says that it began, and is never heard of again."""
    serve(deserting)
    handle = client.start(deserting(), id="d")
    run = until(lambda: [turn.event.run for turn in handle.history()[:1]])[0]
    backend = open_at(stage.place)
    event = TaskStarted("", "m0.0", 1, "gone", 1, heartbeat=20_000)
    about = {"workflow": "deserting", "workflow_id": "d", "run": run, "position": "m0.0", "attempt": 1}
    message = event_message(event, **about)
    backend.transport.publish([Outgoing(workflow_topic("deserting"), "d", message)])
    until(lambda: any(isinstance(one.event, TimerFired) for one in handle.history()))
    backend.close()

    serve(deserted)

    assert [one for turn in handle.history() for one in turn.sends] == [NextAttempt("m0.0", 2, lost=True)]
    assert handle.result(20).startswith("attempt")


def test_what_a_task_said_last_while_its_instance_was_suspended_is_handed_on(serve, client, stage):
    """The worker's part is played by hand."""
    serve(deserting)
    handle = client.start(deserting(), id="d")
    run = until(lambda: [turn.event.run for turn in handle.history()[:1]])[0]
    about = {"workflow": "deserting", "workflow_id": "d", "run": run, "position": "m0.0", "attempt": 1}
    backend = open_at(stage.place)

    def say(*those: Any) -> None:
        messages = [event_message(one, **about) for one in those]
        backend.transport.publish([Outgoing(workflow_topic("deserting"), "d", one) for one in messages])

    say(TaskStarted("", "m0.0", 1, "gone", 1, heartbeat=3_600_000_000))
    client.suspend("d", timeout=20)
    for number in range(4):
        say(*(Heartbeat("", "m0.0", 1, Raw(str(10 * number + one).encode())) for one in (1, 2)))
        until(lambda: f'"details":{10 * number + 2}' in inbox(backend))  # noqa: B023
    backend.close()
    client.resume("d", timeout=20)

    until(lambda: "Heartbeat" in events(handle.history()))
    heard = [bytes(turn.event.details) for turn in handle.history() if isinstance(turn.event, Heartbeat)]
    assert heard == [b"1", b"32"]


def inbox(backend: Any) -> str:
    """What waits there, as text."""
    stored = backend.storage.load("d")
    return " ".join(bytes(item.body).decode(errors="replace") for item in stored.inbox)


# ------------------------------------------------------------------------------------------ told and interrupted


def busy() -> None:
    """What Python code does, line after line, until somebody interrupts it."""
    until(lambda: False)


@task(timeout=0.05, retry=Retry(max_attempts=1_000, initial=0))
def interrupted() -> None:
    if told:
        return
    try:
        busy()
    except Cancelled:
        told.append(f"cancelled: {current_task().cancelled}")
        raise


@task(timeout=0.05, retry=Retry(max_attempts=1_000, initial=0), interrupt=False)
def left_alone() -> None:
    if told:
        return
    until(lambda: current_task().cancelled)
    try:
        current_task().heartbeat()
    except Cancelled:
        told.append("by a heartbeat")


@workflow
def taking_too_long(patient: bool) -> Flow[None]:
    yield from left_alone() if patient else interrupted()


@pytest.mark.parametrize(("patient", "how"), [(False, "cancelled: True"), (True, "by a heartbeat")])
def test_a_def_task_that_took_too_long_is_told(serve, client, patient, how):
    told.clear()
    serve(taking_too_long, interrupted, left_alone)

    client.run(taking_too_long(patient), timeout=20)

    assert told[0] == how


@task(timeout=0.05, retry=NEVER)
async def deaf() -> str:
    try:
        await asyncio.sleep(60)
    except asyncio.CancelledError:
        told.append(f"cancelled: {current_task().cancelled}")
    while not silence.is_set():
        await asyncio.sleep(0.005)
    return "after all"


@workflow
def asking_the_deaf() -> Flow[str]:
    return (yield from deaf())


def test_an_async_task_that_took_too_long_has_timed_out_whatever_it_makes_of_its_cancellation(serve, client):
    told.clear()
    silence.clear()
    serve(asking_the_deaf, deaf)

    error = timed_out(client.start(asking_the_deaf(), id="a"))

    until(lambda: told == ["cancelled: True"])
    assert str(error) == "deaf timed out: deaf took longer than its timeout of 0.05 s"
    silence.set()


@task(retry=NEVER)
def working_on() -> None:
    try:
        gate.came += 1
        busy()
    except Cancelled:
        told.append("cancelled")
        raise


@workflow
def losing() -> Flow[str]:
    name, _ = yield from race(work=working_on(), other=sleep(0.05))
    return name


def test_a_def_task_that_is_cancelled_is_interrupted_and_its_thread_goes_on_with_others(serve, client):
    gate.__init__()  # type: ignore[misc]  # a fresh one, under the name that the task knows
    told.clear()
    serve(losing, working_on, resuming, counting_up, concurrency=1)

    assert client.run(losing(), timeout=20) == "other"
    until(lambda: told == ["cancelled"] or not gate.came)
    assert client.run(resuming(), timeout=20) == 3


@task(heartbeat=100, retry=NEVER)
async def unwanted() -> None:
    told.append("begun")
    try:
        await asyncio.sleep(20)
    finally:
        told.append("cancelled")


@workflow
def giving_up() -> Flow[str]:
    name, _ = yield from race(work=unwanted(), other=sleep(0.01))
    return name


def test_a_task_that_was_cancelled_before_it_began_learns_of_it_by_the_first_thing_that_it_says(serve, client):
    told.clear()
    serve(giving_up)
    assert client.run(giving_up(), timeout=20) == "other"

    serve(unwanted)

    until(lambda: told == ["begun", "cancelled"])


# ------------------------------------------------------------------------------------------ own functions


def thrice(attempt: int, error: BaseException) -> float | None:
    return 0.001 if attempt < 3 and str(error) != "for good" else None


@task(retry=Retry(max_attempts=100, decide=thrice))
def decided(message: str) -> None:
    raise LookupError(message)


@workflow
def deciding(message: str) -> Flow[None]:
    yield from decided(message)


@pytest.mark.parametrize(("message", "count"), [("again", 3), ("for good", 1)])
def test_a_function_of_ones_own_decides_about_the_next_attempt(serve, client, message, count):
    serve(deciding, decided)
    handle = client.start(deciding(message), id="d")

    with pytest.raises(WorkflowFailed):
        handle.result(20)
    assert [one.retry_in for one in attempts(handle)] == [1_000] * (count - 1) + [None]


def wrong(attempt: int, error: BaseException) -> float | None:
    raise KeyError("of the policy")


def test_a_function_that_fails_means_no_further_attempt_and_the_error_says_so(serve, client):
    serve(deciding, decided, retry=Retry(decide=wrong))
    handle = client.start(deciding("own"), id="d")

    with pytest.raises(WorkflowFailed) as raised:
        handle.result(20)
    assert isinstance(raised.value.error, TaskFailed)
    assert raised.value.error.error.__notes__ == ["the retry policy could not decide: KeyError: 'of the policy'"]


# ------------------------------------------------------------------------------------------ restarts


@task(retry=Retry(max_attempts=3, initial=0.2, maximum=0.2, jitter=0))
def numbered() -> None:
    raise LookupError(f"attempt {current_task().attempt}")


@workflow
def restarted() -> Flow[None]:
    yield from numbered()


def test_attempts_go_on_where_they_were_when_all_workers_are_replaced(serve, client):
    handle = client.start(restarted(), id="r")
    for _ in range(2):
        known = len(attempts(handle)) if client.count(restarted) else 0
        worker = serve(restarted, numbered)
        until(lambda known=known: client.count(restarted) and len(attempts(handle)) > known)
        worker.close()
    serve(restarted)
    serve(numbered)

    with pytest.raises(WorkflowFailed, match="attempt 3"):
        handle.result(20)
    assert [one.error.message for one in attempts(handle)] == ["attempt 1", "attempt 2", "attempt 3"]
