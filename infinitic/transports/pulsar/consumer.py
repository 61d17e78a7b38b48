"""Receiving from Pulsar: a subscription for topics of one kind, read by a thread of its own.

When a connection breaks, the broker sends anew all that was not acknowledged, what is being worked on too. Such a
copy of what is in hand here is adopted, that is acknowledged with it; a copy of what was done with a moment ago is
acknowledged at once. A task is known by its id and attempt, anything else by the broker's id.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, Protocol, TypeAlias

import msgspec
import pulsar

from infinitic.messages import FORMAT, Delivery, Message, decode_message
from infinitic.topics import CLIENT, DEAD, SERVICE, dead_topic
from infinitic.transports.pulsar.topics import Topics, is_kept, is_keyed, is_name

Key: TypeAlias = tuple[Any, ...]

REMEMBERED = 60.0
"""For how long a copy of what was done with is known as one, in seconds."""
MOST = 100_000
"""How many of them are remembered, at most: some 30 MB."""
STALE = 1.0
"""How long a task may wait here for room, in seconds, before others may have it."""
TAKEN_AHEAD = 16
"""How many tasks are read before there is room for them, at least."""
LONGEST = 1_000
"""Bytes of a name that storages can keep: what is longer is nobody's of ours."""
MAX_ID_BYTES = 255
PAUSE = 0.1
"""Between two attempts to receive while the client mends itself, in seconds."""
AT_HAND = 1_000
"""How many other messages are read before they are taken."""

log = logging.getLogger("infinitic.pulsar")


class Refuse(Protocol):
    """Puts by what is no message of ours, with the reason. Raises `TransportError`."""

    def __call__(self, topic: str, data: bytes, key: str, facts: dict[str, str]) -> None: ...


class Receipt:
    """What acknowledges a delivery: the broker's ids of it and its copies."""

    __slots__ = ("at", "group", "ids", "key")

    def __init__(self, group: Group, key: Key, message_id: Any) -> None:
        self.group, self.key, self.ids, self.at = group, key, [message_id], time.monotonic()


class Group:
    """One subscription, the thread that reads it, and what it has read that nobody took yet."""

    def __init__(
        self, topics: Topics, consumer: pulsar.Consumer, ready: Callable[[], None], *, tasks: bool, refuse: Refuse
    ) -> None:
        self.tasks = tasks
        self._topics, self._consumer, self._ready, self._refuse = topics, consumer, ready, refuse
        self._room = TAKEN_AHEAD if tasks else AT_HAND
        self._names: dict[str, str] = {}  # of Pulsar → ours
        self._lock = threading.Lock()
        self._space = threading.Condition(self._lock)
        self._waiting: deque[Delivery] = deque()
        self._in_hand: dict[Key, Receipt] = {}
        self._done: OrderedDict[Key, float] = OrderedDict()
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None

    @property
    def _closed(self) -> bool:
        return self._ended.is_set()

    def start(self) -> None:
        """Begin to read."""
        self._thread = threading.Thread(target=self._read, name="infinitic-pulsar", daemon=True)
        self._thread.start()

    def _read(self) -> None:
        while self._has_room():
            try:
                came = self._consumer.receive()
            except Exception:
                if not self._closed:
                    log.debug("a receive failed", exc_info=True)
                    self._ended.wait(PAUSE)
                continue
            try:
                self._take(came)
            except Exception as error:
                log.warning("a message could not be taken and is given back: %s", error)
                self._quietly(self._consumer.negative_acknowledge, came.message_id())

    def _has_room(self) -> bool:
        """Wait until one more may be read; False when this is closed."""
        with self._space:
            self._space.wait_for(lambda: self._closed or len(self._waiting) < self._room)
            return not self._closed

    def _take(self, came: pulsar.Message) -> None:
        full = came.topic_name()
        topic = self._names.get(full) or self._names.setdefault(full, self._topics.name(full))
        data = came.data()
        try:
            message = decode_message(data)
        except msgspec.DecodeError as error:
            self._put_by(topic, came, data, f"it is no message of ours: {error}")
            return
        if problem := _unfit(topic, message):
            self._put_by(topic, came, data, problem)
            return
        message_id = came.message_id()
        key = (topic, message.id, message.attempt) if topic.startswith(SERVICE) else _broker_key(message_id)
        receipt = Receipt(self, key, message_id)
        with self._lock:
            known = self._in_hand.get(key)
            if known is not None:
                known.ids.append(message_id)
                return
            done = key in self._done
            if not done:
                if is_kept(topic):
                    self._in_hand[key] = receipt
                self._waiting.append(Delivery(topic, message, receipt))
        if done:
            self._quietly(self._consumer.acknowledge, message_id)
        else:
            self._ready()

    def _put_by(self, topic: str, came: pulsar.Message, data: bytes, problem: str) -> None:
        log.warning("%s: a message was refused: %s", topic, problem)
        if is_kept(topic):
            facts = {**came.properties(), "reason": problem, "topic": topic}
            self._refuse(dead_topic(topic), data, came.partition_key(), facts)
        self._quietly(self._consumer.acknowledge, came.message_id())

    def receive(self, limit: int) -> list[Delivery]:
        """Up to *limit* of those that were read; as many are read ahead, when so many are wanted at once."""
        with self._space:
            if self.tasks:
                self._room = max(TAKEN_AHEAD, limit)
            taken = [self._waiting.popleft() for _ in range(min(limit, len(self._waiting)))]
            if taken:
                self._space.notify()
        return taken

    def settle(self, receipts: Sequence[Receipt], *, done: bool) -> None:
        """These are done with, or given back."""
        now = time.monotonic()
        with self._lock:
            ids = []
            for receipt in receipts:
                if self._in_hand.get(receipt.key) is not receipt:
                    continue
                del self._in_hand[receipt.key]
                ids += receipt.ids
                if done:
                    self._done[receipt.key] = now
            while self._done and (len(self._done) > MOST or next(iter(self._done.values())) < now - REMEMBERED):
                self._done.popitem(last=False)
        for message_id in ids:
            self._quietly(self._consumer.acknowledge if done else self._consumer.negative_acknowledge, message_id)

    def give_back_stale(self) -> None:
        """Tasks that have waited here for a while others may run sooner."""
        before = time.monotonic() - STALE
        with self._space:
            stale = [one.receipt for one in self._waiting if one.receipt.at < before]
            if stale:
                self._waiting = deque(one for one in self._waiting if one.receipt.at >= before)
                self._space.notify()
        self.settle(stale, done=False)

    def is_connected(self) -> bool:
        """Whether the broker is at the other end."""
        return self._closed or bool(self._consumer.is_connected())

    def _quietly(self, call: Callable[[Any], object], message_id: Any) -> None:
        """An acknowledgement is a hint: what it does not reach comes again."""
        with suppress(Exception):
            call(message_id)

    def close(self) -> None:
        """Read no more; what is not acknowledged goes to others."""
        with self._space:
            if self._closed:
                return
            self._ended.set()
            self._waiting.clear()
            self._in_hand.clear()
            self._space.notify_all()
        with suppress(Exception):
            self._consumer.close()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join()  # a thread that is within the client when the process ends brings it down


