"""Instances in a database of MySQL or MariaDB, by what SQL the two have in common.

The head row decides: a batch inserts the heads of those that start, locks the others' in the order of their ids,
and writes only for those whose expected version still holds: in one transaction, of two round trips. Texts are
bytes in the tables, in UTF-8, and so compared byte for byte.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from operator import attrgetter, itemgetter
from typing import TypeVar

from msgspec.structs import replace

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
)
from infinitic.storages import Due, Page, Past, purge_in_pages
from infinitic.storages.finding import Finder
from infinitic.storages.mysql_schema import MySqlSchema
from infinitic.storages.mysql_server import Connection, ConnectionLost, Locked, Pool, Result, Row, Server
from infinitic.storages.mysql_writes import (
    FIELDS,
    NOW,
    TIMER,
    Head,
    as_text,
    heads_of,
    listed,
    literal,
    marks,
    removals,
    set_timers,
    starts,
    unlabelled,
    writes,
)
from infinitic.storages.schemas import check_schema
from infinitic.storages.sql import BESIDES, portions

T = TypeVar("T")

TRIES = 5  # of a transaction that met a deadlock

COMMIT, ROLLBACK = "COMMIT", "ROLLBACK"
HEADS = f"SELECT {FIELDS} FROM heads FORCE INDEX (PRIMARY) WHERE workflow_id IN ({{}}) ORDER BY workflow_id"
TURNS = "SELECT number, body FROM turns WHERE workflow_id = {} AND run = {}"
# One statement, so that all of it is of one instant. What has a body is sorted here: the server would sort it body and
# all. Of former runs the turns from the mark on; all of them when the mark names no run that is kept.
LOAD = (
    "SELECT 0, turns, inbox_version, mark_turns, workflow, run, mark_run, token, record FROM heads"
    " WHERE workflow_id = {id}"
    " UNION ALL SELECT 1, t.number, NULL, NULL, NULL, NULL, NULL, NULL, t.body"
    " FROM heads h JOIN turns t ON t.workflow_id = h.workflow_id AND t.run = h.run"
    " WHERE h.workflow_id = {id} AND t.number >= IF({run} IN ('', h.run), {start}, 0)"
    " UNION ALL SELECT 2, r.number, t.number, NULL, t.run, NULL, NULL, NULL, t.body"
    " FROM heads h JOIN runs r ON r.workflow_id = h.workflow_id"
    " LEFT JOIN runs m ON m.workflow_id = h.workflow_id AND m.run = h.mark_run"
    " JOIN turns t ON t.workflow_id = r.workflow_id AND t.run = r.run WHERE h.workflow_id = {id} AND r.run <> h.run"
    " AND r.number >= COALESCE(m.number, 0) AND (r.run <> h.mark_run OR t.number >= h.mark_turns)"
    " UNION ALL SELECT 3, id, NULL, NULL, item, NULL, NULL, NULL, body FROM inbox WHERE workflow_id = {id}"
    " UNION ALL SELECT 4, t.due, t.attempt, t.claimed_until, t.workflow, t.run, t.position, NULL, NULL"
    " FROM heads h JOIN timers t ON t.workflow_id = h.workflow_id AND t.run = h.run WHERE h.workflow_id = {id}"
)
SETTINGS = (
    "SHOW GLOBAL VARIABLES WHERE Variable_name IN ('version', 'innodb_flush_log_at_trx_commit', 'log_bin',"
    " 'sync_binlog', 'max_allowed_packet')"
)
FREE = "timers FORCE INDEX (timers_by_due) WHERE workflow = {} AND due <= {} AND claimed_until <= {}"
FREE_TIMERS = f"SELECT {TIMER} FROM {FREE} ORDER BY due, workflow_id, run, position LIMIT {{}} FOR UPDATE SKIP LOCKED"
OFFERED = (
    "(SELECT workflow, workflow_id FROM heads FORCE INDEX (heads_with_inbox) WHERE waiting > 0 AND ({0}) LIMIT {3})"
    " UNION (SELECT workflow, workflow_id FROM heads FORCE INDEX (heads_behind)"
    " WHERE behind < {2} AND workflow IN ({1}) LIMIT {3}) LIMIT {3}"
)
ENDED = (
    "SELECT record, run, turns, inbox_version, expires, behind FROM heads JOIN (SELECT workflow_id"
    " FROM heads AS led FORCE INDEX (heads_to_purge) WHERE expires >= {0} AND (expires > {0} OR workflow_id > {1})"
    " AND {2} ORDER BY expires, workflow_id LIMIT {3}"
    ") AS page USING (workflow_id)"
)


class MySqlStorage:
    """A `Storage` in a database of MySQL or MariaDB. Thread-safe; closing it closes its connections."""

    def __init__(self, server: Server) -> None:
        self._pool = Pool(server)
        self._finder = Finder(lambda said, values: self._read(_filled(said, values)), aside="COALESCE({0}, {0})")

    @classmethod
    def open(cls, url: str, *, namespace: str = "default", makes: bool = True) -> MySqlStorage:
        """The storage of a namespace, which has that database for itself; its tables are made if *makes* allows it.

        Raises `StorageError`, and `ConfigurationError` for a URL that cannot be.
        """
        server = Server.of(url)
        check_schema(MySqlSchema(server, namespace), makes=makes)
        return cls(server)

    @classmethod
    def schema_of(cls, url: str, *, namespace: str = "default") -> AbstractContextManager[MySqlSchema]:
        """The schema of what *url* names, as it is. Raises `ConfigurationError`."""
        return nullcontext(MySqlSchema(Server.of(url), namespace))

    def now(self) -> int:
        return int(self._read(f"SELECT {NOW}")[0][0])

    def server_settings(self) -> dict[str, str]:
        return dict(as_text(row) for row in self._read(SETTINGS))

    def close(self) -> None:
        self._pool.close()

    # ------------------------------------------------------------------------------------------- reading

    def _read(self, *statements: str) -> list[Row]:
        """The rows that these give; once more on another connection when one broke: they are harmless twice."""
        try:
            return self._run(*statements)
        except ConnectionLost:
            return self._run(*statements)

    def _run(self, *statements: str) -> list[Row]:
        with self._pool.connection() as db:
            return _rows(db.run(*statements, COMMIT))

    def load(self, workflow_id: str, from_turn: int = 0, run: str = "") -> Stored | None:
        kinds: list[list[Row]] = [[], [], [], [], []]
        for kind, *row in self._read(LOAD.format(id=literal(workflow_id), run=literal(run), start=from_turn)):
            kinds[kind].append(row)
        heads, turns, unsent, inbox, timers = kinds
        if not heads:
            return None
        count, inbox_version, mark_turns, *texts, record = heads[0]
        workflow, now_run, mark_run, token = as_text(texts)
        return Stored(
            workflow=workflow,
            workflow_id=workflow_id,
            version=Version(now_run, count, inbox_version),
            mark=Mark(mark_run, mark_turns),
            token=token,
            record=decode_record(record),
            turns=tuple(TurnRow(now_run, row[0], bytes(row[-1])) for row in sorted(turns, key=_place)),
            unsent=tuple(TurnRow(row[3].decode(), row[1], bytes(row[-1])) for row in sorted(unsent, key=_place)),
            inbox=tuple(InboxItem(row[3].decode(), bytes(row[-1])) for row in sorted(inbox, key=_place)),
            timers=tuple(_loaded(workflow_id, row) for row in timers),
        )

    def history(self, workflow_id: str, run: str) -> tuple[TurnRow, ...]:
        rows = self._read(TURNS.format(literal(workflow_id), literal(run)))
        return tuple(TurnRow(run, number, bytes(body)) for number, body in sorted(rows, key=itemgetter(0)))

    def records(self, workflow_ids: Sequence[str]) -> list[StateRecord | None]:
        if not workflow_ids:
            return []
        asked = f"SELECT workflow_id, record FROM heads WHERE workflow_id IN ({listed(workflow_ids)})"
        found = {workflow_id.decode(): decode_record(record) for workflow_id, record in self._read(asked)}
        return [found.get(workflow_id) for workflow_id in workflow_ids]

    def find(self, where: Filter, limit: int, after: str = "") -> Page:
        return self._finder.find(where, limit, after)

    def count(self, where: Filter) -> int:
        return self._finder.count(where)

    # ------------------------------------------------------------------------------------------- writing

    def append(self, batch: Sequence[Append]) -> list[bool]:
        if not any(append.changes for append in batch):
            return self._mark(batch)
        try:
            return self._retried(partial(self._append, batch))
        except ConnectionLost:
            return self._append_again(batch)

    def _append_again(self, batch: Sequence[Append]) -> list[bool]:
        """`append` after its reply was lost: the writer's token tells what was written all the same."""
        heads = heads_of(self._read(*_asked(batch, " LOCK IN SHARE MODE")))  # waits for what is still under way
        written = {workflow_id: (head.version, head.token) for workflow_id, head in heads.items()}
        won = [
            append.expected != append.version and written.get(append.workflow_id) == (append.version, append.token)
            for append in batch
        ]
        rest = [append for append, was_won in zip(batch, won, strict=True) if not was_won]
        others = iter(self._retried(partial(self._append, rest)))
        return [was_won or next(others) for was_won in won]

    def _mark(self, batch: Sequence[Append]) -> list[bool]:
        """`append` of what changes nothing, or nothing but marks: one round trip, and harmless when it is repeated."""
        statements = (*_asked(batch, " FOR UPDATE"), *marks(batch))
        heads = heads_of(self._retried(partial(self._read, *statements)))
        return [_holds(append, heads) for append in batch]

    def _retried(self, work: Callable[[], T]) -> T:
        for _ in range(TRIES - 1):
            try:
                return work()
            except Locked:
                continue
        return work()

    def _append(self, batch: Sequence[Append]) -> list[bool]:
        with self._pool.connection() as db:
            heads, refused = _lock(db, batch)
            won = [append not in refused and _holds(append, heads) for append in batch]
            winners = [append for append, was_won in zip(batch, won, strict=True) if was_won]
            db.run(*writes(winners, heads, db.most), COMMIT)
        return won

    def ended(self, where: Filter, limit: int, after: Past | None = None) -> tuple[Past, ...]:
        place = (after.expires, after.record.workflow_id) if after is not None else (-1, "")
        wanted = self._finder.condition(where)
        rows = self._read(ENDED.format(place[0], literal(place[1]), _filled(wanted.text, wanted.values), limit))
        past = (
            Past(decode_record(record), Version(run.decode(), *counts), expires, behind is not None)
            for record, run, *counts, expires, behind in rows
        )
        return tuple(sorted(past, key=lambda one: (one.expires, one.record.workflow_id)))

    def remove(self, past: Sequence[Past]) -> list[bool]:
        gone = list[bool]()
        for some in portions(past):
            gone += self._retried(partial(self._remove, some))
        return gone

    def _remove(self, past: Sequence[Past]) -> list[bool]:
        asked = HEADS.format(listed(one.record.workflow_id for one in past)) + " FOR UPDATE"
        with self._pool.connection() as db:
            heads = heads_of(_rows(db.run(asked)))
            going = [_may_go(one, heads.get(one.record.workflow_id)) for one in past]
            ids = [one.record.workflow_id for one, goes in zip(past, going, strict=True) if goes]
            labels = unlabelled(row for id_ in ids for row in heads[id_].labelled)
            db.run(*removals(ids, ("heads", *BESIDES)) if ids else (), *labels, COMMIT)
        return going

    def purge(self, now: int) -> int:
        return purge_in_pages(self, now)

    def compact(self) -> int:
        return 0

    # -------------------------------------------------------------------------------------------- sweeps

    def claim_due_timers(self, workflows: Sequence[str], ahead: int, limit: int, lease: int) -> Due:
        names = list(dict.fromkeys(map(literal, workflows)))
        due = [f"EXISTS (SELECT 1 FROM {FREE.format(name, f'{NOW} + {ahead}', NOW)})" for name in names]
        now, *are_due = self._read(f"SELECT {', '.join([NOW, *due])}")[0]
        wanted = [name for name, is_due in zip(names, are_due, strict=True) if is_due]
        if not wanted:
            return Due(now, ())
        asked = [FREE_TIMERS.format(name, now + ahead, now, limit) for name in wanted]
        return Due(now, self._retried(partial(self._claim, asked, now, limit, lease)))

    def _claim(self, asked: Sequence[str], now: int, limit: int, lease: int) -> tuple[TimerRow, ...]:
        with self._pool.connection() as db:
            rows = sorted((TimerRow(*as_text(row)) for row in _rows(db.run(*asked))), key=_in_turn)
            claimed = tuple(replace(row, claimed_until=max(now, row.due) + lease) for row in rows[:limit])
            db.run(*set_timers(claimed, db.most), COMMIT)
        return claimed

    def offers(self, fingerprints: Mapping[str, str], behind_since: int, limit: int) -> list[tuple[str, str]]:
        if not fingerprints:
            return []
        others = " OR ".join(
            f"workflow = {literal(name)} AND fingerprint NOT IN ({listed([mine, BY_HAND])})"
            for name, mine in fingerprints.items()
        )
        rows = self._read(OFFERED.format(others, listed(fingerprints), behind_since, limit))
        return [(workflow.decode(), workflow_id.decode()) for workflow, workflow_id in rows]


