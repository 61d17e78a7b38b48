"""To and from what the functions of the Redis storage (`redis.lua`) take and give: numbers, texts, bytes.

The law of the place: what is sorted on the server is bytes that sort as the values do.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain, groupby
from math import isqrt
from typing import Any
from zlib import crc32

import msgspec

from infinitic.errors import Bug, StorageError
from infinitic.records import (
    Append,
    Filter,
    InboxItem,
    Mark,
    StateRecord,
    Stored,
    TimerRow,
    TurnRow,
    Version,
    decode_record,
    encode_record,
)
from infinitic.storages import Past
from infinitic.storages.labels import ends_asked, labels_asked, labels_of, starts_asked
from infinitic.storages.redis_server import BUCKETS, Call

PACK = msgspec.msgpack.Encoder().encode
UNPACK = msgspec.msgpack.Decoder().decode
SIGN = 1 << 63


def bucket_of(workflow_id: str) -> int:
    """Where the instance lies, for ever."""
    return crc32(workflow_id.encode()) % BUCKETS


def share_of(limit: int) -> int:
    """How many of *limit* one bucket is asked for: what is likely to be all of those that it holds."""
    return min(limit, limit // BUCKETS + isqrt(limit // 16) + 2)


# ------------------------------------------------------------------------------------------------ places


def instant(at: int) -> bytes:
    """The earliest first."""
    return (SIGN + at).to_bytes(8, "big")


def start_place(started: int, workflow_id: str = "") -> bytes:
    """Newest first, then by id."""
    return instant(-started) + workflow_id.encode()


def expiry_place(past: Past) -> bytes:
    """What expires first, then by id."""
    return instant(past.expires) + past.record.workflow_id.encode() + b"\0" + start_place(past.record.started)


def where_of(where: Filter) -> tuple[str | bytes | int, ...]:
    """What the functions take for a filter."""
    since, until = (start_place(at) if at else b"" for at in starts_asked(where))
    labels, ends = labels_asked(where), ends_asked(where) or ("", "")
    return where.workflow, where.status, since, until, where.id_prefix, *ends, len(labels), *labels


# ---------------------------------------------------------------------------------------------- appending


def values_of(append: Append, clock: int | str) -> list[Any]:
    """What `append` takes after the id; the first says that it was not sent before. *clock* is "" for the server's."""
    changes, old, new, mark = append.changes, append.expected, append.version, append.mark
    if old is None and append.record is None:
        raise Bug(f"{append.workflow_id} was to be created without a state record")
    values = [0, clock, append.workflow, *(("", "", "") if old is None else (old.run, old.turns, old.inbox))]
    expires = b"" if append.expires is None else instant(append.expires)
    values += [new.run, new.turns, new.inbox, append.token, mark.run, mark.turns, expires, int(changes)]
    if changes:
        append.check_numbers({old.run: old.turns} if old else {})
        values += [*_record_values(append.record), *_turn_values(append.turns), *_row_values(append)]
    return values


def _record_values(record: StateRecord | None) -> list[Any]:
    if record is None:
        return [0]
    place, labels = start_place(record.started), labels_of(record)
    state = (encode_record(record), place, record.status, record.ended, record.fingerprint)
    return [1, *state, len(labels), *labels]


def _turn_values(turns: Sequence[TurnRow]) -> list[Any]:
    runs = [(run, [turn.body for turn in its]) for run, its in groupby(turns, key=lambda turn: turn.run)]
    return [len(runs), *chain.from_iterable((run, len(bodies), *bodies) for run, bodies in runs)]


def _row_values(append: Append) -> list[Any]:
    cleared = [PACK((append.workflow_id, *pair)) for pair in append.timers_cleared]
    were_set = ((free_since(row), _member(row), _packed(row)) for row in append.timers_set)
    added = ((item.key, item.body) for item in append.inbox_added)
    return [
        *(len(append.runs_ended), *append.runs_ended),
        *(len(cleared), *cleared),
        *(len(append.timers_set), *chain.from_iterable(were_set)),
        *(len(append.inbox_removed), *append.inbox_removed),
        *(len(append.inbox_added), *chain.from_iterable(added)),
    ]


