"""One SQLite file that many threads and processes of one machine share: connections, turnstile, schema.

Law of the place: every write transaction, checkpoint and close happens inside the turnstile, and nobody but
SQLite ever closes a descriptor of the database file: that would drop the locks SQLite has in this process.
"""

from __future__ import annotations

import os
import sqlite3
import sys
import threading
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from time import monotonic
from typing import TypeAlias

from infinitic.clock import Clock, system_clock
from infinitic.errors import Bug, ConfigurationError, StorageError
from infinitic.sqlite_file import trouble
from infinitic.sqlite_file.trouble import Kind
from infinitic.sqlite_file.turnstile import Turnstile

Connection: TypeAlias = sqlite3.Connection

APPLICATION = 0x496E6669  # "Infi"
DURABILITIES = {"full": "FULL", "normal": "NORMAL"}
LOOK = 0.2  # seconds after which a writer looks whether the file is still where it was
PATIENCE = 5.0  # seconds that a program which knows nothing of the turnstile may hold the file
SCHEMAS = ("storages/sqlite.sql", "transports/sqlite/queue.sql")


def _step(version: int, db: Connection) -> None:
    """What the schemas have below a line `-- version` of this number."""
    for name in SCHEMAS:
        text = (Path(__file__).parents[1] / name).read_text(encoding="utf-8")
        _, _, rest = text.partition(f"-- version {version}\n")
        for statement in rest.partition("-- version ")[0].split(";\n"):
            db.execute(statement)


MIGRATIONS: tuple[Callable[[Connection], None], ...] = (partial(_step, 1), partial(_step, 2))
"""The n-th leads from version n to version n + 1. All that are missing run in one transaction."""


