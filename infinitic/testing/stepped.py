"""A worker without threads: what `Worker` does on several, step by step, by the hand of whoever holds it.

The law of the place: nothing happens but by a call, and the time is the given clock's. Only an `async def` task that
waits on its own account takes real time.
"""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from random import Random
from typing import Any, TypeAlias

from attrs import define

from dsl.errors import Cancelled
from infinitic.backends import Backend
from infinitic.clock import SECOND, Clock
from infinitic.engine.instance import Surroundings
from infinitic.messages import Delivery, Outgoing
from infinitic.serialization import Serializer
from infinitic.testing.looping import TaskLoop
from infinitic.worker.batches import Conductor
from infinitic.worker.changes import TOMBSTONE
from infinitic.worker.gathering import unit_of
from infinitic.worker.registry import Registry
from infinitic.worker.serving import run_inline
from infinitic.worker.source import source_line
from infinitic.worker.sweeps import Sweeper
from infinitic.worker.tasks import Attempt, TaskStep
from infinitic.worker.work import Finished, Said

WEEK = 7 * 86_400

Answer: TypeAlias = Callable[[], Outgoing]
"""Makes the answer of an attempt, when that is over."""
TASK_FAILURES = (Exception, asyncio.CancelledError, Cancelled, SystemExit)
"""What fails an attempt. Anything else is for whoever drives: an interrupt, or what a test runner raises."""


def around(codec: Serializer) -> Surroundings:
    """What a worker lends to its instances."""
    return Surroundings(codec, source_line, run_inline)


class Taken:
    """The tasks that a worker has taken and not begun, at most *room* of them."""

    def __init__(self, room: int) -> None:
        self.room = room
        self.submitted: list[Delivery] = []
        self.cancelled: list[str] = []

    def capacity(self) -> int:
        return self.room - len(self.submitted)

    def submit(self, deliveries: Sequence[Delivery]) -> None:
        self.submitted += deliveries

    def cancel(self, task_id: str) -> None:
        self.cancelled.append(task_id)

    def give_back(self) -> list[Delivery]:
        return []


@define(eq=False)
class Underway:
    """An attempt that has run, and whose answer is held back until *due*; *stopped* comes if it is cancelled."""

    due: int
    delivery: Delivery
    answer: Answer
    stopped: Answer | None = None


