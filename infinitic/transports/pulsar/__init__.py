"""Messages over Apache Pulsar, by its synchronous client in threads.

Workflow topics are Key_Shared by workflow id; service topics Shared, all partitioned; what clients and running
attempts are told goes over topics that are not persistent. Acknowledgements are hints, redelivery is the broker's.
"""

from __future__ import annotations

import atexit
import logging
import threading
import uuid
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any

import pulsar

from infinitic.errors import TransportError
from infinitic.messages import Message, Outgoing, encode_message
from infinitic.topics import dead_topic
from infinitic.transports import OnTheWay, Traffic
from infinitic.transports.pulsar.connecting import connect, said
from infinitic.transports.pulsar.consumer import Group, PulsarConsumer
from infinitic.transports.pulsar.producers import Hints, Producers
from infinitic.transports.pulsar.topics import Topics, is_kept, is_keyed
from infinitic.transports.pulsar_settings import PulsarSettings, check_reachable, read_settings

GIVEN_BACK = 100
"""Milliseconds after which what was given back is delivered again: the least that the client takes."""

HEARD = 1_000
"""How many messages of those that may be lost are read before they are taken."""

log = logging.getLogger("infinitic.pulsar")

OPEN: weakref.WeakSet[PulsarTransport] = weakref.WeakSet()


class PulsarTransport:
    """A `Transport` over Pulsar. Thread-safe; not to be carried over a fork. It connects at first use."""

    def __init__(self, settings: PulsarSettings) -> None:
        self.settings = settings
        self._client = connect(settings)
        self._topics = Topics(settings, self._client)
        self._producers = Producers(self._client, self._topics)
        self._hints = Hints(self._producers)
        self._consumers: dict[PulsarConsumer, None] = {}
        self._lock = threading.Lock()
        self._lost = False
        self._closed = False
        OPEN.add(self)

    @classmethod
    def open(cls, url: str, table: Mapping[str, Any], namespace: str) -> PulsarTransport:
        """The transport that a URL and the table `[pulsar]` name. Raises `ConfigurationError`, `TransportError`."""
        settings = read_settings(url, table, namespace)
        check_reachable(settings)
        return cls(settings)

    # --- sending ---

    def publish(self, batch: Sequence[Outgoing]) -> None:
        self._check_open()
        bodies = [(outgoing, encode_message(outgoing.message)) for outgoing in batch]
        hints = [one for one in bodies if one[0].hint]
        kept = [self._fitting(*one) for one in bodies if not one[0].hint]
        if kept:
            self._producers.publish(kept)
        if hints:
            self._hints.put(hints)

    def _fitting(self, outgoing: Outgoing, body: bytes) -> tuple[Outgoing, bytes]:
        """The message itself; one that no broker takes goes to the dead, without what makes it large."""
        size, most = len(body), self.settings.largest_message
        if size <= most:
            return outgoing, body
        message = outgoing.message
        reason = f"it has {size} bytes, and {most} is the most (pulsar.largest_message)"
        log.error("%s: a message for %r was refused: %s", outgoing.topic, message.workflow_id, reason)
        names = {"reason": reason, "topic": outgoing.topic}
        left = Message(message.kind, message.id, message.workflow, message.workflow_id, message.run, headers=names)
        dead = Outgoing(dead_topic(outgoing.topic), outgoing.key, left)
        return dead, encode_message(left)

    # --- receiving ---

    def subscribe(self, topics: Sequence[str], ready: Callable[[], None]) -> PulsarConsumer:
        self._check_open()
        self._topics.ensure(topics)
        consumer = PulsarConsumer(self._left)
        try:
            for names, options in _kinds(topics, self.settings):
                consumer.groups.append(self._group(names, options, ready))
        except BaseException:
            consumer.close()
            raise
        for group in consumer.groups:
            group.start()
        with self._lock:
            self._consumers[consumer] = None
        ready()
        return consumer

    def _group(self, names: Sequence[str], options: dict[str, Any], ready: Callable[[], None]) -> Group:
        full = [self._topics.full(name) for name in names]
        name = self.settings.consumer_name
        try:
            consumer = self._client.subscribe(
                full if len(full) > 1 else full[0],
                initial_position=pulsar.InitialPosition.Earliest,
                negative_ack_redelivery_delay_ms=GIVEN_BACK,
                consumer_name=f"{name}-{uuid.uuid4().hex[:8]}" if name else None,
                **options,
            )
        except Exception as error:
            what = ", ".join(names)
            raise TransportError(f"{self.settings.place} let nobody subscribe to {what}: {said(error)}") from None
        tasks = options["consumer_type"] == pulsar.ConsumerType.Shared
        return Group(self._topics, consumer, ready, tasks=tasks, refuse=self._producers.put_by)

    def _left(self, consumer: PulsarConsumer) -> None:
        with self._lock:
            self._consumers.pop(consumer, None)

    # --- looking ---

    def traffic(self, topics: Sequence[str]) -> list[Traffic | None]:
        self._check_open()
        return [self._topics.traffic(topic) for topic in topics]

    def server_settings(self) -> dict[str, str]:
        """What the broker and the namespace are set to, by the names that Pulsar gives, and its "version".

        Beside these "pulsar.largest_message", which is ours.
        """
        self._check_open()
        return self._topics.broker() | {"pulsar.largest_message": str(self.settings.largest_message)}

    def on_the_way(self, key: str) -> list[OnTheWay] | None:
        """None: a broker tells how many messages it has, not whose."""
        return None

    def sweep(self) -> None:
        """Tell in one line that the broker is lost, or back; let others have the tasks that wait here."""
        with self._lock:
            groups = [group for consumer in self._consumers for group in consumer.groups]
        lost = not all(group.is_connected() for group in groups)
        if lost != self._lost:
            self._lost = lost
            log.warning("lost %s: connecting again" if lost else "%s is there again", self.settings.place)
        for group in groups:
            if group.tasks:
                group.give_back_stale()

    # --- the end ---

    def _check_open(self) -> None:
        if self._closed:
            raise TransportError("The Pulsar transport was used after it was closed")

    def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        OPEN.discard(self)
        self._hints.close()
        self._producers.close()  # first: a consumer's thread may wait for a receipt
        for consumer in tuple(self._consumers):
            consumer.close()
        with suppress(Exception):
            self._client.close()


def _kinds(topics: Sequence[str], settings: PulsarSettings) -> Iterator[tuple[list[str], dict[str, Any]]]:
    """The topics by their kind, each with how it is subscribed to."""
    keyed = [topic for topic in topics if is_keyed(topic)]
    heard = [topic for topic in topics if not is_kept(topic)]
    shared = [topic for topic in topics if topic not in keyed and topic not in heard]
    own = f"{settings.subscription}-{uuid.uuid4().hex}"
    kind = pulsar.ConsumerType
    for names, subscription, how, queue in (
        (keyed, settings.subscription, kind.KeyShared, settings.workflow_queue),
        (shared, settings.subscription, kind.Shared, settings.service_queue),
        (heard, own, kind.Exclusive, HEARD),
    ):
        if names:
            yield names, {"subscription_name": subscription, "consumer_type": how, "receiver_queue_size": queue}


@atexit.register
def _close_all() -> None:
    """A client that is not closed may end the process by a crash."""
    for transport in list(OPEN):
        transport.close()
