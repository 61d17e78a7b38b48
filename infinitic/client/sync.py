"""`Client`: starts, calls, queries, signals and finds workflows, from ordinary threads."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime
from itertools import chain
from types import TracebackType
from typing import Any, Self, TypeVar, overload

from dsl.calls import Call, Query, Send, check_id
from dsl.timers import Duration
from dsl.workflows import Workflow
from infinitic.backends import Backend
from infinitic.backends.urls import open_backend
from infinitic.client.answers import answer_of, value_of
from infinitic.client.calls import Given, IfExists, check_call, decoder_of, name_of
from infinitic.client.handles import Handle, sent_signal
from infinitic.client.session import Session, checked_limit, seconds_of, wanted
from infinitic.client.waiting import LOOK_AGAIN, Driver
from infinitic.clock import Clock, system_clock
from infinitic.config import load_config
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
    ) -> Handle[R]:
        """Send *call*; a handle to it, once the transport holds it.

        *id* is the workflow id of a start (else that of its options, else a new one), the call id of a
        method, the key of a signal by which a repeat is recognised. *tags* and *meta* are for starts, and
        join those of the options.

        *if_exists*: "attach" gives the instance that has the id, running or finished; "fail" wants a new one,
        "restart" takes a finished one anew: these two wait for the instance's answer, and raise
        `WorkflowExists`.

        Raises `InvalidId`, `TypeError`, `ValueError`, `EncodeError` and `DecodeError` (arguments that do not
        fit what the definition declares) before anything is sent; `TransportError`.
        """
        check_call(call, "start")
        given = Given.checked(id, tags, meta, if_exists)
        if isinstance(call, Send):
            signal = self._session.signal(call, given, answered=False)
            self._session.publish(signal)
            return sent_signal(self._session, signal)  # type: ignore[return-value]  # a Send is a Call[None]
        request, awaited = self._session.begin(call, given)
        if if_exists == "attach":
            self._session.publish(request)
        else:
            value_of(self._session.exchange(request), request.workflow, request.label, None)
        return Handle(self._session, awaited, request.decode)

    def run(self, call: Call[R] | Query[R], *, timeout: Duration | None = None) -> R:
        """The answer: starts a workflow or calls a method and waits for its result, or has a query answered.

        A signal is done, with None, once the instance has it. *timeout* is in seconds, or a timedelta. Raises
        what `start` and `Handle.result` raise; from a query, what the query raised.
        """
        check_call(call, "run")
        if isinstance(call, Send | Query):
            request = self._session.request(call)
            answer: R = answer_of(self._session.exchange(request, seconds_of(timeout)), request)
            return answer
        return self.start(call).result(timeout)

    # --- what there is ---

    @overload
    def get(self, id: str, workflow: None = None) -> Handle[Any]: ...
    @overload
    def get(self, id: str, workflow: Callable[..., Call[R]]) -> Handle[R]: ...
    @overload
    def get(self, id: str, workflow: type[Workflow] | str) -> Handle[Any]: ...
    def get(self, id: str, workflow: Any = None) -> Handle[Any]:
        """A handle to the instance *id*, whoever started it.

        *workflow* is its function, the method that started it (`Loyalty.run`), its class or its name. The
        result is what the function or method declares, else plain JSON data. Without *workflow* the storage
        is read for the name: raises `NoStorage` and `UnknownWorkflow`. Raises `InvalidId`.
        """
        name = self._session.existing(check_id(id)) if workflow is None else name_of(workflow)
        decode = decoder_of(self._session.serializer, workflow, name)
        return Handle(self._session, self._session.awaited_run(id, name), decode)

    def find(
        self,
        workflow: Any = None,
        *,
        status: str | None = None,
        tag: str | None = None,
        since: datetime | None = None,
        limit: int | None = None,
    ) -> Iterator[StateRecord]:
        """The state records of instances, newest start first; read in pages while one iterates.

        *workflow* is a function, class or name, *status* one of `infinitic.records.STATUSES`, *since* an
        aware datetime: started then or later. Raises `NoStorage`, and `ValueError` or `TypeError` for what
        cannot be meant, at once.
        """
        where = wanted(workflow, status, tag, since)
        return chain.from_iterable(self._session.pages("client.find()", where, checked_limit(limit)))

    def count(
        self,
        workflow: Any = None,
        *,
        status: str | None = None,
        tag: str | None = None,
        since: datetime | None = None,
    ) -> int:
        """How many instances there are, of those that `find` would give. Raises as it does."""
        return self._session.reader("client.count()").count(wanted(workflow, status, tag, since))

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
