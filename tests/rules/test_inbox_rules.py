"""The inbox: what cannot be applied here and now waits with its instance, and is never nacked nor held."""

import pytest
from msgspec.structs import replace

from dsl import Flow, workflow
from infinitic.events import (
    AttemptFailed,
    CancelRequested,
    ResumeRequested,
    SignalReceived,
    SuspendRequested,
    TaskCompleted,
    TerminateRequested,
    TimerFired,
)
from infinitic.messages import AGAIN, Delivery, Message, encode_message, event_message
from infinitic.records import Append, InboxItem, Version
from infinitic.serialization import error_value
from infinitic.topics import dead_topic, workflow_topic
from infinitic.worker import applying, registry
from tests.rules.given import (
    add,
    attempts_sent,
    collecting,
    counting,
    deliver,
    echo,
    give,
    journey_of,
    napping,
    nothing_left,
    numbers,
    once,
    published,
    raw,
    release,
    result,
    started,
    sweep,
    trying,
)
from tests.worker.given import RUN

TROUBLE = ["before persist", "after persist", "after commit"]
NEXT = f"{9:032x}"


def begun(town, word="a", stamp="first"):
    """A worker with a journey that has had its word, and waits for its numbers."""
    hand = release(town, word, stamp)
    town.start(journey_of(hand)())
    hand.work()
    hand.flush_marks()
    return hand


# --------------------------------------------------------------------------------- what goes into it


def test_what_cannot_be_applied_is_put_into_the_inbox_and_acknowledged(town):
    begun(town).crash()
    wrong = release(town, "x", "wrong")
    before = town.stored().version
    town.told()
    signal = town.signal("journey", "w", "numbers", 1)
    query = town.query("journey", "w", "anything")
    wrong.step()

    assert {one.call_id: one.status for one in town.told()} == {signal: "received", query: "failed"}
    assert nothing_left(town, ["journey"])
    assert len(town.stored().inbox) == 1
    assert town.stored().version == Version(before.run, before.turns, before.inbox + 1)
    assert (town.record().status, town.record().fingerprint) == ("suspended", "wrong")


@pytest.mark.parametrize("where", TROUBLE)
def test_an_event_is_in_the_inbox_once_whatever_fails(town, where):
    begun(town).crash()
    wrong = release(town, "x", "wrong", fails=[where])
    town.signal("journey", "w", "numbers", 1, id="s")
    wrong.step_with_trouble()
    wrong.step()
    town.signal("journey", "w", "numbers", 1, id="s")
    wrong.step()
    wrong.flush_marks()
    wrong.crash()
    right = release(town, "a", "right")
    sweep(town, right)
    town.signal("journey", "w", "numbers", 2)
    right.work()

    assert result(town) == ["a", 1, 2]


def test_each_kind_of_event_has_a_key_of_its_own_and_is_kept_once(town):
    """Answers and timers are known by run, position and attempt; what comes from outside by its sender's id."""
    begun(town).crash()
    wrong = release(town, "x", "wrong")
    for _ in range(2):
        deliver(wrong, "journey", TaskCompleted("", "m0.5", raw(1), 2), run=RUN)
        deliver(wrong, "journey", TimerFired("", "m0.5", 1), run=RUN)
        deliver(wrong, "journey", SignalReceived("s", "numbers", raw(1)))
        deliver(wrong, "journey", CancelRequested("c"))
        wrong.step()

    keys = [f"{RUN}/m0.5/TaskCompleted/2", f"{RUN}/m0.5/TimerFired/1", "s", "c"]
    assert [item.key for item in town.stored().inbox] == keys


def test_a_timers_row_goes_into_the_inbox_with_its_event(town):
    first = town.conductor(napping)
    town.start(napping(5))
    first.step()
    first.crash()
    wrong = town.conductor(napping)
    wrong.registry.programs["napping"].fingerprint = "wrong"
    wrong.conductor.workflows.close()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(applying, "FORMAT", -1)  # it can read no message
        deliver(wrong, "napping", TimerFired("", "m0.0"), run=RUN)
        wrong.step()
    assert (town.stored().timers, len(town.stored().inbox)) == ((), 1)
    wrong.crash()
    right = town.conductor(napping)
    sweep(town, right)

    assert (result(town), town.events()) == ("awake", ["Started", "TimerFired"])


