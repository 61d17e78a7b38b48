"""What is Pulsar's own: keys move by hash, copies after a broken connection, refused messages, topics, settings."""

import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from functools import partial

import msgspec
import pulsar
import pytest

from infinitic.config import load_config
from infinitic.errors import ConfigurationError, TransportError
from infinitic.events import Heartbeat, TaskCompleted, TaskStarted
from infinitic.messages import Message, Outgoing, encode_message, event_message
from infinitic.topics import dead_topic
from infinitic.transports import Traffic
from infinitic.transports.pulsar import PulsarTransport
from infinitic.transports.pulsar import consumer as consumers
from infinitic.transports.pulsar.connecting import connect as raw_client
from infinitic.transports.pulsar_settings import read_settings
from tests.scenarios.given import until
from tests.servers.found import server
from tests.storages.given import AWKWARD_IDS, in_threads
from tests.transports import on_pulsar
from tests.transports.given import (
    CLIENT,
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

EARLIEST = pulsar.InitialPosition.Earliest


@pytest.fixture
def opened():
    """`opened(url)`: a transport there, closed in the end."""
    with ExitStack() as stack:
        yield lambda url: stack.enter_context(closing(PulsarTransport.open(url, {}, "default")))


@pytest.fixture
def url():
    return on_pulsar.fresh(server("pulsar"))


@pytest.fixture
def connect(opened, url):
    """A handle on the namespace, with options of its own."""
    return lambda **options: opened(url + "".join(f"&{name}={value}" for name, value in options.items()))


@pytest.fixture
def transport(connect):
    return connect()


@pytest.fixture
def raw(url):
    """The namespace as one sees it who knows nothing of us."""
    settings = read_settings(url, {}, "default")
    with closing(raw_client(settings)) as client:
        yield Raw(client, f"persistent://{settings.tenant}/{settings.namespace}")


class Raw:
    def __init__(self, client, place):
        self.client, self.place = client, place

    def send(self, topic, data, key="k", **properties):
        kind = self.place if not topic.startswith("client:") else self.place.replace("persistent", "non-persistent")
        self.client.create_producer(f"{kind}/{topic}").send(data, properties=properties, partition_key=key)

    def all(self, topic, count):
        """The first *count* messages of a topic, whoever has them."""
        looking = self.client.subscribe(f"{self.place}/{topic}", "looking", initial_position=EARLIEST)
        return [looking.receive(timeout_millis=round(PATIENCE * 1000)) for _ in range(count)]


class Band:
    """Several consumers who are woken by one bell."""

    def __init__(self, *transports):
        self.bell = threading.Event()
        self.members = [transport.subscribe([TRIPS], self.bell.set) for transport in transports]

    def take(self, count):
        """*count* messages, acknowledged: id → the number of who got it."""
        got: dict[str, int] = {}
        while len(got) < count:
            self.bell.clear()
            before = len(got)
            for number, member in enumerate(self.members):
                taken = member.receive(100)
                got.update(dict.fromkeys(ids(taken), number))
                member.ack(taken)
            if len(got) == before and not self.bell.wait(PATIENCE):
                break
        return got


class InHand:
    """Whose keys are in whose hands, between receiving and acknowledging; and what came for a key in two."""

    def __init__(self):
        self.owners: dict[str, Subscriber] = {}
        self.twice: list[str] = []
        self.lock = threading.Lock()

    def of(self, subscriber):
        """The same, watched."""
        receive, ack = subscriber.consumer.receive, subscriber.consumer.ack
        subscriber.consumer.receive = lambda limit: self.took(subscriber, receive(limit))
        subscriber.consumer.ack = lambda deliveries: ack(self.gave(deliveries))
        return subscriber

    def took(self, subscriber, deliveries):
        with self.lock:
            owned = [(one, self.owners.setdefault(one.message.workflow_id, subscriber)) for one in deliveries]
            self.twice += [one.message.id for one, owner in owned if owner is not subscriber]
        return deliveries

    def gave(self, deliveries):
        with self.lock:
            for one in deliveries:
                self.owners.pop(one.message.workflow_id, None)
        return deliveries


# --- keys ---


def test_a_key_goes_to_the_partition_that_javas_default_names(opened, raw, url):
    """So that a client in another language sends what is for one instance to the same place."""
    transport = opened(url + "&partitions=4")
    keys = {"trip-42": 2, "a": 1, "ä": 0, "🦄": 2, "x" * 255: 0, "order/7 b": 0}  # String.hashCode & 0x7fffffff, % 4
    transport.publish([one for key in keys for one in sent(TRIPS, key, key)])

    assert {one.partition_key(): one.message_id().partition() for one in raw.all(TRIPS, len(keys))} == keys


def test_any_id_is_a_key(opened, url):
    transport = opened(url + "&partitions=4")
    transport.publish([one for key in AWKWARD_IDS for one in sent(TRIPS, key, key)])

    assert sorted(Subscriber(transport, TRIPS).ids(len(AWKWARD_IDS))) == sorted(AWKWARD_IDS)


def test_a_key_stays_with_its_consumer_while_consumers_stay(connect, transport):
    band, keys = Band(connect(), connect(), connect()), numbered("k", 40)
    owners = []
    for _ in range(5):
        transport.publish([one for key in keys for one in sent(TRIPS, key, key)])
        owners.append(band.take(len(keys)))

    assert owners == [owners[0]] * 5
    assert set(owners[0].values()) == {0, 1, 2}


def test_messages_behind_one_in_hand_are_with_nobody_else(connect, transport):
    """Whether the key moves to who came later or not: not before the one in hand is done with."""
    here = Subscriber(connect(), TRIPS)
    transport.publish(sent(TRIPS, "k", "m1"))
    first = here.take(1)
    there = Subscriber(connect(), TRIPS)
    transport.publish(sent(TRIPS, "k", "m2", "m3"))
    assert there.at_hand() == []
    here.consumer.ack(first)

    assert list(filter(None, share_out([here, there], 2))) == [["m2", "m3"]]


def test_a_key_is_never_with_two_consumers_while_others_come_and_go(connect, transport, count):
    keys, each = numbered("k", 20), count(20, 200)
    in_hand = InHand()

    def publish():
        for number in range(each):
            transport.publish([one for key in keys for one in sent(TRIPS, key, f"{key}/{number}")])

    def come_and_go():
        for _ in range(each // 4):
            passing = connect().subscribe([TRIPS], lambda: None)
            passing.close()

    got = share_out(
        [in_hand.of(Subscriber(connect(), TRIPS)) for _ in range(3)], len(keys) * each, publish, come_and_go
    )

    assert in_hand.twice == []
    assert sorted(id_ for its in got for id_ in its) == sorted(f"{key}/{n}" for key in keys for n in range(each))


def test_a_key_that_moves_keeps_its_order_under_load(connect, transport):
    keys, each = numbered("k", 10), 60
    here, there = Subscriber(connect(), TRIPS), Subscriber(connect(), TRIPS)

    def publish():
        for number in range(each):
            transport.publish([one for key in keys for one in sent(TRIPS, key, f"{key}/{number}")])

    done: list[str] = []

    def leave():
        for _ in range(5):
            done.extend(here.done(10))
        here.consumer.close()

    in_threads(publish, leave)
    rest = there.ids(len(keys) * each - len(done))

    whole = [*done, *rest]
    assert {key: [id_ for id_ in whole if id_.startswith(f"{key}/")] for key in keys} == {
        key: [f"{key}/{number}" for number in range(each)] for key in keys
    }


# --- what cannot be used ---

TASK = Message("task", "t", workflow_id="k")
REFUSED = [
    (TRIPS, b"\x00\xff no JSON", "it is no message of ours: JSON is malformed: invalid character (byte 0)"),
    (HOTELS, b"", "it is no message of ours: Input data was truncated"),
    (TRIPS, b'{"id": "m1"}', "it is no message of ours: Object missing required field `kind`"),
    (HOTELS, b"[1, 2]", "it is no message of ours: Expected `object`, got `array`"),
    (TRIPS, b'{"kind":"event","id":"","payload":%b}' % (b"[" * 5_000 + b"]" * 5_000), "nested too deeply"),
    (TRIPS, b'{"kind":"event","id":"\xff"}', "it is no message of ours: it is not UTF-8"),
    (
        HOTELS,
        encode_message(Message("task", "t", "trips", "k", format=3)),
        "its format is 3, and this release reads up to 2",
    ),
    (HOTELS, encode_message(TASK), "a task needs the workflow that asks for it"),
    (HOTELS, encode_message(Message("task", "t", "trips")), "a message of kind 'task' needs a workflow id"),
    (TRIPS, encode_message(Message("event", "e", "trips")), "a message of kind 'event' needs a workflow id"),
    (TRIPS, encode_message(Message("event", "e", "a b", "k")), "'a b' is no name of a workflow"),
    (
        HOTELS,
        encode_message(Message("task", "t", "x-partition-1", "k")),
        "'x-partition-1' is no name of a workflow",
    ),
    (TRIPS, encode_message(Message("event", "e" * 1_001, "trips", "k")), "its id has more than 1000 bytes"),
    (TRIPS, encode_message(Message("event", "e", "trips", "é" * 128)), "its workflow_id has more than 255 bytes"),
]


@pytest.mark.parametrize(("topic", "data", "reason"), REFUSED, ids=[f"{one[0][:8]} {one[2][-20:]}" for one in REFUSED])
def test_what_is_no_message_of_ours_is_put_away_as_it_is_and_stops_nobody(transport, raw, topic, data, reason):
    here = Subscriber(transport, topic)
    raw.send(topic, data, key="its key", trace="00-ab")
    transport.publish(sent(topic, "its key", "behind"))

    assert here.done(1) == ["behind"]
    [dead] = raw.all(dead_topic(topic), 1)
    told = dead.properties()
    assert (dead.data(), dead.partition_key()) == (data, "its key")
    assert told.pop("reason").endswith(reason)
    assert told == {"trace": "00-ab", "topic": topic}
    here.consumer.close()
    assert transport.traffic([topic]) == [Traffic()]  # acknowledged


def test_what_is_no_message_for_a_client_is_dropped_and_stops_nobody(transport, raw):
    here = Subscriber(transport, CLIENT)
    raw.send(CLIENT, b"no JSON")
    transport.publish(sent(CLIENT, "", "behind"))

    assert here.ids(1) == ["behind"]


def test_a_message_that_is_too_large_goes_to_the_dead_without_its_payload_and_stops_nobody(connect):
    transport = connect(largest_message=2_000)
    here, dead = Subscriber(transport, TRIPS), Subscriber(transport, dead_topic(TRIPS))
    large = message("large", workflow="trips", workflow_id="k", run="r", payload=msgspec.Raw(b'"%b"' % (b"x" * 2_000)))
    transport.publish([*sent(TRIPS, "k", "m1"), Outgoing(TRIPS, "k", large), *sent(TRIPS, "k", "m2")])

    size = len(encode_message(large))
    reason = f"it has {size} bytes, and 2000 is the most (pulsar.largest_message)"
    assert here.ids(2) == ["m1", "m2"]
    assert [one.message for one in dead.take(1)] == [
        Message("event", "large", "trips", "k", "r", headers={"reason": reason, "topic": TRIPS})
    ]


def test_the_largest_message_that_is_not_too_large_arrives(connect):
    transport, key = connect(producer_name="p" * 200), "k" * 255
    empty = message("m", workflow_id=key, payload=msgspec.Raw(b'""'))
    left = transport.settings.largest_message - len(encode_message(empty))
    largest = msgspec.structs.replace(empty, payload=msgspec.Raw(b'"%b"' % (b"x" * left)))
    transport.publish([Outgoing(TRIPS, key, largest)])

    assert len(encode_message(largest)) == transport.settings.largest_message
    assert Subscriber(transport, TRIPS).ids(1) == ["m"]


def test_more_than_may_be_under_way_at_once_arrives_in_order(connect):
    transport = connect(pending=5)
    transport.publish(sent(TRIPS, "k", *numbered("m", 23)))

    assert Subscriber(transport, TRIPS).ids(23) == numbered("m", 23)


# --- copies ---


def test_what_one_attempt_says_at_once_arrives_all_of_it(transport):
    """That it began, a heartbeat, that it is over: all have the place of the task, and no id of their own."""
    about = {"workflow": "trips", "workflow_id": "k", "run": "r", "position": "m0.0", "attempt": 1}
    beats = Heartbeat("", "m0.0"), Heartbeat("", "m0.0", 1, msgspec.Raw(b"1"))
    messages = [event_message(one, **about) for one in (TaskStarted("", "m0.0"), *beats, TaskCompleted("", "m0.0"))]
    transport.publish([Outgoing(TRIPS, "k", one) for one in messages])

    assert [one.message for one in Subscriber(transport, TRIPS).take(4)] == messages


@pytest.mark.parametrize("topic", [TRIPS, HOTELS])
@pytest.mark.parametrize("break_off", [on_pulsar.unload, on_pulsar.break_connections], ids=["unload", "connection"])
def test_a_copy_of_what_is_in_hand_is_not_delivered_and_acknowledged_with_it(transport, url, topic, break_off):
    here = Subscriber(transport, topic)
    transport.publish(sent(topic, "k", "m1", "m2", "m3"))
    taken = here.take(3)
    break_off(url)
    transport.publish(sent(topic, "k", "m4"))  # behind the copies

    assert here.done(1) == ["m4"]
    here.consumer.ack(taken)
    here.consumer.close()
    later = Subscriber(transport, topic)
    transport.publish(sent(topic, "k", "m5"))
    assert later.ids(1) == ["m5"]


def test_a_task_that_was_sent_twice_is_delivered_once_while_it_is_in_hand(transport):
    here = Subscriber(transport, HOTELS)
    task = message("t", kind="task", workflow="trips", workflow_id="k", attempt=1)
    again = message("t", kind="task", workflow="trips", workflow_id="k", attempt=2)
    transport.publish([Outgoing(HOTELS, "k", task)])
    taken = here.take(1)
    for one in (task, again):
        transport.publish([Outgoing(HOTELS, "k", one)])

    assert [one.message for one in taken + here.take(1)] == [task, again]
    here.consumer.ack(taken)
    here.consumer.close()
    assert [one.message for one in Subscriber(transport, HOTELS).take(1)] == [again]


def test_a_copy_of_what_was_done_a_moment_ago_is_acknowledged_at_once(transport):
    here = Subscriber(transport, HOTELS)
    task = message("t", kind="task", workflow="trips", workflow_id="k", attempt=1)
    transport.publish([Outgoing(HOTELS, "k", task)])
    here.consumer.ack(here.take(1))
    transport.publish([Outgoing(HOTELS, "k", task), *sent(HOTELS, "k", "m2")])

    assert here.done(1) == ["m2"]
    here.consumer.close()
    assert transport.traffic([HOTELS]) == [Traffic()]


@pytest.mark.parametrize("topic", [TRIPS, HOTELS])
def test_nothing_is_lost_while_the_broker_lets_go_of_topics(connect, transport, url, topic):
    here, total = Subscriber(connect(), topic), 300

    def publish():
        for number in range(total):
            transport.publish(sent(topic, "k", f"m{number}"))

    def disturb():
        for _ in range(3):
            on_pulsar.unload(url)

    [got] = share_out([here], total, publish, disturb)

    assert sorted(set(got)) == sorted(numbered("m", total))
    if topic == TRIPS:
        assert list(dict.fromkeys(got)) == numbered("m", total)


def test_what_is_sent_while_there_is_no_connection_arrives_once(connect, transport, url):
    here = Subscriber(connect(), TRIPS)
    transport.publish(sent(TRIPS, "k", "m1"))
    assert here.done(1) == ["m1"]
    for number in range(2, 6):
        on_pulsar.break_connections(url)
        transport.publish(sent(TRIPS, "k", f"m{number}"))

    assert here.done(4) == ["m2", "m3", "m4", "m5"]
    here.consumer.close()
    assert transport.traffic([TRIPS]) == [Traffic()]


def test_tasks_that_wait_for_room_go_to_others(connect, transport, monkeypatch):
    monkeypatch.setattr(consumers, "STALE", 0.0)
    busy, there = connect(), Subscriber(connect(), HOTELS)
    here = Subscriber(busy, HOTELS)
    transport.publish(sent(HOTELS, "k", *numbered("m", 10)))
    [held] = here.take(1, limit=1)
    got: list[str] = []

    def shared():
        busy.sweep()
        taken = there.consumer.receive(10)
        there.consumer.ack(taken)
        got.extend(ids(taken))
        return len(got) == 9

    until(shared)

    assert sorted([held.message.id, *got]) == numbered("m", 10)


# --- topics ---


def test_who_uses_a_topic_first_at_the_same_time_makes_it_once(opened):
    """In a tenant that is not there yet either."""
    place = on_pulsar.fresh(server("pulsar"))
    place = place.replace("/public/test-", "/tenant-").replace("?", "/fresh?", 1)
    transports = [opened(place) for _ in range(4)]
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda pair: pair[1].publish(sent(TRIPS, "k", f"m{pair[0]}")), enumerate(transports)))

    assert sorted(Subscriber(transports[0], TRIPS).ids(4)) == numbered("m", 4)


