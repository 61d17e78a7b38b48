"""Messages on their way into the table, within one transaction: whose they are, and whom they concern."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple, Protocol

from infinitic.messages import Delivery, Outgoing, encode_message
from infinitic.sqlite_file import Connection
from infinitic.transports.sqlite import queue


class Receipt(NamedTuple):
    """The row to delete for an acknowledgement, and the key of the message."""

    row: int
    key: str


class Taker(Protocol):
    """A consumer of this process: what it subscribed to, and which instances it holds, by topic and key."""

    id: int
    topics: tuple[str, ...]
    held: dict[tuple[str, str], int]


class Posting:
    """The messages of one transaction. *concerned* are the owners to wake after the commit.

    *takers* are this process's consumers, so that most owners are known without a look into the table. Up to
    *room* tasks are given to the *adopter*: they are in *adopted*.
    """

    __slots__ = ("_db", "_subscribers", "_takers", "adopted", "adopter", "concerned", "room")

    def __init__(
        self, db: Connection, takers: Mapping[int, Taker], adopter: Taker | None = None, room: int = 0
    ) -> None:
        self.concerned: set[int] = set()
        self.adopted: list[Delivery] = []
        self.adopter, self.room = adopter, room
        self._db, self._takers = db, takers
        self._subscribers: dict[str, set[int]] = {}

    def put(self, outgoing: Outgoing) -> None:
        """Send one message."""
        topic, adopter = outgoing.topic, self.adopter
        if adopter is not None and self._is_for(adopter, outgoing):
            self._adopt(outgoing, adopter)
            return
        if queue.is_broadcast(topic):
            self._broadcast(outgoing)
            return
        owner = self._holder(topic, outgoing.key) if queue.is_keyed(topic) else 0
        self._give(outgoing, owner)
        self.concerned |= {owner} if owner else self.subscribers(topic)

    def _is_for(self, adopter: Taker, outgoing: Outgoing) -> bool:
        return self.room > 0 and outgoing.message.kind == "task" and outgoing.topic in adopter.topics

    def _adopt(self, outgoing: Outgoing, adopter: Taker) -> None:
        self.room -= 1
        receipt = Receipt(self._give(outgoing, adopter.id), outgoing.key)
        self.adopted.append(Delivery(outgoing.topic, outgoing.message, receipt))

    def _broadcast(self, outgoing: Outgoing) -> None:
        for owner in self.subscribers(outgoing.topic):
            self._give(outgoing, owner)
            self.concerned.add(owner)

    def _give(self, outgoing: Outgoing, owner: int) -> int:
        values = (outgoing.topic, outgoing.key, encode_message(outgoing.message), owner)
        row = self._db.execute(queue.INSERT, values).lastrowid
        assert row is not None
        return row

    def subscribers(self, topic: str) -> set[int]:
        """Who is subscribed to the topic."""
        if topic not in self._subscribers:
            self._subscribers[topic] = queue.subscribers(self._db, (topic,))
        return self._subscribers[topic]

    def _holder(self, topic: str, key: str) -> int:
        for owner, taker in self._takers.items():
            if (topic, key) in taker.held:
                return owner
        return queue.leaseholder(self._db, topic, key)
