"""Instances in a SQLite file.

The head row decides: a start inserts it, all else updates it where the expected version still holds, and only
who changed that one row goes on to the other tables. So a late writer cannot bring back what was purged.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from infinitic.errors import Bug
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
from infinitic.sqlite_file import Connection, SqliteFile
from infinitic.storages import Due, Page, Past, purge_in_pages
from infinitic.storages.finding import Finder
from infinitic.storages.sql import BESIDES, NOTHING
from infinitic.storages.sqlite_labels import labels_text, rows_for, rows_of, write_labels

REMOVED_AT_ONCE = 5_000  # rows, after which a transaction that removes ends, lest others wait for it
JSON = msgspec.json.Encoder()

COMMON = "workflow, run, turns, inbox_version, mark_run, mark_turns, token"
INSERT = (
    f"INSERT INTO heads (workflow_id, {COMMON}, record, fingerprint, status, started, ended, labels, expires,"
    " behind) VALUES (:id, :workflow, :run, :turns, :inbox, :mark_run, :mark_turns, :token, :record, :fingerprint,"
    " :status, :started, :ended, :labels, :expires, :behind) ON CONFLICT (workflow_id) DO NOTHING"
)
HEAD = f"SELECT {COMMON}, record FROM heads WHERE workflow_id = ?"
MOVE = (
    "UPDATE heads SET run = :run, turns = :turns, inbox_version = :inbox,"
    " mark_run = :mark_run, mark_turns = :mark_turns, token = :token"
)
OF_ID = "WHERE workflow_id = :id"
HOLDS = f"{OF_ID} AND run = :old_run AND turns = :old_turns AND inbox_version = :old_inbox"
BEHIND = (  # a mark that is behind and does not move keeps its instant
    "behind = CASE WHEN :behind IS NOT NULL AND behind IS NOT NULL AND mark_run = :mark_run"
    " AND mark_turns = :mark_turns THEN behind ELSE :behind END"
)
# One more turn and all else as it was: nothing that is set here is in an index, so one page is touched.
# By position, for by name the parameters would cost as much as the statement.
GO_ON = (
    "UPDATE heads SET run = ?, turns = ?, inbox_version = ?, mark_run = ?, mark_turns = ?, token = ?,"
    " record = ?, fingerprint = ? WHERE workflow_id = ? AND run = ? AND turns = ? AND inbox_version = ?"
    " AND status = ? AND started = ? AND ended = ? AND expires IS ? AND labels = ? AND behind IS NULL"
)
GO_ON_OTHERWISE = GO_ON.replace(" AND labels = ?", "").replace(" WHERE", ", labels = ? WHERE")
LABELLED = f"SELECT status, started, labels FROM heads {HOLDS}"
RECORD = (
    "record = :record, fingerprint = :fingerprint, status = :status, started = :started, ended = :ended,"
    " labels = :labels"
)
CHANGE = f"{MOVE}, {RECORD}, expires = :expires, {BEHIND} {HOLDS}"
MOVE_MARK = f"UPDATE heads SET mark_run = :mark_run, mark_turns = :mark_turns, {BEHIND} {HOLDS}"
KEEP_RECORD = f"{MOVE}, expires = :expires, {BEHIND} {HOLDS}"

INBOX = "SELECT key, body FROM inbox WHERE workflow_id = ? ORDER BY id"
ADD_ITEM = "INSERT OR IGNORE INTO inbox (workflow_id, key, body) VALUES (?, ?, ?)"
COUNT_INBOX = "UPDATE heads SET waiting = (SELECT count(*) FROM inbox WHERE workflow_id = :id) " + OF_ID
ADD_TURN = "INSERT INTO turns (workflow_id, run, number, body) VALUES (?, ?, ?, ?)"
TURNS = "SELECT run, number, body FROM turns WHERE workflow_id = ? AND run = ? AND number >= ? ORDER BY 2"
ADD_RUN = (
    "INSERT INTO runs (workflow_id, number, run)"
    " SELECT :id, 1 + coalesce(max(number), -1), :run FROM runs WHERE workflow_id = :id"
)
OLD_RUNS = (
    "WITH mine AS (SELECT * FROM runs WHERE workflow_id = :id) SELECT workflow_id, run FROM mine"
    " WHERE number < (SELECT number - 1 FROM mine WHERE run = :run)"
    " AND number < (SELECT number FROM mine WHERE run = :mark)"
)
UNSENT = (  # of former runs, from the mark on; of all of them when the mark names no run that is kept
    "WITH mine AS (SELECT * FROM runs WHERE workflow_id = :id)"
    " SELECT t.run, t.number, t.body FROM mine JOIN turns t USING (workflow_id, run) WHERE run <> :run"
    " AND mine.number >= coalesce((SELECT number FROM mine WHERE run = :mark), 0)"
    " AND (run <> :mark OR t.number >= :turns) ORDER BY mine.number, t.number"
)
TIMER = "workflow, workflow_id, run, position, due, attempt, claimed_until"
SET_TIMER = f"INSERT OR REPLACE INTO timers ({TIMER}) VALUES (?, ?, ?, ?, ?, ?, ?)"
CLEAR_TIMER = "DELETE FROM timers WHERE workflow_id = ? AND run = ? AND position = ?"
TIMERS = f"SELECT {TIMER} FROM timers WHERE workflow_id = ? AND run = ? ORDER BY due, position"
FREE_TIMERS = (
    f"SELECT {TIMER} FROM timers WHERE workflow IN (SELECT value FROM json_each(?)) AND due <= ?"
    " AND claimed_until <= ? ORDER BY due, workflow_id, run, position LIMIT ?"
)
OFFERED = (
    "WITH wanted AS (SELECT key AS name, value AS current FROM json_each(?1))"
    " SELECT workflow, workflow_id FROM heads JOIN wanted ON workflow = name"
    " WHERE waiting > 0 AND fingerprint NOT IN (current, '~')"
    " UNION SELECT workflow, workflow_id FROM heads JOIN wanted ON workflow = name"
    " WHERE behind < ?2 LIMIT ?3"
)
ENDED = (  # by this index: another one would have all that it finds sorted, for each page
    "SELECT record, run, turns, inbox_version, expires, behind FROM heads AS led INDEXED BY heads_to_purge"
    " WHERE expires IS NOT NULL AND {} AND (expires, workflow_id) > (?, ?) ORDER BY expires, workflow_id LIMIT ?"
)
REMOVE = (
    "DELETE FROM heads WHERE workflow_id = ? AND run = ? AND turns = ? AND inbox_version = ?"
    " AND expires IS NOT NULL AND behind IS NULL RETURNING status, started, labels"
)


class SqliteStorage:
    """A `Storage` in a SQLite file, which it shares with whoever else was given the same `SqliteFile`."""

    def __init__(self, file: SqliteFile) -> None:
        self._file = file.share()
        self._finder = Finder(self._rows, aside="+{}")

    def now(self) -> int:
        return self._file.clock()

    def server_settings(self) -> Mapping[str, str]:
        with self._file.reading() as db:
            return {"version": db.execute("SELECT sqlite_version()").fetchone()[0]}

    def close(self) -> None:
        self._file.close()

    # ------------------------------------------------------------------------------------------- reading

    def load(self, workflow_id: str, from_turn: int = 0, run: str = "") -> Stored | None:
        with self._file.reading() as db:
            head = db.execute(HEAD, (workflow_id,)).fetchone()
            if head is None:
                return None
            workflow, now_run, turns, inbox_version, mark_run, mark_turns, token, record = head
            start = 0 if run and run != now_run else from_turn
            names = {"id": workflow_id, "run": now_run, "mark": mark_run, "turns": mark_turns}
            return Stored(
                workflow=workflow,
                workflow_id=workflow_id,
                version=Version(now_run, turns, inbox_version),
                mark=Mark(mark_run, mark_turns),
                token=token,
                record=decode_record(record),
                turns=_turns(db, workflow_id, now_run, start),
                unsent=tuple(TurnRow(*row) for row in db.execute(UNSENT, names)),
                inbox=tuple(InboxItem(*row) for row in db.execute(INBOX, (workflow_id,))),
                timers=tuple(TimerRow(*row) for row in db.execute(TIMERS, (workflow_id, now_run))),
            )

    def history(self, workflow_id: str, run: str) -> tuple[TurnRow, ...]:
        with self._file.reading() as db:
            return _turns(db, workflow_id, run, 0)

    def records(self, workflow_ids: Sequence[str]) -> list[StateRecord | None]:
        with self._file.reading() as db:
            asked = "SELECT record FROM heads WHERE workflow_id = ?"
            rows = [db.execute(asked, (workflow_id,)).fetchone() for workflow_id in workflow_ids]
        return [None if row is None else decode_record(row[0]) for row in rows]

    def find(self, where: Filter, limit: int, after: str = "") -> Page:
        return self._finder.find(where, limit, after)

    def count(self, where: Filter) -> int:
        return self._finder.count(where)

    def _rows(self, statement: str, values: Sequence[Any]) -> list[tuple[Any, ...]]:
        with self._file.reading() as db:
            return db.execute(statement, values).fetchall()

    # ------------------------------------------------------------------------------------------- writing

    def append(self, batch: Sequence[Append]) -> list[bool]:
        if not any(append.changes for append in batch):
            with self._file.reading() as db:
                marks = [_mark_if_holds(db, append) for append in batch]
            if all(mark in (None, append.mark) for mark, append in zip(marks, batch, strict=True)):
                return [mark is not None for mark in marks]
        with self._file.transaction() as db:
            return [self.append_in(db, append) for append in batch]

    def append_in(self, db: Connection, append: Append) -> bool:
        """`append` of one, as a part of the caller's transaction."""
        if not append.changes and (mark := _mark_if_holds(db, append)) in (None, append.mark):
            return mark is not None
        if not self._move(db, append):
            return False
        append.check_numbers({append.expected.run: append.expected.turns} if append.expected else {})
        if append.expected is None or append.expected.run != append.version.run:
            _begin_run(db, append)
        _write_rows(db, append)
        return True

    def _move(self, db: Connection, append: Append) -> bool:
        """The head, if the expected version holds: by the statement that does the least."""
        is_sent = append.mark.turns == append.version.turns and append.mark.run == append.version.run
        goes_on = is_sent and append.expires is None
        if goes_on and _went_on(db, append):
            return True
        values = _head_values(append, None if is_sent else self._file.clock())
        if append.record is None:
            if append.expected is None:
                raise Bug(f"{append.workflow_id} was to be created without a state record")
            return db.execute(KEEP_RECORD if append.changes else MOVE_MARK, values).rowcount == 1
        old = db.execute(LABELLED, values).fetchone() if append.expected is not None else ("", 0, "[]")
        if old is None:
            return False
        written = goes_on and old[0] == append.record.status and _went_on(db, append, otherwise=True)
        if not written and db.execute(INSERT if append.expected is None else CHANGE, values).rowcount == 0:
            return False
        write_labels(db, append.workflow_id, rows_of(*old), rows_for(append.record))
        return True

    def ended(self, where: Filter, limit: int, after: Past | None = None) -> tuple[Past, ...]:
        wanted = self._finder.condition(where)
        place = (after.expires, after.record.workflow_id) if after is not None else (-1, "")
        with self._file.reading() as db:
            rows = db.execute(ENDED.format(wanted.text), (*wanted.values, *place, limit)).fetchall()
        return tuple(Past(decode_record(row[0]), Version(*row[1:4]), row[4], row[5] is not None) for row in rows)

    def remove(self, past: Sequence[Past]) -> list[bool]:
        gone: list[bool] = []
        while len(gone) < len(past):
            with self._file.transaction(durable=False) as db:
                gone += _remove_some(db, past[len(gone) :])
        return gone

    def purge(self, now: int) -> int:
        return purge_in_pages(self, now)

    def compact(self) -> int:
        return self._file.vacuum()

    # -------------------------------------------------------------------------------------------- sweeps

    def claim_due_timers(self, workflows: Sequence[str], ahead: int, limit: int, lease: int) -> Due:
        now = self._file.clock()
        names = JSON.encode(list(workflows)).decode()
        values = (names, now + ahead, now, limit)
        with self._file.reading() as db:
            if db.execute(FREE_TIMERS, values).fetchone() is None:
                return Due(now, ())
        with self._file.transaction(durable=False) as db:
            rows = [TimerRow(*row) for row in db.execute(FREE_TIMERS, values)]
            claimed = [msgspec.structs.replace(row, claimed_until=max(now, row.due) + lease) for row in rows]
            db.executemany(SET_TIMER, map(msgspec.structs.astuple, claimed))
        return Due(now, tuple(claimed))

    def offers(self, fingerprints: Mapping[str, str], behind_since: int, limit: int) -> list[tuple[str, str]]:
        wanted = JSON.encode(dict(fingerprints)).decode()
        with self._file.reading() as db:
            return db.execute(OFFERED, (wanted, behind_since, limit)).fetchall()


