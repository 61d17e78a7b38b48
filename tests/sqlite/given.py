"""What the SQLite tests share: other processes that share the file, and small messages and appends."""

import os
import signal
import subprocess
import sys
import threading
from contextlib import contextmanager
from pathlib import Path

import pytest

from infinitic.messages import Message, Outgoing
from infinitic.records import Append, Mark, StateRecord, TurnRow, Version

HOUSE = Path(__file__).parents[2]
DEADLINE = 60.0  # seconds after which a test gives up; nothing is measured by it
TRIPS, CARS = "workflow:trips", "service:cars"

PRELUDE = """
import os, sys, threading
from infinitic.backends import Step
from infinitic.backends.sqlite import SqliteBackend
from infinitic.sqlite_file import SqliteFile
from tests.sqlite.given import *
path = sys.argv[1]
def say(*words): print(*words, flush=True)
def hear(): return sys.stdin.readline().strip()
"""


class Actor:
    """Another process: it runs *code*, says lines, and hears lines."""

    def __init__(self, path, code, *arguments):
        self.process = subprocess.Popen(
            [sys.executable, "-c", PRELUDE + code, str(path), *map(str, arguments)],
            cwd=HOUSE,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def heard(self):
        """The next line that it says."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, "the other process ended"
        return line.strip()

    def tell(self, line=""):
        assert self.process.stdin is not None
        self.process.stdin.write(f"{line}\n")
        self.process.stdin.flush()

    def kill(self):
        """As by `kill -9`; returns when it is dead."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(DEADLINE)

    def done(self):
        """Returns when it has ended of itself, without an error."""
        assert self.process.wait(DEADLINE) == 0

    def close(self):
        self.process.kill()
        self.process.wait(DEADLINE)
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                pipe.close()


@contextmanager
def actors(path, code, *arguments):
    """As many processes as there are arguments, each with one of them (one process without any)."""
    started = [Actor(path, code, argument) for argument in arguments] or [Actor(path, code)]
    try:
        yield started
    finally:
        for actor in started:
            actor.close()


def heard_until_dash(other):
    """The lines that it says, until it says a dash."""
    return list(iter(other.heard, "-"))


@contextmanager
def actor(path, code):
    with actors(path, code) as [one]:
        yield one


@contextmanager
def mounted(directory, options):
    """A file system of its own at *directory*, which takes root."""
    if sys.platform != "linux" or os.geteuid() != 0:
        pytest.skip("needs root on Linux, to mount a small file system")
    mount = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", options, "tmpfs", directory],
        capture_output=True,
        text=True,
        check=False,
    )
    if mount.returncode:
        pytest.skip(f"this machine does not let us mount: {mount.stderr.strip()}")
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", directory], check=True)


class Woken:
    """A `ready` that can be waited for."""

    def __init__(self):
        self._event = threading.Event()

    def __call__(self):
        self._event.set()

    def wait(self):
        assert self._event.wait(DEADLINE), "nobody called ready"
        self._event.clear()

    def forget(self):
        self._event.clear()

    @property
    def is_set(self):
        return self._event.is_set()


def quiet():
    """A `ready` that nobody waits for."""


def task(name="t1", key="trip-1", topic=CARS):
    return Outgoing(topic, key, Message(kind="task", id=name, workflow="trips", workflow_id=key))


def event(name="e1", key="trip-1", topic=TRIPS):
    return Outgoing(topic, key, Message(kind="event", id=name, workflow="trips", workflow_id=key))


def hint(client="c1", name="h1"):
    return Outgoing(f"client:{client}", client, Message(kind="reply", id=name), hint=True)


def ids(deliveries):
    return [delivery.message.id for delivery in deliveries]


def append(turns, expected=None, workflow_id="trip-1", added=1):
    """*added* turns that make *turns* in all, after *expected* turns."""
    rows = tuple(TurnRow("r1", turns - added + at, f"{os.getpid()}".encode()) for at in range(added))
    return Append(
        workflow="trips",
        workflow_id=workflow_id,
        expected=None if expected is None else Version("r1", expected),
        version=Version("r1", turns),
        token=str(os.getpid()),
        mark=Mark("r1", turns),
        turns=rows,
        record=StateRecord("trips", workflow_id, "r1", turns=turns),
    )
