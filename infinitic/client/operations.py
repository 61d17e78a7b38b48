"""Operations: what a client can have done to an instance that there is, and what must be so for that. No I/O here."""

from __future__ import annotations

from typing import Any, Literal, TypeAlias

from dsl.services import Task
from dsl.workflows import Tagged, Workflow
from infinitic.events import (
    CancelRequested,
    ResumeRequested,
    Retried,
    SuspendRequested,
    TagsChanged,
    TerminateRequested,
    TimersCompleted,
)
from infinitic.ids import new_id
from infinitic.records import CANCELLED, TERMINATED

Operation: TypeAlias = (
    CancelRequested | TerminateRequested | SuspendRequested | ResumeRequested | TimersCompleted | TagsChanged | Retried
)
Those: TypeAlias = str | type[Workflow] | Tagged
"""One instance, named by its id, or all that have a tag, as `Loyalty.by_tag("vip")` names them."""
FailedStatus: TypeAlias = Literal["failed", "timed_out"]

OPERATIONS: dict[type[Operation], str] = {
    CancelRequested: "the cancellation of",
    TerminateRequested: "the termination of",
    SuspendRequested: "the suspension of",
    ResumeRequested: "the resumption of",
    TimersCompleted: "the completion of the timers of",
    TagsChanged: "the change of the tags of",
    Retried: "the retry of",
}
TOO_LATE: dict[type[Operation], str] = {
    CancelRequested: "cannot be cancelled any more",
    TerminateRequested: "cannot be terminated any more",
    SuspendRequested: "cannot be suspended any more",
    ResumeRequested: "cannot be resumed any more",
    TimersCompleted: "has no timers any more",
    TagsChanged: "keeps its tags",
    Retried: "cannot be retried: only a failed run can be",
}
"""What is so of an instance that has ended."""
DONE = {CancelRequested: CANCELLED, TerminateRequested: TERMINATED}
"""The status in which an instance has what was asked for."""
OF_CALLS = (CancelRequested, TimersCompleted)


def operation_on(event: Operation, call_id: str, *, is_signal: bool) -> Operation:
    """The same. Raises `TypeError` for what cannot be done to a call (its id is *call_id*) or to a signal."""
    what = OPERATIONS[type(event)]
    if is_signal:
        raise TypeError(f"a signal that was sent cannot be taken back: {what} a signal means nothing")
    if call_id and not isinstance(event, OF_CALLS):
        raise TypeError(f"{what} one call means nothing: it is for a run, as client.get(id, workflow) gives it")
    return event


def retry_of(task: str | Task[..., Any, Any] | None, service: str | None, status: FailedStatus | None) -> Retried:
    """The retry of a failed run, or of failed tasks where any are named. Raises `TypeError` or `ValueError`."""
    if status not in (None, "failed", "timed_out"):
        raise ValueError(f"status={status!r} is none of a task that can be retried: it is 'failed' or 'timed_out'")
    if isinstance(task, Task):
        service, task = service or task.owner, task.name
    for name, value in (("task", task), ("service", service)):
        if not isinstance(value, str | None):
            raise TypeError(f"{name}= takes a name, not {value!r}")
    named = any(one is not None for one in (task, service, status))
    return Retried(new_id(), tasks=named, task=task or "", service=service or "", status=status or "")
