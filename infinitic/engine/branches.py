"""Branches: generators that are being run, the methods they belong to, and their logical stacks."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

from infinitic.engine.slots import BranchSlot, Slot
from infinitic.events import Caller, Frame

INSIDE = ("dsl.", "infinitic.")


class Branch:
    """One generator or coroutine that runs inside an instance, and counts its own commands.

    *undos* counts the compensations under way: the branch settles only after them; *undoes* is whose undos it runs.
    """

    __slots__ = (
        "cancelling",
        "counter",
        "generator",
        "method",
        "outcome",
        "path",
        "prefix",
        "random",
        "shielded",
        "slot",
        "undoes",
        "undos",
        "waiting",
    )

    def __init__(self, path: str, generator: Any, method: MethodRun, since: int) -> None:
        self.path = path
        self.prefix = path + "."
        self.counter = 0
        self.generator = generator
        self.method = method
        self.slot = BranchSlot(self, since)
        self.waiting: Slot | None = None
        self.cancelling = False
        self.shielded = False
        self.undos = 0
        self.undoes: Branch | None = None
        self.outcome: Callable[[], None] | None = None
        self.random: random.Random | None = None

    def chance(self, run: str) -> random.Random:
        """The branch's own source of random numbers, seeded by run and path."""
        if self.random is None:
            self.random = random.Random(f"{run}/{self.path}")
        return self.random


class MethodRun:
    """One method of an instance that runs, and who is to be told how it ends."""

    __slots__ = ("branch", "call_id", "caller", "name", "ordinal", "reply_to", "started")

    def __init__(
        self, ordinal: int, name: str, call_id: str, caller: Caller | None, reply_to: str, started: int
    ) -> None:
        self.ordinal = ordinal
        self.name = name
        self.call_id = call_id
        self.caller = caller
        self.reply_to = reply_to
        self.started = started
        self.branch: Branch | None = None


def stack_of(generator: Any, source: Callable[[str, int], str]) -> tuple[Frame, ...]:
    """The lines at which a suspended generator or coroutine waits, outermost first, through every `yield from`."""
    frames = []
    while generator is not None:
        frame = getattr(generator, "gi_frame", None) or getattr(generator, "cr_frame", None)
        if frame is None:
            break
        module = frame.f_globals.get("__name__", "")
        if not module.startswith(INSIDE):
            frames.append(frame_at(frame.f_code, frame.f_lineno, source))
        generator = getattr(generator, "gi_yieldfrom", None) or getattr(generator, "cr_await", None)
    return tuple(frames)


def frame_at(code: Any, line: int, source: Callable[[str, int], str]) -> Frame:
    """One line of a stack, with its source text."""
    return Frame(code.co_filename, line, code.co_qualname if hasattr(code, "co_qualname") else code.co_name,
                 source(code.co_filename, line))


def raised_stack(error: BaseException, source: Callable[[str, int], str]) -> tuple[Frame, ...]:
    """The lines through which *error* came, outermost first, without this library's own."""
    frames = []
    traceback = error.__traceback__
    while traceback is not None:
        frame = traceback.tb_frame
        if not frame.f_globals.get("__name__", "").startswith(INSIDE):
            frames.append(frame_at(frame.f_code, traceback.tb_lineno, source))
        traceback = traceback.tb_next
    return tuple(frames[-30:])
