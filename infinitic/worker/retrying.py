"""Retrying: a failed run is taken up again; or whoever wanted that is told why it is not."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from infinitic.engine.instance import Diverged, Instance
from infinitic.engine.outputs import answer_message
from infinitic.engine.slots import task_label
from infinitic.errors import InfiniticError, WorkflowFinished
from infinitic.events import Retried
from infinitic.history import Answer, TaskIssued, Turn, decode_turn
from infinitic.records import StateRecord
from infinitic.serialization import error_value
from infinitic.storages import Storage
from infinitic.story import tell
from infinitic.worker.changes import Change
from infinitic.worker.loading import failed_turn, origin_of


def take_up_again(
    change: Change, fresh: Instance, event: Retried, storage: Storage, retry: Callable[..., Turn], now: int
) -> None:
    """Take up a run that failed, in a *fresh* instance: *retry* makes the turn. Raises `Diverged`.

    Nothing is taken up for tasks of which none has failed.
    """
    current = change.current
    rows = (*storage.history(change.workflow_id, current.run), *change.rows)
    bodies = [row.body for row in rows if row.run == current.run]
    if len(bodies) != current.turns:
        raise Diverged(InfiniticError(f"{change.workflow_id}: its history moved on; to be applied again"))
    record = change.held.record if change.held is not None else None
    if event.tasks and record is not None and not _has_failed(record, [decode_turn(body) for body in bodies], event):
        text = f"{change.workflow} {change.workflow_id!r} has dispatched no such task that has failed"
        change.refuse(event.reply_to, event.id, "refused", error_value(InfiniticError(text)))
        return
    made = retry(fresh, bodies, failed_turn(bodies), event, now)
    change.take(fresh, made, now)
    change.refuse(event.reply_to, event.id, "received", None)


def _has_failed(record: StateRecord, turns: Sequence[Turn], event: Retried) -> bool:
    """Whether a task has failed that the retry means."""
    statuses = (event.status,) if event.status else ("failed", "timed_out")
    failed = {one.position for one in tell(record, turns).steps if one.kind == "task" and one.status in statuses}
    return any(
        isinstance(one, TaskIssued)
        and one.position in failed
        and event.task in ("", one.name, task_label(one))
        and event.service in ("", one.service)
        for turn in turns
        for one in turn.commands
    )


def nothing_to_retry(change: Change, instance: Instance, event: Retried, now: int) -> None:
    """The run has not failed. A parent that was retried is told once more what a child has answered."""
    if instance.ended and "" in instance.calls:
        _answer_again(change, instance, now)
        error: Exception = WorkflowFinished(change.workflow, change.workflow_id, instance.status)
    else:
        text = f"{change.workflow} {change.workflow_id!r} is {instance.status}; only a failed run can be retried"
        error = InfiniticError(text)
    change.refuse(event.reply_to, event.id, "refused", error_value(error))


def _answer_again(change: Change, instance: Instance, now: int) -> None:
    call, started = instance.calls[""], instance.started
    if started is None or started.caller is None or call.status != "completed":
        return
    answer = Answer("", call.status, call.value, call.error, started.caller)
    change.outputs.append(answer_message(origin_of(change.workflow_id, started), answer, now))
