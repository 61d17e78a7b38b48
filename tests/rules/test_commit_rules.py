"""Persist → publish → acknowledge: what is lost on the way comes again, and what lost its race sends nothing."""

import pytest

from dsl import Flow, gather, task, workflow
from infinitic.engine.instance import Surroundings
from infinitic.errors import EncodeError, StorageError, TransportError
from infinitic.events import SignalReceived
from infinitic.messages import Message
from infinitic.topics import service_topic, workflow_topic
from tests.rules.given import (
    HANGS,
    SERVED,
    Ledger,
    OneEach,
    add,
    attempts_sent,
    collecting,
    counting,
    deliver,
    hanging,
    hung,
    napping,
    nothing_left,
    once,
    parent,
    published,
    raw,
    result,
    sweep,
)

MANY = 1_000


@pytest.mark.parametrize("comes", ["the start", "a signal", "an answer"])
def test_a_lost_reply_to_an_append_that_had_landed_costs_nothing(town, comes):
    """What became of the append is not known: the instance is loaded afresh, and the event is applied again."""
    hand = town.conductor(*SERVED)
    hand.backend.fails = ["after persist"] if comes == "the start" else []
    town.start(Ledger.run(1))
    hand.step_with_trouble() if comes == "the start" else hand.step()
    town.signal("Ledger", "w", "numbers", 3)
    if comes == "a signal":
        hand.backend.fails = ["after persist"]
        hand.step_with_trouble()
    hand.step()
    if comes == "an answer":
        [finished] = hand.run_tasks()
        hand.conductor.step([finished])
        hand.backend.fails = ["after persist"]
        hand.step_with_trouble()
    hand.work()

    assert town.events() == ["Started", "SignalReceived", "TaskCompleted"]
    assert (result(town), attempts_sent(town)) == (3, once("m0.1"))
    assert nothing_left(town, ["Ledger"])


def test_while_an_outcome_is_unknown_the_message_stays_in_hand(town):
    """It is neither acknowledged nor given back, lest another message of the instance goes before it."""
    first, second = town.conductor(*SERVED, fails=["after persist"]), town.conductor(*SERVED)
    town.start(collecting(1))
    first.step_with_trouble()
    town.signal("collecting", "w", "numbers", 1)
    second.step()
    assert town.waiting(workflow_topic("collecting")) == ["event", "event"]
    first.step()

    assert (town.events(), result(town)) == (["Started", "SignalReceived"], [1])


def test_who_loses_the_race_publishes_nothing_and_applies_the_event_to_what_there_is(town):
    first, second = town.conductor(*SERVED), town.conductor(*SERVED)
    town.start(Ledger.run(2))
    first.step()
    deliver(second, "Ledger", SignalReceived("one", "numbers", raw(1)))
    second.step()
    second.flush_marks()
    deliver(first, "Ledger", SignalReceived("two", "numbers", raw(2)))  # for `first` it is the first
    first.step()
    assert attempts_sent(town) == once("m0.1")
    assert town.events() == ["Started", "SignalReceived", "SignalReceived"]
    for _ in range(2):
        for hand in (second, first):
            hand.work()

    assert (result(town), attempts_sent(town)) == (3, once("m0.1", "m0.3"))


def test_who_loses_the_race_keeps_nobody_else_of_the_batch(town):
    first, second = town.conductor(*SERVED), town.conductor(*SERVED)
    for number in range(4):
        town.start(collecting(2), f"c{number}", run=f"{number:032x}")
    first.step()
    deliver(second, "collecting", SignalReceived("moved", "numbers", raw(0)), "c1")
    second.step()
    for number in range(4):
        town.signal("collecting", f"c{number}", "numbers", 5)
    first.conductor.step()

    assert [len(town.events(f"c{number}")) for number in range(4)] == [2, 2, 2, 2]
    first.step()
    assert [len(town.events(f"c{number}")) for number in range(4)] == [2, 3, 2, 2]
    assert result(town, "c1") == [0, 5]


def test_what_nobody_can_use_is_put_away_once_though_its_change_was_lost(town):
    first, second = town.conductor(*SERVED), town.conductor(*SERVED)
    town.start(collecting(2))
    first.step()
    deliver(second, "collecting", SignalReceived("moved", "numbers", raw(0)))
    second.step()
    town.publish("collecting", "w", Message("event", "bad", "collecting", "w", payload=raw({"kind": "?"})))
    first.step()

    assert [one.id for one in town.transport.unacknowledged(workflow_topic("collecting") + ":dead")] == ["bad"]


