"""One transaction for all that a step does: written together or not at all, whoever dies or races."""

import os
import threading
from contextlib import closing

import pytest
from msgspec.structs import replace

from infinitic.backends import Step
from infinitic.backends.sqlite import SqliteBackend
from infinitic.errors import Bug, StorageError
from infinitic.records import Version
from infinitic.transports.memory import MemoryTransport
from tests.sqlite.given import (
    CARS,
    TRIPS,
    Woken,
    actor,
    actors,
    append,
    event,
    hint,
    ids,
    mounted,
    quiet,
    task,
)


def rows(backend, table="messages"):
    with backend._file.reading() as db:
        return db.execute(f"SELECT count(*) FROM {table}").fetchone()[0]


@pytest.fixture
def flows(backend):
    return backend.transport.subscribe([TRIPS], quiet)


@pytest.fixture
def tasks(backend):
    return backend.transport.subscribe([CARS], quiet)


def received(backend, flows, *messages):
    backend.transport.publish(messages)
    return flows.receive(len(messages))


# ------------------------------------------------------------------------------------------------ adopted


def test_tasks_are_adopted_up_to_the_capacity_and_the_rest_is_free(backend, tasks, opened):
    outputs = tuple(task(f"t{at}") for at in range(5))
    committed = backend.commit([Step(append=append(1), outputs=outputs)], tasks, 3)

    assert ids(committed.adopted) == ["t0", "t1", "t2"]
    assert ids(opened().transport.subscribe([CARS], quiet).receive(10)) == ["t3", "t4"]
    assert tasks.receive(10) == []


def test_only_tasks_of_topics_that_the_consumer_subscribed_to_are_adopted(backend, tasks):
    outputs = (task("elsewhere", topic="service:hotels"), event("e1"), task("here"))
    committed = backend.commit([Step(outputs=outputs)], tasks, 10)
    assert ids(committed.adopted) == ["here"]


def test_an_adopted_task_is_done_with_when_it_is_acknowledged(backend, tasks):
    adopted = backend.commit([Step(outputs=(task(),))], tasks, 1).adopted
    assert rows(backend) == 1
    backend.commit([Step(acks=adopted, consumer=tasks)])
    assert rows(backend) == 0


def test_an_adopted_task_goes_to_another_when_its_worker_closes(backend, tasks, opened):
    backend.commit([Step(outputs=(task(),))], tasks, 1)
    other = opened().transport.subscribe([CARS], quiet)
    assert other.receive(1) == []
    backend.close()
    assert ids(other.receive(1)) == ["t1"]


ADOPTING = """
backend = SqliteBackend.open(path)
tasks = backend.transport.subscribe([CARS], quiet)
adopted = backend.commit([Step(append=append(1), outputs=(task("t1"), task("t2")))], tasks, 2).adopted
say(*ids(adopted))
threading.Event().wait()
"""


def test_an_adopted_task_goes_to_another_when_its_worker_dies(path, backend, tasks):
    with actor(path, ADOPTING) as other:
        assert other.heard() == "t1 t2"
        other.kill()
    backend.transport.sweep()
    assert ids(tasks.receive(10)) == ["t1", "t2"]


def test_a_task_that_is_given_back_is_anybodys(backend, tasks, opened):
    woken = Woken()
    other = opened().transport.subscribe([CARS], woken)
    adopted = backend.commit([Step(outputs=(task(),))], tasks, 1).adopted
    woken.forget()
    tasks.nack(adopted)
    woken.wait()
    assert ids(other.receive(1)) == ["t1"]
    assert tasks.receive(1) == []


# -------------------------------------------------------------------------------------------- handed over


def handed(backend, flows, tasks):
    """A task of an instance that *flows* holds, and its result as it was handed over."""
    [start] = received(backend, flows, event("start"))
    step = Step(append=append(1), outputs=(task(),), acks=(start,), consumer=flows)
    [adopted] = backend.commit([step], tasks, 1).adopted
    return adopted, backend.handed_over(adopted, event("result"), flows)


def test_a_result_is_handed_over_and_its_acknowledgement_is_the_tasks(backend, flows, tasks):
    _, result = handed(backend, flows, tasks)
    assert (result.topic, result.message) == (TRIPS, event("result").message)
    assert rows(backend) == 1
    assert backend.commit([Step(append=append(2, 1), acks=(result,), consumer=flows)]).won == (True,)
    assert rows(backend) == 0


def test_a_result_is_handed_over_only_to_who_holds_the_instance(backend, flows, tasks, opened):
    adopted, _ = handed(backend, flows, tasks)
    assert backend.handed_over(adopted, event("result", "trip-2"), flows) is None
    assert backend.handed_over(adopted, event("result"), None) is None
    elsewhere = opened()
    other = elsewhere.transport.subscribe([TRIPS], quiet)
    assert elsewhere.handed_over(adopted, event("result"), other) is None
    flows.release(["trip-1"])
    assert backend.handed_over(adopted, event("result"), flows) is None