class SqliteFile:
    """An open database file. Thread-safe; of no use in a forked child.

    With durability "full" a committed transaction survives a power cut; with "normal" the last ones may be
    lost then, never by the death of a process. Raises `StorageError` when the file cannot be used. Whoever
    shares the file calls `share` first and `close` in the end: the last one out closes it.
    """

    def __init__(self, path: str | os.PathLike[str], *, durability: str = "full", clock: Clock = system_clock) -> None:
        if durability not in DURABILITIES:
            raise ConfigurationError(f"durability is '{durability}'", "It can be 'full' or 'normal'.")
        trouble.refuse_platform(sys.platform, sqlite3.sqlite_version_info)
        self.path = Path(os.path.realpath(path))
        self.clock = clock
        self.descriptors: set[int] = set()  # to be closed in forked children
        self._synchronous = DURABILITIES[durability]
        self._mutex = threading.Lock()
        self._readers: list[Connection] = []
        self._users = 0
        self._unusable = ""
        self._next_look = 0.0
        self._open()
        _OPEN.add(self)

    # ------------------------------------------------------------------------------------------- use

    def transaction(self, *, durable: bool = True, kind: Kind = StorageError) -> Transaction:
        """A write transaction: committed at the end of the block, rolled back when it raises.

        One that is not *durable* survives the death of the process, but perhaps not a power cut.
        """
        return Transaction(self, durable, kind)

    @contextmanager
    def reading(self, kind: Kind = StorageError) -> Iterator[Connection]:
        """A connection that sees one state of the file for the whole block. Waits for no writer."""
        self._refuse_unusable(kind)
        db = None
        try:
            db = self._borrow()
            db.execute("BEGIN")
            yield db
        except sqlite3.Error as error:
            raise self._explained(error, kind) from error
        finally:
            if db is not None:
                _roll_back(db)
                self._give_back(db)

    def checkpoint(self) -> None:
        """Move all that is committed into the database file itself, and empty the log."""
        self._refuse_unusable(StorageError)
        with self._turnstile, self._explaining():
            self._relaxed.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()

    def vacuum(self) -> int:
        """Write the file anew without the space that is not used, while writers wait; by how many bytes it shrank."""
        self.checkpoint()
        before = self.path.stat().st_size
        with self._turnstile, self._explaining():
            self._relaxed.execute("VACUUM")
        self.checkpoint()
        return before - self.path.stat().st_size

    def share(self) -> SqliteFile:
        """Count one more user, who calls `close` later."""
        self._users += 1
        return self

    def close(self) -> None:
        """Close the file when its last user has. Further use raises `StorageError`."""
        with self._mutex:
            self._users -= 1
            if self._users > 0 or self._unusable:
                return
            self._unusable = "is closed"
        with self._turnstile:
            self._close_connections()
        self.close_descriptor(self._turnstile.descriptor)
        _OPEN.discard(self)

    def keep_descriptor(self, descriptor: int) -> int:
        """*descriptor*, which from now on is closed in forked children."""
        self.descriptors.add(descriptor)
        return descriptor

    def close_descriptor(self, descriptor: int) -> None:
        """Close a descriptor that was kept."""
        if descriptor in self.descriptors:
            self.descriptors.discard(descriptor)
            os.close(descriptor)

    def leave_to_parent(self) -> None:
        """In a forked child: let go of all locks and pipes, which are the parent's."""
        self._unusable = "was opened before this process was forked"
        while self.descriptors:
            with suppress(OSError):
                os.close(self.descriptors.pop())

    # ---------------------------------------------------------------------------------- for transactions

    def begin(self, durable: bool, kind: Kind) -> Connection:
        """The connection to write with, in the turnstile. To be followed by `end`."""
        self._refuse_unusable(kind)
        self._turnstile.__enter__()
        db = self._durable if durable else self._relaxed
        try:
            if monotonic() >= self._next_look:
                self._refuse_moved(kind)
            db.execute("BEGIN IMMEDIATE")
        except BaseException as error:
            self.end(db, error, kind)
            raise
        return db

    def end(self, db: Connection, error: BaseException | None, kind: Kind) -> None:
        """Commit, or roll back if there was an *error*: SQLite's is raised as ours. Out of the turnstile."""
        try:
            if error is None:
                db.execute("COMMIT")
        except sqlite3.Error as failure:
            error = failure
        try:
            if error is not None:
                _roll_back(db)
        finally:
            self._turnstile.__exit__()
        if isinstance(error, sqlite3.Error):
            raise self._explained(error, kind) from error

    # --------------------------------------------------------------------------------------- opening

    def _open(self) -> None:
        trouble.refuse_network(self.path, trouble.read_mounts())
        with trouble.explaining_os(self.path):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._look_first()
            self._turnstile = Turnstile(self.path.with_name(self.path.name + ".lock"))
        self.keep_descriptor(self._turnstile.descriptor)
        try:
            with self._turnstile, self._explaining():
                self._connect_all()
        except BaseException:
            self.close_descriptor(self._turnstile.descriptor)
            raise
        status = os.stat(self.path)
        self._identity = status.st_dev, status.st_ino

    def _look_first(self) -> None:
        """Refuse a file that is not ours before leaving anything beside it."""
        if self.path.is_dir():
            raise StorageError(f"{self.path} is a folder", "Name a file, which need not exist yet.")
        trouble.refuse_read_only(self.path)
        if not self.path.exists() or self.path.stat().st_size == 0:
            return
        with self._explaining():
            # read-only, so that closing it cannot checkpoint outside the turnstile
            db = sqlite3.connect(f"{self.path.as_uri()}?mode=ro", uri=True, timeout=PATIENCE, isolation_level=None)
            try:
                self._version(db)
            finally:
                db.close()

    def _connect_all(self) -> None:
        self._durable = self._connect(self._synchronous)
        try:
            self._migrate(self._durable)
            self._relaxed = self._connect("NORMAL")
        except BaseException:
            self._durable.close()
            raise

    def _connect(self, synchronous: str) -> Connection:
        db = sqlite3.connect(
            self.path, timeout=PATIENCE, isolation_level=None, check_same_thread=False, cached_statements=256
        )
        db.execute(f"PRAGMA synchronous = {synchronous}")
        db.execute("PRAGMA fullfsync = 1")  # macOS: fsync alone leaves data in the disk's cache
        db.execute("PRAGMA journal_size_limit = 67108864")
        return db

    def _migrate(self, db: Connection) -> None:
        version = self._version(db)
        mode = db.execute("PRAGMA journal_mode = WAL").fetchone()[0]
        if mode != "wal":
            hint = "A file on a local disk is needed, which no other program has open."
            raise StorageError(f"{self.path} cannot be switched to SQLite's write-ahead log (it stays '{mode}')", hint)
        if version == len(MIGRATIONS):
            return
        db.execute("BEGIN IMMEDIATE")
        for migration in MIGRATIONS[version:]:
            migration(db)
        db.execute(f"PRAGMA application_id = {APPLICATION}")
        db.execute(f"PRAGMA user_version = {len(MIGRATIONS)}")
        db.execute("COMMIT")

    def _version(self, db: Connection) -> int:
        """The version of the schema, 0 for an empty file. Raises for a file that is not ours or too new."""
        application = int(db.execute("PRAGMA application_id").fetchone()[0])
        version = int(db.execute("PRAGMA user_version").fetchone()[0])
        tables = db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
        if application != APPLICATION and (application or version or tables):
            raise StorageError(f"{self.path} is a database of another program", "Name another file.")
        if version > len(MIGRATIONS):
            raise StorageError(
                f"{self.path} has schema version {version}, and this release knows up to {len(MIGRATIONS)}",
                "Run the newer release of infinitic that wrote it, or name another file.",
            )
        return version

    # -------------------------------------------------------------------------------- the connections

    def _borrow(self) -> Connection:
        with self._mutex:
            if self._readers:
                return self._readers.pop()
        db = self._connect("NORMAL")
        db.execute("PRAGMA query_only = 1")
        return db

    def _give_back(self, db: Connection) -> None:
        with self._mutex:
            if not self._unusable:
                self._readers.append(db)
                return
        with suppress(OSError), self._turnstile:
            db.close()

    def _close_connections(self) -> None:
        with self._mutex:
            connections = [*self._readers, self._relaxed, self._durable]
            self._readers.clear()
        for db in connections:
            db.close()

    # ----------------------------------------------------------------------------------------- trouble

    def _refuse_unusable(self, kind: Kind) -> None:
        if self._unusable:
            raise kind(f"{self.path} {self._unusable}", "Open it anew.")

    def _refuse_moved(self, kind: Kind) -> None:
        self._next_look = monotonic() + LOOK
        try:
            status = os.stat(self.path)
        except OSError:
            status = None
        if status is None or (status.st_dev, status.st_ino) != self._identity:
            hint = "Stop all workers and clients before you move, delete or restore it."
            raise kind(f"{self.path} was moved or deleted while it was open", hint)

    def _explained(self, error: sqlite3.Error, kind: Kind) -> Exception:
        ours = sqlite3.IntegrityError | sqlite3.InterfaceError | sqlite3.ProgrammingError
        if isinstance(error, ours) or getattr(error, "sqlite_errorname", "") == "SQLITE_ERROR":
            return Bug(f"{self.path}: {error}")
        return trouble.explained(self.path, error, kind)

    @contextmanager
    def _explaining(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise self._explained(error, StorageError) from error


def _roll_back(db: Connection) -> None:
    with suppress(sqlite3.Error):
        if db.in_transaction:
            db.execute("ROLLBACK")


class Transaction:
    """`SqliteFile.transaction` as a context manager. Not a generator: it is on the way of every step."""

    __slots__ = ("_db", "_durable", "_file", "_kind")

    def __init__(self, file: SqliteFile, durable: bool, kind: Kind) -> None:
        self._file, self._durable, self._kind = file, durable, kind

    def __enter__(self) -> Connection:
        self._db = self._file.begin(self._durable, self._kind)
        return self._db

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        self._file.end(self._db, error, self._kind)


_OPEN: weakref.WeakSet[SqliteFile] = weakref.WeakSet()


def _after_fork() -> None:
    for file in list(_OPEN):
        file.leave_to_parent()


if hasattr(os, "register_at_fork"):  # else a child would keep its killed parent's locks for as long as it lives
    os.register_at_fork(after_in_child=_after_fork)
