"""Attempts: retries are turns, numbers never start again, and the first answer that is recorded wins."""

import pytest

from dsl import Flow, current_task, race, sleep, task, workflow
from dsl.policies import Retry
from infinitic.events import AttemptFailed, TaskCompleted
from infinitic.serialization import error_value
from infinitic.topics import service_topic
from tests.rules.given import (
    add,
    attempts_sent,
    counting,
    deliver,
    flaky,
    nothing_left,
    once,
    published,
    raw,
    result,
    started,
    sweep,
    trying,
)
from tests.worker.given import RUN, Hand, Town

NEXT = f"{9:032x}"
SENT = {**once("m0.0"), **once("m0.0", attempt=2)}


def completes(hand: Hand, value: object, attempt: int) -> None:
    deliver(hand, "trying", TaskCompleted("", "m0.0", raw(value), attempt), run=RUN)
    hand.step()


def fails(hand: Hand, attempt: int, retry_in: int | None = 1_000_000) -> None:
    error = error_value(LookupError("not yet"))
    deliver(hand, "trying", AttemptFailed("", "m0.0", error, attempt, retry_in), run=RUN)
    hand.step()


@pytest.fixture
def trier(town: Town) -> Hand:
    """A worker whose task has failed once, and has been sent again."""
    hand = town.conductor(trying)
    town.start(trying())
    hand.step()
    fails(hand, 1)
    town.clock.go_on(1)
    hand.step()
    assert attempts_sent(town) == SENT
    return hand


def test_the_success_of_a_former_attempt_settles_and_those_after_it_change_nothing(town, trier):
    completes(trier, "late", 1)
    completes(trier, "later", 2)
    fails(trier, 2)

    assert (result(town), attempts_sent(town)) == ("late", SENT)
    assert town.events() == ["Started", "AttemptFailed", "TimerFired", "TaskCompleted"]
    assert town.stored().timers == ()


def test_the_failure_of_a_former_attempt_counts_for_nothing(town, trier):
    """Neither again, nor for good: only the current attempt's failure counts."""
    fails(trier, 1)
    fails(trier, 1, retry_in=None)
    assert (town.record().status, town.events()) == ("running", ["Started", "AttemptFailed", "TimerFired"])
    completes(trier, "at last", 2)

    assert (result(town), attempts_sent(town)) == ("at last", SENT)


def test_a_failure_that_comes_twice_is_one_retry(town):
    hand = town.conductor(trying)
    town.start(trying())
    hand.step()
    for _ in range(3):
        fails(hand, 1)
    sweep(town, hand, times=2)

    assert attempts_sent(town) == SENT
    assert town.events() == ["Started", "AttemptFailed", "TimerFired"]


def test_a_success_while_the_next_attempt_waits_settles_and_clears_the_timer(town):
    hand = town.conductor(trying)
    town.start(trying())
    hand.step()
    fails(hand, 1)
    assert len(town.stored().timers) == 1
    completes(hand, "after all", 1)
    sweep(town, hand, times=2)

    assert (result(town), town.stored().timers, attempts_sent(town)) == ("after all", (), once("m0.0"))


@pytest.mark.parametrize(
    ("stage", "where"),
    [
        *(("the failure", one) for one in ("before persist", "after persist", "after commit")),
        *(("the timer", one) for one in ("before persist", "after persist", "before publish", "after publish")),
    ],
)
def test_a_retry_is_made_whoever_dies_between_the_attempts(town, stage, where):
    town.start(trying())
    first, service = town.conductor(trying), town.conductor(flaky)
    first.step()
    first.flush_marks()
    service.work()
    if stage == "the timer":
        first.step()
        first.flush_marks()
        town.clock.go_on(1)
    first.backend.fails = [where]
    first.step_with_trouble()
    first.crash()
    second = town.conductor(trying)
    for _ in range(3):
        sweep(town, second, seconds=2)
        service.work()
    sweep(town, second)

    assert result(town) == "at last"
    assert town.events() == ["Started", "AttemptFailed", "TimerFired", "TaskCompleted"]
    assert set(attempts_sent(town)) == set(SENT)
    assert attempts_sent(town)[RUN, "m0.0", 1] == 1
    assert all(b"LookupError" in bytes(one.payload) for one in published(town, "task") if one.attempt == 2)
    assert nothing_left(town, ["trying"])


