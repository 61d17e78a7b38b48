"""The distributed commit: the order of its three steps, and what a failure of each leaves behind."""

import pytest

from infinitic.backends import Committed, Step
from infinitic.backends.distributed import DistributedBackend
from infinitic.errors import Bug, NoStorage, StorageError, TransportError
from infinitic.messages import Outgoing
from infinitic.storages.memory import MemoryStorage
from infinitic.transports.memory import MemoryTransport
from tests.storages.given import after, kept, loaded, start
from tests.transports.given import CLIENT, HOTELS, TRIPS, Subscriber, message, numbered, sent


class Telling(MemoryStorage):
    """Tells what is asked of it; refuses when it was told to."""

    def __init__(self, story):
        super().__init__()
        self.story, self.broken = story, False

    def append(self, batch):
        self.story.append(("append", [append.workflow_id for append in batch]))
        if self.broken:
            raise StorageError("out of order")
        return super().append(batch)


class TellingTransport(MemoryTransport):
    """Tells what is sent and acknowledged; refuses topics that it was told to."""

    def __init__(self, story):
        super().__init__()
        self.story, self.broken = story, ""

    def publish(self, batch):
        self.story.append(("publish", [outgoing.message.id for outgoing in batch]))
        if self.broken and any(outgoing.topic.startswith(self.broken) for outgoing in batch):
            raise TransportError("out of order")
        super().publish(batch)

    def hears(self, delivery):
        self.story.append(("ack", delivery.message.id))
        return True


@pytest.fixture
def story():
    return []


@pytest.fixture
def backend(story):
    return DistributedBackend(TellingTransport(story), Telling(story))


@pytest.fixture
def workflows(backend, story):
    """A consumer of events for trip-0 to trip-3."""
    subscriber = Subscriber(backend.transport, TRIPS)
    backend.transport.publish([one for name in numbered("trip-", 4) for one in sent(TRIPS, name, f"event of {name}")])
    story.clear()
    return subscriber


def begin(name, delivery, consumer):
    return Step(
        append=start(name),
        outputs=tuple(sent(HOTELS, name, f"{name}/1", f"{name}/2")),
        hints=(Outgoing(CLIENT, "", message(f"hint of {name}"), hint=True),),
        acks=(delivery,),
        consumer=consumer,
    )


def steps_of(workflows):
    return [begin(d.message.workflow_id, d, workflows.consumer) for d in workflows.take(4)]


def test_a_batch_is_one_append_then_one_publish_then_the_acknowledgements_then_the_hints(backend, workflows, story):
    first, *_, last = steps_of(workflows)

    assert backend.commit([first, Step(outputs=tuple(sent(HOTELS, "k", "t1"))), last]) == Committed((True, True, True))
    assert story == [
        ("append", ["trip-0", "trip-3"]),
        ("publish", ["trip-0/1", "trip-0/2", "t1", "trip-3/1", "trip-3/2"]),
        ("ack", "event of trip-0"),
        ("ack", "event of trip-3"),
        ("publish", ["hint of trip-0", "hint of trip-3"]),
    ]


def test_what_is_not_asked_for_is_not_done(backend, story):
    assert backend.commit([Step(append=start())]) == Committed((True,))
    assert backend.commit([Step(append=start(), outputs=tuple(sent(HOTELS, "k", "t1")))]) == Committed((False,))
    assert story == [("append", ["trip-1"]), ("append", ["trip-1"])]


def test_when_the_storage_fails_nothing_is_sent_nor_acknowledged(backend, workflows, story):
    steps = steps_of(workflows)
    backend._storage.broken = True

    with pytest.raises(StorageError, match="out of order"):
        backend.commit(steps)

    assert story == [("append", numbered("trip-", 4))]
    assert len(backend.transport.unacknowledged(TRIPS)) == 4


def test_when_the_transport_fails_all_is_kept_and_nothing_is_acknowledged(backend, workflows, story):
    steps = steps_of(workflows)
    backend.transport.broken = HOTELS

    with pytest.raises(TransportError, match="out of order"):
        backend.commit(steps)

    assert [loaded(backend.storage, step.append.workflow_id) for step in steps] == [kept(step.append) for step in steps]
    assert [name for name, _ in story] == ["append", "publish"]
    assert len(backend.transport.unacknowledged(TRIPS)) == 4


def test_a_commit_after_a_failed_one_loses_what_was_persisted(backend, workflows):
    steps = steps_of(workflows)
    backend.transport.broken = HOTELS
    with pytest.raises(TransportError):
        backend.commit(steps[:2])
    backend.transport.broken = ""

    assert backend.commit(steps) == Committed((False, False, True, True))


def test_hints_that_cannot_be_sent_are_nobodys_trouble(backend, workflows):
    steps = steps_of(workflows)
    backend.transport.broken = CLIENT

    assert backend.commit(steps) == Committed((True,) * 4)
    assert backend.transport.unacknowledged(TRIPS) == ()


def test_deliveries_that_nobody_can_acknowledge_are_a_bug(backend, workflows):
    with pytest.raises(Bug, match="4 deliveries were to be acknowledged by no consumer"):
        backend.commit([Step(acks=tuple(workflows.take(4)))])


def test_outputs_are_sent_in_a_step_of_their_own(backend):
    assert backend.marks is True


def test_nothing_is_adopted_nor_handed_over(backend):
    tasks = Subscriber(backend.transport, HOTELS)
    step = Step(outputs=(Outgoing(HOTELS, "k", message("t1", kind="task")),))
    assert backend.commit([step], tasks.consumer, 10) == Committed((True,))
    [task] = tasks.take(1)

    assert backend.handed_over(task, sent(TRIPS, "k", "result")[0], tasks.consumer) is None


def test_without_a_storage_services_are_served():
    transport = MemoryTransport()
    backend = DistributedBackend(transport)
    tasks, workflows = Subscriber(backend.transport, HOTELS), Subscriber(backend.transport, TRIPS)
    backend.transport.publish(sent(HOTELS, "k", "t1"))
    step = Step(outputs=tuple(sent(TRIPS, "k", "result")), acks=tuple(tasks.take(1)), consumer=tasks.consumer)

    assert backend.commit([step]) == Committed((True,))
    assert workflows.at_hand() == ["result"]
    assert transport.unacknowledged(HOTELS) == ()


def test_without_a_storage_what_needs_one_says_so():
    backend = DistributedBackend(MemoryTransport())

    with pytest.raises(NoStorage, match="none is configured"):
        _ = backend.storage
    with pytest.raises(NoStorage):
        backend.commit([Step(append=after(start()))])
    backend.close()
