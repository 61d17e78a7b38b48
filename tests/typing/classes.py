"""What the checkers know of workflow classes. Lines with two ignores are mistakes that both flag."""

from collections.abc import Coroutine
from typing import Any, assert_type

from dsl import Call, Channel, Flow, Mailbox, Query, Sender, Workflow, gather, method, query, sleep


class Loyalty(Workflow, name="loyalty", version=2, check="off"):
    bonus = Channel(int)
    either = Channel[int | str]()
    untyped: Channel[list[int]] = Channel()

    def __init__(self) -> None:
        self.points = 0

    @method
    def run(self, weeks: int) -> Flow[int]:
        for _ in range(weeks):
            extra = yield from (self.bonus.receive() | sleep(days=7))
            assert_type(extra, int | None)
            self.points += 1 if extra is None else extra
        assert_type(self.redeem(3), bool)
        assert_type((yield from self.pause()), str)
        assert_type((yield from self.either.receive()), int | str)
        assert_type((yield from self.untyped.receive()), list[int])
        assert_type((yield from self.either.receive(str)), str)
        assert_type((yield from self.either.receive(int, where=lambda number: number > 5)), int)
        assert_type((yield from self.bonus.receive(where=lambda number: number > 5)), int)
        return self.points

    @method
    async def settle(self, card: str = "") -> str:
        assert_type(await self.bonus.receive(), int)
        return card

    @method
    def pause(self) -> Flow[str]:
        yield from sleep(5)
        return "x"

    @method(name="cash-in")
    def redeem(self, points: int) -> bool:
        return True

    @redeem.validator
    def check_redeem(self, points: int) -> None:
        if points > self.points:
            raise ValueError(points)

    @method(name="slowly")
    def slow(self, points: int) -> Flow[bool]:
        yield from sleep(5)
        return True

    @slow.validator  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    def check_slow(self, points: str) -> None: ...

    @settle.validator  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    def check_settle(self, card: str) -> bool:
        return True

    @query
    def balance(self, currency: str = "points") -> int:
        return self.points

    @query(name="all")
    def everything(self) -> list[int]:
        return [self.balance()]


class Gold(Loyalty):
    @method
    def redeem(self, points: int) -> bool:
        return super().redeem(points)

    def check_redeem(self, points: int) -> None:
        super().check_redeem(points)

    @method
    def upgrade(self) -> Flow[None]:
        yield from sleep(5)


# Through the class: a new instance.
assert_type(Loyalty.run(3), Call[int])
assert_type(Loyalty.settle(), Call[str])
assert_type(Loyalty.redeem(3), Call[bool])
assert_type(Loyalty.slow(3), Call[bool])
assert_type(Loyalty.balance(), Query[int])
assert_type(Gold.run(3), Call[int])
assert_type(Gold.redeem(3), Call[bool])
assert_type(Loyalty.run(3).options(id="ada"), Call[int])
assert_type(Loyalty.bonus, Sender[int])

# Through an id: the instance that runs.
ada = Loyalty.by_id("ada")
assert_type(ada, type[Loyalty])
assert_type(ada.redeem(10), Call[bool])
assert_type(ada.settle("4242"), Call[str])
assert_type(ada.balance(), Query[int])
assert_type(ada.balance(currency="euro"), Query[int])
assert_type(ada.everything(), Query[list[int]])
assert_type(ada.bonus.send(5), Call[None])
assert_type(ada.either.send("five"), Call[None])
assert_type(Gold.by_id("ada"), type[Gold])
assert_type(Gold.by_id("ada").upgrade(), Call[None])
assert_type(Gold.by_id("ada").bonus.send(5), Call[None])

# Through a tag: all that have it.
vips = Loyalty.by_tag("vip")
assert_type(vips, type[Loyalty])
assert_type(vips.redeem(10), Call[bool])
assert_type(vips.bonus.send(5), Call[None])
assert_type(Gold.by_tag("vip"), type[Gold])

# On an object: plain Python.
mine = Loyalty()
assert_type(mine.run(3), Flow[int])
assert_type(mine.redeem(3), bool)
assert_type(mine.balance(), int)
assert_type(mine.check_redeem(3), None)
assert_type(mine.bonus, Mailbox[int])
assert_type(mine.bonus.drain(), list[int])
assert_type(mine.either.drain(), list[int | str])


async def on_an_object() -> None:
    settling: Coroutine[Any, Any, str] = mine.settle()
    assert_type(await settling, str)


def caller() -> Flow[None]:
    assert_type((yield from ada.redeem(10)), bool)
    assert_type((yield from Loyalty.run(3)), int)
    assert_type((yield from ada.bonus.send(5)), None)
    assert_type((yield from gather(ada.redeem(1), ada.settle())), tuple[bool, str])


class Broken(Loyalty):
    @method
    def redeem(self, points: str) -> bool:  # type: ignore[override]  # pyright: ignore[reportIncompatibleVariableOverride]
        return True


def asks() -> Flow[None]:
    yield from ada.balance()  # type: ignore[misc]  # pyright: ignore[reportGeneralTypeIssues]


Loyalty.run("3")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
Loyalty.run()  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
Loyalty.redeem(1, 2)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
Loyalty.balance(5)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
ada.redeem("10")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
ada.bonus.send("5")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
ada.either.send(None)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
ada.bonus.receive()  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType]
mine.bonus.send(5)  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType]
ada.unknown()  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType]
Loyalty.by_id(5)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
