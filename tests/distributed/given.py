"""A town: worker processes over one broker and one storage, clients with errands, and what must hold at the end."""

import multiprocessing
import os
import signal
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from infinitic.backends import Backend
from infinitic.client import Client
from infinitic.engine.instance import Surroundings
from infinitic.engine.record import state_record
from infinitic.engine.turns import close
from infinitic.errors import StorageError, TransportError
from infinitic.records import Filter, Mark, StateRecord, decode_record, encode_record
from infinitic.serialization import Serializer
from infinitic.testing.checking import check, replayed
from infinitic.worker.registry import Registry
from infinitic.worker.source import source_line
from tests.crash.given import check_history, histories
from tests.crash.town import confirmed
from tests.distributed.ledger import DEATH, MOVE, STOP, Account, Ledger, Trouble
from tests.distributed.points import FLOWS, TASKS, Order
from tests.distributed.town import SERVED, answer_of, live, trek
from tests.scenarios.given import open_at
from tests.scenarios.places import Place
from tests.servers.processes import left_behind, spared

PATIENCE = 90.0
"""Seconds after which what ought to come is given up."""
SETTLING = 15.0
"""Seconds in which keys may move and all may be connected again, after a worker came or went or a server was away."""

T = TypeVar("T")

NURSERY = multiprocessing.get_context("forkserver")
NURSERY.set_forkserver_preload(
    ["tests.distributed.town", *[f"infinitic.storages.{one}" for one in ("redis", "mysql", "postgres")]]
)


def until(condition: Callable[[], T], what: str, why_not: Callable[[], object] = str) -> T:
    """What *condition* gives as soon as it is true; *why_not* is asked when it does not come to be."""
    deadline = time.monotonic() + PATIENCE
    while not (value := condition()):
        assert time.monotonic() < deadline, f"{what}: {why_not()}"
        time.sleep(0.01)
    return value


class Life:
    """One worker process."""

    def __init__(self, order: Order) -> None:
        self.order = order
        self.began = time.time()
        self._process = NURSERY.Process(target=live, args=(order,), daemon=True)
        self._process.start()
        assert self._process.pid is not None
        self.pid = self._process.pid
        left_behind(f"kill {self.pid}")

    def is_over(self) -> bool:
        return self._process.exitcode is not None

    def is_serving(self) -> bool:
        return (self.order.folder / str(self.pid)).exists()

    def reached(self) -> float:
        """When it came to its point; 0 when it has not."""
        note = self.order.folder / f"{self.pid}.reached"
        with suppress(FileNotFoundError):
            return note.stat().st_mtime
        return 0.0

    def send(self, how: int) -> None:
        with suppress(ProcessLookupError):
            os.kill(self.pid, how)

    def end(self) -> int:
        """Wait for its end: its exit code."""
        self._process.join(PATIENCE)
        code = self._process.exitcode
        assert code is not None, f"{self.order} does not end"
        self._process.close()
        spared(self.pid)
        return code


class Town:
    """The worker processes of one place, and what became of them."""

    def __init__(self, place: Place, folder: Path) -> None:
        self.place, self.folder = place, folder
        folder.mkdir()
        (folder / "log").touch()
        self.troubles: list[Trouble] = []
        self.living: list[Life] = []

    # --- lives ---

    def begin(self, role: str, place: Place | None = None, **more: Any) -> Life:
        """A worker, which may not serve yet; *place* is its own way to what all of them share."""
        life = Life(Order(role, place or self.place, self.folder, **more))
        self.living.append(life)
        self._moved(life, life.began)
        return life

    def serve(self, flows: int, tasks: int) -> list[Life]:
        """So many more workers, which serve."""
        lives = [self.begin(role) for role, count in ((FLOWS, flows), (TASKS, tasks)) for _ in range(count)]
        for life in lives:
            self.await_serving(life)
        return lives

    def await_serving(self, life: Life) -> None:
        until(lambda: life.is_serving() or life.is_over(), "a worker to serve", lambda: self.log)
        assert life.is_serving(), self.log

    def _moved(self, life: Life, since: float) -> None:
        """Keys may move, because this one came or went."""
        if life.order.role == FLOWS:
            self.troubles.append(Trouble(MOVE, since, time.time() + SETTLING))

    def bury(self, life: Life) -> int:
        """Wait for its end, and note when and of what it died: its exit code."""
        since = life.reached() or time.time()
        code = life.end()
        self.living.remove(life)
        if code == -signal.SIGKILL:
            self.troubles.append(Trouble(DEATH, since, time.time(), life.pid))
        self._moved(life, since)
        return code

    def go_on(self, life: Life) -> None:
        """Wake one that was stopped when it came to its point."""
        life.send(signal.SIGCONT)
        self.troubles.append(Trouble(STOP, life.reached(), time.time() + SETTLING, life.pid))
        self._moved(life, life.reached())

    @contextmanager
    def trouble(self, kind: str) -> Iterator[None]:
        """Whoever it concerned may take a while to be well again."""
        began = time.time()
        yield
        self.troubles.append(Trouble(kind, began, time.time() + SETTLING))

    def retire(self, life: Life) -> None:
        """Ask one to end, and see that it does as it should."""
        life.send(signal.SIGTERM)
        assert self.bury(life) == 0, self.log

    @property
    def log(self) -> str:
        return (self.folder / "log").read_text()[-8_000:]

    def close(self) -> None:
        for life in self.living:
            life.send(signal.SIGKILL)
            life.end()

    # --- what must hold ---

    def end_well(self) -> Account:
        """What was written is whole, replays to the same, and is sent; the workers end well. The account of all."""
        backend = open_at(self.place, "reader")
        try:
            until(lambda: not unsettled(backend), "all to be sent and cleared", lambda: (unsettled(backend), self.log))
            found = histories(backend.storage)
            for turns in found.values():
                check_history(turns)
            for workflow_id in found:
                check_replay(backend, workflow_id)
        finally:
            backend.close()
        for life in [*self.living]:
            self.retire(life)
        return Account(Ledger(self.folder).lines(), [*self.troubles])