class SteppedWorker:
    """The logic of one worker over an open backend, which it leaves open.

    It serves *workflows* and *services*, or what a *registry* holds.
    *lag* says of an attempt how long it takes by the *clock*, in microseconds: it runs when it begins, and is answered
    when that time has passed, or has failed by its timeout before. *retention* is in seconds.
    """

    def __init__(
        self,
        backend: Backend,
        *,
        workflows: Iterable[Any] = (),
        services: Iterable[Any] = (),
        registry: Registry | None = None,
        clock: Clock,
        codec: Serializer | None = None,
        surroundings: Surroundings | None = None,
        lag: Callable[[Attempt], int] = lambda attempt: 0,
        room: int = 1_000,
        retention: float = WEEK,
        cache_instances: int = 10_000,
        cache_bytes: int = 1 << 30,
        name: str = "stepped",
    ) -> None:
        codec = codec or Serializer()
        self.clock, self.lag = clock, lag
        self.registry = registry or Registry(workflows, services, codec=codec)
        self.tasks = Taken(room)
        self.conductor = Conductor(
            backend,
            self.registry,
            surroundings or around(codec),
            self.tasks,
            clock=clock,
            retention=round((retention + TOMBSTONE) * SECOND),
            cache_instances=cache_instances,
            cache_bytes=cache_bytes,
            ready=lambda: None,
        )
        self.sweeper = Sweeper(self.conductor)
        self._attempts = TaskStep(self.registry, codec, clock, name, Random(0))
        self.underway: list[Underway] = []
        """Attempts whose time has not come."""
        self._said: list[Finished | Said] = []  # by attempts that began
        self._loop = TaskLoop()

    # --- workflows ---

    def step(self, finished: Sequence[Finished | Said] = ()) -> None:
        """Go on until nothing is left to do at once but tasks. Raises `StorageError`, `TransportError`: then again."""
        more = self.conductor.step(finished)
        while more or self._rung():
            more = self.conductor.step()

    def _rung(self) -> bool:
        one = self.conductor
        bells = ((one.workflows, one.workflow_bell), (one.control, one.control_bell))
        return any(bell.rung for consumer, bell in bells if consumer is not None)

    @property
    def is_rung(self) -> bool:
        """Whether something may have come since the last step."""
        return self._rung() or (self.conductor.services is not None and self.conductor.service_bell.rung)

    def work(self) -> None:
        """Go on, tasks included, until nothing is left to do before time passes."""
        self.step()
        while finished := self.run_task():
            self.step(finished)

    def sweep(self) -> None:
        """What a worker looks after every half second."""
        while self.sweeper.sweep():
            pass

    def flush_marks(self) -> None:
        """What a worker writes when nothing came for a tenth of a second."""
        self.conductor.flush_marks()

    @property
    def next_due(self) -> int | None:
        """When a timer that it holds is due, or a task over; None when there is neither."""
        held = self.conductor.timers.next_due
        ends = [one.due for one in self.underway]
        return min(ends if held is None else [held, *ends], default=None)

    # --- tasks ---

    def run_tasks(self) -> list[Finished | Said]:
        """Run all tasks that were taken: what is over now, for the next `step`."""
        while self.tasks.submitted:
            self._begin(self.tasks.submitted.pop(0))
        return self._ended()

    def run_task(self) -> list[Finished | Said]:
        """Run tasks that were taken until something is over; [] when nothing is. For the next `step`."""
        finished = self._ended()
        while self.tasks.submitted and not finished:
            self._begin(self.tasks.submitted.pop(0))
            finished = self._ended()
        return finished

    def _ended(self) -> list[Finished | Said]:
        over = [one for one in self.underway if self._is_over(one)]
        self.underway = [one for one in self.underway if one not in over]
        said, self._said = self._said, []
        ends = [(one, one.answer if one.due <= self.clock() else one.stopped) for one in over]
        return [*said, *(Finished(one.delivery, answer()) for one, answer in ends if answer is not None)]

    def _is_over(self, one: Underway) -> bool:
        cancelled = one.stopped is not None and one.delivery.message.id in self.tasks.cancelled
        return cancelled or one.due <= self.clock()

    def _begin(self, delivery: Delivery) -> None:
        now, attempt = self.clock(), self._attempts.attempt(delivery)
        if not isinstance(attempt, Attempt):
            refused = attempt
            self.underway.append(Underway(now, delivery, lambda: refused))
            return
        length = self.lag(attempt)
        answer = self._run(unit_of(attempt))
        beat = attempt.heartbeat if not attempt.pulse.beats else None  # one that says something goes on doing so
        if attempt.is_watched:
            self._said.append(Said(self._attempts.started(attempt, beat)))
        if attempt.heartbeat is not None and beat is None:
            self._said.append(Said(self._attempts.heartbeat(attempt)))
        for limit, seconds in (("timeout", attempt.timeout), ("heartbeat", beat)):
            if seconds is not None and length > seconds * SECOND:
                length, answer = round(seconds * SECOND), partial(self._attempts.overran, attempt, limit)
        may_stop = attempt.handler.is_async or attempt.handler.interrupt
        stopped = partial(self._attempts.failed, attempt, Cancelled()) if may_stop else None
        self.underway.append(Underway(now + length, delivery, answer, stopped))

    def _run(self, attempt: Attempt) -> Answer:
        consumer = self.conductor.services
        assert consumer is not None  # it gave the task
        consumer.began(attempt.delivery)
        try:
            if attempt.handler.is_async:
                return self._loop.run(self._awaited(attempt))
            return partial(self._succeeded, attempt, contextvars.Context().run(self._call, attempt))
        except TASK_FAILURES as error:
            [one] = attempt.items  # batches are of one
            return partial(self._attempts.failed, one, error)
        finally:
            consumer.ended(attempt.delivery)

    def _succeeded(self, attempt: Attempt, value: Any) -> Outgoing:
        [answer] = attempt.answers(self._attempts, value)
        return answer

    def _call(self, attempt: Attempt) -> Any:
        self._attempts.begin(attempt)
        return attempt.call()

    async def _awaited(self, attempt: Attempt) -> Answer:
        limit = asyncio.timeout(attempt.timeout)
        try:
            async with limit:
                return partial(self._succeeded, attempt, await self._call(attempt))
        except TimeoutError as error:
            overran = partial(self._attempts.overran, attempt, "timeout")
            return overran if limit.expired() else partial(self._attempts.failed, attempt, error)

    # --- the end ---

    def crash(self) -> None:
        """Be gone without a word: what was not acknowledged is given to others."""
        for consumer in (self.conductor.workflows, self.conductor.services, self.conductor.control):
            if consumer is not None:
                consumer.close()
        self.conductor.cache.clear()
        self._end()

    def close(self) -> None:
        """Write the marks, give everything back. The backend stays open."""
        self.conductor.close()
        self._end()

    def _end(self) -> None:
        self.tasks.submitted.clear()
        self.underway.clear()
        self._loop.close()
