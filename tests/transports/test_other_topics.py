"""Service topics, control topics, clients' topics; what holds for all of them."""

from itertools import chain

import msgspec
import pytest

from infinitic.errors import TransportError
from infinitic.messages import Delivery, Message, Outgoing
from infinitic.topics import dead_topic
from tests.transports.given import (
    CLIENT,
    CONTROL,
    HOTELS,
    PATIENCE,
    TRIPS,
    Subscriber,
    ids,
    message,
    numbered,
    sent,
    share_out,
)

FULL = Message(
    kind="task",
    id="m1",
    workflow="trips",
    workflow_id='it\'s "trip" 🦄 \\ 100 %',
    run="r1",
    position="m0.1",
    attempt=2,
    at=1_800_000_000_000_000,
    sender="s1",
    sequence=7,
    reply_to="client-1",
    root="root",
    headers={"trace": "00-ab", "ünï": "çødé"},
    codec="pickle",
    payload=msgspec.Raw(b'{"deep":[1,2.5,null,{"a":"\xc3\xa9"}]}'),
    format=2,
)


@pytest.mark.parametrize("topic", [TRIPS, HOTELS, CONTROL, CLIENT, dead_topic(TRIPS), dead_topic(HOTELS)])
def test_a_message_arrives_as_it_was_sent(transport, subscribe, topic):
    here = subscribe(topic)
    transport.publish([Outgoing(topic, "k", FULL)])

    [delivery] = here.take(1)
    assert delivery == Delivery(topic, FULL, delivery.receipt)


@pytest.mark.parametrize("topic", [TRIPS, HOTELS])
def test_a_large_message_arrives(transport, subscribe, topic):
    here = subscribe(topic)
    large = message("m1", workflow_id="k", payload=msgspec.Raw(b'"' + b"x" * 1_000_000 + b'"'))
    transport.publish([Outgoing(topic, "k", large)])

    assert [delivery.message for delivery in here.take(1)] == [large]


@pytest.mark.parametrize("topic", [TRIPS, HOTELS, CONTROL, CLIENT])
def test_nothing_is_received_where_nothing_is(transport, subscribe, topic):
    assert subscribe(topic).at_hand() == []


@pytest.mark.parametrize("topic", [TRIPS, HOTELS, CONTROL, CLIENT])
def test_no_more_is_received_than_the_limit(transport, subscribe, topic):
    here = subscribe(topic)
    transport.publish([one for number in range(10) for one in sent(topic, f"k{number}", f"m{number}")])

    assert len(here.take(1, limit=1)) == 1
    assert here.consumer.receive(0) == []
    assert len(here.take(9, limit=4)) == 9


def test_an_empty_batch_is_no_work(transport, subscribe):
    transport.publish([])

    assert subscribe(TRIPS, HOTELS).at_hand() == []


@pytest.mark.parametrize("topic", [TRIPS, HOTELS, CONTROL, CLIENT])
def test_a_consumer_is_told_when_there_is_something(transport, subscribe, topic):
    here = subscribe(topic)
    assert here.at_hand() == []
    here.woken.clear()
    transport.publish(sent(topic, "k", "m1"))

    assert here.woken.wait(PATIENCE)
    assert here.at_hand() == ["m1"]


def test_tasks_wait_for_somebody_to_serve_them(transport, subscribe):
    transport.publish(sent(HOTELS, "k", "m1", "m2"))

    assert subscribe(HOTELS).ids(2) == ["m1", "m2"]


def test_each_task_goes_to_one_consumer_whatever_its_key(transport, subscribe, pulls):
    here, there = subscribe(HOTELS), subscribe(HOTELS)
    transport.publish(sent(HOTELS, "k", *numbered("m", 10)))
    mine, theirs = ids(here.take(3, limit=3)), ids(there.take(3, limit=3))
    rest = here.at_hand() + there.at_hand()

    assert sorted(mine + theirs + rest) == numbered("m", 10)


def test_tasks_in_hand_of_who_closes_come_again(transport, subscribe):
    here, there = subscribe(HOTELS), subscribe(HOTELS)
    transport.publish(sent(HOTELS, "k", "m1", "m2", "m3"))
    taken = here.take(3)
    here.consumer.ack(taken[1:2])
    here.consumer.close()

    assert sorted(there.done(2)) == ["m1", "m3"]
    there.consumer.close()
    assert subscribe(HOTELS).at_hand() == []


def test_tasks_that_are_given_back_come_again(transport, subscribe):
    here = subscribe(HOTELS)
    transport.publish(sent(HOTELS, "k", "m1", "m2"))
    taken = here.take(2)
    here.consumer.ack(taken[:1])
    here.consumer.nack(taken[1:])

    assert here.done(1) == ["m2"]
    assert here.at_hand() == []


def test_releasing_keys_gives_back_no_task(transport, subscribe):
    here, there = subscribe(HOTELS), subscribe(HOTELS)
    transport.publish(sent(HOTELS, "k", "m1"))
    assert here.ids(1) == ["m1"]
    here.consumer.release(["k"])

    assert there.at_hand() == []


