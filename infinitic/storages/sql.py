"""What the storages that speak SQL say alike: which instances a filter means, and what a head holds."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from infinitic.records import Filter, Version
from infinitic.storages import Past

NOTHING = Version("", 0)
"""What an instance that is not there has."""
LAST = "\U0010ffff" * 64
"""Sorts behind every continuation of a prefix: an id has at most 255 bytes."""
REMOVED_AT_ONCE = 5_000
"""Turns, after which a transaction that removes ends."""
BESIDES = ("turns", "runs", "timers", "inbox", "tags")
"""The tables whose rows go with a head."""


def condition(where: Filter, mark: str = "?", text: Callable[[str], Any] = str) -> tuple[str, list[Any]]:
    """What the filter says as SQL, and its values. *mark* stands for a value, *text* makes one of a text."""
    prefix = where.id_prefix
    fields: tuple[tuple[str, Sequence[Any]], ...] = (
        (f"workflow = {mark}", [where.workflow]),
        (f"status = {mark}", [where.status]),
        (f"workflow_id IN (SELECT workflow_id FROM tags WHERE tag = {mark})", [where.tag]),
        (f"started >= {mark}", [where.since]),
        (f"workflow_id BETWEEN {mark} AND {mark}", prefix and [prefix, prefix + LAST]),
    )
    used = [(said, values) for said, values in fields if any(values)]
    values = [value for _, its in used for value in its]
    return " AND ".join(["1 = 1", *(said for said, _ in used)]), [
        text(value) if isinstance(value, str) else value for value in values
    ]


def steps(text: str) -> tuple[str, ...]:
    """What each version of a schema adds to the one before; a line `-- version 2` begins that of the second."""
    return tuple(re.split(r"^-- version \d+$", text, flags=re.MULTILINE)[1:])


def portions(past: Sequence[Past]) -> Iterator[list[Past]]:
    """*past* in parts, each of which one transaction may remove without having others wait for long."""
    part, turns = list[Past](), 0
    for one in past:
        part.append(one)
        turns += one.version.turns
        if turns >= REMOVED_AT_ONCE:
            yield part
            part, turns = [], 0
    if part:
        yield part
