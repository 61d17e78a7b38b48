"""Time as the runtime reads it: whole microseconds since 1970 in UTC, from a clock that tests can replace."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import Protocol

SECOND = 1_000_000
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)


class Clock(Protocol):
    """What tells the time, in microseconds since 1970 (UTC)."""

    def __call__(self) -> int: ...


def system_clock() -> int:
    """The machine's clock, in microseconds since 1970 (UTC)."""
    return time.time_ns() // 1000


def to_datetime(microseconds: int) -> datetime:
    """The aware UTC datetime of an instant given in microseconds since 1970."""
    return EPOCH + timedelta(microseconds=microseconds)


def from_datetime(when: datetime) -> int:
    """The instant of an aware datetime, in microseconds since 1970."""
    return (when - EPOCH) // MICROSECOND
