"""Clocks: the one that a worker keeps the storage's time by."""

import time

import pytest

from infinitic.clock import steady, system_clock


def test_a_steady_clock_is_not_set_when_the_machines_is(monkeypatch):
    clock = steady(system_clock)
    before = clock()
    set_forward = time.time_ns() + 3_600 * 10**9
    monkeypatch.setattr(time, "time_ns", lambda: set_forward)

    assert system_clock() - before > 3_000 * 10**6
    assert 0 <= clock() - before < 3_000 * 10**6


@pytest.mark.skipif(not hasattr(time, "CLOCK_BOOTTIME"), reason="CLOCK_MONOTONIC counts it there")
def test_a_steady_clock_goes_on_while_the_machine_sleeps(monkeypatch):
    clock = steady(system_clock)
    before, read = clock(), time.clock_gettime_ns
    slept = {time.CLOCK_BOOTTIME: 3_600 * 10**9}
    monkeypatch.setattr(time, "clock_gettime_ns", lambda which: read(which) + slept.get(which, 0))

    assert clock() - before >= 3_600 * 10**6


def test_a_clock_that_was_given_is_kept():
    clock = lambda: 7  # noqa: E731

    assert steady(clock) is clock
