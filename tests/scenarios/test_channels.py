"""Channels: signals are kept until they are received, come once and in order, from whoever knows the id."""

import pytest
from msgspec import Raw

from dsl import Channel, Flow, Workflow, dispatch, gather, method, sleep, task, workflow
from infinitic.engine.outputs import ROUTER
from infinitic.errors import DecodeError, UnknownWorkflow
from infinitic.events import SignalReceived
from infinitic.ids import new_id
from infinitic.messages import Outgoing, event_message
from infinitic.topics import workflow_topic
from tests.scenarios.given import events, open_at, until

numbers = Channel(int, name="numbers")
words = Channel(str, name="words")


@workflow
def collecting(count: int) -> Flow[list[int]]:
    collected = []
    for _ in range(count):
        collected.append((yield from numbers.receive()))
    return collected


@workflow
def patient() -> Flow[list[int]]:
    yield from words.receive()
    return numbers.drain()


@workflow
def two_mailboxes() -> Flow[tuple[int, str]]:
    return (yield from gather(numbers.receive(), words.receive()))


def test_signals_come_in_the_order_in_which_one_sender_sent_them(serve, client):
    serve(collecting)
    handle = client.start(collecting(100), id="c")
    for number in range(100):
        client.start(numbers.by_id("c").send(number))

    assert handle.result(20) == list(range(100))


def test_a_signal_that_was_answered_is_not_lost(serve, client):
    serve(patient)
    handle = client.start(patient(), id="p")
    for number in range(5):
        client.run(numbers.by_id("p").send(number), timeout=20)
    client.run(words.by_id("p").send("now"), timeout=20)

    assert handle.result(20) == [0, 1, 2, 3, 4]


def test_signals_of_different_channels_do_not_mix(serve, client):
    serve(two_mailboxes)
    handle = client.start(two_mailboxes(), id="t")
    client.run(words.by_id("t").send("word"), timeout=20)
    client.run(numbers.by_id("t").send(5), timeout=20)

    assert handle.result(20) == (5, "word")


def test_a_thousand_signals_in_one_burst(serve, client):
    serve(collecting, cache_instances=1)
    handle = client.start(collecting(1000), id="c")
    for number in range(1000):
        client.start(numbers.by_id("c").send(number))

    assert handle.result(60) == list(range(1000))


def test_ten_thousand_signals_in_one_burst_keep_their_order_though_they_come_twice(serve, client, place):
    serve(collecting)
    handle = client.start(collecting(10_001), id="c")
    until(lambda: client.count(collecting))
    signals = [SignalReceived(new_id(), "numbers", value=Raw(b"%d" % number)) for number in range(10_000)]
    burst = [
        Outgoing(workflow_topic("collecting"), "c", event_message(signal, workflow="collecting", workflow_id="c", at=1))
        for signal in signals
    ]
    backend = open_at(place)
    for _ in range(2):
        for start in range(0, 10_000, 1_000):
            backend.transport.publish(burst[start : start + 1_000])
    backend.close()
    client.run(numbers.by_id("c").send(10_000), timeout=60)

    assert handle.result(60) == list(range(10_001))


def test_a_signal_that_came_twice_counts_once(serve, client):
    serve(collecting)
    handle = client.start(collecting(2), id="c")
    first = new_id()
    for _ in range(3):
        client.start(numbers.by_id("c").send(1), id=first)
    client.run(numbers.by_id("c").send(2), timeout=20)

    assert handle.result(20) == [1, 2]
    assert events(handle.history()) == ["Started", "SignalReceived", "SignalReceived"]


def test_a_signal_to_nobody_is_answered_so(serve, client):
    serve(collecting)

    with pytest.raises(UnknownWorkflow):
        client.run(numbers.by_id("nobody").send(1), timeout=20)


def test_a_sender_that_knows_only_the_id_reaches_the_instance_in_order(serve, client, place):
    serve(collecting, patient)
    handle = client.start(collecting(50), id="c")
    until(lambda: client.count(collecting))
    backend = open_at(place)
    for number in range(50):
        event = SignalReceived(new_id(), "numbers", value=Raw(str(number).encode()))
        message = event_message(event, workflow=ROUTER, workflow_id="c")
        backend.transport.publish([Outgoing(workflow_topic(ROUTER), "c", message)])
    backend.close()

    assert handle.result(20) == list(range(50))


@workflow
def relaying(target: str, count: int) -> Flow[None]:
    for number in range(count):
        yield from numbers.by_id(target).send(number)
        yield from sleep(0)


@workflow
def relaying_all_at_once(target: str, count: int) -> Flow[None]:
    yield from gather(*[numbers.by_id(target).send(number) for number in range(count)])


@pytest.mark.parametrize("sending", [relaying, relaying_all_at_once], ids=["one by one", "at once"])
def test_workflows_send_to_channels_of_modules_by_id_alone(serve, client, sending):
    serve(collecting, relaying, relaying_all_at_once)
    handle = client.start(collecting(20), id="c")
    until(lambda: client.count(collecting))
    client.run(sending("c", 20), timeout=20)

    assert handle.result(20) == list(range(20))


def test_routed_and_direct_messages_of_one_batch_all_arrive(serve, client, place):
    """Both kinds wait for the worker, which gets them together."""
    backend = open_at(place)
    first = serve(collecting)
    handle = client.start(collecting(60), id="c")
    until(lambda: client.count(collecting))
    first.close()
    for number in range(60):
        name = ROUTER if number % 2 else "collecting"
        event = SignalReceived(new_id(), "numbers", value=Raw(str(number).encode()))
        message = event_message(event, workflow=name, workflow_id="c")
        backend.transport.publish([Outgoing(workflow_topic(name), "c", message)])
    backend.close()
    serve(collecting)

    answers = handle.result(20)
    assert sorted(answers) == list(range(60))
    assert [one for one in answers if one % 2] == list(range(1, 60, 2))
    assert [one for one in answers if not one % 2] == list(range(0, 60, 2))


