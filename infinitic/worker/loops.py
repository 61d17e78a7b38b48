"""Loops: all threads of a worker live here. One steps the conductor, one ticks every half second.

When workflow code holds the stepping thread up for more than a second, another takes its place and the instance is
reported with the line it hangs at; after thirty seconds its thread gets an exception and the instance is suspended.
"""

from __future__ import annotations

import ctypes
import logging
import sys
import threading
import traceback
from contextlib import suppress
from queue import Empty, SimpleQueue
from types import FrameType

from infinitic.clock import SECOND
from infinitic.errors import StorageError, TransportError
from infinitic.worker.batches import Conductor
from infinitic.worker.executor import Executor
from infinitic.worker.sweeps import Sweeper
from infinitic.worker.work import Deposed, Finished, StuckCode, Work

TICK = 0.5
SLOW = 1.0
GIVE_UP = 30.0
MARKS = 0.1
STOP = 10.0

log = logging.getLogger("infinitic.worker")


class Wake:
    """Says that there may be something to receive, or that it is time to sweep."""


WAKE, SWEEP = Wake(), Wake()


class Hung:
    """An instance whose code does not come back, and the problem in words."""

    __slots__ = ("problem", "work")

    def __init__(self, work: Work, problem: str) -> None:
        self.work, self.problem = work, problem


class Came:
    """All that came out of the queue and is not done with."""

    def __init__(self) -> None:
        self.finished: list[Finished] = []
        self.late: list[Work] = []
        self.hung: list[Hung] = []
        self.sweep = False
        self.idle = False  # nothing came for as long as one wanted to wait

    def add(self, item: Finished | Work | Hung | Wake) -> None:
        """Sort one item."""
        match item:
            case Finished():
                self.finished.append(item)
            case Work():
                self.late.append(item)
            case Hung():
                self.hung.append(item)
            case Wake():
                self.sweep = self.sweep or item is SWEEP

    def take(self) -> tuple[list[Finished], list[Work]]:
        """What is for the conductor's step, each once."""
        taken, self.finished, self.late = (self.finished, self.late), [], []
        return taken


