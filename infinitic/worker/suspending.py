"""Suspending: what cannot be applied here and now waits in the instance's inbox, and nothing is lost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from infinitic.engine.programs import Program, program_of
from infinitic.engine.record import STARTS
from infinitic.events import (
    AnyEvent,
    AttemptFailed,
    Heartbeat,
    MethodCalled,
    Retried,
    Started,
    TaskCompleted,
    TaskStarted,
    TimerFired,
)
from infinitic.history import decode_turn
from infinitic.messages import AGAIN, FORMAT, Delivery, decode_message, encode_message, event_of
from infinitic.records import FAILED, OPEN, SUSPENDED, InboxItem, StateRecord, Stored, Version
from infinitic.storages import Storage
from infinitic.worker.changes import Change

REMEMBERED = 10_000


def waiting(stored: Stored) -> list[Delivery]:
    """The messages of the inbox, as if they had just come; of no topic, by which they are told from those."""
    return [Delivery("", decode_message(item.body)) for item in stored.inbox]


def readable(delivery: Delivery) -> AnyEvent | None:
    """The event that a delivery carries; None when it carries none, or it cannot be read."""
    try:
        return event_of(delivery) if delivery.message.kind == "event" else None
    except msgspec.DecodeError:
        return None


def retry_among(stored: Stored, deliveries: Sequence[Delivery], programs: Mapping[str, Program]) -> Delivery | None:
    """The first new retry of a failed run: mended code, which cannot follow how that failed, may take it up by this."""
    if stored.record.status != FAILED or program_of(programs, stored.record) is None:
        return None
    events = [decode_turn(row.body).event for row in stored.turns]
    known = {event.id for event in events if isinstance(event, Retried)}
    first = events[0].first if isinstance(events[0], Started) else ""
    for delivery in deliveries:
        message = delivery.message
        event = readable(delivery) if message.workflow == stored.workflow else None
        is_meant = message.run in ("", stored.version.run, first) and AGAIN not in message.headers
        if isinstance(event, Retried) and is_meant and event.id not in known:
            return delivery
    return None


def create_suspended(change: Change, deliveries: Sequence[Delivery], now: int) -> bool:
    """Make an instance without a turn yet, for the start that could not be applied; False if there is none."""
    for delivery in deliveries:
        event = readable(delivery)
        if isinstance(event, Started) and event.workflow == change.workflow:
            change.version = Version(event.run, 0)
            change.record = StateRecord(
                workflow=change.workflow,
                workflow_id=change.workflow_id,
                run=event.run,
                method=event.method,
                tags=event.tags,
                meta=event.meta,
                caller=event.caller,
                root=event.root,
                started=now,
                reply_to=event.reply_to,
            )
            return True
    return False


def put_by(change: Change, delivery: Delivery, event: AnyEvent | None, storage: Storage) -> None:
    """Put an event into the inbox, its timer's row with it. Its sender is told that the instance has it.

    Raises `StorageError`.
    """
    message = delivery.message
    if event is None and message.format > FORMAT + 1:
        key = message.id or f"{message.run}/{message.position}/{message.attempt}"
        change.inbox_added.append(InboxItem(key, encode_message(message)))
        return
    if event is None:
        change.dead.append((delivery, "the payload is no event"))
        return
    item = InboxItem(_key(delivery, event), encode_message(message))
    change.inbox_added.append(item)
    if isinstance(event, Heartbeat):  # the first has its place before a deadline, of the others the last one counts
        _replace(change, InboxItem(f"{item.key}/last", item.body))
    if isinstance(event, TimerFired) and _is_of_row(change, message.run, event, storage):
        change.timers_cleared[message.run, event.position] = None
    elif not isinstance(event, MethodCalled | Started | TaskCompleted | AttemptFailed | Retried):  # may yet be refused
        change.refuse(getattr(event, "reply_to", ""), event.id, "received", None)


def _replace(change: Change, item: InboxItem) -> None:
    """Put an item into the inbox in the place of the one with its key."""
    change.inbox_removed += (item.key,)
    change.inbox_added = [*(one for one in change.inbox_added if one.key != item.key), item]


def _is_of_row(change: Change, run: str, event: TimerFired, storage: Storage) -> bool:
    """Whether the row at the timer's place is its own: a late repeat must not take the next attempt's row with it."""
    stored = storage.load(change.workflow_id, change.version.turns, run) if change.version is not None else None
    rows = stored.timers if stored is not None else ()
    return any((row.run, row.position, row.attempt) == (run, event.position, event.attempt) for row in rows)


def _key(delivery: Delivery, event: AnyEvent) -> str:
    if isinstance(event, MethodCalled) and event.caller is not None:  # each that makes a call is told how it ends
        return f"{event.caller.run}/{event.caller.position}/{type(event).__name__}"
    position = getattr(event, "position", None)
    if position is None or (isinstance(event, TaskCompleted | AttemptFailed) and event.reply_to):
        return event.id
    attempt = getattr(event, "attempt", 0)
    kind = "Delegated" if isinstance(event, TaskStarted) and event.delegated else type(event).__name__
    return f"{delivery.message.run}/{position}/{kind}/{attempt}"


def suspend(change: Change, fingerprint: str, now: int) -> None:
    """Have the instance suspended for the change's problem: by the code of this *fingerprint*."""
    record = change.record or (change.held.record if change.held is not None else None)
    version = change.version
    assert record is not None
    assert version is not None
    change.version = Version(version.run, version.turns, version.inbox + 1)
    change.record = msgspec.structs.replace(
        record,
        status=SUSPENDED if record.status in OPEN else record.status,
        reason=change.problem,
        fingerprint=fingerprint,
        starts=change.starts[-STARTS:],
        updated=max(record.updated, now),
    )


class Unable:
    """The instances that this worker's code could not go on with, as they were then, and why. Of the last 10,000.

    The record names only the last code that could not. With this, two workers that both cannot do not have the same
    instance tried by each other again and again: each tries once, and anew when more has come for it.
    """

    def __init__(self) -> None:
        self._known: dict[str, tuple[tuple[Any, ...], str]] = {}

    def __len__(self) -> int:
        return len(self._known)

    def __contains__(self, workflow_id: str) -> bool:
        return workflow_id in self._known

    def why(self, stored: Stored) -> str:
        """Why the code cannot go on with an instance as it is; "" when it has not tried."""
        contents, problem = self._known.get(stored.workflow_id, ((), ""))
        return (
            problem
            if contents == (stored.version.run, stored.version.turns, {item.key for item in stored.inbox})
            else ""
        )

    def note(self, stored: Stored | None, change: Change) -> None:
        """Keep what came of an instance that was loaded; of a question alone nothing comes."""
        if stored is None:
            return
        if change.problem or change.instance is not None:
            self._known.pop(stored.workflow_id, None)
        if change.problem:
            items = {item.key for item in (*stored.inbox, *change.inbox_added)}
            self._known[stored.workflow_id] = ((stored.version.run, stored.version.turns, items), change.problem)
            if len(self._known) > REMEMBERED:
                del self._known[next(iter(self._known))]


def may_restart(change: Change, event: Started) -> bool:
    """Whether a start that may restart takes the place of what there is."""
    return change.status not in OPEN and event.workflow == change.workflow


def restarts(change: Change, delivery: Delivery) -> bool:
    """Whether a delivery is a start that takes the place of an ended instance."""
    event = readable(delivery) if change.status not in {None, *OPEN} else None
    return isinstance(event, Started) and event.if_exists == "restart" and may_restart(change, event)
