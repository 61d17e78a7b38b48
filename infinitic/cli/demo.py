"""`demo`: a workflow survives the death of the process that runs it, told as it happens.

The law of the place: nothing is told that was not checked, and nothing waits but for what the workers say.
"""

from __future__ import annotations

import inspect
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import click
import msgspec
from rich.padding import Padding
from rich.syntax import Syntax
from rich.text import Text

from infinitic.cli import words
from infinitic.cli.console import put
from infinitic.cli.demo_booking import BEGINS, ENDS, FOLDER, PIPE, RESERVED, Said, booking
from infinitic.cli.showing import shown
from infinitic.client import Client, Handle
from infinitic.clock import SECOND, system_clock
from infinitic.story import tell

PATIENCE = 15.0
"""How long the workers may say nothing before the demo gives up, in seconds."""

ID = "oslo-42"
HOTEL = "hotel"
PAID = "paid 1020 €"
ONCE = ("Cars.book", "Flights.book", "Bank.charge")


@click.command()
def demo() -> None:
    """Watch a workflow survive the death of its worker.

    Runs a small booking on a SQLite file in a temporary folder, with two worker processes, and kills the one
    that is in the middle of it. Takes a few seconds, needs no server, and leaves nothing behind.
    """
    with stage() as play, Client(play.url) as client:
        prologue(play)
        play.tell("you", f'start booking("Oslo", nights=3) under the id {ID}')
        handle = client.start(booking("Oslo", nights=3), id=ID)
        before = play.follow(RESERVED, "Hotels.book")
        killed = play.kill(before.pid)
        after = play.follow(BEGINS, "Hotels.book")
        took_over = play.now() - killed
        play.follow(ENDS, "Bank.charge")
        result = handle.result(PATIENCE)
        play.tell("you", f"get the result: {result}")
        history(client, handle)
        verdict(play, before, after, took_over, result)


# --- the stage ---


class Stage:
    """Two worker processes, and the pipe on which they say what they do."""

    def __init__(self, folder: Path, ear: int, workers: list[subprocess.Popen[bytes]]) -> None:
        self.folder, self.workers = folder, workers
        self.names = {worker.pid: f"worker {name}" for worker, name in zip(workers, "AB", strict=True)}
        self.heard: list[Said] = []
        self._ear, self._rest, self._began = ear, b"", 0.0

    @property
    def url(self) -> str:
        return url_in(self.folder)

    def listen(self) -> Said:
        """The next line that a worker says. Raises `AssertionError` when they fell silent."""
        while b"\n" not in self._rest:
            ready, _, _ = select.select([self._ear], [], [], PATIENCE)
            more = os.read(self._ear, 4096) if ready else b""
            require(bool(more), f"the workers fell silent. Their log:\n{log_in(self.folder).read_text()}")
            self._rest += more
        line, _, self._rest = self._rest.partition(b"\n")
        self.heard.append(msgspec.json.decode(line, type=Said))
        return self.heard[-1]

    def follow(self, what: str, task: str) -> Said:
        """Tell what the workers do until *task* does *what*."""
        while True:
            said = self.listen()
            self.tell(self.names[said.pid], f"{said.task} {said.what}")
            if (said.what, said.task) == (what, task):
                return said

    def kill(self, pid: int) -> float:
        """Kill the worker *pid* as a power cut would; when that was."""
        [worker] = [one for one in self.workers if one.pid == pid]
        at = self.now()
        worker.kill()
        require(worker.wait(PATIENCE) == -signal.SIGKILL, f"{self.names[pid]} did not die of the kill")
        put(Text(f"\n  ✗ kill -9 {pid}: {self.names[pid]} is dead, in the middle of a task\n", "bold red"))
        return at

    def now(self) -> float:
        """Seconds since this was asked first."""
        self._began = self._began or time.monotonic()
        return time.monotonic() - self._began

    def tell(self, who: str, what: str) -> None:
        put(Text.assemble((f"  {self.now():4.1f} s  ", "dim"), (who.ljust(10), "cyan"), what))

    def times(self, task: str) -> int:
        """How often *task* was begun."""
        return sum((said.what, said.task) == (BEGINS, task) for said in self.heard)

    @property
    def rooms(self) -> int:
        """How many rooms the hotel has reserved."""
        return len(list((self.folder / HOTEL).iterdir()))


