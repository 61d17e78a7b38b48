"""Refusals and repeats: what a sender is told of an event that changes nothing."""

from __future__ import annotations

from infinitic.engine.arriving import awaits_timer
from infinitic.engine.instance import Instance
from infinitic.engine.outputs import answer_message
from infinitic.errors import InfiniticError, UnknownWorkflow, WorkflowExists, WorkflowFinished
from infinitic.events import (
    AnyEvent,
    AttemptFailed,
    CancelRequested,
    ErrorValue,
    MethodCalled,
    ResumeRequested,
    Started,
    TaskCompleted,
    TerminateRequested,
    TimerFired,
    TimersCompleted,
)
from infinitic.history import Answer, decode_turn
from infinitic.records import BY_HAND, OPEN
from infinitic.serialization import error_value
from infinitic.worker.changes import Change
from infinitic.worker.loading import origin_of
from infinitic.worker.questions import called_before


def received(change: Change, event: AnyEvent) -> None:
    """The instance has the event: who waits for that is told. A call's caller hears of its end only."""
    if not isinstance(event, MethodCalled):
        change.refuse(getattr(event, "reply_to", ""), event.id, "received", None)


def refused(change: Change, event: AnyEvent, status: str, error: ErrorValue, now: int) -> None:
    """Nothing comes of the event: a client and a workflow are told why."""
    change.refuse(getattr(event, "reply_to", ""), event.id, status, error)
    caller = getattr(event, "caller", None)
    if caller is not None:
        answer = Answer(event.id, status, error=error, caller=caller)
        origin = origin_of(change.workflow_id, Started("", change.workflow, ""))
        change.outputs.append(answer_message(origin, answer, now))
    if isinstance(event, Started) and event.also is not None:
        refused(change, event.also, status, error, now)


def unknown(change: Change, event: AnyEvent, now: int) -> None:
    """There is no such instance."""
    if getattr(event, "reply_to", "") or getattr(event, "caller", None) is not None:
        refused(change, event, "unknown", error_value(UnknownWorkflow(change.workflow, change.workflow_id)), now)


def finished(change: Change, event: AnyEvent, status: str, now: int) -> None:
    """The instance has ended; but what had come before is answered as it was then."""
    if isinstance(event, MethodCalled) and called_before(change, event, now):
        return
    if _had(change, event):
        received(change, event)
        return
    error = WorkflowFinished(change.workflow, change.workflow_id, status)
    refused(change, event, "finished", error_value(error), now)


def repeated(change: Change, instance: Instance, event: AnyEvent, now: int) -> None:
    """The event came before, or there is nothing for it to do."""
    if isinstance(event, MethodCalled):
        called_before(change, event, now)
    elif isinstance(event, TaskCompleted | AttemptFailed):
        change.refuse(event.reply_to, event.id, "received" if event.id in instance.senders else "answered", None)
    elif isinstance(event, TimerFired):
        if not awaits_timer(instance, event.position):
            change.timers_cleared[instance.run, event.position] = None
    else:
        received(change, event)


def asked_again(change: Change, event: AnyEvent, now: int) -> None:
    """A client repeats what it heard nothing of. The first was applied or refused before, so this never is."""
    instance = change.instance
    if event.id in change.starts or (instance is not None and event.id in instance.senders):
        received(change, event)
    elif isinstance(event, Started):
        error = WorkflowExists(change.workflow, change.workflow_id, change.status or "unknown")
        refused(change, event, "exists", error_value(error), now)
    elif change.status is None:
        unknown(change, event, now)
    elif isinstance(event, ResumeRequested) or (change.status not in OPEN and isinstance(event, TerminateRequested)):
        received(change, event)
    elif change.status not in OPEN:
        finished(change, event, change.status, now)
    elif instance is not None and _has_nothing_to_do(instance, event):
        received(change, event)
    else:
        text = f"{change.workflow} {change.workflow_id!r} refused it, and the reason was lost on its way"
        refused(change, event, "refused", error_value(InfiniticError(text)), now)
    if isinstance(event, Started) and event.also is not None:
        asked_again(change, event.also, now)


def is_noted(change: Change) -> bool:
    """Whether there is an event whose id is to be remembered although it makes no turn."""
    record = change.held.record if change.held is not None else None
    return record is not None and record.starts != change.starts


def is_suspended_by_hand(change: Change) -> bool:
    """Whether somebody has suspended the instance."""
    record = change.held.record if change.held is not None else None
    return record is not None and record.fingerprint == BY_HAND and record.status in OPEN


def _had(change: Change, event: AnyEvent) -> bool:
    """Whether the event is in the history of an instance that no code here brings to life."""
    rows = change.held.turns if change.held is not None else ()
    return any(decode_turn(row.body).event.id == event.id for row in rows)


def _has_nothing_to_do(instance: Instance, event: AnyEvent) -> bool:
    """Whether what the event asks for may have been so before, by which it made no turn and was not refused."""
    if isinstance(event, TimersCompleted):
        return any(event.method in ("", one.name, one.call_id) for one in instance.methods)
    methods = [
        one for one in instance.methods if isinstance(event, CancelRequested) and event.call_id in ("", one.call_id)
    ]
    return bool(methods) and all(one.cancelling for one in methods)
