"""Outputs: the messages of a turn, told from the turn alone, so that they can be sent again without the code."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

from msgspec import Struct

from infinitic.events import (
    Answered,
    Caller,
    CancelRequested,
    ErrorValue,
    Event,
    MethodCalled,
    Retried,
    SignalReceived,
    Started,
)
from infinitic.history import (
    AnyIssued,
    AnySend,
    Answer,
    CallIssued,
    Cancellation,
    ChildIssued,
    ContinueIssued,
    InlineIssued,
    NextAttempt,
    ReceiveIssued,
    RetryChild,
    SignalIssued,
    TaskIssued,
    TimerIssued,
    Turn,
)
from infinitic.ids import derived_id, task_id
from infinitic.messages import Message, Outgoing, Reply, TaskRequest, encode_payload, event_message
from infinitic.topics import client_topic, control_topic, service_topic, workflow_topic

ROUTER = "infinitic.router"
"""Stands for the workflow's name where only an id is known; any workflow worker looks the name up."""


class Origin(Struct, frozen=True):
    """The instance that a turn belongs to, as far as its messages tell of it."""

    workflow: str
    workflow_id: str
    run: str
    tags: tuple[str, ...] = ()
    meta: dict[str, Any] = {}
    root: str = ""


class Asked(Struct, frozen=True):
    """What history knows of an open command: how it was issued, and why its last attempt failed."""

    issued: AnyIssued
    previous: ErrorValue | None = None


Lookup: TypeAlias = Callable[[str], Asked | None]


def outputs(origin: Origin, turn: Turn, lookup: Lookup) -> list[Outgoing]:
    """All messages of *turn*, in the order in which they were asked for. *lookup* finds earlier commands."""
    messages = [message for issued in turn.commands for message in of_command(origin, issued, turn.at)]
    for send in turn.sends:
        messages += of_send(origin, send, turn, lookup)
    return messages


def of_command(origin: Origin, issued: AnyIssued, at: int) -> list[Outgoing]:
    """What one command sends."""
    match issued:
        case TaskIssued(failure=None):
            return [task_message(origin, issued, 1, at)]
        case ChildIssued(failure=None):
            return [_to(_started(origin, issued, at), origin, issued.workflow, issued.workflow_id, at, issued.run)]
        case CallIssued(failure=None):
            called = MethodCalled(
                derived_id(origin.run, issued.position), issued.method, issued.arguments, _caller(origin, issued)
            )
            return [_to(called, origin, issued.workflow, issued.workflow_id, at)]
        case SignalIssued(failure=None):
            signal = SignalReceived(derived_id(origin.run, issued.position), issued.channel, issued.value)
            return [_to(signal, origin, issued.workflow or ROUTER, issued.workflow_id, at)]
        case TaskIssued() | ChildIssued() | CallIssued() | SignalIssued():
            return []
        case TimerIssued() | ReceiveIssued() | InlineIssued() | ContinueIssued():
            return []


def of_send(origin: Origin, send: AnySend, turn: Turn, lookup: Lookup) -> list[Outgoing]:
    """What one send of the engine's sends."""
    match send:
        case NextAttempt():
            asked = lookup(send.position)
            if asked is None or not isinstance(asked.issued, TaskIssued):
                return []
            return [task_message(origin, asked.issued, send.attempt, turn.at, asked.previous, send.uncounted)]
        case Cancellation():
            asked = lookup(send.position)
            return _cancellation(origin, asked.issued, turn.at) if asked is not None else []
        case RetryChild():
            asked = lookup(send.position)
            if asked is None or not isinstance(asked.issued, ChildIssued):
                return []
            event = Retried(derived_id(origin.run, f"{send.position}/retry/{turn.at}"))
            return [_to(event, origin, asked.issued.workflow, asked.issued.workflow_id, turn.at, asked.issued.run)]
        case Answer():
            return [answer_message(origin, send, turn.at)] if send.caller is not None else []


