"""Trouble with the storage or the transport: it is waited for, and nothing is lost. No backend of its own: memory."""

import threading

import pytest

from dsl import Flow, gather, sleep, task, workflow
from infinitic.client import Client
from infinitic.errors import StorageError, TransportError
from infinitic.storages.memory import MemoryStorage
from infinitic.transports.memory import MemoryConsumer, MemoryTransport
from infinitic.worker import Worker
from infinitic.worker.loops import Loops
from tests.scenarios.given import until


@task
def step(number: int) -> int:
    return number + 1


@workflow
def counting(upto: int) -> Flow[int]:
    total = 0
    for _ in range(upto):
        total = yield from step(total)
        yield from sleep(0.001)
    return total + sum((yield from gather(*[step(0) for _ in range(5)])))


class Weather:
    """Makes every n-th call of what it is set on fail, until it clears up."""

    def __init__(self, monkeypatch):
        self.monkeypatch, self.bad, self.calls = monkeypatch, True, 0

    def over(self, kind, name, error, every=3):
        real = getattr(kind, name)

        def stormy(*args, **kwargs):
            self.calls += 1
            if self.bad and self.calls % every == 0:
                raise error(f"{name} is away")
            return real(*args, **kwargs)

        self.monkeypatch.setattr(kind, name, stormy)


@pytest.fixture
def weather(monkeypatch):
    return Weather(monkeypatch)


def impatient():
    """Sweeps all the time, so that trouble in a sweep meets everything else."""
    return Loops(tick=0.005)


@pytest.mark.parametrize(
    ("kind", "name", "error"),
    [
        (MemoryStorage, "claim_due_timers", StorageError),
        (MemoryStorage, "offers", StorageError),
        (MemoryStorage, "append", StorageError),
        (MemoryStorage, "load", StorageError),
        (MemoryTransport, "publish", TransportError),
        (MemoryTransport, "sweep", TransportError),
        (MemoryConsumer, "receive", TransportError),
        (MemoryConsumer, "ack", TransportError),
        (MemoryConsumer, "release", TransportError),
    ],
)
def test_what_fails_now_and_then_costs_nothing(weather, kind, name, error, monkeypatch):
    monkeypatch.setattr("infinitic.worker.loops.BACKOFF", 0.002)
    monkeypatch.setattr("infinitic.worker.loops.LONGEST", 0.02)
    url = f"memory://trouble-{name}"
    with Client(url) as client:
        ids = [client.start(counting(3), id=f"c{number}").id for number in range(10)]
        weather.over(kind, name, error, every=4)
        with Worker(url, workflows=[counting], services=[step], cache_instances=3, loops=impatient):
            until(lambda: client_count(client) == 10)
            weather.bad = False
            assert [client.get(one, counting).result(20) for one in ids] == [8] * 10


def client_count(client):
    try:
        return client.count(status="completed")
    except (StorageError, TransportError):
        return 0


def test_a_worker_whose_storage_is_away_closes_all_the_same(weather, caplog):
    url = "memory://trouble-closing"
    worker = Worker(url, workflows=[counting], services=[step], loops=impatient)
    worker.start()
    weather.over(MemoryStorage, "claim_due_timers", StorageError, every=1)
    until(lambda: "trying again" in caplog.text)
    closing = threading.Thread(target=worker.close)
    closing.start()
    closing.join(5)
    weather.bad = False

    assert not closing.is_alive()
