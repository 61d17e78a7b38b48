"""What no worker of ours has written: put away with the reason, or kept for a newer release; it stops nobody."""

import pytest
from msgspec import DecodeError, Raw
from msgspec.structs import replace

from dsl import Flow, RetryIn, task, workflow
from infinitic.events import CENTURY, AttemptFailed
from infinitic.messages import Delivery, Message, decode_message, event_of
from infinitic.topics import dead_topic, workflow_topic
from tests.worker.flows import counting
from tests.worker.given import RUN

DEEP = b"[" * 2_000 + b"]" * 2_000
ERROR = b'"error":{"type":"Boom","message":"no"}'


def answer(payload, **fields):
    return Message("event", "", "counting", "w", RUN, "m0.0", 1, payload=Raw(payload), **fields)


@pytest.fixture
def asked(town):
    """A worker of the workflow alone: who runs its task is somebody else."""
    hand = town.conductor(counting)
    town.start(counting(1))
    hand.step()
    return hand


def dead(town):
    put_away = town.transport.unacknowledged(dead_topic(workflow_topic("counting")))
    return [(one.id, one.headers["reason"]) for one in put_away]


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        (answer(b'"done"'), "the payload is no event: Expected `object`, got `str`"),
        (answer(b"null"), "the payload is no event: Expected `object`, got `null`"),
        (
            answer(b'{"kind":"done","id":""}'),
            "the payload is no event: Invalid value 'done' - at `$.kind`",
        ),
        (
            answer(b'{"kind":"completed","id":"","position":0}'),
            "the payload is no event: Expected `str`, got `int` - at `$.position`",
        ),
        (
            answer(b'{"kind":"attempt_failed","id":"","position":"m0.0"}'),
            "the payload is no event: Object missing required field `error`",
        ),
        (
            answer(b'{"kind":"attempt_failed","id":"","position":"m0.0",%b,"retry_in":%d}' % (ERROR, CENTURY + 1)),
            "the payload is no event: Expected `int` <= 3153600000000000 - at `$.retry_in`",
        ),
        (
            answer(b'{"kind":"attempt_failed","id":"","position":"m0.0",%b,"retry_in":-1}' % ERROR),
            "the payload is no event: Expected `int` >= 0 - at `$.retry_in`",
        ),
        (
            answer(b'{"kind":"signal","id":"s","channel":"\xff"}'),
            "the payload is no event: it is not UTF-8",
        ),
        (replace(answer(b"1"), kind="result"), "'result' is no kind of message"),
    ],
    ids=["text", "null", "kind", "type", "missing", "too late", "negative", "bytes", "unknown"],
)
def test_what_cannot_be_used_is_put_away_with_the_reason_and_stops_nobody(town, asked, message, reason):
    town.publish("counting", "w", message)
    town.start(counting(0), "other")
    asked.step()

    assert dead(town) == [("", reason)]
    assert [town.record(one).status for one in ("w", "other")] == ["running", "completed"]

    town.publish("counting", "w", answer(b'{"kind":"completed","id":"","position":"m0.0","value":1}'))
    asked.step()
    assert town.record().status == "completed"


def test_json_that_is_nested_too_deeply_is_no_message_and_no_event():
    payload = Raw(b'{"kind":"completed","id":"","position":"m0.0","value":%b}' % DEEP)

    with pytest.raises(DecodeError, match="nested too deeply"):
        decode_message(b'{"kind":"event","id":"","payload":%b}' % payload)
    with pytest.raises(DecodeError, match="nested too deeply"):
        event_of(Delivery("", answer(payload)))


@pytest.mark.parametrize(
    ("message", "key"),
    [
        (replace(answer(b'{"kind":"done","id":""}'), format=3), f"{RUN}/m0.0/1"),
        (replace(answer(b"[]"), kind="result", id="r", format=3), "r"),
    ],
    ids=["event", "kind"],
)
def test_what_only_a_newer_release_understands_waits_in_the_inbox(town, asked, message, key):
    town.publish("counting", "w", message)
    asked.step()

    assert dead(town) == []
    assert [(item.key, decode_message(item.body)) for item in town.stored().inbox] == [(key, message)]
    assert (town.record().status, "of a newer release" in town.record().reason) == ("suspended", True)


def test_a_task_that_asks_to_be_tried_in_an_age_is_tried_in_a_century(town):
    """More than that no database could hold, and the message would be refused."""

    @task
    def later() -> None:
        raise RetryIn(1e300)

    @workflow
    def waiting() -> Flow[None]:
        yield from later()

    hand = town.conductor(waiting, later)
    town.start(waiting())
    hand.work()

    [failed] = [turn.event for turn in town.history() if isinstance(turn.event, AttemptFailed)]
    assert failed.retry_in == CENTURY
