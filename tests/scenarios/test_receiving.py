"""Which signal a receive takes: by type, by predicate, in order; what is dropped; ids of signals; to one's own."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec import Struct

from dsl import Channel, Flow, Workflow, dispatch, gather, method, sleep, spawn, task, timeout, workflow, workflow_id
from infinitic.client import Client
from infinitic.errors import UnknownWorkflow
from tests.scenarios.given import events, until


class Paid(Struct, tag="paid", frozen=True):
    cents: int


class Refused(Struct, tag="refused", frozen=True):
    why: str


answers = Channel[Paid | Refused](name="answers")
numbers = Channel(int, name="numbers")
flash = Channel(int, name="flash", buffered=False)
go = Channel(str, name="go")


def waits(client: Client, id: str, count: int = 1) -> bool:
    """Whether the instance waits for so many things."""
    (record,) = [one for one in client.find() if one.workflow_id == id] or [None]
    return record is not None and record.waiting == count


# --- by type and by predicate ---


@workflow
def settling_up() -> Flow[list[str]]:
    refused = yield from answers.receive(Refused)
    paid = yield from answers.receive(Paid, where=lambda one: one.cents >= 100)
    rest = answers.drain()
    return [refused.why, str(paid.cents), *map(str, rest)]


def test_a_receive_takes_the_first_that_it_is_for_and_leaves_the_rest(serve, client):
    serve(settling_up, cache_instances=1)
    handle = client.start(settling_up(), id="s")
    for one in (Paid(1), Paid(100), Paid(200)):
        client.run(answers.by_id("s").send(one), timeout=20)
    client.run(answers.by_id("s").send(Refused("no")), timeout=20)

    assert handle.result(20) == ["no", "100", "Paid(cents=1)", "Paid(cents=200)"]


def even(number: int) -> bool:
    return number % 2 == 0


def odd(number: int) -> bool:
    return number % 2 == 1


@workflow
def sorting(count: int) -> Flow[list[list[int]]]:
    def takes(which: Any) -> Flow[list[int]]:
        taken = []
        for _ in range(count):
            taken.append((yield from numbers.receive(where=which)))
        return taken

    return list((yield from gather(takes(even), takes(odd))))


def test_waiters_get_what_they_are_for_each_in_order(serve, client):
    serve(sorting, cache_instances=1)
    handle = client.start(sorting(20), id="s")
    for number in range(40):
        client.start(numbers.by_id("s").send(number))

    assert handle.result(20) == [list(range(0, 40, 2)), list(range(1, 40, 2))]


@workflow
def queueing(count: int) -> Flow[list[str]]:
    def waiter(name: str) -> Flow[str]:
        return f"{name} {(yield from numbers.receive())}"

    return list((yield from gather(*[waiter(str(number)) for number in range(count)])))


def test_several_waiters_are_served_in_the_order_in_which_they_began(serve, client):
    serve(queueing)
    handle = client.start(queueing(10), id="q")
    for number in range(10):
        client.start(numbers.by_id("q").send(number))

    assert handle.result(20) == [f"{number} {number}" for number in range(10)]


@workflow
def doubting() -> Flow[list[str]]:
    def broken(number: int) -> bool:
        raise LookupError(f"{number}?")

    def doubts() -> Flow[str]:
        try:
            return str((yield from numbers.receive(where=broken)))
        except LookupError as error:
            return str(error)

    caught, number = yield from gather(doubts(), numbers.receive())
    yield from go.receive()
    return [caught, str(number)]


def test_a_predicate_that_raises_fails_its_own_receive_and_nothing_else(serve, client):
    first = serve(doubting)
    handle = client.start(doubting(), id="d")
    until(lambda: waits(client, "d", 2))
    client.run(numbers.by_id("d").send(5), timeout=20)
    first.close()
    serve(doubting)  # which replays it
    client.run(go.by_id("d").send("on"), timeout=20)

    assert handle.result(20) == ["5?", "5"]
    assert [[error.summary for error in turn.raised.values()] for turn in handle.history()] == [
        [],
        ["LookupError: 5?"],
        [],
    ]


class Greedy(Workflow):
    papers = Channel(int)

    def __init__(self) -> None:
        self.seen = 0

    @method
    def run(self) -> Flow[int]:
        return (yield from self.papers.receive(where=self.sees))

    def sees(self, number: int) -> bool:
        self.seen += 1
        return number > 5


def test_a_predicate_that_changes_an_attribute_suspends_the_instance_and_its_signal_is_kept(serve, client):
    serve(Greedy)
    handle = client.start(Greedy.run(), id="g")
    until(lambda: waits(client, "g"))
    client.run(Greedy.by_id("g").papers.send(6), timeout=20)

    until(lambda: handle.status() == "suspended")
    (record,) = client.find(status="suspended")
    assert "papers.receive(where=Greedy.sees)" in record.reason
    assert events(handle.history()) == ["Started"]


# --- channels that keep nothing ---


@workflow
def flashing() -> Flow[list[int]]:
    yield from go.receive()
    first = yield from flash.receive()
    yield from go.receive()
    return [first, *flash.drain()]


def test_a_channel_that_keeps_nothing_drops_what_nobody_waits_for_and_says_so_in_history(serve, client):
    serve(flashing, cache_instances=1)
    handle = client.start(flashing(), id="f")
    until(lambda: waits(client, "f"))
    client.run(flash.by_id("f").send(1), timeout=20)  # its sender is told that it came
    client.run(go.by_id("f").send("on"), timeout=20)
    client.run(flash.by_id("f").send(2), timeout=20)
    client.run(flash.by_id("f").send(3), timeout=20)
    client.run(go.by_id("f").send("on"), timeout=20)

    assert handle.result(20) == [2]
    assert [turn.dropped for turn in handle.history()] == [False, True, False, False, True, False]


def test_a_signal_that_comes_while_the_instance_is_suspended_is_for_who_waits_when_it_goes_on(serve, client, deploy):
    source = """
