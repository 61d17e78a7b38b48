"""What clients want of the town, each with its one right answer: a turn that is lost or doubled shows in it."""

import sqlite3
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import TypeAlias

import pytest

from infinitic.backends.urls import open_backend
from infinitic.client import Client
from infinitic.errors import WorkflowCancelled, WorkflowFailed
from infinitic.records import Append, InboxItem, Mark, StateRecord, TimerRow, TurnRow, Version
from infinitic.sqlite_file import SqliteFile
from infinitic.storages import Storage
from infinitic.topics import workflow_topic
from tests.crash.given import check_history, histories, until
from tests.crash.town import (
    Ledger,
    answer_of,
    confirmed,
    crowd,
    dying,
    endless,
    fatal,
    hurried,
    journey,
    mended,
    moody,
    nap,
    rounds,
)

PATIENCE = 100.0
BYGONE = "bygone"
"""A workflow that nobody serves: its instances are there to be purged."""
Errand: TypeAlias = Callable[["Clients", str], None]


class Clients:
    """Whoever has errands, each in a thread of its own."""

    def __init__(self, path: Path, folder: Path) -> None:
        self.path, self.folder = path, folder
        self.client = Client(f"sqlite:///{path}")
        self._backend = open_backend(f"sqlite:///{path}", "reader")
        self._threads = ThreadPoolExecutor(100)
        self._all: list[Future[None]] = []
        self._special: dict[str, Future[None]] = {}
        self.calm = False
        self._mutex = threading.Lock()

    @property
    def storage(self) -> Storage:
        return self._backend.storage

    def begin(self, errands: tuple[Errand, ...]) -> None:
        """Each of these, once; not while there is much to do as it is."""
        if sum(1 for one in self._all if not one.done()) < len(errands) * 10:
            for errand in errands:
                self._begin(errand)

    def _begin(self, errand: Errand) -> Future[None]:
        one = self._threads.submit(errand, self, f"{errand.__name__}-{len(self._all)}")
        self._all.append(one)
        return one

    def keep_up(self, name: str) -> None:
        """The special errand, unless it is under way."""
        if name and (name not in self._special or self._special[name].done()):
            self._special[name] = self._begin(SPECIAL[name])

    def confuse(self, mood: Path) -> None:
        """Confuse the code that looks at this file, unless that is over."""
        with self._mutex:
            if not self.calm:
                mood.touch()

    def calm_down(self) -> None:
        """No code is confused from here on."""
        with self._mutex:
            self.calm = True
            for mood in self.folder.glob("confuse-*"):
                mood.unlink()

    def finish(self) -> None:
        """Wait for all, and raise what any of them raised; then nothing runs, and all histories are whole."""
        for one in self._all:
            one.result(PATIENCE)
        until(lambda: self.client.count(status="running") == 0, "all to have ended")
        for turns in histories(self.storage).values():
            check_history(turns)

    def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)
        self.client.close()
        self._backend.close()


def travel(clients: Clients, name: str) -> None:
    """Tasks one after the other and at once, a child, timers, a signal."""
    client = clients.client
    handle = client.start(journey(15), id=name, tags=["a trip", name])
    child = client.start(journey(1), id=f"{name}-too")
    client.start(confirmed.by_id(name).send(7 * 15))
    assert handle.result(PATIENCE) == answer_of(15)
    assert child.result(PATIENCE) == answer_of(1)


def go_round(clients: Clients, name: str) -> None:
    """Runs that follow each other, and signals that wait for theirs."""
    handle = clients.client.start(rounds(4, []), id=name, tags=["rounds"])
    for number in range(5):
        clients.client.start(confirmed.by_id(name).send(10 * number))
    assert handle.result(PATIENCE) == [1, 11, 21, 31, 41]


def keep_books(clients: Clients, name: str) -> None:
    """Methods beside the run, each counted once; a query."""
    client, books = clients.client, Ledger.by_id(name)
    handle = client.start(Ledger.run(), id=name)
    calls = [client.start(books.add(amount)) for amount in (1, 20, 300)]
    assert calls[-1].result(PATIENCE) >= 300
    for call in calls:
        call.result(PATIENCE)
    assert client.run(books.balance(), timeout=PATIENCE) == 321
    client.start(books.closed.send(True))
    assert handle.result(PATIENCE) == 321


def mend(clients: Clients, name: str) -> None:
    """A run that fails, gets mail all the same, and is taken up again."""
    client, part = clients.client, clients.folder / name
    handle = client.start(mended(str(part)), id=name)
    with pytest.raises(WorkflowFailed):
        handle.result(PATIENCE)
    client.run(confirmed.by_id(name).send(5), timeout=PATIENCE)
    part.write_text("3")
    client.get(name, mended).retry(timeout=PATIENCE)
    assert client.get(name, mended).result(PATIENCE) == [3, 5]


