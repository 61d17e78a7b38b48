"""Runs, starts, time, and instances that a worker holds although another one has moved them."""

import pytest

from dsl import Flow, continue_as_new, workflow
from infinitic.events import CancelRequested, MethodCalled, SignalReceived, Started, TaskCompleted
from infinitic.messages import AGAIN, Message, event_message
from infinitic.topics import service_topic, workflow_topic
from tests.rules.given import (
    SERVED,
    Ledger,
    Tally,
    add,
    attempts_sent,
    collecting,
    counting,
    deliver,
    give,
    napping,
    nothing_left,
    numbers,
    once,
    published,
    raw,
    result,
    started,
)
from tests.worker.given import NOON, RUN, SECOND

NEXT = f"{9:032x}"


# ------------------------------------------------------------------------------------------ starts


@pytest.mark.parametrize("if_exists", ["attach", "fail", "restart"])
def test_a_repeated_start_changes_nothing_and_sends_nothing(town, if_exists):
    """A start is known by its id, while its run goes on and when it has ended."""
    hand = town.conductor(*SERVED)
    start = started(counting(1), "start", RUN, if_exists=if_exists)
    town.send("counting", "w", start)
    hand.step()
    running = town.stored().version
    town.send("counting", "w", start)
    hand.step()
    assert town.stored().version == running
    hand.work()
    ended = town.stored().version
    town.send("counting", "w", start)
    hand.work()

    assert town.stored().version == ended
    assert town.events() == ["Started", "TaskCompleted"]
    assert attempts_sent(town) == once("m0.0")
    assert "exists" not in {one.status for one in town.told()}


@pytest.mark.parametrize(
    ("flow", "if_exists", "ended", "told"),
    [
        (collecting(1), "attach", False, []),
        (collecting(1), "attach", True, ["completed"]),
        (collecting(1), "fail", False, ["exists"]),
        (collecting(1), "fail", True, ["exists"]),
        (collecting(1), "restart", False, ["exists"]),
        (collecting(1), "restart", True, ["received"]),
        (counting(1), "attach", True, ["exists"]),
        (counting(1), "restart", True, ["exists"]),
    ],
)
def test_another_start_of_an_id_does_what_it_says_in_if_exists(town, flow, if_exists, ended, told):
    """It attaches, or it fails, or it begins anew what has ended; and never another workflow's instance."""
    hand = town.conductor(*SERVED)
    town.start(collecting(1))
    if ended:
        town.signal("collecting", "w", "numbers", 1)
    hand.step()
    town.told()
    town.send(flow.definition.owner, "w", started(flow, "again", NEXT, if_exists=if_exists))
    hand.step()

    assert [one.status for one in town.told()] == told
    assert town.stored().version.run == (NEXT if told == ["received"] else RUN)


@workflow
def spinning(left: int) -> Flow[int]:
    if left:
        yield from continue_as_new(spinning(left - 1))
    return 7


def test_a_start_is_known_however_often_its_run_has_gone_on_as_a_new_one(town):
    """Of starts the last hundred are remembered; runs that went on by themselves are none."""
    hand = town.conductor(spinning)
    start = started(spinning(101), "start", RUN, if_exists="restart")
    town.send("spinning", "w", start)
    hand.step()
    ended = town.stored().version
    town.send("spinning", "w", start)
    hand.step()

    assert town.stored().version == ended
    assert (town.record().starts, result(town)) == (("start",), 7)


def test_the_last_hundred_starts_are_remembered(town):
    hand = town.conductor(spinning)
    for number in range(102):
        town.send("spinning", "w", started(spinning(0), f"s{number}", f"{number:032x}", if_exists="restart"))
        hand.step()

    assert town.record().starts == tuple(f"s{number}" for number in range(2, 102))


def test_an_answer_to_the_former_run_that_comes_after_a_restart_is_dropped(town):
    """Positions belong to a run: the new one's first task has the old one's position, and another answer."""
    hand = town.conductor(*SERVED)
    town.start(counting(2))
    hand.step()
    [late] = hand.run_tasks()
    town.cancel("counting", "w")
    hand.step()
    town.send("counting", "w", started(counting(2), "again", NEXT, if_exists="restart"))
    hand.step()
    before = town.stored().version
    deliver(hand, "counting", TaskCompleted("", "m0.0", raw(99)), run=RUN)
    hand.step([late])
    assert town.stored().version == before
    hand.work()

    assert (town.events(), result(town)) == (["Started", "TaskCompleted", "TaskCompleted"], 1)
    assert attempts_sent(town) == {**once("m0.0"), **once("m0.0", "m0.1", run=NEXT)}


