"""The embedded queue: topics as rows of the SQLite file that also holds the storage.

Every consumer is an *owner*: it holds a lock that the kernel frees when its process dies, and a FIFO at which
it is woken. What an owner had is taken over by the sweep of any other as soon as its lock is free.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence

from infinitic.clock import Clock, system_clock
from infinitic.errors import TransportError
from infinitic.messages import Outgoing
from infinitic.sqlite_file import Connection, SqliteFile
from infinitic.sqlite_file.trouble import explaining_os
from infinitic.transports import OnTheWay, Traffic
from infinitic.transports.sqlite import looking, owners, queue
from infinitic.transports.sqlite.consumer import SqliteConsumer
from infinitic.transports.sqlite.owners import Bells, Presence
from infinitic.transports.sqlite.posting import Posting

CLIENT_PATIENCE = 1.0
"""A client sweeps nothing: its listener looks by itself after this many seconds without a wake-up."""


class SqliteTransport:
    """A `Transport` in a SQLite file, which it shares with whoever else was given the same `SqliteFile`.

    *role* is "worker" for one whose `sweep` is called twice a second; any other looks after itself.
    """

    def __init__(self, file: SqliteFile, role: str = "worker") -> None:
        self.file = file.share()
        self.handed: set[int] = set()  # rows in the hands of this transport's consumers
        self._role = role
        self._consumers: dict[int, SqliteConsumer] = {}
        self._bells = Bells(file)
        self._closed = False

    @classmethod
    def open(
        cls, path: str | os.PathLike[str], *, role: str = "worker", clock: Clock = system_clock
    ) -> SqliteTransport:
        """A transport with a file of its own."""
        return cls(SqliteFile(path, clock=clock), role)

    def publish(self, batch: Sequence[Outgoing]) -> None:
        self._check_open()
        durable = any(not queue.is_broadcast(outgoing.topic) for outgoing in batch)
        with self.file.transaction(durable=durable, kind=TransportError) as db:
            posting = self.posting(db)
            for outgoing in batch:
                posting.put(outgoing)
        self.wake(posting.concerned)

    def subscribe(self, topics: Sequence[str], ready: Callable[[], None]) -> SqliteConsumer:
        self._check_open()
        presence = self._register(topics)
        patience = None if self._role == "worker" else CLIENT_PATIENCE
        consumer = SqliteConsumer(self, presence, topics, ready, patience)
        self._consumers = {**self._consumers, consumer.id: consumer}
        ready()
        return consumer

    def _register(self, topics: Sequence[str]) -> Presence:
        with self.file.transaction(durable=False, kind=TransportError) as db:
            queue.adopt_orphans(db)
            pid = os.getpid()
            owner = queue.register(db, f"{self._role} {pid}", pid, self.file.clock(), topics)
            with explaining_os(owners.folder(self.file), TransportError):
                presence = Presence(self.file, owner)
                owners.remove_strays(self.file, queue.owners(db))
            return presence

    def traffic(self, topics: Sequence[str]) -> list[Traffic | None]:
        self._check_open()
        with self.file.reading(TransportError) as db:
            return looking.traffic(self.file, db, topics)

    def on_the_way(self, key: str) -> list[OnTheWay] | None:
        self._check_open()
        with self.file.reading(TransportError) as db:
            return list(looking.on_the_way(self.file, db, key))

    # -------------------------------------------------------------------------------------------- sweeping

    def sweep(self) -> None:
        self._check_open()
        with self.file.reading(TransportError) as db:
            known = queue.owners(db)
        self._check_known(known)
        for owner in known - self._consumers.keys():
            self._take_over_if_dead(owner)
        self._bells.forget(known)
        for consumer in self._consumers.values():
            consumer.look()

    def _check_known(self, known: set[int]) -> None:
        if not known.issuperset(self._consumers):
            hint = "Start this worker or client again, and leave the folder beside the database alone."
            raise TransportError(f"{self.file.path} no longer knows a consumer that is open here", hint)

    def _take_over_if_dead(self, owner: int) -> None:
        with owners.if_dead(self.file, owner) as running:
            if running is None:
                return
            with self.file.transaction(durable=False, kind=TransportError) as db:
                queue.count_deaths(db, owner, running)
                freed = queue.dismiss(db, owner)
                concerned = queue.subscribers(db, freed or ())
            owners.remove_files(self.file, owner)
        self.wake(concerned)

    # ------------------------------------------------------------------------- for consumers and the backend

    def posting(self, db: Connection, adopter: SqliteConsumer | None = None, room: int = 0) -> Posting:
        """To send messages in the caller's transaction, who is to wake those concerned afterwards."""
        return Posting(db, self._consumers, None if adopter is None or adopter.closed else adopter, room)

    def wake(self, concerned: Iterable[int]) -> None:
        """Tell these owners that there may be something to receive. Outside of any transaction."""
        others = []
        for owner in concerned:
            consumer = self._consumers.get(owner)
            if consumer is None:
                others.append(owner)
            else:
                consumer.ready()
        if others:
            self._bells.ring(others)

    def forget(self, consumer: SqliteConsumer) -> None:
        """The consumer is closed."""
        self._consumers = {owner: each for owner, each in self._consumers.items() if each is not consumer}

    def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        # those that hold instances first: their results go on before the tasks are given back
        for consumer in sorted(self._consumers.values(), key=lambda each: not any(map(queue.is_keyed, each.topics))):
            consumer.close()
        self._bells.close()
        self.file.close()

    def _check_open(self) -> None:
        if self._closed:
            raise TransportError(f"{self.file.path} is closed", "Open it anew.")