class Loops:
    """The threads of one worker. *tick*, *slow* and *give_up* are in seconds: see the top of this file."""

    def __init__(self, *, tick: float = TICK, slow: float = SLOW, give_up: float = GIVE_UP) -> None:
        self._tick_every, self._slow, self._give_up_after = tick, slow, give_up
        self._queue: SimpleQueue[Finished | Work | Hung | Wake] = SimpleQueue()
        self._came = Came()
        self._woken = False
        self._stop = threading.Event()
        self._stopped = threading.Event()
        self._stuck: dict[int, tuple[Work, int]] = {}  # thread → what it hangs on, since when
        self._stepping: threading.Thread | None = None
        self._ticking: threading.Thread | None = None
        self._waits = 0.0

    def start(self, conductor: Conductor, executor: Executor) -> None:
        """Begin."""
        self._conductor, self._executor = conductor, executor
        self._sweeper = Sweeper(conductor)
        self._queue.put(SWEEP)
        self._take_over()
        self._ticking = threading.Thread(target=self._tick, name="infinitic-tick", daemon=True)
        self._ticking.start()

    def finished(self, one: Finished) -> None:
        """An attempt is over."""
        self._queue.put(one)

    def ready(self) -> None:
        """There may be something to receive."""
        if not self._woken:
            self._woken = True
            self._queue.put(WAKE)

    def stop(self) -> None:
        """Stop stepping, once all that is in hand is committed; returns when the threads are done."""
        self._stop.set()
        self._queue.put(WAKE)
        self._stopped.wait(STOP)
        if self._ticking is not None:
            self._ticking.join(STOP)

    # --- the stepping thread ---

    def _take_over(self) -> None:
        self._stepping = threading.Thread(target=self._run, name="infinitic-step", daemon=True)
        self._stepping.start()

    def _run(self) -> None:
        term = self._conductor.term
        try:
            while self._turn():
                pass
        except Deposed as deposed:
            self._come_late(deposed.work)
        except StuckCode:
            log.warning("a thread whose workflow code hung has ended")
        finally:
            if self._conductor.term == term:
                self._stopped.set()

    def _turn(self) -> bool:
        """Wait for something to do, and do it; False when it is time to stop."""
        came = self._wait()
        try:
            self._do(came)
            self._waits = 0.0
        except (StorageError, TransportError) as error:
            self._trouble(str(error))
        except Exception as error:
            log.exception("a step failed")
            self._trouble(f"{type(error).__name__}: {error}")
        return not self._stop.is_set() or (self._waits == 0.0 and not self._queue.empty())

    def _do(self, came: Came) -> None:
        """All that came. What was not done when trouble is raised stays in *came*."""
        while came.hung:
            self._conductor.give_up(came.hung[-1].work, came.hung[-1].problem)
            came.hung.pop()
        more = self._conductor.step(*came.take())
        while more:
            more = self._conductor.step()
        if came.sweep:
            self._sweeper.sweep()
            came.sweep = False
            self._conductor.step()
        elif came.idle:
            self._conductor.flush_marks()

    def _trouble(self, problem: str) -> None:
        self._waits = min(max(self._waits * 2, 0.1), 5.0)
        log.error("%s - trying again in %.1f s", problem, self._waits)
        self._stop.wait(self._waits)
        self.ready()

    def _wait(self) -> Came:
        came = self._came
        came.idle = False
        try:
            came.add(self._queue.get(timeout=self._patience()))
        except Empty:
            came.idle = True
            return came
        self._woken = False
        with suppress(Empty):
            while True:
                came.add(self._queue.get_nowait())
        return came

    def _patience(self) -> float | None:
        """How long to wait at most, in seconds: until a timer is due or a mark is to be written."""
        conductor = self._conductor
        until = MARKS if conductor.moved else None
        due = conductor.timers.next_due
        if due is not None:
            left = max(0, due - conductor.now()) / SECOND
            until = left if until is None else min(until, left)
        return until

    def _come_late(self, work: Work) -> None:
        """The code that held this thread up came back after all."""
        work.back = True
        self._queue.put(work)

    # --- the ticking thread ---

    def _tick(self) -> None:
        while not self._stop.wait(self._tick_every):
            self._queue.put(SWEEP)
            self._look_for_slow_code()

    def _look_for_slow_code(self) -> None:
        thread = self._stepping
        work = self._conductor.depose(round(self._slow * SECOND))
        if work is not None and thread is not None and thread.ident is not None:
            self._stuck[thread.ident] = (work, self._conductor.clock())
            log.warning(
                "%s %s: its code has held up its worker for more than %g s at %s. "
                "Workflow code must not block: put the call into a @task.",
                work.workflow,
                work.workflow_id,
                self._slow,
                where(thread.ident),
            )
            self._take_over()
        now = self._conductor.clock()
        for ident, (stuck, since) in list(self._stuck.items()):
            if stuck.back:
                del self._stuck[ident]
            elif now - since > self._give_up_after * SECOND:
                del self._stuck[ident]
                self._give_up(ident, stuck)

    def _give_up(self, ident: int, work: Work) -> None:
        problem = f"its code did not come back within {self._give_up_after:g} s, at {where(ident)}"
        ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(ident), ctypes.py_object(StuckCode))
        self._queue.put(Hung(work, problem))


def where(ident: int) -> str:
    """The innermost line of a thread that is neither this library's nor Python's: "file:line: `source`"."""
    frame: FrameType | None = sys._current_frames().get(ident)
    fallback = ""
    while frame is not None:
        line = traceback.extract_stack(frame, limit=1)[0]
        text = f"{line.filename}:{line.lineno}: `{line.line}`"
        module = frame.f_globals.get("__name__", "")
        if not module.startswith(("infinitic.", "dsl.")) and not _is_library(line.filename):
            return text
        fallback = fallback or text
        frame = frame.f_back
    return fallback or "an unknown line"


def _is_library(file: str) -> bool:
    return file.startswith((sys.prefix, sys.base_prefix)) or "site-packages" in file
