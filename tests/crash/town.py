"""What the workers of the crash tests serve: one process runs this file, and is killed at any instant."""

import logging
import os
import sys
import time
from pathlib import Path
from typing import Any, Self

from dsl import Channel, Flow, Retry, gather, sleep, task, workflow
from infinitic.worker import Worker

confirmed = Channel(int, name="confirmed")
PATIENT = Retry(initial=0.01, maximum=0.05)


@task(retry=PATIENT)
def step(number: int) -> int:
    return number + 1


@workflow
def leg(number: int) -> Flow[int]:
    first = yield from step(number)
    return (yield from step(first))


@workflow
def journey(number: int) -> Flow[list[int]]:
    total = 0
    for _ in range(4):
        total = yield from step(total)
    both = yield from gather(step(total), step(total), step(total))
    kid = yield from leg(number) if number % 2 else step(number + 1)
    if number % 3 == 0:
        yield from sleep(0.02)
    word = (yield from confirmed.receive()) if number % 5 == 0 else -1
    last = yield from step(sum(both))
    return [number, total, sum(both), kid, word, last]


def answer_of(number: int) -> list[int]:
    """What `journey(number)` answers when its signal said 7 * number."""
    return [number, 4, 15, number + 2, 7 * number if number % 5 == 0 else -1, 16]


def _note(path: str) -> int:
    """Add a line to a file; how many it has by now."""
    with Path(path).open("a") as file:
        file.write(f"{os.getpid()}\n")
    return len(Path(path).read_text().splitlines())


@task
def deadly(path: str, survivors_after: int) -> int:
    """End the process at once, as a segmentation fault would, until it was done often enough."""
    count = _note(path)
    if count <= survivors_after:
        os._exit(139)
    return count


@task
def innocent(path: str, number: int) -> int:
    """Under way for a while, so that it is beside the deadly one."""
    _note(path)
    time.sleep(0.05)
    return number


@workflow
def dying(path: str, survivors_after: int) -> Flow[int]:
    return (yield from deadly(path, survivors_after))


@workflow
def beside(path: str, count: int) -> Flow[list[int]]:
    return list((yield from gather(*[innocent(path, number) for number in range(count)])))


@workflow
def fatal(path: str, survivors_after: int) -> Flow[int]:
    """Workflow code that ends its process itself."""
    yield from step(0)
    count = _note(path)
    if count <= survivors_after:
        os._exit(139)
    return count


@task
def lengthy(path: str) -> str:
    _note(path)
    time.sleep(0.5)
    return "to the end"


@workflow
def lasting(path: str) -> Flow[str]:
    return (yield from lengthy(path))


SERVED: dict[str, Any] = {
    "workflows": [journey, leg, dying, beside, fatal, lasting],
    "services": [step, deadly, innocent, lengthy],
}


class Announcing(Worker):
    """Says, by a file named after its process, that it serves."""

    def start(self) -> Self:
        super().start()
        (Path(sys.argv[2]) / str(os.getpid())).touch()
        return self


if __name__ == "__main__":
    logging.basicConfig(level=logging.WARNING)
    Announcing(sys.argv[1], concurrency=8, **SERVED).run()
