"""What workflow code yields: a command is inert data; nothing happens until it is yielded or dispatched.

Here too is what `a & b` and `a | b` build, because commands make it of themselves.
"""

from __future__ import annotations

from collections.abc import Coroutine, Generator
from typing import Any, Generic, ParamSpec, Protocol, TypeAlias, TypeVar, TypeVarTuple

from msgspec import Struct

from dsl.errors import ProtocolError

P = ParamSpec("P")  # what a function takes
R = TypeVar("R")  # what it answers
R_co = TypeVar("R_co", covariant=True)
Raw_co = TypeVar("Raw_co", covariant=True)  # what a plain call gives: the answer, or a generator or coroutine
T = TypeVar("T")
B = TypeVar("B")
T_co = TypeVar("T_co", covariant=True)
Ts = TypeVarTuple("Ts")


class Awaits(Protocol[T_co]):
    """What a combinator takes: a command, a deferred, a sub-flow."""

    def __iter__(self) -> Generator[Command[Any], Any, T_co]: ...


class Command(Generic[T_co]):
    """Something to do that answers a `T`: `x = yield from command`, or `await command` in an `async def`."""

    __slots__ = ()
    __infinitic_command__ = True

    def __iter__(self) -> Generator[Command[Any], Any, T_co]:
        return (yield self)  # type: ignore[no-any-return]  # the engine sends what the command answers

    __await__ = __iter__

    def check_wait(self) -> None:
        """Called before somebody waits. Raises `ProtocolError` for what nobody can wait for."""

    def __or__(self, other: Awaits[B]) -> Command[T_co | B]:
        """The first of the two to succeed; raises when both have failed. `a | b | c` waits for three."""
        return First.joined(takes_item("|", self), takes_item("|", other))

    def __and__(self, other: Awaits[B]) -> All[T_co, B]:
        """Both answers, in a tuple; raises the first failure. `a & b & c` is one flat tuple."""
        return All((takes_item("&", self), takes_item("&", other)))

    def __bool__(self) -> bool:
        """Raises `ProtocolError`: a command has no answer yet, and so is neither true nor false."""
        raise ProtocolError(
            f"{described(self)} was used as a truth value, but it has no answer yet: write `yield from` before it."
        )


Flow: TypeAlias = Generator[Command[Any], Any, R]
"""What a workflow function returns: `def trip(city: str) -> Flow[Receipt]`."""
Coro: TypeAlias = Coroutine[Any, Any, R]
"""What an `async def` function returns when it is called."""
Item: TypeAlias = Awaits[T] | Coro[T]

ITEMS = (Command, Generator, Coroutine)


class Inert:
    """Marks a command that is plain data besides, so that no codec takes it for a value: it is to be yielded."""

    __slots__ = ()
    __infinitic_command__ = True
    label = "a command such as sleep(…) or gather(…)"


INERT = Inert()


class Combinator(Struct, Command[T_co], frozen=True):
    """What all combinators have: the *items* they wait for."""

    items: tuple[Any, ...] = ()
    inert: Inert = INERT

    @property
    def label(self) -> str:
        """As in `gather(3 items)`."""
        return f"{type(self).__name__.lower()}({len(self.items)} items)"


class All(Combinator[tuple[*Ts]], frozen=True):
    """What `a & b` gives: as `gather`; one more `&` makes it longer."""

    def __and__(self, other: Awaits[B]) -> All[*Ts, B]:  # type: ignore[override]  # narrower: stays flat
        return All((*self.items, takes_item("&", other)))


class First(Combinator[T_co], frozen=True):
    """The first answer; raises when all have failed, with the last failure."""

    joined_by_or: bool = False

    @classmethod
    def joined(cls, left: Any, right: Any) -> First[Any]:
        """What `left | right` gives; `a | b | c` waits for three, flat."""
        items = left.items if isinstance(left, First) and left.joined_by_or else (left,)
        return cls((*items, right), joined_by_or=True)


def takes_item(what: str, item: Any) -> Any:
    """*item* itself when a combinator can wait for it. Raises `TypeError`, which names *what*, and `ProtocolError`."""
    if isinstance(item, Command):
        item.check_wait()
    if isinstance(item, ITEMS):
        return item
    hint = f": write {what}(*items)" if isinstance(item, list | tuple | set | dict) and what.isalpha() else ""
    raise TypeError(f"{what} takes commands, deferreds, generators and coroutines, not {described(item)}{hint}")


def described(command: object) -> str:
    """A short text for a command in messages, as in `Hotels.book(city='Oslo')`."""
    label = getattr(command, "label", None)
    return label if isinstance(label, str) else repr(command)
