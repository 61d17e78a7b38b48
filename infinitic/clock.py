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
