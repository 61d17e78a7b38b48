"""Workflows over Apache Pulsar and a storage, one process a role, beside the raw limit in the same run.

The raw limit is pulsar-client and redis-py in as many processes, with the same messages and the same writes, and no
engine; of timers it is a loop that sleeps until the same instants. All is measured from a third process, the client.
The servers are those that the environment names (TEST_PULSAR_URL, TEST_REDIS_URL …: `make bench` starts them); of what
is missing the benchmark says so.

    python -m benchmarks.distributed [--rounds 2] [--quick]
"""

from __future__ import annotations

import itertools
import os
import statistics
import sys
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from datetime import UTC, datetime
from subprocess import Popen
from typing import Any, NoReturn

import click
from attrs import frozen
from rich.console import Console
from rich.table import Table

from benchmarks import _raw_servers as servers
from benchmarks._figures import quantile, spread
from benchmarks._kills import takeovers
from benchmarks._processes import AT_WORK, running
from benchmarks._raw_pulsar import Raw
from infinitic import Client, Flow, Worker, gather, inline, now, sleep, task, workflow
from infinitic.config import scheme_of
from infinitic.topics import service_topic, workflow_topic

OURS, RAW = "ours", "raw"
ROLES = FLOWS, TASKS = "workflows", "services"
STARTERS = 32
"""How many starts are in flight at once: each waits for its receipt."""
PACE = 0.1
APPEND = "infinitic_1_append"
OTHERS = {"MariaDB": "TEST_MARIADB_URL", "MySQL": "TEST_MYSQL_URL", "PostgreSQL": "TEST_POSTGRES_URL"}
TARGETS = {
    "a step, ms: p50": "≤ 1.3 × raw",
    "200 workflows": "≥ 0.5 × raw",
    "2,000 workflows": "≥ 0.5 × raw",
    "a timer": "p99 ≤ 50 ms",
    "one of two": "≤ 1.5 s",
}
QUANTILES = {"p50": 0.5, "p99": 0.99, "max": 1.0}
Figures = dict[str, dict[str, list[float]]]
"""By row and column."""


# --- what is served ---


@task
def add(total: int, number: int) -> int:
    return total + number


@task
def pace(seconds: float) -> None:
    time.sleep(seconds)


@workflow
def chain(steps: int) -> Flow[int]:
    total = 0
    for number in range(steps):
        total = yield from add(total, number)
    return total


@workflow
def fan(width: int) -> Flow[int]:
    return sum((yield from gather(*(add(0, number) for number in range(width)))))


@workflow
def nap(seconds: float) -> Flow[float]:
    """How many seconds its timer is late."""
    began = now()
    yield from sleep(seconds)
    return ((yield from inline(clock)) - began).total_seconds() - seconds


@workflow
def paced() -> Flow[None]:
    while True:
        yield from pace(PACE)


def clock() -> datetime:
    return datetime.now(UTC)


@frozen
class Place:
    """A broker, a storage, and a namespace of this run's own in both."""

    pulsar: str
    storage: str
    namespace: str

    @contextmanager
    def serving(self, role: str) -> Iterator[Popen[str]]:
        """A process of one role, at work while the block lasts."""
        command = [sys.executable, "-m", "benchmarks.distributed", "--serve", role]
        urls = {"transport": self.pulsar, "storage": self.storage}
        with running(command, namespace=self.namespace, **urls) as process:
            yield process

    def client(self) -> Client:
        return Client(transport=self.pulsar, storage=self.storage, namespace=self.namespace)


@contextmanager
def place_on(storage_url: str) -> Iterator[Place]:
    """An empty one, on the broker that the environment names."""
    pulsar, name = os.environ["TEST_PULSAR_URL"], f"bench_{uuid.uuid4().hex[:8]}"
    with servers.namespace_on(pulsar, name), servers.storage_on(storage_url, name) as storage:
        yield Place(pulsar, storage, name)


