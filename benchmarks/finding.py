"""Pages and counts of instances in storages that hold very many: how long each filter takes, beside the plainest.

Each third instance has a tag, each thousandth a rare one; a hundredth failed, a tenth runs and waits, the others have
ended; children come by the hundred. A page has 20 records; *deep* is the one that follows half of what there is. In
milliseconds, medians of the rounds, and in brackets how often the first page of a filter-less list fits into the first.

    python -m benchmarks.finding [--count 100000] [--rounds 5] [STORAGE_URL]...
"""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from benchmarks._raw_servers import storage_on
from infinitic.backends.sqlite import SqliteBackend
from infinitic.backends.urls import open_storage
from infinitic.config import Config, scheme_of
from infinitic.events import Caller
from infinitic.records import Append, Filter, Mark, StateRecord, TurnRow, Version, Wait
from infinitic.storages import Storage, token_of

PAGE, BATCH = 20, 500
SECOND = 1_000_000
BEGAN = 1_800_000_000 * SECOND
"""When the first one started; one a second follows, each of which ends after a minute."""


def record(number: int) -> StateRecord:
    """The record of an instance by its number."""
    status = "running" if number % 10 == 0 else "failed" if number % 100 == 1 else "completed"
    running, started = status == "running", BEGAN + number * SECOND
    return StateRecord(
        "trip" if number % 4 else "visit",
        f"trip-{number:08}",
        "r1",
        status,
        tags=(*(["vip"] * (number % 3 == 0)), *(["rare"] * (number % 1_000 == 0))),
        caller=Caller("tour", f"tour-{number // 100}", "r1", "m0.1"),
        started=started,
        ended=0 if running else started + 60 * SECOND,
        waits=(Wait("m0.1", "task", "charge" if number % 20 else "Hotels.book"),) if running else (),
        meta={"some": "x" * 200},
    )


def start(number: int) -> Append:
    its = record(number)
    return Append(
        workflow=its.workflow,
        workflow_id=its.workflow_id,
        expected=None,
        version=Version("r1", 1),
        token="",
        mark=Mark("r1", 1),
        turns=(TurnRow("r1", 0, b"{}"),),
        record=its,
        expires=its.ended + 604_800 * SECOND if its.ended else None,
    )


def filters(count: int) -> dict[str, Filter]:
    """Filters by their names, for this number of instances."""
    middle = BEGAN + count // 2 * SECOND
    return {
        "all": Filter(),
        "workflow": Filter(workflow="trip"),
        "status failed": Filter(status="failed"),
        "workflow, status": Filter(workflow="visit", status="running"),
        "tag": Filter(tag="vip"),
        "rare tag, status": Filter(tag="rare", status="running"),
        "tag, workflow, status": Filter(tag="vip", workflow="trip", status="failed"),
        "parent": Filter(parent=f"tour-{count // 200}"),
        "waiting for a task": Filter(waiting="Hotels.book"),
        "waiting, tag, workflow": Filter(waiting="charge", tag="vip", workflow="trip"),
        "started in an hour": Filter(since=middle, until=middle + 3_600 * SECOND),
        "ended in an hour": Filter(ended_since=middle, ended_until=middle + 3_600 * SECOND),
        "ended before, failed": Filter(ended_until=middle, status="failed"),
        "id prefix": Filter(id_prefix=f"trip-{count // 2 // 100:06}"),
        "id prefix of all, tag": Filter(id_prefix="trip-", tag="rare"),
    }


@contextmanager
def opened(url: str) -> Iterator[Storage]:
    """An empty storage: a database or a namespace of its own on a server, or a file."""
    if scheme_of(url) == "sqlite":
        with tempfile.TemporaryDirectory() as folder, closing(SqliteBackend.open(f"{folder}/trips.db")) as backend:
            yield backend.storage
        return
    name = f"finding_{os.getpid()}"
    with storage_on(url, name) as place:
        config = Config("memory://", place, namespace=name)
        with closing(open_storage(config, "worker")) as storage:
            yield storage


def median(work: Callable[[], Any], rounds: int) -> float:
    """Milliseconds."""
    took = []
    for _ in range(rounds):
        began = time.perf_counter()
        work()
        took.append((time.perf_counter() - began) * 1_000)
    return statistics.median(took)


def measure(storage: Storage, where: Filter, rounds: int) -> tuple[int, list[float]]:
    """How many there are, and the milliseconds of the first page, the deep one and the count."""
    found = storage.count(where)
    before = BEGAN + SECOND * (storage.count(Filter()) // 2)
    deep = token_of(StateRecord("", "", "", started=before))
    asked: list[Callable[[], Any]] = [
        lambda: storage.find(where, PAGE),
        lambda: storage.find(where, PAGE, deep),
        lambda: storage.count(where),
    ]
    return found, [median(one, rounds) for one in asked]


def table(url: str, count: int, rounds: int) -> Table:
    shown = Table("filter", *(("found", "first page", "deep page", "count")), title=f"{scheme_of(url)}, {count:,}")
    with opened(url) as storage:
        began = time.perf_counter()
        for first in range(0, count, BATCH):
            storage.append([start(number) for number in range(first, min(first + BATCH, count))])
        shown.caption = f"{count / (time.perf_counter() - began):,.0f} starts/s in batches of {BATCH}"
        plain = 0.0
        for name, where in filters(count).items():
            found, (page, deep, counted) = measure(storage, where, rounds)
            plain = plain or page
            figures = (f"{page:,.1f} ({page / plain:.1f})", f"{deep:,.1f}", f"{counted:,.1f}")
            shown.add_row(name, f"{found:,}", *figures)
    return shown


@click.command()
@click.argument("urls", nargs=-1)
@click.option("--count", type=click.IntRange(min=1_000), default=100_000, show_default=True, help="Instances.")
@click.option("--rounds", type=click.IntRange(min=1), default=5, show_default=True)
def main(urls: tuple[str, ...], count: int, rounds: int) -> None:
    """Print one table for each storage: a SQLite file, and the servers that the environment names."""
    servers = (os.environ.get(f"TEST_{name}_URL") for name in ("REDIS", "MARIADB", "MYSQL", "POSTGRES"))
    for url in urls or ("sqlite:///", *filter(None, servers)):
        Console(width=110).print(table(url, count, rounds))


if __name__ == "__main__":
    main()