@pytest.mark.parametrize("where", ["before persist", "after persist", "before publish", "after publish"])
def test_a_fan_out_of_a_thousand_whose_owner_changes_half_way_loses_and_doubles_nothing(town, where):
    @workflow
    def fanning() -> Flow[int]:
        return sum((yield from gather(*[add(number, 1) for number in range(MANY)])))

    first = town.conductor(fanning, add)
    town.start(fanning())
    first.step()
    first.flush_marks()
    half = [first.tasks.submitted.pop(0) for _ in range(MANY // 2)]
    rest, first.tasks.submitted = first.tasks.submitted, half
    finished = first.run_tasks()
    first.step(finished[: MANY // 4])
    first.backend.fails = [where]
    with pytest.raises((StorageError, TransportError)):
        first.step(finished[MANY // 4 :])
    assert rest
    first.crash()
    second = town.conductor(fanning, add)
    sweep(town, second, times=2)

    assert result(town) == sum(range(1, MANY + 1))
    assert sorted(town.events()) == ["Started", *["TaskCompleted"] * MANY]
    assert {turn.event.position for turn in town.history()[1:]} == {f"m0.{number}" for number in range(MANY)}
    assert set(attempts_sent(town).values()) == {1}
    assert town.waiting(service_topic("add")) == []


@task
def keep(text: str) -> int:
    return len(text)


@workflow
def keeping(size: int) -> Flow[str]:
    try:
        yield from keep("x" * size)
    except EncodeError as error:
        return str(error)
    return "it was sent"


def test_what_is_too_large_to_be_sent_is_the_commands_failure_and_part_of_history(town):
    """It is measured before it is persisted. Who replays it elsewhere, where more can be sent, finds it failed."""
    small = town.conductor(keeping, keep)
    small.conductor.applier._surroundings = Surroundings(town.codec, limit=1_000)
    town.start(keeping(2_000))
    small.work()
    assert "bytes are more than one message may carry (1000)" in result(town)
    assert published(town, "task") == []
    [turn] = town.history()
    assert [one.failure.name for one in turn.commands] == ["EncodeError"]
    small.crash()

    large = town.conductor(keeping, keep)
    deliver(large, "keeping", SignalReceived("s", "numbers", raw(1)))
    large.step()
    assert (town.record().status, town.events()) == ("completed", ["Started"])


def test_an_output_to_a_service_that_nobody_serves_yet_waits_in_its_topic(town):
    hand = town.conductor(counting)
    town.start(counting(1))
    hand.work()
    assert town.waiting(service_topic("add")) == ["task"]
    late = town.conductor(add)
    late.work()
    hand.step()

    assert (result(town), attempts_sent(town)) == (0, once("m0.0"))


def test_the_answer_of_a_child_reaches_its_parent_though_the_childs_worker_dies_before_it_is_sent(town):
    town.start(parent(1))
    hand = town.conductor(*SERVED)
    hand.step()
    [child] = {one.workflow_id for one in published(town) if one.workflow == "counting"}
    finished = hand.run_tasks()
    hand.conductor.step(finished)
    hand.backend.fails = ["before publish"]
    hand.step_with_trouble()
    assert (town.record(child).status, town.record().status) == ("completed", "running")
    hand.crash()
    second = town.conductor(*SERVED)
    sweep(town, second, times=2)

    assert (result(town), town.events(), town.events(child)) == (
        0,
        ["Started", "Answered"],
        ["Started", "TaskCompleted"],
    )
    assert nothing_left(town, ["parent", "counting"])


@pytest.mark.parametrize(("where", "rows"), [("before persist", 0), ("after persist", 1)])
def test_a_timers_row_comes_with_the_turn_that_asked_for_it(town, where, rows):
    hand = town.conductor(*SERVED, fails=[where])
    town.start(napping(5))
    hand.step_with_trouble()

    found = town.storage.load("w")
    assert (len(found.turns), len(found.timers)) == (1, 1) if rows else found is None


def test_no_instance_is_written_twice_in_one_batch(town, monkeypatch):
    """Code that hung comes back with its turn, and more for its instance has come: one goes after the other."""
    hand = town.conductor(hanging)
    OneEach(hand, monkeypatch)
    town.start(hanging())
    hand.step()
    HANGS[:] = [hand]
    town.signal("hanging", "w", "numbers", 1)
    work = hung(hand)
    town.signal("hanging", "w", "numbers", 2)
    hand.conductor.step((), [work])
    hand.step()

    assert (result(town), town.events()) == ([1, 2], ["Started", "SignalReceived", "SignalReceived"])
