"""Broadcasting: an event for all instances that have a tag goes to one page of them, and the rest is sent on.

What is sent and what is acknowledged are one step: a crash repeats a page, and what an instance has got it knows by
the event's id. Pages go from the newest start to the oldest, so what starts meanwhile is not among them, unless the
first one is repeated.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator

from msgspec import DecodeError
from msgspec.json import Decoder
from msgspec.structs import replace

from infinitic.backends import Step
from infinitic.engine.outputs import broadcast_message
from infinitic.events import AnyEvent, Retried, SignalReceived
from infinitic.ids import id_for
from infinitic.messages import Broadcast, Delivery, Message, Outgoing, event_message
from infinitic.records import FAILED, OPEN, Filter, StateRecord
from infinitic.storages import Storage
from infinitic.topics import dead_topic, workflow_topic
from infinitic.transports import Consumer

PAGE = 100

log = logging.getLogger("infinitic.worker")
_BROADCAST = Decoder(Broadcast)


def served(delivery: Delivery, storage: Storage, consumer: Consumer | None) -> Step:
    """What serves one page of a broadcast, and sends the rest on. Raises `StorageError`."""
    message = delivery.message
    try:
        broadcast = _BROADCAST.decode(message.payload)
    except DecodeError as problem:
        log.warning("a broadcast is moved to the dead topic, because it cannot be read: %s", problem)
        dead = Outgoing(dead_topic(delivery.topic), message.workflow_id, message)
        return Step(outputs=(dead,), acks=(delivery,), consumer=consumer)
    return Step(outputs=tuple(_page(broadcast, message, storage)), acks=(delivery,), consumer=consumer)


def _page(broadcast: Broadcast, message: Message, storage: Storage) -> Iterator[Outgoing]:
    found = storage.find(Filter(workflow=broadcast.workflow, tag=broadcast.tag), PAGE, broadcast.after)
    meant = [record for record in found.records if is_meant(record, broadcast.event)]
    if not meant and not broadcast.after and not found.after:
        whom = f"{broadcast.workflow or 'any workflow'} tagged {broadcast.tag!r}"
        log.debug("%s %s: no instance of %s", type(broadcast.event).__name__, broadcast.event.id, whom)
    envelope = {"at": message.at, "sender": message.sender, "root": message.root}
    for record in meant:
        event = replace(broadcast.event, id=id_for(broadcast.event.id, record.workflow_id))
        its = event_message(event, workflow=record.workflow, workflow_id=record.workflow_id, **envelope)
        yield Outgoing(workflow_topic(record.workflow), record.workflow_id, its)
    if found.after:
        yield broadcast_message(replace(broadcast, after=found.after), **envelope)


def is_meant(record: StateRecord, event: AnyEvent) -> bool:
    """Whether the event makes sense to an instance that stands so: a failed one keeps signals for its retry."""
    match event:
        case Retried(tasks=False):
            return record.status == FAILED
        case Retried() | SignalReceived():
            return record.status in {FAILED, *OPEN}
    return record.status in OPEN
