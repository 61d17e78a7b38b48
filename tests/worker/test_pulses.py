"""Pulses: how heartbeats are throttled, when silence is noticed, how a thread is reached."""

import sys
import threading
from collections.abc import Callable
from contextlib import suppress

import pytest

from dsl import Cancelled
from infinitic.errors import EncodeError
from infinitic.serialization import Serializer
from infinitic.worker.pulses import Pulse, Reach
from tests.scenarios.given import until

CODEC = Serializer()


class Hand:
    """A clock and what is to be done later, moved by hand; what was said."""

    def __init__(self, length: float | None = 9) -> None:
        self.now = 0.0
        self.later: list[tuple[float, Callable[[], None]]] = []
        self.said: list[tuple[float, bytes]] = []
        self.silent: list[float] = []
        self.pulse = Pulse(CODEC.encode, length)

    def begin(self) -> Pulse:
        self.pulse.begin(
            say=lambda: self.said.append((self.now, bytes(self.pulse.details))),
            silent=lambda: self.silent.append(self.now),
            clock=lambda: self.now,
            later=self.plan,
        )
        return self.pulse

    def plan(self, seconds: float, call: Callable[[], None]) -> Callable[[], None]:
        planned = (self.now + seconds, call)
        self.later.append(planned)
        return lambda: self.later.remove(planned) if planned in self.later else None

    def go(self, until: float) -> None:
        while due := [one for one in self.later if one[0] <= until]:
            first = min(due, key=lambda one: one[0])
            self.later.remove(first)
            self.now = first[0]
            first[1]()
        self.now = until


def test_the_first_after_a_while_is_sent_at_once_and_of_those_that_follow_the_newest():
    hand = Hand()
    pulse = hand.begin()
    hand.go(4)
    for number in range(5):
        pulse.heartbeat(number)
    assert hand.said == [(4, b"0")]
    hand.go(20)

    assert hand.said == [(4, b"0"), (7, b"4")]


def test_that_it_began_counts_as_said():
    hand = Hand()
    hand.begin().heartbeat("early")
    hand.go(20)

    assert hand.said == [(3, b'"early"')]


def test_a_heartbeat_without_details_keeps_those_before():
    hand = Hand()
    pulse = hand.begin()
    hand.go(4)
    pulse.heartbeat({"page": 1})
    hand.go(8)
    pulse.heartbeat()

    assert hand.said == [(4, b'{"page":1}'), (8, b'{"page":1}')]


def test_silence_is_noticed_once_it_lasted_and_counts_from_what_was_said_though_it_was_not_sent():
    hand = Hand()
    pulse = hand.begin()
    hand.go(5)
    pulse.heartbeat()
    hand.go(6)
    pulse.heartbeat()
    hand.go(14.9)
    assert hand.silent == []
    hand.go(30)

    assert hand.silent == [15]


def test_nothing_is_said_or_noticed_of_an_attempt_that_is_over():
    hand = Hand()
    pulse = hand.begin()
    pulse.heartbeat(1)
    pulse.end()

    assert hand.later == []
    hand.go(30)
    assert (hand.said, hand.silent, bytes(pulse.details)) == ([], [], b"1")


def test_without_a_heartbeat_nothing_is_said_and_the_details_are_kept():
    hand = Hand(None)
    hand.pulse.heartbeat(7)

    assert (hand.said, bytes(hand.pulse.details), hand.pulse.beats) == ([], b"7", 1)


def test_who_is_not_wanted_any_more_learns_of_it_by_its_next_heartbeat():
    pulse = Hand().begin()
    pulse.cancelled = True

    with pytest.raises(Cancelled):
        pulse.heartbeat(1)


def test_details_must_be_json():
    with pytest.raises(EncodeError):
        Hand().begin().heartbeat(object())


def test_a_thread_is_reached_while_it_runs_what_it_was_given():
    reach, came = Reach(), threading.Event()
    seen: list[str] = []

    def busy() -> None:
        came.set()
        until(lambda: False)

    def work() -> None:
        try:
            reach.run(busy)
        except Cancelled:
            seen.append("cancelled")
        seen.append("goes on")

    thread = threading.Thread(target=work)
    thread.start()
    came.wait(20)
    reach.stop()
    reach.stop()
    thread.join(20)

    assert seen == ["cancelled", "goes on"]


def test_what_is_stopped_before_it_runs_does_not_run():
    reach = Reach()
    reach.stop()

    with pytest.raises(Cancelled):
        reach.run(lambda: pytest.fail("it ran"))


def test_nothing_is_thrown_into_a_thread_that_does_something_else_by_now():
    reach = Reach()

    assert reach.run(lambda: 7) == 7
    reach.stop()


def test_what_was_thrown_in_the_last_moment_comes_out_there_and_never_later():
    """Again and again, for the moment cannot be chosen."""
    rounds = 0
    for _ in range(300):
        reach = Reach()
        thread = threading.Thread(target=reach.stop)
        with suppress(Cancelled):
            reach.run(thread.start)
        while thread.ident is not None and thread.is_alive():
            thread.join()
        rounds += 1
    assert rounds == 300


def test_an_interrupt_leaves_nothing_behind_that_a_profile_function_stumbles_over():
    reach, seen = Reach(), []
    with pytest.raises(Cancelled):
        reach.run(reach.stop)

    sys.setprofile(lambda frame, event, argument: seen.append(event))
    len(seen)
    sys.setprofile(None)

    assert "c_call" in seen
