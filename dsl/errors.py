"""Every error that workflow code, a task or a caller can meet, named after what happened.

InfiniticError
├── TaskFailed                  all attempts of a task failed
│   ├── TaskTimedOut            it broke one of its timeouts
│   ├── TaskCancelled           it was cancelled before it answered
│   └── WorkerLost              it killed its worker, alone, three times
├── WorkflowFailed              a run raised
│   ├── WorkflowTimedOut        a run took longer than its timeout
│   └── WorkflowTerminated      a run was terminated
├── WorkflowCancelled           a run was cancelled
├── BranchCancelled             a spawned branch was cancelled
├── WorkflowExists              the id is in use
├── WorkflowFinished            the instance has ended and takes no call
├── UnknownWorkflow             no instance has this id
├── OutsideWorkflow             a helper for workflow code was called elsewhere
├── OutsideTask                 `current_task()` was called elsewhere
├── ProtocolError               workflow code yielded or returned what it must not
├── ReadOnly                    a query or a validator asked for a command
├── InvalidId                   an id that cannot be one
└── RemoteError                 stands in for an exception class that is not known here

Cancelled (a BaseException)     thrown into workflow code that is cancelled, and into `def` tasks
RetryIn, DoNotRetry             raised by a task to decide about its retry
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from msgspec import Struct


class InfiniticError(Exception):
    """What all errors of this library have in common: they pickle, with their fields, notes and `error`."""

    def __reduce__(self) -> tuple[Any, ...]:
        caused = self.__cause__ is not None and self.__cause__ is self.__dict__.get("error")
        return (_rebuild, (type(self), self.args, self.__dict__, caused))


def _rebuild(cls: type[BaseException], args: tuple[Any, ...], fields: dict[str, Any], caused: bool) -> BaseException:
    error = cls.__new__(cls)
    error.args = args
    error.__dict__.update(fields)
    if caused:
        error.__cause__ = fields["error"]
    return error


class Attempt(Struct, frozen=True, eq=False):
    """An attempt of a task: *number* from 1, *error*, *worker*, *began* and *ended* in microseconds UTC."""

    number: int
    error: BaseException
    worker: str = ""
    began: int = 0
    ended: int = 0

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Attempt) and repr(self) == repr(other)  # errors are equal by identity only

    def __hash__(self) -> int:
        return hash(repr(self))


class TaskFailed(InfiniticError):
    """A task failed for good. `error` (and `__cause__`) is its own exception.

    `attempts` are all of them; of very many the last ones, where this comes from another process.
    """

    def __init__(self, task: str, error: BaseException, attempts: tuple[Attempt, ...] = ()) -> None:
        self.task, self.error, self.attempts = task, error, attempts
        self.__cause__ = error
        super().__init__(task, error)

    def __str__(self) -> str:
        tries = f" after {_tries(self)} attempts" if _tries(self) > 1 else ""
        return f"{self.task} failed{tries}: {_described(self.error)}"


class TaskTimedOut(TaskFailed):
    """A task broke a time limit for good; `limit` is the option that set it.

    "timeout" and "heartbeat" are its last attempt's. "total_timeout" and "queue_timeout" are the task's: `attempts`
    are then those that had failed before.
    """

    def __init__(
        self, task: str, error: BaseException, attempts: tuple[Attempt, ...] = (), limit: str = "timeout"
    ) -> None:
        super().__init__(task, error, attempts)
        self.limit = limit

    def __str__(self) -> str:
        count = _tries(self)
        if self.limit in ("timeout", "heartbeat"):
            return f"{self.task} timed out{f' on attempt {count}' if count > 1 else ''}: {self.error}"
        before = f"; attempt {count} had failed: {_described(self.attempts[-1].error)}" if self.attempts else ""
        return f"{self.task} timed out: {self.error}{before}"


class WorkerLost(TaskFailed):
    """A task killed the process that ran it, with nothing beside it, three times."""


class TaskCancelled(TaskFailed):
    """A task was cancelled by its workflow before it answered."""

    def __init__(self, task: str) -> None:
        super().__init__(task, Exception("cancelled"))
        self.__cause__ = None

    def __str__(self) -> str:
        return f"{self.task} was cancelled"


class WorkflowFailed(InfiniticError):
    """A run failed. `error` (and `__cause__`) is what its code raised."""

    def __init__(self, workflow: str, workflow_id: str, error: BaseException) -> None:
        self.workflow, self.workflow_id, self.error = workflow, workflow_id, error
        self.__cause__ = error
        super().__init__(workflow, workflow_id, error)

    def __str__(self) -> str:
        return f"{self.workflow} {self.workflow_id!r} failed: {_described(self.error)}"


class WorkflowTimedOut(WorkflowFailed):
    """A run took longer than its timeout."""

    def __str__(self) -> str:
        return f"{self.workflow} {self.workflow_id!r} timed out: {self.error}"


class WorkflowTerminated(WorkflowFailed):
    """A run was terminated: nothing of its code ran for that."""

    def __init__(self, workflow: str, workflow_id: str, reason: str = "") -> None:
        super().__init__(workflow, workflow_id, Exception(reason or "no reason was given"))
        self.reason = reason
        self.__cause__ = None

    def __str__(self) -> str:
        return f"{self.workflow} {self.workflow_id!r} was terminated" + (f": {self.reason}" if self.reason else "")


class WorkflowCancelled(InfiniticError):
    """A run was cancelled."""

    def __init__(self, workflow: str, workflow_id: str) -> None:
        self.workflow, self.workflow_id = workflow, workflow_id
        super().__init__(workflow, workflow_id)

    def __str__(self) -> str:
        return f"{self.workflow} {self.workflow_id!r} was cancelled"


class BranchCancelled(InfiniticError):
    """A spawned branch was cancelled, and somebody awaited its answer."""

    def __init__(self, position: str) -> None:
        self.position = position
        super().__init__(position)

    def __str__(self) -> str:
        return f"branch {self.position} was cancelled"


class WorkflowExists(InfiniticError):
    """The id belongs to another instance already."""

    def __init__(self, workflow: str, workflow_id: str, status: str) -> None:
        self.workflow, self.workflow_id, self.status = workflow, workflow_id, status
        super().__init__(workflow, workflow_id, status)

    def __str__(self) -> str:
        return (
            f"{self.workflow_id!r} is in use by {_a(self.workflow)} instance that is {self.status}. "
            "Choose another id, attach to it (if_exists='attach'), or restart it once it has ended."
        )


class WorkflowFinished(InfiniticError):
    """The instance has ended and takes no signal, call or cancellation."""

    said = "takes no further calls or signals"  # what that means for what was asked for

    def __init__(self, workflow: str, workflow_id: str, status: str) -> None:
        self.workflow, self.workflow_id, self.status = workflow, workflow_id, status
        super().__init__(workflow, workflow_id, status)

    def __str__(self) -> str:
        return f"{self.workflow} {self.workflow_id!r} is {self.status} and {self.said}."


class UnknownWorkflow(InfiniticError):
    """No instance has this id."""

    def __init__(self, workflow: str, workflow_id: str) -> None:
        self.workflow, self.workflow_id = workflow, workflow_id
        super().__init__(workflow, workflow_id)

    def __str__(self) -> str:
        return f"there is no {self.workflow or 'workflow'} instance with the id {self.workflow_id!r}"


class OutsideWorkflow(InfiniticError):
    """A helper that only works inside workflow code was called elsewhere."""

    def __init__(self, what: str) -> None:
        self.what = what
        super().__init__(what)

    def __str__(self) -> str:
        return (
            f"{self.what} works only inside a workflow while it runs. "
            "In a task or a script use Python's own (datetime, uuid, random, logging)."
        )


class OutsideTask(InfiniticError):
    """*what* was called where no task runs, or no batch of them; or `current_task()` in one, where several run."""

    def __init__(self, what: str = "current_task()") -> None:
        self.what = what
        super().__init__(what)

    def __str__(self) -> str:
        if self.what == "current_task()":
            return "current_task() works only inside a task that a worker runs."
        return (
            "current_batch() is for tasks that a worker runs in batches, and tells of each; current_task() for others."
        )


class ProtocolError(InfiniticError):
    """Workflow code yielded or returned what it must not; the message says what to write instead."""

    def __init__(self, message: str) -> None:
        self.message = message
        super().__init__(message)


class ReadOnly(InfiniticError):
    """What may only read (a query, a validator, a predicate of `receive`) asked for something to happen."""

    def __init__(self, what: str) -> None:
        self.what = what
        super().__init__(what)

    def __str__(self) -> str:
        return (
            f"queries, validators and predicates may only read, and one asked for {self.what}. "
            "Leave it out, or make it a @method."
        )


class InvalidId(InfiniticError, ValueError):
    """A text that cannot be an id."""

    def __init__(self, what: str, value: str, expected: str) -> None:
        self.what, self.value, self.expected = what, value, expected
        super().__init__(what, value, expected)

    def __str__(self) -> str:
        return f"{self.value} cannot be {self.what}: expected {self.expected}."


class RemoteError(InfiniticError):
    """Stands in for an exception whose class is not known in this process; its *fields* are attributes too."""

    def __init__(self, type: str, message: str, fields: dict[str, Any] | None = None) -> None:
        self.type, self.message, self.fields = type, message, fields or {}
        super().__init__(type, message)

    def __getattr__(self, name: str) -> Any:
        try:
            return self.__dict__["fields"][name]
        except KeyError:
            raise AttributeError(f"{self.__dict__.get('type')} has no field {name!r} here", name=name) from None

    @property
    def name(self) -> str:
        """The class's own name, without its module."""
        return self.type.rpartition(":")[2].rpartition(".")[2]

    def __str__(self) -> str:
        return f"{self.name}: {self.message}" if self.message else self.name


