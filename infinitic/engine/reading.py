"""Reading: queries, validators and predicates, which look at an instance, may raise, and change nothing."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

from dsl.calls import Definition
from dsl.errors import ReadOnly
from dsl.protocol import is_flow
from infinitic.engine.branches import discard
from infinitic.engine.instance import QUERY, Instance


@contextmanager
def only_reading(instance: Instance, changed: Callable[[], BaseException]) -> Iterator[None]:
    """Whatever the body asks for is refused to it. Raises what *changed* gives if it changed an attribute."""
    before, mode = _image(instance), instance.mode
    instance.mode = QUERY
    try:
        yield
    finally:
        instance.mode = mode
        if before != _image(instance):
            raise changed()


def read(instance: Instance, definition: Definition, arguments: Any, check: str = "") -> Any:
    """What the definition's function gives, or the one named *check*, which takes the same arguments.

    To be called in the instance's ambient context. Raises what the function raises; `ReadOnly` when it asked for
    something or changed an attribute: the live instance is then to be given up.
    """
    program, signature = instance.program, instance.surroundings.signatures[definition]
    with only_reading(instance, partial(ReadOnly, "a change of the instance's attributes")):
        state = program.new_state() if instance.state is None else instance.state
        if check:
            value = signature.call(getattr(state, check), arguments)
        else:
            value = program.start(definition, state, signature, arguments)
    if is_flow(value):
        discard(value)
        raise ReadOnly("something to wait for")
    return value


def _image(instance: Instance) -> dict[str, tuple[bytes, bytes]]:
    """What tells whether the state was changed. Of what JSON cannot hold another one is another state."""
    held: Any = object.__getstate__(instance.state)
    own, slots = held if isinstance(held, tuple) else (held, None)
    encode = instance.surroundings.codec.encode
    return {
        name: (_drawn(encode, value) or str(id(value)).encode(), _drawn(pickle.dumps, value))  # JSON: nothing private
        for name, value in {**(own or {}), **(slots or {})}.items()
    }


def _drawn(draw: Callable[[Any], bytes], value: Any) -> bytes:
    try:
        return draw(value)
    except Exception:
        return b""
