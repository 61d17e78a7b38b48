"""The stage: nothing happens by itself, time jumps, tasks follow their scripts, and tests are told what is wrong."""

import asyncio
import subprocess
import sys
import threading
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from dsl import Batch, Flow, Retry, current_batch, now, sleep, spawn, task, timeout, uuid4, workflow
from dsl.context import current_task
from infinitic import RegistrationError, TaskTimedOut, UnknownWorkflow, WorkflowCancelled, WorkflowFailed
from infinitic.testing import Stage, Stalled, Undetermined, going
from tests.testing.given import Booking, Cars, Counter, GrandHotels, Hotels, charge, confirmed, text, trip, waits

BEGIN = datetime(2030, 1, 1, 9, tzinfo=UTC)


@pytest.fixture
def stage():
    with Stage(workflows=[trip, waits, Counter], services=[GrandHotels, Cars, charge]) as stage:
        yield stage


def paid(stage, id="t"):
    """A handle to a trip that somebody has confirmed."""
    handle = stage.client.start(trip("Oslo"), id=id)
    stage.client.run(confirmed.by_id(id).send("yes"))
    return handle


def test_a_trip_from_start_to_payment(stage):
    assert paid(stage).result() == "visa paid 600"
    assert stage.now == BEGIN


def test_a_start_only_sends(stage):
    handle = stage.client.start(trip("Oslo"), id="t")

    assert handle.history() == ()
    stage.settle()
    assert len(handle.history()) == 3


def test_whoever_waits_jumps_over_what_takes_time(stage):
    assert stage.client.run(trip("Oslo")) == "no trip to Oslo"
    assert stage.now == BEGIN + timedelta(days=1)


def test_settling_jumps_over_nothing(stage):
    handle = stage.client.start(trip("Oslo"), id="t")
    stage.settle()

    assert (handle.status(), stage.now) == ("running", BEGIN)


def test_time_can_be_moved_on_and_each_thing_happens_at_its_own():
    @workflow
    def diary() -> Flow[list[int]]:
        days = []
        for _ in range(3):
            yield from sleep(days=2)
            days.append(now().day)
        return days

    with Stage(workflows=[diary], at=BEGIN) as stage:
        handle = stage.client.start(diary(), id="d")
        stage.advance(days=5)
        assert (len(handle.history()), stage.now) == (3, BEGIN + timedelta(days=5))
        stage.advance(timedelta(days=1))
        assert handle.result() == [3, 5, 7]


def test_a_timeout_is_by_the_clock_of_the_stage(stage):
    handle = stage.client.start(trip("Oslo"), id="t")

    with pytest.raises(TimeoutError, match="has not ended within 3600 s"):
        handle.result(timeout=3600)
    assert stage.now == BEGIN + timedelta(hours=1)
    assert handle.result(timeout=timedelta(days=1)) == "no trip to Oslo"


def test_a_timeout_of_zero_only_looks(stage):
    handle = stage.client.start(waits(), id="w")

    with pytest.raises(TimeoutError):
        handle.result(timeout=0)


def test_methods_queries_and_signals(stage):
    handle = stage.client.start(Counter.run(until=10), id="c")
    counter = Counter.by_id("c")

    assert stage.client.run(counter.add(3)) == 3
    stage.client.run(counter.steps.send(4))
    assert stage.client.run(counter.so_far()) == 7
    stage.client.start(counter.steps.send(4))
    assert handle.result() == 11


def test_a_cancellation(stage):
    handle = stage.client.start(waits(), id="w")
    handle.cancel()

    with pytest.raises(WorkflowCancelled):
        handle.result()


def test_an_unknown_instance_is_unknown(stage):
    with pytest.raises(UnknownWorkflow):
        stage.client.run(Counter.by_id("nobody").so_far())


def test_many_instances_are_driven_together(stage):
    handles = [stage.client.start(trip("Oslo"), id=f"t{number}") for number in range(200)]

    assert {handle.result() for handle in handles} == {"no trip to Oslo"}
    assert stage.now == BEGIN + timedelta(days=1)


