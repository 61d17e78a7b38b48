"""Identifiers: of instances, runs, children and tasks. What can be an id says `dsl.calls.check_id`."""

from __future__ import annotations

import base64
import json
import secrets
import time
import uuid

from msgspec.json import encode

from dsl.calls import check_id, check_name
from dsl.errors import InvalidId


def new_id() -> str:
    """A new time-ordered UUID (RFC 9562, version 7): ids made later sort later, to the millisecond."""
    milliseconds = time.time_ns() // 1_000_000
    high = (milliseconds << 16) | 0x7000 | secrets.randbits(12)
    return str(uuid.UUID(int=(high << 64) | (0b10 << 62) | secrets.randbits(62)))


def new_run() -> str:
    """A new random run id, so that a task id (which holds it) can not be guessed."""
    return uuid.uuid4().hex


def derived_id(run: str, position: str) -> str:
    """The id of what the command at *position* of *run* made: the same on every replay and on every repeat."""
    return str(uuid.uuid5(uuid.UUID(run), position))


def id_for(broadcast: str, workflow_id: str) -> str:
    """The id under which one of many instances gets an event that was sent to all of them."""
    return str(uuid.uuid5(uuid.uuid5(uuid.NAMESPACE_OID, broadcast), workflow_id))


def derived_run(run: str, position: str) -> str:
    """The run id of a child, or of the run that follows *run* by continue-as-new."""
    return uuid.uuid5(uuid.UUID(run), f"{position}/run").hex


def task_id(workflow: str, workflow_id: str, run: str, position: str) -> str:
    """The url-safe id of a task: the same for every attempt of a position, new in a new run."""
    text = encode([workflow, workflow_id, run, position])
    return base64.urlsafe_b64encode(text).rstrip(b"=").decode()


def parse_task_id(value: str) -> tuple[str, str, str, str]:
    """The (workflow, workflow id, run, position) that a task id stands for. Raises `InvalidId`."""
    try:
        parts = json.loads(base64.urlsafe_b64decode(value + "=" * (-len(value) % 4)))
        workflow, workflow_id, run, position = parts
        if not (run and isinstance(run, str) and isinstance(position, str)):  # without a run, it could be guessed
            raise ValueError
        check_name(workflow.removeprefix("infinitic."), "a workflow")  # the built-in ones of tasks that run alone too
        check_id(workflow_id)
    except (ValueError, TypeError, AttributeError, RecursionError):
        raise InvalidId("a task id", repr(value), "the id that current_task().id gave") from None
    return workflow, workflow_id, run, position
