"""From a task id and what somebody answers in its place to the message that says so. No I/O here."""

from __future__ import annotations

from typing import Any

from msgspec import Raw

from infinitic.client.answers import value_of
from infinitic.client.calls import Request, Writer
from infinitic.events import AttemptFailed, TaskCompleted
from infinitic.ids import new_id, parse_task_id
from infinitic.messages import Outgoing, Reply, event_message
from infinitic.serialization import error_value
from infinitic.topics import workflow_topic


def completion(writer: Writer, task_id: str, value: Any) -> Request:
    """The task is answered by *value*. Raises `InvalidId` and `EncodeError`."""
    workflow, workflow_id, run, position = parse_task_id(task_id)
    data = Raw(writer.serializer.encode(value))
    now, whose = writer.clock(), writer.client_id
    event = TaskCompleted(new_id(), position, data, 0, whose, now, now, whose)
    return _request(writer, event, workflow, workflow_id, run, f"the completion of a task of {workflow}")


def failure(writer: Writer, task_id: str, error: BaseException) -> Request:
    """The task has failed for good, by *error*. Raises `InvalidId`, and `TypeError` for what is no exception."""
    workflow, workflow_id, run, position = parse_task_id(task_id)
    if not isinstance(error, BaseException):
        raise TypeError(f"client.fail(task_id, error) takes an exception, as in ValueError('no'), not {error!r}")
    failed = error_value(error)
    now, whose = writer.clock(), writer.client_id
    event = AttemptFailed(new_id(), position, failed, 0, worker=whose, began=now, ended=now, reply_to=whose)
    return _request(writer, event, workflow, workflow_id, run, f"the failure of a task of {workflow}")


def was_first(reply: Reply, request: Request) -> bool:
    """Whether the task has this answer, and had none before. Raises what was said against it."""
    if reply.status == "answered":
        return False
    value_of(reply, request.workflow, request.label, None)
    return True


def _request(
    writer: Writer, event: TaskCompleted | AttemptFailed, workflow: str, workflow_id: str, run: str, label: str
) -> Request:
    message = event_message(
        event,
        workflow=workflow,
        workflow_id=workflow_id,
        run=run,
        position=event.position,
        reply_to=event.reply_to,
        at=event.ended,
        sender=writer.client_id,
    )
    outgoing = Outgoing(workflow_topic(workflow), workflow_id, message)
    return Request(outgoing, workflow, workflow_id, label, event.id, event.id)
