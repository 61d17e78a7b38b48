"""The mark: up to which turn the outputs of an instance are known to be sent. It never passes one without a receipt."""

import pytest

from dsl import Flow, Workflow, dispatch, method, query, workflow
from infinitic.errors import StorageError
from infinitic.events import SignalReceived, TaskCompleted
from infinitic.records import Mark
from infinitic.topics import service_topic, workflow_topic
from tests.rules.given import (
    SERVED,
    Ledger,
    Listening,
    add,
    attempts_sent,
    collecting,
    counting,
    deliver,
    numbers,
    once,
    published,
    raw,
    result,
    started,
    sweep,
    telling,
)
from tests.worker.given import RUN, Deaf

NEXT = f"{9:032x}"


class Odd(BaseException):
    """Of no kind that workflow code may raise."""


ODD: list[bool] = []


class Spoilt(Workflow):
    def __init__(self) -> None:
        self.total = 0

    @method
    def run(self) -> Flow[int]:
        return (yield from add(1, 1))

    @query
    def spoiling(self) -> int:
        self.total += 1000
        return self.total


@workflow
def odd_once() -> Flow[int]:
    asked = dispatch(add(1, 1))
    number = yield from numbers.receive()
    if ODD:
        ODD.pop()
        raise Odd("odd")
    return number + (yield from asked)


def fail_append(hand, monkeypatch, number: int) -> None:
    """The append of this number, from now on, fails."""
    real, count = hand.backend.storage.append, [0]

    def moody(batch):
        count[0] += 1
        if count[0] == number:
            raise StorageError("the storage is away")
        return real(batch)

    monkeypatch.setattr(hand.backend.storage, "append", moody)


# ------------------------------------------------------------------------------------- what moves it


def test_a_repeat_of_a_turn_whose_outputs_this_worker_has_sent_publishes_nothing(town):
    """It holds the receipts; so the repeat is acknowledged with those."""
    hand = town.conductor(counting)
    start = started(counting(1), "start", RUN)
    town.send("counting", "w", start)
    hand.step()
    sent = published(town, "task")
    for _ in range(3):
        town.send("counting", "w", start)
        hand.step()

    assert published(town, "task") == sent
    assert attempts_sent(town) == once("m0.0")
    assert town.waiting(workflow_topic("counting")) == []


def test_a_repeat_is_acknowledged_only_after_what_is_above_the_mark_was_sent(town):
    first = town.conductor(counting, fails=["before publish"])
    town.start(counting(1))
    first.step_with_trouble()
    first.crash()
    second = town.conductor(counting, fails=["before publish"])
    second.step_with_trouble()
    assert (town.waiting(workflow_topic("counting")), town.stored().mark) == (["event"], Mark(RUN, 0))
    second.step()

    assert (town.waiting(workflow_topic("counting")), attempts_sent(town)) == ([], once("m0.0"))
    assert town.events() == ["Started"]


def test_the_mark_never_passes_a_turn_without_its_receipt(town):
    """The broker has it, and yet the worker cannot know: it is sent again, and only then the mark goes on."""
    hand = town.conductor(counting, fails=["after publish"])
    town.start(counting(1))
    hand.step_with_trouble()
    hand.flush_marks()
    assert (town.stored().mark, attempts_sent(town)) == (Mark(RUN, 0), once("m0.0"))
    hand.step()
    hand.flush_marks()

    assert (town.stored().mark, attempts_sent(town)) == (Mark(RUN, 1), {(RUN, "m0.0", 1): 2})


def test_a_sweep_writes_no_mark_of_an_instance_that_moved_just_now(town):
    """Its next append is likely to carry it: under load each task costs one write, and not two."""
    hand = town.conductor(counting)
    town.start(counting(1))
    hand.step()
    hand.sweeper.sweep()
    assert town.stored().mark == Mark(RUN, 0)

    town.clock.go_on(1)
    hand.sweeper.sweep()
    assert town.stored().mark == Mark(RUN, 1)


def test_a_worker_that_lost_an_instance_does_not_move_its_mark(town):
    first, second = town.conductor(counting), town.conductor(counting, fails=["before publish"])
    town.start(counting(2))
    first.step()
    deliver(second, "counting", TaskCompleted("", "m0.0", raw(0)), run=RUN)
    second.step_with_trouble()
    first.flush_marks()

    assert (town.stored().mark, "w" in first.conductor.cache) == (Mark(RUN, 0), False)


