"""Instances in a PostgreSQL database: one batch of appends is one statement, and so is everything else.

The head row decides (postgres_statements.sql): a start inserts it, all else updates it where the expected version still
holds, and only what won goes on to the other tables.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
from attrs import Factory, define

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
from infinitic.storages import Due, Page, Past, purge_in_pages
from infinitic.storages.finding import LAST, Finder
from infinitic.storages.labels import labels_of
from infinitic.storages.postgres_server import Broken, Pool, PostgresSchema, Server, Values
from infinitic.storages.schemas import check_schema
from infinitic.storages.sql import portions

BATCH = 8 << 20  # bytes that go into one statement; one instance may have more
LARGEST = 128 << 20  # bytes for one instance
SETTINGS = ["server_version", "fsync", "synchronous_commit", "full_page_writes"]  # what a loss of power may cost
JSON = msgspec.json.Encoder()

TEXT = Path(__file__).with_name("postgres_statements.sql").read_text(encoding="utf-8")
LONG = dict(re.findall(r"^-- statement (\w+)$(.*?)(?=^-- statement|\Z)", TEXT, flags=re.MULTILINE | re.DOTALL))
WRITTEN = (
    "SELECT workflow_id, run, turns, inbox_version, token FROM infinitic.heads WHERE workflow_id = ANY (%s::text[])"
)
HISTORY = "SELECT run, number, body FROM infinitic.turns WHERE workflow_id = %s AND run = %s ORDER BY number"
RECORDS = "SELECT workflow_id, record FROM infinitic.heads WHERE workflow_id = ANY (%s::text[])"


class PostgresStorage:
    """A `Storage` in the schema `infinitic` of a PostgreSQL database. Thread-safe."""

    def __init__(self, schema: PostgresSchema) -> None:
        self.schema = schema
        self._pool = Pool(schema.server)
        self._finder = Finder(self._found, schema="infinitic.")

    @classmethod
    def open(cls, url: str, *, namespace: str = "default", makes: bool = True) -> PostgresStorage:
        """The storage behind a URL as libpq takes it. Its tables are made where there are none, if *makes*.

        `pool=8` says how many connections there may be; `pgbouncer=true` that PgBouncer is between. Raises
        `ConfigurationError` and `StorageError`.
        """
        with cls.schema_of(url, namespace=namespace) as schema:
            check_schema(schema, makes=makes)
        return cls(schema)

    @staticmethod
    @contextmanager
    def schema_of(url: str, *, namespace: str = "default") -> Iterator[PostgresSchema]:
        """The schema behind a URL, as it is: maybe absent, old or of another namespace."""
        yield PostgresSchema(Server.of(url), namespace)

    def now(self) -> int:
        return int(self._ask("SELECT infinitic.clock()")[0][0])

    def server_settings(self) -> Mapping[str, str]:
        found = dict(self._ask("SELECT name, setting FROM pg_settings WHERE name = ANY (%s::text[])", [SETTINGS]))
        return {"version": found.pop("server_version"), **found}

    def close(self) -> None:
        self._pool.close()

    def _ask(self, statement: str, values: Values = None, *, prepare: bool | None = None) -> list[Any]:
        """The rows of what may be asked twice: once more on another connection when the first one breaks."""
        try:
            return self._pool.ask(statement, values, prepare=prepare)
        except Broken:
            return self._pool.ask(statement, values, prepare=prepare)

    # ------------------------------------------------------------------------------------------- reading

    def load(self, workflow_id: str, from_turn: int = 0, run: str = "") -> Stored | None:
        found = self._ask(LONG["load"], {"id": workflow_id, "from": from_turn, "run": run})
        if not found:
            return None
        workflow, current, turns, inbox_version, mark_run, mark_turns, token, record, first, bodies = found[0][:10]
        unsent, items, timers = found[0][10:13], found[0][13:15], found[0][15:]
        return Stored(
            workflow=workflow,
            workflow_id=workflow_id,
            version=Version(current, turns, inbox_version),
            mark=Mark(mark_run, mark_turns),
            token=token,
            record=decode_record(record),
            turns=tuple(TurnRow(current, number, body) for number, body in enumerate(bodies, first)),
            unsent=tuple(TurnRow(*row) for row in _rows(unsent)),
            inbox=tuple(InboxItem(*row) for row in _rows(items)),
            timers=tuple(TimerRow(name, workflow_id, current, *row) for name, *row in _rows(timers)),
        )

    def history(self, workflow_id: str, run: str) -> tuple[TurnRow, ...]:
        return tuple(TurnRow(*row) for row in self._ask(HISTORY, [workflow_id, run]))

    def records(self, workflow_ids: Sequence[str]) -> list[StateRecord | None]:
        found = dict(self._ask(RECORDS, [list(workflow_ids)]))
        return [decode_record(found[one]) if one in found else None for one in workflow_ids]

    def find(self, where: Filter, limit: int, after: str = "") -> Page:
        return self._finder.find(where, limit, after)

    def count(self, where: Filter) -> int:
        return self._finder.count(where)

    def _found(self, statement: str, values: Values) -> list[Any]:
        """The rows of a statement with question marks, which gets a plan of its own."""
        return self._ask(statement.replace("?", "%s"), values, prepare=False)

    def ended(self, where: Filter, limit: int, after: Past | None = None) -> tuple[Past, ...]:
        wanted = self._finder.condition(where)
        place = (after.expires, after.record.workflow_id) if after is not None else (-1, "")
        asked = (
            f"SELECT record, run, turns, inbox_version, expires, behind FROM infinitic.heads AS led"
            f" WHERE {wanted.text} AND expires IS NOT NULL AND (expires, workflow_id) > (?, ?)"
            " ORDER BY expires, workflow_id LIMIT ?"
        )
        rows = self._found(asked, [*wanted.values, *place, limit])
        return tuple(Past(decode_record(row[0]), Version(*row[1:4]), row[4], row[5] is not None) for row in rows)

    # ------------------------------------------------------------------------------------------- writing

    def append(self, batch: Sequence[Append]) -> list[bool]:
        won: set[int] = set()
        for part in _parts(batch):
            ids = self._append(part)
            won.update(id(append) for append in part.appends if append.workflow_id in ids)
        return [id(append) in won for append in batch]

    def _append(self, batch: Batch) -> set[str]:
        """The ids of those that won."""
        values = batch.values()
        try:
            return {row[0] for row in self._pool.ask(LONG["append"], values)}
        except Broken:
            won = {row[0] for row in self._pool.ask(LONG["append"], values)}
        # What was written before the connection broke has lost against itself.
        lost = {append.workflow_id: append for append in batch.appends if append.workflow_id not in won}
        written = self._ask(WRITTEN, [list(lost)]) if lost else []
        return won | {row[0] for row in written if _is_own(lost[row[0]], *row[1:])}

    def remove(self, past: Sequence[Past]) -> list[bool]:
        gone: set[str] = set()
        for some in portions(past):
            rows = [{"id": one.record.workflow_id, **msgspec.structs.asdict(one.version)} for one in some]
            gone |= {row[0] for row in self._pool.ask(LONG["remove"], {"past": _json(rows)}, prepare=False)}
        return [one.record.workflow_id in gone for one in past]

    def purge(self, now: int) -> int:
        return purge_in_pages(self, now)

    def compact(self) -> int:
        return 0

    # -------------------------------------------------------------------------------------------- sweeps

    def claim_due_timers(self, workflows: Sequence[str], ahead: int, limit: int, lease: int) -> Due:
        asked = {"workflows": list(workflows), "ahead": ahead, "limit": limit, "lease": lease}
        rows = self._ask(LONG["claim"], asked)
        return Due(rows[0][0], tuple(TimerRow(*row[1:]) for row in rows if row[1] is not None))

    def offers(self, fingerprints: Mapping[str, str], behind_since: int, limit: int) -> list[tuple[str, str]]:
        asked = {"names": list(fingerprints), "current": list(fingerprints.values())}
        return self._ask(LONG["offered"], {**asked, "since": behind_since, "limit": limit})


@define
class Batch:
    """What one statement writes, by what the statement calls it. What is bytes lies in *blob*, one after the other."""

    appends: list[Append] = Factory(list)
    heads: list[dict[str, Any]] = Factory(list)
    turns: list[dict[str, Any]] = Factory(list)
    timers: list[TimerRow] = Factory(list)
    cleared: list[dict[str, str]] = Factory(list)
    added: list[dict[str, Any]] = Factory(list)
    removed: list[dict[str, str]] = Factory(list)
    blob: bytearray = Factory(bytearray)

    def add(self, append: Append, record: bytes | None) -> None:
        workflow_id = append.workflow_id
        self.appends.append(append)
        self.heads.append(_head(append) | self._placed(record))
        for turn in append.turns:
            row = {"id": workflow_id, "run": turn.run, "number": turn.number}
            self.turns.append(row | self._placed(turn.body))
        for run in append.runs_ended:
            self.cleared.append({"id": workflow_id, "run": run, "first": "", "last": LAST})
        for run, position in append.timers_cleared:
            self.cleared.append({"id": workflow_id, "run": run, "first": position, "last": position})
        self.timers += {(row.run, row.position): row for row in append.timers_set}.values()
        self.removed += ({"id": workflow_id, "key": key} for key in append.inbox_removed)
        for item in append.inbox_added:
            self.added.append({"id": workflow_id, "key": item.key} | self._placed(item.body))

    def _placed(self, body: bytes | None) -> dict[str, int]:
        """Where *body* is found from now on, as SQL counts."""
        if body is None:
            return {}
        self.blob += body
        return {"at": len(self.blob) - len(body) + 1, "size": len(body)}

    def values(self) -> dict[str, Any]:
        """The statement's values."""
        rows = ("heads", "turns", "timers", "cleared", "added", "removed")
        return {name: _json(getattr(self, name)) for name in rows} | {"blob": bytes(self.blob)}


