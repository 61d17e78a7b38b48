"""What is special about PostgreSQL: its URL, its schema, and what it does when the server or the network does not."""

import socket
import subprocess
import sys
from contextlib import closing, contextmanager

import psycopg
import pytest
from attrs import frozen

from infinitic.errors import ConfigurationError, StorageError
from infinitic.records import Filter, Mark, TurnRow, Version
from infinitic.storages import postgres, postgres_server
from infinitic.storages.finding import Finder
from infinitic.storages.postgres import PostgresStorage
from infinitic.storages.postgres_server import STEPS, PostgresSchema, Server, check_server
from infinitic.storages.schemas import check_schema
from tests.servers.found import server
from tests.storages import on_postgres
from tests.storages.given import (
    SECOND,
    after,
    in_threads,
    item,
    kept,
    loaded,
    next_run,
    record,
    start,
    timer,
    turns,
    write,
)
from tests.storages.relay import Relay

URL = "postgresql://ann:secret@db.example:5432/shop"


@pytest.fixture
def url():
    """The URL of a new, empty database."""
    return on_postgres.new_database(server("postgres"))


@pytest.fixture
def storage():
    with on_postgres.empty(server("postgres")) as opened:
        yield opened


@contextmanager
def opened(url, **options):
    with closing(PostgresStorage.open(url, **options)) as storage:
        yield storage


def option(url, text):
    return f"{url}{'&' if '?' in url else '?'}{text}"


@contextmanager
def beside(url):
    """A connection of somebody else to the same database."""
    with psycopg.connect(url, autocommit=True) as connection:
        yield connection


# --------------------------------------------------------------------------------------------- URLs


def test_a_url_says_what_libpq_takes_and_our_own_options():
    its = Server.of(f"{URL}?sslmode=verify-full&pool=3&sslrootcert=/etc/ca.pem&pgbouncer=true&connect_timeout=2")

    assert (its.place, its.pool, its.pooled) == ("postgresql://ann:***@db.example:5432/shop", 3, True)
    said = {"host": "db.example", "port": "5432", "user": "ann", "password": "secret", "dbname": "shop"}
    tls = {"sslmode": "verify-full", "sslrootcert": "/etc/ca.pem"}
    assert its.libpq == postgres_server.LIBPQ | said | tls | {"connect_timeout": "2"}
    assert "secret" not in repr(its)


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        (f"{URL}?sslmod=require", 'has an unknown URI query parameter: "sslmod"'),
        ("postgresql://ann:secret@db.example:5432", "names no database"),
        ("postgresql://ann:secret@db.example:5432/", "names no database"),
        (f"{URL}?pool=0", "has pool=0"),
        (f"{URL}?pool=many", "has pool=many"),
        (f"{URL}?pgbouncer=yes", "has pgbouncer=yes"),
    ],
)
def test_a_url_that_cannot_be_meant_is_refused(url, problem):
    with pytest.raises(ConfigurationError) as caught:
        PostgresStorage.open(url)

    assert problem in str(caught.value)
    assert "secret" not in str(caught.value)


def test_a_server_that_is_not_there_is_one_line_without_the_password():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with pytest.raises(StorageError, match="Connection refused") as caught:
        PostgresStorage.open(f"postgresql://ann:secret@127.0.0.1:{port}/shop")

    assert "\n" not in str(caught.value)
    assert "secret" not in str(caught.value)


@frozen
class Info:
    """What the driver knows of a server."""

    server_version: int
    encoding: str = "UTF8"

    def parameter_status(self, name):
        return {"server_encoding": self.encoding}[name]


@pytest.mark.parametrize(
    ("info", "problem"),
    [(Info(140_022), "is PostgreSQL 14. Infinitic needs"), (Info(150_000, "LATIN1"), "is encoded in LATIN1")],
)
def test_a_server_that_is_too_old_or_keeps_no_utf8_is_refused(info, problem):
    check_server("here", Info(150_000))
    with pytest.raises(StorageError, match=problem):
        check_server("here", info)


# ------------------------------------------------------------------------------------------- schema


