"""Residents: places of the world where one worker after another lives, with its tasks and its clock."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

from attrs import Factory, define

from infinitic.clock import SECOND
from infinitic.engine.instance import Surroundings
from infinitic.errors import StorageError, TransportError
from infinitic.serialization import Serializer
from infinitic.testing.stepped import SteppedWorker
from infinitic.worker.registry import Registry
from infinitic.worker.work import Finished
from tests.simulation import earlier, outage
from tests.simulation.faults import Killed, SimBackend, SimStorage
from tests.simulation.programs import SERVICES, Play, leg, leg_2, saga
from tests.simulation.wild import Wild, kid
from tests.simulation.wild import work as wild_work

SWEEP = SECOND // 2
MARKS = SECOND // 10

CODEC = Serializer()
SURROUNDINGS = Surroundings(CODEC)
OTHERS, ALL_SERVICES = (leg, saga, Wild, kid), (*SERVICES, wild_work)
PROGRAMS = Registry((Play, leg_2, *OTHERS), ALL_SERVICES, codec=CODEC).programs

Action = tuple[str, Callable[[], None]]


@define(eq=False)
class Resident:
    """A place where one worker after another lives."""

    world: Any
    name: str
    skew: int
    serves: str
    worker: SteppedWorker | None = None
    underway: list[tuple[int, Finished]] = Factory(list)  # tasks that have run, and when their answers are there
    finished: list[Finished] = Factory(list)
    busy: bool = False
    back_at: int = 0
    swept: int = 0
    flush_at: int = 0
    release: str = ""

    def clock(self) -> int:
        return self.world.now + self.skew

    def point(self, where: str, error: type[Exception] | None = None, effect: str = "before") -> None:
        self.world.point(self, where, error, effect)

    def part(self, size: int) -> int:
        return self.world.part(size)

    def begin(self) -> None:
        """A worker begins to live here."""
        world = self.world
        play = outage.Play if world.faulty("deploy") else earlier.Play if world.faulty("rollout") else Play
        self.release = play.__module__.rpartition(".")[2]
        others = OTHERS if play is earlier.Play else (leg_2, *OTHERS)
        transport = world.transport.of(self)
        storage = SimStorage(world.storage.another(), self, world.witness)
        self.worker = SteppedWorker(
            SimBackend(transport, storage, self),
            workflows=[] if self.serves == "services" else [play, *others],
            services=[] if self.serves == "workflows" else ALL_SERVICES,
            clock=self.clock,
            codec=CODEC,
            surroundings=SURROUNDINGS,
            lag=world.executing,
            cache_instances=world.troubles.cache,
            name=self.name,
        )
        self.underway, self.finished, self.swept = [], [], 0

    def deploy(self) -> None:
        """Another release takes the place of this one, in good order."""
        self.busy = True
        if self.worker is not None:
            with suppress(StorageError, TransportError, Killed):
                self.worker.close()
        self.worker, self.underway, self.finished, self.busy = None, [], [], False
        self.back_at = self.world.now

    def die(self) -> None:
        """Its process is gone; another one comes after a while."""
        if self.worker is not None:
            self.worker.crash()
        self.worker, self.underway, self.finished = None, [], []
        self.back_at = self.world.now + self.world.chance.below(5) * SECOND

    def actions(self) -> Iterator[Action]:
        """What could be done here now."""
        if self.busy:
            return
        if self.worker is not None:
            yield from self._works(self.worker, self.world.now)
        elif self.world.now >= self.back_at:
            yield "begins", self.begin

    def _works(self, worker: SteppedWorker, now: int) -> Iterator[Action]:
        if self.finished or self._is_awake(worker):
            yield "step", self._doing(self._step)
        if worker.tasks.submitted:
            yield "task begins", self._begin_task
        if any(due <= now for due, _ in self.underway):
            yield "task ends", self._end_task
        if worker.conductor.moved and now >= self.flush_at:
            yield "marks", self._doing(worker.flush_marks)
        if now - self.swept >= SWEEP:
            yield "sweep", self._doing(self._sweep)

    def _is_awake(self, worker: SteppedWorker) -> bool:
        one = worker.conductor
        bells = [(one.workflows, one.workflow_bell), (one.services, one.service_bell), (one.control, one.control_bell)]
        if one.pending or any(bell.rung for consumer, bell in bells if consumer is not None):
            return True
        due = one.timers.next_due
        return due is not None and due <= one.now()

    def _doing(self, work: Callable[[], None]) -> Callable[[], None]:
        def do() -> None:
            self.busy = True
            try:
                work()
            except (StorageError, TransportError) as error:
                self.world.note(f"{self.name}: {error}")
            except Killed:
                self.world.note(f"{self.name} is killed")
                self.die()
            finally:
                self.busy = False

        return do

    def _step(self) -> None:
        assert self.worker is not None
        finished, self.finished = self.finished, []
        self.flush_at = self.world.now + MARKS
        self.worker.conductor.step(finished)

    def _sweep(self) -> None:
        assert self.worker is not None
        self.swept = self.world.now
        self.worker.sweeper.sweep()

    def _begin_task(self) -> None:
        assert self.worker is not None
        due = self.world.now + self.world.lag()
        self.underway += [(due, one) for one in self.worker.run_task()]

    def _end_task(self) -> None:
        over = next(one for one in self.underway if one[0] <= self.world.now)
        self.underway.remove(over)
        self.finished.append(over[1])

    def instants(self) -> Iterator[int]:
        """When something will be to be done here."""
        yield self.back_at
        yield from (due for due, _ in self.underway)
        if self.worker is not None:
            one = self.worker.conductor
            if one.timers.next_due is not None:
                yield self.world.now + one.timers.next_due - one.now()
            if one.moved:
                yield self.flush_at
