"""Instances in a SQLite file.

The head row decides: a start inserts it, everything else updates it where the expected version still holds, and
only who changed that one row goes on to the other tables. So a late writer cannot bring back what was purged.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

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
from infinitic.sqlite_file import Connection, SqliteFile
from infinitic.storages import Due, Page

OVERDUE = 300_000
"""A timer that is later than this, in microseconds, may be taken from its claimer."""

PURGED_AT_ONCE = 200
"""How many instances one transaction purges, lest others wait for it."""

LAST = "\U0010ffff" * 64
"""What sorts behind every continuation of a prefix: an id has at most 255 bytes."""

NOTHING = Version("", 0)
COLUMNS = "run, turns, inbox_version, mark_run, mark_turns, token, record, fingerprint, status, started, tags, expires"
INSERT = (
    f"INSERT INTO heads (workflow_id, workflow, {COLUMNS}, behind) VALUES (:id, :workflow, :run, :turns, :inbox,"
    " :mark_run, :mark_turns, :token, :record, :fingerprint, :status, :started, :tags, :expires, :behind)"
    " ON CONFLICT (workflow_id) DO NOTHING"
)
MOVE = (
    "UPDATE heads SET run = :run, turns = :turns, inbox_version = :inbox,"
    " mark_run = :mark_run, mark_turns = :mark_turns, token = :token"
)
HOLDS = "WHERE workflow_id = :id AND run = :old_run AND turns = :old_turns AND inbox_version = :old_inbox"
RECORD = "record = :record, fingerprint = :fingerprint"
SAME = "status = :status AND started = :started AND tags = :tags AND expires IS :expires AND behind IS NULL"
BEHIND = (  # a mark that is behind and does not move keeps its instant
    "behind = CASE WHEN :behind IS NOT NULL AND behind IS NOT NULL AND mark_run = :mark_run"
    " AND mark_turns = :mark_turns THEN behind ELSE :behind END"
)
# One more turn and all else as it was: nothing set here is in an index, only the head's own page is touched.
GO_ON = f"{MOVE}, {RECORD} {HOLDS} AND {SAME}"
CHANGE = f"{MOVE}, {RECORD}, status = :status, started = :started, tags = :tags, expires = :expires, {BEHIND} {HOLDS}"
KEEP_RECORD = f"{MOVE}, expires = :expires, {BEHIND} {HOLDS}"

COUNT_INBOX = (
    "UPDATE heads SET waiting = (SELECT count(*) FROM inbox WHERE workflow_id = :id) WHERE workflow_id = :id"
)
ADD_TURN = "INSERT INTO turns (workflow_id, run, number, body) VALUES (?, ?, ?, ?)"
TURNS = (
    "SELECT run, number, body FROM turns WHERE workflow_id = ? AND run = ? AND number >= ? ORDER BY number"
)
ADD_RUN = (
    "INSERT INTO runs (workflow_id, number, run)"
    " SELECT :id, 1 + coalesce(max(number), -1), :run FROM runs WHERE workflow_id = :id"
)
RUN_NUMBER = "SELECT number FROM runs WHERE workflow_id = ? AND run = ?"
UNSENT = (
    "SELECT t.run, t.number, t.body FROM runs r JOIN turns t USING (workflow_id, run)"
    " WHERE workflow_id = ? AND run <> ? AND r.number >= ? AND (run <> ? OR t.number >= ?)"
    " ORDER BY r.number, t.number"
)
TIMER = "workflow, workflow_id, run, position, due, attempt, claimed_until"
SET_TIMER = f"INSERT OR REPLACE INTO timers ({TIMER}) VALUES (?, ?, ?, ?, ?, ?, ?)"
CLEAR_TIMER = "DELETE FROM timers WHERE workflow_id = ? AND run = ? AND position = ?"
TIMERS = f"SELECT {TIMER} FROM timers WHERE workflow_id = ? AND run = ? ORDER BY due, position"
FREE_TIMERS = (
    f"SELECT {TIMER} FROM timers WHERE workflow IN (SELECT value FROM json_each(?)) AND due <= ?"
    " AND (claimed_until <= ? OR due < ?) ORDER BY due, workflow_id, run, position LIMIT ?"
)
OFFERED = (
    "WITH wanted AS (SELECT key AS name, value AS fingerprint FROM json_each(?1))"
    " SELECT workflow, workflow_id FROM heads h JOIN wanted w ON workflow = name AND h.fingerprint <> w.fingerprint"
    " WHERE waiting > 0"
    " UNION SELECT workflow, workflow_id FROM heads WHERE behind IS NOT NULL AND behind < ?2"
    " AND workflow IN (SELECT name FROM wanted) LIMIT ?3"
)
PURGEABLE = (
    "SELECT workflow_id FROM heads WHERE expires IS NOT NULL AND expires < ? AND behind IS NULL LIMIT ?"
)

JSON = msgspec.json.Encoder()


class SqliteStorage:
    """A `Storage` in a SQLite file, which it shares with whoever else was given the same `SqliteFile`."""

    def __init__(self, file: SqliteFile) -> None:
        self._file = file.share()

    def now(self) -> int:
        return self._file.clock()

    def close(self) -> None:
        self._file.close()

    # ------------------------------------------------------------------------------------------- reading

    def load(self, workflow_id: str, from_turn: int = 0, run: str = "") -> Stored | None:
        with self._file.reading() as db:
            head = db.execute(
                "SELECT workflow, run, turns, inbox_version, mark_run, mark_turns, token, record FROM heads"
                " WHERE workflow_id = ?",
                (workflow_id,),
            ).fetchone()
            if head is None:
                return None
            workflow, now_run, turns, inbox_version, mark_run, mark_turns, token, record = head
            start = 0 if run and run != now_run else from_turn
            mark = Mark(mark_run, mark_turns)
            inbox = db.execute(
                "SELECT key, body FROM inbox WHERE workflow_id = ? ORDER BY id", (workflow_id,)
            )
            return Stored(
                workflow=workflow,
                workflow_id=workflow_id,
                version=Version(now_run, turns, inbox_version),
                mark=mark,
                token=token,
                record=decode_record(record),
                turns=_turns(db, workflow_id, now_run, start),
                unsent=() if mark_run == now_run else _unsent(db, workflow_id, now_run, mark),
                inbox=tuple(InboxItem(*row) for row in inbox),
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
        condition, values = _condition(where)
        if after:
            condition += " AND started <= ? AND (started < ? OR workflow_id > ?)"
            started, workflow_id = _place(after)
            values += [started, started, workflow_id]
        order = "ORDER BY started DESC, workflow_id LIMIT ?"
        with self._file.reading() as db:
            asked = f"SELECT started, workflow_id, record FROM heads WHERE {condition} {order}"
            rows = db.execute(asked, (*values, limit + 1)).fetchall()
        page = rows[:limit]
        token = f"{page[-1][0]}:{page[-1][1]}" if page and len(rows) > limit else ""
        return Page(tuple(decode_record(row[2]) for row in page), token)

    def count(self, where: Filter) -> int:
        condition, values = _condition(where)
        with self._file.reading() as db:
            return int(db.execute(f"SELECT count(*) FROM heads WHERE {condition}", values).fetchone()[0])

    # ------------------------------------------------------------------------------------------- writing

    def append(self, batch: Sequence[Append]) -> list[bool]:
        if all(_only_asks(append) for append in batch):
            with self._file.reading() as db:
                return [_holds(db, append) for append in batch]
        with self._file.transaction() as db:
            return [self.append_in(db, append) for append in batch]

    def append_in(self, db: Connection, append: Append) -> bool:
        """`append` of one, as a part of the caller's transaction."""
        if _only_asks(append):
            return _holds(db, append)
        _check_numbers(append)
        if not self._move(db, append):
            return False
        if append.expected is None or append.expected.run != append.version.run:
            _begin_run(db, append)
        _write_rows(db, append)
        return True

    def _move(self, db: Connection, append: Append) -> bool:
        """The head, if the expected version holds: by the statement that does the least."""
        values = _head_values(append, None if _is_sent(append) else self._file.clock())
        if append.expected is not None:
            if append.record is None:
                return db.execute(KEEP_RECORD, values).rowcount == 1
            if values["behind"] is None and db.execute(GO_ON, values).rowcount == 1:
                return True
        elif append.record is None:
            raise Bug(f"{append.workflow_id} was to be created without a state record")
        if db.execute(INSERT if append.expected is None else CHANGE, values).rowcount == 0:
            return False
        _write_tags(db, append.record)
        return True

    def purge(self, now: int) -> int:
        total = 0
        while True:
            gone = self._purge_some(now)
            total += gone
            if gone < PURGED_AT_ONCE:
                return total

    def _purge_some(self, now: int) -> int:
        with self._file.reading() as db:
            if db.execute(PURGEABLE, (now, 1)).fetchone() is None:
                return 0
        with self._file.transaction(durable=False) as db:
            gone = db.execute(PURGEABLE, (now, PURGED_AT_ONCE)).fetchall()
            for table in ("turns", "runs", "timers", "inbox", "tags", "heads"):
                db.executemany(f"DELETE FROM {table} WHERE workflow_id = ?", gone)
        return len(gone)

    # -------------------------------------------------------------------------------------------- sweeps

    def claim_due_timers(self, workflows: Sequence[str], ahead: int, limit: int, lease: int) -> Due:
        now = self._file.clock()
        names = JSON.encode(list(workflows)).decode()
        values = (names, now + ahead, now, now - OVERDUE, limit)
        with self._file.reading() as db:
            if db.execute(FREE_TIMERS, values).fetchone() is None:
                return Due(now, ())
        with self._file.transaction(durable=False) as db:
            rows = [TimerRow(*row) for row in db.execute(FREE_TIMERS, values)]
            claimed = [msgspec.structs.replace(row, claimed_until=max(now, row.due) + lease) for row in rows]
            _write_timers(db, claimed)
        return Due(now, tuple(claimed))

    def offers(self, fingerprints: Mapping[str, str], behind_since: int, limit: int) -> list[tuple[str, str]]:
        wanted = JSON.encode(dict(fingerprints)).decode()
        with self._file.reading() as db:
            rows = db.execute(OFFERED, (wanted, behind_since, limit)).fetchall()
        return [(workflow, workflow_id) for workflow, workflow_id in rows]