def test_a_result_that_was_handed_over_and_given_back_is_received_again(backend, flows, tasks):
    _, result = handed(backend, flows, tasks)
    flows.nack([result])
    assert flows.receive(10) == [result]
    assert flows.receive(10) == []


def test_a_result_that_was_handed_over_goes_on_when_its_worker_closes(backend, flows, tasks, opened):
    handed(backend, flows, tasks)
    other = opened()
    others = [other.transport.subscribe([topic], quiet) for topic in (TRIPS, CARS)]
    backend.close()
    assert [ids(consumer.receive(10)) for consumer in others] == [["result"], []]


def test_a_result_that_was_given_back_goes_on_when_its_instance_is_released(backend, flows, tasks, opened):
    _, result = handed(backend, flows, tasks)
    other = opened().transport.subscribe([TRIPS], quiet)
    flows.nack([result])
    flows.release(["trip-1"])
    assert ids(other.receive(10)) == ["result"]
    backend.close()
    assert rows(opened()) == 1


# ------------------------------------------------------------------------------------------------- atomic


def test_a_step_that_lost_its_race_leaves_no_trace(backend, flows, tasks):
    woken = Woken()
    listening = backend.transport.subscribe(["client:c1"], woken)
    [start] = received(backend, flows, event("start"))
    backend.storage.append([append(1)])
    woken.forget()

    lost = Step(append=append(1), outputs=(task(), event("e2")), hints=(hint(),), acks=(start,), consumer=flows)
    committed = backend.commit([lost], tasks, 1)

    assert (committed.won, committed.adopted) == ((False,), ())
    assert rows(backend) == 1  # the start, not acknowledged
    assert listening.receive(1) == tasks.receive(1) == flows.receive(1) == []
    assert not woken.is_set
    flows.nack([start])
    assert ids(flows.receive(10)) == ["start"]


def test_steps_that_won_are_written_beside_one_that_lost(backend, tasks):
    backend.storage.append([append(1)])
    steps = [
        Step(append=append(1, workflow_id="trip-2"), outputs=(task("t2"),)),
        Step(append=append(1), outputs=(task("t1"),)),
        Step(outputs=(task("t3"),)),
    ]
    assert backend.commit(steps).won == (True, False, True)
    assert ids(tasks.receive(10)) == ["t2", "t3"]


def test_an_error_in_one_step_undoes_them_all(backend, tasks):
    backend.storage.append([append(1)])
    gap = append(2, 1)
    gap = replace(gap, turns=(replace(gap.turns[0], number=5),))
    steps = [Step(append=append(1, workflow_id="trip-2"), outputs=(task("t2"),)), Step(append=gap)]
    with pytest.raises(Bug):
        backend.commit(steps, tasks, 10)

    assert backend.storage.load("trip-2") is None
    assert rows(backend) == 0
    backend.transport.publish([task("t4")])  # its row may have the number of the one that was undone
    assert ids(tasks.receive(10)) == ["t4"]


def commit_until_the_log_has_no_place_left(backend, tasks):
    for at in range(1, 100):
        backend.commit([Step(append=append(at, at - 1 or None), outputs=(task("lost"),))], tasks, 1)


def test_a_commit_that_the_disk_refused_leaves_no_trace_in_memory_either(tmp_path):
    with mounted(tmp_path, "size=2m"), closing(SqliteBackend.open(tmp_path / "infinitic.db")) as backend:
        tasks = backend.transport.subscribe([CARS], quiet)
        ballast = tmp_path / "ballast"
        with pytest.raises(OSError, match="No space left"):
            ballast.write_bytes(bytes(2_000_000))
        with pytest.raises(StorageError, match="is full"):
            commit_until_the_log_has_no_place_left(backend, tasks)
        ballast.unlink()
        stored = backend.storage.load("trip-1")
        kept = 0 if stored is None else stored.version.turns
        assert rows(backend) == kept
        backend.transport.publish([task("kept")])  # its row has the number of the one that was undone
        assert ids(tasks.receive(10)) == ["kept"]


def test_what_another_backend_made_is_refused(backend):
    stranger = MemoryTransport().subscribe([CARS], quiet)
    with pytest.raises(Bug, match="a MemoryConsumer was given to the SQLite backend"):
        backend.commit([Step(outputs=(task(),))], stranger, 1)
    assert rows(backend) == 0


COMMITTING = """
backend = SqliteBackend.open(path)
say("open")
at = int(sys.argv[2])
while True:
    step = Step(append=append(at, at - 1 or None), outputs=(task(f"t{at}"),))
    assert backend.commit([step]).won == (True,)
    at += 1
    if at % 50 == 0:
        say(at)
"""


