"""Workers are killed all the time: each instance still takes each of its steps once, and none is missing."""

import random

from tests.sqlite.given import Actor, event

STEPS = 60
INSTANCES = 60

# A worker in small: an event is one turn, which asks for a task, whose result is the next event.
WORKING = """
from infinitic.messages import Message
STEPS = int(sys.argv[2])
backend = SqliteBackend.open(path)
ready = threading.Event()
flows = backend.transport.subscribe([TRIPS], ready.set)
tasks = backend.transport.subscribe([CARS], ready.set)
say("open")
in_hand = []

def apply(delivery):
    key = delivery.message.workflow_id
    number = int(delivery.message.id)
    flows.began(delivery)
    stored = backend.storage.load(key)
    turns = 0 if stored is None else stored.version.turns
    acks, consumer = (delivery,), flows
    if number < turns:
        backend.commit([Step(acks=acks, consumer=flows)])
    elif number > turns:
        say("gap", key, number, turns)
    else:
        outputs = (task(str(number), key),) if number + 1 < STEPS else ()
        step = Step(append=append(turns + 1, turns or None, key), outputs=outputs, acks=acks, consumer=flows)
        committed = backend.commit([step], tasks, 1)
        if not committed.won[0]:
            flows.nack([delivery])
        in_hand.extend(committed.adopted)
    flows.ended(delivery)

def run(delivery):
    tasks.began(delivery)
    result = event(str(int(delivery.message.id) + 1), delivery.message.workflow_id)
    tasks.ended(delivery)
    over = backend.handed_over(delivery, result, flows)
    if over is not None:
        apply(over)
    else:
        backend.commit([Step(outputs=(result,), acks=(delivery,), consumer=tasks)])

while True:
    found = flows.receive(5)
    for delivery in found:
        apply(delivery)
    mine, in_hand[:] = list(in_hand) + tasks.receive(5), []
    for delivery in mine:
        run(delivery)
    if not found and not mine:
        backend.transport.sweep()
        ready.wait(0.05)
        ready.clear()
"""


def is_done(backend):
    with backend._file.reading() as db:
        left = db.execute("SELECT count(*) FROM messages").fetchone()[0]
        turns = db.execute("SELECT count(*) FROM turns").fetchone()[0]
    return left == 0 and turns == INSTANCES * STEPS


def test_however_many_workers_are_killed_each_step_is_taken_once(path, backend, count):
    chance = random.Random(7)
    for round_ in range(count(1, 20)):
        names = [f"trip-{round_}-{at}" for at in range(INSTANCES)]
        backend.transport.publish([event("0", name) for name in names])
        workers = [Actor(path, WORKING, STEPS) for _ in range(3)]
        try:
            kill_some(workers, path, chance, count(6, 20))
            finish(workers, backend, path)
        finally:
            for worker in workers:
                worker.close()
        for name in names:
            stored = backend.storage.load(name)
            assert [turn.number for turn in stored.turns] == list(range(STEPS))
        with backend._file.transaction() as db:
            for table in ("turns", "heads", "runs"):
                db.execute(f"DELETE FROM {table}")


def kill_some(workers, path, chance, kills):
    """Each worker is killed some while after it began, and another one comes."""
    for _ in range(kills):
        at = chance.randrange(len(workers))
        assert workers[at].heard() == "open"
        for _ in range(chance.randrange(2_000_000)):  # some while, without a clock
            pass
        workers[at].kill()
        workers[at].close()
        workers[at] = Actor(path, WORKING, STEPS)


def finish(workers, backend, path):
    """Until all is done; a worker that found a gap has said so, and never gets there."""
    while not is_done(backend):
        assert all(worker.process.poll() is None for worker in workers)