from dsl import Channel, Flow, Workflow, method, sleep

class Lamp(Workflow):
    blinks = Channel(int, buffered=False)
    go = Channel(int)

    @method
    def run(self) -> Flow[int]:
        yield from {first}
        return (yield from self.blinks.receive())
"""
    then, wrong = deploy(source.format(first="self.go.receive()")), deploy(source.format(first="sleep(1)"))
    first = serve(then.Lamp)
    handle = client.start(then.Lamp.run(), id="l")
    until(lambda: waits(client, "l"))
    first.close()
    second = serve(wrong.Lamp)
    client.run(then.Lamp.by_id("l").go.send(1), timeout=20)
    until(lambda: handle.status() == "suspended")
    client.run(then.Lamp.by_id("l").blinks.send(2), timeout=20)
    second.close()
    serve(then.Lamp)

    assert handle.result(20) == 2


# --- ids of signals ---


@workflow
def repeating(target: str) -> Flow[None]:
    yield from numbers.by_id(target).send(1).options(id="once")
    yield from numbers.by_id(target).send(1).options(id="once")


@workflow
def collecting(count: int) -> Flow[list[int]]:
    collected = []
    for _ in range(count):
        collected.append((yield from numbers.receive()))
    return collected


def test_a_repeated_send_with_the_same_id_is_one_signal(serve, client):
    serve(collecting, repeating)
    handle = client.start(collecting(2), id="c")
    until(lambda: waits(client, "c"))
    for _ in range(3):
        client.run(numbers.by_id("c").send(1).options(id="once"), timeout=20)
    client.run(repeating("c"), timeout=20)
    client.start(numbers.by_id("c").send(1), id="once")
    client.run(numbers.by_id("c").send(2), timeout=20)

    assert handle.result(20) == [1, 2]
    assert events(handle.history()) == ["Started", "SignalReceived", "SignalReceived"]


@workflow
def repeating_by_turns(target: str) -> Flow[None]:
    for number in range(3):
        yield from numbers.by_id(target).send(number).options(id="once")
        yield from sleep(0)
    yield from numbers.by_id(target).send(9)


def test_a_workflow_that_repeats_a_send_with_the_same_id_sends_one_signal(serve, client):
    serve(collecting, repeating_by_turns)
    handle = client.start(collecting(2), id="c")
    until(lambda: waits(client, "c"))
    client.run(repeating_by_turns("c"), timeout=20)

    assert handle.result(20) == [0, 9]


# --- from tasks, and to one's own ---

PLACE: dict[str, Any] = {}


@task
def ringing(target: str, number: int) -> None:
    with Client(**PLACE) as client:
        client.run(numbers.by_id(target).send(number).options(id=f"ring {number}"), timeout=20)


@workflow
def rung() -> Flow[int]:
    bell = dispatch(ringing(workflow_id(), 7))
    number = yield from numbers.receive()
    yield from bell
    return number


def test_a_task_sends_a_signal_by_a_client_of_its_own(serve, client, place):
    PLACE.clear()
    PLACE.update(place)
    serve(rung, ringing)

    assert client.start(rung(), id="r").result(20) == 7


@workflow
def telling_oneself() -> Flow[int]:
    yield from numbers.by_id(workflow_id()).send(5)
    return (yield from numbers.receive())


class Diary(Workflow):
    pages = Channel(str)

    def __init__(self) -> None:
        self.points = 10

    @method
    def run(self) -> Flow[list[str]]:
        own = Diary.by_id(workflow_id())
        yield from own.pages.send("one")
        left = yield from own.redeem(3)
        page = yield from self.pages.receive()
        return [page, str(left), str(self.points)]

    @method
    def redeem(self, points: int) -> Flow[int]:
        yield from sleep(0.001)
        self.points -= points
        return self.points


def test_an_instance_sends_signals_to_itself_and_calls_methods_of_its_own_by_its_id(serve, client):
    serve(telling_oneself, Diary, cache_instances=1)

    assert client.run(telling_oneself(), timeout=20) == 5
    assert client.run(Diary.run(), timeout=20) == ["one", "7", "7"]


class Crowd(Workflow):
    @method
    def run(self, count: int) -> Flow[list[int]]:
        own = Crowd.by_id(workflow_id())
        return list((yield from gather(*[own.square(number) for number in range(count)])))

    @method
    def square(self, number: int) -> Flow[int]:
        yield from sleep(0)
        return number * number


def test_many_methods_of_oneself_run_in_parallel(serve, client):
    serve(Crowd)

    assert client.run(Crowd.run(20), timeout=20) == [number * number for number in range(20)]


# --- to nobody ---


@workflow
def calling_nobody(target: str) -> Flow[list[str]]:
    told = []
    for call in (Diary.by_id(target).redeem(1), Crowd.by_id(target).square(2)):
        try:
            yield from call
        except UnknownWorkflow as error:
            told.append(f"{error.workflow} {error.workflow_id}")
    return told


def test_a_call_to_an_unknown_id_raises_what_the_caller_may_catch(serve, client):
    serve(calling_nobody, Diary, Crowd)

    assert client.run(calling_nobody("nobody"), timeout=20) == ["Diary nobody", "Crowd nobody"]


@workflow
def signalling_nobody() -> Flow[str]:
    yield from Diary.by_id("nobody").pages.send("lost")
    return "sent"


def test_a_signal_from_a_workflow_to_nobody_is_sent_and_kept_for_people_with_the_reason(serve, client, caplog):
    serve(signalling_nobody, Diary)

    assert client.run(signalling_nobody(), timeout=20) == "sent"
    told = "a signal for Diary 'nobody', which nobody knows; moved to workflow:Diary:dead"
    until(lambda: told in caplog.text)


@workflow
def giving_up() -> Flow[int]:
    late = spawn(waiting_for_large())
    try:
        return (yield from timeout(late, 0.001))
    except TimeoutError:
        late.cancel()
    return (yield from numbers.receive())


def waiting_for_large() -> Flow[int]:
    return (yield from numbers.receive(where=lambda number: number > 100))


def test_a_choosy_receive_that_was_given_up_takes_nothing(serve, client):
    serve(giving_up, cache_instances=1)
    handle = client.start(giving_up(), id="g")
    until(lambda: "TimerFired" in events(handle.history()))
    client.run(numbers.by_id("g").send(500), timeout=20)

    assert handle.result(20) == 500


@pytest.mark.parametrize("wrong", [5, "Paid", list[int], [Paid]])
def test_what_is_no_type_and_no_predicate_is_refused_when_written(wrong):
    with pytest.raises(TypeError, match=r"answers.receive\(\) takes a class, or several as in Paid \| Refused, not "):
        answers.receive(wrong)
    with pytest.raises(TypeError, match=r"answers.receive\(where=\) takes a function of the signal, not 5"):
        answers.receive(where=5)  # type: ignore[arg-type]  # that is the point
