"""What an older schema holds is found, goes on and is removed after the upgrade as if this release had written it."""

import json
import sqlite3
from contextlib import closing, contextmanager
from uuid import uuid4

import msgspec
import psycopg
import pytest
from redis import Redis

from infinitic.backends.sqlite import SqliteBackend
from infinitic.records import Filter, encode_record
from infinitic.sqlite_file import APPLICATION, MIGRATIONS
from infinitic.storages import postgres_server
from infinitic.storages.mysql import MySqlStorage
from infinitic.storages.mysql_schema import STEPS, MySqlSchema
from infinitic.storages.mysql_server import Server
from infinitic.storages.mysql_writes import listed
from infinitic.storages.postgres import PostgresStorage
from infinitic.storages.postgres_server import PostgresSchema
from infinitic.storages.redis import RedisStorage
from infinitic.storages.redis_rows import bucket_of, instant, start_place
from tests.servers.found import server
from tests.storages import on_mysql, on_postgres, on_redis
from tests.storages.given import NOON, after, child_of, kept, loaded, record, start, turns, waits_for, write

OPEN = record("open", tags=("eu", "ü'"), caller=child_of("p"), waits=waits_for("charge", "charge"), started=NOON + 2)
DONE = record("done", tags=("eu",), status="completed", started=NOON + 1, ended=NOON + 5)
PLAIN = record("plain", started=NOON)
DEEP = msgspec.Raw(b"[" * 100 + b"]" * 100)
FAILED = record("failed", status="failed", ended=NOON + 7, started=NOON - 1, value=DEEP, caller=child_of("p"))
STARTS = [
    start(its.workflow_id, record=its, expires=NOON + 9 if its.ended else None) for its in (OPEN, DONE, PLAIN, FAILED)
]
COLUMNS = (
    "workflow_id, workflow, run, turns, inbox_version, mark_run, mark_turns, token, status, started, fingerprint,"
    " expires, record"
)
TURNS = "workflow_id, run, number, body"


def head_of(append):
    """What all versions have of a head, in the order of `COLUMNS`."""
    its, version, mark = append.record, append.version, append.mark
    moved = (version.run, version.turns, version.inbox, mark.run, mark.turns, append.token)
    filtered = (its.status, its.started, its.fingerprint, append.expires, encode_record(its))
    return its.workflow_id, its.workflow, *moved, *filtered


def tagged(append):
    return [(tag, append.record.started, append.workflow_id) for tag in append.record.tags]


@contextmanager
def of_sqlite(folder):
    with closing(sqlite3.connect(folder / "old.db", isolation_level=None)) as db:
        MIGRATIONS[0](db)
        db.execute(f"PRAGMA application_id = {APPLICATION}")
        db.execute("PRAGMA user_version = 1")
        for one in STARTS:
            head = (*head_of(one), json.dumps(one.record.tags))
            db.execute(f"INSERT INTO heads ({COLUMNS}, tags) VALUES ({', '.join('?' * len(head))})", head)
            db.execute(f"INSERT INTO turns ({TURNS}) VALUES (?, 'r1', 0, ?)", (one.workflow_id, turns(1)[0].body))
            db.execute("INSERT INTO runs (workflow_id, number, run) VALUES (?, 0, 'r1')", (one.workflow_id,))
            db.executemany("INSERT INTO tags (tag, workflow_id) VALUES (?, ?)", [row[::2] for row in tagged(one)])
    with closing(SqliteBackend.open(folder / "old.db", role="worker")) as backend:
        yield backend.storage


@contextmanager
def of_mysql(url):
    with on_mysql.database(url) as place:
        MySqlSchema(Server.of(place), steps=STEPS[:1]).bring_up()
        for one in STARTS:
            tags = json.dumps(one.record.tags, ensure_ascii=False)
            said = [
                f"INSERT INTO heads ({COLUMNS}, tags) VALUES ({listed((*head_of(one), tags))})",
                f"INSERT INTO turns ({TURNS}) VALUES ({listed((one.workflow_id, 'r1', 0, turns(1)[0].body))})",
                f"INSERT INTO runs (workflow_id, number, run) VALUES ({listed((one.workflow_id, 0, 'r1'))})",
                *(f"INSERT INTO tags (tag, begun, workflow_id) VALUES ({listed(row)})" for row in tagged(one)),
            ]
            on_mysql.ask(place, *said)
        MySqlSchema(Server.of(place)).bring_up()
        with closing(MySqlStorage.open(place)) as storage:
            yield storage


