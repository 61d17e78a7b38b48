"""A live instance: suspended generators, the table of open slots, and the turn that is being made.

Plain state; the modules beside this one move it. An instance is used by one thread at a time. It does no I/O and
reads no clock: time and ids come with events.
"""

from __future__ import annotations

from collections.abc import Callable
from contextvars import Context
from typing import Any

from msgspec import Struct, field

from dsl.errors import Cancelled
from dsl.inlines import Inline
from infinitic.engine.branches import Branch, MethodRun
from infinitic.engine.programs import Program
from infinitic.engine.slots import ReceiveSlot, Slot, TaskSlot
from infinitic.errors import UnreadableHistory
from infinitic.events import ErrorValue, Frame, Signal, Started
from infinitic.history import AnyIssued, AnySend, Cancellation, End, NextAttempt, RetryChild, Termination, Turn
from infinitic.records import OPEN, RUNNING, CallRecord
from infinitic.serialization import Serializer, as_decode_error

LIVE, REPLAY, QUERY, EVICTING = "live", "replay", "query", "evicting"

SENDERS = 10_000
CALLS = 100


class Signatures(dict[Any, Any]):
    """The signatures of definitions, made at first use."""

    def __init__(self, codec: Serializer) -> None:
        self.codec = codec

    def __missing__(self, definition: Any) -> Any:
        return self.setdefault(definition, self.codec.signature(definition))


class Surroundings:
    """What the outside lends to instances: the payload codec, source lines, how to run an inline function."""

    __slots__ = ("codec", "limit", "run_inline", "signatures", "source")

    def __init__(
        self,
        codec: Serializer,
        source: Callable[[str, int], str] = lambda file, line: "",
        run_inline: Callable[[Inline[Any]], Any] = lambda inline: inline.fn(*inline.args, **inline.kwargs),
        limit: int = 0,  # of bytes in the arguments of one command; 0 is none
    ) -> None:
        self.codec, self.signatures = codec, Signatures(codec)
        self.source, self.run_inline, self.limit = source, run_inline, limit


class LogLine(Struct, frozen=True):
    """One line that workflow code logged in the present turn."""

    level: int
    message: str
    args: tuple[Any, ...]
    extra: dict[str, Any]


class Draft(Struct, eq=False):
    """The turn that is being made. On replay *recorded* is history's, and *taken* how many of its commands came."""

    recorded: Turn | None = None
    taken: int = 0
    commands: list[AnyIssued] = []
    tags: tuple[str, ...] = ()  # with which the turn began, after its event
    sends: tuple[AnySend, ...] = ()
    slots: dict[str, Slot] = {}  # by position, of what was sent again or cancelled
    settled: tuple[str, ...] = ()
    refused: ErrorValue | None = None
    raised: dict[str, ErrorValue] = {}
    dropped: bool = False
    timers_set: dict[str, tuple[int, int]] = {}  # position → (due, attempt)
    timers_cleared: tuple[str, ...] = ()
    continued: Started | None = None
    again: bool = False  # events that were taken before are applied anew, by a retry
    carried: tuple[str, ...] = ()  # what a retry takes from a failed turn, and has not looked for answers to
    logs: tuple[LogLine, ...] = ()
    unawaited: tuple[tuple[str, BaseException], ...] = ()  # failures that nobody looked at until the run ended

    def send(self, send: NextAttempt | Cancellation | Termination | RetryChild, slot: Slot) -> None:
        """Send something about the command of *slot*."""
        self.sends += (send,)
        self.slots[slot.position] = slot

    def clear_timer(self, position: str) -> None:
        """The timer at *position* is no longer wanted."""
        if self.timers_set.pop(position, None) is None:
            self.timers_cleared += (position,)


class Instance(Struct, eq=False):
    """One run of an instance, alive. It is made empty; its first event is a `Started`."""

    program: Program
    workflow_id: str
    surroundings: Surroundings
    # where its code runs: what that sets (decimal's precision, say) it finds again, on replay too, and nobody else does
    context: Context = field(default_factory=Context)
    started: Started | None = None
    run: str = ""
    state: Any = None
    tags: tuple[str, ...] = ()
    # history so far
    at: int = 0
    began: int = 0
    turns: int = 0
    status: str = RUNNING
    end: End | None = None
    ended_at: int = 0
    failed_turn: int = -1
    # what runs and what is waited for
    methods: list[MethodRun] = []
    method_count: int = 0
    branches: dict[str, Branch] = {}
    counters: dict[str, int] = {}  # of branches that have ended
    open: dict[str, Slot] = {}
    receivers: dict[str, list[ReceiveSlot]] = {}
    mailboxes: dict[str, list[Signal]] = {}
    senders: dict[str, None] = {}
    calls: dict[str, CallRecord] = {}
    patches: dict[str, bool] = {}  # changes of the code that it asked about, and whether they hold
    unseen: tuple[Slot, ...] = ()  # failures that nobody has awaited yet
    failed: dict[str, TaskSlot] = {}  # of tasks that were dispatched
    overran: set[str] = set()  # positions of tasks that broke a limit, and may yet succeed
    # the turn that is being made
    mode: str = LIVE
    draft: Draft = field(default_factory=Draft)
    current: Branch | None = None
    ready: list[tuple[Branch, Slot | None]] = []
    divergence: Diverged | None = None
    # after a retry: a dict of the commands of failed turns by position, None once they cannot be carried on any more
    generation: int = 0
    voided: Any = ()

    @property
    def cleanup_timeout(self) -> int:
        """How long what was cancelled may take for its cleanup, in microseconds; 0: as long as it likes."""
        return (self.started.cleanup_timeout if self.started is not None else 0) or self.program.cleanup_timeout

    @property
    def ended(self) -> bool:
        """Whether the run has ended."""
        return self.status not in OPEN

    def unreadable(self, position: str, error: Exception) -> Diverged:
        """To be raised when what history recorded at *position* is not what today's types say."""
        problem = UnreadableHistory(self.workflow_id, position, str(as_decode_error(error)))
        self.divergence = Diverged(problem)
        return self.divergence


class Diverged(BaseException):
    """Unwinds workflow code whose commands are not those of history; `error` says what differs, `stack` where."""

    def __init__(self, error: BaseException, stack: tuple[Frame, ...] = ()) -> None:
        self.error, self.stack = error, stack
        super().__init__(error)


FAILURES = (Exception, Cancelled, SystemExit, GeneratorExit)
"""What workflow code may raise as its own. Anything else passes through the engine: it is for the worker."""


class Refusal(Struct, frozen=True, eq=False):
    """Why an event was turned away and nothing recorded: *status* is finished, unknown, exists or refused.

    *spoilt*: what refused it has changed the live instance, which is to be given up.
    """

    status: str
    error: BaseException
    spoilt: bool = False
