"""The public `Stage`: workers, clients and time of a test, in memory, on one thread."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import closing
from datetime import datetime
from itertools import count
from types import TracebackType
from typing import Any, Self, TypeVar

from attrs import evolve

from dsl.calls import Call, as_timeout
from dsl.policies import Retry
from dsl.services import Service, Task
from dsl.timers import Duration, Timer, sleep
from dsl.workflows import Workflow, WorkflowFunction
from infinitic.client import AsyncClient, Client
from infinitic.client.session import instant_of
from infinitic.events import to_datetime
from infinitic.serialization import Codec, Serializer
from infinitic.testing.going import Goings
from infinitic.testing.rehearsing import BEGIN
from infinitic.testing.scripts import Scripts
from infinitic.worker.registry import Registry

R = TypeVar("R")


class Stage:
    """Workflows and services, a client, and a clock that jumps: for tests in milliseconds, without a server.

        with Stage(workflows=[trip], services=[FakeHotels, charge]) as stage:
            handle = stage.client.start(trip("Oslo"), id="trip-1")
            stage.client.run(confirmed.by_id("trip-1").send("yes"))
            assert handle.result() == "paid"

    Nothing happens by itself. `client.start(…)` only sends. `client.run(…)`, `handle.result()` and whatever else waits
    for an answer does all that can be done now; when nothing is left, the clock jumps to what is due next (a timer, a
    retry, a timeout), and so on until the answer is there. When it can never be there they raise `Stalled`, which
    says what the workflows wait for. A *timeout* of a client is by the same clock.

    After each of these the histories that grew are replayed from their bytes: `NonDeterminismError` names the line of
    workflow code that would have gone another way. A history of more than a hundred turns is replayed when it grew by
    a tenth, and in the end.

    *workflows*, *services*, *retry*, *timeout* and *codecs* are as for `Worker`; *at* is an aware datetime at which the
    stage begins. Tasks run one after the other, when their turn comes, on the thread of the test; what an `async def`
    task waits for by itself takes real time.
    """

    def __init__(
        self,
        *,
        workflows: Sequence[WorkflowFunction[..., Any, Any] | type[Workflow]] = (),
        services: Sequence[Service | type[Service] | Task[..., Any, Any]] = (),
        at: datetime = BEGIN,
        retry: Retry | None = None,
        timeout: Duration | None = None,
        codecs: Sequence[Codec] = (),
    ) -> None:
        codec = Serializer(codecs)
        registry = Registry(
            workflows, services, codec=codec, retry=retry, timeout=as_timeout(timeout, "Stage(timeout=)")
        )
        self._scripts = Scripts(registry, codec)
        self._goings = goings = Goings(registry, codec, instant_of(at, "at"), self._scripts.began)
        self.client = Client.over(goings.backend(), codecs=codecs, clock=goings.clock, driver=goings)
        self.aclient = AsyncClient.over(goings.backend(), codecs=codecs, clock=goings.clock, driver=goings)
        """The client for `async def` tests; the rest of the stage is called as it is."""
        runs = count(1)
        for session in (self.client._session, self.aclient._session):
            goings.waits.append(session.waits)
            session.writer = evolve(session.writer, new_run=lambda: f"{next(runs):032x}")

    # --- time ---

    @property
    def now(self) -> datetime:
        """What time it is on the stage, in UTC."""
        return to_datetime(self._goings.clock.now)

    def settle(self) -> None:
        """Do all that can be done now, without a jump of the clock. Raises `NonDeterminismError`."""
        self._goings.settle()

    def advance(
        self, seconds: Duration = 0, *, minutes: float = 0, hours: float = 0, days: float = 0, weeks: float = 0
    ) -> None:
        """Let time pass, and do all that is due meanwhile, each at its time. Raises `NonDeterminismError`."""
        timer = sleep(seconds, minutes=minutes, hours=hours, days=days, weeks=weeks)
        assert isinstance(timer, Timer)
        self._goings.advance(timer.delay)

    # --- tasks ---

    def script(self, task: Callable[..., Call[R]], *outcomes: R | Exception | Callable[..., R]) -> None:
        """Say what the attempts of *task* come to from now on: one outcome each, the last one for all that follow.

        An exception is raised, a function is called with the arguments (and awaited, where it is `async def`), anything
        else is returned. A task that no service here implements may be scripted too.
        """
        if self._scripts.replace(task, outcomes):
            self._goings.restart()

    def takes(
        self,
        task: Callable[..., Call[Any]],
        seconds: Duration = 0,
        *,
        minutes: float = 0,
        hours: float = 0,
        days: float = 0,
        weeks: float = 0,
    ) -> None:
        """Say how long each attempt of *task* takes from now on: it runs when it begins, and answers so much later.

        One that takes longer than its timeout fails by that; one that takes longer than its heartbeat too, unless it
        says something by `current_task().heartbeat(…)`: then it is taken to do so all the time.
        """
        timer = sleep(seconds, minutes=minutes, hours=hours, days=days, weeks=weeks)
        assert isinstance(timer, Timer)
        self._scripts.take(task, timer.delay)

    def attempts(self, task: Callable[..., Call[R]]) -> tuple[Call[R], ...]:
        """The attempts of *task* that have begun, as calls: `stage.attempts(charge) == (charge("visa", 600),)`."""
        return self._scripts.attempts(task)

    # --- end ---

    def close(self) -> None:
        """Give everything up: nothing more happens."""
        for waits in self._goings.waits:
            waits.close()
        self._goings.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        with closing(self):
            if kind is None:
                self._goings.check(all_that_moved=True)