def _is_sent(append: Append) -> bool:
    return append.mark.turns == append.version.turns and append.mark.run == append.version.run


def _only_asks(append: Append) -> bool:
    """Whether nothing is to be written. A write of the mark alone changes nothing else and is still one."""
    return not append.changes and append.expected is not None and _is_sent(append)


def _holds(db: Connection, append: Append) -> bool:
    expected = append.version
    values = (append.workflow_id, expected.run, expected.turns, expected.inbox)
    return db.execute(f"SELECT 1 FROM heads{HOLDS}", values).fetchone() is not None


def _head_values(append: Append, behind: int | None) -> dict[str, Any]:
    old, new, mark, record = append.expected or NOTHING, append.version, append.mark, append.record
    values = {"id": append.workflow_id, "old_run": old.run, "old_turns": old.turns, "old_inbox": old.inbox}
    values |= {"run": new.run, "turns": new.turns, "inbox": new.inbox, "token": append.token}
    values |= {"mark_run": mark.run, "mark_turns": mark.turns, "expires": append.expires, "behind": behind}
    if record is not None:
        values |= {"workflow": append.workflow, "status": record.status, "started": record.started}
        values |= {"tags": JSON.encode(record.tags).decode(), "fingerprint": record.fingerprint}
        values["record"] = encode_record(record)
    return values


