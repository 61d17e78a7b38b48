"""Slots: where the answers of commands go, and what waits for them.

A slot is *running* until it is settled, once. A branch that yielded it, and the combinators it is an item of,
observe it. Errors are made fresh each time: an exception that is thrown twice grows its traceback.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from msgspec import Raw, Struct

from dsl.channels import Receive
from dsl.errors import BranchCancelled, TaskCancelled, TaskTimedOut, WorkflowCancelled
from infinitic.events import NULL, AttemptFailed
from infinitic.history import CallIssued, ChildIssued, TaskIssued, TimerIssued

RUNNING, COMPLETED, FAILED, CANCELLED = "running", "completed", "failed", "cancelled"

Decode = Callable[[Any], Any]
Fresh = Callable[[], BaseException]


class Slot(Struct, eq=False):
    """What all slots have. *owned* says that a combinator or a yield holds the only handle: it may be lost."""

    position: str
    since: int
    status: str = RUNNING
    value: Any = None
    fresh_error: Fresh | None = None
    observers: tuple[Any, ...] = ()  # branches, and pairs of a combinator's slot and the item's index
    owned: bool = True

    kind: str = ""

    @property
    def label(self) -> str:
        """What it is, for people."""
        return self.kind

    def error(self) -> BaseException:
        """The failure or the cancellation, as a fresh exception."""
        return self.fresh_error() if self.fresh_error is not None else self.cancelled_error()

    def cancelled_error(self) -> BaseException:
        """What somebody sees who awaits this after it was cancelled."""
        return BranchCancelled(self.position)


class Watch(Struct, eq=False):
    """What is known of a task that has deadlines or says more than its answer.

    *attempt* is the last one that said that it began, *worker* who runs it, *heard* when that was heard of last.
    """

    deadlines: dict[str, int] = {}  # which → when it is due
    attempt: int = 0
    worker: str = ""
    began: int = 0
    heartbeat: int = 0  # of *attempt*: how long it may say nothing
    heard: int = 0
    details: Raw = NULL


class TaskSlot(Slot, kw_only=True):
    """A task: *attempt* is the current one's number, *next_at* when the next is due while it waits for that.

    *delegated*: the attempt's function has returned, and somebody else will complete it.
    """

    issued: TaskIssued
    decode: Decode
    attempt: int = 1
    attempts: tuple[AttemptFailed, ...] = ()
    next_at: int = 0
    uncounted: int = 0
    delegated: bool = False
    watch: Watch | None = None

    kind: str = "task"

    @property
    def label(self) -> str:
        return task_label(self.issued)

    @property
    def timed_out(self) -> bool:
        """Whether it failed by one of its time limits."""
        return isinstance(self.error(), TaskTimedOut)

    def cancelled_error(self) -> BaseException:
        return TaskCancelled(self.label)


def task_label(issued: TaskIssued) -> str:
    """The name of a task for people, as in `Hotels.book`."""
    return issued.name if issued.name == issued.service else f"{issued.service}.{issued.name}"


class TimerSlot(Slot, kw_only=True):
    """A timer of the workflow's own."""

    issued: TimerIssued

    kind: str = "timer"


class StartSlot(TimerSlot, kw_only=True):
    """The instant at which the run's code is to begin."""

    kind: str = "start"

    @property
    def label(self) -> str:
        return "its start"


class RemoteSlot(Slot, kw_only=True):
    """What another instance answers: a child, or a call of a method; *kind* tells which."""

    issued: ChildIssued | CallIssued
    decode: Decode

    @property
    def label(self) -> str:
        return f"{self.issued.workflow}.{self.issued.method}" if self.issued.method else self.issued.workflow

    def cancelled_error(self) -> BaseException:
        return WorkflowCancelled(self.issued.workflow, self.issued.workflow_id)


class ReceiveSlot(Slot, kw_only=True):
    """A wait for the next signal of a channel."""

    channel: str
    decode: Decode
    receive: Receive[Any]

    kind: str = "receive"

    @property
    def label(self) -> str:
        return self.channel


class JoinSlot(Slot, kw_only=True):
    """A combinator: told of each item that settles, its *rule* says whether it settles too."""

    items: list[Slot]
    rule: Callable[[JoinSlot, int], bool]
    losers: str  # what becomes of tasks and children that lose: "run on" or "cancel"
    left: int
    names: tuple[str, ...] = ()

    kind: str = "join"
