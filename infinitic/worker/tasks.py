"""Tasks: one attempt, from its message to the message that answers it. No threads here."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from typing import Any

import msgspec
from msgspec import Raw

from dsl.context import TASK, CurrentTask
from dsl.errors import DoNotRetry, RetryIn, WorkerLost
from dsl.policies import Retry
from infinitic.clock import Clock
from infinitic.errors import DecodeError, PayloadError, RegistrationError
from infinitic.events import CENTURY, AttemptFailed, TaskCompleted
from infinitic.messages import Delivery, Message, Outgoing, TaskRequest, event_message
from infinitic.serialization import Serializer, error_value, rebuild
from infinitic.topics import workflow_topic
from infinitic.worker.applying import DEATHS
from infinitic.worker.registry import Handler, Registry

DEFAULT_RETRY = Retry()
RETRY_FIELDS = ("max_attempts", "initial", "factor", "maximum", "jitter")


class Attempt:
    """One attempt of a task that a worker is to run."""

    def __init__(self, delivery: Delivery, request: TaskRequest, handler: Handler, arguments: Any) -> None:
        self.delivery = delivery
        self.message: Message = delivery.message
        self.request = request
        self.handler = handler
        self.arguments = arguments
        self.began = 0
        self.answered = False
        self.waited = False
        self.limit: asyncio.TimerHandle | None = None

    @property
    def timeout(self) -> float | None:
        """How long it may take, in seconds: what the call says, else worker, implementation, contract."""
        length = self.request.options.get("timeout", self.handler.timeout)
        return None if length is None else length / 1_000_000

    def current(self) -> CurrentTask:
        """What the task may know of itself."""
        previous = self.request.previous
        return CurrentTask(
            id=self.message.id,
            name=self.handler.label,
            attempt=self.message.attempt,
            workflow_id=self.message.workflow_id or None,
            workflow=self.message.workflow or None,
            tags=frozenset(self.request.tags),
            meta=dict(self.request.meta),
            previous=rebuild(previous) if previous is not None else None,
        )

    def call(self) -> Any:
        """Run the task: its return value, or a coroutine for an `async def`."""
        return self.handler.signature.call(self.handler.fn, self.arguments)


class TaskStep:
    """Turns task messages into attempts, and their ends into answers."""

    def __init__(
        self, registry: Registry, codec: Serializer, clock: Clock, worker: str, chance: random.Random | None = None
    ) -> None:
        self._registry = registry
        self._codec = codec
        self._clock = clock
        self._worker = worker
        self._chance = chance or random.Random()

    def attempt(self, delivery: Delivery) -> Attempt | Outgoing:
        """The attempt that *delivery* asks for; or its answer at once, where there is nothing to run."""
        try:
            request = msgspec.json.decode(delivery.message.payload, type=TaskRequest)
            _check(request.options)
        except Exception as error:  # whatever is wrong with it: bytes that are no UTF-8 are no DecodeError
            return self._refused(delivery, DecodeError(f"the task's message cannot be read: {error}"))
        handler = self._registry.handlers.get((request.service, request.name))
        if delivery.deaths >= DEATHS:
            return self._lost(delivery, request)
        if handler is None:
            known = ", ".join(sorted(h.name for h in self._registry.handlers.values() if h.service == request.service))
            problem = f"the service {request.service} has no task {request.name!r} (it has: {known})"
            return self._refused(delivery, RegistrationError(problem))
        try:
            arguments = handler.signature.decode_arguments(request.arguments)
        except Exception as error:
            return self._refused(delivery, error)
        return Attempt(delivery, request, handler, arguments)

    def begin(self, attempt: Attempt) -> None:
        """The attempt begins, in the present thread or context."""
        attempt.began = self._clock()
        TASK.set(attempt.current())

    def succeeded(self, attempt: Attempt, value: Any) -> Outgoing:
        """The answer of an attempt that returned *value*."""
        try:
            data = self._codec.encode(value)
        except PayloadError as error:
            return self.failed(attempt, error)
        message = attempt.message
        event = TaskCompleted(
            "", message.position, Raw(data), message.attempt, self._worker, attempt.began, self._clock()
        )
        return self._answer(message, event)

    def failed(self, attempt: Attempt, error: BaseException, *, timed_out: bool = False) -> Outgoing:
        """The answer of an attempt that raised *error*, with what the retry policy says."""
        delay = None if isinstance(error, PayloadError) else self._delay(attempt, error)
        message = attempt.message
        event = AttemptFailed(
            "",
            message.position,
            error_value(_own(error)),
            message.attempt,
            None if delay is None else round(min(delay * 1_000_000, CENTURY)),
            timed_out,
            self._worker,
            attempt.began,
            self._clock(),
        )
        return self._answer(message, event)

    def _delay(self, attempt: Attempt, error: BaseException) -> float | None:
        policy = attempt.handler.retry or DEFAULT_RETRY
        given = attempt.request.options.get("retry")
        if given is not None:
            policy = retry_of(given, _as_failure(error))
        number = attempt.message.attempt - attempt.request.uncounted
        return policy.delay(max(number, 1), _as_failure(error), self._chance)

    def _refused(self, delivery: Delivery, error: Exception) -> Outgoing:
        """An attempt that cannot even begin, and could not on another day either."""
        return self._never(delivery, error)

    def _lost(self, delivery: Delivery, request: TaskRequest) -> Outgoing:
        label = request.name if request.name == request.service else f"{request.service}.{request.name}"
        cause = RuntimeError(f"{label} ended the process that ran it, with nothing beside it, {DEATHS} times")
        return self._never(delivery, WorkerLost(label, cause))

    def _never(self, delivery: Delivery, error: Exception) -> Outgoing:
        now = self._clock()
        message = delivery.message
        event = AttemptFailed(
            "", message.position, error_value(error), message.attempt, None, False, self._worker, now, now
        )
        return self._answer(message, event)

    def _answer(self, asked: Message, event: TaskCompleted | AttemptFailed) -> Outgoing:
        message = event_message(
            event,
            workflow=asked.workflow,
            workflow_id=asked.workflow_id,
            run=asked.run,
            position=asked.position,
            attempt=asked.attempt,
            at=self._clock(),
            sender=self._worker,
            root=asked.root,
            headers=asked.headers,
        )
        return Outgoing(workflow_topic(asked.workflow), asked.workflow_id, message)


def _check(options: dict[str, Any]) -> None:
    """See that what a call chose can be used. Raises what is wrong with it."""
    timeout, retry = options.get("timeout"), options.get("retry")
    if timeout is not None and not isinstance(timeout, int | float):
        raise ValueError(f"Expected a number as timeout, got {timeout!r}")
    if retry is not None:
        retry_of(retry, ValueError())


def retry_of(fields: dict[str, Any], error: BaseException) -> Retry:
    """The policy that a call carried, its error classes matched by name against *error*."""
    names = {f"{kind.__module__}:{kind.__qualname__}" for kind in type(error).__mro__}
    matches: Callable[[str], bool] = lambda which: bool(names.intersection(fields.get(which, ())))  # noqa: E731
    retried = matches("retry_on") and not matches("never_on")
    plain = {name: fields[name] for name in RETRY_FIELDS if name in fields}
    return Retry(**plain, retry_on=(Exception,) if retried else ())


def _as_failure(error: BaseException) -> BaseException:
    """What the policy is asked about: a task that exits or is interrupted has failed like any other."""
    return error if isinstance(error, Exception) else Exception(f"{type(error).__name__}: {error}")


def _own(error: BaseException) -> BaseException:
    """The task's own error: what a `RetryIn` or `DoNotRetry` was raised from, where it says nothing itself."""
    if isinstance(error, RetryIn | DoNotRetry) and error.__cause__ is not None:
        return error.__cause__
    return error
