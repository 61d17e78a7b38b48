"""Tasks: services and contracts, retries and who decides of them, timeouts, what a task knows of itself."""

import asyncio
import decimal
import sys
import threading
from contextvars import ContextVar
from datetime import timedelta
from typing import Any

import pytest

from dsl import (
    DoNotRetry,
    Flow,
    Retry,
    RetryIn,
    Service,
    current_task,
    gather,
    settle,
    task,
    workflow,
)
from infinitic.errors import (
    DecodeError,
    EncodeError,
    RegistrationError,
    TaskFailed,
    TaskTimedOut,
    WorkflowFailed,
)
from infinitic.events import AttemptFailed
from tests.scenarios.given import Gate, cause_chain, events, until

FAST = Retry(initial=0.001, jitter=0)


class Hotels(Service):
    @task
    def book(self, city: str, nights: int = 1) -> str:
        raise NotImplementedError

    @task
    async def cancel(self, city: str) -> str:
        raise NotImplementedError


class AcmeHotels(Hotels):
    def __init__(self, brand: str = "Acme") -> None:
        self.brand = brand

    def book(self, city: str, nights: int = 1) -> str:
        return f"{self.brand} {city} {nights}"

    async def cancel(self, city: str) -> str:
        await asyncio.sleep(0)
        return f"no {city}"


@workflow
def booking(city: str) -> Flow[list[str]]:
    booked = yield from Hotels.book(city, nights=2)
    return [booked, (yield from Hotels.cancel(city))]


def test_a_contract_describes_and_its_implementation_runs(serve, client):
    serve(booking, AcmeHotels)

    assert client.run(booking("Oslo"), timeout=20) == ["Acme Oslo 2", "no Oslo"]


def test_an_instance_of_a_service_keeps_what_it_was_made_with(serve, client):
    serve(booking, AcmeHotels("Best"))

    assert client.run(booking("Oslo"), timeout=20) == ["Best Oslo 2", "no Oslo"]


def test_services_and_workflows_may_be_served_by_different_workers(serve, client):
    serve(booking)
    serve(AcmeHotels)

    assert client.run(booking("Rome"), timeout=20) == ["Acme Rome 2", "no Rome"]


def test_a_task_of_a_service_that_nobody_serves_waits(serve, client):
    serve(booking)
    handle = client.start(booking("Bonn"), id="b")
    until(lambda: client.count(booking))
    assert handle.status() == "running"

    serve(AcmeHotels)

    assert handle.result(20) == ["Acme Bonn 2", "no Bonn"]


@task(service="billing")
def charge(cents: int) -> int:
    return cents


@task(service="billing")
def refund(cents: int) -> int:
    return -cents


@workflow
def grouped() -> Flow[tuple[int, int]]:
    return (yield from gather(charge(5), refund(3)))


def test_functions_may_share_a_service(serve, client):
    serve(grouped, charge, refund)

    assert client.run(grouped(), timeout=20) == (5, -3)


# ------------------------------------------------------------------------------------------ retries


@task(retry=FAST)
def third_time_lucky(word: str) -> str:
    about = current_task()
    if about.attempt < 3:
        raise ValueError(f"{word} {about.attempt}")
    return f"{word} {about.attempt} after {about.previous}"


@workflow
def trying(word: str) -> Flow[str]:
    return (yield from third_time_lucky(word))


def test_a_task_that_fails_is_tried_again_and_knows_why_the_attempt_before_failed(serve, client):
    serve(trying, third_time_lucky)
    handle = client.start(trying("go"), id="t")

    assert handle.result(20) == "go 3 after go 2"
    assert events(handle.history()) == [
        "Started",
        "AttemptFailed",
        "TimerFired",
        "AttemptFailed",
        "TimerFired",
        "TaskCompleted",
    ]


def test_a_retry_is_never_early(serve, client):
    serve(trying, third_time_lucky)
    handle = client.start(trying("go"), id="t")
    handle.result(20)
    history = handle.history()

    for failed, fired in ((1, 2), (3, 4)):
        event = history[failed].event
        assert isinstance(event, AttemptFailed)
        assert event.retry_in is not None
        assert history[fired].at >= history[failed].at + event.retry_in


@task
def hopeless() -> None:
    raise LookupError(f"attempt {current_task().attempt}")


@workflow
def by_call(max_attempts: int) -> Flow[None]:
    yield from hopeless().options(retry=Retry(max_attempts=max_attempts, initial=0))


@workflow
def without_policy() -> Flow[None]:
    yield from hopeless()


def attempts_of(client: Any, call: Any, workflow_id: str) -> int:
    with pytest.raises(WorkflowFailed) as raised:
        client.start(call, id=workflow_id).result(20)
    error = raised.value.error
    assert isinstance(error, TaskFailed)
    history = client.get(workflow_id).history()
    return sum(1 for turn in history if isinstance(turn.event, AttemptFailed))


