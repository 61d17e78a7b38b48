"""What can arrive for an instance, and the plain form of an error.

An event is carried by a message to the workflow's topic, and recorded in the turn that it causes. Instants and
durations are whole microseconds; `Raw` fields hold JSON as it was sent.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, TypeAlias

from msgspec import Meta, Raw, Struct

NULL = Raw(b"null")
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
CENTURY = 100 * 365 * 86_400 * 1_000_000
Duration: TypeAlias = Annotated[int, Meta(ge=0, le=CENTURY)]
"""Of what no database could hold, the message is refused."""
EventId: TypeAlias = Annotated[str, Meta(max_length=255)]


def to_datetime(microseconds: int) -> datetime:
    """The aware UTC datetime of an instant given in microseconds since 1970."""
    return EPOCH + timedelta(microseconds=microseconds)


def from_datetime(when: datetime) -> int:
    """The instant of an aware datetime, in microseconds since 1970."""
    return (when - EPOCH) // timedelta(microseconds=1)


class Frame(Struct, frozen=True, omit_defaults=True):
    """One line of a stack: *source* is the text of the line when it could be read."""

    file: str
    line: int
    function: str
    source: str = ""


class ErrorValue(Struct, frozen=True, omit_defaults=True):
    """An exception as data: what it was, what it said, its fields, its cause and where it was raised."""

    type: str  # "module:QualName"
    message: str
    fields: dict[str, Any] = {}
    args: tuple[Any, ...] | None = None
    cause: ErrorValue | None = None
    notes: tuple[str, ...] = ()
    stack: tuple[Frame, ...] = ()
    traceback: str = ""

    @property
    def name(self) -> str:
        """The class's own name, without its module."""
        return self.type.rpartition(":")[2].rpartition(".")[2]

    @property
    def summary(self) -> str:
        """One line: the class's name and the message's first line."""
        first = self.message.partition("\n")[0]
        return f"{self.name}: {first}" if first else self.name


class Caller(Struct, frozen=True, omit_defaults=True):
    """The command of a workflow that waits for an answer: where the answer goes."""

    workflow: str
    workflow_id: str
    run: str
    position: str


class Signal(Struct, frozen=True, omit_defaults=True):
    """One message in a channel."""

    id: str
    channel: str
    value: Raw = NULL


class Event(Struct, frozen=True, omit_defaults=True, tag_field="kind"):
    """What all events have: *id*, the key by which a repeat is recognised."""

    id: EventId


class Started(Event, frozen=True, omit_defaults=True, tag="started"):
    """An instance's run begins. The run id comes with it, so a repeated start is the same run."""

    workflow: str
    run: str
    method: str = ""  # "" for a workflow function
    arguments: Raw = NULL
    tags: tuple[str, ...] = ()
    meta: dict[str, Any] = {}
    caller: Caller | None = None
    root: str = ""  # workflow id of the topmost ancestor; "" when it is the instance itself
    reply_to: str = ""
    if_exists: str = "attach"
    timeout: Duration = 0  # of the whole run, from when its code begins; 0 is none
    cleanup_timeout: Duration = 0  # of what a cancelled run still does; 0 is none
    retention: Duration | None = None  # for which it is kept after its end; None: what its worker says
    delay: Duration = 0  # after which its code begins
    start_at: int = 0  # the instant at which its code begins; 0: at once
    version: int = 0  # of its code; 0 in a message is the highest that the worker has
    sent: int = 0
    also: SignalReceived | MethodCalled | None = None  # comes in the same step, to an instance that exists too
    # moved over by continue-as-new
    previous: str = ""  # run id of the run before
    first: str = ""  # run id of the first run of the chain
    began: int = 0  # when that one began
    signals: tuple[Signal, ...] = ()
    senders: tuple[str, ...] = ()


class TaskCompleted(Event, frozen=True, omit_defaults=True, tag="completed"):
    """An attempt of a task returned; *attempt* is 0 when somebody else completed it, who may wait at *reply_to*."""

    position: str
    value: Raw = NULL
    attempt: int = 1
    worker: str = ""
    began: int = 0
    ended: int = 0
    reply_to: str = ""


