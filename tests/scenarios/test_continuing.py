"""Continue-as-new: a fresh history under the same id; what moves over, and what does not."""

import pytest

from dsl import (
    Channel,
    Flow,
    ProtocolError,
    continue_as_new,
    current_workflow,
    dispatch,
    sleep,
    task,
    workflow,
)
from infinitic.errors import TaskFailed, WorkflowFailed
from tests.scenarios.given import Gate, events, until

numbers = Channel(int, name="numbers")
gate = Gate()


@task
def held() -> str:
    gate.pass_through()
    return "late"


@task
def add(a: int, b: int) -> int:
    return a + b


@workflow
def counting(left: int, total: int = 0) -> Flow[int]:
    total = yield from add(total, left)
    if left:
        yield from continue_as_new(counting(left - 1, total))
    return total


@workflow
def parent(left: int) -> Flow[int]:
    return 1000 + (yield from counting(left))


@workflow
def collecting(seen: int, upto: int) -> Flow[int]:
    yield from numbers.receive()
    if seen + 1 < upto:
        yield from continue_as_new(collecting(seen + 1, upto))
    return seen + 1


@workflow
def telling(round: int = 0) -> Flow[list[object]]:
    yield from sleep(0)
    if round < 2:
        yield from continue_as_new(telling(round + 1))
    about = current_workflow()
    return [about.id, sorted(about.tags), about.meta, round]


@workflow
def leaving(again: bool = True) -> Flow[str]:
    if again:
        dispatch(held())
        yield from sleep(0.001)
        yield from continue_as_new(leaving(False))
    yield from numbers.receive()
    return "clean"


@workflow
def from_a_branch() -> Flow[str]:
    def leg() -> Flow[str]:
        yield from sleep(0)
        return (yield from continue_as_new(telling()))

    from dsl import spawn

    return (yield from spawn(leg()))


def test_the_result_follows_the_chain(serve, client):
    serve(counting, add, cache_instances=1)
    handle = client.start(counting(5), id="c")

    assert handle.result(20) == 15
    assert events(handle.history()) == ["Started", "TaskCompleted"]
    assert handle.history()[0].event.previous != ""


@workflow
def counting_at_once(left: int) -> Flow[int]:
    if left:
        yield from continue_as_new(counting_at_once(left - 1))
    return left


def test_a_chain_that_never_waits_is_no_recursion(serve, client):
    serve(counting_at_once)

    assert client.run(counting_at_once(2_000), timeout=20) == 0


def test_a_parent_gets_the_answer_of_the_last_run(serve, client):
    serve(parent, counting, add)

    assert client.run(parent(4), timeout=20) == 1010


def test_no_signal_is_lost_on_the_way(serve, client):
    serve(collecting)
    handle = client.start(collecting(0, 100), id="c")
    for number in range(100):
        client.start(numbers.by_id("c").send(number))

    assert handle.result(20) == 100


def test_id_tags_and_meta_move_over(serve, client):
    serve(telling)
    handle = client.start(telling(), id="t", tags=["x"], meta={"a": 1})

    assert handle.result(20) == ["t", ["x"], {"a": 1}, 2]
    assert [record.workflow_id for record in client.find(tag="x")] == ["t"]


def test_the_answers_of_a_former_run_are_dropped(serve, client):
    gate.__init__()  # type: ignore[misc]  # a fresh one, under the name that the task knows
    serve(leaving, held)
    handle = client.start(leaving(), id="l")
    until(lambda: (history := handle.history()) and history[0].event.previous)
    gate.open()
    client.run(numbers.by_id("l").send(1), timeout=20)

    assert handle.result(20) == "clean"
    assert events(handle.history()) == ["Started", "SignalReceived"]


def test_continuing_from_a_branch_is_an_error(serve, client):
    serve(from_a_branch, telling)

    with pytest.raises(WorkflowFailed) as raised:
        client.run(from_a_branch(), timeout=20)
    assert isinstance(raised.value.error, ProtocolError)
    assert not isinstance(raised.value.error, TaskFailed)


def test_a_long_chain_keeps_one_history_only(serve, client, storage):
    serve(counting, add)
    handle = client.start(counting(60), id="c")

    assert handle.result(30) == 1830
    stored = storage.load("c")
    assert len(stored.turns) == stored.version.turns == 2
