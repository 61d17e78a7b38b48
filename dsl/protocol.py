"""The rules of what workflow code may yield and return, and messages that say what to write instead."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Coroutine, Generator
from typing import Any

from dsl.calls import Definition, Query, StartCall
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


def _instead(value: Any) -> str:
    if isinstance(value, list | tuple | set):
        return "To wait for several commands write `yield from gather(*commands)`."
    if isinstance(value, dict):
        return "To wait for several commands by name write `yield from race(**commands)`, or gather(*commands.values())."
    if value is None:
        return "A bare `yield` waits for nothing: leave it out, or write `yield from sleep(0)`."
    if isinstance(value, bool | int | float):
        return "To wait for some seconds write `yield from sleep(seconds)`."
    if isinstance(value, Query):
        return f"Queries are for clients: client.run({value.label}). A workflow can call a @method instead."
    if isinstance(value, Described):
        return _instead(value.definition)
    if isinstance(value, Definition):
        return f"Call it: `yield from {value.label}(…)`."
    if isinstance(value, AsyncIterator):
        return "An async generator cannot be awaited; write a coroutine or a generator."
    if type(value).__module__.partition(".")[0] in ("asyncio", "_asyncio", "concurrent"):
        return "Workflow code runs on no event loop: use `sleep`, `gather` and `race` of infinitic, or do it in a task."
    if callable(value):
        return "To run a function once and record its result write `yield from inline(fn, …)`; remote work is a @task."
    return "Yield a call of a task, `sleep(…)`, `channel.receive()`, a deferred or a combinator; for a value, `return` it."


def no_event_loop(error: BaseException) -> str:
    """A hint for an error that asyncio raised because workflow code runs on no event loop; "" for all others."""
    if isinstance(error, RuntimeError) and "event loop" in str(error):
        return "workflow code runs on no event loop: use `sleep`, `gather` and `race` of infinitic, or a task"
    return ""


def is_start(call: object) -> bool:
    """Whether *call* describes the start of a workflow."""
    return isinstance(call, StartCall)
