"""An empty storage on a real MySQL or MariaDB, for one test. It is kept for the next test: making tables costs."""

import atexit
import os
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from typing import Any

from attrs import Factory, frozen

from infinitic.clock import Clock, system_clock
from infinitic.storages import Storage
from infinitic.storages.mysql import MySqlStorage
from infinitic.storages.mysql_server import Connection, Server

NUMBERS = count(1)
FREE: dict[tuple[str, bool], list[MySqlStorage]] = {}
"""Storages that no test uses just now, by server, and whether they go by a test's clock."""
PLACES: dict[str, list[str]] = {}
TABLES = ("heads", "turns", "runs", "timers", "inbox", "labels")


def ask(url, *statements):
    """What the server says to these, on a connection of their own."""
    db = Server.of(url).connect()
    try:
        return [answer.rows for answer in db.run(*statements, "COMMIT")[:-1]]
    finally:
        db.close()


@contextmanager
def database(url: str) -> Iterator[str]:
    """The URL of a new database without tables; it is dropped afterwards."""
    name = f"infinitic_test_{os.getpid()}_{next(NUMBERS)}"
    ask(f"{url}/information_schema", f"CREATE DATABASE {name}")
    try:
        yield f"{url}/{name}"
    finally:
        ask(f"{url}/information_schema", f"DROP DATABASE {name}")


@frozen
class ClockedServer(Server):
    """One that takes for the time what a test's clock says."""

    clocks: list[Clock] = Factory(lambda: [system_clock])

    def connect(self, *, patient: bool = False) -> Connection:
        connection: Any = super().connect(patient=patient)
        run = connection.run
        connection.run = lambda *said: run(f"SET SESSION timestamp = {self.clocks[-1]() / 1e6:.6f}", *said)[1:]
        return connection


@contextmanager
def empty(url: str, clock: Clock | None = None) -> Iterator[Storage]:
    """A storage of which all tables are empty, open and with its connections; it goes when all tests are over."""
    free = FREE.setdefault((url, clock is not None), [])
    storage = free.pop() if free else made(url, ClockedServer if clock else Server)
    if clock is not None:
        storage._pool.server.clocks[:] = [clock]
    try:
        yield storage
    finally:
        storage._run(*(f"DELETE FROM {table}" for table in TABLES))
        free.append(storage)


@contextmanager
def place(url: str) -> Iterator[str]:
    """The URL of an empty storage, for whoever opens it itself."""
    free = PLACES.setdefault(url, [])
    found = free.pop() if free else new_place(url)
    try:
        yield found
    finally:
        ask(found, *(f"DELETE FROM {table}" for table in TABLES))
        free.append(found)


def new_place(url):
    making = database(url)
    found = making.__enter__()
    atexit.register(making.__exit__, None, None, None)
    MySqlStorage.open(found).close()
    return found


def made(url, kind):
    making = database(url)
    there = making.__enter__()
    MySqlStorage.open(there).close()
    storage = MySqlStorage(kind.of(there))
    atexit.register(making.__exit__, None, None, None)
    atexit.register(storage.close)
    return storage