def test_a_task_has_five_attempts_by_default(serve, client):
    """The delays are the worker's here, so that nobody waits for those of the default."""
    assert Retry().max_attempts == 5
    serve(without_policy, hopeless, retry=Retry(initial=0))

    assert attempts_of(client, without_policy(), "d") == 5


@task(retry=Retry(max_attempts=2, initial=0))
def twice() -> None:
    raise LookupError


@workflow
def calling_twice(mine: int) -> Flow[None]:
    call = twice()
    yield from call.options(retry=Retry(max_attempts=mine, initial=0)) if mine else call


class Flights(Service):
    @task(retry=Retry(max_attempts=4, initial=0))
    def book(self) -> None:
        raise NotImplementedError

    @task(retry=Retry(max_attempts=4, initial=0))
    def hold(self) -> None:
        raise NotImplementedError


class BadFlights(Flights):
    def book(self) -> None:
        raise LookupError

    @task(retry=Retry(max_attempts=3, initial=0))
    def hold(self) -> None:
        raise LookupError


@workflow
def flying(what: str) -> Flow[None]:
    yield from Flights.book() if what == "book" else Flights.hold()


def test_the_policy_is_the_calls_then_the_workers_then_the_implementations_then_the_contracts(serve, client):
    worker = serve(calling_twice, flying, twice, BadFlights)
    assert attempts_of(client, calling_twice(0), "decorator") == 2
    assert attempts_of(client, calling_twice(1), "call") == 1
    assert attempts_of(client, flying("book"), "contract") == 4
    assert attempts_of(client, flying("hold"), "implementation") == 3
    worker.close()

    serve(calling_twice, flying, twice, BadFlights, retry=Retry(max_attempts=6, initial=0))
    assert attempts_of(client, calling_twice(0), "worker") == 6
    assert attempts_of(client, flying("hold"), "worker before implementation") == 6
    assert attempts_of(client, calling_twice(1), "call before worker") == 1


class Picky(Exception):
    """Of a kind that is not retried."""


@task(retry=Retry(initial=0, never_on=Picky))
def picky() -> None:
    raise Picky("no")


@task(retry=Retry(initial=0, retry_on=Picky))
def choosy() -> None:
    raise ValueError("other")


@workflow
def picking(never: bool) -> Flow[None]:
    yield from picky() if never else choosy()


@workflow
def picking_by_call() -> Flow[None]:
    yield from hopeless().options(retry=Retry(initial=0, never_on=LookupError))


def test_only_the_errors_that_a_policy_names_are_retried(serve, client):
    serve(picking, picking_by_call, picky, choosy, hopeless)

    assert attempts_of(client, picking(True), "never_on") == 1
    assert attempts_of(client, picking(False), "retry_on") == 1
    assert attempts_of(client, picking_by_call(), "by call") == 1


@task(retry=Retry(max_attempts=3, initial=1000, maximum=1000))
def deciding(how: str) -> str:
    if how == "later" and current_task().attempt == 1:
        raise RetryIn(0.001) from LookupError("not yet")
    if how == "never":
        raise DoNotRetry("enough") from LookupError("gone for good")
    if how == "always later":
        raise RetryIn(timedelta(0))
    previous = current_task().previous
    return f"{type(previous).__name__}: {previous}"


@workflow
def leaving_it_to_the_task(how: str) -> Flow[str]:
    return (yield from deciding(how))


def test_a_task_may_say_when_to_try_again(serve, client):
    serve(leaving_it_to_the_task, deciding)

    assert client.run(leaving_it_to_the_task("later"), timeout=20) == "LookupError: not yet"


def test_a_task_may_say_that_it_is_not_to_be_tried_again(serve, client):
    serve(leaving_it_to_the_task, deciding)

    with pytest.raises(WorkflowFailed) as raised:
        client.start(leaving_it_to_the_task("never"), id="n").result(20)

    assert cause_chain(raised.value) == ["WorkflowFailed", "TaskFailed", "LookupError"]
    assert events(client.get("n").history()) == ["Started", "AttemptFailed"]


def test_the_number_of_attempts_holds_for_a_task_that_always_says_later(serve, client):
    serve(leaving_it_to_the_task, deciding)

    assert attempts_of(client, leaving_it_to_the_task("always later"), "l") == 3


# --------------------------------------------------------------------- what no further attempt would mend


@task(name="sized")
def sized_as_called(size: int) -> int:
    raise NotImplementedError


@task(name="sized")
def sized_as_served(size: int, colour: str) -> int:
    raise NotImplementedError


