"""The ledger: each worker process writes down what it persists, sends and runs; afterwards each repeat is explained.

A line is written before a thing is sent or run, and after it was persisted or answered: so whoever dies between has
written too much of what it did outside, and too little of what it knows to be done.
"""

import functools
import os
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any, TypeAlias

import msgspec
from attrs import frozen

from infinitic.backends.distributed import DistributedBackend
from infinitic.records import Append
from infinitic.transports.pulsar.producers import Producers
from infinitic.worker.tasks import Attempt

Run: TypeAlias = tuple[str, str, str, int]
"""One attempt of a task: workflow id, run, position, attempt."""

PERSISTED, SENT, BEGUN, ENDED, ANSWERED = "persisted", "sent", "begun", "ended", "answered"


class Line(msgspec.Struct, frozen=True, array_like=True):
    """Process *pid* did it *at* (seconds since 1970)."""

    what: str
    pid: int
    at: float
    workflow_id: str
    run: str
    position: str = ""
    attempt: int = 0

    @property
    def task(self) -> Run:
        return self.workflow_id, self.run, self.position, self.attempt


class Ledger:
    """The file in *folder* that all processes of a town add to."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "ledger"

    def lines(self) -> list[Line]:
        """All, in the order in which they were written."""
        return [msgspec.json.decode(line, type=Line) for line in self.path.read_bytes().splitlines()]

    # --- in a worker's process ---

    def watch(self) -> None:
        """From here on all that this process does is written down."""
        self._file = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        _around(DistributedBackend, "_persist", after=self._persisted)
        _around(Producers, "_hand_over", before=self._sent)
        _around(DistributedBackend, "_publish", after=self._answered)
        _around(Attempt, "call", before=functools.partial(self._ran, BEGUN), after=functools.partial(self._ran, ENDED))

    def _write(self, what: str, one: Any) -> None:
        """*one* is a message or an append."""
        run, position, attempt = (
            (one.version.run, "", 0) if isinstance(one, Append) else (one.run, one.position, one.attempt)
        )
        line = Line(what, os.getpid(), time.time(), one.workflow_id, run, position, attempt)
        os.write(self._file, msgspec.json.encode(line) + b"\n")

    def _persisted(self, won: Any, _: Any, steps: Any) -> None:
        for step, wins in zip(steps, won, strict=True):
            if wins and step.append is not None and step.append.turns:
                self._write(PERSISTED, step.append)

    def _sent(self, _: Any, outgoing: Any, *rest: Any) -> None:
        if outgoing.message.kind == "task":
            self._write(SENT, outgoing.message)

    def _answered(self, nothing: None, _: Any, batch: Any) -> None:
        for outgoing in batch:
            if outgoing.message.kind == "event" and outgoing.message.attempt:
                self._write(ANSWERED, outgoing.message)

    def _ran(self, what: str, *args: Any) -> None:
        self._write(what, args[-1].message)


def _around(
    owner: Any, function: str, before: Callable[..., None] | None = None, after: Callable[..., None] | None = None
) -> None:
    """Have *before* called with the arguments, and *after* with the answer too."""
    original = getattr(owner, function)

    @functools.wraps(original)
    def watched(*args: Any) -> Any:
        if before is not None:
            before(*args)
        answer = original(*args)
        if after is not None:
            after(answer, *args)
        return answer

    setattr(owner, function, watched)


# ------------------------------------------------------------------------------------------- afterwards


@frozen
class Trouble:
    """What happened between two instants, to one process or to all (pid 0)."""

    kind: str
    begins: float
    ends: float
    pid: int = 0


DEATH, STOP, MOVE, SERVER, CUT = "death", "stop", "move", "server", "cut"
AWAY = {SERVER: "a server that was away", CUT: "a network that was cut"}


class Unexplained(AssertionError):
    """A task ran twice, or a turn's output was sent twice, and nothing had happened."""


class Account:
    """What the lines of a ledger come to, given all *troubles* that there were."""

    def __init__(self, lines: list[Line], troubles: list[Trouble]) -> None:
        self._troubles = troubles
        self._by_task: dict[Run, list[Line]] = defaultdict(list)
        self._persisted: dict[str, list[Line]] = defaultdict(list)
        for line in sorted(lines, key=lambda line: line.at):
            if line.what == PERSISTED:
                self._persisted[line.workflow_id].append(line)
            else:
                self._by_task[line.task].append(line)

    @property
    def tasks(self) -> int:
        """How many attempts of tasks ran at all."""
        return sum(1 for lines in self._by_task.values() if any(line.what == BEGUN for line in lines))

    @property
    def sent_again(self) -> int:
        """How often a task was sent that had been sent before."""
        counts = [sum(1 for line in lines if line.what == SENT) for lines in self._by_task.values()]
        return sum(count - 1 for count in counts if count)

    def repeats(self) -> Counter[str]:
        """Why attempts ran more than once: how many times which reason. Raises `Unexplained`."""
        reasons = Counter[str]()
        for lines in self._by_task.values():
            runs = [line for line in lines if line.what == BEGUN]
            sendings = [line for line in lines if line.what == SENT]
            again = [self._sent_again(*pair) for pair in pairwise(sendings)]
            for first, second in pairwise(runs):
                reasons[self._ran_again(first, second, lines) or (again and again.pop()) or _unexplained(lines)] += 1
        return reasons

    def _ran_again(self, first: Line, second: Line, lines: list[Line]) -> str:
        """Why the same message was given out again, "" when it was not."""
        answered = any(line.what == ANSWERED and line.pid == first.pid and line.at < second.at for line in lines)
        for trouble in self._between(first.at, second.at):
            if trouble.pid == first.pid and trouble.kind == DEATH:
                return "a lost acknowledgement" if answered else "a death before its result was recorded"
            if trouble.pid in (first.pid, second.pid) and trouble.kind == STOP:
                return "a worker that was stopped"
            if trouble.kind in AWAY:
                return AWAY[trouble.kind]
        return ""

    def _sent_again(self, first: Line, second: Line) -> str:
        """Why an output was sent twice. Raises `Unexplained`."""
        there = [*self._between(first.at, second.at)]
        for trouble in there:
            if trouble.kind in AWAY:
                return AWAY[trouble.kind]
            if trouble.kind == STOP and trouble.pid in (first.pid, second.pid):
                return "a worker that was stopped"
        dead = {trouble.pid for trouble in there if trouble.kind == DEATH}
        if not self._is_of_last_turn(first, second, dead):
            raise Unexplained(f"sent again after later turns: {first}, {second}, {self._persisted[first.workflow_id]}")
        if first.pid in dead:
            return "a death before what was sent was marked"
        if any(trouble.kind == MOVE for trouble in there):
            return "a key that moved"
        raise Unexplained(f"sent twice: {first}, {second}")

    def _is_of_last_turn(self, first: Line, second: Line, dead: set[int]) -> bool:
        """Whether no later turn was persisted between, but with the second sending, or by somebody who died of it."""
        between = [one for one in self._persisted[first.workflow_id] if first.at < one.at < second.at]
        others = [one for one in between if one.pid != second.pid and one.pid not in dead]
        return not others and len([one for one in between if one.pid == second.pid]) <= 1

    def _between(self, begins: float, ends: float) -> Iterator[Trouble]:
        return (one for one in self._troubles if one.begins <= ends and one.ends >= begins)


def _unexplained(lines: list[Line]) -> str:
    raise Unexplained(f"ran twice: {lines}")
