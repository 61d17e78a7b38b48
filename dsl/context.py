"""The ambient context: what helper functions of workflow code and of tasks talk to.

Two context variables live here and nowhere else: the engine sets one around each turn, a worker the other
around each attempt of a task.
"""

from __future__ import annotations

import uuid as _uuid
from collections.abc import MutableSequence, Sequence
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from msgspec import Struct

from dsl.errors import OutsideTask, OutsideWorkflow

if TYPE_CHECKING:
    import random as _random
    from datetime import datetime

T = TypeVar("T")


class Slot(Protocol):
    """Where the answer of a command goes: the engine's side of a deferred."""

    @property
    def position(self) -> str: ...
    @property
    def status(self) -> str: ...
    @property
    def label(self) -> str: ...


class CurrentWorkflow(Struct, frozen=True):
    """What workflow code may know of its own instance. *parent* is the id of the instance that started it."""

    id: str
    name: str
    run: str
    tags: frozenset[str] = frozenset()
    meta: dict[str, Any] = {}
    parent: str | None = None
    root: str = ""


class Context(Protocol):
    """What the engine offers to workflow code while it runs."""

    def issue(self, command: Any) -> Slot: ...
    def spawn(self, flow: Any) -> Slot: ...
    def compensate(self, flow: Any) -> None: ...
    def cancel(self, slot: Any) -> None: ...
    def drain(self, channel: str, type: Any) -> list[Any]: ...
    def now(self) -> datetime: ...
    def random(self) -> _random.Random: ...
    def patched(self, patch: str) -> bool: ...
    def log(self, level: int, message: str, args: tuple[Any, ...], extra: dict[str, Any]) -> None: ...
    def about(self) -> CurrentWorkflow: ...


class Pulse(Protocol):
    """What a worker offers to a task while it runs."""

    @property
    def cancelled(self) -> bool: ...
    def heartbeat(self, details: Any = None) -> None: ...


class CurrentTask(Struct, frozen=True):
    """What a task may know of itself. *attempt* counts from 1; *previous* is why the attempt before failed.

    *id* is the same for every attempt: an idempotency key for what the task does elsewhere. *details* are those of the
    last heartbeat of the attempts before, as plain JSON data.
    """

    id: str
    name: str
    attempt: int = 1
    workflow_id: str | None = None
    workflow: str | None = None
    tags: frozenset[str] = frozenset()
    meta: dict[str, Any] = {}
    previous: BaseException | None = None
    details: Any = None
    pulse: Pulse | None = None

    @property
    def cancelled(self) -> bool:
        """Whether nobody wants the answer any more: the task was cancelled, or took too long."""
        return self.pulse is not None and self.pulse.cancelled

    def heartbeat(self, details: Any = None) -> None:
        """Say that the attempt goes on. *details* are kept for the next attempt, if it comes to that; None keeps those.

        Of many in a short time some are sent: no more than three while the task's heartbeat lasts, the newest details
        with each. Without a heartbeat none is, and the details travel with the attempt's failure. Raises `Cancelled`
        when nobody wants the answer any more (in a batch, any of its answers), `EncodeError` for details that JSON
        cannot hold.
        """
        if self.pulse is not None:
            self.pulse.heartbeat(details)


WORKFLOW: ContextVar[Context | None] = ContextVar("infinitic_workflow", default=None)
TASK: ContextVar[CurrentTask | tuple[CurrentTask, ...] | None] = ContextVar("infinitic_task", default=None)
"""The task that runs, or all that run together in a batch."""


def running(what: str) -> Context:
    """The context of the workflow that runs. Raises `OutsideWorkflow`, which names *what*."""
    context = WORKFLOW.get()
    if context is None:
        raise OutsideWorkflow(what)
    return context


def current_task() -> CurrentTask:
    """What is known of the task that runs. Raises `OutsideTask` elsewhere, and in a batch, where several run."""
    task = TASK.get()
    if not isinstance(task, CurrentTask):
        raise OutsideTask("current_task()" if task is None else "current_batch()")
    return task


def current_batch() -> tuple[CurrentTask, ...]:
    """What is known of the tasks that run together, in the order of their calls. Raises `OutsideTask` elsewhere."""
    tasks = TASK.get()
    if not isinstance(tasks, tuple):
        raise OutsideTask("current_batch()")
    return tasks


def current_workflow() -> CurrentWorkflow:
    """What is known of the workflow instance that runs. Raises `OutsideWorkflow` elsewhere."""
    return running("current_workflow()").about()


def workflow_id() -> str:
    """The id of the workflow instance that runs. Raises `OutsideWorkflow` elsewhere."""
    return running("workflow_id()").about().id


def now() -> datetime:
    """The time of this turn, aware UTC: the same on every replay. Raises `OutsideWorkflow` elsewhere."""
    return running("now()").now()


def patched(id: str) -> bool:
    """Whether the change of code that *id* names holds in this run: the same on every replay, and for the whole run.

    True where the run came here for the first time with code that asks, and from then on, which its history keeps;
    False where it was here before, with code that did not ask. So old runs go on as they began:

        if patched("insure"):
            yield from insure(city)

    Once no run is left that began before, ask no more: what histories keep of it is passed over.
    Raises `InvalidId` for what is no id, `OutsideWorkflow` elsewhere.
    """
    return running("patched()").patched(id)


def uuid4() -> _uuid.UUID:
    """A random UUID, the same on every replay. Raises `OutsideWorkflow` elsewhere."""
    return _uuid.UUID(int=running("uuid4()").random().getrandbits(128), version=4)


class Random:
    """Random numbers of workflow code: seeded by run and branch, so the same on every replay.

    `random()` is a float in [0, 1). Each call raises `OutsideWorkflow` outside a workflow.
    """

    def __call__(self) -> float:
        """A float in [0, 1)."""
        return running("random()").random().random()

    def randint(self, a: int, b: int) -> int:
        """An integer from *a* to *b*, both included."""
        return running("random.randint()").random().randint(a, b)

    def uniform(self, a: float, b: float) -> float:
        """A float from *a* to *b*."""
        return running("random.uniform()").random().uniform(a, b)

    def choice(self, items: Sequence[T]) -> T:
        """One of *items*, which must not be empty."""
        return running("random.choice()").random().choice(items)

    def shuffle(self, items: MutableSequence[Any]) -> None:
        """Put *items* into a random order, in place."""
        running("random.shuffle()").random().shuffle(items)

    def sample(self, items: Sequence[T], k: int) -> list[T]:
        """*k* different ones of *items*."""
        return running("random.sample()").random().sample(items, k)


random = Random()


class Logger:
    """A logger for workflow code: silent while replaying, and its lines name the instance.

    Lines go to the standard logger `infinitic.workflow`, with `workflow`, `workflow_id` and `run` in `extra`.
    The levels of `debug`, `info`, `warning` and `error` are 10, 20, 30 and 40.
    """

    def log(self, level: int, message: str, *args: Any, **extra: Any) -> None:
        """Log at a level of the standard library's logging; keyword arguments go into `extra`."""
        running("logger").log(level, message, args, extra)

    def debug(self, message: str, *args: Any, **extra: Any) -> None:
        self.log(10, message, *args, **extra)

    def info(self, message: str, *args: Any, **extra: Any) -> None:
        self.log(20, message, *args, **extra)

    def warning(self, message: str, *args: Any, **extra: Any) -> None:
        self.log(30, message, *args, **extra)

    def error(self, message: str, *args: Any, **extra: Any) -> None:
        self.log(40, message, *args, **extra)


logger = Logger()
