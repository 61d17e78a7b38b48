"""The `Backend` protocol: a storage and a transport joined, and the one operation that needs both, `commit`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from msgspec import Struct

from infinitic.messages import Delivery, Outgoing
from infinitic.records import Append
from infinitic.storages import Storage
from infinitic.transports import Consumer, Transport


class Step(Struct, frozen=True, kw_only=True):
    """What one instance (or one task) has to commit: *append*, then *outputs*, then *acks*.

    Without an append the step always wins. *hints* go to clients, outside the commit, only when the step won.
    """

    append: Append | None = None
    outputs: tuple[Outgoing, ...] = ()
    hints: tuple[Outgoing, ...] = ()
    acks: tuple[Delivery, ...] = ()
    consumer: Consumer | None = None  # whose deliveries *acks* are


class Committed(Struct, frozen=True):
    """What became of each step: True where it won. *adopted* are outputs that this worker got itself, in hand."""

    won: tuple[bool, ...]
    adopted: tuple[Delivery, ...] = ()


class Backend(Protocol):
    """What every backend does. Trouble raises `StorageError` or `TransportError`; nothing of a step is then certain."""

    marks: bool
    """Whether outputs are sent in a step of their own after the append, so that a mark must be kept."""

    @property
    def transport(self) -> Transport:
        """The transport."""

    @property
    def storage(self) -> Storage:
        """The storage. Raises `NoStorage` where the configuration names none."""

    def commit(self, steps: Sequence[Step], tasks: Consumer | None = None, capacity: int = 0) -> Committed:
        """Persist, publish, acknowledge: of a step that lost its race nothing is published nor acknowledged.

        Up to *capacity* tasks among the outputs, of topics that the consumer *tasks* subscribed to, may be handed over
        in memory: they come back as `adopted` and are that consumer's to acknowledge.
        """

    def handed_over(self, task: Delivery, result: Outgoing, workflows: Consumer | None) -> Delivery | None:
        """The result of *task* as a delivery for this very worker, when its consumer *workflows* holds the instance.

        Acknowledging that delivery acknowledges the task. None: commit a step that publishes *result* and
        acknowledges *task*.
        """

    def close(self) -> None:
        """Close the transport and the storage."""