def test_a_late_repeat_of_a_timer_does_not_take_the_next_attempts_row_into_the_inbox(town):
    """The row at its place is that of the next attempt's timer, which would never fire."""
    first = town.conductor(trying)
    town.start(trying())
    first.step()
    for attempt in (1, 2):
        error = error_value(LookupError("not yet"))
        deliver(first, "trying", AttemptFailed("", "m0.0", error, attempt, 5_000_000), run=RUN)
        first.step()
        town.clock.go_on(5 if attempt == 1 else 0)
        first.step()
    first.crash()
    [row] = town.stored().timers
    wrong = town.conductor(trying)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(applying, "FORMAT", -1)  # it can read no message
        deliver(wrong, "trying", TimerFired("", "m0.0", 1), run=RUN)
        wrong.step()

    assert (row.attempt, town.stored().timers, len(town.stored().inbox)) == (2, (row,), 1)


def test_an_event_that_killed_its_worker_three_times_suspends_its_instance(town):
    hand = town.conductor(collecting)
    town.start(collecting(2))
    hand.step()
    for deaths, status in ((2, "running"), (3, "suspended")):
        event = SignalReceived(f"s{deaths}", "numbers", raw(deaths))
        message = event_message(event, workflow="collecting", workflow_id="w")
        hand.conductor.pending.append(Delivery(workflow_topic("collecting"), message, -1, deaths))
        hand.step()
        assert town.record().status == status
    hand.crash()
    mended = town.conductor(collecting)
    mended.registry.programs["collecting"].fingerprint = "mended"
    sweep(town, mended)

    assert result(town) == [2, 3]


@pytest.mark.parametrize("able", [False, True])
def test_a_start_that_cannot_be_applied_waits_in_the_inbox_of_an_instance_without_a_turn(town, able):
    hand = town.conductor(collecting)
    start = event_message(started(collecting(1), "start", RUN), workflow="collecting", workflow_id="w")
    hand.conductor.pending.append(Delivery(workflow_topic("collecting"), start, -1, 0 if able else 3))
    deliver(hand, "collecting", SignalReceived("s", "numbers", raw(7)))
    hand.step()
    assert town.record().status == ("completed" if able else "suspended")
    assert town.stored().version == (Version(RUN, 2) if able else Version(RUN, 0, 1))
    place = town.record().started
    give(hand, start)
    hand.step()
    hand.crash()
    mended = town.conductor(collecting)
    mended.registry.programs["collecting"].fingerprint = "mended"
    sweep(town, mended)

    assert (result(town), town.events()) == ([7], ["Started", "SignalReceived"])
    assert town.stored().inbox == ()
    assert town.record().started == place  # in lists, and among those that a broadcast has reached


def test_a_start_of_an_instance_that_is_suspended_is_answered_and_does_not_wait(town):
    begun(town).crash()
    wrong = release(town, "x", "wrong")
    town.signal("journey", "w", "numbers", 1)
    wrong.step()
    town.told()
    town.send("journey", "w", started(journey_of(wrong)(), "again", NEXT, if_exists="fail"))
    wrong.step()

    assert [(one.call_id, one.status) for one in town.told()] == [("again", "exists")]
    assert len(town.stored().inbox) == 1


def test_what_nobody_can_take_and_no_inbox_can_keep_is_put_away(town):
    """A message of a newer release for an instance that nobody knows."""
    hand = town.conductor(collecting)
    event = event_message(SignalReceived("s", "numbers", raw(3)), workflow="collecting", workflow_id="w")
    town.publish("collecting", "w", replace(event, format=3))
    hand.step()

    assert [one.id for one in town.transport.unacknowledged(dead_topic(workflow_topic("collecting")))] == ["s"]
    assert nothing_left(town, ["collecting"])


# ------------------------------------------------------------------------------------ what drains it


