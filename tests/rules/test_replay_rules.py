"""Replay over releases: what one version of the code has begun, another one follows to the letter or leaves alone."""

import pytest

from dsl import Flow, workflow
from infinitic.events import Retried, SignalReceived, TaskCompleted
from tests.rules.given import (
    HANGS,
    OneEach,
    attempts_sent,
    deliver,
    echo,
    hanging,
    hung,
    journey_of,
    nothing_left,
    numbers,
    raw,
    release,
    result,
    sweep,
)
from tests.worker.given import RUN


def test_two_versions_of_the_code_in_a_rolling_deploy_finish_what_each_began(town):
    """Old and new run beside each other, and get each other's keys: nothing is lost, doubled, or done by both."""
    old, new = release(town, "old", "1"), release(town, "new", "2")
    ids = {f"{which}{number}": which for which in ("old", "new") for number in range(4)}
    for place, (one, which) in enumerate(ids.items()):
        hand = old if which == "old" else new
        town.start(journey_of(hand)(), one, run=f"{place:032x}")
        hand.work()
        hand.flush_marks()
    for hand in (old, new):
        hand.conductor.workflows.release([*ids])
        hand.conductor.cache.clear()
    for number in (1, 2):
        for one in ids:
            town.signal("journey", one, "numbers", number)
        for hand in (old, new) if number == 1 else (new, old):
            hand.conductor.workflows.release([*ids])
            hand.work()
    sweep(town, old, new, times=6)

    assert {one: result(town, one) for one in ids} == {one: [which, 1, 2] for one, which in ids.items()}
    expected = ["Started", "TaskCompleted", "SignalReceived", "SignalReceived"]
    assert {one: town.events(one) for one in ids} == dict.fromkeys(ids, expected)
    assert {one: sum(attempts_sent(town, one).values()) for one in ids} == dict.fromkeys(ids, 1)
    assert nothing_left(town, ["journey"])


def test_a_mismatch_changes_nothing_and_continues_when_the_right_code_is_there(town):
    right = release(town, "a", "right")
    town.start(journey_of(right)())
    right.work()
    right.flush_marks()
    before = [row.body for row in town.stored().turns]
    right.crash()
    wrong = release(town, "b", "wrong")
    town.signal("journey", "w", "numbers", 1)
    wrong.step()
    assert [row.body for row in town.stored().turns] == before
    assert "history says echo" in town.record().reason
    wrong.crash()
    again = release(town, "a", "again")
    town.signal("journey", "w", "numbers", 2)
    again.work()

    assert (result(town), town.record().reason, sum(attempts_sent(town).values())) == (["a", 1, 2], "", 1)


def test_a_divergence_half_way_keeps_what_came_before_it_in_the_batch(town):
    """A good signal, an answer that nobody asked for, and a good signal again, in one batch: the first has its turn."""
    hand = release(town, "a", "same")
    town.start(journey_of(hand)())
    hand.work()
    deliver(hand, "journey", SignalReceived("one", "numbers", raw(1)))
    deliver(hand, "journey", TaskCompleted("", "m0.99", raw(1)), run=RUN)
    deliver(hand, "journey", SignalReceived("two", "numbers", raw(2)))
    hand.step()

    assert town.events() == ["Started", "TaskCompleted", "SignalReceived"]
    assert [item.key for item in town.stored().inbox] == [f"{RUN}/m0.99/TaskCompleted/1", "two"]
    assert town.record().status == "suspended"


# -------------------------------------------------------------------- code that was mended after a failure


def paying(town, stamp, *, fails=False, word="a"):
    """A worker whose workflow fails by a bug of its own once it has a number, or does not any more."""

    @workflow(name="paying")
    def flow() -> Flow[list[int]]:
        yield from echo(word)
        number = yield from numbers.receive()
        if fails:
            raise LookupError("a bug in workflow code")
        yield from echo("mended")
        return [number, (yield from numbers.receive())]

    hand = town.conductor(flow, echo)
    hand.registry.programs["paying"].fingerprint = stamp
    return hand


