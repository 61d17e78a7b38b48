"""Batched tasks: a worker runs many calls of a task by one call of a function that takes a list of them."""

import asyncio
import threading
from collections.abc import Sequence
from typing import Any, NamedTuple

import pytest
from attrs import frozen

from dsl import (
    Batch,
    Cancelled,
    CurrentTask,
    DoNotRetry,
    Flow,
    OutsideTask,
    Retry,
    Service,
    current_batch,
    current_task,
    gather,
    settle,
    task,
    workflow,
)
from infinitic.errors import RegistrationError
from tests.scenarios.given import PATIENCE, until

FAST = Retry(initial=0.001, jitter=0)
WHOLE = 3_600
"""Seconds for which a batch would wait, were it not full."""

lock = threading.Lock()
ran: list[Any] = []
opened = threading.Event()


@pytest.fixture(autouse=True)
def fresh():
    ran.clear()
    opened.clear()
    yield
    opened.set()


def note(batch: Any) -> None:
    with lock:
        ran.append(batch)


@task
def double(number: int, unit: str = "m") -> str:
    raise NotImplementedError


@workflow
def doubling(numbers: list[int]) -> Flow[list[str]]:
    return list((yield from gather(*[double(number) for number in numbers])))


@task(batch=Batch(double, size=10, wait=WHOLE))
def double_all(calls: list[tuple[int, str]]) -> list[str]:
    note(sorted(number for number, _ in calls))
    return [f"{2 * number} {unit}" for number, unit in calls]


@task(batch=Batch(double, size=10, wait=WHOLE))
async def double_all_async(calls: list[tuple[int, str]]) -> list[str]:
    await asyncio.sleep(0)
    return double_all.fn(calls)


@pytest.mark.parametrize("body", [double_all, double_all_async])
def test_calls_are_run_together_once_they_are_as_many_as_may_be(serve, client, body):
    serve(doubling, body)

    assert client.run(doubling(list(range(20))), timeout=20) == [f"{2 * number} m" for number in range(20)]
    assert [len(batch) for batch in ran] == [10, 10]
    assert sorted(number for batch in ran for number in batch) == list(range(20))


def test_a_batch_is_gathered_over_instances_and_beyond_the_concurrency_of_its_worker(serve, client):
    serve(doubling, double_all, concurrency=1)

    handles = [client.start(doubling([number]), id=f"d-{number}") for number in range(10)]

    assert [handle.result(20) for handle in handles] == [[f"{2 * number} m"] for number in range(10)]
    assert ran == [list(range(10))]


def test_a_batch_of_a_worker_that_serves_tasks_alone_fills_up_too(serve, client):
    serve(doubling)
    serve(double_all, concurrency=2)

    assert client.run(doubling(list(range(10))), timeout=20) == [f"{2 * number} m" for number in range(10)]
    assert ran == [list(range(10))]


@task(batch=Batch(double, size=1_000, wait=0.01))
def double_some(calls: list[tuple[int, str]]) -> list[str]:
    note(calls)
    return [f"{2 * number} {unit}" for number, unit in calls]


def test_a_batch_that_is_not_full_runs_when_it_has_waited(serve, client):
    serve(doubling, double_some)

    assert client.run(doubling([4, 5]), timeout=20) == ["8 m", "10 m"]
    assert sorted(call for batch in ran for call in batch) == [(4, "m"), (5, "m")]


@task(batch=Batch(double, size=3, wait=WHOLE, key=lambda number, unit: number % 2))
def double_by_parity(calls: list[tuple[int, str]]) -> list[str]:
    note([number for number, _ in calls])
    return [str(2 * number) for number, _ in calls]


def test_only_calls_with_an_equal_key_are_together(serve, client):
    serve(doubling, double_by_parity)

    assert client.run(doubling([1, 2, 3, 4, 5, 6]), timeout=20) == ["2", "4", "6", "8", "10", "12"]
    assert sorted(sorted(batch) for batch in ran) == [[1, 3, 5], [2, 4, 6]]


# ------------------------------------------------------------------------------------------ failures


@workflow
def settling(numbers: list[int]) -> Flow[list[str]]:
    outcomes = yield from settle(*[double(number) for number in numbers])
    return [one.value if one.ok else str(one.error) for one in outcomes]


@task(retry=FAST, batch=Batch(double, size=3, wait=0.01))
def picky(calls: list[tuple[int, str]]) -> list[str | Exception]:
    about = current_batch()
    note([(number, one.attempt, str(one.previous)) for (number, _), one in zip(calls, about, strict=True)])
    return [_picked(number, one) for (number, _), one in zip(calls, about, strict=True)]


def _picked(number: int, one: CurrentTask) -> str | Exception:
    if number == 2:
        return DoNotRetry("never 2")
    return ValueError(f"not yet {number}") if number == 3 and one.attempt < 3 else str(number)


