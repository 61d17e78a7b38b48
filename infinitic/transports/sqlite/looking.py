"""Looking into the queue, for people: who lives and serves what, what waits, where the messages of one key are."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from msgspec import DecodeError

from infinitic.messages import Message, decode_message
from infinitic.sqlite_file import Connection, SqliteFile
from infinitic.transports import OnTheWay, Traffic
from infinitic.transports.sqlite import owners, queue

OF_KEY = (
    "SELECT m.id, m.topic, m.body, m.owner, coalesce(l.id, 0) FROM messages m"
    " LEFT JOIN leases l ON l.topic = m.topic AND l.key = m.key WHERE m.key = ? ORDER BY m.id"
)
FREE = "SELECT count(*) FROM messages WHERE topic = ? AND owner = 0"
OWNED = "SELECT count(*) FROM messages WHERE topic = ? AND owner = ? AND owner <> 0"


def traffic(file: SqliteFile, db: Connection, topics: Sequence[str]) -> list[Traffic | None]:
    """How each topic stands. What a dead consumer has, and nobody has taken over yet, waits."""
    known = queue.owners(db)
    dead = {owner for owner in known if owners.running(file, owner) is None}
    found: list[Traffic | None] = []
    for topic in topics:
        waiting = _count(db, FREE, topic) + sum(_count(db, OWNED, topic, owner) for owner in dead)
        found.append(Traffic(len((queue.subscribers(db, [topic]) & known) - dead), waiting))
    return found


def _count(db: Connection, asked: str, *values: object) -> int:
    return int(db.execute(asked, values).fetchone()[0])


def on_the_way(file: SqliteFile, db: Connection, key: str) -> Iterator[OnTheWay]:
    """The messages of one key, in order."""
    processes: dict[int, int] = dict(db.execute("SELECT id, pid FROM owners"))
    running = {owner: owners.running(file, owner) for owner in processes}
    for number, topic, body, owner, lease in db.execute(OF_KEY, (key,)):
        message = _readable(body)
        if message is None or queue.is_broadcast(topic):
            continue
        runs = running.get(owner)
        holder = f"process {processes[owner]}" if runs is not None else ""
        yield OnTheWay(topic, message, holder, (-lease if queue.is_keyed(topic) else number) in (runs or ()))


def _readable(body: bytes) -> Message | None:
    try:
        return decode_message(body)
    except (DecodeError, UnicodeDecodeError):
        return None
