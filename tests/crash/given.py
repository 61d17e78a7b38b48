"""Worker processes that are killed, and what must hold of the file they leave behind."""

import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import TypeVar

from infinitic.events import Answered, TaskCompleted, TimerFired
from infinitic.history import Issued, Turn, decode_turn
from infinitic.records import Filter
from infinitic.storages import Storage

HOUSE = Path(__file__).parents[2]
PATIENCE = 60.0
"""Seconds after which what ought to come is given up."""

ANSWERS = TaskCompleted | Answered | TimerFired

T = TypeVar("T")


def until(condition: Callable[[], T], what: str, patience: float = PATIENCE) -> T:
    """What *condition* gives as soon as it is true."""
    deadline = time.monotonic() + patience
    while not (value := condition()):
        assert time.monotonic() < deadline, what
        time.sleep(0.01)
    return value


class Fleet:
    """The worker processes of one file."""

    def __init__(self, url: str, log: Path) -> None:
        self.url, self.log = url, log
        self.announcements = log.parent / "serving"
        self.announcements.mkdir()
        self.running: list[subprocess.Popen[bytes]] = []

    def start(self) -> subprocess.Popen[bytes]:
        with self.log.open("ab") as output:
            process = subprocess.Popen(
                [sys.executable, "-m", "tests.crash.town", self.url, str(self.announcements)],
                cwd=HOUSE,
                env={**os.environ, "PYTHONPATH": str(HOUSE)},
                stdout=output,
                stderr=output,
            )
        self.running.append(process)
        return process

    def kill(self, process: subprocess.Popen[bytes]) -> None:
        process.kill()
        process.wait()
        self.running.remove(process)

    @property
    def serving(self) -> int:
        """How many have begun to serve, and were not killed."""
        return sum(1 for one in self.running if (self.announcements / str(one.pid)).exists())

    def keep_up(self, count: int) -> None:
        """Start others for those that have ended."""
        self.running = [one for one in self.running if one.poll() is None]
        while len(self.running) < count:
            self.start()

    def stop(self, how: int = signal.SIGTERM) -> list[int]:
        """End all; their exit codes."""
        for process in self.running:
            process.send_signal(how)
        codes = [process.wait(PATIENCE) for process in self.running]
        self.running = []
        return codes

    def close(self) -> None:
        for process in [*self.running]:
            self.kill(process)


def histories(storage: Storage) -> dict[str, list[Turn]]:
    """All histories by workflow id; each is checked to be whole."""
    found: dict[str, list[Turn]] = {}
    after = ""
    while True:
        page = storage.find(Filter(), 100, after)
        for record in page.records:
            rows = storage.history(record.workflow_id, record.run)
            assert [row.number for row in rows] == list(range(len(rows)))
            assert record.turns == len(rows)
            found[record.workflow_id] = [decode_turn(row.body) for row in rows]
        after = page.after
        if not after:
            return found


def check_history(turns: list[Turn]) -> None:
    """Every command was issued once, and settled once; time never goes back."""
    issued: list[Issued] = [one for turn in turns for one in turn.commands]
    assert len({one.position for one in issued}) == len(issued)
    events = [turn.event for turn in turns]
    retries = [one for one in events if isinstance(one, TimerFired) and one.attempt]  # a failed attempt was waited out
    answers = [one.position for one in events if isinstance(one, ANSWERS) and one not in retries]
    assert len(set(answers)) == len(answers)
    assert len({(one.position, one.attempt) for one in retries}) == len(retries)
    assert set(answers) <= {one.position for one in issued}
    instants = [turn.at for turn in turns]
    assert instants == sorted(instants)


def workers_of(found: dict[str, list[Turn]]) -> set[str]:
    """Who answered tasks."""
    events = (turn.event for turns in found.values() for turn in turns)
    return {event.worker for event in events if isinstance(event, TaskCompleted)}


def leftovers(path: Path) -> dict[str, int]:
    """How many rows there are in the tables that should be empty when all is done and nobody lives."""
    with sqlite3.connect(path) as db:
        tables = ("messages", "timers", "inbox", "leases", "owners", "dead")
        counts = {table: db.execute(f"SELECT count(*) FROM {table}").fetchone()[0] for table in tables}
    db.close()
    return {table: count for table, count in counts.items() if count}


def is_sound(path: Path) -> bool:
    """Whether SQLite finds nothing wrong with the file."""
    with closing(sqlite3.connect(path)) as db:
        return bool(db.execute("PRAGMA integrity_check").fetchone() == ("ok",))
