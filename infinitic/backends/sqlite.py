"""The embedded backend: storage and queue in one SQLite file, and a commit that is one transaction.

What a step appends, sends and acknowledges is written together or not at all: no crash comes in between, and
no mark is needed.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

from infinitic.backends import Committed, Step
from infinitic.clock import Clock, system_clock
from infinitic.errors import Bug
from infinitic.messages import Delivery, Outgoing
from infinitic.records import Append
from infinitic.sqlite_file import Connection, SqliteFile
from infinitic.storages.sqlite import SqliteStorage
from infinitic.topics import workflow_topic
from infinitic.transports import Consumer
from infinitic.transports.sqlite import SqliteTransport, queue
from infinitic.transports.sqlite.consumer import SqliteConsumer, rows_of
from infinitic.transports.sqlite.posting import Posting


class SqliteBackend:
    """A `Backend` in one SQLite file."""

    marks = False

    def __init__(self, file: SqliteFile, role: str = "worker") -> None:
        self._file = file
        self._closed = False
        self.storage = SqliteStorage(file)
        self.transport = SqliteTransport(file, role)

    @classmethod
    def open(
        cls,
        path: str | os.PathLike[str],
        *,
        role: str = "worker",
        durability: str = "full",
        clock: Clock = system_clock,
    ) -> SqliteBackend:
        """The file at *path*, created if need be. Raises `StorageError` when it cannot be used."""
        return cls(SqliteFile(path, durability=durability, clock=clock), role)

    def commit(self, steps: Sequence[Step], tasks: Consumer | None = None, capacity: int = 0) -> Committed:
        """All steps in one transaction; on return it is on the disk (with durability "full")."""
        transport, adopter, adopted = self.transport, _own(tasks), []
        try:
            with self._file.transaction() as db:
                posting = transport.posting(db, adopter, capacity)
                won = tuple([self._write(db, step, posting) for step in steps])
                # before the commit, for after it another thread could receive them besides
                adopted = rows_of(posting.adopted)
                transport.handed.update(adopted)
        except BaseException:
            transport.handed.difference_update(adopted)
            raise
        for step, wins in zip(steps, won, strict=True):
            if wins and step.acks:
                self._settle(step)
        if posting.concerned:
            transport.wake(posting.concerned)
        return Committed(won, tuple(posting.adopted))

    def _write(self, db: Connection, step: Step, posting: Posting) -> bool:
        append = step.append
        if append is not None and not self.storage.append_in(db, append):
            return False
        for outgoing in step.outputs:
            posting.put(outgoing)
        for hint in step.hints:
            posting.put(hint)
        queue.delete(db, rows_of(step.acks))
        consumer = _own(step.consumer)
        if consumer is not None and consumer.deaths and append is not None:
            _forgive(db, consumer, append)
        return True

    def _settle(self, step: Step) -> None:
        rows, consumer = rows_of(step.acks), _own(step.consumer)
        if consumer is None:
            self.transport.handed.difference_update(rows)
        else:
            consumer.settle(rows)

    def handed_over(self, task: Delivery, result: Outgoing, workflows: Consumer | None) -> Delivery | None:
        """The result as a delivery whose acknowledgement deletes the task's row."""
        consumer = _own(workflows)
        return None if consumer is None else consumer.take_over(task, result)

    def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        try:
            self.transport.close()
        finally:
            self.storage.close()


def _forgive(db: Connection, consumer: SqliteConsumer, append: Append) -> None:
    """An instance that could be applied, or was suspended, starts to count its deaths anew."""
    if append.turns or append.record is not None:
        consumer.forgive(db, workflow_topic(append.workflow), append.workflow_id)


def _own(consumer: Consumer | None) -> SqliteConsumer | None:
    if consumer is None or isinstance(consumer, SqliteConsumer):
        return consumer
    raise Bug(f"a {type(consumer).__name__} was given to the SQLite backend")
