"""Messages on their way into the table, within one transaction: whose they are, and whom they concern."""

from __future__ import annotations

from collections.abc import Collection

from infinitic.messages import Outgoing, encode_message
from infinitic.sqlite_file import Connection
from infinitic.transports.sqlite import queue


class Posting:
    """The messages of one transaction. *concerned* are the owners to wake after the commit.

    *held* tells, without a look into the table, which of this process's consumers holds an instance.
    """

    def __init__(self, db: Connection, held: Collection[tuple[int, Collection[tuple[str, str]]]]) -> None:
        self.concerned: set[int] = set()
        self._db, self._held = db, held
        self._subscribers: dict[str, set[int]] = {}

    def put(self, outgoing: Outgoing) -> None:
        """Send one message."""
        topic = outgoing.topic
        if queue.is_broadcast(topic):
            for owner in self.subscribers(topic):
                self.give(outgoing, owner)
                self.concerned.add(owner)
            return
        owner = self._holder(topic, outgoing.key) if queue.is_keyed(topic) else 0
        self.give(outgoing, owner)
        self.concerned |= {owner} if owner else self.subscribers(topic)

    def give(self, outgoing: Outgoing, owner: int) -> int:
        """Send one message to the owner that is given; its row."""
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
        for owner, held in self._held:
            if (topic, key) in held:
                return owner
        return queue.leaseholder(self._db, topic, key)
