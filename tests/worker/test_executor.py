"""The executor: how many tasks run at once, who runs alone, and what becomes of all when it closes."""

import asyncio
import decimal
import gc
import threading
from collections import Counter
from contextvars import ContextVar

import pytest
from msgspec import Raw
from msgspec.json import decode, encode

from dsl import current_task, task
from infinitic.events import AnyEvent, AttemptFailed
from infinitic.messages import Delivery, Message, TaskRequest, encode_payload
from infinitic.serialization import Serializer
from infinitic.topics import service_topic
from infinitic.worker.executor import Executor
from infinitic.worker.registry import Registry
from infinitic.worker.tasks import Attempt, TaskStep
from infinitic.worker.work import Finished
from tests.scenarios.given import until
from tests.worker.given import Clock

go = threading.Event()
lock = threading.Lock()
running: Counter[str] = Counter()
most: Counter[str] = Counter()


def enter(kind):
    with lock:
        running[kind] += 1
        running["all"] += 1
        most[kind] = max(most[kind], running[kind])
        most["all"] = max(most["all"], running["all"])


def leave(kind):
    with lock:
        running[kind] -= 1
        running["all"] -= 1


@task
def quick() -> None:
    """Over at once."""


@task
def held() -> None:
    enter("held")
    assert go.wait(20)
    leave("held")


@task
async def held_async() -> None:
    enter("async")
    while not go.is_set():
        await asyncio.sleep(0.001)
    leave("async")


@task
async def blocking_async() -> None:
    """Holds up the loop."""
    enter("blocking")
    assert go.wait(20)
    leave("blocking")


@task(timeout=0.05)
def limited() -> None:
    enter("limited")
    assert go.wait(20)
    leave("limited")


@task(timeout=3600)
def patient() -> None:
    """Over at once, and might have taken an hour."""


@task(timeout=3600)
async def patient_async() -> None:
    """The same."""


@task(heartbeat=3600)
def talking() -> None:
    """Over at once, and says something before."""
    current_task().heartbeat(1)


log: list[tuple[str, str]] = []


@task
def logged(who: str) -> None:
    log.append((who, "begins"))
    if who == "waiting":
        assert go.wait(20)
    log.append((who, "ends"))


@task
async def logged_async(who: str) -> None:
    log.append((who, "begins"))
    for _ in range(10):
        await asyncio.sleep(0)
    log.append((who, "ends"))


marks: ContextVar[str] = ContextVar("marks", default="clean")


def context() -> list[str]:
    """What a task or a workflow sees that runs here."""
    return [marks.get(), str(decimal.getcontext().prec), str(decimal.Decimal(2).sqrt())]


CLEAN = ["clean", "28", "1.414213562373095048801688724"]


@task
def soiling() -> None:
    marks.set("dirty")
    decimal.getcontext().prec = 4


@task
async def soiling_async() -> None:
    marks.set("dirty")
    decimal.getcontext().prec = 4


@task
def seeing() -> list[str]:
    return context()


@task
async def seeing_async() -> list[str]:
    return context()


SERVED = [
    quick,
    held,
    held_async,
    blocking_async,
    limited,
    patient,
    patient_async,
    logged,
    logged_async,
    soiling,
    soiling_async,
    seeing,
    seeing_async,
]


@pytest.fixture
def finished():
    return []


@pytest.fixture
def executor(finished):
    for counter in (running, most, log):
        counter.clear()
    go.clear()
    decimal.setcontext(decimal.DefaultContext.copy())
    codec = Serializer()
    registry = Registry([], SERVED, codec=codec)
    made = Executor(TaskStep(registry, codec, Clock(), "me"), 3, finished.append)
    yield made
    go.set()
    made.stop()


def delivery(name, number=0, suspect=False, **arguments):
    payload = encode_payload(TaskRequest(name, name, Raw(encode(arguments))))
    message = Message("task", f"{name}{number}", "trip", "w", "r", f"m0.{number}", 1, payload=payload)
    return Delivery(service_topic(name), message, number, suspect=suspect)


def deliveries(name, count):
    return [delivery(name, number) for number in range(count)]


