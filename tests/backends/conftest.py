"""Every backend that the suite runs over. Adding one is one line in `KINDS`."""

from collections.abc import Callable
from pathlib import Path

import pytest

from infinitic.backends import Backend
from infinitic.backends.distributed import DistributedBackend
from infinitic.backends.sqlite import SqliteBackend
from infinitic.storages.memory import MemoryStorage
from infinitic.transports.memory import MemoryTransport

KINDS: dict[str, Callable[[Path], Backend]] = {
    "memory": lambda directory: DistributedBackend(MemoryTransport(), MemoryStorage()),
    "sqlite": lambda directory: SqliteBackend.open(directory / "infinitic.db", role="worker"),
}


@pytest.fixture(params=KINDS)
def backend(request, tmp_path):
    opened = KINDS[request.param](tmp_path)
    yield opened
    opened.close()
