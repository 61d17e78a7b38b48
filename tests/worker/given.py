"""A conductor driven by hand over the memory backend: no threads, a clock that jumps, tasks run on demand."""

from collections.abc import Sequence
from typing import Any

from msgspec import Raw

from dsl.workflows import Workflow, WorkflowFunction
from infinitic.backends import Committed, Step
from infinitic.backends.distributed import DistributedBackend
from infinitic.errors import StorageError, TransportError
from infinitic.events import CancelRequested, Event, MethodCalled, Retried, SignalReceived, Started
from infinitic.history import Turn, decode_turn
from infinitic.messages import Delivery, Message, Outgoing, Reply, event_message
from infinitic.records import StateRecord, Stored
from infinitic.serialization import Serializer
from infinitic.storages.memory import MemoryStorage
from infinitic.testing.stepped import SteppedWorker
from infinitic.topics import client_topic, workflow_topic
from infinitic.transports import Consumer
from infinitic.transports.memory import MemoryTransport

NOON = 1_800_000_000_000_000
SECOND = 1_000_000
RUN = "00000000000000000000000000000001"


class Clock:
    """Stands still until it is told to go on."""

    def __init__(self) -> None:
        self.now = NOON

    def __call__(self) -> int:
        return self.now

    def go_on(self, seconds: float = 1) -> None:
        self.now += round(seconds * SECOND)


class Backend(DistributedBackend):
    """Persist → publish → acknowledge, with trouble at the step that *fails* names, once each."""

    def __init__(self, transport: MemoryTransport, storage: MemoryStorage, log: list[Any]) -> None:
        super().__init__(transport, storage)
        self.fails: list[str] = []
        self.log = log

    def _trouble(self, where: str) -> bool:
        if where in self.fails:
            self.fails.remove(where)
            return True
        return False

    def _persist(self, steps: Sequence[Step]) -> tuple[bool, ...]:
        if self._trouble("before persist"):
            raise StorageError("the storage is away")
        won = super()._persist(steps)
        self.log += [("append", one.append.workflow_id, one.append.turns) for one in steps if one.append]
        if self._trouble("after persist"):
            raise StorageError("the answer was lost")
        return won

    def _publish(self, batch: Sequence[Outgoing]) -> None:
        hints = all(one.hint for one in batch)
        if not hints and self._trouble("before publish"):
            raise TransportError("the broker is away")
        super()._publish(batch)
        self.log += [("publish", one.topic, one.message) for one in batch]
        if not hints and self._trouble("after publish"):
            raise TransportError("the receipt was lost")

    def commit(self, steps: Sequence[Step], tasks: Consumer | None = None, capacity: int = 0) -> Committed:
        committed = super().commit(steps, tasks, capacity)
        if self._trouble("after commit"):
            raise TransportError("the acknowledgement was lost")
        return committed


class Deaf(MemoryTransport):
    """Loses as many acknowledgements as it is told to."""

    deaf = 0

    def hears(self, delivery: Delivery) -> bool:
        if type(self).deaf and delivery.topic.startswith("workflow:"):
            type(self).deaf -= 1
            return False
        return True


