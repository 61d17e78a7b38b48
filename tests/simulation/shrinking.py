"""Shrinking: from the record of a world that broke a promise to a shorter one that breaks the same."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence

Record = Sequence[int]


def shrunk(record: Record, breaks: Callable[[Record], Record | None], seconds: float) -> Record:
    """The shortest record found within *seconds* that still breaks.

    *breaks* runs a record: what it drew when the same promise was broken, else None. Whatever follows a record's end
    is the simplest there is, so that zeros at the end need not be kept.
    """
    until = time.monotonic() + seconds
    best, better = _trimmed(record), True
    while better and time.monotonic() < until:
        better = False
        for candidate in _simpler(best):
            if time.monotonic() > until:
                break
            drawn = breaks(candidate)
            if drawn is not None and _weight(_trimmed(candidate)) < _weight(best):
                best, better = _trimmed(candidate), True
                break
    return best


def _simpler(record: Record) -> Iterator[Record]:
    """Records that are simpler by one step, the boldest steps first."""
    length = len(record)
    for kept in (length // 8, length // 4, length // 2, length * 3 // 4, length * 7 // 8):
        yield record[:kept]
    size = max(1, length // 4)
    while size:
        for start in range(0, length, size):
            piece = record[start : start + size]
            yield [*record[:start], *record[start + size :]]
            if any(piece):
                yield [*record[:start], *([0] * len(piece)), *record[start + size :]]
        size //= 4 if size > 4 else 2
    for place, value in enumerate(record):
        if value > 1:
            yield [*record[:place], value // 2, *record[place + 1 :]]


def _trimmed(record: Record) -> Record:
    end = len(record)
    while end and record[end - 1] == 0:
        end -= 1
    return record[:end]


def _weight(record: Record) -> tuple[int, int]:
    return len(record), sum(record)
