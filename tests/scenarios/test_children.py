"""Children: workflows that start others, wait for them, and hear how they fail."""

from typing import Any

import pytest

from dsl import (
    Channel,
    Flow,
    Retry,
    Workflow,
    current_workflow,
    dispatch,
    gather,
    method,
    race,
    sleep,
    task,
    workflow,
)
from infinitic.errors import (
    TaskFailed,
    UnknownWorkflow,
    WorkflowCancelled,
    WorkflowExists,
    WorkflowFailed,
    WorkflowFinished,
    WorkflowTimedOut,
)
from tests.scenarios.given import cause_chain, events, until

go = Channel(str, name="go")


class TooExpensive(Exception):
    """A task's own error, with a field."""

    def __init__(self, cents: int) -> None:
        self.cents = cents
        super().__init__(cents)


@task(retry=Retry(max_attempts=1))
def pay(cents: int) -> int:
    if cents > 100:
        raise TooExpensive(cents)
    return cents


@workflow
def child(cents: int) -> Flow[int]:
    return (yield from pay(cents))


@workflow
def parent(cents: int) -> Flow[int]:
    return 1000 + (yield from child(cents))


@workflow
def grandparent(cents: int) -> Flow[int]:
    return 10_000 + (yield from parent(cents))


@workflow
def family() -> Flow[list[str]]:
    about = current_workflow()
    told = yield from kin()
    return [about.id, about.root, *told]


@workflow
def kin() -> Flow[list[str]]:
    yield from sleep(0)
    about = current_workflow()
    return [about.parent or "", about.root, about.name]


def test_a_parent_gets_its_childs_answer(serve, client):
    serve(grandparent, parent, child, pay)

    assert client.run(grandparent(5), timeout=20) == 11_005


def test_parents_and_children_may_be_served_by_different_workers(serve, client):
    serve(parent)
    serve(child)
    serve(pay)

    assert client.run(parent(5), timeout=20) == 1_005


def test_a_failure_comes_with_its_whole_chain(serve, client):
    serve(grandparent, parent, child, pay)

    with pytest.raises(WorkflowFailed) as raised:
        client.run(grandparent(500), timeout=20)

    error: Any = raised.value
    assert cause_chain(error) == [
        "WorkflowFailed",
        "WorkflowFailed",
        "WorkflowFailed",
        "TaskFailed",
        "TooExpensive",
    ]
    assert (error.workflow, error.error.workflow, error.error.error.workflow) == (
        "grandparent",
        "parent",
        "child",
    )
    last = error.error.error.error
    assert isinstance(last, TaskFailed)
    assert isinstance(last.error, TooExpensive)
    assert (last.task, last.error.cents) == ("pay", 500)


@workflow
def forgiving(cents: int) -> Flow[str]:
    try:
        yield from child(cents)
    except WorkflowFailed as error:
        cause = error.error.__cause__
        assert isinstance(cause, TooExpensive)
        return f"{error.workflow} {cause.cents}"
    return "paid"


def test_a_parent_may_handle_its_childs_failure(serve, client):
    serve(forgiving, child, pay)

    assert client.run(forgiving(300), timeout=20) == "child 300"
    assert client.run(forgiving(30), timeout=20) == "paid"


def test_a_child_knows_its_parent_and_root(serve, client):
    serve(family, kin)

    assert client.start(family(), id="top").result(20) == ["top", "top", "top", "top", "kin"]


@workflow
def fan(count: int) -> Flow[int]:
    return sum((yield from gather(*[child(number) for number in range(count)])))


def test_many_children_at_once(serve, client):
    serve(fan, child, pay)

    assert client.run(fan(50), timeout=30) == sum(range(50))
    assert client.count(child) == 50


@workflow
def waiting_child() -> Flow[str]:
    return (yield from go.receive())


@workflow
def naming(name: str) -> Flow[str]:
    return (yield from waiting_child().options(id=name))


@workflow
def knowing_better(name: str) -> Flow[str]:
    try:
        return (yield from waiting_child().options(id=name))
    except WorkflowExists as error:
        return f"{error.workflow_id} exists"


def test_a_child_may_be_given_an_id(serve, client):
    serve(naming, waiting_child)
    handle = client.start(naming("mine"), id="n")
    until(lambda: client.count(waiting_child))
    client.run(go.by_id("mine").send("now"), timeout=20)

    assert handle.result(20) == "now"
    assert client.get("mine", waiting_child).result(20) == "now"