def test_an_empty_database_is_left_alone_when_nothing_may_be_made(url):
    with pytest.raises(StorageError, match="holds no workflows yet"):
        PostgresStorage.open(url, makes=False)
    with PostgresStorage.schema_of(url) as schema:
        assert (schema.found(), schema.wanted) == (0, len(STEPS))
        schema.bring_up()
        assert schema.found() == schema.wanted
    with opened(url, makes=False) as storage:
        assert storage.count(Filter()) == 0


def test_many_who_open_an_empty_database_at_once_make_it_once(url):
    def use():
        with opened(url) as storage:
            return storage.count(Filter())

    assert in_threads(*[use] * 6) == [0] * 6


def test_processes_that_open_an_empty_database_at_once_make_it_once(url):
    code = "import sys; from infinitic.storages.postgres import PostgresStorage as S; S.open(sys.argv[1]).close()"
    both = [subprocess.Popen([sys.executable, "-c", code, url]) for _ in range(2)]

    assert [process.wait(60) for process in both] == [0, 0]


def test_a_database_is_one_namespace(url):
    with opened(url, namespace="shop") as storage:
        write(storage, start())

    with pytest.raises(StorageError, match="belongs to the namespace 'shop', not 'default'"):
        PostgresStorage.open(url)


def test_a_newer_release_changes_the_schema_once_and_keeps_what_is_there(url):
    with opened(url) as storage:
        write(storage, start())
    newer = PostgresSchema(Server.of(url), steps=(*STEPS, "ALTER TABLE infinitic.meta ADD COLUMN note text"))

    with pytest.raises(StorageError, match=r"has schema 2, and this release needs 3\. Run `infinitic storage upgrade`"):
        check_schema(newer, makes=True)
    in_threads(*[newer.bring_up] * 4)

    assert newer.found() == 3
    with beside(url) as connection:
        assert connection.execute("SELECT version, note FROM infinitic.meta").fetchall() == [(3, None)]
        assert connection.execute("SELECT workflow_id FROM infinitic.heads").fetchall() == [("trip-1",)]
    with pytest.raises(StorageError, match="has schema 3, which a newer release made"):
        PostgresStorage.open(url)


def test_a_change_that_fails_leaves_the_schema_as_it_was(url):
    broken = PostgresSchema(Server.of(url), steps=(*STEPS, "CREATE TABLE infinitic.new (id int); SELECT 1 / 0"))

    with pytest.raises(StorageError, match="division by zero"):
        broken.bring_up()
    assert broken.found() == 0


def test_who_may_not_make_a_schema_is_told_so_and_may_use_one_that_is_made_for_it(url):
    name = url.rpartition("/")[2].partition("?")[0] + "_ann"
    as_ann = option(url, f"options=-c%20role%3D{name}")
    with beside(url) as connection:
        connection.execute(f"CREATE ROLE {name}")
        try:
            with pytest.raises(StorageError, match=r"permission denied for database .*\. Grant this user what"):
                PostgresStorage.open(as_ann)
            connection.execute(f"CREATE SCHEMA infinitic AUTHORIZATION {name}")
            with opened(as_ann) as storage:
                write(storage, start())
        finally:
            connection.execute(f"DROP OWNED BY {name} CASCADE; DROP ROLE {name}")


# -------------------------------------------------------------------------------------- connections


def ended_by_the_server(url):
    """Ends all connections to the database but this one."""
    with beside(url) as connection:
        connection.execute(
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )


def test_what_the_server_ended_is_replaced_at_the_next_call(url):
    with opened(url) as storage:
        first = start(timers_set=(timer("m0.1", 0),))
        write(storage, first)
        ended_by_the_server(url)
        assert loaded(storage) == kept(first)
        ended_by_the_server(url)
        write(storage, after(first, 1))
        ended_by_the_server(url)
        assert [row.position for row in storage.claim_due_timers(["trips"], 0, 9, SECOND).timers] == ["m0.1"]
        ended_by_the_server(url)
        assert storage.remove([]) == []
        assert storage.count(Filter()) == 1


def test_more_threads_than_connections_wait_for_one(url):
    with opened(option(url, "pool=1")) as storage:
        work = [lambda number=number: storage.append([start(f"{number}")]) for number in range(12)]

        assert in_threads(*work) == [[True]] * 12


def test_behind_a_pooler_nothing_is_prepared(url):
    first = start()
    with opened(option(url, "pool=1&pgbouncer=true")) as storage:
        write(storage, first)
        for number in range(12):
            write(storage, after(start(count=number + 1), 1))
        assert storage._ask("SELECT count(*) FROM pg_prepared_statements") == [(0,)]
        assert storage.load("trip-1").turns == turns(13)


