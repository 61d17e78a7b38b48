"""Who dies leaves nothing behind: what it had goes to others, and what killed it is counted."""

import os
from contextlib import closing

import pytest

from infinitic.backends import Step
from infinitic.errors import TransportError
from infinitic.transports.sqlite import owners
from tests.sqlite.given import (
    CARS,
    TRIPS,
    Woken,
    actor,
    append,
    event,
    heard_until_dash,
    hint,
    ids,
    quiet,
    task,
)

WORKING = """
backend = SqliteBackend.open(path)
flows = backend.transport.subscribe([TRIPS], quiet)
tasks = backend.transport.subscribe([CARS], quiet)
for delivery in [*flows.receive(10), *tasks.receive(10)]:
    say(delivery.message.id)
say("-")
"""
FOREVER = "threading.Event().wait()\n"


def consumers(backend):
    return backend.transport.subscribe([TRIPS], quiet), backend.transport.subscribe([CARS], quiet)


def test_a_killed_worker_is_missed_by_the_first_sweep_and_its_messages_come_again_in_order(path, backend):
    sent = [*(event(f"e{at}", f"trip-{at % 2}") for at in range(6)), task("t1"), task("t2")]
    backend.transport.publish(sent)
    with actor(path, WORKING + FOREVER) as other:
        assert heard_until_dash(other) == [message.message.id for message in sent]
        flows, tasks = consumers(backend)
        backend.transport.publish([event("e6", "trip-0")])
        backend.transport.sweep()
        assert flows.receive(10) == tasks.receive(10) == []  # it lives
        other.kill()
        backend.transport.sweep()

    assert ids(flows.receive(10)) == ["e0", "e1", "e2", "e3", "e4", "e5", "e6"]
    assert ids(tasks.receive(10)) == ["t1", "t2"]


def test_a_takeover_wakes_the_living(path, backend, opened):
    backend.transport.publish([event("e1")])
    with actor(path, WORKING + FOREVER) as other:
        assert heard_until_dash(other) == ["e1"]
        here, there = Woken(), Woken()
        backend.transport.subscribe([TRIPS], here)
        opened().transport.subscribe([TRIPS], there)
        for woken in (here, there):
            woken.forget()
        other.kill()
        backend.transport.sweep()
        for woken in (here, there):
            woken.wait()


def test_the_dead_leave_no_files(path, backend):
    with actor(path, WORKING + FOREVER) as other:
        heard_until_dash(other)
        assert len(list(path.with_name("infinitic.db.d").iterdir())) == 4
        other.kill()
        backend.transport.sweep()
    assert list(path.with_name("infinitic.db.d").iterdir()) == []


def test_a_closed_worker_leaves_nothing_and_needs_no_sweep(path, backend, opened):
    backend.transport.publish([event("e1"), task("t1")])
    other = opened()
    assert [ids(consumer.receive(10)) for consumer in consumers(other)] == [["e1"], ["t1"]]
    woken = Woken()
    here = backend.transport.subscribe([TRIPS, CARS], woken)
    woken.forget()
    other.close()
    woken.wait()

    assert ids(here.receive(10)) == ["e1", "t1"]
    assert len(list(path.with_name("infinitic.db.d").iterdir())) == 2


FORKING = (
    WORKING
    + """
child = os.fork()
if child == 0:
    os.close(1)
    sys.stdin.readline()  # until the test ends
    os._exit(0)
say(child)
"""
)


def test_a_fork_of_a_killed_worker_does_not_keep_what_it_had(path, backend):
    backend.transport.publish([event("e1"), task("t1")])
    with actor(path, FORKING + FOREVER) as other:
        assert heard_until_dash(other) == ["e1", "t1"]
        child = int(other.heard())
        other.kill()
        flows, tasks = consumers(backend)
        backend.transport.sweep()
        assert [ids(flows.receive(1)), ids(tasks.receive(1))] == [["e1"], ["t1"]]
        os.kill(child, 0)  # it still lives


BEGINNING = """
backend = SqliteBackend.open(path)
consumer = backend.transport.subscribe([TRIPS, CARS], quiet)
deliveries = {delivery.message.id: delivery for delivery in consumer.receive(10)}
for word in hear().split():
    mark, name = word[0], word[1:]
    (consumer.began if mark == "+" else consumer.ended)(deliveries[name])
say("begun")
"""


