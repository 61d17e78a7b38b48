"""Sending to Pulsar: a producer for each topic or partition, all messages of a batch at once, then the receipts.

A message that is on its way is not sent again: who sends it once more, because it gave up waiting, waits for the
first. So an outage makes no copies. The client's own thread calls back; it may never be held up.
"""

from __future__ import annotations

import threading
import uuid
from collections import OrderedDict, deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import lru_cache, partial
from typing import Any, TypeAlias

import pulsar

from infinitic.errors import TransportError
from infinitic.messages import Outgoing
from infinitic.topics import CLIENT
from infinitic.transports.pulsar.connecting import COMPRESSIONS, said
from infinitic.transports.pulsar.topics import Topics, is_keyed

Identity: TypeAlias = tuple[Any, ...]
"""What is the same when it is sent again; begins with the topic."""
Came: TypeAlias = Callable[[str, Any, Any], None]
"""Is told the place, the result, and the message's id there."""

ITS_OWN_FAULT = (pulsar.Result.MessageTooBig, pulsar.Result.ProducerQueueIsFull)
"""What the producer is not to blame for."""

MOST_HINTS = 10_000
"""How many hints may wait; of more the oldest are lost."""
TO_CLIENTS = 1_000
"""How many producers to clients are kept; the others are closed, those first that were used least recently."""


class Receipts:
    """The broker's receipts for one batch, as they come in."""

    def __init__(self, count: int) -> None:
        self._missing = count
        self._all = threading.Event()
        self._lock = threading.Lock()
        self.problems: dict[str, str] = {}  # by topic

    def settle(self, topic: str, problem: str) -> None:
        """One more came, or will not come."""
        with self._lock:
            self._missing -= 1
            if problem:
                self.problems.setdefault(topic, problem)
            if self._missing <= 0:
                self._all.set()

    def wait(self, seconds: float) -> bool:
        """Whether all came in time."""
        return self._all.wait(seconds)


