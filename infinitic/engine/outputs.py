"""Outputs: the messages of a turn, told from the turn alone, so that they can be sent again without the code."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

from msgspec import Raw, Struct, structs

from infinitic import events, history
from infinitic.engine.attempts import BEAT, silence
from infinitic.engine.tags import changed
from infinitic.events import NULL, AnyEvent, Caller, ErrorValue
from infinitic.history import Answer, AnyIssued, AnySend, Turn
from infinitic.ids import derived_id, task_id
from infinitic.messages import Broadcast, Message, Outgoing, TaskRequest, encode_payload, event_message
from infinitic.topics import control_topic, service_topic, workflow_topic

ROUTER = "infinitic.router"
"""Stands for the workflow's name where only an id or a tag is known; any workflow worker looks the name up."""


STARTED = ("timeout", "cleanup_timeout", "retention", "delay", "start_at")
"""What the options of a call say of the run that it starts, by the names that its start has."""


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
    """What history knows of an open command: how it was issued, and what its attempts have said."""

    issued: AnyIssued
    previous: ErrorValue | None = None  # why the last attempt failed
    details: Raw = NULL  # of the last heartbeat
    heartbeat: int = 0

    def after(self, event: AnyEvent) -> Asked:
        """What is known once *event* has come for it."""
        match event:
            case events.AttemptFailed(details=details):
                kept = self.details if bytes(details) == bytes(NULL) else details
                return structs.replace(self, previous=event.error if event.ran else self.previous, details=kept)
            case events.TaskStarted(heartbeat=heartbeat):
                return structs.replace(self, heartbeat=heartbeat)
            case events.Heartbeat(details=details) if bytes(details) != bytes(NULL):
                return structs.replace(self, details=details)
            case events.TimerFired() if isinstance(self.issued, history.TaskIssued) and event.position.endswith(BEAT):
                return structs.replace(self, previous=silence(self.issued, self.heartbeat))
        return self


FIRST = history.NextAttempt("", 1)
FOR_WORKERS = ("retry", "timeout", "heartbeat", "queue_timeout")
"""Options of a task that its worker goes by."""
Lookup: TypeAlias = Callable[[str], Asked | None]


def outputs(origin: Origin, turn: Turn, lookup: Lookup) -> list[Outgoing]:
    """All messages of *turn*, in the order in which they were asked for. *lookup* finds earlier commands.

    *origin* is the instance as it was after the turn's event: commands of the turn may change its tags.
    """
    messages: list[Outgoing] = []
    for issued in turn.commands:
        if isinstance(issued, history.TagsIssued):
            origin = structs.replace(origin, tags=changed(origin.tags, issued))
        else:
            messages += of_command(origin, issued, turn.at)
    return messages + [message for send in turn.sends for message in of_send(origin, send, turn, lookup)]


def of_command(origin: Origin, issued: AnyIssued, at: int) -> list[Outgoing]:
    """What one command sends."""
    if isinstance(issued, history.TaskIssued):
        return [task_message(origin, Asked(issued), issued, at)] if issued.failure is None else []
    key, whom = derived_id(origin.run, issued.position), origin.caller(issued.position)
    match issued:
        case history.ChildIssued(failure=None):
            started = _started(origin, issued, key, whom, at)
            return [_to(started, origin, issued.workflow, issued.workflow_id, at, issued.run)]
        case history.CallIssued(failure=None):
            caller = None if issued.to_tag else whom
            called = events.MethodCalled(issued.call_id or key, issued.method, issued.arguments, caller)
            return [_addressed(called, origin, issued, at)]
        case history.SignalIssued(failure=None):
            signal = events.SignalReceived(issued.signal_id or key, issued.channel, issued.value)
            return [_addressed(signal, origin, issued, at)]
    return []


def of_send(origin: Origin, send: AnySend, turn: Turn, lookup: Lookup) -> list[Outgoing]:
    """What one send of the engine's sends."""
    if isinstance(send, Answer):
        return [answer_message(origin, send, turn.at)] if send.caller is not None else []
    asked = lookup(send.position)
    match send, asked.issued if asked is not None else None:
        case history.NextAttempt(), history.TaskIssued() as task if asked is not None:
            return [task_message(origin, asked, task, turn.at, send)]
        case history.RetryChild(), history.ChildIssued() as child:
            key = derived_id(origin.run, f"{send.position}/retry/{turn.at}")
            event = events.Retried(key, caller=origin.caller(send.position))
            return [_to(event, origin, child.workflow, child.workflow_id, turn.at, child.run)]
        case history.Cancellation(), issued:
            return _cancellation(origin, issued, turn.at)
        case history.Termination(), history.ChildIssued() as child:
            key, reason = derived_id(origin.run, f"{send.position}/terminate"), f"{origin.workflow} ended, its parent"
            ended = events.TerminateRequested(key, reason, child.run)
            return [_to(ended, origin, child.workflow, child.workflow_id, turn.at, child.run)]
    return []


def task_message(
    origin: Origin, asked: Asked, issued: history.TaskIssued, at: int, send: history.NextAttempt = FIRST
) -> Outgoing:
    """One attempt of a task, to its service."""
    options, attempt = issued.options, send.attempt
    said: dict[str, Any] = {name: options[name] for name in FOR_WORKERS if name in options}
    tags = tuple(sorted({*origin.tags, *options.get("tags", ())}))
    meta = {**origin.meta, **options.get("meta", {})}
    known = asked.previous, send.uncounted, asked.details, send.lost, "queue_timeout" in options
    request = TaskRequest(issued.service, issued.name, issued.arguments, said, tags, meta, *known)
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
        case history.CallIssued(to_tag=""):
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
    tags, meta = tuple(options.get("tags", ())), options.get("meta", {})
    said = {name: options[name] for name in STARTED if name in options}
    return events.Started(*start, tags, meta, caller, origin.root or origin.workflow_id, sent=at, **said)


def _addressed(event: Any, origin: Origin, issued: history.CallIssued | history.SignalIssued, at: int) -> Outgoing:
    """An event for one instance, or for all that have a tag."""
    if issued.to_tag:
        broadcast = Broadcast(issued.to_tag, event, issued.workflow)
        return broadcast_message(broadcast, at=at, sender=origin.workflow_id, root=origin.root)
    return _to(event, origin, issued.workflow or ROUTER, issued.workflow_id, at)


def broadcast_message(broadcast: Broadcast, **envelope: Any) -> Outgoing:
    """The message that has *broadcast* served; those of one tag stay in order. Its id is the event's."""
    key = f"tag {broadcast.tag}"
    message = Message("broadcast", broadcast.event.id, ROUTER, key, payload=encode_payload(broadcast), **envelope)
    return Outgoing(workflow_topic(ROUTER), key, message)


def _to(event: Any, origin: Origin, workflow: str, workflow_id: str, at: int, run: str = "") -> Outgoing:
    envelope = {"run": run, "at": at, "sender": origin.workflow_id, "root": origin.root}
    message = event_message(event, workflow=workflow, workflow_id=workflow_id, **envelope)
    return Outgoing(workflow_topic(workflow), workflow_id, message)
