"""The turnstile before every write: first come, first served, among threads and among processes.

SQLite's own busy handler sleeps and retries, so a fast writer starves the others for seconds. Here a writer
waits in line: for the threads before it, then, in the kernel, for the other processes. The kernel frees the
lock of a process that dies, unless a forked child still has the descriptor: `SqliteFile` sees to that.
"""

from __future__ import annotations

import os
import sys
import threading
from collections import deque
from pathlib import Path

from infinitic.errors import Bug

if sys.platform != "win32":
    import fcntl


class FairLock:
    """A lock that threads get in the order in which they came."""

    def __init__(self) -> None:
        self._gate = threading.Lock()  # locked while anybody has the lock; handed over locked
        self._mutex = threading.Lock()
        self._waiting: deque[threading.Lock] = deque()

    def acquire(self) -> None:
        """Wait for those who came before, and no longer."""
        if self._gate.acquire(blocking=False):
            return
        turn = self._queue_up()
        try:
            turn.acquire()
        except BaseException:  # a signal's: whoever is next must not wait for us
            self._give_up(turn)
            raise

    def release(self) -> None:
        """Hand the lock to whoever waits longest."""
        with self._mutex:
            if self._waiting:
                self._waiting.popleft().release()
            else:
                self._gate.release()

    def _queue_up(self) -> threading.Lock:
        """What can be acquired when it is our turn."""
        turn = threading.Lock()
        with self._mutex:
            if not self._gate.acquire(blocking=False):
                turn.acquire()
                self._waiting.append(turn)
        return turn

    def _give_up(self, turn: threading.Lock) -> None:
        with self._mutex:
            if turn in self._waiting:
                self._waiting.remove(turn)
                return
        self.release()


class Turnstile:
    """Lets one writer of this machine through at a time. The thread that is inside must not come again."""

    def __init__(self, path: Path) -> None:
        self.descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        self._threads = FairLock()
        self._inside = 0

    def __enter__(self) -> None:
        me = threading.get_ident()
        if self._inside == me:
            raise Bug("A thread that is inside the turnstile came to it again")
        self._threads.acquire()
        try:
            fcntl.flock(self.descriptor, fcntl.LOCK_EX)
        except BaseException:
            self._threads.release()
            raise
        self._inside = me

    def __exit__(self, *_: object) -> None:
        self._inside = 0
        try:
            fcntl.flock(self.descriptor, fcntl.LOCK_UN)
        finally:
            self._threads.release()


def try_lock(descriptor: int) -> bool:
    """Lock for this descriptor alone, without waiting: False when another one holds it."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
