"""What the checkers know of channels of a module. Lines with two ignores are mistakes that both flag."""

from typing import assert_type

from dsl import Call, Channel, Command, Flow, Sender, sleep, workflow

confirmed = Channel(str, name="confirmed")
answers = Channel[int | None](name="answers")


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
assert_type(confirmed.by_id("trip-42"), Sender[str])
assert_type(confirmed.by_id("trip-42").send("yes"), Call[None])
assert_type(answers.by_id("trip-42").send(None), Call[None])

confirmed.by_id("trip-42").send(5)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
answers.by_id("trip-42").send("5")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
confirmed.by_id(42)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
confirmed.send("yes")  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType]
Channel(5)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
