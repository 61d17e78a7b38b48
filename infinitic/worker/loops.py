"""Loops: all threads of a worker but those of its tasks live here.

Whoever has something for the conductor steps it, one thread at a time: the thread that ran a task goes on with what
comes of it, so that a chain of short tasks needs no hand-over at all; the keeper does for what comes from elsewhere
and for what is due; the ticker asks for a sweep every half second.

When workflow code holds the stepping thread up for more than a second, others may step on and the instance is
reported with the line it hangs at; after thirty seconds its thread gets an exception and the instance is suspended.
"""

from __future__ import annotations

import ctypes
import gc
import logging
import sys
import threading
import traceback
from collections import deque
from queue import Empty, SimpleQueue
from types import FrameType

from infinitic.clock import SECOND
from infinitic.errors import StorageError, TransportError
from infinitic.worker.batches import Conductor
from infinitic.worker.source import whose
from infinitic.worker.sweeps import Sweeper
from infinitic.worker.work import Deposed, Finished, Runner, Said, StuckCode, Work

TICK = 0.5
SLOW = 1.0
GIVE_UP = 30.0
MARKS = SECOND // 10
NEVER = 1 << 62
STOP = 10.0
BACKOFF, LONGEST = 0.1, 5.0
STORAGES = ("infinitic.storages", "infinitic.sqlite_file")

log = logging.getLogger("infinitic.worker")


class Wake:
    """Says that there may be something to receive, that it is time to sweep, or for what was planned."""


WAKE, SWEEP, IDLE = Wake(), Wake(), Wake()


class Hung:
    """An instance whose code does not come back, and the problem in words."""

    __slots__ = ("problem", "work")

    def __init__(self, work: Work, problem: str) -> None:
        self.work, self.problem = work, problem


class Came:
    """All that came out of the queue and is not done with."""

    def __init__(self) -> None:
        self.finished: list[Finished | Said] = []
        self.late: list[Work] = []
        self.hung: list[Hung] = []
        self.sweep = False
        self.idle = False  # it is time: for a timer or a mark

    def add(self, item: Finished | Said | Work | Hung | Wake) -> None:
        """Sort one item."""
        match item:
            case Finished() | Said():
                self.finished.append(item)
            case Work():
                self.late.append(item)
            case Hung():
                self.hung.append(item)
            case Wake():
                self.sweep = self.sweep or item is SWEEP
                self.idle = self.idle or item is IDLE

    def take(self) -> tuple[list[Finished | Said], list[Work]]:
        """What is for the conductor's step, each once."""
        taken, self.finished, self.late = (self.finished, self.late), [], []
        return taken


