"""What a storage keeps of an instance beside its turns: head, state record, timers, inbox."""

from __future__ import annotations

from typing import Any

from msgspec import Raw, Struct
from msgspec.json import Decoder, Encoder

from infinitic.errors import Bug
from infinitic.events import NULL, Caller, ErrorValue, Frame

RUNNING, SUSPENDED = "running", "suspended"
COMPLETED, FAILED, CANCELLED = "completed", "failed", "cancelled"
TERMINATED, CONTINUED = "terminated", "continued"
STATUSES = (RUNNING, SUSPENDED, COMPLETED, FAILED, CANCELLED, TERMINATED, CONTINUED)
OPEN = frozenset({RUNNING, SUSPENDED})
BY_HAND = "~"
"""Stands for a code's fingerprint where no code may go on. It is behind all of them in order."""


class Version(Struct, frozen=True):
    """What the compare-and-set compares: the run, how many turns it has, the inbox's version."""

    run: str
    turns: int
    inbox: int = 0


class Mark(Struct, frozen=True):
    """Up to where publishing was confirmed: the first *turns* turns of *run*, and every run before it."""

    run: str
    turns: int


class Wait(Struct, frozen=True, omit_defaults=True):
    """One thing that an instance waits for. Instants in microseconds since 1970."""

    position: str
    kind: str  # task, timer, child, call, receive
    name: str
    since: int = 0
    attempt: int = 0
    next_at: int = 0  # the timer's instant, or the next attempt's
    error: ErrorValue | None = None  # of the last attempt, without its cause
    stack: tuple[Frame, ...] = ()
    workflow_id: str = ""  # the child's or the called instance's
    expects: str = ""  # the type of the signal that is waited for, as the source has it
    delegated: bool = False  # the task's function has returned, and somebody else will complete it
    which: str = ""  # the type and the predicate that the receive was given
    deadlines: dict[str, int] = {}  # of a task: total_timeout, queue_timeout, heartbeat → when it is broken
    heard: int = 0  # when the attempt of a task was heard of last; 0: it says nothing


class CallRecord(Struct, frozen=True, omit_defaults=True):
    """How one call of a method ended; kept for clients that ask again."""

    call_id: str
    method: str
    status: str
    value: Raw = NULL
    error: ErrorValue | None = None


class StateRecord(Struct, frozen=True, omit_defaults=True):
    """What anyone can read of an instance with no worker alive. Bounded: 20 waits, 100 ended calls."""

    workflow: str
    workflow_id: str
    run: str
    status: str = RUNNING
    reason: str = ""  # why it is suspended
    fingerprint: str = ""  # of the code that could not go on; BY_HAND when somebody suspended it
    version: int = 0  # of its code
    method: str = ""
    tags: tuple[str, ...] = ()
    meta: dict[str, Any] = {}
    caller: Caller | None = None
    root: str = ""
    started: int = 0
    updated: int = 0
    ended: int = 0
    turns: int = 0
    reply_to: str = ""
    value: Raw = NULL
    error: ErrorValue | None = None
    timed_out: bool = False
    waits: tuple[Wait, ...] = ()
    waiting: int = 0  # how many waits there are in all
    buffered: dict[str, int] = {}  # signals not yet received, by channel
    calls: tuple[CallRecord, ...] = ()
    open_calls: tuple[str, ...] = ()
    starts: tuple[str, ...] = ()  # the last 100 ids of starts, suspensions and resumptions
    late: int = 0  # commands of an ended run that are still under way
    retries: int = 0  # how often the run was taken up again after a failure
    retention: int | None = None  # in microseconds, where its start or its workflow says so


class TimerRow(Struct, frozen=True):
    """A timer. *due* never moves; *claimed_until* says until when somebody holds it. Microseconds since 1970."""

    workflow: str
    workflow_id: str
    run: str
    position: str
    due: int
    attempt: int = 0
    claimed_until: int = 0


class InboxItem(Struct, frozen=True):
    """An event that could not be applied when it came: the encoded message, once per key."""

    key: str
    body: bytes


class TurnRow(Struct, frozen=True):
    """One stored turn: the *number*-th of *run*, counted from 0."""

    run: str
    number: int
    body: bytes


class Append(Struct, frozen=True, kw_only=True):
    """What is written for one instance in one atomic step, if *expected* still holds.

    *expected* is None for an instance that must not exist yet. *run*, *turns* and *inbox_version* are what the head
    holds afterwards. *timers_cleared* are (run, position) pairs; a run in *runs_ended* loses all its timers' rows
    before *timers_set* are written. An append that changes nothing just tells whether *expected* holds.
    """

    workflow: str
    workflow_id: str
    expected: Version | None
    version: Version
    token: str
    mark: Mark
    turns: tuple[TurnRow, ...] = ()
    record: StateRecord | None = None  # None: unchanged
    timers_set: tuple[TimerRow, ...] = ()
    timers_cleared: tuple[tuple[str, str], ...] = ()
    runs_ended: tuple[str, ...] = ()
    inbox_added: tuple[InboxItem, ...] = ()
    inbox_removed: tuple[str, ...] = ()  # keys
    expires: int | None = None  # when a finished instance may be purged; None while it is not finished

    @property
    def changes(self) -> bool:
        """Whether anything is to be written at all."""
        return bool(
            self.turns
            or self.record is not None
            or self.timers_set
            or self.timers_cleared
            or self.runs_ended
            or self.inbox_added
            or self.inbox_removed
            or self.expected != self.version
        )

    def check_numbers(self, counts: dict[str, int]) -> None:
        """Raise `Bug` when the turns would not follow the *counts* that each run has, or not add up to the version."""
        for turn in self.turns:
            before = counts.get(turn.run, 0)
            if turn.number != before:
                raise Bug(f"{self.workflow_id}: turn {turn.number} does not follow {before} turns")
            counts[turn.run] = turn.number + 1
        if self.version.turns != counts.get(self.version.run, 0):
            raise Bug(f"{self.workflow_id}: {self.version} does not count the turns of its run")


class Stored(Struct, frozen=True, kw_only=True):
    """An instance as a storage gives it back: turns from the one that was asked for on, oldest first.

    *unsent* are the turns of former runs that the mark has not passed, oldest run first.
    """

    workflow: str
    workflow_id: str
    version: Version
    mark: Mark
    token: str
    record: StateRecord
    turns: tuple[TurnRow, ...] = ()
    unsent: tuple[TurnRow, ...] = ()
    inbox: tuple[InboxItem, ...] = ()
    timers: tuple[TimerRow, ...] = ()


class Filter(Struct, frozen=True, kw_only=True):
    """Which instances `find` and `count` mean; an empty field allows all.

    *parent* is the workflow id of who started them as children. *waiting* is the name of a wait that stands in the
    record (a task, a channel, the workflow of a child, the method that is called), or its kind. Instants are in
    microseconds: from *since* or *ended_since* on, up to but without *until* or *ended_until*. What has not ended
    ended at no time.
    """

    workflow: str = ""
    status: str = ""
    tag: str = ""
    parent: str = ""
    waiting: str = ""
    since: int = 0
    until: int = 0
    ended_since: int = 0
    ended_until: int = 0
    id_prefix: str = ""


_ENCODER = Encoder(order="deterministic")
_DECODER = Decoder(StateRecord)


def encode_record(record: StateRecord) -> bytes:
    """The state record as one JSON object."""
    return _ENCODER.encode(record)


def decode_record(data: bytes) -> StateRecord:
    """The state record that *data* holds. Raises `msgspec.DecodeError`."""
    return _DECODER.decode(data)
