"""Slots: where the answers of commands go, and what waits for them.

A slot is *running* until it is settled, once. A branch that yielded it, and the combinators it is an item of, observe
it. Errors are thrown fresh each time: an exception that is thrown twice grows its traceback.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from dsl.errors import BranchCancelled, TaskCancelled, WorkflowCancelled
from infinitic.events import AttemptFailed, Frame
from infinitic.history import CallIssued, ChildIssued, TaskIssued, TimerIssued

if TYPE_CHECKING:
    from infinitic.engine.branches import Branch

RUNNING, COMPLETED, FAILED, CANCELLED = "running", "completed", "failed", "cancelled"

Fresh = Callable[[], BaseException]


class Slot:
    """What all slots have. *owned* says that a combinator or a yield holds the only handle: it may be lost."""

    __slots__ = ("fresh_error", "observers", "owned", "position", "since", "stack", "status", "value")

    kind = ""

    def __init__(self, position: str, since: int = 0) -> None:
        self.position = position
        self.status = RUNNING
        self.value: Any = None
        self.fresh_error: Fresh | None = None
        self.observers: list[Any] = []
        self.owned = True
        self.since = since
        self.stack: tuple[Frame, ...] | None = None

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


class TaskSlot(Slot):
    """A task: *attempt* is the current one's number, *next_at* is when the next is due while it waits for that."""

    __slots__ = ("attempt", "attempts", "decode", "issued", "next_at", "uncounted")

    kind = "task"

    def __init__(self, issued: TaskIssued, decode: Callable[[Any], Any] | None, since: int) -> None:
        super().__init__(issued.position, since)
        self.issued = issued
        self.decode = decode
        self.attempt = 1
        self.attempts: list[AttemptFailed] = []
        self.next_at = 0
        self.uncounted = 0

    @property
    def label(self) -> str:
        """As in `Hotels.book`."""
        return task_label(self.issued)

    def cancelled_error(self) -> BaseException:
        return TaskCancelled(self.label)


def task_label(issued: TaskIssued) -> str:
    """The name of a task for people, as in `Hotels.book`."""
    return issued.name if issued.name == issued.service else f"{issued.service}.{issued.name}"


class TimerSlot(Slot):
    """A timer, and the instant at which it is *due*."""

    __slots__ = ("issued",)

    kind = "timer"

    def __init__(self, issued: TimerIssued, since: int) -> None:
        super().__init__(issued.position, since)
        self.issued = issued


class RemoteSlot(Slot):
    """A child, or a call of a method of an instance: both are answered by another instance."""

    __slots__ = ("decode", "issued")

    def __init__(self, issued: ChildIssued | CallIssued, decode: Callable[[Any], Any] | None, since: int) -> None:
        super().__init__(issued.position, since)
        self.issued = issued
        self.decode = decode

    @property
    def kind(self) -> str:  # type: ignore[override]  # two kinds in one class
        """Whether it is a child or a call."""
        return "child" if isinstance(self.issued, ChildIssued) else "call"

    @property
    def label(self) -> str:
        """As in `trip` or `Loyalty.redeem`."""
        return f"{self.issued.workflow}.{self.issued.method}" if self.issued.method else self.issued.workflow

    def cancelled_error(self) -> BaseException:
        return WorkflowCancelled(self.issued.workflow, self.issued.workflow_id)


class ReceiveSlot(Slot):
    """A wait for the next signal of a channel."""

    __slots__ = ("channel", "decode")

    kind = "receive"

    def __init__(self, position: str, channel: str, decode: Callable[[Any], Any], since: int) -> None:
        super().__init__(position, since)
        self.channel = channel
        self.decode = decode

    @property
    def label(self) -> str:
        """The channel's name."""
        return self.channel


class BranchSlot(Slot):
    """The answer of a branch."""

    __slots__ = ("branch",)

    kind = "branch"

    def __init__(self, branch: Branch, since: int) -> None:
        super().__init__(branch.path, since)
        self.branch = branch


class JoinSlot(Slot):
    """A combinator: told of each item that settles, it may settle itself."""

    __slots__ = ("items", "left", "losers", "names", "rule")

    kind = "join"

    def __init__(self, items: list[Slot], rule: Callable[[JoinSlot, int], bool], losers: str, since: int) -> None:
        super().__init__("", since)
        self.items = items
        self.rule = rule
        self.losers = losers  # what becomes of tasks and children that lose: "run on" or "cancel"
        self.left = len(items)
        self.names: tuple[str, ...] = ()
