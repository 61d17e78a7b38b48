"""Servers start, keep what they confirmed, and end with whoever started them."""

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import psycopg
import pytest
from redis import Redis as RedisClient

from tests.servers import soon
from tests.servers.fleet import Fleet
from tests.servers.found import private, server, went_without
from tests.servers.postgres import Postgres
from tests.servers.processes import ServerTrouble, free_port, ran
from tests.servers.pulsar import Pulsar
from tests.servers.redis import Redis

HOUSE = Path(__file__).parents[2]
NOWHERE = {"PATH": "/nowhere"}


def remember(url, word):
    if url.startswith("redis"):
        with RedisClient.from_url(url) as client:
            client.rpush("words", word)
    else:
        with psycopg.connect(url) as connection:
            connection.execute("CREATE TABLE IF NOT EXISTS words (word text)")
            connection.execute("INSERT INTO words VALUES (%s)", [word])


def remembered(url):
    if url.startswith("redis"):
        with RedisClient.from_url(url) as client:
            return [word.decode() for word in client.lrange("words", 0, -1)]
    with psycopg.connect(url) as connection:
        return [word for (word,) in connection.execute("SELECT word FROM words")]


def answers(port):
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def port_of(url):
    return int(url.rpartition(":")[2].partition("/")[0])


@pytest.fixture
def surroundings():
    """The environment of a run that knows of no server yet; only where there is Redis to start."""
    private(Redis).close()
    return {name: text for name, text in os.environ.items() if name != "CI" and not name.startswith("TEST_")}


def begun(*command, environ):
    """A run with Redis alone."""
    asked = [sys.executable, "-m", "tests.servers", "--only", "redis", "--", *command]
    pipe = subprocess.PIPE
    return subprocess.Popen(asked, cwd=HOUSE, env=environ, stdin=pipe, stdout=pipe, stderr=pipe, text=True)


def ended(*command, environ):
    """What became of a run: its status, what *command* printed, what the run itself said."""
    with begun(*command, environ=environ) as run:
        out, err = run.communicate()
    return run.returncode, out, err


@pytest.mark.parametrize("kind", [Redis, Postgres])
def test_what_was_confirmed_outlives_a_restart_and_a_kill_and_nothing_outlives_the_server(kind):
    with private(kind) as own:
        remember(own.url, "before the restart")
        own.restart()
        remember(own.url, "before the kill")
        own.kill()
        down = answers(own.port)
        own.start()

        assert (down, remembered(own.url)) == (False, ["before the restart", "before the kill"])

    assert (answers(own.port), own.folder.exists()) == (False, False)


def test_two_servers_of_a_kind_know_nothing_of_each_other():
    with private(Redis) as one, private(Redis) as other:
        remember(one.url, "one")

        assert (remembered(one.url), remembered(other.url)) == (["one"], [])


def test_a_server_that_cannot_start_says_what_its_log_says():
    with socket.socket() as rival:
        rival.bind(("127.0.0.1", 0))
        rival.listen()

        with pytest.raises(ServerTrouble, match=r"(?s)redis ended with 1:\n.*Address already in use"):
            private(Redis, port=rival.getsockname()[1]).__enter__()


def test_a_server_that_does_not_start_is_tried_once_more_and_the_first_trouble_is_told(
    surroundings, monkeypatch, capsys
):
    monkeypatch.delenv("TEST_REDIS_URL", raising=False)
    tries = []

    class Unlucky(Redis):
        def prepare(self):
            tries.append(self.folder)
            if len(tries) == 1:
                raise ServerTrouble("it rains")
            super().prepare()

    with Fleet() as fleet:
        fleet.start([Unlucky], durable=False)

        assert ([kind.name for kind in fleet.servers], fleet.missing) == (["redis"], {})
        assert [folder.exists() for folder in tries] == [False, True]
    assert "redis did not start, and is tried once more: it rains\n" in capsys.readouterr().err


def test_what_failed_says_last_what_it_called_an_error_however_long_its_advice():
    with pytest.raises(ServerTrouble, match=r"(?s) … ended with 3:\n.*30\n\[ERROR\] the disk is full$"):
        ran("sh", "-c", "echo '[ERROR] the disk is full'; seq 30; exit 3")


def test_no_port_is_given_twice():
    assert len({free_port() for _ in range(50)}) == 50


@pytest.mark.parametrize("status", [0, 7])
def test_a_run_names_the_servers_to_its_command_gives_back_its_status_and_ends_them(surroundings, status):
    code, out, _ = ended("sh", "-c", f'echo "$TEST_REDIS_URL"; exit {status}', environ=surroundings)

    assert (code, answers(port_of(out))) == (status, False)


