"""What a batch of appends writes, as statements for MySQL and MariaDB: one for many rows wherever that can be.

The law of the place: whoever runs these holds the heads' locks, and found that the expected versions hold.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeAlias

import msgspec

from infinitic.errors import Bug, StorageError
from infinitic.records import Append, Mark, StateRecord, TimerRow, Version, encode_record
from infinitic.storages.labels import labels_of
from infinitic.storages.mysql_server import PACKET, Row

Values: TypeAlias = Sequence[str | bytes | int | None]
JSON = msgspec.json.Encoder()
LABELS_AT_ONCE = 500  # so many conditions a server still looks up by an index
PLAIN = bytes(set(range(0x20, 0x7F)) - set(b"'\\"))  # what may stand between quotes as it is


class Sql(str):
    """An expression that is to be taken as it is."""

    __slots__ = ()


NOW = Sql("CAST(UNIX_TIMESTAMP(NOW(6)) * 1000000 AS SIGNED)")
FIELDS = (
    "workflow_id, workflow, run, turns, inbox_version, mark_run, mark_turns, token, expires, behind, status, started,"
    " ended, labels, fingerprint"
)
HEADS = f"heads ({FIELDS}, record)"
TURNS = "turns (workflow_id, run, number, body)"
LABELS = "labels (label, status, started, workflow_id)"
TIMER = "workflow, workflow_id, run, position, due, attempt, claimed_until"


def _set_again(*names: str) -> str:
    return "ON DUPLICATE KEY UPDATE " + ", ".join(f"{name} = VALUES({name})" for name in names)


MOVED = _set_again(*FIELDS.split(", ")[2:]) + ", record = COALESCE(VALUES(record), record)"
SET_TIMER = _set_again("workflow", "due", "attempt", "claimed_until")
# Not INSERT IGNORE, which cuts a text that is too long. A row that is there already counts as 0 rows.
KEPT_HEAD = _set_again("workflow_id")
KEPT_ITEM = _set_again("item")
KEPT_LABEL = _set_again("label")

DESCRIBE = "UPDATE heads SET ended = {}, labels = {} WHERE workflow_id = {}"
MOVE_MARK = (
    "UPDATE heads SET behind = IF(mark_run = {0} AND mark_turns = {1}, behind, {6}), mark_run = {0}, mark_turns = {1}"
    " WHERE workflow_id = {2} AND run = {3} AND turns = {4} AND inbox_version = {5}"
)
ADD_RUN = (
    "INSERT INTO runs (workflow_id, number, run)"
    " SELECT {id}, 1 + COALESCE(MAX(number), -1), {new} FROM runs WHERE workflow_id = {id}"
)
DROP_RUNS = (  # those older than the one before the last, and sent
    "DELETE o, t FROM runs o JOIN runs n ON n.workflow_id = o.workflow_id AND n.run = {run}"
    " JOIN runs m ON m.workflow_id = o.workflow_id AND m.run = {mark}"
    " LEFT JOIN turns t ON t.workflow_id = o.workflow_id AND t.run = o.run"
    " WHERE o.workflow_id = {id} AND o.number < n.number - 1 AND o.number < m.number"
)
DELETE = "DELETE FROM {} WHERE {}"  # of one table: then it goes by an index, however small the table is
COUNT_INBOX = (
    "UPDATE heads SET waiting = (SELECT COUNT(*) FROM inbox WHERE inbox.workflow_id = heads.workflow_id)"
    " WHERE workflow_id IN ({})"
)


Labelled: TypeAlias = tuple[str, str, int, str]
"""A row of `labels`."""


class Head(msgspec.Struct, frozen=True):
    """A row of `heads` without its record, in the order of `FIELDS`."""

    workflow_id: str
    workflow: str
    run: str
    turns: int
    inbox: int
    mark_run: str
    mark_turns: int
    token: str
    expires: int | None
    behind: int | None
    status: str
    started: int
    ended: int
    labels: str
    fingerprint: str

    @property
    def version(self) -> Version:
        return Version(self.run, self.turns, self.inbox)

    @property
    def mark(self) -> Mark:
        return Mark(self.mark_run, self.mark_turns)

    @property
    def described(self) -> tuple[str, int, int, str, str]:
        """What the record says that is filtered on."""
        return self.status, self.started, self.ended, self.labels, self.fingerprint

    @property
    def labelled(self) -> set[Labelled]:
        """Its rows of labels."""
        return {(label, self.status, self.started, self.workflow_id) for label in msgspec.json.decode(self.labels)}


def as_text(row: Row) -> list[Any]:
    """A row of which all bytes are texts."""
    return [value.decode() if isinstance(value, bytes | bytearray) else value for value in row]


def heads_of(rows: Iterable[Row]) -> dict[str, Head]:
    """The heads that these rows are, by their ids."""
    return {head.workflow_id: head for head in (Head(*as_text(row)) for row in rows)}


def literal(value: str | bytes | int | None) -> str:
    """*value* in SQL, in ASCII: plain where nothing in it needs care, else by its hexadecimal digits."""
    if value is None:
        return "NULL"
    if isinstance(value, Sql):
        return value
    if isinstance(value, int):
        return str(value)
    data = value.encode() if isinstance(value, str) else value
    return f"x'{data.hex()}'" if data.translate(None, PLAIN) else f"'{data.decode()}'"


def listed(values: Iterable[str | bytes | int | None]) -> str:
    """Literals with commas between them."""
    return ", ".join(map(literal, values))


def inserts(into: str, rows: Iterable[Values], most: int, then: str = "") -> Iterator[str]:
    """One insert of all *rows*, or several where one would be too large for a packet.

    Raises `StorageError` when one row alone has more than *most* bytes.
    """
    begin, some, size = f"INSERT INTO {into} VALUES ", list[str](), 0
    room = min(PACKET, most) - len(begin) - len(then)
    for row in rows:
        text = f"({listed(row)})"
        if len(text) > most - len(begin) - len(then):
            raise StorageError(
                f"{row[0]!s}: what it writes at once has {len(text)} bytes, and the server takes {most}",
                "Raise its max_allowed_packet, or keep large data elsewhere and pass a reference.",
            )
        if some and size + len(text) > room:
            yield f"{begin}{','.join(some)} {then}"
            some, size = [], 0
        some.append(text)
        size += len(text) + 1
    if some:
        yield f"{begin}{','.join(some)} {then}"


def starts(batch: Iterable[Append], most: int) -> Iterator[str]:
    """The heads of instances that start; those that are there already stay as they are."""
    return inserts(HEADS, (_head_row(append, None) for append in batch), most, KEPT_HEAD)


def writes(batch: Sequence[Append], heads: Mapping[str, Head], most: int) -> Iterator[str]:
    """All that these appends write, but the heads of those that start. *heads* are the others', as they were."""
    for append in batch:
        append.check_numbers({append.expected.run: append.expected.turns} if append.expected else {})
    were = [(append, heads.get(append.workflow_id)) for append in batch]
    moved = (_head_row(append, head) for append, head in were if head and (append.changes or append.mark != head.mark))
    yield from inserts(HEADS, moved, most, MOVED)
    turns = ((append.workflow_id, turn.run, turn.number, turn.body) for append in batch for turn in append.turns)
    yield from inserts(TURNS, turns, most)
    yield from _runs(batch, most)
    yield from _timers(batch, most)
    yield from _inbox([append for append in batch if append.inbox_added or append.inbox_removed], most)
    yield from _labels(were, most)


