"""Answers: a reply, or a state record, as the value or the error that the caller gets. No I/O here."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from infinitic.client.awaited import Awaited
from infinitic.client.calls import Decode, Request
from infinitic.client.operations import DONE, TOO_LATE, Operation
from infinitic.engine.alone import ALONE
from infinitic.errors import (
    InfiniticError,
    RemoteError,
    TaskCancelled,
    TaskFailed,
    UnknownWorkflow,
    WorkflowCancelled,
    WorkflowExists,
    WorkflowFailed,
    WorkflowFinished,
    WorkflowTerminated,
    WorkflowTimedOut,
)
from infinitic.events import ErrorValue, to_datetime
from infinitic.messages import Reply, reply_of
from infinitic.records import CANCELLED, COMPLETED, FAILED, TERMINATED, StateRecord, Wait
from infinitic.serialization import error_value, rebuild

ENDED = {COMPLETED: "completed", FAILED: "failed", CANCELLED: "cancelled", TERMINATED: "terminated"}
SHOWN_WAITS = 3


def value_of(reply: Reply, workflow: str, label: str, decode: Decode | None) -> Any:
    """The value that *reply* holds; raises what it says instead."""
    if reply.status == "completed":
        return decode(reply.value) if decode is not None else None
    if reply.status == "received":
        return None
    raise error_of(reply, workflow, label)


def answer_of(reply: Reply, request: Request) -> Any:
    """What a query or a signal was answered. Raises what the query raised: no instance failed by it."""
    if reply.status == "failed":
        raise refusal(reply)
    return value_of(reply, request.workflow, request.label, request.decode)


def check_begun(reply: Reply, request: Request) -> None:
    """Raises what *reply* says against a start."""
    value_of(reply, request.workflow, request.label, None)


ENDINGS: dict[str, Callable[[str, str, BaseException], Exception]] = {
    "failed": WorkflowFailed,
    "timed_out": WorkflowTimedOut,
    "terminated": lambda label, id, cause: WorkflowTerminated(label, id, getattr(cause, "reason", "")),
    "cancelled": lambda label, id, cause: WorkflowCancelled(label, id),
}
"""What somebody sees of a run that did not complete."""


def check_done(event: Operation, reply: Reply, workflow: str, label: str) -> None:
    """Raises what *reply* says against an operation; that it was done before is nothing against it."""
    cause = _cause(reply.error)
    if reply.status == "finished" and isinstance(cause, WorkflowFinished) and cause.status == DONE.get(type(event)):
        return
    try:
        value_of(reply, workflow, label, None)
    except WorkflowFinished as error:
        error.said = TOO_LATE[type(event)]
        raise


def error_of(reply: Reply, workflow: str, label: str) -> Exception:
    """What a reply says that is no success."""
    workflow_id, cause = reply.workflow_id, _cause(reply.error)
    if workflow == ALONE and (of_task := _of_task(reply.status, label, cause)) is not None:
        return of_task
    if reply.status in ENDINGS:
        return ENDINGS[reply.status](label, workflow_id, cause)
    match reply.status:
        case "unknown":
            return UnknownWorkflow(workflow, workflow_id)
        case "finished" if not isinstance(cause, WorkflowFinished):
            return WorkflowFinished(workflow, workflow_id, "finished")
        case "exists" if not isinstance(cause, WorkflowExists):
            return WorkflowExists(workflow, workflow_id, "not known")
    return refusal(reply)


def _of_task(status: str, label: str, cause: BaseException) -> Exception | None:
    """What happened to a task that runs alone; None when it was something of the workflow around it."""
    if status == "cancelled":
        return TaskCancelled(label)
    return cause if status == "failed" and isinstance(cause, TaskFailed) else None


def refusal(reply: Reply) -> Exception:
    """What whoever refused a call, or failed to answer a question, said."""
    cause = _cause(reply.error)
    if isinstance(cause, Exception):
        return cause
    return RemoteError(f"builtins:{type(cause).__name__}", str(cause))  # never one that ends this process


def _cause(error: ErrorValue | None) -> BaseException:
    return rebuild(error) if error is not None else InfiniticError("no reason was given")


# --- state records ---


def outcome(record: StateRecord | None, awaited: Awaited) -> Reply | None:
    """The answer as the storage knows it; None when it is not there, or not yet."""
    if record is None:
        return _unknown(awaited) if not awaited.call_id and not awaited.own else None
    if awaited.call_id:
        return _of_call(record, awaited.call_id)
    if awaited.workflow and record.workflow != awaited.workflow:
        status = "exists" if awaited.own else "unknown"
        return Reply(record.workflow_id, status, error=error_value(of_other_workflow(record, awaited)))
    return of_run(record)


def of_run(record: StateRecord) -> Reply | None:
    """How the run's first method ended; None while it goes on."""
    of_call = _of_call(record, "")
    if of_call is not None or record.status not in ENDED:
        return of_call
    status = "timed_out" if record.timed_out else ENDED[record.status]
    return Reply(record.workflow_id, status, "", record.run, record.value, record.error, record.retries)


