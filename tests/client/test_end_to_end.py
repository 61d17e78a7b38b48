"""The client and the worker together: what one sends the other answers, replies that are lost included."""

import asyncio
from itertools import count
from threading import Event
from typing import Any

import pytest

from dsl import (
    Channel,
    Flow,
    Retry,
    UnknownWorkflow,
    Workflow,
    WorkflowCancelled,
    WorkflowExists,
    WorkflowFailed,
    WorkflowFinished,
    WorkflowTimedOut,
    continue_as_new,
    method,
    query,
    sleep,
    task,
    workflow,
)
from infinitic.backends.distributed import DistributedBackend
from infinitic.backends.urls import open_backend
from infinitic.client import AsyncClient, Client
from infinitic.worker import Worker
from tests.client.given import OFTEN, PATIENCE

NAMES = count()
approved = Channel(str, name="approved")


@task
def double(number: int) -> int:
    return 2 * number


@workflow
def doubling(number: int) -> Flow[int]:
    return (yield from double(number))


@workflow
def approval() -> Flow[str]:
    return (yield from approved.receive())


@workflow
def countdown(number: int) -> Flow[str]:
    yield from sleep(0.001)
    if number:
        yield from continue_as_new(countdown(number - 1))
    return "done"


closed = Event()
"""Whether the bank is closed."""


@task(retry=Retry(max_attempts=1))
def pay(cents: int) -> str:
    if closed.is_set():
        raise ConnectionError("the bank is closed")
    return f"paid {cents}"


@workflow
def paying(cents: int) -> Flow[str]:
    return (yield from pay(cents))


class Account(Workflow):
    closing = Channel(bool)

    def __init__(self) -> None:
        self.cents = 0

    @method
    def open(self) -> Flow[int]:
        yield from self.closing.receive()
        return self.cents

    @method
    def pay_in(self, cents: int) -> int:
        if cents < 0:
            raise ValueError("less than nothing")
        self.cents += cents
        return self.cents

    @method
    def wait(self) -> Flow[None]:
        yield from sleep(hours=1)

    @query
    def balance(self) -> int:
        return self.cents


@pytest.fixture(params=["memory", "sqlite"])
def url(request, tmp_path):
    url = f"memory://whole-{next(NAMES)}" if request.param == "memory" else f"sqlite:///{tmp_path}/whole.db"
    with Worker(url, workflows=[doubling, approval, countdown, paying, Account], services=[double, pay]):
        yield url


@pytest.fixture
def client(url):
    with Client(url) as client:
        yield client


class Forgetful:
    """A consumer that loses the first answer to each thing."""

    def __init__(self, consumer):
        self._consumer, self._seen = consumer, set()
        self.ack, self.close = consumer.ack, consumer.close

    def receive(self, limit):
        return [one for one in self._consumer.receive(limit) if self._is_second(bytes(one.message.payload))]

    def _is_second(self, answer):
        before = answer in self._seen
        self._seen.add(answer)
        return before


@pytest.fixture(params=["with the storage", "without a storage"])
def forgetful(request, url):
    """A client that loses the first copy of each answer."""
    backend = open_backend(url, "client")
    transport: Any = backend.transport
    subscribe = transport.subscribe
    transport.subscribe = lambda *args: Forgetful(subscribe(*args))
    whole = backend if request.param == "with the storage" else DistributedBackend(backend.transport)
    with Client.over(whole, look_again=OFTEN) as client:
        yield client
    backend.close()


def test_a_workflow_runs_to_its_result(client):
    assert client.run(doubling(21), timeout=PATIENCE) == 42


def test_a_method_a_signal_and_a_query_reach_the_instance_in_order(client):
    handle = client.start(Account.open(), id="ada")
    ada = Account.by_id("ada")
    seen = [
        client.run(ada.balance()),
        client.run(ada.pay_in(5)),
        client.run(ada.pay_in(2)),
        client.run(ada.balance()),
    ]
    client.run(ada.closing.send(True))

    assert (seen, handle.result(PATIENCE), handle.status()) == ([0, 5, 7, 7], 7, "completed")
    assert [type(turn.event).__name__ for turn in handle.history()] == [
        "Started",
        "MethodCalled",
        "MethodCalled",
        "SignalReceived",
    ]


def test_a_method_call_with_the_same_id_is_one_call(client):
    client.start(Account.open(), id="ada")
    call = Account.by_id("ada").pay_in(5).options(id="once")

    assert [client.run(call, timeout=PATIENCE) for _ in range(3)] == [5, 5, 5]


def test_a_method_that_fails_leaves_the_instance_whole(client):
    handle = client.start(Account.open(), id="ada")
    with pytest.raises(WorkflowFailed, match=r"Account.pay_in 'ada' failed: ValueError: less than nothing"):
        client.run(Account.by_id("ada").pay_in(-1), timeout=PATIENCE)

    assert handle.status() == "running"


def test_a_call_can_be_cancelled_by_itself(client):
    handle = client.start(Account.open(), id="ada")
    call = client.start(Account.by_id("ada").wait())
    call.cancel(timeout=PATIENCE)
    with pytest.raises(WorkflowCancelled):
        call.result(PATIENCE)

    assert (call.status(), handle.status()) == ("cancelled", "running")


