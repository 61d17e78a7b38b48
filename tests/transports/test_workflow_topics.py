"""Workflow topics: all messages of a key to one consumer at a time, in order, for as long as it lives."""

from functools import partial

import pytest

from infinitic.messages import Delivery
from tests.storages.given import AWKWARD_IDS
from tests.transports.given import PATIENCE, TRIPS, Subscriber, ids, numbered, sent, share_out


def test_messages_of_a_key_come_in_the_order_they_were_sent(transport, subscribe):
    here = subscribe(TRIPS)
    for first in (0, 40, 80):
        transport.publish(sent(TRIPS, "k", *numbered("m", 40, first)))

    assert here.ids(120) == numbered("m", 120)


def test_messages_of_many_keys_keep_the_order_of_each(transport, subscribe):
    here = subscribe(TRIPS)
    for number in range(50):
        transport.publish([one for key in "abcde" for one in sent(TRIPS, key, f"{key}{number}")])

    taken = here.take(250, limit=7)

    of_key = {key: [id_ for id_ in ids(taken) if id_[0] == key] for key in "abcde"}
    assert of_key == {key: numbered(key, 50) for key in "abcde"}


def test_what_was_sent_before_anyone_subscribed_waits(transport, subscribe):
    transport.publish(sent(TRIPS, "k", "m1", "m2"))

    assert subscribe(TRIPS).ids(2) == ["m1", "m2"]


def test_a_key_stays_with_the_consumer_that_has_it(transport, subscribe, pulls):
    here, there = subscribe(TRIPS), subscribe(TRIPS)
    transport.publish(sent(TRIPS, "k", "m1"))
    assert here.done(1) == ["m1"]

    for number in range(2, 20):
        transport.publish(sent(TRIPS, "k", f"m{number}"))
        assert there.at_hand() == []
        assert here.done(1) == [f"m{number}"]


def test_messages_behind_one_in_hand_wait_for_its_consumer(transport, subscribe, pulls):
    here, there = subscribe(TRIPS), subscribe(TRIPS)
    transport.publish(sent(TRIPS, "k", "m1", "m2", "m3"))

    assert ids(here.take(1, limit=1)) == ["m1"]
    assert there.at_hand() == []
    assert here.ids(2) == ["m2", "m3"]


def test_two_consumers_never_have_the_same_key(transport, subscribe):
    consumers = [subscribe(TRIPS), subscribe(TRIPS), subscribe(TRIPS)]
    keys = numbered("k", 30)
    for number in range(10):
        transport.publish([one for key in keys for one in sent(TRIPS, key, f"{key}/{number}")])
    seen: list[list[Delivery]] = [[], [], []]
    while sum(map(len, seen)) < 300:
        for number, consumer in enumerate(consumers):
            seen[number] += consumer.consumer.receive(4)

    owners = {key: [its for its in seen if any(d.message.workflow_id == key for d in its)] for key in keys}
    assert {key: len(its) for key, its in owners.items()} == dict.fromkeys(keys, 1)
    for key, [its] in owners.items():
        assert [d.message.id for d in its if d.message.workflow_id == key] == [f"{key}/{n}" for n in range(10)]
    assert all(seen)


def test_a_released_key_may_go_to_another(transport, subscribe, pulls):
    here = subscribe(TRIPS)
    transport.publish(sent(TRIPS, "k", "m1"))
    assert here.done(1) == ["m1"]
    there = subscribe(TRIPS)
    here.consumer.release(["k", "never had"])
    transport.publish(sent(TRIPS, "k", "m2"))

    assert there.done(1) == ["m2"]

    transport.publish(sent(TRIPS, "k", "m3"))
    assert here.at_hand() == []
    assert there.ids(1) == ["m3"]


def test_releasing_one_key_leaves_the_others(transport, subscribe, pulls):
    here, there = subscribe(TRIPS), subscribe(TRIPS)
    transport.publish(sent(TRIPS, "a", "a1") + sent(TRIPS, "b", "b1"))
    assert sorted(here.done(2)) == ["a1", "b1"]
    here.consumer.release(["a"])
    transport.publish(sent(TRIPS, "a", "a2") + sent(TRIPS, "b", "b2"))

    assert there.ids(1) == ["a2"]
    assert here.ids(1) == ["b2"]


def test_a_release_by_who_does_not_have_the_key_changes_nothing(transport, subscribe, pulls):
    here, there = subscribe(TRIPS), subscribe(TRIPS)
    transport.publish(sent(TRIPS, "k", "m1"))
    assert here.ids(1) == ["m1"]
    there.consumer.release(["k"])
    transport.publish(sent(TRIPS, "k", "m2"))

    assert there.at_hand() == []
    assert here.ids(1) == ["m2"]


def test_releasing_a_key_gives_back_what_is_in_hand_of_it(transport, subscribe, pulls):
    here = subscribe(TRIPS)
    transport.publish(sent(TRIPS, "k", "m1", "m2", "m3"))
    taken = here.take(2)
    here.consumer.ack(taken[:1])
    here.consumer.release(["k"])
    there = subscribe(TRIPS)

    assert there.ids(2) == ["m2", "m3"]
    assert here.at_hand() == []


