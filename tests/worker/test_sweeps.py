"""Sweeps: bounded however much there is to do, and nothing is offered or sent for ever."""

import pytest

from dsl import Channel, Flow, sleep, task, workflow
from infinitic.engine.instance import Diverged
from infinitic.errors import InfiniticError
from infinitic.topics import service_topic
from infinitic.worker import loading, sweeps
from tests.worker.given import RUN, Hand, Town

numbers = Channel(int, name="numbers")


@task
def echo(word: str) -> str:
    return word


@workflow
def napping(seconds: int) -> Flow[str]:
    yield from sleep(seconds)
    return "awake"


@workflow
def charging() -> Flow[str]:
    return (yield from echo("charged"))


def release(town: Town, words: list[str], stamp: str, **options: int) -> Hand:
    """A worker with code of its own, which asks for one of these words first."""

    @workflow(name="journey")
    def journey(which: int) -> Flow[int]:
        yield from echo(words[which])
        return (yield from numbers.receive())

    hand = town.conductor(journey, echo, **options)
    hand.registry.programs["journey"].fingerprint = stamp
    return hand


@pytest.fixture
def replays(monkeypatch):
    """The ids of the instances that were brought to life, one for each time."""
    seen: list[str] = []
    real = loading.turns.replay

    def replay(instance, bodies):
        seen.append(instance.workflow_id)
        return real(instance, bodies)

    monkeypatch.setattr(loading.turns, "replay", replay)
    return seen


# ------------------------------------------------------------------------------------------ timers


def slow_claims(town: Town, hand: Hand, monkeypatch, seconds: float) -> list[int]:
    """Have each page that is claimed take its time; how many rows each of them had."""
    pages: list[int] = []
    real = hand.backend.storage.claim_due_timers

    def claim(*arguments):
        town.clock.go_on(seconds)
        due = real(*arguments)
        pages.append(len(due.timers))
        assert len(pages) < 500, "it claims for ever"
        return due

    monkeypatch.setattr(hand.backend.storage, "claim_due_timers", claim)
    return pages


@pytest.fixture
def overdue(town):
    """Sixty timers whose worker died, long due."""
    first = town.conductor(napping)
    for number in range(60):
        town.start(napping(5), f"n{number}", run=f"{number:032x}")
    first.step()
    first.crash()
    town.clock.go_on(3600)
    return [f"n{number}" for number in range(60)]


def test_more_overdue_timers_than_can_be_claimed_in_time_do_not_hold_a_sweep_up(town, overdue, monkeypatch):
    monkeypatch.setattr(sweeps, "PAGE", 3)
    hand = town.conductor(napping)
    pages = slow_claims(town, hand, monkeypatch, 0.1)

    assert hand.sweeper.sweep()
    assert 0 < sum(pages) < len(overdue)


@pytest.mark.parametrize("seconds", [0, 0.1, 1.5])
def test_all_overdue_timers_fire_however_long_it_takes_to_claim_them(town, overdue, monkeypatch, seconds):
    monkeypatch.setattr(sweeps, "PAGE", 3)
    hand = town.conductor(napping)
    slow_claims(town, hand, monkeypatch, seconds)
    while hand.sweeper.sweep():
        hand.step()
    hand.step()

    assert {bytes(town.record(one).value) for one in overdue} == {b'"awake"'}
    assert {one: town.events(one) for one in overdue} == {one: ["Started", "TimerFired"] for one in overdue}


def test_what_comes_in_is_done_between_the_sweeps_that_claim_overdue_timers(town, overdue, monkeypatch):
    monkeypatch.setattr(sweeps, "PAGE", 3)
    hand = town.conductor(napping)
    slow_claims(town, hand, monkeypatch, 1)
    town.start(napping(0), "new")
    assert hand.sweeper.sweep()
    hand.step()

    assert town.record("new").status == "completed"
    assert {town.record(one).status for one in overdue} == {"running", "completed"}


# ------------------------------------------------------------------------------------------ offers


def suspended_by_wrong_code(town: Town, count: int, able: int) -> list[str]:
    """*count* instances that wait for their number, which came while wrong code ran; and then *able* others."""
    ids = [f"j{number:03}" for number in range(count + able)]
    right = release(town, ["a", "b"], "first")
    [journey] = [one.definition for one in right.registry.programs.values()]
    for number, one in enumerate(ids):
        town.start(journey(int(number >= count)), one, run=f"{number:032x}")
    right.work()
    right.conductor.flush_marks()
    right.crash()
    wrong = release(town, ["x", "x"], "wrong")
    for one in ids:
        town.signal("journey", one, "numbers", 7)
    wrong.step()
    wrong.conductor.flush_marks()
    wrong.crash()
    assert {town.record(one).status for one in ids} == {"suspended"}
    return ids


