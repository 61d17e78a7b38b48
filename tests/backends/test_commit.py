"""Commit, over every backend: of a step that wins all is done, of one that loses nothing."""

import pytest

from infinitic.backends import Committed, Step
from infinitic.errors import StorageError, TransportError
from infinitic.messages import Outgoing
from infinitic.records import Version
from tests.storages.given import after, in_threads, kept, loaded, record, start, turns, write
from tests.transports.given import CLIENT, HOTELS, TRIPS, Subscriber, ids, message, numbered, sent


def hint(id_):
    return Outgoing(CLIENT, "", message(id_), hint=True)


def test_of_a_step_that_wins_all_is_done(backend):
    workflows, tasks, client = (Subscriber(backend.transport, topic) for topic in (TRIPS, HOTELS, CLIENT))
    backend.transport.publish(sent(TRIPS, "trip-1", "start"))
    first = start()
    step = Step(
        append=first,
        outputs=tuple(sent(HOTELS, "trip-1", "t1", "t2")),
        hints=(hint("h1"),),
        acks=tuple(workflows.take(1)),
        consumer=workflows.consumer,
    )

    assert backend.commit([step]) == Committed((True,))
    assert loaded(backend.storage) == kept(first)
    assert tasks.ids(2) == ["t1", "t2"]
    assert client.ids(1) == ["h1"]
    workflows.consumer.close()
    assert Subscriber(backend.transport, TRIPS).at_hand() == []


def test_of_a_step_that_loses_nothing_is_done(backend):
    workflows, tasks, client = (Subscriber(backend.transport, topic) for topic in (TRIPS, HOTELS, CLIENT))
    backend.transport.publish(sent(TRIPS, "trip-1", "start"))
    first = start()
    write(backend.storage, first)
    late = Step(
        append=start(token="late", record=record(reason="late")),
        outputs=tuple(sent(HOTELS, "trip-1", "t1")),
        hints=(hint("h1"),),
        acks=tuple(workflows.take(1)),
        consumer=workflows.consumer,
    )

    assert backend.commit([late]) == Committed((False,))
    assert loaded(backend.storage) == kept(first)
    assert tasks.at_hand() == client.at_hand() == []
    workflows.consumer.close()
    assert Subscriber(backend.transport, TRIPS).at_hand() == ["start"]


def test_a_step_without_an_append_always_wins(backend):
    tasks, workflows = Subscriber(backend.transport, HOTELS), Subscriber(backend.transport, TRIPS)
    backend.transport.publish(sent(HOTELS, "k", "t1"))
    step = Step(outputs=tuple(sent(TRIPS, "trip-1", "result")), acks=tuple(tasks.take(1)), consumer=tasks.consumer)

    assert backend.commit([step]) == Committed((True,))
    assert workflows.ids(1) == ["result"]
    tasks.consumer.close()
    assert Subscriber(backend.transport, HOTELS).at_hand() == []


def test_nothing_to_commit_is_no_work(backend):
    assert backend.commit([]) == Committed(())
    assert backend.commit([Step(), Step()]) == Committed((True, True))


def test_steps_win_and_lose_each_for_itself(backend):
    workflows, tasks = Subscriber(backend.transport, TRIPS), Subscriber(backend.transport, HOTELS)
    names = numbered("trip-", 6)
    write(backend.storage, *(start(name) for name in names))
    backend.transport.publish([one for name in names for one in sent(TRIPS, name, f"event of {name}")])
    events = {delivery.message.workflow_id: delivery for delivery in workflows.take(6)}
    steps = [
        Step(
            append=after(start(name, version=Version("r1", 1 + number % 2)), 1),
            outputs=tuple(sent(HOTELS, name, f"task of {name}")),
            acks=(events[name],),
            consumer=workflows.consumer,
        )
        for number, name in enumerate(names)
    ]

    assert backend.commit([*steps, Step()]) == Committed((True, False, True, False, True, False, True))
    assert tasks.ids(3) == ["task of trip-0", "task of trip-2", "task of trip-4"]
    assert tasks.at_hand() == []
    workflows.consumer.close()
    rest = Subscriber(backend.transport, TRIPS).ids(3)
    assert sorted(rest) == ["event of trip-1", "event of trip-3", "event of trip-5"]


def test_an_append_that_changes_nothing_decides_too(backend):
    tasks = Subscriber(backend.transport, HOTELS)
    first = start(count=2)
    write(backend.storage, first)
    holds = Step(append=after(first), outputs=tuple(sent(HOTELS, "k", "again")))
    stale = Step(append=after(start(count=1)), outputs=tuple(sent(HOTELS, "k", "stale")))

    assert backend.commit([holds]) == Committed((True,))
    assert backend.commit([stale]) == Committed((False,))
    assert tasks.at_hand() == ["again"]


def test_outputs_keep_their_order_within_and_over_commits(backend):
    workflows = Subscriber(backend.transport, TRIPS)
    for first in range(0, 30, 10):
        batch = numbered("m", 10, first)
        backend.commit(
            [
                Step(outputs=tuple(sent(TRIPS, "k", *batch[:5]))),
                Step(outputs=tuple(sent(TRIPS, "k", *batch[5:]))),
            ]
        )

    assert workflows.ids(30) == numbered("m", 30)