def test_a_storage_tells_what_its_server_is_set_to(storage):
    settings = storage.server_settings()

    assert list(settings) == ["version", "fsync", "full_page_writes", "synchronous_commit"]
    assert int(settings["version"].partition(".")[0]) >= 15


def test_a_closed_storage_says_so(url):
    storage = PostgresStorage.open(url)
    storage.close()
    storage.close()

    for call in (lambda: storage.load("a"), lambda: storage.append([start()]), storage.now):
        with pytest.raises(StorageError, match="was used after it was closed"):
            call()


def test_a_server_that_takes_no_writes_is_a_storage_error_with_a_hint(url):
    with opened(url):
        pass
    with (
        opened(option(url, "options=-c%20default_transaction_read_only%3Don")) as storage,
        pytest.raises(StorageError, match=r"read-only transaction\. Name the primary"),
    ):
        storage.append([start()])


@pytest.fixture
def relay(url):
    with Relay(Server.of(url).libpq["port"]) as between:
        yield between


@pytest.fixture
def relayed(url, relay):
    """A storage that speaks to its server by the relay."""
    port = Server.of(url).libpq["port"]
    with opened(url.replace(f":{port}/", f":{relay.port}/")) as storage:
        yield storage


def test_a_lost_answer_to_an_append_that_was_written_is_no_lost_race(relay, relayed):
    first = start()
    for append in (first, after(first, 1), after(start(count=2), inbox=1, inbox_added=(item("k"),))):
        relay.swallow_next_answer()
        assert relayed.append([append]) == [True]
    assert relay.swallowed == 3

    assert loaded(relayed) == kept(
        first, version=Version("r1", 2, 1), mark=Mark("r1", 2), turns=turns(2), inbox=(item("k"),)
    )


def test_after_a_lost_answer_a_lost_race_is_still_one(relay, relayed):
    write(relayed, start("a", count=2), start("b"))
    late = after(start("a", version=Version("r1", 1)), 1, token="late")
    same = after(start("b"), token="other")
    relay.swallow_next_answer()

    assert relayed.append([late, same, start("c"), start("b", token="other")]) == [False, True, True, False]


def test_a_lost_answer_to_a_read_is_asked_for_again(relay, relayed):
    write(relayed, start())
    relay.swallow_next_answer()

    assert loaded(relayed) == kept(start())


def test_a_server_that_says_nothing_any_more_is_a_storage_error(relay, relayed, monkeypatch):
    monkeypatch.setattr(postgres_server, "LIMIT", 0.2)
    monkeypatch.setattr(postgres_server, "WAIT", 0.2)
    write(relayed, start())
    relay.silence()

    with pytest.raises(StorageError, match=r"gave no connection within 0\.2 s"):
        relayed.load("trip-1")
    relay.cut()


def test_a_server_is_found_again_at_once_however_long_it_was_away(url, relay, monkeypatch):
    monkeypatch.setattr(postgres_server, "WAIT", 0.5)
    port = Server.of(url).libpq["port"]
    with opened(url.replace(f":{port}/", f":{relay.port}/")) as storage:
        write(storage, start())
        relay.cut()
        for _ in range(4):
            with pytest.raises(StorageError):
                storage.load("trip-1")
        relay.mend()

        assert loaded(storage) == kept(start())


# ------------------------------------------------------------------------------------------- writing


def waits_for_a_lock(connection):
    """Returns once somebody in this database waits for a lock."""
    asked = "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    while not connection.execute(asked).fetchall():
        pass


def test_a_deadlock_is_no_lost_race(url):
    with opened(url) as storage, beside(url) as eye, beside(url) as other:
        write(storage, start("a"), start("b"))
        other.execute("SET deadlock_timeout = '60s'")  # so that it is the append that is undone
        other.execute("BEGIN; UPDATE infinitic.heads SET token = token WHERE workflow_id = 'b'")

        def meet():
            waits_for_a_lock(eye)
            other.execute("UPDATE infinitic.heads SET token = token WHERE workflow_id = 'a'; COMMIT")

        won, _ = in_threads(lambda: storage.append([after(start("b"), 1), after(start("a"), 1)]), meet)
        assert won == [True, True]
        assert eye.execute("SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()").fetchone() != (
            None,
        )


