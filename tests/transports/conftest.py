"""Every transport that the suite runs over. Adding one is one line in `KINDS`."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager
from pathlib import Path

import pytest

from infinitic.transports import Transport
from infinitic.transports.memory import MemoryTransport
from tests.servers.found import server
from tests.transports import on_pulsar
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


@contextmanager
def pulsar(directory: Path) -> Iterator[Connect]:
    from infinitic.transports.pulsar import PulsarTransport

    with ExitStack() as stack:
        url = on_pulsar.fresh(server("pulsar"))
        yield lambda: stack.enter_context(closing(PulsarTransport.open(url, {}, "default")))


KINDS: dict[str, Callable[[Path], AbstractContextManager[Connect]]] = {
    "memory": memory,
    "sqlite": sqlite,
    "pulsar": pulsar,
}


@pytest.fixture(params=KINDS)
def kind(request):
    return request.param


@pytest.fixture
def pulls(kind):
    """For tests in which whoever asks first gets a message: a broker sends them before anybody asks."""
    if kind == "pulsar":
        pytest.skip("Pulsar decides itself who gets what: see test_pulsar.py")


@pytest.fixture
def connect(kind, tmp_path):
    with KINDS[kind](tmp_path) as connected:
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
