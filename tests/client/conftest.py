"""Clients and stand-ins over every embedded backend."""

from contextlib import ExitStack
from itertools import count

import pytest

from infinitic.backends.distributed import DistributedBackend
from infinitic.backends.urls import Brokers, open_backend
from infinitic.client import AsyncClient, Client
from tests.client.given import SILENT, StandIn

NAMES = count()


@pytest.fixture
def stack():
    with ExitStack() as stack:
        yield stack


@pytest.fixture(params=["memory", "sqlite"])
def connect(request, tmp_path):
    """One more handle on the same backend, as another process would have."""
    url = f"memory://client-{next(NAMES)}" if request.param == "memory" else f"sqlite:///{tmp_path}/trips.db"
    brokers = Brokers()
    return lambda role: open_backend(url, role, brokers=brokers)


@pytest.fixture
def worker(connect, stack):
    """A stand-in for the worker, with this script; its backend is `worker.backend`."""

    def made(script=SILENT):
        backend = connect("worker")
        stack.callback(backend.close)
        stand_in = StandIn(backend.transport, script)
        stack.callback(stand_in.close)
        return stand_in

    return made


@pytest.fixture
def storage(connect, stack):
    backend = connect("worker")
    stack.callback(backend.close)
    return backend.storage


@pytest.fixture
def client(connect, stack):
    """A client; `client(look_again=…)` sets how often it looks."""
    return lambda **options: stack.enter_context(Client.over(connect("client"), **options))


@pytest.fixture
def blind_client(connect, stack):
    """A client of the transport alone."""

    def made(**options):
        backend = connect("client")
        stack.callback(backend.close)
        alone = DistributedBackend(backend.transport)
        return stack.enter_context(Client.over(alone, **options))

    return made


@pytest.fixture
def async_client(connect):
    return lambda **options: AsyncClient.over(connect("client"), **options)
