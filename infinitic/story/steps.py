"""Steps: what one command begins, and what an answer makes of it."""

from __future__ import annotations

from collections.abc import Callable
from operator import attrgetter
from typing import Any

from attrs import evolve
from msgspec import Raw

from infinitic.engine.attempts import BEAT, LIMITS, overrun
from infinitic.engine.slots import task_label
from infinitic.events import Answered, AttemptFailed, Signal, TagsChanged, TaskCompleted, TaskStarted
from infinitic.history import (
    AnyIssued,
    CallIssued,
    ChildIssued,
    ContinueIssued,
    InlineIssued,
    PatchIssued,
    ReceiveIssued,
    SignalIssued,
    TagsIssued,
    TaskIssued,
    TimerIssued,
    Turn,
)
from infinitic.serialization import error_value
from infinitic.story.nodes import Attempt, Kind, Status, Step

KINDS: dict[type[AnyIssued], Kind] = {
    TaskIssued: "task",
    TimerIssued: "timer",
    ChildIssued: "child",
    CallIssued: "call",
    SignalIssued: "signal",
    ReceiveIssued: "receive",
    InlineIssued: "inline",
    ContinueIssued: "continue",
    TagsIssued: "tags",
    PatchIssued: "patch",
}


def text(data: Raw) -> str:
    """JSON as history holds it, as text."""
    return bytes(data).decode(errors="replace")


def asked(issued: AnyIssued, at: int, turn: int, signal: Signal | None) -> Step:
    """The step that a command begins; several are settled at once."""
    failure = getattr(issued, "failure", None)
    step = _described(issued, at, turn)
    if failure is not None:
        return evolve(step, status="failed", settled=at, error=failure)
    match issued:
        case SignalIssued() | InlineIssued() | ContinueIssued() | TagsIssued() | PatchIssued():
            return evolve(step, status="completed", settled=at)
        case CallIssued() if issued.to_tag:
            return evolve(step, status="completed", settled=at)
        case TimerIssued(due=due) if due <= at:
            return evolve(step, status="completed", settled=at)
        case ReceiveIssued() if issued.signal:
            value = text(signal.value) if signal is not None else "null"
            return evolve(step, status="completed", settled=at, value=value)
    return step


def _described(issued: AnyIssued, at: int, turn: int) -> Step:
    step = Step(issued.position, KINDS[type(issued)], LABELS[type(issued)](issued), at, turn)
    step = evolve(step, to_tag=getattr(issued, "to_tag", ""))
    match issued:
        case TaskIssued():
            limits = {name: issued.options[name] for name in LIMITS.values() if name in issued.options}
            return evolve(step, arguments=text(issued.arguments), attempt=1, owner=issued.service, limits=limits)
        case TimerIssued():
            return evolve(step, due=issued.due, delay=issued.delay)
        case SignalIssued():
            return evolve(step, value=text(issued.value), owner=issued.workflow, workflow_id=issued.workflow_id)
        case InlineIssued():
            return evolve(step, value=text(issued.value))
        case ReceiveIssued():
            return evolve(step, which=issued.which)
        case TagsIssued() | PatchIssued():
            return step
        case ChildIssued() | CallIssued() | ContinueIssued():
            id, run = getattr(issued, "workflow_id", ""), getattr(issued, "run", "")
            return evolve(step, arguments=text(issued.arguments), owner=issued.workflow, workflow_id=id, run=run)


def changes(one: TagsIssued | TagsChanged) -> str:
    """As in `+vip, -new`."""
    return ", ".join([*(f"+{tag}" for tag in one.added), *(f"-{tag}" for tag in one.removed)])


def _target(issued: Any) -> str:
    """What another instance is asked for, as in `Loyalty.redeem`."""
    name = issued.channel if isinstance(issued, SignalIssued) else issued.method
    return f"{issued.workflow}.{name}" if issued.workflow and name else issued.workflow or name


LABELS: dict[type[AnyIssued], Callable[[Any], str]] = {
    TaskIssued: task_label,
    TimerIssued: lambda one: "sleep" if one.delay is not None else "sleep_until",
    ReceiveIssued: attrgetter("channel"),
    InlineIssued: attrgetter("name"),
    SignalIssued: _target,
    ChildIssued: _target,
    CallIssued: _target,
    ContinueIssued: _target,
    TagsIssued: changes,
    PatchIssued: attrgetter("patch"),
}


def heard(step: Step, event: TaskCompleted | AttemptFailed | TaskStarted | Answered, turn: Turn) -> Step:
    """What an attempt, a child or another instance said. A success may come after its task had timed out."""
    if isinstance(event, TaskStarted):
        return evolve(step, worker=event.worker, began=event.began, heartbeat=event.heartbeat)
    if step.status == "waiting":
        return _answered(step, event, turn)
    if not isinstance(event, TaskCompleted):
        return step
    attempt = Attempt(event.attempt, "ignored", None, event.worker, event.began, event.ended)
    return evolve(step, attempts=(*step.attempts, attempt))


def _answered(step: Step, event: TaskCompleted | AttemptFailed | Answered, turn: Turn) -> Step:
    if isinstance(event, Answered):
        known: dict[str, Status] = {
            "completed": "completed",
            "cancelled": "cancelled",
            "timed_out": "timed_out",
        }
        status: Status = known.get(event.status, "failed")
        settled = evolve(step, status=status, settled=turn.at, value=text(event.value), error=event.error)
    elif isinstance(event, TaskCompleted):
        attempt = Attempt(event.attempt, "completed", None, event.worker, event.began, event.ended)
        settled = evolve(
            step,
            status="completed",
            settled=turn.at,
            value=text(event.value),
            next_at=0,
            attempts=(*step.attempts, attempt),
            attempt=event.attempt or step.attempt,
        )
    else:
        settled = _failed_attempt(step, event, turn)
    if turn.refused is not None:
        settled = evolve(settled, status="failed", error=turn.refused)
    return evolve(settled, late=turn.late and settled.status != "waiting")


def passed(step: Step, deadline: str, at: int) -> Step:
    """A deadline of a task has passed: with it the task's time, or the attempt's that fell silent."""
    limit = LIMITS[deadline]
    if deadline != BEAT:
        error = error_value(overrun(step.label, limit, step.limits[limit]))
        return evolve(step, status="timed_out", settled=at, error=error, next_at=0)
    error = error_value(overrun(step.label, limit, step.heartbeat))
    attempt = Attempt(step.attempt, "timed_out", error, step.worker, step.began, at)
    return evolve(step, attempts=(*step.attempts, attempt))


def _failed_attempt(step: Step, event: AttemptFailed, turn: Turn) -> Step:
    how: Status = "timed_out" if event.timed_out else "failed"
    next_at = turn.at + event.retry_in if event.retry_in else 0
    attempt = Attempt(event.attempt, how, event.error, event.worker, event.began, event.ended, next_at)
    step = evolve(step, attempts=(*step.attempts, *((attempt,) if event.ran else ())), next_at=next_at)
    return step if event.retry_in is not None else evolve(step, status=how, settled=turn.at, error=event.error)


def left(step: Step) -> Step:
    """What had no answer when the run ended: tasks and children run on unless cancelled, the rest is over."""
    if step.stopped:
        return evolve(step, status="cancelled", settled=step.stopped)
    return evolve(step, late=True) if step.kind in ("task", "child", "call") else evolve(step, status="withdrawn")
