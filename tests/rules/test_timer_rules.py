"""Timers: a row in the storage is a timer's message, until the mark has passed the turn that it caused."""

import pytest

from dsl import Flow, dispatch, race, sleep, workflow
from infinitic.backends.distributed import DistributedBackend
from infinitic.events import AttemptFailed, SignalReceived, TimerFired
from infinitic.history import TimerIssued
from infinitic.serialization import error_value
from infinitic.testing.stepped import SteppedWorker
from infinitic.topics import service_topic
from tests.rules.given import (
    SERVED,
    add,
    attempts_sent,
    collecting,
    deliver,
    flaky,
    leaving,
    nap_then_add,
    napping,
    nothing_left,
    numbers,
    once,
    published,
    raw,
    result,
    started,
    sweep,
    trying,
)
from tests.worker.given import NOON, RUN, SECOND

NEXT = f"{9:032x}"


@pytest.mark.parametrize("ahead", [-10, 10])
def test_a_worker_tells_the_storages_time_from_its_first_turn_on(town, ahead):
    """It has not swept yet, and its own clock is wrong: the timer would be early, or late."""
    worker = SteppedWorker(
        DistributedBackend(town.transport.another(), town.storage.another()),
        workflows=[napping],
        clock=lambda: town.clock() + ahead * SECOND,
        codec=town.codec,
    )
    town.start(napping(5))
    worker.step()

    [row] = town.stored().timers
    assert row.due == NOON + 5 * SECOND


@pytest.mark.parametrize("where", ["after persist", "before publish"])
def test_a_timers_turn_whose_worker_died_before_publishing_is_sent_by_the_next_append(town, where):
    """Another worker's turn comes first; the row stays until the mark has passed the timer's turn, and then goes."""
    first = town.conductor(nap_then_add)
    town.start(nap_then_add(5))
    first.step()
    first.flush_marks()
    town.clock.go_on(5)
    first.backend.fails = [where]
    first.step_with_trouble()
    assert (town.events(), attempts_sent(town)) == (["Started", "TimerFired"], {})
    assert [row.position for row in town.stored().timers] == ["m0.0"]
    first.crash()
    second = town.conductor(nap_then_add)
    deliver(second, "nap_then_add", SignalReceived("other", "words", raw(1)))
    second.step()
    assert attempts_sent(town) == once("m0.1")
    service = town.conductor(add)
    for _ in range(3):
        service.work()
        sweep(town, second, seconds=2)

    assert (result(town), attempts_sent(town)) == (3, once("m0.1"))
    assert town.events() == ["Started", "TimerFired", "SignalReceived", "TaskCompleted"]
    assert (town.stored().timers, nothing_left(town, ["nap_then_add"])) == ((), True)


@pytest.mark.parametrize("flow", [nap_then_add(5), trying()], ids=["a timer", "a retry"])
def test_a_fired_timers_row_that_is_swept_while_the_task_it_caused_runs_changes_nothing(town, flow):
    """Its worker died with the row: who sweeps it finds that it has had its effect, and clears it."""
    first = town.conductor(*SERVED)
    town.start(flow)
    first.work()
    town.clock.go_on(5)
    first.step()
    sent = attempts_sent(town)
    [row] = town.stored().timers
    first.crash()
    second = town.conductor(nap_then_add, trying)
    sweep(town, second)
    assert (town.stored().timers, town.events()[-1]) == ((), "TimerFired")
    assert attempts_sent(town) == {**sent, max(sent): 2}  # after a key moved, an output of the last turn may be
    service = town.conductor(add, flaky)
    service.work()
    sweep(town, second)

    assert (town.record().status, town.events()[-1]) == ("completed", "TaskCompleted")
    assert row.due <= town.clock()


def test_a_fired_timers_row_goes_with_the_mark_though_its_run_goes_on(town):
    """By a write of its own when no append comes."""
    hand = town.conductor(nap_then_add)
    town.start(nap_then_add(5))
    hand.step()
    town.clock.go_on(5)
    hand.step()
    assert [row.position for row in town.stored().timers] == ["m0.0"]
    hand.flush_marks()

    assert (town.stored().timers, town.record().status) == ((), "running")


@workflow
def leaving_a_timer() -> Flow[str]:
    dispatch(sleep(100))
    yield from numbers.receive()
    return "gone"


@workflow
def gone_at_once() -> Flow[None]:
    dispatch(sleep(100))
    yield from sleep(0)


def test_a_timer_that_is_set_in_the_turn_that_ends_its_run_is_never_written(town):
    hand = town.conductor(gone_at_once)
    town.start(gone_at_once())
    hand.step()

    assert (town.record().status, town.events(), town.stored().timers) == ("completed", ["Started"], ())


@workflow
def racing() -> Flow[str]:
    name, _ = yield from race(number=numbers.receive(), late=sleep(50))
    yield from numbers.receive()
    return name


@pytest.mark.parametrize("batches", [1, 2], ids=["in one batch", "in two batches"])
def test_a_timer_that_nobody_awaits_when_its_run_ends_is_gone(town, batches):
    hand = town.conductor(leaving_a_timer)
    town.start(leaving_a_timer())
    if batches == 2:
        hand.step()
        assert len(town.stored().timers) == 1
    town.signal("leaving_a_timer", "w", "numbers", 1)
    hand.step()
    assert town.stored().timers == ()
    before = town.stored().version
    sweep(town, hand, seconds=100, times=2)

    assert (result(town), town.stored().version) == ("gone", before)
    assert published(town) == []


