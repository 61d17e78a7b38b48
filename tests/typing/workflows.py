"""What the checkers know of workflow functions. Lines with two ignores are mistakes that both flag."""

from collections.abc import Coroutine
from datetime import timedelta
from typing import Any, Never, assert_type

from dsl import (
    Call,
    Command,
    Deferred,
    Flow,
    Tagged,
    add_tags,
    continue_as_new,
    dispatch,
    remove_tags,
    sleep,
    spawn,
    task,
    workflow,
)


@task
def charge(card: str, cents: int) -> bytes:
    return b""


@workflow
def trip(city: str, card: str = "") -> Flow[bytes]:
    yield from sleep(hours=1)
    return (yield from charge(card, 100))


@workflow(name="tour", version=2, check="names")
def trip_again(city: str) -> Flow[bytes]:
    return (yield from trip(city))


@workflow
async def visit(city: str) -> int:
    assert_type(await charge("4242", 5), bytes)
    assert_type(await sleep(5), None)
    assert_type(await trip(city), bytes)
    return 1


@workflow(name="stay")
async def visit_again(city: str) -> int:
    return await visit(city)


@workflow
def plain(city: str) -> str:
    return city


@workflow(name="plainer", retention=timedelta(days=1))
def plain_again(city: str) -> str:
    return city


@workflow
def endless(month: int) -> Flow[str]:
    yield from sleep(days=30)
    return (yield from continue_as_new(endless(month + 1)))


@workflow
def inner() -> Flow[None]:
    yield from sleep(timedelta(days=1))


assert_type(trip("Oslo"), Call[bytes])
assert_type(trip_again("Oslo"), Call[bytes])
assert_type(visit("Oslo"), Call[int])
assert_type(visit_again("Oslo"), Call[int])
assert_type(plain("Oslo"), Call[str])
assert_type(plain_again("Oslo"), Call[str])
assert_type(inner(), Call[None])

assert_type(trip.fn("Oslo"), Flow[bytes])
visiting: Coroutine[Any, Any, int] = visit.fn("Oslo")
assert_type(plain.fn("Oslo"), str)

assert_type(trip("Oslo", card="4242").options(id="trip-42", tags=["vip"]), Call[bytes])
assert_type(continue_as_new(endless(2)), Command[Never])
assert_type((add_tags("vip"), remove_tags("new")), tuple[Command[None], Command[None]])
assert_type(endless.by_tag("vip"), Tagged)


def parts(city: str) -> Flow[int]:
    yield from sleep(1)
    return 1


@workflow
def parent(city: str) -> Flow[tuple[bytes, int, str]]:
    one = yield from trip(city)
    two = yield from visit(city)
    three = yield from plain(city)
    assert_type((yield from trip.fn(city)), bytes)
    assert_type((yield from parts(city)), int)
    begun = dispatch(trip(city).options(id="child"))
    assert_type(begun, Deferred[bytes])
    assert_type((yield from begun), bytes)
    branch = spawn(parts(city))
    assert_type(branch, Deferred[int])
    assert_type((yield from branch), int)
    other = spawn(visit.fn(city))
    assert_type(other, Deferred[int])
    assert_type((yield from other), int)
    return one, two, three


async def asynchronous() -> None:
    assert_type(await spawn(parts("Oslo")), int)
    assert_type(await visit.fn("Oslo"), int)
    assert_type(await dispatch(trip("Oslo")), bytes)
    assert_type(await trip("Oslo").options(timeout=5), bytes)


@workflow
def forgets() -> Flow[bytes]:
    yield from sleep(1)
    return charge("4242", 5)  # type: ignore[return-value]  # pyright: ignore[reportReturnType]


@workflow
async def forgets_too() -> bytes:
    return charge("4242", 5)  # type: ignore[return-value]  # pyright: ignore[reportReturnType]


@workflow
def yields_wrong(city: str) -> Flow[None]:
    yield 5  # type: ignore[misc]  # pyright: ignore[reportReturnType]


trip(5)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
trip()  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
trip("Oslo", "4242", 5)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
visit(city=5)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
plain()  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
trip("Oslo").options(id=42)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
continue_as_new(5)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
spawn(trip("Oslo"))  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
dispatch(parts("Oslo"))  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
workflow(nam="x")  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue]
