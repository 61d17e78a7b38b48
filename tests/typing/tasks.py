"""What the checkers know of function tasks. Lines with two ignores are mistakes that both flag."""

from collections.abc import Coroutine
from datetime import timedelta
from typing import Any, assert_type

from dsl import Call, Deferred, Flow, Retry, dispatch, task


@task
def charge(card: str, cents: int = 100, *, urgent: bool = False) -> bytes:
    return b""


@task(retry=Retry(max_attempts=3), timeout=timedelta(minutes=1), name="pay", service="billing")
def pay(card: str) -> bytes:
    return b""


@task
async def fetch(url: str) -> str:
    return url


@task(timeout=2.5)
async def slow(url: str) -> str:
    return url


@task
def nothing() -> None:
    return None


@task
def ping(*, host: str) -> list[str]:
    return [host]


assert_type(charge("4242"), Call[bytes])
assert_type(charge("4242", cents=5, urgent=True), Call[bytes])
assert_type(pay("4242"), Call[bytes])
assert_type(fetch("/"), Call[str])
assert_type(slow("/"), Call[str])
assert_type(nothing(), Call[None])
assert_type(ping(host="a"), Call[list[str]])

assert_type(charge.fn("4242"), bytes)
fetching: Coroutine[Any, Any, str] = fetch.fn("/")

assert_type(charge("4242").options(timeout=5, tags=["vip"], meta={"a": 1}), Call[bytes])
assert_type(fetch("/").options(retry=Retry()).options(timeout=timedelta(1)), Call[str])


def generator() -> Flow[None]:
    assert_type((yield from charge("4242")), bytes)
    assert_type((yield from pay("4242")), bytes)
    assert_type((yield from fetch("/")), str)
    assert_type((yield from nothing()), None)
    assert_type((yield from charge("4242").options(timeout=5)), bytes)
    begun = dispatch(fetch("/"))
    assert_type(begun, Deferred[str])
    assert_type((yield from begun), str)


async def coroutine() -> None:
    assert_type(await charge("4242"), bytes)
    assert_type(await fetch("/"), str)
    assert_type(await slow("/").options(timeout=5), str)
    assert_type(await dispatch(charge("4242")), bytes)


charge(4242)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
charge("4242", "5")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
charge()  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
charge("4242", amount=5)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
charge("4242", 5, True)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
pay(card=4242)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
fetch()  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
ping("a")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
charge("4242").options(timeout="5")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
charge("4242").options(retry=3)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
task(timeout="5")  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType]
task(retries=5)  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue]
