"""Channels: typed mailboxes of an instance, and the signals sent to them."""

from __future__ import annotations

import builtins
from collections.abc import Callable
from types import UnionType
from typing import Any, Generic, TypeVar, overload

from msgspec import Struct

from dsl.calls import Call, Send, check_id, check_name
from dsl.commands import Command, T
from dsl.context import running

S = TypeVar("S")


class Receive(Struct, Command[T], frozen=True):
    """Wait for the next signal of a channel; for the next of a *type*, and of which *where* says yes."""

    channel: Any
    type: Any = None
    where: Any = None

    @property
    def which(self) -> str:
        """As in `Paid, where=Desk.is_large`; "" when any signal will do."""
        said = [] if self.type is None else [getattr(self.type, "__name__", str(self.type))]
        if self.where is not None:
            said.append(f"where={getattr(self.where, '__qualname__', type(self.where).__qualname__)}")
        return ", ".join(said)

    @property
    def label(self) -> str:
        """As in `bonus.receive()`."""
        return f"{self.channel.name}.receive({self.which})"


def _receive(channel: Channel[Any], type: Any, where: Any) -> Receive[Any]:
    """The command, checked."""
    try:
        isinstance(None, () if type is None else type)
    except TypeError:
        hint = "a class, or several as in Paid | Refused"
        raise TypeError(f"{channel.label}.receive() takes {hint}, not {type!r}; where= takes a function") from None
    if where is not None and not callable(where):
        raise TypeError(f"{channel.label}.receive(where=) takes a function of the signal, not {where!r}")
    return Receive(channel, type, where)


class Mailbox(Generic[T]):
    """A channel seen from inside its workflow."""

    __slots__ = ("_channel",)

    def __init__(self, channel: Channel[T]) -> None:
        self._channel = channel

    @overload
    def receive(self, type: None = None, /, *, where: Callable[[T], object] | None = None) -> Command[T]: ...
    @overload
    def receive(self, type: type[S], /, *, where: Callable[[S], object] | None = None) -> Command[S]: ...
    @overload
    def receive(self, type: UnionType, /, *, where: Callable[[T], object] | None = None) -> Command[T]: ...
    def receive(self, type: Any = None, /, *, where: Any = None) -> Command[Any]:
        """The next signal: the oldest that is buffered, else the next to come.

        With a *type*, the next that is one; with *where*, the next of which it says yes. It leaves the others where
        they are. *where* is asked once for each signal, and never on replay. It may only read; what it raises, the
        receive raises. Raises `TypeError` for what is no class (`Paid | Refused` is fine) and no function.
        """
        return _receive(self._channel, type, where)

    def drain(self) -> list[T]:
        """All signals that are buffered, oldest first; they are received by that. Does not wait."""
        return self._channel.drain()


class Sender(Generic[T]):
    """A channel seen from outside: of the instance *workflow_id*, or of all that have the *tag*."""

    __slots__ = ("_channel", "_tag", "_workflow_id")

    def __init__(self, channel: Channel[T], workflow_id: str = "", tag: str = "") -> None:
        self._channel, self._workflow_id, self._tag = channel, workflow_id, tag

    def send(self, value: T, /) -> Call[None]:
        """Describe sending *value*. Raises `TypeError` when no instance is named."""
        if not self._workflow_id and not self._tag:
            label = self._channel.label
            owner, _, name = label.rpartition(".")
            raise TypeError(f"{label}.send(…) needs an instance: {owner}.by_id('…').{name}.send(…)")
        return Send(self._channel, value, self._workflow_id, tag=self._tag)


class Channel(Generic[T]):
    """A typed mailbox: `bonus = Channel(int)` in a workflow class, in a module `Channel(int, name="bonus")`.

    `Channel[int | str]()` declares any type. Signals are kept until they are received; with `buffered=False`, one
    that comes while nobody waits for it is dropped. Raises `ValueError` for what cannot be a name.
    """

    def __init__(self, type: type[T] | None = None, /, *, name: str | None = None, buffered: bool = True) -> None:
        self._type = type
        self.buffered = buffered
        self.name = check_name(name, "a channel") if name is not None else ""
        self.owner = ""  # the workflow's name; "" for a channel of a module
        self.cache: Any = None  # the runtime's

    @property
    def type(self) -> Any:
        """The declared type of signals; `Any` when there is none."""
        if self._type is not None:
            return self._type
        alias = getattr(self, "__orig_class__", None)
        return alias.__args__[0] if alias is not None else Any

    @property
    def label(self) -> str:
        """As in `Loyalty.bonus`."""
        return f"{self.owner}.{self.name}" if self.owner else self.name

    @overload
    def receive(self, type: None = None, /, *, where: Callable[[T], object] | None = None) -> Command[T]: ...
    @overload
    def receive(self, type: builtins.type[S], /, *, where: Callable[[S], object] | None = None) -> Command[S]: ...
    @overload
    def receive(self, type: UnionType, /, *, where: Callable[[T], object] | None = None) -> Command[T]: ...
    def receive(self, type: Any = None, /, *, where: Any = None) -> Command[Any]:
        """As `Mailbox.receive`, for function workflows."""
        return _receive(self._named(), type, where)

    def drain(self) -> list[T]:
        """All signals that are buffered, oldest first; they are received by that. Does not wait."""
        return running(f"{self.label}.drain()").drain(self.name, self)

    def by_id(self, id: str) -> Sender[T]:
        """The channel of the instance *id*, to send to. Raises `InvalidId` for what cannot be one."""
        return Sender(self._named(), check_id(id))

    def by_tag(self, tag: str) -> Sender[T]:
        """The channel of all instances that have the *tag*, to send to. Raises `InvalidId` for what cannot be one."""
        return Sender(self._named(), tag=check_id(tag, "a tag"))

    def _named(self) -> Channel[T]:
        if self.name:
            return self
        raise TypeError("a channel of a module needs a name: Channel(str, name='confirmed')")

    def __set_name__(self, owner: Any, name: str) -> None:
        if not hasattr(owner, "workflow_name"):
            raise TypeError(f"{owner.__name__}.{name}: a class with channels must be a Workflow")
        self.name = self.name or check_name(name, "a channel")
        self.owner = owner.__name__

    @overload
    def __get__(self, instance: None, owner: Any, /) -> Sender[T]: ...
    @overload
    def __get__(self, instance: object, owner: Any = None, /) -> Mailbox[T]: ...
    def __get__(self, instance: Any, owner: Any = None, /) -> Any:
        held = vars(owner)["_channels"].get(self.name, self)  # as the workflow *owner* has it
        return Sender(held) if instance is None else Mailbox(held)

    def __repr__(self) -> str:
        return f"<channel {self.label}>"
