"""Receiving: who takes which signal, what predicates may do, what is dropped; and that replay goes by the record."""

from collections.abc import Callable
from typing import Any

import pytest
from msgspec import Raw, Struct, structs

from dsl import (
    Cancelled,
    Channel,
    Flow,
    Workflow,
    dispatch,
    gather,
    inline,
    method,
    now,
    race,
    random,
    settle,
    sleep,
    spawn,
    workflow,
    workflow_id,
)
from dsl.errors import ReadOnly
from infinitic.engine import turns
from infinitic.engine.instance import Diverged
from infinitic.errors import DecodeError
from infinitic.events import SignalReceived
from infinitic.history import ReceiveIssued, decode_turn, encode_turn
from tests.engine.driver import Driver, drive
from tests.engine.given import amounts, step


class Paid(Struct, tag="paid", frozen=True):
    cents: int


class Refused(Struct, tag="refused", frozen=True):
    why: str


answers = Channel[Paid | Refused](name="answers")
flash = Channel(int, name="flash", buffered=False)


def large(number: int) -> bool:
    return number >= 100


class Asked:
    """A predicate that counts how often it is asked."""

    def __init__(self, says: Callable[[Any], Any]) -> None:
        self.says = says
        self.count = 0

    def __call__(self, value: Any) -> Any:
        self.count += 1
        return self.says(value)


def buffered_then(make):
    """A workflow that waits for what *make* gives once signals are buffered, and then drains the rest."""

    def flow():
        yield from sleep(1)
        try:
            found = yield from make()
        except Exception as error:
            found = repr(error)
        return found, amounts.drain()

    return flow


# --- types and predicates ---


def test_a_receive_of_a_type_takes_the_first_such_signal_and_leaves_the_rest():
    def flow():
        refused = yield from answers.receive(Refused)
        paid = yield from answers.receive(Paid)
        return refused, paid, answers.drain()

    run = drive(flow)
    run.signal("s1", "answers", Paid(1))
    run.signal("s2", "answers", Paid(2))
    assert run.turns[-1].settled == ()
    assert run.record.buffered == {"answers": 2}
    run.signal("s3", "answers", Refused("no"))

    assert run.result == [
        {"type": "refused", "why": "no"},
        {"type": "paid", "cents": 1},
        [{"type": "paid", "cents": 2}],
    ]
    assert [turn.settled for turn in run.turns] == [(), (), (), ("m0.0",)]
    assert [one.signal for one in run.issued] == ["s1", "s2"]


def test_a_receive_of_several_types_takes_either():
    run = drive(lambda: (yield from answers.receive(Paid | Refused)))
    run.signal("s1", "answers", Refused("no"))

    assert run.result == {"type": "refused", "why": "no"}


def test_a_predicate_chooses_among_what_is_buffered_in_order():
    run = drive(buffered_then(lambda: amounts.receive(where=large)))
    for number in (5, 100, 7, 200):
        run.signal(f"s{number}", "amounts", number)
    run.fire("m0.0")

    assert run.result == [100, [5, 7, 200]]
    assert run.issued[0] == ReceiveIssued("m0.1", "amounts", "s100", which="where=large")


def test_a_predicate_chooses_among_what_comes():
    run = drive(lambda: (yield from amounts.receive(int, where=large)))
    run.signal("s1", "amounts", 5)
    assert run.record.waits[0].which == "int, where=large"
    assert run.record.waits[0].expects == "int"
    run.signal("s2", "amounts", 100)

    assert run.result == 100


def test_a_predicate_sees_only_what_is_of_the_type():
    seen = []
    run = drive(lambda: (yield from answers.receive(Paid, where=lambda paid: seen.append(paid) or True)))
    run.signal("s1", "answers", Refused("no"))
    run.signal("s2", "answers", Paid(5))

    assert seen == [Paid(5)]
    assert run.status == "completed"


