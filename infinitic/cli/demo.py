"""`demo`: a workflow survives the death of the process that runs it, told as it happens, on this machine alone.

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
from collections import Counter
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
from infinitic.cli.demo_booking import FOLDER, PIPE, Said, booking
from infinitic.cli.showing import shown
from infinitic.client import Client, Handle
from infinitic.clock import SECOND, system_clock
from infinitic.story import tell

PATIENCE = 30.0
"""How long the workers may say nothing before the demo gives up, in seconds."""

ID = "oslo-42"
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
        handle = client.start(booking("Oslo", nights=3), id=ID)
        narrate("you", f'start booking("Oslo", nights=3) under the id {ID}')
        before = play.follow("begins", "Hotels.book")
        killed, at = play.kill(before.pid)
        after = play.follow("begins", "Hotels.book")
        passed = time.monotonic() - at
        play.follow("ends", "Bank.charge")
        result = handle.result(PATIENCE)
        epilogue(play, client, handle)
        verdict(play, killed, before, after, passed, result)


# --- the stage ---


class Stage:
    """Two worker processes, and the pipe on which they say what they do."""

    def __init__(self, folder: Path, ear: int, workers: list[subprocess.Popen[bytes]]) -> None:
        self.folder, self.workers = folder, workers
        self.names = {worker.pid: f"worker {name}" for worker, name in zip(workers, "AB", strict=True)}
        self.heard: list[Said] = []
        self._ear, self._rest = ear, b""

    @property
    def url(self) -> str:
        return url_in(self.folder)

    def listen(self) -> Said:
        """The next line that a worker says. Raises `AssertionError` when they fell silent."""
        while b"\n" not in self._rest:
            ready, _, _ = select.select([self._ear], [], [], PATIENCE)
            more = os.read(self._ear, 4096) if ready else b""
            assert more, f"the workers fell silent. Their log:\n{log_in(self.folder).read_text()}"
            self._rest += more
        line, _, self._rest = self._rest.partition(b"\n")
        self.heard.append(msgspec.json.decode(line, type=Said))
        return self.heard[-1]

    def follow(self, what: str, task: str) -> Said:
        """Tell what the workers do until *task* begins or ends."""
        while True:
            said = self.listen()
            narrate(self.names[said.pid], f"{said.task} {said.what}")
            if (said.what, said.task) == (what, task):
                return said

    def kill(self, pid: int) -> tuple[subprocess.Popen[bytes], float]:
        """Kill the worker *pid* as a power cut would: the dead process, and when."""
        [worker] = [one for one in self.workers if one.pid == pid]
        at = time.monotonic()
        worker.send_signal(signal.SIGKILL)
        worker.wait(PATIENCE)
        put(Text(f"\n  ✗ kill -9 {pid}: {self.names[pid]} is dead, in the middle of a task\n", "bold red"))
        return worker, at

    def times(self, what: str = "begins") -> Counter[str]:
        """How often each task was begun."""
        return Counter(said.task for said in self.heard if said.what == what)


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
            play.listen()
        yield play


@contextmanager
def worker(folder: Path, mouth: int) -> Iterator[subprocess.Popen[bytes]]:
    """A worker process, which ends with its standard input: with the demo, however that ends."""
    (folder / "hotel").mkdir(exist_ok=True)
    with log_in(folder).open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-c", f"from infinitic.cli.demo_booking import serve; serve({url_in(folder)!r})"],
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=log,
            pass_fds=[mouth],
            start_new_session=True,  # Ctrl-C is for the demo alone
            env=os.environ | {PIPE: str(mouth), FOLDER: str(folder / "hotel")},
        )
    try:
        yield process
    finally:
        assert process.stdin is not None
        process.stdin.close()
        if sys.exc_info()[0] is not None:
            process.kill()
        process.wait(PATIENCE)


# --- the story ---


def narrate(who: str, what: str) -> None:
    put(Text.assemble(("  " + who.ljust(10), "cyan"), what))


def paragraph(text: str) -> None:
    put(Text("\n".join(f"  {line}" for line in text.splitlines())))


def prologue(play: Stage) -> None:
    put(Text("\nDurable execution: the code goes on, whatever dies under it\n", "bold"))
    source = inspect.getsource(booking.fn).rstrip()
    put(Padding(Syntax(source, "python", theme="ansi_dark", background_color="default"), (0, 0, 1, 4)))
    pids = " and ".join(str(one.pid) for one in play.workers)
    paragraph(
        "A workflow is a generator: it yields what it wants done. Each answer is recorded before the\n"
        "next step begins. The record is one SQLite file, there is no server, and two worker processes\n"
        f"serve it: {pids}.\n"
    )


def epilogue(play: Stage, client: Client, handle: Handle[str]) -> None:
    put(Text("\nThe history, as `infinitic show` tells it\n", "bold"))
    [record] = client.find(booking)
    put(Padding(shown(tell(record, handle.history()), system_clock()), (0, 0, 1, 2)))


def verdict(
    play: Stage, killed: subprocess.Popen[bytes], before: Said, after: Said, passed: float, result: str
) -> None:
    """Say what was proved. Raises `AssertionError` for the first thing that was not as told."""
    times, rooms = play.times(), len(list((play.folder / "hotel").iterdir()))
    put(Text("What happened\n", "bold"))
    check(
        killed.returncode == -signal.SIGKILL and before.pid != after.pid,
        f"Taken over: {words.duration(round(passed * SECOND))} after the kill the other worker went on, "
        "at the line where the first one died.",
    )
    check(
        all(times[task] == 1 for task in ONCE),
        "Not repeated: " + ", ".join(f"{task} ran {times[task]}×" for task in ONCE) + ". What is recorded is "
        "never done again.",
    )
    check(
        times["Hotels.book"] == 2 and (before.key, before.attempt) == (after.key, after.attempt),
        "Repeated: Hotels.book was under way and had no answer yet, so it ran 2×, as attempt "
        f"{after.attempt}\nof the same task id, {after.key[:12]}…",
    )
    check(
        rooms == 1,
        f"Harmless: the task gave that id to the hotel as the idempotency key. Rooms reserved: {rooms}.",
    )
    check(result == PAID, f"Right: 180 + 420 + 3 × 140, charged once: {result}.")
    put(Text())


def check(holds: bool, told: str) -> None:
    assert holds, f"the demo found otherwise: {told}"
    first, *more = told.splitlines()
    name, _, rest = first.partition(":")
    put(Text.assemble(("  ✔ ", "green"), (name, "bold"), ":", rest, *(f"\n    {line}" for line in more)))