def test_who_waited_for_a_lock_sees_what_the_other_wrote(url):
    with opened(url) as storage, beside(url) as eye, beside(url) as other:
        write(storage, start("a"), start("b"))
        other.execute("BEGIN; UPDATE infinitic.heads SET turns = 2 WHERE workflow_id = 'a'")

        def finish():
            waits_for_a_lock(eye)
            other.execute("COMMIT")

        won, _ = in_threads(lambda: storage.append([after(start("a"), 1), after(start("b"), 1)]), finish)
        assert won == [False, True]


def test_a_batch_that_is_too_large_for_one_statement_is_written_in_several(storage, monkeypatch):
    monkeypatch.setattr(postgres, "BATCH", 1_000)
    bodies = [(TurnRow("r1", 0, bytes([number]) * 400),) for number in range(9)]
    starts = [start(f"{number}", turns=its) for number, its in enumerate(bodies)]

    assert storage.append([*starts, start("4")]) == [True] * 9 + [False]
    assert [storage.load(f"{number}").turns for number in range(9)] == bodies


def test_what_is_too_large_for_one_instance_is_a_storage_error_that_names_it(storage):
    huge = start("huge", turns=(TurnRow("r1", 0, bytes(postgres.LARGEST + 1)),))

    with pytest.raises(StorageError, match=r"huge is to be written with 1342\d+ bytes, more than"):
        storage.append([start("a"), huge])
    assert storage.load("a") is None


def test_a_run_that_is_sent_and_older_than_the_one_before_the_last_is_dropped(storage):
    first = start(count=2)
    second = next_run(first, "r2", 3)
    third = next_run(second, "r3")
    write(storage, first, second)
    assert storage.history("trip-1", "r1") == turns(2)

    write(storage, third)
    assert [storage.history("trip-1", run) for run in ("r1", "r2", "r3")] == [(), turns(3, "r2"), turns(1, "r3")]


def test_what_only_asks_writes_nothing_not_even_a_lock(url):
    with opened(url) as storage, beside(url) as other:
        first = start()
        write(storage, first)
        locker = "SELECT xmin::text, xmax::text FROM infinitic.heads"
        before = other.execute(locker).fetchall()
        assert storage.append([after(first)]) == [True]
        assert other.execute(locker).fetchall() == before


def test_the_clock_is_the_servers(url):
    with opened(url) as storage, beside(url) as other:
        asked = "SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint"
        before = other.execute(asked).fetchone()[0]
        now = storage.now()
        due = storage.claim_due_timers(["trips"], 0, 9, SECOND)
        assert before <= now <= due.now <= other.execute(asked).fetchone()[0]


def test_a_claim_holds_by_the_servers_clock(url):
    with opened(url) as storage:
        write(storage, start(timers_set=(timer("m0.1", storage.now() - SECOND),)))
        held = storage.claim_due_timers(["trips"], 0, 9, 3_600 * SECOND)
        assert [row.claimed_until for row in held.timers] == [held.now + 3_600 * SECOND]
        assert storage.claim_due_timers(["trips"], 0, 9, SECOND).timers == ()
        assert [len(storage.claim_due_timers(["trips"], 0, 9, -SECOND).timers) for _ in range(2)] == [0, 0]


FILTERS = [
    Filter(),
    Filter(workflow="trips"),
    Filter(status="running"),
    Filter(workflow="trips", status="running"),
    Filter(tag="eu"),
    Filter(tag="eu", status="running", workflow="trips", waiting="charge"),
    Filter(parent="p"),
    Filter(since=1, until=2),
    Filter(ended_since=1),
    Filter(id_prefix="a"),
]


@pytest.mark.parametrize("where", FILTERS, ids=str)
def test_what_is_found_is_found_by_an_index(storage, where):
    storage.append([start(f"{number}", record=record(f"{number}", tags=("eu",))) for number in range(9)])

    def explaining(statement, values):
        assert "Seq Scan" not in str(storage._found(f"EXPLAIN {statement}", values))
        return storage._found(statement, values)

    finder = Finder(explaining, schema="infinitic.")
    assert len(finder.find(where, 100).records) == finder.count(where)
