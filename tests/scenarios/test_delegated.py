"""Delegated tasks: the function returns, the task stays open until somebody completes or fails it by its id."""

import asyncio
import logging
import threading
from queue import Queue

import pytest

from dsl import (
    Flow,
    Retry,
    Service,
    TaskFailed,
    TaskTimedOut,
    Workflow,
    current_task,
    dispatch,
    method,
    race,
    settle,
    sleep,
    task,
    workflow,
)
from infinitic.client import AsyncClient, Client
from infinitic.errors import DecodeError, InvalidId, UnknownWorkflow, WorkflowFailed, WorkflowFinished
from infinitic.events import TaskCompleted, TaskStarted
from infinitic.ids import parse_task_id, task_id
from tests.scenarios.given import PATIENCE, events, until

ids: Queue[str] = Queue()
opened = threading.Event()
FAST = Retry(initial=0.001, jitter=0)


@pytest.fixture(autouse=True)
def fresh():
    opened.clear()
    while not ids.empty():
        ids.get()


def handed_out() -> str:
    return ids.get(timeout=PATIENCE)


@task(delegated=True)
def approve(order: str) -> bool | None:
    ids.put(current_task().id)
    return None


@workflow
def ordering(order: str) -> Flow[str]:
    return f"{order} {(yield from approve(order))}"


def delegated(handle) -> str:
    """The task's id, once the instance knows that its function has returned."""
    until(lambda: "TaskStarted" in events(handle.history()))
    return handed_out()


def test_a_delegated_task_stays_open_until_somebody_completes_it(serve, client):
    serve(ordering, approve)
    handle = client.start(ordering("o-1"), id="o-1")
    id = delegated(handle)
    assert handle.status() == "running"

    assert client.complete(id, True) is True

    assert handle.result(20) == "o-1 True"
    assert events(handle.history()) == ["Started", "TaskStarted", "TaskCompleted"]
    assert [type(turn.event) for turn in handle.history()][1:] == [TaskStarted, TaskCompleted]


def test_a_second_completion_changes_nothing_and_says_so(serve, client, stage):
    serve(ordering, approve)
    handle = client.start(ordering("o-1"), id="o-1")
    id = delegated(handle)

    assert client.complete(id, True, timeout=20) is True
    assert handle.result(20) == "o-1 True"

    assert stage.another_client().complete(id, False, timeout=20) is False
    assert client.fail(id, ValueError("no"), timeout=20) is False
    assert handle.result(20) == "o-1 True"
    assert len(handle.history()) == 3


def test_somebody_may_fail_a_delegated_task_for_good(serve, client):
    serve(ordering, approve)
    handle = client.start(ordering("o-1"), id="o-1")

    assert client.fail(delegated(handle), PermissionError("not this one"), timeout=20) is True

    with pytest.raises(WorkflowFailed) as failed:
        handle.result(20)
    cause = failed.value.__cause__
    assert isinstance(cause, TaskFailed)
    assert str(cause) == "approve failed: PermissionError: not this one"
    assert isinstance(cause.error, PermissionError)


@task(delegated=True, retry=FAST)
def early(order: str) -> bool | None:
    ids.put(current_task().id)
    assert opened.wait(PATIENCE)
    return None


@workflow
def hasty(order: str) -> Flow[bool]:
    return (yield from early(order))


def test_a_completion_before_the_function_has_returned_is_kept(serve, client):
    worker = serve(hasty, early)
    handle = client.start(hasty("o-1"), id="o-1")

    assert client.complete(handed_out(), True, timeout=20) is True
    assert handle.result(20) is True

    opened.set()
    worker.close()
    assert events(handle.history()) == ["Started", "TaskCompleted"]


@task(delegated=True, retry=FAST)
def shaky(order: str) -> str | None:
    if current_task().attempt < 3:
        raise ConnectionError(f"no mail server for {order}")
    ids.put(current_task().id)
    return None


@workflow
def mailing(order: str) -> Flow[str]:
    return (yield from shaky(order))


def test_a_delegated_function_that_raises_is_tried_again(serve, client):
    serve(mailing, shaky)
    handle = client.start(mailing("o-1"), id="o-1")

    client.complete(handed_out(), "read", timeout=20)

    assert handle.result(20) == "read"
    assert events(handle.history()).count("AttemptFailed") == 2


def test_a_value_that_is_not_what_the_task_declares_is_refused_and_the_task_stays_open(serve, client):
    serve(ordering, approve)
    handle = client.start(ordering("o-1"), id="o-1")
    id = delegated(handle)

    with pytest.raises(DecodeError, match="Expected `bool`, got `str`"):
        client.complete(id, "perhaps", timeout=20)
    with pytest.raises(DecodeError, match="Expected `bool`, got `null`"):
        client.complete(id, timeout=20)

    assert len(handle.history()) == 2
    assert client.complete(id, False, timeout=20) is True
    assert handle.result(20) == "o-1 False"