def test_a_childs_id_that_belongs_to_somebody_else_raises_in_the_parent(serve, client):
    serve(naming, knowing_better, waiting_child)
    client.start(waiting_child(), id="taken")
    until(lambda: client.count(waiting_child))

    assert client.start(knowing_better("taken"), id="k").result(20) == "taken exists"
    with pytest.raises(WorkflowFailed) as raised:
        client.start(naming("taken"), id="n").result(20)
    assert isinstance(raised.value.error, WorkflowExists)


@workflow
def limited() -> Flow[str]:
    return (yield from waiting_child().options(timeout=0.01))


def test_a_child_that_takes_too_long_has_timed_out(serve, client):
    serve(limited, waiting_child)

    with pytest.raises(WorkflowFailed) as raised:
        client.run(limited(), timeout=20)

    assert isinstance(raised.value.error, WorkflowTimedOut)


@workflow
def cancelling_a_child() -> Flow[list[str]]:
    deferred = dispatch(waiting_child().options(id="victim"))
    yield from sleep(0.001)
    deferred.cancel()
    try:
        yield from deferred
    except WorkflowCancelled as error:
        return [error.workflow_id, deferred.status()]
    return []


def test_a_parent_may_cancel_its_child(serve, client):
    serve(cancelling_a_child, waiting_child)

    assert client.run(cancelling_a_child(), timeout=20) == ["victim", "cancelled"]
    with pytest.raises(WorkflowCancelled):
        client.get("victim", waiting_child).result(20)


@workflow
def racing_children() -> Flow[str]:
    name, _ = yield from race(quick=child(1), slow=waiting_child().options(id="slow"))
    return name


def test_a_child_that_lost_a_race_is_cancelled(serve, client):
    serve(racing_children, waiting_child, child, pay)

    assert client.run(racing_children(), timeout=20) == "quick"
    with pytest.raises(WorkflowCancelled):
        client.get("slow", waiting_child).result(20)


@workflow
def calling(what: str) -> Flow[int]:
    return (yield from Account.by_id(what).add(5))


class Account(Workflow):
    closed = Channel(bool)

    def __init__(self) -> None:
        self.total = 0

    @method
    def run(self) -> Flow[int]:
        yield from self.closed.receive()
        return self.total

    @method
    def add(self, amount: int) -> Flow[int]:
        self.total += yield from pay(amount)
        return self.total


@workflow
def closing(what: str) -> Flow[str]:
    yield from Account.by_id(what).closed.send(True)
    return "sent"


def test_workflows_call_methods_of_and_send_signals_to_instances(serve, client):
    serve(calling, closing, Account, pay)
    account = client.start(Account.run(), id="acc")

    assert client.run(calling("acc"), timeout=20) == 5
    assert client.run(calling("acc"), timeout=20) == 10
    assert client.run(closing("acc"), timeout=20) == "sent"
    assert account.result(20) == 10


def test_a_call_to_nobody_or_to_a_finished_instance_raises_in_the_caller(serve, client):
    serve(calling, closing, Account, pay)
    with pytest.raises(WorkflowFailed) as raised:
        client.run(calling("nobody"), timeout=20)
    assert isinstance(raised.value.error, UnknownWorkflow)

    client.start(Account.run(), id="acc")
    client.run(closing("acc"), timeout=20)
    client.get("acc", Account.run).result(20)
    with pytest.raises(WorkflowFailed) as raised:
        client.run(calling("acc"), timeout=20)
    assert isinstance(raised.value.error, WorkflowFinished)


@workflow
def leaving_a_child() -> Flow[str]:
    dispatch(child(5))
    yield from sleep(0)
    return "gone"


def test_a_child_that_nobody_awaits_ends_after_its_parent(serve, client):
    serve(leaving_a_child, child, pay)
    handle = client.start(leaving_a_child(), id="p")

    assert handle.result(20) == "gone"
    until(lambda: "Answered" in events(handle.history()))
    assert client.count(child, status="completed") == 1


@workflow
def deep(left: int) -> Flow[list[str | None]]:
    me = current_workflow()
    if left == 0:
        return [me.name, me.parent, me.root]
    return (yield from deep(left - 1).options(id=f"deep-{left - 1}"))


def test_recursion_to_a_depth_of_a_hundred(serve, client):
    serve(deep)

    assert client.start(deep(100), id="deep-100").result(60) == ["deep", "deep-1", "deep-100"]
