"""Combinators: wait for many things at once.

They take commands, deferreds, generators and coroutines, and nest. What is no such thing is a `TypeError`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Generic, TypeVar, overload

from dsl.commands import All, Combinator, Command, First, Item, T, T_co, takes_item
from dsl.timers import Duration, Timer, microseconds

__all__ = ["All", "Combinator", "First", "Gather", "Outcome", "Race", "Settle", "Timeout"]
__all__ += ["first", "gather", "race", "settle", "timeout"]

A = TypeVar("A")
B = TypeVar("B")
C = TypeVar("C")
D = TypeVar("D")
E = TypeVar("E")
F = TypeVar("F")
G = TypeVar("G")
H = TypeVar("H")


class Outcome(Generic[T_co]):
    """How one item of `settle` ended: `ok` with a `value`, or an `error`."""

    __slots__ = ("_value", "error")

    def __init__(self, value: T_co | None = None, error: BaseException | None = None) -> None:
        self._value = value
        self.error = error

    @property
    def ok(self) -> bool:
        """Whether it succeeded."""
        return self.error is None

    @property
    def value(self) -> T_co:
        """The answer. Raises the error when there is none."""
        if self.error is not None:
            raise self.error
        return self._value  # type: ignore[return-value]  # there is a value when there is no error

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Outcome):
            return NotImplemented
        return self._value == other._value and repr(self.error) == repr(other.error)

    __hash__ = None  # type: ignore[assignment]  # values need not be hashable

    def __repr__(self) -> str:
        return f"Outcome({self._value!r})" if self.ok else f"Outcome(error={self.error!r})"


class Gather(Combinator[T_co], frozen=True):
    """All answers in a tuple; raises the first failure."""


class Race(Combinator[T_co], frozen=True):
    """The name and answer of the first to settle; raises when that is a failure."""

    names: tuple[str, ...] = ()


class Settle(Combinator[T_co], frozen=True):
    """An `Outcome` of each item; never raises."""


class Timeout(Combinator[T_co], frozen=True):
    """The item's answer, or the builtin `TimeoutError` when the timer is first: two items, the timer last."""


def _checked(what: str, items: Iterable[Any]) -> tuple[Any, ...]:
    return tuple([takes_item(what, item) for item in items])


@overload
def gather() -> Command[tuple[()]]: ...
@overload
def gather(a: Item[A], /) -> Command[tuple[A]]: ...
@overload
def gather(a: Item[A], b: Item[B], /) -> Command[tuple[A, B]]: ...
@overload
def gather(a: Item[A], b: Item[B], c: Item[C], /) -> Command[tuple[A, B, C]]: ...
@overload
def gather(a: Item[A], b: Item[B], c: Item[C], d: Item[D], /) -> Command[tuple[A, B, C, D]]: ...
@overload
def gather(a: Item[A], b: Item[B], c: Item[C], d: Item[D], e: Item[E], /) -> Command[tuple[A, B, C, D, E]]: ...
@overload
def gather(
    a: Item[A], b: Item[B], c: Item[C], d: Item[D], e: Item[E], f: Item[F], /
) -> Command[tuple[A, B, C, D, E, F]]: ...
@overload
def gather(
    a: Item[A], b: Item[B], c: Item[C], d: Item[D], e: Item[E], f: Item[F], g: Item[G], /
) -> Command[tuple[A, B, C, D, E, F, G]]: ...
@overload
def gather(
    a: Item[A], b: Item[B], c: Item[C], d: Item[D], e: Item[E], f: Item[F], g: Item[G], h: Item[H], /
) -> Command[tuple[A, B, C, D, E, F, G, H]]: ...
@overload
def gather(*items: Item[T]) -> Command[tuple[T, ...]]: ...
def gather(*items: Any) -> Any:
    """All answers, in the order of *items*; raises the first failure. Empty, it answers () at once."""
    return Gather(_checked("gather", items))


@overload
def first(a: Item[A], /) -> Command[A]: ...
@overload
def first(a: Item[A], b: Item[B], /) -> Command[A | B]: ...
@overload
def first(a: Item[A], b: Item[B], c: Item[C], /) -> Command[A | B | C]: ...
@overload
def first(a: Item[A], b: Item[B], c: Item[C], d: Item[D], /) -> Command[A | B | C | D]: ...
@overload
def first(a: Item[A], b: Item[B], c: Item[C], d: Item[D], e: Item[E], /) -> Command[A | B | C | D | E]: ...
@overload
def first(*items: Item[T]) -> Command[T]: ...
def first(*items: Any) -> Any:
    """The first answer; raises only when every item has failed, with the last failure. `a | b` is the same.

    Tasks and children that lose run on. Raises `ValueError` when there is no item.
    """
    if not items:
        raise ValueError("first() of nothing would wait for ever: give it one item or more")
    return First(_checked("first", items))


def race(**items: Item[T]) -> Command[tuple[str, T]]:
    """The (name, answer) of the first item to settle; raises when that one failed.

    Tasks and children that lose are cancelled. Raises `ValueError` when there is no item.
    """
    if not items:
        raise ValueError("race() of nothing would wait for ever: give it an item or more, as in race(a=…)")
    return Race(_checked("race", tuple(items.values())), names=tuple(items))


@overload
def settle() -> Command[tuple[()]]: ...
@overload
def settle(a: Item[A], /) -> Command[tuple[Outcome[A]]]: ...
@overload
def settle(a: Item[A], b: Item[B], /) -> Command[tuple[Outcome[A], Outcome[B]]]: ...
@overload
def settle(a: Item[A], b: Item[B], c: Item[C], /) -> Command[tuple[Outcome[A], Outcome[B], Outcome[C]]]: ...
@overload
def settle(
    a: Item[A], b: Item[B], c: Item[C], d: Item[D], /
) -> Command[tuple[Outcome[A], Outcome[B], Outcome[C], Outcome[D]]]: ...
@overload
def settle(
    a: Item[A], b: Item[B], c: Item[C], d: Item[D], e: Item[E], /
) -> Command[tuple[Outcome[A], Outcome[B], Outcome[C], Outcome[D], Outcome[E]]]: ...
@overload
def settle(*items: Item[T]) -> Command[tuple[Outcome[T], ...]]: ...
def settle(*items: Any) -> Any:
    """An `Outcome` of each item once all have settled; never raises. Empty, it answers () at once."""
    return Settle(_checked("settle", items))


def timeout(item: Item[T], seconds: Duration) -> Command[T]:
    """The item's answer, or the builtin `TimeoutError` after *seconds* (or a timedelta).

    A task or child that loses is cancelled.
    """
    return Timeout((*_checked("timeout", (item,)), Timer(delay=microseconds(seconds, "timeout()"))))
