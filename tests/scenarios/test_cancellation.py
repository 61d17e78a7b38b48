"""Cancellation: thrown at the current yield, with cleanup and compensations, down to children and tasks."""

import asyncio
import threading

import pytest

from dsl import Cancelled, Channel, Flow, Retry, compensations, gather, sleep, spawn, task, workflow
from infinitic.errors import WorkflowCancelled, WorkflowFailed
from infinitic.events import CancelRequested
from tests.scenarios.given import events, until

go = Channel(str, name="go")
undone: list[str] = []


@task
def book(what: str) -> str:
    return what


@task
def cancel_booking(what: str) -> None:
    undone.append(what)


@task(retry=Retry(max_attempts=1))
def charge() -> None:
    raise LookupError("no money")


@workflow
def patient() -> Flow[str]:
    return (yield from go.receive())


@workflow
def cleaning(name: str) -> Flow[str]:
    try:
        return (yield from go.receive())
    finally:
        yield from cancel_booking(name)


@workflow
def stubborn() -> Flow[str]:
    try:
        yield from go.receive()
    except Cancelled:
        return "not now"
    return "never"


@workflow
def with_branches() -> Flow[None]:
    def leg(name: str) -> Flow[None]:
        try:
            yield from sleep(3600)
        finally:
            yield from cancel_booking(name)

    yield from gather(spawn(leg("a")), spawn(leg("b")), leg("c"))


@workflow
def saga(pay: bool) -> Flow[str]:
    with compensations() as undo:
        for what in ("hotel", "car", "flight"):
            booked = yield from book(what)
            undo(cancel_booking(booked))
        if pay:
            yield from charge()
        yield from go.receive()
    return "booked"


@workflow
def with_child() -> Flow[str]:
    return (yield from cleaning("child").options(id="kid"))


def waits(client, workflow_id):
    until(lambda: any(record.waits for record in client.find() if record.workflow_id == workflow_id))


def test_a_cancelled_run_tells_so(serve, client):
    serve(patient)
    handle = client.start(patient(), id="p")
    waits(client, "p")
    handle.cancel(timeout=20)

    with pytest.raises(WorkflowCancelled):
        handle.result(20)
    assert handle.status() == "cancelled"


def test_cancelling_twice_is_the_same_as_once(serve, client):
    undone.clear()
    serve(cleaning, cancel_booking)
    handle = client.start(cleaning("x"), id="c")
    waits(client, "c")
    handle.cancel(timeout=20)
    client.get("c", cleaning).cancel(timeout=20)

    with pytest.raises(WorkflowCancelled):
        handle.result(20)
    assert undone == ["x"]


def test_cleanup_may_run_tasks(serve, client):
    undone.clear()
    serve(cleaning, cancel_booking)
    handle = client.start(cleaning("room"), id="c")
    waits(client, "c")
    handle.cancel(timeout=20)

    with pytest.raises(WorkflowCancelled):
        handle.result(20)
    assert undone == ["room"]


def test_a_workflow_may_refuse_to_be_cancelled(serve, client):
    serve(stubborn)
    handle = client.start(stubborn(), id="s")
    waits(client, "s")
    handle.cancel(timeout=20)

    assert handle.result(20) == "not now"


def test_all_branches_clean_up(serve, client):
    undone.clear()
    serve(with_branches, cancel_booking)
    handle = client.start(with_branches(), id="b")
    waits(client, "b")
    handle.cancel(timeout=20)

    with pytest.raises(WorkflowCancelled):
        handle.result(20)
    assert sorted(undone) == ["a", "b", "c"]


def test_compensations_run_last_first_when_the_block_fails(serve, client):
    undone.clear()
    serve(saga, book, cancel_booking, charge)

    with pytest.raises(WorkflowFailed):
        client.start(saga(True), id="s").result(20)
    assert undone == ["flight", "car", "hotel"]


def test_compensations_run_when_the_block_is_cancelled(serve, client):
    undone.clear()
    serve(saga, book, cancel_booking, charge, cache_instances=1)
    handle = client.start(saga(False), id="s")
    until(lambda: events(handle.history()).count("TaskCompleted") == 3)
    handle.cancel(timeout=20)

    with pytest.raises(WorkflowCancelled):
        handle.result(20)
    assert undone == ["flight", "car", "hotel"]


def test_compensations_do_not_run_when_all_goes_well(serve, client):
    undone.clear()
    serve(saga, book, cancel_booking, charge)
    handle = client.start(saga(False), id="s")
    client.run(go.by_id("s").send("go"), timeout=20)

    assert handle.result(20) == "booked"
    assert undone == []


def test_a_cancelled_parent_cancels_its_child(serve, client):
    undone.clear()
    serve(with_child, cleaning, cancel_booking)
    handle = client.start(with_child(), id="p")
    waits(client, "kid")
    handle.cancel(timeout=20)

    with pytest.raises(WorkflowCancelled):
        handle.result(20)
    with pytest.raises(WorkflowCancelled):
        client.get("kid", cleaning).result(20)
    assert undone == ["child"]


began = threading.Event()
heard: list[str] = []


@task
async def listening() -> None:
    began.set()
    try:
        await asyncio.sleep(3600)
    except asyncio.CancelledError:
        heard.append("cancelled")
        raise


@workflow
def calling_a_listener() -> Flow[None]:
    yield from listening()


def test_an_async_task_hears_that_nobody_wants_it_any_more(serve, client):
    heard.clear()
    began.clear()
    serve(calling_a_listener, listening)
    handle = client.start(calling_a_listener(), id="l")
    assert began.wait(20)
    handle.cancel(timeout=20)

    with pytest.raises(WorkflowCancelled):
        handle.result(20)
    until(lambda: heard == ["cancelled"])


@task(retry=Retry(max_attempts=2, initial=3600, maximum=3600))
def later() -> None:
    raise LookupError("not yet")


@workflow
def trying() -> Flow[None]:
    yield from later()


def test_a_run_is_cancelled_while_it_waits_for_the_next_attempt_of_a_task(serve, client, storage):
    serve(trying, later)
    handle = client.start(trying(), id="t")
    until(lambda: "AttemptFailed" in events(handle.history()))
    handle.cancel(timeout=20)

    with pytest.raises(WorkflowCancelled):
        handle.result(20)
    assert events(handle.history()) == ["Started", "AttemptFailed", "CancelRequested"]
    until(lambda: storage.load("t").timers == ())


def test_a_run_is_cancelled_before_its_first_turn(serve, client):
    undone.clear()
    handle = client.start(patient(), id="p")
    handle._session.publish(handle._operation(CancelRequested("c-1")))  # both wait for the worker that comes now
    serve(patient)

    with pytest.raises(WorkflowCancelled):
        handle.result(20)
    assert events(handle.history()) == ["Started", "CancelRequested"]


def test_a_cancellation_that_comes_with_the_last_event_comes_too_late_or_in_time(serve, client):
    first = serve(patient)
    handle = client.start(patient(), id="p")
    waits(client, "p")
    first.close()
    client.start(go.by_id("p").send("on"))
    handle._session.publish(handle._operation(CancelRequested("c-1")))
    serve(patient)

    assert handle.result(20) == "on"  # they come in the order in which one client sent them
    assert events(handle.history()) == ["Started", "SignalReceived"]
