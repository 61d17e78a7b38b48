"""Questions: queries, and clients that ask how an instance stands. Answered from its state, never recorded."""

from __future__ import annotations

import msgspec
from msgspec import Raw

from infinitic.engine import turns
from infinitic.engine.instance import Instance
from infinitic.errors import DecodeError, InfiniticError, UnknownWorkflow, WorkflowFinished
from infinitic.messages import Ask, Delivery, Message, Query, Reply, reply_message, reply_of
from infinitic.records import StateRecord
from infinitic.serialization import error_value
from infinitic.storages import Storage
from infinitic.worker.changes import Change

WATCHERS = 1_000
"""How many clients of one instance are told at once how a call ended; others ask again."""


def query(change: Change, delivery: Delivery) -> None:
    """Answer a query from the state that the instance has now."""
    message, instance = delivery.message, change.instance
    is_meant = message.workflow == change.workflow
    if change.problem and is_meant:
        text = f"{change.workflow} {change.workflow_id!r} is suspended: {change.problem}"
        told = Reply(change.workflow_id, "failed", message.id, error=error_value(InfiniticError(text)))
    elif instance is None or not is_meant:
        error = error_value(UnknownWorkflow(message.workflow, change.workflow_id))
        told = Reply(change.workflow_id, "unknown", message.id, error=error)
    else:
        told = _answer(change, instance, message.id, message.payload)
    change.hints.append(reply_message(message.reply_to, told))


def _answer(change: Change, instance: Instance, query_id: str, payload: Raw) -> Reply:
    try:
        asked = msgspec.json.decode(payload, type=Query)
        value = turns.query(instance, asked.name, asked.arguments)
    except (DecodeError, msgspec.DecodeError) as error:
        return Reply(change.workflow_id, "refused", query_id, error=error_value(error))
    except Exception as error:
        change.spoilt = True  # whatever it did to the state is gone with the cached instance
        return Reply(change.workflow_id, "failed", query_id, error=error_value(error))
    return Reply(change.workflow_id, "completed", query_id, value=Raw(value))


def ask(change: Change, delivery: Delivery, storage: Storage) -> None:
    """Answer a client that asks for results, of this instance and of others. Raises `StorageError`."""
    message = delivery.message
    try:
        waits = msgspec.json.decode(message.payload, type=Ask).waits
    except msgspec.DecodeError as error:
        change.dead.append((delivery, f"the payload is no question: {error}"))
        return
    others = [one for one in waits if one[0] != change.workflow_id]
    for workflow_id, call_id in waits:
        if workflow_id == change.workflow_id:
            _ask_this(change, message, call_id)
    if others:
        records = storage.records([workflow_id for workflow_id, _ in others])
        for (workflow_id, call_id), record in zip(others, records, strict=True):
            told = told_by(record, workflow_id, call_id)
            if told is not None:
                change.hints.append(reply_message(message.reply_to, told))


def _ask_this(change: Change, message: Message, call_id: str) -> None:
    """Answer for this instance; a call of it that it neither runs nor remembers was refused, or never came."""
    instance = change.instance
    error: Exception | None = None
    status = ""
    if change.status is not None and message.workflow != change.workflow:
        error, status = UnknownWorkflow(message.workflow, change.workflow_id), "unknown"
    elif call_id and instance is not None and call_id not in instance.calls and call_id not in instance.senders:
        if instance.ended:
            error, status = WorkflowFinished(change.workflow, change.workflow_id, instance.status), "finished"
        else:
            text = f"{change.workflow} {change.workflow_id!r} refused the call, and the reason was lost on its way"
            error, status = InfiniticError(text), "refused"
    if error is None:
        watch(change, message.reply_to, call_id)
    else:
        change.refuse(message.reply_to, call_id, status, error_value(error))


def watch(change: Change, client: str, call_id: str) -> None:
    """Answer a client that asks for a result: now if there is one, else when there is."""
    if not client:
        return
    instance = change.instance
    if instance is None:
        record = change.held.record if change.held is not None else change.record
        told = told_by(record, change.workflow_id, call_id)
    else:
        call = instance.calls.get(call_id)
        told = reply_of(call, change.workflow_id, instance.run, instance.generation) if call is not None else None
    if told is not None:
        change.hints.append(reply_message(client, told))
    elif len(change.watchers) < WATCHERS:
        change.watchers.add((client, call_id))


def told_by(record: StateRecord | None, workflow_id: str, call_id: str) -> Reply | None:
    """What a state record tells of a run ("") or a call; None while that has no end."""
    if record is None:
        error = error_value(UnknownWorkflow("", workflow_id))
        return Reply(workflow_id, "unknown", call_id, error=error)
    call = next((one for one in record.calls if one.call_id == call_id), None)
    return reply_of(call, workflow_id, record.run, record.retries) if call is not None else None