def test_a_signal_goes_to_the_run_that_there_is(town):
    hand = town.conductor(*SERVED)
    town.start(collecting(1))
    town.cancel("collecting", "w")
    hand.step()
    town.send("collecting", "w", started(collecting(1), "again", NEXT, if_exists="restart"))
    town.signal("collecting", "w", "numbers", 4)
    hand.step()

    assert (town.stored().version.run, result(town)) == (NEXT, [4])


@pytest.mark.parametrize("came", [False, True], ids=["refused before", "taken before"])
def test_what_a_client_repeats_because_it_heard_nothing_is_told_about_and_never_applied(town, came):
    """The first was applied or refused; if it was refused, the client has long been told that nothing came of it."""
    hand = town.conductor(*SERVED)
    town.start(collecting(2))
    if came:
        town.signal("collecting", "w", "numbers", 3, id="s")
    hand.step()
    town.told()
    signal = SignalReceived("s", "numbers", raw(3), reply_to="c")
    again = event_message(signal, workflow="collecting", workflow_id="w", headers={AGAIN: "1"})
    town.publish("collecting", "w", again)
    hand.step()

    assert [(one.call_id, one.status) for one in town.told()] == [("s", "received" if came else "refused")]
    assert town.events() == ["Started", *["SignalReceived"] * came]


def test_a_cancellation_of_the_former_run_leaves_the_next_alone(town):
    hand = town.conductor(*SERVED)
    town.start(collecting(1))
    town.cancel("collecting", "w")
    hand.step()
    town.send("collecting", "w", started(collecting(1), "again", NEXT, if_exists="restart"))
    hand.step()
    deliver(hand, "collecting", CancelRequested("late", run=RUN))
    hand.step()

    assert town.record().status == "running"


@pytest.mark.parametrize("same", [True, False], ids=["of its workflow", "of another workflow"])
def test_a_child_whose_given_id_is_somebody_elses_raises_in_its_parent(town, same):
    @workflow
    def adopting() -> Flow[str]:
        try:
            yield from counting(1).options(id="taken")
        except Exception as error:
            return type(error).__name__
        return "mine"

    hand = town.conductor(adopting, collecting, add, counting)
    town.start((counting if same else collecting)(1), "taken", run=NEXT)
    hand.step()
    town.start(adopting())
    hand.work()

    assert result(town) == "WorkflowExists"
    assert town.stored("taken").version.run == NEXT


# -------------------------------------------------------------------------------------------- time


def test_the_time_of_a_turn_is_never_before_that_of_the_turn_before(town):
    """Another worker's clock may be behind: the later of the two counts."""
    first, second = town.conductor(*SERVED), town.conductor(*SERVED)
    second.conductor.skew = -10 * SECOND
    town.start(collecting(3))
    first.step()
    for number in range(2):
        deliver(second, "collecting", SignalReceived(f"s{number}", "numbers", raw(number)))
        second.step()
        town.clock.go_on(6)

    assert [turn.at for turn in town.history()] == [NOON, NOON, NOON]
    town.clock.go_on(6)
    deliver(second, "collecting", SignalReceived("s2", "numbers", raw(2)))
    second.step()
    assert town.history()[-1].at == NOON + 8 * SECOND


def test_the_time_of_a_run_that_goes_on_is_never_before_that_of_the_run_before(town):
    @workflow
    def going_on(runs: int) -> Flow[int]:
        number = yield from numbers.receive()
        if runs:
            yield from continue_as_new(going_on(runs - 1))
        return number

    first, second = town.conductor(going_on), town.conductor(going_on)
    second.conductor.skew = -10 * SECOND
    town.start(going_on(1))
    first.step()
    deliver(second, "going_on", SignalReceived("s", "numbers", raw(1)))
    second.step()

    assert town.stored().version.run != RUN
    assert town.history()[0].at == NOON


def test_the_time_of_a_turn_is_the_storages(town):
    """A worker whose clock is wrong learns by how much with each sweep."""
    hand = town.conductor(*SERVED)
    hand.conductor.clock = lambda: town.clock() - 3600 * SECOND
    hand.sweeper.sweep()
    town.start(napping(5))
    hand.step()

    assert town.history()[0].at == NOON


# ------------------------------------------------------------------------------ instances that are stale


