"""What the tests of children have them run. Run as a program: a child, or the supervisor of some in a process of its
own."""

import asyncio
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from dsl import Batch, Cancelled, Flow, Retry, current_task, gather, sleep, task, workflow
from infinitic.client import Client
from infinitic.config import load_config
from infinitic.errors import RegistrationError, StorageError
from infinitic.worker import Worker
from infinitic.worker.children import ChildPool
from infinitic.worker.children_inside import Code, Link, Served, serve
from infinitic.worker.children_pipes import Ready, framed
from tests.scenarios.given import until

ONCE = Retry(max_attempts=1)


running: list[int] = []
"""The `held` ones of this process."""


def note(path: str) -> int:
    """Add this process's id to a file; how many lines it has by now."""
    with Path(path).open("a") as file:
        file.write(f"{os.getpid()}\n")
    return len(Path(path).read_text().splitlines())


def notes(path: Path) -> list[int]:
    """The processes that noted something."""
    return [int(line) for line in path.read_text().split()] if path.exists() else []


@task
def quick(number: int) -> int:
    return number


@task
def deadly(path: str, survives_after: int, how: str) -> int:
    """End its process until it was done often enough."""
    count = note(path)
    if count <= survives_after:
        if how == "exit":
            os._exit(7)
        os.kill(os.getpid(), signal.SIGKILL)
        signal.pause()
    return count


@task
def held(path: str, number: int) -> int:
    """Note the process in one FIFO, and wait for a line from another."""
    running.append(number)
    with Path(f"{path}.runs").open("a") as runs:
        runs.write(f"{os.getpid()} {len(running)}\n")
    with Path(f"{path}.begun").open("w") as begun:
        begun.write(f"{os.getpid()}\n")
    Path(f"{path}.over").read_text()
    running.remove(number)
    return number


@task
async def endless(path: str) -> None:
    """Note the process when it is cancelled."""
    Path(f"{path}.begun").touch()
    try:
        await asyncio.get_running_loop().create_future()
    finally:
        note(f"{path}.cancelled")


@task(heartbeat=60)
def toiling(path: str) -> None:
    """Note the process when it is interrupted."""
    current_task().heartbeat("begun")
    Path(f"{path}.begun").touch()
    try:
        until(lambda: False)
    except Cancelled:
        note(f"{path}.cancelled")
        raise


@task(heartbeat=3)
def copying() -> str:
    """Say over and over how far it is, until somebody ends the process."""
    me = current_task()
    while me.details is None:
        me.heartbeat({"page": 7})
        time.sleep(0.01)
    return f"attempt {me.attempt} from {me.details}"


@task
async def slow(number: int) -> int:
    await asyncio.sleep(0.01)
    return number


@task(timeout=0.05, retry=ONCE)
def late() -> None:
    threading.Event().wait(0.5)


@task
def twice(word: str) -> str:
    return 2 * word


@task
def thrice(number: int) -> list[int]:
    raise NotImplementedError


@task(batch=Batch(thrice, size=30, wait=3_600))
def thrice_all(calls: list[tuple[int]]) -> list[list[int]]:
    """Each with the number of all."""
    return [[3 * number, len(calls)] for (number,) in calls]


@task
def deadly_together(number: int) -> int:
    raise NotImplementedError


@task(batch=Batch(deadly_together, size=3, wait=3_600))
def deadly_all(calls: list[tuple[int]]) -> list[int]:
    if len(calls) > 1:
        os._exit(7)
    return [number for (number,) in calls]


SERVICES = (quick, twice, deadly, held, endless, toiling, copying, slow, late, thrice_all, deadly_all)


@workflow
def one_deadly(path: str, survives_after: int, how: str) -> Flow[int]:
    return (yield from deadly(path, survives_after, how))


@workflow
def fatal(path: str, survives_after: int) -> Flow[int]:
    """Workflow code that ends its process itself, in its second turn."""
    yield from quick(0)
    count = note(path)
    if count <= survives_after:
        os._exit(139)
    return count


@workflow
def beside(path: str, count: int) -> Flow[list[int]]:
    return list((yield from gather(*[held(path, number) for number in range(count)])))


@workflow
def many(count: int) -> Flow[list[int]]:
    return list((yield from gather(*[quick(number) for number in range(count)])))


@workflow
def doubled(words: list[str]) -> Flow[list[str]]:
    return list((yield from gather(*[twice(word) for word in words])))


@workflow
def crowd(count: int) -> Flow[list[int]]:
    return list((yield from gather(*[slow(number) for number in range(count)])))


@workflow
def thrices(count: int) -> Flow[list[list[int]]]:
    return list((yield from gather(*[thrice(number) for number in range(count)])))


@workflow
def perilous() -> Flow[list[int]]:
    return list((yield from gather(*[deadly_together(number) for number in range(3)])))


@workflow
def waiting(path: str) -> Flow[None]:
    yield from endless(path)


@workflow
def toil(path: str) -> Flow[None]:
    yield from toiling(path)


@workflow
def copy() -> Flow[str]:
    return (yield from copying())


@workflow
def too_late() -> Flow[None]:
    yield from late()


@workflow
def nap() -> Flow[None]:
    yield from sleep(days=1)


WORKFLOWS = (one_deadly, fatal, beside, many, doubled, crowd, thrices, perilous, waiting, toil, copy, too_late, nap)
CHILD = (sys.executable, "-P", str(Path(__file__)), "child")
FICKLE = (*CHILD[:-1], "fickle")


def served(link: Link) -> Served:
    return Code(link, SERVICES, load_config("memory://brood", concurrency=3))


def supervise(folder: Path) -> None:
    """A task that is held, in a child; says the result when all has ended."""
    logging.basicConfig(level=logging.INFO, stream=sys.stdout)
    pool = ChildPool(CHILD, 2)
    worker = Worker("memory://brood", services=SERVICES, concurrency=3)
    worker.make_runner = pool.runner
    with Worker("memory://brood", workflows=WORKFLOWS), Client("memory://brood") as client:
        handle = client.start(beside(str(folder / "held"), 1))
        worker.run()
        sys.stdout.write(f"{handle.result(20)}\n")


def fickle(path: str, link: Link) -> Served:
    """As the words in a file say, one a life; when there are none left, it serves."""
    words = Path(path).read_text().split()
    Path(path).write_text(" ".join(words[1:]))
    match words[0] if words else "serve":
        case "storage":
            raise StorageError("the storage is away", "Wait.")
        case "code":
            raise RegistrationError("the code is broken", "Mend it.")
        case "exit":
            os._exit(7)
        case "babble":
            os.write(link._up, framed(Ready()) + b"\0\0\0\2{}")
    return Served(None)


ROLES: dict[str, Callable[..., None]] = {
    "child": lambda place: serve(place, served),
    "fickle": lambda path, place: serve(place, partial(fickle, path)),
    "supervisor": lambda folder: supervise(Path(folder)),
}

if __name__ == "__main__":
    ROLES[sys.argv[1]](*sys.argv[2:])