def test_work_may_be_marked_as_begun_and_ended(transport, subscribe):
    here = subscribe(TRIPS, HOTELS)
    transport.publish(sent(HOTELS, "k", "m1") + sent(TRIPS, "k", "m2"))
    taken = here.take(2)
    for delivery in taken:
        here.consumer.began(delivery)
        here.consumer.ended(delivery)
    here.consumer.ack(taken)

    assert here.at_hand() == []


def test_a_service_hears_on_its_control_topic_what_all_of_it_hear(transport, subscribe):
    consumers = [subscribe(HOTELS, CONTROL) for _ in range(3)]
    transport.publish(sent(CONTROL, "k", "m1", "m2"))

    assert [consumer.done(2) for consumer in consumers] == [["m1", "m2"]] * 3
    assert [consumer.at_hand() for consumer in consumers] == [[], [], []]


def test_who_comes_later_hears_nothing_of_before(transport, subscribe):
    here = subscribe(CONTROL)
    transport.publish(sent(CONTROL, "k", "m1"))
    later = subscribe(CONTROL)
    transport.publish(sent(CONTROL, "k", "m2"))

    assert here.ids(2) == ["m1", "m2"]
    assert later.ids(1) == ["m2"]


def test_a_client_hears_its_answers_and_no_others(transport, subscribe):
    here, other = subscribe(CLIENT), subscribe("client:c2")
    transport.publish([*sent(CLIENT, "", "m1"), Outgoing("client:c2", "", message("m2"), hint=True)])

    assert here.ids(1) == ["m1"]
    assert other.ids(1) == ["m2"]
    assert here.at_hand() == other.at_hand() == []


@pytest.mark.parametrize("topic", [CLIENT, CONTROL])
def test_what_nobody_listens_to_is_lost(transport, subscribe, topic):
    transport.publish(sent(topic, "k", "m1"))
    here = subscribe(topic)
    transport.publish(sent(topic, "k", "m2"))
    here.consumer.close()
    transport.publish(sent(topic, "k", "m3"))

    assert subscribe(topic).at_hand() == []


def test_one_consumer_hears_all_its_topics(transport, subscribe):
    here = subscribe(TRIPS, HOTELS, CONTROL, CLIENT, "workflow:visits")
    batch = [one for topic in (TRIPS, HOTELS, CONTROL, CLIENT, "workflow:visits") for one in sent(topic, "k", topic)]
    transport.publish([*batch, *sent("workflow:others", "k", "others"), *sent("service:Cars", "k", "cars")])

    taken = here.take(5)
    assert {delivery.topic: delivery.message.id for delivery in taken} == {one.topic: one.topic for one in batch}
    assert here.at_hand() == []


def test_a_busy_topic_does_not_keep_the_others_waiting(transport, subscribe, pulls):
    here = subscribe(TRIPS, HOTELS)
    transport.publish([one for number in range(1_000) for one in sent(TRIPS, f"k{number}", "busy")])
    transport.publish(sent(HOTELS, "k", "calm"))

    assert "calm" in ids(here.take(900, limit=10))


def test_a_busy_key_does_not_keep_the_others_waiting(transport, subscribe):
    here = subscribe(TRIPS)
    transport.publish(sent(TRIPS, "busy", *numbered("b", 10)))
    assert here.ids(10) == numbered("b", 10)
    transport.publish(sent(TRIPS, "calm", "calm"))
    seen: list[str] = []
    for first in range(10, 110, 10):
        transport.publish(sent(TRIPS, "busy", *numbered("b", 10, first)))
        seen += here.ids(10)

    assert "calm" in seen


def test_closing_a_transport_gives_back_what_its_consumers_had(connect, transport):
    other = connect()
    gone = [Subscriber(other, TRIPS), Subscriber(other, HOTELS)]
    transport.publish(sent(TRIPS, "k", "m1") + sent(HOTELS, "k", "m2"))
    assert [one.ids(1) for one in gone] == [["m1"], ["m2"]]
    other.close()

    assert sorted(Subscriber(transport, TRIPS, HOTELS).ids(2)) == ["m1", "m2"]


def test_a_closed_transport_is_not_used(connect):
    other = connect()
    other.close()

    with pytest.raises(TransportError):
        other.publish(sent(TRIPS, "k", "m1"))
    with pytest.raises(TransportError):
        other.subscribe([TRIPS], lambda: None)


def test_a_sweep_takes_nothing_from_the_living(connect, transport, subscribe, pulls):
    here, there = subscribe(TRIPS, HOTELS), subscribe(TRIPS, HOTELS)
    transport.publish(sent(TRIPS, "k", "m1") + sent(HOTELS, "k", "m2"))
    assert sorted(here.ids(2)) == ["m1", "m2"]
    connect().sweep()
    transport.sweep()

    assert here.at_hand() == there.at_hand() == []


def test_racing_consumers_of_a_service_get_each_task_once(connect, transport, count):
    total = count(400, 4_000)

    def publish():
        for number in range(0, total, 10):
            transport.publish(sent(HOTELS, "k", *numbered("m", 10, number)))

    got = share_out([Subscriber(connect(), HOTELS) for _ in range(4)], total, publish)

    assert sorted(chain.from_iterable(got)) == sorted(numbered("m", total))
