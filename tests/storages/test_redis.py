"""What the Redis storage does beyond the protocol: URLs, the server, functions, broken connections, crowded buckets."""

import logging
from concurrent.futures import ThreadPoolExecutor

import pytest
from redis import Redis

from infinitic.errors import ConfigurationError, StorageError
from infinitic.records import Filter, Mark, TurnRow, Version
from infinitic.storages import redis
from infinitic.storages.memory import _matches
from infinitic.storages.redis import RedisStorage
from infinitic.storages.redis_address import Address
from infinitic.storages.redis_rows import bucket_of
from infinitic.storages.redis_server import LIBRARY, RedisSchema, refuse
from tests.servers.found import private, server
from tests.servers.redis import Redis as RedisServer
from tests.storages import on_redis
from tests.storages.given import (
    HOUR,
    NOON,
    after,
    in_threads,
    kept,
    loaded,
    record,
    start,
    timer,
    turns,
    waits_for,
    write,
)
from tests.storages.on_redis import opened
from tests.storages.relay import Relay


@pytest.fixture
def url():
    return server("redis")


@pytest.fixture
def storage(url):
    with on_redis.empty(url) as opened:
        yield opened


@pytest.fixture(scope="module")
def own():
    """A server of this module's own, which it may ill-treat."""
    with private(RedisServer) as running:
        yield running


@pytest.fixture
def admin(own):
    with Redis.from_url(own.url) as client:
        client.flushall()
        yield client


def refusal(kind, act):
    with pytest.raises(kind) as caught:
        act()
    return str(caught.value)


# --- URLs ---


def test_a_url_says_all_that_the_driver_needs():
    address = Address.of("rediss://ann:p%40ss@h:7000/2?pool=3&ssl_ca_certs=/ca.pem&ssl_check_hostname=false")

    assert (address.place, address.pool, address.cluster, address.tls) == ("rediss://ann:***@h:7000/2", 3, False, True)
    wanted = {
        "host": "h",
        "port": 7000,
        "db": 2,
        "username": "ann",
        "password": "p@ss",
        "ssl_ca_certs": "/ca.pem",
        "ssl_check_hostname": False,
        "socket_connect_timeout": 5,
        "socket_timeout": 10,
        "socket_keepalive": True,
    }
    assert {name: address.settings[name] for name in wanted} == wanted


FORM = "Write redis://user:password@host:6379/0, or rediss://… for TLS; @ : / ? # in a password as %40 %3A %2F %3F %23."


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("redis://u:secret@h?pol=3", "redis://u:***@h has no option 'pol'. Did you mean pool?"),
        ("redis://h?pool=0", "redis://h: pool=0 is not a number from 1 on. Mend the URL."),
        ("redis://h?cluster=maybe", "redis://h: cluster=maybe is not true or false. Mend the URL."),
        ("redis://h/2?cluster=true", "redis://h/2: a cluster has database 0 only. Leave the number out."),
        ("redis://h?ssl_keyfile=k", "redis://h has ssl_keyfile and no TLS. Write rediss://… for TLS."),
        ("redis:///0", f"redis:///0 names no Redis. {FORM}"),
        ("redis://h/trips", f"redis://h/trips names no Redis. {FORM}"),
        ("redis://u:sec/ret@h/0", f"redis://u:***@h/0 names no Redis. {FORM}"),
    ],
)
def test_a_url_that_cannot_work_is_refused(url, said):
    assert refusal(ConfigurationError, lambda: RedisStorage.open(url)) == said


def test_a_namespace_that_would_break_the_buckets_is_refused():
    said = refusal(ConfigurationError, lambda: RedisStorage.open("redis://h", namespace="a{b}"))

    assert said == "'a{b}' is no namespace on Redis. Use letters, digits, '-' and '_'."


# --- the server ---


