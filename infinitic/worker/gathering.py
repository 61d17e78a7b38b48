"""Gathering: calls of a batched task are put together, until they are as many as may be, or have waited long enough.

No threads and no clock here: the executor has both.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import Any

from dsl.context import CurrentTask
from dsl.errors import DoNotRetry, ProtocolError
from infinitic.messages import Outgoing
from infinitic.worker.tasks import Attempt, TaskStep


class Lot(Attempt):
    """Attempts that run together, by one call of the function that takes a list of them."""

    def __init__(self, first: Attempt) -> None:
        super().__init__(first.delivery, first.request, first.handler, first.arguments, first.codec, first.key)
        assert self.handler.batching is not None
        self.batching = self.handler.batching
        self.together: list[Attempt] = []
        self.join(first)

    def join(self, one: Attempt) -> None:
        """One more runs with the others."""
        self.together.append(one)
        one.lot, one.pulse.goes_on = self, lambda: not self.is_unwanted

    def shed(self) -> bool:
        """Leave out what was cancelled; whether anything is left."""
        self.together = [one for one in self.together if not one.answered]
        return bool(self.together)

    @property
    def items(self) -> Sequence[Attempt]:
        return self.together

    @property
    def surplus(self) -> int:
        return 1 - sum(not one.answered for one in self.together)

    @property
    def timeout(self) -> float | None:
        """None: each item has its own."""
        return None

    heartbeat = timeout

    def about(self) -> tuple[CurrentTask, ...]:
        return tuple(one.current() for one in self.together)

    def call(self) -> Any:
        return self.handler.fn([self.batching.item(one.arguments) for one in self.together])

    def answers(self, step: TaskStep, value: Any) -> list[Outgoing]:
        given = list(value) if isinstance(value, Iterable) and not isinstance(value, str | bytes | Mapping) else None
        if given is None or len(given) != len(self.together):
            what = f"a {type(value).__name__}" if given is None else f"{len(given)} answers"
            given = [self._mismatch(what) for _ in self.together]
        return [
            step.failed(one, answer) if isinstance(answer, BaseException) else step.succeeded(one, answer)
            for one, answer in zip(self.together, given, strict=True)
        ]

    def _mismatch(self, what: str) -> DoNotRetry:
        """Nobody knows which answer is whose; and the code that gave them would do so again."""
        count = len(self.together)
        error = DoNotRetry()
        error.__cause__ = ProtocolError(
            f"{self.batching.name} returned {what} for {count} call{'s' if count > 1 else ''} of {self.handler.label}: "
            "expected a list with an answer, or an exception, for each of them, in their order."
        )
        return error


def unit_of(attempt: Attempt) -> Attempt:
    """What runs the attempt by itself: a lot of one, where its function takes a list."""
    return attempt if attempt.handler.batching is None else Lot(attempt)


class Gathering:
    """The lots that others may still join: one for each task and key. To be used by one thread at a time.

    *count* is how many attempts are in them.
    """

    def __init__(self) -> None:
        self._lots: dict[Hashable, Lot] = {}
        self.count = 0
        self._places = 0  # how many more may join

    @property
    def lots(self) -> tuple[Lot, ...]:
        """All of them."""
        return tuple(self._lots.values())

    def add(self, attempt: Attempt) -> tuple[Lot, bool]:
        """The lot that the attempt has joined, and whether it is a new one."""
        name = _name(attempt)
        lot = self._lots.get(name)
        self.count += 1
        if lot is not None:
            lot.join(attempt)
            self._places -= 1
            return lot, False
        lot = self._lots[name] = Lot(attempt)
        self._places += lot.batching.size - 1
        return lot, True

    def is_full(self, lot: Lot) -> bool:
        """Whether nothing more may join the lot."""
        return len(lot.together) >= lot.batching.size

    def take(self, lot: Lot) -> bool:
        """Nothing more joins the lot. False: it was taken before, or all have left it."""
        if self._lots.get(_name(lot)) is not lot:
            return False
        del self._lots[_name(lot)]
        self.count -= len(lot.together)
        self._places -= lot.batching.size - len(lot.together)
        return bool(lot.together)

    def leave(self, one: Attempt) -> bool:
        """Take *one* out of the lot that it waits in. False: others cannot join that any more."""
        lot = one.lot
        if not isinstance(lot, Lot) or self._lots.get(_name(lot)) is not lot:
            return False
        lot.together.remove(one)
        one.lot = None
        self.count -= 1
        self._places += 1
        return True

    def extra(self, free: int) -> int:
        """How many more attempts than *free* may be taken: a lot needs one place, and has room for many.

        Not for ever more lots: when there are more than places, those that are there come first.
        """
        taken = min(len(self._lots), max(free, 0))
        return self._places - taken if 0 < len(self._lots) <= free else -taken


def _name(attempt: Attempt) -> Hashable:
    return attempt.handler.service, attempt.handler.name, attempt.key