def test_a_divergence_in_the_middle_of_an_inbox_leaves_it_and_history_as_they_were(town):
    begun(town).crash()
    wrong = release(town, "x", "wrong")
    deliver(wrong, "journey", SignalReceived("one", "numbers", raw(1)))
    deliver(wrong, "journey", TaskCompleted("", "m0.99", raw(1)), run=RUN)
    wrong.step()
    wrong.crash()
    right = release(town, "a", "right")
    town.signal("journey", "w", "numbers", 2, id="two")
    right.step()

    assert [item.key for item in town.stored().inbox] == ["one", f"{RUN}/m0.99/TaskCompleted/1", "two"]
    assert (town.events(), town.record().status) == (["Started", "TaskCompleted"], "suspended")


def test_an_instance_that_waits_for_nothing_is_not_suspended_any_more_once_its_code_is_there(town):
    """An offer has suspended it, and there is nothing in its inbox to be drained."""
    begun(town).crash()
    wrong = release(town, "x", "wrong")
    town.offer("journey", "w")
    wrong.step()
    assert (town.record().status, town.stored().inbox) == ("suspended", ())
    wrong.crash()
    right = release(town, "a", "right")
    town.offer("journey", "w")
    right.step()

    assert (town.record().status, town.record().reason) == ("running", "")


def test_an_instance_that_was_mended_drains_its_inbox_first_and_in_order(town):
    begun(town).crash()
    wrong = release(town, "x", "wrong")
    town.signal("journey", "w", "numbers", 1)
    wrong.step()
    town.signal("journey", "w", "numbers", 2)
    wrong.step()
    wrong.crash()
    right = release(town, "a", "right")
    town.signal("journey", "w", "numbers", 3)  # what comes now is behind what waits
    right.step()

    assert result(town) == ["a", 1, 2]
    assert (town.stored().inbox, town.stored().version.inbox) == ((), 3)
    assert town.events() == ["Started", "TaskCompleted", "SignalReceived", "SignalReceived"]
    assert attempts_sent(town) == once("m0.0")


def test_who_holds_an_instance_whose_inbox_another_worker_filled_drains_it_before_it_goes_on(town):
    """The key comes back: what the first worker holds has no more turns than before, and yet it is stale."""
    first, wrong = begun(town), release(town, "x", "wrong")
    deliver(wrong, "journey", SignalReceived("one", "numbers", raw(1)))
    wrong.step()
    turns = town.stored().version.turns
    deliver(first, "journey", SignalReceived("two", "numbers", raw(2)))
    first.step()

    assert (result(town), town.stored().inbox) == (["a", 1, 2], ())
    assert turns == 2
    assert town.events() == ["Started", "TaskCompleted", "SignalReceived", "SignalReceived"]


def test_who_holds_an_instance_whose_inbox_another_worker_filled_is_told_by_an_offer(town):
    first, wrong = begun(town), release(town, "x", "wrong")
    for number in (1, 2):
        deliver(wrong, "journey", SignalReceived(f"s{number}", "numbers", raw(number)))
    wrong.step()
    wrong.crash()
    sweep(town, first)

    assert (result(town), town.stored().inbox) == (["a", 1, 2], ())


@pytest.mark.parametrize("where", [*TROUBLE, "before publish", "after publish"])
def test_an_inbox_that_is_drained_with_trouble_is_drained_once(town, where):
    hand = town.conductor(counting, add)
    town.start(counting(2))
    hand.step()
    hand.flush_marks()
    [answer] = hand.run_tasks()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(applying, "FORMAT", -1)
        hand.step([answer])
    assert (town.record().status, len(town.stored().inbox)) == ("suspended", 1)
    hand.crash()
    mended = town.conductor(counting, add, fails=[where])
    mended.registry.programs["counting"].fingerprint = "mended"
    town.offer("counting", "w")
    mended.step_with_trouble()
    assert all(one.topic for one in mended.conductor.pending)  # what waits in the inbox is not taken for what came
    mended.work()

    assert (result(town), town.stored().inbox) == (1, ())
    assert town.events() == ["Started", "TaskCompleted", "TaskCompleted"]
    assert set(attempts_sent(town)) == set(once("m0.0", "m0.1"))


