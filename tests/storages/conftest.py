"""Every storage that the suite runs over. Adding one is one line in `KINDS`."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest
from attrs import frozen

from infinitic.clock import Clock
from infinitic.storages import Storage
from infinitic.storages.memory import MemoryStorage
from tests.servers.found import server
from tests.storages import on_mysql, on_postgres, on_redis
from tests.storages.given import JumpingClock


@frozen
class Kind:
    """How one storage is opened, empty, in a directory of its own."""

    open: Callable[[Path, Clock], AbstractContextManager[Storage]]
    served: bool = False  # whether a server has it, to which each call is a way


@contextmanager
def memory(directory: Path, clock: Clock) -> Iterator[Storage]:
    yield MemoryStorage(clock)


@contextmanager
def sqlite(directory: Path, clock: Clock) -> Iterator[Storage]:
    from infinitic.backends.sqlite import SqliteBackend

    backend = SqliteBackend.open(directory / "infinitic.db", role="worker", clock=clock)
    try:
        yield backend.storage
    finally:
        backend.close()


KINDS = {
    "memory": Kind(memory),
    "sqlite": Kind(sqlite),
    "redis": Kind(lambda directory, clock: on_redis.empty(server("redis"), clock), served=True),
    "mariadb": Kind(lambda directory, clock: on_mysql.empty(server("mariadb"), clock), served=True),
    "mysql": Kind(lambda directory, clock: on_mysql.empty(server("mysql"), clock), served=True),
    "postgres": Kind(lambda directory, clock: on_postgres.empty(server("postgres"), clock), served=True),
}


@pytest.fixture(params=KINDS)
def kind(request):
    return KINDS[request.param]


@pytest.fixture
def clock():
    return JumpingClock()


@pytest.fixture
def storage(kind, tmp_path, clock):
    with kind.open(tmp_path, clock) as opened:
        yield opened


@pytest.fixture
def jump(storage, clock):
    """Moves the storage's clock."""
    return clock.jump
