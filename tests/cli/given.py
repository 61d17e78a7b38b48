"""A run made by hand: events in, its story and its picture out. The clock goes on by what a test says."""

from __future__ import annotations

import io
import linecache
import re
from typing import Any

from msgspec import Raw
from msgspec.structs import replace
from rich.console import Console

from infinitic.cli.showing import shown
from infinitic.engine import turns
from infinitic.engine.instance import Instance, Surroundings
from infinitic.engine.programs import Program
from infinitic.engine.record import state_record
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
from infinitic.history import Turn, encode_turn
from infinitic.records import OPEN, SUSPENDED, StateRecord
from infinitic.serialization import Serializer, error_value
from infinitic.story import Story, tell

RUN = "00000000000000000000000000000001"
SECOND = 1_000_000
NINE = 1_795_338_000 * SECOND  # 2026-11-22 09:00:00 UTC
WORKER = "vm:17"


class Told:
    """An instance in memory. Each event comes *after* so many seconds, one unless a test says otherwise."""

    def __init__(self, call: Any, **started: Any) -> None:
        self.codec = Serializer()
        definition = call.definition
        self.program = Program(definition if definition.kind == "workflow" else definition.holder)
        self.surroundings = Surroundings(self.codec, lambda file, line: linecache.getline(file, line).strip())
        self.instance = Instance(self.program, "wf-1", self.surroundings)
        self.turns: list[Turn] = []
        self.at = NINE - SECOND
        name = "" if definition.kind == "workflow" else definition.name
        self.apply(Started("start", self.program.name, RUN, name, self.json(call.arguments), **started))

    def json(self, value: Any) -> Raw:
        return Raw(self.codec.encode(value))

    def apply(self, event: AnyEvent, after: float = 1) -> None:
        self.at += round(after * SECOND)
        made = turns.apply(self.instance, event, self.at)
        assert isinstance(made, Turn), made
        self.turns.append(made)

    def complete(self, position: str, value: Any = None, attempt: int = 1, after: float = 1) -> None:
        now = self.at + round(after * SECOND)
        event = TaskCompleted("", position, self.json(value), attempt, WORKER, now - SECOND // 2, now)
        self.apply(event, after)

    def fail(
        self, position: str, attempt: int = 1, retry_in: float | None = None, error: Exception | None = None
    ) -> None:
        now = self.at + SECOND
        wait = None if retry_in is None else round(retry_in * SECOND)
        value = error_value(error or refused())
        self.apply(AttemptFailed("", position, value, attempt, wait, False, WORKER, now - SECOND // 2, now))

    def fire(self, position: str, attempt: int = 0, after: float = 1) -> None:
        self.apply(TimerFired("", position, attempt), after)

    def signal(self, channel: str, value: Any) -> None:
        self.apply(SignalReceived(f"signal-{len(self.turns)}", channel, self.json(value)))

    def call(self, name: str, **arguments: Any) -> None:
        self.apply(MethodCalled(f"call-{len(self.turns)}", name, self.json(arguments), reply_to="client"))

    def cancel(self) -> None:
        self.apply(CancelRequested("cancel"))

    def answer(self, position: str, value: Any = None, error: Exception | None = None) -> None:
        status = "failed" if error else "completed"
        failure = error_value(error) if error else None
        self.apply(Answered("", position, status, self.json(value), failure))

    def retry(self) -> None:
        self.at += SECOND
        bodies = [encode_turn(turn) for turn in self.turns]
        failed, self.instance = self.instance.failed_turn, Instance(self.program, "wf-1", self.surroundings)
        self.turns.append(turns.retry(self.instance, bodies, failed, Retried("retry"), self.at))

    def record(self, reason: str = "") -> StateRecord:
        record = state_record(self.instance)
        status = SUSPENDED if record.status in OPEN else record.status
        return replace(record, status=status, reason=f"wf-1: {reason}") if reason else record

    def story(self, reason: str = "") -> Story:
        return tell(self.record(reason), self.turns)

    def picture(self, after: float = 1, reason: str = "", *, everything: bool = True) -> str:
        """What `show` prints *after* so many more seconds; no line is folded, line numbers are N."""
        console = Console(file=io.StringIO(), width=1_000, highlight=False, markup=False, emoji=False)
        now = self.at + round(after * SECOND)
        with console.capture() as kept:
            console.print(shown(self.story(reason), now, everything=everything))
        return tidy(kept.get())


def tidy(text: str) -> str:
    """Without trailing blanks, folders and line numbers."""
    text = re.sub(r"[^\s]*?([\w.]+\.py):\d+", r"\1:N", text)
    return "\n".join(line.rstrip() for line in text.strip("\n").split("\n"))


def refused() -> ConnectionError:
    """An error that was raised."""
    try:
        raise ConnectionError("no route to the bank")
    except ConnectionError as error:
        return error