def charging(town, word, stamp, fails):
    """A worker whose workflow takes a number, and fails after that or not."""

    @workflow(name="charging")
    def charging() -> Flow[list[int]]:
        yield from echo(word)
        first = yield from numbers.receive()
        if fails:
            raise LookupError("as ever")
        return [first, (yield from numbers.receive())]

    hand = town.conductor(charging, echo)
    hand.registry.programs["charging"].fingerprint = stamp
    return hand


def test_a_failed_instance_that_is_restarted_by_other_code_drains_its_inbox_before_what_comes_next(town):
    """The code that restarts it could not follow it; what waits then is for the run that there is now."""
    failing = charging(town, "a", "failing", fails=True)
    flow = failing.registry.programs["charging"].definition
    town.start(flow())
    town.signal("charging", "w", "numbers", 1)
    failing.work()
    failing.flush_marks()
    failing.crash()
    assert town.record().status == "failed"
    other = charging(town, "b", "other", fails=False)
    town.signal("charging", "w", "numbers", 2)
    other.step()
    assert (town.record().status, len(town.stored().inbox)) == ("failed", 1)
    town.send("charging", "w", started(flow(), "again", NEXT, if_exists="restart"))
    town.signal("charging", "w", "numbers", 3)
    other.work()

    assert (result(town), town.stored().inbox) == ([2, 3], ())
    assert attempts_sent(town) == {**once("m0.0"), **once("m0.0", run=NEXT)}


@pytest.mark.parametrize("served", [(counting,), (counting, collecting)], ids=["without its code", "with its code"])
def test_a_message_for_another_workflow_of_that_id_suspends_nobody(town, served):
    """That it is not meant, the record alone tells."""
    hand, stranger = town.conductor(collecting), town.conductor(*served)
    town.start(collecting(1))
    hand.step()
    before = town.stored().version
    town.told()
    signal = town.signal("counting", "w", "numbers", 5)
    asked = town.query("counting", "w", "so_far")
    stranger.step()

    assert (town.stored().version, town.record().status, town.stored().inbox) == (before, "running", ())
    assert {one.call_id: one.status for one in town.told()} == {signal: "unknown", asked: "unknown"}


def test_what_cannot_be_read_in_an_inbox_is_put_away_under_its_workflow(town):
    """It was written by a release that knew more."""
    hand = town.conductor(collecting)
    town.start(collecting(1))
    hand.step()
    hand.flush_marks()
    hand.crash()
    stored = town.stored()
    odd = Message("event", "odd", "collecting", "w", payload=raw({"kind": "of tomorrow"}))
    town.storage.append(
        [
            Append(
                workflow="collecting",
                workflow_id="w",
                expected=stored.version,
                version=replace(stored.version, inbox=1),
                token="t",
                mark=stored.mark,
                record=replace(stored.record, status="suspended", fingerprint="of tomorrow"),
                inbox_added=(InboxItem("odd", encode_message(odd)),),
            )
        ]
    )
    second = town.conductor(collecting)
    town.signal("collecting", "w", "numbers", 4)
    second.step()

    assert (result(town), town.stored().inbox) == ([4], ())
    assert [one.id for one in town.transport.unacknowledged(dead_topic(workflow_topic("collecting")))] == ["odd"]


# ------------------------------------------------------------------------------------------ formats


@pytest.mark.parametrize("number", [1, 2])
def test_a_release_reads_its_own_format_and_the_next(town, number):
    hand = town.conductor(collecting)
    town.start(collecting(1))
    event = event_message(SignalReceived("s", "numbers", raw(3)), workflow="collecting", workflow_id="w")
    town.publish("collecting", "w", replace(event, format=number))
    hand.step()

    assert result(town) == [3]


