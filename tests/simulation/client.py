"""A client of the world: the real `Session` without a thread, and a script that is a generator."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from attrs import evolve

from infinitic.backends.distributed import DistributedBackend
from infinitic.client import calls
from infinitic.client.session import Session
from infinitic.serialization import Serializer
from tests.simulation.faults import SimBackend, SimStorage

LOOK_AGAIN = 5.0


class Client:
    """Does what its script says. Its script yields what it waits for, and is resumed now and then."""

    def __init__(self, world: Any, name: str, codec: Serializer, *, reads: bool) -> None:
        self.world, self.name = world, name
        transport = world.transport.of(self)
        storage = SimStorage(world.storage.another(), self, world.witness) if reads else None
        backend = SimBackend(transport, storage, self) if storage else DistributedBackend(transport)
        self.session = Session(backend, codec, look_again=LOOK_AGAIN, clock=lambda: world.now, driver=self)
        self.session.writer = evolve(self.session.writer, new_run=calls.new_id)  # the same in each run
        self.script: Iterator[str] | None = None
        self.waits_for = "its turn"

    # --- what its session asks of its driver ---

    def time(self) -> float:
        return self.world.now / 1_000_000

    def drive(self, done: Callable[[], bool], seconds: float | None) -> None:
        raise AssertionError("scripts wait by themselves")

    # --- what its handles ask ---

    def point(self, where: str, error: type[Exception] | None = None, effect: str = "before") -> None:
        if error is not None and self.world.faulty("error"):
            raise error(f"trouble {effect} {where}")

    def part(self, size: int) -> int:
        return size

    # --- its life ---

    @property
    def is_done(self) -> bool:
        return self.script is None

    def act(self) -> None:
        """Hear what came, and go on with the script."""
        self._bell.clear()
        self.session.waits.attend()
        if self.script is not None:
            try:
                self.waits_for = next(self.script)
            except StopIteration:
                self.script, self.waits_for = None, ""

    def others_done(self, id: str) -> bool:
        """Whether all others that deal with an instance are done."""
        return all(one.is_done or one is self for one in self.world.clients if f" of {id}" in one.name)

    @property
    def can_act(self) -> bool:
        """Whether anything may have come of what it waits for."""
        what, _, id = self.waits_for.partition(" of ")
        if self.script is None:
            return False
        if what == "the start":
            return id in self.world.begun
        if what == "the others":
            return self.others_done(id)
        return what != "the answer" or self._bell.is_set() or self.world.now >= self.look_at

    @property
    def look_at(self) -> int:
        """When it looks again for what it waits for."""
        return int(self.session.waits._next_look * 1_000_000) + 1

    @property
    def _bell(self) -> Any:
        """What its thread would wait for, if it had one."""
        return self.session.waits._bell
