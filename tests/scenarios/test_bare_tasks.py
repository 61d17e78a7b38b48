"""Tasks that a client runs alone: each is a workflow of one step, which every worker of workflows serves."""

from dataclasses import dataclass
from datetime import date

import pytest

from dsl import Flow, Retry, Service, current_task, task, workflow
from infinitic import AsyncClient, Client, PickleCodec
from infinitic.errors import (
    EncodeError,
    TaskCancelled,
    TaskFailed,
    TaskTimedOut,
    UnknownWorkflow,
)
from infinitic.story import tell
from tests.scenarios.given import Gate, Stage, events

gate = Gate()


@dataclass
class Booking:
    city: str
    on: date
    tags: tuple[str, ...]
    meta: dict[str, str]


class Hotels(Service):
    @task
    def book(self, city: str, on: date = date(2030, 1, 2)) -> Booking:
        raise NotImplementedError

    @task
    def fail(self, text: str) -> None:
        raise NotImplementedError


class AcmeHotels(Hotels):
    def book(self, city: str, on: date = date(2030, 1, 2)) -> Booking:
        now = current_task()
        return Booking(city, on, tuple(sorted(now.tags)), dict(now.meta))

    def fail(self, text: str) -> None:
        raise LookupError(f"{text} {current_task().attempt}")


@task
def nothing() -> None:
    return None


@task
def held() -> str:
    gate.pass_through()
    return "released"


@workflow
def trip() -> Flow[None]:
    yield from nothing()


@pytest.fixture
def served(serve):
    gate.__init__()  # type: ignore[misc]  # a fresh one, under the name that the task knows
    serve(trip)
    serve(AcmeHotels(), nothing, held)


def test_the_answer_is_of_the_type_that_the_task_declares(served, client):
    assert client.run(Hotels.book("Oslo"), timeout=20) == Booking("Oslo", date(2030, 1, 2), (), {})
    assert client.run(Hotels.book("Oslo", on=date(2031, 5, 6)), timeout=20).on == date(2031, 5, 6)
    assert client.run(nothing(), timeout=20) is None


def test_tags_and_meta_reach_the_task_and_find_it(served, client):
    call = Hotels.book("Oslo").options(tags=["vip"], meta={"who": "ada"})
    handle = client.start(call, id="b", tags=["more"], meta={"why": "so"})

    assert handle.result(20) == Booking("Oslo", date(2030, 1, 2), ("more", "vip"), {"who": "ada", "why": "so"})
    [record] = client.find(tag="vip")
    assert (record.workflow_id, record.workflow, record.tags) == ("b", "infinitic.task", ("more", "vip"))
    assert events(handle.history()) == ["Started", "TaskCompleted"]
    assert tell(record, handle.history()).methods[0].nodes[0].label == "Hotels.book"


def test_the_same_id_is_the_same_task(served, client):
    first, second = (client.start(held(), id="h") for _ in range(2))
    gate.wait_for()
    gate.open()

    assert (first.result(20), second.result(20), gate.came) == ("released", "released", 1)
    assert client.get("h", held).result(20) == "released"


def test_the_task_s_own_failure_reaches_the_client_with_all_attempts(served, client):
    retry = Retry(max_attempts=3, initial=0.001)
    with pytest.raises(TaskFailed) as raised:
        client.run(Hotels.fail("no room").options(retry=retry), timeout=20)

    failed = raised.value
    assert str(failed) == "Hotels.fail failed after 3 attempts: LookupError: no room 3"
    assert [str(one.error) for one in failed.attempts] == ["no room 1", "no room 2", "no room 3"]
    assert failed.error is failed.__cause__
    assert type(failed.error) is LookupError


def test_a_timeout_is_the_attempt_s(served, client):
    handle = client.start(held().options(timeout=0.05, retry=Retry(max_attempts=1)))
    gate.wait_for()
    with pytest.raises(TaskTimedOut):
        handle.result(20)
    gate.open()


@task(queue_timeout=0.05)
def unserved() -> None:
    """No worker has it."""


@pytest.mark.parametrize(("options", "limit"), [({}, "queue_timeout"), ({"total_timeout": 0.01}, "total_timeout")])
def test_the_limits_that_a_workflow_watches_over_hold_for_it_too(served, client, options, limit):
    with pytest.raises(TaskTimedOut) as raised:
        client.run(unserved().options(**options), timeout=20)

    assert raised.value.limit == limit


def test_a_task_that_is_cancelled_says_so(served, client):
    handle = client.start(held(), id="h")
    gate.wait_for()
    handle.cancel(timeout=20)
    with pytest.raises(TaskCancelled, match="held was cancelled"):
        handle.result(20)
    gate.open()


def test_a_failed_task_is_retried_by_hand(served, client):
    handle = client.start(Hotels.fail("no").options(retry=Retry(max_attempts=1)), id="f")
    with pytest.raises(TaskFailed, match="no 1"):
        handle.result(20)
    handle.retry(timeout=20)

    with pytest.raises(TaskFailed, match="no 2"):
        handle.result(20)


def test_another_worker_replays_it(serve, client):
    gate.__init__()  # type: ignore[misc]  # as above
    first = serve(trip)
    serve(held)
    handle = client.start(held(), id="h")
    gate.wait_for()
    first.close()
    serve(trip)
    gate.open()

    assert handle.result(20) == "released"


def test_a_worker_of_services_only_does_not_serve_it(serve, client):
    serve(nothing)
    handle = client.start(nothing(), id="n")
    with pytest.raises(TimeoutError):
        handle.result(0.2)
    serve(trip)

    assert handle.result(20) is None


def test_what_cannot_be_sent_is_refused_before_anything_is(served, client):
    with pytest.raises(EncodeError):
        client.run(Hotels.book(object()), timeout=20)  # type: ignore[arg-type]  # that is the point
    with pytest.raises(TypeError, match="is a task"):
        client.find(held)
    with pytest.raises(UnknownWorkflow):
        client.get("nobody", held).result(20)


class Odd:
    """Nothing that JSON can hold."""

    def __init__(self, number: int) -> None:
        self.number = number


@task
def next_of(odd: Odd) -> Odd:
    return Odd(odd.number + 2)


def test_what_a_codec_wrote_passes_through_a_worker_that_has_no_such_codec(serve, place):
    codec = PickleCodec({"k": b"0" * 32}, key="k")
    serve(trip)
    serve(next_of, codecs=[codec])

    with Client(**place, codecs=[codec]) as client:
        assert client.run(next_of(Odd(3)), timeout=20).number == 5


def test_many_run_side_by_side(served, client):
    handles = [client.start(Hotels.book(f"city {number}")) for number in range(50)]

    assert [one.result(20).city for one in handles] == [f"city {number}" for number in range(50)]


async def _asked(place, call):
    async with AsyncClient(**place) as client:
        return await client.run(call, timeout=20)


def test_the_async_client_runs_them_too(stage: Stage, served):
    import asyncio

    assert asyncio.run(_asked(stage.place, Hotels.book("Oslo"))).city == "Oslo"
