"""A folder with a database and a module, the command in this process, and real workers in their own."""

from __future__ import annotations

import json
import logging
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from attrs import frozen
from click.testing import CliRunner

from infinitic.cli import program
from infinitic.client import Client

TRIPS = Path(__file__).with_name("trips.py")
READY = "is at work"


@frozen
class Ended:
    """How a command ended: its exit code, and what it printed where."""

    code: int
    out: str
    err: str

    @property
    def data(self) -> Any:
        return json.loads(self.out)

    @property
    def line(self) -> str:
        """The one line on stderr, without the word error."""
        [line] = self.err.splitlines()
        assert line.startswith("error: ")
        return line.removeprefix("error: ")


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory: empty but for `trips.py`, without configuration."""
    monkeypatch.chdir(tmp_path)
    for name in [one for one in os.environ if one.startswith("INFINITIC_")]:
        monkeypatch.delenv(name)
    monkeypatch.setattr(sys, "path", [*sys.path])
    shutil.copy(TRIPS, tmp_path / "trips.py")
    return tmp_path


@pytest.fixture(autouse=True)
def own_logging() -> Iterator[None]:
    """What a command does to logging is undone."""
    loggers = [logging.getLogger(name) for name in ("", "infinitic")]
    before = [(one, one.level, [*one.handlers]) for one in loggers]
    yield
    for one, level, handlers in before:
        one.setLevel(level)
        one.handlers[:] = handlers


@pytest.fixture
def url(folder: Path) -> str:
    """A database that is there, and empty."""
    found = f"sqlite:///{folder}/trips.db"
    Client(found).close()
    return found


@pytest.fixture
def bare() -> Callable[..., Ended]:
    """Runs a command in this process, with nothing configured."""

    def run(*args: str, stdin: str | None = None, **environ: str) -> Ended:
        result = CliRunner().invoke(program, [*args], input=stdin, env=environ)
        return Ended(result.exit_code, result.stdout, result.stderr)

    return run


@pytest.fixture
def infinitic(url: str, bare: Callable[..., Ended]) -> Callable[..., Ended]:
    """Runs a command in this process, on the test's database unless another is named."""
    return partial(bare, INFINITIC_STORAGE=url)


class Worker:
    """`infinitic worker` in a process of its own."""

    def __init__(self, url: str, *args: str, own_group: bool = False) -> None:
        command = [sys.executable, "-m", "infinitic", "worker", *args, "--url", url]
        self.process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=own_group)
        self.said: list[str] = []
        for line in self.process.stderr or ():
            self.said.append(line.rstrip())
            if READY in line:
                return

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Its exit code, once it has drained."""
        self.process.send_signal(number)
        _, rest = self.process.communicate(timeout=60)
        self.said += rest.splitlines()
        return self.process.returncode


@pytest.fixture
def worker(url: str) -> Iterator[Callable[..., Worker]]:
    """Starts workers, and kills those that are left."""
    workers: list[Worker] = []

    def start(*args: str, own_group: bool = False) -> Worker:
        workers.append(Worker(url, *args, own_group=own_group))
        return workers[-1]

    yield start
    for one in workers:
        one.process.kill()
        one.process.communicate()