def test_an_instance_whose_mark_cannot_be_written_is_not_evicted(town, monkeypatch):
    hand = town.conductor(collecting, cache_instances=1)
    for number in range(2):
        town.start(collecting(1), f"c{number}", run=f"{number:032x}")
    fail_append(hand, monkeypatch, 2)
    hand.step_with_trouble()
    assert sorted(hand.conductor.cache) == ["c0", "c1"]
    town.signal("collecting", "c1", "numbers", 1)
    hand.step()

    assert (list(hand.conductor.cache), town.stored("c0").mark.turns) == (["c1"], 1)


def test_trouble_with_a_mark_keeps_no_message_of_another_instance(town, monkeypatch):
    """One instance is suspended and its mark is to be written; another one of the batch has lost its race."""
    dead = town.conductor(*SERVED, fails=["before publish"])
    town.start(counting(1), "a", run=f"{1:032x}")
    dead.step_with_trouble()
    dead.crash()
    first, second = town.conductor(*SERVED), town.conductor(*SERVED)
    first.conductor.workflows.close()  # they get what the test gives them
    deliver(first, "collecting", started(collecting(2), "start", f"{2:032x}"), "b")
    first.step()
    deliver(second, "collecting", SignalReceived("s1", "numbers", raw(1)), "b")
    second.step()
    deliver(first, "counting", TaskCompleted("", "m0.99", raw(1)), "a")
    deliver(first, "collecting", SignalReceived("s2", "numbers", raw(2)), "b")
    fail_append(first, monkeypatch, 2)
    first.step_with_trouble()
    first.step()

    assert (result(town, "b"), town.record("a").status) == ([1, 2], "suspended")


def test_an_instance_whose_mark_is_behind_is_offered_once_in_a_while(town):
    first = town.conductor(counting, fails=["before publish"])
    town.start(counting(1))
    first.step_with_trouble()
    first.crash()
    second = town.conductor(counting)
    town.clock.go_on(6)
    for _ in range(3):
        second.sweeper.sweep()
        town.clock.go_on(0.5)

    assert town.waiting(workflow_topic("counting")) == ["event", "offer"]
    second.step()
    assert attempts_sent(town) == once("m0.0")


# ------------------------------------------------------------------------------- what is above the mark


def test_what_was_answered_is_not_sent_again_by_who_loads_it(town):
    """Above the mark lies a task that has its answer, and one that was never sent: only that one is."""
    first = town.conductor(counting, fails=["after publish"])
    town.start(counting(2))
    first.step_with_trouble()
    first.crash()
    second = town.conductor(counting, fails=["before publish"])
    second.conductor.workflows.close()  # it gets what the test gives it
    deliver(second, "counting", TaskCompleted("", "m0.0", raw(0)), run=RUN)
    second.step_with_trouble()
    second.crash()
    before = attempts_sent(town)
    third = town.conductor(counting)
    third.step()

    assert (before, attempts_sent(town)) == (once("m0.0"), once("m0.0", "m0.1"))


@pytest.mark.parametrize("where", ["after persist", "before publish"])
def test_outputs_of_an_instance_that_goes_on_as_new_at_once_are_sent_by_the_next_worker(town, where):
    """Its first append holds three runs: the mark begins with the first of them."""
    listener = town.conductor(Listening)
    town.start(Listening.run(3), "listener", run=NEXT)
    listener.step()
    first = town.conductor(telling, fails=[where])
    town.start(telling(2))
    first.step_with_trouble()
    assert town.stored().mark == Mark(RUN, 0)
    first.crash()
    second = town.conductor(telling)
    sweep(town, second, listener, times=2)

    assert result(town, "listener") == [2, 1, 0]
    assert len(published(town)) == 3