def test_two_stages_know_nothing_of_each_other():
    with Stage(workflows=[waits]) as one, Stage(workflows=[waits]) as other:
        handle = one.client.start(waits(), id="w")
        other.client.start(waits(), id="w")
        other.client.run(confirmed.by_id("w").send("yes"))
        one.settle()

        assert handle.status() == "running"


def test_ids_and_chance_are_the_same_in_each_test():
    @workflow
    def ids() -> Flow[list[str]]:
        yield from sleep(1)
        return [str(uuid4())]

    def once():
        with Stage(workflows=[ids]) as stage:
            return stage.client.run(ids())

    assert once() == once()


def test_no_thread_runs(stage):
    before = threading.active_count()
    paid(stage).result()

    assert threading.active_count() == before


# --- tasks ---


def test_attempts_are_what_was_asked_for(stage):
    paid(stage).result()

    assert stage.attempts(charge) == (charge("visa", 600),)
    assert stage.attempts(Hotels.book) == stage.attempts(GrandHotels.book) == (Hotels.book("Oslo", nights=3),)


def test_a_script_gives_one_outcome_an_attempt(stage):
    stage.script(charge, ConnectionError("down"), lambda card, euros: f"{card}: {euros}")

    assert [paid(stage, id).result() for id in ("a", "b")] == ["visa: 600", "visa: 600"]
    assert stage.attempts(charge) == (charge("visa", 600),) * 3
    assert stage.now == BEGIN + timedelta(seconds=10)  # as its policy says


def test_a_task_that_never_succeeds_fails_as_in_production(stage):
    stage.script(charge, ConnectionError("down"))

    with pytest.raises(WorkflowFailed) as failed:
        paid(stage).result()

    assert isinstance(failed.value.error.error, ConnectionError)
    assert (len(stage.attempts(charge)), stage.now) == (3, BEGIN + timedelta(seconds=10 + 20))


def test_a_contract_without_an_implementation_can_be_scripted():
    with Stage(workflows=[trip], services=[Cars, charge]) as stage:
        handle = stage.client.start(trip("Oslo"), id="t")
        stage.settle()
        stage.script(Hotels.book, Booking("H", 1))
        stage.client.run(confirmed.by_id("t").send("yes"))

        assert handle.result() == "visa paid 181"


def test_what_a_script_gives_is_held_to_the_contract(stage):
    stage.script(Hotels.book, "no booking")

    with pytest.raises(WorkflowFailed, match="Expected `object`, got `str`"):
        paid(stage).result()


def test_a_task_takes_as_long_as_it_is_told(stage):
    stage.takes(charge, seconds=20)

    assert paid(stage).result() == "visa paid 600"
    assert stage.now == BEGIN + timedelta(seconds=20)


def test_a_task_that_takes_longer_than_its_timeout_fails(stage):
    stage.takes(charge, minutes=1)

    with pytest.raises(WorkflowFailed) as failed:
        paid(stage).result()

    assert isinstance(failed.value.error, TaskTimedOut)
    assert stage.now == BEGIN + timedelta(seconds=30 + 10 + 30 + 20 + 30)


def test_a_slow_task_loses_a_race_against_time():
    @workflow
    def hasty() -> Flow[str]:
        try:
            return (yield from timeout(Hotels.book("Oslo"), 60)).number
        except TimeoutError:
            return "too slow"

    with Stage(workflows=[hasty], services=[GrandHotels]) as stage:
        stage.takes(Hotels.book, hours=2)
        assert stage.client.run(hasty()) == "too slow"
        assert stage.now == BEGIN + timedelta(minutes=1)


