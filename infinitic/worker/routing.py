"""Routing: what was sent by an id alone goes on to the workflow that the instance belongs to; by a tag, to many."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence

from msgspec.structs import replace

from infinitic.backends import Backend, Step
from infinitic.clock import SECOND
from infinitic.errors import UnknownWorkflow
from infinitic.messages import Delivery, Outgoing, Reply, reply_message
from infinitic.serialization import error_value
from infinitic.storages import Storage
from infinitic.topics import dead_topic, workflow_topic
from infinitic.transports import Consumer
from infinitic.worker.broadcasting import served

log = logging.getLogger("infinitic.worker")


PATIENCE = 60 * SECOND
"""For how long the start of an instance may be on its way that is not known yet."""


class Router:
    """What is to be sent on, in order, signals whose instance nobody knows yet among them."""

    def __init__(self) -> None:
        self.waiting: list[Delivery] = []
        self._look = False

    def add(self, delivery: Delivery) -> None:
        """Send this one on, the next time."""
        self.waiting.append(delivery)
        self._look = True

    def again(self) -> None:
        """Look once more, the next time, for the instances of signals that came too early."""
        self._look = bool(self.waiting)

    def send(self, backend: Backend, consumer: Consumer | None, now: int) -> list[str]:
        """Send on what can be; the ids that are done with. Raises `StorageError` or `TransportError`."""
        if not self._look:
            return []
        early: list[Delivery] = []
        backend.commit([*routed(self.waiting, backend.storage, consumer, now, early)])
        done = [one.message.workflow_id for one in self.waiting if one not in early]
        self.waiting, self._look = early, False
        return done


def too_early(delivery: Delivery, now: int) -> bool:
    """Whether a signal for an id that nobody knows is to be kept: nobody waits to hear, and it may yet be known."""
    return not delivery.message.reply_to and now - delivery.message.at < PATIENCE


def routed(
    deliveries: Sequence[Delivery], storage: Storage, consumer: Consumer | None, now: int, early: list[Delivery]
) -> Iterator[Step]:
    """What sends each of *deliveries* on; those that came too early are put into *early*. Raises `StorageError`."""
    ids = list(dict.fromkeys(one.message.workflow_id for one in deliveries if one.message.kind != "broadcast"))
    names = {id: record.workflow for id, record in zip(ids, storage.records(ids), strict=True) if record is not None}
    for delivery in deliveries:
        message = delivery.message
        name = names.get(message.workflow_id)
        if message.kind == "broadcast":
            yield served(delivery, storage, consumer)
        elif name is not None:
            yield Step(outputs=(_to(name, delivery),), acks=(delivery,), consumer=consumer)
        elif too_early(delivery, now):
            early.append(delivery)
        else:
            log.warning("a signal for %r, which nobody knows, is moved to the dead topic", message.workflow_id)
            dead = Outgoing(dead_topic(delivery.topic), message.workflow_id, message)
            yield Step(outputs=(dead,), hints=_unknown(delivery), acks=(delivery,), consumer=consumer)


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
