"""Reporting: what people are told of a change, in the log and in the topics of what nobody can use."""

from __future__ import annotations

import logging
from collections.abc import Iterator

from msgspec.structs import replace

from infinitic.messages import Outgoing
from infinitic.records import SUSPENDED
from infinitic.topics import dead_topic, workflow_topic
from infinitic.worker.changes import Change

log = logging.getLogger("infinitic.worker")
workflow_log = logging.getLogger("infinitic.workflow")


def report(change: Change) -> None:
    """Log what the workflow's code logged, and what went wrong."""
    about = {"workflow": change.workflow, "workflow_id": change.workflow_id}
    if change.rows and log.isEnabledFor(logging.DEBUG):
        counts = [str(row.number) for row in change.rows]
        status = change.record.status if change.record is not None else "running"
        log.debug("%s %s: turn %s, %s", change.workflow, change.workflow_id, ", ".join(counts), status)
    for line in change.logs:
        try:
            workflow_log.log(line.level, line.message, *line.args, extra={**line.extra, **about})
        except Exception as error:  # a reserved key
            log.warning("%s %s: a log line could not be written: %s", change.workflow, change.workflow_id, error)
    for position, failure in change.unawaited:
        log.warning(
            "%s %s: %s failed and nobody awaited it: %s",
            change.workflow,
            change.workflow_id,
            position,
            failure,
        )
    before = change.held.record if change.held is not None else None
    if change.problem and (before is None or before.reason != change.problem):  # else it was told
        waits = change.record is None or change.record.status == SUSPENDED
        what = "is suspended" if waits else "cannot be taken up again"
        log.error("%s %s %s: %s", change.workflow, change.workflow_id, what, change.problem)


def dead_letters(change: Change) -> Iterator[Outgoing]:
    """What keeps the messages that nobody can use, each with the reason."""
    for delivery, reason in change.dead:
        message = delivery.message
        came = delivery.topic or workflow_topic(message.workflow)  # out of the inbox
        topic = dead_topic(came)
        log.warning("%s %s: %s; moved to %s", came, message.id, reason, topic)
        dead = replace(message, headers={**message.headers, "reason": reason})
        yield Outgoing(topic, message.workflow_id, dead)
