"""Connections to a MySQL or a MariaDB: from a URL to a pool that waits, and statements that travel together.

The law of the place: no exception of the driver leaves it, and what broke is closed and never used again. The driver's
cursors are not used: they take the word DELIMITER inside a value for a command, and send another value instead.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from queue import Empty, LifoQueue
from time import monotonic
from typing import Any, NamedTuple, TypeAlias
from urllib.parse import unquote, urlsplit

import mysql.connector
from attrs import field, frozen

from infinitic.config import shown
from infinitic.errors import ConfigurationError, StorageError
from infinitic.storages.options import PATH, POOL, SWITCH, Options, positive, read_options

LEAST = {"MariaDB": (10, 11), "MySQL": (8, 4)}
PACKET = 4 << 20  # bytes of statements that travel together; one statement may be as large as the server takes
WAIT = 10.0  # seconds for a connection of the pool to come free
# Seconds after which a connection that was not used is replaced: the server drops it after twice that, and with it
# the locks of a machine that is gone without a word.
IDLE = 10.0
SESSION = (
    "SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED",
    "SET SESSION sql_mode = 'STRICT_ALL_TABLES,NO_ENGINE_SUBSTITUTION', time_zone = '+00:00', autocommit = 0,"
    " innodb_lock_wait_timeout = 5, wait_timeout = 20",
    "SELECT VERSION(), @@max_allowed_packet",
)

LOCKED = frozenset({1205, 1213})  # waited too long for a lock; deadlock
GONE = frozenset({1053, 1153, 1927, 3169, 4031, *range(1158, 1162), *range(2000, 3000)})
REASONS: dict[tuple[int, ...], tuple[str, str]] = {
    (1045, 1698): ("{place} refuses this user or this password", "See the user and the password in the URL."),
    (1044, 1142, 1143, 1227, 1370): ("{place} does not allow that: {error}", "Grant this user all rights there."),
    (1049,): ("{place}: there is no such database", "Make it (CREATE DATABASE …), or name another one."),
    (1040, 1203): ("{place} has too many connections", "Raise its max_connections, or give a smaller ?pool=."),
    (1146,): ("{place}: {error}", "Run `infinitic storage init`."),
    (1290, 1836): ("{place} is read-only", "Name the primary."),
    (1021, 1114): ("{place}: its disk is full ({error})", "Free some space: nothing of the last step was written."),
    (1205,): ("{place}: somebody held a lock for more than 5 s", "See SHOW PROCESSLIST for who does not let go."),
    (1153,): ("{place} takes no packet that large", "Raise its max_allowed_packet."),
    (2002, 2003, 2005): ("{place} cannot be reached ({error})", "See whether the server runs, and host and port."),
    (2026,): ("{place}: no TLS connection ({error})", "See the ssl_… options in the URL."),
}


class Refused(StorageError):
    """The server said no, with this *number*."""

    number: int = 0


class Locked(Refused):
    """Two transactions were in each other's way, and this one was undone: to be tried again."""


class ConnectionLost(Refused):
    """The connection broke; whether its last statement was carried out is not known."""


def explained(place: str, error: Exception) -> Refused:
    """What the driver's *error* means for whoever runs the system."""
    number = getattr(error, "errno", None) or 2013  # the driver's own trouble has no number: as if the line were cut
    said = str(getattr(error, "msg", None) or error).partition("\n")[0]
    kind = Locked if number in LOCKED else ConnectionLost if number in GONE else Refused
    known = (text for numbers, text in REASONS.items() if number in numbers)
    message, hint = next(known, ("{place}: {error}", "See the server's log."))
    refused = kind(message.format(place=place, error=said), hint)
    refused.number = number
    return refused


Row: TypeAlias = Sequence[Any]


class Result(NamedTuple):
    """What one statement gave: its rows, or how many it changed."""

    rows: list[Row]
    changed: int


# ------------------------------------------------------------------------------------------------ options


OPTIONS: Options = {
    "pool": POOL,
    "packets": SWITCH,
    "connect_timeout": (positive, "seconds"),
    "read_timeout": (positive, "seconds"),
    "use_pure": SWITCH,
    "unix_socket": PATH,
    "ssl_ca": PATH,
    "ssl_cert": PATH,
    "ssl_key": PATH,
    "ssl_verify_cert": SWITCH,
    "ssl_verify_identity": SWITCH,
    "ssl_disabled": SWITCH,
}


@frozen
class Server:
    """A database on a server, as a URL names it."""

    place: str
    """For people: without its password and its options."""
    pool: int = 8
    packets: bool = True
    """Whether statements may travel together; not every proxy takes that."""
    settings: dict[str, Any] = field(factory=dict, repr=False)
    """What the driver is given."""

    @classmethod
    def of(cls, url: str) -> Server:
        """What *url* names. Raises `ConfigurationError`."""
        place = shown(url).partition("?")[0]
        try:
            parts = urlsplit(url)
            port = parts.port or 3306
        except ValueError:  # which quotes what it did not understand, and that may be half a password
            raise ConfigurationError(f"{place} is no URL that can be read", FORM) from None
        database = unquote(parts.path.removeprefix("/"))
        if parts.scheme not in ("mysql", "mariadb") or not database or "/" in database:
            raise ConfigurationError(f"{place} names no database of MySQL or MariaDB", FORM)
        options = read_options(place, parts.query, OPTIONS)
        own = {name: options.pop(name) for name in ("pool", "packets") if name in options}
        named = {"user": unquote(parts.username or ""), "password": unquote(parts.password or "")}
        settings = {"host": parts.hostname or "127.0.0.1", "port": port, "database": database, **named}
        return cls(place=place, settings={**DRIVER, **settings, **options}, **own)

    def connect(self, *, patient: bool = False) -> Connection:
        """A new connection; a *patient* one waits for each answer as long as it takes. Raises `StorageError`."""
        settings = self.settings | ({"read_timeout": None} if patient else {})
        pure = settings.pop("use_pure", False) or not mysql.connector.HAVE_CEXT
        try:
            driver: Any = mysql.connector.connect(use_pure=pure, **settings)
        except Exception as error:
            refused = explained(self.place, error)
            raise StorageError(refused.message, refused.hint) from error
        connection = Connection(self, driver, pure)
        try:
            version, most = connection.run(*SESSION)[-1].rows[0]
            refuse_old(self.place, version)
        except StorageError:
            connection.close()
            raise
        connection.most = most - 1024  # for the packet's own head
        return connection