def be_worker(role: str) -> NoReturn:
    """Be a worker of one role, where the environment says, until killed."""
    served: dict[str, Any] = {"workflows": [chain, fan, nap, paced]} if role == FLOWS else {"services": [add, pace]}
    with Worker(**served):
        print(AT_WORK, file=sys.stderr, flush=True)
        while True:
            time.sleep(86_400)


# --- the measurements ---


class Ours:
    """One process a role at a place, and the client."""

    def __init__(self, place: Place) -> None:
        self.place = place
        self._stack = ExitStack()
        for role in ROLES:
            self._stack.enter_context(place.serving(role))
        self.client = self._stack.enter_context(place.client())
        self._starters = self._stack.enter_context(ThreadPoolExecutor(STARTERS))

    def run(self, count: int, steps: int) -> None:
        """Take *count* chains through their steps."""
        starts = (self._starters.submit(self.client.start, chain(steps)) for _ in range(count))
        for start in list(starts):
            start.result().result(120)

    def times(self, steps: int) -> list[int]:
        """When one chain made its turns, in microseconds since 1970."""
        handle = self.client.start(chain(steps))
        handle.result(600)
        return [turn.at for turn in handle.history()]

    def naps(self, count: int, seconds: float, spread_over: float) -> list[float]:
        """Milliseconds late, of so many timers that are set one after another."""
        starts = []
        for number in range(count):
            starts.append(self._starters.submit(self.client.start, nap(seconds), id=f"nap-{seconds}-{number}"))
            time.sleep(spread_over / count)
        return [start.result().result(60) * 1_000 for start in starts]

    def close(self) -> None:
        self._stack.close()


@contextmanager
def raw_at(place: Place) -> Iterator[Raw]:
    """The raw processes, at the same servers."""
    name = f"{place.namespace}_raw"
    with ExitStack() as stack:
        stack.enter_context(servers.namespace_on(place.pulsar, name))
        stack.enter_context(servers.storage_on(place.storage, name))
        raw = Raw(place.pulsar, place.storage, name)
        stack.callback(raw.close)
        yield raw