class AttemptFailed(Event, frozen=True, omit_defaults=True, tag="attempt_failed"):
    """An attempt of a task failed. *retry_in* is the policy's answer: microseconds, or None for never again.

    *attempt* is 0 when somebody else failed it, who may wait at *reply_to*: whichever there is fails, for good.
    *details* are those of its last heartbeat. *limit* is which timeout it broke where that is not its own ("timeout"):
    "heartbeat" or "queue_timeout"; an attempt that a worker refused for that has not *began*.
    """

    position: str
    error: ErrorValue
    attempt: int = 1
    retry_in: Duration | None = None
    timed_out: bool = False
    worker: str = ""
    began: int = 0
    ended: int = 0
    details: Raw = NULL
    limit: str = ""
    reply_to: str = ""

    @property
    def ran(self) -> bool:
        """Whether the attempt ran: a worker may have refused it."""
        return not self.limit or bool(self.began)


class TaskStarted(Event, frozen=True, omit_defaults=True, tag="task_started"):
    """An attempt of a task began: said of tasks that somebody watches over, once an attempt.

    *heartbeat* is how long it may say nothing, 0 for ever. *delegated*: its function has returned, and somebody
    else will complete it.
    """

    position: str
    attempt: int = 1
    worker: str = ""
    began: int = 0
    heartbeat: Duration = 0
    delegated: bool = False


class Heartbeat(Event, frozen=True, omit_defaults=True, tag="heartbeat"):
    """An attempt of a task goes on. *details* are handed to the next one, if it comes to that."""

    position: str
    attempt: int = 1
    details: Raw = NULL


class TimerFired(Event, frozen=True, omit_defaults=True, tag="fired"):
    """A timer is due. *attempt* tells the retries of one task apart; 0 for a timer of the workflow's own."""

    position: str
    attempt: int = 0


class SignalReceived(Event, frozen=True, omit_defaults=True, tag="signal"):
    """A signal came for one of the instance's channels."""

    channel: str
    value: Raw = NULL
    reply_to: str = ""


class MethodCalled(Event, frozen=True, omit_defaults=True, tag="call"):
    """A method of the instance was called. The event's id is the call id."""

    method: str
    arguments: Raw = NULL
    caller: Caller | None = None
    reply_to: str = ""


class TimersCompleted(Event, frozen=True, omit_defaults=True, tag="complete_timers"):
    """The timers that the instance waits for are over now: all, or those of one *method* by its name or call id."""

    method: str = ""
    reply_to: str = ""


class TagsChanged(Event, frozen=True, omit_defaults=True, tag="tags"):
    """The instance gets and loses tags."""

    added: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    reply_to: str = ""


class TerminateRequested(Event, frozen=True, omit_defaults=True, tag="terminate"):
    """The run ends now, and no code runs for that. *run* names one run; "" is whichever there is."""

    reason: str = ""
    run: str = ""
    reply_to: str = ""


class SuspendRequested(Event, frozen=True, omit_defaults=True, tag="suspend"):
    """The instance is to stand still: what comes for it waits in its inbox, until somebody resumes it."""

    reason: str = ""
    reply_to: str = ""


class ResumeRequested(Event, frozen=True, omit_defaults=True, tag="resume"):
    """An instance that was suspended by hand goes on with what waits in its inbox."""

    reply_to: str = ""


class CancelRequested(Event, frozen=True, omit_defaults=True, tag="cancel"):
    """The instance, or one call of it, is to be cancelled. *run* names one run; "" is whichever there is."""

    call_id: str = ""
    run: str = ""
    reply_to: str = ""


class Answered(Event, frozen=True, omit_defaults=True, tag="answered"):
    """Another instance answered the command at *position*: a child, or a method called on an instance."""

    position: str
    status: str = "completed"  # completed, failed, cancelled, timed_out, terminated, exists, finished, unknown
    value: Raw = NULL
    error: ErrorValue | None = None
    workflow: str = ""
    workflow_id: str = ""


class Retried(Event, frozen=True, omit_defaults=True, tag="retried"):
    """A failed run is taken up again: turn *voids* (the one that failed it) and all later ones are applied anew.

    With *tasks*, tasks that failed run again, in a run that goes on too: of one *service*, one name (*task*), one
    *status* ("failed" or "timed_out"); "" is all.
    """

    voids: int = -1  # -1 in a message: the engine fills it in
    reply_to: str = ""
    caller: Caller | None = None  # the parent that is told when there is no such run any more
    tasks: bool = False
    task: str = ""
    service: str = ""
    status: str = ""


AnyEvent: TypeAlias = (
    Started
    | TaskCompleted
    | AttemptFailed
    | TaskStarted
    | Heartbeat
    | TimerFired
    | SignalReceived
    | MethodCalled
    | TimersCompleted
    | TagsChanged
    | CancelRequested
    | TerminateRequested
    | SuspendRequested
    | ResumeRequested
    | Answered
    | Retried
)