def test_waiters_are_served_in_the_order_they_began_each_with_what_it_is_for():
    def flow():
        return (
            yield from gather(
                amounts.receive(where=large), amounts.receive(), amounts.receive(where=large), amounts.receive()
            )
        )

    run = drive(flow)
    for number in (1, 100, 200, 2):
        run.signal(f"s{number}", "amounts", number)

    assert [turn.settled for turn in run.turns] == [(), ("m0.1",), ("m0.0",), ("m0.2",), ("m0.3",)]
    assert run.result == [100, 1, 200, 2]


def test_a_receive_that_lost_is_asked_no_more():
    asked = Asked(large)

    def flow():
        yield from race(late=amounts.receive(where=asked), soon=sleep(1))
        return (yield from amounts.receive())

    run = drive(flow)
    run.fire("m0.1")
    assert [one.position for one in run.instance.receivers["amounts"]] == ["m0.2"]
    run.signal("s1", "amounts", 500)

    assert run.result == 500
    assert asked.count == 0


def test_a_receive_that_loses_by_the_failure_of_another_is_not_asked():
    def broken(number):
        raise LookupError(number)

    asked = Asked(large)

    def flow():
        try:
            yield from race(a=amounts.receive(where=broken), b=amounts.receive(where=asked))
        except LookupError:
            return amounts.drain()

    run = drive(flow)
    run.signal("s1", "amounts", 500)

    assert (run.result, asked.count) == ([500], 0)


def test_replay_goes_by_the_record_and_asks_no_predicate():
    asked, late = Asked(large), Asked(large)

    def flow():
        first = yield from amounts.receive(where=asked)
        yield from sleep(1)
        return first, (yield from amounts.receive(where=late))

    run = drive(flow)
    for number in (1, 100, 2, 200):
        run.signal(f"s{number}", "amounts", number)
    assert asked.count == 2
    run.fire("m0.1")
    assert late.count == 3  # of 1, 2 and 200
    asked.says = late.says = lambda number: number < 100

    turns.close(run.replayed())
    assert (asked.count, late.count) == (2, 3)
    assert run.result == [100, 200]


def test_a_predicate_that_changes_the_signal_changes_nothing_of_it():
    bags = Channel(list, name="bags")
    run = drive(lambda: (yield from bags.receive(where=lambda bag: bag.append("more") or True)))
    run.signal("s1", "bags", ["one"])

    assert run.result == ["one"]


# --- predicates that fail ---


def test_a_predicate_that_raises_fails_its_own_receive_and_the_signal_goes_on_to_the_next():
    def broken(number):
        raise LookupError(f"no {number}")

    run = drive(lambda: (yield from settle(amounts.receive(where=broken), amounts.receive(), sleep(1))))
    run.signal("s1", "amounts", 5)
    turn = run.turns[-1]
    run.fire("m0.2")

    assert turn.settled == ("m0.0", "m0.1")
    assert {position: error.summary for position, error in turn.raised.items()} == {"m0.0": "LookupError: no 5"}
    assert turn.refused is None
    assert run.status == "failed"  # outcomes are no JSON
    assert "Outcome" in run.error


def test_each_predicate_that_raises_has_its_own_error_and_the_signal_is_kept():
    def broken(error):
        def says(number):
            raise error

        return says

    def waiter(error):
        try:
            yield from amounts.receive(where=broken(error))
        except Exception as caught:
            return str(caught)

    def flow():
        found = yield from gather(waiter(LookupError("one")), waiter(ValueError("two")))
        return found, amounts.drain()

    run = drive(flow)
    run.signal("s1", "amounts", 5)

    assert run.result == [["one", "two"], [5]]


