"""An empty storage on a PostgreSQL server, for one test: in a database of this process, emptied before each."""

import atexit
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg

from infinitic.clock import Clock
from infinitic.storages import Storage
from infinitic.storages.postgres import PostgresStorage

# A test's clock is a row; without one it is the server's.
CLOCK = """
    CREATE TABLE infinitic.test_clock (now bigint NOT NULL);
    CREATE OR REPLACE FUNCTION infinitic.clock() RETURNS bigint LANGUAGE sql STABLE AS $$
        SELECT coalesce((SELECT now FROM infinitic.test_clock),
            (extract(epoch FROM statement_timestamp()) * 1000000)::bigint) $$
"""
TABLES = ("test_clock", "heads", "behind", "turns", "timers", "inbox", "labels")
FREE: dict[str, list[str]] = {}
"""Databases that no test uses just now, by server."""


@contextmanager
def empty(url: str, clock: Clock | None = None) -> Iterator[Storage]:
    """*clock*, when given, is the storage's: one that stands still but when it jumps."""
    with place(url) as there, psycopg.connect(there, autocommit=True) as connection:
        if clock is not None:
            follow(connection, clock)
        storage = PostgresStorage.open(there)
        try:
            yield storage
        finally:
            storage.close()


def follow(connection: psycopg.Connection, clock: Any) -> None:
    """The server's clock says what *clock* says, jump for jump."""
    connection.execute("INSERT INTO infinitic.test_clock VALUES (%s)", [clock()])
    jump = clock.jump

    def both(microseconds: int) -> None:
        jump(microseconds)
        connection.execute("UPDATE infinitic.test_clock SET now = %s", [clock()])

    clock.jump = both


def made(url: str) -> str:
    """The URL of a new database with an empty storage."""
    there = new_database(url)
    PostgresStorage.open(there).close()
    with psycopg.connect(there, autocommit=True) as connection:
        connection.execute(CLOCK)
    return there


COUNT = iter(range(1 << 30))


def new_database(url: str) -> str:
    """The URL of a new database, which goes with this process."""
    name = f"infinitic_test_{os.getpid()}_{next(COUNT)}"
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name} TEMPLATE template0 ENCODING 'UTF8'")
    atexit.register(drop, url, name)
    base, question, options = url.partition("?")
    return f"{base.rpartition('/')[0]}/{name}{question}{options}"


def drop(url: str, name: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")


@contextmanager
def place(url: str) -> Iterator[str]:
    """The URL of an empty storage, for whoever opens it itself."""
    free = FREE.setdefault(url, [])
    found = free.pop() if free else made(url)
    with psycopg.connect(found, autocommit=True) as connection:
        connection.execute("; ".join(f"DELETE FROM infinitic.{table}" for table in TABLES))
    try:
        yield found
    finally:
        free.append(found)
