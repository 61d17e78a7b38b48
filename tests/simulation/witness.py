"""The witness: sees every write as it happens, and says at the end what was broken."""

from __future__ import annotations

from collections import Counter
from typing import Any

import msgspec

from infinitic.engine import turns as engine
from infinitic.engine.outputs import outputs
from infinitic.engine.record import state_record
from infinitic.events import AnyEvent, AttemptFailed, Started, TaskCompleted, TimerFired
from infinitic.history import Turn, decode_turn
from infinitic.messages import AGAIN, Delivery, Message, Outgoing, Reply, event_of
from infinitic.records import BY_HAND, OPEN, RUNNING, SUSPENDED, Append, StateRecord, decode_record, encode_record
from infinitic.topics import SERVICE, WORKFLOW
from infinitic.worker.loading import origin_of


class Broken(AssertionError):
    """A promise was not kept."""


def check(holds: object, promise: str, *facts: object) -> None:
    """Raises `Broken` unless *holds*."""
    if not holds:
        raise Broken(": ".join([promise, *map(str, facts)]))


class Witness:
    """What was written and sent in one world."""

    def __init__(self, world: Any) -> None:
        self._world = world
        self._due: dict[tuple[str, str, str, int], int] = {}
        self._when: dict[tuple[str, str, int], int] = {}
        self.sent: set[tuple[str, str, str, str]] = set()

    def appended(self, batch: list[Append], won: list[bool]) -> None:
        """A write took effect, as far as it *won*."""
        for append, wins in zip(batch, won, strict=True):
            if self._world.trace is not None:
                self._world.note(_written(append, wins))
            if wins and (append.changes or append.turns):
                self._world.stirred = True
                for row in append.timers_set:
                    timer = (row.workflow_id, row.run, row.position, row.attempt)
                    # a retry by hand sets those that are open again, perhaps for later
                    self._due[timer] = min(row.due, self._due.get(timer, row.due))
                for turn in append.turns:
                    key = (append.workflow_id, turn.run, turn.number)
                    check(key not in self._when, "no turn is written twice", key)
                    self._when[key] = self._world.now

    def published(self, outgoing: Outgoing) -> None:
        """The broker holds a message."""
        message = outgoing.message
        if message.kind in ("event", "task", "offer") and AGAIN not in message.headers:
            self._world.stirred = True
        if self._world.trace is not None:
            self._world.note(f"    sent to {outgoing.topic} {message.workflow_id}: {_shown(message)}")
        self.sent.add((message.workflow_id, message.kind, message.id, outgoing.topic))

    # --- at the end ---

    def check_end(self) -> None:
        """Raises `Broken` for the first promise that was not kept."""
        world = self._world
        for workflow_id, stored in world.instances():
            stands_still = stored.record.fingerprint == BY_HAND
            check(stands_still or not stored.inbox, "inboxes are empty at the end", workflow_id, stored.record.reason)
            check(not stored.is_behind, "outputs of every turn are known to be sent", workflow_id, stored.mark)
            check(not stored.timers, "timers are gone at the end", workflow_id, list(stored.timers))
            check(_may_rest(stored.record), "every instance ends", workflow_id, _waits(stored.record))
            for run in stored.runs:
                self._check_run(workflow_id, stored.record, run, [decode_turn(row.body) for row in stored.runs[run]])
        self._check_queues()
        if not world.troubles.may_repeat_tasks:
            twice = {key: count for key, count in world.executed.items() if count > 1}
            check(not twice, "no task runs twice when nothing went wrong", twice)

    def _check_run(self, workflow_id: str, record: StateRecord, run: str, history: list[Turn]) -> None:
        numbers = [number for (its, of, number) in self._when if its == workflow_id and of == run]
        check(sorted(numbers) == list(range(len(history))), "no turn is lost", workflow_id, run, numbers)
        seen = Counter(filter(None, map(_key, (turn.event for turn in history))))
        check(seen == Counter(seen.keys()), "no event is applied twice", workflow_id, seen.most_common(2))
        for number, turn in enumerate(history):
            if isinstance(turn.event, TimerFired):
                due = self._due[workflow_id, run, turn.event.position, turn.event.attempt]
                when = self._when[workflow_id, run, number]
                check(when >= due, "no timer fires early", workflow_id, turn.event.position, f"{due - when} µs")
        self._check_replay(workflow_id, record, run, history)
        self._check_sent(workflow_id, history)

    def _check_replay(self, workflow_id: str, record: StateRecord, run: str, history: list[Turn]) -> None:
        if run != record.run:
            return
        instance = self._world.fresh(record)
        engine.replay(instance, [row.body for row in self._world.stored(workflow_id).runs[run]])
        again = decode_record(encode_record(state_record(instance, record.starts)))
        engine.close(instance)
        check(_facts(again) == _facts(record), "the record is what history says", workflow_id, again, record)

    def _check_sent(self, workflow_id: str, history: list[Turn]) -> None:
        """All that went to other instances; what went to tasks is known by their answers."""
        first = history[0].event
        assert isinstance(first, Started)
        origin = origin_of(workflow_id, first)
        for turn in history:
            for one in outputs(origin, turn, lambda position: None):
                key = (one.message.workflow_id, one.message.kind, one.message.id, one.topic)
                if one.topic.startswith(WORKFLOW) and one.message.id:
                    check(key in self.sent, "every output is sent", workflow_id, one.message.kind, one.message.id)

    def _check_queues(self) -> None:
        for topic in self._world.topics():
            if topic.startswith((WORKFLOW, SERVICE)):
                left = [one for one in self._world.transport.unacknowledged(topic) if not _is_to_nobody(one)]
                check(not left, "queues are empty at the end", topic, [(one.kind, one.workflow_id) for one in left])


