"""Wild workflows: the engine's own random programs, whose outcome hangs on what comes first.

Nothing is known of how they end; but whatever happens to them happens once, and their replay is their life.
"""

from __future__ import annotations

from typing import Any

from dsl import Flow, Retry, method, task, workflow
from tests.engine.programs import Runner, Traced, block
from tests.simulation.chance import Chance

Program = list[Any]


@task(name="work", retry=Retry(max_attempts=2, initial=0.3, jitter=0.0))
def work(name: str) -> int:
    """Fails for some."""
    if name == "f":
        raise ConnectionError(name)
    return len(name)


@workflow
def kid(name: str) -> Flow[int]:
    """A child of those programs."""
    yield from work(name)
    return 1


class Wild(Traced):
    """Runs a program of the engine's tests, which may wait for ever."""

    @method
    def main(self, program: Program) -> Flow[int]:
        yield from Runner(self, False).block(program)
        return len(self.trace)

    @method
    def other(self, n: int, program: Program) -> Flow[int]:
        self.trace.append(n)
        yield from Runner(self, False).block(program)
        return len(self.trace)


class Drawing:
    """What the engine's tests draw their programs by, here from the world's chance."""

    def __init__(self, chance: Chance) -> None:
        self._chance = chance

    def choice(self, those: Any) -> Any:
        return self._chance.choice(those)

    def randint(self, low: int, high: int) -> int:
        return low + self._chance.below(high - low + 1)


def drawn(chance: Chance, size: int) -> Program:
    """A program of *size* statements."""
    program: Program = block(Drawing(chance), 2, size)  # type: ignore[arg-type]  # it draws as a Random does
    return program
