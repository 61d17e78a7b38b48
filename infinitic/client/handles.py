"""`Handle`: an instance, or one call of a method, to await, to look at and to cancel."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any, Generic, TypeVar

from dsl.services import Task
from dsl.timers import Duration
from infinitic.client.answers import call_status, check_done, of_other_workflow, value_of
from infinitic.client.awaited import Awaited
from infinitic.client.calls import Decode, Request
from infinitic.client.operations import FailedStatus, Operation, operation_on, retry_of
from infinitic.client.session import Session, seconds_of
from infinitic.errors import UnknownWorkflow
from infinitic.events import (
    CancelRequested,
    ResumeRequested,
    Retried,
    SuspendRequested,
    TerminateRequested,
    TimersCompleted,
)
from infinitic.history import Turn
from infinitic.ids import new_id
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
        raised), `WorkflowTimedOut`, `WorkflowTerminated`, `WorkflowCancelled`, `UnknownWorkflow`,
        `WorkflowExists` (the id belongs to another workflow), `WorkflowFinished` (it took no call any more),
        `DecodeError` (the result is not what the definition declares), and `TimeoutError`: the instance goes
        on. Of a task that runs alone it raises what happened to the task: `TaskFailed`, `TaskTimedOut`,
        `TaskCancelled`. After a failure the next call looks anew: a retry may have changed it.
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
        self._do(CancelRequested(new_id(), self.call_id), timeout)

    def terminate(self, reason: str = "", *, timeout: Duration | None = None) -> None:
        """End the run at once: no code of it runs, no cleanup either. Also where its code is missing or does not fit.

        Whoever waits gets `WorkflowTerminated` with the *reason*. Its tasks and calls are cancelled; children as their
        own `parent_close` says, else cancelled. Terminating again does nothing. Raises as `cancel`.
        """
        self._do(TerminateRequested(new_id(), reason), timeout)

    def suspend(self, reason: str = "", *, timeout: Duration | None = None) -> None:
        """Have the instance stand still: what comes for it, timers too, waits in its inbox in order. Until `resume`.

        The *reason* is shown to whoever looks at it. Raises as `cancel`.
        """
        self._do(SuspendRequested(new_id(), reason), timeout)

    def resume(self, *, timeout: Duration | None = None) -> None:
        """Have a suspended instance go on with what waits in its inbox, in order.

        One that its code suspended is tried once more. One that runs goes on as it is. Raises as `cancel`, and what
        the instance says when it still cannot go on.
        """
        self._do(ResumeRequested(new_id()), timeout)

    def complete_timers(self, method: str | None = None, *, timeout: Duration | None = None) -> None:
        """Have all timers that the code waits for be over, as if they were due: `sleep`, `timeout`, `sleep_until`.

        Only those of one *method*, by its name or call id; a call's handle means that call's. Retries of tasks and
        limits of runs stay. Raises as `cancel`.
        """
        self._do(TimersCompleted(new_id(), method or self.call_id), timeout)

    def retry(
        self,
        *,
        task: str | Task[..., Any, Any] | None = None,
        service: str | None = None,
        status: FailedStatus | None = None,
        timeout: Duration | None = None,
    ) -> None:
        """Take up a failed run again where it failed; back once it is: where that waits for its code, as a call does.

        What failed unseen before, dispatched and not awaited yet, runs again by that. With *task*, *service* or
        *status* ("failed", "timed_out") the dispatched tasks that failed so run again, in a run that goes on too:
        who awaits one of them from then on waits for the new answer. Raises what the instance says when there is
        nothing to retry, `UnknownWorkflow`, and `TimeoutError` as `cancel` does.
        """
        self._do(retry_of(task, service, status), timeout)

    def _do(self, event: Operation, timeout: Duration | None) -> None:
        self._done(event, self._session.exchange(self._operation(event), seconds_of(timeout)))

    def _operation(self, event: Operation) -> Request:
        checked = operation_on(event, self.call_id, is_signal=self._is_signal)
        return self._session.writer.operation(checked, self.workflow, self.id, self._awaited.label)

    def _done(self, event: Operation, reply: Reply) -> None:
        check_done(event, reply, self.workflow, self._awaited.label)
        if isinstance(event, Retried):
            self._session.waits.forget(reply)

    def __repr__(self) -> str:
        call = f", call_id={self.call_id!r}" if self.call_id else ""
        return f"<{type(self).__name__} {self._awaited.label} id={self.id!r}{call}>"


def sent_signal(session: Session, request: Request) -> Handle[None]:
    """A handle to a signal that was sent, of which nothing more will be heard."""
    awaited = Awaited(request.workflow, request.workflow_id, request.call_id, label=request.label)
    awaited.news = Reply(request.workflow_id, "received", request.call_id)
    return Handle(session, awaited, None, is_signal=True)


def called_on_all(session: Session, request: Request, tag: str) -> Handle[Any]:
    """A handle to the call of a method on all instances that have a tag, of whose answers nothing will be heard."""

    def refused(_: object) -> Any:
        raise TypeError(f"{request.label} was called on all instances tagged {tag!r}: nobody waits for their answers")

    awaited = Awaited(request.workflow, "", request.call_id, label=request.label)
    awaited.news = Reply("", "completed", request.call_id)
    return Handle(session, awaited, refused, is_signal=True)
