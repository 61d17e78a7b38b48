"""The three kinds of topics in memory: each message to any one, each key to one, each message to all."""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable, Iterable
from itertools import chain
from typing import Protocol

from attrs import Factory, define

from infinitic.errors import Bug
from infinitic.topics import CLIENT, CONTROL, DEAD, SERVICE, WORKFLOW


class Taker(Protocol):
    """A consumer, told by `ready` that there may be something to receive."""

    ready: Callable[[], None]


@define(eq=False)
class Entry:
    """A message that was sent; *order* counts all that were, and is the receipt of its deliveries."""

    order: int
    key: str
    body: bytes


@define(eq=False)
class Topic:
    """What all kinds share. A change gives back those who may have something to receive now."""

    consumers: dict[Taker, None] = Factory(dict)
    in_hand: dict[int, tuple[Taker, Entry]] = Factory(dict)  # delivered, not acknowledged

    def put(self, entry: Entry) -> Iterable[Taker]:
        raise NotImplementedError

    def take(self, consumer: Taker, limit: int) -> list[Entry]:
        raise NotImplementedError

    def give_back(self, entries: list[Entry]) -> Iterable[Taker]:
        raise NotImplementedError

    def free(self) -> Iterable[Entry]:
        """What no consumer has, nor holds the instance of."""
        return ()

    def unsettled(self) -> Iterable[Entry]:
        return (entry for _, entry in self.in_hand.values())

    def release(self, consumer: Taker, keys: Iterable[str]) -> Iterable[Taker]:
        return ()

    def join(self, consumer: Taker) -> None:
        self.consumers[consumer] = None

    def leave(self, consumer: Taker) -> Iterable[Taker]:
        del self.consumers[consumer]
        held = [order for order, (holder, _) in self.in_hand.items() if holder is consumer]
        return self.give_back(self.hand_in(consumer, held))

    def hand_out(self, consumer: Taker, limit: int) -> list[Entry]:
        taken = self.take(consumer, limit)
        self.in_hand.update((entry.order, (consumer, entry)) for entry in taken)
        return taken

    def hand_in(self, consumer: Taker, receipts: Iterable[int]) -> list[Entry]:
        """Out of the hands of *consumer*; those that are not in them are passed over."""
        mine = [order for order in dict.fromkeys(receipts) if self.in_hand.get(order, (None,))[0] is consumer]
        return [self.in_hand.pop(order)[1] for order in mine]


@define(eq=False)
class Shared(Topic):
    """Each message goes to any one consumer."""

    waiting: deque[Entry] = Factory(deque)

    def put(self, entry: Entry) -> Iterable[Taker]:
        self.waiting.append(entry)
        return self.consumers

    def take(self, consumer: Taker, limit: int) -> list[Entry]:
        return [self.waiting.popleft() for _ in range(min(limit, len(self.waiting)))]

    def give_back(self, entries: list[Entry]) -> Iterable[Taker]:
        # Behind the others, lest one message that nobody wants keeps them all waiting.
        self.waiting.extend(entries)
        return self.consumers

    def free(self) -> Iterable[Entry]:
        return self.waiting

    def unsettled(self) -> Iterable[Entry]:
        return chain(Topic.unsettled(self), self.waiting)


@define(eq=False)
class Lane:
    """The messages of one key that wait, and the one consumer that may have them, when there is one."""

    key: str
    holder: Taker | None = None
    waiting: deque[Entry] = Factory(deque)

    def __lt__(self, other: Lane) -> bool:
        """Whether this one waits longer."""
        return self.waiting[0].order < other.waiting[0].order


