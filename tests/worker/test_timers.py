"""Timers in memory and the cache of held instances."""

import pytest

from dsl import Flow, sleep, workflow
from infinitic.engine.instance import Instance, Surroundings
from infinitic.engine.programs import Program
from infinitic.records import Mark, TimerRow, Version
from infinitic.serialization import Serializer
from infinitic.worker.held import Cache, Held
from infinitic.worker.timers import Timers


def row(position, due, attempt=0):
    return TimerRow("trip", "w", "r", position, due, attempt)


def test_timers_come_in_order_of_their_due_and_never_before():
    timers = Timers()
    for position, due in (("c", 30), ("a", 10), ("b", 20), ("b2", 20)):
        timers.add(row(position, due))

    assert timers.next_due == 10
    assert [one.position for one in timers.due(9)] == []
    assert [one.position for one in timers.due(20)] == ["a", "b", "b2"]
    assert (timers.next_due, len(timers)) == (30, 1)
    assert [one.position for one in timers.due(1_000)] == ["c"]
    assert timers.next_due is None


def test_a_timer_that_is_held_already_is_held_once():
    timers = Timers()
    timers.add(row("a", 10))
    timers.add(row("a", 10))
    timers.add(row("a", 15, attempt=2))

    assert [one.attempt for one in timers.due(20)] == [0, 2]
    timers.add(row("a", 10))
    assert len(timers) == 1


@workflow
def napping() -> Flow[None]:
    yield from sleep(1)


def held():
    instance = Instance(Program(napping), "w", Surroundings(Serializer()))
    return Held(instance, Version("r", 1), Mark("r", 1), None)


@pytest.fixture
def cache():
    made = Cache(2, 1 << 20)
    for name in ("a", "b", "c"):
        made.put(name, held())
    return made


def test_the_least_recently_used_are_in_excess(cache):
    assert cache.excess() == ["a"]
    cache.get("a")
    assert cache.excess() == ["b"]
    cache.drop("b")
    assert cache.excess() == []
    assert len(cache) == 2


def test_heavy_instances_are_in_excess_before_their_number_is():
    cache = Cache(100, 20_000)
    for name, weight in (("a", 9_000), ("b", 1), ("c", 1)):
        one = held()
        one.weight = weight
        cache.put(name, one)
    assert cache.excess() == ["a"]

    cache.drop("a")
    assert cache.excess() == []
    cache.clear()


def test_what_is_forgotten_or_dropped_is_gone(cache):
    cache.forget("a")
    cache.drop("b")
    cache.drop("nobody")

    assert list(cache) == ["c"]
    assert cache.get("a") is None
    cache.clear()
    assert len(cache) == 0


def test_what_is_put_again_is_the_last_to_go(cache):
    again = held()
    cache.put("a", again)

    assert cache.get("a") is again
    assert cache.excess() == ["b"]
