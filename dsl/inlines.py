"""Small steps inside a turn: `inline`, and `continue_as_new`, which ends a run in favour of the next."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Never

from msgspec import Struct

from dsl.calls import Call, StartCall
from dsl.commands import Command, P, R, described


class Inline(Struct, Command[R], frozen=True):
    """Run a function in the middle of the turn, once, and record its result."""

    fn: Callable[..., Any]
    args: tuple[Any, ...] = ()
    kwargs: dict[str, Any] = {}

    @property
    def name(self) -> str:
        """The function's qualified name."""
        return getattr(self.fn, "__qualname__", None) or type(self.fn).__qualname__

    @property
    def label(self) -> str:
        """As in `inline(read_settings)`."""
        return f"inline({self.name})"


def inline(fn: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> Command[R]:
    """Run *fn* on the workflow worker, record its result, and answer it on every replay.

    For short work that needs no retries: reading a setting, a clock, a random number. It may run more than
    once before its result is recorded, and never after. Raises `TypeError` for what cannot be called.
    """
    if not callable(fn):
        raise TypeError(f"inline() takes a function and its arguments, as in inline(f, x), not {described(fn)}")
    return Inline(fn, args, kwargs)


class ContinueAsNew(Struct, Command[Never], frozen=True):
    """End this run and begin the next, with a fresh history, under the same id."""

    call: Call[Any]

    @property
    def label(self) -> str:
        """As in `continue_as_new(invoicing(…))`."""
        return f"continue_as_new({self.call.label})"


def continue_as_new(call: Call[Any]) -> Command[Never]:
    """End this run; the instance goes on as *call* says: a fresh history, the same id, tags and signals.

    Raises `TypeError` for what does not describe a workflow's start, and for the option *parent_close*.
    """
    if not isinstance(call, StartCall):
        raise TypeError(f"continue_as_new() takes a workflow's start, as in continue_as_new(trip(2)), not {call!r}")
    if call.given.parent_close is not None:
        raise TypeError(f"{call.label} goes on under the parent that it has: leave out parent_close=")
    return ContinueAsNew(call)
