"""Looking into a transport, for people: who serves a topic, what waits in it, where the messages of one key are."""

from infinitic.transports import OnTheWay, Traffic
from tests.transports.given import HOTELS, TRIPS, Subscriber, message, sent


def seen(transport, key):
    """Where the messages of *key* are, without the names of processes."""
    return [(one.message.id, one.topic, bool(one.holder), one.runs) for one in transport.on_the_way(key)]


def test_a_topic_that_nobody_serves_has_no_consumer_and_keeps_what_comes(transport):
    transport.publish([*sent(HOTELS, "a", "m1", "m2"), *sent(TRIPS, "a", "m3")])

    assert transport.traffic([HOTELS, TRIPS, "service:Cars"]) == [Traffic(0, 2), Traffic(0, 1), Traffic(0, 0)]


def test_all_consumers_of_a_topic_are_counted_until_they_close(transport, subscribe):
    here, _there = subscribe(HOTELS, TRIPS), subscribe(HOTELS)
    assert transport.traffic([HOTELS, TRIPS]) == [Traffic(2), Traffic(1)]

    here.consumer.close()
    assert transport.traffic([HOTELS, TRIPS]) == [Traffic(1), Traffic(0)]


def test_what_a_consumer_has_does_not_wait_and_does_again_when_that_closes(transport, subscribe):
    transport.publish([*sent(HOTELS, "a", "m1", "m2"), *sent(TRIPS, "a", "m3")])
    here = subscribe(HOTELS, TRIPS)
    here.take(3)
    assert transport.traffic([HOTELS, TRIPS]) == [Traffic(1, 0), Traffic(1, 0)]

    here.consumer.close()
    assert transport.traffic([HOTELS, TRIPS]) == [Traffic(0, 2), Traffic(0, 1)]


def test_what_comes_for_an_instance_that_a_consumer_holds_does_not_wait_for_another(transport, subscribe, pulls):
    here = subscribe(TRIPS)
    transport.publish(sent(TRIPS, "a", "m1"))
    here.done(1)
    transport.publish([*sent(TRIPS, "a", "m2"), *sent(TRIPS, "b", "m3")])

    assert transport.traffic([TRIPS]) == [Traffic(1, 1)]
    assert seen(transport, "a") == [("m2", TRIPS, True, False)]
    assert seen(transport, "b") == [("m3", TRIPS, False, False)]


def test_the_messages_of_a_key_are_found_in_all_topics_of_work(transport, pulls):
    transport.publish([*sent(TRIPS, "a", "m1"), *sent(TRIPS, "b", "m2"), *sent(HOTELS, "a", "m3")])

    assert transport.on_the_way("a") == [
        OnTheWay(TRIPS, message("m1", workflow_id="a")),
        OnTheWay(HOTELS, message("m3", workflow_id="a")),
    ]
    assert transport.on_the_way("c") == []


def test_a_message_that_is_worked_on_says_so_until_it_is_acknowledged(transport, subscribe, pulls):
    transport.publish(sent(HOTELS, "a", "m1"))
    here = subscribe(HOTELS)
    [delivery] = here.take(1)
    here.consumer.began(delivery)
    assert seen(transport, "a") == [("m1", HOTELS, True, True)]

    here.consumer.ended(delivery)
    here.consumer.ack([delivery])
    assert seen(transport, "a") == []


def test_an_instance_that_is_worked_on_says_so(transport, subscribe, pulls):
    transport.publish(sent(TRIPS, "a", "m1"))
    here = subscribe(TRIPS)
    [delivery] = here.take(1)
    here.consumer.began(delivery)

    assert seen(transport, "a") == [("m1", TRIPS, True, True)]


def test_messages_to_a_client_are_nobodys_work(transport, subscribe, pulls):
    _here = subscribe("client:c1")
    transport.publish(sent("client:c1", "a", "m1"))

    assert transport.on_the_way("a") == []


def test_looking_takes_nothing_away(transport, subscribe):
    transport.publish([*sent(HOTELS, "a", "m1"), *sent(TRIPS, "a", "m2")])
    transport.traffic([HOTELS, TRIPS])
    transport.on_the_way("a")

    assert sorted(subscribe(HOTELS, TRIPS).ids(2)) == ["m1", "m2"]


def test_subscribers_are_told_apart_by_topic(subscribe, transport):
    _one, _other = subscribe("workflow:trip"), Subscriber(transport, "workflow:trips")

    assert transport.traffic(["workflow:trip", "workflow:trips"]) == [Traffic(1), Traffic(1)]
