"""What `Client` and `AsyncClient` share: the backend, the messages, the waiting, the reads."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from contextlib import suppress
from datetime import datetime
from typing import Any

from dsl.calls import Call, MethodCall, Query, Send, StartCall, TaskCall, as_tags
from dsl.timers import Duration, microseconds
from dsl.workflows import Tagged, named_by
from infinitic.backends import Backend
from infinitic.client.answers import outcome, too_long
from infinitic.client.awaited import Awaited
from infinitic.client.calls import NOTHING, Given, Request, Writer, check_together, repeat_of
from infinitic.client.waiting import LOOK_AGAIN, Driver, Waits
from infinitic.clock import Clock, system_clock
from infinitic.errors import InfiniticError, NoStorage, UnknownWorkflow, WorkflowInUse
from infinitic.events import AnyEvent, TagsChanged, from_datetime
from infinitic.history import Turn, decode_turn
from infinitic.ids import new_id
from infinitic.messages import Reply
from infinitic.records import OPEN, Filter, StateRecord
from infinitic.serialization import Serializer
from infinitic.storages import Storage, delete
from infinitic.topics import workflow_topic

NAMES = 10_000
PAGE = 100
SETTLE, POLL = 5.0, 0.02
"""Seconds for which an instance that has just ended may not be deleted yet, and after which one looks again."""


def seconds_of(timeout: Duration | None) -> float | None:
    """A timeout in seconds, zero or more. Raises `TypeError` or `ValueError` for what is no duration."""
    return None if timeout is None else max(0.0, microseconds(timeout, "timeout") / 1_000_000)


class Names:
    """Of which workflows instances are: the last 10,000. Thread-safe."""

    def __init__(self) -> None:
        self._names: OrderedDict[str, str] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, workflow_id: str) -> str:
        with self._lock:
            return self._names.get(workflow_id, "")

    def put(self, workflow_id: str, workflow: str) -> None:
        with self._lock:
            self._names[workflow_id] = workflow
            self._names.move_to_end(workflow_id)
            if len(self._names) > NAMES:
                self._names.popitem(last=False)

    def drop(self, workflow_id: str) -> None:
        with self._lock:
            self._names.pop(workflow_id, None)


class Session:
    """One client's side of a backend. Thread-safe."""

    def __init__(
        self,
        backend: Backend,
        serializer: Serializer,
        *,
        look_again: float = LOOK_AGAIN,
        clock: Clock = system_clock,
        driver: Driver | None = None,
    ) -> None:
        self.backend, self.serializer = backend, serializer
        self.storage: Storage | None = None
        with suppress(NoStorage):
            self.storage = backend.storage
        self.writer = Writer(new_id(), serializer, clock)
        self.waits = Waits(backend.transport, self.storage, self.writer, look_again, driver)
        self._started, self._found = Names(), Names()  # by this client, in the storage

    # --- sending ---

    def publish(self, request: Request) -> None:
        """Send; back once the transport holds it. Raises `TransportError`."""
        self.waits.check_open()
        self.backend.transport.publish([request.outgoing])

    def begin(self, call: Call[Any], given: Given) -> tuple[Request, Awaited]:
        """What is to be sent for a start or the call of a method, and its end, listened for from now on."""
        if isinstance(call, MethodCall):
            request = self.writer.method(call, given)
            return request, self.waits.expect(_awaited(request, call_id=request.call_id))
        assert isinstance(call, StartCall | TaskCall)
        request = self.writer.task(call, given) if isinstance(call, TaskCall) else self.writer.start(call, given)
        self._started.put(request.workflow_id, request.workflow)
        certain = given.if_exists != "attach"
        awaited = _awaited(request, run=request.run if certain else "", start_id="" if certain else request.answer_id)
        awaited.former = self.waits.known_runs(request.workflow_id) if certain else frozenset()
        return request, self.waits.expect(awaited)

    def begin_with(self, command: Any, start: Any, id: str | None) -> tuple[Request, Awaited]:
        """What is to be sent for a call or a signal and the start of its instance, and the answer, listened for."""
        check_together(command, start)
        request = self.writer.together(command, start, id)
        self._started.put(request.workflow_id, request.workflow)
        if isinstance(command, MethodCall):
            return request, self.waits.expect(_awaited(request, call_id=request.call_id))
        return request, self.expect_answer(request)

    def signal(self, call: Send, given: Given = NOTHING, *, answered: bool) -> Request:
        """What is to be sent for a signal; may read the storage to know of which workflow the instance is."""
        workflow = call.definition.owner or (self.workflow_of(call.workflow_id) if call.workflow_id else "")
        return self.writer.signal(call, workflow, given, answered=answered)

    def expect_answer(self, request: Request) -> Awaited:
        """The answer to the message itself, listened for from now on; it is asked for by sending it again."""
        return self.waits.expect(_awaited(request, call_id=request.answer_id, again=repeat_of(request.outgoing)))

    def request(self, call: Send | Query[Any]) -> Request:
        """What is to be sent for what `run` has answered at once."""
        return self.writer.query(call) if isinstance(call, Query) else self.signal(call, answered=True)

    def retagging(self, workflow_id: str, add: Iterable[str], remove: Iterable[str]) -> Request:
        """What is to be sent for tags that an instance gets and loses. Raises `InvalidId` and `TypeError`."""
        added, removed = as_tags(add, "add="), as_tags(remove, "remove=")
        event = TagsChanged(new_id(), added, removed)
        return self.writer.operation(event, self.workflow_of(workflow_id), workflow_id, repr(workflow_id))

    def to_all(self, those: Any, event: AnyEvent) -> None:
        """Send an event to all instances that have a tag. Raises `TypeError` for what names none; as `publish` does."""
        if not isinstance(those, Tagged):
            raise TypeError(f"instances are named by their tag, as in Loyalty.by_tag('vip'), not by {those!r}")
        self.waits.check_open()
        self.backend.transport.publish([self.writer.broadcast(event, *named_by(those))])

    # --- waiting ---

    def exchange(self, request: Request, seconds: float | None = None) -> Reply:
        """Send, and wait for the answer to the message itself. Raises `TimeoutError`."""
        awaited = self.expect_answer(request)
        self.publish(request)
        return self.note(self.wait(awaited, seconds))

    async def exchange_async(self, request: Request, seconds: float | None = None) -> Reply:
        """`exchange`, without blocking the loop."""
        awaited = await asyncio.to_thread(self.expect_answer, request)
        await asyncio.to_thread(self.publish, request)
        return self.note(await self.wait_async(awaited, seconds))

    def wait(self, awaited: Awaited, seconds: float | None = None) -> Reply:
        """The answer. Raises `TimeoutError` that says what is known, `TransportError` once closed."""
        if (news := awaited.news) is not None:
            return news
        with self.waits.waiting(awaited) as future:
            self.waits.freshen(awaited)
            with suppress(TimeoutError):
                return self.waits.result(future, seconds)
        return self._last_look(awaited, seconds or 0.0)

    async def wait_async(self, awaited: Awaited, seconds: float | None = None) -> Reply:
        """`wait`, without blocking the loop, and without a thread for as long as it takes."""
        if (news := awaited.news) is not None:
            return news
        if self.waits.driver is not None:
            return await asyncio.to_thread(self.wait, awaited, seconds)
        with self.waits.waiting(awaited) as future:
            if awaited.uncertain:
                await asyncio.to_thread(self.waits.freshen, awaited)
            with suppress(TimeoutError):
                return await asyncio.wait_for(asyncio.wrap_future(future), seconds)
        return await asyncio.to_thread(self._last_look, awaited, seconds or 0.0)

    def _last_look(self, awaited: Awaited, seconds: float) -> Reply:
        """The answer after all, if the storage has it. Raises `TimeoutError`."""
        record, trouble = None, self.waits.trouble
        if self.storage is not None:
            try:
                [record] = self.storage.records([awaited.workflow_id])
            except InfiniticError as error:
                trouble = error
            else:
                reply = outcome(record, awaited)
                if reply is not None:
                    return reply
        unserved = trouble is None and self._is_unserved(awaited.workflow)
        known = self.storage is not None
        raise TimeoutError(too_long(awaited, seconds, record, known=known, trouble=trouble, unserved=unserved))

    def _is_unserved(self, workflow: str) -> bool:
        """Whether it is known that no worker serves a workflow just now."""
        traffic = None
        with suppress(InfiniticError):
            [traffic] = self.backend.transport.traffic([workflow_topic(workflow)]) if workflow else [None]
        return traffic is not None and not traffic.consumers

    # --- names ---

    def workflow_of(self, workflow_id: str) -> str:
        """The name of an instance's workflow, "" when nobody here knows it. The storage knows best."""
        name = self._found.get(workflow_id)
        if not name and self.storage is not None:
            [record] = self.storage.records([workflow_id])
            if record is not None:
                name = record.workflow
                self._found.put(workflow_id, name)
        return name or self._started.get(workflow_id)

    def existing(self, workflow_id: str) -> str:
        """The name of an instance's workflow. Raises `NoStorage`, `UnknownWorkflow`."""
        name = self.workflow_of(workflow_id)
        if not name:
            self.reader(f"client.get({workflow_id!r}) without the workflow")
            raise UnknownWorkflow("", workflow_id)
        return name

    def note(self, reply: Reply) -> Reply:
        """*reply*, which may tell that a name is wrong."""
        if reply.status in ("unknown", "exists"):
            self._found.drop(reply.workflow_id)
            self._started.drop(reply.workflow_id)
        return reply

    def awaited_run(self, workflow_id: str, workflow: str) -> Awaited:
        """The end of an instance that somebody else may have started."""
        return self.waits.expect(Awaited(workflow, workflow_id, label=workflow, own=False))

    # --- reading ---

    def reader(self, what: str) -> Storage:
        """The storage. Raises `NoStorage`, which names *what* needs it."""
        if self.storage is None:
            raise NoStorage(what)
        return self.storage

    def turns(self, workflow_id: str, run: str) -> tuple[Turn, ...]:
        """The turns of one run, oldest first."""
        rows = self.reader("handle.history()").history(workflow_id, run)
        return tuple(decode_turn(row.body) for row in rows)

    def pages(self, what: str, where: Filter, limit: int | None) -> Iterator[tuple[StateRecord, ...]]:
        """At most *limit* records, in pages, each read when it is wanted. Raises `NoStorage` at once."""
        return _pages(self.reader(what), where, limit)

    def delete(self, workflow_id: str) -> bool:
        """Remove an ended instance; whether there was one. Raises `NoStorage`, `WorkflowInUse`."""
        storage, last = self.reader("client.delete()"), time.monotonic() + SETTLE
        self._found.drop(workflow_id)
        self._started.drop(workflow_id)
        while True:
            try:
                return delete(storage, workflow_id)
            except WorkflowInUse as error:
                # That all is sent which an instance sends is noted a little after its end.
                if error.status in OPEN or time.monotonic() > last:
                    raise
            time.sleep(POLL)

    def close(self) -> None:
        """Stop listening, close the backend. Again: nothing."""
        self.waits.close()
        self.backend.close()


def _pages(storage: Storage, where: Filter, limit: int | None) -> Iterator[tuple[StateRecord, ...]]:
    after, left = "", limit
    while left is None or left > 0:
        page = storage.find(where, PAGE if left is None else min(PAGE, left), after)
        yield page.records
        left = None if left is None else left - len(page.records)
        after = page.after
        if not after:
            return


def _awaited(request: Request, **facts: Any) -> Awaited:
    return Awaited(request.workflow, request.workflow_id, label=request.label, **facts)


def instant_of(when: Any, name: str) -> int:
    """The aware datetime that an argument of this *name* is, in microseconds since 1970.

    Raises `TypeError` or `ValueError`.
    """
    if not isinstance(when, datetime):
        raise TypeError(f"{name}= takes a datetime, not {when!r}")
    if when.utcoffset() is None:
        raise ValueError(f"{name}={when!r} is naive: say which time zone is meant, as in {name}.replace(tzinfo=UTC)")
    return from_datetime(when)


def checked_limit(limit: int | None) -> int | None:
    """*limit* itself. Raises `ValueError` for what is no number of instances."""
    if limit is not None and (type(limit) is not int or limit < 0):
        raise ValueError(f"limit= takes a number, zero or more, not {limit!r}")
    return limit