def _is_to_nobody(message: Message) -> bool:
    """Whether it is a signal that a wild workflow sent to nobody: that is kept for people."""
    return message.workflow_id == "other" and "which nobody knows" in message.headers.get("reason", "")


def _key(event: AnyEvent) -> tuple[Any, ...] | None:
    """What tells an event from its repeat; None for what may come again."""
    if event.id:
        return (event.id,)
    if isinstance(event, TaskCompleted):
        return ("completed", event.position)
    if isinstance(event, AttemptFailed | TimerFired):
        return (type(event).__name__, event.position, event.attempt)
    return None


def _may_rest(record: StateRecord) -> bool:
    """Whether an instance may stand so when nothing is left to happen: a wild one may wait for ever."""
    for_ever = all(wait.kind == "receive" for wait in record.waits)  # none at all: branches wait for each other
    stands_still = record.status == SUSPENDED and record.fingerprint == BY_HAND
    if record.workflow == "Wild" and (stands_still or (record.status == RUNNING and for_ever)):
        return True
    return record.status not in OPEN


def _written(append: Append, wins: bool) -> str:
    """A write, for the trace."""
    events = [f"{row.number} {type(decode_turn(row.body).event).__name__}" for row in append.turns]
    inbox = f", inbox +{len(append.inbox_added)} -{len(append.inbox_removed)}" if append.inbox_added else ""
    status = f", {append.record.status}" if append.record is not None else ""
    told = f"    {'wrote' if wins else 'lost the race for'} {append.workflow_id} run {append.version.run[:4]}"
    return f"{told}: turns {', '.join(events) or 'none'}; mark {append.mark.run[:4]}/{append.mark.turns}{inbox}{status}"


def _shown(message: Message) -> str:
    again = " again" if AGAIN in message.headers else ""
    if message.kind == "event":
        event = event_of(Delivery("", message))
        return f"{type(event).__name__}{again} {event.id[:8]} {message.position} {message.attempt or ''}".rstrip()
    if message.kind == "reply":
        reply = msgspec.json.decode(message.payload, type=Reply)
        return f"reply {reply.status} {reply.call_id[:8]}"
    return f"{message.kind}{again} {message.id[-12:]} {message.position} {message.attempt or ''}".rstrip()


def _facts(record: StateRecord) -> StateRecord:
    """What replay can know: not that some code could not go on, or was not to, and when that was."""
    status = RUNNING if record.fingerprint == BY_HAND else record.status
    return msgspec.structs.replace(record, fingerprint="", reason="", updated=0, status=status)


def _waits(record: StateRecord) -> str:
    waits = ", ".join(f"{wait.kind} {wait.name} at {wait.position}" for wait in record.waits)
    return f"{record.workflow} is {record.status} {record.reason}, waiting for {waits or 'nothing'}"
