"""Scripts: what tasks answer in a test, how long they take, and what was asked of them."""

from __future__ import annotations

import inspect
from collections import defaultdict, deque
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, TypeAlias

from attrs import evolve

from dsl.calls import TaskCall
from dsl.services import Task
from infinitic.serialization import Serializer
from infinitic.worker.registry import Handler, Registry
from infinitic.worker.tasks import Attempt

Key: TypeAlias = tuple[str, str]


class Script:
    """A task's function that gives one outcome an attempt, the last one again and again."""

    def __init__(self, outcomes: Iterable[Any]) -> None:
        self._outcomes = deque(outcomes)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        outcome = self._outcomes.popleft() if len(self._outcomes) > 1 else self._outcomes[0]
        if isinstance(outcome, BaseException):
            raise outcome.with_traceback(None)
        if isinstance(outcome, type) and issubclass(outcome, BaseException):
            raise outcome
        return outcome(*args, **kwargs) if callable(outcome) else outcome

    async def later(self, *args: Any, **kwargs: Any) -> Any:
        """The same, for outcomes of which some are `async def`."""
        outcome = self(*args, **kwargs)
        return await outcome if inspect.isawaitable(outcome) else outcome


class Scripts:
    """What is known of the tasks of one stage, by service and name."""

    def __init__(self, registry: Registry, codec: Serializer) -> None:
        self._registry, self._codec = registry, codec
        self._lengths: dict[Key, int] = {}
        self._attempts: dict[Key, list[Callable[[], Any]]] = defaultdict(list)  # what makes their arguments

    def replace(self, task: Any, outcomes: tuple[Any, ...]) -> bool:
        """Have *task* give these outcomes; whether its service was not served before."""
        task = as_task(task, "script")
        if not outcomes:
            raise TypeError(f"stage.script({task.label}, …) takes at least one outcome")
        known = (task.owner in self._registry.services, self._registry.handlers.get(key_of(task)))
        handler = known[1] or Handler(
            service=task.owner,
            name=task.name,
            fn=task.fn,
            signature=self._codec.signature(task),
            is_async=False,
            retry=task.retry,
            timeout=task.timeout,
            heartbeat=task.heartbeat,
            interrupt=task.interrupt,
        )
        script, is_async = Script(outcomes), any(map(inspect.iscoroutinefunction, outcomes))
        fn = script.later if is_async else script
        self._registry.handlers[key_of(task)] = evolve(
            handler, fn=fn, is_async=is_async, batching=None, delegated=False
        )
        return not known[0]

    def take(self, task: Any, length: int) -> None:
        """Have each attempt of *task* take so many microseconds."""
        self._lengths[key_of(as_task(task, "takes"))] = length

    def began(self, attempt: Attempt) -> int:
        """An attempt begins: how long it takes, in microseconds."""
        key, decode = (attempt.handler.service, attempt.handler.name), attempt.handler.signature.decode_arguments
        self._attempts[key].append(partial(decode, attempt.request.arguments))  # anew: a task may change its own
        return self._lengths.get(key, 0)

    def attempts(self, task: Any) -> tuple[TaskCall[Any], ...]:
        """The calls of *task* whose attempts have begun, in order."""
        task = as_task(task, "attempts")
        names = task.arguments_type.__struct_fields__
        return tuple(
            TaskCall(task, task.arguments_type(**{name: getattr(one, name) for name in names}))
            for one in [made() for made in self._attempts[key_of(task)]]
        )


def as_task(task: Any, what: str) -> Task[..., Any, Any]:
    """*task* itself. Raises `TypeError` for what is none."""
    if isinstance(task, Task):
        return task
    raise TypeError(f"stage.{what}() takes a task, such as charge or Hotels.book, not {task!r}")


def key_of(task: Task[..., Any, Any]) -> Key:
    """The name by which a worker knows a task."""
    return task.owner, task.name
