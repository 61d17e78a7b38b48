"""Deaths by workflow code: a broker does not count them, so a supervisor does for its children.

A child notes the instance that it applies. When it dies, the supervisor counts that, and tells all children, which put
the count into the instance's deliveries. Once one of its events is acknowledged, the count begins anew.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import msgspec

from infinitic.messages import Delivery
from infinitic.transports import Consumer
from infinitic.worker.children_pipes import Notes

MARK = "="
"""Begins the note of an instance: those of tasks are numbers."""


def instances_among(notes: Iterable[str]) -> list[str]:
    """The workflow ids among what a child has noted."""
    return [one.removeprefix(MARK) for one in notes if one.startswith(MARK)]


class Instances:
    """What a child knows of deaths. *applied* is told of an instance that had some and could be applied."""

    def __init__(self, notes: Notes, applied: Callable[[str], None]) -> None:
        self._notes, self._applied = notes, applied
        self._deaths: dict[str, int] = {}

    def learn(self, counts: dict[str, int]) -> None:
        """These are the counts of some instances now."""
        self._deaths = {id: count for id, count in (self._deaths | counts).items() if count}

    def around(self, consumer: Consumer) -> Consumer:
        """A consumer of workflows, in which deaths count."""
        return Counting(consumer, self)

    def counted(self, delivery: Delivery) -> Delivery:
        """*delivery* with the deaths of its instance."""
        deaths = self._deaths.get(delivery.message.workflow_id, 0)
        return msgspec.structs.replace(delivery, deaths=deaths) if deaths else delivery

    def forgive(self, deliveries: Sequence[Delivery]) -> None:
        """These are done with. A question may be answered without the code that kills: it proves nothing."""
        if not self._deaths:
            return
        for id in {one.message.workflow_id for one in deliveries if one.message.kind == "event"}:
            if id in self._deaths:
                self.learn({id: 0})
                self._applied(id)

    def began(self, delivery: Delivery) -> None:
        self._notes.began(MARK + delivery.message.workflow_id)

    def ended(self, delivery: Delivery) -> None:
        self._notes.ended(MARK + delivery.message.workflow_id)


class Counting:
    """A `Consumer` that adds deaths to what another one receives, and has noted what is under way."""

    def __init__(self, consumer: Consumer, instances: Instances) -> None:
        self._consumer, self._instances = consumer, instances
        self.nack, self.release, self.close = consumer.nack, consumer.release, consumer.close

    def receive(self, limit: int) -> list[Delivery]:
        return [self._instances.counted(one) for one in self._consumer.receive(limit)]

    def ack(self, deliveries: Sequence[Delivery]) -> None:
        self._consumer.ack(deliveries)
        self._instances.forgive(deliveries)

    def began(self, delivery: Delivery) -> None:
        self._instances.began(delivery)
        self._consumer.began(delivery)

    def ended(self, delivery: Delivery) -> None:
        self._consumer.ended(delivery)
        self._instances.ended(delivery)