def counted_after(path, backend, script):
    """What comes again after a process died that began (+) and ended (-) this: deaths and suspicion by id."""
    with actor(path, BEGINNING + FOREVER) as other:
        other.tell(script)
        assert other.heard() == "begun"
        other.kill()
    backend.transport.sweep()
    consumer = backend.transport.subscribe([TRIPS, CARS], quiet)
    deliveries = consumer.receive(10)
    consumer.close()
    return {delivery.message.id: (delivery.deaths, delivery.suspect) for delivery in deliveries}


def test_a_task_that_ran_when_its_process_died_is_suspect_and_then_its_deaths_alone_count(path, backend):
    backend.transport.publish([task("t1"), task("t2"), task("t3")])

    first = counted_after(path, backend, "+t1 +t2")
    assert first == {"t1": (0, True), "t2": (0, True), "t3": (0, False)}
    beside_another = counted_after(path, backend, "+t1 +t3")
    assert beside_another == {"t1": (0, True), "t2": (0, True), "t3": (0, True)}
    alone = counted_after(path, backend, "+t1")
    assert alone == {"t1": (1, True), "t2": (0, True), "t3": (0, True)}
    again = counted_after(path, backend, "+t2 -t2 +t1")
    assert again == {"t1": (2, True), "t2": (0, True), "t3": (0, True)}


def test_a_first_death_alone_makes_suspect_and_does_not_count(path, backend):
    backend.transport.publish([task("t1")])
    assert counted_after(path, backend, "+t1") == {"t1": (0, True)}
    assert counted_after(path, backend, "+t1") == {"t1": (1, True)}


def test_what_had_ended_is_not_counted(path, backend):
    backend.transport.publish([task("t1"), event("e1")])
    assert counted_after(path, backend, "+t1 +e1 -t1 -e1") == {"t1": (0, False), "e1": (0, False)}


def test_deaths_while_an_instance_was_applied_count_for_all_its_messages(path, backend):
    backend.transport.publish([event("e1"), event("e2"), event("e3", "trip-2")])
    assert counted_after(path, backend, "+e1") == {"e1": (1, False), "e2": (1, False), "e3": (0, False)}
    assert counted_after(path, backend, "+e1 +e2") == {"e1": (2, False), "e2": (2, False), "e3": (0, False)}


def test_an_instance_that_went_on_starts_to_count_anew(path, backend):
    backend.transport.publish([event("e1"), event("e2")])
    assert counted_after(path, backend, "+e1") == {"e1": (1, False), "e2": (1, False)}
    with closing(backend.transport.subscribe([TRIPS], quiet)) as flows:
        first, _ = flows.receive(10)
        assert backend.commit([Step(append=append(1), acks=(first,), consumer=flows)]).won == (True,)
    assert counted_after(path, backend, "") == {"e2": (0, False)}


def test_a_released_instance_keeps_its_count(path, backend):
    backend.transport.publish([event("e1")])
    assert counted_after(path, backend, "+e1") == {"e1": (1, False)}
    flows, _ = consumers(backend)
    flows.receive(1)
    flows.release(["trip-1"])
    assert [delivery.deaths for delivery in flows.receive(1)] == [1]


def test_a_timer_being_applied_counts_for_its_instance(path, backend):
    code = """
from infinitic.messages import Delivery
backend = SqliteBackend.open(path)
flows = backend.transport.subscribe([TRIPS], quiet)
flows.receive(1)
flows.began(Delivery(TRIPS, event("fired").message))
say("begun")
"""
    backend.transport.publish([event("e1")])
    with actor(path, code + FOREVER) as other:
        assert other.heard() == "begun"
        other.kill()
    assert counted_after(path, backend, "") == {"e1": (1, False)}


CLIENT = """
backend = SqliteBackend.open(path, role="client")
consumer = backend.transport.subscribe(["client:c1"], quiet)
say("here")
"""


def test_hints_for_a_client_that_died_are_dropped(path, backend):
    def kept():
        with backend._file.reading() as db:
            return db.execute("SELECT count(*) FROM messages").fetchone()[0]

    backend.transport.publish([hint("c1")])
    assert kept() == 0  # nobody listens
    with actor(path, CLIENT + FOREVER) as other:
        assert other.heard() == "here"
        backend.transport.publish([hint("c1")])
        assert kept() == 1
        other.kill()
        backend.transport.sweep()
    assert kept() == 0


