"""Looking into the queue beside other processes: who was killed serves nothing, before any sweep has missed them."""

from infinitic.transports import Traffic
from tests.sqlite.given import CARS, TRIPS, actor, event, heard_until_dash, task

WORKING = """
backend = SqliteBackend.open(path)
consumer = backend.transport.subscribe([TRIPS, CARS], quiet)
for delivery in consumer.receive(10):
    consumer.began(delivery)
    say(delivery.message.id)
say("-")
threading.Event().wait()
"""


def where(backend):
    return [(one.message.id, one.holder, one.runs) for one in backend.transport.on_the_way("trip-1")]


def test_another_process_serves_and_works_until_it_is_killed(path, backend):
    backend.transport.publish([event("e1"), task("t1")])
    with actor(path, WORKING) as other:
        assert heard_until_dash(other) == ["e1", "t1"]
        backend.transport.publish([event("e2")])
        name = f"process {other.process.pid}"

        assert backend.transport.traffic([TRIPS, CARS]) == [Traffic(1, 0), Traffic(1, 0)]
        assert where(backend) == [("e1", name, True), ("t1", name, True), ("e2", name, True)]

        other.kill()
        assert backend.transport.traffic([TRIPS, CARS]) == [Traffic(0, 2), Traffic(0, 1)]
        assert where(backend) == [("e1", "", False), ("t1", "", False), ("e2", "", False)]


def test_looking_leaves_the_dead_to_be_found(path, backend):
    backend.transport.publish([task("t1")])
    with actor(path, WORKING) as other:
        assert heard_until_dash(other) == ["t1"]
        other.kill()
    backend.transport.traffic([CARS])
    backend.transport.sweep()
    [delivery] = backend.transport.subscribe([CARS], lambda: None).receive(10)

    assert (delivery.message.id, delivery.suspect) == ("t1", True)


def test_a_message_that_cannot_be_read_is_left_out(backend):
    backend.transport.publish([task("t1")])
    with backend.transport.file.transaction() as db:
        db.execute("UPDATE messages SET body = x'00'")

    assert where(backend) == []
    assert backend.transport.traffic([CARS]) == [Traffic(0, 1)]
