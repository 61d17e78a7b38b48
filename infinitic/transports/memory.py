"""Topics in one process: for tests, for simulations and behind `memory://` URLs.

The law of the place: no thread and no chance of its own, so that a simulation decides all that happens; every
call is one atomic step under one lock; `ready` is called when that lock is free again. Messages are kept
encoded.
"""

from __future__ import annotations

import heapq
import threading
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from copy import copy
from itertools import chain, count

from attrs import Factory, define, field

from infinitic.clock import Clock, system_clock
from infinitic.errors import Bug, TransportError
from infinitic.messages import Delivery, Message, Outgoing, decode_message, encode_message
from infinitic.topics import CLIENT, CONTROL, DEAD, SERVICE, WORKFLOW


@define(eq=False)
class Entry:
    """A message that was sent; *order* counts all that were, and is the receipt of its deliveries."""

    order: int
    key: str
    body: bytes


@define(eq=False)
class Topic:
    """What all kinds share. A change gives back those who may have something to receive now."""

    consumers: dict[MemoryConsumer, None] = Factory(dict)
    in_hand: dict[int, tuple[MemoryConsumer, Entry]] = Factory(dict)  # delivered, not acknowledged

    def put(self, entry: Entry) -> Iterable[MemoryConsumer]:
        raise NotImplementedError

    def take(self, consumer: MemoryConsumer, limit: int) -> list[Entry]:
        raise NotImplementedError

    def give_back(self, entries: list[Entry]) -> Iterable[MemoryConsumer]:
        raise NotImplementedError

    def unsettled(self) -> Iterable[Entry]:
        return (entry for _, entry in self.in_hand.values())

    def release(self, consumer: MemoryConsumer, keys: Iterable[str]) -> Iterable[MemoryConsumer]:
        return ()

    def join(self, consumer: MemoryConsumer) -> None:
        self.consumers[consumer] = None

    def leave(self, consumer: MemoryConsumer) -> Iterable[MemoryConsumer]:
        del self.consumers[consumer]
        held = [order for order, (holder, _) in self.in_hand.items() if holder is consumer]
        return self.give_back(self.hand_in(consumer, held))

    def hand_out(self, consumer: MemoryConsumer, limit: int) -> list[Entry]:
        taken = self.take(consumer, limit)
        self.in_hand.update((entry.order, (consumer, entry)) for entry in taken)
        return taken

    def hand_in(self, consumer: MemoryConsumer, receipts: Iterable[int]) -> list[Entry]:
        """Out of the hands of *consumer*; those that are not in them are passed over."""
        mine = [order for order in dict.fromkeys(receipts) if self.in_hand.get(order, (None,))[0] is consumer]
        return [self.in_hand.pop(order)[1] for order in mine]


@define(eq=False)
class Shared(Topic):
    """Each message goes to any one consumer."""

    waiting: deque[Entry] = Factory(deque)

    def put(self, entry: Entry) -> Iterable[MemoryConsumer]:
        self.waiting.append(entry)
        return self.consumers

    def take(self, consumer: MemoryConsumer, limit: int) -> list[Entry]:
        return [self.waiting.popleft() for _ in range(min(limit, len(self.waiting)))]

    def give_back(self, entries: list[Entry]) -> Iterable[MemoryConsumer]:
        # Behind the others, lest one message that nobody wants keeps them all waiting.
        self.waiting.extend(entries)
        return self.consumers

    def unsettled(self) -> Iterable[Entry]:
        return chain(Topic.unsettled(self), self.waiting)


@define(eq=False)
class Lane:
    """The messages of one key that wait, and the one consumer that may have them, when there is one."""

    key: str
    holder: MemoryConsumer | None = None
    waiting: deque[Entry] = Factory(deque)

    def __lt__(self, other: Lane) -> bool:
        """Whether this one waits longer."""
        return self.waiting[0].order < other.waiting[0].order