def test_each_call_has_its_own_failure_and_its_own_retries(serve, client):
    serve(settling, picky)

    answer = client.run(settling([1, 2, 3]), timeout=20)

    assert answer == ["1", "double failed: DoNotRetry: never 2", "3"]
    assert sorted(call for batch in ran for call in batch) == [
        (1, 1, "None"),
        (2, 1, "None"),
        (3, 1, "None"),
        (3, 2, "not yet 3"),
        (3, 3, "not yet 3"),
    ]


@task(retry=Retry(max_attempts=1), batch=Batch(double, size=2, wait=WHOLE))
def broken(calls: list[tuple[int, str]]) -> list[str]:
    raise ConnectionError("down")


def test_what_the_function_raises_fails_each_call(serve, client):
    serve(settling, broken)

    assert client.run(settling([1, 2]), timeout=20) == ["double failed: ConnectionError: down"] * 2


@pytest.mark.parametrize(
    ("given", "what"),
    [
        ([], "0 answers"),
        (["a", "b", "c"], "3 answers"),
        (None, "a NoneType"),
        ("ab", "a str"),
        ({1: 2, 3: 4}, "a dict"),
    ],
)
def test_a_wrong_number_of_answers_fails_each_call_at_once(serve, client, given, what):
    @task(batch=Batch(double, size=2, wait=WHOLE))
    def wrong(calls: list[tuple[int, str]]) -> Any:
        note(calls)
        return given

    serve(settling, wrong)

    name = wrong.fn.__qualname__
    said = (
        f"double failed: {name} returned {what} for 2 calls of double: "
        "expected a list with an answer, or an exception, for each of them, in their order."
    )
    assert client.run(settling([1, 2]), timeout=20) == [said, said]
    assert len(ran) == 1


@task(batch=Batch(double, size=3, wait=WHOLE))
def unsayable(calls: list[tuple[int, str]]) -> list[Any]:
    return ["a", object(), "c"]


def test_an_answer_that_cannot_be_sent_fails_its_own_call(serve, client):
    serve(settling, unsayable)

    answer = client.run(settling([1, 2, 3]), timeout=20)

    assert sorted(answer)[:2] == ["a", "c"]
    assert "cannot be encoded" in sorted(answer)[2] or "object" in sorted(answer)[2]


# ------------------------------------------------------------------------------------------ timeouts, cancellation


@workflow
def limited(limits: list[float]) -> Flow[list[str]]:
    once = Retry(max_attempts=1)
    calls = [double(number).options(timeout=limit, retry=once) for number, limit in enumerate(limits)]
    outcomes = yield from settle(*calls)
    return [one.value if one.ok else type(one.error).__name__ for one in outcomes]


@task(batch=Batch(double, size=2, wait=WHOLE))
def held(calls: list[tuple[int, str]]) -> list[str]:
    note(calls)
    assert opened.wait(PATIENCE)
    return [str(number) for number, _ in calls]


@task(batch=Batch(double, size=2, wait=WHOLE))
async def held_async(calls: list[tuple[int, str]]) -> list[str]:
    note(calls)
    try:
        while not opened.is_set():
            await asyncio.sleep(0.001)
    except asyncio.CancelledError:
        note("cancelled")
        raise
    return [str(number) for number, _ in calls]


@pytest.mark.parametrize("body", [held, held_async])
def test_each_call_has_its_own_timeout(serve, client, body):
    serve(limited, body)
    handle = client.start(limited([0.05, WHOLE]), id="l")
    until(lambda: any("AttemptFailed" in type(turn.event).__name__ for turn in handle.history()))

    opened.set()

    assert handle.result(20) == ["TaskTimedOut", "1"]
    assert len(ran) == 1


def test_an_async_batch_of_which_nobody_wants_anything_any_more_is_cancelled(serve, client):
    serve(limited, held_async)

    assert client.run(limited([0.05, 0.05]), timeout=20) == ["TaskTimedOut", "TaskTimedOut"]
    until(lambda: "cancelled" in ran)


@task(batch=Batch(double, size=2, wait=WHOLE))
def stuck(calls: list[tuple[int, str]]) -> list[str]:
    try:
        until(lambda: False)
    except Cancelled:
        note([one.cancelled for one in current_batch()])
        raise
    raise AssertionError


def test_the_thread_of_a_batch_of_which_nobody_wants_anything_any_more_is_interrupted(serve, client):
    serve(limited, stuck)

    assert client.run(limited([0.05, 0.05]), timeout=20) == ["TaskTimedOut", "TaskTimedOut"]
    until(lambda: ran == [[True, True]])


@task(batch=Batch(double, size=2, wait=WHOLE), retry=Retry(max_attempts=1), heartbeat=0.2)
def lopsided(calls: list[tuple[int, str]]) -> list[str]:
    """One call says that it goes on, the other one does not."""
    _, talking = current_batch()
    while not opened.is_set():
        talking.heartbeat()
        opened.wait(0.01)
    return [str(number) for number, _ in calls]


