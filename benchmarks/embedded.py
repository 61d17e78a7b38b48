"""The embedded backend, fully durable, beside the bare pipeline and DBOS on SQLite in the same run.

The bare pipeline makes the same transaction (head, turn, next task in; done task out) under the same file lock, with
the same two thread hand-overs a step, and no engine. DBOS runs steps in the workflow's own thread, once with SQLite as
it comes, once with the journal that ours has. Figures are medians over the rounds, with their range.

    python -m benchmarks.embedded [--rounds 3] [--quick]
"""

from __future__ import annotations

import fcntl
import itertools
import sqlite3
import statistics
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from queue import SimpleQueue

import click
from rich.console import Console
from rich.table import Table

from benchmarks import peers
from benchmarks._figures import quantile, spread
from infinitic import Client, Flow, Worker, task, workflow

PAYLOAD = b"x" * 260  # about what a turn, a record and a task message weigh
OURS, BARE = "ours, journal_mode wal, synchronous 2", "bare pipeline, set as ours"
MANY = "200 workflows × 10 steps"
Figures = dict[str, dict[str, list[float]]]


@task
def add(total: int, number: int) -> int:
    return total + number


@workflow
def chain(steps: int) -> Flow[int]:
    total = 0
    for number in range(steps):
        total = yield from add(total, number)
    return total


# --- the bare pipeline ---


class Bare:
    """The same writes and hand-overs, and nothing else. *group* steps that are ready share one transaction."""

    def __init__(self, folder: Path, durable: bool = True) -> None:
        self.path = folder / "bare.db"
        self.lock = (folder / "bare.lock").open("w")
        self.db = sqlite3.connect(self.path, isolation_level=None, check_same_thread=False, cached_statements=256)
        self.db.executescript(
            f"""
            PRAGMA journal_mode = WAL; PRAGMA synchronous = {"FULL" if durable else "OFF"};
            CREATE TABLE heads (id TEXT PRIMARY KEY, turns INTEGER, record BLOB) WITHOUT ROWID;
            CREATE TABLE turns (id TEXT, number INTEGER, body BLOB, PRIMARY KEY (id, number)) WITHOUT ROWID;
            CREATE TABLE tasks (id INTEGER PRIMARY KEY AUTOINCREMENT, key TEXT, body BLOB);
            """
        )
        self.asked: SimpleQueue[tuple[str, int] | None] = SimpleQueue()
        self.answered: SimpleQueue[tuple[str, int]] = SimpleQueue()

    def run(self, workflows: int, steps: int, latencies: list[float] | None = None) -> None:
        """Take *workflows* chains through *steps* steps each."""
        self.db.executescript("DELETE FROM heads; DELETE FROM turns; DELETE FROM tasks;")
        thread = threading.Thread(target=self._serve, daemon=True)
        thread.start()
        counts = {f"w{number}": 0 for number in range(workflows)}
        for key in counts:
            self.db.execute("INSERT OR REPLACE INTO heads VALUES (?, 0, ?)", (key, PAYLOAD))
            self.asked.put((key, 0))
        while counts:
            began = time.perf_counter()
            ready = [self.answered.get()]
            while not self.answered.empty():
                ready.append(self.answered.get())
            self._commit(ready, counts, steps)
            if latencies is not None:
                latencies.append(time.perf_counter() - began)
        self.asked.put(None)
        thread.join()

    def _serve(self) -> None:
        while (asked := self.asked.get()) is not None:
            self.answered.put(asked)

    def _commit(self, ready: list[tuple[str, int]], counts: dict[str, int], steps: int) -> None:
        fcntl.flock(self.lock, fcntl.LOCK_EX)
        execute = self.db.execute
        execute("BEGIN IMMEDIATE")
        following = []
        for key, row in ready:
            number = counts[key]
            execute(
                "UPDATE heads SET turns = ?, record = ? WHERE id = ? AND turns = ?",
                (number + 1, PAYLOAD, key, number),
            )
            execute("INSERT INTO turns VALUES (?, ?, ?)", (key, number, PAYLOAD))
            task = execute("INSERT INTO tasks (key, body) VALUES (?, ?)", (key, PAYLOAD)).lastrowid or 0
            if row:
                execute("DELETE FROM tasks WHERE id = ?", (row,))
            counts[key] = number + 1
            following.append((key, task))
        execute("COMMIT")
        fcntl.flock(self.lock, fcntl.LOCK_UN)
        for key, task in following:
            if counts[key] < steps:
                self.asked.put((key, task))
            else:
                del counts[key]

    def close(self) -> None:
        self.db.close()
        self.lock.close()


# --- ours ---


@contextmanager
def serving(folder: Path) -> Iterator[Client]:
    """A worker and a client on one fresh file."""
    url = f"sqlite:///{folder}/ours.db"
    with Worker(url, workflows=[chain], services=[add]), Client(url) as client:
        client.run(chain(100))  # warm-up
        yield client


def sequential(client: Client, steps: int) -> float:
    """Steps a second of one workflow."""
    began = time.perf_counter()
    client.run(chain(steps), timeout=600)
    return steps / (time.perf_counter() - began)