@pytest.mark.parametrize(
    ("info", "said"),
    [
        ({"redis_version": "6.2.14"}, "redis://h is Redis 6.2.14, and 7 or newer is needed. Upgrade it."),
        (
            {"redis_version": "7.2.4", "valkey_version": "7.2.5"},
            "redis://h is Valkey 7.2.5, and 8 or newer is needed. Upgrade it.",
        ),
    ],
)
def test_a_server_that_is_too_old_is_refused(info, said):
    assert refusal(StorageError, lambda: refuse(Address.of("redis://h"), info)) == said


def test_servers_that_are_new_enough_are_not_refused():
    address = Address.of("redis://h")

    refuse(address, {"redis_version": "7.0.15", "redis_mode": "standalone"})
    refuse(address, {"redis_version": "7.2.4", "valkey_version": "8.0.1", "server_mode": "standalone"})


@pytest.mark.parametrize("name", ["redis_mode", "server_mode"])
def test_a_cluster_that_was_not_said_to_be_one_is_refused(name):
    said = refusal(
        ConfigurationError, lambda: refuse(Address.of("redis://h"), {"redis_version": "8.0.1", name: "cluster"})
    )

    assert said == "redis://h is a cluster. Add ?cluster=true to the URL."


def test_a_server_that_is_no_cluster_says_so(url):
    said = refusal(StorageError, lambda: RedisStorage.open(url.removesuffix("/0") + "?cluster=true"))

    assert said.endswith("See CLUSTER INFO, and leave out ?cluster=true where there is no cluster.")


def test_a_server_that_is_not_there_is_named_without_the_password():
    said = refusal(StorageError, lambda: RedisStorage.open("redis://ann:secret@127.0.0.1:1"))

    assert said.startswith("redis://ann:***@127.0.0.1:1: ")
    assert said.endswith("See whether the server runs, and host and port.")
    assert "secret" not in said


def test_a_wrong_password_is_told(own, admin):
    said = refusal(StorageError, lambda: RedisStorage.open(own.url.replace("//", "//ann:secret@")))

    assert said.endswith("See the user and the password in the URL.")
    assert "secret" not in said


def test_a_user_who_may_not_is_told(own, admin):
    admin.acl_setuser("bob", enabled=True, passwords=["+pw"], commands=["+info", "+client"], keys=["*"])

    said = refusal(StorageError, lambda: RedisStorage.open(own.url.replace("//", "//bob:pw@")))

    assert said.endswith("Allow this user ~infinitic:* and +@all.")


def test_a_user_with_the_keys_of_infinitic_is_enough(own, admin):
    admin.acl_setuser("eve", enabled=True, passwords=["+pw"], categories=["+@all"], keys=["infinitic:*"])

    with opened(own.url.replace("//", "//eve:pw@")) as storage:
        write(storage, start())
        assert loaded(storage) == kept(start())


def test_a_server_that_may_lose_workflows_is_warned_of_once(own, admin, caplog):
    admin.config_set("appendonly", "no", "maxmemory", "1gb", "maxmemory-policy", "allkeys-lru")
    try:
        with caplog.at_level(logging.WARNING), opened(own.url):
            pass
    finally:
        admin.config_set("appendonly", "yes", "maxmemory", "0", "maxmemory-policy", "noeviction")

    assert [one.name for one in caplog.records] == ["infinitic.storage"]
    said = caplog.records[0].getMessage()
    assert said.startswith(f"{own.url}: appendonly is off")
    assert "maxmemory-policy allkeys-lru" in said


def test_where_the_settings_may_not_be_read_there_is_no_warning(own, admin, caplog):
    admin.acl_setuser("tim", enabled=True, passwords=["+pw"], categories=["+@all"], commands=["-config"], keys=["*"])

    with caplog.at_level(logging.WARNING), opened(own.url.replace("//", "//tim:pw@")):
        pass

    assert caplog.records == []


def test_a_closed_storage_says_so(url):
    with opened(url, namespace="closed") as storage:
        pass

    assert refusal(StorageError, lambda: storage.load("trip-1")).endswith("was used after it was closed")
    on_redis.delete(url, "closed")


