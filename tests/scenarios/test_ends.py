"""Ends: what stays of a finished instance, what still happens to it, and when it goes."""

import pytest

from dsl import Channel, Flow, Retry, dispatch, gather, sleep, task, workflow
from infinitic.errors import UnknownWorkflow, WorkflowFailed, WorkflowFinished
from infinitic.records import FAILED
from tests.scenarios.given import Gate, events, until

words = Channel(str, name="words")
gate = Gate()
YEAR = 365 * 86_400_000_000


@task
def quick(number: int) -> int:
    return number


@task
def held() -> str:
    gate.pass_through()
    return "late"


@task(retry=Retry(max_attempts=1))
def broken() -> None:
    raise LookupError("no")


@workflow
def ending(number: int) -> Flow[int]:
    return (yield from quick(number))


@workflow
def patient() -> Flow[str]:
    return (yield from words.receive())


@workflow
def leaving() -> Flow[str]:
    dispatch(held())
    yield from sleep(0)
    return "gone"


@workflow
def failing_beside() -> Flow[object]:
    return (yield from gather(held(), broken()))


@pytest.fixture(autouse=True)
def _fresh():
    gate.__init__()  # type: ignore[misc]  # a fresh one, under the name that the task knows


def test_nothing_that_comes_after_the_end_changes_anything(serve, client):
    serve(patient)
    handle = client.start(patient(), id="p")
    client.run(words.by_id("p").send("first"), timeout=20)
    assert handle.result(20) == "first"
    before = handle.history()

    with pytest.raises(WorkflowFinished):
        client.run(words.by_id("p").send("second"), timeout=20)
    with pytest.raises(WorkflowFinished):
        handle.cancel(timeout=20)
    assert handle.history() == before
    assert handle.result(20) == "first"


def test_a_task_that_outlives_its_failed_run_is_recorded(serve, client):
    serve(failing_beside, held, broken)
    handle = client.start(failing_beside(), id="f")
    with pytest.raises(WorkflowFailed):
        handle.result(20)
    [record] = client.find(status=FAILED)
    assert record.late == 1
    gate.open()
    until(lambda: "TaskCompleted" in events(handle.history()))

    assert handle.history()[-1].late
    assert handle.status() == "failed"


def test_a_finished_instance_is_kept_for_its_retention_and_goes_then(serve, client, storage):
    serve(ending, quick)
    client.start(ending(1), id="e").result(20)
    now = storage.now()
    until(lambda: not storage.offers({}, now, 10) and storage.load("e").mark.turns == 2)

    assert storage.purge(now + 6 * 86_400_000_000) == 0
    assert client.get("e", ending).status() == "completed"
    until(lambda: storage.purge(now + YEAR) == 1)
    with pytest.raises(UnknownWorkflow):
        client.get("e", ending).status()


def test_what_ended_by_a_timer_goes_too(serve, client, storage):
    """The timer's row is cleared in a write of its own, which must not forget when the instance expires."""
    serve(napping)
    client.start(napping(), id="n").result(20)
    until(lambda: storage.load("n").timers == () and storage.load("n").mark.turns == 2)

    assert storage.purge(storage.now() + YEAR) == 1


@workflow
def napping() -> Flow[None]:
    yield from sleep(0.001)


def test_what_runs_or_waits_is_never_purged(serve, client, storage):
    serve(patient)
    client.start(patient(), id="p")
    until(lambda: client.count(patient))

    assert storage.purge(storage.now() + YEAR) == 0
    client.run(words.by_id("p").send("still there"), timeout=20)
    assert client.get("p", patient).result(20) == "still there"


def test_an_ended_instance_waits_longer_for_what_nobody_awaited(serve, client, storage):
    serve(leaving, held, retention=7200)
    client.start(leaving(), id="l").result(20)
    hour = 3_600_000_000
    until(lambda: storage.load("l").mark.turns == 1)

    assert storage.purge(storage.now() + 4 * hour) == 0
    gate.open()
    until(lambda: storage.load("l").version.turns == 2 and storage.load("l").mark.turns == 2)
    assert storage.purge(storage.now() + 4 * hour) == 1


def test_an_id_may_be_used_again_after_the_purge(serve, client, storage):
    worker = serve(ending, quick)
    client.start(ending(1), id="e").result(20)
    worker.close()
    assert storage.purge(storage.now() + YEAR) == 1
    serve(ending, quick)

    assert client.start(ending(2), id="e", if_exists="fail").result(20) == 2
