"""Every error that workflow code, a task or a caller can meet, named after what happened.

InfiniticError
├── TaskFailed                  all attempts of a task failed
│   ├── TaskTimedOut            the last one by its timeout
│   ├── TaskCancelled           it was cancelled before it answered
│   └── WorkerLost              it killed its worker, alone, three times
├── WorkflowFailed              a run raised
│   └── WorkflowTimedOut        a run took longer than its timeout
├── WorkflowCancelled           a run was cancelled
├── BranchCancelled             a spawned branch was cancelled
├── WorkflowExists              the id is in use
├── WorkflowFinished            the instance has ended and takes no call
├── UnknownWorkflow             no instance has this id
├── OutsideWorkflow             a helper for workflow code was called elsewhere
├── OutsideTask                 `current_task()` was called elsewhere
├── ProtocolError               workflow code yielded or returned what it must not
├── ReadOnly                    a query asked for a command
├── InvalidId                   an id that cannot be one
└── RemoteError                 stands in for an exception class that is not known here

Cancelled (a BaseException)     thrown into workflow code that is cancelled
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
    """A task failed for good. `error` (and `__cause__`) is its own exception; `attempts` are all of them."""

    def __init__(self, task: str, error: BaseException, attempts: tuple[Attempt, ...] = ()) -> None:
        self.task, self.error, self.attempts = task, error, attempts
        self.__cause__ = error
        super().__init__(task, error)

    def __str__(self) -> str:
        tries = f" after {len(self.attempts)} attempts" if len(self.attempts) > 1 else ""
        return f"{self.task} failed{tries}: {_described(self.error)}"


class TaskTimedOut(TaskFailed):
    """A task's last attempt took longer than its timeout."""

    def __str__(self) -> str:
        tries = f" on attempt {len(self.attempts)}" if len(self.attempts) > 1 else ""
        return f"{self.task} timed out{tries}: {self.error}"


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

    def __init__(self, workflow: str, workflow_id: str, status: str) -> None:
        self.workflow, self.workflow_id, self.status = workflow, workflow_id, status
        super().__init__(workflow, workflow_id, status)

    def __str__(self) -> str:
        return f"{self.workflow} {self.workflow_id!r} is {self.status} and takes no further calls or signals."


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
    """`current_task()` was called where no task runs."""

    def __str__(self) -> str:
        return "current_task() works only inside a task that a worker runs."


class ProtocolError(InfiniticError):
    """Workflow code yielded or returned what it must not; the message says what to write instead."""

    def __init__(self, message: str) -> None:
        self.message = message
        super().__init__(message)

    def __str__(self) -> str:
        return self.message


class ReadOnly(InfiniticError):
    """A query, which may only read, asked for something to happen."""

    def __init__(self, what: str) -> None:
        self.what = what
        super().__init__(what)

    def __str__(self) -> str:
        return f"a query may only read, and this one asked for {self.what}. Make it a @method, or leave it out."


class InvalidId(InfiniticError, ValueError):
    """A text that cannot be an id."""

    def __init__(self, what: str, value: str, expected: str) -> None:
        self.what, self.value, self.expected = what, value, expected
        super().__init__(what, value, expected)

    def __str__(self) -> str:
        return f"{self.value} cannot be {self.what}: expected {self.expected}."


class RemoteError(InfiniticError):
    """Stands in for an exception whose class is not known in this process."""

    def __init__(self, type: str, message: str, fields: dict[str, Any] | None = None) -> None:
        self.type, self.message, self.fields = type, message, fields or {}
        super().__init__(type, message)

    @property
    def name(self) -> str:
        """The class's own name, without its module."""
        return self.type.rpartition(":")[2].rpartition(".")[2]

    def __str__(self) -> str:
        return f"{self.name}: {self.message}" if self.message else self.name


class Cancelled(BaseException):
    """Thrown into workflow code at its current yield when it is cancelled. Cleanup may yield commands."""


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


def _described(error: BaseException) -> str:
    return str(error) if isinstance(error, InfiniticError) else f"{type(error).__name__}: {error}"


def _a(noun: str) -> str:
    return f"{'an' if noun[:1].lower() in 'aeiou' else 'a'} {noun}"
