"""Handles: results and failures, status, history, cancellation, retry."""

import asyncio
from datetime import timedelta

import pytest

from dsl import (
    UnknownWorkflow,
    WorkflowCancelled,
    WorkflowExists,
    WorkflowFailed,
    WorkflowFinished,
    WorkflowTimedOut,
)
from infinitic.errors import DecodeError, NoStorage
from infinitic.events import CancelRequested, MethodCalled, Retried, Started, TimerFired
from infinitic.history import End, Turn, encode_turn
from infinitic.records import CallRecord, StateRecord
from tests.client.given import PATIENCE, Loyalty, Receipt, only, raw, store, trip

OSLO = Receipt("oslo", 5)
ENDS = only(Started, lambda heard: heard.completed(OSLO))


def test_the_result_is_what_the_definition_declares(worker, client):
    worker(ENDS)

    assert client().start(trip("Oslo")).result(PATIENCE) == OSLO


def test_a_timeout_may_be_a_timedelta(worker, client):
    worker(ENDS)

    assert client().start(trip("Oslo")).result(timedelta(seconds=PATIENCE)) == OSLO


@pytest.mark.parametrize("timeout", ["5", True, float("nan")])
def test_a_timeout_that_is_no_duration_is_refused(client, timeout):
    handle = client().start(trip("Oslo"))

    with pytest.raises((TypeError, ValueError), match="timeout takes"):
        handle.result(timeout)


def test_a_result_can_be_had_again_and_again(worker, client):
    worker(ENDS)
    handle = client().start(trip("Oslo"))

    assert [handle.result(PATIENCE) for _ in range(3)] == [OSLO] * 3


def test_a_result_of_another_type_is_a_decode_error_with_its_path(worker, client):
    worker(only(Started, lambda heard: heard.completed({"number": "a", "cents": "five"})))

    with pytest.raises(DecodeError, match=r"the result of trip: Expected `int`, got `str` - at `\$.cents`"):
        client().start(trip("Oslo")).result(PATIENCE)


@pytest.mark.parametrize(
    ("status", "error"),
    [("failed", WorkflowFailed), ("timed_out", WorkflowTimedOut), ("cancelled", WorkflowCancelled)],
)
def test_a_run_that_did_not_complete_raises(worker, client, status, error):
    worker(only(Started, lambda heard: heard.failed(ValueError("broke"), status=status)))

    with pytest.raises(error) as raised:
        client().start(trip("Oslo"), id="a").result(PATIENCE)
    assert (raised.value.workflow, raised.value.workflow_id) == ("trip", "a")


def test_a_failure_is_raised_afresh_each_time(worker, client):
    worker(only(Started, lambda heard: heard.failed(ValueError("broke"))))
    handle = client(look_again=0.02).start(trip("Oslo"))
    with pytest.raises(WorkflowFailed) as first:
        handle.result(PATIENCE)

    assert repr(first.value.__cause__) == "ValueError('broke')"
    with pytest.raises(TimeoutError):  # it looks anew, and the storage of this test knows nothing
        handle.result(0)


def test_an_id_of_another_workflow_raises_that_it_exists(worker, client):
    worker(only(Started, lambda heard: heard.answered("exists", WorkflowExists("other", "a", "running"))))

    with pytest.raises(WorkflowExists) as raised:
        client().start(trip("Oslo"), id="a").result(PATIENCE)
    assert raised.value.args == ("other", "a", "running")


def test_a_zero_timeout_only_looks(client, storage):
    handle = client().start(trip("Oslo"), id="a")
    with pytest.raises(
        TimeoutError, match="trip 'a' has not ended within 0 s, and goes on; no worker serves trip just now"
    ):
        handle.result(0)
    store(storage, StateRecord("trip", "a", "r1", "completed", value=raw(OSLO)))

    assert handle.result(0) == OSLO


def test_a_method_call_fails_under_its_own_name(worker, client):
    worker(only(MethodCalled, lambda heard: heard.failed(ValueError("too few"), heard.id)))
    handle = client().start(Loyalty.by_id("ada").redeem(3), id="once")

    for _ in range(2):
        with pytest.raises(WorkflowFailed, match=r"Loyalty.redeem 'ada' failed: ValueError: too few"):
            handle.result(PATIENCE)
    assert (handle.id, handle.call_id, handle.workflow) == ("ada", "once", "Loyalty")


@pytest.mark.parametrize(
    ("status", "error", "raised"),
    [
        ("unknown", UnknownWorkflow("Loyalty", "ada"), UnknownWorkflow),
        ("finished", WorkflowFinished("Loyalty", "ada", "completed"), WorkflowFinished),
        ("refused", DecodeError("Expected `int`, got `str`", "$.points"), DecodeError),
    ],
)
def test_a_method_call_that_is_not_taken_raises_why(worker, client, status, error, raised):
    worker(only(MethodCalled, lambda heard: heard.answered(status, error)))

    with pytest.raises(raised, match=str(error).replace("$", r"\$")):
        client().start(Loyalty.by_id("ada").redeem(3)).result(PATIENCE)


def test_a_signal_that_was_sent_has_no_answer_to_wait_for(client):
    handle = client().start(Loyalty.by_id("ada").bonus.send(5))

    assert handle.result() is None
    assert asyncio.run(_result(handle)) is None
    with pytest.raises(TypeError, match="a signal that was sent cannot be taken back"):
        handle.cancel()


async def _result(handle):
    return await handle


