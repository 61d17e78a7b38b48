"""A context that keeps what workflow code asked for, in place of the engine."""

import random
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from attrs import Factory, define

from dsl.context import TASK, WORKFLOW, CurrentTask, CurrentWorkflow


@define
class Kept:
    """The slot of what was asked for at *position*."""

    position: str
    status: str = "running"
    label: str = "a"


@define
class Record:
    """A `Context` that does nothing but remember, and answers the same each time."""

    issued: list[Any] = Factory(list)
    spawned: list[Any] = Factory(list)
    compensated: list[Any] = Factory(list)
    cancelled: list[Any] = Factory(list)
    logged: list[Any] = Factory(list)
    buffered: dict[str, list[Any]] = Factory(dict)
    chance: random.Random = Factory(lambda: random.Random(42))

    def issue(self, command: Any) -> Kept:
        self.issued.append(command)
        return Kept(f"m0.{len(self.issued) - 1}")

    def spawn(self, flow: Any) -> Kept:
        self.spawned.append(flow)
        return Kept(f"m0.b{len(self.spawned) - 1}")

    def compensate(self, flow: Any) -> None:
        self.compensated.append(flow)

    def cancel(self, slot: Any) -> None:
        self.cancelled.append(slot)

    def drain(self, channel: str, type: Any) -> list[Any]:
        return self.buffered.pop(channel, [])

    def now(self) -> datetime:
        return datetime(2030, 1, 2, tzinfo=UTC)

    def random(self) -> random.Random:
        return self.chance

    def log(self, level: int, message: str, args: tuple[Any, ...], extra: dict[str, Any]) -> None:
        self.logged.append((level, message, args, extra))

    def patched(self, patch: str) -> bool:
        return patch == "new"

    def about(self) -> CurrentWorkflow:
        return CurrentWorkflow(id="trip-42", name="trip", run="r1", tags=frozenset({"vip"}))


@pytest.fixture
def context() -> Iterator[Record]:
    record = Record()
    token = WORKFLOW.set(record)
    yield record
    WORKFLOW.reset(token)


@pytest.fixture
def attempt() -> Iterator[CurrentTask]:
    current = CurrentTask(id="t1", name="charge", attempt=2, workflow_id="trip-42", workflow="trip")
    token = TASK.set(current)
    yield current
    TASK.reset(token)
