"""The rules of what workflow code may yield and return, and messages that say what to write instead."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine, Generator
from datetime import timedelta
from typing import Any

from dsl.calls import Definition, Query
from dsl.commands import Command, described
from dsl.errors import ProtocolError
from dsl.workflows import Described


def wrong_yield(value: object, where: str) -> ProtocolError:
    """The error for yielding *value*, which is nothing to wait for, at *where* ("file:line: source")."""
    return ProtocolError(f"{where} yields {_shown(value)}, which is no command. {_instead(value)}")


def wrong_return(value: object, label: str) -> ProtocolError | None:
    """The error for a workflow *label* that returned *value*; None when it may."""
    if isinstance(value, Command):
        return ProtocolError(
            f"{label} returned {described(value)}, a command that nothing waits for. "
            "Write `return (yield from …)` to return its answer."
        )
    if isinstance(value, Query):
        return ProtocolError(f"{label} returned a query; queries are for clients: client.run({value.label})")
    if isinstance(value, AsyncGenerator):
        return ProtocolError(f"{label} is an async generator. {ASYNC_GENERATOR}")
    return None


ASYNC_GENERATOR = (
    "Write it as a generator (`def … yield from …`) or as a coroutine (`async def … await …`), "
    "not as `async def` with `yield`."
)


def is_flow(value: object) -> bool:
    """Whether *value* is a generator or a coroutine, which is simply run."""
    return isinstance(value, Generator | Coroutine)


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:59] + "…"


_NO_LOOP = "Workflow code runs on no event loop: use infinitic's `sleep`, `gather` and `race`, or do it in a task."
_ADVICE: tuple[tuple[Any, str], ...] = (
    ((list, tuple, set), "To wait for several commands write `yield from gather(*commands)`."),
    (dict, "To wait for the first of several commands by name write `yield from race(**commands)`."),
    (type(None), "A bare `yield` waits for nothing: leave it out, or write `yield from sleep(0)`."),
    ((bool, int, float, timedelta), "To wait for some time write `yield from sleep(seconds)`."),
    ((AsyncGenerator, AsyncIterator), f"That is an async generator. {ASYNC_GENERATOR}"),
    (Callable, "To run a function once and record its result write `yield from inline(fn, …)`."),
)


def _instead(value: Any) -> str:
    if isinstance(value, Query):
        return f"Queries are for clients: client.run({value.label}). A workflow can call a @method instead."
    if isinstance(value, Definition | Described):
        label = value.label if isinstance(value, Definition) else value.definition.label
        return f"Call it: `yield from {label}(…)`."
    if type(value).__module__.partition(".")[0] in ("asyncio", "_asyncio", "concurrent"):
        return _NO_LOOP
    general = "Yield a call, `sleep(…)`, `channel.receive()`, a deferred or a combinator; `return` a value."
    return next((text for kind, text in _ADVICE if isinstance(value, kind)), general)


def misuse(error: BaseException) -> ProtocolError | None:
    """The error to fail with instead of *error*, which is the mark of a typical mistake; None for all others."""
    advice = ""
    if isinstance(error, RuntimeError) and "event loop" in str(error):
        advice = _NO_LOOP
    elif isinstance(error, AttributeError) and isinstance(error.obj, Command):
        advice = f"{described(error.obj)} only describes a call: write `yield from` before it to get its answer."
    elif isinstance(error, AttributeError) and error.name == "send":
        advice = _ADVICE[0][1]  # `yield from [a, b]`
    if not advice:
        return None
    made = ProtocolError(f"{error}. {advice}").with_traceback(error.__traceback__)
    made.__cause__ = error
    return made
