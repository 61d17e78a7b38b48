"""What is special about MySQL and MariaDB: URLs, tables and their versions, broken connections, locks, sizes."""

import socket
import subprocess
import sys
import threading
from contextlib import closing, contextmanager, suppress

import pytest

from infinitic.errors import Bug, ConfigurationError, StorageError
from infinitic.records import Filter, Mark, TurnRow, Version
from infinitic.storages import mysql_server
from infinitic.storages.mysql import MySqlStorage
from infinitic.storages.mysql_schema import STEPS, MySqlSchema
from infinitic.storages.mysql_server import DRIVER, Server, refuse_old
from infinitic.storages.mysql_writes import inserts, listed, literal
from infinitic.storages.schemas import check_schema
from tests.servers.found import server
from tests.storages.given import (
    AWKWARD_IDS,
    HOUR,
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
from tests.storages.on_mysql import ask, database, empty
from tests.storages.relay import Relay


@pytest.fixture(params=["mariadb", "mysql"])
def host(request):
    """The URL of a server, without a database."""
    return server(request.param)


@pytest.fixture
def storage(host):
    with empty(host) as opened:
        yield opened


@pytest.fixture
def url(host, storage):
    """The URL of the storage's database."""
    return f"{host}/{storage._pool.server.settings['database']}"


@contextmanager
def opened(url):
    with closing(MySqlStorage.open(url)) as storage:
        yield storage


@contextmanager
def beside(url):
    """A connection of its own."""
    with closing(Server.of(url).connect()) as db:
        yield db


# ---------------------------------------------------------------------------------------------- URLs


def test_a_url_says_where_and_as_who():
    its = Server.of("mysql://ann%40x:p%2Fw@db.local:3310/shop")

    assert its.settings == DRIVER | {
        "host": "db.local",
        "port": 3310,
        "database": "shop",
        "user": "ann@x",
        "password": "p/w",
    }
    assert (its.pool, its.packets, its.place) == (8, True, "mysql://ann%40x:***@db.local:3310/shop")
    assert "p/w" not in repr(its)


def test_a_url_may_have_options():
    its = Server.of(
        "mariadb://db/shop?pool=3&packets=false&ssl_ca=/etc/ca.pem&ssl_cert=c.pem&ssl_key=k.pem&ssl_verify_cert=true"
        "&ssl_verify_identity=1&ssl_disabled=false&read_timeout=4&connect_timeout=2&use_pure=true"
    )

    assert (its.pool, its.packets, its.place) == (3, False, "mariadb://db/shop")
    assert its.settings == DRIVER | {
        "host": "db",
        "port": 3306,
        "database": "shop",
        "user": "",
        "password": "",
        "ssl_ca": "/etc/ca.pem",
        "ssl_cert": "c.pem",
        "ssl_key": "k.pem",
        "ssl_verify_cert": True,
        "ssl_verify_identity": True,
        "ssl_disabled": False,
        "read_timeout": 4,
        "connect_timeout": 2,
        "use_pure": True,
    }


FORM = "Write mysql://user:password@host:3306/database; @ : / ? # in a password as %40 %3A %2F %3F %23."


@pytest.mark.parametrize(
    ("url", "said"),
    [
        (
            "mysql://ann:secret@db",
            f"mysql://ann:***@db names no database of MySQL or MariaDB. {FORM}",
        ),
        ("mysql://db:port/shop", f"mysql://db:port/shop is no URL that can be read. {FORM}"),
        ("mysql://ann:sec/ret@db/shop", f"mysql://ann:***@db/shop is no URL that can be read. {FORM}"),
        ("mysql://db/shop?ssl_cas=x", "mysql://db/shop has no option 'ssl_cas'. Did you mean ssl_ca?"),
        ("mysql://db/shop?pool=0", "mysql://db/shop: pool=0 is not a number from 1 on. Mend the URL."),
        ("mysql://db/shop?packets=maybe", "mysql://db/shop: packets=maybe is not true or false. Mend the URL."),
    ],
)
def test_a_url_that_cannot_be_says_why(url, said):
    with pytest.raises(ConfigurationError) as caught:
        MySqlStorage.open(url)

    assert str(caught.value) == said


@pytest.mark.parametrize("version", ["8.4.0", "9.7.4-2", "10.11.2-MariaDB", "11.4.3-MariaDB-1:11.4.3+maria~ubu2404"])
def test_a_new_enough_server_is_taken(version):
    refuse_old("mysql://db/shop", version)


@pytest.mark.parametrize(
    ("version", "what"),
    [("8.0.40", "MySQL 8.0.40, and 8.4"), ("10.6.20-MariaDB-log", "MariaDB 10.6.20-MariaDB-log, and 10.11")],
)
def test_a_server_that_is_too_old_is_refused(version, what):
    with pytest.raises(StorageError) as caught:
        refuse_old("mysql://db/shop", version)

    assert str(caught.value) == f"mysql://db/shop is {what} or newer is needed. Upgrade the server."


def test_a_server_that_is_not_there_is_a_storage_error():
    with socket.create_server(("127.0.0.1", 0)) as unheard:
        port = unheard.getsockname()[1]
    with pytest.raises(StorageError, match=rf"^mysql://127.0.0.1:{port}/shop cannot be reached"):
        MySqlStorage.open(f"mysql://127.0.0.1:{port}/shop")


def test_a_database_that_is_not_there_is_a_storage_error(host):
    with pytest.raises(StorageError) as caught:
        MySqlStorage.open(f"{host}/never_made")

    assert str(caught.value) == (
        f"{host}/never_made: there is no such database. Make it (CREATE DATABASE …), or name another one."
    )


@pytest.mark.parametrize("option", ["use_pure=true", "packets=false", "pool=1", "ssl_disabled=true"])
def test_an_instance_lives_its_life_by_any_option(url, option):
    with opened(f"{url}?{option}") as storage:
        now = storage.now()
        first = start(count=2, inbox_added=(item("k"),), timers_set=(timer("m0.1", now - 1),))
        second = next_run(first, "r2", mark=Mark("r1", 1), expires=now - 1)
        write(storage, first)
        assert loaded(storage) == kept(first)
        assert [row.position for row in storage.claim_due_timers(["trips"], 0, 9, HOUR).timers] == ["m0.1"]
        write(storage, second, after(second, mark=Mark("r2", 1)))
        assert storage.load("trip-1").unsent == ()
        assert storage.find(Filter(), 9).records == (second.record,)
        assert storage.purge(now) == 1


# -------------------------------------------------------------------------------------------- texts


def test_any_bytes_are_the_same_in_sql(storage):
    values = [bytes(range(256)), b"", b"'", b"\\", b"\\'", b"x'; --", b"delimiter x 'y", *map(str.encode, AWKWARD_IDS)]

    assert storage._read(f"SELECT {listed(values)}")[0] == tuple(
        value if literal(value).startswith("x'") else value.decode() for value in values
    )


def test_a_word_that_is_a_command_of_the_drivers_is_kept(storage):
    texts = [b"delimiter x 'y", b'{"said": "DELIMITER ; now"}', b"Delimiter 'a' \"b"]
    first = start(count=3, turns=tuple(TurnRow("r1", n, text) for n, text in enumerate(texts)))
    write(storage, first)

    assert loaded(storage) == kept(first)


@pytest.mark.parametrize("field", ["workflow_id", "run", "token"])
def test_a_text_that_is_too_long_is_refused_and_not_cut(storage, field):
    long = "x" * 256
    first = start(long) if field == "workflow_id" else start(**{field: long})

    with pytest.raises(StorageError, match="Data too long"):
        storage.append([first])
    assert storage.count(Filter()) == 0


# -------------------------------------------------------------------------------------------- clock


def test_a_claim_that_has_passed_by_the_servers_clock_is_free_again(storage):
    write(storage, start(timers_set=(timer("m0.1", storage.now() - SECOND),)))

    for _ in range(3):
        assert len(storage.claim_due_timers(["trips"], 0, 9, lease=0).timers) == 1


def test_a_mark_is_behind_since_the_append_that_left_it_behind_by_the_servers_clock(storage):
    before = storage.now()
    first = start(mark=Mark("r1", 0))
    write(storage, first)
    since = storage.now()
    write(storage, after(first, 1, mark=Mark("r1", 0)), after(start(count=2), mark=Mark("r1", 0)))

    assert storage.offers({"trips": ""}, before, 9) == []
    assert storage.offers({"trips": ""}, since + 1, 9) == [("trips", "trip-1")]


def test_a_sweep_leaves_alone_what_it_does_not_take(storage, url):
    rows = tuple(timer(f"m0.{number}", number) for number in range(10))
    write(storage, start(timers_set=rows))
    with beside(url) as other:
        of_three = "workflow_id = 'trip-1' AND run = 'r1' AND position IN ('m0.0', 'm0.1', 'm0.2')"
        other.run(f"SELECT 1 FROM timers FORCE INDEX (PRIMARY) WHERE {of_three} FOR UPDATE")
        claimed = storage.claim_due_timers(["trips"], 0, 4, HOUR).timers
        other.run("ROLLBACK")

    assert [row.position for row in claimed] == ["m0.3", "m0.4", "m0.5", "m0.6"]
    assert [row.due for row in storage.claim_due_timers(["trips"], 0, 4, HOUR).timers] == [0, 1, 2, 7]


# -------------------------------------------------------------------------------------------- sizes


def test_what_the_server_cannot_take_says_whose_and_how_large_it_is(storage):
    with storage._pool.connection() as db:
        most = db.most
    huge = (TurnRow("r1", 0, b" " * most),)

    with pytest.raises(StorageError) as caught:
        storage.append([start("small"), start("huge", turns=huge)])
    assert str(caught.value) == (
        f"huge: what it writes at once has {most + 21} bytes, and the server takes {most}."
        " Raise its max_allowed_packet, or keep large data elsewhere and pass a reference."
    )
    assert storage.append([start("small")]) == [True]


def test_rows_are_shared_out_to_inserts_that_fit():
    rows = [("a", 1), ("b", 2), ("c", 3)]

    assert list(inserts("t", rows, 40)) == ["INSERT INTO t VALUES ('a', 1),('b', 2) ", "INSERT INTO t VALUES ('c', 3) "]
    assert list(inserts("t", rows, 35)) == [f"INSERT INTO t VALUES ({listed(row)}) " for row in rows]
    assert list(inserts("t", [], 35)) == []


def test_statements_travel_together_but_only_the_first_may_give_rows(url):
    statements = ["SELECT 1", "DELETE FROM labels", "SELECT 2", "SELECT 3", "DELETE FROM runs", "COMMIT"]
    with beside(url) as db:
        assert [packet.split(";\n") for packet in db._packets(statements)] == [
            statements[:2],
            statements[2:3],
            statements[3:],
        ]
    with beside(f"{url}?packets=false") as db:
        assert list(db._packets(statements)) == statements


def test_a_batch_larger_than_a_packet_is_one_append_all_the_same(storage, monkeypatch):
    monkeypatch.setattr(mysql_server, "PACKET", 1_000)
    batch = [start(f"trip-{number:02}", count=20, record=record(f"trip-{number:02}")) for number in range(30)]

    assert storage.append(batch) == [True] * 30
    assert [loaded(storage, one.workflow_id) for one in batch] == [kept(one) for one in batch]


def test_a_start_without_a_record_is_a_bug_and_leaves_nothing(storage):
    with pytest.raises(Bug, match="without a state record"):
        storage.append([start("a"), start("b", record=None)])
    assert storage.count(Filter()) == 0


# -------------------------------------------------------------------------------------- connections


def kill_all(url):
    """The server closes all connections to this database but the one that asks."""
    with beside(url) as db:
        asked = "SELECT id FROM information_schema.processlist WHERE db = DATABASE() AND id <> CONNECTION_ID()"
        for (number,) in db.run(asked)[0].rows:
            with suppress(StorageError):  # it may be gone by now
                db.run(f"KILL {number}")


def test_a_read_does_not_notice_that_the_server_dropped_the_connection(storage, url):
    write(storage, start())
    kill_all(url)

    assert loaded(storage) == kept(start())


def test_an_append_does_not_notice_that_the_server_dropped_the_connection(storage, url):
    first = start()
    write(storage, first)
    kill_all(url)
    assert storage.append([after(first, 1), start("b")]) == [True, True]

    kill_all(url)
    assert storage.append([after(first, 1, token="late"), after(start("b"))]) == [False, True]


@pytest.fixture
def relay(url):
    with Relay(Server.of(url).settings["port"]) as between:
        yield between


@pytest.fixture
def relayed(url, relay):
    """The URL of the storage by the relay."""
    return url.replace(f":{Server.of(url).settings['port']}/", f":{relay.port}/") + "?ssl_disabled=true"


@pytest.mark.parametrize("forwards", [True, False])
def test_a_lost_answer_to_a_commit_is_no_lost_race(relay, relayed, forwards):
    first = start()
    with opened(relayed) as storage:
        for append in (first, after(first, 1), after(start(count=2), inbox=1, inbox_added=(item("k"),))):
            relay.swallow(b"COMMIT", forwards=forwards)
            assert storage.append([append]) == [True]
        assert relay.swallowed == 3

        assert loaded(storage) == kept(
            first, version=Version("r1", 2, 1), mark=Mark("r1", 2), turns=turns(2), inbox=(item("k"),)
        )


@pytest.mark.parametrize("forwards", [True, False])
def test_after_a_lost_answer_a_lost_race_is_still_one(relay, relayed, forwards):
    with opened(relayed) as storage:
        write(storage, start("a", count=2), start("b"))
        late = after(start("a", version=Version("r1", 1)), 1, token="late")
        relay.swallow(b"COMMIT", forwards=forwards)

        batch = [late, after(start("b"), token="other"), start("c")]
        assert storage.append(batch) == [False, True, True]


def test_a_server_that_says_nothing_any_more_is_a_storage_error(relay, relayed):
    with opened(f"{relayed}&read_timeout=1&connect_timeout=1") as storage:
        write(storage, start())
        relay.silence()

        with pytest.raises(StorageError):
            storage.load("trip-1")


def test_who_finds_all_connections_busy_waits_for_one(url):
    with opened(f"{url}?pool=1") as storage:
        with storage._pool.connection():
            reading = threading.Thread(target=storage.count, args=(Filter(),))
            reading.start()
            assert reading.is_alive()
        reading.join()
        assert len(in_threads(*[lambda: storage.count(Filter())] * 9)) == 9


def test_who_waits_too_long_for_a_connection_is_told(url, monkeypatch):
    monkeypatch.setattr(mysql_server, "WAIT", 0.01)
    busy = pytest.raises(StorageError, match=r"^All 1 connections to .* were busy")
    with opened(f"{url}?pool=1") as storage, storage._pool.connection(), busy:
        storage.count(Filter())


def test_a_connection_that_was_idle_for_long_is_replaced(url, monkeypatch):
    with opened(f"{url}?pool=1") as storage:

        def connection():
            return storage._read("SELECT CONNECTION_ID()")

        assert connection() == connection()
        before = connection()
        monkeypatch.setattr(mysql_server, "IDLE", 0)
        assert connection() != before


def test_a_closed_storage_says_so(url):
    with opened(url) as storage:
        storage.now()
        with storage._pool.connection():
            storage.close()

    with pytest.raises(StorageError, match=r"was used after it was closed$"):
        storage.append([start()])
    assert set(storage._pool._slots.queue) == {None}


# -------------------------------------------------------------------------------------------- locks


def waits_for_a_lock(db):
    """Returns once somebody waits for a lock."""
    # Not information_schema.innodb_trx: asked all the time, it goes on telling what it told at first.
    while db.run("SHOW GLOBAL STATUS LIKE 'Innodb_row_lock_current_waits'")[0].rows[0][1] == "0":
        pass


def test_a_deadlock_is_no_lost_race(storage, url):
    write(storage, start("a"), start("b"), *(start(f"z{number}") for number in range(20)))
    with beside(url) as eye, beside(url) as other:
        # It writes more, so that it is the append that is undone.
        other.run("UPDATE heads SET token = 'x' WHERE workflow_id > 'b'")

        def meet():
            waits_for_a_lock(eye)
            other.run("UPDATE heads SET token = 'x' WHERE workflow_id = 'a'", "COMMIT")

        batch = [after(start("a"), 1), after(start("b"), 1), after(start("z1"), 1)]
        won, _ = in_threads(lambda: storage.append(batch), meet)

    assert won == [True, True, True]
    assert storage.load("a").turns == turns(2)


def test_who_waited_for_a_lock_sees_what_the_other_wrote(storage, url):
    write(storage, start("a"), start("b"))
    with beside(url) as eye, beside(url) as other:
        other.run("UPDATE heads SET turns = 2 WHERE workflow_id = 'a'")

        def finish():
            waits_for_a_lock(eye)
            other.run("COMMIT")

        batch = [after(start("a"), 1), after(start("b"), 1)]
        won, _ = in_threads(lambda: storage.append(batch), finish)

    assert won == [False, True]


def test_locks_of_one_instance_are_none_of_others_business(storage, url):
    write(storage, *(start(name, timers_set=(timer("m0.1", HOUR, name),)) for name in "abc"))
    one = after(start("a"), 1, timers_cleared=(("r1", "m0.1"),), inbox_added=(item("k"),), inbox=1)
    with beside(url) as other:
        other.run(
            *(
                f"SELECT 1 FROM {table} FORCE INDEX (PRIMARY) WHERE workflow_id IN ('b', 'c') FOR UPDATE"
                for table in ("heads", "timers")
            ),
        )
        assert storage.append([one]) == [True]
        assert storage.append([start("d")]) == [True]
        other.run("ROLLBACK")


# -------------------------------------------------------------------------------------------- tables


NEXT_STEP = "ALTER TABLE heads ADD COLUMN note VARBINARY(10);\nUPDATE heads SET note = 'new';\n"


def test_tables_are_made_where_there_are_none_and_that_is_allowed(host):
    with database(host) as url:
        with pytest.raises(StorageError, match="holds no workflows yet"):
            MySqlStorage.open(url, makes=False)
        with MySqlStorage.schema_of(url) as schema:
            assert (schema.place, schema.found(), schema.wanted) == (url, 0, len(STEPS))
            schema.bring_up()
            schema.bring_up()
            assert schema.found() == len(STEPS)
        MySqlStorage.open(url, makes=False).close()


def test_tables_of_an_older_version_are_changed_by_an_operator_only(host):
    with database(host) as url:
        with opened(url) as storage:
            write(storage, start())
        newer = MySqlSchema(Server.of(url), steps=(*STEPS, NEXT_STEP))
        with pytest.raises(StorageError, match=r"has schema 2, and this release needs 3\. Run `infinitic storage upg"):
            check_schema(newer, makes=True)

        newer.bring_up()

        assert newer.found() == 3
        assert ask(url, "SELECT note FROM heads") == [[(b"new",)]]
        with pytest.raises(StorageError, match="has schema 3, which a newer release made; this one knows 2"):
            MySqlStorage.open(url)


def test_a_change_that_was_cut_short_is_ended_by_the_next_one(host):
    with database(host) as url:
        MySqlSchema(Server.of(url)).bring_up()
        broken = MySqlSchema(Server.of(url), steps=(*STEPS, NEXT_STEP.replace("= 'new'", "= no_such_column")))
        with pytest.raises(StorageError, match="no_such_column"):
            broken.bring_up()
        # As when it died before it could count the statement that was carried out.
        ask(url, "UPDATE infinitic_meta SET done = 0")
        whole = MySqlSchema(Server.of(url), steps=(*STEPS, NEXT_STEP))
        assert whole.found() == 2

        whole.bring_up()

        assert whole.found() == 3


def test_tables_that_are_being_made_are_not_taken_for_those_of_an_older_version(host):
    with database(host) as url:
        broken = MySqlSchema(Server.of(url), steps=(*STEPS, "SELECT no_such_column;\n"))
        with pytest.raises(StorageError, match="no_such_column"):
            broken.bring_up()
        assert broken.found() == 0

        MySqlStorage.open(url).close()

        assert MySqlSchema(Server.of(url)).found() == len(STEPS)


def test_what_died_while_it_made_the_first_table_is_gone_on_with(host):
    with database(host) as url:
        with pytest.raises(StorageError, match="no_such_column"):
            MySqlSchema(Server.of(url), steps=("CREATE TABLE heads (id INT);\nSELECT no_such_column;\n",)).bring_up()
        # As when it died before it could count the statement that was carried out.
        ask(url, "UPDATE infinitic_meta SET done = 0")
        whole = MySqlSchema(Server.of(url), steps=("CREATE TABLE heads (id INT);\n",))

        whole.bring_up()

        assert whole.found() == 1


def test_a_database_is_one_namespace(host):
    with database(host) as url:
        MySqlStorage.open(url, namespace="shop").close()
        with pytest.raises(StorageError) as caught:
            MySqlStorage.open(url)

    assert str(caught.value) == (
        f"{url} belongs to the namespace 'shop', not 'default'. Give each namespace a database of its own."
    )


def test_tables_of_something_else_are_left_alone(host):
    with database(host) as url:
        ask(url, "CREATE TABLE labels (id INT)")
        with pytest.raises(StorageError) as caught:
            MySqlStorage.open(url)

    assert str(caught.value) == (
        f"{url} has tables of something else: labels. Give the workflows a database of their own."
    )


def test_several_may_open_an_empty_database_at_once(host):
    with database(host) as url:
        for storage in in_threads(*[lambda: MySqlStorage.open(url)] * 4):
            storage.close()
        opening = f"from infinitic.storages.mysql import MySqlStorage; MySqlStorage.open({url!r}).close()"
        ask(url, *(f"DROP TABLE {table}" for table in ("infinitic_meta", "heads", "turns", "runs")))
        ask(url, *(f"DROP TABLE {table}" for table in ("timers", "inbox", "labels")))
        processes = [subprocess.Popen([sys.executable, "-c", opening]) for _ in range(2)]
        assert [process.wait() for process in processes] == [0, 0]
        with opened(url) as storage:
            write(storage, start())


def test_rights_that_are_missing_are_told(host):
    with database(host) as url:
        name = url.rpartition("/")[2]
        ask(
            f"{url}",
            f"CREATE USER {name}@'127.0.0.1' IDENTIFIED BY 'secret'",
            f"GRANT SELECT ON {name}.* TO {name}@'127.0.0.1'",
        )
        poor = url.replace("root@", f"{name}:secret@")
        try:
            with pytest.raises(StorageError, match="Grant this user all rights there") as caught:
                MySqlStorage.open(poor)
            with pytest.raises(StorageError, match="refuses this user or this password"):
                MySqlStorage.open(poor.replace("secret", "guessed"))
        finally:
            ask(url, f"DROP USER {name}@'127.0.0.1'")
    assert "secret" not in str(caught.value)
