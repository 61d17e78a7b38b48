"""Deeds: what workflow code must not do, how the interpreter tells of it, and which line of whose code is to blame.

Blamed is the innermost line that is not Python's own, if it is the user's: what this library does, and what a package
reads or imports for itself, is nobody's fault. What acts upon the world is the user's through packages too.
"""

from __future__ import annotations

import _thread
import logging
import os
import random
import time
from datetime import date
from dis import opmap
from types import FrameType
from typing import Any
from zoneinfo import TZPATH

from attrs import frozen

from infinitic.worker.source import source_line, whose


@frozen
class Deed:
    """What must not be done, and what to do instead. A *mild* one makes no history wrong: it is told only."""

    kind: str
    instead: str
    mild: bool = False


TASK = "put it into a @task, or run it once by `yield from inline(fn, …)`"
FILES, NETWORK, PROCESSES, DATABASE, INPUT = (
    Deed(kind, TASK) for kind in ("files", "network", "processes", "database", "input")
)
SLEEP = Deed("sleep", "write `yield from sleep(seconds)`, which holds up no worker")
THREADS = Deed("threads", "run branches by `spawn(flow)` or `gather(…)`, and put the work into a @task")
IMPORT = Deed("import", "import it at the top of the module")
CLOCK = Deed("clock", "write `now()` of infinitic, which is the same on every replay")
CHANCE = Deed("chance", "write `random` or `uuid4()` of infinitic, which are the same on every replay")
TALK = Deed("talk", "write `logger` of infinitic, which is silent while replaying", mild=True)
UNUSED = Deed("unused", "write `yield from` before it, or dispatch(…) it", mild=True)
REPLAY = Deed("replay", "what it goes by must be recorded: `now()`, `random`, `uuid4()`, `inline(fn)`, or a @task")

READS = frozenset({"os.listdir", "os.scandir"})
CHANGES = ("remove", "rename", "mkdir", "rmdir", "link", "symlink", "truncate", "chmod", "chown", "utime")
EVENTS: dict[str, tuple[Deed, str]] = {
    "open": (FILES, "opens {0!r}"),
    **{name: (FILES, f"calls {name}({{0!r}})") for name in (*READS, *(f"os.{one}" for one in CHANGES))},
    "socket.connect": (NETWORK, "connects to {1!r}"),
    "socket.bind": (NETWORK, "binds {1!r}"),
    "socket.sendto": (NETWORK, "sends to {1!r}"),
    "socket.getaddrinfo": (NETWORK, "looks up {0!r}"),
    "socket.gethostbyname": (NETWORK, "looks up {0!r}"),
    "subprocess.Popen": (PROCESSES, "starts the process {1!r}"),
    "os.system": (PROCESSES, "runs {0!r}"),
    "os.posix_spawn": (PROCESSES, "starts the process {0!r}"),
    "os.exec": (PROCESSES, "becomes the process {0!r}"),
    "os.fork": (PROCESSES, "forks"),
    "sqlite3.connect": (DATABASE, "opens the database {0!r}"),
    "builtins.input": (INPUT, "waits for input"),
    "import": (IMPORT, "imports {0}"),
}
"""Events of the interpreter's audit."""
WRITES = os.O_WRONLY | os.O_RDWR
IMPORTS = opmap["IMPORT_NAME"]

STARTS = ("start_new_thread", "start_joinable_thread")
CLOCKS = ("time", "time_ns", "monotonic", "monotonic_ns", "perf_counter", "perf_counter_ns", "clock_gettime")
CALLS: dict[Any, tuple[Deed, str]] = {
    **{getattr(time, name): (CLOCK, "reads a clock") for name in CLOCKS},
    **{getattr(_thread, name): (THREADS, "starts a thread") for name in STARTS if hasattr(_thread, name)},
    time.sleep: (SLEEP, "sleeps"),
    os.urandom: (CHANCE, "takes a random number"),
    print: (TALK, "prints, again on every replay,"),
}
"""Builtin functions that no audit tells of, in each version at least."""
NOW = frozenset({"now", "utcnow", "today"})
SHARED = getattr(random.random, "__self__", None)  # the generator that all of a process share
SEED, LOG = random.Random.seed.__code__, logging.Logger._log.__code__
QUIET = frozenset(
    {"encodings", "gettext", "importlib", "linecache", "locale", "logging", "traceback", "warnings", "zoneinfo"}
)
"""Modules of Python whose files are nobody's I/O; a log line's clock is nobody's clock."""


@frozen
class Finding:
    """What was done, and where: `str()` is one line."""

    file: str
    line: int
    did: str
    deed: Deed

    def __str__(self) -> str:
        source = source_line(self.file, self.line)
        return f"{self.file}:{self.line}: {f'`{source}` ' if source else ''}{self.did}: {self.deed.instead}"


def of_event(event: str, args: tuple[Any, ...], frame: FrameType) -> Finding | None:
    """What an audit event that *frame* caused tells of workflow code."""
    deed, text = EVENTS[event]
    reads = deed is IMPORT or event in READS
    if event == "open":
        if not isinstance(args[0], str | bytes | os.PathLike) or str(args[0]).startswith(TZPATH):
            return None  # a descriptor; a time zone, which is data of Python's own
        reads = not (args[2] or 0) & WRITES
    user = blamed(frame, through_packages=not reads)
    if user is None or (deed is IMPORT and user.f_code.co_code[user.f_lasti] != IMPORTS):  # else Python's own
        return None
    return _finding(user, text.format(*args), deed)


def of_call(function: Any, frame: FrameType) -> Finding | None:
    """What the call of a builtin *function* by *frame* tells of workflow code."""
    holder = getattr(function, "__self__", None)
    if isinstance(holder, type):
        known = (CLOCK, "reads a clock") if issubclass(holder, date) and function.__name__ in NOW else None
    else:
        known = (CHANCE, "takes a random number") if holder is SHARED else CALLS.get(function)
    if known is None:
        return None
    user = blamed(frame, through_packages=known[0] in (SLEEP, THREADS))
    return _finding(user, known[1], known[0]) if user is not None else None


def of_entry(frame: FrameType) -> Finding | None:
    """What the call of a Python function, whose *frame* this is, tells of workflow code."""
    if frame.f_code is LOG:
        while frame.f_back is not None and _root(frame) == "logging":
            frame = frame.f_back
        user, did, deed = blamed(frame), "logs, again on every replay,", TALK
    elif frame.f_code is SEED and frame.f_locals.get("a") is None:
        user, did, deed = blamed(frame), "takes a random number", CHANCE
    else:
        return None
    return _finding(user, did, deed) if user is not None else None


def _finding(user: FrameType, did: str, deed: Deed) -> Finding:
    return Finding(user.f_code.co_filename, user.f_lineno, f"{did} in workflow code", deed)


def blamed(frame: FrameType | None, *, through_packages: bool = False) -> FrameType | None:
    """The frame of the user's code that is to blame for what *frame* does; None when that is nobody's fault."""
    while frame is not None:
        who = whose(frame.f_code.co_filename)
        if who == "user":
            return frame
        if who == "ours" or (who == "package" and not through_packages):
            return None
        if who == "python" and _root(frame) in QUIET:
            return None
        frame = frame.f_back
    return None


def _root(frame: FrameType) -> str:
    return str(frame.f_globals.get("__name__", "")).partition(".")[0]