@pytest.mark.parametrize("batches", [1, 2], ids=["in one batch", "in two batches"])
def test_a_timer_that_lost_is_cleared_with_the_turn_that_it_lost_by(town, batches):
    hand = town.conductor(racing)
    town.start(racing())
    if batches == 2:
        hand.step()
        assert len(town.stored().timers) == 1
    town.signal("racing", "w", "numbers", 1)
    hand.backend.fails = ["after persist"]
    hand.step_with_trouble()
    assert town.stored().timers == ()
    town.signal("racing", "w", "numbers", 2)
    hand.step()

    assert (result(town), town.stored().timers) == ("number", ())


def test_a_timer_that_is_set_anew_outlives_the_mark_that_passes_its_former_firing(town):
    """The next attempt failed in the very batch in which its timer had fired: one row, by now another timer's."""
    hand = town.conductor(trying)
    town.start(trying())
    hand.step()
    deliver(hand, "trying", failure(1), run=RUN)
    hand.step()
    deliver(hand, "trying", TimerFired("", "m0.0", 1), run=RUN)
    deliver(hand, "trying", failure(2), run=RUN)
    hand.step()
    hand.flush_marks()
    hand.crash()
    assert [row.attempt for row in town.stored().timers] == [2]
    second = town.conductor(trying)
    sweep(town, second)

    assert attempts_sent(town) == {**once("m0.0"), **once("m0.0", attempt=2), **once("m0.0", attempt=3)}


def failure(attempt: int) -> AttemptFailed:
    return AttemptFailed("", "m0.0", error_value(LookupError("not yet")), attempt, 1_000_000)


@pytest.mark.parametrize("batches", [1, 2], ids=["in one batch", "in two batches"])
def test_retries_of_the_former_run_leave_no_timer_after_a_restart(town, batches):
    """A row that nobody clears would be swept for ever: its run is not the one that there is."""
    hand = town.conductor(*SERVED)
    town.start(leaving())
    hand.step()
    [failed] = hand.run_tasks()
    town.signal("leaving", "w", "numbers", 5)
    hand.step()
    town.transport.publish([failed.result])
    if batches == 2:
        hand.step()
    town.send("leaving", "w", started(leaving(), "again", NEXT, if_exists="restart"))
    hand.step()
    assert (town.stored().version.run, town.storage.history("w", RUN)[-1].number) == (NEXT, 2)
    fresh = town.conductor(*SERVED)
    sweep(town, fresh, hand, seconds=30, times=3)

    assert [one for one in published(town) if one.run == RUN] == []


def test_a_timer_is_never_early_by_the_storages_clock(town):
    """The worker's own clock is an hour ahead; the sweep has told it so."""
    hand = town.conductor(napping)
    hand.conductor.clock = lambda: town.clock() + 3600 * SECOND
    hand.sweeper.sweep()
    town.start(napping(5))
    hand.step()
    town.clock.go_on(4.999)
    sweep(town, hand, seconds=0)
    assert town.events() == ["Started"]
    town.clock.go_on(0.001)
    hand.step()

    assert (result(town), town.history()[1].at) == ("awake", NOON + 5 * SECOND)


def test_a_timer_belongs_to_who_claimed_it_until_it_is_overdue(town):
    """It is born claimed by its writer; 300 ms after its instant any sweep may take it."""
    writer, other = town.conductor(napping), town.conductor(napping)
    town.start(napping(5))
    writer.step()
    for seconds in (4, 1, 0.299):  # up to 299 ms after its due
        town.clock.go_on(seconds)
        other.sweeper.sweep()
        assert len(other.conductor.timers) == 0
    town.clock.go_on(0.001)
    other.sweeper.sweep()

    assert len(other.conductor.timers) == 1


def test_a_timer_that_a_sweep_has_claimed_is_left_to_it_and_its_due_never_moves(town):
    writer, one, two = (town.conductor(napping) for _ in range(3))
    town.start(napping(3600))
    writer.step()
    [due] = [row.due for row in town.stored().timers]
    town.clock.go_on(3598)
    one.sweeper.sweep()
    two.sweeper.sweep()

    assert (len(one.conductor.timers), len(two.conductor.timers)) == (1, 0)
    assert [row.due for row in town.stored().timers] == [due] == [NOON + 3600 * SECOND]
    [issued] = town.history()[0].commands
    assert isinstance(issued, TimerIssued)


@pytest.mark.parametrize("late", [1, 86_400 * 365])
def test_late_by_a_second_or_a_year_a_timer_still_fires_once(town, late):
    first = town.conductor(napping)
    town.start(napping(5))
    first.step()
    first.crash()
    town.clock.go_on(5 + late)
    hands = [town.conductor(napping) for _ in range(2)]
    for hand in hands:
        hand.sweeper.sweep()
    for hand in hands:
        hand.step()
    sweep(town, *hands, times=2)

    assert (result(town), town.events()) == ("awake", ["Started", "TimerFired"])
    assert town.stored().timers == ()


def test_a_timer_of_an_attempt_that_is_over_is_nobodys(town):
    """Known by run and position; a retry's by its attempt too."""
    hand = town.conductor(trying, collecting)
    town.start(trying())
    hand.step()
    service = town.conductor(flaky)
    service.work()
    hand.step()
    assert [row.attempt for row in town.stored().timers] == [1]
    for attempt, run in ((2, RUN), (1, NEXT)):
        deliver(hand, "trying", TimerFired("", "m0.0", attempt), run=run)
    hand.step()
    assert (town.events(), len(town.stored().timers)) == (["Started", "AttemptFailed"], 1)
    town.clock.go_on(1)
    hand.step()

    assert town.events() == ["Started", "AttemptFailed", "TimerFired"]
    assert town.waiting(service_topic("flaky")) == ["task"]