def test_async_tasks_share_one_loop_and_may_be_slow():
    loops = []

    @task(timeout=0.01)
    async def slow() -> str:
        loops.append(asyncio.get_running_loop())
        await asyncio.sleep(30)
        return ""

    @task
    async def quick() -> int:
        loops.append(asyncio.get_running_loop())
        return current_task().attempt

    @workflow
    def both() -> Flow[int]:
        with suppress(TaskTimedOut):
            yield from slow().options(retry=Retry(max_attempts=1))
        return (yield from quick())

    with Stage(workflows=[both], services=[slow, quick]) as stage:
        assert stage.client.run(both()) == 1
    assert len(set(map(id, loops))) == 1


def test_a_script_may_name_a_class_of_exceptions(stage):
    stage.script(charge, ConnectionError, "paid")

    assert paid(stage).result() == "paid"


def test_a_script_may_hold_functions_that_are_to_be_awaited(stage):
    async def book(city):
        await asyncio.sleep(0)
        return Booking(f"fake {city}", 10)

    stage.script(Cars.book, ConnectionError("down"), book)

    assert paid(stage).result() == "visa paid 430"


def test_attempts_show_what_was_asked_for_and_not_what_the_task_made_of_it():
    @task
    def last(numbers: list[int]) -> int:
        return numbers.pop()

    @workflow
    def taking() -> Flow[int]:
        return (yield from last([1, 2]))

    with Stage(workflows=[taking], services=[last]) as stage:
        assert (stage.client.run(taking()), stage.attempts(last)) == (2, (last([1, 2]),))


def test_async_tasks_may_use_the_async_client_even_for_other_async_tasks():
    @workflow
    def inner() -> Flow[str]:
        return (yield from Cars.book("Oslo")).number

    @task
    async def ask() -> list[str]:
        return await asyncio.gather(stage.aclient.run(inner()), stage.aclient.run(inner()))

    @workflow
    def outer() -> Flow[list[str]]:
        return (yield from ask())

    with Stage(workflows=[outer, inner], services=[ask, Cars]) as stage:
        assert stage.client.run(outer()) == ["C-Oslo", "C-Oslo"]


def test_tasks_may_use_the_client_of_the_stage():
    @task
    def tell(id: str) -> int:
        stage.client.run(Counter.by_id(id).steps.send(5))
        return stage.client.run(Counter.by_id(id).so_far())

    @workflow
    def telling(id: str) -> Flow[int]:
        return (yield from tell(id))

    with Stage(workflows=[telling, Counter], services=[tell]) as stage:
        stage.client.start(Counter.run(until=10), id="c")
        assert stage.client.run(telling("c")) == 5


def test_what_is_no_task_cannot_be_scripted(stage):
    with pytest.raises(TypeError, match=r"stage\.script\(\) takes a task, such as charge or Hotels\.book, not"):
        stage.script(trip, "x")
    with pytest.raises(TypeError, match="at least one outcome"):
        stage.script(charge)


def test_an_interrupt_in_a_task_is_not_the_tasks_failure(stage):
    stage.script(charge, KeyboardInterrupt())

    with pytest.raises(KeyboardInterrupt):
        paid(stage).result()


def test_what_cannot_be_served_is_refused_at_once():
    with pytest.raises(RegistrationError):
        Stage(services=[Hotels])


# --- what goes wrong ---


def test_what_never_comes_is_told_with_all_that_is_waited_for(stage):
    handle = stage.client.start(waits(), id="w")

    with pytest.raises(Stalled) as stalled:
        handle.result()

    line = waits.fn.__code__.co_firstlineno + 2
    assert stalled.value.waits[0].startswith("waits 'w' waits for receive confirmed, ")
    assert stalled.value.waits[0].endswith(f":{line}: `return (yield from confirmed.receive())`")
    assert text(stalled).startswith("This will never be answered: nothing is left to happen on this stage.\n")


def test_what_nobody_serves_is_told():
    with Stage(workflows=[trip], services=[Cars]) as stage:
        with pytest.raises(Stalled, match="nobody here does the tasks of Hotels"):
            stage.client.run(trip("Oslo"))
        with pytest.raises(Stalled, match="nobody here runs the workflow waits"):
            stage.client.run(waits())


