"""Drives one instance by hand: events in, turns out; every step is checked against a replay from stored bytes."""

from __future__ import annotations

from typing import Any

from msgspec import Raw

from dsl.calls import Call
from infinitic.engine import turns
from infinitic.engine.instance import Instance, Refusal, Surroundings
from infinitic.engine.programs import Program
from infinitic.engine.record import state_record
from infinitic.events import (
    AnyEvent,
    Answered,
    AttemptFailed,
    CancelRequested,
    MethodCalled,
    Retried,
    SignalReceived,
    Started,
    TaskCompleted,
    TimerFired,
)
from infinitic.history import AnyIssued, Turn, encode_turn
from infinitic.records import StateRecord
from infinitic.serialization import Serializer, error_value

RUN = "00000000000000000000000000000001"
SECOND = 1_000_000


class Driver:
    """An instance, its history as bytes, and a clock that goes on by one second with each event."""

    def __init__(self, call: Call[Any], **started: Any) -> None:
        self.codec = Serializer()
        definition = call.definition
        self.program = Program(definition if definition.kind == "workflow" else definition.holder)
        self.method = "" if definition.kind == "workflow" else definition.name
        self.surroundings = Surroundings(self.codec)
        self.instance = Instance(self.program, "wf", self.surroundings)
        self.bodies: list[bytes] = []
        self.turns: list[Turn] = []
        self.at = 0
        arguments = Raw(self.codec.encode(call.arguments))
        self.apply(Started("start", self.program.name, RUN, self.method, arguments, **started))

    def apply(self, event: AnyEvent) -> Turn | Refusal | None:
        self.at += SECOND
        made = turns.apply(self.instance, event, self.at)
        if isinstance(made, Turn):
            self.keep(made)
        return made

    def keep(self, turn: Turn) -> None:
        self.turns.append(turn)
        self.bodies.append(encode_turn(turn))
        assert self.replayed() == self.record()

    def replayed(self) -> StateRecord:
        again = Instance(self.program, "wf", self.surroundings)
        turns.replay(again, self.bodies)
        record = state_record(again)
        turns.close(again)
        return record

    def record(self) -> StateRecord:
        return state_record(self.instance)

    def retry(self) -> Turn:
        self.at += SECOND
        failed = self.instance.failed_turn
        self.instance = Instance(self.program, "wf", self.surroundings)
        made = turns.retry(self.instance, self.bodies, failed, Retried("retry"), self.at)
        self.keep(made)
        return made

    def complete(self, position: str, value: Any = None) -> Turn | Refusal | None:
        return self.apply(TaskCompleted("", position, Raw(self.codec.encode(value))))

    def fail(self, position: str, error: Exception, attempt: int = 1, retry_in: int | None = None) -> Any:
        return self.apply(AttemptFailed("", position, error_value(error), attempt, retry_in))

    def fire(self, position: str, attempt: int = 0) -> Turn | Refusal | None:
        return self.apply(TimerFired("", position, attempt))

    def signal(self, id: str, channel: str, value: Any) -> Turn | Refusal | None:
        return self.apply(SignalReceived(id, channel, Raw(self.codec.encode(value))))

    def call(self, id: str, method: str, **arguments: Any) -> Turn | Refusal | None:
        return self.apply(MethodCalled(id, method, Raw(self.codec.encode(arguments))))

    def cancel(self, id: str = "cancel", call_id: str = "") -> Turn | Refusal | None:
        return self.apply(CancelRequested(id, call_id))

    def answer(
        self, position: str, value: Any = None, status: str = "completed", error: Exception | None = None
    ) -> Any:
        value = Raw(self.codec.encode(value))
        return self.apply(Answered("", position, status, value, error_value(error) if error else None))

    @property
    def issued(self) -> tuple[AnyIssued, ...]:
        """What the last turn asked for."""
        return self.turns[-1].commands

    @property
    def positions(self) -> list[str]:
        return [one.position for one in self.issued]

    @property
    def result(self) -> Any:
        import msgspec

        assert self.instance.end is not None, self.record()
        return msgspec.json.decode(self.instance.end.value)

    @property
    def status(self) -> str:
        return self.instance.status

    @property
    def error(self) -> str:
        assert self.instance.end is not None and self.instance.end.error is not None
        return self.instance.end.error.summary
