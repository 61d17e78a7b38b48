"""Timers in memory: those that this worker holds, in order of due."""

from __future__ import annotations

import heapq
from collections.abc import Iterator

from infinitic.events import TimerFired
from infinitic.messages import Delivery, event_message
from infinitic.records import TimerRow
from infinitic.topics import workflow_topic


class Timers:
    """A heap of timer rows, each once. A timer that was cancelled meanwhile fires and changes nothing."""

    def __init__(self) -> None:
        self._heap: list[tuple[int, int, TimerRow]] = []
        self._known: set[tuple[str, str, str, int]] = set()
        self._count = 0

    def __len__(self) -> int:
        return len(self._heap)

    def add(self, row: TimerRow) -> None:
        """Hold a timer; one that is held already is not held twice."""
        key = _key(row)
        if key not in self._known:
            self._known.add(key)
            self._count += 1
            heapq.heappush(self._heap, (row.due, self._count, row))

    def due(self, now: int) -> Iterator[TimerRow]:
        """The timers that are due at *now*, earliest first; they are held no longer."""
        while self._heap and self._heap[0][0] <= now:
            row = heapq.heappop(self._heap)[2]
            self._known.discard(_key(row))
            yield row

    @property
    def next_due(self) -> int | None:
        """When the earliest is due, in microseconds; None when there is none."""
        try:
            return self._heap[0][0]
        except IndexError:  # another thread may take the last one while this one looks
            return None


def fired(row: TimerRow, now: int) -> Delivery:
    """What a timer that is due at *now* says to its instance."""
    event = TimerFired("", row.position, row.attempt)
    message = event_message(event, workflow=row.workflow, workflow_id=row.workflow_id, run=row.run, at=now)
    return Delivery(workflow_topic(row.workflow), message, event=event)


def _key(row: TimerRow) -> tuple[str, str, str, int]:
    return (row.workflow_id, row.run, row.position, row.due)