def test_steps_may_acknowledge_by_different_consumers(backend):
    workflows, tasks = Subscriber(backend.transport, TRIPS), Subscriber(backend.transport, HOTELS)
    backend.transport.publish(sent(TRIPS, "k", "m1", "m2") + sent(HOTELS, "k", "t1", "t2"))
    events, calls = workflows.take(2), tasks.take(2)
    steps = [
        Step(acks=(events[0],), consumer=workflows.consumer),
        Step(acks=(calls[0],), consumer=tasks.consumer),
        Step(acks=(events[1],), consumer=workflows.consumer),
    ]
    backend.commit(steps)
    workflows.consumer.close()
    tasks.consumer.close()

    assert Subscriber(backend.transport, TRIPS, HOTELS).at_hand() == [calls[1].message.id]


def test_without_free_slots_nothing_is_adopted(backend):
    tasks = Subscriber(backend.transport, HOTELS)
    step = Step(outputs=tuple(sent(HOTELS, "k", "t1")))

    assert backend.commit([step], tasks.consumer, 0) == Committed((True,))
    assert tasks.ids(1) == ["t1"]


@pytest.mark.parametrize("capacity", [1, 2, 100])
def test_each_task_is_adopted_or_received_and_not_both(backend, capacity):
    tasks = Subscriber(backend.transport, HOTELS)
    batch = [
        Outgoing(HOTELS, "k", message(f"t{number}", kind="task")) if number % 2 else sent(TRIPS, "k", f"m{number}")[0]
        for number in range(6)
    ]
    committed = backend.commit([Step(outputs=tuple(batch))], tasks.consumer, capacity)

    assert len(committed.adopted) <= capacity
    rest = tasks.take(3 - len(committed.adopted))
    assert sorted(ids([*committed.adopted, *rest])) == ["t1", "t3", "t5"]
    assert tasks.at_hand() == []
    tasks.consumer.ack([*committed.adopted, *rest])
    tasks.consumer.close()
    assert Subscriber(backend.transport, HOTELS).at_hand() == []


def test_adopted_tasks_of_who_closes_come_again(backend):
    tasks = Subscriber(backend.transport, HOTELS)
    step = Step(outputs=(Outgoing(HOTELS, "k", message("t1", kind="task")),))
    backend.commit([step], tasks.consumer, 1)
    tasks.consumer.close()

    assert Subscriber(backend.transport, HOTELS).ids(1) == ["t1"]


def finish(backend, tasks, workflows):
    """Take a task and give its result as a worker does, in hand or else by a commit; the delivery."""
    [task] = tasks.take(1)
    [result] = sent(TRIPS, "trip-1", "result")
    delivery = backend.handed_over(task, result, workflows.consumer)
    if delivery is None:
        backend.commit([Step(outputs=(result,), acks=(task,), consumer=tasks.consumer)])
        [delivery] = workflows.take(1)
    assert (delivery.topic, delivery.message) == (result.topic, result.message)
    return delivery


@pytest.mark.parametrize("holding", [True, False])
def test_a_result_comes_once_in_hand_or_over_the_transport(backend, holding):
    tasks, workflows = Subscriber(backend.transport, HOTELS), Subscriber(backend.transport, TRIPS)
    if holding:
        backend.transport.publish(sent(TRIPS, "trip-1", "start"))
        assert workflows.done(1) == ["start"]
    backend.transport.publish(sent(HOTELS, "k", "t1"))
    delivery = finish(backend, tasks, workflows)

    first = start()
    backend.commit([Step(append=first, acks=(delivery,), consumer=workflows.consumer)])
    tasks.consumer.close()
    workflows.consumer.close()
    assert Subscriber(backend.transport, HOTELS, TRIPS).at_hand() == []


def test_a_result_that_nobody_acknowledged_is_not_lost(backend):
    tasks, workflows = Subscriber(backend.transport, HOTELS), Subscriber(backend.transport, TRIPS)
    backend.transport.publish(sent(TRIPS, "trip-1", "start"))
    assert workflows.done(1) == ["start"]
    backend.transport.publish(sent(HOTELS, "k", "t1"))
    finish(backend, tasks, workflows)
    workflows.consumer.close()
    tasks.consumer.close()

    # The result comes again, or the task that gives it once more.
    assert Subscriber(backend.transport, HOTELS, TRIPS).at_hand() in (["result"], ["t1"])


def test_of_racing_commits_each_that_wins_sends_its_output_once(backend, count):
    tasks = Subscriber(backend.transport, HOTELS)
    write(backend.storage, start(count=0))
    rounds = count(15, 150)

    def race():
        won = 0
        while won < rounds:
            stored = backend.storage.load("trip-1")
            output = sent(HOTELS, "trip-1", f"t{stored.version.turns}")
            won += backend.commit([Step(append=after(stored, 1), outputs=tuple(output))]).won[0]
        return won

    assert in_threads(*[race] * 8) == [rounds] * 8
    assert backend.storage.load("trip-1").turns == turns(8 * rounds)
    assert sorted(tasks.ids(8 * rounds)) == sorted(numbered("t", 8 * rounds))
    assert tasks.at_hand() == []


def test_a_closed_backend_is_not_used(backend):
    backend.close()

    with pytest.raises(StorageError):
        backend.storage.load("trip-1")
    with pytest.raises(TransportError):
        backend.transport.publish(sent(TRIPS, "k", "m1"))