def marks(batch: Iterable[Append]) -> Iterator[str]:
    """Move the marks of those whose expected version holds; one that is behind and stays keeps its instant."""
    for append in batch:
        if (held := append.expected) is not None:
            mark, version = append.mark, append.version
            behind = None if mark == Mark(version.run, version.turns) else NOW
            values = (mark.run, mark.turns, append.workflow_id, held.run, held.turns, held.inbox, behind)
            yield MOVE_MARK.format(*(literal(value) for value in values))


def set_timers(rows: Iterable[TimerRow], most: int) -> Iterator[str]:
    """These timers, new or in the place of those at their positions."""
    return inserts(f"timers ({TIMER})", map(msgspec.structs.astuple, rows), most, SET_TIMER)


def removals(workflow_ids: Sequence[str], tables: Iterable[str]) -> Iterator[str]:
    """All that *tables* have of these instances."""
    for table in tables:
        yield DELETE.format(table, f"workflow_id IN ({listed(workflow_ids)})")


def _head_row(append: Append, head: Head | None) -> Values:
    new, mark, record = append.version, append.mark, append.record
    behind: str | int | None = NOW
    if mark == Mark(new.run, new.turns):
        behind = None
    elif head and head.behind is not None and head.mark == mark:
        behind = head.behind
    if record is not None:
        labels = JSON.encode(labels_of(record)).decode()
        state = (record.status, record.started, record.ended, labels, record.fingerprint)
        described: Values = (*state, encode_record(record))
    elif head is not None:
        described = (*head.described, None)
    else:
        raise Bug(f"{append.workflow_id} was to be created without a state record")
    written = (append.token, append.expires) if head is None or append.changes else (head.token, head.expires)
    version = (new.run, new.turns, new.inbox, mark.run, mark.turns)
    return (append.workflow_id, append.workflow, *version, *written, behind, *described)


