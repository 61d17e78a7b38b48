"""How soon the instances of a killed worker go on: `infinitic worker` processes over one SQLite file.

A worker holds all instances; another one stands by. The first is killed (SIGKILL), which makes the other the holder,
and a new one stands by: as often as there are rounds. Counted is the time from the kill to the first turn that each
instance makes after it, by what the instance was doing: it sleeps a short while, again and again; it runs a task,
again and again (one that was running when its worker died runs anew, alone); it waits for a signal, which is sent
as soon as the worker is dead.

    python -m benchmarks.takeover [--instances 20] [--rounds 5]
"""

from __future__ import annotations

import os
import random
import signal
import statistics
import tempfile
import time
from bisect import bisect_right
from collections.abc import Callable
from contextlib import ExitStack
from subprocess import Popen
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from benchmarks._figures import quantile
from benchmarks._processes import url_in, working
from infinitic import Channel, Client, Flow, sleep, task, workflow

TARGET = 1.5
NAP, WORK = 0.2, 0.1
PATIENCE = 60.0

nudge = Channel(int, name="nudge")


@task
def work(seconds: float) -> None:
    time.sleep(seconds)


@workflow
def sleeper() -> Flow[None]:
    while True:
        yield from sleep(NAP)


@workflow
def tasker() -> Flow[None]:
    while True:
        yield from work(WORK)


@workflow
def listener() -> Flow[None]:
    while True:
        yield from nudge.receive()


KINDS: dict[str, Callable[[], Any]] = {"sleep": sleeper, "task": tasker, "wait": listener}


class Round:
    """One kill: when it came, and when the worker was dead for sure. Microseconds since 1970."""

    def __init__(self, victim: Popen[str]) -> None:
        self.killed = time.time_ns() // 1_000
        os.kill(victim.pid, signal.SIGKILL)
        victim.wait()
        self.dead = time.time_ns() // 1_000


def await_turns(client: Client, since: int) -> None:
    """Return when every instance has made a turn after *since*. Raises `TimeoutError`."""
    last = time.monotonic() + PATIENCE
    while True:
        behind = [record for record in client.find() if record.updated <= since]
        if not behind:
            return
        if time.monotonic() > last:
            raise TimeoutError(f"{len(behind)} instances made no turn within {PATIENCE:g} s: {behind[0]}")
        time.sleep(0.1)


def nudge_all(client: Client, ids: list[str]) -> None:
    for id in ids:
        client.start(nudge.by_id(id).send(0))


def measure(instances: int, rounds: int) -> dict[str, list[float]]:
    """Seconds from a kill to the next turn, by kind of instance."""
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        url = url_in(folder)
        holder = stack.enter_context(working(__file__, url))
        client = stack.enter_context(Client(url))
        handles = {
            kind: [client.start(begun(), id=f"{kind}-{number}") for number in range(instances)]
            for kind, begun in KINDS.items()
        }
        listening = [handle.id for handle in handles["wait"]]
        kills = []
        for _ in range(rounds):
            standby = stack.enter_context(working(__file__, url))
            before = time.time_ns() // 1_000
            nudge_all(client, listening)
            await_turns(client, before)
            time.sleep(random.random())  # lest all kills meet the sweeps of the other at the same point
            kills.append(Round(holder))
            nudge_all(client, listening)
            await_turns(client, kills[-1].dead)
            holder = standby
        return {kind: [gap for handle in its for gap in gaps(handle, kills)] for kind, its in handles.items()}


def gaps(handle: Any, kills: list[Round]) -> list[float]:
    """Seconds from each kill to the next turn of this instance."""
    turns = [turn.at for turn in handle.history()]
    return [(turns[bisect_right(turns, kill.dead)] - kill.killed) / 1e6 for kill in kills]


@click.command(help=__doc__)
@click.option("--instances", default=20, show_default=True, help="How many of each kind.")
@click.option("--rounds", default=5, show_default=True, help="How many kills.")
def main(instances: int, rounds: int) -> None:
    """Measure and print."""
    columns = ("instances that", "median, s", "p99", f"max (target ≤ {TARGET:g})")
    said = f"Tasks that were running run anew one at a time, {WORK:g} s each, which is part of their figure."
    table = Table(*columns, title=f"Takeover: {rounds} workers killed", caption=said, caption_justify="left")
    for kind, taken in measure(instances, rounds).items():
        figures = (statistics.median(taken), quantile(taken, 0.99), max(taken))
        table.add_row(f"{kind} ({instances})", *(f"{one:.2f}" for one in figures))
    Console(width=110).print(table)


if __name__ == "__main__":
    main()
