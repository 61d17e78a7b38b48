"""What workflow code yields: a command is inert data; nothing happens until it is yielded or dispatched."""

from __future__ import annotations

from collections.abc import Coroutine, Generator
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeAlias, TypeVar, TypeVarTuple

from dsl.errors import ProtocolError

if TYPE_CHECKING:
    from dsl.combinators import All

T = TypeVar("T")
B = TypeVar("B")
R = TypeVar("R")
Ts = TypeVarTuple("Ts")
T_co = TypeVar("T_co", covariant=True)


class Awaits(Protocol[T_co]):
    """What a combinator takes: a command, a deferred, a sub-flow."""

    def __iter__(self) -> Generator[Command[Any], Any, T_co]: ...


class Command(Generic[T_co]):
    """Something to do that answers a `T`: `answer = yield from command`, or `await command` in an `async def`."""

    __slots__ = ()
    __infinitic_command__ = True

    def __iter__(self) -> Generator[Command[Any], Any, T_co]:
        return (yield self)  # type: ignore[no-any-return]  # the engine sends what the command answers

    __await__ = __iter__

    def __or__(self, other: Awaits[B]) -> Command[T_co | B]:
        """The first of the two to succeed; raises when both have failed."""
        from dsl.combinators import First  # noqa: PLC0415  # combinators are commands themselves

        return First.joined(self, other)

    def __and__(self, other: Awaits[B]) -> All[T_co, B]:
        """Both answers, in a tuple; raises the first failure. `a & b & c` is one flat tuple."""
        from dsl.combinators import All  # noqa: PLC0415  # combinators are commands themselves

        return All((self, other))

    def __bool__(self) -> bool:
        raise ProtocolError(
            f"{described(self)} was used as a truth value, but it has no answer yet: write `yield from` before it."
        )


Item: TypeAlias = Awaits[T] | Coroutine[Any, Any, T]
Flow: TypeAlias = Generator[Command[Any], Any, R]
"""What a workflow function returns: `def trip(city: str) -> Flow[Receipt]`."""


def described(command: object) -> str:
    """A short text for a command in messages, as in `Hotels.book(…)`."""
    label = getattr(command, "label", None)
    return label if isinstance(label, str) else repr(command)