class Producers:
    """All producers of one client, made when they are needed. Thread-safe."""

    def __init__(self, client: pulsar.Client, topics: Topics) -> None:
        self._client, self._topics, self._settings = client, topics, topics.settings
        self._producers: OrderedDict[str, pulsar.Producer] = OrderedDict()
        self._making = threading.Lock()
        self._lock = threading.Lock()
        self._under_way: dict[Identity, list[Receipts]] = {}
        self._closed = False

    def publish(self, batch: Sequence[tuple[Outgoing, bytes]]) -> None:
        """Send all; back once the broker holds all. Raises `TransportError`: some may be sent all the same."""
        self._topics.ensure({outgoing.topic for outgoing, _ in batch})
        most = self._settings.pending
        for at in range(0, len(batch), most):
            self._publish(batch[at : at + most])

    def _publish(self, batch: Sequence[tuple[Outgoing, bytes]]) -> None:
        receipts = Receipts(len(batch))
        for outgoing, body in batch:
            topic, message = outgoing.topic, outgoing.message
            names = (message.kind, message.id, message.workflow_id, message.run, message.position, message.attempt)
            if problem := receipts.problems.get(topic):  # who comes behind must not overtake
                receipts.settle(topic, problem)
            else:
                # with the payload: an attempt says several things, which have no id
                self._send((topic, *names, bytes(message.payload)), receipts, partial(self._hand_over, outgoing, body))
        self._await(receipts)

    def put_by(self, topic: str, data: bytes, key: str, facts: dict[str, str]) -> None:
        """Send bytes as they are, with *facts* beside them. Raises `TransportError`, as `publish` does."""
        self._topics.ensure([topic])
        receipts = Receipts(1)
        self._send((topic, key, data), receipts, partial(self._hand_over_bytes, topic, data, key, facts))
        self._await(receipts)

    def _await(self, receipts: Receipts) -> None:
        if not receipts.wait(self._settings.send_timeout):
            waited = f"within {self._settings.send_timeout:g} s"
            raise TransportError(f"{self._settings.place} has not confirmed all that was sent {waited}")
        if receipts.problems:
            told = ", ".join(f"{topic}: {problem}" for topic, problem in receipts.problems.items())
            raise TransportError(f"{self._settings.place} did not take all that was sent: {told}")

    def _send(self, identity: Identity, receipts: Receipts, hand_over: Callable[[Came], None]) -> None:
        with self._lock:
            waiting = self._under_way.setdefault(identity, [])
            waiting.append(receipts)
            if len(waiting) > 1:
                return
        try:
            if self._closed:
                raise TransportError("closed")
            hand_over(partial(self._came, identity))
        except Exception as error:
            self._topics.forget(identity[0])
            self._settle(identity, said(error))

    def _came(self, identity: Identity, place: str, result: Any, message_id: Any) -> None:
        """A producer of no more use is made anew next time. Called by the client's own thread, or by who sends."""
        if result not in (pulsar.Result.Ok, *ITS_OWN_FAULT):
            self._topics.forget(identity[0])
            with self._lock:
                self._producers.pop(place, None)
        self._settle(identity, "" if result == pulsar.Result.Ok else result.name)

    def _settle(self, identity: Identity, problem: str) -> None:
        with self._lock:
            waiting = self._under_way.pop(identity, [])
        for receipts in waiting:
            receipts.settle(identity[0], problem)

    def hint(self, outgoing: Outgoing, body: bytes) -> None:
        """Send what may be lost; nobody waits for a receipt, and trouble is none."""
        with suppress(Exception):
            self._hand_over(outgoing, body, _ignore)

    def _hand_over(self, outgoing: Outgoing, body: bytes, came: Came) -> None:
        """A key has its partition, with a producer of its own; tasks go to the partitions in turn."""
        if is_keyed(outgoing.topic):
            places, key = self._topics.partitions(outgoing.topic), outgoing.key or None
            place = places[_hash(outgoing.key) % len(places)]
        else:
            place, key = self._topics.full(outgoing.topic), None
        self._producer(place).send_async(body, partial(came, place), partition_key=key)

    def _hand_over_bytes(self, topic: str, data: bytes, key: str, facts: dict[str, str], came: Came) -> None:
        place = self._topics.full(topic)
        self._producer(place).send_async(data, partial(came, place), properties=facts, partition_key=key or None)

    # --- producers ---

    def _producer(self, place: str) -> pulsar.Producer:
        """The one for what Pulsar calls so: a topic, or a partition."""
        with self._lock:
            producer = self._producers.get(place)
            if producer is not None:
                self._producers.move_to_end(place)
                return producer
        with self._making:
            with self._lock:
                producer = self._producers.get(place)
            if producer is None:
                producer = self._make(place)
                with self._lock:
                    self._producers[place] = producer
                self._close_idle()
        return producer

    def _make(self, place: str) -> pulsar.Producer:
        settings, topic, name = self._settings, self._topics.name(place), self._settings.producer_name
        try:
            return self._client.create_producer(
                place,
                # the broker lets nobody in who has the name of one that is there: each process has its own
                producer_name=f"{name}-{topic}-{uuid.uuid4().hex[:8]}" if name else None,
                send_timeout_millis=0,  # what is not confirmed stays under way, in order, whatever the outage
                compression_type=COMPRESSIONS[settings.compression],
                max_pending_messages=settings.pending,
                max_pending_messages_across_partitions=(1 << 31) - 1,
                batching_enabled=settings.batching,
                batching_type=pulsar.BatchingType.KeyBased if is_keyed(topic) else pulsar.BatchingType.Default,
                batching_max_messages=settings.batching_messages,
                batching_max_publish_delay_ms=max(1, round(settings.batching_delay * 1000)),
            )
        except Exception as error:
            raise TransportError(f"{settings.place} gave no producer for {topic}: {said(error)}") from None

    def _close_idle(self) -> None:
        with self._lock:
            to_clients = [place for place in self._producers if self._topics.name(place).startswith(CLIENT)]
            idle = [self._producers.pop(place) for place in to_clients[:-TO_CLIENTS]]
        for producer in idle:
            with suppress(Exception):
                producer.close()

    def close(self) -> None:
        """What is under way still will not be confirmed, nor what is sent from here on."""
        with self._lock:
            self._closed = True
            left = list(self._under_way)
            self._producers.clear()
        for identity in left:
            self._settle(identity, "closed")


@lru_cache(1 << 16)
def _hash(key: str) -> int:
    """Java's `String.hashCode`: what its client goes by unless told otherwise, and others can be told to."""
    number, units = 0, key.encode("utf-16-be")
    for high, low in zip(units[::2], units[1::2], strict=True):
        number = (31 * number + (high << 8) + low) & 0xFFFFFFFF
    return number & 0x7FFFFFFF


def _ignore(place: str, result: Any, message_id: Any) -> None:
    """Nobody waits for this receipt."""


class Hints:
    """Sends hints on a thread of its own: a producer that must be made first holds up nobody."""

    def __init__(self, producers: Producers) -> None:
        self._producers = producers
        self._waiting: deque[tuple[Outgoing, bytes]] = deque(maxlen=MOST_HINTS)
        self._some = threading.Condition()
        self._closed = False
        self._thread: threading.Thread | None = None

    def put(self, hints: Sequence[tuple[Outgoing, bytes]]) -> None:
        """Send these some time; of more than wait already some are lost."""
        with self._some:
            if self._thread is None:
                self._thread = threading.Thread(target=self._serve, name="infinitic-hints", daemon=True)
                self._thread.start()
            self._waiting.extend(hints)
            self._some.notify()

    def _serve(self) -> None:
        while True:
            with self._some:
                self._some.wait_for(lambda: self._waiting or self._closed)
                if not self._waiting:
                    return
                waiting = list(self._waiting)
                self._waiting.clear()
            for outgoing, body in waiting:
                self._producers.hint(outgoing, body)

    def close(self, seconds: float = 1.0) -> None:
        """Send what waits, for up to *seconds*."""
        with self._some:
            self._closed = True
            self._some.notify()
        if self._thread is not None:
            self._thread.join(seconds)
