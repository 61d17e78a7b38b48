"""Durations, and the commands that wait for time to pass."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TypeAlias

from msgspec import Struct

from dsl.commands import INERT, Command, Inert

Duration: TypeAlias = float | timedelta
"""Seconds, or a timedelta."""

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
LONGEST = 100 * 365 * 86_400
_UNITS = {"minutes": 60, "hours": 3_600, "days": 86_400, "weeks": 604_800}


def microseconds(value: object, what: str, unit: int = 1) -> int:
    """A duration as whole microseconds: a timedelta, or a number of *unit* seconds.

    Raises `TypeError` for anything else, `ValueError` for what is not finite or longer than a century; both
    name *what*.
    """
    if isinstance(value, timedelta) and unit == 1:
        length = value // timedelta(microseconds=1)
        fits = abs(length) <= LONGEST * 1_000_000
    elif isinstance(value, bool) or not isinstance(value, int | float):
        expected = "seconds or a timedelta" if unit == 1 else "a number"
        raise TypeError(f"{what} takes {expected}, not {value!r}")
    else:
        fits = abs(value) <= LONGEST / unit  # never so for NaN
        length = round(value * unit * 1_000_000) if fits else 0
    if not fits:
        raise ValueError(f"{what} takes a finite duration of at most a century, not {value!r}")
    return length


def instant(value: object, what: str) -> int:
    """An aware datetime as whole microseconds since 1970. Raises `TypeError` or `ValueError`, naming *what*."""
    if not isinstance(value, datetime):
        raise TypeError(f"{what} takes a datetime, not {value!r}")
    if value.utcoffset() is None:
        raise ValueError(
            f"{what} takes an aware datetime; {value!r} is naive: say which time zone is meant, as in "
            "when.replace(tzinfo=UTC)"
        )
    return (value - EPOCH) // timedelta(microseconds=1)


class Timer(Struct, Command[None], frozen=True):
    """Wait until *delay* microseconds have passed, or until the instant *due* (aware, in UTC)."""

    delay: int = 0
    due: datetime | None = None
    inert: Inert = INERT

    @property
    def label(self) -> str:
        """As in `sleep(5 s)`."""
        return f"sleep_until({self.due.isoformat()})" if self.due else f"sleep({self.delay / 1_000_000:g} s)"


def sleep(
    seconds: Duration = 0, *, minutes: float = 0, hours: float = 0, days: float = 0, weeks: float = 0
) -> Command[None]:
    """Wait for the sum of what is given; zero and negative complete at once. Answers None.

    Raises `TypeError` for what is no number, `ValueError` for what is not finite or longer than a century.
    """
    total = microseconds(seconds, "sleep()")
    if minutes or hours or days or weeks:
        for (name, unit), value in zip(_UNITS.items(), (minutes, hours, days, weeks), strict=True):
            total += microseconds(value, f"sleep({name}=)", unit)
        microseconds(total / 1_000_000, "sleep()")
    return Timer(delay=max(0, total))


def sleep_until(when: datetime) -> Command[None]:
    """Wait until an aware datetime; one in the past completes at once. Answers None.

    Raises `TypeError` for what is no datetime, `ValueError` for a naive one.
    """
    instant(when, "sleep_until()")
    return Timer(due=when.astimezone(UTC))
