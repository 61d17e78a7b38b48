"""What the memory transport does beyond the protocol: handles, crashes, faults, nothing of its own accord."""

from threading import Thread

import pytest

from infinitic.errors import Bug, TransportError
from infinitic.messages import Delivery
from infinitic.transports.memory import MemoryTransport
from tests.transports.given import CLIENT, HOTELS, TRIPS, Subscriber, ids, message, numbered, sent


class Faulty(MemoryTransport):
    """Doubles what is called so, and is deaf to acknowledgements of what is called so."""

    def copies(self, outgoing):
        return {"lost": 0, "double": 2}.get(outgoing.message.id, 1)

    def hears(self, delivery):
        return delivery.message.id != "deaf"


def test_handles_share_their_topics_and_close_alone():
    transport = MemoryTransport()
    other = transport.another()
    here, there = Subscriber(transport, TRIPS), Subscriber(other, TRIPS)
    other.close()
    transport.publish(sent(TRIPS, "k", "m1"))

    assert here.at_hand() == ["m1"]
    assert there.at_hand() == []
    with pytest.raises(TransportError, match="after it was closed"):
        other.publish(sent(TRIPS, "k", "m2"))


def test_what_a_crashed_consumer_had_comes_again_and_is_marked_nothing():
    transport = MemoryTransport()
    here, there = Subscriber(transport, TRIPS, HOTELS), Subscriber(transport, TRIPS, HOTELS)
    transport.publish(sent(TRIPS, "k", "m1", "m2") + sent(HOTELS, "k", "t1"))
    taken = here.take(3)
    for delivery in taken:
        here.consumer.began(delivery)
    here.consumer.crash()

    again = {delivery.message.id: delivery for delivery in there.take(3)}
    assert again == {d.message.id: Delivery(d.topic, d.message, again[d.message.id].receipt) for d in taken}


def test_nobody_hears_what_a_crashed_consumer_does():
    transport = MemoryTransport()
    here = Subscriber(transport, TRIPS)
    transport.publish(sent(TRIPS, "k", "m1"))
    taken = here.take(1)
    here.consumer.crash()
    there = Subscriber(transport, TRIPS)
    assert there.at_hand() == ["m1"]
    here.consumer.ack(taken)
    here.consumer.nack(taken)
    here.consumer.release(["k"])
    here.consumer.close()

    assert there.at_hand() == here.at_hand() == []
    assert transport.unacknowledged(TRIPS) == (taken[0].message,)


def test_an_acknowledgement_by_who_lost_the_message_is_not_heard():
    transport = MemoryTransport()
    here = Subscriber(transport, TRIPS)
    transport.publish(sent(TRIPS, "k", "m1"))
    taken = here.take(1)
    here.consumer.release(["k"])
    there = Subscriber(transport, TRIPS)
    assert there.at_hand() == ["m1"]
    here.consumer.ack(taken)

    assert transport.unacknowledged(TRIPS) == (taken[0].message,)


def test_a_topic_tells_what_is_not_acknowledged():
    transport = MemoryTransport()
    transport.publish(sent(TRIPS, "k", "m1", "m2") + sent(TRIPS, "j", "m3") + sent(HOTELS, "k", "t1", "t2"))
    here = Subscriber(transport, TRIPS, HOTELS)
    taken = {delivery.message.id: delivery for delivery in here.take(4)}
    here.consumer.ack([delivery for id_, delivery in taken.items() if id_ in ("m1", "t1")])

    assert [m.id for m in transport.unacknowledged(TRIPS)] == ["m2", "m3"]
    assert [m.id for m in transport.unacknowledged(HOTELS)] == ["t2"]
    assert transport.unacknowledged(CLIENT) == ()


def test_faults_are_a_subclass():
    transport = Faulty()
    here = Subscriber(transport.another(), TRIPS)
    transport.publish(sent(TRIPS, "k", "lost", "double", "once", "deaf"))
    assert here.done(4) == ["double", "double", "once", "deaf"]
    here.consumer.close()

    assert Subscriber(transport, TRIPS).at_hand() == ["deaf"]


def test_ready_is_called_while_nothing_is_locked():
    transport = MemoryTransport()
    received = []

    def receive_elsewhere():
        # Another thread gets in, so the one that calls holds no lock.
        thread = Thread(target=lambda: received.extend(ids(here.receive(10) if here else [])))
        thread.start()
        thread.join()

    here = None
    here = transport.subscribe([TRIPS, HOTELS], receive_elsewhere)
    transport.publish(sent(TRIPS, "k", "m1"))
    transport.publish(sent(HOTELS, "k", "m2"))

    assert received == ["m1", "m2"]


def test_ready_may_publish():
    transport = MemoryTransport()
    answers = Subscriber(transport, CLIENT)

    def answer():
        if here is not None and (taken := here.receive(10)):
            transport.publish(sent(CLIENT, "k", *(f"answer to {id_}" for id_ in ids(taken))))

    here = None
    here = transport.subscribe([TRIPS], answer)
    transport.publish(sent(TRIPS, "k", "m1"))

    assert answers.at_hand() == ["answer to m1"]


def test_only_the_holder_of_a_key_is_woken_for_it():
    transport = MemoryTransport()
    here, there = Subscriber(transport, TRIPS), Subscriber(transport, TRIPS)
    transport.publish(sent(TRIPS, "k", "m1"))
    assert here.at_hand() == ["m1"]
    there.woken.clear()
    transport.publish(sent(TRIPS, "k", "m2"))

    assert (here.woken.is_set(), there.woken.is_set()) == (True, False)


def test_a_part_of_what_is_in_hand_of_a_key_comes_again_to_its_holder_alone():
    transport = MemoryTransport()
    here, there = Subscriber(transport, TRIPS), Subscriber(transport, TRIPS)
    transport.publish(sent(TRIPS, "k", *numbered("m", 4)))
    taken = here.take(3)
    here.consumer.nack([taken[2], taken[1]])

    assert there.at_hand() == []
    assert here.at_hand() == ["m1", "m2", "m3"]


def test_the_same_calls_give_the_same_deliveries():
    def play():
        transport = MemoryTransport()
        consumers = [Subscriber(transport, TRIPS, HOTELS, CLIENT) for _ in range(3)]
        for number in range(200):
            for topic in (TRIPS, HOTELS, CLIENT):
                transport.publish(sent(topic, f"k{number % 7}", f"{topic}{number}"))
        story = []
        for number in range(150):
            taken = consumers[number % 3].consumer.receive(5)
            story.append(taken)
            [consumers[number % 3].consumer.ack, consumers[number % 3].consumer.nack][number % 2](taken[1:])
        return story

    assert play() == play()


def test_a_topic_of_no_kind_is_a_bug():
    with pytest.raises(Bug, match="'trips' is the name of no topic"):
        MemoryTransport().publish(sent("trips", "k", "m1"))


def test_a_batch_that_cannot_be_sent_is_not_sent_by_half():
    transport = MemoryTransport()
    bad = sent(TRIPS, "k", "m1", "m2")
    bad[1] = type(bad[1])(TRIPS, "k", message("m2", headers={"x": object()}))

    with pytest.raises(TypeError):
        transport.publish(bad)
    assert transport.unacknowledged(TRIPS) == ()
