"""What the checkers know of combinators. Lines with two ignores are mistakes that both flag."""

from collections.abc import Sequence
from typing import assert_type

from dsl import (
    Command,
    Deferred,
    Flow,
    Outcome,
    dispatch,
    first,
    gather,
    race,
    settle,
    sleep,
    spawn,
    task,
    timeout,
)
from dsl.commands import All


@task
def a(n: int) -> int:
    return n


@task
def b(n: int) -> str:
    return str(n)


@task
async def c(n: int) -> bytes:
    return bytes(n)


def flow(n: int) -> Flow[float]:
    yield from sleep(n)
    return 1.0


async def coroutine(n: int) -> bool:
    await sleep(n)
    return True


def gathers(many: Sequence[int]) -> Flow[None]:
    assert_type(gather(), Command[tuple[()]])
    assert_type((yield from gather()), tuple[()])
    assert_type((yield from gather(a(1))), tuple[int])
    assert_type((yield from gather(a(1), b(1))), tuple[int, str])
    assert_type((yield from gather(a(1), b(1), c(1))), tuple[int, str, bytes])
    assert_type((yield from gather(a(1), b(1), c(1), a(1))), tuple[int, str, bytes, int])
    assert_type((yield from gather(a(1), b(1), c(1), a(1), b(1))), tuple[int, str, bytes, int, str])
    six = yield from gather(a(1), b(1), c(1), a(1), b(1), c(1))
    assert_type(six, tuple[int, str, bytes, int, str, bytes])
    seven = yield from gather(a(1), b(1), c(1), a(1), b(1), c(1), a(1))
    assert_type(seven, tuple[int, str, bytes, int, str, bytes, int])
    eight = yield from gather(a(1), b(1), c(1), a(1), b(1), c(1), a(1), b(1))
    assert_type(eight, tuple[int, str, bytes, int, str, bytes, int, str])
    nine = yield from gather(a(1), a(2), a(3), a(4), a(5), a(6), a(7), a(8), a(9))
    assert_type(nine, tuple[int, ...])
    assert_type((yield from gather(*[a(n) for n in many])), tuple[int, ...])
    assert_type((yield from gather(*[dispatch(a(n)) for n in many])), tuple[int, ...])
    assert_type((yield from gather(*(flow(n) for n in many))), tuple[float, ...])


def items_of_all_kinds() -> Flow[None]:
    begun = dispatch(a(1))
    assert_type(begun, Deferred[int])
    mixed = yield from gather(begun, flow(1), coroutine(1), sleep(1), spawn(flow(1)))
    assert_type(mixed, tuple[int, float, bool, None, float])
    assert_type((yield from gather(gather(a(1), b(1)), c(1))), tuple[tuple[int, str], bytes])
    assert_type((yield from timeout(flow(1), 5)), float)
    assert_type((yield from first(flow(1), coroutine(1))), float | bool)


def firsts(many: Sequence[int]) -> Flow[None]:
    assert_type((yield from first(a(1))), int)
    assert_type((yield from first(a(1), b(1))), int | str)
    assert_type((yield from first(a(1), b(1), c(1))), int | str | bytes)
    assert_type((yield from first(a(1), b(1), c(1), flow(1))), int | str | bytes | float)
    assert_type((yield from first(a(1), b(1), c(1), flow(1), sleep(1))), int | str | bytes | float | None)
    assert_type((yield from first(*[a(n) for n in many])), int)


def races() -> Flow[None]:
    assert_type((yield from race(one=a(1))), tuple[str, int])
    name, value = yield from race(one=a(1), two=a(2), late=dispatch(a(3)))
    assert_type(name, str)
    assert_type(value, int)
    winner, answer = yield from race(paid=a(1), refused=b(1), late=sleep(5))
    assert_type(winner, str)
    assert_type(answer, int | str | None)
    _, either = yield from race(one=a(1), two=b(1))  # mypy joins to object where no item answers None
    if isinstance(either, int):
        assert_type(either, int)


def settles(many: Sequence[int]) -> Flow[None]:
    assert_type((yield from settle()), tuple[()])
    assert_type((yield from settle(a(1))), tuple[Outcome[int]])
    assert_type((yield from settle(a(1), b(1))), tuple[Outcome[int], Outcome[str]])
    assert_type((yield from settle(a(1), b(1), c(1))), tuple[Outcome[int], Outcome[str], Outcome[bytes]])
    assert_type((yield from settle(*[a(n) for n in many])), tuple[Outcome[int], ...])
    (outcome,) = yield from settle(a(1))
    assert_type(outcome.ok, bool)
    assert_type(outcome.value, int)
    assert_type(outcome.error, BaseException | None)


def operators() -> Flow[None]:
    assert_type(a(1) & b(1), All[int, str])
    assert_type((yield from a(1) & b(1)), tuple[int, str])
    assert_type((yield from a(1) & b(1) & c(1)), tuple[int, str, bytes])
    assert_type((yield from a(1) & b(1) & c(1) & flow(1)), tuple[int, str, bytes, float])
    assert_type((yield from a(1) & (b(1) & c(1))), tuple[int, tuple[str, bytes]])
    assert_type((yield from a(1) & dispatch(b(1))), tuple[int, str])
    assert_type((yield from a(1) | b(1)), int | str)
    assert_type((yield from a(1) | b(1) | c(1)), int | str | bytes)
    assert_type((yield from a(1) | sleep(5)), int | None)
    assert_type((yield from dispatch(a(1)) | flow(1)), int | float)
    assert_type((yield from (a(1) & b(1)) | sleep(1)), tuple[int, str] | None)


def timeouts() -> Flow[None]:
    assert_type((yield from timeout(a(1), 5)), int)
    assert_type((yield from timeout(coroutine(1), 0.5)), bool)
    assert_type((yield from timeout(gather(a(1), b(1)), 5)), tuple[int, str])


async def awaits(many: Sequence[int]) -> None:
    assert_type(await gather(a(1), b(1)), tuple[int, str])
    assert_type(await gather(coroutine(1), flow(1)), tuple[bool, float])
    assert_type(await gather(*[a(n) for n in many]), tuple[int, ...])
    assert_type(await first(a(1), b(1)), int | str)
    assert_type(await race(one=a(1), two=a(2)), tuple[str, int])
    assert_type(await (a(1) & b(1)), tuple[int, str])
    assert_type(await (a(1) | sleep(1)), int | None)
    assert_type(await timeout(a(1), 5), int)


def use(item: object) -> None: ...


gather(5)  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType, reportCallIssue]
gather([a(1), a(2)])  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType, reportCallIssue]
gather(a(1), "b")  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType, reportCallIssue]
first(5)  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType, reportCallIssue]
race(a(1))  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
race(one=5)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
settle(a(1), 5)  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType, reportCallIssue]
timeout(a(1))  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
timeout(a(1), "5")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
timeout(5, 5)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
use(a(1) & 5)  # type: ignore[operator]  # pyright: ignore[reportOperatorIssue, reportUnknownArgumentType]
use(a(1) | None)  # type: ignore[operator]  # pyright: ignore[reportOperatorIssue, reportUnknownArgumentType]
