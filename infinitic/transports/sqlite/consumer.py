"""A subscription: what one consumer received, which instances it holds, and what it says is under way.

The tables say to whom a message belongs; memory says which of them were already handed out. Memory is changed
before a commit that gives something away and after one that takes something, so it never claims too much.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import islice
from typing import Protocol

from msgspec import DecodeError

from infinitic.errors import TransportError
from infinitic.messages import FORMAT, Delivery, Outgoing, decode_message
from infinitic.sqlite_file import Connection, SqliteFile
from infinitic.transports.sqlite import queue
from infinitic.transports.sqlite.owners import Listener, Presence
from infinitic.transports.sqlite.posting import Posting, Receipt
from infinitic.transports.sqlite.queue import Row, Taken

END = 2**63 - 1
NO_ONE: Mapping[tuple[str, str], int] = {}


class Hub(Protocol):
    """What the consumers of one transport share."""

    file: SqliteFile
    handed: set[int]

    def posting(self, db: Connection) -> Posting: ...

    def wake(self, concerned: Iterable[int]) -> None: ...

    def forget(self, consumer: SqliteConsumer) -> None: ...


class SqliteConsumer:
    """A `Consumer`, and an owner in the tables. Made by `SqliteTransport.subscribe`."""

    def __init__(
        self,
        transport: Hub,
        presence: Presence,
        topics: Sequence[str],
        ready: Callable[[], None],
        patience: float | None,
    ) -> None:
        self.topics, self.ready, self.id = tuple(dict.fromkeys(topics)), ready, presence.owner
        self.held: dict[tuple[str, str], int] = {}  # instances by topic and key → lease id
        self.closed = False
        self._transport, self._file, self._presence = transport, transport.file, presence
        self._receiving = threading.Lock()  # never waited for inside the turnstile
        self._handed = transport.handed
        self._in_hand: dict[int, Delivery] = {}  # results of tasks that were handed over, by the task's row
        self._again: dict[int, Delivery] = {}  # those of them that were given back
        self.deaths: dict[tuple[str, str], int] = {}  # of instances that were being applied, where there are any
        self._high = 0  # up to here all that is ours was handed out, but for what was given back: see _back_to
        self._back_to = END
        self._mutex = threading.Lock()  # guards _back_to
        self._fresh: list[int] = []  # rows that the call under way marked as handed out
        self._turn = 0
        self._listener = Listener(presence, ready, self.look, patience)

    # ----------------------------------------------------------------------------------------- receiving

    def receive(self, limit: int) -> list[Delivery]:
        with self._receiving:
            if self.closed or limit <= 0:
                return []
            self._fresh.clear()
            again = self._given_back(limit)
            try:
                return again + self._received(limit - len(again))
            except BaseException:  # what nobody got is not handed out
                self._again.update((delivery.receipt.row, delivery) for delivery in again)
                self._take_back(self._fresh)
                raise

    def _given_back(self, limit: int) -> list[Delivery]:
        rows = list(islice(self._again, limit))
        return [self._again.pop(row) for row in rows]

    def _received(self, limit: int) -> list[Delivery]:
        with self._file.reading(TransportError) as db:
            free = queue.is_free(db, self.topics)
            # one place is kept, lest instances that are held and busy keep all others waiting
            rows = self._own(db, limit - free)
        deliveries = self._handed_out(rows)
        room = limit - len(deliveries)
        if free and room > 0:
            self._take(room)
            with self._file.reading(TransportError) as db:
                rows = self._own(db, room)
            deliveries += self._handed_out(rows)
        return deliveries

    def _take_back(self, rows: Sequence[int]) -> None:
        """These rows, which are still this consumer's, are to be handed out again."""
        with self._mutex:
            self._handed.difference_update(rows)
            self._back_to = min(self._back_to, *(row - 1 for row in rows)) if rows else self._back_to

    def _own(self, db: Connection, limit: int) -> list[Row]:
        """The next of what belongs to this consumer."""
        if limit <= 0:
            return []
        with self._mutex:
            self._high, self._back_to = min(self._high, self._back_to), END
        return list(islice(self._new(queue.own(db, self.id, self._high)), limit))

    def _handed_out(self, rows: Sequence[Row]) -> list[Delivery]:
        """*rows* as deliveries. Broken messages are put away, hints leave the table."""
        decoded = [self._delivery(row) for row in rows]
        broken = [(row, found) for row, found in zip(rows, decoded, strict=True) if isinstance(found, str)]
        hints = [row.id for row in rows if queue.is_broadcast(row.topic)]
        if broken or hints:
            self._remove(broken, hints)
        return [delivery for delivery in decoded if not isinstance(delivery, str)]

    def _new(self, rows: Iterable[Row]) -> Iterator[Row]:
        """Those of *rows* that were not handed out; they are now."""
        for row in rows:
            self._high = row.id
            if row.id not in self._handed:
                self._handed.add(row.id)
                self._fresh.append(row.id)
                yield row

    def _delivery(self, row: Row) -> Delivery | str:
        """What is handed out, or why it cannot be."""
        try:
            message = decode_message(row.body)
        except (DecodeError, UnicodeDecodeError) as error:
            return str(error)
        if message.format > FORMAT + 1 and not queue.is_keyed(row.topic):  # an instance keeps such in its inbox
            return f"its format is {message.format}, and this release reads up to {FORMAT + 1}"
        if queue.is_broadcast(row.topic):
            return Delivery(row.topic, message)
        deaths = self.deaths.get((row.topic, row.key), 0) if queue.is_keyed(row.topic) else row.deaths
        return Delivery(row.topic, message, Receipt(row.id, row.key), deaths, bool(row.suspect))

    def _remove(self, broken: Sequence[tuple[Row, str]], hints: Sequence[int]) -> None:
        with self._file.transaction(durable=False, kind=TransportError) as db:
            for row, reason in broken:
                queue.bury(db, row.id, reason, self._file.clock())
            queue.delete(db, hints)
        self._handed.difference_update(hints, [row.id for row, _ in broken])

    def _take(self, limit: int) -> None:
        """Make free messages this consumer's own."""
        with self._file.transaction(durable=False, kind=TransportError) as db:
            taken = list(self._take_each(db, limit))
        with self._mutex:
            for first, _, leases in taken:
                self._back_to = min(self._back_to, first - 1)
                self.held.update({(lease.topic, lease.key): lease.id for lease in leases})
                self.deaths.update({(lease.topic, lease.key): lease.deaths for lease in leases if lease.deaths})

    def _take_each(self, db: Connection, limit: int) -> Iterator[Taken]:
        """Another topic is the first each time, lest a busy one keeps the others waiting."""
        self._turn = (self._turn + 1) % len(self.topics)
        for topic in (*self.topics[self._turn :], *self.topics[: self._turn]):
            taken = queue.take(db, self.id, topic, limit) if limit > 0 else None
            if taken is not None:
                limit -= taken.rows
                yield taken

    def look(self) -> None:
        """Call `ready` if there is something to receive: the net below the wake-ups."""
        if self.closed:
            return
        with self._mutex:
            high = min(self._high, self._back_to)
        with self._file.reading(TransportError) as db:
            unseen = any(row.id not in self._handed for row in queue.own(db, self.id, high))
            found = bool(self._again) or unseen or queue.is_free(db, self.topics)
        if found:
            self.ready()

    # -------------------------------------------------------------------------------------- giving back

    def ack(self, deliveries: Sequence[Delivery]) -> None:
        rows = rows_of(deliveries)
        if not rows or self.closed:
            return
        with self._file.transaction(durable=False, kind=TransportError) as db:
            queue.delete(db, rows)
        self.settle(rows)

    def settle(self, rows: Iterable[int]) -> None:
        """These rows are no longer in the table."""
        self._handed.difference_update(rows)
        for row in rows if self._in_hand else ():
            self._in_hand.pop(row, None)

    def nack(self, deliveries: Sequence[Delivery]) -> None:
        if self.closed:
            return
        shared: list[tuple[str, int]] = []
        for delivery in deliveries:
            if delivery.receipt is not None and not self._keep(delivery):
                shared.append((delivery.topic, delivery.receipt.row))
        self._free(shared)
        self.ready()

    def _keep(self, delivery: Delivery) -> bool:
        """Give back what still belongs to this consumer: an instance's messages stay with who holds it."""
        row, keyed = delivery.receipt.row, queue.is_keyed(delivery.topic)
        if keyed and row in self._in_hand:
            self._again[row] = delivery
        elif keyed:
            self._take_back([row])
        return keyed

    def _free(self, shared: Sequence[tuple[str, int]]) -> None:
        if not shared:
            return
        rows = [row for _, row in shared]
        with self._giving_up(rows), self._file.transaction(durable=False, kind=TransportError) as db:
            self._handed.difference_update(rows)
            queue.free(db, rows)
            concerned = queue.subscribers(db, {topic for topic, _ in shared})
        self._transport.wake(concerned)

    def release(self, keys: Sequence[str]) -> None:
        names = [(topic, key) for topic in self.topics for key in keys]
        held = {name: self.held.pop(name) for name in names if name in self.held}
        if not held:
            return
        rows: list[int] = []
        with self._giving_up(rows, held), self._file.transaction(kind=TransportError) as db:
            posting = self._transport.posting(db)
            for name in held:
                rows += queue.free_lease(db, self.id, *name)
                posting.concerned |= posting.subscribers(name[0])
            self._handed.difference_update(rows)
            again = [row for row, delivery in self._again.items() if name_of(delivery) in held]
            self._send_on(db, posting, again)
        self._forget(held, again)
        self._transport.wake(posting.concerned)

    @contextmanager
    def _giving_up(self, rows: Sequence[int], held: Mapping[tuple[str, str], int] = NO_ONE) -> Iterator[None]:
        """What could not be given up is this consumer's as before, and its messages are handed out again."""
        try:
            yield
        except BaseException:
            self.held.update(held)
            self._take_back(rows)
            raise

    def _send_on(self, db: Connection, posting: Posting, rows: Sequence[int]) -> None:
        """Results that were handed over, and that are not done with, go the way of other results."""
        for row in rows:
            delivery = self._in_hand[row]
            posting.put(Outgoing(delivery.topic, delivery.receipt.key, delivery.message))
        queue.delete(db, rows)

    def _forget(self, names: Iterable[tuple[str, str]], rows: Iterable[int]) -> None:
        for name in names:
            self.deaths.pop(name, None)
        for row in rows:
            self._in_hand.pop(row, None)
            self._again.pop(row, None)

    def close(self) -> None:
        with self._receiving:
            if self.closed:
                return
            self.closed = True
        self._listener.close()
        self.held.clear()
        try:
            self._dismiss()
        finally:  # whatever is left to do is done by whoever finds us dead
            self._presence.leave()
            self._transport.forget(self)

    def _dismiss(self) -> None:
        with self._file.transaction(kind=TransportError) as db:
            posting = self._transport.posting(db)
            mine = queue.ids(db, self.id)
            posting.concerned |= queue.subscribers(db, queue.dismiss(db, self.id) or ())
            self._send_on(db, posting, list(self._in_hand))
        self._handed.difference_update(mine)
        self._transport.wake(posting.concerned - {self.id})

    # ------------------------------------------------------------------------------------- what goes on

    def began(self, delivery: Delivery) -> None:
        number = self._number(delivery)
        if number:
            self._presence.began(number)

    def ended(self, delivery: Delivery) -> None:
        number = self._number(delivery)
        if number:
            self._presence.ended(number)

    def _number(self, delivery: Delivery) -> int:
        """What stands for the delivery in the slots: the message, or (negative) the lease of its instance."""
        if queue.is_keyed(delivery.topic):
            return -self.held.get(name_of(delivery), 0)
        return delivery.receipt.row if delivery.receipt is not None else 0

    # --------------------------------------------------------------------------------------- the backend

    def take_over(self, task: Delivery, result: Outgoing) -> Delivery | None:
        """The result of *task*, if this consumer holds the instance that it is for."""
        if (result.topic, result.key) not in self.held or task.receipt is None:
            return None
        row = task.receipt.row
        delivery = Delivery(result.topic, result.message, Receipt(row, result.key))
        self._in_hand[row] = delivery
        return delivery

    def forgive(self, db: Connection, topic: str, key: str) -> None:
        """The instance could be applied: deaths before do not count."""
        if self.deaths.pop((topic, key), 0):
            queue.forgive(db, topic, key)


def rows_of(deliveries: Iterable[Delivery]) -> list[int]:
    """The rows to delete for an acknowledgement of *deliveries*."""
    return [delivery.receipt.row for delivery in deliveries if delivery.receipt is not None]


def name_of(delivery: Delivery) -> tuple[str, str]:
    """Topic and key. A delivery that came from no row (a timer's, say) is for the instance that it names."""
    receipt = delivery.receipt
    return delivery.topic, delivery.message.workflow_id if receipt is None else receipt.key
