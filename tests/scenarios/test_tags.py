"""Tags and meta: given, changed from inside and outside, readable, handed to tasks, and what instances are found by."""

import asyncio

import pytest

from dsl import (
    Channel,
    Flow,
    InvalidId,
    Workflow,
    WorkflowFinished,
    add_tags,
    continue_as_new,
    current_task,
    current_workflow,
    dispatch,
    gather,
    method,
    remove_tags,
    sleep,
    task,
    workflow,
)
from infinitic import AsyncClient, Retry, UnknownWorkflow
from infinitic.backends.distributed import DistributedBackend
from infinitic.client import Client
from tests.scenarios.given import Gate, events, open_at, until

confirmed = Channel(str, name="confirmed")


@task
def tags_of_task() -> list[str]:
    return sorted(current_task().tags)


@workflow
def changing() -> Flow[list[list[str]]]:
    before = dispatch(tags_of_task())
    yield from add_tags("vip", "new")
    inside = sorted(current_workflow().tags)
    dispatch(remove_tags("new"))
    after = yield from tags_of_task()
    return [(yield from before), inside, after]


def test_tags_are_changed_from_inside_and_tasks_are_told_the_present_ones(serve, client):
    serve(changing, tags_of_task)
    handle = client.start(changing(), id="c", tags=["old"])

    assert handle.result(20) == [["old"], ["new", "old", "vip"], ["old", "vip"]]
    assert [record.tags for record in client.find(changing)] == [("old", "vip")]
    assert [record.workflow_id for record in client.find(tag="vip")] == ["c"]
    assert client.count(tag="new") == 0


@workflow
def waiting() -> Flow[list[str]]:
    yield from confirmed.receive()
    told = yield from tags_of_task()
    assert told == sorted(current_workflow().tags)
    return told


def test_tags_are_changed_from_outside(serve, client):
    serve(waiting, tags_of_task)
    handle = client.start(waiting(), id="w", tags=["new"])
    client.tag("w", add=["vip"], remove=["new", "never"], timeout=20)

    assert [record.workflow_id for record in client.find(tag="vip", status="running")] == ["w"]
    assert client.count(tag="new") == 0
    client.run(confirmed.by_id("w").send("go"), timeout=20)
    assert handle.result(20) == ["vip"]
    assert events(handle.history())[:3] == ["Started", "TagsChanged", "SignalReceived"]


def test_changed_tags_are_the_same_on_another_worker(serve, client):
    first = serve(waiting, tags_of_task)
    handle = client.start(waiting(), id="w")
    client.tag("w", add=["vip"], timeout=20)
    first.close()
    serve(waiting, tags_of_task)
    client.run(confirmed.by_id("w").send("go"), timeout=20)

    assert handle.result(20) == ["vip"]


def test_tags_from_outside_reach_an_instance_by_its_id_alone(serve, client, place):
    serve(waiting)
    client.start(waiting(), id="w")
    until(lambda: client.count(waiting))
    with without_storage(place) as blind:
        blind.tag("w", add=["vip"], timeout=20)

    assert client.count(tag="vip") == 1


def without_storage(place) -> Client:
    """A client that reads nothing: of the embedded backend one that has just begun, for it has one file."""
    backend = open_at(place)
    return Client.over(DistributedBackend(backend.transport) if backend.marks else backend)


def test_what_cannot_be_tagged_is_refused(serve, client):
    serve(waiting, tags_of_task)
    handle = client.start(waiting(), id="w")
    client.run(confirmed.by_id("w").send("go"), timeout=20)
    handle.result(20)

    with pytest.raises(WorkflowFinished):
        client.tag("w", add=["vip"], timeout=20)
    with pytest.raises(UnknownWorkflow):
        client.tag("nobody", add=["vip"], timeout=20)
    with pytest.raises(InvalidId, match="a tag"):
        client.tag("w", add=[" "])
    with pytest.raises(TypeError, match=r"add= takes a collection of strings; write \['vip'\]"):
        client.tag("w", add="vip")


