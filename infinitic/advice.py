"""What the settings of servers mean for workflows: what may be lost, what is slow, what is too old.

The law of the place: from settings to sentences, nothing is asked of a server here. What each setting promises is
in the server's own manual: Redis "persistence" and "eviction", MySQL "innodb_flush_log_at_trx_commit" and
"sync_binlog", PostgreSQL "Write Ahead Log", Pulsar "broker.conf".
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Literal, TypeAlias

from attrs import frozen

BESIDE = 1024
"""Bytes that the client puts beside a message of Pulsar's, at most: its key, the producer's name."""

Level: TypeAlias = Literal["good", "warning", "bad"]
Settings: TypeAlias = Mapping[str, str]


@frozen
class Finding:
    """One thing that was looked at: what it is like, and what to do where it is not good."""

    level: Level
    what: str
    advice: str = ""


def version_of(text: str) -> tuple[int, ...]:
    """The numbers of a version, as in (10, 11, 19) of "10.11.19-MariaDB"."""
    return tuple(int(part) for part in re.findall(r"\d+", text)[:3])


def advise(kind: str, settings: Settings) -> list[Finding]:
    """What is to be said of a server of this *kind*: pulsar, redis, mysql, postgresql, sqlite or memory."""
    return [*ADVISERS[kind](settings)]


def _if(holds: bool, good: str, level: Level, bad: str, advice: str) -> Finding:
    return Finding("good", good) if holds else Finding(level, bad, advice)


def _old(name: str, version: str, least: tuple[int, ...]) -> Finding:
    wanted = ".".join(map(str, least))
    return _if(
        version_of(version) >= least,
        f"{name} {version}",
        "bad",
        f"{name} {version} is older than {wanted}",
        f"Upgrade it to {wanted} or newer.",
    )


def _pulsar(settings: Settings) -> Iterator[Finding]:
    if "admin" in settings:
        advice = "Give pulsar.admin_url; else an operator makes all topics: see `infinitic topics`."
        yield Finding("warning", f"the admin API is out of reach: {settings['admin']}", advice)
        return
    # before these, a Key_Shared subscription could come to a standstill when consumers came and went
    yield _old("Pulsar", settings["version"], (4, 1, 1) if version_of(settings["version"]) == (4, 1, 0) else (4, 0, 7))
    if "configuration" in settings:
        yield Finding("warning", f"its settings may not be read: {settings['configuration']}", "See broker.conf.")
    delay = settings.get("managedLedgerNewEntriesCheckDelayInMillis", "0")
    yield _if(
        delay == "0",
        "new messages are told of at once",
        "warning",
        f"managedLedgerNewEntriesCheckDelayInMillis {delay}: each step of a workflow waits for up to {delay} ms, twice",
        "Set it to 0 in broker.conf.",
    )
    mode = settings.get("brokerDeleteInactiveTopicsMode", "")
    yield _if(
        mode != "delete_when_subscriptions_caught_up" or settings.get("brokerDeleteInactiveTopicsEnabled") == "false",
        "no topic goes while it has a subscription",
        "bad",
        f"brokerDeleteInactiveTopicsMode {mode}: a topic goes while nobody is connected",
        "Set delete_when_no_subscriptions.",
    )
    largest, most = (int(settings.get(name) or 0) for name in ("pulsar.largest_message", "maxMessageSize"))
    if most:
        yield _if(
            largest + BESIDE <= most,
            f"maxMessageSize {most}",
            "bad",
            f"maxMessageSize {most}: a message of pulsar.largest_message, {largest} bytes, would hold up all others",
            f"Set pulsar.largest_message to {most - BESIDE}.",
        )
    yield from _pulsar_keeps(settings)


def _pulsar_keeps(settings: Settings) -> Iterator[Finding]:
    """Whether messages stay: a namespace goes by the broker's defaults where it says nothing itself."""
    expires = "a subscription that nobody uses for so long goes, with its messages"
    for name, default, what in (
        ("message_ttl_in_seconds", "ttlDurationDefaultInSeconds", "messages that wait longer are thrown away"),
        ("subscription_expiration_time_minutes", "subscriptionExpirationTimeMinutes", expires),
    ):
        own = settings.get(name, "None")
        value = settings.get(default, "0") if own == "None" else own
        kept = value in ("0", "-1", "None")
        yield _if(kept, f"{name} 0", "bad", f"{name} {value}: {what}", "Set it to 0 for this namespace.")
    own = settings.get("backlog_quota_map", "{}")
    limits = (f"backlogQuotaDefaultLimit{unit}" for unit in ("Bytes", "GB", "Second"))
    limited = any(float(settings.get(limit) or -1) > 0 for limit in limits)
    policy = own if own != "{}" else settings.get("backlogQuotaDefaultRetentionPolicy", "") if limited else ""
    yield _if(
        "consumer_backlog_eviction" not in policy,
        "a full backlog throws nothing away",
        "bad",
        "the backlog quota is consumer_backlog_eviction: a full backlog throws messages away",
        "Set producer_exception for this namespace.",
    )


