"""Held instances: live instances with what a worker knows of their storage, in a cache bounded by count and weight."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator

from infinitic.engine import turns
from infinitic.engine.instance import Instance
from infinitic.messages import Outgoing
from infinitic.records import Mark, StateRecord, TimerRow, TurnRow, Version

BARE = 4_000
"""About how many bytes a live instance takes beside what its code keeps."""


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
        "turns",
        "unsent",
        "version",
        "watchers",
        "weight",
    )

    def __init__(self, instance: Instance | None, version: Version, mark: Mark, record: StateRecord | None) -> None:
        self.instance = instance
        self.version = version
        self.mark = mark
        self.stored_mark = mark
        self.record = record
        self.unsent: tuple[Outgoing, ...] = ()
        self.turns: tuple[TurnRow, ...] = ()  # of an instance that could not be brought to life
        self.timers: tuple[TimerRow, ...] = ()  # that somebody held when this was loaded
        self.fired: list[tuple[int, str, str]] = []
        self.watchers: set[tuple[str, str]] = set()
        self.weight = 0  # bytes of its turns: about what its code may keep of them


class Cache:
    """Held instances by id, the least recently used first. Bounded by *limit* and, roughly, by *weight* bytes."""

    def __init__(self, limit: int, weight: int) -> None:
        self._limit, self._most = limit, weight
        self._held: OrderedDict[str, Held] = OrderedDict()
        self._weights: dict[str, int] = {}
        self._weight = 0

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
        self._weigh(workflow_id, BARE + held.weight)

    def _weigh(self, workflow_id: str, weight: int) -> None:
        self._weight += weight - self._weights.pop(workflow_id, 0)
        if weight:
            self._weights[workflow_id] = weight

    def drop(self, workflow_id: str) -> None:
        """Forget an instance."""
        held = self._held.pop(workflow_id, None)
        self._weigh(workflow_id, 0)
        if held is not None:
            _close(held)

    def forget(self, workflow_id: str) -> None:
        """Forget an instance that another thread still runs: it is not closed."""
        self._held.pop(workflow_id, None)
        self._weigh(workflow_id, 0)

    def excess(self) -> list[str]:
        """The ids to evict, least recently used first, so that no more than the limits stay."""
        ids: list[str] = []
        count, weight = len(self._held), self._weight
        for workflow_id in self._held:
            if count <= self._limit and weight <= self._most:
                break
            ids.append(workflow_id)
            count, weight = count - 1, weight - self._weights[workflow_id]
        return ids

    def clear(self) -> None:
        """Forget all."""
        for workflow_id in list(self._held):
            self.drop(workflow_id)


def _close(held: Held) -> None:
    if held.instance is not None:
        turns.close(held.instance)
