"""What the conductor works with: one instance's share of a batch, tasks that are over, bells."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import Protocol

from attrs import frozen

from infinitic.messages import Delivery, Outgoing
from infinitic.worker.changes import Change
from infinitic.worker.held import Held

SHARE = 100
"""How many messages of one instance go into one batch."""
RECEIVE = 256
"""How many messages are taken at once."""


@frozen
class Finished:
    """An attempt of a task that is over: what it answers, and the delivery that asked for it."""

    task: Delivery
    result: Outgoing


@frozen
class Said:
    """What an attempt that goes on has to say: that it began, or a heartbeat."""

    message: Outgoing


class Tasks(Protocol):
    """What runs tasks beside the conductor."""

    def capacity(self) -> int: ...
    def submit(self, deliveries: Sequence[Delivery]) -> None: ...
    def cancel(self, task_id: str) -> None: ...
    def give_back(self) -> list[Delivery]: ...


class Underway(Protocol):
    """Who is told what is being worked on, as a `Consumer` is."""

    def began(self, delivery: Delivery) -> None: ...
    def ended(self, delivery: Delivery) -> None: ...


class Runner(Tasks, Protocol):
    """`Tasks` as a worker with threads needs them: see `Executor`, whose methods these are."""

    consumer: Underway | None

    def on_task_thread(self) -> bool: ...
    def rouse(self) -> None: ...
    def replace_thread(self) -> None: ...
    def wait_idle(self, timeout: float) -> bool: ...
    def close(self) -> None: ...
    def stop(self) -> None: ...


class Work:
    """One instance's share of a batch."""

    __slots__ = ("back", "change", "deliveries", "held", "thread", "trouble", "workflow", "workflow_id")

    def __init__(self, workflow: str, workflow_id: str) -> None:
        self.workflow, self.workflow_id = workflow, workflow_id
        self.deliveries: list[Delivery] = []
        self.held: Held | None = None  # the instance, as far as it was in hand
        self.change: Change | None = None
        self.trouble: Exception | None = None  # with the backend, while this was applied
        self.thread = 0  # that applies it
        self.back = False  # whether the code that hung came back after all


class Bell:
    """Rung, from any thread, when there may be something to receive; so nobody looks in vain."""

    __slots__ = ("_ready", "rung")

    def __init__(self, ready: Callable[[], None]) -> None:
        self._ready = ready
        self.rung = True

    def ring(self) -> None:
        """There may be something."""
        self.rung = True
        self._ready()

    def answer(self) -> bool:
        """Whether it was rung since the last look; the look follows."""
        if not self.rung:
            return False
        self.rung = False  # before the look: a ring from here on is for the next one
        return True

    def again(self, more: bool) -> bool:
        """Whether the look found so much that there may be *more*."""
        self.rung = self.rung or more
        return more


class Deposed(BaseException):
    """The thread that steps has been replaced while workflow code held it up: *work* is what it comes back with."""

    def __init__(self, work: Work) -> None:
        self.work = work
        super().__init__(work)


class StuckCode(BaseException):
    """Thrown into a thread whose workflow code does not come back."""


def last(deliveries: Iterable[Delivery], workflow_id: str) -> deque[Delivery]:
    """*deliveries* with those of one instance behind all others, in their order."""
    return deque(sorted(deliveries, key=lambda one: one.message.workflow_id == workflow_id))