FORM = "Write mysql://user:password@host:3306/database; @ : / ? # in a password as %40 %3A %2F %3F %23."
DRIVER = {
    "charset": "utf8mb4",
    "collation": "utf8mb4_bin",
    "connect_timeout": 5,
    "read_timeout": 10,
    "write_timeout": 10,
}


def refuse_old(place: str, version: str) -> None:
    """Raise `StorageError` when a server of this *version* is older than what is needed."""
    product = "MariaDB" if "mariadb" in version.lower() else "MySQL"
    numbers = tuple(map(int, re.findall(r"\d+", version)[:2]))
    if numbers < LEAST[product]:
        least = ".".join(map(str, LEAST[product]))
        raise StorageError(f"{place} is {product} {version}, and {least} or newer is needed", "Upgrade the server.")


# -------------------------------------------------------------------------------------------- connections


class Connection:
    """One connection. For one thread at a time."""

    most = PACKET
    """How many bytes one statement may have."""

    def __init__(self, server: Server, driver: Any, pure: bool) -> None:
        self.server = server
        self.used = monotonic()
        self._driver, self._answers = driver, self._pure if pure else self._compiled

    def run(self, *statements: str) -> list[Result]:
        """Carry these out in order; raises at the first that fails, and then the connection is to be closed.

        One round trip for each SELECT and what follows it. The first statement begins a transaction.
        """
        results: list[Result] = []
        try:
            for packet in self._packets(statements):
                results += self._answers(packet.encode("ascii"))
        except Exception as error:  # the C extension has errors that are none of the driver's
            raise explained(self.server.place, error) from error
        self.used = monotonic()
        return results

    def _packets(self, statements: Iterable[str]) -> Iterator[str]:
        """The statements, put together; rows come of a packet's first statement only.

        Of an error amid the rows of a later one the C extension says nothing, and then the process may crash.
        """
        packet: list[str] = []
        size, most = 0, min(PACKET, self.most) if self.server.packets else 0
        for statement in statements:
            if packet and (size + len(statement) > most or statement.startswith("SELECT")):
                yield ";\n".join(packet)
                packet, size = [], 0
            packet.append(statement)
            size += len(statement) + 2
        if packet:
            yield ";\n".join(packet)

    def _compiled(self, packet: bytes) -> Iterator[Result]:
        driver = self._driver
        answer = driver.cmd_query(packet, buffered=True)
        while True:
            yield self._result(answer)
            if not driver.next_result():
                return
            answer = driver.fetch_eof_columns() if driver.result_set_available else driver.fetch_eof_status()

    def _pure(self, packet: bytes) -> Iterator[Result]:
        return map(self._result, self._driver.cmd_query_iter(packet))

    def _result(self, answer: dict[str, Any]) -> Result:
        if "columns" in answer:
            return Result(self._driver.get_rows()[0], 0)
        return Result([], answer.get("affected_rows", 0))

    def close(self) -> None:
        """Give it back to the server, which undoes what was not committed."""
        try:
            self._driver.close()
        except Exception:  # it may be broken already
            return


class Pool:
    """At most so many connections to a server; who finds them all busy waits."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self._slots: LifoQueue[Connection | None] = LifoQueue()
        self._lock = threading.Lock()
        self._closed = False
        self._trusted_since = monotonic()
        for _ in range(server.pool):
            self._slots.put(None)

    @contextmanager
    def connection(self) -> Iterator[Connection]:
        """One for the caller alone; whatever is raised inside closes it. Raises `StorageError`."""
        healthy: Connection | None = None
        slot = self._slot()
        try:
            slot = self._checked(slot)
            yield slot
            healthy = slot
        except ConnectionLost:
            self._trusted_since = monotonic()  # a server that went away took the others with it
            raise
        finally:
            if slot is not None and healthy is None:
                slot.close()
            self._give_back(healthy)

    def _slot(self) -> Connection | None:
        try:
            return self._slots.get(timeout=WAIT)
        except Empty:
            raise StorageError(
                f"All {self.server.pool} connections to {self.server.place} were busy for {WAIT:.0f} s",
                "Give a larger ?pool= in the URL, or see why the server is slow.",
            ) from None

    def _checked(self, slot: Connection | None) -> Connection:
        if self._closed:
            raise StorageError(f"{self.server.place} was used after it was closed")
        if slot is not None and slot.used > max(self._trusted_since, monotonic() - IDLE):
            return slot
        if slot is not None:
            slot.close()
        return self.server.connect()

    def _give_back(self, slot: Connection | None) -> None:
        with self._lock:
            if slot is not None and self._closed:
                slot.close()
                slot = None
            self._slots.put(slot)

    def close(self) -> None:
        """Close what is idle now, and what is busy when it is given back."""
        with self._lock:
            self._closed = True
        for slot in list(self._idle()):
            self._give_back(slot)  # so that those that wait are told

    def _idle(self) -> Iterator[Connection | None]:
        with suppress(Empty):
            while True:
                yield self._slots.get_nowait()