def ids(finished: list[Finished]):
    return sorted(one.task.message.id for one in finished)


def after_many_short_ones(executor, finished):
    """From now on it takes tasks ahead."""
    for _ in range(40):
        executor.submit(deliveries("quick", 3))
        until(lambda: executor.wait_idle(20))
    assert executor.capacity() > 3
    finished.clear()


@pytest.mark.parametrize("ahead", [False, True], ids=["at first", "after many short ones"])
@pytest.mark.parametrize("name", ["held", "held_async"])
def test_no_more_than_the_concurrency_run_at_once(executor, finished, name, ahead):
    if ahead:
        after_many_short_ones(executor, finished)
    executor.submit([*deliveries(name, 4), *deliveries("held", 4), *deliveries("held_async", 4)])
    until(lambda: most["all"] == 3)
    go.set()
    until(lambda: len(finished) == 12)

    assert most["all"] == 3


def test_what_is_taken_ahead_counts_against_the_room_there_is(executor, finished):
    after_many_short_ones(executor, finished)
    room = executor.capacity()
    executor.submit(deliveries("held", room))

    assert executor.capacity() == 0
    go.set()
    until(lambda: len(finished) == room)


def test_what_was_taken_ahead_and_waits_too_long_is_given_back(executor, finished):
    after_many_short_ones(executor, finished)
    executor.submit(deliveries("held", 5))
    until(lambda: running["held"] == 3)

    assert executor.give_back() == []  # those that wait may begin yet
    assert len(executor.give_back()) == 2
    assert executor.capacity() == 0  # and no more are taken ahead
    go.set()
    until(lambda: len(finished) == 3)


def test_the_time_of_an_attempt_begins_with_it(executor, finished):
    """Those that wait for a free place must not run out of time meanwhile."""
    executor.submit(deliveries("held", 3))
    executor.submit([delivery("limited", 9)])
    until(lambda: running["held"] == 3)
    threading.Event().wait(0.1)  # longer than the limit of the one that waits
    assert finished == []
    go.set()
    until(lambda: len(finished) == 4)

    assert "AttemptFailed" not in [type(event_of(one)).__name__ for one in finished]


def event_of(one: Finished):
    return decode(one.result.message.payload, type=AnyEvent)


def test_an_attempt_that_takes_too_long_is_answered_and_keeps_its_place(executor, finished):
    executor.submit([delivery("limited")])
    until(lambda: len(finished) == 1)
    event = event_of(finished[0])

    assert isinstance(event, AttemptFailed)
    assert event.timed_out
    assert (executor.capacity(), executor.room) == (2, 2)
    go.set()
    assert executor.wait_idle(20)
    assert len(finished) == 1
    assert executor.room == executor.capacity() >= 3


def test_a_suspect_runs_with_nothing_beside_it(executor, finished):
    executor.submit([delivery("held", 1), delivery("held_async", 2, suspect=True)])
    until(lambda: running["held"] == 1)
    assert executor.capacity() == 0
    executor.submit([delivery("held", 3)])
    go.set()
    until(lambda: len(finished) == 3)

    assert most["async"] == 1
    assert executor.capacity() == 3


@pytest.mark.parametrize("name", ["logged", "logged_async"])
@pytest.mark.parametrize("suspects", [(0,), (1,), (2,), (0, 1), (0, 2), (0, 1, 2)], ids=str)
def test_a_suspect_runs_alone_though_others_come_in_the_same_submit(executor, finished, name, suspects):
    executor.submit([delivery(name, at, at in suspects, who=f"{name}{at}") for at in range(3)])
    until(lambda: len(finished) == 3)

    for at in suspects:
        begins = log.index((f"{name}{at}", "begins"))
        assert log[begins + 1] == (f"{name}{at}", "ends")
        assert [what for _, what in log[:begins]].count("begins") == [what for _, what in log[:begins]].count("ends")
    assert executor.wait_idle(20)
    assert executor.capacity() >= 3


