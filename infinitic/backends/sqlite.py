"""The embedded backend: storage and queue in one SQLite file, and a commit that is one transaction.

What a step appends, sends and acknowledges is written together or not at all: no crash comes in between, and no
mark is needed.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

from infinitic.backends import Committed, Step
from infinitic.clock import Clock, system_clock
from infinitic.errors import Bug
from infinitic.messages import Delivery, Outgoing
from infinitic.sqlite_file import Connection, SqliteFile
from infinitic.storages.sqlite import SqliteStorage
from infinitic.topics import workflow_topic
from infinitic.transports import Consumer
from infinitic.transports.sqlite import SqliteTransport
from infinitic.transports.sqlite.consumer import Receipt, SqliteConsumer, rows_of
from infinitic.transports.sqlite.posting import Posting


class SqliteBackend:
    """A `Backend` in one SQLite file."""

    marks = False

    def __init__(self, file: SqliteFile, role: str = "worker") -> None:
        self._file = file
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
        adopter = _Adopter(_own(tasks), capacity)
        try:
            with self._file.transaction() as db:
                posting = self.transport.posting(db)
                won = tuple([self._write(db, step, posting, adopter) for step in steps])
        except BaseException:
            adopter.undo()
            raise
        for step, wins in zip(steps, won, strict=True):
            if wins and step.acks:
                self._settle(step)
        self.transport.wake(posting.concerned)
        return Committed(won, tuple(adopter.adopted))

    def _write(self, db: Connection, step: Step, posting: Posting, adopter: _Adopter) -> bool:
        append = step.append
        if append is not None and not self.storage.append_in(db, append):
            return False
        for outgoing in step.outputs:
            if not adopter.adopt(outgoing, posting):
                posting.put(outgoing)
        for hint in step.hints:
            posting.put(hint)
        for row in rows_of(step.acks):
            db.execute("DELETE FROM messages WHERE id = ?", (row,))
        if append is not None and (append.turns or append.record is not None):
            consumer = _own(step.consumer)
            if consumer is not None:
                consumer.forgive(db, workflow_topic(append.workflow), append.workflow_id)
        return True

    def _settle(self, step: Step) -> None:
        rows = rows_of(step.acks)
        consumer = _own(step.consumer)
        if consumer is None:
            self.transport.handed.difference_update(rows)
        else:
            consumer.settle(rows)

    def handed_over(self, task: Delivery, result: Outgoing, workflows: Consumer | None) -> Delivery | None:
        """The result as a delivery whose acknowledgement deletes the task's row."""
        consumer = _own(workflows)
        return None if consumer is None else consumer.take_over(task, result)

    def close(self) -> None:
        try:
            self.transport.close()
        finally:
            self.storage.close()


class _Adopter:
    """Gives tasks of one commit to the worker that commits, up to its free slots."""

    def __init__(self, consumer: SqliteConsumer | None, capacity: int) -> None:
        self.adopted: list[Delivery] = []
        self._consumer, self._capacity = consumer, capacity

    def adopt(self, outgoing: Outgoing, posting: Posting) -> bool:
        consumer = self._consumer
        if consumer is None or len(self.adopted) >= self._capacity or outgoing.message.kind != "task":
            return False
        if outgoing.topic not in consumer.topics or consumer.closed:
            return False
        row = posting.give(outgoing, consumer.id)
        consumer.adopt(row)  # before the commit: nobody may receive it besides
        self.adopted.append(Delivery(outgoing.topic, outgoing.message, Receipt(row, outgoing.key)))
        return True

    def undo(self) -> None:
        if self._consumer is not None:
            self._consumer.settle(rows_of(self.adopted))


def _own(consumer: Consumer | None) -> SqliteConsumer | None:
    if consumer is None or isinstance(consumer, SqliteConsumer):
        return consumer
    raise Bug(f"a {type(consumer).__name__} was given to the SQLite backend")