class Town:
    """One memory storage and one transport, on which several conductors live."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.codec = Serializer()
        self.storage = MemoryStorage(self.clock)
        self.transport = Deaf(self.clock)
        self.log: list[Any] = []
        self.answers = self.transport.subscribe([client_topic("c")], lambda: None)
        self._ids = 0

    def conductor(self, *served: Any, **options: Any) -> "Hand":
        return Hand(self, served, **options)

    def send(self, workflow: str, workflow_id: str, event: Event, run: str = "") -> None:
        message = event_message(
            event, workflow=workflow, workflow_id=workflow_id, run=run, at=self.clock(), reply_to="c"
        )
        self.publish(workflow, workflow_id, message)

    def publish(self, workflow: str, workflow_id: str, message: Message) -> None:
        self.transport.publish([Outgoing(workflow_topic(workflow), workflow_id, message)])

    def next_id(self) -> str:
        self._ids += 1
        return f"id{self._ids}"

    def start(self, call: Any, workflow_id: str = "w", run: str = RUN, **fields: Any) -> None:
        definition = call.definition
        arguments = Raw(self.codec.encode(call.arguments))
        method = definition.name if definition.bound else ""
        event = Started(self.next_id(), definition.owner, run, method, arguments, reply_to="c", **fields)
        self.send(definition.owner, workflow_id, event)

    def signal(self, workflow: str, workflow_id: str, channel: str, value: Any, id: str = "") -> str:
        id = id or self.next_id()
        self.send(workflow, workflow_id, SignalReceived(id, channel, Raw(self.codec.encode(value)), reply_to="c"))
        return id

    def call(self, workflow: str, workflow_id: str, name: str, **arguments: Any) -> str:
        id = self.next_id()
        self.send(workflow, workflow_id, MethodCalled(id, name, Raw(self.codec.encode(arguments)), reply_to="c"))
        return id

    def cancel(self, workflow: str, workflow_id: str) -> None:
        self.send(workflow, workflow_id, CancelRequested(self.next_id(), reply_to="c"))

    def retry(self, workflow: str, workflow_id: str) -> None:
        self.send(workflow, workflow_id, Retried(self.next_id(), reply_to="c"))

    def query(self, workflow: str, workflow_id: str, name: str) -> str:
        id = self.next_id()
        payload = Raw(b'{"name":"%s"}' % name.encode())
        message = Message("query", id, workflow, workflow_id, reply_to="c", payload=payload)
        self.publish(workflow, workflow_id, message)
        return id

    def offer(self, workflow: str, workflow_id: str) -> None:
        self.publish(workflow, workflow_id, Message("offer", self.next_id(), workflow, workflow_id))

    # ------------------------------------------------------------------------------- what came of it

    def told(self) -> list[Reply]:
        """What clients were told since the last time."""
        import msgspec

        return [msgspec.json.decode(one.message.payload, type=Reply) for one in self.answers.receive(10_000)]

    def stored(self, workflow_id: str = "w") -> Stored:
        found = self.storage.load(workflow_id)
        assert found is not None
        return found

    def record(self, workflow_id: str = "w") -> StateRecord:
        return self.stored(workflow_id).record

    def history(self, workflow_id: str = "w") -> list[Turn]:
        return [decode_turn(row.body) for row in self.stored(workflow_id).turns]

    def events(self, workflow_id: str = "w") -> list[str]:
        return [type(turn.event).__name__ for turn in self.history(workflow_id)]

    def waiting(self, topic: str) -> list[str]:
        """The kinds of all messages that a topic still keeps."""
        return [message.kind for message in self.transport.unacknowledged(topic)]


class Hand(SteppedWorker):
    """One worker over a backend that can be made to fail, and the hand that drives it."""

    def __init__(
        self, town: Town, served: Sequence[Any], *, cache_instances: int = 100, fails: Sequence[str] = ()
    ) -> None:
        self.town = town
        self.backend = Backend(town.transport.another(), town.storage.another(), town.log)
        self.backend.fails = [*fails]
        super().__init__(
            self.backend,
            workflows=[one for one in served if _is_workflow(one)],
            services=[one for one in served if not _is_workflow(one)],
            clock=town.clock,
            codec=town.codec,
            cache_instances=cache_instances,
        )

    def step_with_trouble(self) -> None:
        """One step, which is to fail; what it leaves is done by the next."""
        try:
            self.conductor.step()
        except (StorageError, TransportError):
            return
        raise AssertionError("there was no trouble")


def _is_workflow(one: Any) -> bool:
    return isinstance(one, WorkflowFunction) or (isinstance(one, type) and issubclass(one, Workflow))
