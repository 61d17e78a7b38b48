"""The unit of history: a turn, and the commands and sends that it holds.

A turn is stored as one JSON object. What workflow code asked for is a *command* and is compared on replay; what the
engine sends because of it (a retry's next attempt, a cancellation, an answer) is a *send* and is not compared.
Everything that a turn sends can be told from the turns alone, without the workflow's code.
"""

from __future__ import annotations

from typing import Any, TypeAlias

from msgspec import Raw, Struct
from msgspec.json import Decoder, Encoder

from infinitic.events import NULL, AnyEvent, Caller, ErrorValue


class Issued(Struct, frozen=True, omit_defaults=True, tag_field="kind"):
    """What all recorded commands have. *failure* is set when the command could not even be sent."""

    position: str


class TaskIssued(Issued, frozen=True, omit_defaults=True, tag="task"):
    """A task was asked for. *options* hold what the call itself said: retry, timeouts, heartbeat, tags, meta.

    *total_timeout* and *queue_timeout*, which the engine watches over, are the contract's where the call says nothing.
    """

    service: str
    name: str
    arguments: Raw = NULL
    options: dict[str, Any] = {}
    failure: ErrorValue | None = None


class TimerIssued(Issued, frozen=True, omit_defaults=True, tag="timer"):
    """A timer was set. *delay* is what was asked for and is compared (None: an absolute time); *due* is the instant."""

    due: int
    delay: int | None = None


class ChildIssued(Issued, frozen=True, omit_defaults=True, tag="child"):
    """Another workflow was started."""

    workflow: str
    workflow_id: str
    run: str
    method: str = ""
    arguments: Raw = NULL
    options: dict[str, Any] = {}  # tags, meta, timeout, cleanup_timeout, retention, delay, start_at, parent_close
    failure: ErrorValue | None = None


class CallIssued(Issued, frozen=True, omit_defaults=True, tag="call"):
    """A method of an instance was called, or of all that have a *tag*, whose answers nobody gets."""

    workflow: str
    workflow_id: str
    method: str
    arguments: Raw = NULL
    failure: ErrorValue | None = None
    call_id: str = ""  # the one that the call was given; else it is told from the position
    to_tag: str = ""


class SignalIssued(Issued, frozen=True, omit_defaults=True, tag="signal"):
    """A signal was sent to an instance, or to all that have a *tag*."""

    workflow: str  # "" when only the channel of a module is known
    workflow_id: str
    channel: str
    value: Raw = NULL
    failure: ErrorValue | None = None
    signal_id: str = ""  # the one that the signal was given; else it is told from the position
    to_tag: str = ""


class ReceiveIssued(Issued, frozen=True, omit_defaults=True, tag="receive"):
    """A signal is waited for; *signal* is the id of the buffered one that answered at once.

    *which* tells people of its type and predicate; all that is compared of it is whether there is one.
    """

    channel: str
    signal: str = ""
    failure: ErrorValue | None = None  # the buffered signal is not what the channel declares, or a predicate raised
    which: str = ""


class InlineIssued(Issued, frozen=True, omit_defaults=True, tag="inline"):
    """A function was run in the middle of the turn; its result or its error."""

    name: str
    value: Raw = NULL
    failure: ErrorValue | None = None


class ContinueIssued(Issued, frozen=True, omit_defaults=True, tag="continue"):
    """The run goes on as a new one."""

    workflow: str
    run: str
    method: str = ""
    arguments: Raw = NULL
    options: dict[str, Any] = {}
    failure: ErrorValue | None = None


class TagsIssued(Issued, frozen=True, omit_defaults=True, tag="tags"):
    """The instance gave itself tags, and took some from itself."""

    added: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()


class PatchIssued(Issued, frozen=True, omit_defaults=True, tag="patch"):
    """The code asked for the first time whether *patch* is in it, and it is. It takes no number of its branch."""

    patch: str = ""


AnyIssued: TypeAlias = (
    TaskIssued
    | TimerIssued
    | ChildIssued
    | CallIssued
    | SignalIssued
    | ReceiveIssued
    | InlineIssued
    | ContinueIssued
    | TagsIssued
    | PatchIssued
)


class Send(Struct, frozen=True, omit_defaults=True, tag_field="kind"):
    """What all sends have."""


class NextAttempt(Send, frozen=True, omit_defaults=True, tag="attempt"):
    """The task at *position* is sent again. The policy counts attempts after *uncounted* only.

    *lost*: the attempt before fell silent, and the policy is yet to be asked.
    """

    position: str
    attempt: int
    uncounted: int = 0
    lost: bool = False


class Cancellation(Send, frozen=True, omit_defaults=True, tag="cancel"):
    """The task, the child or the call at *position* is cancelled."""

    position: str


class Termination(Send, frozen=True, omit_defaults=True, tag="terminate"):
    """The child at *position* is terminated."""

    position: str


class RetryChild(Send, frozen=True, omit_defaults=True, tag="retry_child"):
    """The failed child at *position* is to be retried, because this run is."""

    position: str


class Answer(Send, frozen=True, omit_defaults=True, tag="answer"):
    """A method of this instance ended: what its caller is told.

    *status* is completed, failed, cancelled, timed_out, terminated; *caller* is a waiting workflow, *reply_to* a
    waiting client.
    """

    call_id: str  # "" for the run's own (first) method
    status: str
    value: Raw = NULL
    error: ErrorValue | None = None
    caller: Caller | None = None
    reply_to: str = ""


AnySend: TypeAlias = NextAttempt | Cancellation | Termination | RetryChild | Answer


class End(Struct, frozen=True, omit_defaults=True):
    """How a run ended: status completed, failed, cancelled, terminated or continued."""

    status: str
    value: Raw = NULL
    error: ErrorValue | None = None
    timed_out: bool = False


class Turn(Struct, frozen=True, omit_defaults=True):
    """One event, and every command that the workflow issued because of it."""

    event: AnyEvent
    at: int  # microseconds since 1970, never before the turn before
    commands: tuple[AnyIssued, ...] = ()
    settled: tuple[str, ...] = ()  # positions, where the event does not name them: which receive took the signal
    refused: ErrorValue | None = None  # the answer could not be decoded: its position failed with this
    sends: tuple[AnySend, ...] = ()
    end: End | None = None
    late: bool = False  # appended after the run's end, without code
    dropped: bool = False  # the signal came for a channel that keeps none, and nobody waited for it
    raised: dict[str, ErrorValue] = {}  # by position: what predicates raised over the signal, whose receives failed


_ENCODER = Encoder(order="deterministic")
_DECODER = Decoder(Turn)


def encode_turn(turn: Turn) -> bytes:
    """The turn as one JSON object."""
    return _ENCODER.encode(turn)


def decode_turn(data: bytes) -> Turn:
    """The turn that *data* holds. Raises `msgspec.DecodeError`."""
    return _DECODER.decode(data)
