"""A steady mixed load for a while, to see what grows: worker processes over one SQLite file, durable as by default.

Every second some short workflows start (three tasks), some that sleep, and some that wait for a signal, which comes
two seconds later; beside them a few that live all along, and continue as new after every twenty steps. Finished
instances are kept for ten seconds only and the workers' caches are small, so that purging and eviction are at work
all the time. Of each minute it prints the memory of the workers together and of this process, which is the client,
the size of the database with its log, the steps of ended and of lasting workflows, and how many are open.

    python -m benchmarks.soak [--minutes 1] [--workers 2] [--load 1]
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections import deque
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import click
from attrs import frozen
from rich.console import Console
from rich.table import Table

from benchmarks._figures import megabytes
from benchmarks._processes import running, url_in
from infinitic import Channel, Client, Flow, Worker, Workflow, continue_as_new, method, query, sleep, task, workflow
from infinitic.client import Handle
from infinitic.clock import SECOND
from infinitic.worker import serving, sweeps

RETENTION, TOMBSTONE, PURGE = 5, 5, 5
"""Seconds that a finished instance is kept, those that its tombstone is kept beyond, and those between two purges."""
CACHE = 300
WARM_UP = 20.0
SHORT, SLEEPING, ASKING, ROLLING = 20, 10, 10, 20
ROLLS = 20
DONE_AFTER = 5.0
PATIENCE = 60.0

answer = Channel(int, name="answer")


@task
def add(total: int, number: int) -> int:
    return total + number


@workflow
def short(number: int) -> Flow[int]:
    """Three steps."""
    total = number
    for step in range(3):
        total = yield from add(total, step)
    return total - number


@workflow
def sleeping(seconds: float) -> Flow[int]:
    """Two steps."""
    yield from sleep(seconds)
    return (yield from add(1, 1))


@workflow
def asking() -> Flow[int]:
    """Two steps."""
    given = yield from (answer.receive() | sleep(60))
    return (yield from add(given or 0, 1))


class Rolling(Workflow):
    """Lives on, and counts its steps."""

    def __init__(self) -> None:
        self.steps = 0

    @method
    def run(self, steps: int) -> Flow[None]:
        self.steps = steps
        for _ in range(ROLLS // 2):
            yield from sleep(0.5)
            self.steps = yield from add(self.steps + 1, 1)
        yield from continue_as_new(Rolling.run(self.steps))

    @query
    def count(self) -> int:
        return self.steps


WORKFLOWS = (short, sleeping, asking, Rolling)


def be_worker(url: str) -> None:
    """Be a worker that forgets finished instances soon."""
    vars(serving)["TOMBSTONE"] = TOMBSTONE
    sweeps.PURGE = PURGE * SECOND
    worker = Worker(url, workflows=WORKFLOWS, services=[add], retention=RETENTION, cache_instances=CACHE)
    with worker:
        print("worker is at work", file=sys.stderr, flush=True)
        sys.stdin.read()  # until whoever started it has gone


# --- the load ---


class Load:
    """Starts instances, second by second, and gathers what became of them."""

    def __init__(self, client: Client, load: float) -> None:
        self.client, self.load = client, load
        self.steps = 0
        self.started = 0
        self.open: deque[tuple[float, int, Handle[int]]] = deque()
        self.asked: deque[tuple[float, str]] = deque()
        for number in range(self.times(ROLLING)):
            client.start(Rolling.run(0), id=f"rolling-{number}")

    def times(self, rate: int) -> int:
        return max(1, round(rate * self.load))

    def second(self, now: float) -> None:
        """What is started, signalled and gathered in one second."""
        while self.asked and self.asked[0][0] <= now:
            self.client.start(answer.by_id(self.asked.popleft()[1]).send(1))
        for _ in range(self.times(SHORT)):
            self.open.append((now, 3, self.client.start(short(self.started))))
            self.started += 1
        for _ in range(self.times(SLEEPING)):
            self.open.append((now, 2, self.client.start(sleeping(1.0))))
        for _ in range(self.times(ASKING)):
            handle = self.client.start(asking())
            self.open.append((now, 2, handle))
            self.asked.append((now + 2, handle.id))
        while self.open and self.open[0][0] < now - DONE_AFTER:
            _, steps, handle = self.open.popleft()
            assert handle.result(timeout=PATIENCE) == steps, handle
            self.steps += steps

    def all_steps(self) -> int:
        """Those of the instances that have ended, and of those that live on."""
        lasting = range(self.times(ROLLING))
        return self.steps + sum(self.client.run(Rolling.by_id(f"rolling-{one}").count()) for one in lasting)


# --- what grows ---


@frozen
class Sample:
    """How much there is at one moment: bytes of memory in the workers and in this process, and in the files."""

    at: float
    workers: float
    client: float
    files: float


def sample(workers: list[subprocess.Popen[str]], folder: str) -> Sample:
    """Look at the processes and files."""
    pids = [os.getpid(), *(worker.pid for worker in workers)]
    asked = ["ps", "-o", "pid=,rss=", "-p", ",".join(map(str, pids))]
    lines = subprocess.run(asked, check=True, capture_output=True, text=True).stdout.splitlines()
    memory = {int(pid): 1024.0 * int(size) for pid, size in map(str.split, lines)}
    own = memory.pop(os.getpid())
    files = sum(path.stat().st_size for path in Path(folder).iterdir())
    return Sample(time.monotonic(), sum(memory.values()), own, files)


def samples(load: Load, workers: list[subprocess.Popen[str]], folder: str, seconds: float) -> Iterator[Sample]:
    """One a second, while the load goes on."""
    began = time.monotonic()
    for number in range(round(seconds)):
        load.second(number)
        yield sample(workers, folder)
        time.sleep(max(0.0, began + number + 1 - time.monotonic()))


def soak(minutes: float, workers: int, load: float) -> list[Sample]:
    """All samples; prints a line a minute, four in all when it is shorter."""
    every = round(min(60.0, minutes * 15))
    taken: list[Sample] = []
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        url = url_in(folder)
        command = [sys.executable, __file__, "--serve", url]
        processes = [stack.enter_context(running(command)) for _ in range(workers)]
        client = stack.enter_context(Client(url))
        loaded = Load(client, load)
        before, began = 0, time.monotonic()
        for one in samples(loaded, processes, folder, minutes * 60):
            taken.append(one)
            if len(taken) % every == 0:
                steps, now = loaded.all_steps(), time.monotonic()
                report(len(taken), one, client.count(status="running"), (steps - before) / (now - began))
                before, began = steps, now
    return taken


def report(seconds: int, one: Sample, running_ones: int, rate: float) -> None:
    """One line."""
    sizes = "".join(f"{megabytes(size):>14}" for size in (one.workers, one.client, one.files))
    click.echo(f"{seconds:>7} s{sizes}{rate:>10,.0f}{running_ones:>9,}")


def growth(taken: list[Sample]) -> None:
    """Say how the last quarter differs from the first one."""
    settled = [one for one in taken if one.at - taken[0].at >= WARM_UP] or taken
    quarter = max(1, len(settled) // 4)
    table = Table("growth from the first quarter to the last", "first", "last", "last / first")
    for name in ("workers", "client", "files"):
        first, last = (
            statistics.mean(getattr(one, name) for one in part) for part in (settled[:quarter], settled[-quarter:])
        )
        table.add_row(name, megabytes(first), megabytes(last), f"{last / first:.3f}")
    Console(width=110).print(
        table, f"The first {WARM_UP:g} s are left out: until then caches fill, and nothing expires."
    )


@click.command(help=__doc__)
@click.option("--minutes", default=1.0, show_default=True, help="How long.")
@click.option("--workers", default=2, show_default=True, help="How many worker processes.")
@click.option("--load", default=1.0, show_default=True, help="How many times the usual load.")
@click.option("--serve", hidden=True, help="Be a worker on this URL.")
def main(minutes: float, workers: int, load: float, serve: str | None) -> None:
    """Measure and print."""
    if serve is not None:
        be_worker(serve)
        return
    click.echo(f"{'':>9}{'workers':>14}{'client':>14}{'files':>14}{'steps/s':>10}{'open':>9}")
    growth(soak(minutes, workers, load))


if __name__ == "__main__":
    main()
