"""`AsyncClient` and `AsyncHandle`: the same names to await, for applications with an event loop.

Waiting takes no thread; what reads or writes files and sockets runs in threads, never on the loop.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Generator, Iterable, Iterator, Sequence
from datetime import datetime
from types import TracebackType
from typing import Any, Generic, Self, TypeVar, Unpack, overload

from dsl.calls import Call, Query, Send, check_id
from dsl.services import Task
from dsl.timers import Duration
from dsl.workflows import Workflow
from infinitic.backends import Backend
from infinitic.client.answers import answer_of, check_begun, check_done, value_of
from infinitic.client.calls import Given, IfExists, Request, begun, check_call
from infinitic.client.handles import Handle, R_co
from infinitic.client.operations import FailedStatus, Operation, Those, retry_of
from infinitic.client.session import checked_limit, seconds_of
from infinitic.client.sync import Client
from infinitic.client.tasks import completion, failure, was_first
from infinitic.client.waiting import LOOK_AGAIN, Driver
from infinitic.client.which import Which, wanted
from infinitic.clock import Clock, system_clock
from infinitic.events import (
    CancelRequested,
    ResumeRequested,
    SuspendRequested,
    TagsChanged,
    TerminateRequested,
    TimersCompleted,
)
from infinitic.history import Turn
from infinitic.ids import new_id
from infinitic.records import StateRecord
from infinitic.serialization import Codec

R = TypeVar("R")


class AsyncHandle(Generic[R_co]):
    """A `Handle` to await: `await handle` and `await handle.result(timeout)` are its result."""

    def __init__(self, handle: Handle[R_co]) -> None:
        self._handle, self._session = handle, handle._session

    @property
    def id(self) -> str:
        """The workflow id."""
        return self._handle.id

    @property
    def call_id(self) -> str:
        """The id of the method call, or of the signal; "" for the instance itself."""
        return self._handle.call_id

    @property
    def workflow(self) -> str:
        """The name of the workflow; "" when a signal was sent and nobody here knows it."""
        return self._handle.workflow

    async def result(self, timeout: Duration | None = None) -> R_co:
        """As `Handle.result`."""
        return await self._handle._result_async(timeout)

    def __await__(self) -> Generator[Any, Any, R_co]:
        """The same as `result()`."""
        return self._handle.__await__()

    async def status(self) -> str:
        """As `Handle.status`."""
        return await asyncio.to_thread(self._handle.status)

    async def history(self) -> tuple[Turn, ...]:
        """As `Handle.history`."""
        return await asyncio.to_thread(self._handle.history)

    async def cancel(self, *, timeout: Duration | None = None) -> None:
        """As `Handle.cancel`."""
        await self._do(CancelRequested(new_id(), self.call_id), timeout)

    async def terminate(self, reason: str = "", *, timeout: Duration | None = None) -> None:
        """As `Handle.terminate`."""
        await self._do(TerminateRequested(new_id(), reason), timeout)

    async def suspend(self, reason: str = "", *, timeout: Duration | None = None) -> None:
        """As `Handle.suspend`."""
        await self._do(SuspendRequested(new_id(), reason), timeout)

    async def resume(self, *, timeout: Duration | None = None) -> None:
        """As `Handle.resume`."""
        await self._do(ResumeRequested(new_id()), timeout)

    async def complete_timers(self, method: str | None = None, *, timeout: Duration | None = None) -> None:
        """As `Handle.complete_timers`."""
        await self._do(TimersCompleted(new_id(), method or self.call_id), timeout)

    async def retry(
        self,
        *,
        task: str | Task[..., Any, Any] | None = None,
        service: str | None = None,
        status: FailedStatus | None = None,
        timeout: Duration | None = None,
    ) -> None:
        """As `Handle.retry`."""
        await self._do(retry_of(task, service, status), timeout)

    async def _do(self, event: Operation, timeout: Duration | None) -> None:
        request = self._handle._operation(event)
        self._handle._done(event, await self._session.exchange_async(request, seconds_of(timeout)))

    def __repr__(self) -> str:
        return repr(self._handle).replace("<", "<Async", 1)


class AsyncClient:
    """A `Client` to await. It may be used from any event loop, and from several."""

    def __init__(
        self,
        url: str | None = None,
        *,
        transport: str | None = None,
        storage: str | None = None,
        codecs: Sequence[Codec] = (),
        **config: Any,
    ) -> None:
        self._client = Client(url, transport=transport, storage=storage, codecs=codecs, **config)
        self._session = self._client._session

    @classmethod
    def over(
        cls,
        backend: Backend,
        *,
        codecs: Sequence[Codec] = (),
        look_again: float = LOOK_AGAIN,
        clock: Clock = system_clock,
        driver: Driver | None = None,
    ) -> Self:
        """As `Client.over`; what waits has the *driver* go on in a thread."""
        made = cls.__new__(cls)
        made._client = Client.over(backend, codecs=codecs, look_again=look_again, clock=clock, driver=driver)
        made._session = made._client._session
        return made

    @property
    def id(self) -> str:
        """This client's own id, which names where it hears its answers."""
        return self._client.id

    async def start(
        self,
        call: Call[R],
        *,
        id: str | None = None,
        tags: Iterable[str] = (),
        meta: dict[str, Any] | None = None,
        if_exists: IfExists = "attach",
        delay: Duration | None = None,
        start_at: datetime | None = None,
        timeout: Duration | None = None,
    ) -> AsyncHandle[R]:
        """As `Client.start`."""
        call = begun(call, delay, start_at)
        if if_exists == "attach":
            return AsyncHandle(await asyncio.to_thread(self._client.start, call, id=id, tags=tags, meta=meta))
        check_call(call, "start")
        given = Given.checked(id, tags, meta, if_exists)
        request, awaited = await asyncio.to_thread(self._session.begin, call, given)
        check_begun(await self._session.exchange_async(request, seconds_of(timeout)), request)
        return AsyncHandle(Handle(self._session, awaited, request.decode))

    async def run(
        self,
        call: Call[R] | Query[R],
        *,
        start: Call[Any] | None = None,
        id: str | None = None,
        timeout: Duration | None = None,
    ) -> R:
        """As `Client.run`."""
        check_call(call, "run")
        if start is not None or id is not None:
            request, awaited = await asyncio.to_thread(self._session.begin_with, call, start, id)
            await asyncio.to_thread(self._session.publish, request)
            reply = self._session.note(await self._session.wait_async(awaited, seconds_of(timeout)))
            together: R = value_of(reply, request.workflow, request.label, request.decode)
            return together
        if isinstance(call, Send | Query):
            request = await asyncio.to_thread(self._session.request, call)
            answer: R = answer_of(await self._session.exchange_async(request, seconds_of(timeout)), request)
            return answer
        return await (await self.start(call)).result(timeout)

    async def complete(self, task_id: str, value: Any = None, *, timeout: Duration | None = None) -> bool:
        """As `Client.complete`."""
        return await self._answer(completion(self._session.writer, task_id, value), timeout)

    async def fail(self, task_id: str, error: BaseException, *, timeout: Duration | None = None) -> bool:
        """As `Client.fail`."""
        return await self._answer(failure(self._session.writer, task_id, error), timeout)

    async def _answer(self, request: Request, timeout: Duration | None) -> bool:
        return was_first(await self._session.exchange_async(request, seconds_of(timeout)), request)

    async def tag(
        self, id: str, *, add: Iterable[str] = (), remove: Iterable[str] = (), timeout: Duration | None = None
    ) -> None:
        """As `Client.tag`."""
        request = await asyncio.to_thread(self._session.retagging, check_id(id), add, remove)
        reply = await self._session.exchange_async(request, seconds_of(timeout))
        check_done(TagsChanged(""), reply, request.workflow, request.label)

    async def cancel(self, those: Those, *, timeout: Duration | None = None) -> None:
        """As `Client.cancel`."""
        await self._do(those, CancelRequested(new_id()), timeout)

    async def terminate(self, those: Those, reason: str = "", *, timeout: Duration | None = None) -> None:
        """As `Client.terminate`."""
        await self._do(those, TerminateRequested(new_id(), reason), timeout)

    async def suspend(self, those: Those, reason: str = "", *, timeout: Duration | None = None) -> None:
        """As `Client.suspend`."""
        await self._do(those, SuspendRequested(new_id(), reason), timeout)

    async def resume(self, those: Those, *, timeout: Duration | None = None) -> None:
        """As `Client.resume`."""
        await self._do(those, ResumeRequested(new_id()), timeout)

    async def complete_timers(
        self, those: Those, method: str | None = None, *, timeout: Duration | None = None
    ) -> None:
        """As `Client.complete_timers`."""
        await self._do(those, TimersCompleted(new_id(), method or ""), timeout)

    async def retry(
        self,
        those: Those,
        *,
        task: str | Task[..., Any, Any] | None = None,
        service: str | None = None,
        status: FailedStatus | None = None,
        timeout: Duration | None = None,
    ) -> None:
        """As `Client.retry`."""
        await self._do(those, retry_of(task, service, status), timeout)

    async def _do(self, those: Those, event: Operation, timeout: Duration | None) -> None:
        if isinstance(those, str):
            await (await self.get(those))._do(event, timeout)
        else:
            await asyncio.to_thread(self._session.to_all, those, event)

    @overload
    async def get(self, id: str, workflow: None = None) -> AsyncHandle[Any]: ...
    @overload
    async def get(self, id: str, workflow: Callable[..., Call[R]]) -> AsyncHandle[R]: ...
    @overload
    async def get(self, id: str, workflow: type[Workflow] | str) -> AsyncHandle[Any]: ...
    async def get(self, id: str, workflow: Any = None) -> AsyncHandle[Any]:
        """As `Client.get`."""
        return AsyncHandle(await asyncio.to_thread(self._client.get, id, workflow))

    def find(
        self,
        workflow: Any = None,
        *,
        limit: int | None = None,
        **which: Unpack[Which],
    ) -> AsyncIterator[StateRecord]:
        """As `Client.find`, for `async for`."""
        where = wanted(workflow, which)
        return _each(self._session.pages("client.find()", where, checked_limit(limit)))

    async def count(
        self,
        workflow: Any = None,
        **which: Unpack[Which],
    ) -> int:
        """As `Client.count`."""
        return await asyncio.to_thread(self._client.count, workflow, **which)

    async def delete(self, id: str) -> bool:
        """As `Client.delete`."""
        return await asyncio.to_thread(self._client.delete, id)

    async def close(self) -> None:
        """As `Client.close`."""
        await asyncio.to_thread(self._client.close)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()


async def _each(pages: Iterator[tuple[StateRecord, ...]]) -> AsyncIterator[StateRecord]:
    while page := await asyncio.to_thread(next, pages, ()):
        for record in page:
            yield record
