"""Questions: queries, clients that ask how an instance stands, attempts that nobody waits for. Never recorded."""

from __future__ import annotations

import msgspec
from msgspec import Raw

from infinitic.engine import turns
from infinitic.engine.instance import FAILURES, Instance
from infinitic.engine.outputs import Origin, answer_message
from infinitic.errors import DecodeError, InfiniticError, UnknownWorkflow, WorkflowFinished
from infinitic.events import MethodCalled
from infinitic.history import Answer
from infinitic.ids import task_id
from infinitic.messages import Ask, Delivery, Message, Outgoing, Query, Reply, reply_message, reply_of
from infinitic.records import OPEN, StateRecord
from infinitic.serialization import error_value
from infinitic.storages import Storage
from infinitic.topics import control_topic
from infinitic.worker.changes import Change

WATCHERS = 1_000
"""How many clients of one instance are told at once how a call ended; others ask again."""


def query(change: Change, delivery: Delivery) -> None:
    """Answer a query from the state that the instance has now."""
    message, instance = delivery.message, change.instance
    is_meant = message.workflow == change.workflow
    problem = change.problem or (change.lacks if instance is None else "")
    if problem and is_meant:
        status = "suspended" if change.status in (None, *OPEN) else f"{change.status} and cannot be asked"
        text = f"{change.workflow} {change.workflow_id!r} is {status}: {problem}"
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
    except FAILURES as error:
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


def called_before(change: Change, event: MethodCalled, now: int) -> bool:
    """Tell whoever makes a call once more how it ended, a client also when it does. False: nobody knows that."""
    instance, held = change.instance, change.held
    calls = instance.calls.values() if instance is not None else held.record.calls if held and held.record else ()
    call = next((one for one in calls if one.call_id == event.id), None)
    watch(change, event.reply_to if call or instance else "", event.id)
    if call is not None and event.caller is not None:
        answer = Answer(event.id, call.status, call.value, call.error, event.caller)
        change.outputs.append(answer_message(Origin(change.workflow, change.workflow_id, ""), answer, now))
    return call is not None


def told_by(record: StateRecord | None, workflow_id: str, call_id: str) -> Reply | None:
    """What a state record tells of a run ("") or a call; None while that has no end."""
    if record is None:
        error = error_value(UnknownWorkflow("", workflow_id))
        return Reply(workflow_id, "unknown", call_id, error=error)
    call = next((one for one in record.calls if one.call_id == call_id), None)
    return reply_of(call, workflow_id, record.run, record.retries) if call is not None else None


def stop_unwanted(change: Change, said: Message) -> None:
    """Tell the service whose attempt *said* that it began or goes on, if nobody wants its answer any more.

    What it was told before may have been lost, or have come before it began. What else is to be replied to is about
    no attempt.
    """
    instance = change.instance
    if (
        instance is None
        or not (said.attempt and said.reply_to)
        or (said.run == instance.run and said.position in instance.open)
    ):
        return
    stopped = task_id(said.workflow, said.workflow_id, said.run, said.position)
    message = Message("cancel_task", stopped, said.workflow, said.workflow_id, at=said.at)
    change.hints.append(Outgoing(control_topic(said.reply_to), said.workflow_id, message, hint=True))
