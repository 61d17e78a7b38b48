"""Turns: apply an event to a live instance, ask it, give it up; `replay` and `retry` make one from history.

`Diverged`, and whatever else is no error of workflow code, comes out of all; the instance is of no use afterwards.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, Concatenate

from dsl.commands import P, R
from infinitic.engine import replaying
from infinitic.engine.ambient import Ambient
from infinitic.engine.arriving import ARRIVE
from infinitic.engine.instance import LIVE, Draft, Instance, Refusal
from infinitic.engine.reading import read
from infinitic.engine.running import drain
from infinitic.errors import DecodeError
from infinitic.events import AnyEvent
from infinitic.history import Turn


def in_context(run: Callable[Concatenate[Instance, P], R]) -> Callable[Concatenate[Instance, P], R]:
    """*run*, in the context of its own that belongs to the instance."""

    @wraps(run)
    def inside(instance: Instance, /, *args: P.args, **kwargs: P.kwargs) -> R:
        return instance.context.run(run, instance, *args, **kwargs)

    return inside


replay, retry, close = in_context(replaying.replay), in_context(replaying.retry), in_context(replaying.close)


@in_context
def apply(instance: Instance, event: AnyEvent, at: int) -> Turn | Refusal | None:
    """Apply an event at the time *at*: the turn it made, a refusal, or None when it changed nothing."""
    late, before = instance.ended, instance.at
    instance.draft, instance.mode, instance.at = Draft(tags=instance.tags), LIVE, max(before, at)
    with Ambient(instance):
        result = ARRIVE[type(event)](instance, event)
        if result is True:
            drain(instance)
            return replaying.finished(instance, event, late)
    instance.at = before
    return result or None


@in_context
def query(instance: Instance, name: str, arguments: Any) -> bytes:
    """The encoded answer of a query. Raises what it raises, `DecodeError`, and `ReadOnly`: then close the instance."""
    definition = instance.program.member(name)
    if definition is None or definition.kind != "query":
        raise DecodeError(f"{instance.program.name} has no query {name!r} {instance.program.known('query')}")
    signature = instance.surroundings.signatures[definition]
    signature.check_names(arguments)
    given = signature.decode_arguments(arguments)
    with Ambient(instance):
        value = read(instance, definition, given)
    return instance.surroundings.codec.encode(value)
