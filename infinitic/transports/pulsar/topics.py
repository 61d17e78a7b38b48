"""Topics on Pulsar: what each is called there, and that it is there before the first message.

A message that is sent before its subscription exists is lost. So whoever is first, sender or receiver, makes topic
and subscription, by the admin API; who may not do that is told what an operator has to make.
"""

from __future__ import annotations

import logging
import re
import threading
from collections.abc import Iterable, Iterator, Sequence
from shlex import quote

import pulsar

from infinitic.errors import TransportError
from infinitic.topics import CLIENT, CONTROL, DEAD, WORKFLOW
from infinitic.transports import Traffic
from infinitic.transports.pulsar.connecting import said
from infinitic.transports.pulsar_admin import Admin, NoAdmin
from infinitic.transports.pulsar_settings import PulsarSettings

PARTITION = re.compile(r"-partition-\d+$")
NAME = re.compile(r"[A-Za-z_][\w.-]*", re.ASCII)

log = logging.getLogger("infinitic.pulsar")


def is_kept(topic: str) -> bool:
    """Whether the broker keeps what is sent there; what clients and running attempts are told may be lost."""
    return not topic.startswith(CLIENT) and not topic.endswith(CONTROL)


def is_keyed(topic: str) -> bool:
    """Whether a topic gives all messages of one key to one consumer."""
    return topic.startswith(WORKFLOW) and not topic.endswith(DEAD)


def is_name(name: str) -> bool:
    """Whether what a message says it is for can have a topic."""
    return bool(NAME.fullmatch(name)) and not PARTITION.search(name)


class Topics:
    """The topics of one namespace. Thread-safe."""

    def __init__(self, settings: PulsarSettings, client: pulsar.Client) -> None:
        self.settings = settings
        self._client = client
        self._admin = Admin(settings)
        self._there: set[str] = set()
        self._partitions: dict[str, Sequence[str]] = {}
        self._lock = threading.Lock()

    def full(self, topic: str) -> str:
        """What Pulsar calls a topic."""
        kind = "persistent" if is_kept(topic) else "non-persistent"
        return f"{kind}://{self.settings.tenant}/{self.settings.namespace}/{topic}"

    def name(self, full: str) -> str:
        """What we call the topic that Pulsar calls so, be it one of its partitions."""
        return PARTITION.sub("", full.rsplit("/", 1)[1])

    def ensure(self, topics: Iterable[str]) -> None:
        """See that they are there, and their subscriptions. Raises `TransportError`."""
        wanted = [topic for topic in topics if topic not in self._there]
        if not wanted:  # nobody waits for the topics of others
            return
        with self._lock:
            wanted = [topic for topic in wanted if topic not in self._there]
            refusals = {topic: refusal for topic in wanted if (refusal := self._refused(topic))}
            self._there.update(topic for topic in wanted if topic not in refusals)
        if refusals:
            why = next(iter(refusals.values()))
            to_make = "\n  ".join(commands(self.settings, refusals))
            raise TransportError(
                f"{self.settings.place} lacks {', '.join(refusals)}, which this program could not make. {why}",
                f"Give pulsar.admin_url and the right to make topics, or have an operator make them:\n  {to_make}\n",
            )

    def _refused(self, topic: str) -> str:
        """Make a topic; why that is not allowed, "" when it is there."""
        if PARTITION.search(topic):
            raise TransportError(f"The name {topic!r} ends as a partition's does", "Give it another name.")
        try:
            if is_kept(topic):
                self._admin.make_topic(topic, partitions(self.settings, topic))
                self._admin.make_subscription(topic)
            else:
                self._admin.make_passing_topic(topic)
        except NoAdmin as error:
            return "" if not is_kept(topic) or self._is_there(topic) else str(error)
        return ""

    def _is_there(self, topic: str) -> bool:
        """Whether somebody made it, as far as the broker tells who is no admin: then with its subscription."""
        full = self.full(topic)
        try:
            return bool(self._client.get_topic_partitions(full) != [full])
        except pulsar.TopicNotFound:  # nor its namespace
            return False
        except Exception as error:
            raise TransportError(f"{self.settings.place} cannot be reached: {said(error)}") from None

    def partitions(self, topic: str) -> Sequence[str]:
        """What Pulsar calls its partitions, as many as there were at the first look."""
        found = self._partitions.get(topic)
        if found is None:
            found = self._partitions[topic] = self._client.get_topic_partitions(self.full(topic))
        return found

    def forget(self, topic: str) -> None:
        """Look again whether it is there before the next use: somebody may have removed it.

        Takes no lock: the client's own thread calls this, and who holds the lock may wait for just that thread.
        """
        self._there.discard(topic)
        self._partitions.pop(topic, None)

    def broker(self) -> dict[str, str]:
        """What the broker and the namespace are set to; under "admin" or "configuration" why that is not known."""
        place = f"/namespaces/{self.settings.tenant}/{self.settings.namespace}"
        try:
            status, version = self._admin.request("GET", "/brokers/version")
            _, policies = self._admin.request("GET", place)
        except TransportError as error:
            return {"admin": str(error)}
        if status != 200 or not isinstance(policies, dict):
            return {"admin": f"{self.settings.admin_url} is no admin API of Pulsar"}
        told = {"version": str(version), **{name: str(value) for name, value in policies.items()}}
        try:
            _, runtime = self._admin.request("GET", "/brokers/configuration/runtime")
        except TransportError as error:
            return told | {"configuration": str(error)}
        return told | {name: str(value) for name, value in runtime.items()}

    def traffic(self, topic: str) -> Traffic | None:
        """How it stands; None where that cannot be known."""
        if not is_kept(topic):
            return None
        try:
            told = self._admin.stats(topic)
        except TransportError:
            return None
        if told is None:
            return Traffic()
        consumers = waiting = 0
        for partition in told.get("partitions", {}).values():
            its = partition.get("subscriptions", {}).get(self.settings.subscription, {})
            consumers = max(consumers, len(its.get("consumers", ())))
            waiting += max(0, its.get("msgBacklog", 0) - its.get("unackedMessages", 0))
        return Traffic(consumers, waiting)


def partitions(settings: PulsarSettings, topic: str) -> int:
    """How many partitions a topic is made with."""
    return 1 if topic.endswith(DEAD) else settings.partitions


def commands(settings: PulsarSettings, topics: Iterable[str]) -> Iterator[str]:
    """What an operator types to make topics and their subscriptions."""
    for topic in topics:
        if is_kept(topic):
            full = quote(f"persistent://{settings.tenant}/{settings.namespace}/{topic}")
            yield f"pulsar-admin topics create-partitioned-topic -p {partitions(settings, topic)} {full}"
            yield f"pulsar-admin topics create-subscription -s {quote(settings.subscription)} -m earliest {full}"
