"""A pool of threads that wakes no more of them than the work needs.

A thread that takes work while more waits wakes one other. Short work is thus done by one thread, which keeps the
interpreter's lock; work that waits for something gives that up, and the next thread goes on.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from queue import SimpleQueue
from typing import Generic, TypeVar

T = TypeVar("T")


class Pool(Generic[T]):
    """Calls *run* for each thing that is put, on up to *limit* threads, which are made when they are needed."""

    def __init__(self, run: Callable[[T], None], limit: int, name: str) -> None:
        self._run, self._limit, self._name = run, limit, name
        self._work: deque[T] = deque()
        self._tokens: SimpleQueue[bool] = SimpleQueue()  # True: look for work; False: end
        self._lock = threading.Lock()
        self._threads = 0
        self._waiting = 0
        self._waking = False
        self._ours = threading.local()

    def put(self, item: T) -> None:
        """Have *item* run. One that a thread of this pool puts is its own next, and wakes no other."""
        self._work.append(item)
        if len(self._work) > 1 or not self.on_own_thread():
            self.rouse()

    def on_own_thread(self) -> bool:
        """Whether the present thread is one of this pool."""
        return getattr(self._ours, "yes", False)

    def grow(self) -> None:
        """Allow one thread more, in place of one that hangs."""
        with self._lock:
            self._limit += 1

    def rouse(self) -> None:
        """Wake a thread, or make one, if there is work, unless one is on its way."""
        with self._lock:
            if not self._work:
                return
            if self._waking or (not self._waiting and self._threads >= self._limit):
                return
            self._waking = True
            if self._waiting:
                self._tokens.put(True)
                return
            self._threads += 1
            number = self._threads
        threading.Thread(target=self._serve, name=f"{self._name}-{number}", daemon=True).start()

    def _serve(self) -> None:
        self._ours.yes = True
        awake = True
        while awake:
            self._waking = False
            while self._work:
                try:
                    item = self._work.popleft()
                except IndexError:  # another was faster
                    break
                if self._work:
                    self.rouse()
                self._run(item)
            with self._lock:
                self._waiting += 1
            # looks once more: a put may have missed that this waits
            awake = bool(self._work) or self._tokens.get()
            with self._lock:
                self._waiting -= 1

    def close(self) -> None:
        """End each thread once it has nothing to do."""
        for _ in range(self._limit):
            self._tokens.put(False)
