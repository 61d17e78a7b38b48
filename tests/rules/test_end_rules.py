"""Ends: results stay, what is late changes nothing, and a run that goes on takes with it what waits."""

import msgspec
import pytest

from dsl import Channel, Flow, Workflow, continue_as_new, dispatch, method, query, race, workflow
from infinitic.events import MethodCalled, Retried, SignalReceived, Started
from infinitic.messages import Ask, Message
from infinitic.records import Filter, Mark
from tests.rules.given import (
    SERVED,
    add,
    attempts_sent,
    collecting,
    counting,
    deliver,
    give,
    leaving,
    nothing_left,
    numbers,
    once,
    published,
    raw,
    result,
    started,
    sweep,
)
from tests.worker.given import RUN, SECOND

WEEK = 7 * 86_400 * SECOND
TROUBLE = ["before persist", "after persist", "before publish", "after publish", "after commit"]


def test_of_a_run_that_has_ended_nothing_comes_after_but_what_it_had_asked_for(town):
    """A task that nobody awaited is still tried and recorded; a signal, a call and a cancellation are refused."""
    hand = town.conductor(*SERVED)
    town.start(leaving())
    town.signal("leaving", "w", "numbers", 1)
    hand.step()
    ended = town.stored().version
    town.told()
    signal = town.signal("leaving", "w", "numbers", 2)
    call = town.call("leaving", "w", "nothing")
    town.cancel("leaving", "w")
    hand.step()
    assert town.stored().version == ended
    assert {one.call_id: one.status for one in town.told()}.keys() >= {signal, call}
    hand.work()
    sweep(town, hand)

    late = [(type(turn.event).__name__, turn.late) for turn in town.history()[2:]]
    assert late == [("AttemptFailed", True), ("TimerFired", True), ("TaskCompleted", True)]
    assert (result(town), town.record().late, town.stored().timers) == ("gone", 0, ())
    assert attempts_sent(town) == {**once("m0.0"), **once("m0.0", attempt=2)}


def test_a_finished_run_is_purged_after_its_retention_and_not_while_its_mark_is_behind(town):
    hand = town.conductor(counting, fails=["after publish"])
    town.start(counting(0))
    hand.step()
    hand.conductor.moved.clear()  # the mark is not written, as if its worker were gone
    hand.crash()
    later = town.clock() + 2 * WEEK
    assert (town.stored().mark, town.storage.purge(later)) == (Mark(RUN, 0), 0)
    second = town.conductor(counting)
    sweep(town, second)
    second.flush_marks()

    assert town.storage.purge(town.clock() + WEEK - 60 * SECOND) == 0
    assert town.storage.purge(later) == 1


def test_a_result_that_was_told_to_nobody_is_told_to_who_asks_again(town):
    """Hints may be lost. The answer comes from the record, though the worker has none of the code."""
    hand = town.conductor(*SERVED)
    town.start(counting(2))
    hand.work()
    assert {one.status for one in town.told()} == {"completed"}  # and that is lost
    hand.crash()
    stranger = town.conductor(collecting)
    asks = Ask((("w", ""), ("somebody else", "")))
    give(stranger, Message("ask", "q", "collecting", "other", reply_to="c", payload=raw(msgspec.to_builtins(asks))))
    stranger.step()

    told = {one.workflow_id: (one.status, bytes(one.value)) for one in town.told()}
    assert told == {"w": ("completed", b"1"), "somebody else": ("unknown", b"null")}


def test_who_asks_before_the_end_is_told_at_the_end_and_by_whoever_ends_it(town):
    first = town.conductor(*SERVED)
    town.send(
        "collecting", "w", Started("start", "collecting", RUN, "", raw({"count": 1}))
    )  # who starts it does not wait
    first.step()
    ask = Message("ask", "q", "collecting", "w", reply_to="c", payload=raw(msgspec.to_builtins(Ask((("w", ""),)))))
    give(first, ask)
    first.step()
    assert town.told() == []
    first.crash()
    second = town.conductor(*SERVED)
    give(second, ask)
    town.signal("collecting", "w", "numbers", 1)
    second.step()

    ended = [one for one in town.told() if one.status == "completed"]
    assert [(one.run, bytes(one.value)) for one in ended] == [(RUN, b"[1]")]


