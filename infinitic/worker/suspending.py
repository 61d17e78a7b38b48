"""Suspending: what cannot be applied here and now waits in the instance's inbox, and nothing is lost."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from infinitic.events import AnyEvent, CancelRequested, Retried, SignalReceived, Started, TimerFired
from infinitic.history import decode_turn
from infinitic.messages import AGAIN, FORMAT, Delivery, decode_message, encode_message, event_of
from infinitic.records import FAILED, OPEN, SUSPENDED, InboxItem, StateRecord, Stored, Version
from infinitic.storages import Storage
from infinitic.worker.changes import Change


def waiting(stored: Stored) -> list[Delivery]:
    """The messages of the inbox, as if they had just come; of no topic, by which they are told from those."""
    return [Delivery("", decode_message(item.body)) for item in stored.inbox]


def readable(delivery: Delivery) -> AnyEvent | None:
    """The event that a delivery carries; None when it carries none, or it cannot be read."""
    try:
        return event_of(delivery) if delivery.message.kind == "event" else None
    except msgspec.DecodeError:
        return None


def retry_among(stored: Stored, deliveries: Sequence[Delivery]) -> Delivery | None:
    """The first new retry of a failed run: mended code, which cannot follow how that failed, may take it up by this."""
    if stored.record.status != FAILED:
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
    change.inbox_added.append(InboxItem(_key(delivery, event), encode_message(message)))
    if isinstance(event, TimerFired) and _is_of_row(change, message.run, event, storage):
        change.timers_cleared[message.run, event.position] = None
    elif isinstance(event, SignalReceived | CancelRequested):
        change.refuse(event.reply_to, event.id, "received", None)


def _is_of_row(change: Change, run: str, event: TimerFired, storage: Storage) -> bool:
    """Whether the row at the timer's place is its own: a late repeat must not take the next attempt's row with it."""
    stored = storage.load(change.workflow_id, change.version.turns, run) if change.version is not None else None
    rows = stored.timers if stored is not None else ()
    return any((row.run, row.position, row.attempt) == (run, event.position, event.attempt) for row in rows)


def _key(delivery: Delivery, event: AnyEvent) -> str:
    position = getattr(event, "position", None)
    if position is None:
        return event.id
    attempt = getattr(event, "attempt", 0)
    return f"{delivery.message.run}/{position}/{type(event).__name__}/{attempt}"


def suspend(change: Change, fingerprint: str, now: int) -> None:
    """Have the instance suspended for the change's problem: by the code of this *fingerprint*."""
    record = change.held.record if change.held is not None else change.record
    version = change.version
    assert record is not None
    assert version is not None
    change.version = Version(version.run, version.turns, version.inbox + 1)
    change.record = msgspec.structs.replace(
        record,
        status=SUSPENDED if record.status in OPEN else record.status,
        reason=change.problem,
        fingerprint=fingerprint,
        updated=max(record.updated, now),
    )
