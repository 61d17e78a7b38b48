"""What the storages that speak SQL have alike: tables, the steps of a schema, portions."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from infinitic.records import Version
from infinitic.storages import Past

NOTHING = Version("", 0)
"""What an instance that is not there has."""
REMOVED_AT_ONCE = 5_000
"""Turns, after which a transaction that removes ends."""
BESIDES = ("turns", "runs", "timers", "inbox")
"""The tables whose rows go with a head, by its id."""


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