def test_tags_are_changed_without_blocking_a_loop(serve, client, place):
    serve(waiting)
    client.start(waiting(), id="w")

    async def go() -> int:
        async with AsyncClient(**place) as mine:
            await mine.tag("w", add=["vip"], timeout=20)
            return await mine.count(tag="vip")

    assert asyncio.run(go()) == 1


gates: list[Gate] = []


@task(retry=Retry(max_attempts=2, initial=0.01, jitter=0))
def flaky() -> list[str]:
    if current_task().attempt == 1:
        gates[0].pass_through()
        raise ValueError("once more")
    return sorted(current_task().tags)


@workflow
def retrying() -> Flow[list[str]]:
    return (yield from flaky())


def test_the_next_attempt_of_a_task_is_told_the_present_tags(serve, client):
    gate = Gate()
    gates[:] = [gate]
    serve(retrying, flaky)
    handle = client.start(retrying(), id="r")
    gate.wait_for()
    client.tag("r", add=["vip"], timeout=20)
    gate.open()

    assert handle.result(20) == ["vip"]


@workflow
def going_on(round: int = 0) -> Flow[list[str]]:
    if round == 0:
        yield from add_tags("vip")
        yield from continue_as_new(going_on(1))
    yield from sleep(0)
    return sorted(current_workflow().tags)


def test_changed_tags_move_over_to_the_next_run(serve, client):
    serve(going_on)

    assert client.start(going_on(), id="g", tags=["old"]).result(20) == ["old", "vip"]
    assert [record.workflow_id for record in client.find(tag="vip")] == ["g"]


@workflow
def going_on_when_told(round: int = 0) -> Flow[None]:
    yield from confirmed.receive()
    if round == 0:
        yield from continue_as_new(going_on_when_told(1))


def test_an_instance_that_goes_on_keeps_its_place_in_the_list(serve, client):
    serve(going_on_when_told)
    for name in ("first", "second"):
        client.start(going_on_when_told(), id=name)
        until(lambda name=name: name in [one.workflow_id for one in client.find()])
    before = [(one.workflow_id, one.started) for one in client.find()]
    client.run(confirmed.by_id("first").send("go on"), timeout=20)

    assert client.count(status="running") == 2
    assert [(one.workflow_id, one.started) for one in client.find()] == before == sorted(before, reverse=True)


# --- meta ---


@task
def meta_of_task() -> bool:
    return current_task().meta == {"raw": b"\x00\xff", "by": "ada", "n": [1, 2]}


@workflow
def child_with_meta() -> Flow[bool]:
    same = current_workflow().meta == {"raw": b"\xff\x00"}
    return same and (yield from telling_meta().options(meta={"raw": b"\xff\x00"}))


@task
def telling_meta() -> bool:
    return current_task().meta == {"raw": b"\xff\x00"}


@workflow
def with_meta() -> Flow[list[bool]]:
    mine = current_workflow().meta == {"raw": b"\x00\xff", "by": "ada"}
    task = meta_of_task().options(meta={"n": [1, 2]})
    child = child_with_meta().options(meta={"raw": b"\xff\x00"})
    return [mine, *(yield from gather(task, child))]


def test_meta_of_bytes_and_json_comes_through_to_workflows_tasks_and_children(serve, client):
    serve(with_meta, child_with_meta, meta_of_task, telling_meta)
    handle = client.start(with_meta().options(meta={"raw": b"\x00\xff"}), meta={"by": "ada"})

    assert handle.result(20) == [True, True, True]


class Loyalty(Workflow):
    @method
    def run(self) -> Flow[None]:
        yield from confirmed.receive()

    @method
    def promote(self) -> Flow[list[str]]:
        yield from add_tags("vip")
        return sorted(current_workflow().tags)


def test_any_method_may_change_the_tags(serve, client):
    serve(Loyalty)
    client.start(Loyalty.run(), id="ada")

    assert client.run(Loyalty.by_id("ada").promote(), timeout=20) == ["vip"]
    assert client.count(Loyalty.by_tag("vip")) == 1
    assert [one.workflow_id for one in client.find(Loyalty.by_tag("vip"))] == ["ada"]
