"""Failures of workflow code, and `retry`: the run is taken up again where it failed."""

import threading

import pytest

from dsl import Channel, Flow, ProtocolError, Retry, Workflow, gather, method, sleep, task, workflow
from infinitic.errors import TaskFailed, WorkflowFailed
from tests.scenarios.given import cause_chain, events, until

go = Channel(str, name="go")
calls: list[str] = []
healthy = threading.Event()


class Trouble(Exception):
    """Raised by workflow code, with a field."""

    def __init__(self, code: int) -> None:
        self.code = code
        super().__init__(code)


@task
def step(name: str) -> str:
    calls.append(name)
    return name


@task(retry=Retry(max_attempts=2, initial=0))
def fragile(name: str) -> str:
    calls.append(name)
    if not healthy.is_set():
        raise LookupError(name)
    return name


@workflow
def raising() -> Flow[None]:
    yield from step("one")
    try:
        raise KeyError("inner")
    except KeyError as error:
        raise Trouble(42) from error


@workflow
def exiting() -> Flow[None]:
    yield from sleep(0)
    raise SystemExit(3)


@workflow
def wrong_yield() -> Flow[None]:
    yield 5  # type: ignore[misc]  # that is the point


@workflow
def wrong_return() -> Flow[object]:
    yield from sleep(0)
    return step("forgotten")


@workflow
def unencodable() -> Flow[object]:
    yield from sleep(0)
    return threading.Lock()


@workflow
def journey() -> Flow[list[str]]:
    first = yield from step("first")
    second = yield from fragile("second")
    third = yield from step("third")
    return [first, second, third]


@workflow
def parent() -> Flow[list[str]]:
    before = yield from step("before")
    return [before, *(yield from journey().options(id="kid"))]


@workflow
def at_once() -> Flow[tuple[str, str, str]]:
    return (yield from gather(step("a"), fragile("b"), step("c")))


@pytest.fixture(autouse=True)
def _fresh():
    calls.clear()
    healthy.clear()


def test_what_workflow_code_raises_fails_the_run_with_its_cause(serve, client):
    serve(raising, step)
    handle = client.start(raising(), id="r")

    with pytest.raises(WorkflowFailed) as raised:
        handle.result(20)
    assert cause_chain(raised.value) == ["WorkflowFailed", "Trouble", "KeyError"]
    assert isinstance(raised.value.error, Trouble)
    assert raised.value.error.code == 42
    [record] = client.find(raising)
    assert record.error is not None
    assert record.error.stack[-1].function.endswith("raising")


def test_workflow_code_that_exits_fails_its_run_only(serve, client):
    serve(exiting, journey, step, fragile)
    healthy.set()
    with pytest.raises(WorkflowFailed):
        client.run(exiting(), timeout=20)

    assert client.run(journey(), timeout=20) == ["first", "second", "third"]


@pytest.mark.parametrize("wrong", [wrong_yield, wrong_return], ids=["yield", "return"])
def test_a_wrong_yield_or_return_fails_with_advice(serve, client, wrong):
    serve(wrong_yield, wrong_return, step)

    with pytest.raises(WorkflowFailed) as raised:
        client.run(wrong(), timeout=20)
    assert isinstance(raised.value.error, ProtocolError)
    assert "yield from" in str(raised.value.error)


def test_a_result_that_cannot_be_encoded_fails_the_run(serve, client):
    serve(unencodable)

    with pytest.raises(WorkflowFailed) as raised:
        client.run(unencodable(), timeout=20)
    assert "Lock" in str(raised.value.error) or "lock" in str(raised.value.error)


def test_retry_goes_on_where_the_run_failed(serve, client):
    serve(journey, step, fragile)
    handle = client.start(journey(), id="j")
    with pytest.raises(WorkflowFailed) as raised:
        handle.result(20)
    assert isinstance(raised.value.error, TaskFailed)
    healthy.set()
    handle.retry(timeout=20)

    assert handle.result(20) == ["first", "second", "third"]
    assert calls == ["first", "second", "second", "second", "third"]
    assert handle.status() == "completed"


