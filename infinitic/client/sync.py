"""`Client`: starts, calls, queries, signals and finds workflows, from ordinary threads."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime
from itertools import chain
from types import TracebackType
from typing import Any, Self, TypeVar, Unpack, overload

from dsl.calls import Call, MethodCall, Query, Send, check_id
from dsl.services import Task
from dsl.timers import Duration
from dsl.workflows import Workflow
from infinitic.backends import Backend
from infinitic.backends.urls import open_backend
from infinitic.client.answers import answer_of, check_begun, check_done, value_of
from infinitic.client.calls import Given, IfExists, Request, begun, check_call, decoder_of, name_of
from infinitic.client.handles import Handle, called_on_all, sent_signal
from infinitic.client.operations import FailedStatus, Operation, Those, retry_of
from infinitic.client.session import Session, checked_limit, seconds_of
from infinitic.client.tasks import completion, failure, was_first
from infinitic.client.waiting import LOOK_AGAIN, Driver
from infinitic.client.which import Which, wanted
from infinitic.clock import Clock, system_clock
from infinitic.config import load_config
from infinitic.events import (
    CancelRequested,
    ResumeRequested,
    SuspendRequested,
    TagsChanged,
    TerminateRequested,
    TimersCompleted,
)
from infinitic.ids import new_id
from infinitic.records import StateRecord
from infinitic.serialization import Codec, Serializer

R = TypeVar("R")


class Client:
    """What starts, calls, queries, signals, cancels and awaits workflows. Thread-safe; one thread hears all
    answers.

    `Client("sqlite:///trips.db")`, `Client(transport="pulsar://…", storage="redis://…")`, or as configured.
    *codecs* carry what JSON cannot hold, as the workers' do; other keywords are settings. To be closed, or
    used as a context manager. Raises `ConfigurationError`, `StorageError` or `TransportError`.
    """

    def __init__(
        self,
        url: str | None = None,
        *,
        transport: str | None = None,
        storage: str | None = None,
        codecs: Sequence[Codec] = (),
        **config: Any,
    ) -> None:
        settings = load_config(url, transport=transport, storage=storage, **config)
        self._session = Session(open_backend(settings, "client"), Serializer(codecs, settings.largest_payload))

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
        """A client over an open backend, which it closes. *look_again* is in seconds; a *driver* is its thread."""
        client = cls.__new__(cls)
        client._session = Session(backend, Serializer(codecs), look_again=look_again, clock=clock, driver=driver)
        return client

    @property
    def id(self) -> str:
        """This client's own id, which names where it hears its answers."""
        return self._session.writer.client_id

    # --- calling ---

    def start(
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
    ) -> Handle[R]:
        """Send *call*; a handle to it, once the transport holds it.

        *id* is the workflow id of a start (else that of its options, else a new one), the call id of a
        method, the key of a signal by which a repeat is recognised. *tags* and *meta* are for starts, and
        join those of the options. A task runs as a workflow of one step, which every worker that serves
        workflows serves.

        *if_exists*: "attach" gives the instance that has the id, running or finished; "fail" wants a new one, "restart"
        takes a finished one anew: these two wait for the instance's answer, for no longer than *timeout*, and raise
        `WorkflowExists`, or `TimeoutError` when no worker answered in time (the start stays sent).

        The code of a new instance begins after *delay* (seconds, or a timedelta), or at *start_at*, an aware datetime;
        meanwhile it is there, and takes signals, calls and cancellations.

        Raises `InvalidId`, `TypeError`, `ValueError`, `EncodeError` and `DecodeError` (arguments that do not
        fit what the definition declares) before anything is sent; `TransportError`.
        """
        check_call(call, "start")
        call = begun(call, delay, start_at)
        given = Given.checked(id, tags, meta, if_exists)
        if isinstance(call, Send):
            self._session.publish(signal := self._session.signal(call, given, answered=False))
            return sent_signal(self._session, signal)  # type: ignore[return-value]  # a Send is a Call[None]
        if isinstance(call, MethodCall) and call.tag:
            self._session.publish(called := self._session.writer.method(call, given))
            return called_on_all(self._session, called, call.tag)
        request, awaited = self._session.begin(call, given)
        if if_exists == "attach":
            self._session.publish(request)
        else:
            check_begun(self._session.exchange(request, seconds_of(timeout)), request)
        return Handle(self._session, awaited, request.decode)

    def run(
        self,
        call: Call[R] | Query[R],
        *,
        start: Call[Any] | None = None,
        id: str | None = None,
        timeout: Duration | None = None,
    ) -> R:
        """The answer: starts a workflow or calls a method and waits for its result, or has a query answered.

        A signal is done, with None, once the instance has it. With *start*, a method's call or a signal begins the
        instance that it is for, if there is none, in the same step: either both come to pass or neither. *id* may name
        it once more. *timeout* is in seconds, or a timedelta. Raises what `start` and `Handle.result` raise; what a
        validator or a query raised, as itself; `UnknownWorkflow` and `WorkflowFinished`.
        """
        check_call(call, "run")
        if start is not None or id is not None:
            request, awaited = self._session.begin_with(call, start, id)
            self._session.publish(request)
            reply = self._session.note(self._session.wait(awaited, seconds_of(timeout)))
            together: R = value_of(reply, request.workflow, request.label, request.decode)
            return together
        if isinstance(call, Send | Query):
            request = self._session.request(call)
            answer: R = answer_of(self._session.exchange(request, seconds_of(timeout)), request)
            return answer
        return self.start(call).result(timeout)

    # --- tasks ---

    def complete(self, task_id: str, value: Any = None, *, timeout: Duration | None = None) -> bool:
        """Answer an open task in place of its function: a delegated one, or any other. Needs no storage.

        *task_id* is what `current_task().id` gave. True once the instance has the answer; False when the task had
        one before, which this does not change. Raises `InvalidId`, `UnknownWorkflow`, `WorkflowFinished` (the run
        that asked for it is over), `DecodeError` (the value is not what the task declares; it stays open),
        `EncodeError`; `TimeoutError` when no worker answered within *timeout* (the answer stays sent).
        """
        return self._answer(completion(self._session.writer, task_id, value), timeout)

    def fail(self, task_id: str, error: BaseException, *, timeout: Duration | None = None) -> bool:
        """Have an open task fail for good, by *error*: there is no further attempt. Else as `complete`."""
        return self._answer(failure(self._session.writer, task_id, error), timeout)

    def _answer(self, request: Request, timeout: Duration | None) -> bool:
        return was_first(self._session.exchange(request, seconds_of(timeout)), request)

    def tag(
        self, id: str, *, add: Iterable[str] = (), remove: Iterable[str] = (), timeout: Duration | None = None
    ) -> None:
        """Give the instance *id* tags and take some from it; back once it has the request.

        Raises `UnknownWorkflow`, `WorkflowFinished`; `InvalidId` and `TypeError` for what cannot be an id or tags;
        `TimeoutError` when no worker answered within *timeout* (the request stays sent).
        """
        request = self._session.retagging(check_id(id), add, remove)
        reply = self._session.exchange(request, seconds_of(timeout))
        check_done(TagsChanged(""), reply, request.workflow, request.label)

    # --- operations, on one instance or on all that have a tag ---

    def cancel(self, those: Those, *, timeout: Duration | None = None) -> None:
        """Cancel an instance, named by its id, or all that `Loyalty.by_tag("vip")` names.

        As `Handle.cancel` for one. For all that have a tag it is back once the transport holds it; each gets it once,
        and none answers. Raises `TypeError` for what names neither.
        """
        self._do(those, CancelRequested(new_id()), timeout)

    def terminate(self, those: Those, reason: str = "", *, timeout: Duration | None = None) -> None:
        """As `Handle.terminate`, of those that `cancel` would mean."""
        self._do(those, TerminateRequested(new_id(), reason), timeout)

    def suspend(self, those: Those, reason: str = "", *, timeout: Duration | None = None) -> None:
        """As `Handle.suspend`, of those that `cancel` would mean."""
        self._do(those, SuspendRequested(new_id(), reason), timeout)

    def resume(self, those: Those, *, timeout: Duration | None = None) -> None:
        """As `Handle.resume`, of those that `cancel` would mean."""
        self._do(those, ResumeRequested(new_id()), timeout)

    def complete_timers(self, those: Those, method: str | None = None, *, timeout: Duration | None = None) -> None:
        """As `Handle.complete_timers`, of those that `cancel` would mean."""
        self._do(those, TimersCompleted(new_id(), method or ""), timeout)

    def retry(
        self,
        those: Those,
        *,
        task: str | Task[..., Any, Any] | None = None,
        service: str | None = None,
        status: FailedStatus | None = None,
        timeout: Duration | None = None,
    ) -> None:
        """As `Handle.retry`, of those that `cancel` would mean."""
        self._do(those, retry_of(task, service, status), timeout)

    def _do(self, those: Those, event: Operation, timeout: Duration | None) -> None:
        if isinstance(those, str):
            self.get(those)._do(event, timeout)
        else:
            self._session.to_all(those, event)

    # --- what there is ---

    @overload
    def get(self, id: str, workflow: None = None) -> Handle[Any]: ...
    @overload
    def get(self, id: str, workflow: Callable[..., Call[R]]) -> Handle[R]: ...
    @overload
    def get(self, id: str, workflow: type[Workflow] | str) -> Handle[Any]: ...
    def get(self, id: str, workflow: Any = None) -> Handle[Any]:
        """A handle to the instance *id*, whoever started it.

        *workflow* is its function, the method that started it (`Loyalty.run`), its class or its name, or the
        task that runs alone. The result is what the function, method or task declares, else plain JSON data.
        Without *workflow* the storage is read for the name: raises `NoStorage` and `UnknownWorkflow`. Raises
        `InvalidId`.
        """
        check_id(id)
        name = self._session.existing(id) if workflow is None else name_of(workflow)
        decode = decoder_of(self._session.serializer, workflow, name)
        return Handle(self._session, self._session.awaited_run(id, name), decode)

    def find(
        self,
        workflow: Any = None,
        *,
        limit: int | None = None,
        **which: Unpack[Which],
    ) -> Iterator[StateRecord]:
        """The state records of instances, newest start first; read in pages while one iterates.

        *workflow* is a function, class, name or what `by_tag` gives. The others, all of which must fit: *status* (of
        `infinitic.records.STATUSES`), *tag*, *parent* (the workflow id of who started it as a child),
        *waiting_for* (the name of a task, a channel, a child's workflow or a called method, or a kind as
        "timer"), *since* and *until* (started then or later, before then), *ended_since* and *ended_until*,
        *id_prefix*. Instants are aware datetimes. Raises `NoStorage`, and `ValueError` or `TypeError` for what
        cannot be meant, at once.
        """
        where = wanted(workflow, which)
        return chain.from_iterable(self._session.pages("client.find()", where, checked_limit(limit)))

    def count(
        self,
        workflow: Any = None,
        **which: Unpack[Which],
    ) -> int:
        """How many instances there are, of those that `find` would give. Raises as it does."""
        return self._session.reader("client.count()").count(wanted(workflow, which))

    def delete(self, id: str) -> bool:
        """Remove an ended instance now, with its result and its history; whether there was one.

        Its id may be used anew then. Raises `WorkflowInUse` for one that has not ended, or of which it is not
        known, 5 seconds long, that all is sent which it sends; `NoStorage`, `InvalidId`.
        """
        return self._session.delete(check_id(id))

    # --- end ---

    def close(self) -> None:
        """Stop listening. Who still waits gets a `TransportError`; what was started goes on."""
        self._session.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()