def test_what_goes_on_for_ever_is_told():
    @workflow
    def endless() -> Flow[None]:
        while True:
            yield from sleep(days=365)

    with Stage(workflows=[endless]) as stage, pytest.raises(Stalled, match="it goes on for ever"):
        stage.client.run(endless())


def test_what_goes_on_for_ever_in_no_time_is_told(monkeypatch):
    monkeypatch.setattr(going, "COMMITS", 300)

    @workflow
    def impatient() -> Flow[None]:
        while (yield from Hotels.book("Oslo")).euros > 100:
            pass

    with Stage(workflows=[impatient], services=[GrandHotels]) as stage, pytest.raises(Stalled) as stalled:
        stage.client.run(impatient(), timeout=60)
    assert stalled.value.reason == "it goes on for ever, and in 300 steps no time has passed"
    assert stalled.value.waits[0].endswith('`while (yield from Hotels.book("Oslo")).euros > 100:`')


def test_what_is_told_says_why_something_is_tried_again():
    @task(retry=Retry(max_attempts=10**6, initial=86_400, factor=1, maximum=86_400, jitter=0))
    def wrong() -> None:
        raise ValueError("no such booking")

    @workflow
    def stubborn() -> Flow[None]:
        yield from wrong()

    with Stage(workflows=[stubborn], services=[wrong]) as stage, pytest.raises(Stalled) as stalled:
        stage.client.run(stubborn())
    assert "last error ValueError: no such booking" in stalled.value.waits[0]


def test_a_stage_begins_at_an_aware_time():
    with pytest.raises(ValueError, match=r"at=datetime\.datetime\(2030, 1, 1, 9, 0\) is naive: say which time zone"):
        Stage(at=BEGIN.replace(tzinfo=None))
    with pytest.raises(TypeError, match="at= takes a datetime, not '2030-01-01'"):
        Stage(at="2030-01-01")


def test_code_that_does_something_else_when_it_is_replayed_fails_the_test():
    times = []

    @workflow
    def moody() -> Flow[None]:
        yield from sleep(1)
        times.append(1)
        yield from sleep(len(times))

    with Stage(workflows=[moody]) as stage, pytest.raises(Undetermined) as raised:
        stage.client.run(moody())
    assert (raised.value.recorded, raised.value.replayed) == ("sleep(1 s)", "sleep(2 s)")
    assert raised.value.line == moody.fn.__code__.co_firstlineno + 4


def test_state_that_differs_when_it_is_replayed_fails_the_test():
    class Moody(Counter):
        times = 0

        def __init__(self) -> None:
            Moody.times += 1
            self.total = Moody.times

    with Stage(workflows=[Moody]) as stage:
        stage.client.start(Moody.run(until=100))
        with pytest.raises(Undetermined, match=r"came to self\.total = 1, and, replayed from its history, to self"):
            stage.settle()


def test_a_long_history_is_checked_each_time_it_grew_by_a_tenth_and_in_the_end(monkeypatch):
    replayed = []
    checked = going.check
    monkeypatch.setattr(going, "check", lambda *given: (replayed.append(len(given[2])), checked(*given)))

    with Stage(workflows=[Counter]) as stage:
        stage.client.start(Counter.run(until=1_000), id="c")
        for _ in range(234):
            stage.client.run(Counter.by_id("c").steps.send(1))

    assert replayed == [*range(2, 101), 110, 121, 134, 148, 163, 180, 198, 218, 235]


# --- other clients, other tests ---


def test_an_async_client_waits_by_the_same_clock(stage):
    async def both():
        handles = [await stage.aclient.start(trip("Oslo"), id=id) for id in "ab"]
        await stage.aclient.run(confirmed.by_id("a").send("yes"))
        return await asyncio.gather(*handles)

    assert asyncio.run(both()) == ["visa paid 600", "no trip to Oslo"]


