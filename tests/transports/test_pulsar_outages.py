"""What an outage must not hold up: closing, and the client's own thread. A broker of the tests' own, behind a line."""

import threading

import pytest

from infinitic.errors import TransportError
from infinitic.topics import dead_topic
from infinitic.transports.pulsar import PulsarTransport
from tests.servers.found import private
from tests.servers.pulsar import Pulsar
from tests.storages.relay import Relay
from tests.transports import on_pulsar
from tests.transports.given import HOTELS, PATIENCE, TRIPS, Subscriber, sent

NO_ADMIN = "http://127.0.0.1:1"


@pytest.fixture(scope="module")
def broker():
    with private(Pulsar) as server:
        yield server


@pytest.fixture
def line(broker):
    with Relay(broker.port) as made:
        yield made


@pytest.fixture
def url(broker):
    return on_pulsar.fresh(broker.url)


@pytest.fixture
def connect(broker, line, url):
    """A transport over the line, with options of its own; who closes it is the test."""
    through = url.replace(f":{broker.port}/", f":{line.port}/")
    return lambda **options: PulsarTransport.open(
        through + "".join(f"&{name}={value}" for name, value in options.items()), {}, "default"
    )


def begun(call):
    """*call* in a thread of its own."""
    thread = threading.Thread(target=call, daemon=True)
    thread.start()
    return thread


def has_ended(thread):
    thread.join(PATIENCE)
    return not thread.is_alive()


class Held:
    """Stops whoever calls *call* until it may go on."""

    def __init__(self, call):
        self.call, self.there, self.may = call, threading.Event(), threading.Event()

    def __call__(self, *values):
        self.there.set()
        self.may.wait()
        return self.call(*values)


def test_closing_waits_for_no_broker_that_is_to_take_what_was_refused(connect, line):
    transport = connect()
    transport._producers.put_by(dead_topic(TRIPS), b"", "k", {})
    [group] = Subscriber(transport, TRIPS).consumer.groups
    refuse = group._refuse = Held(group._refuse)
    transport._producers.put_by(TRIPS, b"no message of ours", "k", {})
    assert refuse.there.wait(PATIENCE)
    line.cut()
    refuse.may.set()

    assert has_ended(begun(transport.close))


def test_closing_ends_who_waits_for_a_receipt(connect, line):
    transport = connect()
    transport.publish(sent(TRIPS, "k", "m0"))
    line.cut()

    def publish():
        with pytest.raises(TransportError):
            transport.publish(sent(TRIPS, "k", "m1"))

    sender = begun(publish)
    transport.close()

    assert has_ended(sender)


def test_the_clients_own_thread_waits_for_nobody_who_looks_for_a_topic(connect, broker, line, url):
    """It brings what that one waits for."""
    maker = PulsarTransport.open(url, {}, "default")
    maker.publish(sent(TRIPS, "k", "m0"))
    transport = connect(admin_url=NO_ADMIN)
    transport.publish(sent(TRIPS, "k", "m1"))
    looks = transport._topics._is_there = Held(transport._topics._is_there)
    told = []

    def publish(topic):
        with pytest.raises(TransportError) as raised:
            transport.publish(sent(topic, "k", "m2"))
        told.append(str(raised.value))

    line.cut()
    sender = begun(lambda: publish(TRIPS))
    looker = begun(lambda: publish(HOTELS))
    assert looks.there.wait(PATIENCE)
    on_pulsar.admin(url, "POST", f"/persistent/{{namespace}}/{TRIPS}/terminate/partitions")
    line.mend()

    assert has_ended(sender)
    looks.may.set()
    assert has_ended(looker)
    assert [any(word in one for one in told) for word in ("TopicTerminated", f"lacks {HOTELS}")] == [True, True]
    maker.close()
    transport.close()