def _asked(batch: Iterable[Append], how: str = "") -> list[str]:
    """What asks for the heads of these, if there are any."""
    ids = sorted(append.workflow_id for append in batch)
    return [HEADS.format(listed(ids)) + how] if ids else []


def _rows(answers: Iterable[Result]) -> list[Row]:
    return [row for answer in answers for row in answer.rows]


def _lock(db: Connection, batch: Sequence[Append]) -> tuple[dict[str, Head], list[Append]]:
    """Begin a transaction that holds all heads' locks: the heads that were there, and the starts that came too late."""
    others = _asked((append for append in batch if append.expected is not None), " FOR UPDATE")
    new = sorted((append for append in batch if append.expected is None), key=lambda append: append.workflow_id)
    refused = list[Append]()
    while True:
        inserts = list(starts(new, db.most))
        answers = db.run(*others, *inserts)
        if sum(answer.changed for answer in answers) == len(new):
            return heads_of(_rows(answers)), refused
        there = heads_of(_rows(db.run(ROLLBACK, *_asked(new))))
        refused += (append for append in new if append.workflow_id in there)
        new = [append for append in new if append.workflow_id not in there]


def _holds(append: Append, heads: Mapping[str, Head]) -> bool:
    """Whether the expected version does. Heads of those that start are not among *heads*."""
    head = heads.get(append.workflow_id)
    return append.expected == (None if head is None else head.version)


def _may_go(past: Past, head: Head | None) -> bool:
    return bool(head and head.version == past.version and head.expires is not None and head.behind is None)


def _filled(statement: str, values: Iterable[str | int]) -> str:
    """*statement* with the values in the place of its question marks."""
    return statement.replace("?", "{}").format(*map(literal, values))


_place, _in_turn = itemgetter(0, 1), attrgetter("due", "workflow_id", "run", "position")


def _loaded(workflow_id: str, row: Row) -> TimerRow:
    due, attempt, claimed_until, *texts = row[:6]
    workflow, run, position = as_text(texts)
    return TimerRow(workflow, workflow_id, run, position, due, attempt, claimed_until)