def sent_again(calls: Sequence[Call]) -> list[Call]:
    """The same appends, each of which says that it may have arrived before."""
    return [(bucket, (*command[:5], 1, *command[6:])) for bucket, command in calls]


# ------------------------------------------------------------------------------------------------ reading


def record_of(workflow_id: str, data: bytes | None) -> StateRecord:
    """The state record that is there with the head. Raises `StorageError`."""
    if data is None:
        raise _lost(workflow_id)
    return decode_record(data)


def _lost(workflow_id: str) -> StorageError:
    return StorageError(
        f"The Redis lost keys of {workflow_id}", "Restore a backup; see its maxmemory-policy and appendonly."
    )


def turns_of(run: str, first: int, bodies: Sequence[bytes]) -> tuple[TurnRow, ...]:
    """The turns of *run* from number *first* on."""
    return tuple(TurnRow(run, number, body) for number, body in enumerate(bodies, first))


def stored_of(workflow_id: str, found: Sequence[Any], first: int, bodies: Sequence[bytes]) -> Stored:
    """What `load` gave, and the turns from number *first* on that were there soon after. Raises `StorageError`."""
    workflow, version, mark, token, record, unsent, inbox, timers = found
    run, turns, inbox_version = version[0].decode(), int(version[1]), int(version[2])
    count = max(0, turns - first)
    if len(bodies) < count:
        raise _lost(workflow_id)
    rows = map(timer_of, timers)
    return Stored(
        workflow=workflow.decode(),
        workflow_id=workflow_id,
        version=Version(run, turns, inbox_version),
        mark=Mark(mark[0].decode(), int(mark[1])),
        token=token.decode(),
        record=record_of(workflow_id, record),
        turns=turns_of(run, first, bodies[:count]),
        unsent=tuple(turn for its, at, some in unsent for turn in turns_of(its.decode(), int(at), some)),
        inbox=_inbox(inbox),
        timers=tuple(row for row in rows if row.run == run),
    )


def _inbox(found: Sequence[bytes]) -> tuple[InboxItem, ...]:
    """Of keys and "ordinal:body", in turn."""
    items = []
    for key, value in zip(found[::2], found[1::2], strict=True):
        ordinal, _, body = value.partition(b":")
        items.append((int(ordinal), InboxItem(key.decode(), body)))
    return tuple(item for _, item in sorted(items, key=lambda pair: pair[0]))


def past_of(
    place: bytes, workflow_id: bytes, record: bytes, run: bytes, turns: bytes, inbox: bytes, behind: int
) -> Past:
    """One row of `ended`. Raises `StorageError`."""
    expires = int.from_bytes(place[:8], "big") - SIGN
    version = Version(run.decode(), int(turns), int(inbox))
    return Past(record_of(workflow_id.decode(), record), version, expires, bool(behind))


# ------------------------------------------------------------------------------------------------- timers


def free_since(row: TimerRow) -> int:
    """From when on somebody may claim it."""
    return max(row.due, row.claimed_until)


def in_order(row: TimerRow) -> tuple[int, str, str, str]:
    """The place of a timer among others."""
    return row.due, row.workflow_id, row.run, row.position


def timer_of(row: bytes) -> TimerRow:
    """The timer that was packed."""
    return TimerRow(*UNPACK(row))


def claim_of(row: TimerRow, claimed: TimerRow) -> tuple[Any, ...]:
    """What `claim` takes to put *claimed* in the place of *row*."""
    return row.workflow, row.workflow_id, _member(row), _packed(row), _packed(claimed), free_since(claimed)


def _member(row: TimerRow) -> bytes:
    return PACK((row.workflow_id, row.run, row.position))


def _packed(row: TimerRow) -> bytes:
    return PACK(msgspec.structs.astuple(row))
