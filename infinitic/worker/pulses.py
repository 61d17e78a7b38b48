"""Pulses: what an attempt that runs says of itself, and how it is told that nobody wants it any more.

A heartbeat is sent at once when none was in the last third of the task's heartbeat; else it is held until then, and
the newest takes the place of one that is held. No threads here: who runs the attempt lends its clock.
"""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any, TypeVar

from msgspec import Raw

from dsl.errors import Cancelled
from infinitic.events import NULL

T = TypeVar("T")
Later = Callable[[float, Callable[[], None]], Callable[[], None]]
"""Calls a function after so many seconds, unless what it returned is called before."""

SHARE = 3
"""At most so many heartbeats are sent while an attempt may say nothing."""


class Pulse:
    """What `current_task()` speaks through. *encode* makes JSON of details; *length* is the heartbeat, in seconds.

    `details` are those of the last heartbeat, `beats` counts how often the task said something.
    """

    def __init__(self, encode: Callable[[Any], bytes], length: float | None) -> None:
        self._encode, self._length = encode, length
        self._lock = threading.Lock()
        self._say: Callable[[], None] | None = None
        self._held = False
        self._sent = self._heard = 0.0
        self._planned: dict[str, Callable[[], None]] = {}  # what is to be done later: how it is called off
        self.cancelled = False
        self.goes_on: Callable[[], bool] = lambda: False  # whether its code runs others too, of which some are wanted
        self.beats = 0
        self.details: Raw = NULL

    def begin(
        self,
        say: Callable[[], None],
        silent: Callable[[], None],
        clock: Callable[[], float],
        later: Later,
    ) -> None:
        """The attempt begins, and somebody listens: *say* sends a heartbeat, *silent* is called once it fell silent."""
        assert self._length is not None
        self._silent, self._clock, self._later = silent, clock, later
        self._sent = self._heard = clock()  # that it began is said already
        self._say = say
        self._planned["look"] = later(self._length, self._look)

    def end(self) -> None:
        """The attempt is over: what is held goes with its failure, or nowhere."""
        with self._lock:
            self._say = None
            planned, self._planned = self._planned, {}
        for call_off in planned.values():  # which would keep the attempt in memory
            call_off()

    def heartbeat(self, details: Any = None) -> None:
        """See `CurrentTask.heartbeat`."""
        if self.cancelled and self.goes_on():
            return
        if self.cancelled:
            raise Cancelled
        if details is not None:
            self.details = Raw(self._encode(details))
        self.beats += 1
        if self._say is not None and self._length is not None:
            self._beat(self._length / SHARE)

    def _beat(self, every: float) -> None:
        with self._lock:
            self._heard = self._clock()
            wait = self._sent + every - self._heard
            held, self._held = self._held, self._held or wait > 0
        if not held and wait > 0:
            self._planned["flush"] = self._later(wait, self._flush)
        elif not held:
            self._send()

    def _flush(self) -> None:
        self._held = False
        self._send()

    def _send(self) -> None:
        with self._lock:
            say = self._say
            if say is not None:
                self._sent = self._clock()
        if say is not None:
            say()

    def _look(self) -> None:
        """Whether the task has said something of late."""
        assert self._length is not None
        if self._say is None:
            return
        left = self._heard + self._length - self._clock()
        if left > 0:
            self._planned["look"] = self._later(left, self._look)
        else:
            self._silent()


class Reach:
    """The thread that an attempt runs on, for as long as it does."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._thread = 0
        self._stopped = self._thrown = False

    def run(self, call: Callable[[], T]) -> T:
        """What *call* returns. `Cancelled` comes out of this, and never later, when `stop` was called before."""
        try:
            try:
                self._enter()
                return call()
            finally:
                self._leave()
        except Cancelled:
            self._leave()  # it may have come on the way out: there is no second one
            raise

    def _enter(self) -> None:
        with self._lock:
            if self._stopped:
                raise Cancelled
            self._thread = threading.get_ident()

    def _leave(self) -> None:
        with self._lock:
            self._thread = 0
            if self._thrown:  # and not yet delivered, perhaps
                _take_back()

    def stop(self) -> None:
        """Raise `Cancelled` in the thread, at its next line of Python: once, and only while the attempt runs."""
        with self._lock:
            self._stopped = True
            if self._thread and not self._thrown:
                self._thrown = True
                _throw(self._thread)


def _throw(thread: int) -> None:
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread), ctypes.py_object(Cancelled))


def _take_back() -> None:
    """Have what was thrown into the present thread come here, if it has not come; there is one at most at a time."""
    # to set none instead would have the interpreter (3.11, 3.12) look for one at each jump from then on: it only stops
    # when one was raised, and until then a profile function never returns
    with suppress(Cancelled):
        _throw(threading.get_ident())
        while True:
            pass
