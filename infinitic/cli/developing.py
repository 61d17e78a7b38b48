"""`dev`: a worker for whoever writes the code. It watches, and starts anew with each change of a file.

Two processes: this one looks at the files and starts the other, which imports the code, checks what is open by it,
and serves. The other has a lifeline: when this one is gone, however that came, it stops.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import click
from rich.console import Group as Lines
from rich.text import Text

from infinitic.backends.urls import open_backend
from infinitic.cli import exits
from infinitic.cli.checking import covered, report, shares, silence
from infinitic.cli.console import errors, put
from infinitic.cli.folders import State, changed, served, state
from infinitic.cli.logs import log_to_stderr
from infinitic.cli.modules import load
from infinitic.cli.serving import introduced
from infinitic.cli.settings import Settings, everywhere
from infinitic.cli.words import short_path
from infinitic.engine.programs import Program
from infinitic.errors import RegistrationError
from infinitic.records import OPEN
from infinitic.serialization import Serializer
from infinitic.worker.checking import Checker, Tally
from infinitic.worker.watching import MODES

LOOK = 0.5
"""Seconds between two looks at the files: a few hundred cost a millisecond, and no package is needed for it."""
PATIENCE = 1.0
"""Seconds that a worker may take to end before that is told."""
CHECKED = 1_000
"""How many open instances are checked, the newest ones."""


@click.command()
@click.argument("places", nargs=-1, required=True, metavar="FOLDER_OR_MODULE...")
@click.option(
    "--watch", type=click.Choice(MODES), default="warn", show_default=True, help="What to do about I/O in workflows."
)
@click.option("-v", "--verbose", count=True, help="Say more: -v what happens, -vv everything.")
@click.option("--lifeline", type=int, hidden=True, help="Serve, until the other end of this descriptor is closed.")
@everywhere(hidden=True)
@click.pass_obj
def dev(settings: Settings, places: tuple[str, ...], watch: str, verbose: int, lifeline: int | None) -> int:
    """Serve while you write: reload with every change.

    Serves the workflows and services of folders and modules. When a file changes, the worker lets running tasks
    finish, checks that open instances can go on with the new code, and serves that. Code that cannot be imported
    is told, and waits for the next change. What workflow code must not do is told with file and line.

    \b
    Examples:
      infinitic dev .
      infinitic dev trips.py --watch error
    """
    if lifeline is not None:
        return _serve(settings, places, watch, verbose, lifeline)
    settings.config()  # what is wrong there no change of code will mend
    return Supervisor(_command(settings, places, watch, verbose), _folders(places)).run()


def _command(settings: Settings, places: Sequence[str], watch: str, verbose: int) -> list[str]:
    given = {"--url": settings.url, "--transport": settings.transport, "--storage": settings.storage}
    options = [part for name, value in given.items() if value is not None for part in (name, value)]
    options += ["--debug"] * settings.debug + ["-v"] * verbose + ["--watch", watch]
    # -B: a .pyc is told by second and size, which is too coarse for whoever saves twice a second
    # -P: a file named like a module of Python's must not stand in for it; `imported` puts folders on the path
    return [sys.executable, "-B", "-P", "-m", "infinitic", "dev", *options, *places]


def _folders(places: Sequence[str]) -> list[Path]:
    """What to look at: the folders themselves; for files and modules the folder they are found from."""
    found = {Path(one) if os.path.isdir(one) else Path(one).parent if one.endswith(".py") else Path() for one in places}
    return sorted(found)


# --- the process that looks at the files ---


class Supervisor:
    """Keeps one serving process at work, a new one after each change beneath *folders*."""

    def __init__(self, command: list[str], folders: Sequence[Path]) -> None:
        self._command, self._folders = command, folders
        self._asked = threading.Event()
        self._signals = 0
        self._child: subprocess.Popen[bytes] | None = None

    def run(self) -> int:
        """Until SIGINT or SIGTERM; a second one ends the worker at once. The exit code."""
        with self._taking_signals():
            while not self._asked.is_set():
                self._serve_until_something_changes()
        _say("stopped")
        return exits.OK if self._signals < 2 else exits.INTERRUPTED

    def _serve_until_something_changes(self) -> None:
        files = state(self._folders)  # before the code is imported: what changes from now on is seen
        with self._serving():
            if news := self._news(files):
                _say(f"{_listed(news)} changed")
            elif self._child is not None and self._child.poll() is None:
                _say("stopping: waiting for the tasks that run; once more to stop at once")

    def _news(self, files: State) -> list[str]:
        """The files that changed, once some have and rest; empty when it is asked to stop."""
        told = False
        while not self._asked.wait(LOOK):
            news = changed(files, now := state(self._folders))
            if news and not self._asked.wait(LOOK / 5) and state(self._folders) == now:
                return news
            if not told and self._child is not None and (code := self._child.poll()) is not None:
                told = True
                killed = f"the worker was killed by {signal.Signals(-code).name}; " if code < 0 else ""
                _say(f"{killed}waiting for a change; Ctrl-C stops")
        return []

    @contextmanager
    def _serving(self) -> Iterator[None]:
        """A serving process for as long as the block lasts. It lets running tasks finish."""
        theirs, ours = os.pipe()
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})  # the child's too, until it ignores it
        self._child = subprocess.Popen([*self._command, "--lifeline", str(theirs)], pass_fds=(theirs,))
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        os.close(theirs)
        try:
            yield
        finally:
            os.close(ours)
            self._wait_for(self._child)

    def _wait_for(self, child: subprocess.Popen[bytes]) -> None:
        try:
            child.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            if not self._asked.is_set():  # else it was said
                _say("waiting for the tasks that run; Ctrl-C twice to stop at once")
            child.wait()

    @contextmanager
    def _taking_signals(self) -> Iterator[None]:
        before = {number: signal.signal(number, self._stop) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _stop(self, number: int, frame: FrameType | None) -> None:
        self._signals += 1
        if self._signals > 1 and self._child is not None:
            self._child.kill()
        self._asked.set()


def _say(text: str) -> None:
    errors().print(Text(text, style="dim"), soft_wrap=True)


def _listed(files: Sequence[str]) -> str:
    names = ", ".join(short_path(os.path.abspath(file)) for file in files[:3])
    return f"{names} and {len(files) - 3} more" if len(files) > 3 else names


# --- the process that serves ---


def _serve(settings: Settings, places: Sequence[str], watch: str, verbose: int, lifeline: int) -> int:
    """Import, check, and serve until nobody holds the other end of the lifeline."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the terminal's goes to both; the other process decides
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    log_to_stderr(verbose + 2 * settings.debug)
    made = introduced(
        settings, load(_modules(places)), "a change of a file starts it anew, Ctrl-C stops it", watch=watch
    )
    if made.registry.programs:
        _check(settings, made.registry.programs)
    with made:
        while os.read(lifeline, 1):
            pass
    return exits.OK


def _modules(places: Sequence[str]) -> list[str]:
    modules = []
    for place in places:
        if not os.path.isdir(place):
            modules.append(place)
            continue
        here = served(Path(place))
        modules += here.files
        for script in here.scripts:
            _say(f"skipped {script}: importing it would run a worker or a client")
    if not modules:
        problem = f"no file beneath {', '.join(places)} imports infinitic, tests and scripts aside"
        raise RegistrationError(problem, "Name the folder or the module that holds the workflows.")
    return modules


def _check(settings: Settings, programs: dict[str, Program]) -> None:
    """Say whether what is open can go on with this code; what cannot is suspended until the code is mended."""
    config, tally = settings.config(), Tally()
    if config.storage is None:
        return
    backend = open_backend(config, "reader")
    try:
        ids = covered(backend.storage, programs, sorted(OPEN), tally, limit=CHECKED)
        with silence():
            for outcomes in map(Checker(backend.storage, programs, Serializer()).check, shares(ids)):
                tally.add(outcomes)
    finally:
        backend.close()
    tally.uncovered.clear()  # others may serve those
    if tally.replayed or tally.diverged:
        put(Lines(*report(tally)), errors())
