"""`doctor`: what is good, what is not and what to do; nothing is changed by looking."""

import uuid

import pytest

from infinitic.advice import Finding, advise, version_of
from infinitic.client import Client
from infinitic.config import LARGEST
from tests.servers.found import server
from tests.storages import on_redis
from tests.transports import on_pulsar

GOOD_PULSAR = {
    "version": "4.0.7",
    "managedLedgerNewEntriesCheckDelayInMillis": "0",
    "brokerDeleteInactiveTopicsMode": "delete_when_no_subscriptions",
    "message_ttl_in_seconds": "None",
    "subscription_expiration_time_minutes": "None",
    "backlog_quota_map": "{}",
    "maxMessageSize": "5242880",
    "pulsar.largest_message": str(LARGEST),
}
GOOD_REDIS = {"version": "7.0.15", "appendonly": "yes", "appendfsync": "always", "maxmemory-policy": "noeviction"}
GOOD_MYSQL = {
    "version": "8.4.1",
    "innodb_flush_log_at_trx_commit": "1",
    "log_bin": "ON",
    "sync_binlog": "1",
    "max_allowed_packet": str(64 << 20),
}
GOOD_POSTGRES = {"version": "15.18", "fsync": "on", "full_page_writes": "on", "synchronous_commit": "on"}
GOOD = {"pulsar": GOOD_PULSAR, "redis": GOOD_REDIS, "mysql": GOOD_MYSQL, "postgresql": GOOD_POSTGRES}


@pytest.mark.parametrize("kind", GOOD)
def test_a_server_that_is_set_well_is_good(kind):
    assert {one.level for one in advise(kind, GOOD[kind])} == {"good"}


@pytest.mark.parametrize(
    ("kind", "name", "value", "level", "word"),
    [
        ("pulsar", "version", "4.0.6", "bad", "older than 4.0.7"),
        ("pulsar", "managedLedgerNewEntriesCheckDelayInMillis", "10", "warning", "up to 10 ms"),
        ("pulsar", "brokerDeleteInactiveTopicsMode", "delete_when_subscriptions_caught_up", "bad", "a topic goes"),
        ("pulsar", "message_ttl_in_seconds", "60", "bad", "thrown away"),
        ("pulsar", "subscription_expiration_time_minutes", "5", "bad", "with its messages"),
        ("pulsar", "backlog_quota_map", "{'x': 'consumer_backlog_eviction'}", "bad", "throws messages away"),
        ("pulsar", "ttlDurationDefaultInSeconds", "60", "bad", "thrown away"),
        ("pulsar", "subscriptionExpirationTimeMinutes", "5", "bad", "with its messages"),
        ("pulsar", "version", "4.1.0", "bad", "older than 4.1.1"),
        ("pulsar", "maxMessageSize", "1048576", "bad", "would hold up all others"),
        ("pulsar", "admin", "it does not answer", "warning", "out of reach"),
        ("pulsar", "configuration", "it refuses", "warning", "may not be read"),
        ("redis", "version", "6.2.1", "bad", "older than 7"),
        ("redis", "appendonly", "no", "bad", "a restart loses"),
        ("redis", "appendfsync", "everysec", "warning", "the last second"),
        ("redis", "maxmemory-policy", "allkeys-lru", "bad", "thrown away"),
        ("mysql", "version", "8.0.36", "bad", "older than 8.4"),
        ("mysql", "version", "10.6.1-MariaDB", "bad", "older than 10.11"),
        ("mysql", "innodb_flush_log_at_trx_commit", "2", "warning", "the last second"),
        ("mysql", "sync_binlog", "0", "warning", "replicas"),
        ("mysql", "max_allowed_packet", "1048576", "warning", "may not fit"),
        ("postgresql", "version", "14.2", "bad", "older than 15"),
        ("postgresql", "fsync", "off", "bad", "destroy"),
        ("postgresql", "synchronous_commit", "off", "bad", "lost"),
    ],
)
def test_what_is_not_set_well_is_told_with_what_to_do(kind, name, value, level, word):
    [found] = [one for one in advise(kind, {**GOOD[kind], name: value}) if one.level != "good"]

    assert (found.level, bool(found.advice)) == (level, True)
    assert word in found.what


