"""Replies: what clients are told because of a turn."""

from __future__ import annotations

from infinitic.history import Answer, Turn
from infinitic.messages import Outgoing, Reply, reply_message


def replies(workflow_id: str, run: str, retries: int, turn: Turn) -> list[Outgoing]:
    """The hints that a turn gives rise to: a run, or a method, has ended."""
    ends = [send for send in turn.sends if isinstance(send, Answer) and send.reply_to]
    return [
        reply_message(one.reply_to, Reply(workflow_id, one.status, one.call_id, run, one.value, one.error, retries))
        for one in ends
    ]
