"""The tables of the queue: each function is a part of the caller's transaction.

Two things always hold: a message of a leased instance belongs to the lease's owner from its insert on, and a
message that belongs to nobody (owner 0) is of an instance without a living leaseholder.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from typing import NamedTuple

from infinitic.sqlite_file import Connection
from infinitic.topics import CLIENT, CONTROL, DEAD, SERVICE, WORKFLOW

INSERT = "INSERT INTO messages (topic, key, body, owner) VALUES (?, ?, ?, ?)"
DELETE = "DELETE FROM messages WHERE id = ?"
OWN = "SELECT id, topic, key, body, deaths, suspect FROM messages WHERE owner = ? AND owner <> 0 AND id > ? ORDER BY id"
FREE = "SELECT id, key FROM messages WHERE owner = 0 AND topic = ? ORDER BY id LIMIT ?"
OF_KEY = "topic = ? AND key = ? AND topic >= 'workflow:'"
TAKE_LEASE = (  # one that somebody holds stays theirs
    "INSERT INTO leases (topic, key, owner) VALUES (?, ?, ?) ON CONFLICT (topic, key)"
    " DO UPDATE SET owner = CASE owner WHEN 0 THEN excluded.owner ELSE owner END RETURNING id, owner, deaths"
)
BURY = "INSERT INTO dead (topic, key, body, reason, at) SELECT topic, key, body, ?2, ?3 FROM messages WHERE id = ?1"
HINTS = "(topic GLOB 'client:*' OR topic GLOB 'service:*:control')"


class Row(NamedTuple):
    """A message as it is stored."""

    id: int
    topic: str
    key: str
    body: bytes
    deaths: int
    suspect: int


class Lease(NamedTuple):
    """An instance that a consumer took."""

    id: int
    topic: str
    key: str
    deaths: int


class Taken(NamedTuple):
    """What a consumer took: the least of the message ids, how many were looked for, and the leases."""

    first: int
    rows: int
    leases: tuple[Lease, ...]


def is_broadcast(topic: str) -> bool:
    """Whether messages of the topic go to all who are subscribed just now, and to nobody later."""
    return topic.startswith(CLIENT) or (topic.startswith(SERVICE) and topic.endswith(CONTROL))


def is_keyed(topic: str) -> bool:
    """Whether all messages of one key go to one consumer."""
    return topic.startswith(WORKFLOW) and not topic.endswith(DEAD)


def own(db: Connection, owner: int, after: int) -> Iterator[Row]:
    """The owner's messages with an id above *after*, in order."""
    return map(Row._make, db.execute(OWN, (owner, after)))


def is_free(db: Connection, topics: Iterable[str]) -> bool:
    """Whether any of these topics has a message that anybody may take."""
    asked = "SELECT 1 FROM messages WHERE owner = 0 AND topic = ? LIMIT 1"
    return any(db.execute(asked, (topic,)).fetchone() for topic in topics)


def leaseholder(db: Connection, topic: str, key: str) -> int:
    """Who gets the messages of this instance, 0 for nobody."""
    row = db.execute("SELECT owner FROM leases WHERE topic = ? AND key = ?", (topic, key)).fetchone()
    return row[0] if row else 0


def subscribers(db: Connection, topics: Iterable[str]) -> set[int]:
    """Who is subscribed to any of these topics."""
    asked = "SELECT owner FROM subscriptions WHERE topic = ?"
    return {row[0] for topic in topics for row in db.execute(asked, (topic,))}


def take(db: Connection, owner: int, topic: str, limit: int) -> Taken | None:
    """Up to *limit* free messages of the topic become the owner's, with all others of the same instances."""
    rows = db.execute(FREE, (topic, limit)).fetchall()
    if not rows:
        return None
    if is_keyed(topic):
        keys = dict.fromkeys(key for _, key in rows)
        return Taken(rows[0][0], len(rows), tuple(_take_leases(db, owner, topic, keys)))
    db.executemany("UPDATE messages SET owner = ? WHERE id = ?", [(owner, number) for number, _ in rows])
    return Taken(rows[0][0], len(rows), ())


def _take_leases(db: Connection, owner: int, topic: str, keys: Iterable[str]) -> Iterator[Lease]:
    for key in keys:
        number, holder, deaths = db.execute(TAKE_LEASE, (topic, key, owner)).fetchone()
        db.execute(f"UPDATE messages SET owner = ? WHERE {OF_KEY} AND owner = 0", (holder, topic, key))
        if holder == owner:
            yield Lease(number, topic, key, deaths)