@pytest.mark.timeout(400)  # a run starts a server, where others of the suite start theirs
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_run_that_is_ended_ends_its_command_and_its_servers(surroundings, number):
    with begun(
        "sh", "-c", 'trap "exit 0" INT; echo "$TEST_REDIS_URL"; while read -r _; do :; done', environ=surroundings
    ) as run:
        port = port_of(run.stdout.readline())
        up = answers(port)
        run.send_signal(number)
        if number == signal.SIGINT:
            run.stdin.close()  # a terminal tells the command as well
        run.stdout.read()  # to the end: the command holds it open

        assert (up, soon(lambda: not answers(port))) == (True, True)


def test_a_server_that_the_environment_names_is_used_as_it_is(surroundings):
    named = {"TEST_REDIS_URL": "redis://me:secret@elsewhere:1/0"}

    code, out, err = ended("sh", "-c", 'echo "$TEST_REDIS_URL"', environ=surroundings | named)

    assert (code, out) == (0, "redis://me:secret@elsewhere:1/0\n")
    assert "redis     as TEST_REDIS_URL says: redis://me:***@elsewhere:1/0\n" in err


def test_a_run_goes_on_loudly_without_a_server_that_cannot_be_had(surroundings):
    code, out, err = ended(
        "/bin/sh", "-c", 'echo "$TEST_REDIS_URL:$TEST_REDIS_MISSING"', environ=surroundings | NOWHERE
    )

    why = "redis-server is not installed. Install what Debian calls redis-server."
    assert (code, out) == (0, f":{why}\n")
    assert f"NO REDIS: {why}\n" in err


def test_in_ci_a_run_without_a_server_fails_before_its_command_runs(surroundings):
    code, out, err = ended("/bin/sh", "-c", "echo ran", environ=surroundings | NOWHERE | {"CI": "true"})

    assert (code, out) == (1, "")
    assert "CI goes without no server but mysql: missing are redis\n" in err


@pytest.mark.parametrize(
    ("ci", "name", "ending", "reason"),
    [
        ("", "redis", pytest.skip.Exception, "no redis: it rains"),
        ("true", "redis", pytest.fail.Exception, "no redis: it rains"),
        ("", "mysql", pytest.skip.Exception, "no mysql: it rains"),
        ("true", "mysql", pytest.skip.Exception, "no mysql: it rains"),
    ],
)
def test_a_test_without_its_server_is_skipped_and_in_ci_it_fails_but_for_mysql(monkeypatch, ci, name, ending, reason):
    monkeypatch.setenv("CI", ci)
    monkeypatch.setenv(f"TEST_{name.upper()}_URL", "")
    monkeypatch.setenv(f"TEST_{name.upper()}_MISSING", "it rains")

    with pytest.raises(ending) as raised:
        server(name)

    assert raised.value.msg == reason


def test_a_test_is_given_the_url_of_its_server(monkeypatch):
    monkeypatch.setenv("TEST_REDIS_URL", "redis://elsewhere:1/0")

    assert server("redis") == "redis://elsewhere:1/0"


def test_the_summary_counts_what_was_skipped_for_want_of_a_server():
    skipped = [
        ("tests/storages/test_find.py::test_one[mysql]", "Skipped: no mysql: it rains"),
        ("tests/storages/test_sweeps.py::test_two[mysql]", "Skipped: no mysql: it rains"),
        ("tests/transports/test_topics.py::test_three", "Skipped: no pulsar: no Java"),
        ("tests/storages/test_find.py::test_four", "Skipped: this storage has its own clock"),
    ]

    assert went_without(skipped) == [
        "no mysql: it rains – skipped 2 tests in tests/storages",
        "no pulsar: no Java – skipped 1 test in tests/transports",
    ]


def test_users_are_given_the_broker_that_is_tested():
    assert f"image: apachepulsar/pulsar:{Pulsar.version()}\n" in (HOUSE / "compose.yaml").read_text()


@pytest.mark.proof
@pytest.mark.servers
def test_a_broker_outlives_its_kill_and_lets_nobody_in_without_the_token():
    import pulsar

    def send(port, **options):
        client = pulsar.Client(f"pulsar://127.0.0.1:{port}", **options)
        try:
            client.create_producer("persistent://public/default/words").send(b"word")
        finally:
            client.close()

    with private(Pulsar, auth=True) as own:
        own.kill()
        own.start()
        token = pulsar.AuthenticationToken(own.token)

        send(own.port, authentication=token)
        with pytest.raises(pulsar.Timeout):
            send(own.port, operation_timeout_seconds=5)