@contextmanager
def of_postgres(folder):
    place = on_postgres.new_database(server("postgres"))
    PostgresSchema(postgres_server.Server.of(place), steps=postgres_server.STEPS[:1]).bring_up()
    with psycopg.connect(place, autocommit=True) as db:
        for one in STARTS:
            head = (*head_of(one), list(one.record.tags), ["r1"], False)
            marks = ", ".join(["%s"] * len(head))
            db.execute(f"INSERT INTO infinitic.heads ({COLUMNS}, tags, runs, waits) VALUES ({marks})", head)
            body = (one.workflow_id, turns(1)[0].body)
            db.execute(f"INSERT INTO infinitic.turns ({TURNS}) VALUES (%s, 'r1', 0, %s)", body)
            for tag, begun, its in tagged(one):
                row = (tag, one.record.status, begun, its)
                db.execute("INSERT INTO infinitic.tags (tag, state, begun, workflow_id) VALUES (%s, %s, %s, %s)", row)
    PostgresSchema(postgres_server.Server.of(place)).bring_up()
    with closing(PostgresStorage.open(place)) as storage:
        yield storage


def write_old(client, p, append):
    """What version 1 had of an instance in its bucket."""
    its, version = append.record, append.version
    at, expires = start_place(its.started), instant(append.expires) if append.expires else b""
    head = {"workflow": its.workflow, "mark_run": "r1", "mark_turns": "1", "behind": 0, "items": 0, "last_item": 0}
    head |= {"first": 0, "runs": ["r1"], "run": "r1", "turns": "1", "inbox": str(version.inbox), "token": append.token}
    head |= {"expires": Text(expires), "at": Text(at), "status": its.status, "fingerprint": "", "tags": list(its.tags)}
    client.set(f"{p}h:{its.workflow_id}", packed(head))
    client.set(f"{p}r:{its.workflow_id}", encode_record(its))
    client.rpush(f"{p}t:{its.workflow_id}", turns(1)[0].body)
    place, id_ = at + its.workflow_id.encode(), its.workflow_id.encode()
    kinds = (f"o:{status}:{workflow}" for status in ("", its.status) for workflow in ("", its.workflow))
    for name in (*kinds, *(f"g:{tag}" for tag in its.tags)):
        client.zadd(p + name, {place: 0})
    client.zadd(p + "ids", {id_ + b"\0" + at: 0})
    if expires:
        client.zadd(p + "x", {expires + id_ + b"\0" + at: 0})


class Text(bytes):
    """Bytes that MessagePack has as a text, as Lua has them."""


def packed(head):
    """A map as the server's functions pack it."""
    return bytes([0xDE, 0, len(head)]) + b"".join(map(packed_value, [one for pair in head.items() for one in pair]))


def packed_value(value):
    if isinstance(value, Text):
        return bytes([0xD9, len(value)]) + value
    return msgspec.msgpack.encode(value)


@contextmanager
def of_redis(folder):
    url, namespace = server("redis"), f"test-{uuid4().hex}"
    with RedisStorage.schema_of(url, namespace=namespace) as schema:
        with Redis.from_url(url) as client:
            for one in STARTS:
                write_old(client, schema.server.keys[bucket_of(one.workflow_id)], one)
            client.set(f"{schema.server.keys[0]}schema", 1)
        schema.bring_up()
    with on_redis.opened(url, namespace=namespace) as storage:
        yield storage
    on_redis.delete(url, namespace)


KINDS = {
    "sqlite": of_sqlite,
    "redis": of_redis,
    "mariadb": lambda folder: of_mysql(server("mariadb")),
    "mysql": lambda folder: of_mysql(server("mysql")),
    "postgres": of_postgres,
}


@pytest.fixture(params=KINDS)
def storage(request, tmp_path):
    """One that an older release filled."""
    with KINDS[request.param](tmp_path) as opened:
        yield opened


def found(storage, **where):
    ids = [its.workflow_id for its in storage.find(Filter(**where), 100).records]
    assert storage.count(Filter(**where)) == len(ids)
    return ids


def test_what_an_older_schema_holds_is_found_by_every_filter(storage):
    assert [loaded(storage, one.workflow_id) for one in STARTS] == [kept(one) for one in STARTS]
    assert found(storage) == ["open", "done", "plain", "failed"]
    assert found(storage, tag="eu") == ["open", "done"]
    assert found(storage, tag="ü'") == found(storage, waiting="charge") == found(storage, waiting="task") == ["open"]
    assert found(storage, parent="p") == ["open", "failed"]
    assert found(storage, ended_since=NOON + 5) == ["done", "failed"]
    assert found(storage, ended_until=NOON + 6) == found(storage, id_prefix="do") == ["done"]


def test_what_an_older_schema_holds_goes_on_and_is_removed(storage):
    its = record("open", tags=("us",), status="completed", started=NOON + 2, ended=NOON + 8)
    write(storage, after(STARTS[0], 1, record=its, expires=NOON + 9))
    assert found(storage, tag="eu") == ["done"]
    assert found(storage, tag="us") == found(storage, ended_since=NOON + 8) == ["open"]
    assert found(storage, parent="p") == ["failed"]
    assert found(storage, waiting="charge") == []

    assert storage.purge(NOON + 10) == 3
    assert found(storage) == ["plain"]
    assert found(storage, tag="eu") == found(storage, parent="p") == found(storage, ended_since=1) == []
