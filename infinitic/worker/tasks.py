"""Tasks: one attempt, from its message to the message that answers it. No threads here."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

import msgspec
from msgspec import Raw

from dsl.context import TASK, CurrentTask
from dsl.errors import Cancelled, DoNotRetry, RetryIn, WorkerLost
from dsl.policies import Retry
from infinitic.backends import Backend
from infinitic.clock import Clock
from infinitic.engine.attempts import overrun
from infinitic.errors import DecodeError, InfiniticError, PayloadError, RegistrationError
from infinitic.events import CENTURY, NULL, AttemptFailed, Event, Heartbeat, TaskCompleted, TaskStarted
from infinitic.history import decode_turn
from infinitic.messages import Delivery, Message, Outgoing, TaskRequest, encode_payload, event_message
from infinitic.serialization import Serializer, error_value, meta_of, rebuild
from infinitic.topics import workflow_topic
from infinitic.worker.applying import DEATHS
from infinitic.worker.pulses import Pulse, Reach
from infinitic.worker.registry import Handler, Registry

DEFAULT_RETRY = Retry()
LENIENT = 2_000_000
"""How much longer than its queue_timeout an attempt may have waited and yet begins: clocks differ. In microseconds."""
RETRY_FIELDS = ("max_attempts", "initial", "factor", "maximum", "jitter")

log = logging.getLogger("infinitic.worker")


class Attempt:
    """One attempt of a task that a worker is to run. *key* says with which others it may run, where any may."""

    def __init__(
        self,
        delivery: Delivery,
        request: TaskRequest,
        handler: Handler,
        arguments: Any,
        codec: Serializer,
        key: Any = None,
    ) -> None:
        self.delivery = delivery
        self.message: Message = delivery.message
        self.request = request
        self.handler = handler
        self.arguments = arguments
        self.key = key
        self.lot: Attempt | None = None  # what it runs in, together with others
        self.began = 0
        self.answered = False
        self.waited = False
        self.limit: asyncio.TimerHandle | None = None
        self.codec = codec
        self.pulse, self.reach = Pulse(codec.encode, self.heartbeat), Reach()

    @property
    def unit(self) -> Attempt:
        """What runs: this one, or many together."""
        return self.lot or self

    @property
    def items(self) -> Sequence[Attempt]:
        """The attempts that run by this one's call."""
        return (self,)

    @property
    def surplus(self) -> int:
        """How many answers less than one it owes: of what takes up one place."""
        return self.answered

    @property
    def is_unwanted(self) -> bool:
        """Whether nobody waits for any answer of it."""
        return all(one.pulse.cancelled for one in self.items)

    @property
    def timeout(self) -> float | None:
        """How long it may take, in seconds: what the call says, else worker, implementation, contract."""
        length = self.request.options.get("timeout", self.handler.timeout)
        return None if length is None else length / 1_000_000

    @property
    def heartbeat(self) -> float | None:
        """How long it may say nothing, in seconds: what the call says, else implementation, contract."""
        length = self.request.options.get("heartbeat", self.handler.heartbeat)
        return None if length is None else length / 1_000_000

    @property
    def is_watched(self) -> bool:
        """Whether somebody waits to hear that it began."""
        return self.request.watched or self.heartbeat is not None

    def overrun(self, limit: str) -> TimeoutError:
        """What is said when it breaks its "timeout" or its "heartbeat"."""
        length = self.timeout if limit == "timeout" else self.heartbeat
        return overrun(self.handler.label, limit, (length or 0) * 1_000_000)

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
            meta=meta_of(self.request.meta),
            previous=rebuild(previous) if previous is not None else None,
            details=self.codec.decoder(Any)(self.request.details),
            pulse=self.pulse,
        )

    def about(self) -> CurrentTask | tuple[CurrentTask, ...]:
        """What the code that runs may know."""
        return self.current()

    def call(self) -> Any:
        """Run the task: its return value, or a coroutine for an `async def`."""
        return self.handler.signature.call(self.handler.fn, self.arguments)

    def answers(self, step: TaskStep, value: Any) -> list[Outgoing]:
        """What each of the items answers, now that the call has returned *value*."""
        return [step.succeeded(self, value)]


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
        key = None
        try:
            arguments = handler.signature.decode_arguments(request.arguments)
            if handler.batching is not None:
                hash(key := handler.batching.key(arguments))
        except Exception as error:
            return self._refused(delivery, error)
        attempt = Attempt(delivery, request, handler, arguments, self._codec, key)
        return self._too_late(attempt) or self._no_more(attempt) or attempt

    def begin(self, attempt: Attempt) -> None:
        """The attempt begins, in the present thread or context. Raises `Cancelled` if nobody wants it any more."""
        if attempt.is_unwanted:
            raise Cancelled
        now = self._clock()
        for one in attempt.items:
            one.began = now
        TASK.set(attempt.about())

    def started(self, attempt: Attempt, heartbeat: float | None) -> Outgoing:
        """The message that the attempt began, and that it must be heard of every *heartbeat* seconds."""
        message = attempt.message
        beat = 0 if heartbeat is None else round(heartbeat * 1_000_000)
        event = TaskStarted("", message.position, message.attempt, self._worker, attempt.began, beat)
        return self._answer(message, event, reply_to=attempt.handler.service)

    def heartbeat(self, attempt: Attempt) -> Outgoing:
        """The message that the attempt goes on, with its newest details."""
        message = attempt.message
        event = Heartbeat("", message.position, message.attempt, attempt.pulse.details)
        return self._answer(message, event, reply_to=attempt.handler.service)

    def succeeded(self, attempt: Attempt, value: Any) -> Outgoing:
        """The answer of an attempt that returned *value*."""
        if attempt.handler.delegated:
            return self._left_open(attempt, value)
        try:
            data = self._codec.encode(value)
        except PayloadError as error:
            return self.failed(attempt, error)
        message = attempt.message
        event = TaskCompleted(
            "", message.position, Raw(data), message.attempt, self._worker, attempt.began, self._clock()
        )
        return self._answer(message, event)

    def _left_open(self, attempt: Attempt, value: Any) -> Outgoing:
        """Say that the function of a delegated task has returned: somebody else will answer."""
        if value is not None:
            log.warning(
                "%s is delegated: what its function returned is ignored, and it waits for client.complete(%r, …)",
                attempt.handler.label,
                attempt.message.id,
            )
        message = attempt.message
        event = TaskStarted("", message.position, message.attempt, self._worker, attempt.began, delegated=True)
        return self._answer(message, event)

    def failed(self, attempt: Attempt, error: BaseException, limit: str = "") -> Outgoing:
        """The answer of an attempt that raised *error*, or broke its *limit*, with what the retry policy says."""
        delay = None if isinstance(error, PayloadError) else self._delay(attempt, attempt.message.attempt, error)
        message = attempt.message
        event = AttemptFailed(
            "",
            message.position,
            error_value(_own(error)),
            message.attempt,
            None if delay is None else round(min(delay * 1_000_000, CENTURY)),
            bool(limit),
            self._worker,
            attempt.began,
            self._clock(),
            attempt.pulse.details,
            "" if limit == "timeout" else limit,
        )
        return self._answer(message, event)

    def overran(self, attempt: Attempt, limit: str) -> Outgoing:
        """The answer of an attempt that broke its "timeout" or its "heartbeat"."""
        return self.failed(attempt, attempt.overrun(limit), limit)

    def unwanted(self, delivery: Delivery) -> Outgoing:
        """The answer of an attempt that nobody wants any more, and that does not begin, or not again.

        Whoever wants it nevertheless, as a run that was taken up again does, tries once more.
        """
        message, now = delivery.message, self._clock()
        error = error_value(Cancelled())
        event = AttemptFailed("", message.position, error, message.attempt, 0, False, self._worker, now, now)
        return self._answer(message, event)

    def _delay(self, attempt: Attempt, number: int, error: BaseException) -> float | None:
        """What the policy says after the attempt *number* failed with *error*."""
        policy = attempt.handler.retry or DEFAULT_RETRY
        given = attempt.request.options.get("retry")
        if given is not None:
            policy = retry_of(given, _as_failure(error))
        counted = max(number - attempt.request.uncounted, 1)
        try:
            return policy.delay(counted, _as_failure(error), self._chance)
        except Exception as wrong:  # the policy's own function
            log.warning("%s is not tried again: its retry policy failed", attempt.handler.label, exc_info=True)
            with suppress(Exception):  # an error may be frozen
                error.add_note(f"the retry policy could not decide: {type(wrong).__name__}: {wrong}")
            return None

    def _too_late(self, attempt: Attempt) -> Outgoing | None:
        """The answer of an attempt that waited here for longer than its queue_timeout: it is not begun."""
        limit = attempt.request.options.get("queue_timeout")
        waited = self._clock() - attempt.message.at
        if limit is None or waited <= limit + LENIENT or attempt.delivery.suspect:  # which began, where a process died
            return None
        return self._never(
            attempt.delivery, overrun(attempt.handler.label, "queue_timeout", limit), limit="queue_timeout"
        )

    def _no_more(self, attempt: Attempt) -> Outgoing | None:
        """The answer of an attempt that the policy does not allow, after one that fell silent."""
        request = attempt.request
        if not request.lost or request.previous is None:
            return None
        error = rebuild(request.previous)
        again = self._delay(attempt, attempt.message.attempt - 1, error)
        return None if again is not None else self._never(attempt.delivery, error, limit="heartbeat")

    def _refused(self, delivery: Delivery, error: Exception) -> Outgoing:
        """An attempt that cannot even begin, and could not on another day either."""
        return self._never(delivery, error)

    def _lost(self, delivery: Delivery, request: TaskRequest) -> Outgoing:
        label = request.name if request.name == request.service else f"{request.service}.{request.name}"
        cause = RuntimeError(f"{label} ended the process that ran it, with nothing beside it, {DEATHS} times")
        return self._never(delivery, WorkerLost(label, cause))

    def _never(self, delivery: Delivery, error: BaseException, *, limit: str = "") -> Outgoing:
        """The answer of an attempt that did not run, and will not; *limit* is which timeout was broken before."""
        times = (0, 0) if limit else (now := self._clock(), now)
        message = delivery.message
        said = message.attempt, None, bool(limit), self._worker, *times
        event = AttemptFailed("", message.position, error_value(error), *said, limit=limit)
        return self._answer(message, event)

    def _answer(self, asked: Message, event: Event, *, reply_to: str = "") -> Outgoing:
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
            reply_to=reply_to,
        )
        return Outgoing(workflow_topic(asked.workflow), asked.workflow_id, message)