def _check_numbers(append: Append) -> None:
    """Raise `Bug` when the turns would not follow those that are there, or not add up to the new version."""
    counts = {append.expected.run: append.expected.turns} if append.expected else {}
    for turn in append.turns:
        if turn.number != counts.get(turn.run, 0):
            raise Bug(
                f"{append.workflow_id}: turn {turn.number} does not follow {counts.get(turn.run, 0)} turns"
            )
        counts[turn.run] = turn.number + 1
    if append.version.turns != counts.get(append.version.run, 0):
        raise Bug(f"{append.workflow_id}: {append.version} does not count the turns of its run")


def _begin_run(db: Connection, append: Append) -> None:
    """Note the new run, and drop what is older than the one before it and sent."""
    workflow_id = append.workflow_id
    db.execute(ADD_RUN, {"id": workflow_id, "run": append.version.run})
    newest = db.execute(RUN_NUMBER, (workflow_id, append.version.run)).fetchone()[0]
    marked = db.execute(RUN_NUMBER, (workflow_id, append.mark.run)).fetchone()
    before = (workflow_id, min(newest - 1, marked[0] if marked else 0))
    old = db.execute(
        "SELECT workflow_id, run FROM runs WHERE workflow_id = ? AND number < ?", before
    ).fetchall()
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
    _write_timers(db, append.timers_set)
    if append.inbox_removed or append.inbox_added:
        _write_inbox(db, append)


