"""Replies: what clients are told because of a turn."""

import msgspec
from msgspec import Raw

from infinitic.events import Started
from infinitic.history import Answer, Turn
from infinitic.messages import Reply
from infinitic.worker.replies import replies


def told(*answers):
    turn = Turn(event=Started("s", "trip", "r1"), at=1, sends=answers)
    return replies("t-1", "r1", 2, turn)


def test_a_client_that_waits_for_a_run_is_told_of_its_end_by_a_hint():
    (reply,) = told(Answer("", "completed", Raw(b"5"), reply_to="c"))

    assert (reply.topic, reply.key, reply.hint, reply.message.id) == ("client:c", "c", True, "r1")
    said = msgspec.json.decode(reply.message.payload, type=Reply)
    assert said == Reply("t-1", "completed", "", "r1", Raw(b"5"), None, 2)


def test_of_a_call_its_id_is_the_key():
    (reply,) = told(Answer("c1", "cancelled", reply_to="c"))

    assert reply.message.id == "c1"


def test_nobody_who_waits_is_nobody_told():
    assert told(Answer("", "completed")) == []
