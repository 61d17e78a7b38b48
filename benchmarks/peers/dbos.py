"""DBOS over SQLite: its executor, in this process, as it comes or with the journal that our file has."""

from __future__ import annotations

import sqlite3
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from dbos import DBOS

NOTE = "fork of a finished workflow: each step reads its answer from SQLite, which is how it replays"
AS_IT_COMES, AS_OURS = "delete", "wal"

_ran: list[int] = []
_took: list[float] = []


def _add(total: int, number: int) -> int:
    _ran.append(number)
    return total + number


def _chain(steps: int) -> int:
    began = time.perf_counter()
    total = 0
    for number in range(steps):
        total = add(total, number)
    _took.append(time.perf_counter() - began)
    return total


add = DBOS.step(name="add")(_add)
chain = DBOS.workflow(name="chain")(_chain)


@contextmanager
def serving(journal: str = AS_OURS) -> Iterator[str]:
    """An executor over a file of its own, while the block lasts; gives the settings that SQLite runs with."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "dbos.db")
        with closing(sqlite3.connect(path)) as db:
            db.execute(f"PRAGMA journal_mode = {journal}")  # "wal" stays with the file
        url = f"sqlite:///{path}"
        executor = DBOS(config={"name": "benchmark", "system_database_url": url, "log_level": "ERROR"})
        try:
            DBOS.launch()
            sequential(10)  # warm-up
            with executor._sys_db.engine.connect() as connection:
                asked = ("journal_mode", "synchronous")
                said = [connection.exec_driver_sql(f"PRAGMA {name}").scalar() for name in asked]
            yield ", ".join(f"{name} {value}" for name, value in zip(asked, said, strict=True))
        finally:
            DBOS.destroy()


def sequential(steps: int) -> float:
    """Steps a second of one workflow."""
    began = time.perf_counter()
    assert DBOS.start_workflow(chain, steps).get_result() == total(steps)
    return steps / (time.perf_counter() - began)


def many(workflows: int, steps: int) -> float:
    """Steps a second of many workflows, from the first one's start to the last one's result."""
    began = time.perf_counter()
    handles = [DBOS.start_workflow(chain, steps) for _ in range(workflows)]
    assert {handle.get_result() for handle in handles} == {total(steps)}
    return workflows * steps / (time.perf_counter() - began)


def replays(steps: int) -> Iterator[float]:
    """How many seconds each of endless replays takes, from the first line of the workflow to its last."""
    with serving():
        made = DBOS.start_workflow(chain, steps)
        made.get_result()
        while True:
            ran = len(_ran)
            fork = DBOS.fork_workflow(made.get_workflow_id(), steps + 1)  # with the answers of all steps
            assert fork.get_result() == total(steps)
            assert len(_ran) == ran, "a step ran again"
            yield _took[-1]


def total(steps: int) -> int:
    """What the workflow returns."""
    return sum(range(steps))