WAITING = """
backend = SqliteBackend.open(path)
ready = Woken()
flows = backend.transport.subscribe([TRIPS], ready)
say("here")
while True:
    ready.wait()
    for delivery in flows.receive(10):
        say(delivery.message.id)
        flows.ack([delivery])
"""


def test_a_message_wakes_the_other_process_that_has_the_instance(path, backend):
    with actor(path, WAITING) as other:
        assert other.heard() == "here"
        for at in range(50):
            backend.transport.publish([event(f"e{at}")])
            assert other.heard() == f"e{at}"


def test_a_commit_wakes_the_other_process_too(path, backend):
    with actor(path, WAITING) as other:
        assert other.heard() == "here"
        for at in range(20):
            backend.commit([Step(outputs=(event(f"e{at}"),))])
            assert other.heard() == f"e{at}"


def test_only_whom_it_concerns_is_woken(opened):
    holder, other, elsewhere = Woken(), Woken(), Woken()
    backend = opened()
    flows = opened().transport.subscribe([TRIPS], holder)
    backend.transport.publish([event("e1")])
    holder.wait()
    assert ids(flows.receive(1)) == ["e1"]
    opened().transport.subscribe([TRIPS], other)
    opened().transport.subscribe([CARS], elsewhere)
    for woken in (holder, other, elsewhere):
        woken.forget()
    backend.transport.publish([event("e2")])
    holder.wait()
    backend.transport.publish([task("t1")])
    elsewhere.wait()
    assert not other.is_set


def test_a_pipe_that_is_full_and_a_bell_without_an_owner_trouble_nobody(backend):
    presence = backend.transport.subscribe([TRIPS], quiet)._presence
    bells = owners.Bells(backend._file)
    for _ in range(100_000):
        presence.ring()
    bells.ring([presence.owner, presence.owner + 1000])
    bells.close()


def test_a_client_looks_by_itself_when_no_bell_rings(opened):
    woken, client = Woken(), opened(role="client")
    consumer = client.transport.subscribe(["client:c1"], woken)
    woken.forget()
    with client._file.transaction() as db:
        values = (consumer.id, b'{"kind":"reply","id":"h1"}')
        db.execute("INSERT INTO messages (topic, key, owner, body) VALUES ('client:c1', '', ?, ?)", values)
    woken.wait()
    assert ids(consumer.receive(1)) == ["h1"]


def test_a_sweep_calls_ready_for_what_is_there_and_not_for_what_is_not(backend):
    woken = Woken()
    flows = backend.transport.subscribe([TRIPS], woken)
    backend.transport.publish([event("e1"), event("e2")])
    woken.forget()
    backend.transport.sweep()
    assert woken.is_set
    flows.receive(2)
    woken.forget()
    backend.transport.sweep()
    assert not woken.is_set


def test_a_consumer_that_was_struck_from_the_table_is_told(path, backend):
    backend.transport.subscribe([TRIPS], quiet)
    with backend._file.transaction() as db:
        db.execute("DELETE FROM owners")
    with pytest.raises(TransportError) as caught:
        backend.transport.sweep()
    assert str(caught.value) == (
        f"{path} no longer knows a consumer that is open here. "
        "Start this worker or client again, and leave the folder beside the database alone."
    )


def test_files_of_owners_that_never_were_are_removed(path, backend):
    folder = path.with_name("infinitic.db.d")
    folder.mkdir()
    for name in ("77.lock", "77.wake", "notes.txt"):
        (folder / name).touch()
    consumer = backend.transport.subscribe([TRIPS], quiet)
    assert sorted(entry.name for entry in folder.iterdir()) == [
        f"{consumer.id}.lock",
        f"{consumer.id}.wake",
        "notes.txt",
    ]


def test_one_sweep_takes_over_from_all_who_died(path, backend):
    backend.transport.publish([event(f"e{at}", f"trip-{at}") for at in range(10)])
    for _ in range(3):
        with actor(path, WORKING + FOREVER) as other:
            heard_until_dash(other)
            other.kill()
    backend.transport.sweep()
    assert len(list(path.with_name("infinitic.db.d").iterdir())) == 0
    flows, _ = consumers(backend)
    assert len(flows.receive(100)) == 10
