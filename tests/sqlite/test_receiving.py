"""What is received: never twice at once, never lost for an error, never stopped by what cannot be read."""

import sqlite3
import threading
from contextlib import closing

import pytest

from infinitic import sqlite_file
from infinitic.errors import TransportError
from infinitic.transports import sqlite as transport
from infinitic.transports.sqlite import SqliteTransport
from tests.sqlite.given import CARS, TRIPS, Woken, actor, event, heard_until_dash, hint, ids, quiet, task


@pytest.fixture
def lock(path, monkeypatch):
    """Keeps other writers out, as another program would, for a block."""
    monkeypatch.setattr(sqlite_file, "PATIENCE", 0.01)
    return lambda: Locked(path)


class Locked:
    def __init__(self, path):
        self._db = sqlite3.connect(path, isolation_level=None)

    def __enter__(self):
        self._db.execute("BEGIN IMMEDIATE")

    def __exit__(self, *_):
        self._db.close()


BROKEN = {"not json": b"{", "no message": b"[1]", "no text": b'{"kind":"\xff"}'}


@pytest.mark.parametrize("topic", [TRIPS, CARS, "client:c1"])
@pytest.mark.parametrize("body", BROKEN.values(), ids=BROKEN.keys())
def test_a_message_that_cannot_be_read_is_put_away_and_stops_nobody(backend, topic, body):
    consumer = backend.transport.subscribe([topic], quiet)
    backend.transport.publish([event("e1", topic=topic)])
    with backend._file.transaction() as db:
        owner = db.execute("SELECT owner FROM messages").fetchone()
        add = "INSERT INTO messages (topic, key, body, owner) VALUES (?, 'trip-1', ?, ?)"
        db.execute(add, (topic, body, *owner))
    backend.transport.publish([event("e2", topic=topic)])

    assert ids(consumer.receive(10)) == ["e1", "e2"]
    with backend._file.reading() as db:
        assert db.execute("SELECT topic, key, body FROM dead").fetchall() == [(topic, "trip-1", body)]
        assert db.execute("SELECT count(*) FROM messages WHERE body = ?", (body,)).fetchone() == (0,)


def test_what_could_not_be_received_for_a_lock_is_received_later(lock, backend):
    flows = backend.transport.subscribe([TRIPS], quiet)
    backend.transport.publish([event("e1")])
    assert ids(flows.receive(1)) == ["e1"]
    backend.transport.publish([event("e2"), event("e3"), event("e4", "trip-2")])
    with lock(), pytest.raises(TransportError, match="locked by another program"):
        flows.receive(10)

    assert ids(flows.receive(10)) == ["e2", "e3", "e4"]
    assert flows.receive(10) == []


def test_what_could_not_be_released_is_still_held_and_received_again(lock, backend):
    flows = backend.transport.subscribe([TRIPS], quiet)
    backend.transport.publish([event("e1"), event("e2")])
    assert ids(flows.receive(1)) == ["e1"]
    with lock(), pytest.raises(TransportError):
        flows.release(["trip-1"])
    backend.transport.publish([event("e3")])
    assert ids(flows.receive(10)) == ["e2", "e3"]
    assert list(flows.held) == [(TRIPS, "trip-1")]


def test_a_task_that_could_not_be_given_back_is_received_again(lock, backend):
    tasks = backend.transport.subscribe([CARS], quiet)
    backend.transport.publish([task("t1"), task("t2")])
    given = tasks.receive(2)
    with lock(), pytest.raises(TransportError):
        tasks.nack(given[:1])
    assert ids(tasks.receive(10)) == ["t1"]


def test_what_a_consumer_had_that_could_not_close_goes_to_others(lock, backend, opened):
    tasks = backend.transport.subscribe([CARS], quiet)
    backend.transport.publish([task("t1")])
    assert ids(tasks.receive(1)) == ["t1"]
    with lock(), pytest.raises(TransportError):
        tasks.close()
    other = opened()
    consumer = other.transport.subscribe([CARS], quiet)
    other.transport.sweep()
    assert ids(consumer.receive(10)) == ["t1"]


def add_formats(backend, topic, *numbers):
    with backend._file.transaction() as db:
        add = "INSERT INTO messages (topic, key, body) VALUES (?, 'trip-1', ?)"
        for number in numbers:
            db.execute(add, (topic, f'{{"kind":"event","id":"f{number}","format":{number}}}'.encode()))


def test_an_event_of_a_format_that_is_too_new_reaches_its_instance_which_keeps_it(backend):
    consumer = backend.transport.subscribe([TRIPS], quiet)
    add_formats(backend, TRIPS, 2, 3)

    assert ids(consumer.receive(10)) == ["f2", "f3"]


def test_a_task_of_a_format_that_is_too_new_is_put_away(backend):
    consumer = backend.transport.subscribe([CARS], quiet)
    add_formats(backend, CARS, 2, 3)

    assert ids(consumer.receive(10)) == ["f2"]
    with backend._file.reading() as db:
        reasons = db.execute("SELECT reason FROM dead").fetchall()
    assert reasons == [("its format is 3, and this release reads up to 2",)]


def test_many_take_what_is_free_and_each_message_goes_to_one(path, backend):
    names = [f"t{at}" for at in range(200)]
    backend.transport.publish([task(name) for name in names])
    code = """
backend = SqliteBackend.open(path)
tasks = backend.transport.subscribe([CARS], quiet)
while True:
    deliveries = tasks.receive(3)
    for delivery in deliveries:
        say(delivery.message.id)
    tasks.ack(deliveries)
    if not deliveries:
        break
say("-")
hear()
"""
    with actor(path, code) as one, actor(path, code) as two:
        assert sorted(heard_until_dash(one) + heard_until_dash(two)) == sorted(names)


def test_began_and_ended_after_a_close_write_nothing(backend):
    consumer = backend.transport.subscribe([CARS], quiet)
    backend.transport.publish([task("t1")])
    [delivery] = consumer.receive(1)
    consumer.close()
    consumer.began(delivery)
    consumer.ended(delivery)
    assert consumer.receive(1) == []


@pytest.mark.parametrize("error", [sqlite3.OperationalError("disk I/O error"), OSError("too many open files")], ids=str)
def test_a_client_hears_of_what_comes_though_looking_for_it_failed_before(path, backend, monkeypatch, error):
    monkeypatch.setattr(transport, "CLIENT_PATIENCE", 0.01)
    looked, woken = Woken(), Woken()
    with closing(SqliteTransport.open(path, role="client")) as client:
        consumer = client.subscribe(["client:c1"], woken)
        woken.forget()
        real, fails = client.file._borrow, [error, error]

        def moody():
            if threading.current_thread().name.startswith("infinitic-bell") and fails:
                raise fails.pop()
            looked() if not fails else None
            return real()

        monkeypatch.setattr(client.file, "_borrow", moody)
        looked.wait()  # once more, after it failed twice
        backend.transport.publish([hint("c1")])
        woken.wait()
        assert ids(consumer.receive(10)) == ["h1"]