def _runs(batch: Iterable[Append], most: int) -> Iterator[str]:
    """Note the new runs, and drop what is old."""
    first = list[Values]()
    for append in batch:
        old, new, workflow_id = append.expected, append.version, append.workflow_id
        runs = dict.fromkeys([*(turn.run for turn in append.turns), new.run])
        if old is None:
            first += [(workflow_id, number, run) for number, run in enumerate(runs)]
        elif old.run != new.run:
            id_ = literal(workflow_id)
            yield from (ADD_RUN.format(id=id_, new=literal(run)) for run in runs if run != old.run)
            yield DROP_RUNS.format(id=id_, run=literal(new.run), mark=literal(append.mark.run))
    yield from inserts("runs (workflow_id, number, run)", first, most)


def _timers(batch: Iterable[Append], most: int) -> Iterator[str]:
    gone, were_set = list[str](), list[TimerRow]()
    for append in batch:
        gone += _timers_gone(append)
        were_set += append.timers_set
    if gone:
        yield DELETE.format("timers", " OR ".join(gone))
    yield from set_timers(were_set, most)


def _timers_gone(append: Append) -> Iterator[str]:
    """Which timers go, one condition a run."""
    cleared = dict[str, list[str]]()
    for run, position in append.timers_cleared:
        cleared.setdefault(run, []).append(position)
    cleared |= {run: [] for run in append.runs_ended}  # an empty list means all
    for run, positions in cleared.items():
        of_run = f"workflow_id = {literal(append.workflow_id)} AND run = {literal(run)}"
        yield f"({of_run} AND position IN ({listed(positions)}))" if positions else f"({of_run})"


def _inbox(batch: Sequence[Append], most: int) -> Iterator[str]:
    if not batch:
        return
    gone = [
        f"(workflow_id = {literal(append.workflow_id)} AND item IN ({listed(append.inbox_removed)}))"
        for append in batch
        if append.inbox_removed
    ]
    if gone:
        yield DELETE.format("inbox", " OR ".join(gone))
    added = ((append.workflow_id, item.key, item.body) for append in batch for item in append.inbox_added)
    yield from inserts("inbox (workflow_id, item, body)", added, most, KEPT_ITEM)
    yield COUNT_INBOX.format(listed(append.workflow_id for append in batch))


def _labels(were: Iterable[tuple[Append, Head | None]], most: int) -> Iterator[str]:
    """The labels of those that start and of those whose labels, status or start changed."""
    gone, rows = set[Labelled](), set[Labelled]()
    for append, head in were:
        if (record := append.record) is not None:
            old = head.labelled if head is not None else set()
            new = _labelled(record)
            gone |= old - new
            rows |= new - old
    yield from unlabelled(gone)
    yield from inserts(LABELS, sorted(rows), most)


def _labelled(record: StateRecord) -> set[Labelled]:
    return {(label, record.status, record.started, record.workflow_id) for label in labels_of(record)}


def labelled_anew(records: Sequence[StateRecord], most: int) -> Iterator[str]:
    """Write the ends and the labels of instances that may have none yet."""
    for record in records:
        labels = JSON.encode(labels_of(record)).decode()
        yield DESCRIBE.format(record.ended, literal(labels), literal(record.workflow_id))
    rows = (row for record in records for row in sorted(_labelled(record)))
    yield from inserts(LABELS, rows, most, KEPT_LABEL)


def unlabelled(gone: Iterable[Labelled]) -> Iterator[str]:
    """These rows of labels go."""
    which = "(label = {} AND status = {} AND started = {} AND workflow_id = {})"
    said = [which.format(*(literal(value) for value in row)) for row in sorted(gone)]
    for first in range(0, len(said), LABELS_AT_ONCE):
        yield DELETE.format("labels", " OR ".join(said[first : first + LABELS_AT_ONCE]))
