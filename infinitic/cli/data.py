"""Data: stories and state records as plain JSON data, for `--json`.

Instants are ISO 8601 in UTC, lengths of time seconds.
"""

from __future__ import annotations

import json
from typing import Any

import attrs
import msgspec
from attrs import evolve
from msgspec import Raw, Struct

from infinitic.cli.words import SECOND, iso, own_frames
from infinitic.events import ErrorValue
from infinitic.records import StateRecord
from infinitic.story import Branch, Note, NotTakenUp, Reasons, Step, Story, Together
from infinitic.transports import Traffic

INSTANTS = frozenset(
    {"asked", "at", "began", "due", "ended", "next_at", "sent", "settled", "since", "started", "stopped", "updated"}
)
LENGTHS = frozenset({"delay"})
VALUES = frozenset({"arguments", "value"})
KINDS: dict[type, str] = {Branch: "branch", Together: "together", Note: "note"}
ERROR = ("type", "message", "notes", "cause")  # the rest is for making the exception anew
KEPT = (
    "workflow",
    "version",
    "status",
    "started",
    "updated",
    "ended",
    "turns",
    "tags",
    "meta",
    "reason",
    "value",
    "error",
)


def story_data(story: Story) -> dict[str, Any]:
    """The tree, without what is empty."""
    return _attributes(story)


def record_data(record: StateRecord) -> dict[str, Any]:
    """What `list` shows of an instance, and a little more."""
    facts = {"id": record.workflow_id} | {name: getattr(record, name) for name in KEPT}
    data = _fields(facts)
    if record.ended:
        data.setdefault("value", None)
    return data | {"waits": [_data(one) for one in record.waits], "waiting": record.waiting}


def reasons_data(why: Reasons | NotTakenUp) -> dict[str, Any]:
    """What `why` says, as facts."""
    if isinstance(why, NotTakenUp):
        return {"status": "", **_attributes(why)}
    story = _attributes(evolve(why.story, methods=()))
    return story | {name: one for name, one in _attributes(why).items() if name != "story"}


def _attributes(node: Any) -> dict[str, Any]:
    data = _fields({field.name: getattr(node, field.name) for field in attrs.fields(type(node))})
    if type(node) in KINDS:
        data = {"node": KINDS[type(node)], **data}
    if isinstance(node, Step) and node.settled:
        data["seconds"] = node.duration / SECOND
    return data


def _fields(facts: dict[str, Any]) -> dict[str, Any]:
    """By name, without what is empty or not there."""
    found = {name: _field(name, one) for name, one in facts.items() if one not in (None, "", 0, False, (), {})}
    return {name: one for name, one in found.items() if one is not None}


def _field(name: str, one: Any) -> Any:
    if name in INSTANTS:
        return iso(one)
    if name in LENGTHS:
        return one / SECOND
    if name in VALUES:
        return json.loads(bytes(one) if isinstance(one, Raw) else one)
    return _data(one)


def _data(one: Any) -> Any:
    if isinstance(one, tuple | list):
        return [_data(item) for item in one]
    if isinstance(one, ErrorValue):
        return _fields({name: getattr(one, name) for name in ERROR} | {"stack": own_frames(one.stack)})
    if isinstance(one, Traffic):
        return msgspec.to_builtins(one)  # none is a fact, too
    if isinstance(one, Struct):
        return _fields({name: getattr(one, name) for name in one.__struct_fields__})
    if attrs.has(type(one)):
        return _attributes(one)
    return msgspec.to_builtins(one)
