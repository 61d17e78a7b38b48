"""This tree beside an earlier commit, in one run: the same small programs, each in a process of its own, taking turns.

What differs by less than the ranges is noise. With TEST_PULSAR_URL and TEST_REDIS_URL also over these, as in
`python -m tests.servers --durable --only pulsar --only redis -- python -m benchmarks.against COMMIT`.

    python -m benchmarks.against COMMIT [--rounds 5] [--quick]
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from benchmarks._figures import spread
from infinitic import Channel, Client, Flow, Worker, Workflow, gather, method, query, task, workflow

HOUSE = Path(__file__).parents[1]
SERVERS = ("TEST_PULSAR_URL", "TEST_REDIS_URL")
IDLE = 5.0
"""Seconds that an idle worker is watched."""


@task
def add(total: int, number: int) -> int:
    return total + number


@workflow
def chain(steps: int) -> Flow[int]:
    total = 0
    for number in range(steps):
        total = yield from add(total, number)
    return total


@workflow
def fan(width: int) -> Flow[int]:
    return len((yield from gather(*(add(number, 0) for number in range(width)))))


class Parked(Workflow):
    go = Channel(str)

    def __init__(self) -> None:
        self.ready = False

    @method
    def run(self, width: int) -> Flow[str]:
        yield from gather(*(add(number, 0) for number in range(width)))
        self.ready = True
        return (yield from self.go.receive())

    @query
    def is_ready(self) -> bool:
        return self.ready


# --- in the process that measures ---


@contextmanager
def sqlite() -> Iterator[dict[str, Any]]:
    with tempfile.TemporaryDirectory() as folder:
        yield {"url": f"sqlite:///{folder}/x.db"}


@contextmanager
def pulsar_redis() -> Iterator[dict[str, Any]]:
    from benchmarks import _raw_servers

    pulsar, redis = (os.environ[name] for name in SERVERS)
    name = f"against_{uuid.uuid4().hex[:8]}"
    with _raw_servers.namespace_on(pulsar, name), _raw_servers.storage_on(redis, name) as storage:
        yield {"transport": pulsar, "storage": storage, "namespace": name}


@contextmanager
def memory() -> Iterator[dict[str, Any]]:
    yield {"url": f"memory://{uuid.uuid4().hex}"}


PLACES = {"memory": memory, "SQLite": sqlite, "Pulsar × Redis": pulsar_redis}


def seconds(act: Callable[[], object]) -> float:
    began = time.perf_counter()
    act()
    return time.perf_counter() - began


def a_task(what: str, tasks: int, act: Callable[[], object]) -> dict[str, float]:
    """What one of *tasks* takes: of time, and of this process's, which says more on a machine that others use."""
    began = time.process_time()
    taken = seconds(act)
    spent = time.process_time() - began
    return {f"{what}, µs a task": 1e6 * taken / tasks, f"{what}, µs of CPU": 1e6 * spent / tasks}


def measured(place: dict[str, Any], size: int) -> dict[str, float]:
    """What one backend takes, by what was done."""

    def worker() -> Worker:
        return Worker(**place, workflows=[chain, fan, Parked], services=[add])

    def many() -> None:
        for handle in [client.start(chain(10)) for _ in range(size // 10)]:
            handle.result(timeout=600)

    def woken() -> None:
        with worker():
            client.run(Parked.by_id("parked").go.send("now"))
            handle.result(timeout=600)

    with Client(**place) as client:
        with worker():
            client.run(chain(50), timeout=600)  # warm-up
            figures = {
                **a_task("one after the other", size, lambda: client.run(chain(size), timeout=600)),
                **a_task("many workflows", size // 10 * 10, many),
                **a_task("side by side", size, lambda: client.run(fan(size), timeout=600)),
            }
            handle = client.start(Parked.run(size), id="parked")
            while not client.run(Parked.by_id("parked").is_ready()):
                time.sleep(0.05)
            began = time.process_time()
            time.sleep(IDLE)
            figures["idle, % of a core"] = 100 * (time.process_time() - began) / IDLE
        figures["another worker wakes it, ms"] = 1e3 * seconds(woken)
    return figures


# --- in the process that compares ---


@contextmanager
def tree(commit: str) -> Iterator[Path]:
    """The files of *commit*, in a folder of their own."""
    with tempfile.TemporaryDirectory() as folder:
        archive = subprocess.run(["git", "archive", commit], cwd=HOUSE, check=True, capture_output=True).stdout
        subprocess.run(["tar", "-x", "-C", folder], input=archive, check=True)
        yield Path(folder)


def figures_of(house: Path, name: str, size: int) -> dict[str, float]:
    """What the code in *house* takes over one backend, in a process of its own."""
    command = [sys.executable, str(Path(__file__).resolve()), "--measure", name, str(size)]
    said = subprocess.run(
        command, cwd=house, env={**os.environ, "PYTHONPATH": str(house)}, check=True, stdout=subprocess.PIPE
    ).stdout
    figures: dict[str, float] = json.loads(said)
    return figures


def row(task: str, before: list[float], now: list[float]) -> tuple[str, str, str, str]:
    ratio = statistics.median(mine / its for mine, its in zip(now, before, strict=True))
    return task, spread(before, 2), spread(now, 2), f"{ratio:.2f}"


@click.command(help=__doc__)
@click.argument("commit")
@click.option("--rounds", default=5, show_default=True, help="How many.")
@click.option("--quick", is_flag=True, help="Fewer tasks.")
def main(commit: str, rounds: int, quick: bool) -> None:
    """Measure and print."""
    names = [name for name in PLACES if name != "Pulsar × Redis" or all(os.environ.get(one) for one in SERVERS)]
    with tree(commit) as earlier:
        for name in names:
            table = Table("", commit, "this tree", "ratio", title=f"{name}: median (range) of {rounds} processes each")
            pairs = []
            for _ in range(rounds):
                pairs.append([figures_of(house, name, 200 if quick else 1_000) for house in (earlier, HOUSE)])
            for what in pairs[0][0]:
                table.add_row(*row(what, *([pair[side][what] for pair in pairs] for side in (0, 1))))
            Console(width=110).print(table)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--measure"]:
        with PLACES[sys.argv[2]]() as where:
            click.echo(json.dumps(measured(where, int(sys.argv[3]))))
    else:
        main()
