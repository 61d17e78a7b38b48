"""A transport and a storage that know nothing of each other: commit is persist → publish → acknowledge.

A crash between any two of the three means a repeat, never a loss: what was persisted and not published is
published by whoever loads the instance next, because its mark is behind; what was published and not
acknowledged comes again.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import suppress

from infinitic.backends import Committed, Step
from infinitic.errors import Bug, NoStorage, TransportError
from infinitic.messages import Delivery, Outgoing
from infinitic.storages import Storage
from infinitic.transports import Consumer, Transport


class DistributedBackend:
    """A `Backend` of any transport and any storage. Without a storage it serves services and clients only."""

    marks = True

    def __init__(self, transport: Transport, storage: Storage | None = None) -> None:
        self.transport = transport
        self._storage = storage

    @property
    def storage(self) -> Storage:
        if self._storage is None:
            raise NoStorage("What was asked for")
        return self._storage

    def commit(self, steps: Sequence[Step], tasks: Consumer | None = None, capacity: int = 0) -> Committed:
        """Persist, publish, acknowledge; the hints come last, and their loss is none.

        An exception leaves open how far this came: nothing was acknowledged that was not published, and
        nothing published that was not persisted.
        """
        won = self._persist(steps)
        winners = [step for step, wins in zip(steps, won, strict=True) if wins]
        self._publish([outgoing for step in winners for outgoing in step.outputs])
        _acknowledge(winners)
        with suppress(TransportError):
            self._publish([hint for step in winners for hint in step.hints])
        return Committed(won)

    def _persist(self, steps: Sequence[Step]) -> tuple[bool, ...]:
        """Which steps won. All appends are one call; a step without one always wins."""
        appends = [step.append for step in steps if step.append is not None]
        results = iter(self.storage.append(appends) if appends else ())
        return tuple(step.append is None or next(results) for step in steps)

    def _publish(self, batch: Sequence[Outgoing]) -> None:
        if batch:
            self.transport.publish(batch)

    def handed_over(self, task: Delivery, result: Outgoing, workflows: Consumer | None) -> Delivery | None:
        """None: what one worker does for itself goes over the transport too."""
        return None

    def close(self) -> None:
        try:
            self.transport.close()
        finally:
            if self._storage is not None:
                self._storage.close()


def _acknowledge(steps: Iterable[Step]) -> None:
    """Each consumer gets its deliveries in one call, in the order of the steps."""
    acks: dict[Consumer, list[Delivery]] = {}
    for step in steps:
        if step.acks and step.consumer is None:
            raise Bug(f"{len(step.acks)} deliveries were to be acknowledged by no consumer")
        if step.consumer is not None:
            acks.setdefault(step.consumer, []).extend(step.acks)
    for consumer, deliveries in acks.items():
        if deliveries:
            consumer.ack(deliveries)
