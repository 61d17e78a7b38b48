"""Who completes a task is told the truth, also when the answer to that was lost and it is said again."""

import pytest
from msgspec import Raw

from dsl import Flow, task, workflow
from infinitic.errors import WorkflowFinished
from infinitic.events import AttemptFailed, TaskCompleted, TimersCompleted
from infinitic.messages import AGAIN, event_message
from infinitic.serialization import error_value, rebuild
from tests.worker.given import RUN, Town


@task(delegated=True)
def approve(order: str) -> bool | None:
    return None


@workflow
def ordering(order: str) -> Flow[bool]:
    return (yield from approve(order))


@pytest.fixture
def town():
    made = Town()
    made.start(ordering("o"))
    return made


def say(town, event, *, again=False, run=RUN, workflow_id="w"):
    headers = {AGAIN: "1"} if again else {}
    message = event_message(event, workflow="ordering", workflow_id=workflow_id, run=run, reply_to="c", headers=headers)
    town.publish("ordering", workflow_id, message)


def completed(id, value, position="m0.0"):
    return TaskCompleted(id, position, Raw(value), 0, "c", reply_to="c")


def told(town, *ids):
    return [(one.call_id, one.status) for one in town.told() if one.call_id in ids]


@pytest.fixture
def hand(town):
    made = town.conductor(ordering, approve)
    made.work()
    return made


def test_a_repeat_of_the_first_completion_is_told_that_it_was_the_first_and_of_another_that_it_was_not(town, hand):
    say(town, completed("a", b"true"))
    say(town, completed("b", b"false"))
    hand.work()
    assert told(town, "a", "b") == [("a", "received"), ("b", "answered")]

    for id, value in (("a", b"true"), ("b", b"false")):
        say(town, completed(id, value), again=True)
        say(town, AttemptFailed(id, "m0.0", error_value(ValueError()), 0, reply_to="c"), again=True)
    hand.work()

    assert told(town, "a", "b") == [("a", "received"), ("a", "received"), ("b", "answered"), ("b", "answered")]
    assert town.record().value == Raw(b"true")


def test_one_that_holds_the_instance_no_more_says_the_same(town, hand):
    say(town, completed("a", b"true"))
    hand.work()
    other = town.conductor(ordering, approve)
    hand.close()
    say(town, completed("a", b"true"), again=True)
    other.work()

    assert told(town, "a") == [("a", "received")] * 2


def test_a_repeat_of_what_was_refused_is_refused_for_the_same_reason(town, hand):
    say(town, completed("a", b'"yes"'))
    say(town, completed("a", b'"yes"'), again=True)
    say(town, completed("x", b"true", "m0.5"))
    say(town, completed("y", b"true"), workflow_id="nobody")
    hand.work()

    replies = {one.call_id: one for one in town.told()}
    assert {id: (one.status, one.error.name) for id, one in replies.items() if one.error is not None} == {
        "a": ("refused", "DecodeError"),
        "x": ("refused", "InvalidId"),
        "y": ("unknown", "UnknownWorkflow"),
    }
    assert town.events() == ["Started", "TaskStarted"]


def test_a_completion_for_another_run_says_so(town, hand):
    say(town, completed("a", b"true"), run="f" * 32)
    hand.work()

    [one] = [one for one in town.told() if one.call_id == "a"]
    assert one.status == "finished"
    assert isinstance(rebuild(one.error), WorkflowFinished)


def test_a_repeat_of_timers_that_were_over_without_any_is_received_as_the_first_was(town, hand):
    for again in (False, True):
        say(town, TimersCompleted("t", reply_to="c"), again=again)
        say(town, TimersCompleted("u", "nowhere", reply_to="c"), again=again)
        hand.work()

        assert told(town, "t", "u") == [("t", "received"), ("u", "refused")]
