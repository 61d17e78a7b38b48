"""Outputs: what a turn sends, told from the turn alone."""

from typing import Any

import msgspec
import pytest
from msgspec import Raw

from dsl import Retry, dispatch, gather, inline, race, sleep
from infinitic.engine.outputs import (
    ROUTER,
    Origin,
    answer_message,
    outputs,
)
from infinitic.events import (
    Answered,
    Caller,
    CancelRequested,
    MethodCalled,
    Retried,
    SignalReceived,
    Started,
)
from infinitic.history import Answer, Cancellation, NextAttempt, RetryChild, Turn, decode_turn
from infinitic.ids import derived_id, derived_run, task_id
from infinitic.messages import Delivery, TaskRequest, event_of
from tests.engine.driver import RUN, SECOND, Driver, drive
from tests.engine.given import Hotels, Loyalty, amounts, child, confirmed, count, step

ORIGIN = Origin("trip", "t-1", RUN, ("vip",), {"by": "ann"}, "root-1")
CALLER = Caller("trip", "t-1", RUN, "m0.0")


def sent(make, origin=ORIGIN):
    """What a workflow's first turn sends."""

    def trip():
        yield from gather(make(), sleep(99))

    run = drive(trip)
    messages = outputs(origin, run.turns[0], run.asked)
    again = outputs(origin, decode_turn(run.bodies[0]), run.asked)
    assert again == messages
    return messages


def event(outgoing):
    return event_of(Delivery(outgoing.topic, outgoing.message))


def test_a_task_goes_to_its_service_keyed_by_instance():
    (one,) = sent(
        lambda: Hotels.book("Oslo").options(retry=Retry(max_attempts=2), timeout=5, tags=["b"], meta={"x": 1})
    )

    assert (one.topic, one.key, one.hint) == ("service:Hotels", "t-1", False)
    message = one.message
    assert message.id == task_id("trip", "t-1", RUN, "m0.0")
    assert (message.kind, message.workflow, message.workflow_id, message.run) == ("task", "trip", "t-1", RUN)
    assert (message.position, message.attempt, message.at, message.root) == ("m0.0", 1, SECOND, "root-1")
    request = msgspec.json.decode(message.payload, type=TaskRequest)
    assert (request.service, request.name, bytes(request.arguments)) == (
        "Hotels",
        "book",
        b'{"city":"Oslo","nights":1}',
    )
    assert (request.tags, request.meta) == (("b", "vip"), {"by": "ann", "x": 1})
    assert (request.options["timeout"], request.options["retry"]["max_attempts"]) == (5 * SECOND, 2)


def test_a_child_s_start_goes_to_its_workflow():
    (one,) = sent(lambda: child("a").options(id="mine", tags=["t"], meta={"k": 1}, timeout=5))

    assert (one.topic, one.key, one.hint, one.message.run) == (
        "workflow:child",
        "mine",
        False,
        derived_run(RUN, "m0.0"),
    )
    assert event(one) == Started(
        id=derived_id(RUN, "m0.0"),
        workflow="child",
        run=derived_run(RUN, "m0.0"),
        arguments=Raw(b'{"name":"a"}'),
        tags=("t",),
        meta={"k": 1},
        caller=CALLER,
        root="root-1",
        timeout=5 * SECOND,
        sent=SECOND,
    )


def test_the_topmost_instance_is_its_children_s_root():
    (one,) = sent(lambda: child("a"), Origin("trip", "t-1", RUN))

    assert event(one).root == "t-1"


def test_a_call_and_a_signal_go_to_their_instances():
    call, signal, routed = sent(
        lambda: gather(
            Loyalty.by_id("ada").redeem(3),
            Loyalty.by_id("ada").bonus.send(5),
            confirmed.by_id("x").send("yes"),
        )
    )

    assert (call.topic, call.key) == ("workflow:Loyalty", "ada")
    assert event(call) == MethodCalled(derived_id(RUN, "m0.0"), "redeem", Raw(b'{"points":3}'), CALLER)
    assert (signal.topic, signal.key) == ("workflow:Loyalty", "ada")
    assert event(signal) == SignalReceived(derived_id(RUN, "m0.1"), "bonus", Raw(b"5"))
    assert (routed.topic, routed.key) == (f"workflow:{ROUTER}", "x")
    assert {one.message.sender for one in (call, signal, routed)} == {"t-1"}


@pytest.mark.parametrize("make", [amounts.receive, lambda: sleep(5), lambda: gather(inline(int), sleep(1))])
def test_timers_receives_and_inline_functions_send_nothing(make):
    assert sent(make) == []