MENDED: list[bool] = []
SEEN: list[tuple[str, int]] = []


@task(retry=Retry(max_attempts=2, initial=1, jitter=0))
def picky() -> str:
    SEEN.append((current_task().id, current_task().attempt))
    if not MENDED:
        raise LookupError("not yet")
    return "mended"


@workflow
def choosing() -> Flow[str]:
    return (yield from picky())


def test_attempt_numbers_never_start_again_and_the_task_keeps_its_id(town):
    """A retry by hand resets the policy only. A new run has a task of its own."""
    MENDED.clear(), SEEN.clear()
    hand = town.conductor(choosing, picky)
    town.start(choosing())
    hand.work()
    sweep(town, hand)
    assert town.record().status == "failed"
    town.retry("choosing", "w")
    hand.work()
    MENDED.append(True)
    sweep(town, hand)
    assert result(town) == "mended"
    town.send("choosing", "w", started(choosing(), "again", NEXT, if_exists="restart"))
    hand.work()

    assert [attempt for _, attempt in SEEN] == [1, 2, 3, 4, 1]
    assert len({id for id, _ in SEEN[:4]}) == 1
    assert SEEN[4][0] != SEEN[0][0]
    assert set(attempts_sent(town).values()) == {1}


def test_a_cancelled_task_settles_at_once_and_its_answer_is_dropped(town):
    @workflow
    def hurrying() -> Flow[str]:
        name, _ = yield from race(done=add(1, 1), late=sleep(5))
        yield from sleep(5)
        return name

    hand = town.conductor(hurrying)
    town.start(hurrying())
    hand.step()
    town.clock.go_on(5)
    hand.step()
    before = town.stored().version
    deliver(hand, "hurrying", TaskCompleted("", "m0.0", raw(2)), run=RUN)
    hand.step()
    assert town.stored().version == before
    town.clock.go_on(5)
    hand.step()

    assert (result(town), attempts_sent(town)) == ("late", once("m0.0"))


def test_a_task_that_is_cancelled_while_its_next_attempt_waits_has_no_timer_any_more(town):
    @workflow(name="trying")
    def hurrying() -> Flow[str]:
        name, _ = yield from race(done=flaky(), late=sleep(5))
        yield from sleep(500)
        return name

    hand = town.conductor(hurrying)
    town.start(hurrying())
    hand.step()
    fails(hand, 1, retry_in=100_000_000)
    assert {row.position for row in town.stored().timers} == {"m0.0", "m0.1"}
    town.clock.go_on(5)
    hand.step()
    hand.flush_marks()

    assert [row.position for row in town.stored().timers] == ["m0.2"]
    assert attempts_sent(town) == once("m0.0")


def test_a_task_that_runs_twice_is_answered_once(town):
    """Its worker dies with the answer recorded and not acknowledged: another runs it, and that is ignored."""
    hand, service = town.conductor(counting), town.conductor(add)
    town.start(counting(2))
    hand.step()
    service.step()
    [finished] = service.run_tasks()
    service.backend.fails = ["after publish"]
    with pytest.raises(Exception, match="receipt"):
        service.step([finished])
    service.crash()
    hand.step()
    again = town.conductor(add)
    again.work()
    hand.step()
    again.work()
    hand.step()

    assert (result(town), town.events()) == (1, ["Started", "TaskCompleted", "TaskCompleted"])
    assert attempts_sent(town) == once("m0.0", "m0.1")
    assert town.waiting(service_topic("add")) == []
