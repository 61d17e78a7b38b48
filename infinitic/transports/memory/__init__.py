"""Topics in one process: for tests, for simulations and behind `memory://` URLs.

The law of the place: no thread and no chance of its own, so that a simulation decides all that happens; every
call is one atomic step under one lock; `ready` is called when that lock is free again. Messages are kept
encoded.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from copy import copy
from itertools import count

from attrs import Factory, define, field

from infinitic.clock import Clock, system_clock
from infinitic.errors import TransportError
from infinitic.messages import Delivery, Message, Outgoing, decode_message, encode_message
from infinitic.transports import OnTheWay, Traffic
from infinitic.transports.memory.topics import Entry, Taker, Topic, topic_named


@define(eq=False)
class Broker:
    """What all handles of one transport share."""

    lock: threading.RLock = Factory(threading.RLock)
    topics: dict[str, Topic] = Factory(dict)
    sent: count[int] = Factory(count)

    def topic(self, name: str) -> Topic:
        if name not in self.topics:
            self.topics[name] = topic_named(name)
        return self.topics[name]


class MemoryTransport:
    """A `Transport` in memory. Thread-safe; gone with the process.

    To let it lose and double messages and acknowledgements, override `copies` and `hears`.
    """

    def __init__(self, clock: Clock = system_clock) -> None:
        self.clock = clock
        self._broker = Broker()
        self._consumers: dict[MemoryConsumer, None] = {}
        self._closed = False

    def another(self) -> MemoryTransport:
        """One more handle on the same topics: closing it closes its own consumers only."""
        handle = copy(self)
        handle._consumers, handle._closed = {}, False
        return handle

    def copies(self, outgoing: Outgoing) -> int:
        """How often a message that is sent arrives: once."""
        return 1

    def hears(self, delivery: Delivery) -> bool:
        """Whether an acknowledgement arrives: always."""
        return True

    def publish(self, batch: Sequence[Outgoing]) -> None:
        bodies = [(outgoing, encode_message(outgoing.message)) for outgoing in batch]
        woken: dict[Taker, None] = {}
        with self._broker.lock:
            self._check_open()
            for outgoing, body in bodies:
                for _ in range(self.copies(outgoing)):
                    entry = Entry(next(self._broker.sent), outgoing.key, body)
                    woken.update(dict.fromkeys(self._broker.topic(outgoing.topic).put(entry)))
        _wake(woken)

    def subscribe(self, topics: Sequence[str], ready: Callable[[], None]) -> MemoryConsumer:
        with self._broker.lock:
            self._check_open()
            consumer = MemoryConsumer(self, ready, {name: self._broker.topic(name) for name in topics})
            for topic in consumer.topics.values():
                topic.join(consumer)
            self._consumers[consumer] = None
        ready()
        return consumer

    def unacknowledged(self, name: str) -> tuple[Message, ...]:
        """All that a topic still keeps, waiting or in hands, in the order it was sent; no broadcasts."""
        with self._broker.lock:
            entries = sorted(self._broker.topic(name).unsettled(), key=lambda entry: entry.order)
            return tuple(decode_message(entry.body) for entry in entries)

    def traffic(self, topics: Sequence[str]) -> list[Traffic | None]:
        with self._broker.lock:
            found = [self._broker.topics.get(name) for name in topics]
            return [Traffic() if one is None else Traffic(len(one.consumers), len([*one.free()])) for one in found]

    def on_the_way(self, key: str) -> list[OnTheWay] | None:
        with self._broker.lock:
            found = [
                (entry, name, topic)
                for name, topic in self._broker.topics.items()
                for entry in topic.unsettled()
                if entry.key == key
            ]
            return [_on_the_way(*one) for one in sorted(found, key=lambda one: one[0].order)]

    def sweep(self) -> None:
        """Nothing: what the dead held was given back when they died."""

    def close(self) -> None:
        for consumer in tuple(self._consumers):
            consumer.close()
        self._closed = True

    def _check_open(self) -> None:
        if self._closed:
            raise TransportError("The memory transport was used after it was closed")


@define(eq=False)
class MemoryConsumer:
    """A `Consumer` in memory. Once closed it receives nothing, and nobody hears what it acknowledges."""

    transport: MemoryTransport
    ready: Callable[[], None]
    topics: Mapping[str, Topic]
    turn: int = field(init=False, default=0)
    closed: bool = field(init=False, default=False)

    @property
    def _lock(self) -> threading.RLock:
        return self.transport._broker.lock

    def receive(self, limit: int) -> list[Delivery]:
        deliveries: list[Delivery] = []
        with self._lock:
            for name in () if self.closed else self._names():
                taken = self.topics[name].hand_out(self, limit - len(deliveries))
                deliveries += [Delivery(name, decode_message(entry.body), entry.order) for entry in taken]
        return deliveries

    def _names(self) -> list[str]:
        """The topics, another one first each time, lest a busy one keeps the others waiting."""
        names = list(self.topics)
        self.turn = (self.turn + 1) % len(names) if names else 0
        return names[self.turn :] + names[: self.turn]

    def _hand_in(self, deliveries: Iterable[Delivery]) -> list[tuple[Topic, list[Entry]]]:
        receipts: dict[str, list[int]] = {}
        for delivery in () if self.closed else deliveries:
            receipts.setdefault(delivery.topic, []).append(delivery.receipt)
        return [(self.topics[name], self.topics[name].hand_in(self, orders)) for name, orders in receipts.items()]

    def ack(self, deliveries: Sequence[Delivery]) -> None:
        with self._lock:
            self._hand_in(delivery for delivery in deliveries if self.transport.hears(delivery))

    def nack(self, deliveries: Sequence[Delivery]) -> None:
        woken: dict[Taker, None] = {}
        with self._lock:
            for topic, entries in self._hand_in(deliveries):
                woken.update(dict.fromkeys(topic.give_back(entries)))
        _wake(woken)

    def release(self, keys: Sequence[str]) -> None:
        """Let go of *keys*; their messages that are still in hand are given back."""
        woken: dict[Taker, None] = {}
        with self._lock:
            for topic in () if self.closed else self.topics.values():
                woken.update(dict.fromkeys(topic.release(self, keys)))
        _wake(woken)

    def began(self, delivery: Delivery) -> None:
        """Nothing: nobody outlives this process to count its deaths."""

    def ended(self, delivery: Delivery) -> None:
        """Nothing."""

    def close(self) -> None:
        woken: dict[Taker, None] = {}
        with self._lock:
            for topic in () if self.closed else self.topics.values():
                woken.update(dict.fromkeys(topic.leave(self)))
            self.closed = True
            self.transport._consumers.pop(self, None)
        _wake(woken)

    def crash(self) -> None:
        """Be gone as by a crash: all that is not acknowledged comes again, and no death is counted."""
        self.close()


def _wake(consumers: Iterable[Taker]) -> None:
    for consumer in consumers:
        consumer.ready()


def _on_the_way(entry: Entry, name: str, topic: Topic) -> OnTheWay:
    in_hand = entry.order in topic.in_hand
    holder = "this process" if in_hand or entry not in topic.free() else ""
    return OnTheWay(name, decode_message(entry.body), holder, runs=in_hand)