def test_a_value_that_the_server_does_not_take_is_told_and_costs_nothing(own, admin, monkeypatch):
    monkeypatch.setattr(redis, "PACKET", 1)
    admin.config_set("proto-max-bulk-len", 1 << 20)
    try:
        with opened(own.url) as storage:
            large = start("big", turns=(TurnRow("r1", 0, b"x" * ((1 << 20) + 1)),))
            said = refusal(StorageError, lambda: storage.append([start("small"), start("little"), large]))
            assert storage.records(["small", "little", "big"]) == [None, None, None]
            write(storage, start("other"))
    finally:
        admin.config_set("proto-max-bulk-len", 512 << 20)

    assert said == (
        "big was to write 1,048,577 bytes at once, and the Redis takes 1,048,576. "
        "Raise its proto-max-bulk-len, or keep large values elsewhere."
    )


def test_a_server_without_memory_writes_nothing_and_still_reads_and_purges(own, admin):
    with opened(own.url) as storage:
        now = storage.now()
        first = start("a", count=3, expires=now - 1)
        write(storage, first)
        admin.config_set("maxmemory", 1)
        try:
            said = refusal(StorageError, lambda: storage.append([after(first, 1)]))
            assert loaded(storage, "a") == kept(first)
            assert storage.purge(now) == 1
        finally:
            admin.config_set("maxmemory", 0)

    assert said.endswith("Raise its maxmemory, or purge what has ended.")


def test_turns_that_the_server_lost_are_told_and_not_written_over(own, admin):
    with opened(own.url) as storage:
        first = start("a", count=3)
        write(storage, first)
        admin.delete(storage._key("t", "a"))

        assert refusal(StorageError, lambda: storage.load("a")).startswith("The Redis lost keys of a. ")
        assert "a has 0 turns where its head counts 3" in refusal(
            StorageError, lambda: storage.append([after(first, 1)])
        )


# --- functions and versions ---


def test_functions_that_are_gone_are_loaded_again(own, admin):
    with opened(own.url) as storage:
        first = start()
        write(storage, first)
        admin.function_flush()
        write(storage, after(first, 1))
        admin.function_flush()

        assert loaded(storage).version == Version("r1", 2)


def test_functions_of_the_same_version_with_other_code_are_replaced(own, admin):
    admin.function_flush()
    admin.function_load(f"#!lua name={LIBRARY}\nredis.register_function('{LIBRARY}_load', function() return 1 end)")

    with opened(own.url) as storage:
        assert storage.load("trip-1") is None


def test_who_may_not_make_anything_finds_nothing(own, admin):
    said = refusal(StorageError, lambda: RedisStorage.open(own.url, makes=False))

    assert said == f"{own.url} holds no workflows yet. Start a worker, or run `infinitic storage init`."
    assert admin.keys() == []
    with opened(own.url), opened(own.url, makes=False) as reader:
        assert reader.count(Filter()) == 0


def test_namespaces_are_apart(own, admin):
    with opened(own.url, namespace="a") as a, opened(own.url, namespace="b") as b:
        write(a, start())

        assert (a.count(Filter()), b.count(Filter()), b.load("trip-1")) == (1, 0, None)


def test_many_open_an_empty_namespace_at_once(own, admin):
    admin.function_flush()

    def work(number):
        with opened(own.url) as storage:
            write(storage, start(f"trip-{number}"))
            return storage.schema.found()

    with ThreadPoolExecutor(8) as pool:
        assert [*pool.map(work, range(8))] == [2] * 8
    with opened(own.url) as storage:
        assert storage.count(Filter()) == 8


