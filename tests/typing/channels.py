"""What the checkers know of channels of a module. Lines with two ignores are mistakes that both flag."""

from dataclasses import dataclass
from typing import assert_type

from dsl import Call, Channel, Command, Flow, Sender, sleep, workflow

confirmed = Channel(str, name="confirmed")
answers = Channel[int | None](name="answers")
flash = Channel(int, name="flash", buffered=False)


@dataclass
class Paid:
    cents: int


@dataclass
class Refused:
    why: str


payments = Channel[Paid | Refused](name="payments")


def is_large(paid: Paid) -> bool:
    return paid.cents > 100


@workflow
def choosy() -> Flow[int]:
    assert_type((yield from payments.receive()), Paid | Refused)
    assert_type((yield from payments.receive(Refused)), Refused)
    assert_type((yield from payments.receive(where=lambda one: isinstance(one, Paid))), Paid | Refused)
    assert_type((yield from flash.receive(where=lambda number: number > 5)), int)
    paid = yield from payments.receive(Paid, where=lambda one: one.cents > 5)
    assert_type(paid, Paid)
    return paid.cents


@workflow
def patient() -> Flow[str]:
    assert_type((yield from confirmed.receive()), str)
    assert_type((yield from answers.receive()), int | None)
    assert_type(confirmed.drain(), list[str])
    either = yield from (confirmed.receive() | sleep(days=2))
    assert_type(either, str | None)
    return either or ""


async def coroutine() -> None:
    assert_type(await confirmed.receive(), str)


assert_type(confirmed, Channel[str])
assert_type(confirmed.receive(), Command[str])
assert_type(payments.receive(Paid), Command[Paid])
assert_type(payments.receive(Paid, where=is_large), Command[Paid])
assert_type(payments.receive(Paid | Refused), Command[Paid | Refused])
assert_type(confirmed.by_id("trip-42"), Sender[str])
assert_type(confirmed.by_id("trip-42").send("yes"), Call[None])
assert_type(confirmed.by_tag("vip"), Sender[str])
assert_type(confirmed.by_tag("vip").send("yes"), Call[None])
assert_type(answers.by_id("trip-42").send(None), Call[None])

confirmed.by_id("trip-42").send(5)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
answers.by_id("trip-42").send("5")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
confirmed.by_id(42)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
confirmed.send("yes")  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType]
payments.receive(where=is_large)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
payments.receive(Paid, where=5)  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType, reportCallIssue]
Channel(5)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