def task_message(
    origin: Origin,
    issued: TaskIssued,
    attempt: int,
    at: int,
    previous: ErrorValue | None = None,
    uncounted: int = 0,
) -> Outgoing:
    """One attempt of a task, to its service."""
    options = issued.options
    request = TaskRequest(
        service=issued.service,
        name=issued.name,
        arguments=issued.arguments,
        options={name: options[name] for name in ("retry", "timeout") if name in options},
        tags=tuple(sorted({*origin.tags, *options.get("tags", ())})),
        meta={**origin.meta, **options.get("meta", {})},
        previous=previous,
        uncounted=uncounted,
    )
    message = Message(
        kind="task",
        id=task_id(origin.workflow, origin.workflow_id, origin.run, issued.position),
        workflow=origin.workflow,
        workflow_id=origin.workflow_id,
        run=origin.run,
        position=issued.position,
        attempt=attempt,
        at=at,
        root=origin.root,
        payload=encode_payload(request),
    )
    return Outgoing(service_topic(issued.service), origin.workflow_id, message)


def _cancellation(origin: Origin, issued: AnyIssued, at: int) -> list[Outgoing]:
    event_id = derived_id(origin.run, f"{issued.position}/cancel")
    match issued:
        case TaskIssued():
            stopped = task_id(origin.workflow, origin.workflow_id, origin.run, issued.position)
            message = Message(
                kind="cancel_task", id=stopped, workflow=origin.workflow, workflow_id=origin.workflow_id, at=at
            )
            return [Outgoing(control_topic(issued.service), origin.workflow_id, message, hint=True)]
        case ChildIssued():
            event = CancelRequested(event_id, run=issued.run)
            return [_to(event, origin, issued.workflow, issued.workflow_id, at, issued.run)]
        case CallIssued():
            event = CancelRequested(event_id, call_id=derived_id(origin.run, issued.position))
            return [_to(event, origin, issued.workflow, issued.workflow_id, at)]
    return []


def answer_message(origin: Origin, answer: Answer, at: int) -> Outgoing:
    """What a waiting workflow is told of a child, or of a method that it called."""
    caller = answer.caller
    assert caller is not None
    event = Answered(
        id=f"{caller.run}/{caller.position}",
        position=caller.position,
        status=answer.status,
        value=answer.value,
        error=answer.error,
        workflow=origin.workflow,
        workflow_id=origin.workflow_id,
    )
    return _to(event, origin, caller.workflow, caller.workflow_id, at, caller.run)


def reply(workflow_id: str, run: str, answer: Answer) -> Outgoing:
    """What a waiting client is told of a run or a method that ended."""
    told = Reply(workflow_id, answer.status, answer.call_id, run, answer.value, answer.error)
    return reply_message(answer.reply_to, told)


def reply_message(client: str, told: Reply) -> Outgoing:
    """A hint for one client."""
    message = Message(kind="reply", id=told.call_id or told.run, workflow_id=told.workflow_id,
                      payload=encode_payload(told))
    return Outgoing(client_topic(client), client, message, hint=True)


def replies(origin: Origin, turn: Turn) -> list[Outgoing]:
    """What clients are told because of a turn."""
    return [
        reply(origin.workflow_id, origin.run, send)
        for send in turn.sends
        if isinstance(send, Answer) and send.reply_to
    ]


def _caller(origin: Origin, issued: ChildIssued | CallIssued) -> Caller:
    return Caller(origin.workflow, origin.workflow_id, origin.run, issued.position)


def _started(origin: Origin, issued: ChildIssued, at: int) -> Started:
    return Started(
        id=derived_id(origin.run, issued.position),
        workflow=issued.workflow,
        run=issued.run,
        method=issued.method,
        arguments=issued.arguments,
        tags=tuple(issued.options.get("tags", ())),
        meta=issued.options.get("meta", {}),
        caller=_caller(origin, issued),
        root=origin.root or origin.workflow_id,
        timeout=issued.options.get("timeout", 0),
        sent=at,
    )


def _to(event: Event, origin: Origin, workflow: str, workflow_id: str, at: int, run: str = "") -> Outgoing:
    message = event_message(
        event, workflow=workflow, workflow_id=workflow_id, run=run, at=at, sender=origin.workflow_id, root=origin.root
    )
    return Outgoing(workflow_topic(workflow), workflow_id, message)
