"""Random workflows under random events: replay is life, eviction is invisible, repeats change nothing."""

from __future__ import annotations

from typing import Any

from hypothesis import event, given, note
from hypothesis import strategies as st
from msgspec import Raw

from infinitic.engine import turns
from infinitic.engine.instance import Refusal
from infinitic.engine.slots import TaskSlot
from infinitic.events import (
    Answered,
    AnyEvent,
    AttemptFailed,
    CancelRequested,
    MethodCalled,
    SignalReceived,
    TaskCompleted,
    TimerFired,
)
from infinitic.history import encode_turn
from infinitic.serialization import error_value
from tests.engine.driver import SECOND, Driver, image, program_of
from tests.engine.programs import CHANNELS, Block, blocks, mains, workflow_of

BROKEN = error_value(OSError("broken"))
choices = st.lists(st.integers(0, 1_000), max_size=25)


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
    found += [SignalReceived(f"s{number}", channel, Raw(b"4")) for channel in CHANNELS]
    found += [MethodCalled(f"c{number}", "other", Raw(b'{"n":1}')), MethodCalled(f"q{number}", "quick")]
    found += [CancelRequested(f"k{number}", call_id=f"c{number - 2}"), CancelRequested(f"k{number}")]
    return [*found, TimerFired("", "timeout", life.instance.generation)]


@given(main=mains, other=blocks(), picks=choices)
def test_life_replay_and_eviction_are_the_same(main: Block, other: Block, picks: list[int]) -> None:
    call = workflow_of(main, other).main()  # type: ignore[attr-defined]  # made at run time
    lives = live, evicted = [Life(call, timeout=99 * SECOND) for _ in range(2)]
    evicted.evict()
    assert evicted.all == live.all
    for number, pick in enumerate(picks):
        options = possible(live, number)
        coming = options[pick % len(options)]
        note(f"{coming}")
        made = [life.apply(coming) for life in lives]
        assert [type(one) for one in made] == [type(made[0])] * 2
        if isinstance(made[0], Refusal) or made[0] is None:
            continue
        assert live.bodies == evicted.bodies
        assert evicted.all == live.all
        evicted.evict()
        assert evicted.all == live.all
        _repeat(live, coming)
    event(live.status)
    for life in lives:
        turns.close(life.instance)


def _repeat(life: Life, coming: AnyEvent) -> None:
    before = life.all
    assert life.apply(coming) is None
    assert life.all == before
    life.at -= SECOND  # both lives have the same clock


@given(main=mains, other=blocks(), picks=choices, more=choices)
def test_a_failed_run_goes_on_after_a_retry_as_its_replay_does(
    main: Block, other: Block, picks: list[int], more: list[int]
) -> None:
    life = Life(workflow_of(main, other).main(), timeout=99 * SECOND)  # type: ignore[attr-defined]  # as above
    mended = workflow_of(main, other, mended=True).main()  # type: ignore[attr-defined]  # as above
    for number, pick in enumerate([*picks, *more]):
        options = possible(life, number)
        if life.status == "failed" and pick % 3 == 0:
            life.retry(mended)
            event("retried")
        elif life.apply(options[pick % len(options)]) is None:
            continue
        if life.bodies:
            again = life.replayed()
            assert image(again) == image(life.instance)
            assert getattr(again.state, "trace", None) == getattr(life.instance.state, "trace", None)
            turns.close(again)
    turns.close(life.instance)


def test_the_random_workflows_are_of_a_kind_that_runs() -> None:
    call = workflow_of([("await", ("task", "a")), ("bug",)], []).main()  # type: ignore[attr-defined]  # as above
    life = Life(call)
    life.complete("m0.0", 1)

    assert life.error == "SystemExit: bug"
    assert program_of(call).is_class
