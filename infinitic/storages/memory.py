"""Instances in the dictionaries of one process: for tests, for simulations and behind `memory://` URLs.

The law of the place: every call is one atomic step under one lock, and time is the given clock's. What is
kept is what a database would give back: records go through their encoding, and a writer that would leave a
gap between turns is told so.
"""

from __future__ import annotations

import heapq
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import copy
from itertools import islice

import msgspec
from attrs import Factory, define

from infinitic.clock import Clock, system_clock
from infinitic.errors import Bug, StorageError
from infinitic.records import (
    BY_HAND,
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
from infinitic.storages import Due, Page, Past, place_of, token_of
from infinitic.storages.labels import LATEST, ends_asked, labels_asked, labels_of


@define(eq=False)
class Instance:
    """One instance as this storage keeps it; *runs* are in the order in which they began."""

    workflow: str
    workflow_id: str
    version: Version
    mark: Mark
    token: str
    record: StateRecord
    runs: dict[str, list[TurnRow]] = Factory(dict)
    timers: dict[tuple[str, str], TimerRow] = Factory(dict)
    inbox: dict[str, InboxItem] = Factory(dict)
    expires: int | None = None
    behind_since: int | None = None  # since when the mark stands where it stands, while it is behind

    @property
    def is_behind(self) -> bool:
        return self.mark != Mark(self.version.run, self.version.turns)

    def move_mark(self, mark: Mark, now: int) -> None:
        stood_still = mark == self.mark and self.behind_since is not None
        self.mark = mark
        if not self.is_behind:
            self.behind_since = None
        elif not stood_still:
            self.behind_since = now

    def write(self, append: Append) -> None:
        """All of *append* but its mark."""
        if append.record is not None:
            self.record = decode_record(encode_record(append.record))
        self.version, self.token, self.expires = append.version, append.token, append.expires
        for turn in append.turns:
            self.runs.setdefault(turn.run, []).append(turn)
        self.runs.setdefault(append.version.run, [])
        self.write_timers(append)
        self.write_inbox(append)

    def write_timers(self, append: Append) -> None:
        ended = {key for key in self.timers if key[0] in append.runs_ended}
        for key in ended.union(append.timers_cleared):
            self.timers.pop(key, None)
        self.timers.update({(row.run, row.position): row for row in append.timers_set})

    def write_inbox(self, append: Append) -> None:
        for key in append.inbox_removed:
            self.inbox.pop(key, None)
        for item in append.inbox_added:
            self.inbox.setdefault(item.key, item)

    def stored(self, from_turn: int) -> Stored:
        run = self.version.run
        return Stored(
            workflow=self.workflow,
            workflow_id=self.workflow_id,
            version=self.version,
            mark=self.mark,
            token=self.token,
            record=self.record,
            turns=tuple(self.runs.get(run, ())[from_turn:]),
            unsent=self.unsent(),
            inbox=tuple(self.inbox.values()),
            timers=tuple(row for row in self.timers.values() if row.run == run),
        )

    def unsent(self) -> tuple[TurnRow, ...]:
        """The turns of former runs from the mark on; all of them when the mark names no run that is kept."""
        runs = list(self.runs)
        first = runs.index(self.mark.run) if self.mark.run in self.runs else -1
        former = [run for run in runs[max(first, 0) :] if run != self.version.run]
        return tuple(
            turn for run in former for turn in self.runs[run] if run != self.mark.run or turn.number >= self.mark.turns
        )


class MemoryStorage:
    """A `Storage` in memory. Thread-safe; gone with the process."""

    def __init__(self, clock: Clock = system_clock) -> None:
        self._clock = clock
        self._lock = threading.RLock()
        self._instances: dict[str, Instance] = {}
        self._closed = False

    def another(self) -> MemoryStorage:
        """One more handle on the same instances: closing one leaves the others open."""
        handle = copy(self)
        handle._closed = False
        return handle

    @contextmanager
    def _open(self) -> Iterator[dict[str, Instance]]:
        with self._lock:
            if self._closed:
                raise StorageError("The memory storage was used after it was closed")
            yield self._instances

    # ------------------------------------------------------------------------------------------- reading

    def load(self, workflow_id: str, from_turn: int = 0, run: str = "") -> Stored | None:
        with self._open() as instances:
            instance = instances.get(workflow_id)
            if instance is None:
                return None
            return instance.stored(0 if run and run != instance.version.run else from_turn)

    def history(self, workflow_id: str, run: str) -> tuple[TurnRow, ...]:
        with self._open() as instances:
            instance = instances.get(workflow_id)
            return () if instance is None else tuple(instance.runs.get(run, ()))

    def records(self, workflow_ids: Sequence[str]) -> list[StateRecord | None]:
        with self._open() as instances:
            found = (instances.get(workflow_id) for workflow_id in workflow_ids)
            return [None if instance is None else instance.record for instance in found]

    def find(self, where: Filter, limit: int, after: str = "") -> Page:
        with self._open():
            begin = _order(*place_of(after)) if after else None
            rest = sorted(
                (record for record in self._matching(where) if begin is None or _place(record) > begin),
                key=_place,
            )
        page = rest[:limit]
        return Page(tuple(page), token_of(page[-1]) if page and len(rest) > limit else "")

    def count(self, where: Filter) -> int:
        with self._open():
            return sum(1 for _ in self._matching(where))

    def _matching(self, where: Filter) -> Iterator[StateRecord]:
        return (instance.record for instance in self._instances.values() if _matches(instance.record, where))

    # ------------------------------------------------------------------------------------------- writing

    def append(self, batch: Sequence[Append]) -> list[bool]:
        with self._open():
            return [self._append(append) for append in batch]

    def _append(self, append: Append) -> bool:
        instance = self._instances.get(append.workflow_id)
        if append.expected != (None if instance is None else instance.version):
            return False
        runs = {} if instance is None else instance.runs
        append.check_numbers({run: len(turns) for run, turns in runs.items()})
        if instance is None:
            instance = self._instances[append.workflow_id] = _created(append)
        if append.changes:
            instance.write(append)
        instance.move_mark(append.mark, self._clock())
        return True

    def ended(self, where: Filter, limit: int, after: Past | None = None) -> tuple[Past, ...]:
        with self._open() as instances:
            found = (
                Past(instance.record, instance.version, instance.expires, instance.is_behind)
                for instance in instances.values()
                if instance.expires is not None and _matches(instance.record, where)
            )
            begin = None if after is None else _expiry(after)
            rest = (past for past in found if begin is None or _expiry(past) > begin)
            return tuple(heapq.nsmallest(limit, rest, key=_expiry))

    def remove(self, past: Sequence[Past]) -> list[bool]:
        with self._open() as instances:
            return [_remove(instances, one) for one in past]

    def purge(self, now: int) -> int:
        with self._open():
            return sum(self.remove([one for one in self.ended(Filter(), len(self._instances)) if one.expires < now]))

    def compact(self) -> int:
        return 0

    # -------------------------------------------------------------------------------------------- sweeps

    def claim_due_timers(self, workflows: Sequence[str], ahead: int, limit: int, lease: int) -> Due:
        with self._open() as instances:
            now = self._clock()
            names = frozenset(workflows)
            free = (
                row
                for instance in instances.values()
                for row in instance.timers.values()
                if row.workflow in names and row.due <= now + ahead and _is_free(row, now)
            )
            first = heapq.nsmallest(limit, free, key=lambda row: (row.due, row.workflow_id, row.run, row.position))
            return Due(now, tuple(self._claim(row, max(now, row.due) + lease) for row in first))

    def _claim(self, row: TimerRow, until: int) -> TimerRow:
        claimed = msgspec.structs.replace(row, claimed_until=until)
        self._instances[row.workflow_id].timers[row.run, row.position] = claimed
        return claimed

    def offers(self, fingerprints: Mapping[str, str], behind_since: int, limit: int) -> list[tuple[str, str]]:
        with self._open() as instances:
            wanted = (
                (instance.workflow, instance.workflow_id)
                for instance in instances.values()
                if instance.workflow in fingerprints
                and _is_offered(instance, fingerprints[instance.workflow], behind_since)
            )
            return list(islice(wanted, limit))

    # ---------------------------------------------------------------------------------------------- rest

    def now(self) -> int:
        return self._clock()

    def server_settings(self) -> Mapping[str, str]:
        return {}

    def close(self) -> None:
        with self._lock:
            self._closed = True


def _created(append: Append) -> Instance:
    if append.record is None:
        raise Bug(f"{append.workflow_id} was to be created without a state record")
    return Instance(append.workflow, append.workflow_id, append.version, append.mark, append.token, append.record)


def _is_free(row: TimerRow, now: int) -> bool:
    return row.claimed_until <= now


def _is_offered(instance: Instance, fingerprint: str, behind_since: int) -> bool:
    if instance.inbox and instance.record.fingerprint not in (fingerprint, BY_HAND):
        return True
    return instance.behind_since is not None and instance.behind_since < behind_since


def _matches(record: StateRecord, where: Filter) -> bool:
    first, last = ends_asked(where) or (record.ended, record.ended)
    return (
        where.workflow in ("", record.workflow)
        and where.status in ("", record.status)
        and where.since <= record.started < (where.until or LATEST)
        and first <= record.ended <= last
        and record.workflow_id.startswith(where.id_prefix)
        and set(labels_asked(where)) <= set(labels_of(record))
    )


def _place(record: StateRecord) -> tuple[int, str]:
    """Where a record stands in a list: newest start first, then by id."""
    return _order(record.started, record.workflow_id)


def _order(started: int, workflow_id: str) -> tuple[int, str]:
    return -started, workflow_id


def _expiry(past: Past) -> tuple[int, str]:
    return past.expires, past.record.workflow_id


def _remove(instances: dict[str, Instance], past: Past) -> bool:
    found = instances.get(past.record.workflow_id)
    if found is None or found.version != past.version or found.expires is None or found.is_behind:
        return False
    del instances[found.workflow_id]
    return True