def test_what_an_operator_has_to_make_is_told_where_no_admin_is_at_hand(connect):
    transport = connect(admin_url="http://127.0.0.1:1")

    with pytest.raises(TransportError) as refused:
        transport.publish(sent(TRIPS, "k", "m1"))

    full = f"persistent://{transport.settings.tenant}/{transport.settings.namespace}/{TRIPS}"
    told = str(refused.value)
    assert f"pulsar-admin topics create-partitioned-topic -p 1 {full}\n" in told
    assert f"pulsar-admin topics create-subscription -s infinitic -m earliest {full}\n" in told
    assert "http://127.0.0.1:1 does not answer" in told


def test_topics_that_are_there_are_used_without_an_admin(connect, transport):
    transport.publish(sent(TRIPS, "k", "m1"))
    other = connect(admin_url="http://127.0.0.1:1")
    other.publish(sent(TRIPS, "k", "m2"))

    assert Subscriber(other, TRIPS).ids(2) == ["m1", "m2"]
    assert other.traffic([TRIPS]) == [None]


# --- settings ---


@pytest.mark.parametrize("batching", ["true", "false"])
@pytest.mark.parametrize("compression", ["none", "lz4", "zlib", "zstd", "snappy"])
def test_what_is_compressed_or_batched_arrives_in_order(connect, transport, compression, batching):
    writer = connect(compression=compression, batching=batching)
    here = [Subscriber(connect(), TRIPS), Subscriber(connect(), TRIPS)]
    keys = numbered("k", 5)
    batch = [one for number in range(20) for key in keys for one in sent(TRIPS, key, f"{key}/{number}")]

    got = share_out(here, len(batch), partial(writer.publish, batch))

    shares = [[id_ for id_ in its if id_.startswith(f"{key}/")] for its in got for key in keys]
    assert sorted(filter(None, shares)) == [[f"{key}/{number}" for number in range(20)] for key in keys]