@task
def stubborn(order: str) -> int:
    ids.put(current_task().id)
    raise ConnectionError("down")


@workflow
def patient(order: str) -> Flow[int]:
    return (yield from stubborn(order).options(retry=Retry(initial=3600, maximum=3600)))


@pytest.mark.parametrize("how", ["complete", "fail"])
def test_a_task_that_waits_for_its_next_attempt_may_be_answered_by_hand(serve, client, storage, how):
    serve(patient, stubborn)
    handle = client.start(patient("o-1"), id="o-1")
    until(lambda: "AttemptFailed" in events(handle.history()))
    id = handed_out()

    if how == "complete":
        assert client.complete(id, 7, timeout=20) is True
        assert handle.result(20) == 7
    else:
        assert client.fail(id, RuntimeError("given up"), timeout=20) is True
        with pytest.raises(WorkflowFailed, match="stubborn failed: RuntimeError: given up"):
            handle.result(20)
    stored = storage.load("o-1")
    assert stored is not None
    until(lambda: storage.load("o-1").timers == ())


def test_any_client_completes_without_a_storage_and_so_does_a_task(serve, place, stage, client):
    serve(ordering, approve)
    handle = client.start(ordering("o-1"), id="o-1")
    id = delegated(handle)
    address = {"transport": place["transport"]} if "transport" in place else place

    if "transport" in place and "memory" not in str(place["transport"]):
        with Client(**address) as bare:
            assert bare.complete(id, True, timeout=20) is True
    else:
        assert stage.another_client().complete(id, True, timeout=20) is True

    assert handle.result(20) == "o-1 True"


def test_a_delegated_task_that_a_client_runs_alone_is_completed_as_any_other(serve, client):
    serve(ordering, approve)
    first, second = (client.start(approve(id), id=id) for id in ("o-1", "o-2"))
    taken = {parse_task_id(id)[1]: id for id in (handed_out(), handed_out())}

    assert client.complete(taken["o-1"], True, timeout=20) is True
    assert client.fail(taken["o-2"], ValueError("no"), timeout=20) is True
    assert first.result(20) is True
    with pytest.raises(TaskFailed, match="approve failed: ValueError: no"):
        second.result(20)


def test_an_async_client_completes_and_fails_too(serve, place, client):
    serve(ordering, approve)
    first, second = client.start(ordering("o-1"), id="o-1"), client.start(ordering("o-2"), id="o-2")
    taken = {parse_task_id(id)[1]: id for id in (handed_out(), handed_out())}

    async def answer() -> tuple[bool, bool]:
        async with AsyncClient(**place) as aclient:
            return (
                await aclient.complete(taken["o-1"], True, timeout=20),
                await aclient.fail(taken["o-2"], ValueError("no"), timeout=20),
            )

    assert asyncio.run(answer()) == (True, True)
    assert first.result(20) == "o-1 True"
    with pytest.raises(WorkflowFailed, match="approve failed: ValueError: no"):
        second.result(20)


def test_what_cannot_be_completed_is_refused_with_the_reason(serve, client):
    serve(ordering, approve)
    handle = client.start(ordering("o-1"), id="o-1")
    workflow, workflow_id, run, position = parse_task_id(delegated(handle))

    with pytest.raises(InvalidId, match="'nonsense' cannot be a task id"):
        client.complete("nonsense", True)
    for guessed in ("", None, 1):
        with pytest.raises(InvalidId, match="cannot be a task id"):
            client.complete(task_id(workflow, workflow_id, guessed, position), True)  # type: ignore[arg-type]
    with pytest.raises(UnknownWorkflow, match="there is no ordering instance with the id 'nobody'"):
        client.complete(task_id(workflow, "nobody", run, position), True, timeout=20)
    with pytest.raises(InvalidId, match="expected one of a task that ordering 'o-1' has asked for"):
        client.complete(task_id(workflow, workflow_id, run, "m0.7"), True, timeout=20)
    with pytest.raises(WorkflowFinished, match="ordering 'o-1' is in a later run"):
        client.complete(task_id(workflow, workflow_id, "f" * 32, position), True, timeout=20)
    with pytest.raises(TypeError, match=r"takes an exception, as in ValueError\('no'\), not 'no'"):
        client.fail(task_id(workflow, workflow_id, run, position), "no")  # type: ignore[arg-type]
    assert len(handle.history()) == 2


def test_a_restarted_run_has_tasks_of_its_own(serve, client):
    serve(ordering, approve)
    old = delegated(client.start(ordering("o-1"), id="o-1"))
    client.complete(old, True, timeout=20)
    assert client.get("o-1", ordering).result(20) == "o-1 True"
    handle = client.start(ordering("again"), id="o-1", if_exists="restart")
    new = handed_out()

    with pytest.raises(WorkflowFinished, match="in a later run"):
        client.complete(old, False, timeout=20)

    assert client.complete(new, False, timeout=20) is True
    assert handle.result(20) == "again False"