def test_a_stage_may_be_used_on_a_running_loop():
    @workflow
    def driving() -> Flow[str]:
        return (yield from Cars.book("Oslo")).number

    async def drives():
        with Stage(workflows=[driving], services=[Cars]) as stage:
            handle = await stage.aclient.start(driving(), id="d")
            stage.settle()
            return await handle, stage.client.run(driving()), await stage.aclient.run(driving())

    assert asyncio.run(drives()) == ("C-Oslo", "C-Oslo", "C-Oslo")


def test_the_threads_own_loop_is_left_alone(stage):
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    try:
        paid(stage).result()
        stage.close()
        assert asyncio.get_event_loop() is loop
    finally:
        asyncio.set_event_loop(None)
        loop.close()


def test_importing_infinitic_imports_nothing_of_this():
    code = "import sys, infinitic; infinitic.Worker, infinitic.Client; print('infinitic.testing' in sys.modules)"

    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"


@workflow
def knotted() -> Flow[int]:
    """Waits for a branch that waits for itself."""
    branches: list[Any] = []

    def branch() -> Flow[int]:
        yield from sleep(1)
        return (yield from branches[0])

    branches.append(spawn(branch()))
    return (yield from branches[0])


def test_branches_that_wait_for_each_other_are_told():
    with Stage(workflows=[knotted]) as stage, pytest.raises(Stalled, match="'k' waits for nothing: its branches wait"):
        stage.client.start(knotted(), id="k").result()


# ------------------------------------------------------------------------------------------ delegated, batched


@task(delegated=True)
def approve(order: str) -> bool | None:
    handed_out.append(current_task().id)
    return None


@task
def double(number: int) -> int:
    raise NotImplementedError


@task(batch=Batch(double, size=10, wait=60))
async def double_all(calls: list[tuple[int]]) -> list[int]:
    assert len(current_batch()) == len(calls)
    return [2 * number for (number,) in calls]


@workflow
def ordering(number: int) -> Flow[tuple[bool, int]]:
    return (yield from approve("o")), (yield from double(number))


handed_out: list[str] = []


def test_a_delegated_task_is_completed_by_the_test_or_by_its_script_and_a_batch_is_of_one():
    with Stage(workflows=[ordering], services=[approve, double_all]) as stage:
        handle = stage.client.start(ordering(4))
        stage.settle()
        assert stage.client.complete(handed_out.pop(), False) is True
        assert handle.result() == (False, 8)

        stage.script(approve, True)
        stage.script(double, 5)
        assert stage.client.run(ordering(1)) == (True, 5)
        assert stage.attempts(double) == (double(4), double(1))


# --- limits of tasks ---


@task(retry=Retry(max_attempts=2, initial=10, jitter=0), heartbeat=60)
def import_pages() -> str:
    about = current_task()
    if about.attempt == 2:
        about.heartbeat(about.details)
    return f"attempt {about.attempt}"


@workflow
def importing(total: int, queue: int) -> Flow[str]:
    began = now()
    try:
        told = yield from import_pages().options(total_timeout=total, queue_timeout=queue)
    except TaskTimedOut as error:
        told = error.limit
    return f"{told} after {now() - began}"


def test_an_attempt_that_says_nothing_falls_silent_and_one_that_speaks_goes_on():
    with Stage(workflows=[importing], services=[import_pages]) as stage:
        stage.takes(import_pages, hours=1)

        assert stage.client.run(importing(10_000, 10_000)) == "attempt 2 after 1:01:10"


def test_the_limit_of_a_task_in_all_passes_in_no_time_and_ends_its_attempt():
    with Stage(workflows=[importing], services=[import_pages]) as stage:
        stage.takes(import_pages, hours=1)

        assert stage.client.run(importing(100, 10_000)) == "total_timeout after 0:01:40"


def test_the_limit_for_finding_a_worker_passes_in_no_time():
    with Stage(workflows=[importing]) as stage:
        assert stage.client.run(importing(10_000, 30)) == "queue_timeout after 0:00:30"