def test_an_older_schema_is_changed_step_by_step_by_whoever_comes(own, admin):
    with opened(own.url):
        pass

    def rename(server):
        admin.incr("steps")

    with RedisStorage.schema_of(own.url) as schema:
        newer = RedisSchema(schema.server, wanted=4, steps={2: rename, 3: rename})
        assert newer.found() == 2
        newer.bring_up()
        newer.bring_up()
        assert (newer.found(), admin.get("steps")) == (4, b"2")

        in_threads(*[RedisSchema(schema.server, wanted=5, steps={4: rename}).bring_up] * 4)
        assert newer.found() == 5

    said = refusal(StorageError, lambda: RedisStorage.open(own.url))
    assert said == (
        f"{own.url} has schema 5, which a newer release made; this one knows 2. Run the newer release here too."
    )


def test_a_new_namespace_needs_no_steps(own, admin):
    with RedisStorage.schema_of(own.url) as schema:
        newer = RedisSchema(schema.server, wanted=3, steps={})
        newer.bring_up()

        assert newer.found() == 3


# --- broken connections ---


def kill_all(admin):
    for client in admin.client_list():
        if client["name"] == "infinitic":
            admin.client_kill_filter(_id=client["id"])


def test_connections_that_the_server_cut_are_replaced(own, admin):
    with opened(own.url) as storage:
        first = start()
        write(storage, first)
        kill_all(admin)
        assert loaded(storage) == kept(first)
        kill_all(admin)
        write(storage, after(first, 1))


def test_a_read_whose_connection_breaks_is_asked_once_more(own, admin):
    with Relay(own.port) as relay, opened(f"redis://127.0.0.1:{relay.port}") as storage:
        write(storage, start())
        relay.swallow_next_answer()

        assert loaded(storage) == kept(start())


@pytest.mark.parametrize("count", [0, 1])
def test_an_append_whose_answer_is_lost_has_won(own, admin, count):
    with Relay(own.port) as relay, opened(f"redis://127.0.0.1:{relay.port}") as storage:
        first, second = start("a", count=0), start("b", count=0)
        write(storage, first, second)
        relay.swallow_next_answer()

        batch = [after(first, count, token="me"), after(second, 1, token="me"), start("c", token="me")]
        assert storage.append(batch) == [True, True, True]
        assert relay.swallowed == 1
        assert [storage.load(name).turns for name in "abc"] == [turns(count), turns(1), turns(1)]


def test_an_append_whose_answer_is_lost_may_have_lost(own, admin):
    with Relay(own.port) as relay, opened(f"redis://127.0.0.1:{relay.port}") as storage, opened(own.url) as other:
        first = start(count=0)
        write(storage, first)
        write(other, after(first, 1, token="other"))
        relay.swallow_next_answer()

        assert storage.append([after(first, 1, token="me"), start(token="me")]) == [False, False]
        assert storage.load("trip-1").token == "other"


def test_a_server_that_went_away_is_told_and_found_again_when_it_is_back(own, admin):
    with Relay(own.port) as relay, opened(f"redis://127.0.0.1:{relay.port}") as storage:
        first = start()
        write(storage, first)
        relay.cut()
        for act in (lambda: storage.load("trip-1"), lambda: storage.append([after(first, 1)]), storage.now):
            assert refusal(StorageError, act).endswith("See whether the server runs, and host and port.")

        relay.mend()
        write(storage, after(first, 1))


def test_who_finds_all_connections_busy_waits(own, admin):
    with opened(f"{own.url}?pool=1") as storage:
        write(storage, *(start(f"trip-{number}") for number in range(8)))

        found = in_threads(*(lambda number=number: loaded(storage, f"trip-{number}") for number in range(8)))

        assert found == [kept(start(f"trip-{number}")) for number in range(8)]
        assert sum(client["name"] == "infinitic" for client in admin.client_list()) == 1


def test_who_waits_too_long_for_a_connection_is_told(own, admin):
    with opened(f"{own.url}?pool=1") as storage:
        pool = storage._server._pool
        pool.timeout = 0.01
        busy = pool.get_connection()
        try:
            said = refusal(StorageError, storage.now)
        finally:
            pool.release(busy)

    assert said == (
        f"All 1 connections to {own.url} were busy for 10 s. "
        "Give a larger ?pool= in the URL, or see why the server is slow."
    )


