"""Every transport that the suite runs over. Adding one is one line in `KINDS`."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager
from pathlib import Path

import pytest

from infinitic.transports import Transport
from infinitic.transports.memory import MemoryTransport
from tests.transports.given import Subscriber

Connect = Callable[[], Transport]
"""One more handle on the same topics, as another worker would have."""


@contextmanager
def memory(directory: Path) -> Iterator[Connect]:
    yield MemoryTransport().another


@contextmanager
def sqlite(directory: Path) -> Iterator[Connect]:
    from infinitic.backends.sqlite import SqliteBackend

    with ExitStack() as stack:
        path = directory / "infinitic.db"
        yield lambda: stack.enter_context(closing(SqliteBackend.open(path, role="worker"))).transport


KINDS: dict[str, Callable[[Path], AbstractContextManager[Connect]]] = {
    "memory": memory,
    "sqlite": sqlite,
}


@pytest.fixture(params=KINDS)
def connect(request, tmp_path):
    with KINDS[request.param](tmp_path) as connected:
        yield connected


@pytest.fixture
def transport(connect):
    return connect()


@pytest.fixture(params=["one handle", "a handle each"])
def subscribe(request, connect, transport):
    """A new consumer of these topics, of the transport that publishes or of another worker's."""
    if request.param == "one handle":
        return lambda *topics: Subscriber(transport, *topics)
    return lambda *topics: Subscriber(connect(), *topics)