def test_processes_of_one_producer_name_send_beside_each_other(connect):
    for number in range(2):
        connect(producer_name="shop").publish(sent(TRIPS, "k", f"m{number}"))

    assert Subscriber(connect(), TRIPS).ids(2) == ["m0", "m1"]


PLACE = "pulsar://host:6650/public/default"


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ("token=t&user=u", "pulsar.token and pulsar.user are two ways"),
        ("token=t&oauth2_issuer=https://x", "pulsar.token and pulsar.oauth2_issuer are two ways"),
        ("oauth2_issuer=https://x", "pulsar.oauth2_issuer needs pulsar.oauth2_key_file"),
        ("tls_certificate=/none.pem", "pulsar.tls_certificate and pulsar.tls_key go together"),
        ("token_file=/none", "pulsar.token_file = '/none' is no file"),
        ("tls_trust=/none", "pulsar.tls_trust = '/none' is no file"),
        ("compression=rar", "compression = 'rar'"),
        ("partitions=0", "partitions = 0"),
        ("tokn=t", "tokn"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(options, problem):
    with pytest.raises(ConfigurationError, match=problem):
        PulsarTransport.open(f"{PLACE}?{options}", {}, "default")


@pytest.mark.parametrize("place", ["pulsar://host:6650/a", "pulsar://host:6650/a/b/c", "pulsar:///a/b"])
def test_a_url_that_names_no_namespace_is_refused(place):
    with pytest.raises(ConfigurationError, match="names no Pulsar namespace"):
        PulsarTransport.open(place, {}, "default")


def test_the_url_goes_before_the_table_and_the_admin_url_is_guessed():
    said = read_settings(f"{PLACE}?partitions=7", {"partitions": 3, "subscription": "mine"}, "other")
    safe = read_settings("pulsar+ssl://a:6651,b:6651", {}, "other")

    assert (said.partitions, said.subscription, said.namespace) == (7, "mine", "default")
    bare = read_settings("pulsar://[::1]", {}, "other")
    assert (said.admin_url, safe.admin_url, bare.admin_url) == (
        "http://host:8080",
        "https://a:8443",
        "http://[::1]:8080",
    )
    assert (safe.tenant, safe.namespace) == ("public", "other")


def test_a_url_that_says_who_this_is_is_refused_without_saying_it():
    for given in ("hush@host", "ann:hush@host"):
        with pytest.raises(ConfigurationError, match=r"Give pulsar\.token") as refused:
            read_settings(f"pulsar://{given}/a/b", {}, "other")
        assert "hush" not in str(refused.value)
    with pytest.raises(ConfigurationError, match=r"Give pulsar\.token"):
        read_settings(PLACE, {"admin_url": "http://ann:hush@host"}, "other")


@pytest.mark.parametrize("option", ["token", "password"])
def test_a_secret_is_never_shown(option):
    beside = {"user": "ann"} if option == "password" else {}
    url = f"pulsar://127.0.0.1:1/public/default?{option}=hush"
    settings = read_settings(url, beside, "default")
    with pytest.raises(TransportError) as unreachable:
        PulsarTransport.open(url, beside, "default")
    with pytest.raises(ConfigurationError) as refused:
        PulsarTransport.open(url, {"token": "hush hush", "user": "ann"}, "default")

    config = load_config(transport=url, storage="memory://x", pulsar={option: "hush"})
    told = [repr(settings), settings.place, repr(config), str(unreachable.value), str(refused.value)]
    assert [text for text in told if "hush" in text] == []


# --- the end ---


def test_closing_leaves_no_thread_and_a_second_time_does_nothing(url):
    before = set(threading.enumerate())
    transport = PulsarTransport.open(url, {}, "default")
    here = Subscriber(transport, TRIPS, HOTELS, CLIENT)
    transport.publish([*sent(TRIPS, "k", "m1"), Outgoing(CLIENT, "", message("m2"), hint=True)])
    assert sorted(here.ids(2)) == ["m1", "m2"]
    for _ in range(2):
        transport.close()

    assert set(threading.enumerate()) - before == set()


FORGETFUL = """
import sys
from infinitic.messages import Message, Outgoing
from infinitic.transports.pulsar import PulsarTransport

transport = PulsarTransport.open(sys.argv[1], {}, "default")
consumer = transport.subscribe(["workflow:trips", "client:c"], lambda: None)
transport.publish([Outgoing("workflow:trips", "k", Message("event", "m1", "trips", "k"))])
transport.publish([Outgoing("client:c", "", Message("reply", "m2"), hint=True)])
"""


def test_a_process_that_closes_nothing_ends_well(url):
    ended = subprocess.run([sys.executable, "-c", FORGETFUL, url], capture_output=True, text=True, check=False)

    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "", "")