class Cancelled(BaseException):
    """Thrown into workflow code at its current yield when it is cancelled. Cleanup may yield commands.

    Raised in the thread of a `def` task too, when nobody wants its answer any more.
    """


class RetryIn(Exception):
    """Raised by a task, best `from` the cause: try again after this delay, whatever the policy says.

    *delay* is in seconds, or a timedelta. The policy's number of attempts still holds.
    """

    def __init__(self, delay: float | timedelta, message: str = "") -> None:
        self.delay = delay.total_seconds() if isinstance(delay, timedelta) else float(delay)
        if not 0 <= self.delay < float("inf"):
            raise ValueError(f"RetryIn takes seconds, zero or more, not {delay!r}")
        super().__init__(self.delay, message)

    def __str__(self) -> str:
        return self.args[1] or f"to be tried again in {self.delay:g} s"


class DoNotRetry(Exception):
    """Raised by a task, best `from` the cause: no further attempt, whatever the policy says."""


def _tries(failed: TaskFailed) -> int:
    return failed.attempts[-1].number if failed.attempts else 1


def _described(error: BaseException) -> str:
    return str(error) if isinstance(error, InfiniticError) else f"{type(error).__name__}: {error}"


def _a(noun: str) -> str:
    return f"{'an' if noun[:1].lower() in 'aeiou' else 'a'} {noun}"
