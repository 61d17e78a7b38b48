"""The same for an event loop: no wait blocks it, and no wait takes a thread."""

import asyncio
import inspect
import threading

import pytest

from dsl import UnknownWorkflow, WorkflowExists, WorkflowFailed
from infinitic.client import AsyncClient, AsyncHandle, Client, Handle
from infinitic.errors import NoStorage, TransportError
from infinitic.events import CancelRequested, MethodCalled, Retried, SignalReceived, Started
from infinitic.messages import Query
from infinitic.records import StateRecord
from tests.client.given import OFTEN, PATIENCE, Loyalty, Receipt, raw, store, trip

OSLO = Receipt("oslo", 5)
ADA = Loyalty.by_id("ada")


def answers(heard):
    match heard.payload:
        case Started(if_exists="attach"):
            return heard.completed(OSLO)
        case Started():
            return [heard.answered("received"), heard.completed(OSLO)]
        case MethodCalled():
            return heard.completed(True, heard.id)
        case Query():
            return heard.completed(7, heard.id)
        case SignalReceived() | CancelRequested() | Retried():
            return heard.answered("received")
    return None


def public(kind):
    return {name for name in vars(kind) if not name.startswith("_")}


def test_the_names_are_those_of_the_other_client():
    assert (public(AsyncClient), public(AsyncHandle)) == (public(Client), public(Handle))


@pytest.mark.parametrize("name", ["start", "run", "get", "find", "count"])
def test_the_options_are_those_of_the_other_client(name):
    parameters = [inspect.signature(getattr(kind, name)).parameters for kind in (Client, AsyncClient)]

    assert parameters[0] == parameters[1]


def test_everything_that_can_be_asked_is_answered(worker, async_client):
    worker(answers)

    async def ask():
        async with async_client() as client:
            handle = await client.start(trip("Oslo"))
            new = await client.start(trip("Oslo"), if_exists="fail")
            signal = await client.start(ADA.bonus.send(5))
            call = await client.start(ADA.redeem(3))
            await handle.cancel(timeout=PATIENCE)
            await handle.retry(timeout=PATIENCE)
            return [
                await handle,
                await handle.result(PATIENCE),
                await new,
                await signal,
                await call,
                await client.run(trip("Oslo"), timeout=PATIENCE),
                await client.run(ADA.redeem(3), timeout=PATIENCE),
                await client.run(ADA.balance(), timeout=PATIENCE),
                await client.run(ADA.bonus.send(5), timeout=PATIENCE),
            ]

    assert asyncio.run(ask()) == [OSLO, OSLO, OSLO, None, True, OSLO, True, 7, None]


def test_what_is_kept_can_be_read(async_client, storage):
    for number in range(150):
        store(storage, StateRecord("trip", f"i{number}", "r1", "completed", value=raw(OSLO), started=number))

    async def read():
        async with async_client() as client:
            handle = await client.get("i5", trip)
            found = [one.workflow_id async for one in client.find(limit=120)]
            return (
                len(found),
                await client.count(trip),
                await handle.status(),
                await handle.history(),
                await handle,
            )

    assert asyncio.run(read()) == (120, 150, "completed", (), OSLO)


def test_a_lost_answer_is_found(worker, async_client, storage):
    stand_in = worker()

    async def wait():
        async with async_client(look_again=OFTEN) as client:
            handle = await client.start(trip("Oslo"), id="a")
            run = (await asyncio.to_thread(stand_in.next)).payload.run
            store(storage, StateRecord("trip", "a", run, "completed", value=raw(OSLO)))
            return await handle

    assert asyncio.run(wait()) == OSLO


@pytest.mark.parametrize(
    ("script", "use", "error"),
    [
        (
            lambda heard: heard.failed(ValueError("broke")),
            lambda client: client.run(trip("Oslo"), timeout=PATIENCE),
            WorkflowFailed,
        ),
        (
            lambda heard: heard.answered("exists", WorkflowExists("trip", "a", "running")),
            lambda client: client.start(trip("Oslo"), if_exists="fail"),
            WorkflowExists,
        ),
        (lambda heard: None, lambda client: client.run(trip("Oslo"), timeout=0), TimeoutError),
        (lambda heard: None, lambda client: client.run(ADA.balance(), timeout=0.01), TimeoutError),
        (lambda heard: None, lambda client: client.get("nobody"), UnknownWorkflow),
        (lambda heard: None, lambda client: client.run(trip), TypeError),
    ],
)
def test_errors_are_those_of_the_other_client(worker, async_client, script, use, error):
    worker(script)

    async def fail():
        async with async_client() as client:
            await use(client)

    with pytest.raises(error):
        asyncio.run(fail())


def test_many_wait_at_once_without_threads_of_their_own(worker, async_client):
    stand_in = worker()

    async def wait():
        async with async_client() as client:
            handles = [await client.start(trip("Oslo"), id=f"trip-{number}") for number in range(200)]
            started = [stand_in.next() for _ in handles]
            before = set(threading.enumerate())
            waiting = asyncio.gather(*handles)
            await asyncio.sleep(0)  # all of them wait now
            more = set(threading.enumerate()) - before
            stand_in.tell(client.id, *[heard.completed(OSLO) for heard in started])
            return more, await waiting

    assert asyncio.run(wait()) == (set(), [OSLO] * 200)


def test_one_client_serves_several_loops(worker, async_client):
    worker(answers)
    client = async_client()

    async def run():
        return await client.run(trip("Oslo"), timeout=PATIENCE)

    results = [asyncio.run(run()) for _ in range(3)]
    asyncio.run(client.close())

    assert results == [OSLO] * 3


def test_a_closed_client_says_so(async_client):
    async def use():
        client = async_client()
        await client.close()
        await client.start(trip("Oslo"))

    with pytest.raises(TransportError, match="closed"):
        asyncio.run(use())


def test_a_handle_shows_what_it_is_of(async_client):
    async def shown():
        async with async_client() as client:
            return repr(await client.start(trip("Oslo"), id="a"))

    assert asyncio.run(shown()) == "<AsyncHandle trip id='a'>"


def test_an_asynchronous_client_is_made_of_a_url():
    async def count():
        async with AsyncClient(transport="memory://alone", storage="memory://alone") as client:
            return await client.count()

    assert asyncio.run(count()) == 0


def test_to_find_without_a_storage_is_refused_at_once(connect):
    from infinitic.backends.distributed import DistributedBackend

    backend = connect("client")
    client = AsyncClient.over(DistributedBackend(backend.transport))

    with pytest.raises(NoStorage):
        client.find()
    asyncio.run(client.close())
    backend.close()
