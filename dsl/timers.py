"""Durations, and the commands that wait for time to pass."""

from __future__ import annotations

import math
from datetime import datetime, timedelta
from typing import TypeAlias

from msgspec import Struct

from dsl.commands import Command

Duration: TypeAlias = float | timedelta
"""Seconds, or a timedelta."""

LONGEST = 100 * 365 * 86_400 * 1_000_000


def microseconds(value: object, what: str) -> int:
    """A duration as whole microseconds. Raises `TypeError` or `ValueError`, which name *what*."""
    if isinstance(value, timedelta):
        return value // timedelta(microseconds=1)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{what} takes seconds or a timedelta, not {value!r}")
    if not math.isfinite(value):
        raise ValueError(f"{what} takes a finite number of seconds, not {value!r}")
    return round(value * 1_000_000)


class Timer(Struct, Command[None], frozen=True):
    """Wait until *delay* microseconds have passed, or until the instant *due* (aware)."""

    delay: int = 0
    due: datetime | None = None

    @property
    def label(self) -> str:
        """As in `sleep(5 s)`."""
        return f"sleep({self.delay / 1_000_000:g} s)" if self.due is None else f"sleep_until({self.due.isoformat()})"


def sleep(
    seconds: Duration = 0, *, minutes: float = 0, hours: float = 0, days: float = 0, weeks: float = 0
) -> Command[None]:
    """Wait for the sum of what is given; zero and negative complete at once. Answers None.

    Raises `TypeError` for what is no number, `ValueError` for what is not finite or longer than a century.
    """
    total = microseconds(seconds, "sleep()")
    for name, value, unit in (
        ("minutes", minutes, 60),
        ("hours", hours, 3600),
        ("days", days, 86_400),
        ("weeks", weeks, 604_800),
    ):
        if value:
            total += microseconds(value * unit, f"sleep({name}=)")
    if total > LONGEST:
        raise ValueError(f"sleep() takes at most a century, not {total / 1_000_000:g} seconds")
    return Timer(delay=total)


def sleep_until(when: datetime) -> Command[None]:
    """Wait until an aware datetime; one in the past completes at once. Answers None.

    Raises `TypeError` for what is no datetime, `ValueError` for a naive one.
    """
    if not isinstance(when, datetime):
        raise TypeError(f"sleep_until() takes a datetime, not {when!r}")
    if when.utcoffset() is None:
        raise ValueError(
            f"sleep_until({when!r}) is naive: say which time zone is meant, as in when.replace(tzinfo=UTC)"
        )
    return Timer(due=when)