def test_a_higher_format_waits_for_the_release_that_reads_it_though_the_workflows_code_is_the_same(town, monkeypatch):
    old = town.conductor(collecting)
    town.start(collecting(1))
    event = event_message(SignalReceived("s", "numbers", raw(3)), workflow="collecting", workflow_id="w")
    town.publish("collecting", "w", replace(event, format=3))
    old.step()
    assert (town.record().status, "format 3" in town.record().reason) == ("suspended", True)
    assert nothing_left(town, ["collecting"])
    sweep(town, old, times=3)
    assert town.record().status == "suspended"
    old.crash()
    for module in (applying, registry):
        monkeypatch.setattr(module, "FORMAT", 2)
    new = town.conductor(collecting)
    sweep(town, new)

    assert (result(town), published(town)) == ([3], [])


# ----------------------------------------------------------------------- what ends it, beside what it cannot bear


class Torn(BaseException):
    """What is no `Exception`."""


@workflow
def tearing(at: int) -> Flow[None]:
    for number in range(at):
        assert (yield from numbers.receive()) == number
    raise Torn


@pytest.mark.parametrize("also", ["signal", ""])
@pytest.mark.parametrize("kept", [True, False], ids=["in hand", "loaded"])
@pytest.mark.parametrize("at", [0, 1, 2])
def test_a_termination_that_comes_with_what_its_code_cannot_bear_ends_it(town, at, kept, also):
    hand = town.conductor(tearing)
    town.start(tearing(at))
    if at:
        hand.step()
    if not kept:
        hand.crash()
        hand = town.conductor(tearing)
    for number in range(at):
        town.signal("tearing", "w", "numbers", number)
    town.send("tearing", "w", TerminateRequested("t", reason="enough", reply_to="c"))
    after = town.signal("tearing", "w", "numbers", 9) if also else ""
    for _ in range(5):
        hand.step()

    assert (town.record().status, town.stored().inbox) == ("terminated", ())
    told = {one.call_id: one.status for one in town.told()}
    assert (told["t"], told[after]) == ("received", "finished" if also else "terminated")
    assert town.events() == ["Started", "TerminateRequested"]
    assert nothing_left(town, ["tearing"])


def test_a_termination_that_waits_in_an_inbox_ends_its_instance_with_the_next_message(town):
    begun(town).crash()
    stored = town.stored()
    message = event_message(TerminateRequested("t", reason="enough"), workflow="journey", workflow_id="w")
    version = replace(stored.version, inbox=stored.version.inbox + 1)
    item = InboxItem("t", encode_message(message))
    append = Append(
        workflow="journey",
        workflow_id="w",
        expected=stored.version,
        version=version,
        token="t",
        mark=stored.mark,
        inbox_added=(item,),
    )
    town.storage.append([append])
    wrong = release(town, "x", "wrong")
    signal = town.signal("journey", "w", "numbers", 1)
    wrong.work()

    assert (town.record().status, town.stored().inbox) == ("terminated", ())
    assert [(one.call_id, one.status) for one in town.told() if one.call_id] == [(signal, "finished")]
    assert town.events() == ["Started", "TaskCompleted", "TerminateRequested"]


# ------------------------------------------------------------------------------ what is asked for again


def test_a_resume_that_was_refused_is_refused_once_more_when_its_answer_was_lost(town):
    begun(town).crash()
    wrong = release(town, "x", "wrong")
    town.send("journey", "w", SuspendRequested("s", reason="a pause", reply_to="c"))
    resume = event_message(ResumeRequested("r", reply_to="c"), workflow="journey", workflow_id="w", reply_to="c")
    for headers in ({}, {}, {AGAIN: "1"}, {AGAIN: "1"}):
        town.publish("journey", "w", replace(resume, headers=headers))
        wrong.work()
    told = [(one.call_id, one.status) for one in town.told()]
    reason = town.record().reason

    assert told == [("s", "received"), *[("r", "refused")] * 4]
    assert (reason.startswith("w: history says"), len(town.record().starts)) == (True, 3)
    town.send("journey", "w", SuspendRequested("again", reason="a pause", reply_to="c"))
    wrong.work()
    town.publish("journey", "w", replace(resume, headers={AGAIN: "1"}))
    wrong.work()
    assert [(one.call_id, one.status) for one in town.told()] == [("again", "received"), ("r", "received")]