class Desk(Workflow):
    papers = Channel[int | str]()

    @method
    def run(self, count: int) -> Flow[list[int | str]]:
        seen: list[int | str] = []
        while len(seen) < count:
            seen.append((yield from self.papers.receive()))
        return seen


def test_a_channel_takes_what_it_declares_and_refuses_the_rest(serve, client):
    serve(Desk)
    handle = client.start(Desk.run(2), id="d")
    client.run(Desk.by_id("d").papers.send("one"), timeout=20)
    with pytest.raises(DecodeError):
        client.run(Desk.by_id("d").papers.send([2]), timeout=20)  # type: ignore[arg-type]  # that is the point
    client.run(Desk.by_id("d").papers.send(2), timeout=20)

    assert handle.result(20) == ["one", 2]


def test_a_signal_of_the_wrong_type_is_refused_by_the_instance_too(serve, client, place):
    serve(Desk)
    handle = client.start(Desk.run(1), id="d")
    until(lambda: client.count(Desk))
    backend = open_at(place)
    event = SignalReceived(new_id(), "papers", value=Raw(b"[1]"))
    message = event_message(event, workflow="Desk", workflow_id="d")
    backend.transport.publish([Outgoing(workflow_topic("Desk"), "d", message)])
    backend.close()
    client.run(Desk.by_id("d").papers.send(5), timeout=20)

    assert handle.result(20) == [5]


unread = Channel(str, name="papers")


@workflow
def telling_all() -> Flow[None]:
    yield from unread.by_id("d").send("by id")
    yield from unread.by_tag("desk").send("by tag")


def test_a_refused_signal_whose_sender_does_not_wait_is_kept_for_people_with_the_reason(serve, client, caplog):
    class Desk(Workflow):
        papers = Channel(int)

        @method
        def run(self) -> Flow[int]:
            return (yield from self.papers.receive())

    serve(Desk, telling_all)
    handle = client.start(Desk.run(), id="d", tags=["desk"])
    until(lambda: client.count(Desk))
    client.run(telling_all(), timeout=20)
    why = "which refuses it: channel 'papers': Expected `int`, got `str`"
    told = f"a signal for Desk 'd', {why}; moved to workflow:Desk:dead"
    until(lambda: caplog.text.count(told) == 2)
    client.run(Desk.by_id("d").papers.send(5), timeout=20)

    assert handle.result(20) == 5


def test_a_signal_that_waited_while_its_channel_became_narrower_is_kept_for_people(serve, client, caplog, deploy):
    source = """
from dsl import Channel, Flow, Workflow, method

class Desk(Workflow):
    papers = Channel[{type}]()

    @method
    def run(self) -> Flow[int]:
        return (yield from self.papers.receive())
"""
    wide, narrow = deploy(source.format(type="int | str")), deploy(source.format(type="int"))
    first = serve(wide.Desk)
    handle = client.start(wide.Desk.run(), id="d")
    until(lambda: client.count(wide.Desk))
    handle.suspend(timeout=20)
    client.run(wide.Desk.by_id("d").papers.send("five"), timeout=20)  # its sender is told that it came
    first.close()
    serve(narrow.Desk)
    handle.resume(timeout=20)
    until(
        lambda: (
            "a signal for Desk 'd', which refuses it: channel 'papers': Expected `int`, got `str`; moved to"
            in caplog.text
        )
    )
    client.run(narrow.Desk.by_id("d").papers.send(5), timeout=20)

    assert handle.result(20) == 5


@task
def noop() -> None: ...


@workflow
def busy_mailbox(count: int) -> Flow[int]:
    total = 0
    for _ in range(count):
        yield from noop()
        total += sum(numbers.drain())
    yield from words.receive()
    return total + sum(numbers.drain())


def test_no_signal_is_lost_between_tasks(serve, client):
    serve(busy_mailbox, noop)
    handle = client.start(busy_mailbox(30), id="b")
    for _ in range(200):
        client.start(numbers.by_id("b").send(1))
    client.run(words.by_id("b").send("stop"), timeout=20)

    assert handle.result(20) == 200


@workflow
def starting_and_signalling(count: int) -> Flow[list[list[int]]]:
    children = [dispatch(collecting(2).options(id=f"child {number}")) for number in range(count)]
    for number in range(count):
        yield from numbers.by_id(f"child {number}").send(number)
        yield from numbers.by_id(f"child {number}").send(number + 100)
    return (yield from gather(*children))


def test_a_signal_that_follows_the_start_of_its_receiver_at_once_arrives(serve, client):
    serve(starting_and_signalling, collecting)

    assert client.run(starting_and_signalling(1), timeout=20) == [[0, 100]]


def test_signals_that_overtake_the_starts_of_their_receivers_arrive(stage, client):
    """Another worker begins the children, and sends on what only names their ids before or after that."""
    stage.serve_with_limits(starting_and_signalling, slow=0.05, give_up=60)  # which sweeps often
    handle = client.start(starting_and_signalling(5))
    until(lambda: client.count(starting_and_signalling) == 1)
    stage.serve_with_limits(collecting, slow=0.05, give_up=60)

    assert handle.result(20) == [[number, number + 100] for number in range(5)]
