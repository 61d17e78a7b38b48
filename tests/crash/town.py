"""What the workers of the crash tests serve: one process runs this file, and is killed at any instant."""

import logging
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

from dsl import (
    Channel,
    Flow,
    Retry,
    Workflow,
    continue_as_new,
    current_task,
    first,
    gather,
    method,
    query,
    sleep,
    task,
    workflow,
)
from infinitic.worker import Worker

confirmed = Channel(int, name="confirmed")
PATIENT = Retry(initial=0.01, maximum=0.05)
ONCE = Retry(max_attempts=1)


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


@workflow
def rounds(left: int, seen: list[int]) -> Flow[list[int]]:
    """One run a signal."""
    number = yield from confirmed.receive()
    seen = [*seen, (yield from step(number))]
    if left:
        yield from continue_as_new(rounds(left - 1, seen))
    return seen


class Ledger(Workflow):
    """Methods that must each count once."""

    closed = Channel(bool)

    def __init__(self) -> None:
        self.total = 0

    @method
    def run(self) -> Flow[int]:
        yield from self.closed.receive()
        return self.total

    @method
    def add(self, amount: int) -> Flow[int]:
        booked = (yield from step(amount)) - 1
        self.total += booked
        return self.total

    @query
    def balance(self) -> int:
        return self.total


@task(retry=Retry(max_attempts=2, initial=0.01))
def shaky(number: int) -> int:
    """Fails at first."""
    if current_task().attempt == 1:
        raise ConnectionError("not yet")
    return number


@task(retry=ONCE)
def repaired(path: str) -> int:
    return int(Path(path).read_text())


@workflow
def mended(path: str) -> Flow[list[int]]:
    """Fails until the file is there, and is then retried by hand."""
    number = yield from repaired(path)
    return [number, (yield from confirmed.receive())]


@workflow
def hurried(number: int) -> Flow[list[int]]:
    """A timer that loses, an attempt that fails, and two timers that fire, one of them perhaps for another worker."""
    won = yield from first(step(number), sleep(3600))
    again = yield from shaky(number)
    yield from gather(sleep(0.01), sleep(0.4))
    return [won or 0, again]


@workflow
def nap(seconds: float) -> Flow[str]:
    yield from sleep(seconds)
    return "awake"


@task
def guard(path: str) -> str:
    """Under way until the file is there."""
    _note(f"{path}.begun")
    while not Path(path).exists():
        time.sleep(0.01)
    return "relieved"


@workflow
def guarded(path: str) -> Flow[str]:
    return (yield from guard(path))


@workflow
def endless() -> Flow[int]:
    both = yield from gather(confirmed.receive(), sleep(3600))
    return both[0]


@workflow
def moody(path: str) -> Flow[list[int]]:
    """Code that cannot follow its own history as long as the file is there."""
    yield from step(2 if Path(path).exists() else 1)
    seen = []
    while (number := (yield from confirmed.receive())) >= 0:
        seen.append(number)
    return seen


@task
def slow(number: int) -> int:
    time.sleep(1.2)
    return number


@workflow
def crowd(count: int) -> Flow[list[int]]:
    """Short tasks, so that many are taken ahead, and then slow ones, which wait too long where they were taken."""
    for _ in range(8):
        yield from gather(*[step(number) for number in range(20)])
    return list((yield from gather(*[slow(number) for number in range(count)])))


@task
def resign() -> str:
    """Have the process asked to end, by a signal that its main thread does not get."""
    signal.raise_signal(signal.SIGTERM)
    return "gone"


@workflow
def resigning() -> Flow[str]:
    return (yield from resign())


@workflow
def ticking(count: int) -> Flow[int]:
    """A step every few milliseconds."""
    total = 0
    for _ in range(count):
        total = yield from step(total)
        yield from sleep(0.02)
    return total


def _be_a_child(place: str) -> None:
    scratch = Path(f"{place}.new")
    scratch.write_text(str(os.getpid()))
    scratch.rename(place)
    time.sleep(600)


def _fork(place: str) -> None:
    if os.fork() == 0:
        _be_a_child(place)
        os._exit(0)


def _multiprocess(place: str) -> None:
    multiprocessing.get_context("fork").Process(target=_be_a_child, args=(place,)).start()


def _subprocess(place: str) -> None:
    code = "import sys; from tests.crash.town import _be_a_child; _be_a_child(sys.argv[1])"
    subprocess.Popen([sys.executable, "-c", code, place], cwd=Path(__file__).parents[2])


WAYS: dict[str, Callable[[str], None]] = {"fork": _fork, "multiprocessing": _multiprocess, "subprocess": _subprocess}


@task
def bear(folder: str, way: str) -> int:
    """At first it has a child and never returns."""
    count = _note(f"{folder}/births")
    if count == 1:
        WAYS[way](f"{folder}/child")
        threading.Event().wait()
    return count


@workflow
def leaving_a_child(folder: str, way: str) -> Flow[int]:
    return (yield from bear(folder, way))


SERVED: dict[str, Any] = {
    "workflows": [
        *(journey, leg, dying, beside, fatal, lasting),
        *(rounds, Ledger, mended, moody, hurried, nap, endless, crowd, ticking, leaving_a_child, guarded, resigning),
    ],
    "services": [step, deadly, innocent, lengthy, shaky, repaired, slow, bear, guard, resign],
}


class Announcing(Worker):
    """Says, by a file in *folder* named after its process, that it serves."""

    folder: Path

    def start(self) -> Self:
        super().start()
        (self.folder / str(os.getpid())).touch()
        return self


def worker(url: str, folder: Path, **options: Any) -> Announcing:
    """A worker that serves the town."""
    made = Announcing(url, **{"concurrency": 8, **SERVED, **options})
    made.folder = folder
    return made


if __name__ == "__main__":
    logging.basicConfig(level=logging.WARNING)
    worker(sys.argv[1], Path(sys.argv[2])).run()
