"""Instances as data: found by what they are and wait for, kept as long as they say, deleted."""

from datetime import timedelta

import pytest

from infinitic import (
    Channel,
    Flow,
    UnknownWorkflow,
    Workflow,
    WorkflowInUse,
    continue_as_new,
    dispatch,
    method,
    sleep,
    task,
    workflow,
)
from infinitic.events import to_datetime
from infinitic.records import Mark
from tests.scenarios.given import Gate, until

DAY = 86_400_000_000
gate = Gate()
words = Channel(str, name="words")


@task
def held() -> None:
    gate.pass_through()


@workflow
def quick() -> Flow[int]:
    yield from sleep(0)
    return 1


@workflow
def patient() -> Flow[str]:
    return (yield from words.receive())


@workflow
def again(number: int) -> Flow[str]:
    word = yield from words.receive()
    return word if number else (yield from continue_as_new(again(number + 1)))


@workflow
def family(number: int) -> Flow[int]:
    children = [dispatch(patient().options(id=f"child-{n}", tags=["kid"])) for n in range(number)]
    for one in children:
        yield from one
    return number


@workflow
def busy() -> Flow[None]:
    yield from held()
    yield from sleep(days=1)


@workflow(retention=timedelta(days=30))
def filed() -> Flow[int]:
    yield from sleep(0)
    return 1


class Ledger(Workflow, retention=30 * 86_400):
    @method
    def run(self) -> Flow[int]:
        yield from sleep(0)
        return 1


@workflow
def keeping(days: int) -> Flow[int]:
    return (yield from quick().options(id="kept", retention=timedelta(days=days)))


@pytest.fixture(autouse=True)
def closed():
    gate.__init__()  # type: ignore[misc]  # a fresh one, under the name that the task knows
    yield
    gate.open()


def is_done(storage, workflow_id):
    """Whether it has ended, and all that it sends is known to be sent."""
    stored = storage.load(workflow_id)
    return bool(stored.record.ended) and stored.mark == Mark(stored.version.run, stored.version.turns)


def ids(records):
    return [record.workflow_id for record in records]


def test_children_are_found_by_their_parent(serve, client):
    serve(family, patient)
    client.start(family(3), id="mum")
    client.start(patient(), id="alone")
    until(lambda: client.count(parent="mum") == 3)

    assert sorted(ids(client.find(parent="mum"))) == ["child-0", "child-1", "child-2"]
    assert ids(client.find(parent="mum", id_prefix="child-2", tag="kid", status="running")) == ["child-2"]
    assert client.count(parent="alone") == 0


def test_instances_are_found_by_what_they_wait_for_as_it_changes(serve, client):
    serve(busy, patient, held)
    client.start(busy(), id="b")
    client.start(patient(), id="p")
    until(lambda: client.count(waiting_for="held") and client.count(waiting_for="words"))

    assert ids(client.find(waiting_for="held")) == ids(client.find(waiting_for="task")) == ["b"]
    assert ids(client.find(waiting_for="words")) == ids(client.find(waiting_for="receive")) == ["p"]
    gate.open()
    until(lambda: client.count(waiting_for="timer"))
    assert (client.count(waiting_for="held"), ids(client.find(busy, waiting_for="timer"))) == (0, ["b"])
    client.run(words.by_id("p").send("so"), timeout=20)
    client.get("p").result(20)
    until(lambda: client.count(waiting_for="words") == 0)


def test_instances_are_found_by_when_they_started_and_ended(serve, client, storage):
    serve(quick, patient)
    began = to_datetime(storage.now())
    client.start(quick(), id="q").result(20)
    client.start(patient(), id="p")
    until(lambda: client.count() == 2 and client.count(status="completed"))
    after = to_datetime(storage.now()) + timedelta(minutes=1)

    assert sorted(ids(client.find(since=began, until=after))) == ["p", "q"]
    assert ids(client.find(ended_since=began, ended_until=after)) == ["q"]
    assert client.count(until=began) == client.count(ended_until=began) == client.count(ended_since=after) == 0


def test_one_that_continues_as_new_keeps_its_place_so_that_no_page_misses_it(serve, client):
    serve(again, patient)
    client.start(again(0), id="older")
    until(lambda: client.count(waiting_for="words") == 1)
    client.start(patient(), id="newer")
    until(lambda: client.count(waiting_for="words") == 2)
    newer, before = client.find()

    client.run(words.by_id("older").send("on"), timeout=20)
    until(lambda: list(client.find())[1].run != before.run)

    found = [(one.workflow_id, one.started) for one in client.find(status="running")]
    assert found == [("newer", newer.started), ("older", before.started)]


def test_an_ended_instance_is_deleted_and_its_id_is_free(serve, client, storage):
    serve(quick)
    client.start(quick(), id="q").result(20)

    assert (client.delete("q"), client.delete("q")) == (True, False)
    with pytest.raises(UnknownWorkflow):
        client.get("q")
    for if_exists in ("fail", "attach", "restart"):
        assert client.start(quick(), id="q", if_exists=if_exists).result(20) == 1
        until(lambda: is_done(storage, "q"))
        assert client.count(id_prefix="q") == 1
        assert client.delete("q")


def test_one_that_still_runs_is_not_deleted_and_goes_on(serve, client):
    serve(patient)
    handle = client.start(patient(), id="p")
    until(lambda: client.count(waiting_for="words"))

    with pytest.raises(WorkflowInUse, match="Cancel or terminate it first"):
        client.delete("p")
    client.run(words.by_id("p").send("still there"), timeout=20)
    assert handle.result(20) == "still there"


def test_a_child_is_deleted_while_its_parent_waits_and_the_parent_has_its_answer(serve, client, storage):
    serve(family, patient)
    parent = client.start(family(1), id="mum")
    until(lambda: client.count(parent="mum", waiting_for="words"))
    parent.suspend(timeout=20)
    client.run(words.by_id("child-0").send("so"), timeout=20)
    until(lambda: is_done(storage, "child-0"))

    assert client.delete("child-0")
    parent.resume(timeout=20)
    assert parent.result(20) == 1
    assert client.count(parent="mum") == 0


def test_what_comes_late_for_a_deleted_instance_is_nothing_to_the_next_one_of_its_id(serve, client, storage):
    serve(busy, patient, held)
    first = client.start(busy(), id="i")
    gate.wait_for()
    first.terminate("by mistake", timeout=20)
    assert client.delete("i")

    second = client.start(patient(), id="i", if_exists="fail")
    until(lambda: client.count(waiting_for="words"))
    gate.open()
    client.run(words.by_id("i").send("still there"), timeout=20)
    assert second.result(20) == "still there"
    assert ids(client.find()) == ["i"]


@pytest.mark.parametrize(
    ("call", "kept"),
    [
        (filed(), "i"),
        (Ledger.run(), "i"),
        (quick().options(retention=timedelta(days=30)), "i"),
        (filed().options(retention=timedelta(days=60)), "i"),
        (keeping(30), "kept"),
    ],
)
def test_an_instance_is_kept_as_long_as_its_call_says_or_its_workflow(serve, client, storage, call, kept):
    serve(filed, Ledger, quick, keeping, retention=0)
    client.start(call, id="i").result(20)
    client.start(quick(), id="short").result(20)
    until(lambda: all(is_done(storage, one) for one in ("i", kept, "short")))
    now = storage.now()

    storage.purge(now + 29 * DAY)
    assert (storage.load(kept) is not None, storage.load("short")) == (True, None)
    storage.purge(now + 61 * DAY)
    assert storage.load(kept) is None
