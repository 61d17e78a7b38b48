"""What the checkers know of the client. Lines with two ignores are mistakes that both flag."""

from datetime import UTC, datetime
from typing import Any, assert_type

from dsl import Channel, Flow, Workflow, method, query, sleep, task, workflow
from infinitic.client import AsyncClient, AsyncHandle, Client, Handle


@task
def charge(card: str) -> bytes:
    raise NotImplementedError


@workflow
def trip(city: str) -> Flow[int]:
    yield from sleep(1)
    return 5


class Loyalty(Workflow):
    bonus = Channel(int)

    @method
    def run(self, weeks: int) -> Flow[str]:
        yield from sleep(1)
        return ""

    @method
    def redeem(self, points: int) -> bool:
        return True

    @query
    def balance(self) -> float:
        return 0.0


def synchronous(client: Client) -> None:
    ada = Loyalty.by_id("ada")
    assert_type(client.start(trip("Oslo"), id="a"), Handle[int])
    assert_type(client.start(trip("Oslo")).result(5), int)
    assert_type(client.run(trip("Oslo")), int)
    assert_type(client.run(charge("visa")), bytes)
    assert_type(client.start(charge("visa"), id="c"), Handle[bytes])
    assert_type(client.get("c", charge), Handle[bytes])
    assert_type(client.run(Loyalty.run(4)), str)
    assert_type(client.run(ada.redeem(3)), bool)
    assert_type(client.start(ada.redeem(3)), Handle[bool])
    assert_type(client.run(ada.balance()), float)
    assert_type(client.run(ada.bonus.send(5)), None)
    assert_type(client.start(ada.bonus.send(5)), Handle[None])
    assert_type(client.get("a", trip), Handle[int])
    assert_type(client.get("a", Loyalty.run), Handle[str])
    assert_type(client.get("a", Loyalty), Handle[Any])
    assert_type(client.get("a"), Handle[Any])
    assert_type([one.workflow_id for one in client.find(status="failed")], list[str])
    assert_type(client.count(trip, parent="a", waiting_for="charge", since=datetime.now(UTC), id_prefix="t"), int)
    assert_type(client.delete("a"), bool)
    wide: Handle[object] = client.start(trip("Oslo"))
    wide.cancel()

    client.run(sleep(5))  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    client.start(sleep(5))  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    client.start(ada.balance())  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    client.run(trip)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    client.start(trip("Oslo"), if_exists="replace")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    client.find(waiting="charge")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    client.count(tag=5)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    client.get("a", 5)  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue, reportArgumentType]


async def asynchronous(client: AsyncClient) -> None:
    ada = Loyalty.by_id("ada")
    handle = await client.start(trip("Oslo"))
    assert_type(handle, AsyncHandle[int])
    assert_type(await handle, int)
    assert_type(await handle.result(5), int)
    assert_type(await client.run(ada.redeem(3)), bool)
    assert_type(await client.run(ada.balance()), float)
    assert_type(await client.get("a", trip), AsyncHandle[int])
    assert_type(await client.get("a", Loyalty.run), AsyncHandle[str])
    assert_type(await client.get("a", Loyalty), AsyncHandle[Any])
    assert_type([one.workflow_id async for one in client.find(parent="a", limit=5)], list[str])
    assert_type(await client.count(tag="vip"), int)
    assert_type(await client.delete("a"), bool)

    await client.run(sleep(5))  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


async def awaited(client: Client) -> None:
    assert_type(await client.start(trip("Oslo")), int)
