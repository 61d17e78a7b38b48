"""Branches: generators that are being run, the methods they belong to, and their logical stacks."""

from __future__ import annotations

import inspect
import random
from collections.abc import Callable
from functools import lru_cache
from types import CodeType
from typing import Any

from msgspec import Struct

from dsl.commands import Combinator
from infinitic.engine.slots import Slot
from infinitic.events import Caller, Frame

INSIDE = ("dsl.", "infinitic.")


class MethodRun(Struct, eq=False):
    """One method of an instance that runs, and who is to be told how it ends."""

    ordinal: int
    name: str
    call_id: str
    callers: tuple[Caller, ...]
    reply_to: str
    branch: Any = None  # the Branch that its own code runs in
    cancelling: bool = False


class Branch(Slot, kw_only=True):
    """One generator or coroutine that runs inside an instance; it is the slot of its own answer."""

    generator: Any
    method: MethodRun
    prefix: str
    counter: int = 0  # of commands
    waiting: Slot | None = None
    cancelling: bool = False
    shielded: bool = False
    fatal: BaseException | None = None  # the error of a wrong yield
    # it does not settle before the cleanup of others is done (undos, cancelled branches)
    held: int = 0  # by so many branches
    holds: tuple[Branch, ...] = ()  # those that wait for this one
    outcome: tuple[str, Any, BaseException | None] | None = None  # status, value, error to settle with in the end
    chance: random.Random | None = None
    stack: tuple[Frame, ...] | None = None

    kind: str = "branch"

    def place(self) -> str:
        """The position of the next command."""
        number = self.counter
        self.counter = number + 1
        return f"{self.prefix}{number}"

    def random(self, run: str) -> random.Random:
        """The branch's own source of random numbers, seeded by run and path."""
        if self.chance is None:
            self.chance = random.Random(f"{run}/{self.position}")
        return self.chance


def is_fresh(flow: Any) -> bool:
    """Whether a generator or coroutine has not been started yet."""
    if inspect.iscoroutine(flow):
        return inspect.getcoroutinestate(flow) == inspect.CORO_CREATED
    return not inspect.isgenerator(flow) or inspect.getgeneratorstate(flow) == inspect.GEN_CREATED


def discard(value: Any) -> None:
    """Close coroutines in what was yielded in vain, which would else complain that nobody awaited them."""
    if inspect.iscoroutine(value):
        if is_fresh(value):
            value.close()
    elif isinstance(value, Combinator | list | tuple | set):
        for one in value.items if isinstance(value, Combinator) else value:
            discard(one)


def chain_of(generator: Any) -> list[Any]:
    """The generator and those that it delegates to by `yield from` or `await`, while they are suspended."""
    chain = []
    while (getattr(generator, "gi_frame", None) or getattr(generator, "cr_frame", None)) is not None:
        chain.append(generator)
        generator = getattr(generator, "gi_yieldfrom", None) or getattr(generator, "cr_await", None)
    return chain


def stack_of(generator: Any, source: Callable[[str, int], str]) -> tuple[Frame, ...]:
    """The lines where a suspended generator or coroutine waits, outermost first, through every `yield from`."""
    frames = [getattr(one, "gi_frame", None) or one.cr_frame for one in chain_of(generator)]
    return tuple(_frame(one.f_code, one.f_lineno, source) for one in frames if _is_users(one))


def raised_stack(error: BaseException, source: Callable[[str, int], str]) -> tuple[Frame, ...]:
    """The lines through which *error* came, outermost first, without this library's own."""
    frames = []
    traceback = error.__traceback__
    while traceback is not None:
        if _is_users(traceback.tb_frame):
            frames.append(_frame(traceback.tb_frame.f_code, traceback.tb_lineno, source))
        traceback = traceback.tb_next
    return tuple(frames[-30:])


def _is_users(frame: Any) -> bool:
    return not frame.f_globals.get("__name__", "").startswith(INSIDE)


@lru_cache(4096)
def _frame(code: CodeType, line: int, source: Callable[[str, int], str]) -> Frame:
    return Frame(code.co_filename, line, code.co_qualname, source(code.co_filename, line))
