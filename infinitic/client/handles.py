"""`Handle`: an instance, or one call of a method, to await, to look at and to cancel."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any, Generic, TypeVar

from dsl.timers import Duration
from infinitic.client.answers import call_status, check_cancelled, of_other_workflow, value_of
from infinitic.client.awaited import Awaited
from infinitic.client.calls import Decode, Request
from infinitic.client.session import Session, seconds_of
from infinitic.errors import UnknownWorkflow
from infinitic.history import Turn
from infinitic.messages import Reply
from infinitic.records import RUNNING, StateRecord

R_co = TypeVar("R_co", covariant=True)


class Handle(Generic[R_co]):
    """An instance (*call_id* is ""), one call of a method of it, or a signal that was sent to it.

    Made by `client.start` and `client.get`. It needs no closing, and may be used from several threads.
    """

    def __init__(self, session: Session, awaited: Awaited, decode: Decode | None, *, is_signal: bool = False) -> None:
        self._session, self._awaited, self._decode, self._is_signal = session, awaited, decode, is_signal

    @property
    def id(self) -> str:
        """The workflow id."""
        return self._awaited.workflow_id

    @property
    def call_id(self) -> str:
        """The id of the method call, or of the signal; "" for the instance itself."""
        return self._awaited.call_id

    @property
    def workflow(self) -> str:
        """The name of the workflow; "" when a signal was sent and nobody here knows it."""
        return self._awaited.workflow

    def result(self, timeout: Duration | None = None) -> R_co:
        """What the run's first method, or the called one, returned; waits for it, through continue-as-new
        too.

        *timeout* is in seconds, or a timedelta; without one it waits as long as it takes, and 0 only looks.
        None at once for a signal that was sent. Raises `WorkflowFailed` (its `__cause__` is what the code
        raised), `WorkflowTimedOut`, `WorkflowCancelled`, `UnknownWorkflow`, `WorkflowExists` (the id belongs
        to another workflow), `WorkflowFinished` (it took no call any more), `DecodeError` (the result is not
        what the definition declares), and `TimeoutError`: the instance goes on. After a failure the next call
        looks anew: a retry may have changed it.
        """
        return self._answer(self._session.wait(self._awaited, seconds_of(timeout)))

    def __await__(self) -> Generator[Any, Any, R_co]:
        """`await handle` is `result()` without blocking the event loop."""
        return self._result_async(None).__await__()

    async def _result_async(self, timeout: Duration | None) -> R_co:
        return self._answer(await self._session.wait_async(self._awaited, seconds_of(timeout)))

    def _answer(self, reply: Reply) -> R_co:
        self._awaited.tell(self._session.note(reply))
        result: R_co = value_of(reply, self.workflow, self._awaited.label, self._decode)
        return result

    def status(self) -> str:
        """One of `infinitic.records.STATUSES`: of the call, where the handle is one's; read from the storage.

        "running" too for what this client started and nobody has taken up yet. Raises `NoStorage`,
        `UnknownWorkflow`.
        """
        record = self._record("handle.status()")
        if record is None:
            return RUNNING
        return call_status(record, self.call_id) if self.call_id else record.status

    def history(self) -> tuple[Turn, ...]:
        """The turns of the current run, oldest first. Raises `NoStorage`, `UnknownWorkflow`."""
        record = self._record("handle.history()")
        return () if record is None else self._session.turns(self.id, record.run)

    def _record(self, what: str) -> StateRecord | None:
        """The state record; None when what this client sent has not arrived yet."""
        [record] = self._session.reader(what).records([self.id])
        if record is not None and record.workflow != self.workflow and self.workflow:
            raise of_other_workflow(record, self._awaited)
        if record is None and not self._awaited.own:
            raise UnknownWorkflow(self.workflow, self.id)
        return record

    def cancel(self, *, timeout: Duration | None = None) -> None:
        """Cancel the run, or the call; back once the instance has the request. Cleanup may take longer:
        `result()`.

        Cancelling again what was cancelled does nothing. Raises `UnknownWorkflow`, `WorkflowFinished`;
        `TimeoutError` when no worker answered within *timeout* (the request stays sent), `TypeError` for a
        signal.
        """
        check_cancelled(self._session.exchange(self._cancellation(), seconds_of(timeout)), self.workflow)

    def retry(self, *, timeout: Duration | None = None) -> None:
        """Take up a failed run again where it failed; back once the instance has the request.

        Raises what the instance says when it did not fail, `UnknownWorkflow`, and `TimeoutError` as `cancel`
        does.
        """
        reply = self._session.exchange(self._retry(), seconds_of(timeout))
        self._retried(reply)

    def _cancellation(self) -> Request:
        if self._is_signal:
            raise TypeError("a signal that was sent cannot be taken back: handle.cancel() is for runs and calls")
        return self._session.writer.cancel(self.workflow, self.id, self.call_id, self._awaited.label)

    def _retry(self) -> Request:
        if self.call_id:
            raise TypeError("a run is retried, and not one call: client.get(id, workflow).retry()")
        return self._session.writer.retry(self.workflow, self.id, self._awaited.label)

    def _retried(self, reply: Reply) -> None:
        value_of(reply, self.workflow, self._awaited.label, None)
        self._session.waits.forget(reply)

    def __repr__(self) -> str:
        call = f", call_id={self.call_id!r}" if self.call_id else ""
        return f"<{type(self).__name__} {self._awaited.label} id={self.id!r}{call}>"


def sent_signal(session: Session, request: Request) -> Handle[None]:
    """A handle to a signal that was sent, of which nothing more will be heard."""
    awaited = Awaited(request.workflow, request.workflow_id, request.call_id, label=request.label)
    awaited.news = Reply(request.workflow_id, "received", request.call_id)
    return Handle(session, awaited, None, is_signal=True)
