"""A process that bears others, so that a life costs a fork and not the start of an interpreter.

Each line that it reads is an order; it forks, tells the child's process id, waits for its end, tells the exit code
(negative: the signal), and reads the next. It opens no file and starts no thread itself.
"""

import json
import logging
import os
import selectors
import signal
import subprocess
import sys
import traceback
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from attrs import asdict, frozen

from infinitic import sqlite_file
from infinitic.client import Client
from infinitic.clock import SECOND
from infinitic.storages import sqlite
from infinitic.worker import sweeps
from tests.crash import town
from tests.crash.errands import Clients
from tests.crash.given import is_sound, leftovers, until
from tests.crash.points import POINTS, Tripwire, whereabouts

HOUSE = Path(__file__).parents[2]
DEADLINE = 120.0


@frozen
class Order:
    """What a life is for: its role and, if any, the point at which it ends."""

    role: str
    path: str
    name: str = "sent"  # the id of what is sent
    user: int = 0  # as whom, if this is root
    patience: float = 5.0  # seconds that a foreign program may keep the file locked
    point: str = ""
    moment: str = "before"
    nth: int = 1
    how: int = signal.SIGKILL


class Nursery:
    """The test's side: one life at a time."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(exist_ok=True)
        with (folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.crash.nursery", str(folder)],
                cwd=HOUSE,
                env={**os.environ, "PYTHONPATH": str(HOUSE)},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                bufsize=0,  # what was heard and not asked for yet stays where `is_over` looks
            )
        self.pid = 0  # of the life under way, 0 when there is none

    def begin(self, order: Order) -> int:
        """The process id of a new life."""
        for note in self.folder.glob("[0-9]*"):  # of one that may have had the same id
            note.unlink()
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(asdict(order)).encode() + b"\n")
        self._process.stdin.flush()
        self.pid = int(self._heard())
        return self.pid

    def is_over(self) -> bool:
        """Whether the life has ended."""
        return self._is_heard(0)

    def end(self) -> int:
        """Wait for the end of the life: its exit code."""
        code = int(self._heard())
        self.pid = 0
        return code

    def run(self, order: Order) -> int:
        self.begin(order)
        return self.end()

    def send(self, how: int) -> None:
        """Send the life a signal; nothing when it is over."""
        if self.pid and not self.is_over():
            with suppress(ProcessLookupError):
                os.kill(self.pid, how)

    def reached(self, pid: int) -> str:
        """The point at which a life was ended, "" when it ended otherwise."""
        note = self.folder / f"{pid}.reached"
        return note.read_text() if note.exists() else ""

    def passed(self) -> dict[tuple[str, str], int]:
        """How often the last life that ended by itself passed which point, before and after it."""
        return {(name, moment): times for name, moment, times in json.loads((self.folder / "passed").read_text())}

    def is_serving(self) -> bool:
        """Whether the life, a worker, has begun to serve."""
        return (self.folder / str(self.pid)).exists()

    def unknown(self) -> list[str]:
        """Statements that no point tells."""
        note = self.folder / "unknown"
        return sorted(set(note.read_text().splitlines())) if note.exists() else []

    @property
    def log(self) -> str:
        return (self.folder / "log").read_text()[-5_000:]

    def _heard(self) -> str:
        assert self._process.stdout is not None
        assert self._is_heard(DEADLINE), f"no word from the nursery: {self.log}"
        line = self._process.stdout.readline()
        assert line, f"the nursery ended: {self.log}"
        return line.decode().strip()

    def _is_heard(self, seconds: float) -> bool:
        assert self._process.stdout is not None
        with selectors.DefaultSelector() as selector:  # select() itself takes no descriptor over 1,023
            selector.register(self._process.stdout, selectors.EVENT_READ)
            return bool(selector.select(seconds))

    def close(self) -> None:
        self.send(signal.SIGKILL)
        self._process.kill()
        self._process.wait(DEADLINE)
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None
            pipe.close()


def is_settled(path: Path, living: int) -> bool:
    """Whether so many workers have nothing left to do but to hold what they know."""
    left = leftovers(path)
    consumers = 3 * living  # of workflows, of tasks, of cancellations
    return left.pop("owners", 0) <= consumers and left.keys() <= {"leases"}


def end_well(places: list[Nursery], clients: Clients) -> None:
    """Every answer is right, the workers end as they are asked to, and nothing is left behind."""
    clients.finish()
    clients.close()
    path = clients.path
    for place in places:
        until(place.is_serving, "a worker to serve")
    until(lambda: is_settled(path, len(places)), "what came last to be done, and the dead to be missed")
    for place in places:
        place.send(signal.SIGTERM)
    assert [place.end() for place in places] == [0] * len(places)
    left = leftovers(path)
    assert left == {}, left
    assert list(path.with_name(f"{path.name}.d").iterdir()) == []
    assert is_sound(path)
    assert [line for place in places for line in place.unknown()] == []


# ------------------------------------------------------------------------------------------- in the nursery


def serve(order: Order, folder: Path) -> None:
    """A worker, with little room and little patience, so that it lets go, purges and takes over all the time.

    It counts as a release of its own: what could not be followed before it tries anew.
    """
    sweeps.OVERDUE_LEASE = SECOND  # else a claimer that is killed keeps an overdue timer for 15 s
    sweeps.PURGE = SECOND // 4
    worker = town.worker(f"sqlite:///{order.path}", folder, concurrency=2, cache_instances=6)
    for program in worker.registry.programs.values():
        program.fingerprint = f"release {os.getpid()}"
    worker.run()


def open_file(order: Order, _: Path) -> None:
    sqlite_file.SqliteFile(order.path).share().close()


def upgrade(order: Order, _: Path) -> None:
    """As a release would whose schema has one table more."""
    sqlite_file.MIGRATIONS += (next_version,)
    open_file(order, _)


def next_version(db: sqlite_file.Connection) -> None:
    """The next version, as it might be."""
    db.execute("CREATE TABLE novelties (workflow_id TEXT PRIMARY KEY, word TEXT NOT NULL)")
    db.execute("ALTER TABLE heads ADD COLUMN novelty INTEGER NOT NULL DEFAULT 7")


def purge(order: Order, _: Path) -> None:
    """In transactions of a few instances each."""
    sqlite.REMOVED_AT_ONCE = 20
    storage = sqlite.SqliteStorage(sqlite_file.SqliteFile(order.path))
    storage.purge(storage.now())
    storage.close()


def send(order: Order, _: Path) -> None:
    """A client that starts one workflow."""
    with Client(f"sqlite:///{order.path}") as client:
        client.start(town.journey(2), id=order.name)


ROLES: dict[str, Callable[[Order, Path], None]] = {
    "serve": serve,
    "open": open_file,
    "upgrade": upgrade,
    "purge": purge,
    "send": send,
}


def live(order: Order, folder: Path) -> None:
    """A child's whole life; never comes back."""
    code = 1
    try:
        os.dup2(2, 1)  # standard output is the nursery's
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        if order.user:
            os.setresuid(order.user, order.user, order.user)
        sqlite_file.PATIENCE = order.patience
        wire = Tripwire(folder, order.point, order.moment, order.nth, order.how)
        wire.set_up()
        ROLES[order.role](order, folder)
        (folder / "passed").write_text(json.dumps([[*key, times] for key, times in wire.passed.items()]))
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)


def main(folder: Path) -> None:
    logging.basicConfig(level=logging.ERROR, format="%(process)d %(name)s: %(message)s")
    for point in POINTS:  # a child that is somebody else may not be able to import any more
        if point.place:
            whereabouts(point.place)
    for line in os.fdopen(0, "rb", buffering=0):  # not ahead of the children, who have the same input
        fields: dict[str, Any] = json.loads(line)
        child = os.fork()
        if child == 0:
            live(Order(**fields), folder)
        os.write(1, b"%d\n" % child)
        os.write(1, b"%d\n" % os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