def _redis(settings: Settings) -> Iterator[Finding]:
    valkey = "valkey_version" in settings
    yield _old("Valkey" if valkey else "Redis", settings["version"], (8,) if valkey else (7,))
    if "appendonly" not in settings:
        yield Finding("warning", "its settings may not be read (CONFIG is forbidden)", "See yourself: appendonly yes.")
        return
    yield _if(
        settings["appendonly"] == "yes",
        "appendonly yes",
        "bad",
        "appendonly is off: a restart loses every workflow since the last snapshot",
        "CONFIG SET appendonly yes, and in its file.",
    )
    yield _if(
        settings.get("appendfsync") == "always",
        "appendfsync always",
        "warning",
        f"appendfsync {settings.get('appendfsync', '')}: the last second may be lost when the power fails",
        "Set appendfsync always where that matters: batches make it cheap.",
    )
    yield _if(
        settings.get("maxmemory-policy") == "noeviction" or settings.get("maxmemory") == "0",
        "nothing is evicted",
        "bad",
        f"maxmemory-policy {settings.get('maxmemory-policy', '')}: workflows are thrown away when memory is full",
        "CONFIG SET maxmemory-policy noeviction.",
    )


def _mysql(settings: Settings) -> Iterator[Finding]:
    maria = "mariadb" in settings["version"].lower()
    yield _old("MariaDB" if maria else "MySQL", settings["version"], (10, 11) if maria else (8, 4))
    flush = settings.get("innodb_flush_log_at_trx_commit", "")
    yield _if(
        flush == "1",
        "innodb_flush_log_at_trx_commit 1",
        "warning",
        f"innodb_flush_log_at_trx_commit {flush}: the last second may be lost when the machine fails",
        "Set it to 1.",
    )
    if settings.get("log_bin", "").upper() in ("ON", "1"):
        yield _if(
            settings.get("sync_binlog") == "1",
            "sync_binlog 1",
            "warning",
            f"sync_binlog {settings.get('sync_binlog')}: replicas may miss what was committed when the machine fails",
            "Set it to 1.",
        )
    packet = int(settings.get("max_allowed_packet", "0"))
    yield _if(
        packet >= 16 << 20,
        f"max_allowed_packet {packet >> 20} MiB",
        "warning",
        f"max_allowed_packet {packet >> 10} KiB: a large turn may not fit",
        "Set it to 16M or more.",
    )


def _postgres(settings: Settings) -> Iterator[Finding]:
    yield _old("PostgreSQL", settings["version"], (15,))
    for name, loss in (
        ("fsync", "a crash of the machine may destroy the database"),
        ("full_page_writes", "a crash of the machine may destroy the database"),
        ("synchronous_commit", "the last commits may be lost when the machine fails"),
    ):
        value = settings.get(name, "on")
        yield _if(value != "off", f"{name} {value}", "bad", f"{name} is off: {loss}", "Turn it on.")


def _sqlite(settings: Settings) -> Iterator[Finding]:
    version = settings["version"]
    # a checkpoint that races with another and a commit may corrupt a file in WAL mode (sqlite.org/wal.html)
    yield _if(
        version_of(version) >= (3, 51, 3),
        f"SQLite {version}",
        "good",
        f"SQLite {version}; its checkpoints are kept apart by our own lock, because of a bug that 3.51.3 mended",
        "",
    )


ADVISERS: Mapping[str, Callable[[Settings], Iterator[Finding]]] = {
    "pulsar": _pulsar,
    "redis": _redis,
    "mysql": _mysql,
    "postgresql": _postgres,
    "sqlite": _sqlite,
    "memory": lambda settings: iter([Finding("warning", "in memory: gone with its process")]),
}
