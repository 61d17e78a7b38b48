"""A PostgreSQL server: its URL, connections that wait and are replaced, its schema, and what goes wrong with it.

The law of the place: nothing of the driver leaves. Whatever happens is a `StorageError` that names the server
without its password; where the connection broke, or the server said nothing for too long, it is a `Broken`.
"""

from __future__ import annotations

import re
import time
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeAlias
from urllib.parse import unquote

import psycopg
import psycopg_pool
from attrs import field, frozen
from psycopg import errors
from psycopg.conninfo import conninfo_to_dict
from psycopg.pq import TransactionStatus

from infinitic.config import shown
from infinitic.errors import ConfigurationError, StorageError
from infinitic.storages.schemas import check_namespace
from infinitic.storages.sql import steps

Values: TypeAlias = Mapping[str, Any] | Sequence[Any] | None

OLDEST = 15
ATTEMPTS = 4  # of a statement that the server undid for another's sake
SCHEMA_LOCK = 0x696E66  # whoever holds it makes or changes the schema
WAIT, LIMIT = 5.0, 8.0  # seconds: for a free connection, for any sign of the server

LIBPQ = {
    "application_name": "infinitic",
    "client_encoding": "utf8",
    "connect_timeout": 5,
    "keepalives_idle": 3,
    "keepalives_interval": 2,
    "keepalives_count": 2,
    "tcp_user_timeout": 8_000,
}
# All is found by an index, and read in its order: a statement is planned once, and one that was planned while a table
# was empty would go on reading it whole, or sorting what comes sorted.
SESSION = "-c statement_timeout=7s -c lock_timeout=5s -c enable_seqscan=off -c enable_bitmapscan=off -c jit=off"
STEPS = steps(Path(__file__).with_name("postgres.sql").read_text(encoding="utf-8"))

UNDONE = (errors.DeadlockDetected, errors.SerializationFailure)
EXAMPLE = "postgresql://user:password@host:5432/database"
UNREACHED = "See that the server runs, and the host, port, database, user and password in the URL."
HINTS: dict[type[Exception], str] = {
    errors.InsufficientPrivilege: "Grant this user what is missing, or run `infinitic storage init` as who has it.",
    errors.InvalidSchemaName: "Run `infinitic storage init`.",
    errors.UndefinedTable: "Run `infinitic storage init`.",
    errors.ReadOnlySqlTransaction: "Name the primary, or add target_session_attrs=read-write to the URL.",
    errors.DiskFull: "Free some space: nothing of the last step was written.",
    errors.LockNotAvailable: "See in pg_stat_activity who holds a lock for so long.",
    errors.QueryCanceled: "See in pg_stat_activity what the server is busy with.",
}


class Broken(StorageError):
    """The connection broke: what was asked may have been done, or not."""


def explained(place: str, error: Exception, hint: str = "See the server's log.") -> tuple[str, str]:
    """What happened and what to do, for a `StorageError`."""
    said = getattr(getattr(error, "diag", None), "message_primary", None) or str(error).split("\n", 1)[0]
    known = (text for kind, text in HINTS.items() if isinstance(error, kind))
    return f"{place}: {said.strip()}", next(known, hint)


# ---------------------------------------------------------------------------------------------- the URL


@frozen
class Server:
    """What a URL says: which server and database, and how to deal with it."""

    place: str
    """For people: the URL without its password and options."""
    libpq: Mapping[str, Any] = field(repr=False)
    pool: int = 8
    pooled: bool = False
    """Whether PgBouncer or the like is between: no prepared statements then, and no settings of the session."""

    @classmethod
    def of(cls, url: str) -> Server:
        """The server of a URL as libpq takes it, with `pool=8` and `pgbouncer=true` beside libpq's own options.

        Raises `ConfigurationError`.
        """
        base, _, query = url.partition("?")
        place = shown(url).partition("?")[0]
        options = [part.partition("=") for part in query.split("&") if part]
        own = {name: unquote(value) for name, _, value in options if name in ("pool", "pgbouncer")}
        rest = "&".join("".join(part) for part in options if part[0] not in own)
        pool, pooled = own.get("pool", "8"), own.get("pgbouncer", "false")
        if not pool.isdecimal() or int(pool) < 1:
            raise ConfigurationError(f"{place} has pool={pool}", "It is a number of connections, from 1 on.")
        if pooled not in ("true", "false"):
            raise ConfigurationError(f"{place} has pgbouncer={pooled}", "It is true or false.")
        return cls(place, _libpq(place, f"{base}?{rest}"), int(pool), pooled == "true")

    @property
    def session(self) -> dict[str, Any]:
        """libpq's parameters of a connection of the pool; what the URL says goes before."""
        said = self.libpq.get("options", "")
        return {**self.libpq, "options": said if self.pooled else f"{SESSION} {said}"}

    @contextmanager
    def connected(self) -> Iterator[Any]:
        """A connection of its own, in one transaction. Raises `StorageError`; also when the server is too old."""
        try:
            with psycopg.connect(**self.libpq, prepare_threshold=None) as connection:
                check_server(self.place, connection.info)
                yield connection
        except psycopg.OperationalError as error:
            raise StorageError(*explained(self.place, error, UNREACHED)) from error
        except psycopg.Error as error:
            raise StorageError(*explained(self.place, error)) from error


def _libpq(place: str, url: str) -> dict[str, Any]:
    try:
        given: dict[str, Any] = conninfo_to_dict(url)
    except psycopg.Error as error:
        # libpq quotes what it did not understand, and that may be half a password.
        named = re.search(r'URI query parameter: "\w+"', str(error))
        what = f"has an unknown {named[0]}" if named else "is no URL that can be read"
        raise ConfigurationError(f"{place} {what}", f"Write {EXAMPLE}; @ : / in a password as %40 %3A %2F.") from None
    if not given.get("dbname"):
        raise ConfigurationError(f"{place} names no database", f"Write {EXAMPLE}.")
    return LIBPQ | given


