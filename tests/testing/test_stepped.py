"""A worker that is stepped: nothing happens but by a call; tasks take the clock's time; over each backend."""

import pytest

from dsl import Flow, Retry, race, sleep, task, workflow
from infinitic.backends.distributed import DistributedBackend
from infinitic.backends.sqlite import SqliteBackend
from infinitic.client import Client
from infinitic.storages.memory import MemoryStorage
from infinitic.testing.stepped import SteppedWorker
from infinitic.transports.memory import MemoryTransport

SECOND = 1_000_000
ran: list[int] = []


class Clock:
    now = 1_800_000_000 * SECOND

    def __call__(self) -> int:
        return self.now


class World:
    """The driver of a client that moves one worker, half a second at a time."""

    def __init__(self, clock, backend):
        self.clock, self.backend = clock, backend
        self.worker: SteppedWorker
        self.client = Client.over(backend(), clock=clock, driver=self)

    def serve(self, **options):
        self.worker = SteppedWorker(
            self.backend(), workflows=[both, hasty, pause], services=[double, slow], clock=self.clock, **options
        )
        return self.worker

    def time(self):
        return self.clock.now / SECOND

    def drive(self, done, seconds):
        until = self.time() + (60 if seconds is None else seconds)
        while not done() and self.time() < until:
            self.worker.work()
            self.client._session.waits.attend()
            self.clock.now += SECOND // 2
            self.worker.sweep()


@task(timeout=5)
def double(number: int) -> int:
    ran.append(number)
    return number * 2


@task(retry=Retry(max_attempts=1))
async def slow() -> int:
    return 1


@workflow
def both() -> Flow[int]:
    first = yield from double(1)
    return (yield from double(first))


@workflow
def hasty() -> Flow[str]:
    winner, _ = yield from race(task=slow(), time=sleep(2))
    return winner


@workflow
def pause() -> Flow[None]:
    yield from sleep(10)


@pytest.fixture(params=["memory", "sqlite"])
def world(request, tmp_path):
    ran.clear()
    clock = Clock()
    transport, storage = MemoryTransport(clock), MemoryStorage(clock)
    opened = []

    def backend():
        if request.param == "memory":
            opened.append(DistributedBackend(transport.another(), storage.another()))
        else:
            opened.append(SqliteBackend.open(tmp_path / "stepped.db", clock=clock))
        return opened[-1]

    made = World(clock, backend)
    made.serve()
    yield made
    made.worker.close()
    made.client.close()
    for one in opened:
        one.close()


def test_a_client_without_a_thread_waits_by_its_driver(world):
    assert world.client.run(both()) == 4


def test_nothing_happens_but_by_a_step(world):
    handle = world.client.start(both(), id="b")
    assert handle.history() == ()

    world.worker.step()
    assert (len(handle.history()), ran) == (1, [])
    assert len(world.worker.tasks.submitted) == 1

    finished = world.worker.run_tasks()
    assert (len(handle.history()), ran, len(finished)) == (1, [1], 1)
    world.worker.step(finished)
    assert len(handle.history()) == 2


def test_it_knows_when_it_has_to_be_woken(world):
    world.client.start(pause(), id="p")
    assert world.worker.next_due is None
    world.worker.step()

    assert world.worker.next_due == world.clock.now + 10 * SECOND


def test_a_task_is_answered_when_its_time_has_passed(world):
    world.worker.lag = lambda attempt: 3 * SECOND
    handle = world.client.start(both(), id="b")
    world.worker.work()

    assert (ran, len(handle.history())) == ([1], 1)
    assert world.worker.next_due == world.clock.now + 3 * SECOND
    assert handle.result() == 4


def test_a_task_that_takes_too_long_has_timed_out(world):
    world.worker.lag = lambda attempt: 6 * SECOND
    handle = world.client.start(both(), id="b")
    with pytest.raises(TimeoutError, match="took longer than its timeout of 5 s"):
        handle.result(timeout=5.4)


def test_a_cancelled_task_is_over_at_once(world):
    world.worker.lag = lambda attempt: 1_000 * SECOND
    assert world.client.run(hasty()) == "time"
    world.worker.work()

    assert (world.worker.underway, world.worker.next_due) == ([], None)


def test_what_a_worker_had_in_hand_when_it_crashed_is_done_by_the_next(world):
    handle = world.client.start(both(), id="b")
    world.worker.step()
    world.worker.run_tasks()
    world.worker.crash()
    world.serve()

    assert handle.result() == 4
    assert ran[:2] == [1, 1]
    assert ran[-1] == 2


def test_services_alone_are_served_without_a_storage():
    clock = Clock()
    transport, storage = MemoryTransport(clock), MemoryStorage(clock)
    flows = SteppedWorker(DistributedBackend(transport.another(), storage), workflows=[both], services=[], clock=clock)
    tasks = SteppedWorker(DistributedBackend(transport.another()), workflows=[], services=[double, slow], clock=clock)
    with Client.over(DistributedBackend(transport.another(), storage.another())) as client:
        handle = client.start(both(), id="b")
        for _ in range(3):
            flows.work()
            tasks.work()
        tasks.sweep()
        tasks.close()
        flows.close()

        assert handle.status() == "completed"
