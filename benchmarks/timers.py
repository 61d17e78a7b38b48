"""How late timers fire: `infinitic worker` processes over one SQLite file, durable as by default.

Lateness is the clock when the workflow's code goes on after `sleep_until`, less the instant that it named. In the
row of small caches the other instances are replayed when their timers are due. The bare loop sleeps until the same
instants and commits a row to SQLite at each: what it is late is the machine's and the disk's.

    python -m benchmarks.timers [--count 1000] [--seconds 5] [--rounds 2]
"""

from __future__ import annotations

import sqlite3
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing
from datetime import UTC, datetime, timedelta

import click
from rich.console import Console
from rich.table import Table

from benchmarks._figures import quantile
from benchmarks._processes import url_in, working
from infinitic import Client, Flow, inline, sleep_until, workflow

TARGET = 50.0
LEAD = 0.006
"""Seconds that go by from the first start to the first timer, for each of the timers: all are to be started by then."""

CASES = (
    ("one worker", 1, 10_000),
    ("two workers share", 2, 10_000),
    ("one worker, 10 instances in its cache", 1, 10),
)


def clock() -> datetime:
    return datetime.now(UTC)


@workflow
def nap(due: datetime) -> Flow[float]:
    """How many milliseconds its timer is late."""
    yield from sleep_until(due)
    return ((yield from inline(clock)) - due) / timedelta(milliseconds=1)


def measure(workers: int, cache: int, count: int, spread: float) -> list[float]:
    """Milliseconds late, of *count* timers whose instants lie *spread* seconds apart from first to last."""
    with tempfile.TemporaryDirectory() as folder, ExitStack() as all_of_them:
        url = url_in(folder)
        for _ in range(workers):
            all_of_them.enter_context(working(__file__, url, cache_instances=cache))
        client = all_of_them.enter_context(Client(url))
        client.run(nap(clock()), timeout=60)  # warm-up
        handles = [client.start(nap(due)) for due in instants(count, spread, LEAD * count)]
        return [handle.result(timeout=spread + 120) for handle in handles]


def bare(count: int, spread: float) -> list[float]:
    """Milliseconds that a loop is late which sleeps until each instant, and then commits one row."""
    late = []
    with tempfile.TemporaryDirectory() as folder, closing(sqlite3.connect(f"{folder}/bare.db")) as db:
        db.executescript("PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; CREATE TABLE fired (late REAL)")
        for due in [*instants(count, spread, 0.1)]:
            time.sleep(max(0.0, (due - clock()).total_seconds()))
            late.append((clock() - due) / timedelta(milliseconds=1))
            with db:
                db.execute("INSERT INTO fired VALUES (?)", (late[-1],))
    return late


def instants(count: int, spread: float, lead: float) -> Iterator[datetime]:
    """When the timers are due, the first in *lead* seconds. Raises `RuntimeError` if it comes too soon."""
    first = clock() + timedelta(seconds=lead)
    for number in range(count):
        if clock() > first:
            raise RuntimeError(f"only {number} of {count} were started before the first timer was due: lower --count")
        yield first + timedelta(seconds=spread * number / count)


@click.command(help=__doc__)
@click.option("--count", default=1_000, show_default=True, help="How many timers.")
@click.option("--seconds", default=5.0, show_default=True, help="From the first instant to the last.")
@click.option("--rounds", default=2, show_default=True, help="All count together.")
def main(count: int, seconds: float, rounds: int) -> None:
    """Measure and print."""
    late: dict[str, list[float]] = {}
    for _ in range(rounds):
        late.setdefault("bare loop", []).extend(bare(count, seconds))
        for name, workers, cache in CASES:
            late.setdefault(name, []).extend(measure(workers, cache, count, seconds))
    columns = ("ms late", "min", "median", f"p99 (target ≤ {TARGET:.0f})", "max", "early (target 0)")
    table = Table(*columns, title=f"{rounds} × {count:,} timers in {seconds:g} s")
    for name, its in late.items():
        figures = (min(its), quantile(its, 0.5), quantile(its, 0.99), max(its))
        table.add_row(name, *(f"{one:.1f}" for one in figures), str(sum(one < 0 for one in its)))
    Console(width=110).print(table)


if __name__ == "__main__":
    main()