# --- by the server's clock ---


def test_the_clock_is_the_servers(storage):
    before = storage.now()
    write(storage, start(timers_set=(timer("m0.1", before),)))
    due = storage.claim_due_timers(["trips"], 0, 10, HOUR)

    assert before <= due.now <= storage.now()
    assert due.timers == (timer("m0.1", before, claimed_until=due.now + HOUR),)
    assert storage.claim_due_timers(["trips"], 0, 10, HOUR).timers == ()


def test_a_lease_that_ended_leaves_a_timer_free(storage):
    write(storage, start(timers_set=(timer("m0.1", storage.now()),)))

    first, second = (storage.claim_due_timers(["trips"], 0, 10, 0).timers for _ in range(2))
    assert [row.position for row in (*first, *second)] == ["m0.1", "m0.1"]


def test_a_mark_is_behind_by_the_servers_clock(storage):
    first = start("a", count=2, mark=Mark("r1", 0))
    before = storage.now()
    write(storage, first)
    then = storage.now()
    second = after(first, 1, mark=Mark("r1", 0))
    write(storage, second)

    assert storage.offers({"trips": ""}, before, 9) == []
    assert storage.offers({"trips": ""}, then + 1, 9) == [("trips", "a")]

    write(storage, after(second, 1, mark=Mark("r1", 1)))
    assert storage.offers({"trips": ""}, then + 1, 9) == []


# --- many in one bucket ---


@pytest.fixture(scope="module")
def crowd():
    """A storage with 2,600 instances in one bucket; every 13th of them has a tag, and none that is a visit failed."""
    names = [name for name in map("trip-{}".format, range(400_000)) if bucket_of(name) == 7][:2_600]
    with on_redis.empty(server("redis")) as storage:
        batch = []
        for number, name in enumerate(names):
            fields = {
                "workflow": "visits" if number % 2 else "trips",
                "status": "running" if number % 2 else "failed",
                "tags": ("rare",) * (number % 13 == 0) + ("all",),
                "started": NOON - number,
                "ended": 0 if number % 2 else NOON + number,
                "waits": waits_for("charge") if number % 7 == 1 else (),
            }
            its = record(name, **fields)
            batch.append(start(name, workflow=its.workflow, record=its, expires=NOON + number))
        assert all(storage.append(batch))
        yield storage, batch


FILTERS = [
    Filter(),
    Filter(workflow="visits", status="failed"),
    Filter(tag="rare"),
    Filter(tag="rare", workflow="visits"),
    Filter(tag="all", workflow="visits", status="failed"),
    Filter(tag="all", status="failed"),
    Filter(since=NOON - 1_500, tag="rare"),
    Filter(id_prefix="trip-1"),
    Filter(id_prefix="trip-1", tag="rare", since=NOON - 900),
    Filter(id_prefix="trip-123"),
    Filter(id_prefix="trip-123", workflow="trips", since=NOON - 900),
    Filter(waiting="charge", tag="rare"),
    Filter(waiting="task", until=NOON - 1_500),
    Filter(until=NOON - 1_000, since=NOON - 1_100),
    Filter(ended_since=NOON + 2_400),
    Filter(ended_since=NOON + 100, tag="rare", id_prefix="trip-1"),
    Filter(ended_until=NOON + 300, workflow="trips"),
    Filter(ended_since=NOON, ended_until=NOON + 2_000),
]


@pytest.mark.parametrize("where", FILTERS)
def test_a_crowded_bucket_is_searched_to_its_end(crowd, where):
    storage, batch = crowd
    records = [append.record for append in batch if _matches(append.record, where)]

    assert storage.count(where) == len(records)
    assert storage.find(where, 3_000).records == tuple(records)
    assert storage.find(where, 7).records == tuple(records[:7])
    assert [past.record for past in storage.ended(where, 3_000)] == records
