"""Outputs: the messages of a turn, told from the turn alone, so that they can be sent again without the code."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

from msgspec import Struct

from infinitic import events, history
from infinitic.events import Caller, ErrorValue
from infinitic.history import Answer, AnyIssued, AnySend, Turn
from infinitic.ids import derived_id, task_id
from infinitic.messages import Message, Outgoing, TaskRequest, encode_payload, event_message
from infinitic.topics import control_topic, service_topic, workflow_topic

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

    def caller(self, position: str) -> Caller:
        """Whom to answer what its command at *position* asked for."""
        return Caller(self.workflow, self.workflow_id, self.run, position)


class Asked(Struct, frozen=True):
    """What history knows of an open command: how it was issued, and why its last attempt failed."""

    issued: AnyIssued
    previous: ErrorValue | None = None


Lookup: TypeAlias = Callable[[str], Asked | None]


def outputs(origin: Origin, turn: Turn, lookup: Lookup) -> list[Outgoing]:
    """All messages of *turn*, in the order in which they were asked for. *lookup* finds earlier commands."""
    of_commands = [message for issued in turn.commands for message in of_command(origin, issued, turn.at)]
    return of_commands + [message for send in turn.sends for message in of_send(origin, send, turn, lookup)]


def of_command(origin: Origin, issued: AnyIssued, at: int) -> list[Outgoing]:
    """What one command sends."""
    if isinstance(issued, history.TaskIssued):
        return [task_message(origin, issued, 1, at)] if issued.failure is None else []
    key, whom = derived_id(origin.run, issued.position), origin.caller(issued.position)
    match issued:
        case history.ChildIssued(failure=None):
            started = _started(origin, issued, key, whom, at)
            return [_to(started, origin, issued.workflow, issued.workflow_id, at, issued.run)]
        case history.CallIssued(failure=None):
            called = events.MethodCalled(issued.call_id or key, issued.method, issued.arguments, whom)
            return [_to(called, origin, issued.workflow, issued.workflow_id, at)]
        case history.SignalIssued(failure=None):
            signal = events.SignalReceived(key, issued.channel, issued.value)
            return [_to(signal, origin, issued.workflow or ROUTER, issued.workflow_id, at)]
    return []


def of_send(origin: Origin, send: AnySend, turn: Turn, lookup: Lookup) -> list[Outgoing]:
    """What one send of the engine's sends."""
    if isinstance(send, Answer):
        return [answer_message(origin, send, turn.at)] if send.caller is not None else []
    asked = lookup(send.position)
    match send, asked.issued if asked is not None else None:
        case history.NextAttempt(), history.TaskIssued() as task:
            previous = asked.previous if asked is not None else None
            return [task_message(origin, task, send.attempt, turn.at, previous, send.uncounted)]
        case history.RetryChild(), history.ChildIssued() as child:
            key = derived_id(origin.run, f"{send.position}/retry/{turn.at}")
            event = events.Retried(key, caller=origin.caller(send.position))
            return [_to(event, origin, child.workflow, child.workflow_id, turn.at, child.run)]
        case history.Cancellation(), issued:
            return _cancellation(origin, issued, turn.at)
    return []


def task_message(
    origin: Origin,
    issued: history.TaskIssued,
    attempt: int,
    at: int,
    previous: ErrorValue | None = None,
    uncounted: int = 0,
) -> Outgoing:
    """One attempt of a task, to its service."""
    options = issued.options
    said: dict[str, Any] = {name: options[name] for name in ("retry", "timeout") if name in options}
    tags = tuple(sorted({*origin.tags, *options.get("tags", ())}))
    meta = {**origin.meta, **options.get("meta", {})}
    request = TaskRequest(issued.service, issued.name, issued.arguments, said, tags, meta, previous, uncounted)
    place = (origin.workflow, origin.workflow_id, origin.run, issued.position)
    payload = encode_payload(request)
    message = Message("task", task_id(*place), *place, attempt, at, root=origin.root, payload=payload)
    return Outgoing(service_topic(issued.service), origin.workflow_id, message)


def _cancellation(origin: Origin, issued: AnyIssued | None, at: int) -> list[Outgoing]:
    key = derived_id(origin.run, f"{issued.position}/cancel") if issued is not None else ""
    match issued:
        case history.TaskIssued():
            stopped = task_id(origin.workflow, origin.workflow_id, origin.run, issued.position)
            message = Message("cancel_task", stopped, origin.workflow, origin.workflow_id, at=at)
            return [Outgoing(control_topic(issued.service), origin.workflow_id, message, hint=True)]
        case history.ChildIssued():
            event = events.CancelRequested(key, run=issued.run)
            return [_to(event, origin, issued.workflow, issued.workflow_id, at, issued.run)]
        case history.CallIssued():
            event = events.CancelRequested(key, call_id=issued.call_id or derived_id(origin.run, issued.position))
            return [_to(event, origin, issued.workflow, issued.workflow_id, at)]
    return []


def answer_message(origin: Origin, answer: Answer, at: int) -> Outgoing:
    """What a waiting workflow is told of a child, or of a method that it called."""
    caller = answer.caller
    assert caller is not None
    key, told = f"{caller.run}/{caller.position}", (answer.status, answer.value, answer.error)
    event = events.Answered(key, caller.position, *told, origin.workflow, origin.workflow_id)
    return _to(event, origin, caller.workflow, caller.workflow_id, at, caller.run)


def _started(origin: Origin, issued: history.ChildIssued, key: str, caller: Caller, at: int) -> events.Started:
    start, options = (key, issued.workflow, issued.run, issued.method, issued.arguments), issued.options
    root, timeout = origin.root or origin.workflow_id, options.get("timeout", 0)
    tags, meta = tuple(options.get("tags", ())), options.get("meta", {})
    return events.Started(*start, tags, meta, caller, root, timeout=timeout, sent=at)


def _to(event: Any, origin: Origin, workflow: str, workflow_id: str, at: int, run: str = "") -> Outgoing:
    envelope = {"run": run, "at": at, "sender": origin.workflow_id, "root": origin.root}
    message = event_message(event, workflow=workflow, workflow_id=workflow_id, **envelope)
    return Outgoing(workflow_topic(workflow), workflow_id, message)
