"""Telling: the turns, one after the other, become the tree."""

from __future__ import annotations

from collections.abc import Sequence

from attrs import evolve

from infinitic.engine.arriving import RUN_TIMEOUT
from infinitic.events import (
    Answered,
    AttemptFailed,
    CancelRequested,
    ErrorValue,
    MethodCalled,
    Retried,
    Signal,
    SignalReceived,
    Started,
    TaskCompleted,
    TimerFired,
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
    Turn,
)
from infinitic.records import OPEN, RUNNING, StateRecord
from infinitic.story.nodes import Branch, Method, Node, Note, NoteKind, Step, Story, Together
from infinitic.story.steps import answered, asked, left, text


def tell(record: StateRecord, turns: Sequence[Turn]) -> Story:
    """The story of the run whose *turns* these are, oldest first.

    *record* is the instance's: of this run, or of a later one, which then knows nothing of it.
    """
    teller = _Teller()
    for turn in turns:
        teller.take(turn)
    return teller.story(record)


class _Teller:
    """Goes through the turns once; keeps the steps by position, and their order by branch."""

    def __init__(self) -> None:
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
        self.following = ""

    # --- one turn ---

    def take(self, turn: Turn) -> None:
        """Go on by one turn: its event, what it settled, what it asked for, what it sent, how it ended."""
        self.at = turn.at
        self._event(turn)
        for position in turn.settled:
            self._receive(position)
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
                self.started = event
                self.methods.append(Method(event.method, "", text(event.arguments), self.at))
                self._post(*event.signals)
            case TaskCompleted() | AttemptFailed() | Answered() as event:
                step = self.steps.get(event.position)
                if step is not None and step.status == "waiting":
                    self._put(answered(step, event, turn))
            case TimerFired(position=position):
                self._fire(position)
            case SignalReceived() as event:
                self._post(Signal(event.id, event.channel, event.value))
            case MethodCalled() as event:
                self.methods.append(Method(event.method, event.id, text(event.arguments), self.at))
            case CancelRequested() | Retried() as event:
                self._interfere(event)

    def _interfere(self, event: CancelRequested | Retried) -> None:
        if isinstance(event, Retried):
            self._retry()
        else:
            self._note("cancel", self._path_of(event.call_id))

    def _fire(self, position: str) -> None:
        step = self.steps.get(position)
        if position == RUN_TIMEOUT:
            self._note("timeout")
        elif step is not None and step.kind == "timer" and step.status == "waiting":
            self._put(evolve(step, status="completed", settled=self.at))

    def _post(self, *signals: Signal) -> None:
        for signal in signals:
            self.signals[signal.id] = signal
            self.mailbox[signal.id] = None

    def _receive(self, position: str) -> None:
        """The oldest signal of its channel settled a receive."""
        step = self.steps.get(position)
        if step is None:
            return
        taken = next((id for id in self.mailbox if self.signals[id].channel == step.label), "")
        self.mailbox.pop(taken, None)
        value = text(self.signals[taken].value) if taken else step.value
        self._put(evolve(step, status="completed", settled=self.at, value=value))

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

    def _note(self, kind: NoteKind, path: str = "m0", error: ErrorValue | None = None, at: int = 0) -> None:
        name = f"{path}!{len(self.notes)}"
        self.notes[name] = Note(at or self.at, self.turns, kind, error)
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
                self._put(evolve(step, status="waiting", settled=0, error=None, attempt=attempt, next_at=0))
            case RetryChild():
                self._put(evolve(step, status="waiting", settled=0, error=None))
            case Cancellation() if step.kind == "task":
                self._put(evolve(step, status="cancelled", settled=self.at, stopped=self.at, next_at=0))
            case Cancellation():
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
            reason=record.reason if current else "",
            tags=started.tags,
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