@workflow
def sizing() -> Flow[int]:
    return (yield from sized_as_called(5))


def test_a_call_that_does_not_fit_the_signature_is_never_retried(serve, client):
    serve(sizing, sized_as_served)

    with pytest.raises(WorkflowFailed) as raised:
        client.start(sizing(), id="s").result(20)

    assert cause_chain(raised.value) == ["WorkflowFailed", "TaskFailed", "DecodeError"]
    assert "colour" in str(raised.value)
    assert events(client.get("s").history()) == ["Started", "AttemptFailed"]


@task
def unheard_of(size: int) -> int:
    raise NotImplementedError


@task(service="unheard_of")
def something_else() -> int:
    return 1


@workflow
def asking_for_the_unheard() -> Flow[int]:
    return (yield from unheard_of(5))


def test_a_task_that_its_service_does_not_have_fails_at_once(serve, client):
    serve(asking_for_the_unheard, something_else)

    with pytest.raises(WorkflowFailed) as raised:
        client.start(asking_for_the_unheard(), id="u").result(20)

    assert isinstance(raised.value.error.__cause__, RegistrationError)
    assert "something_else" in str(raised.value)
    assert len(client.get("u").history()) == 2


@task
def unencodable() -> Any:
    return threading.Lock()


@task
def wrongly_typed() -> int:
    return "five"  # type: ignore[return-value]  # that is the point


@workflow
def decoding(what: str) -> Flow[Any]:
    return (yield from unencodable() if what == "encode" else wrongly_typed())


def test_a_result_that_cannot_be_encoded_is_never_retried(serve, client):
    serve(decoding, unencodable, wrongly_typed)

    with pytest.raises(WorkflowFailed) as raised:
        client.start(decoding("encode"), id="e").result(20)

    assert isinstance(raised.value.error.__cause__, EncodeError)
    assert len(client.get("e").history()) == 2


def test_a_result_that_is_not_what_was_declared_fails_the_task(serve, client):
    serve(decoding, unencodable, wrongly_typed)

    with pytest.raises(WorkflowFailed) as raised:
        client.start(decoding("decode"), id="d").result(20)

    assert isinstance(raised.value.error, TaskFailed)
    assert isinstance(raised.value.error.__cause__, DecodeError)


# ------------------------------------------------------------------------------------------ timeouts

asleep = threading.Event()


@task(timeout=0.02, retry=Retry(max_attempts=1_000, initial=0))
def slow() -> str:
    if current_task().attempt == 1:
        asleep.wait(20)
    return f"attempt {current_task().attempt}"


@task(timeout=0.02, retry=Retry(max_attempts=1_000, initial=0))
async def slow_async() -> str:
    if current_task().attempt == 1:
        await asyncio.sleep(20)
    return f"attempt {current_task().attempt}"


@workflow
def waiting(asynchronous: bool, timeout: float | None) -> Flow[str]:
    call = slow_async() if asynchronous else slow()
    return (yield from call.options(retry=Retry(max_attempts=1), timeout=timeout) if timeout else call)


@pytest.mark.parametrize("asynchronous", [False, True], ids=["def", "async def"])
def test_an_attempt_that_takes_too_long_is_tried_again(serve, client, asynchronous):
    asleep.clear()
    serve(waiting, slow, slow_async)
    handle = client.start(waiting(asynchronous, None), id="w")

    assert handle.result(20) in [f"attempt {number}" for number in range(2, 1_000)]  # a slow machine needs more
    assert handle.history()[1].event.timed_out
    asleep.set()


@pytest.mark.parametrize("asynchronous", [False, True], ids=["def", "async def"])
def test_a_task_whose_last_attempt_takes_too_long_has_timed_out(serve, client, asynchronous):
    asleep.clear()
    serve(waiting, slow, slow_async)

    with pytest.raises(WorkflowFailed) as raised:
        client.run(waiting(asynchronous, 0.01), timeout=20)

    assert isinstance(raised.value.error, TaskTimedOut)
    assert cause_chain(raised.value) == ["WorkflowFailed", "TaskTimedOut", "TimeoutError"]
    asleep.set()


@task(retry=FAST)
def raises_a_timeout() -> None:
    raise TimeoutError("the bank did not answer")


@workflow
def calling_a_bank() -> Flow[None]:
    yield from raises_a_timeout()


def test_a_timeout_that_the_task_itself_raised_is_an_ordinary_failure(serve, client):
    serve(calling_a_bank, raises_a_timeout)

    with pytest.raises(WorkflowFailed) as raised:
        client.run(calling_a_bank(), timeout=20)

    assert type(raised.value.error) is TaskFailed


# ------------------------------------------------------------------------------ what a task knows of itself