def informed(delivery: Delivery, backend: Backend) -> Delivery:
    """A task that ran when its process died, with the details of its last heartbeat, if the storage can be read."""
    asked, said = delivery.message, NULL
    if not delivery.suspect:
        return delivery
    with suppress(InfiniticError, ValueError):
        for row in backend.storage.history(asked.workflow_id, asked.run):
            event = decode_turn(row.body).event
            if isinstance(event, Heartbeat | AttemptFailed) and event.position == asked.position:
                said = said if bytes(event.details) == bytes(NULL) else event.details
    return delivery if said is NULL else msgspec.structs.replace(delivery, message=with_details(asked, said))


def with_details(asked: Message, details: Raw) -> Message:
    """The message of a task that is to know these *details*, of a heartbeat that came since."""
    try:
        request = msgspec.json.decode(asked.payload, type=TaskRequest)
    except ValueError:  # it will be refused
        return asked
    payload = encode_payload(msgspec.structs.replace(request, details=details))
    return msgspec.structs.replace(asked, payload=payload)


def _check(options: dict[str, Any]) -> None:
    """See that what a call chose can be used. Raises what is wrong with it."""
    for name in ("timeout", "heartbeat", "queue_timeout"):
        if options.get(name) is not None and not isinstance(options[name], int | float):
            raise ValueError(f"Expected a number as {name}, got {options[name]!r}")
    retry = options.get("retry")
    if retry is not None:
        retry_of(retry, ValueError())


def retry_of(fields: dict[str, Any], error: BaseException) -> Retry:
    """The policy that a call carried, its error classes matched by name against *error*."""
    names = {f"{kind.__module__}:{kind.__qualname__}" for kind in type(error).__mro__}
    matches: Callable[[str], bool] = lambda which: bool(names.intersection(fields.get(which, ())))  # noqa: E731
    retried = matches("retry_on") and not matches("never_on")
    plain = {name: fields[name] for name in RETRY_FIELDS if name in fields}
    if "initial" in plain and "maximum" in plain:  # what another language, or an older release, did not look at
        plain["initial"] = min(plain["initial"], plain["maximum"])
    return Retry(**plain, retry_on=(Exception,) if retried else ())


def _as_failure(error: BaseException) -> BaseException:
    """What the policy is asked about: a task that exits or is interrupted has failed like any other."""
    return error if isinstance(error, Exception) else Exception(f"{type(error).__name__}: {error}")


def _own(error: BaseException) -> BaseException:
    """The task's own error: what a `RetryIn` or `DoNotRetry` was raised from, where it says nothing itself."""
    if isinstance(error, RetryIn | DoNotRetry) and error.__cause__ is not None:
        return error.__cause__
    return error