@define(eq=False)
class KeyShared(Topic):
    """All messages of a key go to one consumer, in order, until it leaves or lets go of the key."""

    lanes: dict[str, Lane] = Factory(dict)
    free: dict[str, Lane] = Factory(dict)  # lanes where something waits and nobody holds
    held: dict[MemoryConsumer, dict[str, Lane]] = Factory(dict)  # lanes where something waits, by holder

    def join(self, consumer: MemoryConsumer) -> None:
        self.consumers[consumer] = None
        self.held[consumer] = {}

    def put(self, entry: Entry) -> Iterable[MemoryConsumer]:
        lane = self.lanes.setdefault(entry.key, Lane(entry.key))
        lane.waiting.append(entry)
        self._sort_in(lane)
        return self.consumers if lane.holder is None else (lane.holder,)

    def take(self, consumer: MemoryConsumer, limit: int) -> list[Entry]:
        taken: list[Entry] = []
        for lane in self._oldest_lanes(consumer, limit):
            self.free.pop(lane.key, None)
            lane.holder = consumer
            taken += [lane.waiting.popleft() for _ in range(min(limit - len(taken), len(lane.waiting)))]
            self._sort_in(lane)
        return taken

    def _oldest_lanes(self, consumer: MemoryConsumer, limit: int) -> list[Lane]:
        """Lanes that *consumer* may take from, the longest waiting first, with *limit* messages."""
        lanes: list[Lane] = []
        for lane in heapq.merge(self.held[consumer].values(), self.free.values()):
            if limit <= 0:
                break
            lanes.append(lane)
            limit -= len(lane.waiting)
        return lanes

    def give_back(self, entries: list[Entry]) -> Iterable[MemoryConsumer]:
        """A key of which its holder has nothing in hand any more is free."""
        busy = {entry.key for _, entry in self.in_hand.values()}
        for entry in entries:
            self.lanes[entry.key].waiting.append(entry)
        for lane in [self.lanes[key] for key in dict.fromkeys(entry.key for entry in entries)]:
            lane.waiting = deque(sorted(lane.waiting, key=lambda entry: entry.order))
            if lane.key not in busy:
                self._let_go(lane)
            self._sort_in(lane)
        return self.consumers

    def release(self, consumer: MemoryConsumer, keys: Iterable[str]) -> Iterable[MemoryConsumer]:
        lanes = {key: self.lanes[key] for key in keys if key in self.lanes and self.lanes[key].holder is consumer}
        held = [order for order, (_, entry) in self.in_hand.items() if entry.key in lanes]
        self.give_back(self.hand_in(consumer, held))
        for lane in lanes.values():
            self._let_go(lane)
            self._sort_in(lane)
        return self.consumers if lanes else ()

    def leave(self, consumer: MemoryConsumer) -> Iterable[MemoryConsumer]:
        del self.consumers[consumer]
        woken = self.release(consumer, [lane.key for lane in self.lanes.values() if lane.holder is consumer])
        del self.held[consumer]
        return woken

    def unsettled(self) -> Iterable[Entry]:
        return chain(Topic.unsettled(self), *(lane.waiting for lane in self.lanes.values()))

    def _let_go(self, lane: Lane) -> None:
        if lane.holder is not None:
            self.held[lane.holder].pop(lane.key, None)
        lane.holder = None

    def _sort_in(self, lane: Lane) -> None:
        """Put *lane* where `take` finds it, or does not when nothing waits there."""
        shelf = self.free if lane.holder is None else self.held[lane.holder]
        if lane.waiting:
            shelf[lane.key] = lane
            return
        shelf.pop(lane.key, None)
        if lane.holder is None:
            self.lanes.pop(lane.key, None)


@define(eq=False)
class Broadcast(Topic):
    """Each message goes to all who are there, once; there is nothing to acknowledge or to give back."""

    waiting: dict[MemoryConsumer, deque[Entry]] = Factory(dict)

    def join(self, consumer: MemoryConsumer) -> None:
        self.consumers[consumer] = None
        self.waiting[consumer] = deque()

    def put(self, entry: Entry) -> Iterable[MemoryConsumer]:
        for queue in self.waiting.values():
            queue.append(entry)
        return self.consumers

    def take(self, consumer: MemoryConsumer, limit: int) -> list[Entry]:
        queue = self.waiting[consumer]
        return [queue.popleft() for _ in range(min(limit, len(queue)))]

    def hand_out(self, consumer: MemoryConsumer, limit: int) -> list[Entry]:
        return self.take(consumer, limit)

    def give_back(self, entries: list[Entry]) -> Iterable[MemoryConsumer]:
        return ()

    def leave(self, consumer: MemoryConsumer) -> Iterable[MemoryConsumer]:
        del self.consumers[consumer], self.waiting[consumer]
        return ()


def _topic_named(name: str) -> Topic:
    if name.startswith(CLIENT) or (name.startswith(SERVICE) and name.endswith(CONTROL)):
        return Broadcast()
    if name.startswith((SERVICE, WORKFLOW)):
        return Shared() if name.startswith(SERVICE) or name.endswith(DEAD) else KeyShared()
    raise Bug(f"{name!r} is the name of no topic")


@define(eq=False)
class Broker:
    """What all handles of one transport share."""

    lock: threading.RLock = Factory(threading.RLock)
    topics: dict[str, Topic] = Factory(dict)
    sent: count[int] = Factory(count)

    def topic(self, name: str) -> Topic:
        if name not in self.topics:
            self.topics[name] = _topic_named(name)
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
        woken: dict[MemoryConsumer, None] = {}
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
        woken: dict[MemoryConsumer, None] = {}
        with self._lock:
            for topic, entries in self._hand_in(deliveries):
                woken.update(dict.fromkeys(topic.give_back(entries)))
        _wake(woken)

    def release(self, keys: Sequence[str]) -> None:
        """Let go of *keys*; their messages that are still in hand are given back."""
        woken: dict[MemoryConsumer, None] = {}
        with self._lock:
            for topic in () if self.closed else self.topics.values():
                woken.update(dict.fromkeys(topic.release(self, keys)))
        _wake(woken)

    def began(self, delivery: Delivery) -> None:
        """Nothing: nobody outlives this process to count its deaths."""

    def ended(self, delivery: Delivery) -> None:
        """Nothing."""

    def close(self) -> None:
        woken: dict[MemoryConsumer, None] = {}
        with self._lock:
            for topic in () if self.closed else self.topics.values():
                woken.update(dict.fromkeys(topic.leave(self)))
            self.closed = True
            self.transport._consumers.pop(self, None)
        _wake(woken)

    def crash(self) -> None:
        """Be gone as by a crash: all that is not acknowledged comes again, and no death is counted."""
        self.close()


def _wake(consumers: Iterable[MemoryConsumer]) -> None:
    for consumer in consumers:
        consumer.ready()
