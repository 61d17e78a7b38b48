"""JSON Schemas (2020-12) of what travels between workers and clients, told from the types and from `words`.

The files beside this one are what `documents` gives, one for each kind of message and one for what a service worker
answers. `python -m infinitic.message_schemas DIRECTORY` writes them anew.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from types import UnionType
from typing import Any, TypeAlias, Union, get_args, get_origin, get_type_hints

from msgspec import NODEFAULT, Meta, Raw, Struct
from msgspec.structs import FieldInfo, fields

from infinitic.events import AnyEvent, AttemptFailed, TaskCompleted
from infinitic.message_schemas.words import OF_FIELDS
from infinitic.messages import FORMAT, Ask, Broadcast, Message, Query, Reply, TaskRequest

Schema: TypeAlias = dict[str, Any]

DIALECT = "https://json-schema.org/draft/2020-12/schema"
PLAIN: Mapping[Any, Schema] = {
    str: {"type": "string"},
    int: {"type": "integer"},
    float: {"type": "number"},
    bool: {"type": "boolean"},
    type(None): {"type": "null"},
    Any: {},
    Raw: {},
}
PLACE = ("workflow", "workflow_id")
ATTEMPT = (*PLACE, "run", "position", "attempt")

KINDS: Mapping[str, tuple[str, Any, tuple[str, ...], str]] = {
    "task": ("task", TaskRequest, (*ATTEMPT, "at"), "One attempt of a task, on the topic `service:<name>`."),
    "answer": (
        "event",
        TaskCompleted | AttemptFailed,
        (*ATTEMPT, "at"),
        "How an attempt ended: what a service worker sends to the topic `workflow:<workflow>`.",
    ),
    "event": ("event", AnyEvent, PLACE, "What happened to an instance, on the topic `workflow:<workflow>`."),
    "broadcast": (
        "broadcast",
        Broadcast,
        (),
        "An event for all instances that have a tag, on `workflow:infinitic.router`: each gets an event of its own.",
    ),
    "query": ("query", Query, (*PLACE, "reply_to"), "A question to an instance, on `workflow:<workflow>`."),
    "ask": ("ask", Ask, ("workflow", "reply_to"), "A client asks again for results, on `workflow:<workflow>`."),
    "offer": ("offer", None, PLACE, "A worker has an instance looked at, on `workflow:<workflow>`. No payload."),
    "reply": ("reply", Reply, ("workflow_id",), "What a client is told, on the topic `client:<id>`. It may be lost."),
    "cancel_task": (
        "cancel_task",
        None,
        PLACE,
        "A task is wanted no more, on the topic `service:<name>:control`, heard by all workers of the service. No "
        "payload: the id is the task's. It may be lost.",
    ),
}
"""File → the kind of its messages, what their payload holds, what is always there beside it, what they are."""


def documents() -> dict[str, Schema]:
    """Each file's name, without its ending → the schema in it."""
    return {name: _document(name, *said) for name, said in KINDS.items()}


def _document(name: str, kind: str, payload: Any, always: tuple[str, ...], words: str) -> Schema:
    definitions: dict[str, Schema] = {}
    envelope = _struct(Message, definitions)
    its = envelope["properties"]
    its["kind"] = {"const": kind, "description": OF_FIELDS["Message"]["kind"]}
    said = {"description": OF_FIELDS["Message"]["payload"]}
    its["payload"] = ({"type": "null"} if payload is None else _of(payload, definitions)) | said
    needed = {"kind", "id", *always, *(["payload"] if payload is not None else [])}
    envelope["required"] = [field for field in its if field in needed]
    head = {"$schema": DIALECT, "$id": f"urn:infinitic:message:{name}:{FORMAT}", "title": name}
    return {**head, **envelope, "description": words, "$defs": dict(sorted(definitions.items()))}


def _of(kind: Any, definitions: dict[str, Schema]) -> Schema:
    """The schema of a type; those of structs are put among *definitions*."""
    if kind in PLAIN:
        return dict(PLAIN[kind])
    origin, inner = get_origin(kind), get_args(kind)
    if hasattr(kind, "__metadata__"):
        return _of(kind.__origin__, definitions) | _limits(kind.__metadata__)
    if origin in (Union, UnionType):
        return {"anyOf": [_of(one, definitions) for one in inner]}
    if origin is dict:
        return {"type": "object", "additionalProperties": _of(inner[1], definitions) or True}
    if origin is tuple and inner[-1] is ...:
        return {"type": "array", "items": _of(inner[0], definitions)}
    if origin is tuple:
        return {"type": "array", "prefixItems": [_of(one, definitions) for one in inner], "items": False}
    if kind.__name__ not in definitions:
        definitions[kind.__name__] = {}  # it may hold itself
        definitions[kind.__name__] |= _struct(kind, definitions)
    return {"$ref": f"#/$defs/{kind.__name__}"}


def _limits(metadata: tuple[Any, ...]) -> Schema:
    [meta] = [one for one in metadata if isinstance(one, Meta)]
    return {word: limit for word, limit in (("minimum", meta.ge), ("maximum", meta.le)) if limit is not None}


def _struct(kind: type[Struct], definitions: dict[str, Schema]) -> Schema:
    hints, config = get_type_hints(kind, include_extras=True), kind.__struct_config__
    tag = {config.tag_field: {"const": config.tag}} if config.tag_field and config.tag else {}
    shown = {one.name: _field(kind, one, hints[one.name], definitions) for one in fields(kind)}
    needed = [*tag, *(one.name for one in fields(kind) if one.required)]
    words = " ".join((inspect.getdoc(kind) or "").split())
    return {"description": words, "type": "object", "properties": {**tag, **shown}, "required": needed}


def _field(kind: type[Struct], field: FieldInfo, hint: Any, definitions: dict[str, Schema]) -> Schema:
    schema = _of(hint, definitions)
    holder = next(one for one in kind.__mro__ if field.name in vars(one).get("__annotations__", {}))
    schema["description"] = OF_FIELDS[holder.__name__][field.name]
    if not field.required:
        default = field.default if field.default_factory is NODEFAULT else field.default_factory()
        schema["default"] = None if isinstance(default, Raw) else list(default) if default == () else default
    return schema
