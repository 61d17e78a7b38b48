"""What the servers themselves say of a run: messages, writes, bytes kept; and a place of its own for each run."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from threading import Thread
from typing import Any

from redis import Redis

from infinitic.config import scheme_of
from infinitic.storages.redis_rows import bucket_of
from infinitic.transports.pulsar_admin import Admin
from infinitic.transports.pulsar_settings import read_settings

END = "end of the watch"
SETTLE = 1.5
"""Seconds until PostgreSQL's statistics hold what a session did."""
HEADS = "SELECT coalesce(sum(length(record)), 0) FROM {}heads WHERE workflow_id = '{}'"
TURNS = "SELECT coalesce(sum(length(body)), 0) FROM {}turns WHERE workflow_id = '{}'"


# --- Pulsar ---


def messages(url: str, namespace: str, topics: Sequence[str]) -> tuple[int, int]:
    """How many messages came into these topics so far, and how many bytes."""
    admin = Admin(read_settings(url, {}, namespace))
    told = [stats for topic in topics if (stats := admin.stats(topic)) is not None]
    return sum(one["msgInCounter"] for one in told), sum(one["bytesInCounter"] for one in told)


@contextmanager
def namespace_on(url: str, namespace: str) -> Iterator[None]:
    """What is made in a namespace of Pulsar while the block lasts goes at its end."""
    try:
        yield
    finally:
        admin = Admin(settings := read_settings(url, {}, namespace))
        place = f"{settings.tenant}/{namespace}"
        _, topics = admin.request("GET", f"/persistent/{place}/partitioned")
        for topic in topics if isinstance(topics, list) else ():
            kind, _, path = topic.partition("://")
            admin.request("DELETE", f"/{kind}/{path}/partitions?force=true")
        admin.request("DELETE", f"/namespaces/{place}")


# --- storages ---


@contextmanager
def storage_on(url: str, name: str) -> Iterator[str]:
    """The URL of an empty storage of this name: a database, or on Redis a namespace. It goes with the block."""
    if scheme_of(url) == "redis":
        yield url
        with Redis.from_url(url) as client:
            for key in client.scan_iter(f"infinitic:{name}:*", count=1_000):
                client.unlink(key)
        return
    execute(url, f"CREATE DATABASE {name}")
    yield at(url, name)
    execute(url, f"DROP DATABASE {name}")


def at(url: str, database: str) -> str:
    """The URL of another database on the same server."""
    scheme, _, rest = url.partition("://")
    return f"{scheme}://{rest.partition('/')[0]}/{database}"


def execute(url: str, statement: str) -> list[Any]:
    """The rows that a statement gives, on a connection of its own, without a transaction."""
    if scheme_of(url) == "postgresql":
        import psycopg

        with psycopg.connect(url, autocommit=True) as connection:
            cursor = connection.execute(statement.encode())
            return cursor.fetchall() if cursor.description else []
    from infinitic.storages.mysql_server import Server

    db = Server.of(url if url.count("/") > 2 else f"{url}/information_schema").connect()
    try:
        return list(db.run(statement)[0].rows)
    finally:
        db.close()


def kept(url: str, namespace: str, workflow_id: str) -> int:
    """The bytes that one instance takes: all of its keys, or its turns and its record."""
    if scheme_of(url) == "redis":
        with Redis.from_url(url) as client:
            prefix = f"infinitic:{namespace}:{{b{bucket_of(workflow_id)}}}:"
            return sum(client.memory_usage(f"{prefix}{kind}:{workflow_id}") or 0 for kind in "hrtiw")
    schema = "infinitic." if scheme_of(url) == "postgresql" else ""
    return sum(int(execute(url, text.format(schema, workflow_id))[0][0]) for text in (HEADS, TURNS))


# --- writes ---


def transactions(url: str) -> int:
    """How many a SQL server has committed so far: of this database, or where it does not tell them apart, in all."""
    if scheme_of(url) == "postgresql":
        time.sleep(SETTLE)
        wanted = "SELECT xact_commit FROM pg_stat_database WHERE datname = current_database()"
        return int(execute(url, wanted)[0][0])
    return int(execute(url, "SHOW GLOBAL STATUS LIKE 'Com_commit'")[0][1])


def beyond_idle(url: str, work: Callable[[], object], seconds: float = 2.0) -> float:
    """How many transactions *work* makes, less those that are made anyway in as many seconds."""
    before, began = transactions(url), time.perf_counter()
    time.sleep(seconds)
    idle = (between := transactions(url)) - before
    idle_seconds, began = time.perf_counter() - began, time.perf_counter()
    work()
    return transactions(url) - between - idle * (time.perf_counter() - began) / idle_seconds


@contextmanager
def watched(url: str, namespace: str) -> Iterator[Counter[str]]:
    """Counts the commands of a namespace that a Redis runs meanwhile, as MONITOR tells them; a function by its name."""
    counts = Counter[str]()
    with Redis.from_url(url) as client, client.monitor() as monitor:
        thread = Thread(target=_count, args=(monitor, namespace, counts))
        thread.start()
        try:
            yield counts
        finally:
            client.echo(END)
            thread.join()


def _count(monitor: Any, namespace: str, counts: Counter[str]) -> None:
    for told in monitor.listen():
        words = told["command"].split()
        if END in told["command"]:
            return
        if f"infinitic:{namespace}:" in told["command"]:
            counts[words[1] if words[0] == "FCALL" else words[0]] += 1