def test_retry_works_after_eviction_and_with_another_worker(serve, client):
    first = serve(journey, step, fragile, cache_instances=1)
    handles = [client.start(journey(), id=f"j{number}") for number in range(4)]
    for handle in handles:
        with pytest.raises(WorkflowFailed):
            handle.result(20)
    first.close()
    healthy.set()
    serve(journey, step, fragile, cache_instances=1)
    for handle in handles:
        handle.retry(timeout=20)

    assert [handle.result(20) for handle in handles] == [["first", "second", "third"]] * 4


def test_a_retry_that_fails_may_be_retried(serve, client):
    serve(journey, step, fragile)
    handle = client.start(journey(), id="j")
    for _ in range(3):
        with pytest.raises(WorkflowFailed):
            handle.result(20)
        handle.retry(timeout=20)
        until(lambda: handle.status() == "failed")
    healthy.set()
    handle.retry(timeout=20)

    assert handle.result(20) == ["first", "second", "third"]


def test_a_retry_of_the_parent_retries_the_child_that_failed_it(serve, client):
    serve(parent, journey, step, fragile)
    handle = client.start(parent(), id="p")
    with pytest.raises(WorkflowFailed):
        handle.result(20)
    healthy.set()
    handle.retry(timeout=20)

    assert handle.result(20) == ["before", "first", "second", "third"]
    assert client.get("kid", journey).result(20) == ["first", "second", "third"]
    assert calls.count("first") == 1


def test_what_was_under_way_beside_the_failure_is_used_by_the_retry(serve, client):
    serve(at_once, step, fragile)
    handle = client.start(at_once(), id="a")
    with pytest.raises(WorkflowFailed):
        handle.result(20)
    until(lambda: events(handle.history()).count("TaskCompleted") == 2)
    healthy.set()
    handle.retry(timeout=20)

    assert handle.result(20) == ("a", "b", "c")
    assert (calls.count("a"), calls.count("c")) == (1, 1)


def test_only_a_failed_run_can_be_retried(serve, client):
    serve(journey, step, fragile)
    healthy.set()
    handle = client.start(journey(), id="j")
    handle.result(20)

    with pytest.raises(Exception, match=r"completed|finished"):
        handle.retry(timeout=20)
    assert handle.result(20) == ["first", "second", "third"]


@workflow
def signalled() -> Flow[list[str]]:
    yield from fragile("x")
    return [(yield from go.receive()), (yield from go.receive())]


def test_a_failed_run_keeps_its_signals_for_the_retry(serve, client):
    serve(signalled, fragile)
    handle = client.start(signalled(), id="s")
    with pytest.raises(WorkflowFailed):
        handle.result(20)
    client.run(go.by_id("s").send("one"), timeout=20)
    healthy.set()
    handle.retry(timeout=20)
    client.run(go.by_id("s").send("two"), timeout=20)

    assert handle.result(20) == ["one", "two"]


def test_signals_and_the_retry_that_come_in_one_batch_are_all_applied(serve, client):
    worker = serve(signalled, fragile)
    handle = client.start(signalled(), id="s")
    with pytest.raises(WorkflowFailed):
        handle.result(20)
    worker.close()
    healthy.set()
    client.start(go.by_id("s").send("one"))
    retried = threading.Thread(target=lambda: handle.retry(timeout=20))
    retried.start()
    client.start(go.by_id("s").send("two"))
    serve(signalled, fragile)
    retried.join(20)

    assert sorted(handle.result(20)) == ["one", "two"]


class Account(Workflow):
    @method
    def run(self) -> Flow[str]:
        return (yield from go.receive())

    @method
    def broken(self) -> Flow[None]:
        yield from sleep(0)
        raise Trouble(1)


def test_the_failure_of_another_method_leaves_the_run_alone(serve, client):
    serve(Account)
    handle = client.start(Account.run(), id="acc")
    with pytest.raises(WorkflowFailed):
        client.run(Account.by_id("acc").broken(), timeout=20)
    client.run(go.by_id("acc").send("fine"), timeout=20)

    assert handle.result(20) == "fine"


@workflow
def catching(rounds: int) -> Flow[int]:
    caught = 0
    for _ in range(rounds):
        try:
            yield from fragile("again")
        except TaskFailed:
            caught += 1
    return caught


def test_the_same_stored_error_thrown_on_every_replay_stays_small(serve, client):
    serve(catching, fragile, cache_instances=1)
    handles = [client.start(catching(5), id=f"c{number}") for number in range(3)]

    assert [handle.result(20) for handle in handles] == [5, 5, 5]