def test_a_kill_never_leaves_a_turn_without_its_output_nor_an_output_without_its_turn(path, backend, count):
    for _ in range(count(4, 40)):
        stored = backend.storage.load("trip-1")
        begin = 1 if stored is None else stored.version.turns + 1
        with actors(path, COMMITTING, begin) as [other]:
            assert other.heard() == "open"
            other.heard()
            other.kill()
        stored = backend.storage.load("trip-1")
        numbers = [turn.number for turn in stored.turns]
        assert numbers == list(range(stored.version.turns))
        assert rows(backend) == len(numbers) >= begin


RACING = """
backend = SqliteBackend.open(path)
say("open")
hear()
won = lost = 0
while won < 50:
    stored = backend.storage.load("trip-1")
    turns = 0 if stored is None else stored.version.turns
    step = Step(append=append(turns + 1, turns or None), outputs=(event(f"{os.getpid()}"),))
    if backend.commit([step]).won[0]:
        won += 1
    else:
        lost += 1
say(os.getpid(), lost)
hear()
"""


def test_of_racing_processes_one_wins_each_turn_and_no_turn_is_missing(path, backend):
    with actors(path, RACING, *range(4)) as others:
        for other in others:
            assert other.heard() == "open"
        for other in others:
            other.tell()
        said = [other.heard().split() for other in others]

    stored = backend.storage.load("trip-1")
    assert stored.version == Version("r1", 200)
    assert [turn.number for turn in stored.turns] == list(range(200))
    writers = [turn.body.decode() for turn in stored.turns]
    assert {writer: writers.count(writer) for writer, _ in said} == {writer: 50 for writer, _ in said}
    assert rows(backend) == 200


def test_threads_of_one_process_race_as_processes_do(backend):
    results = list[bool]()
    barrier = threading.Barrier(4)

    def race():
        barrier.wait()
        for _ in range(50):
            stored = backend.storage.load("trip-1")
            turns = 0 if stored is None else stored.version.turns
            step = Step(append=append(turns + 1, turns or None), outputs=(event(),))
            results.extend(backend.commit([step]).won)

    threads = [threading.Thread(target=race) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    stored = backend.storage.load("trip-1")
    assert len(stored.turns) == stored.version.turns == results.count(True) == rows(backend)
    assert len(results) == 200


def test_threads_that_receive_at_once_share_what_there_is(backend, tasks):
    backend.transport.publish([task(f"t{at}") for at in range(300)])
    seen = list[str]()

    def work():
        while deliveries := tasks.receive(7):
            seen.extend(ids(deliveries))
            tasks.ack(deliveries)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(seen) == sorted(f"t{at}" for at in range(300))


def test_adopted_tasks_are_never_received_besides_by_another_thread(backend, tasks):
    received_too, stop = list[str](), threading.Event()

    def receive():
        while not stop.is_set():
            received_too.extend(ids(tasks.receive(5)))

    thread = threading.Thread(target=receive)
    thread.start()
    for at in range(300):
        adopted = backend.commit([Step(outputs=(task(f"t{at}"),))], tasks, 1).adopted
        assert ids(adopted) == [f"t{at}"]
    stop.set()
    thread.join()
    assert received_too == []


# ----------------------------------------------------------------------------------------- who is told


def test_outputs_for_an_instance_that_is_held_here_call_its_ready(backend):
    woken = Woken()
    flows = backend.transport.subscribe([TRIPS], woken)
    received(backend, flows, event("start"))
    woken.forget()
    backend.commit([Step(append=append(1), outputs=(event("e2"),))])
    assert woken.is_set
    assert ids(flows.receive(10)) == ["e2"]


def test_hints_reach_the_client_that_listens_and_nobody_else(backend, opened):
    woken = Woken()
    client = opened(role="client").transport.subscribe(["client:c1"], woken)
    woken.forget()
    backend.commit([Step(hints=(hint("c1"), hint("c2")))])
    woken.wait()
    assert ids(client.receive(10)) == ["h1"]
    assert rows(backend) == 0


def test_cancellations_reach_every_worker_of_a_service(backend, opened):
    topic = "service:cars:control"
    here, there = (each.transport.subscribe([topic], quiet) for each in (backend, opened()))
    backend.commit([Step(outputs=(event("x", topic=topic),))])
    assert [ids(consumer.receive(10)) for consumer in (here, there)] == [["x"], ["x"]]
    assert rows(backend) == 0


def test_closing_twice_is_closing_once(path, backend, tasks):
    backend.close()
    backend.close()
    assert sorted(os.listdir(path.parent)) == ["infinitic.db", "infinitic.db.d", "infinitic.db.lock"]
