"""What goes on on a stage: all that can happen now, then the clock jumps to what is next.

The law of the place: one thread at a time, and the same order of things each time.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

from dsl.context import TASK
from infinitic.backends import Committed, Step
from infinitic.backends.distributed import DistributedBackend
from infinitic.client.answers import shown_wait
from infinitic.client.waiting import Waits
from infinitic.clock import SECOND
from infinitic.events import Frame, to_datetime
from infinitic.history import decode_turn
from infinitic.messages import Outgoing
from infinitic.records import OPEN, Filter, StateRecord, Wait
from infinitic.serialization import Serializer
from infinitic.storages.memory import MemoryStorage
from infinitic.testing.checking import check
from infinitic.testing.errors import Stalled
from infinitic.testing.stepped import SteppedWorker, around
from infinitic.topics import WORKFLOW
from infinitic.transports import Consumer
from infinitic.transports.memory import MemoryTransport
from infinitic.worker.registry import Registry
from infinitic.worker.tasks import Attempt

CENTURY = 100 * 365 * 86_400
JUMPS = 10_000
COMMITS = 50_000
"""After so many without a jump of the clock, nobody waits for anything: an endless loop."""
ALWAYS = 100
"""A history of so many turns is replayed whenever it grew; a longer one, when it grew by a tenth."""
SHOWN = 10


class JumpingClock:
    """Stands still until it is moved on. Microseconds since 1970."""

    def __init__(self, now: int) -> None:
        self.now = now

    def __call__(self) -> int:
        return self.now


class StageStorage(MemoryStorage):
    """A storage that knows when its next timer is due."""

    def next_due(self, after: int) -> int | None:
        with self._open() as instances:
            rows = (row.due for one in instances.values() for row in one.timers.values() if row.due > after)
            return min(rows, default=None)


class StageTransport(MemoryTransport):
    """A transport that knows which topics were sent to."""

    def __init__(self, clock: JumpingClock) -> None:
        super().__init__(clock)
        self.addressed: dict[str, None] = {}

    def publish(self, batch: Sequence[Outgoing]) -> None:
        self.addressed.update(dict.fromkeys(one.topic for one in batch))
        super().publish(batch)


Run: TypeAlias = tuple[str, str, str]
"""Workflow, id, run."""


class Restless(BaseException):
    """So much was done that it will not end."""


class StageBackend(DistributedBackend):
    """A backend that knows which runs are to be checked. Raises `Restless` after 50,000 commits in one go."""

    def __init__(self, transport: StageTransport, storage: StageStorage) -> None:
        super().__init__(transport, storage)
        self.commits = 0
        self._moved: dict[Run, int] = {}  # how many turns there are
        self._checked: dict[Run, int] = {}  # and how many there were

    def commit(self, steps: Sequence[Step], tasks: Consumer | None = None, capacity: int = 0) -> Committed:
        self.commits += 1
        if self.commits > COMMITS:
            raise Restless
        committed = super().commit(steps, tasks, capacity)
        for step, won in zip(steps, committed.won, strict=True):
            if won and step.append is not None:
                append = step.append
                turns = {(append.workflow, append.workflow_id, turn.run): turn.number + 1 for turn in append.turns}
                self._moved.update(turns)
        return committed

    def to_check(self, *, all_that_moved: bool) -> list[Run]:
        """The runs whose histories grew since they were given here: by a tenth, where they are long."""
        grew = [
            run
            for run, turns in self._moved.items()
            if all_that_moved or turns <= ALWAYS or 10 * turns >= 11 * self._checked.get(run, 0)
        ]
        self._checked.update((run, self._moved.pop(run)) for run in grew)
        return grew


class Goings:
    """The worker of a stage, and what moves it: the `Driver` of the clients that wait by *waits*."""

    def __init__(self, registry: Registry, codec: Serializer, now: int, lag: Callable[[Attempt], int]) -> None:
        self.clock = JumpingClock(now)
        self.storage, self.transport = StageStorage(self.clock), StageTransport(self.clock)
        self.registry, self._codec, self._lag = registry, codec, lag
        self.waits: list[Waits] = []
        self._around = around(codec)
        self._backend = StageBackend(self.transport, self.storage)
        self._worker: SteppedWorker | None = None
        self._locks: dict[str, threading.RLock] = {}

    def backend(self) -> DistributedBackend:
        """One more handle on storage and transport."""
        return DistributedBackend(self.transport.another(), self.storage.another())

    @property
    def worker(self) -> SteppedWorker:
        """The worker, which begins when it is first needed."""
        if self._worker is None:
            self._worker = SteppedWorker(
                self._backend,
                registry=self.registry,
                clock=self.clock,
                codec=self._codec,
                surroundings=self._around,
                lag=self._lag,
                retention=CENTURY,
                name="stage",
            )
        return self._worker

    def _alone(self) -> threading.RLock:
        """Who goes on holds it: one thread of the test, for an `AsyncClient` waits on threads; or one of a task.

        A task that waits goes on within the step that runs it, by a lock of its own.
        """
        task = TASK.get()
        first = task[0] if isinstance(task, tuple) else task
        return self._locks.setdefault(first.id if first is not None else "", threading.RLock())

    def restart(self) -> None:
        """Have another worker begin, which finds all in the storage."""
        worker, self._worker = self._worker, None
        if worker is not None:
            worker.close()

    # --- time ---

    def time(self) -> float:
        return self.clock.now / SECOND

    def settle(self) -> None:
        """Do all that can be done now. Raises `NonDeterminismError` when a replay comes to something else."""
        with self._alone():
            self._backend.commits = 0
            try:
                self._work()
                while self.worker.is_rung:
                    self._work()
                self.worker.flush_marks()
            except Restless:
                why = f"it goes on for ever, and in {COMMITS} steps no time has passed"
                raise Stalled(why, tuple(self._waits())) from None
            self.check()

    def _work(self) -> None:
        self.worker.work()
        for waits in self.waits:
            waits.attend()

    def drive(self, done: Callable[[], bool], seconds: float | None) -> None:
        """Go on until *done*. Raises `Stalled` when nothing is left to happen, and what `settle` raises."""
        with self._alone():
            end = None if seconds is None else self.clock.now + round(seconds * SECOND)
            self.settle()
            last = self.clock.now + CENTURY * SECOND if end is None else end
            jumps = 0
            while not done() and self._jump(last) and (end is not None or jumps < JUMPS):
                jumps += 1
            if not done() and end is None:
                raise Stalled(self._why(jumps), tuple(self._waits()))
            self.clock.now = self.clock.now if end is None or done() else end

    def _why(self, jumps: int) -> str:
        """Why nothing more is to be expected."""
        if self.storage.next_due(self.clock.now) is None and jumps < JUMPS:
            return "nothing is left to happen on this stage"
        when = to_datetime(self.clock.now).isoformat(sep=" ", timespec="minutes")
        return f"it goes on for ever, and after {jumps} jumps of the clock it is {when}"

    def advance(self, length: int) -> None:
        """Let so many microseconds pass, and do all that is due meanwhile, each at its time."""
        with self._alone():
            end = self.clock.now + length
            self.settle()
            while self._jump(end):
                pass
            self.clock.now = end
            self.settle()

    def _jump(self, end: int | None) -> bool:
        """Go to where the next thing is due, and do it; False when nothing is, up to *end*."""
        now = self.clock.now
        dues = [self.storage.next_due(now), *(one.due for one in self.worker.underway if one.due > now)]
        due = min((one for one in dues if one is not None), default=None)
        if due is None or (end is not None and due > end):
            return False
        self.clock.now = due
        self.worker.sweep()
        self.settle()
        return True

    # --- checks ---

    def check(self, *, all_that_moved: bool = False) -> None:
        """Replay histories that grew. Raises `NonDeterminismError` when a replay comes to something else."""
        for workflow, workflow_id, run in self._backend.to_check(all_that_moved=all_that_moved):
            bodies = [row.body for row in self.storage.history(workflow_id, run)]
            held = self._worker.conductor.cache.get(workflow_id) if self._worker is not None else None
            live = held.instance if held is not None else None
            its = live if live is not None and live.run == run else None
            began: Any = decode_turn(bodies[0]).event  # with a start, which the worker gave its version
            program = self.registry.programs[workflow].versions[began.version]
            check(program, workflow_id, bodies, self._around, its)

    def _waits(self) -> list[str]:
        """What every open instance waits for, and what was sent to nobody."""
        records = self.storage.find(Filter(), 1_000).records
        lines = [line for one in records if one.status in OPEN for line in _told(one)]
        topics = [*self.transport.addressed]
        found = zip(topics, self.transport.traffic(topics), strict=True)
        nobody = [topic for topic, one in found if one is not None and one.waiting and not one.consumers]
        return [*map(_unserved, nobody), *lines]

    def close(self) -> None:
        """Close the worker and the backend."""
        self.restart()
        self._backend.close()


def _unserved(topic: str) -> str:
    _, _, name = topic.partition(":")
    if topic.startswith(WORKFLOW):
        return f"nobody here runs the workflow {name}: give it to Stage(workflows=[…])"
    return f"nobody here does the tasks of {name}: give it to Stage(services=[…]), or use stage.script(…)"


def _told(record: StateRecord) -> list[str]:
    name = f"{record.workflow} {record.workflow_id!r}"
    if record.reason:
        return [f"{name} is {record.status}: {record.reason}"]
    shown = [f"{name} waits for {_placed(wait)}" for wait in record.waits[:SHOWN]]
    return shown or [f"{name} waits for nothing: its branches wait for each other"]


def _placed(wait: Wait) -> str:
    return shown_wait(wait) + (f", {_place(wait.stack[-1])}" if wait.stack else "")


def _place(frame: Frame) -> str:
    return f"{frame.file}:{frame.line}" + (f": `{frame.source}`" if frame.source else "")
