"""Steps: what one command begins, and what an answer makes of it."""

from __future__ import annotations

from attrs import evolve
from msgspec import Raw

from infinitic.engine.slots import task_label
from infinitic.events import Answered, AttemptFailed, Signal, TaskCompleted
from infinitic.history import (
    AnyIssued,
    CallIssued,
    ChildIssued,
    ContinueIssued,
    InlineIssued,
    ReceiveIssued,
    SignalIssued,
    TaskIssued,
    TimerIssued,
    Turn,
)
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
        case SignalIssued() | InlineIssued() | ContinueIssued():
            return evolve(step, status="completed", settled=at)
        case TimerIssued(due=due) if due <= at:
            return evolve(step, status="completed", settled=at)
        case ReceiveIssued() if issued.signal:
            value = text(signal.value) if signal is not None else "null"
            return evolve(step, status="completed", settled=at, value=value)
    return step


def _described(issued: AnyIssued, at: int, turn: int) -> Step:
    step = Step(issued.position, KINDS[type(issued)], _label(issued), at, turn)
    match issued:
        case TaskIssued():
            return evolve(step, arguments=text(issued.arguments), attempt=1, owner=issued.service)
        case TimerIssued():
            return evolve(step, due=issued.due, delay=issued.delay)
        case SignalIssued():
            return evolve(step, value=text(issued.value), owner=issued.workflow, workflow_id=issued.workflow_id)
        case InlineIssued():
            return evolve(step, value=text(issued.value))
        case ReceiveIssued():
            return step
        case ChildIssued() | CallIssued() | ContinueIssued():
            id, run = getattr(issued, "workflow_id", ""), getattr(issued, "run", "")
            return evolve(step, arguments=text(issued.arguments), owner=issued.workflow, workflow_id=id, run=run)


def _label(issued: AnyIssued) -> str:
    match issued:
        case TaskIssued():
            return task_label(issued)
        case TimerIssued():
            return "sleep" if issued.delay is not None else "sleep_until"
        case ReceiveIssued():
            return issued.channel
        case InlineIssued():
            return issued.name
        case SignalIssued():
            return _joined(issued.workflow, issued.channel)
        case ChildIssued() | CallIssued() | ContinueIssued():
            return _joined(issued.workflow, issued.method)


def _joined(owner: str, name: str) -> str:
    return f"{owner}.{name}" if owner and name else owner or name


def answered(step: Step, event: TaskCompleted | AttemptFailed | Answered, turn: Turn) -> Step:
    """What an attempt, a child or another instance answered."""
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
            attempt=event.attempt,
        )
    else:
        settled = _failed_attempt(step, event, turn)
    if turn.refused is not None:
        settled = evolve(settled, status="failed", error=turn.refused)
    return evolve(settled, late=turn.late and settled.status != "waiting")


def _failed_attempt(step: Step, event: AttemptFailed, turn: Turn) -> Step:
    how: Status = "timed_out" if event.timed_out else "failed"
    next_at = turn.at + event.retry_in if event.retry_in else 0
    attempt = Attempt(event.attempt, how, event.error, event.worker, event.began, event.ended, next_at)
    step = evolve(step, attempts=(*step.attempts, attempt), next_at=next_at)
    return step if event.retry_in is not None else evolve(step, status=how, settled=turn.at, error=event.error)


def left(step: Step) -> Step:
    """What had no answer when the run ended: tasks and children run on unless cancelled, the rest is over."""
    if step.stopped:
        return evolve(step, status="cancelled", settled=step.stopped)
    return evolve(step, late=True) if step.kind in ("task", "child", "call") else evolve(step, status="withdrawn")