def test_a_key_that_moves_away_and_back_finds_a_stale_instance_that_catches_up(town):
    """The first worker keeps what it holds: its next turn would be made of an old state, and loses."""
    first, second = town.conductor(*SERVED), town.conductor(*SERVED)
    town.start(Ledger.run(3))
    first.step()
    first.flush_marks()
    for number, hand in enumerate((first, second, first), 1):
        deliver(hand, "Ledger", SignalReceived(f"s{number}", "numbers", raw(number)))
        hand.step()
        deliver(hand, "Ledger", TaskCompleted("", f"m0.{number * 2 - 1}", raw(sum(range(number + 1)))), run=RUN)
        hand.step()
        hand.flush_marks()

    assert town.events() == ["Started", *["SignalReceived", "TaskCompleted"] * 3]
    assert result(town) == 6
    assert attempts_sent(town) == once("m0.1", "m0.3", "m0.5")


def test_an_event_that_changes_nothing_is_answered_only_when_the_instance_is_known_to_be_current(town):
    """A repeat is no turn, and yet it goes through the storage: while that is away, nobody is told anything."""
    hand = town.conductor(*SERVED)
    town.start(collecting(2))
    town.signal("collecting", "w", "numbers", 1, id="s")
    hand.step()
    town.told()
    town.signal("collecting", "w", "numbers", 1, id="s")
    hand.backend.fails = ["before persist"]
    hand.step_with_trouble()
    assert (town.told(), town.waiting(workflow_topic("collecting"))) == ([], ["event"])
    hand.step()

    assert [(one.call_id, one.status) for one in town.told()] == [("s", "received")]
    assert town.events() == ["Started", "SignalReceived"]
    assert nothing_left(town, ["collecting"])


def test_a_query_sees_only_what_is_persisted(town):
    """It came with the call that it could see: as long as that is not persisted, it is not answered."""
    hand = town.conductor(*SERVED)
    town.start(Tally.run())
    hand.step()
    town.told()
    town.call("Tally", "w", "add", number=5)
    asked = town.query("Tally", "w", "so_far")
    hand.backend.fails = ["before persist"]
    hand.step_with_trouble()
    assert town.told() == []
    hand.step()

    assert [bytes(one.value) for one in town.told() if one.call_id == asked] == [b"5"]


def test_a_stale_instance_catches_up_for_a_query_and_sends_what_the_dead_owner_did_not(town):
    """The owner died between persist and publish; whoever loads the instance, for a query too, publishes that."""
    first, second = town.conductor(*SERVED), town.conductor(*SERVED, fails=["before publish"])
    town.start(Ledger.run(1))
    first.step()
    first.flush_marks()
    deliver(second, "Ledger", SignalReceived("s", "numbers", raw(7)))
    second.step_with_trouble()
    second.crash()
    assert published(town, "task") == []
    town.told()
    asked = Message("query", "q", "Ledger", "w", reply_to="c", payload=raw({"name": "so_far"}))
    give(first, asked)
    first.step()

    assert [(one.call_id, bytes(one.value)) for one in town.told()] == [("q", b"0")]
    assert attempts_sent(town) == once("m0.1")
    first.work()
    assert (result(town), attempts_sent(town)) == (7, once("m0.1"))
    assert town.waiting(service_topic("add")) == []


def test_a_call_that_a_stale_worker_would_refuse_is_taken_by_the_run_that_there_is(town):
    first, second = town.conductor(*SERVED), town.conductor(*SERVED)
    town.start(Tally.run())
    town.signal("Tally", "w", "numbers", 1)
    first.step()
    assert town.record().status == "completed"
    deliver(second, "Tally", Started("again", "Tally", NEXT, "run", raw({}), if_exists="restart"))
    second.step()
    town.told()
    deliver(first, "Tally", MethodCalled("call", "add", raw({"number": 3}), reply_to="c"))
    first.step()

    assert [(one.call_id, one.status) for one in town.told()] == [("call", "completed")]


def test_an_answer_to_what_history_never_issued_suspends_and_is_kept(town):
    """It is never dropped: there is code that asked for it, and that code can continue."""
    hand = town.conductor(*SERVED)
    town.start(counting(1))
    hand.step()
    deliver(hand, "counting", TaskCompleted("", "m0.7", raw(1)), run=RUN)
    hand.step()

    assert (town.record().status, "m0.7" in town.record().reason) == ("suspended", True)
    assert [item.key for item in town.stored().inbox] == [f"{RUN}/m0.7/TaskCompleted/1"]
    assert town.events() == ["Started"]
    assert attempts_sent(town) == once("m0.0")