def _of_call(record: StateRecord, call_id: str) -> Reply | None:
    for call in record.calls:
        if call.call_id == call_id:
            return reply_of(call, record.workflow_id, record.run, record.retries)
    if call_id and call_id in record.starts:
        return Reply(record.workflow_id, "received", call_id, record.run)
    return None


def _unknown(awaited: Awaited) -> Reply:
    return Reply(awaited.workflow_id, "unknown", awaited.call_id)


def of_other_workflow(record: StateRecord, awaited: Awaited) -> Exception:
    """What is wrong when an id turns out to belong to another workflow."""
    if awaited.own:
        return WorkflowExists(record.workflow, record.workflow_id, record.status)
    return UnknownWorkflow(awaited.workflow, awaited.workflow_id)


def call_status(record: StateRecord, call_id: str) -> str:
    """The status of one call of a method, or of the instance when the call is not known to it."""
    reply = _of_call(record, call_id)
    if reply is not None:
        return reply.status
    return "running" if call_id in record.open_calls else record.status


# --- what one reads ---


def too_long(
    awaited: Awaited,
    seconds: float,
    record: StateRecord | None,
    *,
    known: bool,
    trouble: Exception | None,
    unserved: bool = False,
) -> str:
    """What whoever stopped waiting is told.

    *known* says that *record* is what the storage has, *unserved* that no worker is there.
    """
    if awaited.again is not None:
        said = f"{awaited.label}: {awaited.workflow_id!r} did not answer within {seconds:g} s; it stays sent"
    else:
        said = f"{awaited.label} {awaited.workflow_id!r} has not ended within {seconds:g} s, and goes on"
    if trouble is not None:
        return f"{said}; what is heard of it is uncertain just now: {trouble}"
    reasons = [_waits_for(record, awaited)] if known and not (unserved and record is None) else []
    served = awaited.workflow if awaited.workflow != ALONE else "workflows, of which a task alone is one,"
    reasons += [f"no worker serves {served} just now"] if unserved else []
    return "; ".join([said, *filter(None, reasons)])


def _waits_for(record: StateRecord | None, awaited: Awaited) -> str:
    """What an instance is known to wait for, as the end of a sentence; "" when nothing is known."""
    if record is None:
        return f"no worker has taken it up yet: does one run that serves {awaited.workflow or 'its workflow'}?"
    if record.reason:
        return f"it is {record.status}: {record.reason}"
    if not record.waits:
        return ""
    shown = [shown_wait(wait) for wait in record.waits[:SHOWN_WAITS]]
    more = record.waiting - len(shown)
    return "it waits for " + ", ".join(shown) + (f" and {more} more" if more > 0 else "")


def shown_wait(wait: Wait) -> str:
    """What is waited for, and how it stands, in a few words."""
    facts = []
    if wait.attempt > 1:
        facts.append(f"attempt {wait.attempt}")
    if wait.next_at:
        facts.append(f"due {to_datetime(wait.next_at).isoformat(timespec='seconds')}")
    if wait.delegated:
        facts.append("which somebody is to complete")
    if wait.error is not None:
        facts.append(f"last error {wait.error.summary}")
    what = "a timer" if wait.kind == "timer" else f"{wait.kind} {wait.name}"
    return what + (f" ({', '.join(facts)})" if facts else "")