def _write_timers(db: Connection, rows: Sequence[TimerRow]) -> None:
    for row in rows:
        db.execute(SET_TIMER, msgspec.structs.astuple(row))


def _write_inbox(db: Connection, append: Append) -> None:
    workflow_id = append.workflow_id
    for key in append.inbox_removed:
        db.execute("DELETE FROM inbox WHERE workflow_id = ? AND key = ?", (workflow_id, key))
    for item in append.inbox_added:
        add = "INSERT OR IGNORE INTO inbox (workflow_id, key, body) VALUES (?, ?, ?)"
        db.execute(add, (workflow_id, item.key, item.body))
    db.execute(COUNT_INBOX, {"id": workflow_id})


def _write_tags(db: Connection, record: StateRecord) -> None:
    db.execute("DELETE FROM tags WHERE workflow_id = ?", (record.workflow_id,))
    for tag in record.tags:
        db.execute("INSERT OR IGNORE INTO tags (tag, workflow_id) VALUES (?, ?)", (tag, record.workflow_id))


def _turns(db: Connection, workflow_id: str, run: str, start: int) -> tuple[TurnRow, ...]:
    return tuple(TurnRow(*row) for row in db.execute(TURNS, (workflow_id, run, start)))


def _unsent(db: Connection, workflow_id: str, run: str, mark: Mark) -> tuple[TurnRow, ...]:
    """The turns of former runs from the mark on; all of them when the mark names no run that is kept."""
    first = db.execute(RUN_NUMBER, (workflow_id, mark.run)).fetchone()
    values = (workflow_id, run, first[0] if first else 0, mark.run, mark.turns)
    return tuple(TurnRow(*row) for row in db.execute(UNSENT, values))


def _condition(where: Filter) -> tuple[str, list[Any]]:
    """What the filter says as SQL, and its values."""
    fields: tuple[tuple[str, Sequence[Any]], ...] = (
        ("workflow = ?", [where.workflow]),
        ("status = ?", [where.status]),
        ("workflow_id IN (SELECT workflow_id FROM tags WHERE tag = ?)", [where.tag]),
        ("started >= ?", [where.since]),
        (
            "workflow_id >= ? AND workflow_id <= ?",
            where.id_prefix and [where.id_prefix, where.id_prefix + LAST],
        ),
    )
    used = [(text, values) for text, values in fields if any(values)]
    return " AND ".join(["1", *(text for text, _ in used)]), [value for _, values in used for value in values]


def _place(token: str) -> tuple[int, str]:
    """The start and the id that `find` made *token* of. Raises `StorageError`."""
    started, _, workflow_id = token.partition(":")
    try:
        return int(started), workflow_id
    except ValueError:
        hint = "Give what the page before had as `after`."
        raise StorageError(f"{token!r} is no place in a list", hint) from None
