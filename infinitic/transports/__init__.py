"""The `Transport` protocol: what moves messages between workers and clients.

Three kinds of topics, by their prefix (`infinitic.topics`): `workflow:` gives all messages of one key to one consumer
at a time, in order, for as long as that consumer lives; `service:` gives each message to any one consumer;
`client:` goes to the one consumer that subscribed, and may lose messages while there is none. All of it may be called
from several threads at once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from msgspec import Struct

from infinitic.messages import Delivery, Message, Outgoing


class Traffic(Struct, frozen=True):
    """How a topic stands: its living *consumers*, and how many messages are *waiting* that none of them has."""

    consumers: int = 0
    waiting: int = 0


class OnTheWay(Struct, frozen=True):
    """A message that is not acknowledged yet.

    *holder* names the living consumer that has it, or gets it next because it holds the instance; "" when there is
    none. *runs* says that it is being worked on.
    """

    topic: str
    message: Message
    holder: str = ""
    runs: bool = False


class Consumer(Protocol):
    """A subscription. What was received and not acknowledged is given to another when this one closes or dies."""

    def receive(self, limit: int) -> list[Delivery]:
        """Up to *limit* messages that are at hand; never blocks. Empty when there is nothing."""

    def ack(self, deliveries: Sequence[Delivery]) -> None:
        """These are done with. A hint: a message may come again all the same."""

    def nack(self, deliveries: Sequence[Delivery]) -> None:
        """These are given back, to be received again, by this consumer or another."""

    def release(self, keys: Sequence[str]) -> None:
        """This consumer holds these instances no longer: their next messages may go to any other."""

    def began(self, delivery: Delivery) -> None:
        """Work on this delivery begins now: should the process die, it counts as under way. Cheap."""

    def ended(self, delivery: Delivery) -> None:
        """Work on this delivery is over. Cheap."""

    def close(self) -> None:
        """Give back all that is not acknowledged."""


class Transport(Protocol):
    """What every transport does. Trouble with it raises `infinitic.errors.TransportError`."""

    def publish(self, batch: Sequence[Outgoing]) -> None:
        """Send; returns once the transport holds them all. Messages of one key to one topic keep their order."""

    def subscribe(self, topics: Sequence[str], ready: Callable[[], None]) -> Consumer:
        """A consumer of these topics. *ready* is called, from any thread, when there may be something to receive."""

    def traffic(self, topics: Sequence[str]) -> list[Traffic | None]:
        """How each of these topics of workflows and services stands, for people. None: that is not known here."""

    def on_the_way(self, key: str) -> list[OnTheWay] | None:
        """The messages of one key to workflows and services, oldest first, for people. None: not known here.

        What cannot be read as a message is left out.
        """

    def sweep(self) -> None:
        """To be called every 0.5 s by each worker: take over what the dead held, and the like."""

    def close(self) -> None:
        """Give everything back; further calls are an error."""