@pytest.mark.parametrize(
    ("settings", "level"),
    [
        ({"backlogQuotaDefaultLimitBytes": "-1", "backlogQuotaDefaultLimitGB": "-1.0"}, "good"),
        ({"backlogQuotaDefaultLimitBytes": "1000"}, "bad"),
        ({"backlogQuotaDefaultLimitBytes": "1000", "backlog_quota_map": "{'x': 'producer_exception'}"}, "good"),
    ],
)
def test_a_broker_that_throws_away_what_is_too_much_is_bad_where_that_has_a_limit(settings, level):
    evicts = {"backlogQuotaDefaultRetentionPolicy": "consumer_backlog_eviction"}

    assert advise("pulsar", {**GOOD_PULSAR, **evicts, **settings})[-1].level == level


def test_topics_that_are_not_removed_at_all_stay():
    off = {
        "brokerDeleteInactiveTopicsMode": "delete_when_subscriptions_caught_up",
        "brokerDeleteInactiveTopicsEnabled": "false",
    }

    assert {one.level for one in advise("pulsar", GOOD_PULSAR | off)} == {"good"}


def test_a_version_is_its_numbers():
    assert version_of("10.11.19-MariaDB-log") == (10, 11, 19)
    assert version_of("7.0") == (7, 0)


def test_valkey_goes_by_its_own_version():
    old = advise("redis", {**GOOD_REDIS, "version": "7.2.4", "valkey_version": "7.2.4"})

    assert old[0] == Finding("bad", "Valkey 7.2.4 is older than 8", "Upgrade it to 8 or newer.")


@pytest.fixture
def place():
    """Options that name an empty place on real servers."""
    url, namespace = server("redis"), f"test-{uuid.uuid4().hex}"
    yield {"transport": on_pulsar.fresh(server("pulsar")), "storage": url, "namespace": namespace}
    on_redis.delete(url, namespace)


def test_servers_are_looked_at_and_what_waits_is_told(bare, place, monkeypatch):
    monkeypatch.setenv("INFINITIC_NAMESPACE", place["namespace"])
    with Client(**place) as client:
        client.find(limit=1)
    told = bare("doctor", "trips", "--transport", place["transport"], "--storage", place["storage"], "--json")

    assert told.code == 0, told.err
    at = told.data
    assert all(one["level"] != "bad" for findings in at.values() for one in findings)
    texts = [one["what"] for findings in at.values() for one in findings]
    assert any(text.startswith("Pulsar 4") for text in texts)
    assert any(text.startswith(("Redis ", "Valkey ")) for text in texts)
    assert any(text.startswith("its clock is this machine's") for text in texts)
    assert "may be read and written" in texts
    assert any(text.startswith("service:Hotels: nobody serves it") for text in texts)


def test_what_cannot_be_reached_is_bad_and_the_rest_is_looked_at_still(bare):
    told = bare("doctor", "--transport", "pulsar://127.0.0.1:1", "--storage", "redis://127.0.0.1:2")

    assert told.code == 3
    assert "pulsar://127.0.0.1:1 does not answer: Connection refused." in told.out
    assert "redis://127.0.0.1:2" in told.out
    assert told.out.count("✗") == 2


def test_the_embedded_database_is_looked_at_too(bare, url):
    with Client(url):
        pass
    told = bare("doctor", "--url", url)

    assert told.code == 0
    assert "SQLite 3" in told.out


def test_looking_makes_no_database_and_that_there_is_none_yet_is_not_bad(bare, folder):
    told = bare("doctor", "--url", "sqlite:///none.db", "--json")

    assert (told.code, [one["what"] for one in told.data["sqlite:///none.db"]]) == (0, ["holds no workflows yet"])
    assert not (folder / "none.db").exists()


def test_a_server_that_nobody_has_used_yet_is_not_bad(bare, monkeypatch):
    namespace = f"test-{uuid.uuid4().hex}"
    monkeypatch.setenv("INFINITIC_NAMESPACE", namespace)
    for _ in range(2):  # looking makes nothing
        told = bare("doctor", "--transport", "memory://x", "--storage", server("redis"), "--json")
        assert (told.code, [one["level"] for one in told.data[server("redis")]]) == (0, ["warning"])