class Loops:
    """The threads of one worker. *tick*, *slow* and *give_up* are in seconds: see the top of this file."""

    def __init__(self, *, tick: float = TICK, slow: float = SLOW, give_up: float = GIVE_UP) -> None:
        self._tick_every, self._slow, self._give_up_after = tick, slow, give_up
        self._items: deque[Finished | Said | Work | Hung | Wake] = deque()
        self._came = Came()
        self._turn = threading.Lock()  # whoever holds it steps; a thread that hangs keeps the old one
        self._tokens: SimpleQueue[None] = SimpleQueue()  # wake the keeper
        self._planned = 0  # when the keeper wakes by itself
        self._woken = False
        self._stop = threading.Event()
        self._stopped = threading.Event()
        self._stuck: dict[int, tuple[Work, int]] = {}  # thread → what it hangs on, since when
        self._keeper: threading.Thread | None = None
        self._ticking: threading.Thread | None = None
        self._waits = 0.0  # seconds that nobody steps, after trouble
        self._backoff = 0.0

    def start(self, conductor: Conductor, runner: Runner) -> None:
        """Begin."""
        self._conductor, self._runner = conductor, runner
        self._collects = gc.isenabled()
        self._sweeper = Sweeper(conductor)
        self._items.append(SWEEP)
        self._tokens.put(None)
        self._keep()
        self._ticking = threading.Thread(target=self._tick, name="infinitic-tick", daemon=True)
        self._ticking.start()

    def finished(self, *those: Finished | Said) -> None:
        """These attempts are over, or go on and have something to say."""
        self._items.extend(those)
        if self._runner.on_task_thread() and any(isinstance(one, Finished) for one in those):
            self._pump()
        else:
            self._tokens.put(None)

    def ready(self) -> None:
        """There may be something to receive."""
        if not self._woken:
            self._woken = True
            self._put(WAKE)

    def _put(self, item: Work | Hung | Wake) -> None:
        self._items.append(item)
        self._tokens.put(None)

    def stop(self) -> None:
        """Stop stepping, once all that is in hand is committed; returns when the threads are done."""
        self._stop.set()
        self._put(WAKE)
        self._stopped.wait(STOP)
        if self._ticking is not None:
            self._ticking.join(STOP)

    # --- stepping ---

    def _pump(self) -> None:
        """Step until nothing is left to do, unless another thread does already: it sees what was put here."""
        first = True
        while self._items and not self._waits and not self._stopped.is_set():
            turn = self._turn
            if not turn.acquire(blocking=False):
                return
            if turn is not self._turn:  # its last holder hung, and came back: others step by another one
                turn.release()
                continue
            if not first:
                self._runner.rouse()  # others run what was adopted while this thread goes on stepping
            first = False
            try:
                self._step()
            finally:
                turn.release()

    def _step(self) -> None:
        came = self._came
        self._woken = False
        while self._items:
            came.add(self._items.popleft())
        try:
            self._do(came)
            self._backoff = 0.0
        except Deposed as deposed:
            self._come_late(deposed.work)
        except StuckCode:
            log.warning("workflow code that hung was ended")
        except (StorageError, TransportError) as error:
            self._trouble(str(error))
        except BaseException as error:  # whatever it is, this thread goes on
            log.exception("a step failed")
            self._trouble(f"{type(error).__name__}: {error}")
        if self._wake_at() < self._planned:
            self._tokens.put(None)

    def _do(self, came: Came) -> None:
        """All that came. What was not done when trouble is raised stays in *came*."""
        while came.hung:
            self._conductor.give_up(came.hung[-1].work, came.hung[-1].problem)
            came.hung.pop()
        more = self._conductor.step(*came.take())
        while more:
            more = self._conductor.step()
        if came.sweep:
            again = self._sweeper.sweep()
            came.sweep = False
            if again:
                self._put(SWEEP)
            self._conductor.step()
        elif came.idle:
            came.idle = False
            self._conductor.flush_marks()

    def _trouble(self, problem: str) -> None:
        """Nobody steps until the keeper has waited."""
        self._backoff = min(max(self._backoff * 2, BACKOFF), LONGEST)
        self._waits = self._backoff
        log.error("%s - trying again in %.1f s", problem, self._waits)
        self._tokens.put(None)

    def _come_late(self, work: Work) -> None:
        """The code that held this thread up came back after all."""
        work.back = True
        self._put(work)

    # --- the keeper ---

    def _keep(self) -> None:
        self._keeper = threading.Thread(target=self._run, name="infinitic-step", daemon=True)
        self._keeper.start()

    def _run(self) -> None:
        while self._keeper is threading.current_thread():
            self._wait()
            if self._waits:
                self._stop.wait(self._waits)
                self._waits = 0.0
                self._items.append(WAKE)
            self._pump()
            if self._stop.is_set() and self._ended():
                return

    def _ended(self) -> bool:
        """Whether all that was in hand is committed, or cannot be; then nobody steps any more."""
        if not self._turn.acquire(timeout=STOP):
            self._stopped.set()
            return True
        try:
            if self._items and not self._waits:
                self._tokens.put(None)
                return False
            self._stopped.set()
            return True
        finally:
            self._turn.release()

    def _wait(self) -> None:
        """Until there is something to do, or it is time."""
        self._planned = NEVER  # before it looks: what is set meanwhile wakes it
        wake = self._planned = self._wake_at()
        left = None if wake == NEVER else max(0, wake - self._conductor.now()) / SECOND
        try:
            self._tokens.get(timeout=left)
            while True:
                self._tokens.get_nowait()
        except Empty:
            if wake <= self._conductor.now():
                self._items.append(IDLE)
        self._planned = 0

    def _wake_at(self) -> int:
        """When a timer is due or a mark is to be written."""
        conductor = self._conductor
        due = conductor.timers.next_due
        due = NEVER if due is None else due
        return min(due, conductor.now() + MARKS) if conductor.moved else due

    # --- the ticking thread ---

    def _tick(self) -> None:
        while not self._stop.wait(self._tick_every):
            self._put(SWEEP)
            self._look_for_slow_code()

    def _look_for_slow_code(self) -> None:
        applied = self._conductor.applying
        waits = applied is not None and awaits_storage(applied.thread)
        work = None if waits else self._conductor.depose(round(self._slow * SECOND), self._let_others_step)
        if work is not None:
            ident = work.thread
            self._stuck[ident] = (work, self._conductor.clock())
            log.warning(
                "%s %s: its code has held up its worker for more than %g s at %s. "
                "Workflow code must not block: put the call into a @task.",
                work.workflow,
                work.workflow_id,
                self._slow,
                where(ident),
            )
            self._replace(ident)
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
        self._put(Hung(work, problem))

    def _let_others_step(self) -> None:
        self._turn = threading.Lock()
        if self._collects:
            gc.enable()  # which workflow code that runs has disabled

    def _replace(self, ident: int) -> None:
        """Put a thread in the place of the one that hangs."""
        if self._keeper is not None and self._keeper.ident == ident:
            self._keep()
        else:
            self._runner.replace_thread()
        self._put(WAKE)


def awaits_storage(ident: int) -> bool:
    """Whether what a thread waits for is the storage: that ends by itself, and is no fault of the code."""
    frame: FrameType | None = sys._current_frames().get(ident)
    while frame is not None and whose(frame.f_code.co_filename) in ("package", "python"):
        frame = frame.f_back
    return frame is not None and str(frame.f_globals.get("__name__", "")).startswith(STORAGES)


def where(ident: int) -> str:
    """The innermost line of a thread that is neither this library's nor Python's: "file:line: `source`"."""
    frame: FrameType | None = sys._current_frames().get(ident)
    fallback = ""
    while frame is not None:
        line = traceback.extract_stack(frame, limit=1)[0]
        text = f"{line.filename}:{line.lineno}: `{line.line}`"
        if whose(line.filename) == "user":
            return text
        fallback = fallback or text
        frame = frame.f_back
    return fallback or "an unknown line"
