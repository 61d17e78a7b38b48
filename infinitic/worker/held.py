"""Held instances: live instances with what a worker knows of their storage, in a cache bounded by count."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator

from infinitic.engine import turns
from infinitic.engine.instance import Instance
from infinitic.messages import Outgoing
from infinitic.records import Mark, StateRecord, TimerRow, Version


class Held:
    """An instance in a worker's hands, current as of *version* unless another worker moved it since.

    *instance* is None where it could not be brought to life (suspended). *mark* is up to where this worker knows the
    outputs to be sent; *stored_mark* what the storage says; *fired* are timers whose rows go when the mark has passed
    the turn that they caused: (turn number, run, position). *watchers* are clients that asked for an answer.
    """

    __slots__ = (
        "fired",
        "instance",
        "mark",
        "record",
        "stored_mark",
        "timers",
        "unsent",
        "version",
        "watchers",
    )

    def __init__(self, instance: Instance | None, version: Version, mark: Mark, record: StateRecord | None) -> None:
        self.instance = instance
        self.version = version
        self.mark = mark
        self.stored_mark = mark
        self.record = record
        self.unsent: tuple[Outgoing, ...] = ()
        self.timers: tuple[TimerRow, ...] = ()  # that somebody held when this was loaded
        self.fired: list[tuple[int, str, str]] = []
        self.watchers: set[tuple[str, str]] = set()


class Cache:
    """Held instances by workflow id, the least recently used first. Bounded by *limit*."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._held: OrderedDict[str, Held] = OrderedDict()

    def __len__(self) -> int:
        return len(self._held)

    def __contains__(self, workflow_id: str) -> bool:
        return workflow_id in self._held

    def __iter__(self) -> Iterator[str]:
        return iter(list(self._held))

    def get(self, workflow_id: str) -> Held | None:
        """The held instance, used just now; None when there is none."""
        held = self._held.get(workflow_id)
        if held is not None:
            self._held.move_to_end(workflow_id)
        return held

    def put(self, workflow_id: str, held: Held) -> None:
        """Keep an instance, in place of what was kept under its id."""
        old = self._held.get(workflow_id)
        if old is not None and old is not held and old.instance is not held.instance:
            _close(old)
        self._held[workflow_id] = held
        self._held.move_to_end(workflow_id)

    def drop(self, workflow_id: str) -> None:
        """Forget an instance."""
        held = self._held.pop(workflow_id, None)
        if held is not None:
            _close(held)

    def forget(self, workflow_id: str) -> None:
        """Forget an instance that another thread still runs: it is not closed."""
        self._held.pop(workflow_id, None)

    def excess(self) -> list[str]:
        """The ids to evict, least recently used first, so that no more than the limit stay."""
        over = len(self._held) - self._limit
        return [] if over <= 0 else [id for _, id in zip(range(over), self._held, strict=False)]

    def clear(self) -> None:
        """Forget all."""
        for workflow_id in list(self._held):
            self.drop(workflow_id)


def _close(held: Held) -> None:
    if held.instance is not None:
        turns.close(held.instance)