def check_server(place: str, info: Any) -> None:
    """Raise `StorageError` where the server is too old, or the database keeps no UTF-8."""
    if info.server_version < OLDEST * 10_000:
        raise StorageError(
            f"{place} is PostgreSQL {info.server_version // 10_000}", f"Infinitic needs PostgreSQL {OLDEST} or newer."
        )
    encoding = info.parameter_status("server_encoding")
    if encoding != "UTF8":
        raise StorageError(f"{place} is encoded in {encoding}", "Make a database with ENCODING 'UTF8'.")


# ---------------------------------------------------------------------------------------- connections


class Connection(psycopg.Connection):  # type: ignore[misc]  # the type checker does not see the driver
    """A connection that does not wait for ever for a server that says nothing."""

    def wait(self, gen: Any, *args: Any, **options: Any) -> Any:
        return super().wait(_limited(gen), *args, **options)


def _limited(gen: Generator[Any, Any, Any]) -> Generator[Any, Any, Any]:
    """*gen*, until nothing happened for `LIMIT` seconds."""
    try:
        wanted, since = next(gen), time.monotonic()
        while True:
            ready = yield wanted
            if ready:
                since = time.monotonic()
            elif time.monotonic() - since > LIMIT:
                raise psycopg.OperationalError(f"the server said nothing for {LIMIT:g} s")
            wanted = gen.send(ready)
    except StopIteration as end:
        return end.value


class Pool:
    """Connections to one server: lent for one statement each, replaced when they break. Thread-safe."""

    def __init__(self, server: Server) -> None:
        self.place = server.place
        self._pool = psycopg_pool.ConnectionPool(
            connection_class=Connection,
            kwargs={**server.session, "autocommit": True, "prepare_threshold": None if server.pooled else 3},
            min_size=1,
            max_size=server.pool,
            num_workers=2,
            reconnect_timeout=WAIT,  # then anew: else the longer the server was away, the later anybody looks for it
            open=True,
        )

    def ask(self, statement: str, values: Values = None, *, prepare: bool | None = None) -> list[Any]:
        """The rows that *statement* gives. *prepare* is False where each value deserves a plan of its own.

        Raises `StorageError`: a `Broken` when it is not known whether the statement was carried out.
        """
        for _ in range(ATTEMPTS - 1):
            try:
                return self._ask(statement, values, prepare)
            except UNDONE:
                continue
        try:
            return self._ask(statement, values, prepare)
        except UNDONE as error:
            raise StorageError(*explained(self.place, error)) from error

    def _ask(self, statement: str, values: Values, prepare: bool | None) -> list[Any]:
        with self._lent() as connection:
            try:
                rows: list[Any] = connection.execute(statement, values, prepare=prepare, binary=True).fetchall()
                return rows
            except UNDONE:
                raise
            except psycopg.Error as error:
                said = explained(self.place, error)
                if not (_is_over(connection) or isinstance(error, errors.ReadOnlySqlTransaction)):
                    raise StorageError(*said) from error
                connection.close()
                self._pool.drain()  # what broke one connection has most likely broken the others
                raise Broken(*said) from error

    @contextmanager
    def _lent(self) -> Iterator[Any]:
        try:
            connection = self._pool.getconn(WAIT)
        except psycopg_pool.PoolClosed:
            raise StorageError(f"{self.place} was used after it was closed") from None
        except psycopg_pool.PoolTimeout:
            raise StorageError(f"{self.place} gave no connection within {WAIT:g} s", UNREACHED) from None
        try:
            yield connection
        finally:
            self._pool.putconn(connection)

    def close(self) -> None:
        self._pool.close()


def _is_over(connection: Any) -> bool:
    """Whether the connection broke, or is still in the middle of a statement that was given up."""
    return bool(connection.closed or connection.info.transaction_status != TransactionStatus.IDLE)


# --------------------------------------------------------------------------------------------- schema


@frozen
class PostgresSchema:
    """The tables in the schema `infinitic` of one database, which is one namespace."""

    server: Server
    namespace: str = "default"
    steps: Sequence[str] = field(default=STEPS, repr=False)

    @property
    def place(self) -> str:
        return self.server.place

    @property
    def wanted(self) -> int:
        return len(self.steps)

    def found(self) -> int:
        with self.server.connected() as connection:
            return self._found(connection)

    def bring_up(self) -> None:
        with self.server.connected() as connection:
            connection.execute("SELECT pg_advisory_xact_lock(%s)", [SCHEMA_LOCK])
            found = self._found(connection)
            # Not IF NOT EXISTS, which wants the right to create a schema even where an operator made this one.
            if not connection.execute("SELECT to_regnamespace('infinitic')").fetchone()[0]:
                connection.execute("CREATE SCHEMA infinitic")
            for version, step in enumerate(self.steps[found:], found + 1):
                connection.execute(step)
                if version == 1:
                    connection.execute("INSERT INTO infinitic.meta VALUES (0, %s)", [self.namespace])
                connection.execute("UPDATE infinitic.meta SET version = %s", [version])

    def _found(self, connection: Any) -> int:
        """The version that is there. Raises `StorageError` when it is another namespace's."""
        if not connection.execute("SELECT to_regclass('infinitic.meta')").fetchone()[0]:
            return 0
        version, namespace = connection.execute("SELECT version, namespace FROM infinitic.meta").fetchone()
        check_namespace(self, namespace)
        return int(version)