def _broker_key(message_id: Any) -> Key:
    return message_id.partition(), message_id.ledger_id(), message_id.entry_id(), message_id.batch_index()


def _unfit(topic: str, message: Message) -> str:
    """Why a message has no business on its topic, "" when it has."""
    if topic.startswith(CLIENT) or topic.endswith(DEAD) or not is_kept(topic):
        return ""
    if message.format > FORMAT + 1 and not is_keyed(topic):  # an instance keeps such in its inbox
        return f"its format is {message.format}, and this release reads up to {FORMAT + 1}"
    if topic.startswith(SERVICE) and message.kind == "task" and not message.workflow:
        return "a task needs the workflow that asks for it"
    if not message.workflow_id and message.kind != "ask":
        return f"a message of kind {message.kind!r} needs a workflow id"
    if message.workflow and not is_name(message.workflow):  # what is sent to it would hold up all else
        return f"{message.workflow!r} is no name of a workflow"
    bounds = {"id": LONGEST, "run": LONGEST, "position": LONGEST, "workflow": MAX_ID_BYTES, "workflow_id": MAX_ID_BYTES}
    long = [name for name, most in bounds.items() if len(getattr(message, name).encode()) > most]
    return f"its {long[0]} has more than {bounds[long[0]]} bytes" if long else ""


class PulsarConsumer:
    """A `Consumer` of topics of any kinds: a group for each kind. Keys stay where Pulsar puts them."""

    def __init__(self, left: Callable[[PulsarConsumer], None]) -> None:
        self.groups: list[Group] = []
        self._left = left

    def receive(self, limit: int) -> list[Delivery]:
        self.groups = self.groups[1:] + self.groups[:1]  # another one first each time
        taken: list[Delivery] = []
        for group in self.groups:
            taken += group.receive(limit - len(taken))
        return taken

    def ack(self, deliveries: Sequence[Delivery]) -> None:
        self._settle(deliveries, done=True)

    def nack(self, deliveries: Sequence[Delivery]) -> None:
        self._settle(deliveries, done=False)

    def _settle(self, deliveries: Sequence[Delivery], *, done: bool) -> None:
        of_group: dict[Group, list[Receipt]] = {}
        for delivery in deliveries:
            if isinstance(delivery.receipt, Receipt):
                of_group.setdefault(delivery.receipt.group, []).append(delivery.receipt)
        for group, receipts in of_group.items():
            group.settle(receipts, done=done)

    def release(self, keys: Sequence[str]) -> None:
        """Nothing: a key belongs to one consumer by its hash, and moves when consumers come and go."""

    def began(self, delivery: Delivery) -> None:
        """Nothing: the broker does not tell that a consumer died. The supervisor of `infinitic worker` counts."""

    def ended(self, delivery: Delivery) -> None:
        """Nothing."""

    def close(self) -> None:
        for group in self.groups:
            group.close()
        self._left(self)
