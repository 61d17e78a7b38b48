"""The envelope that every message travels in, and the payloads of those that are no events.

`payload` is JSON whose shape depends on `kind`: an event for a workflow's topic, a `TaskRequest` for a service's,
a `Reply` for a client's, an `Ask` for a workflow's topic from a client, a `Broadcast` for the router's, or an `Offer`.
"""

from __future__ import annotations

from typing import Any, TypeVar

from msgspec import DecodeError, Raw, Struct
from msgspec.json import Decoder, Encoder

from infinitic.events import NULL, AnyEvent, ErrorValue, Event
from infinitic.records import CallRecord
from infinitic.topics import client_topic

T = TypeVar("T")

FORMAT = 1
"""The message format that this release writes; it reads this one and the next."""


AGAIN = "again"
"""The header of a message that a client repeats because it heard no answer: told about, never applied."""


class Message(Struct, frozen=True, omit_defaults=True):
    """One message. *id* is the key by which its receiver recognises a repeat; *at* is in microseconds since 1970."""

    kind: str  # event, broadcast, task, cancel_task, query, ask, offer, reply
    id: str
    workflow: str = ""
    workflow_id: str = ""
    run: str = ""
    position: str = ""
    attempt: int = 0
    at: int = 0
    sender: str = ""
    sequence: int = 0
    reply_to: str = ""
    root: str = ""
    headers: dict[str, str] = {}
    codec: str = "json"
    payload: Raw = NULL
    format: int = FORMAT


class TaskRequest(Struct, frozen=True, omit_defaults=True):
    """One attempt of a task, as a service worker receives it (kind "task")."""

    service: str
    name: str
    arguments: Raw = NULL
    options: dict[str, Any] = {}
    tags: tuple[str, ...] = ()
    meta: dict[str, Any] = {}
    previous: ErrorValue | None = None  # why the attempt before failed
    uncounted: int = 0  # attempts that the retry policy does not count: those before a retry by hand
    details: Raw = NULL  # of the last heartbeat of the attempts before
    lost: bool = False  # the attempt before fell silent: whether there is another one is for the policy to say
    watched: bool = False  # somebody waits to hear that it began


class Query(Struct, frozen=True, omit_defaults=True):
    """A question to an instance (kind "query"): answered, never recorded."""

    name: str
    arguments: Raw = NULL


class Broadcast(Struct, frozen=True, omit_defaults=True):
    """One event for all instances of a *workflow* ("": of any) that have a *tag* (kind "broadcast").

    Any workflow worker serves one page of them, and sends the rest on: what comes *after* that page. Each instance
    gets the event under an id of its own, which is the same on every repeat.
    """

    tag: str
    event: AnyEvent
    workflow: str = ""
    after: str = ""


class Ask(Struct, frozen=True, omit_defaults=True):
    """A client asks how instances stand (kind "ask"): pairs of workflow id and call id ("" for the run)."""

    waits: tuple[tuple[str, str], ...]


class Reply(Struct, frozen=True, omit_defaults=True):
    """What a client is told (kind "reply").

    *status* is completed, failed, cancelled, timed_out, terminated; received (what was sent is there); answered (a
    task that somebody completes has its answer already); or a refusal: unknown, finished, exists, refused. *call_id* is
    the call, query or signal that is answered, "" for a run.
    """

    workflow_id: str
    status: str
    call_id: str = ""
    run: str = ""
    value: Raw = NULL
    error: ErrorValue | None = None
    retries: int = 0  # of the run, before this was said


class Outgoing(Struct, frozen=True):
    """A message on its way to a topic. Messages with one *key* stay in order; a *hint* may be lost."""

    topic: str
    key: str
    message: Message
    hint: bool = False


class Delivery(Struct, frozen=True):
    """A message as a consumer got it. *receipt* is the transport's own, for the acknowledgement.

    *deaths* counts the workers that died while they did this work and nothing else; *suspect* says that at least one
    died while this work was under way, so that it must now be done with nothing beside it.
    """

    topic: str
    message: Message
    receipt: Any = None
    deaths: int = 0
    suspect: bool = False
    event: AnyEvent | None = None  # the payload, where it is at hand decoded


ENCODER = Encoder(order="deterministic")
_MESSAGE = Decoder(Message)
_EVENT: Decoder[AnyEvent] = Decoder(AnyEvent)


def encode_message(message: Message) -> bytes:
    """The message as one JSON object."""
    return ENCODER.encode(message)


def decode_message(data: bytes) -> Message:
    """The message that *data* holds. Raises `msgspec.DecodeError`."""
    return _decoded(_MESSAGE, data)


def _decoded(decoder: Decoder[T], data: bytes | Raw) -> T:
    try:
        return decoder.decode(data)
    except RecursionError:
        raise DecodeError("it is nested too deeply") from None
    except UnicodeDecodeError:
        raise DecodeError("it is not UTF-8") from None


def encode_payload(payload: Struct) -> Raw:
    """A payload, ready for `Message.payload`."""
    return Raw(ENCODER.encode(payload))


def event_of(delivery: Delivery) -> AnyEvent:
    """The event that a message of kind "event" carries. Raises `msgspec.DecodeError`."""
    return delivery.event if delivery.event is not None else _decoded(_EVENT, delivery.message.payload)


def event_message(event: Event, *, workflow: str, workflow_id: str, **envelope: Any) -> Message:
    """The message that carries *event* to an instance."""
    return Message(
        kind="event",
        id=event.id,
        workflow=workflow,
        workflow_id=workflow_id,
        payload=encode_payload(event),
        **envelope,
    )


def reply_of(call: CallRecord, workflow_id: str, run: str, retries: int) -> Reply:
    """What a client is told of a call that has ended, in a run that was retried so often."""
    return Reply(workflow_id, call.status, call.call_id, run, call.value, call.error, retries)


def reply_message(client: str, told: Reply) -> Outgoing:
    """A hint for one client."""
    key = told.call_id or told.run
    message = Message("reply", key, workflow_id=told.workflow_id, payload=encode_payload(told))
    return Outgoing(client_topic(client), client, message, hint=True)