def free_lease(db: Connection, owner: int, topic: str, key: str) -> list[int]:
    """The owner holds the instance no longer; the ids of the messages that are free now."""
    freed = db.execute(f"SELECT id FROM messages WHERE {OF_KEY} AND owner = ?", (topic, key, owner)).fetchall()
    db.executemany("UPDATE messages SET owner = 0 WHERE id = ?", freed)
    held = "topic = ? AND key = ? AND owner = ?"
    db.execute(f"DELETE FROM leases WHERE {held} AND deaths = 0", (topic, key, owner))
    db.execute(f"UPDATE leases SET owner = 0 WHERE {held}", (topic, key, owner))
    return [number for (number,) in freed]


def free(db: Connection, rows: Iterable[int]) -> None:
    """Anybody may take these messages."""
    db.executemany("UPDATE messages SET owner = 0 WHERE id = ?", [(row,) for row in rows])


def delete(db: Connection, rows: Iterable[int]) -> None:
    """These messages are done with."""
    for row in rows:
        db.execute(DELETE, (row,))


def ids(db: Connection, owner: int) -> list[int]:
    """All messages that are the owner's."""
    rows = db.execute("SELECT id FROM messages WHERE owner = ? AND owner <> 0", (owner,))
    return [row for (row,) in rows]


def forgive(db: Connection, topic: str, key: str) -> None:
    """The instance could be applied: deaths before do not count."""
    db.execute("UPDATE leases SET deaths = 0 WHERE topic = ? AND key = ?", (topic, key))


def bury(db: Connection, number: int, reason: str, at: int) -> None:
    """Put a message that cannot be used where it stops nobody."""
    db.execute(BURY, (number, reason, at))
    db.execute(DELETE, (number,))


def register(db: Connection, name: str, pid: int, started: int, topics: Iterable[str]) -> int:
    """A new owner with its subscriptions; its id."""
    add = "INSERT INTO owners (name, pid, started) VALUES (?, ?, ?)"
    owner = db.execute(add, (name, pid, started)).lastrowid
    assert owner is not None
    add = "INSERT OR IGNORE INTO subscriptions (topic, owner) VALUES (?, ?)"
    db.executemany(add, [(topic, owner) for topic in topics])
    return owner


def owners(db: Connection) -> set[int]:
    """All who are open, or dead and not yet missed."""
    return {row[0] for row in db.execute("SELECT id FROM owners")}


def count_deaths(db: Connection, owner: int, running: Collection[int]) -> None:
    """The owner's process died while these ran: messages by their id, leases by minus theirs.

    A message that ran becomes suspect; its death counts when it was suspect already and ran alone.
    """
    alone = len(running) == 1
    count = (
        "UPDATE messages SET deaths = deaths + (suspect AND ?), suspect = 1 WHERE id = ? AND owner = ?"
        " AND topic < 'workflow:'"
    )
    for number in running:
        if number > 0:
            db.execute(count, (alone, number, owner))
        else:
            db.execute("UPDATE leases SET deaths = deaths + 1 WHERE id = ? AND owner = ?", (-number, owner))


def dismiss(db: Connection, owner: int) -> list[str] | None:
    """The owner is gone and all it had is free; the topics where something is. None: it was gone before."""
    if not db.execute("DELETE FROM owners WHERE id = ?", (owner,)).rowcount:
        return None
    db.execute("DELETE FROM subscriptions WHERE owner = ?", (owner,))
    db.execute(f"DELETE FROM messages WHERE owner = ? AND owner <> 0 AND {HINTS}", (owner,))
    freed = "owner = ? AND owner <> 0"
    topics = db.execute(f"SELECT DISTINCT topic FROM messages WHERE {freed}", (owner,)).fetchall()
    db.execute(f"UPDATE messages SET owner = 0 WHERE {freed}", (owner,))
    db.execute(f"DELETE FROM leases WHERE {freed} AND deaths = 0", (owner,))
    db.execute(f"UPDATE leases SET owner = 0 WHERE {freed}", (owner,))
    return [topic for (topic,) in topics]


def adopt_orphans(db: Connection) -> None:
    """What belongs to an owner that does not exist is free. Only a file that was meddled with has such."""
    strange = "owner <> 0 AND owner NOT IN (SELECT id FROM owners)"
    db.execute(f"DELETE FROM subscriptions WHERE {strange}")
    db.execute(f"UPDATE messages SET owner = 0 WHERE {strange}")
    db.execute(f"UPDATE leases SET owner = 0 WHERE {strange}")