@define(eq=False)
class KeyShared(Topic):
    """All messages of a key go to one consumer, in order, until it leaves or lets go of the key."""

    lanes: dict[str, Lane] = Factory(dict)
    free_lanes: dict[str, Lane] = Factory(dict)  # lanes where something waits and nobody holds
    held: dict[Taker, dict[str, Lane]] = Factory(dict)  # lanes where something waits, by holder

    def join(self, consumer: Taker) -> None:
        self.consumers[consumer] = None
        self.held[consumer] = {}

    def put(self, entry: Entry) -> Iterable[Taker]:
        lane = self.lanes.setdefault(entry.key, Lane(entry.key))
        lane.waiting.append(entry)
        self._sort_in(lane)
        return self.consumers if lane.holder is None else (lane.holder,)

    def take(self, consumer: Taker, limit: int) -> list[Entry]:
        taken: list[Entry] = []
        for lane in self._oldest_lanes(consumer, limit):
            self.free_lanes.pop(lane.key, None)
            lane.holder = consumer
            taken += [lane.waiting.popleft() for _ in range(min(limit - len(taken), len(lane.waiting)))]
            self._sort_in(lane)
        return taken

    def _oldest_lanes(self, consumer: Taker, limit: int) -> list[Lane]:
        """Lanes that *consumer* may take from, the longest waiting first, with *limit* messages."""
        lanes: list[Lane] = []
        for lane in heapq.merge(self.held[consumer].values(), self.free_lanes.values()):
            if limit <= 0:
                break
            lanes.append(lane)
            limit -= len(lane.waiting)
        return lanes

    def give_back(self, entries: list[Entry]) -> Iterable[Taker]:
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

    def release(self, consumer: Taker, keys: Iterable[str]) -> Iterable[Taker]:
        lanes = {key: self.lanes[key] for key in keys if key in self.lanes and self.lanes[key].holder is consumer}
        held = [order for order, (_, entry) in self.in_hand.items() if entry.key in lanes]
        self.give_back(self.hand_in(consumer, held))
        for lane in lanes.values():
            self._let_go(lane)
            self._sort_in(lane)
        return self.consumers if lanes else ()

    def leave(self, consumer: Taker) -> Iterable[Taker]:
        del self.consumers[consumer]
        woken = self.release(consumer, [lane.key for lane in self.lanes.values() if lane.holder is consumer])
        del self.held[consumer]
        return woken

    def free(self) -> Iterable[Entry]:
        return chain.from_iterable(lane.waiting for lane in self.free_lanes.values())

    def unsettled(self) -> Iterable[Entry]:
        return chain(Topic.unsettled(self), *(lane.waiting for lane in self.lanes.values()))

    def _let_go(self, lane: Lane) -> None:
        if lane.holder is not None:
            self.held[lane.holder].pop(lane.key, None)
        lane.holder = None

    def _sort_in(self, lane: Lane) -> None:
        """Put *lane* where `take` finds it, or does not when nothing waits there."""
        shelf = self.free_lanes if lane.holder is None else self.held[lane.holder]
        if lane.waiting:
            shelf[lane.key] = lane
            return
        shelf.pop(lane.key, None)
        if lane.holder is None:
            self.lanes.pop(lane.key, None)


@define(eq=False)
class Broadcast(Topic):
    """Each message goes to all who are there, once; there is nothing to acknowledge or to give back."""

    waiting: dict[Taker, deque[Entry]] = Factory(dict)

    def join(self, consumer: Taker) -> None:
        self.consumers[consumer] = None
        self.waiting[consumer] = deque()

    def put(self, entry: Entry) -> Iterable[Taker]:
        for queue in self.waiting.values():
            queue.append(entry)
        return self.consumers

    def take(self, consumer: Taker, limit: int) -> list[Entry]:
        queue = self.waiting[consumer]
        return [queue.popleft() for _ in range(min(limit, len(queue)))]

    def hand_out(self, consumer: Taker, limit: int) -> list[Entry]:
        return self.take(consumer, limit)

    def give_back(self, entries: list[Entry]) -> Iterable[Taker]:
        return ()

    def leave(self, consumer: Taker) -> Iterable[Taker]:
        del self.consumers[consumer], self.waiting[consumer]
        return ()


def topic_named(name: str) -> Topic:
    if name.startswith(CLIENT) or (name.startswith(SERVICE) and name.endswith(CONTROL)):
        return Broadcast()
    if name.startswith((SERVICE, WORKFLOW)):
        return Shared() if name.startswith(SERVICE) or name.endswith(DEAD) else KeyShared()
    raise Bug(f"{name!r} is the name of no topic")