def test_nothing_begins_beside_a_suspect_that_takes_its_time(executor, finished):
    others = [delivery("logged", at, who=f"other{at}") for at in range(3)]
    executor.submit([delivery("logged", 9, True, who="waiting"), *others])
    until(lambda: log)
    assert executor.capacity() <= 0
    executor.submit([delivery("logged", 5, who="later")])
    go.set()
    until(lambda: len(finished) == 5)

    assert log[:2] == [("waiting", "begins"), ("waiting", "ends")]
    assert {name for name, _ in log[2:]} == {"other0", "other1", "other2", "later"}


@pytest.mark.parametrize("name", ["soiling", "soiling_async"])
@pytest.mark.parametrize("then", ["seeing", "seeing_async"])
def test_what_a_task_sets_for_itself_reaches_no_other(executor, finished, name, then):
    for number in range(4):
        executor.submit([delivery(then, number)])
        until(lambda: executor.wait_idle(20))
        executor.submit([delivery(name, number)])
        until(lambda: executor.wait_idle(20))
    executor.submit([delivery(then, at) for at in range(4, 10)])
    until(lambda: len(finished) == 14)

    answers = [decode(one.result.message.payload)["value"] for one in finished if one.task.topic.endswith(then)]
    assert answers == [CLEAN] * 10


@pytest.mark.parametrize("before", [False, True], ids=["untouched before", "used before"])
def test_what_a_task_sets_for_itself_does_not_reach_who_goes_on_in_its_thread(before):
    """The thread of a task steps workflows too, as soon as the task is over."""
    seen: list[list[str]] = []
    codec = Serializer()
    registry = Registry([], [*SERVED], codec=codec)
    executor = Executor(TaskStep(registry, codec, Clock(), "me"), 1, lambda one: seen.append(context()))
    if before:
        executor.submit([delivery("quick", 0)])
        until(lambda: executor.wait_idle(20))
    executor.submit([delivery("soiling", 1)])
    until(lambda: executor.wait_idle(20))
    executor.submit([delivery("quick", 2)])
    until(lambda: executor.wait_idle(20))
    executor.stop()

    assert seen == [CLEAN] * (2 + before)


@pytest.mark.parametrize("name", ["patient", "patient_async", "talking"])
def test_an_attempt_that_is_over_is_not_kept_alive_by_its_timeout(executor, finished, name):
    for at in range(10):
        executor.submit(deliveries(name, 5))
        until(lambda: len(finished) == 5 * (at + 1))  # noqa: B023
    finished.clear()

    until(lambda: kept(name) <= 3, "attempts that are over are kept")  # each thread may know its last one


def kept(name):
    gc.collect()
    return sum(isinstance(one, Attempt) and one.handler.label == name for one in gc.get_objects())


def test_what_an_async_task_sets_for_itself_does_not_reach_who_asked_for_it(executor):
    executor.submit([delivery("soiling_async")])
    assert executor.wait_idle(20)

    assert context() == CLEAN


def test_one_that_closes_begins_nothing_more_and_answers_what_runs(executor, finished):
    executor.submit([*deliveries("held", 5), delivery("held", 9, suspect=True)])
    until(lambda: running["held"] == 3)
    executor.close()
    executor.submit([delivery("quick", 7)])
    go.set()

    assert executor.wait_idle(20)
    assert ids(finished) == ["held0", "held1", "held2"]
    assert executor.capacity() == 0


def test_async_tasks_can_be_cancelled_and_are_when_it_stops(executor, finished):
    executor.submit(deliveries("held_async", 2))
    until(lambda: running["async"] == 2)
    executor.cancel("held_async0")
    until(lambda: ids(finished) == ["held_async0"])
    executor.cancel("nobody")
    executor.stop()

    assert not any(thread.name == "infinitic-async" for thread in threading.enumerate())


def test_an_async_task_that_is_cancelled_before_the_loop_comes_to_it_is_answered(executor, finished):
    executor.submit([delivery("blocking_async", 0)])
    until(lambda: running["blocking"] == 1)
    executor.submit([delivery("held_async", 1)])
    executor.cancel("held_async1")
    go.set()

    assert executor.wait_idle(20)
    assert ids(finished) == ["blocking_async0", "held_async1"]
    assert running["async"] == 0