@workflow
def racing(order: str) -> Flow[list[str]]:
    name, _ = yield from race(approval=approve(order), nap=sleep(0.01))
    yield from approve("second")
    return [name]


def test_a_task_that_lost_is_not_completed_any_more(serve, client):
    serve(racing, approve)
    handle = client.start(racing("o-1"), id="o-1")
    lost, second = handed_out(), handed_out()

    assert client.complete(lost, True, timeout=20) is False
    assert client.complete(second, True, timeout=20) is True

    assert handle.result(20) == ["nap"]


class Desk(Workflow):
    @method
    def run(self) -> Flow[str]:
        outcomes = yield from settle(Office.sign("a"), Office.stamp("b"))
        return " ".join(str(one.value if one.ok else one.error) for one in outcomes)


class Office(Service):
    @task(delegated=True)
    def sign(self, paper: str) -> str:
        raise NotImplementedError

    @task
    async def stamp(self, paper: str) -> None:
        raise NotImplementedError


class AcmeOffice(Office):
    def sign(self, paper: str) -> None:
        ids.put(current_task().id)

    @task(delegated=True)
    async def stamp(self, paper: str) -> None:
        ids.put(current_task().id)


def test_the_contract_or_the_implementation_says_that_a_task_is_delegated(serve, client):
    serve(Desk, AcmeOffice)
    handle = client.start(Desk.run(), id="d")
    for id in (handed_out(), handed_out()):
        position = parse_task_id(id)[3]
        assert client.complete(id, "signed" if position == "m0.0" else None, timeout=20) is True

    assert handle.result(20) == "signed None"


@task(delegated=True)
def returning(order: str) -> bool:
    ids.put(current_task().id)
    return False


@workflow
def ignoring(order: str) -> Flow[bool]:
    return (yield from returning(order))


def test_what_a_delegated_function_returns_is_ignored_with_a_warning(serve, client, caplog):
    caplog.set_level(logging.WARNING, "infinitic.worker")
    serve(ignoring, returning)
    handle = client.start(ignoring("o-1"), id="o-1")
    id = delegated(handle)

    client.complete(id, True, timeout=20)

    assert handle.result(20) is True
    said = [one.getMessage() for one in caplog.records if "delegated" in one.getMessage()]
    ignored = "what its function returned is ignored, and it waits for"
    assert said == [f"returning is delegated: {ignored} client.complete({id!r}, …)"]


def test_a_suspended_instance_takes_a_completion_once_it_goes_on(serve, client, deploy):
    source = """
from dsl import Flow, task, workflow, current_task
from tests.scenarios.test_delegated import approve

@workflow
def changing() -> Flow[str]:
    {first}
    return str((yield from approve("c")))
"""
    good, bad = deploy(source.format(first="pass")), deploy(source.format(first="yield from approve('other')"))
    worker = serve(good.changing, approve)
    handle = client.start(good.changing(), id="c")
    id = delegated(handle)
    worker.close()
    worker = serve(bad.changing, approve)
    client.start(bad.changing(), id="warm-up")
    handed_out()
    for value in ("what does not fit", True):
        with pytest.raises(TimeoutError):
            client.complete(id, value, timeout=0.5)
    until(lambda: handle.status() == "suspended")
    worker.close()

    serve(good.changing, approve)

    assert handle.result(20) == "True"
    assert client.complete(id, True, timeout=20) is False


@task(delegated=True, heartbeat=60, total_timeout=0.2)
def sign_soon(order: str) -> bool | None:
    ids.put(current_task().id)
    return None


@workflow
def hurried(order: str) -> Flow[str]:
    try:
        return str((yield from sign_soon(order)))
    except TaskTimedOut as error:
        return error.limit


def test_a_task_that_nobody_completes_in_its_time_has_timed_out(serve, client):
    serve(hurried, sign_soon)
    handle = client.start(hurried("o-1"))
    id = handed_out()

    assert handle.result(20) == "total_timeout"
    assert client.complete(id, True) is False


@workflow
def twice(order: str) -> Flow[list[str]]:
    one, seen = dispatch(approve(order).options(total_timeout=0.05)), []
    for pause in (1, 0):
        try:
            yield from one
        except TaskTimedOut as error:
            seen.append(error.limit)
        yield from sleep(days=pause)
    return seen


def test_a_delegated_task_that_timed_out_is_opened_again_by_a_retry_and_has_as_much_time_again(serve, client):
    serve(twice, approve)
    handle = client.start(twice("o-1"), id="o-1")
    id = handed_out()
    until(lambda: "TimerFired" in events(handle.history()))
    assert client.complete(id, True) is False

    client.retry("o-1", status="timed_out")
    until(lambda: events(handle.history()).count("TimerFired") == 2)
    handle.complete_timers()

    assert handle.result(20) == ["total_timeout", "total_timeout"]
    assert events(handle.history()).count("Retried") == 1
