"""Drives one instance by hand: events in, turns out; every turn is checked against a replay from stored bytes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
from msgspec import Raw, structs

from dsl import workflow
from dsl.calls import Call
from infinitic.engine import turns
from infinitic.engine.instance import Diverged, Instance, Surroundings
from infinitic.engine.outputs import Asked, Origin, outputs
from infinitic.engine.programs import Program
from infinitic.engine.record import state_record
from infinitic.engine.slots import TaskSlot
from infinitic.events import (
    Answered,
    AnyEvent,
    AttemptFailed,
    CancelRequested,
    MethodCalled,
    Retried,
    SignalReceived,
    Started,
    TaskCompleted,
    TimerFired,
)
from infinitic.history import Turn, decode_turn, encode_turn
from infinitic.records import encode_record
from infinitic.serialization import Serializer, error_value

RUN = "00000000000000000000000000000001"
SECOND = 1_000_000


class Driver:
    """An instance, its history as bytes, and a clock that goes on by one second with each event."""

    def __init__(self, call: Call[Any], *, surroundings: Surroundings | None = None, **started: Any) -> None:
        definition = call.definition
        self.surroundings = surroundings or Surroundings(Serializer())
        self.codec = self.surroundings.codec
        self.program = Program(definition if definition.kind == "workflow" else definition.holder)
        self.instance: Any = Instance(self.program, "wf", self.surroundings)
        self.bodies: list[bytes] = []
        self.turns: list[Any] = []  # turns; Any, because tests look into their unions
        self.at = 0
        self.checks = True
        method = "" if definition.kind == "workflow" else definition.name
        arguments = started.pop("arguments", None) or Raw(self.codec.encode(call.arguments))
        given = {"id": "start", "workflow": self.program.name, "run": RUN, "method": method}
        self.start = Started(**{**given, "arguments": arguments, **started})
        self.apply(self.start)

    # --- events ---

    def apply(self, event: AnyEvent) -> Any:
        self.at += SECOND
        made = turns.apply(self.instance, event, self.at)
        if isinstance(made, Turn):
            self.keep(made)
        return made

    def complete(self, position: str, value: Any = None, attempt: int = 1) -> Any:
        return self.apply(TaskCompleted("", position, Raw(self.codec.encode(value)), attempt))

    def fail(self, position: str, error: Exception, attempt: int = 1, retry_in: int | None = None) -> Any:
        return self.apply(AttemptFailed("", position, error_value(error), attempt, retry_in))

    def fire(self, position: str, attempt: int = 0) -> Any:
        return self.apply(TimerFired("", position, attempt))

    def signal(self, id: str, channel: str, value: Any) -> Any:
        return self.apply(SignalReceived(id, channel, Raw(self.codec.encode(value))))

    def call(self, id: str, method: str, **arguments: Any) -> Any:
        return self.apply(MethodCalled(id, method, Raw(self.codec.encode(arguments)), reply_to="client"))

    def cancel(self, id: str = "cancel", call_id: str = "") -> Any:
        return self.apply(CancelRequested(id, call_id))

    def answer(
        self, position: str, value: Any = None, status: str = "completed", error: Exception | None = None
    ) -> Any:
        told = error_value(error) if error is not None else None
        return self.apply(Answered("", position, status, Raw(self.codec.encode(value)), told))

    def retry(self, call: Any = None) -> Turn:
        """Take the failed run up again, with the code of *call* if it is given."""
        if call is not None:
            self.program = program_of(call)
        self.at += SECOND
        failed = self.instance.failed_turn
        self.instance = Instance(self.program, "wf", self.surroundings)
        event = Retried(f"retry-{len(self.bodies)}")
        made = turns.retry(self.instance, self.bodies, failed, event, self.at)
        self.keep(made)
        return made

    # --- checks ---

    def keep(self, turn: Turn) -> None:
        self.turns.append(turn)
        self.bodies.append(encode_turn(turn))
        if not self.checks:
            return
        assert encode_turn(decode_turn(self.bodies[-1])) == self.bodies[-1]
        again = self.replayed()
        assert image(again) == image(self.instance)
        turns.close(again)

    def replayed(self, call: Any = None, bodies: list[bytes] | None = None) -> Any:
        """What a replay of the stored bytes gives, with the code of *call* if it is given."""
        program = self.program if call is None else program_of(call)
        again = Instance(program, "wf", self.surroundings)
        turns.replay(again, self.bodies if bodies is None else bodies)
        return again

    def diverges(self, call: Any) -> Any:
        """Why the code of *call* does not replay this history."""
        try:
            turns.close(self.replayed(call))
        except Diverged as error:
            return error.error
        raise AssertionError("it replays")

    def evict(self) -> None:
        """Give the live instance up, and go on with one that history makes."""
        turns.close(self.instance)
        self.instance = self.replayed()

    # --- what came of it ---

    @property
    def issued(self) -> Any:
        return self.turns[-1].commands

    @property
    def positions(self) -> list[str]:
        return [one.position for one in self.issued]

    @property
    def sends(self) -> list[Any]:
        return list(self.turns[-1].sends)

    @property
    def outputs(self) -> list[Any]:
        return outputs(Origin(self.program.name, "wf", RUN), self.turns[-1], self.asked)

    def asked(self, position: str) -> Asked | None:
        """What history knows of a command."""
        found = None
        for turn in self.turns:
            for one in turn.commands:
                if one.position == position:
                    found = Asked(one)
            if found is not None and getattr(turn.event, "position", "").partition("/")[0] == position:
                found = found.after(turn.event)
        return found

    @property
    def open(self) -> list[str]:
        return list(self.instance.open)

    @property
    def record(self) -> Any:
        return state_record(self.instance)

    @property
    def status(self) -> Any:
        return self.instance.status

    @property
    def result(self) -> Any:
        assert self.instance.end is not None, self.record
        assert self.instance.end.error is None, self.instance.end.error.traceback
        return msgspec.json.decode(self.instance.end.value)

    @property
    def error(self) -> Any:
        assert self.instance.end is not None, self.record
        assert self.instance.end.error is not None, self.instance.end
        return self.instance.end.error.summary


def program_of(call: Any) -> Program:
    definition = getattr(call, "definition", call)
    return Program(definition if definition.kind == "workflow" else definition.holder)


def image(instance: Instance) -> dict[str, Any]:
    """All of an instance that must come out of a replay as it was."""
    return {
        "record": msgspec.json.decode(encode_record(state_record(instance))),
        "open": {
            position: (slot.kind, slot.status, slot.owned, len(slot.observers), slot.since)
            for position, slot in instance.open.items()
        },
        "issued": [getattr(slot, "issued", None) for slot in instance.open.values()],
        "mailboxes": {name: list(mailbox) for name, mailbox in instance.mailboxes.items() if mailbox},
        "receivers": {name: [one.position for one in line] for name, line in instance.receivers.items() if line},
        "senders": list(instance.senders),
        "branches": {
            path: (one.counter, one.held, one.status, one.shielded, one.waiting is None)
            for path, one in instance.branches.items()
        },
        "counters": instance.counters,
        "methods": {key: (one.name, one.call_id, one.cancelling) for key, one in enumerate(instance.methods)},
        "unseen": [slot.position for slot in instance.unseen],
        "turns": (instance.turns, instance.failed_turn, instance.generation, instance.at, instance.began),
        "patches": instance.patches,
        "voided": list(instance.voided),
        "overran": instance.overran,
        "watches": {
            position: structs.asdict(slot.watch)
            for position, slot in instance.open.items()
            if isinstance(slot, TaskSlot) and slot.watch is not None
        },
    }


def drive(fn: Callable[..., Any], *args: Any, **started: Any) -> Driver:
    """A driver of a function as a workflow; *args* may be what no history could hold."""

    def bound() -> Any:
        return fn(*args)

    name = fn.__name__ if fn.__name__.isidentifier() else "flow"
    return Driver(workflow(name=name)(bound if args else fn)(), **started)