def test_a_predicate_that_raises_over_what_is_buffered_leaves_it_there():
    asked = Asked(lambda number: 1 // number)
    run = drive(buffered_then(lambda: amounts.receive(where=asked)))
    run.signal("s1", "amounts", 0)
    run.signal("s2", "amounts", 2)
    run.fire("m0.0")

    assert run.result == ["ZeroDivisionError('integer division or modulo by zero')", [0, 2]]
    assert (asked.count, run.issued[0].signal) == (1, "")


@pytest.mark.parametrize("raised", [Cancelled(), SystemExit("out"), GeneratorExit()])
def test_whatever_a_predicate_raises_is_the_receive_s(raised):
    def says(number):
        raise raised

    def flow():
        try:
            yield from amounts.receive(where=says)
        except BaseException as error:
            return type(error).__name__

    run = drive(flow)
    run.signal("s1", "amounts", 5)

    assert run.result == type(raised).__name__


def generator(number):
    yield number


async def coroutine(number):
    return number


FORBIDDEN = {
    "dispatch": lambda _: dispatch(step("a")),
    "dispatched inline": lambda _: dispatch(inline(int)),
    "spawn": lambda _: spawn(generator(1)),
    "inline": lambda _: inline(int),
    "a command": lambda _: step("a"),
    "drain": lambda _: amounts.drain(),
    "random": lambda _: random(),
    "a generator": generator,
    "a coroutine": coroutine,
}


@pytest.mark.parametrize("what", FORBIDDEN)
def test_a_predicate_may_only_read(what):
    run = drive(buffered_then(lambda: amounts.receive(where=FORBIDDEN[what])))
    run.signal("s1", "amounts", 5)
    run.fire("m0.0")
    says, kept = run.result

    assert kept == [5]
    assert says.startswith(("ReadOnly(", "ProtocolError("))
    assert len(run.issued) == 2


def test_a_predicate_may_read_the_time_the_id_and_the_attributes():
    class Desk(Workflow):
        papers = Channel(int)

        def __init__(self) -> None:
            self.least = 5

        @method
        def run(self) -> Flow[int]:
            return (
                yield from self.papers.receive(where=lambda n: n > self.least and now().year and workflow_id() == "wf")
            )

    run = Driver(Desk.run())
    run.signal("s1", "papers", 5)
    run.signal("s2", "papers", 6)

    assert run.result == 6


class Greedy(Workflow):
    """Its predicate changes what it may only read."""

    papers = Channel(int)

    def __init__(self) -> None:
        self.seen: list[int] = []

    @method
    def run(self) -> Flow[int]:
        yield from sleep(1)
        return (yield from self.papers.receive(where=self.sees))

    def sees(self, number: int) -> bool:
        self.seen.append(number)
        return number > 5


@pytest.mark.parametrize("buffered", [True, False])
def test_a_predicate_that_changes_an_attribute_suspends_because_no_replay_would_change_it(buffered):
    run = Driver(Greedy.run())
    if buffered:
        run.signal("s1", "papers", 5)
    else:
        run.fire("m0.0")

    with pytest.raises(Diverged) as raised:
        run.fire("m0.0") if buffered else run.signal("s1", "papers", 5)

    assert isinstance(raised.value.error, ReadOnly)
    assert raised.value.error.what == "a change of the instance's attributes by papers.receive(where=Greedy.sees)"


def test_what_is_no_such_type_is_never_taken_though_it_cannot_be_read():
    numbers = Channel(int, name="amounts")

    def flow():
        yield from sleep(1)
        found = yield from numbers.receive(int)
        try:
            yield from numbers.receive()
        except Exception as error:
            return found, str(error)

    run = drive(flow)
    run.signal("s1", "amounts", "many")  # a function's channels need not be those of its module
    run.signal("s2", "amounts", 2)
    run.fire("m0.0")

    assert run.result == [2, "Expected `int`, got `str`"]


def test_a_drain_gives_what_came_before_a_signal_that_cannot_be_read_which_is_for_the_next():
    def flow():
        yield from sleep(1)
        drained = []
        for _ in range(4):
            try:
                drained.append(amounts.drain())
            except DecodeError as error:
                drained.append(error.message)
        yield from sleep(1)
        return drained

    run = drive(flow)
    for number, value in enumerate((1, 2, "many", 3)):
        run.signal(f"s{number}", "amounts", value)
    run.fire("m0.0")
    assert [one.signal for one in run.issued[:-1]] == ["s0", "s1", "s2", "s2", "s3"]
    run.evict()
    run.fire("m0.6")

    assert run.result == [[1, 2], "Expected `int`, got `str`", [3], []]


def test_a_taker_that_history_does_not_know_diverges():
    run = drive(buffered_then(lambda: gather(amounts.receive(), step("a"))))
    run.signal("s1", "amounts", 5)
    run.fire("m0.0")
    turn = decode_turn(run.bodies[-1])
    taken, *rest = turn.commands
    other = structs.replace(turn, commands=(structs.replace(taken, signal="s2"), *rest))

    with pytest.raises(Diverged):
        run.replayed(bodies=[*run.bodies[:-1], encode_turn(other)])


# --- channels that keep nothing ---


def flashing():
    yield from sleep(1)
    first = yield from flash.receive()
    yield from sleep(2)
    return first, flash.drain(), (yield from flash.receive(where=large))


def test_a_signal_that_nobody_waits_for_is_dropped_where_the_channel_keeps_none():
    run = drive(flashing)
    run.signal("s1", "flash", 1)
    assert (run.turns[-1].dropped, run.turns[-1].settled, run.record.buffered) == (True, (), {})
    run.fire("m0.0")
    run.signal("s2", "flash", 2)
    assert (run.turns[-1].dropped, run.turns[-1].settled) == (False, ("m0.1",))
    run.signal("s3", "flash", 3)
    run.fire("m0.2")
    run.signal("s4", "flash", 4)  # somebody waits, but not for that
    run.signal("s5", "flash", 500)

    assert [turn.dropped for turn in run.turns] == [False, True, False, False, True, False, True, False]
    assert run.result == [2, [], 500]


def test_a_dropped_signal_is_known_by_its_id():
    run = drive(flashing)
    run.signal("s1", "flash", 1)
    run.fire("m0.0")

    assert run.signal("s1", "flash", 1) is None


def test_replay_drops_what_was_dropped_whatever_the_channel_is_now(monkeypatch):
    run = drive(flashing)
    run.signal("s1", "flash", 1)
    monkeypatch.setattr(flash, "buffered", True)
    run.evict()
    run.fire("m0.0")

    assert (run.open, run.instance.mailboxes) == (["m0.1"], {})


def test_replay_keeps_what_was_kept_though_the_channel_keeps_nothing_now(monkeypatch):
    monkeypatch.setattr(flash, "buffered", True)
    run = drive(flashing)
    run.signal("s1", "flash", 1)
    monkeypatch.setattr(flash, "buffered", False)
    run.evict()
    run.fire("m0.0")
    run.fire("m0.2")
    run.signal("s2", "flash", 200)

    assert run.result == [1, [], 200]


# --- retries ---


def mendable(predicate, bug):
    """Takes two signals that the predicate is for; with the bug it fails after the first."""

    @workflow(name="mendable")
    def flow():
        first = yield from amounts.receive(where=predicate)
        if bug:
            raise ValueError(first)
        second = yield from amounts.receive(where=predicate)
        yield from sleep(5)
        return first, second, amounts.drain()

    return flow()


def test_after_a_retry_signals_are_offered_anew_and_its_replay_goes_by_the_record():
    mended = Asked(lambda number: number >= 10)
    run = Driver(mendable(large, bug=True))
    run.signal("s1", "amounts", 1)
    run.signal("s2", "amounts", 100)
    assert run.status == "failed"
    for number in (3, 4, 20, 5, 30):
        run.signal(f"s{number}", "amounts", number)

    turn = run.retry(mendable(mended, bug=False))
    assert turn.settled == ("m0.0", "", "", "m0.1", "", "")
    count = mended.count
    turns.close(run.replayed())
    assert mended.count == count
    run.fire("m0.2")
    assert run.result == [100, 20, [1, 3, 4, 5, 30]]


def test_a_predicate_that_fails_in_a_retry_is_on_record():
    def broken(number):
        raise LookupError(number)

    run = Driver(mendable(large, bug=True))
    run.signal("s1", "amounts", 100)
    turn = run.retry(mendable(broken, bug=False))

    assert (turn.settled, list(turn.raised), run.error) == (("m0.0", ""), ["m0.0"], "LookupError: 100")


def test_what_was_dropped_while_the_run_had_failed_stays_dropped_after_a_retry():
    def flow(bug):
        @workflow(name="flow")
        def mended():
            first = yield from flash.receive()
            if bug:
                raise ValueError(first)
            return first, (yield from flash.receive())

        return mended()

    run = Driver(flow(True))
    run.signal("s1", "flash", 1)
    run.signal("s2", "flash", 2)
    assert (run.status, run.turns[-1].dropped, run.turns[-1].late) == ("failed", True, True)
    run.retry(flow(False))
    assert run.signal("s2", "flash", 2) is None
    run.signal("s3", "flash", 3)

    assert run.result == [1, 3]


def reading(papers, bug):
    """Reads two papers; with the bug it fails over the first."""

    @workflow(name="reading")
    def flow():
        seen = []
        while len(seen) < 2:
            try:
                seen.append((yield from papers.receive()))
            except DecodeError as error:
                seen.append(str(error))
            if bug:
                raise ValueError("bug")
        yield from sleep(5)
        return seen, papers.drain()

    return flow()


WIDE, NARROW = Channel[int | str](name="papers"), Channel(int, name="papers")


@pytest.mark.parametrize("values", [(1, "two", 3), ("one", 2, 3)], ids=["a late one", "that of the failed turn"])
def test_a_signal_that_the_mended_code_cannot_read_fails_the_receive_that_it_is_for(values):
    run = Driver(reading(WIDE, bug=True))
    for number, value in enumerate(values):
        run.signal(f"s{number}", "papers", value)
    turn = run.retry(reading(NARROW, bug=False))
    unreadable = [error.summary for error in turn.raised.values()]
    run.evict()
    run.fire("m0.2")

    assert unreadable == ["DecodeError: Expected `int`, got `str`"]
    seen = [one if isinstance(one, int) else "Expected `int`, got `str`" for one in values[:2]]
    assert run.result == [seen, [3]]


def test_a_signal_that_the_mended_code_cannot_read_is_kept_where_a_receive_chooses():
    def flow(papers, bug):
        @workflow(name="flow")
        def mended():
            if bug:
                raise ValueError("bug")
            found = yield from papers.receive(where=large)
            yield from sleep(5)
            return found, (yield from settle(papers.receive()))[0].error.message

        return mended()

    run = Driver(flow(WIDE, bug=True))
    run.signal("s1", "papers", "one")
    run.signal("s2", "papers", 200)
    turn = run.retry(flow(NARROW, bug=False))
    assert (turn.settled, run.record.buffered) == (("", "m0.0"), {"papers": 1})
    run.evict()
    run.fire("m0.1")

    assert run.result == [200, "Expected `int`, got `str`"]


def test_what_the_mended_code_has_no_channel_for_is_kept():
    class Desk(Workflow):
        papers = Channel(int)

        @method
        def run(self) -> Flow[int]:
            raise ValueError("bug")

    run = Driver(Desk.run())
    run.signal("s1", "papers", 1)

    def without():
        class Desk(Workflow):
            notes = Channel(int)

            @method
            def run(self) -> Flow[int]:
                return (yield from self.notes.receive())

        return Desk.run()

    run.retry(without())
    run.evict()
    assert run.record.buffered == {"papers": 1}
    run.signal("s2", "notes", 2)

    assert run.result == 2


@pytest.mark.parametrize("value", ["1", '"one"'], ids=["that nobody waits for", "that nobody can read"])
def test_a_signal_that_came_with_the_start_is_kept_by_a_retry_and_no_replay_mistakes_it(value):
    def flow(bug):
        @workflow(name="flow")
        def mended():
            if bug:
                raise ValueError("bug")
            return (yield from amounts.receive(where=large))

        return mended()

    run = Driver(flow(bug=True), also=SignalReceived("s1", "amounts", Raw(value.encode())))
    run.signal("s2", "amounts", 2)
    turn = run.retry(flow(bug=False))
    assert (turn.settled, run.record.buffered) == (("", ""), {"amounts": 2})
    run.signal("s3", "amounts", 300)

    assert run.result == 300
