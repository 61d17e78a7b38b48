"""Random workflows under random events: replay is life, eviction is invisible, repeats change nothing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from random import Random
from typing import Any

from hypothesis import event, given
from hypothesis import strategies as st
from msgspec import Raw

from infinitic.engine import turns
from infinitic.engine.slots import ReceiveSlot, TaskSlot
from infinitic.events import (
    Answered,
    AnyEvent,
    AttemptFailed,
    CancelRequested,
    MethodCalled,
    Retried,
    SignalReceived,
    TaskCompleted,
    TimerFired,
)
from infinitic.history import Turn, encode_turn
from infinitic.serialization import error_value
from tests.engine.driver import SECOND, Driver, image
from tests.engine.programs import CHANNELS, block, workflow_of

BROKEN = error_value(OSError("broken"))


class Life(Driver):
    """A driver whose replays are up to the test, and whose image holds the workflow's attributes."""

    def keep(self, turn: Any) -> None:
        self.turns.append(turn)
        self.bodies.append(encode_turn(turn))

    @property
    def all(self) -> dict[str, Any]:
        """All that must be equal."""
        return image(self.instance) | {"trace": list(getattr(self.instance.state, "trace", []))}


def possible(life: Life, number: int) -> list[AnyEvent]:
    """What may come next: answers to what is open, several times as likely as what comes from outside."""
    found: list[AnyEvent] = []
    for position, slot in life.instance.open.items():
        if isinstance(slot, TaskSlot) and slot.next_at:
            found += [TimerFired("", position, slot.attempt), TaskCompleted("", position, Raw(b"2"))]
        elif slot.kind == "task":
            attempt = slot.attempt
            found += [TaskCompleted("", position, Raw(b"1"), attempt)] * 3
            found += [AttemptFailed("", position, BROKEN, attempt, retry) for retry in (0, SECOND, None)]
        elif slot.kind == "timer":
            found += [TimerFired("", position)] * 2
        elif isinstance(slot, ReceiveSlot):
            found.append(SignalReceived(f"r{len(life.turns)}", slot.channel, Raw(b"%d" % (number % 7))))
        elif slot.kind in ("child", "call"):
            value = Raw(b"3")
            found += [
                Answered("", position, "completed", value),
                Answered("", position, "failed", error=BROKEN),
            ]
            found += [
                Answered("", position, "cancelled"),
                Answered("", position, "completed", Raw(b'"no int"')),
            ]
    found += [SignalReceived(f"s{number}", channel, Raw(b"%d" % (number % 7))) for channel in CHANNELS]
    found += [MethodCalled(f"c{number}", "other", Raw(b'{"n":1}')), MethodCalled(f"q{number}", "quick")]
    found += [CancelRequested(f"k{number}", call_id=f"c{number - 2}")]
    rare: list[AnyEvent] = [CancelRequested(f"k{number}"), TimerFired("", "timeout", life.instance.generation)]
    return found + rare if number % 7 == 6 else found


def lives(chance: Random, length: int) -> Any:
    """One run lived twice, once evicted after each turn, with repeats of all that came; how it ended."""
    call = drawn(chance).main()
    both = live, evicted = [Life(call, timeout=99 * SECOND) for _ in range(2)]
    evicted.evict()
    assert evicted.all == live.all
    for number in range(length):
        coming = chance.choice(possible(live, number))
        made = [life.apply(coming) for life in both]
        assert [type(one) for one in made] == [type(made[0])] * 2
        if isinstance(made[0], Turn):
            assert live.bodies == evicted.bodies
            assert evicted.all == live.all
            evicted.evict()
            assert evicted.all == live.all
            _repeat(live, coming)
    for life in both:
        turns.close(life.instance)
    return live.status


def _repeat(life: Life, coming: AnyEvent) -> None:
    before = life.all
    assert life.apply(coming) is None
    assert life.all == before
    life.at -= SECOND  # both lives have the same clock


def retries(chance: Random, length: int) -> int:
    """One run, with its bugs mended at the first of its retries; how many retries there were."""
    seed = chance.randint(0, 1_000_000)
    life = Life(drawn(Random(seed)).main(), timeout=99 * SECOND)
    mended = drawn(Random(seed), mended=True).main()
    undone = False
    for number in range(length):
        before = len(life.bodies)
        if life.status == "failed" and chance.randint(0, 2) == 0:
            if undone:  # what its bug has had undone, no mending brings back
                break
            life.retry(mended)
        else:
            life.apply(chance.choice(possible(life, number)))
        undone = undone or ("m0" in life.instance.branches and life.instance.branches["m0"].outcome is not None)
        if len(life.bodies) > before:
            again = life.replayed()
            assert image(again) == image(life.instance)
            assert getattr(again.state, "trace", None) == getattr(life.instance.state, "trace", None)
            turns.close(again)
    finish(life)
    return sum(isinstance(turn.event, Retried) for turn in life.turns)


def finish(life: Life) -> None:
    """Answer all that is open until the run ends: nothing waits for what was answered before.

    A program whose branches wait for each other waits for ever, with nothing open.
    """
    for number in range(500):
        if life.instance.ended or not life.instance.open:
            break
        life.apply(possible(life, number)[0])
    assert life.instance.ended or not life.instance.open
    turns.close(life.instance)


def drawn(chance: Random, *, mended: bool = False) -> Any:
    return workflow_of(block(chance, size=chance.randint(3, 15), more=("bug",)), block(chance), mended=mended)


@given(chance=st.randoms(use_true_random=False))
def test_life_replay_and_eviction_are_the_same(chance: Random) -> None:
    event(lives(chance, 12))


@given(chance=st.randoms(use_true_random=False))
def test_a_failed_run_goes_on_after_a_retry_as_its_replay_does(chance: Random) -> None:
    event(f"{retries(chance, 20)} retries")


def test_long_lives_are_the_same_replayed_and_evicted(count: Callable[[int, int], int]) -> None:
    ends = Counter(lives(Random(seed), 40) for seed in range(count(200, 20_000)))

    assert set(ends) == {"running", "completed", "failed", "cancelled"}


def test_long_lives_with_retries_are_their_replays(count: Callable[[int, int], int]) -> None:
    retried = Counter(retries(Random(seed), 40) for seed in range(count(200, 20_000)))

    assert max(retried) > 3


def test_the_random_workflows_are_of_a_kind_that_runs() -> None:
    call = workflow_of([("await", ("task", "a")), ("bug",)], []).main()
    life = Life(call)
    life.complete("m0.0", 1)

    assert life.error == "SystemExit: bug"
    assert life.program.definition is call.definition.holder