def test_closing_gives_back_what_is_not_acknowledged_in_order(transport, subscribe):
    here = subscribe(TRIPS)
    transport.publish(sent(TRIPS, "k", *numbered("m", 5)))
    here.consumer.ack(here.take(4)[:2])
    there = subscribe(TRIPS)
    assert there.at_hand() == []
    here.consumer.close()

    assert there.ids(3) == ["m2", "m3", "m4"]


def test_closing_wakes_the_others(transport, subscribe):
    here = subscribe(TRIPS)
    transport.publish(sent(TRIPS, "k", "m1"))
    assert here.ids(1) == ["m1"]
    there = subscribe(TRIPS)
    assert there.at_hand() == []
    there.woken.clear()
    here.consumer.close()

    assert there.woken.wait(PATIENCE)
    assert there.at_hand() == ["m1"]


def test_what_was_acknowledged_does_not_come_again(transport, subscribe):
    here = subscribe(TRIPS)
    transport.publish(sent(TRIPS, "k", "m1", "m2"))
    assert here.done(2) == ["m1", "m2"]
    here.consumer.close()

    assert subscribe(TRIPS).at_hand() == []


def test_what_is_given_back_comes_again_in_order(transport, subscribe):
    here = subscribe(TRIPS)
    transport.publish(sent(TRIPS, "k", "m1", "m2", "m3"))
    here.consumer.nack(here.take(3))

    assert here.done(3) == ["m1", "m2", "m3"]
    assert here.at_hand() == []


def test_what_one_gives_back_another_may_take(transport, subscribe):
    here = subscribe(TRIPS)
    transport.publish(sent(TRIPS, "k", "m1", "m2"))
    taken = here.take(2)
    there = subscribe(TRIPS)
    here.consumer.nack(taken)
    here.consumer.close()

    assert there.ids(2) == ["m1", "m2"]


def test_an_acknowledgement_may_be_repeated(transport, subscribe):
    here = subscribe(TRIPS)
    transport.publish(sent(TRIPS, "k", "m1", "m2"))
    taken = here.take(2)
    here.consumer.ack(taken[:1])
    here.consumer.ack(taken[:1])
    here.consumer.ack([])
    here.consumer.close()

    assert subscribe(TRIPS).ids(1) == ["m2"]


def test_a_key_of_one_topic_is_not_that_of_another(transport, subscribe):
    here, there = subscribe(TRIPS), subscribe("workflow:Trips")
    transport.publish(sent(TRIPS, "k", "m1") + sent("workflow:Trips", "k", "m2"))

    assert here.ids(1) == ["m1"]
    assert there.ids(1) == ["m2"]


def test_keys_that_look_alike_are_different(transport, subscribe, pulls):
    here = subscribe(TRIPS)
    transport.publish([one for id_ in AWKWARD_IDS for one in sent(TRIPS, id_, f"1 {id_}")])
    taken = here.take(len(AWKWARD_IDS))
    assert sorted(ids(taken)) == sorted(f"1 {id_}" for id_ in AWKWARD_IDS)
    here.consumer.ack(taken)
    there = subscribe(TRIPS)

    for id_ in AWKWARD_IDS:
        here.consumer.release([id_])
        transport.publish([one for other in AWKWARD_IDS for one in sent(TRIPS, other, f"2 {other}")])
        assert there.done(1) == [f"2 {id_}"]
        assert len(here.done(len(AWKWARD_IDS) - 1)) == len(AWKWARD_IDS) - 1
        there.consumer.release([id_])
        transport.publish(sent(TRIPS, id_, f"3 {id_}"))
        assert here.done(1) == [f"3 {id_}"]


@pytest.mark.parametrize("leaving", ["close", "release"])
def test_a_key_that_moves_keeps_its_order_under_load(transport, subscribe, leaving, pulls):
    here, there = subscribe(TRIPS), subscribe(TRIPS)
    transport.publish(sent(TRIPS, "k", *numbered("m", 10)))
    here.consumer.ack(here.take(5)[:3])
    transport.publish(sent(TRIPS, "k", *numbered("m", 10, 10)))
    if leaving == "close":
        here.consumer.close()
    else:
        here.consumer.release(["k"])
    transport.publish(sent(TRIPS, "k", *numbered("m", 10, 20)))

    assert there.ids(27) == numbered("m", 27, 3)


def test_racing_consumers_get_each_message_once_and_each_key_in_order(connect, transport, count):
    keys, each = numbered("k", 20), count(20, 200)
    whole = {key: [f"{key}/{number}" for number in range(each)] for key in keys}

    def publish(mine):
        for number in range(each):
            transport.publish([one for key in mine for one in sent(TRIPS, key, whole[key][number])])

    halves = [partial(publish, keys[:10]), partial(publish, keys[10:])]
    got = share_out([Subscriber(connect(), TRIPS) for _ in range(4)], len(keys) * each, *halves)

    shares = [[id_ for id_ in its if id_.startswith(f"{key}/")] for its in got for key in keys]
    assert sorted(filter(None, shares)) == sorted(whole.values())