def many(folder: Path, workflows: int, steps: int) -> float:
    """Steps a second of many workflows that were started before their worker, the worker's own start included."""
    url = f"sqlite:///{folder}/many.db"
    with Client(url) as client:
        handles = [client.start(chain(steps)) for _ in range(workflows)]
        began = time.perf_counter()
        with Worker(url, workflows=[chain], services=[add]):
            for handle in handles:
                handle.result(600)
            return workflows * steps / (time.perf_counter() - began)


def many_in_a_folder(workflows: int, steps: int) -> float:
    """`many` on a file of its own."""
    with tempfile.TemporaryDirectory() as folder:
        return many(Path(folder), workflows, steps)


def step_latencies(client: Client, steps: int) -> list[float]:
    """Seconds between the turns of one workflow, from their recorded times."""
    handle = client.start(chain(steps))
    handle.result(600)
    return [(b.at - a.at) / 1e6 for a, b in itertools.pairwise(handle.history())]


def bare_rate(workflows: int, steps: int) -> float:
    """The bare pipeline's steps a second."""
    with tempfile.TemporaryDirectory() as folder:
        bare = Bare(Path(folder))
        bare.run(1, 100)
        began = time.perf_counter()
        bare.run(workflows, steps)
        seconds = time.perf_counter() - began
        bare.close()
    return workflows * steps / seconds


# --- DBOS ---


def dbos_rates(steps: int) -> Iterator[tuple[str, str, float]]:
    """Steps a second by row and column, one column for each way to set SQLite; nothing when it is not installed."""
    dbos = peers.find("dbos")
    if dbos is None:
        return
    for journal in (dbos.AS_IT_COMES, dbos.AS_OURS):
        with dbos.serving(journal) as settings:
            column = f"{peers.label('dbos')}, {settings}"
            yield one_workflow(steps), column, dbos.sequential(steps)
            yield MANY, column, dbos.many(200, 10)


# --- the table ---


def one_workflow(steps: int) -> str:
    return f"one workflow, {steps:,} steps"


def measure(rounds: int, quick: bool) -> Figures:
    """Steps a second by row and column, ours and the others' taking turns; and our latencies, in µs."""
    sizes = (300, 1000) if quick else (1000, 10_000)
    figures: Figures = {}

    def note(row: str, column: str, figure: float) -> None:
        figures.setdefault(row, {}).setdefault(column, []).append(figure)

    for _ in range(rounds):
        with tempfile.TemporaryDirectory() as folder, serving(Path(folder)) as client:
            for size in sizes:
                note(one_workflow(size), BARE, bare_rate(1, size))
                note(one_workflow(size), OURS, sequential(client, size))
            note(MANY, BARE, bare_rate(200, 10))
            note(MANY, OURS, many_in_a_folder(200, 10))
            latencies = step_latencies(client, sizes[0])
            note("latency p50, µs", OURS, quantile(latencies, 0.5) * 1e6)
            note("latency p99, µs", OURS, quantile(latencies, 0.99) * 1e6)
        for one in dbos_rates(sizes[0]):
            note(*one)
    return figures


def fsyncs_per_step(steps: int = 200) -> str:
    """How many times a step waits for the disk, counted by strace where that is installed."""
    import shutil
    import subprocess
    import sys

    if shutil.which("strace") is None:
        return "not counted: strace is not installed"
    with tempfile.TemporaryDirectory() as folder:
        script = (
            "from pathlib import Path; import sys; from benchmarks.embedded import *\n"
            f"with serving(Path({folder!r})) as client: sequential(client, int(sys.argv[1]))"
        )
        counts = []
        for size in (0, steps):
            log = f"{folder}/strace{size}"
            command = ["strace", "-f", "-c", "-e", "trace=fsync,fdatasync", "-o", log]
            subprocess.run([*command, sys.executable, "-c", script, str(size)], check=True)
            lines = Path(log).read_text().splitlines()
            counts.append(sum(int(line.split()[3]) for line in lines if line.rstrip().endswith("sync")))
    return f"{(counts[1] - counts[0]) / steps:.2f}"


def compared(figures: list[float] | None, ours: list[float]) -> str:
    """Another's rates, and how many times ours they are."""
    if figures is None:
        return ""
    ratio = statistics.median(its / mine for its, mine in zip(figures, ours, strict=True))
    return f"{spread(figures)} = {ratio:.2f} × ours"


def show(figures: Figures) -> None:
    """Print the table."""
    others = list(dict.fromkeys(column for row in figures.values() for column in row if column != OURS))
    table = Table("steps/s", OURS, *others, title="Embedded, SQLite, every commit on the disk")
    for name, row in figures.items():
        table.add_row(name, spread(row[OURS]), *(compared(row.get(other), row[OURS]) for other in others))
    console = Console(width=140)
    console.print(table)
    if peers.find("dbos") is None:
        console.print(f"DBOS: {peers.MISSING}", markup=False)


@click.command(help=__doc__)
@click.option("--rounds", default=3, show_default=True, help="How many.")
@click.option("--quick", is_flag=True, help="Fewer steps.")
def main(rounds: int, quick: bool) -> None:
    """Measure and print."""
    show(measure(rounds, quick))
    click.echo(f"fsyncs a step, one workflow: {fsyncs_per_step()}")


if __name__ == "__main__":
    main()
