"""A storage, a transport and a backend that belong to one inhabitant of the world, and fail as the world says.

Before and after each call the world is asked (`Inhabitant.point`): it may let others act, raise, or end the inhabitant.
A batch of appends may take effect in part, for each is atomic by itself; a batch of messages too.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from msgspec import Struct

from infinitic.backends import Committed, Step
from infinitic.backends.distributed import DistributedBackend
from infinitic.clock import SECOND
from infinitic.errors import StorageError, TransportError
from infinitic.messages import Delivery, Outgoing
from infinitic.records import Append, Filter, StateRecord, Stored, TurnRow
from infinitic.storages import Due, Page
from infinitic.storages.memory import MemoryStorage
from infinitic.topics import CLIENT, CONTROL
from infinitic.transports import Consumer
from infinitic.transports.memory import MemoryTransport
from infinitic.worker.work import StuckCode


class Killed(StuckCode):
    """The process of an inhabitant ends here. Passes through the worker's code as its own last resort does."""


class Inhabitant(Protocol):
    """Whoever owns a handle."""

    name: str

    def point(self, where: str, error: type[Exception] | None = None, effect: str = "before") -> None: ...
    def part(self, size: int) -> int: ...


class SimStorage:
    """One inhabitant's handle on the storage of the world."""

    def __init__(self, storage: MemoryStorage, owner: Inhabitant, witness: Any) -> None:
        self._storage, self._owner, self._witness = storage, owner, witness

    def _read(self, name: str, *args: Any) -> Any:
        self._owner.point(name, StorageError)
        return getattr(self._storage, name)(*args)

    def load(self, workflow_id: str, from_turn: int = 0, run: str = "") -> Stored | None:
        return self._read("load", workflow_id, from_turn, run)  # type: ignore[no-any-return]

    def history(self, workflow_id: str, run: str) -> tuple[TurnRow, ...]:
        return self._read("history", workflow_id, run)  # type: ignore[no-any-return]

    def records(self, workflow_ids: Sequence[str]) -> list[StateRecord | None]:
        return self._read("records", workflow_ids)  # type: ignore[no-any-return]

    def find(self, where: Filter, limit: int, after: str = "") -> Page:
        return self._read("find", where, limit, after)  # type: ignore[no-any-return]

    def count(self, where: Filter) -> int:
        return self._read("count", where)  # type: ignore[no-any-return]

    def offers(self, fingerprints: Mapping[str, str], behind_since: int, limit: int) -> list[tuple[str, str]]:
        return self._read("offers", fingerprints, behind_since, limit)  # type: ignore[no-any-return]

    def claim_due_timers(self, workflows: Sequence[str], ahead: int, limit: int, lease: int) -> Due:
        self._owner.point("claim", StorageError)
        due = self._storage.claim_due_timers(workflows, ahead, limit, lease)
        self._owner.point("claim", StorageError, "after")
        return due

    def append(self, batch: Sequence[Append]) -> list[bool]:
        self._owner.point("persist", StorageError)
        part = self._owner.part(len(batch))
        won = self._storage.append(batch[:part])
        self._witness.appended(batch[:part], won)
        if part < len(batch):
            raise StorageError("the storage went away in the middle of a batch")
        self._owner.point("persist", StorageError, "after")
        return won

    def purge(self, now: int) -> int:
        return 0

    def now(self) -> int:
        return self._storage.now()

    def close(self) -> None:
        self._storage.close()


class Wired(Struct):
    """A message under way; it arrives not before *at*."""

    at: int
    outgoing: Outgoing


class Wire:
    """Messages that the broker holds and has not given out yet: those of one key stay in order.

    One that is doubled by a producer that did not hear of its receipt comes again, later, behind all others.
    """

    def __init__(self) -> None:
        self.lanes: dict[tuple[str, str], deque[Wired]] = {}
        self.again: list[Wired] = []

    def put(self, outgoing: Outgoing, at: int) -> None:
        lane = self.lanes.setdefault((outgoing.topic, outgoing.key), deque())
        lane.append(Wired(max(at, lane[-1].at if lane else 0), outgoing))

    def holds(self, outgoing: Outgoing) -> bool:
        """Whether others of its key are still under way."""
        return (outgoing.topic, outgoing.key) in self.lanes

    def due(self, now: int) -> list[tuple[str, str]]:
        """The lanes of which something can arrive."""
        for one in [one for one in self.again if one.at <= now]:
            self.again.remove(one)
            self.put(one.outgoing, now)
        return [lane for lane, those in self.lanes.items() if those[0].at <= now]

    def take(self, lane: tuple[str, str]) -> Outgoing:
        those = self.lanes[lane]
        outgoing = those.popleft().outgoing
        if not those:
            del self.lanes[lane]
        return outgoing

    @property
    def next_at(self) -> int | None:
        """When the next may arrive."""
        return min((one.at for one in (*self.again, *(those[0] for those in self.lanes.values()))), default=None)


class SimTransport(MemoryTransport):
    """One inhabitant's handle on the broker of the world."""

    owner: Inhabitant
    world: Any

    def of(self, owner: Inhabitant) -> SimTransport:
        handle = self.another()
        assert isinstance(handle, SimTransport)
        handle.owner = owner
        return handle

    def publish(self, batch: Sequence[Outgoing]) -> None:
        hints = all(one.hint for one in batch)
        if not hints:
            self.owner.point("publish", TransportError)
        part = len(batch) if hints else self.owner.part(len(batch))
        for one in batch[:part]:
            self._send(one)
        if part < len(batch):
            raise TransportError("the broker went away in the middle of a batch")
        if not hints:
            self.owner.point("publish", TransportError, "after")

    def _send(self, outgoing: Outgoing) -> None:
        world = self.world
        world.witness.published(outgoing)
        is_hint = outgoing.topic.startswith(CLIENT) or outgoing.topic.endswith(CONTROL)
        if is_hint and world.faulty("lost hint"):
            return
        late = world.lateness()
        if late or world.wire.holds(outgoing):
            world.wire.put(outgoing, world.now + late)
        else:
            super().publish([outgoing])
        if not is_hint and world.faulty("doubled"):
            world.wire.again.append(Wired(world.now + world.chance.below(3) * SECOND, outgoing))

    def arrive(self, outgoing: Outgoing) -> None:
        """What was under way is there."""
        super().publish([outgoing])

    def hears(self, delivery: Delivery) -> bool:
        return not self.world.faulty("lost ack")


class SimBackend(DistributedBackend):
    """Persist → publish → acknowledge; the world is asked between any two."""

    def __init__(self, transport: SimTransport, storage: SimStorage, owner: Inhabitant) -> None:
        super().__init__(transport, storage)
        self._owner = owner

    def commit(self, steps: Sequence[Step], tasks: Consumer | None = None, capacity: int = 0) -> Committed:
        committed = super().commit(steps, tasks, capacity)
        self._owner.point("commit", TransportError, "after")
        return committed

    def _publish(self, batch: Sequence[Outgoing]) -> None:
        if batch:
            self.transport.publish(batch)
        if not all(one.hint for one in batch):
            self._owner.point("acknowledge")
