"""The tree's nodes: plain data, equal by value. Instants are microseconds since 1970, values JSON text."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Literal, TypeAlias

from attrs import field, frozen

from infinitic.events import Caller, ErrorValue, Frame, Signal
from infinitic.records import RUNNING, Wait

Kind: TypeAlias = Literal["task", "timer", "child", "call", "receive", "signal", "inline", "continue", "tags", "patch"]
Status: TypeAlias = Literal[
    "waiting", "completed", "failed", "timed_out", "cancelled", "withdrawn", "voided", "ignored"
]
"""*withdrawn*: nobody wants the answer any more. *voided*: a retry asked for something else instead. *ignored*: of an
attempt, it returned after its task had timed out.
"""


NoteKind: TypeAlias = Literal[
    "cancel", "timeout", "terminate", "timers", "cleanup", "failed", "retried", "again", "tags"
]


@frozen
class Attempt:
    """One attempt of a task that is over; *number* is 0 when somebody answered by hand.

    *next_at* is when the next was due, 0 when at once or never.
    """

    number: int
    status: Status
    error: ErrorValue | None = None
    worker: str = ""
    began: int = 0
    ended: int = 0
    next_at: int = 0


@frozen
class Step:
    """One command, and all that came of it.

    *value* is the answer, or the signal that was received or sent. *attempt* is the current one of a task,
    *next_at* when that is due; *due* is a timer's instant, *delay* what was asked for. *owner* is the service
    of a task, or the workflow of the other instance, whose *workflow_id* and *run* these are; *to_tag* is set where
    all were meant that have that tag. *stopped* is when its cancellation was sent. *late* says that the run ended
    before the answer came. *task_id* is that of a delegated task whose function has returned: somebody is to
    complete it. *which* tells of which signals a receive takes. *limits* are the time limits of a task that its
    workflow watches over, *worker*, *began* and *heartbeat* are what its attempt said of itself.
    """

    position: str
    kind: Kind
    label: str
    asked: int
    turn: int
    arguments: str = "null"
    status: Status = "waiting"
    settled: int = 0
    value: str = "null"
    error: ErrorValue | None = None
    attempts: tuple[Attempt, ...] = ()
    attempt: int = 0
    next_at: int = 0
    due: int = 0
    delay: int | None = None
    owner: str = ""
    workflow_id: str = ""
    run: str = ""
    to_tag: str = ""
    stopped: int = 0
    late: bool = False
    task_id: str = ""
    which: str = ""
    limits: Mapping[str, int] = {}
    worker: str = ""
    began: int = 0
    heartbeat: int = 0
    wait: Wait | None = None

    @property
    def duration(self) -> int:
        """From when it was asked for until it was settled; 0 while it is not."""
        return max(0, self.settled - self.asked)

    @property
    def instant(self) -> bool:
        """Whether it was settled the moment it was asked for."""
        return self.status != "waiting" and self.settled == self.asked and not self.attempts

    @property
    def stack(self) -> tuple[Frame, ...]:
        """Where the code waits for it, outermost first; empty unless it does."""
        return self.wait.stack if self.wait is not None else ()


@frozen
class Note:
    """What happened to the run as a whole; *text* tells which tags.

    *failed* is a failure that was taken back since, *again* that failed tasks run again while it goes on.
    """

    at: int
    turn: int
    kind: NoteKind
    error: ErrorValue | None = None
    text: str = ""


@frozen
class Branch:
    """What one generator asked for that ran beside the others."""

    path: str
    turn: int
    nodes: tuple[Node, ...]


@frozen
class Together:
    """What was asked for at one go, and ran side by side."""

    nodes: tuple[Node, ...]


Node: TypeAlias = Step | Note | Branch | Together


@frozen
class Method:
    """One method of the instance: the first began the run, others were called.

    *ended* is 0 while it runs, and where history does not tell.
    """

    name: str
    call_id: str
    arguments: str
    started: int
    status: str = RUNNING
    ended: int = 0
    value: str = "null"
    error: ErrorValue | None = None
    nodes: tuple[Node, ...] = ()


@frozen
class Story:
    """One run. *reason* says why what came cannot be applied, *unreceived* are signals that nobody received yet.

    *dropped* are those that came for channels that keep none, when nobody waited.

    *begins* is when its code is to begin, 0 once it has. *waiting* counts all that is waited for, *late* what is under
    way although the run has ended. *previous* and *following* are the run ids before and after a continue-as-new.
    *version* is its code's.
    """

    workflow: str
    workflow_id: str
    run: str
    status: str
    methods: tuple[Method, ...]
    version: int = 0
    reason: str = ""
    tags: tuple[str, ...] = ()
    meta: Mapping[str, object] = field(factory=dict)
    parent: Caller | None = None
    previous: str = ""
    following: str = ""
    started: int = 0
    updated: int = 0
    ended: int = 0
    turns: int = 0
    waiting: int = 0
    late: int = 0
    unreceived: tuple[Signal, ...] = ()
    begins: int = 0
    dropped: tuple[Signal, ...] = ()

    @property
    def steps(self) -> tuple[Step, ...]:
        """All steps, in the order in which the tree shows them."""
        return tuple(step for method in self.methods for step in _steps(method.nodes))


def _steps(nodes: Iterable[Node]) -> Iterable[Step]:
    for node in nodes:
        if isinstance(node, Step):
            yield node
        elif isinstance(node, Branch | Together):
            yield from _steps(node.nodes)
