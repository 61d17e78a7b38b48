"""What a rehearsed workflow hears, in the words of whoever writes the test."""

from __future__ import annotations

from typing import Any, TypeAlias

from attrs import field, frozen

from dsl.calls import Call
from dsl.channels import Channel, Sender
from infinitic.engine.attempts import TEXTS


def _name_of(channel: str | Channel[Any] | Sender[Any]) -> str:
    found: Any = getattr(channel, "_channel", channel)  # a sender's
    return str(getattr(found, "name", found))


def _raisable(error: Exception | type[Exception]) -> Exception:
    """*error*, which may be a class, as in `raise`. Raises `TypeError` for what cannot be raised."""
    made = error() if isinstance(error, type) else error
    if not isinstance(made, Exception):
        raise TypeError(f"what is raised is an exception, not {error!r}")
    return made


@frozen
class TaskCompleted:
    """The task that was asked for at *position* returned *value*."""

    position: str
    value: Any = None


@frozen
class TaskRaised:
    """The task at *position* failed for good with *error*: the workflow gets a `TaskFailed` with this cause."""

    position: str
    error: Exception = field(converter=_raisable)


def _limit(instance: TimedOut, attribute: object, limit: str) -> None:
    if limit not in TEXTS:
        raise ValueError(f"a task breaks one of {', '.join(map(repr, TEXTS))}, not {limit!r}")


@frozen
class TimedOut:
    """The task at *position* broke its *limit* for good: the workflow gets a `TaskTimedOut`.

    "total_timeout" and "queue_timeout" take the time that the call, or the contract, gives them; "timeout" and
    "heartbeat" are the last attempt's.
    """

    position: str
    limit: str = field(default="timeout", validator=_limit)


@frozen
class TimerFired:
    """The timer at *position* is due; time goes on to that instant."""

    position: str


@frozen
class ChildCompleted:
    """The workflow at *position*, a child or one of which a method was called, answered *value*."""

    position: str
    value: Any = None


@frozen
class ChildRaised:
    """The workflow at *position* failed with *error*: the one that waits gets a `WorkflowFailed` with this cause."""

    position: str
    error: Exception = field(converter=_raisable)


@frozen
class SignalSent:
    """Somebody sent *value* to a channel, given by itself or by its name."""

    channel: str = field(converter=_name_of)
    value: Any = None


@frozen
class MethodCalled:
    """Somebody called a method of the instance: `MethodCalled(Loyalty.redeem(points=3))`."""

    call: Call[Any]


@frozen
class CancelRequested:
    """Somebody cancelled the run."""


Answer: TypeAlias = (
    TaskCompleted
    | TaskRaised
    | TimedOut
    | TimerFired
    | ChildCompleted
    | ChildRaised
    | SignalSent
    | MethodCalled
    | CancelRequested
)