def test_what_could_not_be_sent_is_not():
    def trip():
        wrong: Any = object()
        for make in (count, child, Loyalty.by_id("a").redeem, amounts.by_id("x").send):
            dispatch(make(wrong))
        yield from sleep(1)

    run = drive(trip)

    assert len(run.issued) == 5
    assert run.outputs == []


# --- sends ---


def test_the_next_attempt_is_the_same_task_with_why_the_last_one_failed():
    run = drive(lambda: (yield from step("a")))
    run.fail("m0.0", OSError("one"), 1, retry_in=0)

    (one,) = run.outputs
    assert (one.message.id, one.message.attempt) == (task_id("flow", "wf", RUN, "m0.0"), 2)
    request = msgspec.json.decode(one.message.payload, type=TaskRequest)
    assert request.previous is not None
    assert request.previous.summary == "OSError: one"
    assert bytes(request.arguments) == b'{"name":"a"}'


def test_a_cancelled_task_is_told_to_all_workers_of_its_service_as_a_hint():
    run = drive(lambda: (yield from race(a=Hotels.book("Oslo"), b=sleep(1))))
    run.fire("m0.1")

    (one,) = run.outputs
    assert (one.topic, one.key, one.hint) == ("service:Hotels:control", "wf", True)
    assert (one.message.kind, one.message.id) == ("cancel_task", task_id("flow", "wf", RUN, "m0.0"))


def test_a_cancelled_child_and_a_cancelled_call_are_told_once():
    run = drive(lambda: (yield from race(a=child("x"), b=Loyalty.by_id("ada").redeem(1), c=sleep(1))))
    run.fire("m0.2")

    kid, call = run.outputs
    assert event(kid) == CancelRequested(derived_id(RUN, "m0.0/cancel"), run=derived_run(RUN, "m0.0"))
    assert (kid.topic, kid.key) == ("workflow:child", derived_id(RUN, "m0.0"))
    assert event(call) == CancelRequested(derived_id(RUN, "m0.1/cancel"), call_id=derived_id(RUN, "m0.1"))
    assert (call.topic, call.key, call.message.run) == ("workflow:Loyalty", "ada", "")


def test_a_call_that_was_given_an_id_is_known_by_it():
    def flow():
        yield from race(a=Loyalty.by_id("ada").redeem(1).options(id="mine"), b=sleep(1))

    run = drive(flow)
    (called,) = run.outputs
    run.fire("m0.1")
    (cancelled,) = run.outputs

    assert (event(called).id, event(cancelled).call_id) == ("mine", "mine")


def test_a_failed_child_is_asked_to_try_again():
    run = drive(lambda: (yield from child("x")))
    run.answer("m0.0", status="failed", error=OSError("no"))
    run.retry()

    (one,) = run.outputs
    assert event(one) == Retried(derived_id(RUN, f"m0.0/retry/{3 * SECOND}"), caller=Caller("flow", "wf", RUN, "m0.0"))
    assert (one.topic, one.key, one.message.run) == (
        "workflow:child",
        derived_id(RUN, "m0.0"),
        derived_run(RUN, "m0.0"),
    )


@pytest.mark.parametrize("send", [NextAttempt("m0.9", 2), Cancellation("m0.9"), RetryChild("m0.9"), RetryChild("m0.0")])
def test_what_history_does_not_know_is_not_sent(send):
    run = drive(lambda: (yield from step("a")))
    turn = Turn(event=run.start, at=1, sends=(send,))

    assert outputs(ORIGIN, turn, run.asked) == []


def test_a_cancelled_timer_sends_nothing():
    run = drive(lambda: (yield from sleep(5)))

    assert outputs(ORIGIN, Turn(event=run.start, at=1, sends=(Cancellation("m0.0"),)), run.asked) == []


def test_a_waiting_workflow_is_answered():
    run = drive(lambda: (yield from step("a")), caller=CALLER, reply_to="client-1")
    run.complete("m0.0", 5)

    (answer,) = run.outputs
    assert (answer.topic, answer.key, answer.message.run) == ("workflow:trip", "t-1", RUN)
    assert event(answer) == Answered(f"{RUN}/m0.0", "m0.0", "completed", Raw(b"5"), None, "flow", "wf")


def test_an_answer_without_a_caller_sends_nothing():
    run = Driver(Loyalty.run(1), reply_to="client-1")
    run.call("c1", "redeem", points=1)

    assert run.outputs == []


def test_an_answer_for_others_to_send():
    assert answer_message(ORIGIN, Answer("", "cancelled", caller=CALLER), 5).message.at == 5
