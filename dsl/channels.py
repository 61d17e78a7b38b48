"""Channels: typed mailboxes of an instance, and the signals sent to them."""

from __future__ import annotations

from typing import Any, Generic, overload

from msgspec import Struct

from dsl.calls import Call, Send, check_id, check_name
from dsl.commands import Command, T
from dsl.context import running


class Receive(Struct, Command[T], frozen=True):
    """Wait for the next signal of a channel."""

    channel: Any

    @property
    def label(self) -> str:
        """As in `bonus.receive()`."""
        return f"{self.channel.name}.receive()"


class Mailbox(Generic[T]):
    """A channel seen from inside its workflow."""

    __slots__ = ("_channel",)

    def __init__(self, channel: Channel[T]) -> None:
        self._channel = channel

    def receive(self) -> Command[T]:
        """The next signal: the oldest that is buffered, else the next to come."""
        return self._channel.receive()

    def drain(self) -> list[T]:
        """All signals that are buffered, oldest first; they are received by that. Does not wait."""
        return self._channel.drain()


class Sender(Generic[T]):
    """A channel seen from outside: of the instance *workflow_id*."""

    __slots__ = ("_channel", "_workflow_id")

    def __init__(self, channel: Channel[T], workflow_id: str = "") -> None:
        self._channel, self._workflow_id = channel, workflow_id

    def send(self, value: T, /) -> Call[None]:
        """Describe sending *value*. Raises `TypeError` when no instance is named."""
        if not self._workflow_id:
            label = self._channel.label
            owner, _, name = label.rpartition(".")
            raise TypeError(f"{label}.send(…) needs an instance: {owner}.by_id('…').{name}.send(…)")
        return Send(self._channel, value, self._workflow_id)


class Channel(Generic[T]):
    """A typed mailbox: `bonus = Channel(int)` in a workflow class, in a module `Channel(int, name="bonus")`.

    `Channel[int | str]()` declares any type. Signals are kept until they are received. Raises `ValueError`
    for what cannot be a name.
    """

    def __init__(self, type: type[T] | None = None, /, *, name: str | None = None) -> None:
        self._type = type
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

    def receive(self) -> Command[T]:
        """The next signal: the oldest that is buffered, else the next to come. For function workflows."""
        return Receive(self._named())

    def drain(self) -> list[T]:
        """All signals that are buffered, oldest first; they are received by that. Does not wait."""
        return running(f"{self.label}.drain()").drain(self.name, self)

    def by_id(self, id: str) -> Sender[T]:
        """The channel of the instance *id*, to send to. Raises `InvalidId` for what cannot be one."""
        return Sender(self._named(), check_id(id))

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
