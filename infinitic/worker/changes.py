"""Changes: what one instance's share of a batch comes to, until it is committed."""

from __future__ import annotations

from collections.abc import Mapping

from infinitic.backends import Step
from infinitic.engine.instance import Instance, LogLine
from infinitic.engine.outputs import outputs
from infinitic.engine.programs import Program, program_of
from infinitic.engine.turns import close
from infinitic.events import AnyEvent, ErrorValue, MethodCalled, SignalReceived, Started, TimerFired
from infinitic.history import Answer, Turn, encode_turn
from infinitic.messages import Delivery, Outgoing, Reply, reply_message, reply_of
from infinitic.records import FAILED, OPEN, Append, InboxItem, Mark, StateRecord, TimerRow, TurnRow, Version
from infinitic.transports import Consumer
from infinitic.worker.held import Held
from infinitic.worker.loading import asked_of, origin_of
from infinitic.worker.replies import replies

HELD_AHEAD = 60_000_000
"""Timers due within this time are born claimed by the worker that holds them, in microseconds."""
HELD_LONGER = 300_000
"""For how long after its due a timer stays its holder's, in microseconds: then any sweep may take it."""


TOMBSTONE = 3600
"""How much longer than the retention an ended instance is kept, in seconds, so that a late repeat is recognised."""


def expiry(record: StateRecord | None, retention: int) -> int | None:
    """When an instance with this record may be purged; None while it has not ended.

    *retention* is the worker's, tombstone and all; what the record says goes before.
    """
    if record is None or not record.ended:
        return None
    kept = retention if record.retention is None else record.retention + TOMBSTONE * 1_000_000
    return record.updated + kept * (2 if record.late else 1)