def test_each_call_has_its_own_heartbeat(serve, client):
    serve(limited, lopsided)
    handle = client.start(limited([WHOLE, WHOLE]), id="l")
    until(lambda: any("AttemptFailed" in type(turn.event).__name__ for turn in handle.history()))

    opened.set()

    assert handle.result(20)[0] == "TaskTimedOut"


def test_calls_that_were_gathered_are_given_back_when_their_worker_closes(serve, client):
    gathered = threading.Event()

    def key(number: int, unit: str) -> None:
        gathered.set()

    @task(batch=Batch(double, size=2, wait=WHOLE, key=key))
    def never(calls: list[tuple[int, str]]) -> list[str]:
        raise AssertionError

    worker = serve(doubling, never)
    handle = client.start(doubling([7]), id="d")
    assert gathered.wait(20)
    worker.close()

    serve(doubling, double_some)

    assert handle.result(20) == ["14 m"]


# ------------------------------------------------------------------------------------------ forms


@frozen
class Card:
    number: str


class Billing(Service):
    @task
    def charge(self, card: Card, *, cents: int = 100) -> str:
        raise NotImplementedError

    @task
    async def refund(self, card: Card) -> bool:
        raise NotImplementedError


class Charge(NamedTuple):
    cents: int
    card: Card


class AcmeBilling(Billing):
    def __init__(self, bank: str) -> None:
        self.bank = bank

    @task(batch=Batch(Billing.charge, size=2, wait=WHOLE))
    def charge_all(self, calls: Sequence[tuple[Card, int]]) -> list[str]:
        return [f"{self.bank} {card.number} {cents}" for card, cents in calls]

    async def refund(self, card: Card) -> bool:
        return True


class LooseBilling(AcmeBilling):
    """Overrides the batch by a plain method, whose items are named tuples."""

    def charge_all(self, calls: list[Charge]) -> list[str]:  # type: ignore[override]  # other items
        return [f"loose {one.card.number} {one.cents}" for one in calls]


@workflow
def paying() -> Flow[list[Any]]:
    return list(
        (yield from gather(Billing.charge(Card("a")), Billing.charge(Card("b"), cents=5), Billing.refund(Card("c"))))
    )


@pytest.mark.parametrize(("service", "bank"), [(AcmeBilling("acme"), "acme"), (LooseBilling("x"), "loose")])
def test_a_service_may_run_some_of_its_tasks_in_batches(serve, client, service, bank):
    serve(paying, service)

    assert client.run(paying(), timeout=20) == [f"{bank} a 100", f"{bank} b 5", True]


class Mailer(Service):
    """A contract that is its own implementation; what has a body of its own besides is run in batches all the same."""

    @task
    def send(self, to: str) -> int:
        return self.send_all([(to,)])[0]

    @task(batch=Batch(send, size=2, wait=WHOLE))
    def send_all(self, calls: list[tuple[str]]) -> list[int]:
        note([to for (to,) in calls])
        return [len(to) for (to,) in calls]


@workflow
def mailing() -> Flow[list[int]]:
    return list((yield from gather(Mailer.send("ann"), Mailer.send("bo"))))


def test_a_contract_may_have_its_batch_beside_it(serve, client):
    serve(mailing, Mailer)

    assert client.run(mailing(), timeout=20) == [3, 2]
    assert sorted(ran[0]) == ["ann", "bo"]
    assert Mailer().send("x") == 1


def test_a_task_and_its_batch_are_served_as_one(serve, client):
    serve(doubling, double, double_some)

    assert client.run(doubling([1]), timeout=20) == ["2 m"]


@task(retry=Retry(max_attempts=1), batch=Batch(double, size=2, wait=0))
def asking(calls: list[tuple[int, str]]) -> list[str]:
    with pytest.raises(OutsideTask, match=r"current_batch\(\) is for tasks that a worker runs in batches"):
        current_task()
    return [f"{one.name} {one.attempt} {one.workflow_id}" for one in current_batch()]


def test_a_batch_knows_of_each_of_its_calls(serve, client):
    serve(doubling, asking)

    assert client.start(doubling([1, 2, 3]), id="d").result(20) == ["double 1 d"] * 3


def test_what_cannot_be_a_batch_is_refused_when_it_is_registered(serve):
    @task(batch=Batch(double))
    def other_types(calls: list[tuple[str, str]]) -> list[str]:
        return []

    @task(batch=Batch(double))
    def no_list(number: int, unit: str) -> list[str]:
        return []

    with pytest.raises(RegistrationError, match=r"takes a list of tuple\[str, str\], and a call of double"):
        serve(other_types)
    with pytest.raises(RegistrationError, match=r"takes 2 arguments, and not one list of calls"):
        serve(no_list)
