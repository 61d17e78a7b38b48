"""By tag: signals, calls, cancellations, retries for all instances that have one: each gets it once, page by page."""

import asyncio
from collections import Counter

import pytest

from dsl import (
    Channel,
    Flow,
    ProtocolError,
    Workflow,
    WorkflowCancelled,
    add_tags,
    dispatch,
    gather,
    method,
    query,
    remove_tags,
    sleep,
    task,
    workflow,
)
from infinitic import AsyncClient, WorkflowFailed
from infinitic.worker import broadcasting
from tests.scenarios.given import events, until
from tests.scenarios.test_tags import without_storage

confirmed = Channel(str, name="confirmed")
go = Channel(str, name="go")


@workflow
def trip() -> Flow[str]:
    return (yield from confirmed.receive())


@workflow
def counting() -> Flow[list[str]]:
    yield from go.receive()
    return confirmed.drain()


class Loyalty(Workflow):
    bonus = Channel(int)

    def __init__(self) -> None:
        self.points = 0

    @method
    def run(self) -> Flow[int]:
        self.points += yield from self.bonus.receive()
        return self.points

    @method
    def redeem(self, points: int) -> bool:
        self.points -= points
        return True

    @method
    def join(self) -> Flow[None]:
        yield from add_tags("vip")

    @query
    def balance(self) -> int:
        return self.points


def started(client, call, ids, tags=("vip",)):
    """Handles to instances that are known by now."""
    handles = {id: client.start(call(), id=id, tags=tags) for id in ids}
    until(lambda: client.count() >= len(handles))
    return handles


@pytest.fixture
def small_pages(monkeypatch):
    monkeypatch.setattr(broadcasting, "PAGE", 3)


def test_a_signal_reaches_all_of_several_pages_once(serve, client):
    serve(counting)
    handles = started(client, counting, [f"c{number}" for number in range(250)])
    client.start(confirmed.by_tag("vip").send("yes"))
    for id in handles:  # through the same topic, but not in order with what goes to a tag
        until(lambda id=id: "SignalReceived" in events(client.get(id, counting).history()))
        client.start(go.by_id(id).send("on"))

    assert Counter(tuple(one.result(20)) for one in handles.values()) == {("yes",): 250}


def test_only_those_of_the_workflow_and_the_tag_are_meant(serve, client):
    serve(Loyalty, trip)
    ada = client.start(Loyalty.run(), id="ada", tags=["vip"])
    bob = client.start(Loyalty.run(), id="bob", tags=["other"])
    other = client.start(trip(), id="trip", tags=["vip"])
    until(lambda: client.count() == 3)
    client.start(Loyalty.by_tag("vip").bonus.send(5))

    assert ada.result(20) == 5
    assert {one.id: events(one.history()) for one in (bob, other)} == {"bob": ["Started"], "trip": ["Started"]}


def test_a_method_is_called_on_all_and_nobody_waits(serve, client):
    serve(Loyalty)
    started(client, Loyalty.run, ["ada", "bob"])
    handle = client.start(Loyalty.by_tag("vip").redeem(3))
    for id in ("ada", "bob"):
        until(lambda id=id: client.run(Loyalty.by_id(id).balance(), timeout=20) == -3)

    with pytest.raises(TypeError, match=r"Loyalty\.redeem was called on all instances tagged 'vip'"):
        handle.result(20)


def test_a_call_that_is_sent_twice_under_one_id_is_one(serve, client):
    serve(Loyalty)
    (ada,) = started(client, Loyalty.run, ["ada"]).values()
    for _ in range(2):
        client.start(Loyalty.by_tag("vip").redeem(3), id="once")
    client.start(Loyalty.by_tag("vip").redeem(1), id="twice")
    until(lambda: client.run(Loyalty.by_id("ada").balance(), timeout=20) == -4)
    client.run(Loyalty.by_id("ada").bonus.send(0), timeout=20)
    ada.result(20)

    assert events(ada.history()).count("MethodCalled") == 2


def test_whoever_waits_for_many_is_told_what_to_do_instead(serve, client):
    with pytest.raises(TypeError, match=r"is for all instances tagged 'vip', .* client.start\(…\) it"):
        client.run(Loyalty.by_tag("vip").redeem(1))
    with pytest.raises(TypeError, match=r"is for all instances tagged 'vip', .* client.start\(…\) it"):
        client.run(confirmed.by_tag("vip").send("yes"))
    with pytest.raises(TypeError, match=r"needs an instance: Loyalty.by_id\('…'\).balance"):
        Loyalty.by_tag("vip").balance()
    with pytest.raises(TypeError, match="instances are named by their tag"):
        client.cancel(Loyalty)


def yielded() -> Flow[bool]:
    return (yield from Loyalty.by_tag("vip").redeem(1))


def plainly() -> Flow[bool]:
    yield Loyalty.by_tag("vip").redeem(1)
    return True


def combined() -> Flow[bool]:
    yield from gather(sleep(0), Loyalty.by_tag("vip").redeem(1))
    return True


def joined() -> Flow[bool]:
    yield from Loyalty.by_tag("vip").redeem(1) | sleep(0)
    return True


async def awaited() -> bool:
    return await Loyalty.by_tag("vip").redeem(1)


@pytest.mark.parametrize("code", [yielded, plainly, combined, joined, awaited])
def test_workflow_code_that_waits_for_many_fails_and_says_what_to_write(serve, client, code):
    made = workflow(code)
    serve(made)

    with pytest.raises(WorkflowFailed) as failed:
        client.start(made()).result(20)
    assert isinstance(failed.value.__cause__, ProtocolError)
    assert "dispatch(…) it in a workflow" in str(failed.value.__cause__)


