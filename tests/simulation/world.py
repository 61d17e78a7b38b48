"""The world: one clock, one storage, one broker, workers and clients on them, and the troubles that befall them.

One loop chooses what happens next among all that could. What a worker does goes through `World.point` before and
after each call of storage and broker: there others may act in between, the call may fail, or the worker may die.
When all scripts of clients are through, troubles end and all that is left is done.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from attrs import asdict, frozen

from infinitic.clock import SECOND
from infinitic.engine.instance import Instance
from infinitic.engine.programs import program_of
from infinitic.records import StateRecord
from infinitic.storages.memory import Instance as Stored
from infinitic.storages.memory import MemoryStorage
from infinitic.transports.memory import MemoryConsumer
from infinitic.transports.memory.topics import KeyShared, Lane
from infinitic.worker.tasks import Attempt
from tests.simulation.chance import Chance
from tests.simulation.client import Client
from tests.simulation.faults import Killed, SimTransport, Wire
from tests.simulation.residents import PROGRAMS, SURROUNDINGS, Action, Resident
from tests.simulation.witness import Witness, check

NOON = 1_800_000_000_000_000
ENOUGH = 5_000
"""Actions after which troubles end."""
TOO_LONG = 15_000
"""Actions after which a world is said not to come to rest."""

LONG = 60 * SECOND
"""A connection on which nothing happens for so long is made anew, in microseconds."""
DOUBTS = 8
"""How often sweeps may find nothing before the world is said to be at rest."""


@frozen
class Troubles:
    """How often what happens, as "one in so many"; 0 is never. *skew* in seconds, *cache* in instances."""

    kill: int = 0
    error: int = 0
    between: int = 0
    part: int = 0
    lost_ack: int = 0
    lost_hint: int = 0
    doubled: int = 0
    late: int = 0
    move: int = 0
    reconnect: int = 0
    skew: int = 0
    deploy: int = 0
    rollout: int = 0
    workers: int = 1
    cache: int = 100
    split: bool = False  # workflows and services by workers of their own

    @property
    def may_repeat_tasks(self) -> bool:
        """Whether a task may run again although nothing is wrong."""
        troubles = (self.kill, self.lost_ack, self.move, self.reconnect, self.doubled, self.error, self.part)
        return any((*troubles, self.deploy, self.rollout))

    @classmethod
    def drawn(cls, chance: Chance) -> Troubles:
        """The troubles of one world: each of them is absent from many, so that others come to the fore."""
        often = lambda *rates: chance.choice((0, 0, *rates))  # noqa: E731
        return cls(
            kill=often(400, 120, 40),
            error=often(150, 40),
            between=often(8, 3),
            part=often(60, 15),
            lost_ack=often(60, 15),
            lost_hint=often(10, 2),
            doubled=often(40, 8),
            late=often(6, 2),
            move=often(40, 10),
            reconnect=often(80, 30),
            skew=often(1, 10),
            deploy=often(100, 30),
            rollout=often(3, 2),
            workers=1 + chance.below(3),
            cache=chance.choice((100, 3, 1)),
            split=chance.one_in(4),
        )


class World:
    """All of it. *chance* decides everything."""

    def __init__(self, chance: Chance, troubles: Troubles) -> None:
        self.chance, self.troubles = chance, troubles
        self._rates = {name.replace("_", " "): rate for name, rate in asdict(troubles).items()}
        self.now = NOON
        self.healed = False
        self.actions_done = 0
        self.trace: list[str] | None = None
        self.storage = MemoryStorage(lambda: self.now)
        self.transport = SimTransport(lambda: self.now)
        self.transport.world = self
        self.wire = Wire()
        self.witness = Witness(self)
        self.begun: set[str] = set()
        self.heard: dict[str, tuple[str, bytes]] = {}
        self.executed: Counter[tuple[str, int]] = Counter()
        self.stirred, self.in_doubt, self.reconnected = False, 0, NOON
        self.planned: list[str] = []
        self.residents: list[Resident] = []
        self.clients: list[Client] = []
        for number in range(troubles.workers):
            serves = "all" if not troubles.split or troubles.workers == 1 else ("workflows", "services", "all")[number]
            skew = (chance.below(2 * troubles.skew + 1) - troubles.skew) * SECOND if troubles.skew else 0
            self.residents.append(Resident(self, f"worker {number + 1}", skew, serves))

    # --- what the handles ask ---

    def faulty(self, what: str) -> bool:
        """Whether this goes wrong."""
        rate = self._rates[what]
        return rate > 0 and not self.healed and self.chance.below(rate) == rate - 1

    def lateness(self) -> int:
        """How long a message is under way, in microseconds."""
        return self.chance.below(3) * SECOND // 2 + 1 if self.faulty("late") else 0

    def executing(self, attempt: Attempt) -> int:
        """An attempt of a task runs: the world keeps count."""
        self.executed[attempt.message.id, attempt.message.attempt] += 1
        return 0

    def lag(self) -> int:
        """How long a task takes, in microseconds."""
        return 0 if self.healed else self.chance.below(4) * SECOND // 3

    def point(self, who: Resident, where: str, error: type[Exception] | None, effect: str) -> None:
        """*who* is about to, or has just done, what *where* names."""
        if self.healed:
            return
        if self.faulty("between"):
            self.between(who)
        if self.faulty("kill"):
            self.note(f"{who.name} dies {effect} {where}")
            raise Killed
        if error is not None and self.faulty("error"):
            raise error(f"trouble {effect} {where}")

    def part(self, size: int) -> int:
        """How many of a batch get through."""
        return self.chance.below(size) if size > 1 and self.faulty("part") else size

    def between(self, who: Resident) -> None:
        """Others act while *who* is in the middle of something."""
        self.note(f"( while {who.name} waits")
        for _ in range(1 + self.chance.below(4)):
            self.act(quiet=True)
        self.note(")")

    # --- the loop ---

    def note(self, text: str) -> None:
        if self.trace is not None:
            self.trace.append(f"{(self.now - NOON) / SECOND:10.3f}  {text}")

    def run(self) -> None:
        """Until all scripts are through and nothing is left to do. Raises `AssertionError`."""
        while not (self.healed or self.actions_done > ENOUGH or all(client.is_done for client in self.clients)):
            self.act()
        if not self.healed:
            self.heal()
        while self.act():
            pass

    def heal(self) -> None:
        """From now on nothing goes wrong any more; what was taken for lost comes again."""
        self.note("all troubles are over")
        self.healed = True
        for resident in self.residents:
            resident.back_at = 0
            if resident.release != "programs":
                resident.deploy()
        for consumer in self.consumers() if self.troubles.may_repeat_tasks else ():
            self.reconnect(consumer)

    def end(self) -> None:
        """No generator outlives its world."""
        for resident in self.residents:
            if resident.worker is not None:
                resident.worker.crash()

    def act(self, *, quiet: bool = False) -> bool:
        """One action, or the passing of time; False when nothing is left. *quiet*: time stands still."""
        self.actions_done += 1
        if self.actions_done > TOO_LONG:
            raise AssertionError("the world does not come to rest")
        if not self.healed:
            self._trouble()
        actions, before = [*self.actions()], self.now
        if actions and not quiet and not self.healed and self.chance.one_in(12):
            self.now = min([one for one in self._instants() if self.now < one], default=self.now)
            self.now = min(self.now, before + 5 * SECOND)
            return True
        if not actions:
            return False if quiet else self.pass_time()
        name, do = self.chance.choice(actions)
        self.stirred = self.stirred or name.endswith(("task begins", "task ends"))
        self.note(name)
        do()
        return True

    def actions(self) -> Iterator[Action]:
        """All that could happen now."""
        for lane in self.wire.due(self.now):
            yield f"arrives: {lane[1]} on {lane[0]}", lambda lane=lane: self.transport.arrive(self.wire.take(lane))
        for resident in self.residents:
            for name, do in resident.actions():
                yield f"{resident.name}: {name}", do
        for client in self.clients:
            if client.can_act:
                yield f"{client.name}, who waits for {client.waits_for}", client.act

    def pass_time(self) -> bool:
        """On to the next instant at which something may happen; False when there will be none."""
        instants = [one for one in self._instants() if one > self.now]
        if instants and max(min(instants) - self.now, self.now - self.reconnected) > LONG and self._redelivers():
            return True
        if instants:
            self.now = min(instants) + self._oversleeps()
            return True
        waiting = [client for client in self.clients if not client.is_done]
        if not self.stirred and self.in_doubt > DOUBTS and not self.healed:
            self.heal()
            return True
        if not self.stirred and self.in_doubt > DOUBTS:
            check(not waiting, "whoever waits is answered", [f"{one.name}: {one.waits_for}" for one in waiting])
            return False
        self.in_doubt = 0 if self.stirred else self.in_doubt + 1
        self.stirred = False
        self.now += 2 * SECOND  # time for sweeps to find what nobody holds
        return True

    def _redelivers(self) -> bool:
        """Whether anything is given out again that was never acknowledged: brokers do that in the end."""
        self.reconnected = self.now
        held = [one for one in self.consumers() if any(topic.in_hand for topic in one.topics.values())]
        for consumer in held:
            self.reconnect(consumer)
        return bool(held)

    def _instants(self) -> Iterator[int]:
        if self.wire.next_at is not None:
            yield self.wire.next_at
        for resident in self.residents:
            yield from resident.instants()
        for client in self.clients:
            if not client.is_done:
                yield client.look_at
        for instance in self.storage._instances.values():
            for row in instance.timers.values():
                yield row.due - SECOND
                yield row.due
                yield row.claimed_until

    def _oversleeps(self) -> int:
        """Now and then everybody comes late."""
        return self.chance.choice((1, 7)) * SECOND if not self.healed and self.chance.one_in(20) else 0

    # --- troubles that come by themselves ---

    def _trouble(self) -> None:
        if self.faulty("move"):
            self._move()
        if self.faulty("reconnect"):
            consumers = self.consumers()
            if consumers:
                self.note("a connection breaks, and is made again")
                self.reconnect(self.chance.choice(consumers))
        if self.chance.one_in(self.troubles.kill * 2):
            idle = [one for one in self.residents if one.worker is not None and not one.busy]
            if idle:
                one = self.chance.choice(idle)
                self.note(f"{one.name} is killed at rest")
                one.die()
        if self.faulty("deploy"):
            idle = [one for one in self.residents if not one.busy]
            if idle:
                one = self.chance.choice(idle)
                self.note(f"a new release is deployed to {one.name}")
                one.deploy()

    def _move(self) -> None:
        """A key goes from one consumer to whoever takes it next."""
        lanes = [(topic, lane) for topic in self.topics() for lane in self.lanes(topic) if lane.holder is not None]
        if lanes:
            topic, lane = self.chance.choice(lanes)
            self.note(f"{lane.key} leaves {topic}'s consumer")
            lane.holder.release([lane.key])

    def reconnect(self, consumer: MemoryConsumer) -> None:
        """All that a consumer has in hand is given out again: its acknowledgements may not have been heard."""
        for topic in consumer.topics.values():
            held = [order for order, (holder, _) in topic.in_hand.items() if holder is consumer]
            woken = [*topic.give_back(topic.hand_in(consumer, held))]
            for one in woken if held else ():
                one.ready()

    # --- what there is ---

    def consumers(self) -> list[MemoryConsumer]:
        """Those of workers."""
        found = []
        for resident in self.residents:
            if resident.worker is not None:
                one = resident.worker.conductor
                found += [consumer for consumer in (one.workflows, one.services) if consumer is not None]
        return found  # type: ignore[return-value]  # of a memory transport

    def topics(self) -> list[str]:
        return [*self.transport._broker.topics]

    def lanes(self, topic: str) -> list[Lane]:
        found = self.transport._broker.topics[topic]
        return [*found.lanes.values()] if isinstance(found, KeyShared) else []

    def instances(self) -> list[tuple[str, Stored]]:
        """All instances, as the storage keeps them."""
        return [*self.storage._instances.items()]

    def stored(self, workflow_id: str) -> Stored:
        return self.storage._instances[workflow_id]

    def fresh(self, record: StateRecord) -> Instance:
        """An instance without history, of the version that the record says."""
        program = program_of(PROGRAMS, record)
        assert program is not None
        return Instance(program, record.workflow_id, SURROUNDINGS)

    def outcomes(self) -> dict[str, tuple[str, bytes, str]]:
        """How the instances of the plans have ended."""
        records = {id: self.stored(id).record for id in self.planned}
        return {id: (one.status, bytes(one.value), one.error.type if one.error else "") for id, one in records.items()}