def _parts(batch: Sequence[Append]) -> list[Batch]:
    """The batch by id, in parts that are not too large for one statement and name no instance twice."""
    parts: list[Batch] = []
    for append in sorted(batch, key=lambda one: one.workflow_id):
        record = _record(append)
        size = len(record or b"") + sum(len(body) for body in _bodies(append))
        if size > LARGEST:
            raise StorageError(
                f"{append.workflow_id} is to be written with {size} bytes, more than the {LARGEST} that go at once",
                "Keep large values elsewhere, and pass where they are.",
            )
        append.check_numbers({append.expected.run: append.expected.turns} if append.expected else {})
        last = parts[-1] if parts else None
        if last is None or len(last.blob) + size > BATCH or last.appends[-1].workflow_id == append.workflow_id:
            parts.append(Batch())
        parts[-1].add(append, record)
    return parts


def _head(append: Append) -> dict[str, Any]:
    """The columns of a head as they are to be; what has no value stays as it is."""
    old, new, mark, record = append.expected, append.version, append.mark, append.record
    runs = dict.fromkeys([*(turn.run for turn in append.turns), new.run])
    head: dict[str, Any] = {"id": append.workflow_id, "workflow": append.workflow, "token": append.token}
    head |= {"run": new.run, "turns": new.turns, "inbox": new.inbox, "mark_run": mark.run, "mark_turns": mark.turns}
    head |= {"expires": append.expires, "changes": append.changes}
    head |= {"runs": [run for run in runs if old is None or run != old.run]}
    head |= {"adds": bool(append.inbox_added), "removes": bool(append.inbox_removed)}
    if old is not None:
        head |= {"old_run": old.run, "old_turns": old.turns, "old_inbox": old.inbox}
    if record is not None:
        head |= {"status": record.status, "started": record.started, "ended": record.ended}
        head |= {"labels": labels_of(record), "fingerprint": record.fingerprint}
    return head


def _bodies(append: Append) -> list[bytes]:
    return [turn.body for turn in append.turns] + [item.body for item in append.inbox_added]


def _record(append: Append) -> bytes | None:
    if append.record is not None:
        return encode_record(append.record)
    if append.expected is None:
        raise Bug(f"{append.workflow_id} was to be created without a state record")
    return None


def _is_own(append: Append, run: str, turns: int, inbox: int, token: str) -> bool:
    """Whether it is this very append that made the head what it is."""
    return append.version == Version(run, turns, inbox) != append.expected and append.token == token


def _rows(columns: Sequence[Sequence[Any] | None]) -> Iterator[tuple[Any, ...]]:
    """The rows of columns that are None when they are empty."""
    return zip(*(column or () for column in columns), strict=True)


def _json(rows: Sequence[Any]) -> str:
    return JSON.encode(rows).decode()
