"""Dropped calls: what was described and never yielded is found when a workflow is registered."""

import types

import pytest

from dsl import (
    Channel,
    Flow,
    Service,
    Workflow,
    dispatch,
    gather,
    inline,
    logger,
    method,
    sleep,
    spawn,
    task,
    workflow,
)
from infinitic.engine.programs import Program
from infinitic.worker.dropped import dropped_calls


class Hotels(Service):
    @task
    def book(self, city: str) -> str:
        raise NotImplementedError


@task
def charge(cents: int) -> int:
    return cents


@workflow
def child() -> Flow[None]:
    yield from sleep(1)


services = types.SimpleNamespace(charge=charge, Hotels=Hotels)
words = Channel(str, name="words")


def found(definition):
    return [line.partition("`")[2].partition("`")[0] for line in dropped_calls(Program(definition))]


@workflow
def forgetful() -> Flow[None]:
    charge(5)
    sleep(5)
    Hotels.book("Oslo")
    child()
    gather(charge(1), charge(2))
    inline(print, 1)
    services.charge(6)
    services.Hotels.book("Rome")
    words.receive()
    words.by_id("x").send("y")
    if True:
        charge(7)
    yield from sleep(1)


@workflow
def careful() -> Flow[int]:
    yield from charge(5)
    dispatch(charge(6))
    later = charge(7)
    spawn(child.fn())
    logger.info("fine")
    len("fine")
    services.charge.fn(6)
    words.drain()
    yield from gather(later, Hotels.book("Oslo"))
    return (yield from charge(1))


@workflow
async def asynchronous() -> int:
    charge(5)
    await charge(6)
    return 1


class Loyalty(Workflow):
    bonus = Channel(int)

    @method
    def run(self) -> Flow[None]:
        self.grow(1)
        self.count()
        self.bonus.receive()
        self.bonus.drain()
        self.plain()
        yield from self.grow(2)
        yield from sleep(1)

    @method
    def grow(self, number: int) -> Flow[None]:
        charge(number)
        yield from sleep(1)

    @method
    def count(self) -> int:
        return 1

    def plain(self) -> None:
        """Does what it does at once."""


def test_descriptions_on_a_line_of_their_own_are_found():
    assert found(forgetful) == [
        "charge(5)",
        "sleep(5)",
        "Hotels.book('Oslo')",
        "child()",
        "gather(charge(1), charge(2))",
        "inline(print, 1)",
        "services.charge(6)",
        "services.Hotels.book('Rome')",
        "words.receive()",
        "words.by_id('x').send('y')",
        "charge(7)",
    ]


def test_what_is_yielded_dispatched_kept_or_does_something_is_left_alone():
    assert found(careful) == []


def test_the_line_and_what_to_write_are_told():
    [line] = dropped_calls(Program(asynchronous))

    number = asynchronous.fn.__code__.co_firstlineno + 2
    assert line.startswith(f"{__file__}:{number}: `charge(5)` does nothing: write `await charge(5)`")


def test_calls_through_self_are_found_where_they_do_nothing():
    assert found(Loyalty) == ["charge(number)", "self.grow(1)", "self.bonus.receive()"]


def test_code_without_source_is_left_alone():
    names: dict[str, object] = {"charge": charge, "workflow": workflow, "sleep": sleep}
    exec("@workflow\ndef hidden():\n    charge(5)\n    yield from sleep(1)\n", names)

    assert found(names["hidden"]) == []


class Points(Workflow):
    bonus = Channel(int)

    def __init__(self) -> None:
        self.points, self.by_city = 0, {"Oslo": 0}

    @method
    def lost(self) -> Flow[None]:
        self.points += yield from self.bonus.receive()
        self.by_city["Oslo"] = self.by_city["Oslo"] + (yield from self.bonus.receive())

    @method
    async def lost_too(self) -> None:
        self.points -= 1 + await self.bonus.receive()

    @method
    def kept(self) -> Flow[int]:
        total = 0
        total += yield from self.bonus.receive()
        more = yield from self.bonus.receive()
        self.points += more
        self.points = (yield from self.bonus.receive()) + self.points
        self.last = 1 + (yield from self.bonus.receive())
        return total


def test_updates_that_wait_after_they_have_read_are_found():
    assert found(Points) == [
        "self.points += (yield from self.bonus.receive())",
        "self.by_city['Oslo'] = self.by_city['Oslo'] + (yield from self.bonus.receive())",
        "self.points -= 1 + await self.bonus.receive()",
    ]


def test_what_to_write_instead_of_a_lost_update_is_told():
    line = dropped_calls(Program(Points))[0]

    assert line == (
        f"{__file__}:{Points.lost.fn.__code__.co_firstlineno + 2}: "
        "`self.points += (yield from self.bonus.receive())` reads self.points before it waits, and what others change "
        "meanwhile is lost. Wait first: `more = yield from self.bonus.receive()`, then go on with `more`"
    )


@pytest.mark.parametrize("definition", [forgetful, Loyalty])
def test_a_worker_warns_of_them(definition, caplog):
    from infinitic.worker import Worker

    Worker("memory://dropped", workflows=[definition])

    assert any("does nothing: write `yield from" in record.getMessage() for record in caplog.records)