def _mark_if_holds(db: Connection, append: Append) -> Mark | None:
    """The stored mark, or None when the expected version does not hold."""
    row = db.execute(f"SELECT mark_run, mark_turns FROM heads {HOLDS}", _head_values(append, None)).fetchone()
    return Mark(*row) if row else None


def _went_on(db: Connection, append: Append, *, otherwise: bool = False) -> bool:
    """Whether the expected version held and nothing that is filtered on had to change, *otherwise* but for labels."""
    old, new, mark, record = append.expected, append.version, append.mark, append.record
    if old is None or record is None:
        return False
    labels = (labels_text(record),)
    moved = (
        new.run,
        new.turns,
        new.inbox,
        mark.run,
        mark.turns,
        append.token,
        encode_record(record),
        record.fingerprint,
    )
    holds = (append.workflow_id, old.run, old.turns, old.inbox)
    same = (record.status, record.started, record.ended, append.expires)
    if otherwise:
        return db.execute(GO_ON_OTHERWISE, moved + labels + holds + same).rowcount == 1
    return db.execute(GO_ON, moved + holds + same + labels).rowcount == 1


def _head_values(append: Append, behind: int | None) -> dict[str, Any]:
    old, new, mark, record = append.expected or NOTHING, append.version, append.mark, append.record
    values = {"id": append.workflow_id, "old_run": old.run, "old_turns": old.turns, "old_inbox": old.inbox}
    values |= {"run": new.run, "turns": new.turns, "inbox": new.inbox, "token": append.token}
    values |= {"mark_run": mark.run, "mark_turns": mark.turns, "expires": append.expires, "behind": behind}
    if record is not None:
        values |= {"workflow": append.workflow, "status": record.status, "started": record.started}
        values |= {"ended": record.ended, "labels": labels_text(record), "fingerprint": record.fingerprint}
        values["record"] = encode_record(record)
    return values


