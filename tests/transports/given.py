"""What the transport tests send, and how they receive: woken by `ready`, never by the clock."""

from functools import partial
from threading import Event
from typing import Any

import msgspec

from infinitic.messages import Delivery, Message, Outgoing
from tests.storages.given import in_threads

PATIENCE = 10.0
"""Seconds after which something that ought to come is given up. No test that passes waits for it."""

TRIPS, HOTELS, CONTROL, CLIENT = "workflow:trips", "service:Hotels", "service:Hotels:control", "client:c1"


def message(id_, **fields):
    plain: dict[str, Any] = {"kind": "event", "payload": msgspec.Raw(b'{"n":1}')}
    return Message(id=id_, **(plain | fields))


def sent(topic, key, *ids):
    """One message of each id."""
    return [Outgoing(topic, key, message(id_, workflow_id=key)) for id_ in ids]


class Subscriber:
    """A consumer that waits for its `ready` when there is nothing at hand."""

    def __init__(self, transport, *topics):
        self.woken = Event()
        self.consumer = transport.subscribe(topics, self.woken.set)

    def take(self, count, limit=100):
        """*count* deliveries, or those that came until nothing came any more."""
        taken: list[Delivery] = []
        while len(taken) < count:
            self.woken.clear()
            more = self.consumer.receive(min(limit, count - len(taken)))
            taken += more
            if not more and not self.woken.wait(PATIENCE):
                break
        return taken

    def ids(self, count):
        return ids(self.take(count))

    def at_hand(self):
        """The ids of what can be received without waiting."""
        return ids(self.consumer.receive(1_000))

    def done(self, count):
        """*count* ids, acknowledged."""
        taken = self.take(count)
        self.consumer.ack(taken)
        return ids(taken)


def ids(deliveries):
    return [delivery.message.id for delivery in deliveries]


def numbered(prefix, count, first=0):
    return [f"{prefix}{number}" for number in range(first, first + count)]


def share_out(subscribers, total, *publishers):
    """What each of *subscribers* got and acknowledged, in threads of their own, of *total* messages."""
    got: list[list[str]] = [[] for _ in subscribers]

    def consume(subscriber, its):
        while sum(map(len, got)) < total:
            subscriber.woken.clear()
            taken = subscriber.consumer.receive(8)
            its += ids(taken)
            subscriber.consumer.ack(taken)
            if not taken and sum(map(len, got)) < total and not subscriber.woken.wait(PATIENCE):
                return
        for other in subscribers:
            other.woken.set()

    in_threads(*publishers, *(partial(consume, *pair) for pair in zip(subscribers, got, strict=True)))
    return got
