"""Which instances a client means: what `find` and `count` take, checked and in the storage's terms."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from difflib import get_close_matches
from typing import Any, TypedDict

from dsl.services import Task
from dsl.workflows import Tagged, named_by
from infinitic.client.calls import name_of
from infinitic.client.session import instant_of
from infinitic.engine.alone import ALONE
from infinitic.records import STATUSES, Filter


class Which(TypedDict, total=False):
    """What `find` and `count` take beside the workflow. What is None or absent allows all."""

    status: str | None
    """One of `infinitic.records.STATUSES`."""
    tag: str | None
    """One of its tags."""
    parent: str | None
    """The workflow id of the instance that started it as a child."""
    waiting_for: str | None
    """The name of something that it waits for just now: a task ("Hotels.book"), a channel, a child's workflow, a
    called method ("Loyalty.redeem"); or a kind: "task", "timer", "child", "call", "receive". Of an instance that waits
    for more than 20 things, the 20 that its record tells of count."""
    since: datetime | None
    """Started then or later."""
    until: datetime | None
    """Started before then."""
    ended_since: datetime | None
    """Ended then or later."""
    ended_until: datetime | None
    """Ended before then."""
    id_prefix: str | None
    """With what its id begins."""


INSTANTS = ("since", "until", "ended_since", "ended_until")
NAMES = tuple(Which.__annotations__)


def wanted(workflow: Any, which: Mapping[str, Any]) -> Filter:
    """The filter. Raises `ValueError` or `TypeError` for what cannot be meant."""
    if isinstance(workflow, Task):
        raise TypeError(f"{workflow.label} is a task: those that run alone are found by id, by tag or as {ALONE!r}")
    if isinstance(workflow, Tagged):
        workflow, tag = named_by(workflow)
        if which.get("tag") not in (None, tag):
            raise ValueError(f"tag={which['tag']!r} was given beside by_tag({tag!r}): instances are found by one tag")
        which = {**which, "tag": tag}
    found = {name: _meant(name, value) for name, value in which.items() if value is not None}
    if "waiting_for" in found:
        found["waiting"] = found.pop("waiting_for")
    where = Filter(workflow="" if workflow is None else _text("workflow", name_of(workflow)), **found)
    for first, last in (("since", "until"), ("ended_since", "ended_until")):
        if 0 < getattr(where, last) <= getattr(where, first):
            raise ValueError(f"{first}= is not before {last}=, and there can be none: is one the other?")
    return where


def _meant(name: str, value: Any) -> Any:
    if name not in NAMES:
        near = get_close_matches(name, NAMES, n=1)
        hint = f"did you mean {near[0]}=?" if near else f"there are {', '.join(NAMES)}"
        raise TypeError(f"instances are not found by {name}=: {hint}")
    if name in INSTANTS:
        return instant_of(value, name) or -1  # a filter has 0 for none
    if name == "status":
        return _status(value)
    return _text(name, value)


def _text(name: str, value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{name}= takes a text, not {value!r}")
    if not value:
        raise ValueError(f"{name}= takes a text that is not empty: leave it out where all are meant")
    if "\0" in value or any("\ud800" <= one <= "\udfff" for one in value):
        raise ValueError(f"{name}={value!r} can be none: it has a NUL or a lone surrogate")
    return value


def _status(status: Any) -> str:
    if status not in STATUSES:
        near = get_close_matches(str(status), STATUSES, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"it is one of {', '.join(STATUSES)}"
        raise ValueError(f"status={status!r} is none that there is: {hint}")
    return str(status)