@task(retry=FAST)
def introspective() -> dict[str, Any]:
    about = current_task()
    if about.attempt == 1:
        raise ValueError(about.id)
    return {
        "same id": str(about.previous) == about.id,
        "name": about.name,
        "attempt": about.attempt,
        "workflow": (about.workflow, about.workflow_id),
        "tags": sorted(about.tags),
        "meta": about.meta,
    }


@workflow
def introspecting() -> Flow[dict[str, Any]]:
    return (yield from introspective().options(tags=["mine"], meta={"b": 2}))


def test_a_task_knows_its_id_attempt_workflow_tags_and_meta(serve, client):
    serve(introspecting, introspective)
    handle = client.start(introspecting(), id="i", tags=["all"], meta={"a": 1, "b": 1})

    assert handle.result(20) == {
        "same id": True,
        "name": "introspective",
        "attempt": 2,
        "workflow": ["introspecting", "i"],
        "tags": ["all", "mine"],
        "meta": {"a": 1, "b": 2},
    }


@task
async def on_a_loop(number: int) -> tuple[int, int, int]:
    await asyncio.sleep(0)
    return number, id(asyncio.get_running_loop()), threading.get_ident()


@workflow
def many_on_a_loop(count: int) -> Flow[list[tuple[int, int, int]]]:
    return list((yield from gather(*[on_a_loop(number) for number in range(count)])))


def test_async_tasks_share_one_loop_and_one_thread(serve, client):
    serve(many_on_a_loop, on_a_loop)
    answers = client.run(many_on_a_loop(20), timeout=20)

    assert [number for number, _, _ in answers] == list(range(20))
    assert len({(loop, thread) for _, loop, thread in answers}) == 1


gate = Gate()


@task
def at_the_gate(number: int) -> int:
    gate.pass_through()
    return number


@workflow
def through_the_gate(count: int) -> Flow[list[int]]:
    return list((yield from gather(*[at_the_gate(number) for number in range(count)])))


def test_no_more_tasks_run_at_once_than_the_worker_is_given(serve, client):
    gate.__init__()  # type: ignore[misc]  # a fresh one, under the name that the task knows
    serve(through_the_gate, at_the_gate, concurrency=3)
    handle = client.start(through_the_gate(9), id="g")
    gate.wait_for(3)
    assert gate.came == 3

    gate.open()

    assert handle.result(20) == list(range(9))


# ------------------------------------------------------------------------- tasks that try to end the worker


@task(retry=Retry(max_attempts=2, initial=0))
def exiting(how: str) -> str:
    if current_task().attempt == 1:
        if how == "exit":
            sys.exit(3)
        raise KeyboardInterrupt
    return f"{how} on attempt {current_task().attempt}"


@task(retry=Retry(max_attempts=2, initial=0))
async def exiting_async(how: str) -> str:
    if current_task().attempt == 1:
        if how == "exit":
            sys.exit(3)
        raise KeyboardInterrupt
    return f"{how} on attempt {current_task().attempt}"


@workflow
def surviving(how: str) -> Flow[list[str]]:
    outcomes = yield from settle(exiting(how), exiting_async(how), exiting(how))
    return [one.value for one in outcomes]


@pytest.mark.parametrize("how", ["exit", "interrupt"])
def test_a_task_that_exits_or_is_interrupted_fails_that_attempt_only(serve, client, how):
    serve(surviving, exiting, exiting_async)

    assert client.run(surviving(how), timeout=20) == [f"{how} on attempt 2"] * 3
    assert client.run(surviving(how), timeout=20) == [f"{how} on attempt 2"] * 3


notes: ContextVar[str] = ContextVar("notes", default="clean")


def surroundings() -> list[str]:
    """What code sees of the context that it runs in."""
    return [notes.get(), str(decimal.Decimal(1_234_567) / 100)]


@task
def soiling() -> None:
    notes.set("dirty")
    decimal.getcontext().prec = 4


@task
async def soiling_async() -> None:
    notes.set("dirty")
    decimal.getcontext().prec = 4


@task
def seeing() -> list[str]:
    return surroundings()


@task
async def seeing_async() -> list[str]:
    return surroundings()


@workflow
def keeping_clean(rounds: int) -> Flow[list[list[str]]]:
    seen = []
    for _ in range(rounds):
        seen.append(surroundings())
        yield from soiling()
        seen.append(surroundings())
        yield from soiling_async()
        seen += [surroundings(), (yield from seeing()), (yield from seeing_async())]
    return seen


def test_what_a_task_sets_for_itself_reaches_neither_workflow_code_nor_other_tasks(serve, client):
    serve(keeping_clean, soiling, soiling_async, seeing, seeing_async, concurrency=1)

    assert client.run(keeping_clean(5), timeout=20) == [["clean", "12345.67"]] * 25
