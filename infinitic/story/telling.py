"""Telling: the turns, one after the other, become the tree."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from attrs import evolve
from msgspec import structs

from infinitic.engine.arriving import CLEANUP, RUN_TIMEOUT, START
from infinitic.engine.receiving import NOBODY
from infinitic.engine.tags import changed
from infinitic.events import (
    Answered,
    AnyEvent,
    AttemptFailed,
    CancelRequested,
    ErrorValue,
    MethodCalled,
    Retried,
    Signal,
    SignalReceived,
    Started,
    TagsChanged,
    TaskCompleted,
    TaskStarted,
    TerminateRequested,
    TimerFired,
    TimersCompleted,
)
from infinitic.history import (
    Answer,
    AnyIssued,
    AnySend,
    Cancellation,
    ContinueIssued,
    End,
    NextAttempt,
    ReceiveIssued,
    RetryChild,
    TagsIssued,
    Termination,
    Turn,
)
from infinitic.ids import task_id
from infinitic.records import OPEN, RUNNING, StateRecord
from infinitic.story.nodes import Branch, Method, Node, Note, NoteKind, Step, Story, Together
from infinitic.story.steps import asked, changes, heard, left, passed, text


def tell(record: StateRecord, turns: Sequence[Turn]) -> Story:
    """The story of the run whose *turns* these are, oldest first.

    *record* is the instance's: of this run, or of a later one, which then knows nothing of it.
    """
    teller = _Teller(record.workflow_id)
    for turn in turns:
        teller.take(turn)
    return teller.story(record)


class _Teller:
    """Goes through the turns once; keeps the steps by position, and their order by branch."""

    def __init__(self, workflow_id: str) -> None:
        self.workflow_id = workflow_id
        self.started = Started("", "", "")
        self.turns = 0
        self.at = 0
        self.end: End | None = None
        self.steps: dict[str, Step] = {}
        self.notes: dict[str, Note] = {}
        self.order: dict[str, list[str]] = {}  # by path: positions, paths of branches, and notes
        self.methods: list[Method] = []
        self.signals: dict[str, Signal] = {}
        self.mailbox: dict[str, None] = {}  # ids of signals that nobody received yet
        self.came: list[tuple[int, str]] = []  # in which turn which signal was kept or taken
        self.dropped: list[Signal] = []
        self.following = ""
        self.begins = 0
        self.tags: tuple[str, ...] = ()

    # --- one turn ---

    def take(self, turn: Turn) -> None:
        """Go on by one turn: its event, what it settled, what it asked for, what it sent, how it ended."""
        self.at = turn.at
        self._event(turn)
        came = iter(self._came(turn.event))
        for position in turn.settled:
            self._receive(position, turn.raised.get(position), came)
        for issued in turn.commands:
            self._ask(issued)
        for send in turn.sends:
            self._send(send)
        if turn.end is not None:
            self._finish(turn.end)
        self.turns += 1

    def _event(self, turn: Turn) -> None:
        match turn.event:
            case Started() as event:
                self._begin(event, turn)
            case TaskCompleted() | AttemptFailed() | Answered() | TaskStarted() as event:
                self._answer_came(event, turn)
            case TimerFired(position=position):
                self._fire(position)
            case SignalReceived() as event:
                self._signal(Signal(event.id, event.channel, event.value), dropped=turn.dropped)
            case MethodCalled() as event if all(one.call_id != event.id for one in self.methods):
                self.methods.append(Method(event.method, event.id, text(event.arguments), self.at))
            case _:
                self._interfere(turn)

    def _begin(self, event: Started, turn: Turn) -> None:
        self.started, self.tags = event, event.tags
        self.methods.append(Method(event.method, "", text(event.arguments), self.at))
        self._post(*event.signals)
        begins = event.start_at or self.at + event.delay
        self.begins = begins if begins > self.at else 0
        if event.also is not None:
            self._event(structs.replace(turn, event=event.also))

    def _answer_came(self, event: TaskCompleted | AttemptFailed | Answered | TaskStarted, turn: Turn) -> None:
        step = self.steps.get(event.position)
        if step is None:
            return
        step = heard(step, event, turn)
        if isinstance(event, TaskStarted) and event.delegated:
            id = task_id(self.started.workflow, self.workflow_id, self.started.run, event.position)
            step = evolve(step, task_id=id)
        self._put(step)

    def _interfere(self, turn: Turn) -> None:
        match turn.event:
            case CancelRequested(call_id=call_id):
                self._note("cancel", self._path_of(call_id))
            case TagsChanged() as event:
                self.tags = changed(self.tags, event)
                self._note("tags", said=changes(event))
            case TerminateRequested():
                self._note("terminate")
            case TimersCompleted():
                self._note("timers", next((position.partition(".")[0] for position in turn.settled), "m0"))
            case Retried() if self.end is not None:
                self._retry()
            case Retried():
                self._note("again", next((one.position.partition(".")[0] for one in _again(turn)), "m0"))

    def _fire(self, position: str) -> None:
        command, slash, deadline = position.partition("/")
        step = self.steps.get(command)
        if position == RUN_TIMEOUT:
            self._note("timeout")
        elif position == START:
            self.begins = 0
        elif position.startswith(CLEANUP):
            self._note("cleanup", f"m{position.rpartition('/')[2]}")
        elif step is not None and slash:
            self._put(passed(step, slash + deadline, self.at))
        elif step is not None and step.kind == "timer" and step.status == "waiting":
            self._put(evolve(step, status="completed", settled=self.at))

    def _post(self, *signals: Signal) -> None:
        for signal in signals:
            self.signals[signal.id] = signal
            self.mailbox[signal.id] = None

    def _signal(self, signal: Signal, *, dropped: bool) -> None:
        if dropped:
            self.dropped.append(signal)
        else:
            self._post(signal)
            self.came.append((self.turns, signal.id))

    def _came(self, event: AnyEvent) -> list[str]:
        """The signals that a turn applied, in order: after a retry once more those since the turn that failed."""
        if isinstance(event, Retried):
            return [id for turn, id in self.came if turn >= event.voids]
        along = event.also if isinstance(event, Started) else event
        return [along.id] if isinstance(along, SignalReceived) else []

    def _receive(self, position: str, raised: ErrorValue | None, came: Iterator[str]) -> None:
        """The next signal settled a receive, failed it by what its predicate *raised*, or found nobody."""
        step = self.steps.get(position)
        if step is not None and step.kind == "timer":
            self._put(evolve(step, status="completed", settled=self.at))
        elif position == NOBODY:
            self.mailbox[next(came)] = None
        elif step is not None and step.kind == "receive" and raised is not None:
            self._put(evolve(step, status="failed", settled=self.at, error=raised))
        elif step is not None and step.kind == "receive":
            taken = next(came)
            self.mailbox.pop(taken, None)
            self._put(evolve(step, status="completed", settled=self.at, value=text(self.signals[taken].value)))

    def _retry(self) -> None:
        """The run's failure is taken back: it goes on."""
        if self.end is not None:
            self._note("failed", error=self.end.error, at=self.methods[0].ended)
        self._note("retried")
        self.end = None
        self.methods[0] = evolve(self.methods[0], status=RUNNING, ended=0, error=None)
        self.steps = {position: evolve(step, late=False) for position, step in self.steps.items()}

    # --- commands ---

    def _ask(self, issued: AnyIssued) -> None:
        position, _, generation = issued.position.partition("~")
        path = position.rpartition(".")[0]
        if generation:
            self._void(position, int(generation))
        if isinstance(issued, ContinueIssued):
            self.following = issued.run
        elif isinstance(issued, TagsIssued):
            self.tags = changed(self.tags, issued)
        signal = self.signals.get(issued.signal) if isinstance(issued, ReceiveIssued) else None
        if signal is not None:
            self.mailbox.pop(signal.id, None)
        self._place(path, issued.position)
        self._put(asked(issued, self.at, self.turns, signal))

    def _void(self, position: str, generation: int) -> None:
        """What earlier generations asked for at *position* was replaced."""
        for name in (position, *(f"{position}~{number}" for number in range(1, generation))):
            if name in self.steps:
                self._put(evolve(self.steps[name], status="voided"))

    def _place(self, path: str, name: str) -> None:
        """Keep that *name* comes next on *path*; the branch itself comes, where it began, on its parent's."""
        if path not in self.order:
            self.order[path] = []
            parent = path.rpartition(".")[0]
            if parent:
                self._place(parent, path)
        if name not in self.order[path]:
            self.order[path].append(name)

    def _put(self, step: Step) -> None:
        self.steps[step.position] = step

    def _note(
        self, kind: NoteKind, path: str = "m0", error: ErrorValue | None = None, at: int = 0, said: str = ""
    ) -> None:
        name = f"{path}!{len(self.notes)}"
        self.notes[name] = Note(at or self.at, self.turns, kind, error, said)
        self._place(path, name)

    def _path_of(self, call_id: str) -> str:
        return f"m{next((n for n, one in enumerate(self.methods) if one.call_id == call_id), 0)}"

    # --- sends and ends ---

    def _send(self, send: AnySend) -> None:
        if isinstance(send, Answer):
            self._answer(send)
            return
        step = self.steps.get(send.position)
        if step is None:
            return
        match send:
            case NextAttempt(attempt=attempt):
                self._put(evolve(step, status="waiting", settled=0, error=None, attempt=attempt, next_at=0, task_id=""))
            case RetryChild():
                self._put(evolve(step, status="waiting", settled=0, error=None))
            case Cancellation() if step.status == "timed_out":
                pass  # what still runs of it is told
            case Cancellation() if step.kind == "task":
                self._put(evolve(step, status="cancelled", settled=self.at, stopped=self.at, next_at=0))
            case Cancellation() | Termination():
                self._put(evolve(step, stopped=self.at))

    def _answer(self, answer: Answer) -> None:
        for number, method in enumerate(self.methods):
            if method.call_id == answer.call_id and method.status == RUNNING:
                self.methods[number] = evolve(
                    method, status=answer.status, ended=self.at, value=text(answer.value), error=answer.error
                )

    def _finish(self, end: End) -> None:
        self.end = end
        first = self.methods[0]
        if first.status == RUNNING:
            status = "timed_out" if end.timed_out else end.status
            self.methods[0] = evolve(first, status=status, ended=self.at, value=text(end.value), error=end.error)

    # --- the whole ---

    def story(self, record: StateRecord) -> Story:
        """The story, with what the state record knows besides."""
        started = self.started
        current = record.run == started.run or not self.turns  # its start may wait in the inbox
        known = current and record.turns == self.turns
        self._reckon(record if known else None)
        ended = self.end is not None
        status = self.end.status if self.end is not None else record.status if current else RUNNING
        return Story(
            workflow=record.workflow,
            workflow_id=record.workflow_id,
            run=started.run or record.run,
            status=status,
            methods=tuple(self._method(number, record) for number in range(len(self.methods))),
            version=started.version,
            reason=record.reason if current else "",
            tags=record.tags if known else self.tags,
            meta=started.meta,
            parent=started.caller,
            previous=started.previous,
            following=self.following,
            started=self.methods[0].started if self.methods else record.started,
            updated=self.at,
            ended=record.ended if known else self.at if ended else 0,
            turns=self.turns,
            waiting=record.waiting if known else 0,
            late=sum(step.late and step.status == "waiting" for step in self.steps.values()),
            unreceived=tuple(self.signals[id] for id in self.mailbox),
            begins=0 if ended else self.begins,
            dropped=tuple(self.dropped),
        )

    def _reckon(self, record: StateRecord | None) -> None:
        """What became of what has no answer: history keeps no word of timers and receives that lost."""
        waits = {wait.position: wait for wait in record.waits} if record is not None else {}
        listed = [position for position in self.steps if position in waits]
        everything = record is not None and record.waiting == len(record.waits)
        passed = record is not None and record.status in OPEN and (everything or bool(listed))
        for position, step in [*self.steps.items()]:
            if position in waits:
                self._put(evolve(step, wait=waits[position]))
            elif step.status == "waiting" and self.end is not None:
                self._put(left(step))
            elif step.status == "waiting" and passed:
                self._put(evolve(step, status="cancelled" if step.stopped else "withdrawn"))
            if not everything and listed and position == listed[-1]:
                passed = False  # those after it may wait, too: the record lists the first twenty only

    def _method(self, number: int, record: StateRecord) -> Method:
        method = evolve(self.methods[number], nodes=self._nodes(f"m{number}"))
        if method.status != RUNNING or record.run != self.started.run:
            return method
        for call in record.calls:
            if call.call_id == method.call_id:
                return evolve(method, status=call.status, value=text(call.value), error=call.error)
        return method

    def _nodes(self, path: str) -> tuple[Node, ...]:
        return _together([self._node(name) for name in self.order.get(path, ())])

    def _node(self, name: str) -> Step | Note | Branch:
        if name in self.steps:
            return self.steps[name]
        if name in self.notes:
            return self.notes[name]
        nodes = self._nodes(name)
        return Branch(name, min(_turn(node) for node in nodes), nodes)


def _again(turn: Turn) -> Sequence[NextAttempt]:
    """The tasks that a turn runs again."""
    return [send for send in turn.sends if isinstance(send, NextAttempt)]


def _turn(node: Node) -> int:
    return min(map(_turn, node.nodes)) if isinstance(node, Together) else node.turn


def _together(nodes: Sequence[Step | Note | Branch]) -> tuple[Node, ...]:
    """The nodes, those put together that were asked for in one turn and were open side by side."""
    made: list[Node] = []
    rest = list(nodes)
    while rest:
        size = next((n for n, node in enumerate(rest) if _turn(node) != _turn(rest[0])), len(rest))
        same, rest = rest[:size], rest[size:]
        lasting = [n for n, node in enumerate(same) if not isinstance(node, Note) and not _is_instant(node)]
        if len(lasting) < 2:
            made += same
            continue
        first, last = lasting[0], lasting[-1] + 1
        made += [*same[:first], Together(tuple(same[first:last])), *same[last:]]
    return tuple(made)


def _is_instant(node: Node) -> bool:
    return isinstance(node, Step) and node.instant
