"""What the client tests call, and a stand-in for the worker that answers as it is told."""

import threading
from collections.abc import Callable
from queue import SimpleQueue

import msgspec
from attrs import frozen

from dsl import Channel, Flow, Service, Workflow, method, query, sleep, task, workflow
from infinitic import messages
from infinitic.engine.outputs import ROUTER
from infinitic.events import ErrorValue, Event
from infinitic.messages import Delivery, Message, Reply, event_of, reply_message
from infinitic.records import Append, Mark, StateRecord, TurnRow, Version
from infinitic.serialization import encode, error_value
from infinitic.topics import workflow_topic

PATIENCE = 10.0
"""Seconds after which what ought to come is given up. No test that passes waits for it."""

OFTEN = 0.02
"""Seconds between two looks where a test is about looking again."""


@frozen
class Receipt:
    number: str
    cents: int


@workflow
def trip(city: str, nights: int = 1) -> Flow[Receipt]:
    yield from sleep(1)
    return Receipt(city, nights)


@workflow
def other() -> Flow[str]:
    yield from sleep(1)
    return ""


class Loyalty(Workflow):
    bonus = Channel(int)

    @method
    def run(self, weeks: int) -> Flow[int]:
        yield from sleep(1)
        return weeks

    @method
    def redeem(self, points: int) -> bool:
        return points > 0

    @query
    def balance(self, currency: str = "points") -> int:
        return 0


class Hotels(Service):
    @task
    def book(self, city: str, *, nights: int = 1) -> Receipt:
        raise NotImplementedError


confirmed = Channel(str, name="confirmed")


def raw(value):
    return msgspec.Raw(encode(value))


@frozen
class Heard:
    """A message as the stand-in got it, decoded."""

    message: Message
    payload: Event | messages.Query | messages.Ask

    @property
    def id(self) -> str:
        return self.message.id

    def completed(self, value=None, call_id="", run="") -> Reply:
        """The end of what was asked for, which is the run when *call_id* is not given."""
        run = run or getattr(self.payload, "run", "")
        return Reply(self.message.workflow_id, "completed", call_id, run, raw(value))

    def failed(self, error, call_id="", status="failed") -> Reply:
        run = getattr(self.payload, "run", "")
        return Reply(self.message.workflow_id, status, call_id, run, error=error_value(error))

    def answered(self, status, error=None) -> Reply:
        """The answer to the message itself."""
        value: ErrorValue | None = None if error is None else error_value(error)
        return Reply(self.message.workflow_id, status, self.id, error=value)


Script = Callable[[Heard], Reply | list[Reply] | None]
SILENT: Script = lambda heard: None  # noqa: E731  # it reads like the others


TOPICS = tuple(workflow_topic(name) for name in ("trip", "other", "Loyalty", ROUTER))


class StandIn:
    """Plays the worker's part over the real transport: sends what *script* replies."""

    def __init__(self, transport, script: Script = SILENT):
        self.script = script
        self.heard: SimpleQueue[Heard] = SimpleQueue()
        self._transport = transport
        self._woken = threading.Event()
        self._consumer = transport.subscribe(TOPICS, self._woken.set)
        self._stopped = False
        self._thread = threading.Thread(target=self._work, name="stand-in")
        self._thread.start()

    def next(self) -> Heard:
        """The next message that nobody took from here yet."""
        return self.heard.get(timeout=PATIENCE)

    def tell(self, client_id, *replies: Reply):
        """What a client is told, unasked."""
        self._transport.publish([reply_message(client_id, reply) for reply in replies])

    def _work(self):
        while not self._stopped:
            self._woken.wait()
            self._woken.clear()
            while deliveries := self._consumer.receive(100):
                self._consumer.ack(deliveries)
                for delivery in deliveries:
                    self._take(delivery)

    def _take(self, delivery: Delivery):
        heard = Heard(delivery.message, _payload(delivery))
        told = self.script(heard)
        replies = told if isinstance(told, list) else [] if told is None else [told]
        if replies:
            self.tell(delivery.message.reply_to, *replies)
        self.heard.put(heard)

    def close(self):
        self._stopped = True
        self._woken.set()
        self._thread.join(PATIENCE)


def _payload(delivery: Delivery):
    match delivery.message.kind:
        case "event":
            return event_of(delivery)
        case "query":
            return msgspec.json.decode(delivery.message.payload, type=messages.Query)
        case "ask":
            return msgspec.json.decode(delivery.message.payload, type=messages.Ask)
    raise AssertionError(delivery.message.kind)


def only(kind, answer: Callable[[Heard], Reply | list[Reply] | None]) -> Script:
    """A script that answers one kind of event, and says nothing to the rest."""
    return lambda heard: answer(heard) if isinstance(heard.payload, kind) else None


def store(storage, record: StateRecord, turns: tuple[bytes, ...] = (), expires: int | None = None):
    """Write the record as the worker would; over the one that there is."""
    stored = storage.load(record.workflow_id)
    version = Version(record.run, len(turns), 0 if stored is None else stored.version.inbox + 1)
    append = Append(
        workflow=record.workflow,
        workflow_id=record.workflow_id,
        expected=None if stored is None else stored.version,
        version=version,
        token="t",
        mark=Mark(record.run, len(turns)),
        record=record,
        turns=tuple(TurnRow(record.run, number, body) for number, body in enumerate(turns)),
        expires=expires,
    )
    assert storage.append([append]) == [True]
