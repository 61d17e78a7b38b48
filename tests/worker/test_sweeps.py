"""Sweeps: bounded however much there is to do, and nothing is offered or sent for ever."""

import pytest

from dsl import Channel, Flow, sleep, task, workflow
from infinitic.engine.instance import Diverged
from infinitic.errors import InfiniticError
from infinitic.topics import service_topic
from infinitic.transports.memory import MemoryConsumer
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
    journey = right.registry.programs["journey"].definition
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


def test_what_this_very_code_could_not_continue_it_does_not_try_after_a_restart_either(town, replays):
    [one] = suspended_by_wrong_code(town, count=1, able=0)
    replays.clear()
    again = release(town, ["x", "x"], "wrong")
    town.signal("journey", one, "numbers", 8)
    sweep_for_minutes(town, again, 3)

    assert replays == []
    assert len(town.stored(one).inbox) == 2


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


# ------------------------------------------------------------------- while both old and new code run


@pytest.fixture
def _kept_keys(monkeypatch):
    """The broker goes on giving a key to the same worker while that is there, as one that tells them by a hash does."""
    monkeypatch.setattr(MemoryConsumer, "release", lambda self, keys: None)


@pytest.mark.usefixtures("_kept_keys")
def test_an_instance_whose_key_lies_with_code_that_cannot_continue_it_goes_on_elsewhere(town):
    new = release(town, ["a"], "new")
    journey = new.registry.programs["journey"].definition
    town.start(journey(0), "j")
    new.work()
    new.crash()
    old = release(town, ["x"], "old")
    town.signal("journey", "j", "numbers", 7)
    old.step()
    assert (town.record("j").status, town.record("j").fingerprint) == ("suspended", "old")
    new = release(town, ["a"], "new")
    version = town.stored("j").version
    for _ in range(5):
        town.clock.go_on(0.5)
        new.sweeper.sweep()
        new.step()
        old.step()

    assert bytes(town.record("j").value) == b"7"
    assert town.events("j") == ["Started", "TaskCompleted", "SignalReceived"]
    assert town.stored("j").version.inbox == version.inbox + 1
    assert town.waiting("workflow:journey") == []


@pytest.mark.usefixtures("_kept_keys")
def test_what_comes_next_for_such_an_instance_goes_on_with_the_next_sweep(town):
    @workflow(name="journey")
    def listening() -> Flow[list[int]]:
        one, two = (yield from numbers.receive()), (yield from numbers.receive())
        return [one, two, (yield from numbers.receive())]

    def listener(stamp: str) -> Hand:
        hand = town.conductor(listening)
        hand.registry.programs["journey"].fingerprint = stamp
        return hand

    new = listener("new")
    town.start(listening(), "j")
    new.work()
    new.crash()
    old = release(town, ["x"], "old")
    new = listener("new")
    for number, sweeps_needed in ((1, 3), (2, 1), (3, 1)):
        town.signal("journey", "j", "numbers", number)
        old.step()
        for _ in range(sweeps_needed):
            assert town.record("j").status == "suspended"
            town.clock.go_on(0.5)
            new.sweeper.sweep()
            new.step()
            old.step()
        assert town.stored("j").inbox == ()

    assert bytes(town.record("j").value) == b"[1,2,3]"


def test_two_codes_that_both_cannot_continue_an_instance_do_not_try_it_in_turn_for_ever(town, replays):
    ids = suspended_by_wrong_code(town, count=3, able=0)
    hands = [release(town, [word, "b"], word) for word in ("y", "z")]
    for _ in range(3):
        for hand in hands:
            sweep_for_minutes(town, hand, 3)
    versions = [town.stored(one).version for one in ids]
    replays.clear()
    for _ in range(20):
        for hand in hands:
            sweep_for_minutes(town, hand, 3)

    assert [town.stored(one).version for one in ids] == versions
    assert replays == []
    town.signal("journey", ids[0], "numbers", 8)
    for hand in (*hands, *hands):
        sweep_for_minutes(town, hand, 3)
    assert sorted(replays) == [ids[0]]  # one knew it, and put the signal by; the other tried what is new
    assert len(town.stored(ids[0]).inbox) == 2


def test_instances_that_two_codes_cannot_continue_hide_no_other(town, monkeypatch):
    monkeypatch.setattr(sweeps, "PAGE", 3)
    suspended_by_wrong_code(town, count=10, able=0)
    hands = [release(town, words, stamp) for stamp, words in (("y", ["y", "b"]), ("z", ["z", "c"]))]
    for _ in range(3):
        for hand in hands:
            sweep_for_minutes(town, hand, 5)
    able, unable = hands
    journey = able.registry.programs["journey"].definition
    town.start(journey(1), "last")
    able.work()
    able.conductor.cache.drop("last")
    able.conductor.workflows.release(["last"])
    town.signal("journey", "last", "numbers", 9)
    unable.step()
    assert town.record("last").fingerprint == "z"
    sweep_for_minutes(town, able, 5)

    assert bytes(town.record("last").value) == b"9"


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
