"""Answers: a reply, or a state record, as the value or the error that the caller gets. No I/O here."""

from __future__ import annotations

from typing import Any, NoReturn

from infinitic.client.awaited import Awaited
from infinitic.client.calls import Decode
from infinitic.errors import (
    InfiniticError,
    RemoteError,
    UnknownWorkflow,
    WorkflowCancelled,
    WorkflowExists,
    WorkflowFailed,
    WorkflowFinished,
    WorkflowTimedOut,
)
from infinitic.events import ErrorValue, to_datetime
from infinitic.messages import Reply
from infinitic.records import CANCELLED, COMPLETED, FAILED, TERMINATED, StateRecord, Wait
from infinitic.serialization import error_value, rebuild

ENDED = {COMPLETED: "completed", FAILED: "failed", CANCELLED: "cancelled", TERMINATED: "cancelled"}
SHOWN_WAITS = 3


def value_of(reply: Reply, workflow: str, label: str, decode: Decode | None) -> Any:
    """The value that *reply* holds; raises what it says instead."""
    if reply.status == "completed":
        return decode(reply.value) if decode is not None else None
    if reply.status == "received":
        return None
    raise_error(reply, workflow, label)


def raise_error(reply: Reply, workflow: str, label: str) -> NoReturn:
    """Raises what a reply says that is no success."""
    workflow_id, cause = reply.workflow_id, _cause(reply.error)
    match reply.status:
        case "failed":
            raise WorkflowFailed(label, workflow_id, cause)
        case "timed_out":
            raise WorkflowTimedOut(label, workflow_id, cause)
        case "cancelled":
            raise WorkflowCancelled(label, workflow_id)
        case "unknown":
            raise UnknownWorkflow(workflow, workflow_id)
        case "finished":
            raise cause if isinstance(cause, WorkflowFinished) else WorkflowFinished(workflow, workflow_id, "finished")
        case "exists":
            raise cause if isinstance(cause, WorkflowExists) else WorkflowExists(workflow, workflow_id, "in use")
    raise refusal(reply)


def refusal(reply: Reply) -> Exception:
    """What whoever refused a call, or failed to answer a question, said."""
    cause = _cause(reply.error)
    if isinstance(cause, Exception):
        return cause
    return RemoteError(f"builtins:{type(cause).__name__}", str(cause))  # never one that ends this process


def _cause(error: ErrorValue | None) -> BaseException:
    return rebuild(error) if error is not None else InfiniticError("no reason was given")


# ------------------------------------------------------------------------------------------ state records


def outcome(record: StateRecord | None, awaited: Awaited) -> Reply | None:
    """The answer as the storage knows it; None when it is not there, or not yet."""
    if record is None:
        return _unknown(awaited) if not awaited.call_id and not awaited.own else None
    if awaited.call_id:
        return _of_call(record, awaited.call_id)
    if awaited.workflow and record.workflow != awaited.workflow:
        return _exists(record) if awaited.own else _unknown(awaited)
    return of_run(record)


def of_run(record: StateRecord) -> Reply | None:
    """How the run's first method ended; None while it goes on."""
    of_call = _of_call(record, "")
    if of_call is not None or record.status not in ENDED:
        return of_call
    status = "timed_out" if record.timed_out else ENDED[record.status]
    return Reply(record.workflow_id, status, "", record.run, record.value, record.error)


def _of_call(record: StateRecord, call_id: str) -> Reply | None:
    for call in record.calls:
        if call.call_id == call_id:
            return Reply(record.workflow_id, call.status, call_id, record.run, call.value, call.error)
    if call_id and call_id in record.starts:
        return Reply(record.workflow_id, "received", call_id, record.run)
    return None


def _unknown(awaited: Awaited) -> Reply:
    return Reply(awaited.workflow_id, "unknown", awaited.call_id)


def _exists(record: StateRecord) -> Reply:
    error = WorkflowExists(record.workflow, record.workflow_id, record.status)
    return Reply(record.workflow_id, "exists", error=error_value(error))


def call_status(record: StateRecord, call_id: str) -> str:
    """The status of one call of a method, or of the instance when the call is not known to it."""
    reply = _of_call(record, call_id)
    if reply is not None:
        return reply.status
    return "running" if call_id in record.open_calls else record.status


# ----------------------------------------------------------------------------------------- what one reads


def waits_for(record: StateRecord | None) -> str:
    """What an instance is known to wait for, as the end of a sentence; "" when nothing is known."""
    if record is None:
        return "no worker has taken it up yet: does one run that serves this workflow?"
    if record.reason:
        return f"it is {record.status}: {record.reason}"
    if not record.waits:
        return ""
    shown = [_shown(wait) for wait in record.waits[:SHOWN_WAITS]]
    more = record.waiting - len(shown)
    return "it waits for " + ", ".join(shown) + (f" and {more} more" if more > 0 else "")


def _shown(wait: Wait) -> str:
    facts = []
    if wait.attempt > 1:
        facts.append(f"attempt {wait.attempt}")
    if wait.next_at:
        facts.append(f"due {to_datetime(wait.next_at).isoformat(timespec='seconds')}")
    if wait.error is not None:
        facts.append(f"last error {wait.error.summary}")
    return f"{wait.kind} {wait.name}" + (f" ({', '.join(facts)})" if facts else "")