def url_in(folder: Path) -> str:
    return f"sqlite:///{folder}/booking.db"


def log_in(folder: Path) -> Path:
    return folder / "workers.log"


@contextmanager
def stage() -> Iterator[Stage]:
    """Two workers at work in a temporary folder; all gone afterwards, whatever happens."""
    with ExitStack() as after:
        folder = Path(after.enter_context(TemporaryDirectory(prefix="infinitic-demo-")))
        ear, mouth = os.pipe()
        after.callback(os.close, ear)
        with os.fdopen(mouth, "wb"):
            workers = [after.enter_context(worker(folder, mouth)) for _ in "AB"]
        play = Stage(folder, ear, workers)
        for _ in workers:
            play.listen()  # that it is ready
        yield play


@contextmanager
def worker(folder: Path, mouth: int) -> Iterator[subprocess.Popen[bytes]]:
    """A worker process, which ends with its standard input: with the demo, however that ends."""
    (folder / HOTEL).mkdir(exist_ok=True)
    with log_in(folder).open("ab") as log:
        process = subprocess.Popen(
            [
                sys.executable,
                "-c",
                f"from infinitic.cli.demo_booking import serve; serve({url_in(folder)!r})",
            ],
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=log,
            pass_fds=[mouth],
            start_new_session=True,  # Ctrl-C is for the demo alone
            env=os.environ | {PIPE: str(mouth), FOLDER: str(folder / HOTEL)},
        )
    try:
        yield process
    except BaseException:
        process.kill()
        raise
    finally:
        process.communicate(timeout=PATIENCE)


# --- the story ---


def require(holds: bool, what: str) -> None:
    """Raises `AssertionError`: that the demo goes otherwise than told is a bug."""
    if not holds:
        raise AssertionError(f"the demo went otherwise than told: {what}")


def title(text: str) -> None:
    put(Text(f"\n{text}\n", "bold"))


def prologue(play: Stage) -> None:
    title("Durable execution: the code goes on, whatever dies under it")
    source = inspect.getsource(booking.fn).rstrip()
    put(Padding(Syntax(source, "python", theme="ansi_dark", background_color="default"), (0, 0, 0, 4)))
    pids = " and ".join(str(one.pid) for one in play.workers)
    put(
        Text(
            "\n  This is a workflow: a generator that yields what it wants done. Each answer\n"
            "  is recorded before the next step begins. The record is one SQLite file, and\n"
            f"  two worker processes serve it: {pids}. There is no server.\n"
        )
    )


def history(client: Client, handle: Handle[str]) -> None:
    title("The history, as `infinitic show` tells it")
    [record] = client.find(booking)
    put(Padding(shown(tell(record, handle.history()), system_clock()), (0, 0, 0, 2)))


def verdict(play: Stage, before: Said, after: Said, took_over: float, result: str) -> None:
    """Say what was seen. Raises `AssertionError` for the first thing that was not as told."""
    title("What was seen")
    taken = words.duration(round(took_over * SECOND))
    point(
        "Taken over",
        f"{taken} after the kill the other worker went on, where the first had died.",
        before.pid != after.pid,
    )
    point(
        "Not repeated",
        "What was recorded: car, flight and charge ran once each.",
        all(play.times(task) == 1 for task in ONCE),
    )
    point(
        "Repeated",
        "What was under way, with no answer yet: the hotel's task ran twice.",
        play.times("Hotels.book") == 2,
    )
    point(
        "Harmless",
        f"Both runs had one task id, so the hotel knew the second: {play.rooms} room is reserved.",
        (before.key, before.attempt, play.rooms) == (after.key, after.attempt, 1),
    )
    point("Right", f"180 for the car, 420 for the flight, 3 * 140 for the hotel: {result}.", result == PAID)
    put(Text(f"\n  The code of it all: {words.short_path(inspect.getfile(booking.fn))}\n"))


def point(name: str, told: str, holds: bool) -> None:
    require(holds, f"{name}: {told}")
    put(Text.assemble(("  ✔ ", "green"), (name.ljust(14), "bold"), told))