def test_a_client_that_started_a_run_and_asks_for_it_is_told_once(town):
    hand = town.conductor(*SERVED)
    start = started(collecting(1), "start", RUN)
    for _ in range(2):
        town.send("collecting", "w", start)
    town.signal("collecting", "w", "numbers", 1)
    hand.step()

    assert [one.status for one in town.told()].count("completed") == 1


def test_an_ended_run_waits_for_what_it_had_asked_for_one_retention_longer(town):
    hand = town.conductor(leaving)
    town.start(leaving())
    town.signal("leaving", "w", "numbers", 1)
    hand.step()
    hand.flush_marks()
    assert (town.record().late, town.storage.purge(town.clock() + WEEK * 3 // 2)) == (1, 0)
    hand.crash()

    assert town.storage.purge(town.clock() + WEEK * 5 // 2) == 1


def test_a_retry_that_comes_twice_is_one_though_the_run_has_failed_again(town):
    MENDED.clear()
    hand = town.conductor(failing, add)
    town.start(failing())
    town.signal("failing", "w", "numbers", 5)
    hand.work()
    for _ in range(2):
        town.send("failing", "w", Retried("again", reply_to="c"))
        hand.work()

    assert (town.events().count("Retried"), town.record().status) == (1, "failed")
    assert [one.status for one in town.told() if one.call_id == "again"] == ["received", "received"]


# ------------------------------------------------------------------------------------------ retries


MENDED: list[bool] = []


@workflow
def failing() -> Flow[list[int]]:
    kept, other = dispatch(add(1, 1)), dispatch(add(2, 2))
    number = yield from numbers.receive()
    more = dispatch(add(number, 1 if not MENDED else 3))
    if not MENDED:
        raise LookupError("not mended")
    return [(yield from kept), (yield from other), (yield from more)]


@pytest.mark.parametrize("where", ["", *TROUBLE[1:]])
def test_a_retry_voids_what_the_failed_turn_asked_for_and_keeps_what_was_asked_before(town, where):
    """Of the failed turn's commands, those that are asked for otherwise now are issued anew, and sent once."""
    MENDED.clear()
    first = town.conductor(failing)
    town.start(failing())
    town.signal("failing", "w", "numbers", 5)
    first.step()
    first.flush_marks()
    assert (town.record().status, len(published(town, "task"))) == ("failed", 3)
    MENDED.append(True)
    town.retry("failing", "w")
    if where:
        first.backend.fails = [where]
        first.step_with_trouble()
        first.crash()
        first = town.conductor(failing)
    sweep(town, first)
    service = town.conductor(add)
    service.work()
    first.work()

    assert result(town) == [2, 4, 8]
    sent = attempts_sent(town)
    assert set(sent) == set(once("m0.0", "m0.1", "m0.3", "m0.3~1"))
    assert {one: count for one, count in sent.items() if count > 1}.keys() <= {(RUN, "m0.3~1", 1)}
    assert town.events().count("Retried") == 1


def test_who_was_told_keeps_the_failure_and_who_asks_later_sees_the_new_outcome(town):
    MENDED.clear()
    hand = town.conductor(failing, add)
    town.start(failing())
    town.signal("failing", "w", "numbers", 5)
    hand.step()
    assert {one.status for one in town.told()} == {"received", "failed"}
    MENDED.append(True)
    town.retry("failing", "w")
    hand.work()
    town.told()
    give(hand, Message("ask", "q", "failing", "w", reply_to="c", payload=raw({"waits": [["w", ""]]})))
    hand.step()

    assert [one.status for one in town.told()] == ["completed"]


# ---------------------------------------------------------------------------------- continue-as-new


class Going(Workflow):
    """Goes on as a new run when it is told to, and takes its numbers after that."""

    go = Channel(str)
    taken = Channel(int)

    @method
    def run(self, runs: int) -> Flow[list[int]]:
        if runs:
            yield from self.go.receive()
            dispatch(add(runs, runs))
            yield from continue_as_new(Going.run(runs - 1))
        return [(yield from self.taken.receive()), (yield from self.taken.receive())]

    @query
    def nothing(self) -> int:
        return 0


@workflow
def awaiting() -> Flow[int]:
    return sum((yield from Going.run(1).options(id="going")))


@pytest.mark.parametrize("where", ["", *TROUBLE])
def test_a_run_that_goes_on_takes_signals_senders_tags_and_waiters_with_it(town, where):
    """Whatever fails in the one append that is its end and the next run's begin."""
    hand = town.conductor(Going, awaiting, add)
    town.start(awaiting())
    hand.step()
    first = town.stored("going").version.run
    town.signal("Going", "going", "taken", 1, id="s1")
    hand.step()
    town.signal("Going", "going", "go", "on", id="g")
    hand.backend.fails = [where] if where else []
    if where:
        hand.step_with_trouble()
    hand.work()
    assert town.stored("going").version.run != first
    for value, id in ((1, "s1"), ("on", "g")):
        town.signal("Going", "going", "taken" if id == "s1" else "go", value, id=id)  # repeats
    hand.step()
    town.signal("Going", "going", "taken", 2, id="s2")
    hand.work()

    assert (result(town, "going"), result(town)) == ([1, 2], 3)
    assert town.events("going") == ["Started", "SignalReceived"]
    assert town.events() == ["Started", "Answered"]
    assert nothing_left(town, ["Going", "awaiting"])


def test_a_parent_cancels_a_child_that_has_gone_on_more_than_once(town):
    """It knows the child by the first run of the chain."""

    @workflow
    def impatient() -> Flow[str]:
        name, _ = yield from race(late=numbers.receive(), done=Going.run(2).options(id="going"))
        return name

    hand = town.conductor(Going, impatient, add)
    town.start(impatient())
    hand.step()
    for number in range(2):
        town.signal("Going", "going", "go", "on", id=f"g{number}")
        hand.step()
    town.signal("impatient", "w", "numbers", 1)
    hand.work()

    assert (result(town), town.record("going").status) == ("late", "cancelled")


def test_tags_and_the_client_that_waits_go_with_the_run(town):
    hand = town.conductor(Going, add)
    start = Started("start", "Going", RUN, "run", raw({"runs": 1}), tags=("red",), reply_to="c")
    town.send("Going", "w", start)
    town.signal("Going", "w", "go", "on")
    hand.step()
    hand.crash()
    second = town.conductor(Going)
    for number in (1, 2):
        town.signal("Going", "w", "taken", number)
    second.step()

    assert (town.record().tags, town.record().run == RUN) == (("red",), False)
    assert [bytes(one.value) for one in town.told() if one.status == "completed"] == [b"[1,2]"]


def test_continue_as_new_is_an_error_while_other_methods_run(town):
    class Busy(Workflow):
        go = Channel(str)

        @method
        def run(self) -> Flow[str]:
            yield from self.go.receive()
            try:
                yield from continue_as_new(Busy.run())
            except Exception as error:
                return type(error).__name__
            return ""

        @method
        def wait(self) -> Flow[str]:
            return (yield from self.go.receive())

    hand = town.conductor(Busy)
    town.start(Busy.run())
    hand.step()
    deliver(hand, "Busy", MethodCalled("m", "wait", raw({})))
    deliver(hand, "Busy", SignalReceived("g", "go", raw("on")))
    hand.step()

    assert town.stored().version.run == RUN
    assert town.record().status == "failed"


@workflow
def doomed() -> Flow[int]:
    yield from numbers.receive()
    raise ValueError("doomed")


@workflow
def hopeful() -> Flow[int]:
    return (yield from doomed().options(id="child"))


def test_a_parent_that_is_retried_hears_that_its_child_was_purged(town):
    """The child failed and is gone: nobody else would ever answer."""
    hand = town.conductor(doomed, hopeful)
    town.start(hopeful())
    hand.step()
    town.signal("doomed", "child", "numbers", 1)
    hand.step()
    assert town.record().status == "failed"
    hand.conductor.flush_marks()
    hand.conductor.cache.clear()
    [past] = town.storage.ended(Filter(workflow="doomed"), 10)
    assert town.storage.remove([past]) == [True]
    town.retry("hopeful", "w")
    hand.step()

    assert (town.record().status, town.record().error.message) == (
        "failed",
        "there is no doomed instance with the id 'child'",
    )