def test_a_handle_can_be_awaited_from_any_event_loop(worker, client):
    worker(ENDS)
    handle = client().start(trip("Oslo"))

    assert [asyncio.run(_result(handle)) for _ in range(2)] == [OSLO, OSLO]


def test_an_await_that_is_cancelled_leaves_the_handle_whole(worker, client):
    stand_in = worker()
    mine = client()
    handle = mine.start(trip("Oslo"))
    started = stand_in.next()

    async def impatient():
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0):
                await handle

    asyncio.run(impatient())
    stand_in.tell(mine.id, started.completed(OSLO))

    assert handle.result(PATIENCE) == OSLO


# --- status and history ---


def test_the_status_is_what_the_storage_has(client, storage):
    handle = client().start(trip("Oslo"), id="a")
    before = handle.status()
    store(storage, StateRecord("trip", "a", "r1", "completed"))

    assert (before, handle.status()) == ("running", "completed")


def test_the_status_of_a_call_is_its_own(client, storage):
    handle = client().start(Loyalty.by_id("ada").redeem(3), id="once")
    store(storage, StateRecord("Loyalty", "ada", "r1", open_calls=("once",)))
    during = handle.status()
    store(storage, StateRecord("Loyalty", "ada", "r1", calls=(CallRecord("once", "redeem", "completed"),)))

    assert (during, handle.status()) == ("running", "completed")


def test_the_history_is_that_of_the_current_run(client, storage):
    turns = (
        Turn(Started("s1", "trip", "r1"), 1),
        Turn(TimerFired("t1", "m0.0"), 2, end=End("completed")),
    )
    store(storage, StateRecord("trip", "a", "r1", "completed"), tuple(map(encode_turn, turns)))

    assert client().get("a", trip).history() == turns


@pytest.mark.parametrize("read", ["status", "history"])
def test_what_is_not_there_is_unknown_unless_it_was_just_sent(client, read):
    mine = client()
    mine.start(trip("Oslo"), id="a")

    with pytest.raises(UnknownWorkflow):
        getattr(mine.get("b", trip), read)()


@pytest.mark.parametrize("read", ["status", "history"])
def test_what_reads_the_storage_says_that_there_is_none(blind_client, read):
    with pytest.raises(NoStorage, match=rf"^handle.{read}\(\) reads the storage, and none is configured"):
        getattr(blind_client().start(trip("Oslo")), read)()


# --- cancel and retry ---


def test_a_cancellation_is_back_once_the_instance_has_it(worker, client):
    stand_in = worker(only(CancelRequested, lambda heard: heard.answered("received")))
    client().get("a", trip).cancel(timeout=PATIENCE)
    heard = stand_in.next()

    assert heard.payload == CancelRequested(heard.id, "", reply_to=heard.message.reply_to)


def test_a_call_is_cancelled_by_its_id(worker, client):
    stand_in = worker(only(CancelRequested, lambda heard: heard.answered("received")))
    handle = client().start(Loyalty.by_id("ada").redeem(3), id="once")
    handle.cancel(timeout=PATIENCE)

    assert [stand_in.next().id, stand_in.next().payload.call_id] == ["once", "once"]


def test_to_cancel_what_has_ended_is_an_error_unless_it_was_cancelled(worker, client):
    statuses = iter(["cancelled", "completed"])
    worker(
        only(
            CancelRequested,
            lambda heard: heard.answered("finished", WorkflowFinished("trip", "a", next(statuses))),
        )
    )
    handle = client().get("a", trip)
    handle.cancel(timeout=PATIENCE)

    with pytest.raises(WorkflowFinished):
        handle.cancel(timeout=PATIENCE)


def test_a_cancellation_that_nobody_takes_stays_sent(client):
    with pytest.raises(TimeoutError, match="the cancellation of trip: 'a' did not answer within 0 s; it stays sent"):
        client().get("a", trip).cancel(timeout=0)


def test_after_a_retry_the_next_result_is_the_new_one(worker, client, storage):
    def script(heard):
        if isinstance(heard.payload, Started):
            return heard.failed(ValueError("broke"))
        store(storage, StateRecord("trip", "a", "r1", "running"))
        return heard.answered("received")

    stand_in = worker(script)
    mine = client()
    handle = mine.start(trip("Oslo"), id="a")
    with pytest.raises(WorkflowFailed):
        handle.result(PATIENCE)
    first = stand_in.next()
    run = first.payload.run
    handle.retry(timeout=PATIENCE)
    stand_in.tell(mine.id, first.failed(ValueError("broke")))  # late, and twice
    store(storage, StateRecord("trip", "a", run, "completed", value=raw(OSLO)))
    stand_in.tell(mine.id, first.completed(OSLO))

    assert handle.result(PATIENCE) == OSLO


def test_a_run_that_did_not_fail_says_why_it_cannot_be_retried(worker, client):
    worker(only(Retried, lambda heard: heard.answered("refused", WorkflowFinished("trip", "a", "completed"))))

    with pytest.raises(WorkflowFinished, match="is completed"):
        client().get("a", trip).retry(timeout=PATIENCE)


def test_a_call_is_not_retried(client):
    with pytest.raises(TypeError, match="the retry of one call means nothing: it is for a run"):
        client().start(Loyalty.by_id("ada").redeem(3)).retry()


def test_a_handle_shows_what_it_is_of(client):
    mine = client()
    call = mine.start(Loyalty.by_id("ada").redeem(3), id="once")

    assert [repr(mine.get("a", trip)), repr(call)] == [
        "<Handle trip id='a'>",
        "<Handle Loyalty.redeem id='ada', call_id='once'>",
    ]