@pytest.fixture
def failed(town):
    """A run that failed by a bug of its code, and whose worker is gone."""
    hand = paying(town, "old", fails=True)
    town.start(hand.registry.programs["paying"].definition())
    town.signal("paying", "w", "numbers", 1)
    hand.work()
    hand.flush_marks()
    hand.crash()
    assert town.record().status == "failed"


TAKEN_UP = ["Started", "SignalReceived", "TaskCompleted", "Retried", "TaskCompleted", "SignalReceived"]


@pytest.mark.usefixtures("failed")
@pytest.mark.parametrize("where", ["", "before persist", "after persist", "before publish", "after publish"])
def test_a_run_that_failed_by_a_bug_of_its_code_is_taken_up_by_mended_code(town, where):
    """It cannot follow how the run failed, for that is what was mended. What came meanwhile is applied after that."""
    mended = paying(town, "mended")
    town.signal("paying", "w", "numbers", 2)
    mended.step()
    assert (town.record().status, len(town.stored().inbox)) == ("failed", 1)
    town.retry("paying", "w")
    mended.backend.fails = [where] if where else []
    if where:
        mended.step_with_trouble()
    mended.work()

    assert (result(town), town.stored().inbox) == ([1, 2], ())
    assert town.events()[:4] == TAKEN_UP[:4]
    assert sorted(town.events()) == sorted(TAKEN_UP)
    assert {one for one, count in attempts_sent(town).items() if count == 1} >= {(RUN, "m0.0", 1)}
    assert nothing_left(town, ["paying"])


@pytest.mark.usefixtures("failed")
def test_a_retry_that_wrong_code_got_waits_for_the_code_that_was_mended(town):
    """Code that differs before the failed turn cannot take it up."""
    wrong = paying(town, "wrong", word="b")
    town.retry("paying", "w")
    wrong.work()
    assert (town.record().status, len(town.stored().inbox)) == ("failed", 1)
    wrong.crash()
    mended = paying(town, "mended")
    sweep(town, mended)
    town.signal("paying", "w", "numbers", 2)
    mended.work()

    assert (result(town), town.events().count("Retried")) == ([1, 2], 1)


@pytest.mark.usefixtures("failed")
def test_a_retry_of_mended_code_that_comes_twice_is_one(town):
    again = Retried("again", reply_to="c")
    for stamp in ("half", "still half"):
        half = paying(town, stamp, fails=True)
        town.send("paying", "w", again)
        half.work()
        half.flush_marks()
        half.crash()
    mended = paying(town, "mended")
    town.send("paying", "w", again)
    mended.work()

    assert (town.record().status, town.events().count("Retried")) == ("failed", 1)


# ------------------------------------------------------------------------------------ code that hangs


@pytest.fixture
def hangs(town):
    hand = town.conductor(hanging)
    town.start(hanging())
    hand.step()
    hand.flush_marks()
    HANGS[:] = [hand]
    town.signal("hanging", "w", "numbers", 1, id="one")
    return hand


def test_code_that_hangs_leaves_its_batch_which_commits_without_it(town, hangs):
    town.start(hanging(), "other", run=f"{2:032x}")
    work = hung(hangs)
    hangs.step()
    assert (town.events(), town.events("other")) == (["Started"], ["Started"])
    hangs.conductor.step((), [work])

    assert town.events() == ["Started", "SignalReceived"]


def test_an_outcome_that_comes_after_its_instance_was_given_up_is_discarded(town, hangs, monkeypatch):
    OneEach(hangs, monkeypatch)
    work = hung(hangs)
    town.signal("hanging", "w", "numbers", 2, id="two")
    hangs.step()
    hangs.conductor.give_up(work, "it hung")
    hangs.conductor.step((), [work])
    hangs.step()
    assert (town.events(), town.record().status, town.record().reason) == (["Started"], "suspended", "it hung")
    assert [item.key for item in town.stored().inbox] == ["one", "two"]
    hangs.crash()
    mended = town.conductor(hanging)
    mended.registry.programs["hanging"].fingerprint = "mended"
    sweep(town, mended)

    assert (result(town), town.events()) == ([1, 2], ["Started", "SignalReceived", "SignalReceived"])