def confuse(clients: Clients, name: str) -> None:
    """A run whose code does not follow history for a while: what is sent meanwhile waits in its inbox."""
    client, bad_mood, sent = clients.client, clients.folder / name, 0
    handle = client.start(moody(str(bad_mood)), id=name)
    until(lambda: len(handle.history()) >= 2, "its task to be done", PATIENCE)
    clients.confuse(bad_mood)

    def is_suspended() -> bool:  # as soon as it is not in the cache any more
        nonlocal sent
        client.run(confirmed.by_id(name).send(sent), timeout=PATIENCE)
        sent += 1
        return clients.calm or handle.status() == "suspended"

    until(is_suspended, "its code to be confused", PATIENCE)
    bad_mood.unlink(missing_ok=True)
    client.start(confirmed.by_id(name).send(-1))
    assert handle.result(PATIENCE) == list(range(sent))


def hurry(clients: Clients, name: str) -> None:
    """Timers that fire, one that is cleared, an attempt that is repeated."""
    assert clients.client.start(hurried(4), id=name).result(PATIENCE) == [5, 4]


def leave(clients: Clients, name: str) -> None:
    """A run that is cancelled."""
    handle = clients.client.start(endless(), id=name)
    handle.cancel(timeout=PATIENCE)
    with pytest.raises(WorkflowCancelled):
        handle.result(PATIENCE)


USUAL = (travel, go_round, keep_books, mend, confuse, hurry, leave)


def die_in_a_task(clients: Clients, name: str) -> None:
    deaths = clients.folder / name
    assert clients.client.start(dying(str(deaths), 1), id=name).result(PATIENCE) >= 2


def leave_timers(clients: Clients, name: str) -> None:
    """Whoever ran the task leaves the timers that it held."""
    naps = [clients.client.start(nap(0.5), id=f"{name}-{number}") for number in range(4)]
    until(lambda: all(one.history() for one in naps), "all to be asleep", PATIENCE)
    die_in_a_task(clients, name)
    assert [one.result(PATIENCE) for one in naps] == ["awake"] * 4


def die_in_a_workflow(clients: Clients, name: str) -> None:
    deaths = clients.folder / name
    assert clients.client.start(fatal(str(deaths), 1), id=name).result(PATIENCE) >= 2


def be_many(clients: Clients, name: str) -> None:
    assert clients.client.start(crowd(10), id=name).result(PATIENCE) == list(range(10))


def leave_rubbish(clients: Clients, name: str) -> None:
    """A message that nobody can read is put where it stops nobody."""
    asked = "SELECT count(*) FROM dead WHERE key = ?"
    with closing(SqliteFile(clients.path).share()) as file:
        with file.transaction() as db:
            add = "INSERT INTO messages (topic, key, body) VALUES (?, ?, ?)"
            db.execute(add, (workflow_topic("journey"), name, b"no message"))

        def is_put_away() -> bool:
            with file.reading() as db:
                return bool(db.execute(asked, (name,)).fetchone() == (1,))

        until(is_put_away, "what cannot be read to be put away", PATIENCE)
        with file.transaction() as db:
            db.execute("DELETE FROM dead WHERE key = ?", (name,))


def be_purged(clients: Clients, name: str) -> None:
    ids = [f"{name}-{number}" for number in range(3)]
    clients.storage.append([bygone(id, expired=True) for id in ids])
    until(lambda: all(clients.storage.load(id) is None for id in ids), "bygones to be purged", PATIENCE)


SPECIAL = {
    "deadly task": die_in_a_task,
    "orphans": leave_timers,
    "deadly workflow": die_in_a_workflow,
    "crowd": be_many,
    "rubbish": leave_rubbish,
    "bygones": be_purged,
}


def bygone(workflow_id: str, *, expired: bool) -> Append:
    """An ended instance with something in every table."""
    return Append(
        workflow=BYGONE,
        workflow_id=workflow_id,
        expected=None,
        version=Version("r1", 3),
        token="",
        mark=Mark("r1", 3),
        turns=tuple(TurnRow("r1", number, b"{}") for number in range(3)),
        record=StateRecord(BYGONE, workflow_id, "r1", status="completed", turns=3, tags=("old", "gone")),
        timers_set=(TimerRow(BYGONE, workflow_id, "r1", "m0.1", 1 << 60),),
        inbox_added=(InboxItem("i1", b"{}"), InboxItem("i2", b"{}")),
        expires=1 if expired else 1 << 60,
    )


TRACES = {"heads": 1, "turns": 3, "runs": 1, "timers": 1, "inbox": 2, "labels": 2}
"""How many rows of each table a bygone has."""


def traces(path: Path, workflow_id: str) -> dict[str, int]:
    """What is left of an instance, by table."""
    with closing(sqlite3.connect(path)) as db:
        counted = "SELECT count(*) FROM {} WHERE workflow_id = ?"
        return {table: db.execute(counted.format(table), (workflow_id,)).fetchone()[0] for table in TRACES}
