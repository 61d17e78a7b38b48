"""What the checkers know of service classes. Lines with two ignores are mistakes that both flag."""

from collections.abc import Coroutine
from typing import Any, assert_type

from dsl import Call, Flow, Retry, Service, gather, task


class Hotels(Service):
    @task
    def book(self, city: str, nights: int = 1) -> float:
        raise NotImplementedError

    @task
    async def cancel(self, booking: float) -> bool:
        raise NotImplementedError

    @task(retry=Retry(max_attempts=2), timeout=3)
    def rate(self, stars: int) -> str:
        raise NotImplementedError

    @task(timeout=3, name="quick")
    async def hurry(self) -> None:
        raise NotImplementedError


class AcmeHotels(Hotels, name="acme"):
    """Overrides by plain methods, `def` and `async def` as in the contract, and one with options."""

    def __init__(self, database: str) -> None:
        self.database = database

    def book(self, city: str, nights: int = 1) -> float:
        return 1.0

    async def cancel(self, booking: float) -> bool:
        return True

    @task(timeout=9)
    def rate(self, stars: int) -> str:
        return "*" * stars


class WiderHotels(Hotels):
    """Takes more than the contract asks for, and gives something narrower."""

    def book(self, city: str, nights: int = 1, *, floor: int = 0) -> int:
        return 1


class OwnHotels(AcmeHotels):
    def book(self, city: str, nights: int = 1) -> float:
        return 2.0


class Mailer(Service):
    """A contract that is its own implementation."""

    @task
    def send(self, to: str) -> int:
        return len(to)

    def helper(self) -> int:
        return self.send("ann")


assert_type(Hotels.book("Oslo"), Call[float])
assert_type(Hotels.book("Oslo", nights=2), Call[float])
assert_type(Hotels.cancel(1.0), Call[bool])
assert_type(Hotels.rate(5), Call[str])
assert_type(Hotels.hurry(), Call[None])
assert_type(Mailer.send("ann"), Call[int])

assert_type(AcmeHotels("db").book("Oslo"), float)
assert_type(AcmeHotels("db").rate(5), str)
assert_type(OwnHotels("db").book("Oslo"), float)
assert_type(Mailer().send("ann"), int)
assert_type(Mailer().helper(), int)


def generator() -> Flow[None]:
    assert_type((yield from Hotels.book("Oslo")), float)
    assert_type((yield from Hotels.cancel(1.0)), bool)
    assert_type((yield from gather(Hotels.book("Oslo"), Hotels.rate(5))), tuple[float, str])


async def coroutine() -> None:
    cancelling: Coroutine[Any, Any, bool] = AcmeHotels("db").cancel(1.0)
    assert_type(await cancelling, bool)
    assert_type(await Hotels.book("Oslo"), float)
    assert_type(await Hotels.cancel(1.0), bool)
    assert_type(await Hotels.rate(5).options(timeout=1), str)


class OtherType(Hotels):
    def book(self, city: int, nights: int = 1) -> float:  # type: ignore[override]  # pyright: ignore[reportIncompatibleVariableOverride]
        return 1.0


class OtherAnswer(Hotels):
    def book(self, city: str, nights: int = 1) -> str:  # type: ignore[override]  # pyright: ignore[reportIncompatibleVariableOverride]
        return ""


class TooFew(Hotels):
    def book(self, city: str) -> float:  # type: ignore[override]  # pyright: ignore[reportIncompatibleVariableOverride]
        return 1.0


class AwaitsTooMuch(Hotels):
    async def cancel(self, booking: str) -> bool:  # type: ignore[override]  # pyright: ignore[reportIncompatibleVariableOverride]
        return True


Hotels.book(5)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
Hotels.book()  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
Hotels.book("Oslo", 1, 2)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
Hotels.book("Oslo", rooms=2)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
Hotels.cancel("1")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
Hotels.rate("5")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
AcmeHotels("db").book(5)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
