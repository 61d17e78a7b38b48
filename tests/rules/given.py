"""The workflows of these tests, and what they all look at: what was published, what was run, how it ended."""

from collections import Counter
from collections.abc import Iterable
from typing import Any

import pytest
from msgspec import Raw
from msgspec.json import decode, encode

from dsl import (
    Channel,
    Flow,
    Workflow,
    continue_as_new,
    dispatch,
    method,
    query,
    sleep,
    task,
    workflow,
)
from infinitic.events import AnyEvent, Started
from infinitic.messages import Delivery, Message, event_message
from infinitic.topics import workflow_topic
from infinitic.worker.work import Deposed, Work
from tests.worker.flows import Listening, add, collecting, counting, flaky, napping, numbers, parent, trying
from tests.worker.given import RUN, Hand, Town


@task
def echo(word: str) -> str:
    return word


@workflow
def nap_then_add(seconds: int) -> Flow[int]:
    yield from sleep(seconds)
    return (yield from add(1, 2))


@workflow
def leaving() -> Flow[str]:
    """Ends while its task is still being tried."""
    dispatch(flaky())
    return (yield from numbers.receive()) and "gone"


@workflow
def telling(left: int) -> Flow[int]:
    """Says how many runs are left, and goes on as the next one, all in its first turn."""
    yield from Listening.by_id("listener").said.send(left)
    if left:
        yield from continue_as_new(telling(left - 1))
    return (yield from numbers.receive())


class Ledger(Workflow):
    """Adds up what it is told, one task for each."""

    numbers = Channel(int)

    def __init__(self) -> None:
        self.total = 0

    @method
    def run(self, count: int) -> Flow[int]:
        for _ in range(count):
            number = yield from self.numbers.receive()
            self.total = yield from add(self.total, number)
        return self.total

    @query
    def so_far(self) -> int:
        return self.total


class Tally(Workflow):
    def __init__(self) -> None:
        self.total = 0

    @method
    def run(self) -> Flow[int]:
        return (yield from numbers.receive())

    @method
    def add(self, number: int) -> int:
        self.total += number
        return self.total

    @query
    def so_far(self) -> int:
        return self.total

    @query
    def spoiling(self) -> int:
        self.total += 1000
        return self.total


SERVED: tuple[Any, ...] = (
    counting,
    collecting,
    napping,
    nap_then_add,
    trying,
    parent,
    leaving,
    telling,
    Listening,
    Ledger,
    Tally,
    add,
    flaky,
)


def release(town: Town, word: str, stamp: str, **options: Any) -> Hand:
    """A worker with code of its own, which asks for its word first and then takes two numbers."""

    @workflow(name="journey")
    def journey() -> Flow[list[Any]]:
        said = yield from echo(word)
        return [said, (yield from numbers.receive()), (yield from numbers.receive())]

    hand = town.conductor(journey, echo, **options)
    hand.registry.programs["journey"].fingerprint = stamp
    return hand


def journey_of(hand: Hand) -> Any:
    """The workflow that a `release` serves."""
    return hand.registry.programs["journey"].definition


def raw(value: object) -> Raw:
    return Raw(encode(value))


def result(town: Town, workflow_id: str = "w") -> Any:
    """What the instance returned, decoded; it must have completed."""
    record = town.record(workflow_id)
    assert record.status == "completed", record
    return decode(record.value)


def deliver(hand: Hand, workflow: str, event: AnyEvent, workflow_id: str = "w", run: str = "") -> None:
    """Give an event to this very conductor, as if the key had moved to it."""
    message = event_message(
        event, workflow=workflow, workflow_id=workflow_id, run=run, at=hand.town.clock(), reply_to="c"
    )
    hand.conductor.pending.append(Delivery(workflow_topic(workflow), message, event=event, receipt=-1))


def started(call: Any, id: str, run: str, **fields: Any) -> Started:
    """The event that starts a workflow function, under an id of its own."""
    return Started(id, call.definition.owner, run, "", raw(call.arguments), reply_to="c", **fields)


def give(hand: Hand, message: Message) -> None:
    """Give any message to this very conductor."""
    hand.conductor.pending.append(Delivery(workflow_topic(message.workflow), message, receipt=-1))


def published(town: Town, kind: str = "event") -> list[Message]:
    """All messages of this kind that were sent to a topic by a commit, in order."""
    return [entry[2] for entry in town.log if entry[0] == "publish" and entry[2].kind == kind]


def attempts_sent(town: Town, workflow_id: str = "w") -> Counter[tuple[str, str, int]]:
    """How often each attempt of each task of an instance was sent: (run, position, attempt)."""
    tasks = (one for one in published(town, "task") if one.workflow_id == workflow_id)
    return Counter((one.run, one.position, one.attempt) for one in tasks)


def once(*positions: str, run: str = RUN, attempt: int = 1) -> dict[tuple[str, str, int], int]:
    """What `attempts_sent` gives when each of these was sent once."""
    return {(run, position, attempt): 1 for position in positions}


def sweep(town: Town, *hands: Hand, seconds: float = 6, times: int = 1) -> None:
    """Let time pass, and each of these sweep and work."""
    for _ in range(times):
        town.clock.go_on(seconds)
        for hand in hands:
            hand.sweeper.sweep()
            hand.work()


def nothing_left(town: Town, names: Iterable[str]) -> bool:
    """Whether no message waits, and none is in anybody's hands, at these workflows' topics."""
    return not any(town.waiting(workflow_topic(name)) for name in names)


# ------------------------------------------------------------------------- code that hangs, by one thread


HANGS: list[Hand] = []
"""The workers whose code is to hang, once each: another thread steps in the place of the one that hangs."""


@workflow
def hanging() -> Flow[list[int]]:
    seen = []
    for _ in range(2):
        seen.append((yield from numbers.receive()))
        if HANGS:
            assert HANGS.pop().conductor.depose(-1)
    return seen


def hung(hand: Hand) -> Work:
    """A step whose code hangs: what the thread that hung comes back with."""
    with pytest.raises(Deposed) as came:
        hand.conductor.step()
    return came.value.work


class OneEach:
    """Sees to it that no batch of appends names an instance twice, which a storage may rely on."""

    def __init__(self, hand: Hand, monkeypatch) -> None:
        self.real = hand.backend.storage.append
        monkeypatch.setattr(hand.backend.storage, "append", self)

    def __call__(self, batch):
        ids = [one.workflow_id for one in batch]
        assert sorted(set(ids)) == sorted(ids)
        return self.real(batch)
