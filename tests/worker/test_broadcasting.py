"""Broadcasts: page by page, lost and doubled by no crash, to those to whom the event makes sense."""

import logging

import msgspec
import pytest
from msgspec import Raw

from dsl import Channel, Flow, add_tags, continue_as_new, dispatch, workflow
from infinitic.engine.outputs import ROUTER, broadcast_message
from infinitic.errors import StorageError
from infinitic.events import CancelRequested, Retried, SignalReceived, TagsChanged, TimersCompleted
from infinitic.ids import id_for
from infinitic.messages import Broadcast, Message, TaskRequest
from infinitic.records import STATUSES, StateRecord
from infinitic.topics import service_topic, workflow_topic
from infinitic.worker import broadcasting
from infinitic.worker.broadcasting import is_meant
from tests.worker.flows import add, collecting, numbers
from tests.worker.given import Deaf, Town

IDS = [f"w{number}" for number in range(7)]
TROUBLE = ["before publish", "after publish", "after commit"]


@pytest.fixture(autouse=True)
def small_pages(monkeypatch):
    monkeypatch.setattr(broadcasting, "PAGE", 2)


onward = Channel(int, name="onward")


@workflow
def tagging() -> Flow[None]:
    yield from numbers.receive()
    dispatch(add(1, 1))
    yield from add_tags("vip")
    yield from add(1, 2)


def send_to_all(town: Town, tag: str = "vip", workflow: str = "collecting", id: str = "") -> str:
    event = SignalReceived(id or town.next_id(), numbers.name, Raw(b"5"))
    town.transport.publish([broadcast_message(Broadcast(tag, event, workflow), at=town.clock(), sender="c")])
    return event.id


def begin(town: Town, hand, ids=IDS, **fields) -> None:
    for number, id in enumerate(ids):
        town.start(collecting(2), id, f"{number:032x}", **({"tags": ("vip",)} | fields))
        hand.step()
        town.clock.go_on(1)


def heard(town: Town) -> list[int]:
    return [town.events(id).count("SignalReceived") for id in IDS]


def test_one_page_is_served_in_a_step_and_the_rest_sent_on(town):
    hand = town.conductor(collecting)
    begin(town, hand)
    key = send_to_all(town)
    hand.conductor.step()
    (rest,) = town.transport.unacknowledged(workflow_topic(ROUTER))
    served = [one.workflow_id for one in town.transport.unacknowledged(workflow_topic("collecting"))]

    assert msgspec.json.decode(rest.payload, type=Broadcast).after.endswith(":w5")
    assert (rest.id, rest.sender, served) == (key, "c", ["w6", "w5"])
    hand.step()
    assert heard(town) == [1] * 7
    assert [town.history(id)[1].event.id for id in IDS] == [id_for(key, id) for id in IDS]
    assert town.waiting(workflow_topic(ROUTER)) == []


@pytest.mark.parametrize("where", TROUBLE)
@pytest.mark.parametrize("page", range(4))
def test_a_crash_at_any_page_neither_loses_nor_doubles_anything(town, where, page):
    first = town.conductor(collecting)
    begin(town, first)
    send_to_all(town)
    for _ in range(page):
        first.conductor.step()
    first.backend.fails = [where]
    first.step_with_trouble()
    first.crash()
    second = town.conductor(collecting)
    second.step()

    assert heard(town) == [1] * 7
    assert town.waiting(workflow_topic(ROUTER)) == []


def test_a_lost_acknowledgement_repeats_a_page_and_nothing_more(town):
    first = town.conductor(collecting)
    begin(town, first)
    send_to_all(town)
    Deaf.deaf = 1
    first.conductor.step()
    first.crash()
    second = town.conductor(collecting)
    second.step()

    assert heard(town) == [1] * 7


def test_what_begins_between_two_pages_is_not_meant(town):
    hand = town.conductor(collecting)
    begin(town, hand, IDS[:5])
    send_to_all(town)
    hand.conductor.step()
    begin(town, hand, IDS[5:])
    hand.step()

    assert heard(town) == [1] * 5 + [0] * 2


@workflow
def going_on(round: int = 0) -> Flow[list[int]]:
    yield from onward.receive()
    if round == 0:
        yield from continue_as_new(going_on(1))
    return numbers.drain()