def sweep_for_minutes(town: Town, hand: Hand, times: int = 40) -> None:
    for _ in range(times):
        town.clock.go_on(3)
        hand.sweeper.sweep()
        hand.work()


def test_an_instance_that_this_code_cannot_continue_is_offered_to_it_once(town, replays):
    ids = suspended_by_wrong_code(town, count=4, able=0)
    hand = release(town, ["y", "b"], "third")
    replays.clear()
    sweep_for_minutes(town, hand)

    assert sorted(replays) == ids
    assert {town.record(one).status for one in ids} == {"suspended"}
    assert {len(town.stored(one).inbox) for one in ids} == {1}


def test_instances_that_this_code_cannot_continue_hide_no_other(town, monkeypatch):
    monkeypatch.setattr(sweeps, "PAGE", 3)
    *stuck, last = suspended_by_wrong_code(town, count=10, able=1)
    hand = release(town, ["y", "b"], "third")
    sweep_for_minutes(town, hand)

    assert bytes(town.record(last).value) == b"7"
    assert {town.record(one).status for one in stuck} == {"suspended"}


def test_an_instance_that_other_code_could_not_continue_is_offered_to_the_right_code_again(town):
    ids = suspended_by_wrong_code(town, count=4, able=0)
    third = release(town, ["y", "b"], "third")
    sweep_for_minutes(town, third, 3)
    third.crash()
    right = release(town, ["a", "b"], "first")
    sweep_for_minutes(town, right, 3)

    assert [bytes(town.record(one).value) for one in ids] == [b"7"] * 4
    assert [town.stored(one).inbox for one in ids] == [()] * 4


# ------------------------------------------------------------------------- outputs that were not sent


def diverging(monkeypatch):
    """From now on no code can follow any history."""

    def replay(instance, bodies):
        raise Diverged(InfiniticError("this code cannot follow it"))

    monkeypatch.setattr(loading.turns, "replay", replay)


def test_a_suspended_instance_whose_mark_is_behind_has_its_outputs_sent_once(town, monkeypatch):
    first = town.conductor(charging, fails=["before publish"])
    town.start(charging())
    first.step_with_trouble()
    first.crash()
    diverging(monkeypatch)
    second = town.conductor(charging, echo)
    town.signal("charging", "w", "numbers", 1)  # which suspends it
    ran = 0
    for _ in range(20):
        town.clock.go_on(6)
        second.sweeper.sweep()
        second.step()
        ran += len(second.tasks.submitted)
        second.step(second.run_tasks())

    assert ran == 1
    assert town.record().status == "suspended"
    assert town.events() == ["Started"]
    assert town.waiting(service_topic("echo")) == []


def test_an_instance_that_this_code_cannot_read_has_its_outputs_sent_once_though_nothing_comes(town, monkeypatch):
    """Only the start came, and that again: there is nothing to put by, so nothing suspends it."""
    first = town.conductor(charging, fails=["before publish"])
    town.start(charging())
    first.step_with_trouble()
    first.crash()
    diverging(monkeypatch)
    second = town.conductor(charging)
    sent = 0
    for _ in range(20):
        town.clock.go_on(6)
        second.sweeper.sweep()
        second.step()
        sent = len(town.waiting(service_topic("echo")))

    assert sent == 1


def test_the_right_code_goes_on_with_what_was_sent_while_it_was_suspended(town, monkeypatch):
    first = town.conductor(charging, fails=["before publish"])
    town.start(charging())
    first.step_with_trouble()
    first.crash()
    with monkeypatch.context() as wrong:
        diverging(wrong)
        second = town.conductor(charging, echo)
        sweep_for_minutes(town, second, 3)
        second.crash()
    assert town.stored().mark.run == RUN
    right = town.conductor(charging, echo)
    right.registry.programs["charging"].fingerprint = "as it was"
    sweep_for_minutes(town, right, 3)

    assert bytes(town.record().value) == b'"charged"'
    assert town.events() == ["Started", "TaskCompleted"]