def test_to_attach_gives_the_same_instance_running_or_finished(client):
    handles = [client.start(approval(), id="a") for _ in range(2)]
    client.run(approved.by_id("a").send("yes"))
    handles.append(client.start(approval(), id="a"))

    assert [handle.result(PATIENCE) for handle in handles] == ["yes"] * 3


def test_a_restart_takes_what_has_ended_anew_and_the_first_result_stays(client):
    first = client.start(approval(), id="a", if_exists="fail")
    with pytest.raises(WorkflowExists):
        client.start(approval(), id="a", if_exists="restart")
    client.run(approved.by_id("a").send("one"))
    before = first.result(PATIENCE)
    second = client.start(approval(), id="a", if_exists="restart")
    client.run(approved.by_id("a").send("two"))

    assert (before, second.result(PATIENCE), first.result(PATIENCE)) == ("one", "two", "one")


def test_a_result_follows_the_chain_of_continue_as_new(client):
    assert client.run(countdown(5), timeout=PATIENCE) == "done"
    assert client.start(countdown(5), if_exists="fail").result(PATIENCE) == "done"


def test_a_failed_run_is_taken_up_again(client):
    closed.set()
    handle = client.start(paying(5))
    with pytest.raises(WorkflowFailed, match="ConnectionError: the bank is closed"):
        handle.result(PATIENCE)
    closed.clear()
    handle.retry(timeout=PATIENCE)

    assert (handle.result(PATIENCE), handle.status()) == ("paid 5", "completed")


def test_a_cancelled_run_says_so(client):
    handle = client.start(approval())
    handle.cancel(timeout=PATIENCE)
    with pytest.raises(WorkflowCancelled):
        handle.result(PATIENCE)
    handle.cancel(timeout=PATIENCE)

    assert handle.status() == "cancelled"


def test_a_run_that_takes_too_long_says_so(client):
    with pytest.raises(WorkflowTimedOut):
        client.run(approval().options(timeout=0.01), timeout=PATIENCE)


def test_what_is_not_there_is_unknown(client):
    nobody = Account.by_id("nobody")

    for call in (
        nobody.balance(),
        nobody.pay_in(5),
        nobody.closing.send(True),
        approved.by_id("nobody").send("yes"),
    ):
        with pytest.raises(UnknownWorkflow):
            client.run(call, timeout=PATIENCE)


def test_what_has_ended_takes_no_calls(client):
    client.start(Account.open(), id="ada")
    client.run(Account.by_id("ada").closing.send(True))

    for call in (Account.by_id("ada").pay_in(5), Account.by_id("ada").closing.send(True)):
        with pytest.raises(WorkflowFinished):
            client.run(call, timeout=PATIENCE)


def test_many_instances_are_awaited_at_once(url):
    async def run():
        async with AsyncClient(url) as client:
            return await asyncio.gather(*[client.run(doubling(number)) for number in range(50)])

    assert asyncio.run(run()) == [2 * number for number in range(50)]


# --- answers that are lost ---


def test_a_lost_end_is_found(forgetful):
    assert forgetful.run(doubling(21), timeout=PATIENCE) == 42
    assert forgetful.run(countdown(3), timeout=PATIENCE) == "done"


def test_lost_answers_of_an_instance_are_found_and_nothing_happens_twice(forgetful):
    handle = forgetful.start(Account.open(), id="ada", if_exists="fail")
    ada = Account.by_id("ada")
    for cents in (5, 2):
        forgetful.run(ada.pay_in(cents), timeout=PATIENCE)
    seen = forgetful.run(ada.balance(), timeout=PATIENCE)
    forgetful.run(ada.closing.send(True), timeout=PATIENCE)

    assert (seen, handle.result(PATIENCE)) == (7, 7)


def test_a_lost_answer_to_a_cancellation_is_found(forgetful):
    handle = forgetful.start(approval(), id="a")
    handle.cancel(timeout=PATIENCE)

    with pytest.raises(WorkflowCancelled):
        handle.result(PATIENCE)


def test_a_lost_refusal_is_found(forgetful):
    forgetful.start(approval(), id="a", if_exists="fail")

    with pytest.raises(WorkflowExists):
        forgetful.start(approval(), id="a", if_exists="fail")
    with pytest.raises(UnknownWorkflow):
        forgetful.run(Account.by_id("nobody").closing.send(True), timeout=PATIENCE)


def test_a_lost_refusal_of_a_call_to_nobody_is_found(forgetful):
    with pytest.raises(UnknownWorkflow):
        forgetful.run(Account.by_id("nobody").pay_in(5), timeout=PATIENCE)


def test_a_lost_refusal_of_a_call_is_found(forgetful):
    forgetful.start(Account.open(), id="ada", if_exists="fail")
    forgetful.run(Account.by_id("ada").closing.send(True), timeout=PATIENCE)

    with pytest.raises(WorkflowFinished):
        forgetful.run(Account.by_id("ada").pay_in(5), timeout=1)