@workflow
def sending() -> Flow[list[str]]:
    yield from add_tags("vip")
    yield from confirmed.by_tag("vip").send("from one of you")
    called = dispatch(Loyalty.by_tag("vip").redeem(2))
    assert called.done()
    return [(yield from confirmed.receive()), called.status()]


def test_a_workflow_sends_to_all_itself_included_and_calls_without_waiting(serve, client):
    serve(Loyalty, trip, sending)
    (one,) = started(client, trip, ["one"]).values()
    client.start(Loyalty.run(), id="ada", tags=["vip"])
    until(lambda: client.count() == 2)
    sender = client.start(sending(), id="sender")

    assert sender.result(20) == ["from one of you", "completed"]
    assert one.result(20) == "from one of you"
    until(lambda: client.run(Loyalty.by_id("ada").balance(), timeout=20) == -2)


def test_cancel_and_retry_reach_those_to_whom_they_make_sense(serve, client, small_pages):
    serve(trip, failing, charge)
    broken[:] = ["yes"]
    failed = started(client, failing, [f"f{number}" for number in range(7)])
    for one in failed.values():
        with pytest.raises(WorkflowFailed):
            one.result(20)
    running = {id: client.start(trip(), id=id, tags=["vip"]) for id in ("a", "b", "c", "d")}
    until(lambda: client.count(trip) == 4)
    broken.clear()
    client.retry(failing.by_tag("vip"))
    client.cancel(trip.by_tag("vip"))

    until(lambda: client.count(failing.by_tag("vip"), status="completed") == 7)
    for one in running.values():
        with pytest.raises(WorkflowCancelled):
            one.result(20)


broken: list[str] = []


@task
def charge() -> str:
    if broken:
        raise ValueError("no money")
    return "paid"


@workflow
def failing() -> Flow[str]:
    return (yield from charge())


def test_two_workers_serve_pages_between_them_and_each_instance_gets_it_once(serve, client, small_pages):
    serve(counting)
    serve(counting)
    handles = started(client, counting, [f"c{number}" for number in range(20)])
    for word in ("a", "b"):
        client.start(confirmed.by_tag("vip").send(word))
    for id in handles:
        until(lambda id=id: events(client.get(id, counting).history()).count("SignalReceived") == 2)
        client.start(go.by_id(id).send("on"))

    assert [sorted(one.result(20)) for one in handles.values()] == [["a", "b"]] * 20


@workflow
def multiplying(word: str = "") -> Flow[str]:
    heard = yield from confirmed.receive()
    dispatch(trip().options(tags=["vip"], parent_close="abandon"))
    return heard


def test_what_starts_because_of_it_is_not_meant(serve, client, small_pages):
    serve(multiplying, trip)
    handles = started(client, multiplying, [f"m{number}" for number in range(10)])
    client.start(confirmed.by_tag("vip").send("yes"))

    assert [one.result(20) for one in handles.values()] == ["yes"] * 10
    until(lambda: client.count(trip) == 10)
    assert client.count(trip, status="running") == 10


@workflow
def fickle() -> Flow[str]:
    yield from go.receive()
    yield from remove_tags("vip")
    return (yield from confirmed.receive())


def test_one_that_lost_the_tag_is_not_meant_any_more(serve, client):
    serve(fickle, trip)
    handle = client.start(fickle(), id="f", tags=["vip"])
    other = client.start(trip(), id="t", tags=["vip"])
    until(lambda: client.count() == 2)
    client.run(go.by_id("f").send("on"), timeout=20)
    client.start(confirmed.by_tag("vip").send("to the tagged"))
    assert other.result(20) == "to the tagged"
    client.run(confirmed.by_id("f").send("to it alone"), timeout=20)

    assert handle.result(20) == "to it alone"


def test_a_tag_that_nobody_has_is_no_trouble(serve, client):
    serve(trip)
    client.start(confirmed.by_tag("nobody").send("yes"))
    (one,) = started(client, trip, ["one"]).values()
    client.start(confirmed.by_tag("vip").send("yes"))

    assert one.result(20) == "yes"


def test_a_client_without_a_storage_reaches_all(serve, client, place):
    serve(trip, Loyalty)
    handles = started(client, trip, ["a", "b"])
    ada = client.start(Loyalty.run(), id="ada", tags=["vip"])
    until(lambda: client.count() == 3)
    with without_storage(place) as blind:
        blind.start(confirmed.by_tag("vip").send("yes"))
        blind.start(Loyalty.by_tag("vip").bonus.send(1))

    assert [one.result(20) for one in handles.values()] == ["yes", "yes"]
    assert ada.result(20) == 1


@task
def promote(place: dict[str, str]) -> None:
    with without_storage(place) as mine:
        mine.start(confirmed.by_tag("vip").send("from a task"))


@workflow
def promoting(place: dict[str, str]) -> Flow[str]:
    yield from promote(place)
    return (yield from confirmed.receive())


def test_a_task_reaches_all_that_have_a_tag(serve, client, place):
    serve(promoting, promote)

    assert client.start(promoting(dict(place)), tags=["vip"]).result(20) == "from a task"


def test_it_is_done_without_blocking_a_loop(serve, client, place):
    serve(trip)
    handles = started(client, trip, ["a", "b"])

    async def send() -> None:
        async with AsyncClient(**place) as mine:
            await mine.start(confirmed.by_tag("nobody").send("yes"))
            await mine.cancel(trip.by_tag("vip"))

    asyncio.run(send())
    for one in handles.values():
        with pytest.raises(WorkflowCancelled):
            one.result(20)