class Change:
    """What is to be written, sent and acknowledged for one instance. Applied to nothing until it has won."""

    def __init__(self, workflow: str, workflow_id: str, held: Held | None) -> None:
        self.workflow = workflow
        self.workflow_id = workflow_id
        self.held = held
        self.instance: Instance | None = held.instance if held is not None else None
        self.record: StateRecord | None = None
        self.starts: tuple[str, ...] = held.record.starts if held is not None and held.record is not None else ()
        self.deliveries: list[Delivery] = []  # all that this change settles
        self.rows: list[TurnRow] = []
        self.outputs: list[Outgoing] = [*held.unsent] if held is not None else []
        self.hints: list[Outgoing] = []
        self.logs: list[LogLine] = []
        self.unawaited: list[tuple[str, BaseException]] = []
        self.timers_set: dict[tuple[str, str], TimerRow] = {}
        self.timers_cleared: dict[tuple[str, str], None] = {}
        self.fired: list[tuple[int, str, str]] = []
        self.runs_ended: list[str] = []
        self.inbox_added: list[InboxItem] = []
        self.inbox_removed: tuple[str, ...] = ()
        self.watchers: set[tuple[str, str]] = set(held.watchers) if held is not None else set()
        self.version: Version | None = held.version if held is not None else None
        self.problem = ""  # why the instance is to be suspended
        self.lacks = ""  # why its code does not come to life: one that has ended is suspended by no such thing
        self.stands_still = ""  # why somebody wants it to be
        self.known = False  # whether that was known before: it is not written again for being offered
        self.dead: list[tuple[Delivery, str]] = []  # what nobody can use, and why
        self.spoilt = False  # a query may have changed the live instance: it is not kept
        # the instance was lost half way: *redo* goes through once more without *rest*, which follows
        self.redo: list[Delivery] = []
        self.rest: list[Delivery] = []

    def reset(self) -> None:
        """Forget all that was made so far."""
        fresh = Change(self.workflow, self.workflow_id, self.held)
        for name in (
            "rows",
            "outputs",
            "hints",
            "logs",
            "unawaited",
            "timers_set",
            "timers_cleared",
            "fired",
            "runs_ended",
            "starts",
            "deliveries",
            "inbox_removed",
            "dead",
        ):
            setattr(self, name, getattr(fresh, name))

    def discard(self) -> None:
        """Close what was brought to life for this change, and is not to be kept."""
        for instance in (self.instance, self.held.instance if self.held is not None else None):
            if instance is not None:
                close(instance)

    @property
    def weight(self) -> int:
        """How many bytes of turns the run got by this."""
        run = self.version.run if self.version is not None else ""
        return sum(len(row.body) for row in self.rows if row.run == run)

    @property
    def over(self) -> StateRecord | None:
        """The record of an instance that has ended for good and whose code is not needed any more, or None."""
        record = self.held.record if self.held is not None and self.instance is None else None
        return record if record is not None and record.status not in (*OPEN, FAILED) else None

    @property
    def status(self) -> str | None:
        """The instance's status; None when there is no instance, or none yet."""
        if self.instance is not None:
            return self.instance.status
        held = self.held
        return held.record.status if held is not None and held.record is not None and held.version.turns else None

    def program(self, programs: Mapping[str, Program]) -> Program:
        """The code of its instance, alive or not. Who lacks that puts by what needs it."""
        record = self.held.record if self.held is not None else None
        found = program_of(programs, record) if self.instance is None and record is not None else None
        program = self.instance.program if self.instance is not None else found
        assert program is not None
        return program

    @property
    def current(self) -> Version:
        """The run that there is by now, and how many turns it has; there must be one."""
        if self.instance is not None:
            return Version(self.instance.run, self.instance.turns)
        assert self.held is not None
        return self.held.version

    @property
    def expected(self) -> Version | None:
        """What the storage must still hold."""
        return self.held.version if self.held is not None else None

    def take(self, instance: Instance, turn: Turn, now: int) -> None:
        """Add a turn that the instance has just made."""
        draft, started = instance.draft, instance.started
        assert started is not None
        number = instance.turns - 1
        origin = origin_of(self.workflow_id, started, draft.tags)
        self.instance = instance
        self.rows.append(TurnRow(instance.run, number, encode_turn(turn)))
        self.outputs += outputs(origin, turn, lambda position: asked_of(instance, position))
        self.hints += replies(self.workflow_id, instance.run, instance.generation, turn)
        self.logs += draft.logs
        self.unawaited += draft.unawaited
        if isinstance(turn.event, TimerFired):
            self.fired.append((number, instance.run, turn.event.position))
        if turn.end is not None:
            self._end(instance.run)
        for position in draft.timers_cleared:
            self._clear(instance.run, position)
        for position, (due, attempt) in draft.timers_set.items():
            self._set(instance, position, due, attempt, now)
        if self.watchers:
            self._tell_watchers(instance, turn)

    def _end(self, run: str) -> None:
        self.runs_ended.append(run)
        for key in [key for key in self.timers_set if key[0] == run]:
            del self.timers_set[key]

    def _clear(self, run: str, position: str) -> None:
        self.timers_set.pop((run, position), None)
        self.timers_cleared[run, position] = None

    def _set(self, instance: Instance, position: str, due: int, attempt: int, now: int) -> None:
        key = (instance.run, position)
        held = due + HELD_LONGER if due - now <= HELD_AHEAD else 0
        self.timers_cleared.pop(key, None)
        self.fired = [one for one in self.fired if one[1:] != key]
        self.timers_set[key] = TimerRow(
            self.workflow, self.workflow_id, instance.run, position, due, attempt, claimed_until=held
        )

    def _tell_watchers(self, instance: Instance, turn: Turn) -> None:
        told = {(send.reply_to, send.call_id) for send in turn.sends if isinstance(send, Answer)}
        for client, call_id in sorted(self.watchers):
            call = instance.calls.get(call_id)
            if call is None:
                continue
            self.watchers.discard((client, call_id))
            if (client, call_id) not in told:
                reply = reply_of(call, self.workflow_id, instance.run, instance.generation)
                self.hints.append(reply_message(client, reply))

    def refuse(self, client: str, call_id: str, status: str, error: ErrorValue | None) -> None:
        """Tell a client, if one waits, that its message was received, or that nothing came of it."""
        if client:
            run, retries = (self.instance.run, self.instance.generation) if self.instance is not None else ("", 0)
            reply = Reply(self.workflow_id, status, call_id, run, error=error, retries=retries)
            self.hints.append(reply_message(client, reply))

    def lose(self, delivery: Delivery, event: AnyEvent, why: str) -> None:
        """What nobody takes is for people to see, where its sender does not wait to hear so, or was told else.

        While a signal waits in the inbox, of no topic, its sender believes that the instance has it. Whoever starts
        an instance that may be there already need not wait at all.
        """
        message, what = delivery.message, ""
        if isinstance(event, SignalReceived) and not (event.reply_to and delivery.topic):
            what = "signal"
        elif isinstance(event, MethodCalled) and not event.reply_to and event.caller is None:
            what = "call"
        elif isinstance(event, Started) and event.if_exists == "attach" and event.caller is None:
            what = "start"
        if what:
            self.dead.append((delivery, f"a {what} for {message.workflow} {message.workflow_id!r}, {why}"))

    def append(self, marks: bool, token: str, retention: int) -> Append | None:
        """What is to be written; None when there is no instance and none comes to be."""
        if self.version is None:
            return None
        mark = self._mark(self.version) if marks else Mark(self.version.run, self.version.turns)
        confirmed = self._confirmed(mark) if marks else [(run, position) for _, run, position in self.fired]
        held = self.held.record if self.held is not None else None
        expires = expiry(self.record or held, retention)
        return Append(
            workflow=self.workflow,
            workflow_id=self.workflow_id,
            expected=self.expected,
            version=self.version,
            token=token,
            mark=mark,
            turns=tuple(self.rows),
            record=self.record,
            timers_set=tuple(self.timers_set.values()),
            timers_cleared=tuple({**self.timers_cleared, **dict.fromkeys(confirmed)}),
            runs_ended=tuple(self.runs_ended),
            inbox_added=tuple(self.inbox_added),
            inbox_removed=self.inbox_removed,
            expires=expires,
        )

    def _mark(self, version: Version) -> Mark:
        """Up to where outputs are known to be sent: of a new instance nothing is, from its first run on."""
        if self.held is not None:
            return self.held.mark
        return Mark(self.rows[0].run if self.rows else version.run, 0)

    def _confirmed(self, mark: Mark) -> list[tuple[str, str]]:
        """The fired timers whose turn's outputs are known to be sent: only now do their rows go."""
        fired = self.held.fired if self.held is not None else []
        return [(run, position) for number, run, position in fired if run != mark.run or number < mark.turns]

    def step(self, marks: bool, token: str, retention: int, consumer: Consumer | None) -> Step:
        """What the backend is to commit."""
        return Step(
            append=self.append(marks, token, retention),
            outputs=tuple(self.outputs),
            hints=tuple(self.hints),
            acks=tuple(one for one in self.deliveries if one.receipt is not None),
            consumer=consumer,
        )