def unsettled(backend: Backend) -> list[str]:
    """Instances of which anything is left to do: they run, are not purged, outputs may not be sent, rows are left."""
    left, after = [], ""
    while True:
        page = backend.storage.find(Filter(), 200, after)
        for record in page.records:
            stored = backend.storage.load(record.workflow_id)
            assert stored is not None
            behind = stored.mark != Mark(stored.version.run, stored.version.turns)
            if record.status != "completed" or behind or stored.inbox or stored.timers or stored.unsent:
                left.append(f"{record.workflow_id} is {record.status} {record.reason} {stored.mark} {stored.timers}")
        after = page.after
        if not after:
            return left


CODEC = Serializer()
PROGRAMS = Registry(codec=CODEC, workflows=SERVED[FLOWS]["workflows"]).programs
AROUND = Surroundings(CODEC, source_line)


def check_replay(backend: Backend, workflow_id: str) -> None:
    """The code makes of a history what it made of it before, and the stored record says so."""
    stored = backend.storage.load(workflow_id)
    assert stored is not None
    program, bodies = PROGRAMS[stored.workflow], [row.body for row in stored.turns]
    check(program, workflow_id, bodies, AROUND)
    again = replayed(program, workflow_id, bodies, AROUND)
    record = decode_record(encode_record(state_record(again, stored.record.starts)))
    close(again)
    assert facts(record) == facts(stored.record)


def facts(record: StateRecord) -> StateRecord:
    """What replay can know."""
    return msgspec.structs.replace(record, fingerprint="", reason="", updated=0)


class Crowd:
    """Clients with errands: so many instances are in flight until it is told that it is enough."""

    def __init__(self, place: Place, size: int, name: str = "trek") -> None:
        self.client = Client(**place)
        self._name, self._size = name, size
        self._threads = ThreadPoolExecutor(size)
        self._all: list[Future[None]] = []
        self._enough = False
        self.begun = 0

    def begin(self) -> None:
        """From now on they come."""
        self._all = [self._threads.submit(self._travel, number) for number in range(self._size)]

    def _travel(self, number: int) -> None:
        while True:
            self.begun += 1
            errand(self.client, f"{self._name}-{number}", number)
            if self._enough:
                return
            number += self._size

    def await_progress(self) -> None:
        """Wait until others have begun, hence some have ended."""
        before = self.begun
        until(lambda: self.begun > before + 20, "instances to begin and to end")

    def finish(self) -> int:
        """Each ends what it has begun, rightly; how many instances there were. Raises what any of them raised."""
        self._enough = True
        for one in self._all:
            one.result(PATIENCE)
        return self.begun

    def close(self) -> None:
        self._enough = True
        self._threads.shutdown(wait=False, cancel_futures=True)
        self.client.close()


def errand(client: Client, name: str, number: int) -> None:
    """One instance, and its signal if it waits for one; its answer is right."""
    handle = stubborn(lambda: client.start(trek(number), id=name))
    if number % 5 == 0:
        stubborn(lambda: client.start(confirmed.by_id(name).send(7 * number), id=f"{name}-word"))
    assert handle.result(PATIENCE) == answer_of(number)


def stubborn(call: Callable[[], T]) -> T:
    """Do it again as long as a server is away: what has an id is done once, however often it is asked for."""
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            return call()
        except (StorageError, TransportError):
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)
