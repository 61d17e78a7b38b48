"""Deferreds: handles to answers of commands that were dispatched without waiting."""

from __future__ import annotations

from collections.abc import Coroutine, Generator
from typing import Literal

from msgspec import Struct

from dsl.commands import INERT, Command, Coro, Flow, Inert, T, T_co, described
from dsl.context import Slot, running

Status = Literal["running", "completed", "failed", "cancelled"]


class Deferred(Struct, Command[T_co], frozen=True, eq=False):
    """The answer to come of a command: `yield from deferred` waits for it, as often as one likes."""

    slot: Slot
    inert: Inert = INERT

    def status(self) -> Status:
        """How it stands at this point of history: the same on every replay."""
        return self.slot.status  # type: ignore[return-value]  # the engine knows these four only

    def done(self) -> bool:
        """Whether it has an answer, a failure or a cancellation."""
        return self.slot.status != "running"

    def cancel(self) -> None:
        """Cancel what was asked for, unless it has an answer. A branch gets `Cancelled` thrown in."""
        running("Deferred.cancel()").cancel(self.slot)

    @property
    def label(self) -> str:
        """As in `deferred m0.3 (Hotels.book)`."""
        return f"deferred {self.slot.position} ({self.slot.label})"

    def __repr__(self) -> str:
        return f"<{self.label} {self.slot.status}>"


def dispatch(command: Command[T]) -> Deferred[T]:
    """Ask for *command* now and go on; `yield from` the deferred to wait for its answer.

    Raises `TypeError` for what is no command, `OutsideWorkflow` outside a workflow.
    """
    context = running("dispatch()")
    if isinstance(command, Generator | Coroutine):
        raise TypeError("dispatch() takes a command; run a generator or coroutine beside this one with spawn()")
    if not isinstance(command, Command):
        raise TypeError(f"dispatch() takes a command such as a task call, not {described(command)}")
    return command if isinstance(command, Deferred) else Deferred(context.issue(command))


def spawn(flow: Flow[T] | Coro[T]) -> Deferred[T]:
    """Run a sub-generator or coroutine beside this one, inside the same instance, from now on.

    `.cancel()` throws `Cancelled` at its current yield. Raises `TypeError` for what is neither of the two.
    """
    context = running("spawn()")
    if isinstance(flow, Command):
        raise TypeError(f"spawn() takes a generator or coroutine; {described(flow)} is a command: use dispatch()")
    if not isinstance(flow, Generator | Coroutine):
        raise TypeError(f"spawn() takes a generator or coroutine, not {flow!r}: call the function, as in spawn(f(x))")
    return Deferred(context.spawn(flow))