@pytest.mark.parametrize("deaf", [0, 1], ids=["heard", "with a page that comes twice"])
@pytest.mark.parametrize("pages", range(4))
def test_instances_that_go_on_as_new_between_two_pages_are_reached_once(town, pages, deaf):
    first = town.conductor(going_on)
    for number, id in enumerate(IDS):
        town.start(going_on(), id, f"{number:032x}", tags=("vip",))
        first.step()
        town.clock.go_on(1)
    send_to_all(town, workflow="going_on")
    Deaf.deaf = deaf
    for _ in range(pages):
        first.conductor.step()
    for id in IDS:
        town.signal("going_on", id, "onward", 1)
    first.conductor.step()
    first.crash()
    Deaf.deaf = 0
    second = town.conductor(going_on)
    second.step()
    assert [(town.record(id).status, town.record(id).run != f"{n:032x}") for n, id in enumerate(IDS)] == [
        ("running", True)
    ] * 7
    for id in IDS:
        town.signal("going_on", id, "onward", 2)
    second.step()

    assert [msgspec.json.decode(town.record(id).value) for id in IDS] == [[5]] * 7


def test_instances_that_end_between_two_pages_are_passed_over(town):
    hand = town.conductor(collecting)
    begin(town, hand)
    send_to_all(town)
    hand.conductor.step()
    for id in IDS[:3]:
        town.cancel("collecting", id)
    hand.step()

    assert heard(town) == [0] * 3 + [1] * 4
    assert town.waiting(workflow_topic("collecting") + ":dead") == []


def test_what_the_router_has_in_hand_is_given_back_to_nobody(town):
    hand = town.conductor(collecting)
    begin(town, hand)
    send_to_all(town)
    hand.conductor.step()
    published = len(town.log)
    for _ in range(4):
        hand.conductor.step()
    sent = [one[2] for one in town.log[published:] if one[0] == "publish" and one[2].kind == "broadcast"]

    assert [msgspec.json.decode(one.payload, type=Broadcast).after[-3:] for one in sent] == [":w3", ":w1"]


def test_outputs_that_were_not_sent_are_sent_with_the_tags_that_were_there(town):
    first = town.conductor(tagging, add)
    town.start(tagging(), tags=("old",))
    first.step()
    first.backend.fails = ["before publish"]
    town.signal("tagging", "w", numbers.name, 1)
    first.step_with_trouble()
    first.crash()
    town.send("tagging", "w", TagsChanged("t", ("late",)))
    second = town.conductor(tagging, add)
    second.step()
    sent = town.transport.unacknowledged(service_topic("add"))

    assert [msgspec.json.decode(one.payload, type=TaskRequest).tags for one in sent] == [("old",), ("old", "vip")]


def test_a_storage_that_is_away_delays_it(town, monkeypatch):
    hand = town.conductor(collecting)
    begin(town, hand)
    send_to_all(town)
    find, calls = hand.backend.storage.find, []

    def away(*given):
        calls.append(given)
        if len(calls) == 1:
            raise StorageError("the storage is away")
        return find(*given)

    monkeypatch.setattr(hand.backend.storage, "find", away)
    hand.step_with_trouble()
    hand.step()

    assert heard(town) == [1] * 7


def test_a_tag_that_nobody_has_is_told_the_log_only(town, caplog):
    hand = town.conductor(collecting)
    begin(town, hand)
    with caplog.at_level(logging.DEBUG, "infinitic.worker"):
        send_to_all(town, "nobody", id="b")
        hand.step()

    assert [one.message for one in caplog.records] == ["SignalReceived b: no instance of collecting tagged 'nobody'"]
    assert heard(town) == [0] * 7


def test_a_broadcast_that_cannot_be_read_is_put_away(town):
    hand = town.conductor(collecting)
    town.publish(ROUTER, "tag vip", Message("broadcast", "b", ROUTER, "tag vip", payload=Raw(b'{"tag":1}')))
    hand.step()

    assert town.waiting(workflow_topic(ROUTER)) == []
    assert town.waiting(workflow_topic(ROUTER) + ":dead") == ["broadcast"]


@pytest.mark.parametrize(
    ("event", "meant"),
    [
        (SignalReceived("b", "numbers"), {"running", "suspended", "failed"}),
        (CancelRequested("b"), {"running", "suspended"}),
        (TimersCompleted("b"), {"running", "suspended"}),
        (Retried("b"), {"failed"}),
        (Retried("b", tasks=True), {"running", "suspended", "failed"}),
    ],
)
def test_an_event_goes_to_those_to_whom_it_makes_sense(event, meant):
    assert {status for status in STATUSES if is_meant(StateRecord("w", "w", "r", status), event)} == meant