def seconds_of(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def in_milliseconds(times: list[int]) -> list[float]:
    """Between one turn and the next."""
    return [(after - before) / 1_000 for before, after in itertools.pairwise(times)]


class Taken:
    """Figures as they are taken, ours and the raw limit's in turn."""

    def __init__(self) -> None:
        self.figures: Figures = {}

    def note(self, row: str, column: str, figure: float) -> None:
        self.figures.setdefault(row, {}).setdefault(column, []).append(figure)

    def chain(self, column: str, times: list[int]) -> None:
        """One workflow, by when it made its turns."""
        taken = in_milliseconds(times)
        tenth = len(taken) // 10
        self.note(f"one workflow, {len(taken):,} tasks: tasks/s", column, 1_000 * len(taken) / sum(taken))
        self.note("a step, ms: p50", column, quantile(taken, 0.5))
        self.note("a step, ms: p99", column, quantile(taken, 0.99))
        self.note("a step, ms: p50 of the first tenth", column, quantile(taken[:tenth], 0.5))
        self.note("a step, ms: p50 of the last tenth", column, quantile(taken[-tenth:], 0.5))

    def many(self, ours: Ours, raw: Raw, count: int, steps: int = 10) -> None:
        """Many workflows at once, of few tasks each."""
        row = f"{count:,} workflows × {steps} tasks: tasks/s"
        self.note(row, RAW, count * steps / seconds_of(lambda: raw.run(count, steps)))
        self.note(row, OURS, count * steps / seconds_of(lambda: ours.run(count, steps)))

    def alone(self, row: str, times: int, raw: Callable[[], object], ours: Callable[[], object]) -> None:
        """The same, some times, each when the one before is over."""
        for _ in range(times):
            self.note(row, RAW, 1_000 * seconds_of(raw))
            self.note(row, OURS, 1_000 * seconds_of(ours))


def measure_steps(ours: Ours, raw: Raw, rounds: int, quick: bool) -> Figures:
    """What tasks take, one after another and many at once."""
    steps, counts = (200, [200]) if quick else (1_000, [200, 2_000])
    raw.run(200, 3)  # warm-up
    ours.run(200, 3)
    taken, run = Taken(), ours.client.run
    for _ in range(rounds):
        taken.chain(RAW, raw.times(*raw.run(1, steps)))
        taken.chain(OURS, ours.times(steps))
        for count in counts:
            taken.many(ours, raw, count)
        taken.alone("fan-out of 100 tasks, ms", 5, lambda: raw.run(1, 1, 100), lambda: run(fan(100), timeout=60))
        taken.alone("start to answer, one task, ms", 9, lambda: raw.run(1, 1), lambda: run(chain(1), timeout=60))
    return taken.figures


def measure_timers(ours: Ours, quick: bool) -> Figures:
    """Milliseconds that timers are late, beside a loop that sleeps until as many instants."""
    count, over = (50, 1.0) if quick else (200, 2.0)
    figures: Figures = {}
    for seconds in (0.1, 2.0 if quick else 10.0):
        figures[f"a timer of {seconds:g} s: ms late"] = {OURS: ours.naps(count, seconds, over), RAW: bare(count, over)}
    return figures


def bare(count: int, over: float) -> list[float]:
    """Milliseconds that a loop is late which sleeps until each instant."""
    began, late = time.perf_counter(), []
    for number in range(count):
        due = began + over * number / count
        time.sleep(max(0.0, due - time.perf_counter()))
        late.append((time.perf_counter() - due) * 1_000)
    return late


def measure_takeover(place: Place, raw: Raw, rounds: int, instances: int = 20) -> Figures:
    """Seconds from a kill until all instances have gone on, by the role of the killed process and by column."""
    with place.client() as client:
        handles = [client.start(paced()) for _ in range(instances)]
        ours = takeovers(
            ROLES,
            place.serving,
            lambda: [record.updated for record in client.find(paced)],
            lambda: [[turn.at for turn in handle.history()] for handle in handles],
            rounds,
        )
    keys = raw.start(instances, 1_000_000)
    bare = takeovers(
        ROLES,
        lambda role: raw.serving(role, PACE),
        lambda: [max(raw.times(key), default=0) for key in keys],
        lambda: [raw.times(key) for key in keys],
        rounds,
    )
    return {f"one of two {role} workers is killed: s": {OURS: ours[role], RAW: bare[role]} for role in ROLES}


# --- what a task costs ---


def measure_costs(ours: Ours, sizes: Sequence[int], steps: int = 200) -> dict[str, str]:
    """Messages and writes of one task, and the bytes that it leaves, as the servers count them."""
    place, topics = ours.place, (workflow_topic("chain"), service_topic("add"))
    count, size = servers.messages(place.pulsar, place.namespace, topics)
    with servers.watched(place.storage, place.namespace) as alone:
        ours.run(1, steps)
    more, larger = servers.messages(place.pulsar, place.namespace, topics)
    with servers.watched(place.storage, place.namespace) as many:
        ours.run(200, 10)
    costs = {
        "messages (target 2)": f"{(more - count - 1) / steps:.2f}",
        "bytes of a message": f"{(larger - size) / (more - count):,.0f}",
        "writes (target 1)": f"{(alone['RPUSH'] - 1) / steps:.2f}",
        "writes of a mark alone": f"{(alone[APPEND] - alone['RPUSH']) / steps:.2f}",
        "… 200 × 10": f"{(many[APPEND] - many['RPUSH']) / 2_000:.2f}",
    }
    for tasks in sizes:
        handle = ours.client.start(chain(tasks))
        handle.result(120)
        stored = servers.kept(place.storage, place.namespace, handle.id)
        costs[f"bytes stored, of {tasks:,}"] = f"{stored / tasks:,.0f}"
    return costs


def measure_storage(url: str) -> list[str]:
    """One storage's row: tasks a second one after another and of many workflows; transactions and bytes a task."""
    with place_on(url) as place, closing(Ours(place)) as ours:
        ours.run(200, 2)
        taken = in_milliseconds(ours.times(200))
        many = 2_000 / seconds_of(lambda: ours.run(200, 10))
        writes = (
            ""
            if scheme_of(url) == "redis"
            else f"{servers.beyond_idle(place.storage, lambda: ours.run(1, 200)) / 200:.2f}"
        )
        handle = ours.client.start(chain(200))
        handle.result(60)
        stored = servers.kept(place.storage, place.namespace, handle.id) / 200
    return [f"{quantile(taken, 0.5):.1f}", f"{many:,.0f}", writes, f"{stored:,.0f}"]


# --- the tables ---


def shown(figures: list[float]) -> str:
    """Median and range of some, quantiles of many."""
    digits = 0 if statistics.median(figures) >= 100 else 2
    if len(figures) < 50:
        return spread(figures, digits)
    return ", ".join(f"{name} {quantile(figures, share):,.{digits}f}" for name, share in QUANTILES.items())


def show(figures: Figures) -> None:
    """Print the table of all that has a raw limit."""
    table = Table("", OURS, RAW, "ours / raw", "target", title="Pulsar × Redis, one process a role")
    for name, row in figures.items():
        ratio = f"{statistics.median(row[OURS]) / statistics.median(row[RAW]):.2f}"
        target = next((said for beginning, said in TARGETS.items() if name.startswith(beginning)), "")
        table.add_row(name, shown(row[OURS]), shown(row[RAW]), "" if "late" in name else ratio, target)
    Console(width=140).print(table)


@click.command(help=__doc__)
@click.option("--rounds", default=2, show_default=True, help="How many.")
@click.option("--kills", default=10, show_default=True, help="How many processes of each role are killed.")
@click.option("--quick", is_flag=True, help="Fewer of everything, and Redis alone.")
@click.option("--serve", hidden=True, help="Be a worker of this role.")
def main(rounds: int, kills: int, quick: bool, serve: str | None) -> None:
    """Measure and print."""
    if serve is not None:
        be_worker(serve)
    missing = [name for name in ("TEST_PULSAR_URL", "TEST_REDIS_URL") if not os.environ.get(name)]
    if missing:
        click.echo(f"skipped: {' and '.join(missing)} not set; make bench starts the servers and sets them")
        return
    redis = os.environ["TEST_REDIS_URL"]
    with place_on(redis) as place, raw_at(place) as raw, closing(Ours(place)) as ours:
        with raw.serving(FLOWS), raw.serving(TASKS):
            figures = measure_steps(ours, raw, 1 if quick else rounds, quick)
        figures |= measure_timers(ours, quick)
        costs = measure_costs(ours, (10, 100) if quick else (10, 100, 1_000))
    with place_on(redis) as place, raw_at(place) as raw:
        figures |= measure_takeover(place, raw, 1 if quick else kills)
    show(figures)
    show_costs(costs)
    if not quick:
        show_others()


def show_costs(costs: dict[str, str]) -> None:
    table = Table(*costs, title="A task of a sequence costs, as the servers count")
    table.add_row(*costs.values())
    Console(width=140).print(table)


def show_others() -> None:
    """Print how the storages compare."""
    table = Table("storage", "a step, ms: p50", "200 × 10: tasks/s", "transactions a task", "bytes stored a task")
    for name, variable in {"Redis": "TEST_REDIS_URL", **OTHERS}.items():
        url = os.environ.get(variable)
        table.add_row(name, *(measure_storage(url) if url else [f"skipped: {variable} is not set"]))
    Console(width=140).print(table)


if __name__ == "__main__":
    main()
