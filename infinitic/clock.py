"""Time as the runtime reads it: whole microseconds since 1970 in UTC, from a clock that tests can replace."""

from __future__ import annotations

import time
from typing import Protocol

SECOND = 1_000_000


class Clock(Protocol):
    """What tells the time, in microseconds since 1970 (UTC)."""

    def __call__(self) -> int: ...


def system_clock() -> int:
    """The machine's clock, in microseconds since 1970 (UTC)."""
    return time.time_ns() // 1000


def steady(clock: Clock) -> Clock:
    """*clock*; in the place of the machine's, one that agrees with it now and is never set back or forward later.

    A worker keeps the storage's time by it: were its clock set forward, its timers would fire early.
    """
    if clock is not system_clock:
        return clock
    ahead = system_clock() - _since_boot()
    return lambda: ahead + _since_boot()


def _since_boot() -> int:
    """Microseconds, in which the time that the machine slept is counted: `time.monotonic()` leaves it out."""
    return time.clock_gettime_ns(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)) // 1000