def test_outputs_of_the_run_before_are_sent_before_those_of_a_restart(town):
    """The old run's last turn asked for a task and was not sent; the one who restarts it sends both, in order."""
    first = town.conductor(ending)
    town.start(ending())
    first.step()
    first.flush_marks()
    first.backend.fails = ["before publish"]
    deliver(first, "ending", SignalReceived("s", "numbers", raw(1)))
    first.step_with_trouble()
    assert (town.record().status, attempts_sent(town)) == ("completed", {})
    first.crash()
    second = town.conductor(ending)
    deliver(second, "ending", started(ending(), "again", NEXT, if_exists="restart"))
    second.step()

    assert [(one.run, one.position) for one in published(town, "task")] == [(RUN, "m0.1")]
    assert town.stored().version.run == NEXT
    second.flush_marks()
    assert town.stored().mark == Mark(NEXT, 1)


@workflow
def ending() -> Flow[None]:
    number = yield from numbers.receive()
    dispatch(add(number, number))


def test_the_outputs_of_an_instance_that_is_suspended_are_sent_first(town):
    """Its code does harm where it goes on: nobody needs it to send what an earlier turn has asked for."""
    ODD[:] = [True]
    first = town.conductor(odd_once, fails=["before publish"])
    town.start(odd_once())
    first.step_with_trouble()
    first.crash()
    second = town.conductor(odd_once, add)
    town.signal("odd_once", "w", "numbers", 5)
    second.step()
    assert (town.record().status, town.stored().mark) == ("suspended", Mark(RUN, 1))
    assert attempts_sent(town) == once("m0.0")
    second.crash()
    mended = town.conductor(odd_once, add)
    mended.registry.programs["odd_once"].fingerprint = "mended"
    sweep(town, mended, times=2)

    assert (result(town), attempts_sent(town)) == (7, once("m0.0"))


def test_an_instance_that_is_suspended_by_who_has_sent_its_outputs_sends_them_once(town):
    ODD[:] = [True]
    hand = town.conductor(odd_once)
    town.start(odd_once())
    hand.step()
    assert town.stored().mark == Mark(RUN, 0)  # not yet written, and yet known
    town.signal("odd_once", "w", "numbers", 5)
    hand.step()
    town.signal("odd_once", "w", "numbers", 6)  # this very code is not tried again
    sweep(town, hand, times=2)

    assert (town.record().status, town.stored().mark) == ("suspended", Mark(RUN, 1))
    assert (len(town.stored().inbox), attempts_sent(town)) == (2, once("m0.0"))


@pytest.mark.parametrize("fresh", [False, True], ids=["a turn before", "the first turn"])
def test_an_instance_that_a_query_spoilt_sends_its_outputs_once(town, fresh):
    """It is not kept; so its mark is written at once, for nobody holds its receipts any more."""
    hand = town.conductor(Spoilt)
    town.start(Spoilt.run())
    if not fresh:
        hand.step()
    town.query("Spoilt", "w", "spoiling")
    hand.step()
    assert (town.stored().mark, len(hand.conductor.cache)) == (Mark(RUN, 1), 0)
    sweep(town, hand, times=2)

    assert attempts_sent(town) == once("m0.0")


def test_who_takes_over_a_suspended_instance_sends_what_its_owner_did_not_though_it_cannot_apply(town):
    """For a repeat of the start, by a worker with other code, before it acknowledges that."""
    first = town.conductor(Ledger, fails=["before publish"])
    town.start(Ledger.run(1))
    town.signal("Ledger", "w", "numbers", 2)
    first.step_with_trouble()
    first.crash()

    @method
    def run(self: Workflow, count: int) -> Flow[int]:
        return (yield from add(count, count))

    wrong = town.conductor(type("Ledger", (Workflow,), {"run": run}))
    wrong.step()

    assert attempts_sent(town) == once("m0.1")
    assert town.events() == ["Started", "SignalReceived"]
    assert (town.stored().mark.turns, town.waiting(workflow_topic("Ledger"))) == (2, [])


def test_a_deaf_broker_makes_repeats_that_send_nothing(town):
    hand = town.conductor(*SERVED)
    Deaf.deaf = 5
    town.start(counting(2))
    hand.work()
    hand.crash()
    Deaf.deaf = 0
    second = town.conductor(*SERVED)
    second.work()
    sweep(town, second)

    assert (result(town), town.events()) == (1, ["Started", "TaskCompleted", "TaskCompleted"])
    assert attempts_sent(town) == once("m0.0", "m0.1")
    assert town.waiting(service_topic("add")) == town.waiting(workflow_topic("counting")) == []