def _begin_run(db: Connection, append: Append) -> None:
    """Note the new runs, and drop what is older than the one before the last and sent."""
    names = {"id": append.workflow_id, "run": append.version.run, "mark": append.mark.run}
    runs = dict.fromkeys([*(turn.run for turn in append.turns), append.version.run])
    db.executemany(ADD_RUN, [{**names, "run": run} for run in runs if run != (append.expected or NOTHING).run])
    old = db.execute(OLD_RUNS, names).fetchall()
    db.executemany("DELETE FROM turns WHERE workflow_id = ? AND run = ?", old)
    db.executemany("DELETE FROM runs WHERE workflow_id = ? AND run = ?", old)


def _write_rows(db: Connection, append: Append) -> None:
    workflow_id = append.workflow_id
    for turn in append.turns:
        db.execute(ADD_TURN, (workflow_id, turn.run, turn.number, turn.body))
    for run in append.runs_ended:
        db.execute("DELETE FROM timers WHERE workflow_id = ? AND run = ?", (workflow_id, run))
    for run, position in append.timers_cleared:
        db.execute(CLEAR_TIMER, (workflow_id, run, position))
    for timer in append.timers_set:
        db.execute(SET_TIMER, msgspec.structs.astuple(timer))
    if append.inbox_removed or append.inbox_added:
        _write_inbox(db, append)


def _remove_some(db: Connection, past: Sequence[Past]) -> list[bool]:
    gone, before = [], db.total_changes
    for one in past:
        workflow_id = one.record.workflow_id
        old = db.execute(REMOVE, (workflow_id, *msgspec.structs.astuple(one.version))).fetchall()
        gone.append(bool(old))
        for labelled in old:
            write_labels(db, workflow_id, rows_of(*labelled), set())
            for table in BESIDES:
                db.execute(f"DELETE FROM {table} WHERE workflow_id = ?", (workflow_id,))
        if db.total_changes - before >= REMOVED_AT_ONCE:
            break
    return gone


def _write_inbox(db: Connection, append: Append) -> None:
    workflow_id = append.workflow_id
    for key in append.inbox_removed:
        db.execute("DELETE FROM inbox WHERE workflow_id = ? AND key = ?", (workflow_id, key))
    for item in append.inbox_added:
        db.execute(ADD_ITEM, (workflow_id, item.key, item.body))
    db.execute(COUNT_INBOX, {"id": workflow_id})


def _turns(db: Connection, workflow_id: str, run: str, start: int) -> tuple[TurnRow, ...]:
    return tuple(TurnRow(*row) for row in db.execute(TURNS, (workflow_id, run, start)))
