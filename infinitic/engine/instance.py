"""A live instance: suspended generators, the table of open slots, and the turn that is being made.

Plain state; the modules beside this one move it. An instance is used by one thread at a time. It does no I/O and reads
no clock: time and ids come with events.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any, Protocol

from msgspec import Raw

from dsl.inlines import Inline
from infinitic.engine.branches import Branch, MethodRun
from infinitic.engine.programs import Program
from infinitic.engine.slots import ReceiveSlot, Slot
from infinitic.events import NULL, AnyEvent, ErrorValue, Signal, Started
from infinitic.history import AnyIssued, AnySend, Cancellation, End, NextAttempt, RetryChild, Turn
from infinitic.records import OPEN, RUNNING, CallRecord

LIVE, REPLAY, QUERY, EVICTING = "live", "replay", "query", "evicting"

SENDERS = 10_000
CALLS = 100


class Codec(Protocol):
    """What the engine needs of `infinitic.serialization.Serializer`."""

    def encode(self, value: Any) -> bytes: ...
    def decoder(self, type: Any) -> Callable[[Any], Any]: ...
    def signature(self, definition: Any) -> Any: ...


def _no_source(file: str, line: int) -> str:
    return ""


def _call(command: Inline[Any]) -> Any:
    return command.fn(*command.args, **command.kwargs)


class Surroundings:
    """What the outside lends to instances: the payload codec, source lines, and how to run an inline function.

    *limit* is how many bytes the arguments of one command may have, 0 for any.
    """

    __slots__ = ("codec", "limit", "run_inline", "source")

    def __init__(
        self,
        codec: Codec,
        source: Callable[[str, int], str] = _no_source,
        run_inline: Callable[[Inline[Any]], Any] = _call,
        limit: int = 0,
    ) -> None:
        self.codec = codec
        self.limit = limit
        self.source = source
        self.run_inline = run_inline


class LogLine:
    """One line that workflow code logged in the present turn."""

    __slots__ = ("args", "extra", "level", "message")

    def __init__(self, level: int, message: str, args: tuple[Any, ...], extra: dict[str, Any]) -> None:
        self.level, self.message, self.args, self.extra = level, message, args, extra


class Draft:
    """The turn that is being made: what was issued and sent, and on replay what the recorded one says."""

    __slots__ = (
        "commands",
        "continued",
        "logs",
        "recorded",
        "refused",
        "sends",
        "settled",
        "slots",
        "taken",
        "timers_cleared",
        "timers_set",
        "unawaited",
    )

    def __init__(self, recorded: Turn | None = None) -> None:
        self.recorded = recorded
        self.taken = 0
        self.commands: list[AnyIssued] = []
        self.sends: list[AnySend] = []
        self.slots: dict[str, Slot] = {}  # by position, of what was sent again or cancelled
        self.settled: list[str] = []
        self.refused: ErrorValue | None = None
        self.timers_set: dict[str, tuple[int, int]] = {}  # position → (due, attempt)
        self.timers_cleared: list[str] = []
        self.continued: Started | None = None
        self.logs: list[LogLine] = []
        self.unawaited: list[tuple[str, BaseException]] = []

    def send(self, send: NextAttempt | Cancellation | RetryChild, slot: Slot) -> None:
        """Send something about the command of *slot*."""
        self.sends.append(send)
        self.slots[slot.position] = slot


class Instance:
    """One run of an instance, alive. It is made empty; its first event is a `Started`."""

    __slots__ = (
        "at",
        "began",
        "branches",
        "calls",
        "cancelling",
        "counters",
        "current",
        "divergence",
        "draft",
        "end",
        "ended_at",
        "failed_event",
        "failed_turn",
        "generation",
        "late",
        "mailboxes",
        "main_value",
        "method_count",
        "methods",
        "mode",
        "open",
        "program",
        "ready",
        "receivers",
        "run",
        "senders",
        "started",
        "state",
        "status",
        "surroundings",
        "turns",
        "voided",
        "workflow_id",
    )

    def __init__(self, program: Program, workflow_id: str, surroundings: Surroundings) -> None:
        self.program = program
        self.workflow_id = workflow_id
        self.surroundings = surroundings
        self.started: Started | None = None
        self.run = ""
        self.state: Any = None
        # history so far
        self.at = 0
        self.began = 0
        self.turns = 0
        self.status = RUNNING
        self.end: End | None = None
        self.ended_at = 0
        self.main_value: Raw = NULL
        self.cancelling = False
        # what runs and what is waited for
        self.methods: dict[int, MethodRun] = {}
        self.method_count = 0
        self.branches: dict[str, Branch] = {}
        self.counters: dict[str, int] = {}  # of branches that have ended
        self.open: dict[str, Slot] = {}
        self.receivers: dict[str, list[ReceiveSlot]] = {}
        self.mailboxes: dict[str, list[Signal]] = {}
        self.senders: dict[str, None] = {}
        self.calls: dict[str, CallRecord] = {}
        # the turn that is being made
        self.mode = LIVE
        self.draft = Draft()
        self.current: Branch | None = None
        self.ready: deque[tuple[Branch, Slot | None]] = deque()
        self.divergence: BaseException | None = None
        # a failed run that may be retried
        self.failed_turn = -1
        self.failed_event: AnyEvent | None = None
        self.late: list[AnyEvent] = []
        self.generation = 0
        self.voided: dict[str, AnyIssued] = {}

    @property
    def ended(self) -> bool:
        """Whether the run has ended."""
        return self.status not in OPEN

    @property
    def live(self) -> bool:
        """Whether a new turn is being made, and not one of history applied again."""
        return self.mode == LIVE


class Diverged(BaseException):
    """Unwinds workflow code whose commands are not those of history; `error` says what differs."""

    def __init__(self, error: BaseException) -> None:
        self.error = error
        super().__init__(error)


class Refusal:
    """Why an event was turned away and nothing recorded: *status* is finished, unknown, exists or refused."""

    __slots__ = ("error", "status")

    def __init__(self, status: str, error: BaseException) -> None:
        self.status, self.error = status, error
