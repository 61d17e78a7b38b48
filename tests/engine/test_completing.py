"""Completing: somebody answers a task by hand, once; and what a delegated task waits for."""

from typing import Any

import pytest
from msgspec import Raw

from dsl import Flow, TaskFailed, gather, settle, sleep
from infinitic.engine.instance import Diverged, Refusal
from infinitic.engine.slots import TaskSlot
from infinitic.errors import DecodeError, InvalidId
from infinitic.events import AttemptFailed, TaskCompleted, TaskStarted
from infinitic.serialization import error_value
from tests.engine.driver import SECOND, Driver, drive
from tests.engine.given import count, step


def complete(run: Driver, position: str, value: Any, id: str = "by-hand") -> Any:
    return run.apply(TaskCompleted(id, position, Raw(run.codec.encode(value)), 0, reply_to="c"))


def fail(run: Driver, position: str, error: Exception, id: str = "by-hand") -> Any:
    return run.apply(AttemptFailed(id, position, error_value(error), 0, reply_to="c"))


def test_a_task_is_completed_by_hand_and_its_attempt_comes_too_late():
    run = drive(lambda: (yield from count(1)))

    complete(run, "m0.0", 7)

    assert run.result == 7
    assert run.complete("m0.0", 8) is None
    assert run.fail("m0.0", ValueError()) is None


def test_a_second_answer_by_hand_changes_nothing_and_a_repeat_of_the_first_is_known():
    run = drive(lambda: (yield from gather(count(1), count(2))))
    complete(run, "m0.0", 7, "a")

    assert complete(run, "m0.0", 8, "b") is None
    assert fail(run, "m0.0", ValueError(), "c") is None
    assert complete(run, "m0.0", 7, "a") is None
    assert complete(run, "m0.1", 7, "a") is None
    assert ("a" in run.instance.senders, "b" in run.instance.senders) == (True, False)


def test_a_task_is_failed_by_hand_for_good_whatever_its_attempt():
    def flow() -> Flow[str]:
        try:
            yield from step("a")
        except TaskFailed as error:
            return ", ".join(f"{one.number} {one.error}" for one in error.attempts)
        return "completed"

    run = drive(flow)
    run.fail("m0.0", OSError("one"), 1, retry_in=0)

    fail(run, "m0.0", PermissionError("enough"))

    assert run.result == "1 one, 0 enough"


@pytest.mark.parametrize("answer", [lambda run: complete(run, "m0.0", 7), lambda run: fail(run, "m0.0", OSError())])
def test_an_answer_by_hand_clears_the_timer_of_the_next_attempt(answer):
    run = drive(lambda: (yield from settle(count(1), sleep(99))))
    run.fail("m0.0", OSError("one"), 1, retry_in=SECOND)

    answer(run)

    assert run.instance.draft.timers_cleared == ("m0.0",)
    assert run.fire("m0.0", 1) is None


def test_a_value_that_does_not_fit_is_refused_and_the_task_stays_open():
    run = drive(lambda: (yield from count(1)))

    refused = complete(run, "m0.0", "seven")

    assert isinstance(refused, Refusal)
    assert (refused.status, type(refused.error)) == ("refused", DecodeError)
    assert "by-hand" not in run.instance.senders
    assert complete(run, "m0.0", 7) is not None


@pytest.mark.parametrize("position", ["m0.0", "m0.9", "m7.0", "nonsense", ""])
def test_what_is_no_task_is_refused_and_nobody_is_suspended(position):
    run = drive(lambda: (yield from gather(sleep(5), count(1))))

    for answer in (lambda: complete(run, position, 7), lambda: fail(run, position, OSError())):
        refused = answer()
        assert isinstance(refused, Refusal)
        assert isinstance(refused.error, InvalidId)
    with pytest.raises(Diverged):
        run.complete("m0.9", 7)


def test_a_delegated_task_is_known_to_wait_for_somebody():
    run = drive(lambda: (yield from count(1)))
    assert run.record.waits[0].delegated is False

    run.apply(TaskStarted("", "m0.0", 1, "w", delegated=True))

    assert run.record.waits[0].delegated is True
    assert run.apply(TaskStarted("", "m0.0", 1, "w", delegated=True)) is None
    run.evict()
    slot = run.instance.open["m0.0"]
    assert isinstance(slot, TaskSlot)
    assert slot.delegated
    complete(run, "m0.0", 7)
    assert run.result == 7


@pytest.mark.parametrize("attempt", [1, 3])
def test_only_the_present_attempt_leaves_a_task_to_somebody(attempt):
    run = drive(lambda: (yield from count(1)))
    run.fail("m0.0", OSError(), 1, retry_in=SECOND)
    assert run.apply(TaskStarted("", "m0.0", 1, delegated=True)) is None
    run.fire("m0.0", 1)

    assert run.apply(TaskStarted("", "m0.0", attempt, delegated=True)) is None
    assert run.apply(TaskStarted("", "m0.0", 2, delegated=True)) is not None


def test_a_function_that_returns_after_its_task_was_completed_changes_nothing():
    run = drive(lambda: (yield from gather(count(1), count(2))))
    complete(run, "m0.0", 7)

    assert run.apply(TaskStarted("", "m0.0", 1, delegated=True)) is None
