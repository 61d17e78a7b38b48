"""Routing: signals whose sender knows only an id go on to the workflow that the instance belongs to."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from msgspec.structs import replace

from infinitic.backends import Step
from infinitic.engine.outputs import reply_message
from infinitic.errors import UnknownWorkflow
from infinitic.messages import Delivery, Outgoing, Reply
from infinitic.serialization import error_value
from infinitic.storages import Storage
from infinitic.topics import workflow_topic
from infinitic.transports import Consumer


def routed(deliveries: Sequence[Delivery], storage: Storage, consumer: Consumer | None) -> Iterator[Step]:
    """What sends each of *deliveries* on. Raises `StorageError`."""
    ids = list(dict.fromkeys(one.message.workflow_id for one in deliveries))
    names = {id: record.workflow for id, record in zip(ids, storage.records(ids), strict=True) if record is not None}
    for delivery in deliveries:
        message = delivery.message
        name = names.get(message.workflow_id)
        hints, outputs = (_unknown(delivery), ()) if name is None else ((), (_to(name, delivery),))
        yield Step(outputs=outputs, hints=hints, acks=(delivery,), consumer=consumer)


def _to(name: str, delivery: Delivery) -> Outgoing:
    message = delivery.message
    return Outgoing(workflow_topic(name), message.workflow_id, replace(message, workflow=name))


def _unknown(delivery: Delivery) -> tuple[Outgoing, ...]:
    """What the sender is told, if it waits for that."""
    message = delivery.message
    if not message.reply_to:
        return ()
    error = error_value(UnknownWorkflow("", message.workflow_id))
    return (reply_message(message.reply_to, Reply(message.workflow_id, "unknown", message.id, error=error)),)
